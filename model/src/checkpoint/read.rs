//! Reading a checkpoint, shard by shard as tensors are asked for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::digest::Digest;
use super::error::{CheckpointError, DamagedTokenizer};
use super::manifest::{Manifest, ShardEntry};
use super::pass::Pass;
use super::shard::{Shard, names_in_header};
use super::source::Source;
use super::verify::{self, Report};
use crate::config::ModelConfig;
use crate::names::TensorSpec;
use crate::tensor::Tensor;
use crate::tier::TierId;
use crate::tokenizer::ByteTokenizer;
use crate::vocabulary::{Tokenizer, TokenizerError};

/// An open checkpoint: its manifest, and its tensors on demand.
///
/// A shard is read when a tensor in it is first asked for, checked against its digest, and kept in
/// memory, so that what was checked is what is used. Beyond [`KEPT_BYTES`] the shard not used for
/// longest goes, to be read and checked again on demand. Threads may share a checkpoint; two that
/// need one shard read it once.
#[derive(Debug)]
pub struct Checkpoint {
    /// What the checkpoint says about itself.
    pub manifest: Manifest,
    digest: Digest,
    source: Source,
    shards: Mutex<Shelf>,
    /// Where a tensor is said to be, by the unchecked headers of tiers with several shards.
    hints: OnceLock<BTreeMap<String, usize>>,
}

/// The most bytes of shards of a directory that are kept in memory, besides the latest one.
pub const KEPT_BYTES: usize = 1 << 30;

/// The shards in memory.
#[derive(Debug, Default)]
struct Shelf {
    /// By their place in the manifest, with the time of the last use.
    shards: BTreeMap<usize, (u64, Arc<Shard>)>,
    clock: u64,
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

    /// One pass over the tensors, for whoever needs each of them once: in the memory of single tensors,
    /// however large the shards are.
    pub fn pass(&self) -> Pass<'_> {
        Pass::new(self)
    }

    /// What turns text into tokens and back: the checkpoint's own file, or the bytes.
    ///
    /// Errors: the file is not what the manifest says, or is missing where the tokens are no bytes.
    pub fn tokenizer(&self) -> Result<Tokenizer, CheckpointError> {
        tokenizer(&self.source, &self.manifest)
    }

    /// The text of the tokenizer's file, checked against its digest; nothing where the tokens are bytes.
    ///
    /// Errors: the file is not what the manifest says, or is missing where the tokens are no bytes.
    pub fn tokenizer_text(&self) -> Result<Option<String>, CheckpointError> {
        let Some((file, bytes)) = tokenizer_bytes(&self.source, &self.manifest)? else {
            return Ok(None);
        };
        let text = String::from_utf8(bytes.to_vec()).map_err(|error| {
            let problem = TokenizerError::Malformed { reason: error.to_string() };
            CheckpointError::from(DamagedTokenizer { file, problem })
        });
        text.map(Some)
    }

    /// Gives back the memory of all shards read so far. They are read and checked again on demand.
    pub fn release(&self) {
        self.shards.lock().unwrap_or_else(PoisonError::into_inner).shards.clear();
    }

    /// Where its bytes come from.
    pub(super) fn source(&self) -> &Source {
        &self.source
    }

    fn open(source: Source) -> Result<Self, CheckpointError> {
        let bytes = source.manifest()?;
        let manifest = Manifest::from_bytes(&source.manifest_file(), &bytes)?;
        let (shards, hints) = (Mutex::default(), OnceLock::new());
        Ok(Self { manifest, digest: Digest::of(&bytes), source, shards, hints })
    }

    /// Looks for a tensor in the shard its header hints at, then in all shards of its tier, in the
    /// order of the manifest.
    fn find(&self, spec: &TensorSpec) -> Result<Tensor, CheckpointError> {
        if let Some((index, entry)) = self.hint(spec)
            && let Some(tensor) = self.shard(index, entry)?.tensor(spec)?
        {
            return Ok(tensor);
        }
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

    /// The shard that a tensor is said to be in, where its tier has several.
    pub(super) fn hint(&self, spec: &TensorSpec) -> Option<(usize, &ShardEntry)> {
        let index = *self.hints.get_or_init(|| self.read_hints()).get(&spec.name)?;
        let entry = self.manifest.shards.get(index)?;
        self.manifest.belongs(spec, entry).then_some((index, entry))
    }

    /// The names in the headers of tiers with several shards; where one name is in two shards, the
    /// first of them, as without hints.
    fn read_hints(&self) -> BTreeMap<String, usize> {
        let mut hints = BTreeMap::new();
        let mut count: BTreeMap<Option<&TierId>, usize> = BTreeMap::new();
        for entry in &self.manifest.shards {
            *count.entry(entry.tier.as_ref()).or_default() += 1;
        }
        for (index, entry) in self.manifest.shards.iter().enumerate() {
            if count.get(&entry.tier.as_ref()).is_some_and(|count| *count > 1) {
                let header = self.source.header_hint(&entry.path);
                let names = header.and_then(|header| names_in_header(&header));
                for name in names.unwrap_or_default() {
                    hints.entry(name).or_insert(index);
                }
            }
        }
        hints
    }

    fn shard(&self, index: usize, entry: &ShardEntry) -> Result<Arc<Shard>, CheckpointError> {
        // Held while reading, so that two threads do not read one shard twice.
        let mut shelf = self.shards.lock().unwrap_or_else(PoisonError::into_inner);
        shelf.clock += 1;
        let now = shelf.clock;
        if let Some((used, shard)) = shelf.shards.get_mut(&index) {
            *used = now;
            return Ok(Arc::clone(shard));
        }
        if !self.source.is_memory() {
            shelf.make_room();
        }
        let shard = Arc::new(Shard::load(&self.source, entry)?);
        shelf.shards.insert(index, (now, Arc::clone(&shard)));
        Ok(shard)
    }
}

