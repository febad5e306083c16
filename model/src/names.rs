//! The names and shapes of a model's tensors, in one place.

use crate::attention::QueryKeyNorm;
use crate::config::ModelConfig;
use crate::tier::{TierConfig, TierId, TierMode};

/// The embedding. Shape: `[vocab, width]`.
pub const EMBEDDING: &str = "embed.weight";
/// The gain of the norm before the head. Shape: `[width]`.
pub const FINAL_NORM: &str = "final_norm.gain";
/// The head. Shape: `[vocab, width]`.
pub const HEAD: &str = "head.weight";

/// One of the three matrices of an expert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Goes through the activation. Shape: `[expert_width, width]`.
    Gate,
    /// Is multiplied with it. Shape: `[expert_width, width]`.
    Up,
    /// Leads back to the residual stream. Shape: `[width, expert_width]`.
    Down,
}

/// One of the four matrices of an attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Projection {
    /// To queries. Shape: `[heads·head_width, width]`.
    Query,
    /// To keys. Shape: `[key_value_heads·head_width, width]`.
    Key,
    /// To values. Shape: `[key_value_heads·head_width, width]`.
    Value,
    /// Back to the residual stream. Shape: `[width, heads·head_width]`.
    Output,
}

/// One level of the router.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Among the tiers of the model. Router shape: `[tiers, width]`.
    Tier,
    /// Among the groups of a tier. Router shape: `[groups of all tiers, width]`.
    Group,
    /// Among the experts of a group. Router shape: `[experts of all tiers, width]`.
    Expert,
}

/// What a model expects of one of its tensors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// The name of the tensor.
    pub name: String,
    /// Its shape, outermost dimension first.
    pub shape: Vec<usize>,
    /// The index of the tier it belongs to; nothing for a dense tensor.
    pub tier: Option<u16>,
}

impl Part {
    /// All parts, in the order in which an expert uses them.
    pub const ALL: [Self; 3] = [Self::Gate, Self::Up, Self::Down];

    fn text(self) -> &'static str {
        match self {
            Self::Gate => "gate",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

impl Projection {
    /// All projections, in the order in which attention uses them.
    pub const ALL: [Self; 4] = [Self::Query, Self::Key, Self::Value, Self::Output];

    fn text(self) -> &'static str {
        match self {
            Self::Query => "q",
            Self::Key => "k",
            Self::Value => "v",
            Self::Output => "o",
        }
    }
}

impl Level {
    /// All levels, outermost first.
    pub const ALL: [Self; 3] = [Self::Tier, Self::Group, Self::Expert];
}

/// The gain of the norm before attention. Shape: `[width]`.
pub fn attention_norm(layer: usize) -> String {
    format!("layers.{layer}.attn_norm.gain")
}

/// A matrix of attention. Shape: see [`Projection`].
pub fn attention(layer: usize, projection: Projection) -> String {
    format!("layers.{layer}.attn.{}.weight", projection.text())
}

/// The bias of a matrix of attention. Shape: `[rows of the matrix]`.
pub fn attention_bias(layer: usize, projection: Projection) -> String {
    format!("layers.{layer}.attn.{}.bias", projection.text())
}

/// The gain of the norm of queries or keys. Shape: `[head_width]`, or the rows of the matrix.
pub fn attention_gain(layer: usize, projection: Projection) -> String {
    format!("layers.{layer}.attn.{}_norm.gain", projection.text())
}

/// The gain of the norm before the experts. Shape: `[width]`.
pub fn expert_norm(layer: usize) -> String {
    format!("layers.{layer}.moe_norm.gain")
}

/// The router of one level. Shape: see [`Level`].
pub fn router(layer: usize, level: Level) -> String {
    let level = match level {
        Level::Tier => "tier",
        Level::Group => "group",
        Level::Expert => "expert",
    };
    format!("layers.{layer}.router.{level}.weight")
}

/// The row whose product with a token gates a tier that every token takes. Shape: `[1, width]`.
pub fn tier_gate(layer: usize, tier: &TierId) -> String {
    format!("layers.{layer}.tier_gate.{tier}.weight")
}

/// A matrix of an expert. Shape: see [`Part`].
pub fn expert(layer: usize, tier: &TierId, group: u16, expert: u16, part: Part) -> String {
    let part = part.text();
    format!("layers.{layer}.tiers.{tier}.groups.{group}.experts.{expert}.{part}.weight")
}

impl ModelConfig {
    /// Every tensor of the model with its shape, dense ones first, then by tier.
    ///
    /// The list is made as it is read: a model of any size costs no memory. Tiers that need a
    /// newer reader are left out, because this one cannot know their tensors.
    pub fn tensor_specs(&self) -> impl Iterator<Item = TensorSpec> + '_ {
        let usable = (0..=u16::MAX).zip(&self.tiers).filter(|(_, tier)| tier.is_usable());
        self.dense_specs().chain(usable.flat_map(|(index, _)| self.tier_specs(index)))
    }

