//! `litecore import`: a model from elsewhere, from the directory to text; and every way in which
//! such a directory can be wrong.

use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn litecore(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_litecore")).args(args).output().expect("the program starts")
}

fn json_of(args: &[&str]) -> Value {
    let output = litecore(args);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{args:?}: {errors}");
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

/// A copy of a recorded model that may be damaged.
struct Victim {
    folder: tempfile::TempDir,
}

impl Victim {
    fn of(name: &str) -> Self {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/import");
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("model")).expect("a folder");
        for entry in fs::read_dir(source.join(name)).expect("a recorded model").flatten() {
            let target = folder.path().join("model").join(entry.file_name());
            fs::copy(entry.path(), target).expect("a copy");
        }
        Self { folder }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join("model").join(name)
    }

    fn target(&self) -> PathBuf {
        self.folder.path().join("checkpoint")
    }

    /// Changes a JSON file.
    fn edit(&self, name: &str, change: impl FnOnce(&mut Value)) {
        let file = self.file(name);
        let mut value = serde_json::from_slice(&fs::read(&file).expect("a file")).expect("JSON");
        change(&mut value);
        fs::write(file, value.to_string()).expect("written");
    }

    /// Changes the header of the shard that holds a tensor; offsets stay as they are.
    fn edit_header(&self, tensor: &str, change: impl FnOnce(&mut Value)) {
        let file = self.shard_of(tensor);
        let bytes = fs::read(&file).expect("a shard");
        let length = u64::from_le_bytes(*bytes.first_chunk().expect("a length"));
        let (header, data) = bytes[8..].split_at(usize::try_from(length).expect("small"));
        let mut header: Value = serde_json::from_slice(header).expect("a header");
        change(&mut header);
        let header = header.to_string();
        let length = (header.len() as u64).to_le_bytes();
        fs::write(file, [&length, header.as_bytes(), data].concat()).expect("written");
    }

    fn shard_of(&self, tensor: &str) -> PathBuf {
        let index = fs::read(self.file("model.safetensors.index.json")).expect("an index");
        let index: Value = serde_json::from_slice(&index).expect("JSON");
        self.file(index["weight_map"][tensor].as_str().expect("a shard"))
    }

    /// Overwrites the first bytes of a tensor.
    fn overwrite(&self, tensor: &str, with: &[u8]) {
        let file = self.shard_of(tensor);
        let mut bytes = fs::read(&file).expect("a shard");
        let length = u64::from_le_bytes(*bytes.first_chunk().expect("a length"));
        let length = usize::try_from(length).expect("small");
        let header: Value = serde_json::from_slice(&bytes[8..8 + length]).expect("a header");
        let start = header[tensor]["data_offsets"][0].as_u64().expect("an offset");
        let start = 8 + length + usize::try_from(start).expect("small");
        bytes[start..start + with.len()].copy_from_slice(with);
        fs::write(file, bytes).expect("written");
    }

    /// Imports, checks that it is refused in these words and leaves nothing behind.
    #[track_caller]
    fn refused(&self, words: &[&str]) {
        let (model, target) = (self.folder.path().join("model"), self.target());
        let output = litecore(&["import", text(&model), "--out", text(&target)]);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{message}");
        assert!(!message.contains("panicked"), "{message}");
        for word in words {
            assert!(message.contains(word), "no `{word}` in: {message}");
        }
        let left = fs::read_dir(self.folder.path()).expect("the folder").flatten().count();
        assert_eq!(left, 1, "only the model itself is there: {message}");
    }
}

