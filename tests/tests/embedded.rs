//! The shipped model is the one its recipe names.

use litecore_model::checkpoint::Digest;
use litecore_train::{EMBEDDED_RECIPE, TrainConfig, corpus};

#[test]
fn the_embedded_model_is_whole_and_says_where_it_is_from() {
    let checkpoint = litecore_model::embedded::checkpoint().expect("the embedded model");
    assert!(checkpoint.verify().is_clean());
    // `litecore train --embedded` gives this digest; it takes some twenty minutes on two cores.
    let digest = "6c06d7fa42e826977ebc4973425f9ae457ee2fdfc96f081d9b6336fb2a6c9566";
    assert_eq!(checkpoint.digest().to_string(), digest);

    let provenance = &checkpoint.manifest.provenance;
    let recipe: TrainConfig = toml::from_str(EMBEDDED_RECIPE).expect("the recipe");
    let written: TrainConfig = toml::from_str(&provenance["recipe"]).expect("the recipe, as used");
    assert_eq!(written, recipe);
    assert_eq!(checkpoint.config(), &recipe.model);
    let text = corpus::embedded_training_text();
    assert_eq!(provenance["training_text_blake3"], Digest::of(text.as_bytes()).to_string());
}
