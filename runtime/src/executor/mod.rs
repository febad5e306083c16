//! Executors: who computes the experts, and what it cost.

mod float;
mod integer;
mod measured;
mod photonic;
mod recorder;

pub use float::FloatExecutor;
pub use integer::IntegerExecutor;
pub use measured::{LayerFidelity, Measured, Signal};
pub use photonic::PhotonicExecutor;
pub use recorder::InputRecorder;

use crate::RuntimeError;
use litecore_hal::SymbolTag;
use litecore_model::ExpertKey;
use litecore_types::{Cycles, EnergyLedger};
use std::fmt;
use std::str::FromStr;

/// Tokens for one expert.
#[derive(Clone, Copy, Debug)]
pub struct ExpertCall<'a> {
    /// The layer.
    pub layer: u32,
    /// The expert.
    pub key: ExpertKey,
    /// A name for each token, the same however the tokens are batched.
    pub tags: &'a [SymbolTag],
    /// Normed hidden states. Shape: tokens × width.
    pub inputs: &'a [f32],
}

/// Computes experts. What an executor does not cover it refuses; it never falls back.
pub trait Executor {
    /// The name on the command line.
    fn name(&self) -> &'static str;

    /// Runs one expert on some tokens; `outputs` becomes tokens × width.
    fn run(&mut self, call: &ExpertCall<'_>, outputs: &mut Vec<f32>) -> Result<(), RuntimeError>;

    /// What the runs so far cost on the card; all zero for an executor without one.
    fn account(&self) -> Account {
        Account::default()
    }
}

/// What runs cost on a card.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Account {
    /// Expert runs.
    pub runs: u64,
    /// Tokens over all runs.
    pub symbols: u64,
    /// Multiply-accumulates of the model's own matrices; padding is not counted.
    pub useful_macs: u64,
    /// Card time.
    pub cycles: Cycles,
    /// What the compiler predicted for the same runs.
    pub cycles_predicted: Cycles,
    /// Cycles in which something was on its way over the host link, as predicted; units overlap.
    pub host_link: Cycles,
    /// Cycles the weight loaders worked, as predicted.
    pub loading: Cycles,
    /// Cycles the arrays streamed, as predicted.
    pub streaming: Cycles,
    /// Joules by component.
    pub energy: EnergyLedger,
    /// Whether the device could tell its energy for every run.
    pub energy_known: bool,
}

impl Account {
    /// What was added since `earlier`, a former state of this account.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            runs: self.runs - earlier.runs,
            symbols: self.symbols - earlier.symbols,
            useful_macs: self.useful_macs - earlier.useful_macs,
            cycles: self.cycles - earlier.cycles,
            cycles_predicted: self.cycles_predicted - earlier.cycles_predicted,
            host_link: self.host_link - earlier.host_link,
            loading: self.loading - earlier.loading,
            streaming: self.streaming - earlier.streaming,
            energy: self.energy.since(&earlier.energy),
            energy_known: self.energy_known,
        }
    }
}

/// The executors a user can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ExecutorKind {
    /// The model as trained, single precision.
    F32,
    /// Compiled programs, scalar definition.
    Reference,
    /// Compiled programs, vector instructions, the same bits.
    Cpu,
    /// Compiled programs on a device.
    Photonic,
}

impl ExecutorKind {
    /// Every executor, in report order.
    pub const ALL: [Self; 4] = [Self::F32, Self::Reference, Self::Cpu, Self::Photonic];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Reference => "reference",
            Self::Cpu => "cpu",
            Self::Photonic => "photonic",
        }
    }
}

impl fmt::Display for ExecutorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that names no executor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no executor `{text}`: choose f32, reference, cpu or photonic{hint}")]
pub struct ParseExecutorError {
    text: String,
    hint: &'static str,
}

impl FromStr for ExecutorKind {
    type Err = ParseExecutorError;
    fn from_str(text: &str) -> Result<Self, ParseExecutorError> {
        Self::ALL.into_iter().find(|kind| kind.name() == text).ok_or_else(|| {
            let hint = if text == "gpu" { " (the gpu executor is not built yet)" } else { "" };
            ParseExecutorError { text: text.to_owned(), hint }
        })
    }
}
