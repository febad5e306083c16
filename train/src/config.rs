//! The recipe of a training run, and whether it makes sense.

use litecore_model::{InvalidConfig, ModelConfig, TierSet, UnknownTier};
use serde::{Deserialize, Serialize};

/// The most tokens per step: their logits alone take 1 GiB.
const TOKENS_MAX: usize = 1 << 20;
/// The most parameters: with gradient, moments and packed copies they take 48 GiB.
const PARAMETERS_MAX: usize = 1 << 31;

/// Everything a training run depends on but its text.
///
/// Reads from and writes to TOML and JSON. Equal recipes and equal texts give equal weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// How many optimizer steps to take.
    pub steps: u32,
    /// Sequences per step.
    pub batch_sequences: usize,
    /// Bytes per sequence; at most the model's attention window.
    pub sequence_len: usize,
    /// The learning rate at the end of the warm-up.
    pub learning_rate: f32,
    /// The learning rate that the schedule falls to, as a share of `learning_rate`; it would be
    /// reached one step after the last.
    #[serde(default = "usual_final_share")]
    pub final_share: f32,
    /// Steps over which the learning rate rises from zero.
    pub warmup: u32,
    /// Decoupled weight decay per unit of learning rate; norm gains do not decay.
    pub weight_decay: f32,
    /// The first-moment decay of `AdamW`.
    #[serde(default = "usual_beta1")]
    pub beta1: f32,
    /// The second-moment decay of `AdamW`.
    #[serde(default = "usual_beta2")]
    pub beta2: f32,
    /// The most the norm of the whole gradient may be; longer gradients are shortened to it.
    pub clip: f32,
    /// Fixes the starting weights, the batches and the tier dropout.
    pub seed: u64,
    /// Held-out bits per byte are measured every so many steps, and after the last; 0 is only then.
    #[serde(default)]
    pub evaluate_every: u32,
    /// Weights of the load-balance penalties.
    pub balance: BalanceConfig,
    /// Sequences that train with fewer tiers.
    #[serde(default)]
    pub tier_dropout: Vec<TierDropout>,
    /// The model to train.
    pub model: ModelConfig,
}

/// Weights of the load-balance penalty of each level of the router. Unit: nats per nat of
/// divergence.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BalanceConfig {
    /// Of the shares of the tiers.
    pub tier: f32,
    /// Of the shares of the groups within a tier.
    pub group: f32,
    /// Of the shares of the experts within a group.
    pub expert: f32,
}

/// A share of the sequences that may use only some tiers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TierDropout {
    /// The share of the sequences, 0 to 1.
    pub share: f32,
    /// The tiers they may use, such as `small` or `..=medium`.
    #[serde(with = "tier_set_text")]
    pub tiers: TierSet,
}

/// A recipe or a model that makes no sense, with everything that is wrong with it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("the training recipe or its model is invalid:{}", lines(offences))]
pub struct InvalidTrainConfig {
    /// All offences, in the order of the fields. Never empty.
    pub offences: Vec<TrainOffence>,
}

/// One thing wrong with a recipe.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TrainOffence {
    /// A count outside its limits.
    #[error("`{field}` is {value}: give {minimum} to {maximum}")]
    CountOutOfRange {
        /// The field.
        field: &'static str,
        /// Its value.
        value: usize,
        /// The least it may be.
        minimum: usize,
        /// The most it may be.
        maximum: usize,
    },
    /// A number outside its limits, or not a number.
    #[error("`{field}` is {value}: give a number from {minimum} to {maximum}")]
    NumberOutOfRange {
        /// The field.
        field: &'static str,
        /// Its value.
        value: f32,
        /// The least it may be.
        minimum: f32,
        /// The most it may be.
        maximum: f32,
    },
    /// The shares of the tier dropout exceed the whole.
    #[error("the shares of `tier_dropout` sum to {sum}: keep the sum at or below 1")]
    DropoutExceedsWhole {
        /// Their sum.
        sum: f32,
    },
    /// A tier dropout names a tier that the model does not have.
    #[error("`tier_dropout`: {0}")]
    DropoutTier(UnknownTier),
    /// The model is not one of bytes.
    #[error("`model.vocab` is {vocab}: this trainer trains byte models, give 256")]
    NotBytes {
        /// Its value.
        vocab: usize,
    },
    /// The model has parts that only imported models have.
    #[error(
        "`model` has attention, routing or tiers of an imported model: this trainer trains models \
         without `attention`, `tied_head`, `end_tokens`, `routing.rule`, and tiers without `mode` \
         and `layers`"
    )]
    Imported,
    /// A tier needs a newer reader, so its tensors are unknown here.
    #[error("tier `{tier}` requires abilities this trainer lacks: remove its `requires`")]
    UnusableTier {
        /// The id of the tier.
        tier: String,
    },
    /// The model itself makes no sense.
    #[error("{0}")]
    Model(InvalidConfig),
}

