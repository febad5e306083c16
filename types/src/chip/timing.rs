//! How long each step of a program takes, and on what: the only place where durations come from.
//!
//! The card works as follows. The command processor reads the steps of a program in order, one each
//! `command.issue_s`, and never waits: a step that is issued stands in line at the units it needs.
//! Every unit serves its steps in program order. A step starts when it has been issued, the steps
//! in its `after` list have finished, and every unit it uses is free; it then takes each unit for a
//! time of its own, and has finished when the longest of these times and its latency have passed,
//! but not before the step ahead of it in its lane ([`crate::program::Lane`]). A step whose symbols
//! the run does not have is dropped at its issue: it uses no unit and no energy, and counts as
//! finished once all it waits for has.

use super::{ChipDescription, Dataflow};
use crate::Cycles;
use crate::program::{Action, Program, Step};
use serde::Serialize;
use std::fmt;

/// A unit of the card that serves its steps in program order, one at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Engine {
    /// Reads the program and issues its steps.
    Command,
    /// The link's direction from the host.
    HostIn,
    /// The link's direction to the host.
    HostOut,
    /// The channel to where the weights are kept, shared by all loaders.
    WeightMemory,
    /// Writes weight codes into the banks of one array.
    Loader(u16),
    /// Streams symbols through one array: modulators, cells, receivers, converters.
    Array(u16),
    /// Adds one array's codes to its partial sums.
    Accumulator(u16),
    /// Quantises, rescales, activates.
    Vector,
    /// A port of the card's memory; each belongs to one user.
    MemoryPort(PortUser),
}

impl Engine {
    /// The unit that does the work of an action.
    pub fn of(action: &Action) -> Self {
        match *action {
            Action::MoveIn { .. } => Self::HostIn,
            Action::MoveOut { .. } => Self::HostOut,
            Action::LoadBank { array, .. } => Self::Loader(array),
            Action::Settle { array, .. } | Action::Stream { array, .. } => Self::Array(array),
            Action::Quantise { .. }
            | Action::Dequantise { .. }
            | Action::SwiGlu { .. }
            | Action::Rotate { .. } => Self::Vector,
        }
    }
}

/// Who a port of the card's memory belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PortUser {
    /// What comes from the host.
    HostIn,
    /// What goes to the host.
    HostOut,
    /// The vector unit.
    Vector,
    /// The input converters of one array.
    Array(u16),
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command => write!(f, "command processor"),
            Self::HostIn => write!(f, "host link in"),
            Self::HostOut => write!(f, "host link out"),
            Self::WeightMemory => write!(f, "weight memory"),
            Self::Loader(array) => write!(f, "weight loader {array}"),
            Self::Array(array) => write!(f, "array {array}"),
            Self::Accumulator(array) => write!(f, "accumulators of array {array}"),
            Self::Vector => write!(f, "vector unit"),
            Self::MemoryPort(PortUser::HostIn) => write!(f, "memory port of host link in"),
            Self::MemoryPort(PortUser::HostOut) => write!(f, "memory port of host link out"),
            Self::MemoryPort(PortUser::Vector) => write!(f, "memory port of the vector unit"),
            Self::MemoryPort(PortUser::Array(array)) => {
                write!(f, "memory port of array {array}")
            }
        }
    }
}

/// Which units a step takes and for how long, and when its result may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepTiming {
    /// The unit that does the work.
    pub engine: Engine,
    /// Cycles that unit is taken.
    pub busy: Cycles,
    /// Other units that are taken from the same moment on.
    pub also: [Option<(Engine, Cycles)>; 2],
    /// Further cycles, after the last unit is free, until the result is there.
    pub latency: Cycles,
}

impl StepTiming {
    /// Every unit and how long it is taken; the one that does the work first.
    pub fn uses(&self) -> impl Iterator<Item = (Engine, Cycles)> + use<> {
        std::iter::once((self.engine, self.busy)).chain(self.also.into_iter().flatten())
    }

    /// Cycles until the last unit is free.
    pub fn occupied(&self) -> Cycles {
        self.uses().map(|(_, busy)| busy).max().unwrap_or_default()
    }

    /// Cycles from its start until the result is there.
    pub fn duration(&self) -> Cycles {
        self.occupied() + self.latency
    }
}

/// What an accumulator reads and writes for one code.
const BYTES_PER_SUM: usize = 8;

impl ChipDescription {
    /// Cycles that so many optical symbols take through one array: one on each wavelength at a time;
    /// where both operands are streamed, a block of as many as there are lanes, on each wavelength,
    /// in as many symbols as an array has inputs.
    pub fn stream_cycles(&self, optical: u64) -> Cycles {
        let at_once = optical.div_ceil(self.array.wavelengths as u64);
        match self.array.dataflow {
            Dataflow::WeightStationary => Cycles(at_once),
            Dataflow::OutputStationary => {
                let lanes = self.array.inputs as u64;
                Cycles(at_once.div_ceil(lanes) * lanes)
            }
        }
    }

    /// Weight codes that are sent for so many optical symbols: none where cells hold them, else the
    /// whole tile for each block of them.
    pub fn weight_drives(&self, optical: u64) -> u64 {
        match self.array.dataflow {
            Dataflow::WeightStationary => 0,
            Dataflow::OutputStationary => {
                let tile = self.tile_inputs() as u64 * self.tile_outputs() as u64;
                optical.div_ceil(self.array.inputs as u64) * tile
            }
        }
    }

