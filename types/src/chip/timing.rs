//! How long each step of a program takes: the only place where durations come from.

use super::ChipDescription;
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
                busy: cycles(self.cell.settling_s.value),
                latency: Cycles::ZERO,
            },
            Action::Stream { array, .. } => StepTiming {
                engine: Engine::Array(array),
                // One symbol on each wavelength at a time.
                busy: Cycles(symbols.div_ceil(self.array.wavelengths as u64)),
                latency: cycles(self.receiver.pipeline_s.value),
            },
            Action::Quantise { from, .. } | Action::Dequantise { from, .. } => {
                vector(program.buffer(from).len)
            }
            Action::SwiGlu { to, .. } => vector(program.buffer(to).len),
        }
    }
}
