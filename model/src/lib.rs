//! What a model is: configuration, tiers, experts, routing, checkpoints and the tokenizer.
//!
//! A model is a stack of layers, each with attention and a three-level mixture of experts
//! (tier, then group, then expert). This crate holds everything about it that does not multiply
//! matrices: the numbers that describe it ([`ModelConfig`]), the names and shapes of its tensors
//! ([`names`]), which experts a token goes to ([`routing`]) and how it lies on disk
//! ([`checkpoint`]). The forward pass lives in the runtime and in the trainer.

mod attention;
pub mod checkpoint;
mod config;
pub mod embedded;
mod expert;
pub mod import;
pub mod names;
mod parameters;
pub mod routing;
mod tensor;
mod tier;
mod tokenizer;
mod vocabulary;

pub use attention::{AttentionConfig, QueryKeyNorm, RopeScaling, SlidingLayers};
pub use config::{ConfigOffence, InvalidConfig, ModelConfig, RoutingConfig, RoutingRule};
pub use expert::ExpertKey;
pub use litecore_types::Seed as Seed128;
pub use parameters::ParameterCounts;
pub use tensor::{Tensor, TensorShapeMismatch};
pub use tier::{
    InvalidTierId, Placement, TierConfig, TierId, TierMask, TierMode, TierSet, TierSetSyntax,
    UnknownTier,
};
pub use tokenizer::{ByteTokenizer, InvalidToken};
pub use vocabulary::{Encoding, TextStream, Tokenizer, TokenizerError};
