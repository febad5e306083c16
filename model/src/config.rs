//! The numbers that describe a model, and whether they make sense together.

use std::collections::BTreeSet;

use litecore_types::Seed;
use serde::{Deserialize, Serialize};

use crate::attention::AttentionConfig;
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
    /// What attention has beyond the plain form. Default: nothing.
    #[serde(default, skip_serializing_if = "AttentionConfig::is_plain")]
    pub attention: AttentionConfig,
    /// Whether the head is the embedding, and no tensor of its own. Default: no.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tied_head: bool,
    /// Tokens that end a text: nothing is written after one. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub end_tokens: Vec<u32>,
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
    /// How logits become experts and weights. Default: level by level.
    #[serde(default, skip_serializing_if = "RoutingRule::is_levels")]
    pub rule: RoutingRule,
}

/// How logits become experts and weights; see [`crate::routing`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum RoutingRule {
    /// Tiers, then groups, then experts, each with a router.
    #[default]
    Levels,
    /// The experts of the one group of the one routed tier, with one router.
    Flat {
        /// Whether the weights of the chosen experts are divided by their sum.
        normalized: bool,
    },
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
    /// Query heads that cannot be shared out evenly among heads of keys and values.
    #[error("`heads` is {queries}, `attention.key_value_heads` is {keys}: give a divisor of it")]
    UnevenGroups {
        /// Query heads.
        queries: usize,
        /// Heads of keys and values.
        keys: usize,
    },
    /// A list of layers that is empty, not ascending, or names a layer the model does not have.
    #[error("`{field}` is not an ascending list of layers: the model has layers 0 to {layers} - 1")]
    Layers {
        /// The field.
        field: &'static str,
        /// How many layers the model has.
        layers: usize,
    },
    /// A layer without any expert.
    #[error("layer {layer} has no tier: every layer needs one")]
    EmptyLayer {
        /// The layer.
        layer: usize,
    },
    /// A routed tier after one that every token takes.
    #[error("tier `{tier}` is routed: list it before the tiers that every token takes")]
    TierOrder {
        /// The tier.
        tier: TierId,
    },
    /// A routed tier that some layers lack, under a rule that does not allow it.
    #[error("tier `{tier}` is missing from some layers: only the rule `flat` allows that")]
    SparseRouting {
        /// The tier.
        tier: TierId,
    },
    /// The flat rule over more than one group.
    #[error("the routing rule `flat` needs a single routed tier of one group: use `levels`")]
    NotFlat,
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
        self.check_attention(&mut offences);
        self.check_routing(&mut offences);
        self.check_tiers(&mut offences);
        if offences.is_empty() { Ok(()) } else { Err(InvalidConfig { offences }) }
    }

    /// Whether the model has nothing but what manifests of version 1 can say.
    pub fn is_plain(&self) -> bool {
        self.attention.is_plain()
            && !self.tied_head
            && self.end_tokens.is_empty()
            && self.routing.rule.is_levels()
            && self.tiers.iter().all(TierConfig::is_plain)
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
            check_range(field, value, offences);
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
        let routed = || self.tiers.iter().filter(|tier| tier.is_routed());
        let groups = routed().map(|tier| tier.groups).max();
        let experts = routed().map(|tier| tier.experts_per_group).max();
        // Without a routed tier nothing is taken, and one of each is as good as any number.
        let always = usize::from(!self.tiers.is_empty());
        let takes = [
            ("tiers_per_token", self.routing.tiers_per_token, routed().count().max(always)),
            ("groups_per_tier", self.routing.groups_per_tier, groups.unwrap_or(always)),
            ("experts_per_group", self.routing.experts_per_group, experts.unwrap_or(always)),
        ];
        for (field, taken, available) in takes {
            if taken == 0 {
                let (value, minimum, maximum) = (taken, 1, available.max(1));
                offences.push(ConfigOffence::OutOfRange { field, value, minimum, maximum });
            } else if taken > available {
                offences.push(ConfigOffence::TakesTooMany { field, taken, available });
            }
        }
        if !self.routing.rule.is_levels() && (routed().count() > 1 || groups.unwrap_or(1) > 1) {
            offences.push(ConfigOffence::NotFlat);
        }
    }

    fn check_tiers(&self, offences: &mut Vec<ConfigOffence>) {
        if !(1..=INDEX_COUNT_MAX).contains(&self.tiers.len()) {
            let (field, value) = ("tiers", self.tiers.len());
            let (minimum, maximum) = (1, INDEX_COUNT_MAX);
            offences.push(ConfigOffence::OutOfRange { field, value, minimum, maximum });
        }
        let mut seen = BTreeSet::new();
        let mut always = false;
        for tier in &self.tiers {
            let id = || tier.id.clone();
            always |= !tier.is_routed();
            if always && tier.is_routed() {
                offences.push(ConfigOffence::TierOrder { tier: id() });
            }
            if let Some(layers) = &tier.layers {
                self.check_layers("tiers.layers", layers, offences);
                if tier.is_routed() && self.routing.rule.is_levels() {
                    offences.push(ConfigOffence::SparseRouting { tier: id() });
                }
            }
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
        if !self.tiers.is_empty() && self.tiers.iter().all(|tier| tier.layers.is_some()) {
            let lists = self.tiers.iter().filter_map(|tier| tier.layers.as_deref());
            let covered: BTreeSet<usize> = lists.flatten().copied().collect();
            if let Some(layer) = (0..self.layers).find(|layer| !covered.contains(layer)) {
                offences.push(ConfigOffence::EmptyLayer { layer });
            }
        }
    }
}

impl RoutingRule {
    /// Whether tokens are routed level by level.
    pub fn is_levels(&self) -> bool {
        *self == Self::Levels
    }
}

/// A size is neither zero nor beyond what any model has.
pub(crate) fn check_range(field: &'static str, value: usize, offences: &mut Vec<ConfigOffence>) {
    let maximum = SIZE_MAX;
    if !(1..=maximum).contains(&value) {
        offences.push(ConfigOffence::OutOfRange { field, value, minimum: 1, maximum });
    }
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
