//! Deterministic training of byte-level, hierarchical mixture-of-experts transformers, and the
//! corpus of the shipped model.
//!
//! The forward pass is the written order of the runtime, so that a trained model gives the same
//! logits there, bit for bit. Gradients are written by hand, one rule beside each operation.
//!
//! **Invariant:** work is cut into parts that do not depend on the number of threads, and every sum
//! has a written order: equal recipes and equal texts give equal weights on every machine.

mod attention;
pub mod bigram;
mod config;
pub mod corpus;
mod evaluate;
mod experts;
#[cfg(test)]
mod gradient_check;
mod loss;
mod network;
mod norm;
mod optimizer;
mod packed;
mod router;
mod router_loss;
mod sums;
mod trainer;
mod usage;
mod weights;

pub use config::{BalanceConfig, InvalidTrainConfig, TierDropout, TrainConfig, TrainOffence};
pub use evaluate::logits;
pub use trainer::{StepReport, TrainError, TrainedModel, Trainer, TrainingText, train};
pub use usage::UsageEntropy;

/// The recipe of the shipped model: a [`TrainConfig`] in TOML.
///
/// With [`corpus::embedded_training_text`] it gives the shipped weights, bit for bit.
pub const EMBEDDED_RECIPE: &str = include_str!("../recipes/embedded.toml");
