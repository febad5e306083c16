use litecore_hal::DeviceError;
use litecore_kernels::program::ExecuteError;
use litecore_model::checkpoint::CheckpointError;
use litecore_model::routing::RoutingError;
use litecore_model::{ExpertKey, InvalidConfig};

/// Why the runtime could not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// The model's numbers do not make sense together.
    #[error(transparent)]
    Config(#[from] InvalidConfig),
    /// The checkpoint could not be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A tensor that every model has is not there.
    #[error("the model has no tensor `{name}`: verify it with `litecore model verify`")]
    MissingTensor {
        /// Its name.
        name: String,
    },
    /// A tensor does not have the shape the configuration asks for.
    #[error("tensor `{name}` has shape {found:?}, the configuration asks for {expected:?}")]
    TensorShape {
        /// Its name.
        name: String,
        /// Its shape.
        found: Vec<usize>,
        /// What it should be.
        expected: Vec<usize>,
    },
    /// Bytes were given to a model whose tokens are others.
    #[error("the model has a vocabulary of {vocab}, not the 256 bytes: give it tokens")]
    Vocabulary {
        /// Its size.
        vocab: usize,
    },
    /// A token that the model does not have.
    #[error("there is no token {token}: the model has {vocab}, use its own tokenizer")]
    UnknownToken {
        /// The token.
        token: u32,
        /// How many there are.
        vocab: usize,
    },
    /// No routing decision could be made.
    #[error(transparent)]
    Routing(#[from] RoutingError),
    /// The executor has no such expert.
    #[error(
        "the {executor} executor has no expert {key} of layer {layer}: compile the model again"
    )]
    MissingExpert {
        /// Which executor.
        executor: &'static str,
        /// Which layer.
        layer: u32,
        /// Which expert.
        key: ExpertKey,
    },
    /// A program could not be executed.
    #[error("expert {key} of layer {layer}: {source}")]
    Execute {
        /// Which layer.
        layer: u32,
        /// Which expert.
        key: ExpertKey,
        /// Why.
        source: ExecuteError,
    },
    /// The device failed.
    #[error("expert {key} of layer {layer} on the device: {source}")]
    Device {
        /// Which layer.
        layer: u32,
        /// Which expert.
        key: ExpertKey,
        /// Why.
        source: DeviceError,
    },
    /// A device refused a program.
    #[error("loading `{program}`: {source}")]
    Load {
        /// The program's name.
        program: String,
        /// Why.
        source: DeviceError,
    },
    /// There is nothing to continue.
    #[error("the prompt is empty: give at least one byte, e.g. --prompt \"Q: \"")]
    EmptyPrompt,
    /// There is nothing to evaluate.
    #[error("the text has {bytes} bytes: evaluation needs at least 2, one to predict the other")]
    TextTooShort {
        /// Its length.
        bytes: usize,
    },
    /// A sampling temperature that is no temperature.
    #[error("temperature {given} is not a positive, finite number: leave it out for greedy")]
    Temperature {
        /// What was given.
        given: f32,
    },
    /// A logit is not a number.
    #[error("the model gave not-a-number as logit {index} at position {position}: verify it")]
    LogitNotANumber {
        /// Which byte.
        index: usize,
        /// Which position.
        position: u64,
    },
}
