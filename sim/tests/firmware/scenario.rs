//! A small card and what is asked of it.

use litecore_hal::conformance::Workload;
use litecore_hal::encode_image;
use litecore_sim::card::{Card, CardOptions};
use litecore_sim::{SimDevice, SimOptions, Terms};
use litecore_types::Seed;
use litecore_types::chip::{ChipDescription, builtin};
use litecore_types::program::Program;

pub(crate) const SYMBOLS: usize = 3;

pub(crate) fn chip() -> ChipDescription {
    builtin("tiny-4").unwrap()
}

pub(crate) fn workload() -> Workload {
    Workload::new(&chip(), 2, SYMBOLS, 5).unwrap()
}

/// A card without impairments, so that its outputs are known.
pub(crate) fn card_with(options: CardOptions) -> Card {
    let sim = SimOptions { seed: Seed(3), terms: Terms::none(), record_timeline: false };
    Card::new(SimDevice::new(chip(), sim), options)
}

pub(crate) fn card() -> Card {
    card_with(CardOptions { journal: true, ..CardOptions::default() })
}

pub(crate) fn image(program: &Program) -> Vec<u8> {
    encode_image(program)
}

/// The payload of a run of the whole workload.
pub(crate) fn run_payload(workload: &Workload) -> Vec<u8> {
    let mut out: Vec<u8> = workload.tags.iter().flat_map(|tag| tag.0.to_le_bytes()).collect();
    out.extend(workload.inputs.iter().flat_map(|number| number.to_le_bytes()));
    out
}

/// The outputs that a run must give, as bytes.
pub(crate) fn expected_bytes(workload: &Workload) -> Vec<u8> {
    workload.expected.iter().flat_map(|number| number.to_le_bytes()).collect()
}
