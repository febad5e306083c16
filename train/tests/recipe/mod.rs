//! A recipe small enough for tests, with every feature on.

use litecore_train::TrainConfig;

/// A two-layer model of a few thousand parameters.
pub(crate) fn tiny(steps: u32) -> TrainConfig {
    let text = format!("steps = {steps}\n{TINY}");
    toml::from_str(&text).expect("the recipe is well-formed")
}

const TINY: &str = r#"
batch_sequences = 6
sequence_len = 48
learning_rate = 1e-2
warmup = 4
weight_decay = 0.1
clip = 1.0
seed = 11
evaluate_every = 0

[balance]
tier = 0.01
group = 0.01
expert = 0.01

[[tier_dropout]]
share = 0.2
tiers = "small"

[[tier_dropout]]
share = 0.2
tiers = "large"

[model]
name = "tiny"
width = 24
layers = 2
heads = 2
head_width = 8
attention_window = 48

[model.routing]
tiers_per_token = 2
groups_per_tier = 1
experts_per_group = 2
seed = "0x1234"

[[model.tiers]]
id = "small"
groups = 1
experts_per_group = 3
expert_width = 16

[[model.tiers]]
id = "large"
groups = 2
experts_per_group = 2
expert_width = 20
"#;