#[test]
fn from_a_directory_to_text() {
    let victim = Victim::of("qwen2moe");
    let (model, target) = (victim.folder.path().join("model"), victim.target());
    let report = json_of(&["import", text(&model), "--out", text(&target), "--json"]);
    assert_eq!(report["family"], "qwen2_moe");
    assert_eq!((&report["layers"], &report["shards"]), (&json!(3), &json!(4)));

    let info = json_of(&["model", "info", text(&target), "--json"]);
    assert_eq!(info["digest"], report["digest"]);
    assert_eq!(info["parameters_total"], report["parameters_total"]);
    let verified = json_of(&["model", "verify", text(&target), "--json"]);
    assert_eq!(verified["ok"], true);

    let recorded = fs::read(victim.file("expected.json")).expect("what was recorded");
    let recorded: Value = serde_json::from_slice(&recorded).expect("JSON");
    let prompt = recorded["prompt"].as_str().expect("a prompt");
    let run = ["run", text(&target), "--executor", "f32", "--prompt", prompt, "-n", "48"];
    let written = json_of(&[&run[..], &["--json"]].concat());
    assert_eq!(written["tokens"], recorded["continuation"]);
    assert_eq!(written["text"], recorded["continuation_text"]);
    let shown = litecore(&run).stdout;
    let shown = String::from_utf8_lossy(&shown).into_owned();
    assert!(shown.starts_with(prompt), "{shown}");

    let file = victim.folder.path().join("text.txt");
    fs::write(&file, recorded["text"].as_str().expect("a text")).expect("written");
    let eval = ["eval", text(&target), "--text", text(&file), "--json", "--executor"];
    let f32 = json_of(&[&eval[..], &["f32"]].concat());
    let bits = |value: &Value| value.as_f64().expect("a number");
    let loss = bits(&recorded["loss_nats_per_token"]) / std::f64::consts::LN_2;
    assert!((bits(&f32["bits_per_token"]) / loss - 1.0).abs() < 1e-5);
    let tokens = recorded["text_tokens"].as_array().expect("tokens").len() as f64;
    let length = recorded["text"].as_str().expect("a text").len() as f64;
    assert!(
        (bits(&f32["bits_per_byte"]) * (length - 1.0) / (loss * (tokens - 1.0)) - 1.0).abs() < 1e-5
    );
    // Compiled on the fly for a card, shared and dense experts too.
    let cpu = json_of(&[&eval[..], &["cpu", "--bytes", "60"]].concat());
    assert!(bits(&cpu["snr_rms_to_f32_db"]) > 20.0, "{cpu}");

    // A second import to the same place is refused, and the first stays.
    let again = litecore(&["import", text(&model), "--out", text(&target)]);
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&again.stderr).contains("already there"));
    json_of(&["model", "verify", text(&target), "--json"]);
}

#[test]
fn a_compiled_program_without_its_tokenizer_is_refused_by_name() {
    let victim = Victim::of("mixtral");
    let (model, target) = (victim.folder.path().join("model"), victim.target());
    json_of(&["import", text(&model), "--out", text(&target), "--json"]);
    let program = victim.folder.path().join("model.prog");
    json_of(&["compile", text(&target), "--chip", "tiny-4", "--out", text(&program), "--json"]);
    let output = litecore(&["run", text(&program), "--prompt", "x"]);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("programs hold no tokenizer: give the checkpoint"), "{message}");
}

#[test]
fn a_directory_that_is_none() {
    let victim = Victim::of("mixtral");
    fs::remove_file(victim.file("config.json")).expect("removed");
    victim.refused(&["config.json", "no such file", "transformers library"]);
    let victim = Victim::of("mixtral");
    fs::remove_file(victim.file("model.safetensors.index.json")).expect("removed");
    victim.refused(&["model.safetensors: there is no such file", "convert other formats"]);
    let victim = Victim::of("mixtral");
    fs::write(victim.file("config.json"), "{\n\"model_type\": ").expect("written");
    victim.refused(&["config.json, line 2", "download the file again"]);
}

