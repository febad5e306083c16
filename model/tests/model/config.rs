use litecore_model::{
    ConfigOffence, ModelConfig, Placement, RoutingRule, Seed128, SlidingLayers, TierId, TierMode,
};

use crate::tiny;

#[test]
fn the_tiny_model_is_valid() {
    tiny::config().validate().unwrap();
}

#[test]
fn all_offences_are_listed_with_their_numbers() {
    let mut config = tiny::config();
    config.width = 0;
    config.head_width = 3;
    config.norm_epsilon = f32::NAN;
    config.rope_theta = -1.0;
    config.routing.tiers_per_token = 3;
    config.routing.groups_per_tier = 0;
    config.routing.experts_per_group = 9;
    config.tiers[1].id = TierId::new("small").unwrap();
    config.tiers[1].groups = 65_537;
    config.tiers[0].expert_width = 0;
    let offences = config.validate().unwrap_err().offences;
    let tier = || TierId::new("small").unwrap();
    let (minimum, maximum) = (1, 1 << 24);
    // Compared as text, because one of the values is not equal to itself.
    let expected = [
        ConfigOffence::OutOfRange { field: "width", value: 0, minimum, maximum },
        ConfigOffence::OddHeadWidth { head_width: 3 },
        ConfigOffence::NotPositive { field: "rope_theta", value: -1.0 },
        ConfigOffence::NotPositive { field: "norm_epsilon", value: f32::NAN },
        ConfigOffence::TakesTooMany { field: "tiers_per_token", taken: 3, available: 2 },
        ConfigOffence::OutOfRange { field: "groups_per_tier", value: 0, minimum, maximum: 65_537 },
        ConfigOffence::TakesTooMany { field: "experts_per_group", taken: 9, available: 2 },
        ConfigOffence::TierOutOfRange { tier: tier(), field: "expert_width", value: 0, maximum },
        ConfigOffence::DuplicateTier { tier: tier() },
        ConfigOffence::TierOutOfRange {
            tier: tier(),
            field: "groups",
            value: 65_537,
            maximum: 65_536,
        },
    ];
    assert_eq!(format!("{offences:?}"), format!("{expected:?}"));
    let text = config.validate().unwrap_err().to_string();
    assert_eq!(text.lines().count(), 1 + expected.len(), "{text}");
}

#[test]
fn a_model_without_tiers_is_refused() {
    let mut config = tiny::config();
    config.tiers.clear();
    let offences = config.validate().unwrap_err().offences;
    assert!(matches!(
        offences[..],
        [.., ConfigOffence::OutOfRange { field: "tiers", value: 0, .. }]
    ));
}

#[test]
fn the_budget_of_a_tier_is_checked() {
    let mut config = tiny::config();
    // 2 layers, 2 experts, 3 matrices of 2 by 4.
    config.tiers[0].budget_parameters = Some(96);
    config.validate().unwrap();
    config.tiers[0].budget_parameters = Some(95);
    let tier = TierId::new("small").unwrap();
    let expected = ConfigOffence::OverBudget { tier, parameters: 96, budget: 95 };
    assert_eq!(config.validate().unwrap_err().offences, [expected]);
}

#[test]
fn counts_agree_with_the_list_of_tensors() {
    let config = tiny::config();
    let counts = config.parameter_counts();
    let sum = |specs: &mut dyn Iterator<Item = litecore_model::names::TensorSpec>| -> u128 {
        specs.map(|spec| spec.shape.iter().product::<usize>() as u128).sum()
    };
    assert_eq!(counts.total, sum(&mut config.tensor_specs()));
    let in_layer = |name: &str| name.starts_with("layers.0.");
    assert_eq!(
        counts.dense_per_layer,
        sum(&mut config.dense_specs().filter(|spec| in_layer(&spec.name)))
    );
    assert_eq!(
        counts.outside_layers,
        sum(&mut config.dense_specs().filter(|spec| !spec.name.starts_with("layers.")))
    );
    // By hand: attention 4·16, norms 2·4, routers (2+3+4)·4; the big expert 3·6·4; two experts.
    assert_eq!(counts.dense_per_layer, 64 + 8 + 36);
    assert_eq!(counts.largest_expert, 72);
    assert_eq!(counts.experts_per_token, 2);
    assert_eq!(counts.active_bound, 2 * (108 + 2 * 72));
    assert_eq!(counts.outside_layers, 8 * 4 + 4 + 8 * 4);
}

#[test]
fn the_active_bound_of_a_quadrillion_parameters_is_four_billion_in_experts() {
    let mut config = tiny::config();
    config.layers = 128;
    config.width = 4000;
    config.routing.tiers_per_token = 4;
    // 3·4000·667 is about 8 million parameters; a million experts in each layer.
    config.tiers = (0..4).map(|t| tiny::tier(&format!("t{t}"), 500, 500, 667)).collect();
    config.validate().unwrap();
    let counts = config.parameter_counts();
    let expert = 3 * 4000 * 667;
    assert_eq!(counts.largest_expert, expert);
    assert!(counts.total > 1_000_000_000_000_000, "{}", counts.total);
    assert_eq!(counts.active_bound, 128 * (counts.dense_per_layer + 4 * expert));
    assert_eq!(128 * 4 * expert, 4_098_048_000);
}

