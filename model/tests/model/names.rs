use std::collections::BTreeSet;

use litecore_model::names::{self, Level, Part, Projection, TensorSpec};
use litecore_model::{ExpertKey, TierId};

use crate::tiny;

#[test]
fn the_names_of_one_layer_are_frozen() {
    let mut config = tiny::config();
    config.layers = 1;
    let found: Vec<(String, Vec<usize>, Option<u16>)> =
        config.tensor_specs().map(|spec| (spec.name, spec.shape, spec.tier)).collect();
    let expert = |tier: &str, group, expert, part| {
        format!("layers.0.tiers.{tier}.groups.{group}.experts.{expert}.{part}.weight")
    };
    let mut expected: Vec<(String, Vec<usize>, Option<u16>)> = [
        ("embed.weight", vec![8, 4]),
        ("final_norm.gain", vec![4]),
        ("head.weight", vec![8, 4]),
        ("layers.0.attn_norm.gain", vec![4]),
        ("layers.0.moe_norm.gain", vec![4]),
        ("layers.0.attn.q.weight", vec![4, 4]),
        ("layers.0.attn.k.weight", vec![4, 4]),
        ("layers.0.attn.v.weight", vec![4, 4]),
        ("layers.0.attn.o.weight", vec![4, 4]),
        ("layers.0.router.tier.weight", vec![2, 4]),
        ("layers.0.router.group.weight", vec![3, 4]),
        ("layers.0.router.expert.weight", vec![4, 4]),
    ]
    .map(|(name, shape)| (name.to_owned(), shape, None))
    .into();
    for (tier, index, group, number, width) in
        [("small", 0, 0, 0, 2), ("small", 0, 0, 1, 2), ("big", 1, 0, 0, 6), ("big", 1, 1, 0, 6)]
    {
        for (part, shape) in
            [("gate", vec![width, 4]), ("up", vec![width, 4]), ("down", vec![4, width])]
        {
            expected.push((expert(tier, group, number, part), shape, Some(index)));
        }
    }
    assert_eq!(found, expected);
}

#[test]
fn attention_shapes_tell_heads_from_width() {
    let mut config = tiny::config();
    config.heads = 3;
    let shape = |projection| config.tensor_spec(&names::attention(1, projection)).unwrap().shape;
    assert_eq!(shape(Projection::Query), [6, 4]);
    assert_eq!(shape(Projection::Output), [4, 6]);
}

#[test]
fn every_tensor_is_found_by_its_name() {
    let mut config = tiny::config();
    // Ids that look like other parts of a name.
    config.tiers.push(tiny::tier("small.groups.0.experts.0", 2, 2, 2));
    config.tiers.push(tiny::tier("small.groups.0", 1, 1, 2));
    let specs: Vec<TensorSpec> = config.tensor_specs().collect();
    for spec in &specs {
        assert_eq!(config.tensor_spec(&spec.name).as_ref(), Some(spec));
    }
    let names: BTreeSet<&String> = specs.iter().map(|spec| &spec.name).collect();
    assert_eq!(names.len(), specs.len());
}

#[test]
fn near_misses_are_not_names() {
    let config = tiny::config();
    for name in [
        "",
        "embed",
        "embed.weight ",
        "layers",
        "layers.",
        "layers.0",
        "layers.00.attn_norm.gain",
        "layers.+0.attn_norm.gain",
        "layers.2.attn_norm.gain",
        "layers.99999999999999999999.attn_norm.gain",
        "layers.0.tiers.small.groups.0.experts.2.gate.weight",
        "layers.0.tiers.small.groups.1.experts.0.gate.weight",
        "layers.0.tiers.small.groups.00.experts.0.gate.weight",
        "layers.0.tiers.small.groups.0.experts.65536.gate.weight",
        "layers.0.tiers.small.groups.0.experts.0.side.weight",
        "layers.0.tiers.small.groups.0.experts.0.gate.bias",
        "layers.0.tiers.small.teams.0.experts.0.gate.weight",
        "layers.0.tiers.other.groups.0.experts.0.gate.weight",
        "layers.0.tiers.groups.0.experts.0.gate.weight",
    ] {
        assert_eq!(config.tensor_spec(name), None, "{name}");
    }
}

#[test]
fn builders_agree_with_the_list() {
    let tier = TierId::new("big").unwrap();
    let name = names::expert(1, &tier, 1, 0, Part::Down);
    assert_eq!(name, "layers.1.tiers.big.groups.1.experts.0.down.weight");
    assert_eq!(names::router(0, Level::Group), "layers.0.router.group.weight");
    assert_eq!(tiny::config().tensor_spec(&name).unwrap().tier, Some(1));
}

#[test]
fn experts_come_in_key_order_and_know_their_rows() {
    let mut config = tiny::config();
    config.tiers =
        vec![tiny::tier("a", 2, 3, 1), tiny::tier("b", 1, 2, 1), tiny::tier("c", 2, 1, 1)];
    let keys: Vec<ExpertKey> = config.experts().collect();
    assert!(keys.is_sorted_by(|a, b| a < b));
    assert_eq!(keys.len(), config.expert_rows());
    let mut groups = BTreeSet::new();
    for (row, &key) in keys.iter().enumerate() {
        assert_eq!(config.expert_row(key), Some(row));
        groups.insert((key.tier, key.group));
    }
    for (row, &(tier, group)) in groups.iter().enumerate() {
        assert_eq!(config.group_row(tier, group), Some(row));
    }
    assert_eq!(groups.len(), config.group_rows());
    assert_eq!(config.expert_row(ExpertKey { tier: 1, group: 0, expert: 2 }), None);
    assert_eq!(config.expert_row(ExpertKey { tier: 3, group: 0, expert: 0 }), None);
    assert_eq!(config.group_row(1, 1), None);
}
