//! The roofline: for each resource, the least time in which it can do its part of a run.

use litecore_types::Cycles;
use litecore_types::chip::ChipDescription;
use litecore_types::chip::timing::Engine;
use litecore_types::program::{Action, Program};
use serde::Serialize;
use std::collections::BTreeMap;

/// A resource that bounds a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BoundKind {
    /// Writing weight codes into banks, all loaders together.
    WeightLoad,
    /// Light through the arrays, settling included, all arrays together.
    Stream,
    /// Codes that are needed, over what the converters make at the symbol rate.
    Converter,
    /// Quantising, rescaling, activating.
    Vector,
    /// Vectors from and to the host; the busier direction.
    Host,
    /// The card's memory and accumulators; the busiest port.
    Memory,
    /// Issuing steps.
    Command,
}

/// What a resource needs at the least, were it never kept waiting.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Bound {
    /// Which resource.
    pub kind: BoundKind,
    /// Cycles of work, spread evenly over all units of the kind.
    pub cycles: f64,
    /// Useful multiply-accumulates per second at that bound.
    pub useful_macs_per_s: f64,
}

impl BoundKind {
    /// The name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::WeightLoad => "weight load",
            Self::Stream => "stream",
            Self::Converter => "converter",
            Self::Vector => "vector unit",
            Self::Host => "host link",
            Self::Memory => "card memory",
            Self::Command => "command processor",
        }
    }
}

/// The bounds of one run, the tightest first.
pub fn bounds(
    program: &Program,
    chip: &ChipDescription,
    symbols: u64,
    engine_busy: &BTreeMap<Engine, Cycles>,
) -> Vec<Bound> {
    let arrays = chip.array.arrays as f64;
    let of = |like: fn(&Engine) -> bool| {
        let units = engine_busy.iter().filter(move |(engine, _)| like(engine));
        units.map(|(_, busy)| busy.0 as f64)
    };
    let all = |like| of(like).sum::<f64>();
    let busiest = |like| of(like).fold(0.0, f64::max);
    let loaders = all(|unit| matches!(unit, Engine::Loader(_))) / arrays;
    let kinds = [
        (BoundKind::WeightLoad, loaders.max(all(|unit| *unit == Engine::WeightMemory))),
        (BoundKind::Stream, all(|unit| matches!(unit, Engine::Array(_))) / arrays),
        (BoundKind::Converter, converter_cycles(program, chip, symbols)),
        (BoundKind::Vector, all(|unit| *unit == Engine::Vector)),
        (BoundKind::Host, busiest(|unit| matches!(unit, Engine::HostIn | Engine::HostOut))),
        (
            BoundKind::Memory,
            busiest(|unit| matches!(unit, Engine::MemoryPort(_) | Engine::Accumulator(_))),
        ),
        (BoundKind::Command, all(|unit| *unit == Engine::Command)),
    ];
    let macs = program.useful_macs_per_symbol as f64 * symbols as f64;
    let rate = chip.clock.symbol_rate_hz.value;
    let mut bounds: Vec<Bound> = kinds
        .into_iter()
        .map(|(kind, cycles)| {
            let useful_macs_per_s = if cycles > 0.0 { macs * rate / cycles } else { 0.0 };
            Bound { kind, cycles, useful_macs_per_s }
        })
        .collect();
    bounds.sort_by(|a, b| b.cycles.total_cmp(&a.cycles).then(a.kind.cmp(&b.kind)));
    bounds
}

/// Cycles in which the converters make the codes that are used: padding is not.
fn converter_cycles(program: &Program, chip: &ChipDescription, symbols: u64) -> f64 {
    let (mut drives, mut samples) = (0.0, 0.0);
    for step in &program.steps {
        let Action::Stream { tile, from, from_offset, to, to_offset, .. } = step.action else {
            continue;
        };
        let (inputs, outputs) = program.tile_shape(tile);
        let taken = inputs.min(program.buffer(from).len.saturating_sub(from_offset as usize));
        let made = outputs.min(program.buffer(to).len.saturating_sub(to_offset as usize));
        let vectors = step.symbols.count_in(symbols) as f64;
        drives += vectors * taken as f64;
        samples += vectors * made as f64;
    }
    let array = &chip.array;
    let units = (array.arrays * array.wavelengths) as f64;
    let pairs = chip.receiver.readout.pairs();
    let of_inputs = drives / (units * 2.0 * array.inputs as f64);
    let of_outputs = samples / (units * (pairs * array.outputs) as f64);
    of_inputs.max(of_outputs)
}