#[test]
fn what_is_not_supported_is_named() {
    let config = |change: fn(&mut Value), words: &[&str]| {
        let victim = Victim::of("llama3");
        victim.edit("config.json", change);
        victim.refused(words);
    };
    config(|c| c["model_type"] = json!("mamba"), &["`mamba` is not imported", "qwen3_moe, olmoe"]);
    config(|c| c["hidden_act"] = json!("gelu"), &["`hidden_act` is \"gelu\"", "silu is"]);
    config(
        |c| c["rope_parameters"]["rope_type"] = json!("yarn"),
        &["`rope_parameters.rope_type` is \"yarn\"", "linear and llama3 are"],
    );
    config(
        |c| {
            c["rope_parameters"] = Value::Null;
            c["rope_scaling"] = json!({ "type": "dynamic", "factor": 2.0 });
        },
        &["`rope_scaling.type` is \"dynamic\""],
    );
    config(|c| c["rope_parameters"]["partial_rotary_factor"] = json!(0.5), &["whole heads"]);
    config(
        |c| c["partial_rotary_factor"] = json!(0.5),
        &["`partial_rotary_factor` is 0.5", "whole"],
    );
    config(
        |c| {
            c.as_object_mut().expect("an object").remove("rope_parameters");
            c["partial_rotary_factor"] = json!(0.5);
        },
        &["`partial_rotary_factor` is 0.5", "whole heads"],
    );
    config(
        |c| {
            c["rope_parameters"] = json!({ "rope_theta": 1e4, "rope_type": "default" });
            c["rope_scaling"] = json!({ "type": "linear", "factor": 2.0 });
        },
        &["`rope_scaling` is", "contradicts rope_parameters"],
    );
    config(
        |c| c["rope_parameters"] = json!({ "rope_type": null, "type": "yarn", "factor": 4.0 }),
        &["`rope_parameters.type` is \"yarn\""],
    );
    config(
        |c| c["rope_parameters"]["type"] = json!("linear"),
        &["`rope_parameters.type` is \"linear\"", "contradicts rope_type"],
    );
    config(
        |c| c["rope_parameters"] = json!({ "factor": 4.0 }),
        &["`rope_parameters.rope_type` is missing, expected a text"],
    );
    config(|c| c["mlp_bias"] = json!(true), &["`mlp_bias`", "without biases"]);
    config(
        |c| c["quantization_config"] = json!({ "bits": 4 }),
        &["`quantization_config`", "save the model in float32"],
    );
    config(
        |c| c["rms_norm_eps"] = json!("small"),
        &["`rms_norm_eps` is \"small\", expected a number"],
    );
    config(|c| c["hidden_size"] = Value::Null, &["`hidden_size` is null, expected a count"]);
    config(|c| c["num_hidden_layers"] = json!(1_u64 << 40), &["num_hidden_layers"]);
    config(|c| c["num_key_value_heads"] = json!(3), &["`heads` is 4", "a divisor"]);
    let victim = Victim::of("qwen2moe-norm");
    victim.edit("config.json", |c| {
        c.as_object_mut().expect("an object").remove("layer_types");
    });
    victim.refused(&["`layer_types` is missing", "differ in which layers slide"]);
}

#[test]
fn what_a_library_would_fill_in_has_to_be_said() {
    for (model, field) in [
        ("mistral", "sliding_window"),
        ("mixtral", "sliding_window"),
        ("mistral", "eos_token_id"),
        ("llama3", "eos_token_id"),
        ("olmoe", "eos_token_id"),
    ] {
        let victim = Victim::of(model);
        victim.edit("config.json", |c| {
            c.as_object_mut().expect("an object").remove(field).expect("it was said");
        });
        victim.refused(&[&format!("`{field}` is missing, expected a"), "or null where"]);
    }
    // Both places that name end tokens are held to the vocabulary of 288.
    let victim = Victim::of("llama3");
    victim.edit("config.json", |c| c["eos_token_id"] = json!([2, 288]));
    victim
        .refused(&["config.json", "`eos_token_id` is [2,288], expected tokens of the vocabulary"]);
    let victim = Victim::of("llama3");
    fs::write(victim.file("generation_config.json"), "{\"eos_token_id\": 999}").expect("written");
    victim.refused(&["generation_config.json", "is 999, expected tokens of the vocabulary"]);
}

#[test]
fn places_that_do_not_fit_are_named_with_a_remedy() {
    let victim = Victim::of("mixtral");
    let (model, target) = (victim.folder.path().join("model"), victim.target());
    let refused = |source: &Path, target: &Path, words: &[&str]| {
        let output = litecore(&["import", text(source), "--out", text(target)]);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{message}");
        for word in words {
            assert!(message.contains(word), "no `{word}` in: {message}");
        }
        assert!(!message.contains("partial"), "{message}");
    };
    let parent = victim.folder.path().join("nosuch");
    refused(&model, &parent.join("x"), &[text(&parent), "no such directory: make it first"]);
    let file = model.join("config.json");
    refused(&file, &target, &[text(&file), "name the directory, not a file in it"]);
}

