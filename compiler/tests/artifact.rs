//! Compiled models on disk: whole or refused, and never a panic.

#[path = "problem/model.rs"]
mod problem;

use litecore_compiler::{ArtifactProblem, CompiledModel};
use proptest::prelude::*;
use std::sync::LazyLock;

static BYTES: LazyLock<Vec<u8>> =
    LazyLock::new(|| problem::compiled().to_bytes().expect("memory does not refuse"));

const DIGEST: usize = 32;
const HEADER: usize = 28;

fn problem_with(bytes: &[u8]) -> ArtifactProblem {
    *CompiledModel::from_bytes(bytes, "test").expect_err("damaged").problem
}

/// The bytes with another metadata, lengths and digest made right again.
fn with_metadata(change: impl FnOnce(String) -> String) -> Vec<u8> {
    let metadata = metadata_range();
    let text = String::from_utf8(BYTES[metadata.clone()].to_vec()).expect("JSON is text");
    let changed = change(text.clone());
    assert_ne!(text, changed, "nothing was changed");
    let mut bytes = BYTES[..HEADER].to_vec();
    bytes[12..20].copy_from_slice(&(changed.len() as u64).to_le_bytes());
    bytes.extend_from_slice(changed.as_bytes());
    bytes.extend_from_slice(&BYTES[metadata.end..]);
    seal(&mut bytes);
    bytes
}

fn metadata_range() -> std::ops::Range<usize> {
    let length = u64::from_le_bytes(BYTES[12..20].try_into().expect("eight bytes"));
    HEADER..HEADER + usize::try_from(length).expect("in memory")
}

/// Makes the digest right.
fn seal(bytes: &mut [u8]) {
    let end = bytes.len() - DIGEST;
    let digest = blake3::hash(&bytes[..end]);
    bytes[end..].copy_from_slice(digest.as_bytes());
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
    assert_eq!(BYTES[8..12], [1, 0, 0, 0]);
    assert_eq!(&BYTES[HEADER..HEADER + 9], br#"{"chip":""#);
    let end = BYTES.len() - DIGEST;
    assert_eq!(BYTES[end..], *blake3::hash(&BYTES[..end]).as_bytes());
    // Dense tensors come first, by name: `embed.weight`.
    let model = problem::compiled();
    let first = model.dense["embed.weight"].data[0];
    assert_eq!(BYTES[metadata_range().end..][..4], first.to_le_bytes());
    // The last tile's last code comes last.
    let last = model.experts.values().next_back().expect("experts").tiles.last().expect("tiles");
    assert_eq!(BYTES[end - 1].cast_signed(), *last.codes.last().expect("codes"));
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
fn a_newer_version_says_so() {
    let mut bytes = BYTES.clone();
    bytes[8] = 2;
    seal(&mut bytes);
    let problem = problem_with(&bytes);
    assert!(
        matches!(problem, ArtifactProblem::VersionTooNew { found: 2, supported: 1 }),
        "{problem}"
    );
}

#[test]
fn truncation_names_the_byte() {
    for at in [5, 10, 20, 27, 28, 1000, BYTES.len() - 1] {
        match problem_with(&BYTES[..at]) {
            ArtifactProblem::Truncated { at: found, .. } => assert_eq!(found, at as u64),
            other => panic!("{at}: {other}"),
        }
    }
    let mut longer = BYTES.clone();
    longer.push(0);
    assert!(matches!(problem_with(&longer), ArtifactProblem::TrailingBytes { .. }));
}

#[test]
fn damage_names_both_digests() {
    let mut bytes = BYTES.clone();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let ArtifactProblem::DigestMismatch { expected, found } = problem_with(&bytes) else {
        panic!("not a digest mismatch")
    };
    assert_eq!(expected.as_bytes()[..], BYTES[BYTES.len() - DIGEST..]);
    assert_ne!(expected, found);
}

#[test]
fn claimed_sizes_are_never_believed() {
    let replace = |from: &'static str, to: &'static str| {
        problem_with(&with_metadata(move |text| text.replacen(from, to, 1)))
    };
    let problem = replace("\"tables\":[5,5,6]", "\"tables\":[5,5,4611686018427387904]");
    assert!(matches!(problem, ArtifactProblem::PayloadLength { .. }), "{problem}");
    let problem = replace("\"tiles\":6,", "\"tiles\":18446744073709551615,");
    assert!(matches!(problem, ArtifactProblem::PayloadLength { .. }), "{problem}");
    let problem = replace(
        "{\"kind\":\"f32\",\"len\":6,\"address\":0}",
        "{\"kind\":\"f32\",\"len\":1152921504606846976,\"address\":0}",
    );
    assert!(
        matches!(problem, ArtifactProblem::TooLarge { what: "buffer elements", .. }),
        "{problem}"
    );
    let problem = replace("\"layers\":2,", "\"layers\":16777216,");
    assert!(matches!(problem, ArtifactProblem::DenseTensor { .. }), "{problem}");
    let mut bytes = BYTES.clone();
    bytes[12..20].fill(0xff);
    seal(&mut bytes);
    assert!(matches!(problem_with(&bytes), ArtifactProblem::Truncated { .. }));
}

#[test]
fn contents_must_be_those_of_the_model() {
    let replace = |from: &'static str, to: &'static str| {
        problem_with(&with_metadata(move |text| text.replacen(from, to, 1)))
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
    let problem = replace("\"shift\":", "\"shift\":9");
    assert!(
        matches!(problem, ArtifactProblem::Metadata { .. } | ArtifactProblem::Refused { .. }),
        "{problem}"
    );
}

#[test]
fn a_program_the_verifier_refuses_is_refused() {
    // A settle that waits for nothing: the stream after it may come too early.
    let problem = problem_with(&with_metadata(|text| {
        text.replacen(
            "{\"do\":\"settle\",\"array\":0,\"bank\":0,\"after\":[2]}",
            "{\"do\":\"settle\",\"array\":0,\"bank\":0}",
            1,
        )
    }));
    assert!(matches!(problem, ArtifactProblem::Refused { place: (0, _), .. }), "{problem}");
}

#[test]
fn an_expert_of_another_width_is_refused() {
    // The hidden vectors, five wide, are a sound result; but the model is six wide.
    let problem = problem_with(&with_metadata(|text| {
        text.replacen("{\"do\":\"move_out\",\"from\":0", "{\"do\":\"move_out\",\"from\":5", 1)
    }));
    assert!(
        matches!(problem, ArtifactProblem::ExpertWidth { inputs: 6, outputs: 5, width: 6, .. }),
        "{problem}"
    );
}

#[test]
fn a_tensor_that_is_not_finite_is_refused() {
    let mut bytes = BYTES.clone();
    let first = metadata_range().end;
    bytes[first..first + 4].copy_from_slice(&f32::NAN.to_le_bytes());
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
    ) {
        let mut bytes = BYTES.clone();
        let metadata = metadata_range();
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
