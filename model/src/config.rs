//! The numbers that describe a model, and whether they make sense together.

use std::collections::BTreeSet;

use litecore_types::Seed;
use serde::{Deserialize, Serialize};

use crate::tier::{TierConfig, TierId};

/// Everything about a model but its weights.
///
/// Reads from and writes to JSON and TOML. Unknown fields are ignored, missing optional ones take
/// the default named at the field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelConfig {
    /// What people call the model. No meaning. Default: empty.
    #[serde(default)]
    pub name: String,
    /// How many tokens there are. Default: 256, the byte values.
    #[serde(default = "byte_vocab")]
    pub vocab: usize,
    /// Width of the residual stream, in elements.
    pub width: usize,
    /// How many layers the model has.
    pub layers: usize,
    /// Attention heads per layer.
    pub heads: usize,
    /// Width of one head, in elements; even, because rotary positions turn pairs.
    pub head_width: usize,
    /// How many positions a token attends to, itself included.
    pub attention_window: usize,
    /// Base of the rotary position angles. Default: 10 000.
    #[serde(default = "usual_rope_theta")]
    pub rope_theta: f32,
    /// What RMS norms add to the mean square. Default: 1e-5.
    #[serde(default = "usual_norm_epsilon")]
    pub norm_epsilon: f32,
    /// How tokens are spread over experts.
    pub routing: RoutingConfig,
    /// The tiers. Their order is part of the model: append, never insert.
    pub tiers: Vec<TierConfig>,
}

/// How many experts a token takes at each level, and the seed that breaks ties.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoutingConfig {
    /// How many tiers a token takes.
    pub tiers_per_token: usize,
    /// How many groups it takes in each of them.
    pub groups_per_tier: usize,
    /// How many experts it takes in each group.
    pub experts_per_group: usize,
    /// The base seed of tie-breaking, as text: a decimal number or `0x` and hexadecimal digits.
    #[serde(with = "seed_text")]
    pub seed: Seed,
}

/// How many parameters a model has, and how many of them one token can touch.
///
/// Unit: parameters (elements of tensors). Counts beyond `u128` saturate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParameterCounts {
    /// All parameters.
    pub total: u128,
    /// Embedding, final norm and head: used once per token, outside the layers.
    pub outside_layers: u128,
    /// `C_dense`: parameters of one layer that every token uses: attention, norms and routers.
    pub dense_per_layer: u128,
    /// `Θ_max`: parameters of the largest expert.
    pub largest_expert: u128,
    /// `K`: the most experts a token takes in one layer.
    pub experts_per_token: u128,
    /// `L·(C_dense + K·Θ_max)`: the most parameters one token can touch inside the layers. It
    /// grows with the number of experts only by their rows in the routers.
    pub active_bound: u128,
}

/// A configuration that makes no sense, with everything that is wrong with it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("the model configuration is invalid:{}", lines(offences))]
pub struct InvalidConfig {
    /// All offences, in the order of the fields. Never empty.
    pub offences: Vec<ConfigOffence>,
}

/// One thing wrong with a configuration.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ConfigOffence {
    /// A count outside its limits.
    #[error("`{field}` is {value}: give {minimum} to {maximum}")]
    OutOfRange {
        /// The field.
        field: &'static str,
        /// Its value.
        value: usize,
        /// The least it may be.
        minimum: usize,
        /// The most it may be.
        maximum: usize,
    },
    /// A number that is not positive and finite.
    #[error("`{field}` is {value}: give a positive, finite number")]
    NotPositive {
        /// The field.
        field: &'static str,
        /// Its value.
        value: f32,
    },
    /// An odd head width.
    #[error("`head_width` is {head_width}: make it even, rotary positions turn pairs")]
    OddHeadWidth {
        /// Its value.
        head_width: usize,
    },
    /// More of something is taken than any tier has.
    #[error("`routing.{field}` takes {taken}, the model has at most {available}: lower it")]
    TakesTooMany {
        /// The field.
        field: &'static str,
        /// How many the field asks for.
        taken: usize,
        /// How many there are at most.
        available: usize,
    },
    /// A count of a tier outside its limits.
    #[error("`{field}` of tier `{tier}` is {value}: give 1 to {maximum}")]
    TierOutOfRange {
        /// The tier.
        tier: TierId,
        /// The field.
        field: &'static str,
        /// Its value.
        value: usize,
        /// The most it may be.
        maximum: usize,
    },
    /// Two tiers with one id.
    #[error("tier `{tier}` appears twice: rename one")]
    DuplicateTier {
        /// The id.
        tier: TierId,
    },
    /// A tier with more parameters than its budget.
    #[error(
        "tier `{tier}` has {parameters} parameters, its budget is {budget}: \
         shrink it or raise `budget_parameters`"
    )]
    OverBudget {
        /// The tier.
        tier: TierId,
        /// Its parameters over all layers.
        parameters: u128,
        /// Its budget.
        budget: u64,
    },
}

