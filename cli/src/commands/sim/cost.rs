//! What streaming the symbols through one tile takes on the whole card.

use crate::error::CliError;
use litecore_sim::events;
use litecore_sim::packing::{Layout, Packing};
use litecore_types::chip::{ChipDescription, Dataflow};
use litecore_types::program::{self, OneTile, VerifiedProgram};
use litecore_types::{Component, Cycles, EnergyLedger};

/// Cycles and joules, and the useful work they did.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Cost {
    pub(super) cycles: Cycles,
    pub(super) ledger: EnergyLedger,
    pub(super) useful_macs: u64,
    /// Times the tile was loaded: once for as many symbols as the card's memory holds.
    pub(super) runs: u64,
}

impl Cost {
    /// From the host through the array and back, by discrete events, in the program's packing.
    ///
    /// No program has packing `single`: it is a conjugate tile with vectors half as long, and takes
    /// the time of one. The second weight of each cell and the second input of each row are not
    /// there, so what they would cost is not charged.
    pub(super) fn of(
        chip: &ChipDescription,
        layout: &Layout,
        symbols: u64,
        shift: u8,
    ) -> Result<Self, CliError> {
        let packing = in_program(layout.packing());
        // The shift has no cost; a program must have one that the receiver offers.
        let gains = chip.gain_shifts_of(packing);
        let one = OneTile {
            name: "one tile".to_owned(),
            chip,
            array: 0,
            packing,
            inputs: layout.inputs(),
            shift: shift.clamp(*gains.start(), *gains.end()),
        };
        // The program's symbols are vectors, of which two may share a symbol of light.
        let vectors = packing.vectors();
        let per_run = symbols.min((one.symbols_in_memory() / vectors).max(1));
        let codes = packing.inputs(chip.array.inputs) * packing.outputs(chip.array.outputs);
        let program = VerifiedProgram::new(one.program(vec![0; codes], per_run * vectors), chip)
            .map_err(|violations| CliError::DoesNotFit { violations })?;
        let mut cost = Self {
            cycles: Cycles::ZERO,
            ledger: EnergyLedger::default(),
            useful_macs: symbols * layout.useful_macs_per_symbol() as u64,
            runs: symbols.div_ceil(per_run),
        };
        let (full, rest) = (symbols / per_run, symbols % per_run);
        for (times, symbols) in [(full, per_run), (u64::from(rest > 0), rest)] {
            if times > 0 {
                let schedule = events::simulate(&program, chip, symbols * vectors);
                cost.cycles = Cycles(cost.cycles.0 + times * schedule.cycles.0);
                for (component, joules) in schedule.ledger.parts() {
                    let joules = match layout.packing() {
                        Packing::Single => of_first_halves(chip, symbols, component, joules),
                        _ => joules,
                    };
                    cost.ledger.charge(component, times as f64 * joules);
                }
            }
        }
        Ok(cost)
    }
}

/// The packing of a program.
fn in_program(packing: Packing) -> program::Packing {
    match packing {
        Packing::Single | Packing::Conjugate => program::Packing::Conjugate,
        Packing::Rows => program::Packing::Rows,
        Packing::Tokens => program::Packing::Tokens,
        Packing::Complex => program::Packing::Complex,
    }
}

/// What a component of a conjugate tile's run costs where cells have no second weight and rows no
/// second input.
fn of_first_halves(chip: &ChipDescription, symbols: u64, component: Component, joules: f64) -> f64 {
    match component {
        Component::InputDac
        | Component::Modulator
        | Component::WeightDac
        | Component::WeightFetch => joules / 2.0,
        Component::Sram => {
            // A byte for each code that is sent, or loaded to be sent from memory.
            let loaded = match chip.array.dataflow {
                Dataflow::WeightStationary => 0,
                Dataflow::OutputStationary => chip.tile_inputs() * chip.tile_outputs(),
            };
            let sent = symbols * chip.tile_inputs() as u64 + chip.weight_drives(symbols);
            let bytes = (sent + loaded as u64) as f64;
            joules - bytes / 2.0 * chip.memory.sram_energy_j_per_byte.value
        }
        // By time, by step, or by what goes in and comes out.
        Component::Laser
        | Component::WeightHold
        | Component::Receiver
        | Component::Adc
        | Component::Command
        | Component::Digital
        | Component::HostLink => joules,
    }
}
