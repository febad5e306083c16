//! A model small enough to look at, and its tensors.

use std::collections::BTreeMap;

use litecore_model::{
    AttentionConfig, ModelConfig, RoutingConfig, RoutingRule, Seed128, Tensor, TierConfig, TierId,
    checkpoint::Dtype,
};

pub(crate) fn tier(id: &str, groups: usize, experts: usize, expert_width: usize) -> TierConfig {
    TierConfig::new(TierId::new(id).unwrap(), groups, experts, expert_width)
}

pub(crate) fn config() -> ModelConfig {
    ModelConfig {
        name: "tiny".to_owned(),
        vocab: 8,
        width: 4,
        layers: 2,
        heads: 2,
        head_width: 2,
        attention_window: 16,
        rope_theta: 10_000.0,
        norm_epsilon: 1e-5,
        attention: AttentionConfig::default(),
        tied_head: false,
        end_tokens: Vec::new(),
        routing: RoutingConfig {
            tiers_per_token: 2,
            groups_per_tier: 1,
            experts_per_group: 1,
            seed: Seed128(0x2a),
            rule: RoutingRule::Levels,
        },
        tiers: vec![tier("small", 1, 2, 2), tier("big", 2, 1, 6)],
    }
}

/// Tensors of the model with small values that every type holds exactly.
pub(crate) fn tensors(config: &ModelConfig) -> BTreeMap<String, Tensor> {
    let mut tensors = BTreeMap::new();
    for (number, spec) in (0_u16..).zip(config.tensor_specs()) {
        let count: usize = spec.shape.iter().product();
        // Steps of 1/64 between -127/64 and 127/64: seven significant bits.
        let value =
            |i: u16| f32::from((i % 255 * 37 + number % 255 * 11) % 255) / 64.0 - 127.0 / 64.0;
        let data = (0_u16..).take(count).map(value).collect();
        tensors.insert(spec.name, Tensor::new(spec.shape, data).unwrap());
    }
    tensors
}

pub(crate) fn provenance() -> BTreeMap<String, String> {
    let entries = [("recipe", "by hand"), ("seed", "0x2a")];
    entries.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

/// The files of a checkpoint of the model.
pub(crate) fn files(dtype: Dtype) -> BTreeMap<String, Vec<u8>> {
    let config = config();
    litecore_model::checkpoint::encode(&config, &tensors(&config), dtype, &provenance()).unwrap()
}
