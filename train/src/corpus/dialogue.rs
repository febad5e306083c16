//! Questions and answers: each answer is right for its question.

use super::draws::Draws;
use super::numbers::{db_from_ratio, ratio_from_db, short};

const MEANINGS: &[(&str, &str)] = &[
    ("a tier", "a bank of experts of one size, kept in one kind of storage"),
    ("an expert", "a small gated network that runs only for the tokens routed to it"),
    ("a tile", "the part of a weight matrix that fits the array at once"),
    ("a profile", "what calibration has learned about one chip"),
    ("a program", "a verified list of steps that any chip of the model can run"),
    ("a symbol", "one vector of input codes, sent to the array in one clock period"),
    ("a weight bank", "the set of weights that the cells hold at one time"),
    ("shot noise", "the noise of counting photons, one by one"),
    ("crosstalk", "the change that one cell causes in another"),
    ("a router", "a small linear layer whose scores choose the experts"),
    ("a seed", "a number that fixes every random choice"),
    ("a checkpoint", "a folder with a manifest and the weights of a model"),
    ("a phase shifter", "a piece of waveguide whose optical length can be tuned"),
    ("an interferometer", "a device that adds two light waves with a chosen phase"),
    ("balanced detection", "the subtraction of two detector currents, which removes common noise"),
    ("insertion loss", "the light that a part takes away from the beam"),
    ("the dark level", "the reading with the laser off"),
    ("a digest", "a short number that changes when any byte of a file changes"),
    ("a logit", "a score before it is turned into a probability"),
    ("drift", "the slow change of a chip after its calibration"),
];
const ASKERS: &[&str] =
    &["What is", "Can you explain", "In short, what is", "How would you define"];
const COLOR: &[&str] =
    &["", " Please be brief.", " I forgot.", " It is for the report.", " One sentence will do."];
const CLOSERS: &[&str] =
    &["", " See the handbook.", " It is in the glossary.", " That is all.", " Nothing more."];

/// One question with its answer, on two lines.
pub(super) fn exchange(draws: &mut Draws) -> String {
    match draws.below(8) {
        0..=2 => meaning(draws),
        3 => {
            let (a, b) = (draws.below(100), draws.below(100));
            format!("Q: What is {a} plus {b}?\nA: {a} plus {b} is {}.", a + b)
        }
        4 => {
            let db = draws.real(0, 29, 10) + 0.1;
            format!(
                "Q: How much power is left after {db:.1} dB of loss?\nA: {} percent.",
                short(100.0 * ratio_from_db(-db))
            )
        }
        5 => {
            let parts = draws.between(2, 999);
            format!(
                "Q: What does an even split into {parts} cost?\nA: {:.1} dB per output.",
                db_from_ratio(parts as f64)
            )
        }
        6 => {
            let (rows, columns) = (draws.between(2, 99), draws.between(2, 99));
            format!(
                "Q: How many cells has an array of {rows} by {columns}?\nA: It has {}.",
                rows * columns
            )
        }
        _ => {
            let (row, code) = (draws.below(64), draws.between(1, 127));
            let limit = draws.between(1, 127);
            let verdict =
                if code <= limit { "Yes, it is within the limit" } else { "No, it is too large" };
            format!(
                "Q: Row {row} reads {code} and the limit is {limit}. Is that fine?\nA: {verdict}."
            )
        }
    }
}

fn meaning(draws: &mut Draws) -> String {
    let index = usize::try_from(draws.below(MEANINGS.len() as u64)).unwrap_or(0);
    let (term, says) = MEANINGS.get(index).copied().unwrap_or(("", ""));
    let color = draws.pick(COLOR);
    let closer = draws.pick(CLOSERS);
    if draws.one_in(3) {
        format!("Q: What do you call {says}?{color}\nA: That is {term}.{closer}")
    } else {
        let asker = draws.pick(ASKERS);
        let mut letters = term.chars();
        let start: String =
            letters.next().map_or_else(String::new, |c| c.to_uppercase().chain(letters).collect());
        format!("Q: {asker} {term}?{color}\nA: {start} is {says}.{closer}")
    }
}
