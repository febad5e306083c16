//! Tiers spread over several shards: only the shard that holds a tensor is read for it.

use std::fs;

use litecore_model::checkpoint::{Checkpoint, CheckpointError, Digest};
use safetensors::SafeTensors;
use serde_json::json;

use crate::victim::Victim;

/// The dense tensors in two shards, cut at a name.
fn split() -> Victim {
    let victim = Victim::new();
    let bytes = fs::read(victim.path("base.safetensors")).unwrap();
    let shard = SafeTensors::deserialize(&bytes).unwrap();
    let (left, right): (Vec<_>, Vec<_>) = shard.iter().partition(|(name, _)| *name < "layers.1");
    assert!(!left.is_empty() && !right.is_empty());
    let mut entries = Vec::new();
    for (path, views) in [("base-00001.safetensors", left), ("base-00002.safetensors", right)] {
        let bytes = safetensors::serialize(views, None).unwrap();
        entries.push(json!({
            "path": path, "bytes": bytes.len(), "blake3": Digest::of(&bytes).to_string(),
        }));
        fs::write(victim.path(path), bytes).unwrap();
    }
    fs::remove_file(victim.path("base.safetensors")).unwrap();
    victim.edit_manifest(|manifest| {
        let shards = manifest["shards"].as_array_mut().unwrap();
        shards.retain(|entry| entry["path"] != "base.safetensors");
        shards.extend(entries);
    });
    victim
}

const RIGHT: &str = "layers.1.attn.q.weight";
const LEFT: &str = "layers.0.attn.q.weight";

fn open(victim: &Victim) -> Checkpoint {
    Checkpoint::open_dir(victim.path("manifest.json").parent().unwrap()).unwrap()
}

#[test]
fn a_damaged_shard_is_no_matter_to_tensors_of_another() {
    let victim = split();
    assert!(open(&victim).verify().is_clean());
    let whole = open(&victim).tensor_f32(RIGHT).unwrap();
    let path = victim.path("base-00001.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, bytes).unwrap();
    let checkpoint = open(&victim);
    assert_eq!(checkpoint.tensor_f32(RIGHT).unwrap(), whole);
    let error = checkpoint.tensor_f32(LEFT).unwrap_err();
    assert!(matches!(error, CheckpointError::DigestMismatch { .. }), "{error}");
}

#[test]
fn a_header_that_lies_is_believed_by_nobody() {
    // The tensor renamed in the header of its own shard: the name is found nowhere, and why that
    // is comes out all the same.
    let victim = split();
    let path = victim.path("base-00002.safetensors");
    let bytes = fs::read(&path).unwrap();
    let text = String::from_utf8_lossy(&bytes[..]).into_owned();
    let at = text.find(RIGHT).unwrap();
    let mut bytes = bytes;
    bytes[at] = b'm';
    fs::write(&path, bytes).unwrap();
    let error = open(&victim).tensor_f32(RIGHT).unwrap_err();
    assert!(matches!(error, CheckpointError::DigestMismatch { .. }), "{error}");
}
