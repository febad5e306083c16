//! What every device must do, whatever stands behind it: one suite for all of them.
//!
//! A case asks through the [`Device`] seam, or through [`CardDevice`] where it is about the link.
//! What must come out is computed here from the definition of a program, by nobody's executor.

mod card_cases;
mod device_cases;
mod measure;
mod workload;

pub use measure::{Latency, LinkFigures, measure};
pub use workload::Workload;

use crate::{CardDevice, Device, DeviceError};
use litecore_types::chip::ChipDescription;
use litecore_types::program::Violation;
use std::time::{Duration, Instant};

/// One thing that must hold.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Its name, for reports and for choosing it.
    pub name: &'static str,
    /// What must hold, in a sentence.
    pub about: &'static str,
    check: Check,
}

#[derive(Clone, Copy, Debug)]
enum Check {
    Device(fn(&mut dyn Device, &Setup) -> Result<(), Failure>),
    Card(fn(&mut CardDevice, &Setup) -> Result<(), Failure>),
}

/// What cases work with; made once for a chip.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The chip the device must have.
    pub chip: ChipDescription,
    /// Whether outputs must be exact: no impairments are on.
    pub exact: bool,
    /// Whether the same tags must give the same outputs, as in every simulated card.
    pub repeatable: bool,
    /// One tile.
    pub small: Workload,
    /// Many tiles and many symbols: more than one transfer on most links.
    pub large: Workload,
}

/// Why a case does not hold.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Failure {
    /// The device failed where it should not.
    #[error("while {doing}: {error}")]
    Device {
        /// What was asked.
        doing: &'static str,
        /// What came.
        error: DeviceError,
    },
    /// The device did what it should refuse.
    #[error("it does not refuse {what}")]
    NotRefused {
        /// What.
        what: &'static str,
    },
    /// The device refuses for another reason than it should.
    #[error("it refuses {what} with `{error}`")]
    WrongRefusal {
        /// What.
        what: &'static str,
        /// What came.
        error: DeviceError,
    },
    /// Something it says is not so.
    #[error("{what} is {found}, expected {expected}")]
    Wrong {
        /// What.
        what: &'static str,
        /// What it is.
        found: f64,
        /// What it should be.
        expected: f64,
    },
    /// An output is not what the program computes.
    #[error("output {index} is {found}, expected {expected}, at most {tolerance} off")]
    Output {
        /// Which number, over all symbols.
        index: usize,
        /// What came.
        found: f32,
        /// What the program computes.
        expected: f32,
        /// How far off it may be.
        tolerance: f32,
    },
    /// What came back differs from what was sent.
    #[error("{bytes} bytes came back changed, first at byte {at}")]
    Changed {
        /// How many bytes were sent.
        bytes: usize,
        /// The first that differs, or where the shorter one ends.
        at: usize,
    },
}

/// What came of a case.
#[derive(Clone, Debug, PartialEq)]
pub struct CaseReport {
    /// The case's name.
    pub name: &'static str,
    /// Why it does not hold; `None` where it does.
    pub failure: Option<Failure>,
    /// How long it took.
    pub took: Duration,
}

impl Setup {
    /// What cases need for a chip.
    ///
    /// Errors: what the verifier says, where the chip has no room for the programs.
    pub fn new(chip: &ChipDescription, exact: bool) -> Result<Self, Vec<Violation>> {
        let tile = (chip.tile_inputs() * chip.tile_outputs()).max(1);
        // About 256 KiB of weights: several transfers on byte pipes, seconds at worst on a slow one.
        let tiles = u32::try_from((256 << 10) / tile).unwrap_or(1).clamp(2, 200);
        let small = Workload::new(chip, 1, 5, 1)?;
        let symbols = usize::try_from(small.program.symbols_max).unwrap_or(usize::MAX).min(64);
        let large = Workload::new(chip, tiles, symbols, 2)?;
        Ok(Self { chip: chip.clone(), exact, repeatable: true, small, large })
    }
}

/// The cases that every device must pass.
pub fn device_suite() -> &'static [Case] {
    &device_cases::CASES
}

/// The further cases that every card behind a link must pass.
pub fn card_suite() -> &'static [Case] {
    &card_cases::CASES
}

/// Runs all cases on a card, those of devices first, whatever fails.
pub fn run_on_card(card: &mut CardDevice, setup: &Setup) -> Vec<CaseReport> {
    let cases = device_suite().iter().chain(card_suite());
    cases
        .map(|case| {
            timed(case, || match case.check {
                Check::Device(check) => check(card, setup),
                Check::Card(check) => check(card, setup),
            })
        })
        .collect()
}

/// Runs the cases of devices on a device, whatever fails.
pub fn run_on_device(device: &mut dyn Device, setup: &Setup) -> Vec<CaseReport> {
    let check = |case: &'static Case| match case.check {
        Check::Device(check) => Some((case, check)),
        Check::Card(_) => None,
    };
    let cases = device_suite().iter().filter_map(check);
    cases.map(|(case, check)| timed(case, || check(device, setup))).collect()
}

fn timed(case: &Case, check: impl FnOnce() -> Result<(), Failure>) -> CaseReport {
    let began = Instant::now();
    let failure = check().err();
    CaseReport { name: case.name, failure, took: began.elapsed() }
}

/// A call that must succeed.
fn must<T>(doing: &'static str, result: Result<T, DeviceError>) -> Result<T, Failure> {
    result.map_err(|error| Failure::Device { doing, error })
}

/// A call that must be refused, for the right reason.
fn must_refuse<T>(
    what: &'static str,
    result: Result<T, DeviceError>,
    right: impl FnOnce(&DeviceError) -> bool,
) -> Result<(), Failure> {
    match result {
        Ok(_) => Err(Failure::NotRefused { what }),
        Err(error) if right(&error) => Ok(()),
        Err(error) => Err(Failure::WrongRefusal { what, error }),
    }
}

fn must_be(what: &'static str, found: u64, expected: u64) -> Result<(), Failure> {
    if found == expected {
        return Ok(());
    }
    Err(Failure::Wrong { what, found: found as f64, expected: expected as f64 })
}