    /// Cycles the command processor takes for each step of a program, dropped ones included.
    pub fn issue_cycles(&self) -> Cycles {
        Cycles::at_least(self.command.issue_s.value, self.clock.symbol_rate_hz.value)
    }

    /// The units and durations of `step` when `program` runs on `symbols` input vectors, and nothing
    /// if it is dropped.
    ///
    /// Panics: if a buffer index is out of range; programs are verified before they are timed.
    pub fn step_timing(&self, program: &Program, step: &Step, symbols: u64) -> Option<StepTiming> {
        if step.symbols.dropped_in(symbols) {
            return None;
        }
        let count = step.symbols.count_in(symbols);
        let rate = self.clock.symbol_rate_hz.value;
        let cycles = |seconds: f64| Cycles::at_least(seconds, rate);
        let port = |bytes: f64| cycles(bytes / self.memory.port_bytes_per_s.value);
        let bytes = |id| count as f64 * program.buffer(id).bytes_per_symbol() as f64;
        let link = |engine, user, moved: f64| StepTiming {
            engine,
            busy: cycles(moved / self.host.bytes_per_s.value),
            also: [Some((Engine::MemoryPort(user), port(moved))), None],
            latency: cycles(self.host.latency_s.value),
        };
        let vector = |elements: usize, moved: f64| StepTiming {
            engine: Engine::Vector,
            busy: cycles(count as f64 * elements as f64 / self.vector.elements_per_s.value),
            also: [Some((Engine::MemoryPort(PortUser::Vector), port(moved))), None],
            latency: cycles(self.vector.latency_s.value),
        };
        Some(match step.action {
            Action::MoveIn { to } => link(Engine::HostIn, PortUser::HostIn, bytes(to)),
            Action::MoveOut { from } => link(Engine::HostOut, PortUser::HostOut, bytes(from)),
            Action::LoadBank { array, tile, .. } => {
                let codes = program.tile(tile).loaded_codes() as f64;
                let fetch = cycles(codes / self.weights.fetch_bytes_per_s.value);
                StepTiming {
                    engine: Engine::Loader(array),
                    busy: cycles(codes / self.weights.load_bytes_per_s.value),
                    also: [Some((Engine::WeightMemory, fetch)), None],
                    latency: Cycles::ZERO,
                }
            }
            // The banks drive the same cells: light is lost while they change, whoever loads what.
            Action::Settle { array, .. } => StepTiming {
                engine: Engine::Array(array),
                busy: match self.array.dataflow {
                    Dataflow::WeightStationary => cycles(self.cell.settling_s.value),
                    // Nothing is held that could settle.
                    Dataflow::OutputStationary => Cycles::ZERO,
                },
                also: [None; 2],
                latency: Cycles::ZERO,
            },
            Action::Stream { array, tile, .. } => {
                let packing = program.tile(tile).packing;
                let optical = count.div_ceil(packing.vectors());
                let (inputs, outputs) = program.tile_shape(tile);
                let codes = count as f64 * inputs as f64;
                let sums = count as f64 * (outputs * BYTES_PER_SUM) as f64;
                let adding = cycles(sums / self.memory.accumulator_bytes_per_s.value);
                StepTiming {
                    engine: Engine::Array(array),
                    busy: self.stream_cycles(optical),
                    also: [
                        Some((Engine::MemoryPort(PortUser::Array(array)), port(codes))),
                        Some((Engine::Accumulator(array), adding)),
                    ],
                    latency: cycles(self.receiver.pipeline_s.value),
                }
            }
            Action::Quantise { from, to, .. } | Action::Dequantise { from, to, .. } => {
                vector(program.buffer(from).len, bytes(from) + bytes(to))
            }
            // One pass for the factors, one for each stride.
            Action::Rotate { from, block, to, .. } => {
                let passes = 1 + block.max(1).ilog2() as usize;
                vector(program.buffer(from).len.saturating_mul(passes), bytes(from) + bytes(to))
            }
            Action::SwiGlu { gate, up, to } => {
                vector(program.buffer(to).len, bytes(gate) + bytes(up) + bytes(to))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::builtin;
    use crate::Cycles;

    #[test]
    fn streamed_operands_take_a_block_of_vectors_at_a_time() {
        let mut chip = builtin("ref-64-os").expect("shipped");
        // 64 vectors in 64 symbols; one vector takes as long.
        for (vectors, cycles, drives) in
            [(0, 0, 0), (1, 64, 8192), (64, 64, 8192), (65, 128, 16384)]
        {
            assert_eq!(chip.stream_cycles(vectors), Cycles(cycles), "{vectors}");
            assert_eq!(chip.weight_drives(vectors), drives, "{vectors}");
        }
        // Each wavelength carries a block, with weights of its own.
        chip.array.wavelengths = 2;
        assert_eq!((chip.stream_cycles(128), chip.weight_drives(128)), (Cycles(64), 16384));
        let chip = builtin("ref-64-eo").expect("shipped");
        assert_eq!((chip.stream_cycles(65), chip.weight_drives(65)), (Cycles(65), 0));
    }
}
