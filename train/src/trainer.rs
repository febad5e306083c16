//! The training loop: batches, steps, reports and the finished model.

use std::collections::BTreeMap;

use litecore_model::routing::RoutingError;
use litecore_model::{ModelConfig, Tensor, TierMask, TierSet, UnknownTier};

use crate::config::{InvalidTrainConfig, TrainConfig};
use crate::corpus::mix;
use crate::evaluate::Evaluator;
use crate::network::{Batch, Network};
use crate::optimizer::{AdamW, learning_rate};
use crate::packed::PackedWeights;
use crate::usage::{UsageEntropy, usage_entropy};
use crate::weights::{Layout, round_to_bf16};

/// The text of a training run.
#[derive(Debug, Clone, Copy)]
pub struct TrainingText<'a> {
    /// Bytes to learn from.
    pub training: &'a [u8],
    /// Bytes to judge by; may be empty, then nothing is judged.
    pub heldout: &'a [u8],
}

/// What happened in one step.
#[derive(Debug, Clone, PartialEq)]
pub struct StepReport {
    /// The step, counted from one.
    pub step: u32,
    /// How many steps there will be.
    pub steps: u32,
    /// Mean next-byte cross-entropy of the batch before the step. Unit: nats.
    pub loss_nats: f64,
    /// The load-balance penalty of the batch. Unit: nats.
    pub balance_nats: f64,
    /// The norm of the gradient before clipping.
    pub gradient_norm: f32,
    /// The learning rate of the step.
    pub learning_rate: f32,
    /// Bytes seen so far.
    pub tokens: u64,
    /// How evenly the batch used tiers, groups and experts.
    pub usage: UsageEntropy,
    /// Held-out bits per byte of the weights after the step, rounded to bf16; only where the recipe
    /// asks for it.
    pub heldout_bits_per_byte: Option<f64>,
}

/// A model with its weights.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainedModel {
    /// What the model is.
    pub config: ModelConfig,
    /// All its tensors by name, in f32.
    pub tensors: BTreeMap<String, Tensor>,
}

/// Why a training run cannot start or go on.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TrainError {
    /// The recipe makes no sense.
    #[error(transparent)]
    Config(#[from] InvalidTrainConfig),
    /// The text is shorter than one sequence and the byte after it.
    #[error(
        "the training text has {bytes} bytes, one sequence needs {needed}: \
         give more text or lower `sequence_len`"
    )]
    TextTooShort {
        /// How long the text is.
        bytes: usize,
        /// How long it must be.
        needed: usize,
    },
    /// A sequence to judge is empty or longer than the attention window.
    #[error("a sequence of {bytes} bytes: give 1 to {maximum}, the attention window")]
    SequenceLength {
        /// How long the sequence is.
        bytes: usize,
        /// The attention window of the model.
        maximum: usize,
    },
    /// The weights left the range of numbers.
    #[error(
        "training diverged in step {step}, loss {loss_nats}: \
         lower `learning_rate` or raise `warmup`"
    )]
    Diverged {
        /// The step, counted from one.
        step: u32,
        /// The last loss.
        loss_nats: f64,
    },
    /// A router gave something that is not a number.
    #[error("step {step}: {source}; lower `learning_rate` or raise `warmup`")]
    Routing {
        /// The step, counted from one.
        step: u32,
        /// What the router says.
        source: RoutingError,
    },
    /// A tier set names a tier that the model does not have.
    #[error(transparent)]
    UnknownTier(#[from] UnknownTier),
    /// A tensor of a model to judge is missing or has another shape than the configuration says.
    #[error("tensor `{tensor}` is missing or has the wrong shape: give the model's own tensors")]
    Tensor {
        /// The name of the tensor.
        tensor: String,
    },
}

/// Trains a model from scratch and reports every step.
///
/// The result depends on the recipe and the text alone: not on the machine, nor on the number of
/// threads of the current rayon pool.
pub fn train(
    config: &TrainConfig,
    text: &TrainingText,
    progress: &mut dyn FnMut(&StepReport),
) -> Result<TrainedModel, TrainError> {
    let mut trainer = Trainer::new(config, text)?;
    while !trainer.is_done() {
        progress(&trainer.step()?);
    }
    Ok(trainer.model())
}

/// A training run that is advanced step by step.
pub struct Trainer<'t> {
    config: TrainConfig,
    text: TrainingText<'t>,
    layout: Layout,
    values: Vec<f32>,
    gradient: Vec<f32>,
    packed: PackedWeights,
    optimizer: AdamW,
    network: Network,
    /// The mask of every tier dropout, with the upper end of its range of the unit interval.
    dropouts: Vec<(f64, TierMask)>,
    everything: TierMask,
    done: u32,
}

impl std::fmt::Debug for Trainer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trainer").field("config", &self.config).field("done", &self.done).finish()
    }
}