#[test]
fn tensors_that_do_not_fit_are_named() {
    const EXPERT: &str = "model.layers.1.block_sparse_moe.experts.2.w3.weight";
    let victim = Victim::of("mixtral");
    victim.edit_header(EXPERT, |header| {
        let entry = header[EXPERT].take();
        header.as_object_mut().expect("an object").remove(EXPERT);
        header["something.else"] = entry;
    });
    victim.refused(&[
        &format!("`{EXPERT}` is missing"),
        "`something.else`",
        "nothing would use it",
    ]);

    let victim = Victim::of("mixtral");
    victim.edit_header(EXPERT, |header| header[EXPERT]["shape"] = json!([12, 48]));
    victim.refused(&[EXPERT, "has shape [12, 48], the configuration says [24, 24]"]);

    let victim = Victim::of("mixtral");
    victim.edit_header(EXPERT, |header| header[EXPERT]["dtype"] = json!("I32"));
    victim.refused(&[EXPERT, "is I32, expected F32, BF16 or F16"]);

    // A bias that the configuration denies, and one that it claims.
    let victim = Victim::of("qwen3moe");
    victim.edit("config.json", |c| c["attention_bias"] = json!(false));
    victim.refused(&["model.layers.0.self_attn.k_proj.bias", "nothing would use it"]);
    let victim = Victim::of("llama3");
    victim.edit("config.json", |c| c["attention_bias"] = json!(true));
    victim.refused(&["`model.layers.0.self_attn.q_proj.bias` is missing"]);
    // Billions of experts that are not there take neither memory nor time.
    let victim = Victim::of("mixtral");
    victim.edit("config.json", |c| {
        c["num_local_experts"] = json!(65_536);
        c["num_hidden_layers"] = json!(65_536);
    });
    victim.refused(&["model.layers.0.block_sparse_moe.gate.weight", "and more"]);
}

#[test]
fn an_element_that_is_no_number_is_found_and_nothing_is_left() {
    // The last tensor that is written, so that everything before it was.
    let cases: [(&str, &str, &[u8], &str); 3] = [
        (
            "mixtral",
            "model.layers.1.block_sparse_moe.experts.3.w2.weight",
            &[0, 0, 0xc0, 0x7f],
            "NaN",
        ),
        ("qwen2", "model.layers.3.mlp.down_proj.weight", &[0x80, 0xff], "-inf"),
        ("llama-linear", "model.layers.2.mlp.down_proj.weight", &[0, 0x7c], "inf"),
    ];
    for (model, tensor, value, shown) in cases {
        let victim = Victim::of(model);
        // After a few good elements.
        let before = [0].repeat(value.len() * 3);
        victim.overwrite(tensor, &[&before, value].concat());
        victim.refused(&[tensor, &format!("element 3 is {shown}"), "use another checkpoint"]);
    }
}

#[test]
fn damaged_shards_and_indexes() {
    const TENSOR: &str = "model.layers.1.mlp.experts.2.up_proj.weight";
    let victim = Victim::of("olmoe");
    let shard = victim.shard_of(TENSOR);
    let bytes = fs::read(&shard).expect("a shard");
    for end in [0, 5, 40, bytes.len() - 1] {
        fs::write(&shard, &bytes[..end]).expect("cut off");
        let name = shard.file_name().expect("a name").to_string_lossy();
        victim.refused(&[&name, "damaged or cut off", "download it again"]);
    }
    fs::remove_file(&shard).expect("removed");
    victim.refused(&["is said to be in `model-0000", "which is not there: download it"]);

    let victim = Victim::of("olmoe");
    victim.edit("model.safetensors.index.json", |index| {
        index["weight_map"][TENSOR] = json!("../elsewhere.safetensors");
    });
    victim.refused(&["../elsewhere.safetensors", "not a plain file name"]);

    let victim = Victim::of("olmoe");
    let copy = victim.file("model-00009-of-00009.safetensors");
    fs::copy(victim.shard_of(TENSOR), copy).expect("a copy");
    victim.edit("model.safetensors.index.json", |index| {
        index["weight_map"]["model.norm.weight"] = json!("model-00009-of-00009.safetensors");
    });
    victim.refused(&["is also in", "remove one of the files"]);
}

#[test]
fn tokenizers_that_cannot_be_used() {
    let victim = Victim::of("mixtral");
    fs::remove_file(victim.file("tokenizer.json")).expect("removed");
    victim.refused(&["tokenizer.json: there is no such file", "save it here"]);
    let victim = Victim::of("mixtral");
    victim.edit("tokenizer.json", |tokenizer| tokenizer["model"]["type"] = json!("Morse"));
    victim.refused(&["tokenizer.json: not a tokenizer that can be read"]);
    let victim = Victim::of("mixtral");
    victim.edit("tokenizer.json", |tokenizer| tokenizer["model"]["vocab"]["zz"] = json!(400));
    victim.refused(&["it has a token 400, the model has 288 tokens"]);
}

