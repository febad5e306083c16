//! Counting parameters, without making a list of tensors.

use crate::attention::QueryKeyNorm;
use crate::config::ModelConfig;
use crate::tier::{TierConfig, TierMode};

/// How many parameters a model has, and how many of them one token can touch.
///
/// Unit: parameters (elements of tensors). Counts beyond `u128` saturate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParameterCounts {
    /// All parameters.
    pub total: u128,
    /// Embedding, final norm and head: used once per token, outside the layers.
    pub outside_layers: u128,
    /// `C_dense`: parameters of one layer that every token uses: attention, norms and routers. Of
    /// the layer with the most of them, where layers differ.
    pub dense_per_layer: u128,
    /// `Θ_max`: parameters of the largest expert.
    pub largest_expert: u128,
    /// `K`: the most experts a token takes in one layer, chosen ones and those every token takes.
    pub experts_per_token: u128,
    /// `L·(C_dense + K·Θ_max)`: the most parameters one token can touch inside the layers. It
    /// grows with the number of experts only by their rows in the routers.
    pub active_bound: u128,
}

impl ModelConfig {
    /// Parameters of the model: all of them, and how many one token can touch.
    pub fn parameter_counts(&self) -> ParameterCounts {
        let (width, layers) = (wide(self.width), wide(self.layers));
        let router = sum([self.tier_rows(), self.group_rows(), self.expert_rows()].map(wide));
        let router = router.saturating_mul(width);
        let routed = self.tiers.iter().find(|tier| tier.is_routed());
        let routed_layers = routed.map_or(0, |tier| wide(tier.layer_count(self.layers)));
        let gated = || self.tiers.iter().filter(|tier| tier.mode == TierMode::AlwaysGated);
        let gates = gated().map(|tier| wide(tier.layer_count(self.layers)));
        let gates = sum(gates).saturating_mul(width);

        let attention = self.attention_parameters();
        let dense_per_layer = (0..self.layers)
            // Layers differ only where a tier says in which layers it is.
            .take(if self.tiers.iter().all(|tier| tier.layers.is_none()) { 1 } else { usize::MAX })
            .map(|layer| {
                let routed = routed.is_some_and(|tier| tier.is_in(layer));
                let gates = gated().filter(|tier| tier.is_in(layer)).count();
                let router = if routed { router } else { 0 };
                sum([attention, router, wide(gates).saturating_mul(width)])
            })
            .max();
        let dense_per_layer = dense_per_layer.unwrap_or(0);
        // Embedding and head, and the gain of the final norm.
        let matrices = if self.tied_head { 1 } else { 2 };
        let outside_layers = wide(self.vocab).saturating_mul(matrices).saturating_add(1);
        let outside_layers = outside_layers.saturating_mul(width);

        let in_tiers = sum(self.tiers.iter().map(|tier| self.tier_parameters(tier)));
        let largest_expert = self.tiers.iter().map(|tier| self.expert_parameters(tier)).max();
        let largest_expert = largest_expert.unwrap_or(0);
        let chosen = wide(self.routing.tiers_per_token)
            .saturating_mul(wide(self.routing.groups_per_tier))
            .saturating_mul(wide(self.routing.experts_per_group));
        let always = self.tiers.iter().filter(|tier| !tier.is_routed());
        let always = sum(always.map(|tier| wide(tier.experts())));
        let experts_per_token = sum([if routed.is_some() { chosen } else { 0 }, always]);
        let active_per_layer =
            dense_per_layer.saturating_add(experts_per_token.saturating_mul(largest_expert));
        ParameterCounts {
            total: sum([
                layers.saturating_mul(attention),
                routed_layers.saturating_mul(router),
                gates,
                in_tiers,
                outside_layers,
            ]),
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
            .saturating_mul(wide(tier.layer_count(self.layers)))
    }

    /// Parameters of the attention of one layer and of the two norms of a layer.
    fn attention_parameters(&self) -> u128 {
        let width = wide(self.width);
        let queries = wide(self.heads).saturating_mul(wide(self.head_width));
        let keys = wide(self.key_value_heads()).saturating_mul(wide(self.head_width));
        let rows = queries.saturating_add(keys).saturating_mul(2);
        let inputs = if self.attention.input_biases { sum([queries, keys, keys]) } else { 0 };
        let output = if self.attention.output_bias { width } else { 0 };
        let norms = match self.attention.query_key_norm {
            None => 0,
            Some(QueryKeyNorm::Head) => wide(self.head_width).saturating_mul(2),
            Some(QueryKeyNorm::Width) => queries.saturating_add(keys),
        };
        let block_norms = width.saturating_mul(2);
        sum([rows.saturating_mul(width), inputs, output, norms, block_norms])
    }
}

fn sum(counts: impl IntoIterator<Item = u128>) -> u128 {
    counts.into_iter().fold(0, u128::saturating_add)
}

/// A size as `u128`, which holds every `usize` there is.
fn wide(size: usize) -> u128 {
    size as u128
}
