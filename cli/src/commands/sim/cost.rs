//! What streaming the symbols through one tile takes on the whole card.

use crate::error::CliError;
use litecore_sim::events;
use litecore_sim::packing::Layout;
use litecore_types::chip::ChipDescription;
use litecore_types::program::{
    Action, Buffer, BufferId, ElementKind, Packing, Program, Step, StepIndex, TableId, Tile,
    TileId, VerifiedProgram,
};
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
    /// From the host through the array and back, by discrete events.
    ///
    /// Programs stream in conjugate folding. Another packing takes as long; its conversions,
    /// drives, weights and vectors are charged by their own numbers.
    pub(super) fn of(
        chip: &ChipDescription,
        layout: &Layout,
        symbols: u64,
        shift: u8,
    ) -> Result<Self, CliError> {
        let in_memory = (chip.memory.sram_bytes / bytes_per_symbol(chip)).max(1);
        let per_run = symbols.min(in_memory);
        // The shift has no cost; a program must have one that the receiver offers.
        let shift = shift.clamp(*chip.gain_shifts().start(), *chip.gain_shifts().end());
        let program = VerifiedProgram::new(one_stream(chip, per_run, shift), chip)
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
                let schedule = events::simulate(&program, chip, symbols);
                cost.cycles = Cycles(cost.cycles.0 + times * schedule.cycles.0);
                for (component, joules) in schedule.ledger.parts() {
                    let share = share_of_conjugate(component, chip, layout);
                    cost.ledger.charge(component, times as f64 * share * joules);
                }
            }
        }
        Ok(cost)
    }
}

/// How many events of a component a packing has for one of conjugate folding.
fn share_of_conjugate(component: Component, chip: &ChipDescription, layout: &Layout) -> f64 {
    let ratio = |own: usize, conjugate: usize| own as f64 / conjugate as f64;
    let (inputs, outputs) = (chip.tile_inputs(), chip.tile_outputs());
    match component {
        // By time, or by step; and converters sample whatever the receiver reads.
        Component::Laser
        | Component::WeightHold
        | Component::Receiver
        | Component::Adc
        | Component::Command => 1.0,
        Component::InputDac | Component::Modulator => ratio(layout.dacs_per_symbol(), inputs),
        Component::WeightDac | Component::WeightFetch => {
            ratio(layout.packing().weights_per_cell(), 2)
        }
        Component::Digital | Component::Sram | Component::HostLink => {
            ratio(layout.vectors() * (layout.inputs() + layout.outputs()), inputs + outputs)
        }
    }
}

fn bytes_per_symbol(chip: &ChipDescription) -> u64 {
    buffers(chip, 1).iter().map(|buffer| buffer.bytes_per_symbol() as u64).sum()
}

fn buffers(chip: &ChipDescription, symbols: u64) -> Vec<Buffer> {
    let (inputs, outputs) = (chip.tile_inputs(), chip.tile_outputs());
    let mut address = 0;
    [
        (ElementKind::F32, inputs),
        (ElementKind::Code, inputs),
        (ElementKind::F32, 1),
        (ElementKind::Accumulator, outputs),
        (ElementKind::F32, outputs),
    ]
    .into_iter()
    .map(|(kind, len)| {
        let buffer = Buffer { kind, len, address };
        address += buffer.bytes_per_symbol() as u64 * symbols;
        buffer
    })
    .collect()
}

/// In from the host, quantised, through one tile, rescaled, and out again.
fn one_stream(chip: &ChipDescription, symbols: u64, shift: u8) -> Program {
    let (inputs, outputs) = (chip.tile_inputs(), chip.tile_outputs());
    let [x, codes, scale, sums, y] = [0, 1, 2, 3, 4].map(BufferId);
    let stream = Action::Stream {
        array: 0,
        bank: 0,
        tile: TileId(0),
        from: codes,
        from_offset: 0,
        shift,
        to: sums,
        to_offset: 0,
        accumulate_shift: 0,
        first: true,
    };
    let step =
        |action, after: &[u32]| Step::new(action, after.iter().copied().map(StepIndex).collect());
    Program {
        name: "one tile".to_owned(),
        chip: chip.name.clone(),
        rows: chip.array.inputs,
        columns: chip.array.outputs,
        symbols_max: symbols,
        useful_macs_per_symbol: (inputs * outputs) as u64,
        buffers: buffers(chip, symbols),
        tiles: vec![Tile { packing: Packing::Conjugate, codes: vec![0; inputs * outputs] }],
        tables: vec![vec![1.0; outputs]],
        steps: vec![
            step(Action::MoveIn { to: x }, &[]),
            step(Action::LoadBank { array: 0, bank: 0, tile: TileId(0) }, &[]),
            step(Action::Settle { array: 0, bank: 0 }, &[1]),
            step(Action::Quantise { from: x, to: codes, scale }, &[0]),
            step(stream, &[2, 3]),
            step(Action::Dequantise { from: sums, scale, table: TableId(0), to: y }, &[3, 4]),
            step(Action::MoveOut { from: y }, &[5]),
        ],
    }
}
