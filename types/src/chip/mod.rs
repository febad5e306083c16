//! Chip descriptions: the one place where a chip model's physical numbers are written down.
//!
//! A description is a TOML file (see `chips/`). Every physical number is a [`Quantity`]: a value
//! in the unit its key names, an uncertainty in the same unit, and a source. What an ideal part would
//! not have is an [`Impairment`]: a quantity that is never zero, or the word `"ideal"`. Reading
//! checks the whole file and lists every offence with the path of its key.

mod catalog;
mod claims;
mod document;
pub mod energy;
pub mod guide;
mod layout;
mod quantities;
mod quantity;
mod read;
mod sections;
pub mod timing;

pub use catalog::{BUILTIN_NAMES, builtin, builtin_text};
pub use claims::{Claim, ClaimKey, Claims};
pub use quantity::{Impairment, Quantity, Range};
pub use read::{ChipError, ChipIssue, Override};
pub use sections::{
    Adc, Array, Cell, CellType, Clock, Command, Dac, Dataflow, Host, Laser, Memory, Modulator,
    OpticalPath, PhaseChange, Readout, Receiver, Ring, Vector, Weights,
};

use crate::program::Packing;
use serde::Serialize;

/// One chip model: geometry, optics, converters, clocks, memories and the energy of each event.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChipDescription {
    /// The name used in device addresses, e.g. `ref-64-eo`.
    pub name: String,
    /// One sentence on what this chip is.
    pub summary: String,
    /// Geometry of the cell array.
    pub array: Array,
    /// The symbol clock.
    pub clock: Clock,
    /// Signal laser and its efficiency.
    pub laser: Laser,
    /// Losses between the laser and the detectors.
    pub path: OpticalPath,
    /// Input modulators.
    pub modulator: Modulator,
    /// Homodyne receivers.
    pub receiver: Receiver,
    /// Input converters.
    pub dac: Dac,
    /// Output converters.
    pub adc: Adc,
    /// The weight cells and what calibration leaves of their errors.
    pub cell: Cell,
    /// The rings of a cell: there exactly where cells are ring pairs.
    pub ring: Option<Ring>,
    /// The film of a cell: there exactly where cells are of phase-change material.
    pub phase_change: Option<PhaseChange>,
    /// How weights reach the cells.
    pub weights: Weights,
    /// On-card memories.
    pub memory: Memory,
    /// The command processor.
    pub command: Command,
    /// The digital vector unit.
    pub vector: Vector,
    /// The link to the host.
    pub host: Host,
    /// What its makers claim; nothing is computed from it.
    pub claims: Claims,
}

impl ChipDescription {
    /// Reads a description from TOML text; `origin` names the text in errors.
    ///
    /// Errors: every missing, unknown, mistyped or out-of-range key at once.
    pub fn from_toml(text: &str, origin: &str) -> Result<Self, ChipError> {
        Self::from_toml_with(text, origin, &[])
    }

    /// Like [`Self::from_toml`], with values replaced before they are checked.
    pub fn from_toml_with(
        text: &str,
        origin: &str,
        overrides: &[Override],
    ) -> Result<Self, ChipError> {
        read::read(text, origin, overrides)
    }

    /// Inputs of a real matrix tile in conjugate folding: two per physical row.
    pub fn tile_inputs(&self) -> usize {
        2 * self.array.inputs
    }

    /// Outputs of a real matrix tile in conjugate folding: one per physical column.
    pub fn tile_outputs(&self) -> usize {
        self.array.outputs
    }

    /// Largest magnitude of an input code.
    pub fn input_limit(&self) -> i32 {
        (1 << (self.dac.bits - 1)) - 1
    }

    /// Largest magnitude of a weight code.
    pub fn weight_limit(&self) -> i32 {
        (1 << (self.weights.bits - 1)) - 1
    }

    /// The shift at which the ADC range just covers the largest possible accumulation, in conjugate
    /// folding.
    ///
    /// Analog gain `G = 2^g` lowers it by `g`.
    pub fn full_scale_shift(&self) -> u8 {
        self.full_scale_shift_of(Packing::Conjugate)
    }

    /// [`Self::full_scale_shift`] in any packing.
    pub fn full_scale_shift_of(&self, packing: Packing) -> u8 {
        let inputs = packing.inputs(self.array.inputs) as u64;
        let largest = inputs
            * u64::from(self.input_limit().unsigned_abs() * self.weight_limit().unsigned_abs());
        let half_range = 1_u64 << (self.adc.bits - 1);
        let mut shift = 0;
        while (half_range << shift) <= largest {
            shift += 1;
        }
        shift
    }

    /// The gain shifts the receiver offers in conjugate folding: from full gain to unity.
    pub fn gain_shifts(&self) -> std::ops::RangeInclusive<u8> {
        self.gain_shifts_of(Packing::Conjugate)
    }

    /// [`Self::gain_shifts`] in any packing.
    pub fn gain_shifts_of(&self, packing: Packing) -> std::ops::RangeInclusive<u8> {
        let unity = self.full_scale_shift_of(packing);
        unity.saturating_sub(self.receiver.gain_log2_max)..=unity
    }
}
