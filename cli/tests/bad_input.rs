//! Models and chips that cannot be compiled: the layer's name, the reason and the remedy; and nothing
//! half-written is left, nor is what was there before touched.

use litecore_model::checkpoint::Digest;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A tensor of the embedded model, and the shard it is in.
const TENSOR: &str = "layers.2.tiers.medium.groups.1.experts.2.up.weight";
const SHARD: &str = "tier-medium.safetensors";

/// A copy of the embedded checkpoint, and a place for what is compiled from it.
struct Victim {
    folder: tempfile::TempDir,
}

impl Victim {
    fn new() -> Self {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/embedded");
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("model")).expect("a folder");
        for entry in fs::read_dir(source).expect("the embedded model").flatten() {
            fs::copy(entry.path(), folder.path().join("model").join(entry.file_name()))
                .expect("a copy");
        }
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Changes the header and the data of a shard, and makes the manifest agree with it, as if the
    /// checkpoint had been written so.
    fn edit_shard(&self, change: impl FnOnce(&mut Value, &mut Vec<u8>)) {
        let file = self.path("model").join(SHARD);
        let bytes = fs::read(&file).expect("a shard");
        let length = u64::from_le_bytes(*bytes.first_chunk().expect("a length"));
        let (header, data) = bytes[8..].split_at(usize::try_from(length).expect("small"));
        let mut header: Value = serde_json::from_slice(header).expect("a header");
        let mut data = data.to_vec();
        change(&mut header, &mut data);
        let header = header.to_string();
        let length = (header.len() as u64).to_le_bytes();
        let bytes = [&length, header.as_bytes(), &data].concat();
        fs::write(file, &bytes).expect("written");
        self.edit_manifest(|manifest| {
            let shards = manifest["shards"].as_array_mut().expect("shards");
            let entry = shards.iter_mut().find(|shard| shard["path"] == SHARD).expect("the shard");
            entry["bytes"] = json!(bytes.len());
            entry["blake3"] = json!(Digest::of(&bytes).to_string());
        });
    }

    fn edit_manifest(&self, change: impl FnOnce(&mut Value)) {
        let file = self.path("model").join("manifest.json");
        let mut manifest = serde_json::from_slice(&fs::read(&file).expect("there")).expect("JSON");
        change(&mut manifest);
        fs::write(file, manifest.to_string()).expect("written");
    }

    /// A chip description: one that is shipped, with some of its lines replaced.
    fn chip(&self, shipped: &str, lines: &[(&str, &str)]) -> PathBuf {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../chips");
        let mut toml = fs::read_to_string(source.join(format!("{shipped}.toml"))).expect("shipped");
        for (start, with) in lines {
            let line = toml.lines().find(|line| line.starts_with(start)).expect(start).to_owned();
            toml = toml.replacen(&line, with, 1);
        }
        let file = self.path("chip.toml");
        fs::write(&file, toml).expect("written");
        file
    }

    /// Compiles where there is nothing and where there is an older program, and checks that it is
    /// refused in these words and changes nothing.
    #[track_caller]
    fn refused(&self, choices: &[&str], words: &[&str]) {
        let (model, out) = (self.path("model"), self.path("program"));
        for before in [None, Some("an older program")] {
            if let Some(before) = before {
                fs::write(&out, before).expect("written");
            }
            let count = || fs::read_dir(self.folder.path()).expect("the folder").count();
            let there = count();
            let output = Command::new(env!("CARGO_BIN_EXE_litecore"))
                .args(["compile", text(&model), "--out", text(&out)])
                .args(choices)
                .output()
                .expect("the program starts");
            let message = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(1), "{message}");
            assert!(!message.contains("panicked"), "{message}");
            for word in words {
                assert!(message.contains(word), "no `{word}` in: {message}");
            }
            assert_eq!(count(), there, "something was left: {message}");
            assert_eq!(fs::read_to_string(&out).ok().as_deref(), before, "{message}");
        }
        fs::remove_file(&out).expect("it was there");
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

#[test]
fn a_tensor_that_is_missing() {
    let victim = Victim::new();
    victim.edit_shard(|header, _| {
        let entry = header.as_object_mut().expect("an object").remove(TENSOR).expect("the tensor");
        header["spare"] = entry;
    });
    victim.refused(&[], &[TENSOR, "is missing from", SHARD, "write the checkpoint again with it"]);
}

#[test]
fn a_tensor_of_another_shape() {
    let victim = Victim::new();
    victim.edit_shard(|header, _| header[TENSOR]["shape"] = json!([64, 256]));
    let words =
        [TENSOR, "has shape [64, 256], the configuration says [128, 128]", "use the manifest"];
    victim.refused(&[], &words);
}

#[test]
fn a_weight_that_is_no_number() {
    let victim = Victim::new();
    victim.edit_shard(|header, data| {
        let start = header[TENSOR]["data_offsets"][0].as_u64().expect("an offset");
        let width = if header[TENSOR]["dtype"] == "F32" { 4 } else { 2 };
        // All ones is a NaN in every type.
        let at = usize::try_from(start).expect("small") + 300 * width;
        data[at..at + width].fill(0xff);
    });
    victim.refused(&[], &[TENSOR, "element 300 is NaN", "use an earlier checkpoint"]);
}

#[test]
fn a_model_of_a_later_kind() {
    let victim = Victim::new();
    victim.edit_manifest(|manifest| manifest["version"] = json!(9));
    victim.refused(&[], &["manifest.json", "9", "update"]);
    let victim = Victim::new();
    victim.edit_manifest(|manifest| manifest["model"]["routing"]["rule"] = json!("by moonlight"));
    victim.refused(&[], &["manifest.json", "by moonlight"]);
}

#[test]
fn a_chip_that_is_too_small() {
    let victim = Victim::new();
    let chip = victim.chip("tiny-4", &[("sram_bytes", "sram_bytes = 1024")]);
    let words = ["layer `layer 0 small.0.0`", "card memory", "raise memory.sram_bytes"];
    victim.refused(&["--chip", text(&chip)], &words);
    // One cell per array, read many times: more steps than a program can hold.
    let chip = victim.chip("tiny-4", &[("inputs", "inputs = 1"), ("outputs", "outputs = 1")]);
    let words = ["`layer 0 small.0.0` needs", "steps", "use a chip whose arrays fit its matrices"];
    victim.refused(&["--chip", text(&chip), "--target-snr", "60"], &words);
}

#[test]
fn an_accumulator_that_could_overflow() {
    let victim = Victim::new();
    // Sixteen-bit readings of narrow tiles, in two planes and sixteen times over.
    let lines = [("inputs", "inputs = 1"), ("gain_log2_max", "gain_log2_max = 16")];
    let chip = victim.chip("tiny-4", &lines);
    let toml = fs::read_to_string(&chip).expect("there");
    let adc = toml.find("[adc]").expect("a converter");
    let (before, after) = toml.split_at(adc);
    let mut after = after.to_owned();
    let enob = "enob = { value = 12.0, plus_minus = 0.0, source = \"test\" }";
    for (start, with) in [("bits", "bits = 16"), ("enob", enob)] {
        let line = after.lines().find(|line| line.starts_with(start)).expect(start).to_owned();
        after = after.replacen(&line, with, 1);
    }
    fs::write(&chip, before.to_owned() + &after).expect("written");
    let words = [
        "layer `layer 0 small.0.0 gate`",
        "partial sums of output 0 may need",
        "accumulators have 32",
        "split the layer's inputs",
    ];
    victim.refused(&["--chip", text(&chip), "--target-snr", "200"], &words);
}
