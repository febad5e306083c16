//! The trainer and the runtime write the same forward pass twice; here they must agree.

use litecore_model::checkpoint::{Checkpoint, Dtype, encode};
use litecore_model::{ModelConfig, Tensor, TierMask, TierSet};
use litecore_runtime::{DenseModel, FloatExecutor, RuntimeError, Session};
use litecore_types::Seed;
use std::collections::BTreeMap;

const TEXT: &[u8] = b"The quick array settles. 3 dB per split; [cell] phase = 0.005\n";

/// A small model with random weights, gains included.
fn random_model() -> (ModelConfig, BTreeMap<String, Tensor>) {
    let config: ModelConfig = serde_json::from_str(CONFIG).expect("a configuration");
    config.validate().expect("valid");
    let tensors = (0..)
        .zip(config.tensor_specs())
        .map(|(key, spec)| {
            let mut data = vec![0.0; spec.shape.iter().product()];
            litecore_kernels::normal::standard_normals(key, 0, &mut data);
            let gain = spec.shape.len() == 1;
            for value in &mut data {
                *value = if gain { 1.0 + 0.1 * *value } else { 0.2 * *value };
            }
            (spec.name, Tensor { shape: spec.shape, data })
        })
        .collect();
    (config, tensors)
}

const CONFIG: &str = r#"{
  "width": 24, "layers": 3, "heads": 3, "head_width": 8, "attention_window": 64,
  "routing": {
    "tiers_per_token": 2, "groups_per_tier": 1, "experts_per_group": 2, "seed": "99"
  },
  "tiers": [
    { "id": "a", "groups": 2, "experts_per_group": 2, "expert_width": 16 },
    { "id": "b", "groups": 3, "experts_per_group": 3, "expert_width": 20 },
    { "id": "c", "groups": 1, "experts_per_group": 4, "expert_width": 12 }
  ]
}"#;

#[test]
fn trainer_and_runtime_give_the_same_logits() {
    let (config, tensors) = random_model();
    let files = encode(&config, &tensors, Dtype::F32, &BTreeMap::new()).expect("encoded");
    let files: Vec<(&str, &[u8])> =
        files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
    let checkpoint = Checkpoint::from_bytes(&files).expect("a checkpoint");
    let dense = DenseModel::from_checkpoint(&checkpoint).expect("dense tensors");
    for tiers in [TierSet::All, "a".parse().expect("a set"), "..=b".parse().expect("a set")] {
        let mask: TierMask = tiers.resolve(&config).expect("known");
        let mut executor = FloatExecutor::from_checkpoint(&checkpoint).expect("experts");
        let mut session = Session::new(&dense, mask.clone(), config.routing.seed, 0);
        let ours = session.forward(TEXT, &mut executor).expect("logits");
        let theirs = litecore_train::logits(&config, &tensors, &mask, TEXT).expect("logits");
        let bits = |logits: &[f32]| logits.iter().map(|l| l.to_bits()).collect::<Vec<_>>();
        assert_eq!(ours.len(), TEXT.len() * config.vocab);
        assert!(ours.iter().any(|logit| logit.abs() > 0.1), "the logits are not all nothing");
        assert!(bits(&ours) == bits(&theirs), "tiers {tiers}");
    }
}

#[test]
fn a_window_that_slides_forgets_what_left_it() {
    // With one layer, a byte beyond the window cannot matter; inside the window it does.
    let (mut config, _) = random_model();
    config.layers = 1;
    config.attention_window = 8;
    let (_, tensors) = random_model();
    let dense = DenseModel::new(&config, &tensors).expect("dense tensors");
    let last = |text: &[u8]| {
        let files = encode(&config, &only(&config, &tensors), Dtype::F32, &BTreeMap::new());
        let files = files.expect("encoded");
        let files: Vec<(&str, &[u8])> =
            files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
        let checkpoint = Checkpoint::from_bytes(&files).expect("a checkpoint");
        let mut executor = FloatExecutor::from_checkpoint(&checkpoint).expect("experts");
        let mut session = Session::new(&dense, TierMask::all(&config), Seed(0), 0);
        let logits = session.forward(text, &mut executor).expect("logits");
        logits[logits.len() - 256..].iter().map(|l| l.to_bits()).collect::<Vec<_>>()
    };
    let text = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let mut early = *text;
    early[text.len() - 9] = b'!';
    let mut late = *text;
    late[text.len() - 8] = b'!';
    assert!(last(text) == last(&early));
    assert!(last(text) != last(&late));
}

#[test]
fn a_model_whose_tokens_are_no_bytes_takes_none() {
    for vocab in [100, 600] {
        let (mut config, mut tensors) = random_model();
        config.vocab = vocab;
        for name in ["embed.weight", "head.weight"] {
            let shape = vec![vocab, config.width];
            tensors.insert(name.to_owned(), Tensor::zeros(shape).expect("small"));
        }
        let files = encode(&config, &tensors, Dtype::F32, &BTreeMap::new()).expect("encoded");
        let files: Vec<(&str, &[u8])> =
            files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
        let checkpoint = Checkpoint::from_bytes(&files).expect("a checkpoint");
        let dense = DenseModel::from_checkpoint(&checkpoint).expect("dense tensors");
        let mut executor = FloatExecutor::from_checkpoint(&checkpoint).expect("experts");
        let mut session = Session::new(&dense, TierMask::all(&config), Seed(0), 0);
        let refused = session.forward(b"text", &mut executor).expect_err("not the bytes");
        assert!(
            matches!(refused, RuntimeError::Vocabulary { vocab: v } if v == vocab),
            "{refused}"
        );
    }
}

/// The tensors that `config` asks for.
fn only(config: &ModelConfig, tensors: &BTreeMap<String, Tensor>) -> BTreeMap<String, Tensor> {
    config.tensor_specs().map(|spec| (spec.name.clone(), tensors[&spec.name].clone())).collect()
}