impl TrainConfig {
    /// Checks that the numbers make sense together.
    ///
    /// Errors: [`InvalidTrainConfig`] with all offences, not only the first.
    pub fn validate(&self) -> Result<(), InvalidTrainConfig> {
        let mut offences = Vec::new();
        self.check_counts(&mut offences);
        self.check_numbers(&mut offences);
        self.check_dropout(&mut offences);
        offences.extend(model_offences(&self.model));
        if offences.is_empty() { Ok(()) } else { Err(InvalidTrainConfig { offences }) }
    }

    /// Tokens per step.
    pub fn tokens_per_step(&self) -> usize {
        self.batch_sequences.saturating_mul(self.sequence_len)
    }

    fn check_counts(&self, offences: &mut Vec<TrainOffence>) {
        let window = self.model.attention_window.clamp(1, 1 << 16);
        let tokens = self.tokens_per_step();
        let counts = [
            ("steps", usize::try_from(self.steps).unwrap_or(usize::MAX), 1, usize::MAX),
            ("batch_sequences", self.batch_sequences, 1, 1 << 16),
            ("sequence_len", self.sequence_len, 1, window),
            ("batch_sequences * sequence_len", tokens, 1, TOKENS_MAX),
        ];
        for (field, value, minimum, maximum) in counts {
            if !(minimum..=maximum).contains(&value) {
                offences.push(TrainOffence::CountOutOfRange { field, value, minimum, maximum });
            }
        }
    }

    fn check_numbers(&self, offences: &mut Vec<TrainOffence>) {
        let numbers = [
            ("learning_rate", self.learning_rate, 0.0, 1.0),
            ("final_share", self.final_share, 0.0, 1.0),
            ("weight_decay", self.weight_decay, 0.0, 10.0),
            ("beta1", self.beta1, 0.0, 0.9999),
            ("beta2", self.beta2, 0.0, 0.999_999),
            ("clip", self.clip, 1e-6, 1e6),
            ("balance.tier", self.balance.tier, 0.0, 100.0),
            ("balance.group", self.balance.group, 0.0, 100.0),
            ("balance.expert", self.balance.expert, 0.0, 100.0),
        ];
        for (field, value, minimum, maximum) in numbers {
            if !(minimum..=maximum).contains(&value) {
                offences.push(TrainOffence::NumberOutOfRange { field, value, minimum, maximum });
            }
        }
    }

    fn check_dropout(&self, offences: &mut Vec<TrainOffence>) {
        let mut sum = 0.0;
        for dropout in &self.tier_dropout {
            let (field, value) = ("tier_dropout.share", dropout.share);
            if !(0.0..=1.0).contains(&value) {
                let (minimum, maximum) = (0.0, 1.0);
                offences.push(TrainOffence::NumberOutOfRange { field, value, minimum, maximum });
            }
            sum += value;
            if let Err(unknown) = dropout.tiers.resolve(&self.model) {
                offences.push(TrainOffence::DropoutTier(unknown));
            }
        }
        if sum > 1.0 {
            offences.push(TrainOffence::DropoutExceedsWhole { sum });
        }
    }
}

/// What keeps a model from being one of this trainer.
pub(crate) fn model_offences(model: &ModelConfig) -> Vec<TrainOffence> {
    let mut offences = Vec::new();
    if model.vocab != 256 {
        offences.push(TrainOffence::NotBytes { vocab: model.vocab });
    }
    if !model.is_plain() {
        offences.push(TrainOffence::Imported);
    }
    let parameters = usize::try_from(model.parameter_counts().total).unwrap_or(usize::MAX);
    if parameters > PARAMETERS_MAX {
        offences.push(TrainOffence::CountOutOfRange {
            field: "parameters of the model",
            value: parameters,
            minimum: 1,
            maximum: PARAMETERS_MAX,
        });
    }
    for tier in model.tiers.iter().filter(|tier| !tier.is_usable()) {
        offences.push(TrainOffence::UnusableTier { tier: tier.id.to_string() });
    }
    if let Err(invalid) = model.validate() {
        offences.push(TrainOffence::Model(invalid));
    }
    offences
}

fn usual_final_share() -> f32 {
    0.05
}

fn usual_beta1() -> f32 {
    0.9
}

fn usual_beta2() -> f32 {
    0.98
}

fn lines(offences: &[TrainOffence]) -> String {
    let mut text = String::new();
    for offence in offences {
        text.push_str("\n- ");
        text.push_str(&offence.to_string());
    }
    text
}

/// Tier sets in their text form.
mod tier_set_text {
    use litecore_model::TierSet;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(set: &TierSet, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(set)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<TierSet, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}
