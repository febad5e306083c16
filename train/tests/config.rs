//! Recipes: the embedded one, and what is said about wrong ones.

mod recipe;

use litecore_train::{EMBEDDED_RECIPE, TrainConfig, TrainOffence};

#[test]
fn the_embedded_recipe_is_valid() {
    let config: TrainConfig = toml::from_str(EMBEDDED_RECIPE).expect("the recipe is well-formed");
    config.validate().expect("the recipe makes sense");
    assert_eq!(config.tokens_per_step(), 2048);
    assert_eq!(config.model.parameter_counts().total, 3_881_600);
    assert_eq!(config.model.name, "litecore-embedded");
}

#[test]
fn recipes_survive_toml() {
    let config = recipe::tiny(7);
    let text = toml::to_string(&config).expect("it can be written");
    assert!(text.contains("tiers = \"small\""), "tier sets are written as people write them");
    assert_eq!(toml::from_str::<TrainConfig>(&text).expect("it can be read"), config);
}

#[test]
fn a_misspelled_field_is_an_error() {
    let text = EMBEDDED_RECIPE.replace("clip =", "clipping =");
    let error = toml::from_str::<TrainConfig>(&text).expect_err("the field is unknown");
    assert!(error.message().contains("clipping"), "{error}");
}

#[test]
fn all_offences_are_listed_at_once() {
    let mut config = recipe::tiny(0);
    config.sequence_len = 49;
    config.learning_rate = f32::NAN;
    config.beta2 = 1.0;
    config.clip = 0.0;
    config.balance.group = -1.0;
    config.tier_dropout[0].share = 0.9;
    config.tier_dropout[1].tiers = "huge".parse().expect("the syntax is right");
    config.model.vocab = 512;
    config.model.tied_head = true;
    config.model.heads = 0;
    config.model.head_width = 7;
    let invalid = config.validate().expect_err("nothing is right");
    let what: Vec<&str> = invalid.offences.iter().map(name).collect();
    assert_eq!(
        what,
        [
            "steps",
            "sequence_len",
            "learning_rate",
            "beta2",
            "clip",
            "balance.group",
            "unknown tier",
            "dropout sum",
            "vocab",
            "imported",
            "model",
        ]
    );
    let text = invalid.to_string();
    for part in ["`sequence_len` is 49: give 1 to 48", "`heads` is 0", "`head_width` is 7", "huge"]
    {
        assert!(text.contains(part), "{part} is not in: {text}");
    }
}

fn name(offence: &TrainOffence) -> &'static str {
    match offence {
        TrainOffence::CountOutOfRange { field, .. }
        | TrainOffence::NumberOutOfRange { field, .. } => field,
        TrainOffence::DropoutExceedsWhole { .. } => "dropout sum",
        TrainOffence::DropoutTier(_) => "unknown tier",
        TrainOffence::NotBytes { .. } => "vocab",
        TrainOffence::Imported => "imported",
        TrainOffence::UnusableTier { .. } => "unusable tier",
        TrainOffence::Model(_) => "model",
    }
}

#[test]
fn sizes_beyond_any_machine_are_refused() {
    let mut config = recipe::tiny(1);
    config.model.attention_window = 1 << 24;
    config.sequence_len = 1 << 16;
    config.batch_sequences = 1 << 16;
    config.model.width = 1 << 24;
    config.model.tiers[0].expert_width = 1 << 24;
    let invalid = config.validate().expect_err("it is too large");
    let what: Vec<&str> = invalid.offences.iter().map(name).collect();
    assert_eq!(what, ["batch_sequences * sequence_len", "parameters of the model"]);
}