    /// The tensors outside the experts: embedding, head, attention, norms and routers.
    pub fn dense_specs(&self) -> impl Iterator<Item = TensorSpec> + '_ {
        self.ends().chain((0..self.layers).flat_map(|layer| self.dense_layer_specs(layer)))
    }

    /// The tensors outside the layers.
    fn ends(&self) -> impl Iterator<Item = TensorSpec> + use<> {
        let head = dense(HEAD.to_owned(), [self.vocab, self.width]);
        let ends = [
            dense(EMBEDDING.to_owned(), [self.vocab, self.width]),
            dense(FINAL_NORM.to_owned(), [self.width]),
        ];
        ends.into_iter().chain((!self.tied_head).then_some(head))
    }

    /// The tensors of the experts of one tier; none if there is no such tier.
    pub fn tier_specs(&self, tier: u16) -> impl Iterator<Item = TensorSpec> + '_ {
        let entry = self.tiers.get(usize::from(tier));
        entry.into_iter().flat_map(move |entry| {
            let layers = (0..self.layers).filter(|layer| entry.is_in(*layer));
            layers.flat_map(move |layer| {
                let groups = (0..=u16::MAX).take(entry.groups);
                groups.flat_map(move |group| {
                    let experts = (0..=u16::MAX).take(entry.experts_per_group);
                    experts.flat_map(move |number| {
                        Part::ALL
                            .map(|part| self.part_spec(layer, tier, entry, (group, number), part))
                    })
                })
            })
        })
    }

    /// What the model expects of the tensor with this name, or nothing if it has none such.
    pub fn tensor_spec(&self, name: &str) -> Option<TensorSpec> {
        let spec = match name.strip_prefix("layers.") {
            None => self.ends().find(|spec| spec.name == name),
            Some(rest) => {
                let (layer, rest) = rest.split_once('.')?;
                let layer = layer.parse().ok().filter(|layer| *layer < self.layers)?;
                match rest.strip_prefix("tiers.") {
                    Some(rest) => self.expert_spec(layer, rest),
                    None => self.dense_layer_specs(layer).into_iter().find(|s| s.name == name),
                }
            }
        };
        // Numbers parse from more texts than the one that is written.
        spec.filter(|spec| spec.name == name)
    }

    /// The tensor with this name after `layers.L.tiers.`. Read from the end, because a tier id may
    /// contain anything that follows it.
    fn expert_spec(&self, layer: usize, rest: &str) -> Option<TensorSpec> {
        let mut words = rest.rsplitn(7, '.');
        let (_weight, part) = (words.next()?, words.next()?);
        let part = Part::ALL.into_iter().find(|candidate| candidate.text() == part)?;
        let (number, _experts) = (words.next()?.parse().ok()?, words.next()?);
        let (group, _groups) = (words.next()?.parse().ok()?, words.next()?);
        let tier = self.tier_index(&words.next()?.parse().ok()?)?;
        let entry = &self.tiers[usize::from(tier)];
        let exists = entry.is_usable()
            && entry.is_in(layer)
            && usize::from(group) < entry.groups
            && usize::from(number) < entry.experts_per_group;
        exists.then(|| self.part_spec(layer, tier, entry, (group, number), part))
    }

    fn part_spec(
        &self,
        layer: usize,
        tier: u16,
        entry: &TierConfig,
        (group, number): (u16, u16),
        part: Part,
    ) -> TensorSpec {
        let shape = match part {
            Part::Gate | Part::Up => vec![entry.expert_width, self.width],
            Part::Down => vec![self.width, entry.expert_width],
        };
        let name = expert(layer, &entry.id, group, number, part);
        TensorSpec { name, shape, tier: Some(tier) }
    }

    fn dense_layer_specs(&self, layer: usize) -> Vec<TensorSpec> {
        let mut specs = vec![
            dense(attention_norm(layer), [self.width]),
            dense(expert_norm(layer), [self.width]),
        ];
        for projection in Projection::ALL {
            let rows = self.projection_rows(projection);
            let shape = match projection {
                Projection::Output => [rows, self.projection_rows(Projection::Query)],
                _ => [rows, self.width],
            };
            specs.push(dense(attention(layer, projection), shape));
            let biased = match projection {
                Projection::Output => self.attention.output_bias,
                _ => self.attention.input_biases,
            };
            if biased {
                specs.push(dense(attention_bias(layer, projection), [rows]));
            }
        }
        if let Some(norm) = self.attention.query_key_norm {
            for projection in [Projection::Query, Projection::Key] {
                let length = match norm {
                    QueryKeyNorm::Head => self.head_width,
                    QueryKeyNorm::Width => self.projection_rows(projection),
                };
                specs.push(dense(attention_gain(layer, projection), [length]));
            }
        }
        if self.is_routed(layer) {
            for (level, rows) in self.router_rows() {
                specs.push(dense(router(layer, level), [rows, self.width]));
            }
        }
        for tier in &self.tiers {
            if tier.mode == TierMode::AlwaysGated && tier.is_usable() && tier.is_in(layer) {
                specs.push(dense(tier_gate(layer, &tier.id), [1, self.width]));
            }
        }
        specs
    }

    /// The routers of a layer that has some, with their rows.
    pub fn router_rows(&self) -> Vec<(Level, usize)> {
        let rows = [
            (Level::Tier, self.tier_rows()),
            (Level::Group, self.group_rows()),
            (Level::Expert, self.expert_rows()),
        ];
        let levels = self.routing.rule.is_levels();
        rows.into_iter().filter(|(level, _)| levels || *level == Level::Expert).collect()
    }

    /// Rows of a matrix of attention.
    fn projection_rows(&self, projection: Projection) -> usize {
        match projection {
            Projection::Query => self.heads.saturating_mul(self.head_width),
            Projection::Key | Projection::Value => {
                self.key_value_heads().saturating_mul(self.head_width)
            }
            Projection::Output => self.width,
        }
    }
}

fn dense<const N: usize>(name: String, shape: [usize; N]) -> TensorSpec {
    TensorSpec { name, shape: shape.to_vec(), tier: None }
}
