use std::sync::Arc;
use std::thread;

use litecore_model::checkpoint::{Checkpoint, CheckpointError, Digest, Dtype, write_dir};
use safetensors::SafeTensors;

use crate::tiny;

fn slices(files: &std::collections::BTreeMap<String, Vec<u8>>) -> Vec<(&str, &[u8])> {
    files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect()
}

#[test]
fn what_is_written_is_read() {
    let config = tiny::config();
    let tensors = tiny::tensors(&config);
    for dtype in [Dtype::F32, Dtype::Bf16] {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("model");
        let digest = write_dir(&target, &config, &tensors, dtype, &tiny::provenance()).unwrap();
        let checkpoint = Checkpoint::open_dir(&target).unwrap();
        assert_eq!(checkpoint.config(), &config);
        assert_eq!(checkpoint.digest(), digest);
        assert_eq!(checkpoint.manifest.provenance, tiny::provenance());
        assert_eq!(checkpoint.tensors_f32().unwrap(), tensors);
        let report = checkpoint.verify();
        assert!(report.is_clean(), "{:?}", report.offences);
        assert_eq!((report.good_shards, report.good_tensors), (3, tensors.len()));
    }
}

#[test]
fn memory_and_directory_are_the_same_checkpoint() {
    let config = tiny::config();
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("model");
    write_dir(&target, &config, &tiny::tensors(&config), Dtype::Bf16, &tiny::provenance()).unwrap();
    let files = tiny::files(Dtype::Bf16);
    for (path, bytes) in &files {
        assert_eq!(&std::fs::read(target.join(path)).unwrap(), bytes, "{path}");
    }
    assert_eq!(std::fs::read_dir(&target).unwrap().count(), files.len());
    let checkpoint = Checkpoint::from_bytes(&slices(&files)).unwrap();
    assert_eq!(checkpoint.tensors_f32().unwrap(), tiny::tensors(&config));
}

#[test]
fn the_bytes_are_frozen() {
    let files = tiny::files(Dtype::Bf16);
    // The manifest holds the digests of the shards, so it freezes them too.
    let manifest = String::from_utf8(files["manifest.json"].clone()).unwrap();
    assert_eq!(manifest, include_str!("../golden/manifest.json"));
    let digest = Checkpoint::from_bytes(&slices(&files)).unwrap().digest();
    assert_eq!(digest.to_string(), FROZEN_BF16);
    let f32_files = tiny::files(Dtype::F32);
    assert_eq!(Digest::of(&f32_files["manifest.json"]).to_string(), FROZEN_F32);
}

#[test]
fn the_digest_is_blake3() {
    // The published test vector for the empty input.
    let expected = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
    assert_eq!(Digest::of(b"").to_string(), expected);
    assert_eq!(expected.parse(), Ok(Digest::of(b"")));
    assert!(expected[1..].parse::<Digest>().is_err());
}

#[test]
fn other_programs_can_read_the_shards() {
    let config = tiny::config();
    let tensors = tiny::tensors(&config);
    let mut seen = 0;
    for (path, bytes) in tiny::files(Dtype::F32) {
        if path == "manifest.json" {
            continue;
        }
        let shard = SafeTensors::deserialize(&bytes).unwrap();
        let names: Vec<&str> = shard.names();
        for name in names {
            let (view, tensor) = (shard.tensor(name).unwrap(), &tensors[name]);
            assert_eq!(view.shape(), tensor.shape);
            let data: Vec<u8> = tensor.data.iter().flat_map(|value| value.to_le_bytes()).collect();
            assert_eq!(view.data(), data);
            seen += 1;
        }
        // Data in the order of names, at a multiple of eight bytes.
        let (header, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
        assert!(header.is_multiple_of(8));
        assert!(metadata.offset_keys().is_sorted());
    }
    assert_eq!(seen, tensors.len());
}

#[test]
fn dense_tensors_and_tiers_lie_apart() {
    let files = tiny::files(Dtype::Bf16);
    let paths: Vec<&str> = files.keys().map(String::as_str).collect();
    let expected =
        ["base.safetensors", "manifest.json", "tier-big.safetensors", "tier-small.safetensors"];
    assert_eq!(paths, expected);
    // Without the shard of one tier, everything else can be used.
    let rest: Vec<_> =
        slices(&files).into_iter().filter(|(path, _)| !path.contains("big")).collect();
    let checkpoint = Checkpoint::from_bytes(&rest).unwrap();
    checkpoint.tensor_f32("embed.weight").unwrap();
    checkpoint.tensor_f32("layers.1.tiers.small.groups.0.experts.1.down.weight").unwrap();
    let error = checkpoint.tensor_f32("layers.1.tiers.big.groups.0.experts.0.down.weight");
    assert!(matches!(error, Err(CheckpointError::ShardMissing { .. })));
}

#[test]
fn a_checked_shard_is_kept_until_released() {
    let config = tiny::config();
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("model");
    write_dir(&target, &config, &tiny::tensors(&config), Dtype::F32, &tiny::provenance()).unwrap();
    let checkpoint = Checkpoint::open_dir(&target).unwrap();
    let embedding = checkpoint.tensor_f32("embed.weight").unwrap();
    std::fs::write(target.join("base.safetensors"), "something else").unwrap();
    // What was checked is what is used.
    assert_eq!(checkpoint.tensor_f32("embed.weight").unwrap(), embedding);
    assert!(!checkpoint.verify().is_clean());
    checkpoint.release();
    let error = checkpoint.tensor_f32("embed.weight");
    assert!(matches!(error, Err(CheckpointError::ShardSize { found: 14, .. })));
}

#[test]
fn threads_share_a_checkpoint() {
    let config = tiny::config();
    let files = tiny::files(Dtype::Bf16);
    let checkpoint = Arc::new(Checkpoint::from_bytes(&slices(&files)).unwrap());
    let readers: Vec<_> = (0..4)
        .map(|_| {
            let checkpoint = Arc::clone(&checkpoint);
            thread::spawn(move || checkpoint.tensors_f32().unwrap())
        })
        .collect();
    for reader in readers {
        assert_eq!(reader.join().unwrap(), tiny::tensors(&config));
    }
}

const FROZEN_BF16: &str = "ad924aa0b6b49a3ef788e8d254d7a663ae80783da043bbcbb0c5a6cb40561a3e";
const FROZEN_F32: &str = "752958fe3daca71d10bb741c56f35fad79ebe2648c650aa682f0b10c0280cc35";