#[test]
fn absurd_sizes_saturate_and_are_refused() {
    let mut config = tiny::config();
    config.layers = usize::MAX;
    config.vocab = usize::MAX;
    config.width = usize::MAX;
    config.tiers[0] = tiny::tier("small", usize::MAX, usize::MAX, usize::MAX);
    assert_eq!(config.parameter_counts().total, u128::MAX);
    assert!(config.validate().is_err());
}

#[test]
fn the_json_form_is_frozen() {
    let json = serde_json::to_value(tiny::config()).unwrap();
    let expected = serde_json::json!({
        "name": "tiny", "vocab": 8, "width": 4, "layers": 2, "heads": 2, "head_width": 2,
        "attention_window": 16, "rope_theta": 10_000.0, "norm_epsilon": 1e-5_f32,
        "routing": {
            "tiers_per_token": 2, "groups_per_tier": 1, "experts_per_group": 1, "seed": "0x2a"
        },
        "tiers": [
            { "id": "small", "groups": 1, "experts_per_group": 2, "expert_width": 2,
              "placement": "warm" },
            { "id": "big", "groups": 2, "experts_per_group": 1, "expert_width": 6,
              "placement": "warm" },
        ],
    });
    assert_eq!(json, expected);
    assert_eq!(serde_json::from_value::<ModelConfig>(json).unwrap(), tiny::config());
}

#[test]
fn the_toml_form_reads_back() {
    let mut config = tiny::config();
    config.routing.seed = Seed128(u128::MAX);
    config.tiers[0].placement = Placement::Hot;
    config.tiers[0].budget_parameters = Some(1000);
    config.tiers[1].requires = vec!["x".to_owned()];
    let text = toml::to_string(&config).unwrap();
    assert!(text.contains("seed = \"0xffffffffffffffffffffffffffffffff\""), "{text}");
    assert_eq!(toml::from_str::<ModelConfig>(&text).unwrap(), config);
}

#[test]
fn missing_fields_are_defaulted_and_unknown_ones_ignored() {
    let text = r#"
        width = 4
        layers = 2
        heads = 2
        head_width = 2
        attention_window = 16
        color = "blue"
        [routing]
        tiers_per_token = 1
        groups_per_tier = 1
        experts_per_group = 1
        seed = "17"
        temperature = 3
        [[tiers]]
        id = "small"
        groups = 1
        experts_per_group = 2
        expert_width = 2
        flavor = "vanilla"
    "#;
    let config: ModelConfig = toml::from_str(text).unwrap();
    config.validate().unwrap();
    assert_eq!((config.vocab, config.name.as_str()), (256, ""));
    assert_eq!(config.rope_theta.to_bits(), 10_000_f32.to_bits());
    assert_eq!(config.norm_epsilon.to_bits(), 1e-5_f32.to_bits());
    assert_eq!(config.routing.seed, Seed128(17));
    assert_eq!(config.tiers[0].placement, Placement::Warm);
    assert_eq!(config.tiers[0].budget_parameters, None);
    let without_width = text.replacen("width = 4", "", 1);
    assert!(toml::from_str::<ModelConfig>(&without_width).is_err());
}

#[test]
fn what_imported_models_have_must_make_sense() {
    let offences = |change: fn(&mut ModelConfig)| {
        let mut config = tiny::config();
        change(&mut config);
        config.validate().unwrap_err().offences
    };
    let found = offences(|c| c.attention.key_value_heads = Some(3));
    assert_eq!(found, [ConfigOffence::UnevenGroups { queries: 2, keys: 3 }]);
    let found = offences(|c| c.attention.key_value_heads = Some(0));
    assert_eq!(found, [ConfigOffence::UnevenGroups { queries: 2, keys: 0 }]);
    let found = offences(|c| c.attention.clip = Some(-1.0));
    assert_eq!(found, [ConfigOffence::NotPositive { field: "attention.clip", value: -1.0 }]);
    let found = offences(|c| {
        c.attention.sliding = Some(SlidingLayers { window: 4, layers: vec![1, 0] });
    });
    assert_eq!(found, [ConfigOffence::Layers { field: "attention.sliding.layers", layers: 2 }]);
    let found = offences(|c| c.routing.rule = RoutingRule::Flat { normalized: true });
    assert_eq!(found, [ConfigOffence::NotFlat]);
    let big = || TierId::new("big").unwrap();
    let found = offences(|c| c.tiers[1].layers = Some(vec![0]));
    assert_eq!(found, [ConfigOffence::SparseRouting { tier: big() }]);
    let found = offences(|c| {
        c.tiers[0].mode = TierMode::Always;
        c.routing.tiers_per_token = 1;
    });
    assert_eq!(found, [ConfigOffence::TierOrder { tier: big() }]);
    let found = offences(|c| {
        c.tiers.truncate(1);
        c.tiers[0].layers = Some(vec![1]);
        c.routing.tiers_per_token = 1;
        c.routing.rule = RoutingRule::Flat { normalized: true };
    });
    assert_eq!(found, [ConfigOffence::EmptyLayer { layer: 0 }]);
}
