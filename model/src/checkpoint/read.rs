//! Reading a checkpoint, shard by shard as tensors are asked for.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::digest::Digest;
use super::error::CheckpointError;
use super::manifest::{Manifest, ShardEntry};
use super::shard::Shard;
use super::source::Source;
use super::verify::{self, Report};
use crate::config::ModelConfig;
use crate::names::TensorSpec;
use crate::tensor::Tensor;

/// An open checkpoint: its manifest, and its tensors on demand.
///
/// A shard is read when a tensor in it is first asked for, checked against its digest once, and
/// kept in memory, so that what was checked is what is used. Threads may share a checkpoint; two
/// that need one shard read it once.
#[derive(Debug)]
pub struct Checkpoint {
    /// What the checkpoint says about itself.
    pub manifest: Manifest,
    digest: Digest,
    source: Source,
    /// The shards read so far, by their place in the manifest.
    shards: Mutex<BTreeMap<usize, Arc<Shard>>>,
}

impl Checkpoint {
    /// Opens the checkpoint in a directory. Reads the manifest only.
    ///
    /// Errors: those of [`CheckpointError`] that concern the manifest.
    pub fn open_dir(directory: &Path) -> Result<Self, CheckpointError> {
        Self::open(Source::Directory(directory.to_owned()))
    }

    /// Opens a checkpoint in memory, given as its files: path within the checkpoint, and bytes.
    ///
    /// Errors: those of [`CheckpointError`] that concern the manifest.
    pub fn from_bytes(files: &[(&str, &[u8])]) -> Result<Self, CheckpointError> {
        let own = |(path, bytes): &(&str, &[u8])| ((*path).to_owned(), Arc::new(bytes.to_vec()));
        Self::open(Source::Memory(files.iter().map(own).collect()))
    }

    /// The model.
    pub fn config(&self) -> &ModelConfig {
        &self.manifest.model
    }

    /// The digest of the manifest's bytes. As the manifest holds the digests of all shards, it
    /// identifies the whole checkpoint.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// A tensor, widened to `f32` exactly.
    ///
    /// Errors: [`CheckpointError`], if the model has no such tensor, or its shard or the tensor
    /// itself is not what manifest and configuration say.
    pub fn tensor_f32(&self, name: &str) -> Result<Tensor, CheckpointError> {
        let spec = self.config().tensor_spec(name);
        let spec =
            spec.ok_or_else(|| CheckpointError::UnknownTensor { tensor: name.to_owned() })?;
        self.find(&spec)
    }

    /// All tensors of the model, by name. Takes memory for all of them.
    ///
    /// Errors: [`CheckpointError`], the first one met in the order of
    /// [`ModelConfig::tensor_specs`].
    pub fn tensors_f32(&self) -> Result<BTreeMap<String, Tensor>, CheckpointError> {
        let mut tensors = BTreeMap::new();
        for spec in self.config().tensor_specs() {
            let tensor = self.find(&spec)?;
            tensors.insert(spec.name, tensor);
        }
        Ok(tensors)
    }

    /// Checks every shard and every tensor, and lists all that is wrong.
    ///
    /// Keeps one shard in memory at a time, besides those already read; shards of a directory are
    /// read again even then.
    pub fn verify(&self) -> Report {
        verify::verify(&self.source, &self.manifest)
    }

    /// Gives back the memory of all shards read so far. They are read and checked again on demand.
    pub fn release(&self) {
        self.shards.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn open(source: Source) -> Result<Self, CheckpointError> {
        let bytes = source.manifest()?;
        let manifest = Manifest::from_bytes(&source.manifest_file(), &bytes)?;
        let shards = Mutex::new(BTreeMap::new());
        Ok(Self { manifest, digest: Digest::of(&bytes), source, shards })
    }

    /// Looks for a tensor in the shards of its tier, in the order of the manifest.
    fn find(&self, spec: &TensorSpec) -> Result<Tensor, CheckpointError> {
        let mut files = Vec::new();
        for (index, entry) in self.manifest.shards.iter().enumerate() {
            if self.manifest.belongs(spec, entry) {
                if let Some(tensor) = self.shard(index, entry)?.tensor(spec)? {
                    return Ok(tensor);
                }
                files.push(entry.path.as_str().to_owned());
            }
        }
        Err(CheckpointError::TensorMissing { tensor: spec.name.clone(), files })
    }

    fn shard(&self, index: usize, entry: &ShardEntry) -> Result<Arc<Shard>, CheckpointError> {
        // Held while reading, so that two threads do not read one shard twice.
        let mut shards = self.shards.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shard) = shards.get(&index) {
            return Ok(Arc::clone(shard));
        }
        let shard = Arc::new(Shard::load(&self.source, entry)?);
        shards.insert(index, Arc::clone(&shard));
        Ok(shard)
    }
}

impl Manifest {
    /// Whether a tensor belongs into a shard: both are dense, or of the same tier.
    pub(super) fn belongs(&self, spec: &TensorSpec, entry: &ShardEntry) -> bool {
        let tier = spec.tier.and_then(|tier| self.model.tiers.get(usize::from(tier)));
        tier.map(|tier| &tier.id) == entry.tier.as_ref()
    }
}