/// The most a size may be: far above any model, and small enough that no product of a few of them
/// overflows the counts.
const SIZE_MAX: usize = 1 << 24;
/// The most tiers, groups or experts in a group, so that every index fits `u16`.
const INDEX_COUNT_MAX: usize = 1 << 16;

impl ModelConfig {
    /// Checks that the numbers make sense together.
    ///
    /// Errors: [`InvalidConfig`] with all offences, not only the first.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        let mut offences = Vec::new();
        self.check_sizes(&mut offences);
        self.check_routing(&mut offences);
        self.check_tiers(&mut offences);
        if offences.is_empty() { Ok(()) } else { Err(InvalidConfig { offences }) }
    }

    /// Parameters of the model: all of them, and how many one token can touch.
    pub fn parameter_counts(&self) -> ParameterCounts {
        let (width, layers) = (wide(self.width), wide(self.layers));
        let attention_width = wide(self.heads).saturating_mul(wide(self.head_width));
        let attention = attention_width.saturating_mul(width).saturating_mul(4);
        let router_rows = wide(self.tiers.len())
            .saturating_add(wide(self.group_rows()))
            .saturating_add(wide(self.expert_rows()));
        let routers_and_norms = router_rows.saturating_add(2).saturating_mul(width);
        let dense_per_layer = attention.saturating_add(routers_and_norms);
        // Embedding and head, and the gain of the final norm.
        let outside_layers = wide(self.vocab).saturating_mul(2).saturating_add(1);
        let outside_layers = outside_layers.saturating_mul(width);

        let in_tiers = self.tiers.iter().map(|tier| self.tier_parameters(tier));
        let in_tiers = in_tiers.fold(0_u128, u128::saturating_add);
        let largest_expert = self.tiers.iter().map(|tier| self.expert_parameters(tier)).max();
        let largest_expert = largest_expert.unwrap_or(0);
        let experts_per_token = wide(self.routing.tiers_per_token)
            .saturating_mul(wide(self.routing.groups_per_tier))
            .saturating_mul(wide(self.routing.experts_per_group));
        let active_per_layer =
            dense_per_layer.saturating_add(experts_per_token.saturating_mul(largest_expert));
        ParameterCounts {
            total: layers
                .saturating_mul(dense_per_layer)
                .saturating_add(in_tiers)
                .saturating_add(outside_layers),
            outside_layers,
            dense_per_layer,
            largest_expert,
            experts_per_token,
            active_bound: layers.saturating_mul(active_per_layer),
        }
    }

    /// Parameters of one expert of a tier: gate, up and down. Saturates.
    pub fn expert_parameters(&self, tier: &TierConfig) -> u128 {
        wide(tier.expert_width).saturating_mul(wide(self.width)).saturating_mul(3)
    }

    /// Parameters of all experts of a tier over all layers. Saturates.
    pub fn tier_parameters(&self, tier: &TierConfig) -> u128 {
        self.expert_parameters(tier)
            .saturating_mul(wide(tier.experts()))
            .saturating_mul(wide(self.layers))
    }

    /// The index of the tier with this id.
    pub fn tier_index(&self, id: &TierId) -> Option<u16> {
        let index = self.tiers.iter().position(|tier| tier.id == *id)?;
        u16::try_from(index).ok()
    }

    fn check_sizes(&self, offences: &mut Vec<ConfigOffence>) {
        let sizes = [
            ("vocab", self.vocab),
            ("width", self.width),
            ("layers", self.layers),
            ("heads", self.heads),
            ("head_width", self.head_width),
            ("attention_window", self.attention_window),
        ];
        for (field, value) in sizes {
            check_range(field, value, SIZE_MAX, offences);
        }
        if !self.head_width.is_multiple_of(2) {
            offences.push(ConfigOffence::OddHeadWidth { head_width: self.head_width });
        }
        let numbers = [("rope_theta", self.rope_theta), ("norm_epsilon", self.norm_epsilon)];
        for (field, value) in numbers {
            if !(value > 0.0 && value.is_finite()) {
                offences.push(ConfigOffence::NotPositive { field, value });
            }
        }
    }

    fn check_routing(&self, offences: &mut Vec<ConfigOffence>) {
        let groups = self.tiers.iter().map(|tier| tier.groups).max().unwrap_or(0);
        let experts = self.tiers.iter().map(|tier| tier.experts_per_group).max().unwrap_or(0);
        let takes = [
            ("tiers_per_token", self.routing.tiers_per_token, self.tiers.len()),
            ("groups_per_tier", self.routing.groups_per_tier, groups),
            ("experts_per_group", self.routing.experts_per_group, experts),
        ];
        for (field, taken, available) in takes {
            if taken == 0 {
                let (value, minimum, maximum) = (taken, 1, available.max(1));
                offences.push(ConfigOffence::OutOfRange { field, value, minimum, maximum });
            } else if taken > available {
                offences.push(ConfigOffence::TakesTooMany { field, taken, available });
            }
        }
    }

    fn check_tiers(&self, offences: &mut Vec<ConfigOffence>) {
        check_range("tiers", self.tiers.len(), INDEX_COUNT_MAX, offences);
        let mut seen = BTreeSet::new();
        for tier in &self.tiers {
            let id = || tier.id.clone();
            if !seen.insert(&tier.id) {
                offences.push(ConfigOffence::DuplicateTier { tier: id() });
            }
            let counts = [
                ("groups", tier.groups, INDEX_COUNT_MAX),
                ("experts_per_group", tier.experts_per_group, INDEX_COUNT_MAX),
                ("expert_width", tier.expert_width, SIZE_MAX),
            ];
            for (field, value, maximum) in counts {
                if !(1..=maximum).contains(&value) {
                    let tier = id();
                    offences.push(ConfigOffence::TierOutOfRange { tier, field, value, maximum });
                }
            }
            let parameters = self.tier_parameters(tier);
            if let Some(budget) = tier.budget_parameters
                && parameters > u128::from(budget)
            {
                offences.push(ConfigOffence::OverBudget { tier: id(), parameters, budget });
            }
        }
    }
}

fn check_range(
    field: &'static str,
    value: usize,
    maximum: usize,
    offences: &mut Vec<ConfigOffence>,
) {
    if !(1..=maximum).contains(&value) {
        offences.push(ConfigOffence::OutOfRange { field, value, minimum: 1, maximum });
    }
}

/// A size as `u128`, which holds every `usize` there is.
fn wide(size: usize) -> u128 {
    size as u128
}

fn byte_vocab() -> usize {
    256
}

fn usual_rope_theta() -> f32 {
    10_000.0
}

fn usual_norm_epsilon() -> f32 {
    1e-5
}

fn lines(offences: &[ConfigOffence]) -> String {
    let mut text = String::new();
    for offence in offences {
        text.push_str("\n- ");
        text.push_str(&offence.to_string());
    }
    text
}

/// Seeds as text, because neither TOML nor JSON has 128-bit integers.
mod seed_text {
    use litecore_types::Seed;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(seed: &Seed, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(seed)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Seed, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}
