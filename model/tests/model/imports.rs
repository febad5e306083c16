//! Recorded model directories as checkpoints: what they hold, and what the manifest says.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use litecore_model::checkpoint::Checkpoint;
use litecore_model::import::{Family, Imported, import_dir};
use litecore_model::names::TensorSpec;
use litecore_model::{
    ExpertKey, ModelConfig, QueryKeyNorm, RopeScaling, RoutingRule, TierMode, Tokenizer,
};
use safetensors::{Dtype, SafeTensors};
use tempfile::TempDir;

fn recorded(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/import").join(name)
}

fn import(name: &str) -> (TempDir, Imported, Checkpoint) {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("checkpoint");
    let mut last = (0, 0);
    let imported = import_dir(&recorded(name), &target, &mut |done, total| {
        assert!(done >= last.0 && done <= total);
        last = (done, total);
    });
    let imported = imported.unwrap();
    assert_eq!(last, (imported.bytes, imported.bytes));
    let checkpoint = Checkpoint::open_dir(&target).unwrap();
    assert_eq!(checkpoint.digest(), imported.digest);
    (folder, imported, checkpoint)
}

/// All tensors of the shards in a directory: type, shape and bytes.
fn tensors(directory: &Path) -> BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap().flatten() {
        if entry.path().extension().is_some_and(|extension| extension == "safetensors") {
            let bytes = fs::read(entry.path()).unwrap();
            for (name, view) in SafeTensors::deserialize(&bytes).unwrap().iter() {
                let tensor = (view.dtype(), view.shape().to_vec(), view.data().to_vec());
                assert!(found.insert(name.to_owned(), tensor).is_none());
            }
        }
    }
    found
}

#[test]
fn elements_keep_their_type_and_every_bit() {
    // By the library's own reader on both sides, and by names written out here.
    let cases = [
        (
            "mixtral-sliding",
            Dtype::BF16,
            [
                (
                    "model.layers.2.block_sparse_moe.experts.5.w3.weight",
                    "layers.2.tiers.experts.groups.0.experts.5.up.weight",
                ),
                (
                    "model.layers.2.block_sparse_moe.experts.5.w2.weight",
                    "layers.2.tiers.experts.groups.0.experts.5.down.weight",
                ),
                ("model.layers.0.block_sparse_moe.gate.weight", "layers.0.router.expert.weight"),
                ("lm_head.weight", "head.weight"),
            ],
        ),
        (
            "qwen2moe-norm",
            Dtype::F16,
            [
                (
                    "model.layers.0.mlp.shared_expert_gate.weight",
                    "layers.0.tier_gate.shared.weight",
                ),
                (
                    "model.layers.3.mlp.shared_expert.gate_proj.weight",
                    "layers.3.tiers.shared.groups.0.experts.0.gate.weight",
                ),
                (
                    "model.layers.1.mlp.up_proj.weight",
                    "layers.1.tiers.dense.groups.0.experts.0.up.weight",
                ),
                ("model.layers.3.self_attn.k_proj.bias", "layers.3.attn.k.bias"),
            ],
        ),
        (
            "qwen3moe",
            Dtype::F32,
            [
                ("model.layers.1.self_attn.q_norm.weight", "layers.1.attn.q_norm.gain"),
                ("model.layers.1.post_attention_layernorm.weight", "layers.1.moe_norm.gain"),
                ("model.layers.0.self_attn.o_proj.bias", "layers.0.attn.o.bias"),
                ("model.norm.weight", "final_norm.gain"),
            ],
        ),
    ];
    for (name, dtype, pairs) in cases {
        let (folder, imported, _) = import(name);
        let theirs = tensors(&recorded(name));
        let ours = tensors(&folder.path().join("checkpoint"));
        assert_eq!(ours.len(), imported.tensors);
        assert_eq!(theirs.len(), imported.tensors, "all are used");
        for (theirs_name, ours_name) in pairs {
            assert!(ours[ours_name] == theirs[theirs_name], "{name}: {ours_name}");
            assert_eq!(ours[ours_name].0, dtype);
        }
    }
}

