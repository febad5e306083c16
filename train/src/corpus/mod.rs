//! The text of the shipped model: generated from seeds, plus a handbook written for the project.
//!
//! A corpus is a list of **documents** of one [`Kind`] each, 200 to 1200 bytes long, each with a
//! heading that tells its kind and a blank line after it. Documents are made of **records** (a
//! sentence, a log line, a sum, a function). A hash of the record decides whether it belongs to
//! training or to held-out text ([`Split`]), so no record is ever in both, whatever the seeds.

mod code;
mod dialogue;
mod draws;
mod handbook;
mod numbers;
mod prose_facts;
mod prose_lab;
mod records;

pub(crate) use draws::{hash_bytes, mix};
pub use handbook::handbook;

use draws::Draws;

/// Bytes of the training text of the shipped model, at least.
pub const EMBEDDED_TRAINING_BYTES: usize = 4_000_000;
/// Bytes of generated text in the held-out text of the shipped model, at least.
pub const EMBEDDED_HELDOUT_BYTES: usize = 80_000;

const TRAINING_SEED: u64 = 0x6c69_7465_0001;
const HELDOUT_SEED: u64 = 0x6c69_7465_0002;
/// One record in this many belongs to the held-out text.
const HELDOUT_SHARE: u64 = 16;
/// How often each handbook section appears among the training documents.
const HANDBOOK_REPEATS: u64 = 12;

/// What a document is about and how it looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Stories of measuring and calibrating chips.
    LabProse,
    /// True statements of photonics and of expert models, with computed numbers.
    FactProse,
    /// Lines of a bench log.
    BenchLog,
    /// Correct sums, differences, products and comparisons.
    Arithmetic,
    /// Chip descriptions in TOML.
    ChipToml,
    /// Small functions in a Rust-like style.
    Code,
    /// Questions and answers.
    Dialogue,
    /// Unit conversions.
    Units,
    /// Tables with comma-separated values.
    Table,
}

impl Kind {
    /// Every kind, in the order of declaration.
    pub const ALL: [Self; 9] = [
        Self::LabProse,
        Self::FactProse,
        Self::BenchLog,
        Self::Arithmetic,
        Self::ChipToml,
        Self::Code,
        Self::Dialogue,
        Self::Units,
        Self::Table,
    ];

    /// The short name, as used in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::LabProse => "lab prose",
            Self::FactProse => "fact prose",
            Self::BenchLog => "bench log",
            Self::Arithmetic => "arithmetic",
            Self::ChipToml => "chip toml",
            Self::Code => "code",
            Self::Dialogue => "dialogue",
            Self::Units => "units",
            Self::Table => "table",
        }
    }

    /// Shares of the embedded text in twentieths, in the order of [`Kind::ALL`].
    const SHARES: [(Self, u64); 9] = [
        (Self::LabProse, 4),
        (Self::FactProse, 4),
        (Self::BenchLog, 2),
        (Self::Arithmetic, 2),
        (Self::ChipToml, 1),
        (Self::Code, 2),
        (Self::Dialogue, 3),
        (Self::Units, 1),
        (Self::Table, 1),
    ];
}

/// Which of the two disjoint sets of records to draw from.
///
/// No record is ever in both, but records come from the same templates and word lists, so parts of
/// them can be. Of held-out text, this much is in the training text of the shipped model, byte for
/// byte (a test counts it again): no sentence of prose longer than 40 bytes; no line of logs, sums,
/// conversions and tables but their headings; no question with its answer, but half of these lines
/// taken one by one; a third of the lines of code longer than 40 bytes; four fifths of all lines of
/// code and of chip TOML. A score on held-out text therefore says how well the templates and the
/// numbers in them were learned. Only the held-out chapter of the handbook is prose of another
/// making.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// Fifteen of sixteen records.
    Training,
    /// The other one.
    HeldOut,
}

impl Split {
    fn holds(self, record: &str) -> bool {
        let held_out = hash_bytes(record.as_bytes()).is_multiple_of(HELDOUT_SHARE);
        held_out == (self == Self::HeldOut)
    }
}

/// Generates documents of one kind from the training split, at least `bytes` long in all.
///
/// Equal arguments give equal text on every machine.
pub fn generate(seed: u64, kind: Kind, bytes: usize) -> String {
    generate_from(Split::Training, seed, kind, bytes)
}

/// Generates documents of one kind from one split, at least `bytes` long in all.
pub fn generate_from(split: Split, seed: u64, kind: Kind, bytes: usize) -> String {
    let mut draws = Draws::new(mix(seed).wrapping_add(kind as u64));
    let mut text = String::with_capacity(bytes + 1500);
    while text.len() < bytes {
        text.push_str(&document(split, kind, &mut draws));
        text.push('\n');
    }
    text
}

/// The text the shipped model is trained on: about 4 MB, generated in well under a second.
pub fn embedded_training_text() -> String {
    let mut documents = mixed_documents(Split::Training, TRAINING_SEED, EMBEDDED_TRAINING_BYTES);
    for repeat in 0..HANDBOOK_REPEATS {
        documents.extend(handbook::sections(Split::Training, repeat));
    }
    shuffled(documents, TRAINING_SEED)
}