#[test]
fn a_changed_tokenizer_in_a_checkpoint_is_noticed() {
    let victim = Victim::of("mixtral");
    let (model, target) = (victim.folder.path().join("model"), victim.target());
    json_of(&["import", text(&model), "--out", text(&target), "--json"]);
    let file = target.join("tokenizer.json");
    let changed = fs::read_to_string(&file).expect("a tokenizer").replacen("\"a\"", "\"á\"", 1);
    fs::write(&file, changed.replacen("\"version\":\"1.0\"", "\"version\":\"1.\"", 1))
        .expect("written");
    for args in [
        &["model", "verify", text(&target)][..],
        &["run", text(&target), "--executor", "f32", "--prompt", "x"],
    ] {
        let output = litecore(args);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{message}");
        assert!(message.contains("tokenizer.json"), "{message}");
    }
}

/// All address space, less than a quarter of the model: the program, its stacks, its heap.
#[cfg(target_os = "linux")]
const LIMIT_KIB: u64 = 96 << 10;

/// A model several times larger than the memory the program may have.
#[cfg(target_os = "linux")]
#[test]
fn a_model_larger_than_memory_is_imported() {
    use std::io::{Seek, SeekFrom, Write};

    let victim = Victim::of("mixtral");
    // Experts of 64 MiB, 384 MiB in all; holes in the file take no room on the disk.
    let (vocab, width, inner) = (288_u64, 1024_u64, 16_384_u64);
    victim.edit("config.json", |config| {
        let numbers = [
            ("hidden_size", width),
            ("intermediate_size", inner),
            ("num_hidden_layers", 1),
            ("num_local_experts", 2),
            ("num_attention_heads", 8),
            ("num_key_value_heads", 8),
        ];
        for (field, value) in numbers {
            config[field] = json!(value);
        }
    });
    let mut header = serde_json::Map::new();
    let mut end = 0;
    let mut add = |name: &str, shape: &[u64]| {
        let start = end;
        end += 4 * shape.iter().product::<u64>();
        header.insert(
            name.to_owned(),
            json!({ "dtype": "F32", "shape": shape, "data_offsets": [start, end] }),
        );
    };
    add("model.embed_tokens.weight", &[vocab, width]);
    add("lm_head.weight", &[vocab, width]);
    add("model.norm.weight", &[width]);
    let layer = |rest: &str| format!("model.layers.0.{rest}.weight");
    add(&layer("input_layernorm"), &[width]);
    add(&layer("post_attention_layernorm"), &[width]);
    for letter in ["q", "k", "v", "o"] {
        add(&layer(&format!("self_attn.{letter}_proj")), &[width, width]);
    }
    add(&layer("block_sparse_moe.gate"), &[2, width]);
    for expert in 0..2 {
        for (matrix, shape) in
            [("w1", [inner, width]), ("w2", [width, inner]), ("w3", [inner, width])]
        {
            add(&layer(&format!("block_sparse_moe.experts.{expert}.{matrix}")), &shape);
        }
    }
    let header = Value::Object(header).to_string();
    fs::remove_file(victim.file("model.safetensors.index.json")).expect("removed");
    let mut file = fs::File::create(victim.file("model.safetensors")).expect("a file");
    file.write_all(&(header.len() as u64).to_le_bytes()).expect("written");
    file.write_all(header.as_bytes()).expect("written");
    file.seek(SeekFrom::Current(i64::try_from(end).expect("small") - 1)).expect("a hole");
    file.write_all(&[0]).expect("written");
    drop(file);

    assert!(end > 4 * LIMIT_KIB * 1024);
    let (model, target) = (victim.folder.path().join("model"), victim.target());
    let script = format!("ulimit -v {LIMIT_KIB}; exec \"$0\" \"$@\"");
    let output = Command::new("sh")
        .args(["-c", &script, env!("CARGO_BIN_EXE_litecore")])
        .args(["import", text(&model), "--out", text(&target), "--json"])
        .output()
        .expect("the program starts");
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{message}");
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["tensor_bytes"], json!(end));
    assert_eq!(report["shards"], 3, "experts of 384 MiB in two shards of at most 256");
}