#[test]
fn configurations_become_models() {
    let config = |name| import(name).2.config().clone();
    let mixed = config("qwen2moe-norm");
    assert_eq!((mixed.layers, mixed.heads, mixed.key_value_heads()), (4, 4, 4));
    assert_eq!((0..4).map(|l| mixed.window_of(l)).collect::<Vec<_>>(), [20, 512, 20, 512]);
    assert_eq!(mixed.routing.rule, RoutingRule::Flat { normalized: true });
    assert!(mixed.attention.input_biases && !mixed.attention.output_bias);
    let tiers: Vec<_> = mixed.tiers.iter().map(|t| (t.id.as_str(), t.mode, &t.layers)).collect();
    assert_eq!(
        tiers,
        [
            ("experts", TierMode::Routed, &Some(vec![0, 2, 3])),
            ("shared", TierMode::AlwaysGated, &Some(vec![0, 2, 3])),
            ("dense", TierMode::Always, &Some(vec![1])),
        ]
    );
    let key = |tier, expert| ExpertKey { tier, group: 0, expert };
    assert_eq!(mixed.experts_in(1).collect::<Vec<_>>(), [key(2, 0)]);
    assert_eq!(mixed.experts_in(2).last(), Some(key(1, 0)));
    assert_eq!(mixed.experts_in(2).count(), 6);

    let sparse = config("qwen3moe");
    assert_eq!((sparse.width, sparse.head_width, sparse.key_value_heads()), (24, 12, 2));
    assert_eq!(sparse.attention.query_key_norm, Some(QueryKeyNorm::Head));
    assert!(sparse.attention.input_biases && sparse.attention.output_bias);
    assert_eq!((sparse.tiers.len(), sparse.tiers[0].layers.clone()), (1, None));
    let olmoe = config("olmoe");
    assert_eq!(olmoe.attention.query_key_norm, Some(QueryKeyNorm::Width));
    assert_eq!(olmoe.attention.clip, Some(1.25));
    assert_eq!(olmoe.routing.rule, RoutingRule::Flat { normalized: false });
    let llama = config("llama3");
    assert!(llama.tied_head);
    let scaling = RopeScaling::Llama3 {
        factor: 8.0,
        low_frequency_factor: 1.0,
        high_frequency_factor: 4.0,
        original_context: 64,
    };
    assert_eq!((llama.rope_theta, llama.attention.rope_scaling), (500_000.0, Some(scaling)));
    assert_eq!((llama.tiers.len(), llama.tiers[0].mode), (1, TierMode::Always));
    let sliding = config("mixtral-sliding");
    assert_eq!((sliding.attention_window, sliding.norm_epsilon), (24, 1e-3));
    assert_eq!(config("llama-linear").end_tokens.len(), 2);
}

#[test]
fn counts_and_names_agree_with_the_list_of_tensors() {
    for family in Family::ALL {
        let name = match family {
            Family::Llama => "llama-linear",
            Family::Qwen2Moe => "qwen2moe-norm",
            Family::Qwen3Moe => "qwen3moe-mixed",
            other => other.name(),
        };
        let (_folder, imported, checkpoint) = import(name);
        assert_eq!(imported.family, family);
        let config = checkpoint.config();
        let size = |spec: &TensorSpec| spec.shape.iter().product::<usize>() as u128;
        let counts = config.parameter_counts();
        assert_eq!(counts.total, config.tensor_specs().map(|s| size(&s)).sum(), "{name}");
        let layer = |layer| {
            let prefix = format!("layers.{layer}.");
            let of_layer = config.dense_specs().filter(|s| s.name.starts_with(&prefix));
            of_layer.map(|s| size(&s)).sum::<u128>()
        };
        assert_eq!(Some(counts.dense_per_layer), (0..config.layers).map(layer).max(), "{name}");
        for spec in config.tensor_specs() {
            assert_eq!(config.tensor_spec(&spec.name).as_ref(), Some(&spec));
        }
        // What a layer lacks has no name.
        assert_eq!(config.tensor_spec("layers.0.router.tier.weight"), None);
        let text = serde_json::to_string(config).unwrap();
        assert_eq!(serde_json::from_str::<ModelConfig>(&text).unwrap(), *config);
    }
}

#[test]
fn the_same_directory_gives_the_same_bytes_and_version_two() {
    let (first, _, checkpoint) = import("qwen2moe");
    let (second, _, _) = import("qwen2moe");
    let files = |folder: &TempDir| -> BTreeMap<_, _> {
        let entries = fs::read_dir(folder.path().join("checkpoint")).unwrap().flatten();
        entries.map(|entry| (entry.file_name(), fs::read(entry.path()).unwrap())).collect()
    };
    assert!(files(&first) == files(&second));
    let manifest = &files(&first)[std::ffi::OsStr::new("manifest.json")];
    let manifest: serde_json::Value = serde_json::from_slice(manifest).unwrap();
    assert_eq!(manifest["version"], 2, "older readers must refuse it");
    assert_eq!(manifest["tokenizer"]["path"], "tokenizer.json");
    assert!(checkpoint.verify().is_clean());
}

#[test]
fn text_goes_through_the_tokenizer_of_the_model() {
    let (_folder, _, checkpoint) = import("llama3");
    let tokenizer = checkpoint.tokenizer().unwrap();
    let text = "Größer – 25.1 °C";
    let encoding = tokenizer.encode(text).unwrap();
    // A token that begins every text comes first and takes none of it.
    assert_eq!((encoding.tokens[0], encoding.unpredicted_bytes), (0, 0));
    assert_eq!(tokenizer.decode(&encoding.tokens).unwrap(), text);
    let mut stream = tokenizer.stream();
    let mut bytes = Vec::new();
    for token in &encoding.tokens {
        let more = stream.push(*token).unwrap();
        assert!(std::str::from_utf8(&more).is_ok(), "never half a character");
        bytes.extend(more);
    }
    bytes.extend(stream.finish().unwrap());
    assert_eq!(String::from_utf8(bytes).unwrap(), text);

    let (_folder, _, checkpoint) = import("mistral");
    let tokenizer = checkpoint.tokenizer().unwrap();
    let encoding = tokenizer.encode("the array").unwrap();
    let first = tokenizer.decode(&encoding.tokens[..1]).unwrap();
    assert_eq!(encoding.unpredicted_bytes, first.len(), "nothing predicts the first token");
}

#[test]
fn models_of_bytes_have_the_tokenizer_of_bytes() {
    let tokenizer = litecore_model::embedded::checkpoint().unwrap().tokenizer().unwrap();
    assert!(matches!(tokenizer, Tokenizer::Bytes));
    assert_eq!(tokenizer.encode("é").unwrap().tokens, [0xc3, 0xa9]);
}
