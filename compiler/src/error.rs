//! Why a layer cannot be compiled: which layer, what is wrong, what to do.

use crate::ArtifactError;
use litecore_model::checkpoint::CheckpointError;
use litecore_types::chip::ChipError;
use litecore_types::program::Violation;

/// Why a layer, or the model it belongs to, cannot be compiled for a chip.
///
/// Every message names the layer, the reason and the remedy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompileError {
    /// A matrix without outputs or inputs.
    #[error("layer `{layer}` is {outputs}x{inputs}: give it at least one output and one input")]
    EmptyLayer {
        /// The layer.
        layer: String,
        /// Outputs asked for.
        outputs: usize,
        /// Inputs asked for.
        inputs: usize,
    },
    /// A matrix whose shape does not hold as many weights as were given.
    #[error(
        "layer `{layer}` is {outputs}x{inputs} but has {found} weights: \
         give outputs times inputs of them, row by row"
    )]
    WeightCount {
        /// The layer.
        layer: String,
        /// Its outputs.
        outputs: usize,
        /// Its inputs.
        inputs: usize,
        /// How many weights there are.
        found: usize,
    },
    /// A weight that is a NaN or infinite.
    #[error(
        "layer `{layer}`: the weight in row {row}, column {column} is not finite: \
         repair the checkpoint, it may come from a diverged training run"
    )]
    NonFiniteWeight {
        /// The layer.
        layer: String,
        /// Output index.
        row: usize,
        /// Input index.
        column: usize,
    },
    /// A row of weights so large that its scale is not a finite `f32`.
    #[error(
        "layer `{layer}`: the scale of row {row} exceeds the range of f32: \
         scale the row down, its weights are beyond use"
    )]
    ScaleOverflow {
        /// The layer.
        layer: String,
        /// Output index.
        row: usize,
    },
    /// Samples that are not a whole number of input vectors.
    #[error(
        "layer `{layer}`: {elements} sample elements are not whole vectors of {inputs}: \
         give rows of the layer's inputs, or none"
    )]
    SampleCount {
        /// The layer.
        layer: String,
        /// Elements given.
        elements: usize,
        /// Inputs of the layer.
        inputs: usize,
    },
    /// A sample, or what the layer makes of it, that is a NaN or infinite.
    #[error(
        "layer `{layer}`: element {element} of sample {sample} is not finite: \
         leave the sample out, or look for an overflow before this layer"
    )]
    NonFiniteSample {
        /// The layer whose input it is.
        layer: String,
        /// Which sample, counted over those that are used.
        sample: usize,
        /// Which element of it.
        element: usize,
    },
    /// Partial sums that may not fit the card's 32-bit accumulators.
    #[error(
        "layer `{layer}`: {k_tiles} partial sums of output {output} may need {bits} bits, \
         accumulators have 32: split the layer's inputs, or use a chip with fewer ADC bits, \
         more rows or a lower receiver.gain_log2_max"
    )]
    AccumulatorOverflow {
        /// The layer.
        layer: String,
        /// First output of the slice.
        output: usize,
        /// Partial sums that are added.
        k_tiles: usize,
        /// Bits the worst sum needs, sign included.
        bits: u32,
    },
    /// Buffers that do not fit the card's memory even for a single symbol.
    #[error(
        "layer `{layer}`: one symbol needs {needed_bytes} bytes of card memory, \
         chip `{chip}` has {sram_bytes}: split the layer, or raise memory.sram_bytes"
    )]
    OutOfMemory {
        /// The layer.
        layer: String,
        /// The chip.
        chip: String,
        /// What one symbol takes.
        needed_bytes: u64,
        /// What there is.
        sram_bytes: u64,
    },
    /// More tiles or buffer elements than one program may have.
    #[error(
        "`{layer}` needs {needed} {what}, the most is {limit}: \
         split it, or use a chip whose arrays fit its matrices"
    )]
    TooLarge {
        /// The layer.
        layer: String,
        /// What there is too much of.
        what: &'static str,
        /// How many the layer needs.
        needed: usize,
        /// The most a program may have.
        limit: usize,
    },
    /// An option with a value that makes no sense.
    #[error("layer `{layer}`: option `{option}` is zero: give at least one")]
    ZeroOption {
        /// The layer.
        layer: String,
        /// The option's name.
        option: &'static str,
    },
    /// An option with a value outside its range.
    #[error("layer `{layer}`: option `{option}` is {value}: give a finite value within its range")]
    OptionRange {
        /// The layer.
        layer: String,
        /// The option's name.
        option: &'static str,
        /// Its value.
        value: f64,
    },
    /// A chip that the compiler has no lowering for.
    #[error(
        "layer `{layer}`: chip `{chip}` has {key} = {value}, the compiler covers {covered}: \
         change the chip description"
    )]
    UnsupportedChip {
        /// The layer.
        layer: String,
        /// The chip.
        chip: String,
        /// Key in the chip description.
        key: &'static str,
        /// Its value.
        value: usize,
        /// What the compiler covers.
        covered: &'static str,
    },
    /// A chip description that is not what its text says.
    #[error(
        "model `{model}`: the chip `{chip}` is not the one its text describes: \
         give the text the description was read from, overrides included"
    )]
    ChipTextMismatch {
        /// The model.
        model: String,
        /// The chip.
        chip: String,
    },
    /// A chip text that is not a chip description.
    #[error("model `{model}`: the chip text cannot be read: correct the keys that are named")]
    ChipText {
        /// The model.
        model: String,
        /// What is wrong with it.
        source: ChipError,
    },
    /// A tensor that cannot be read.
    #[error("layer `{layer}`: tensor `{tensor}` cannot be read: verify the checkpoint")]
    Tensor {
        /// The layer, or the model for a dense tensor.
        layer: String,
        /// The tensor.
        tensor: String,
        /// What the checkpoint says.
        source: Box<CheckpointError>,
    },
    /// A shard of the checkpoint is not what its manifest says.
    #[error("model `{model}`: what was compiled is not the checkpoint: verify the checkpoint")]
    Checkpoint {
        /// The model.
        model: String,
        /// What the checkpoint says.
        source: Box<CheckpointError>,
    },
    /// The model's tokenizer cannot be read.
    #[error("model `{model}`: its tokenizer cannot be read: verify the checkpoint")]
    Tokenizer {
        /// The model.
        model: String,
        /// What the checkpoint says.
        source: Box<CheckpointError>,
    },
    /// Whoever looked on had it stopped.
    #[error("model `{model}`: compilation was stopped")]
    Stopped {
        /// The model.
        model: String,
    },
    /// The compiled model cannot be written.
    #[error("{source}")]
    Artifact {
        /// Which file, and why.
        #[from]
        source: ArtifactError,
    },
    /// The verifier refused what the compiler made: an error in the compiler, not in its input.
    #[error(
        "layer `{layer}`: the compiler broke {} of its own promises, first: {}: \
         this is a bug, report it with the chip and the shape of the layer",
        violations.len(),
        first(violations)
    )]
    PassBug {
        /// The layer.
        layer: String,
        /// Everything the verifier found.
        violations: Vec<Violation>,
    },
}

fn first(violations: &[Violation]) -> String {
    violations.first().map_or_else(String::new, ToString::to_string)
}