impl Shelf {
    /// Takes away what was not used for longest until the rest is within [`KEPT_BYTES`].
    fn make_room(&mut self) {
        loop {
            let kept: usize = self.shards.values().map(|(_, shard)| shard.bytes()).sum();
            let oldest = self.shards.iter().min_by_key(|(_, (used, _))| *used);
            match oldest.map(|(index, _)| *index) {
                Some(oldest) if kept > KEPT_BYTES => self.shards.remove(&oldest),
                _ => return,
            };
        }
    }
}

/// The tokenizer of a checkpoint, checked against its digest.
pub(super) fn tokenizer(
    source: &Source,
    manifest: &Manifest,
) -> Result<Tokenizer, CheckpointError> {
    let Some((file, bytes)) = tokenizer_bytes(source, manifest)? else {
        return Ok(Tokenizer::Bytes);
    };
    Tokenizer::from_json(&bytes, manifest.model.vocab)
        .map_err(|problem| DamagedTokenizer { file, problem }.into())
}

/// A file's name, and what is in it.
type NamedBytes = (PathBuf, Arc<Vec<u8>>);

/// The file of the tokenizer and its bytes, checked against their digest; nothing where every byte is
/// a token.
fn tokenizer_bytes(
    source: &Source,
    manifest: &Manifest,
) -> Result<Option<NamedBytes>, CheckpointError> {
    let vocab = manifest.model.vocab;
    let Some(entry) = &manifest.tokenizer else {
        // A model of fewer tokens than bytes is nobody's but a test's, and has no text.
        return if vocab <= ByteTokenizer::VOCAB {
            Ok(None)
        } else {
            Err(CheckpointError::TokenizerAbsent { file: source.manifest_file(), vocab })
        };
    };
    let file = source.shard_file(&entry.path);
    let bytes = source.listed(&entry.path, entry.bytes)?;
    let (expected, found) = (entry.digest, Digest::of(&bytes));
    if expected == found {
        Ok(Some((file, bytes)))
    } else {
        Err(CheckpointError::DigestMismatch { file, expected, found })
    }
}

impl Manifest {
    /// Whether a tensor belongs into a shard: both are dense, or of the same tier.
    pub(super) fn belongs(&self, spec: &TensorSpec, entry: &ShardEntry) -> bool {
        let tier = spec.tier.and_then(|tier| self.model.tiers.get(usize::from(tier)));
        tier.map(|tier| &tier.id) == entry.tier.as_ref()
    }
}