impl<'t> Trainer<'t> {
    /// Checks the recipe and the text and sets the starting weights.
    ///
    /// Errors: [`TrainError::Config`], [`TrainError::TextTooShort`].
    pub fn new(config: &TrainConfig, text: &TrainingText<'t>) -> Result<Self, TrainError> {
        config.validate()?;
        let needed = config.sequence_len + 1;
        if text.training.len() < needed {
            return Err(TrainError::TextTooShort { bytes: text.training.len(), needed });
        }
        let layout = Layout::new(&config.model);
        let values = layout.initial(config.seed);
        let packed = PackedWeights::new(&layout, &values, config.model.width);
        let everything = TierMask::all(&config.model);
        let mut end = 0.0;
        let mut dropouts = Vec::with_capacity(config.tier_dropout.len());
        for dropout in &config.tier_dropout {
            end += f64::from(dropout.share);
            dropouts.push((end, dropout.tiers.resolve(&config.model)?));
        }
        Ok(Self {
            gradient: vec![0.0; layout.length],
            optimizer: AdamW::new(&layout),
            network: Network::new(&config.model, config.sequence_len),
            config: config.clone(),
            text: *text,
            layout,
            values,
            packed,
            dropouts,
            everything,
            done: 0,
        })
    }

    /// Whether all steps of the recipe are taken.
    pub fn is_done(&self) -> bool {
        self.done >= self.config.steps
    }

    /// Takes one step.
    ///
    /// Errors: [`TrainError::Routing`], [`TrainError::Diverged`].
    pub fn step(&mut self) -> Result<StepReport, TrainError> {
        let step = self.done + 1;
        let batch = self.batch();
        let routing = |source| TrainError::Routing { step, source };
        let (layout, values) = (&self.layout, &self.values);
        self.network.forward(layout, values, &self.packed, &batch).map_err(routing)?;
        let usage = usage_entropy(&self.config.model, &self.network.usage());
        let balance = &self.config.balance;
        let losses = self.network.backward(
            layout,
            values,
            &self.packed,
            &batch,
            balance,
            &mut self.gradient,
        );
        let loss_nats = losses.cross_entropy;
        let rate = learning_rate(&self.config, self.done);
        let norm = self.optimizer.step(&self.config, rate, &self.gradient, &mut self.values);
        if !(loss_nats.is_finite() && norm.is_finite()) {
            return Err(TrainError::Diverged { step, loss_nats });
        }
        self.packed.refill(&self.layout, &self.values);
        self.done = step;
        let every = self.config.evaluate_every;
        let due = self.is_done() || (every > 0 && step.is_multiple_of(every));
        let heldout_bits_per_byte = if due && self.text.heldout.len() > 1 {
            let limit = if self.is_done() { usize::MAX } else { 1 << 14 };
            Some(self.heldout_bits_per_byte(&TierSet::All, limit)?)
        } else {
            None
        };
        Ok(StepReport {
            step,
            steps: self.config.steps,
            loss_nats,
            balance_nats: losses.balance,
            gradient_norm: norm,
            learning_rate: rate,
            tokens: u64::from(step) * self.config.tokens_per_step() as u64,
            usage,
            heldout_bits_per_byte,
        })
    }

    /// Bits per byte on the first `limit` bytes of the held-out text, with weights rounded to bf16
    /// and only the given tiers. Zero if there is nothing to judge.
    ///
    /// Errors: [`TrainError::UnknownTier`], [`TrainError::Routing`].
    pub fn heldout_bits_per_byte(&self, tiers: &TierSet, limit: usize) -> Result<f64, TrainError> {
        let routing = |source| TrainError::Routing { step: self.done, source };
        let values: Vec<f32> = self.values.iter().map(|&value| round_to_bf16(value)).collect();
        let evaluator = Evaluator::new(&self.config.model, &self.layout, &values);
        let mask = tiers.resolve(&self.config.model)?;
        let text = &self.text.heldout[..self.text.heldout.len().min(limit)];
        evaluator.bits_per_byte(text, &mask, self.config.sequence_len).map_err(routing)
    }

    /// The model as it is now.
    pub fn model(&self) -> TrainedModel {
        TrainedModel { config: self.config.model.clone(), tensors: self.layout.named(&self.values) }
    }

    /// The batch of the next step: windows and tier sets drawn from the seed, the step and the
    /// sequence's index.
    fn batch(&self) -> Batch {
        let length = self.config.sequence_len;
        let mut inputs = Vec::with_capacity(self.config.tokens_per_step());
        let mut targets = Vec::with_capacity(self.config.tokens_per_step());
        let mut masks = Vec::with_capacity(self.config.batch_sequences);
        let starts = (self.text.training.len() - length) as u64;
        for sequence in 0..self.config.batch_sequences as u64 {
            let key =
                mix(mix(self.config.seed ^ (u64::from(self.done) << 20)).wrapping_add(sequence));
            let start = usize::try_from(mix(key ^ 0x77_69_6e) % starts).unwrap_or(0);
            let window = &self.text.training[start..=start + length];
            inputs.extend_from_slice(&window[..length]);
            targets.extend_from_slice(&window[1..]);
            masks.push(self.mask(mix(key ^ 0x74_69_65_72)));
        }
        Batch { inputs, targets, masks }
    }

    fn mask(&self, key: u64) -> TierMask {
        let place = (key >> 11) as f64 / (1_u64 << 53) as f64;
        let dropout = self.dropouts.iter().find(|(end, _)| place < *end);
        dropout.map_or(&self.everything, |(_, mask)| mask).clone()
    }
}
