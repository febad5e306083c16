//! The corpus of the shipped model: its frozen bytes, whether it says the truth, and how much of
//! the held-out text was seen in training.

use std::collections::BTreeSet;

use litecore_train::corpus::{self, Kind, Split};

/// Lines and sentences up to this many bytes are short forms that any two texts share.
const SHORT: usize = 40;

/// Held-out text of one kind.
fn heldout(kind: Kind) -> String {
    corpus::generate_from(Split::HeldOut, 99, kind, 100_000)
}

/// Every sentence of a prose text, without its line.
fn sentences(text: &str) -> impl Iterator<Item = &str> {
    text.lines().flat_map(|line| line.split_inclusive(". ")).map(str::trim)
}

/// Every question with its answer.
fn exchanges(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let pairs = text.lines().zip(text.lines().skip(1));
    pairs.filter(|(question, _)| question.starts_with("Q: "))
}

/// The lines that are records, not headings, of kinds that have one record per line.
fn record_lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_digit() || c == '-'))
}

/// How many of the pieces are among those known, in percent, and how many pieces there are.
fn percent<T: Ord>(pieces: impl Iterator<Item = T>, known: &BTreeSet<T>) -> (f64, usize) {
    let pieces: Vec<T> = pieces.collect();
    let seen = pieces.iter().filter(|piece| known.contains(*piece)).count();
    (100.0 * seen as f64 / pieces.len().max(1) as f64, pieces.len())
}

fn is_long(piece: &&str) -> bool {
    piece.len() > SHORT
}

#[test]
fn the_embedded_texts_are_frozen() {
    let training = corpus::embedded_training_text();
    let heldout = corpus::embedded_heldout_text();
    assert_eq!((training.len(), heldout.len()), (4_213_923, 82_712));
    assert_eq!(
        blake3::hash(training.as_bytes()).to_hex().as_str(),
        "97df9bf20a74567a3d22af51fb46363b64b9918ea518441608811b05ea2eb00e",
    );
    assert_eq!(
        blake3::hash(heldout.as_bytes()).to_hex().as_str(),
        "4a576103a0e5b1a27227c756d6fa5088beee35fe8f33e488ce73c110b35f561c",
    );
}

/// Lines of prose are several sentences, which hardly repeat; the sentences are what could have
/// been learned by heart.
#[test]
fn heldout_prose_was_not_seen_in_training() {
    let training = corpus::embedded_training_text();
    let lines: BTreeSet<&str> = training.lines().collect();
    let known: BTreeSet<&str> = sentences(&training).collect();
    for kind in [Kind::LabProse, Kind::FactProse] {
        let text = heldout(kind);
        let (seen, count) = percent(text.lines().filter(is_long), &lines);
        assert!(count > 300 && seen < 5.0, "{}: {seen} % of {count} lines", kind.name());
        let (seen, count) = percent(sentences(&text).filter(is_long), &known);
        assert!(count > 900 && seen < 5.0, "{}: {seen} % of {count} sentences", kind.name());
    }
    let text = corpus::embedded_heldout_text();
    let handbook =
        text.split("== Handbook ==\n").skip(1).filter_map(|after| after.split("\n\n").next());
    let (seen, count) = percent(handbook.flat_map(sentences).filter(is_long), &known);
    assert!(count > 15 && seen < 5.0, "handbook: {seen} % of {count} sentences");
}

/// The figures in the documentation of [`Split`].
#[test]
fn machine_text_is_shared_as_documented() {
    let training = corpus::embedded_training_text();
    let lines: BTreeSet<&str> = training.lines().collect();
    for kind in [Kind::BenchLog, Kind::Arithmetic, Kind::Units, Kind::Table] {
        let text = heldout(kind);
        let (seen, count) = percent(record_lines(&text), &lines);
        assert!(count > 1500 && seen < 1e-9, "{}: {seen} % of {count} lines", kind.name());
    }
    let text = heldout(Kind::Dialogue);
    let (seen, count) = percent(exchanges(&text), &exchanges(&training).collect());
    assert!(count > 1000 && seen < 1e-9, "{seen} % of {count} exchanges");
    let share = |text: &str, longer_than: usize| {
        percent(text.lines().filter(|line| line.len() > longer_than), &lines).0
    };
    let shares = [
        ("dialogue", share(&text, 0), 51.0),
        ("long code", share(&heldout(Kind::Code), SHORT), 33.0),
        ("code", share(&heldout(Kind::Code), 0), 80.0),
        ("chip toml", share(&heldout(Kind::ChipToml), 0), 79.0),
    ];
    for (name, share, expected) in shares {
        assert!((share - expected).abs() < 1.0, "{name}: {share} % of the lines, not {expected}");
    }
}

#[test]
fn sums_are_right() {
    let text = corpus::generate(5, Kind::Arithmetic, 50_000);
    let mut sums = 0;
    for line in text.lines().filter(|line| line.contains(" = ") && !line.starts_with("==")) {
        let (left, right) = line.split_once(" = ").expect("it has both sides");
        let terms: Vec<&str> = left.split(' ').collect();
        let number = |text: &str| text.parse::<i64>().expect("a number");
        let value = terms[1..].chunks(2).fold(number(terms[0]), |value, step| match step[0] {
            "+" => value + number(step[1]),
            "-" => value - number(step[1]),
            "*" => value * number(step[1]),
            other => panic!("{other} in {line}"),
        });
        assert_eq!(value, number(right), "{line}");
        sums += 1;
    }
    assert!(sums > 3000, "{sums}");
}

#[test]
fn chip_documents_are_toml_or_repeat_a_table() {
    let text = corpus::generate(5, Kind::ChipToml, 50_000);
    let mut snippets = 0;
    for snippet in text.split("[chip]").skip(1) {
        let body = format!("[chip]{}", snippet.replace("# chip.toml", ""));
        match toml::from_str::<toml::Table>(&body) {
            Ok(table) => assert!(table["chip"]["rows"].is_integer(), "{body}"),
            Err(error) => assert!(error.message().contains("duplicate"), "{error} in {body}"),
        }
        snippets += 1;
    }
    assert!(snippets > 100, "{snippets}");
}

#[test]
fn every_kind_fills_the_length_and_names_itself() {
    let headings =
        ["== Lab", "== Text", "[log]", "== Sums", "# chip", "// ", "== Q", "== U", "== T"];
    for (kind, heading) in Kind::ALL.into_iter().zip(headings) {
        let text = corpus::generate(1, kind, 5000);
        assert!((5000..8000).contains(&text.len()), "{}: {}", kind.name(), text.len());
        assert!(text.starts_with(heading), "{}: {text:.40}", kind.name());
        assert_ne!(text, corpus::generate(2, kind, 5000), "the seed must matter");
    }
    assert_eq!(corpus::generate(1, Kind::Units, 0), "");
}
