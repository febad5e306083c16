//! Compiled models on disk: whole or refused, and never a panic.

#[path = "problem/model.rs"]
mod problem;

use litecore_compiler::{ArtifactProblem, ArtifactReader, CompiledModel};
use litecore_model::{ModelConfig, TierConfig, TierId};
use litecore_types::program::{Action, Program, VerifiedProgram};
use proptest::prelude::*;
use std::sync::{Arc, LazyLock};

static BYTES: LazyLock<Vec<u8>> =
    LazyLock::new(|| problem::compiled().to_bytes().expect("memory does not refuse"));

const DIGEST: usize = 32;
const END: usize = 8;
const HEADER: usize = 12;

fn problem_with(bytes: &[u8]) -> ArtifactProblem {
    *CompiledModel::from_bytes(bytes, "test").expect_err("damaged").problem
}

/// The JSON index of the file.
fn index_range(bytes: &[u8]) -> std::ops::Range<usize> {
    let end = bytes.len() - END - DIGEST - 8;
    let length = u64::from_le_bytes(bytes[end..end + 8].try_into().expect("eight bytes"));
    end - usize::try_from(length).expect("in memory")..end
}

/// The JSON metadata of the first expert.
fn first_record(bytes: &[u8]) -> std::ops::Range<usize> {
    let index: serde_json::Value =
        serde_json::from_slice(&bytes[index_range(bytes)]).expect("JSON");
    let dense = index["dense"].as_array().expect("tensors").iter().map(|tensor| {
        let shape = tensor["shape"].as_array().expect("a shape").iter();
        4 * shape.map(|length| length.as_u64().expect("a length")).product::<u64>()
    });
    let start = HEADER + usize::try_from(dense.sum::<u64>()).expect("small");
    let length = index["experts"][0]["metadata"].as_u64().expect("a length");
    start..start + usize::try_from(length).expect("small")
}

/// The bytes with another piece of JSON, lengths and digest made right again.
fn with_changed(
    range: std::ops::Range<usize>,
    in_record: bool,
    change: impl FnOnce(String) -> String,
) -> Vec<u8> {
    let text = String::from_utf8(BYTES[range.clone()].to_vec()).expect("JSON is text");
    let changed = change(text.clone());
    assert_ne!(text, changed, "nothing was changed");
    let mut bytes = BYTES[..range.start].to_vec();
    bytes.extend_from_slice(changed.as_bytes());
    bytes.extend_from_slice(&BYTES[range.end..]);
    let end = bytes.len() - END - DIGEST - 8;
    if in_record {
        // The index says how long the record is; a length of as many digits keeps the rest.
        let (old, new) = (range.len().to_string(), changed.len().to_string());
        assert_eq!(old.len(), new.len(), "the test needs a change of fewer bytes");
        let key = format!("\"metadata\":{old}");
        let at = index_at(&bytes[..end], &key);
        bytes[at..at + key.len()].copy_from_slice(format!("\"metadata\":{new}").as_bytes());
    } else {
        bytes[end..end + 8].copy_from_slice(&(changed.len() as u64).to_le_bytes());
    }
    seal(&mut bytes);
    bytes
}

/// Where the index first says this.
fn index_at(bytes: &[u8], key: &str) -> usize {
    let start = bytes.windows(8).rposition(|window| window == b"{\"chip\":").expect("an index");
    start + bytes[start..].windows(key.len()).position(|w| w == key.as_bytes()).expect("the key")
}

fn with_index(change: impl FnOnce(String) -> String) -> Vec<u8> {
    with_changed(index_range(&BYTES), false, change)
}

fn with_metadata(change: impl FnOnce(String) -> String) -> Vec<u8> {
    with_changed(first_record(&BYTES), true, change)
}

/// Makes the digest right.
fn seal(bytes: &mut [u8]) {
    let end = bytes.len() - END - DIGEST;
    let digest = blake3::hash(&bytes[..end]);
    bytes[end..end + DIGEST].copy_from_slice(digest.as_bytes());
}

