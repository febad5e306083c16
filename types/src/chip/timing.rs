//! How long each step of a program takes: the only place where durations come from.

use super::{ChipDescription, Dataflow};
use crate::Cycles;
use crate::program::{Action, Program};
use serde::Serialize;
use std::fmt;

/// A unit of the card that works through its steps in program order, one at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Engine {
    /// Moves vectors between host and card memory.
    HostLink,
    /// Writes weight codes into the banks of one array.
    Loader(u16),
    /// Streams symbols through one array.
    Array(u16),
    /// Quantises, rescales, activates.
    Vector,
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HostLink => write!(f, "host link"),
            Self::Loader(array) => write!(f, "weight loader {array}"),
            Self::Array(array) => write!(f, "array {array}"),
            Self::Vector => write!(f, "vector unit"),
        }
    }
}

/// When a step holds its engine, and when its result may be used.
///
/// A step that starts at `t` frees its engine at `t + busy` and is finished at
/// `t + busy + latency`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepTiming {
    /// The unit that executes the step.
    pub engine: Engine,
    /// Cycles the engine is taken.
    pub busy: Cycles,
    /// Further cycles until the result is there.
    pub latency: Cycles,
}

impl ChipDescription {
    /// Cycles that so many input vectors take through one array: one on each wavelength at a time;
    /// where both operands are streamed, a block of as many as there are lanes, on each wavelength,
    /// in as many symbols as a vector has pairs of codes.
    pub fn stream_cycles(&self, vectors: u64) -> Cycles {
        let at_once = vectors.div_ceil(self.array.wavelengths as u64);
        match self.array.dataflow {
            Dataflow::WeightStationary => Cycles(at_once),
            Dataflow::OutputStationary => {
                let lanes = self.array.inputs as u64;
                Cycles(at_once.div_ceil(lanes) * lanes)
            }
        }
    }

    /// Weight codes that are sent for so many input vectors: none where cells hold them, else the
    /// whole tile for each block of vectors.
    pub fn weight_drives(&self, vectors: u64) -> u64 {
        match self.array.dataflow {
            Dataflow::WeightStationary => 0,
            Dataflow::OutputStationary => {
                let tile = self.tile_inputs() as u64 * self.tile_outputs() as u64;
                vectors.div_ceil(self.array.inputs as u64) * tile
            }
        }
    }

    /// The engine and duration of `action` when `program` runs on `symbols` input vectors.
    ///
    /// Panics: if a buffer index is out of range; programs are verified before they are timed.
    pub fn step_timing(&self, program: &Program, action: &Action, symbols: u64) -> StepTiming {
        let rate = self.clock.symbol_rate_hz.value;
        let cycles = |seconds: f64| Cycles::at_least(seconds, rate);
        let elements = |len: usize| symbols as f64 * len as f64;
        let vector = |len: usize| StepTiming {
            engine: Engine::Vector,
            busy: cycles(elements(len) / self.vector.elements_per_s.value),
            latency: cycles(self.vector.latency_s.value),
        };
        let link = |bytes: usize| StepTiming {
            engine: Engine::HostLink,
            busy: cycles(elements(bytes) / self.host.bytes_per_s.value),
            latency: cycles(self.host.latency_s.value),
        };
        match *action {
            Action::MoveIn { to } => link(program.buffer(to).bytes_per_symbol()),
            Action::MoveOut { from } => link(program.buffer(from).bytes_per_symbol()),
            Action::LoadBank { array, tile, .. } => StepTiming {
                engine: Engine::Loader(array),
                busy: cycles(
                    program.tile(tile).codes.len() as f64 / self.weights.load_bytes_per_s.value,
                ),
                latency: Cycles::ZERO,
            },
            // The banks drive the same cells: light is lost while they change, whoever loads what.
            Action::Settle { array, .. } => StepTiming {
                engine: Engine::Array(array),
                busy: match self.array.dataflow {
                    Dataflow::WeightStationary => cycles(self.cell.settling_s.value),
                    // Nothing is held that could settle.
                    Dataflow::OutputStationary => Cycles::ZERO,
                },
                latency: Cycles::ZERO,
            },
            Action::Stream { array, .. } => StepTiming {
                engine: Engine::Array(array),
                busy: self.stream_cycles(symbols),
                latency: cycles(self.receiver.pipeline_s.value),
            },
            Action::Quantise { from, .. } | Action::Dequantise { from, .. } => {
                vector(program.buffer(from).len)
            }
            Action::SwiGlu { to, .. } => vector(program.buffer(to).len),
        }
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
