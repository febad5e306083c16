//! A model of a few experts for the tests.
#![allow(dead_code, reason = "each test file uses its part")]

use litecore_compiler::{CompileOptions, CompiledModel, compile_model};
use litecore_kernels::normal::standard_normals;
use litecore_model::checkpoint::{Checkpoint, Dtype, encode};
use litecore_model::{
    AttentionConfig, ModelConfig, RoutingConfig, RoutingRule, Seed128, Tensor, TierConfig, TierId,
};
use litecore_types::chip::{ChipDescription, builtin, builtin_text};
use std::collections::BTreeMap;

/// Two layers with one expert in the tier `a` and two in the tier `b`.
pub(crate) fn config() -> ModelConfig {
    let tier = |id: &str, experts, width| {
        TierConfig::new(TierId::new(id).expect("valid"), 1, experts, width)
    };
    ModelConfig {
        name: "two layers".to_owned(),
        vocab: 5,
        width: 6,
        layers: 2,
        heads: 1,
        head_width: 4,
        attention_window: 8,
        rope_theta: 10_000.0,
        norm_epsilon: 1e-5,
        attention: AttentionConfig::default(),
        tied_head: false,
        end_tokens: Vec::new(),
        routing: RoutingConfig {
            tiers_per_token: 1,
            groups_per_tier: 1,
            experts_per_group: 1,
            seed: Seed128::default(),
            rule: RoutingRule::Levels,
        },
        tiers: vec![tier("a", 1, 5), tier("b", 2, 9)],
    }
}

/// A checkpoint of `config` with Gaussian tensors.
pub(crate) fn checkpoint(config: &ModelConfig) -> Checkpoint {
    open(&files(config))
}

/// Opens a checkpoint in memory.
pub(crate) fn open(files: &BTreeMap<String, Vec<u8>>) -> Checkpoint {
    let files: Vec<(&str, &[u8])> =
        files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
    Checkpoint::from_bytes(&files).expect("its manifest is whole")
}

/// The files of a checkpoint with Gaussian tensors.
pub(crate) fn files(config: &ModelConfig) -> BTreeMap<String, Vec<u8>> {
    changed_files(config, &|_, _| {})
}

/// The same, each tensor changed as its name asks for.
pub(crate) fn changed_files(
    config: &ModelConfig,
    change: &dyn Fn(&str, &mut [f32]),
) -> BTreeMap<String, Vec<u8>> {
    let mut tensors = BTreeMap::new();
    for (spec, key) in config.tensor_specs().zip(100..) {
        let mut data = vec![0.0; spec.shape.iter().product()];
        standard_normals(key, 0, &mut data);
        change(&spec.name, &mut data);
        tensors.insert(spec.name, Tensor::new(spec.shape, data).expect("as the shape says"));
    }
    encode(config, &tensors, Dtype::F32, &BTreeMap::new()).expect("fits the model")
}

pub(crate) fn tiny() -> (ChipDescription, &'static str) {
    (builtin("tiny-4").expect("shipped"), builtin_text("tiny-4").expect("shipped"))
}

/// The model compiled for the smallest chip, without samples.
pub(crate) fn compiled() -> CompiledModel {
    compile(&checkpoint(&config()))
}

/// A model compiled likewise.
pub(crate) fn compile(checkpoint: &Checkpoint) -> CompiledModel {
    let (chip, text) = tiny();
    let options = CompileOptions { symbols_max: 16, ..CompileOptions::default() };
    let none = |_, _| Vec::new();
    compile_model(&chip, text, checkpoint, &none, &options, &mut |_, _| {})
        .unwrap_or_else(|error| panic!("{error}"))
}