#[test]
fn what_is_written_is_what_is_read() {
    let model = problem::compiled();
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("model.lcp");
    model.write(&path).expect("writable");
    assert_eq!(std::fs::read(&path).expect("there"), *BYTES);
    assert_eq!(CompiledModel::read(&path).expect("whole"), model);
    // A second write replaces the first and leaves nothing behind.
    model.write(&path).expect("writable");
    assert_eq!(std::fs::read_dir(directory.path()).expect("there").count(), 1);
}

#[test]
fn the_beginning_of_the_format_is_frozen() {
    assert_eq!(&BYTES[..8], b"LCMODEL\0");
    assert_eq!(BYTES[8..12], [3, 0, 0, 0]);
    // Dense tensors come first, by name: `embed.weight`.
    let model = problem::compiled();
    let first = model.dense["embed.weight"].data[0];
    assert_eq!(BYTES[HEADER..HEADER + 4], first.to_le_bytes());
    // A record begins with its program, and the last one ends with the last tile's last code.
    assert_eq!(&BYTES[first_record(&BYTES)][..12], br#"{"program":{"#);
    let last = model.experts.values().next_back().expect("experts").tiles.last().expect("tiles");
    let index = index_range(&BYTES);
    assert_eq!(BYTES[index.start - 1].cast_signed(), *last.codes.last().expect("codes"));
    assert_eq!(&BYTES[index.start..index.start + 9], br#"{"chip":""#);
    let end = BYTES.len() - END - DIGEST;
    assert_eq!(index.end, end - 8);
    assert_eq!(BYTES[end..end + DIGEST], *blake3::hash(&BYTES[..end]).as_bytes());
    assert_eq!(&BYTES[end + DIGEST..], b"LCEND\0\0\0");
}

#[test]
fn single_experts_can_be_read() {
    let model = problem::compiled();
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("model.lcp");
    model.write(&path).expect("writable");
    let mut reader = ArtifactReader::open(&path).expect("whole");
    assert_eq!(
        reader.experts().collect::<Vec<_>>(),
        model.experts.keys().copied().collect::<Vec<_>>()
    );
    assert_eq!((reader.chip(), reader.config()), (&model.chip, &model.config));
    // The last one first: order does not matter.
    for (place, program) in model.experts.iter().rev() {
        let (found, report) = reader.expert(*place).expect("readable").expect("there");
        assert_eq!((&found, &report), (&**program, &model.reports[place]));
    }
    let elsewhere = (9, *model.experts.keys().map(|(_, key)| key).next().expect("experts"));
    assert!(reader.expert(elsewhere).expect("readable").is_none());
    assert_eq!(reader.dense().expect("readable"), model.dense);
}

/// How many layouts the index has, and the layout of each expert.
fn layouts(bytes: &[u8]) -> (usize, Vec<Option<u64>>) {
    let index: serde_json::Value =
        serde_json::from_slice(&bytes[index_range(bytes)]).expect("JSON");
    let experts = index["experts"].as_array().expect("experts").iter();
    let layouts = index["layouts"].as_array().expect("layouts").len();
    (layouts, experts.map(|expert| expert["layout"].as_u64()).collect())
}

#[test]
fn steps_are_written_once_for_all_programs_that_differ_in_gains() {
    let mut model = problem::compiled();
    // Two tiers of different shapes; the experts of each have gains of their own.
    let (count, of_experts) = layouts(&BYTES);
    let shapes: Vec<usize> = model.experts.values().map(|program| program.steps.len()).collect();
    assert_eq!((count, of_experts.len()), (2, shapes.len()), "{shapes:?}");
    assert!(of_experts.iter().all(Option::is_some));
    for (a, layout_a) in shapes.iter().zip(&of_experts) {
        for (b, layout_b) in shapes.iter().zip(&of_experts) {
            assert_eq!(a == b, layout_a == layout_b);
        }
    }

    // Gains in a layout count for nothing where the record has them.
    let louder = with_index(|text| text.replace("\"shift\":0", "\"shift\":200"));
    assert_eq!(CompiledModel::from_bytes(&louder, "test").expect("whole"), model);

    // Where one tile is read with two gains, the gains stay with the steps.
    let (place, program) = model.experts.first_key_value().expect("experts");
    let (place, mut changed) = (*place, Program::clone(program));
    let mut read = Vec::new();
    for step in &mut changed.steps {
        if let Action::Stream { tile, shift, .. } = &mut step.action {
            if read.contains(tile) {
                *shift += 1;
                break;
            }
            read.push(*tile);
        }
    }
    let changed = VerifiedProgram::new(changed, &model.chip).expect("a gain the chip has");
    assert_ne!(&changed, &*model.experts[&place]);
    model.experts.insert(place, Arc::new(changed));
    let bytes = model.to_bytes().expect("memory does not refuse");
    let has_gains = |bytes: &[u8]| bytes[first_record(bytes)].windows(7).any(|w| w == b"\"gains\"");
    assert_eq!((has_gains(&BYTES), has_gains(&bytes)), (true, false));
    assert_eq!(CompiledModel::from_bytes(&bytes, "test").expect("whole"), model);
}

#[test]
fn where_every_program_has_steps_of_its_own_they_stand_with_it() {
    // Forty hidden elements make five tiles of `down`, and expert n has zeros in the places of its bits.
    let hidden = 40;
    let tier = TierConfig::new(TierId::new("a").expect("valid"), 1, 20, hidden);
    let config = ModelConfig { layers: 1, tiers: vec![tier], ..problem::config() };
    let files = problem::changed_files(&config, &|name, weights| {
        let number = name.strip_suffix(".down.weight").and_then(|name| name.rsplit('.').next());
        let Some(expert) = number.and_then(|number| number.parse::<usize>().ok()) else { return };
        for tile in (0..5).filter(|tile| expert >> tile & 1 == 1) {
            for row in weights.chunks_exact_mut(hidden).take(4) {
                row[8 * tile..][..8].fill(0.0);
            }
        }
    });
    let model = problem::compile(&problem::open(&files));
    let bytes = model.to_bytes().expect("memory does not refuse");
    let (count, of_experts) = layouts(&bytes);
    let own = of_experts.iter().filter(|layout| layout.is_none()).count();
    assert_eq!((count, of_experts.len(), own), (16, 20, 4), "{of_experts:?}");
    assert_eq!(CompiledModel::from_bytes(&bytes, "test").expect("whole"), model);
}

#[test]
fn other_files_are_not_compiled_models() {
    for bytes in [&b""[..], b"\x7fELF and more", b"LCMODEM\0"] {
        let problem = problem_with(bytes);
        assert!(matches!(problem, ArtifactProblem::NotACompiledModel), "{problem}");
    }
    let directory = tempfile::tempdir().expect("a directory");
    let error = CompiledModel::read(&directory.path().join("none")).expect_err("not there");
    assert!(matches!(*error.problem, ArtifactProblem::Unreadable { .. }), "{error}");
}

#[test]
fn another_version_says_so() {
    let mut bytes = BYTES.clone();
    bytes[8] = 4;
    let problem = problem_with(&bytes);
    assert!(
        matches!(problem, ArtifactProblem::VersionTooNew { found: 4, supported: 3 }),
        "{problem}"
    );
    bytes[8] = 2;
    let problem = problem_with(&bytes);
    assert!(
        matches!(problem, ArtifactProblem::VersionTooOld { found: 2, supported: 3 }),
        "{problem}"
    );
}

#[test]
fn truncation_names_the_byte() {
    for at in [5, 10, 11, 12, 60, 1000, BYTES.len() - 1] {
        match problem_with(&BYTES[..at]) {
            ArtifactProblem::Truncated { at: found } => assert_eq!(found, at as u64),
            other => panic!("{at}: {other}"),
        }
    }
    let mut longer = BYTES.clone();
    longer.push(0);
    assert!(matches!(problem_with(&longer), ArtifactProblem::Truncated { .. }));
}

#[test]
fn damage_names_both_digests() {
    let mut bytes = BYTES.clone();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let ArtifactProblem::DigestMismatch { expected, found } = problem_with(&bytes) else {
        panic!("not a digest mismatch")
    };
    let end = BYTES.len() - END - DIGEST;
    assert_eq!(expected.as_bytes()[..], BYTES[end..end + DIGEST]);
    assert_ne!(expected, found);
}

#[test]
fn claimed_sizes_are_never_believed() {
    let replace = |from: &'static str, to: &'static str| {
        problem_with(&with_metadata(move |text| text.replacen(from, to, 1)))
    };
    let problem = replace("\"tables\":[5,5,6]", "\"tables\":[5,5,4611686018427387904]");
    assert!(matches!(problem, ArtifactProblem::PayloadLength { .. }), "{problem}");
    let problem = replace("\"tiles\":[\"conjugate\"", "\"tiles\":[\"tokens\"");
    assert!(matches!(problem, ArtifactProblem::PayloadLength { .. }), "{problem}");
    let problem = replace(
        "{\"kind\":\"f32\",\"len\":6,\"address\":0}",
        "{\"kind\":\"f32\",\"len\":1152921504606846976,\"address\":0}",
    );
    assert!(
        matches!(problem, ArtifactProblem::TooLarge { what: "buffer elements", .. }),
        "{problem}"
    );
    let of_index = |from: &'static str, to: &'static str| {
        problem_with(&with_index(move |text| text.replacen(from, to, 1)))
    };
    let problem = of_index("\"layers\":2,", "\"layers\":16777216,");
    assert!(matches!(problem, ArtifactProblem::DenseTensor { .. }), "{problem}");
    let problem = of_index("\"payload\":", "\"payload\":1844674407370955");
    assert!(
        matches!(problem, ArtifactProblem::PayloadLength { .. } | ArtifactProblem::Metadata { .. }),
        "{problem}"
    );
    let mut bytes = BYTES.clone();
    let length = index_range(&BYTES).end;
    bytes[length..length + 8].fill(0xff);
    seal(&mut bytes);
    assert!(matches!(problem_with(&bytes), ArtifactProblem::PayloadLength { .. }));
}

#[test]
fn contents_must_be_those_of_the_model() {
    let replace = |from: &'static str, to: &'static str| {
        problem_with(&with_index(move |text| text.replacen(from, to, 1)))
    };
    let problem = replace("\"shape\":[5,6]", "\"shape\":[6,5]");
    assert!(matches!(problem, ArtifactProblem::DenseTensor { .. }), "{problem}");
    let problem =
        replace("\"tier\":1,\"group\":0,\"expert\":1", "\"tier\":1,\"group\":0,\"expert\":2");
    assert!(matches!(problem, ArtifactProblem::Expert { found: Some(_), .. }), "{problem}");
    let problem = replace("\"width\":6", "\"width\":0");
    assert!(matches!(problem, ArtifactProblem::Config { .. }), "{problem}");
    let problem = replace("banks = 1", "banks = 0");
    assert!(matches!(problem, ArtifactProblem::Chip { .. }), "{problem}");
    let problem = replace("\"chip\":", "\"chop\":");
    assert!(matches!(problem, ArtifactProblem::Metadata { .. }), "{problem}");
    let gains = |to: &'static str| {
        problem_with(&with_metadata(|text| text.replacen("\"gains\":[[", to, 1)))
    };
    let problem = gains("\"gains\":[[9");
    assert!(
        matches!(problem, ArtifactProblem::Metadata { .. } | ArtifactProblem::Refused { .. }),
        "{problem}"
    );
    let problem = gains("\"gains\":[[1,1],[");
    assert!(
        matches!(problem, ArtifactProblem::GainCount { found, expected, .. } if found == expected + 1),
        "{problem}"
    );
    let problem =
        replace("\"layouts\":[[", "\"layouts\":[[],[],[],[],[],[],[],[],[],[],[],[],[],[],[],[");
    assert!(matches!(problem, ArtifactProblem::TooManyLayouts { found: 17, .. }), "{problem}");
    // The second expert of a layout is no less looked at than the first.
    let problem = replace("\"expert\":1,\"layout\":1", "\"expert\":1,\"layout\":0");
    assert!(matches!(problem, ArtifactProblem::Refused { .. }), "{problem}");
    let problem = replace("\"expert\":1,\"layout\":", "\"expert\":1,\"layout\":7");
    assert!(matches!(problem, ArtifactProblem::NoSuchLayout { layout: 70.., .. }), "{problem}");
}

#[test]
fn a_program_the_verifier_refuses_is_refused() {
    // A settle that waits for nothing: the stream after it may come too early.
    let problem = problem_with(&with_index(|text| {
        let settle = text.find("{\"do\":\"settle\"").expect("a settle");
        let after = settle + text[settle..].find(",\"after\":[").expect("it waits");
        let end = after + text[after..].find(']').expect("a list") + 1;
        [&text[..after], &text[end..]].concat()
    }));
    assert!(matches!(problem, ArtifactProblem::Refused { place: (0, _), .. }), "{problem}");
}

#[test]
fn an_expert_of_another_width_is_refused() {
    // The hidden vectors, five wide, are a sound result; but the model is six wide.
    let problem = problem_with(&with_index(|text| {
        let hidden = text.find("{\"do\":\"swiglu\"").expect("a product");
        let to = hidden + text[hidden..].find("\"to\":").expect("a buffer") + 5;
        let end = to + text[to..].find([',', '}']).expect("a number");
        let hidden = text[to..end].to_owned();
        text.replace(
            "{\"do\":\"move_out\",\"from\":0",
            &format!("{{\"do\":\"move_out\",\"from\":{hidden}"),
        )
    }));
    assert!(
        matches!(
            problem,
            ArtifactProblem::ExpertWidth { inputs: 6, outputs: 5, width: 6, .. }
                | ArtifactProblem::Refused { .. }
        ),
        "{problem}"
    );
}

#[test]
fn a_tensor_that_is_not_finite_is_refused() {
    let mut bytes = BYTES.clone();
    bytes[HEADER..HEADER + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    seal(&mut bytes);
    let problem = problem_with(&bytes);
    assert!(
        matches!(&problem, ArtifactProblem::NonFinite { tensor, index: 0 } if tensor == "embed.weight"),
        "{problem}"
    );
}

#[test]
fn writers_exclude_each_other_and_clean_up() {
    let model = problem::compiled();
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("model.lcp");
    std::fs::write(directory.path().join(".model.lcp.partial"), b"").expect("writable");
    let error = model.write(&path).expect_err("another writer");
    assert!(matches!(*error.problem, ArtifactProblem::Locked { .. }), "{error}");
    let error = model.write(&directory.path().join("..")).expect_err("no name");
    assert!(matches!(*error.problem, ArtifactProblem::Unnamed), "{error}");
    let error = model.write(&directory.path().join("none/model.lcp")).expect_err("no directory");
    assert!(matches!(*error.problem, ArtifactProblem::Unwritable { .. }), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn damage_is_always_refused(position in any::<prop::sample::Index>(), mask in 1_u8..) {
        let mut bytes = BYTES.clone();
        let position = position.index(bytes.len());
        bytes[position] ^= mask;
        prop_assert!(CompiledModel::from_bytes(&bytes, "test").is_err());
    }

    #[test]
    fn truncation_is_always_refused(length in any::<prop::sample::Index>()) {
        let length = length.index(BYTES.len());
        prop_assert!(CompiledModel::from_bytes(&BYTES[..length], "test").is_err());
    }

    #[test]
    fn forged_files_never_panic(
        positions in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        digits in any::<bool>(),
        in_index in any::<bool>(),
    ) {
        let mut bytes = BYTES.clone();
        let metadata = if in_index { index_range(&BYTES) } else { first_record(&BYTES) };
        for (position, value) in positions {
            // Most of the danger is in the numbers of the metadata.
            let position = metadata.start + position.index(metadata.len());
            if digits && bytes[position].is_ascii_digit() {
                bytes[position] = b'0' + value % 10;
            } else if !digits {
                bytes[position] = value;
            }
        }
        seal(&mut bytes);
        _ = CompiledModel::from_bytes(&bytes, "test");
    }
}
