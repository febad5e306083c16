//! A checkpoint in a directory, made to be damaged.

use std::fs;
use std::path::PathBuf;

use litecore_model::checkpoint::{Checkpoint, CheckpointError, Digest, Dtype, Report};
use safetensors::tensor::TensorView;
use safetensors::{Dtype as Element, SafeTensors};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::tiny;

/// A checkpoint in a directory, to be damaged.
pub(crate) struct Victim {
    directory: TempDir,
}

impl Victim {
    pub(crate) fn new() -> Self {
        let victim = Self { directory: tempfile::tempdir().unwrap() };
        for (path, bytes) in tiny::files(Dtype::F32) {
            fs::write(victim.path(&path), bytes).unwrap();
        }
        victim
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    pub(crate) fn edit_manifest(&self, edit: impl FnOnce(&mut Value)) {
        let path = self.path("manifest.json");
        let mut manifest = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        edit(&mut manifest);
        fs::write(path, serde_json::to_vec_pretty(&manifest).unwrap()).unwrap();
    }

    /// Replaces a shard and makes the manifest agree with it.
    pub(crate) fn replace_shard(&self, path: &str, bytes: &[u8]) {
        fs::write(self.path(path), bytes).unwrap();
        self.edit_manifest(|manifest| {
            let shards = manifest["shards"].as_array_mut().unwrap();
            let entry = shards.iter_mut().find(|entry| entry["path"] == path).unwrap();
            entry["bytes"] = json!(bytes.len());
            entry["blake3"] = json!(Digest::of(bytes).to_string());
        });
    }

    /// Replaces one tensor of the base shard, or leaves it out.
    pub(crate) fn replace_tensor(&self, name: &str, with: Option<(Element, &[usize], &[u8])>) {
        let bytes = fs::read(self.path("base.safetensors")).unwrap();
        let shard = SafeTensors::deserialize(&bytes).unwrap();
        let mut views: Vec<_> = shard.iter().filter(|(other, _)| *other != name).collect();
        if let Some((dtype, shape, data)) = with {
            views.push((name, TensorView::new(dtype, shape.to_vec(), data).unwrap()));
        }
        self.replace_shard("base.safetensors", &safetensors::serialize(views, None).unwrap());
    }

    pub(crate) fn open(&self) -> Result<Checkpoint, CheckpointError> {
        Checkpoint::open_dir(self.directory.path())
    }

    pub(crate) fn refused(&self) -> CheckpointError {
        self.open().expect_err("must be refused")
    }

    pub(crate) fn verify(&self) -> Report {
        self.open().unwrap().verify()
    }

    /// The one offence, which asking for the tensor gives as well.
    pub(crate) fn offence(&self, tensor: &str) -> CheckpointError {
        let checkpoint = self.open().unwrap();
        let error = checkpoint.tensor_f32(tensor).expect_err("must be refused");
        let mut report = checkpoint.verify();
        assert_eq!(report.offences.len(), 1, "{:?}", report.offences);
        assert_eq!(report.offences[0].to_string(), error.to_string());
        report.offences.remove(0)
    }
}