/// The text the shipped model is judged on: about 80 kB that share no record with the training
/// text.
pub fn embedded_heldout_text() -> String {
    let mut documents = mixed_documents(Split::HeldOut, HELDOUT_SEED, EMBEDDED_HELDOUT_BYTES);
    documents.extend(handbook::sections(Split::HeldOut, 0));
    shuffled(documents, HELDOUT_SEED)
}

/// The held-out chapter of the handbook: prose that no template made and no training showed.
pub fn heldout_handbook() -> String {
    handbook::sections(Split::HeldOut, 0).join("\n\n")
}

/// Held-out text of one kind, as it is in the held-out text of the shipped model.
pub fn heldout_of(kind: Kind, bytes: usize) -> String {
    generate_from(Split::HeldOut, HELDOUT_SEED, kind, bytes)
}

fn mixed_documents(split: Split, seed: u64, bytes: usize) -> Vec<String> {
    let mut draws = Draws::new(seed);
    let mut documents = Vec::new();
    let mut length = 0;
    while length < bytes {
        let kind = drawn_kind(&mut draws);
        let text = document(split, kind, &mut draws);
        length += text.len() + 1;
        documents.push(text);
    }
    documents
}

fn drawn_kind(draws: &mut Draws) -> Kind {
    let mut ticket = draws.below(Kind::SHARES.iter().map(|(_, share)| share).sum());
    for (kind, share) in Kind::SHARES {
        if ticket < share {
            return kind;
        }
        ticket -= share;
    }
    Kind::LabProse
}

/// Joins documents in a seeded order, a blank line after each.
fn shuffled(mut documents: Vec<String>, seed: u64) -> String {
    let mut draws = Draws::new(seed ^ 0x5eed);
    for i in (1..documents.len()).rev() {
        let j = usize::try_from(draws.below(i as u64 + 1)).unwrap_or(0);
        documents.swap(i, j);
    }
    let mut text = documents.join("\n");
    text.push('\n');
    text
}

/// One document: heading, records of the split, a final line break.
fn document(split: Split, kind: Kind, draws: &mut Draws) -> String {
    let length = usize::try_from(draws.between(200, 1100)).unwrap_or(200);
    let mut text = heading(kind, draws);
    text.push('\n');
    let mut clock = draws.below(80_000);
    let mut table = 0;
    if kind == Kind::Table {
        let (names, rows) = records::table_heading(draws);
        text.push_str(&names);
        text.push('\n');
        table = rows;
    }
    let mut index = 0;
    while text.len() < length {
        let record =
            record_of(split, |draws| one_record(kind, draws, &mut clock, table, index), draws);
        index += 1;
        text.push_str(&record);
        text.push_str(separator(kind, draws));
    }
    let end = text.trim_end().len();
    text.truncate(end);
    text.push('\n');
    text
}

/// Draws records until one belongs to the split.
fn record_of(
    split: Split,
    mut draw: impl FnMut(&mut Draws) -> String,
    draws: &mut Draws,
) -> String {
    loop {
        let record = draw(draws);
        if split.holds(&record) {
            return record;
        }
    }
}

fn heading(kind: Kind, draws: &mut Draws) -> String {
    match kind {
        Kind::LabProse => format!("== Lab notes, page {} ==", draws.between(1, 400)),
        Kind::FactProse => format!("== Textbook, page {} ==", draws.between(1, 400)),
        Kind::BenchLog => records::log_heading(draws),
        Kind::Arithmetic => "== Sums ==".to_owned(),
        Kind::ChipToml => "# chip.toml".to_owned(),
        Kind::Code => format!(
            "// {}.rs",
            draws.pick(&["codes", "filters", "sweeps", "routes", "tiles", "frames"])
        ),
        Kind::Dialogue => "== Questions ==".to_owned(),
        Kind::Units => "== Units ==".to_owned(),
        Kind::Table => "== Table ==".to_owned(),
    }
}

fn one_record(kind: Kind, draws: &mut Draws, clock: &mut u64, table: u64, index: u64) -> String {
    match kind {
        Kind::LabProse => prose_lab::sentence(draws),
        Kind::FactProse => prose_facts::sentence(draws),
        Kind::BenchLog => records::log_line(draws, clock),
        Kind::Arithmetic => numbers::arithmetic(draws),
        Kind::ChipToml => records::chip_snippet(draws),
        Kind::Code => code::function(draws),
        Kind::Dialogue => dialogue::exchange(draws),
        Kind::Units => numbers::conversion(draws),
        Kind::Table => records::table_row(draws, table, index),
    }
}

/// What stands between two records: prose runs on within a paragraph, the rest is line by line.
fn separator(kind: Kind, draws: &mut Draws) -> &'static str {
    match kind {
        Kind::LabProse | Kind::FactProse => {
            if draws.one_in(5) {
                "\n"
            } else {
                " "
            }
        }
        Kind::Code | Kind::ChipToml => "\n\n",
        _ => "\n",
    }
}
