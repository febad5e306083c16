//! The manifest: what a checkpoint says about itself.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::error::CheckpointError;
use crate::config::ModelConfig;
use crate::tier::TierId;

/// What `format` says in every manifest.
pub const FORMAT: &str = "litecore-checkpoint";
/// The latest version of the format. Version 1 lacks tokenizers and everything that makes
/// [`ModelConfig::is_plain`] false; a manifest that needs neither says 1, so that older readers
/// take it, and any other says 2, so that they refuse it.
pub const VERSION: u32 = 2;
/// The most bytes a manifest may have: room for hundreds of thousands of shards.
pub(super) const MANIFEST_BYTES_MAX: u64 = 64 << 20;

/// What a checkpoint says about itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// The model.
    pub model: ModelConfig,
    /// The files that hold its tensors, with distinct paths.
    pub shards: Vec<ShardEntry>,
    /// The file that says what the tokens are; absent in a model of bytes.
    pub tokenizer: Option<FileEntry>,
    /// Where the model comes from: recipe, seed, digests of texts. No meaning to the reader.
    pub provenance: BTreeMap<String, String>,
}

/// A file of a checkpoint that holds no tensors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEntry {
    /// Where it lies within the checkpoint.
    pub path: ShardPath,
    /// Its size, in bytes.
    pub bytes: u64,
    /// Its digest.
    pub digest: Digest,
}

/// One file with tensors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardEntry {
    /// Where it lies within the checkpoint.
    pub path: ShardPath,
    /// Its size, in bytes.
    pub bytes: u64,
    /// Its digest.
    pub digest: Digest,
    /// The tier whose tensors it holds; nothing for dense tensors.
    pub tier: Option<TierId>,
}

/// The path of a shard within its checkpoint: names joined by `/`, none of them `.` or `..`.
///
/// It cannot lead out of the directory on any operating system, except through a link that
/// somebody put there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ShardPath(String);

/// A path that leads out of the checkpoint, or may do so on some operating system.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "shard path `{path}` does not stay inside the checkpoint: \
     use names joined by `/`, without `.`, `..`, `\\`, `:` or control characters"
)]
pub struct EscapingPath {
    /// The path.
    pub path: String,
}

impl ShardPath {
    /// The path with this text.
    ///
    /// Errors: [`EscapingPath`] unless it stays inside the checkpoint on every operating system.
    pub fn new(path: impl Into<String>) -> Result<Self, EscapingPath> {
        let path = path.into();
        let harmless = |c: char| !matches!(c, '\\' | ':') && !c.is_control();
        let name = |name: &str| !matches!(name, "" | "." | "..");
        if path.split('/').all(name) && path.chars().all(harmless) {
            Ok(Self(path))
        } else {
            Err(EscapingPath { path })
        }
    }

    /// Where the writer puts the tensors of a tier, or the dense ones. Tier ids are harmless.
    pub(crate) fn of_tier(tier: Option<&TierId>) -> Self {
        Self(tier.map_or("base.safetensors".to_owned(), |tier| format!("tier-{tier}.safetensors")))
    }

    /// Likewise, for tensors that are spread over several shards, counted from one.
    pub(crate) fn of_tier_part(tier: Option<&TierId>, part: usize) -> Self {
        let stem = tier.map_or("base".to_owned(), |tier| format!("tier-{tier}"));
        Self(format!("{stem}-{part:05}.safetensors"))
    }

    /// Where the writer puts the tokenizer.
    pub(super) fn of_tokenizer() -> Self {
        Self("tokenizer.json".to_owned())
    }

    /// The text of the path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Manifest {
    /// The manifest as the bytes of its file: JSON with a line break at the end.
    ///
    /// Errors: only what `serde_json` says it may.
    pub fn to_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        let repr = ManifestRepr {
            format: FORMAT,
            version: if self.model.is_plain() && self.tokenizer.is_none() { 1 } else { VERSION },
            model: &self.model,
            shards: self.shards.iter().map(ShardRepr::from).collect(),
            tokenizer: self.tokenizer.as_ref().map(FileRepr::from),
            provenance: &self.provenance,
        };
        let mut bytes = serde_json::to_vec_pretty(&repr)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// The manifest in the bytes of a file. `file` is for error messages.
    ///
    /// Errors: those of [`CheckpointError`] that concern the manifest.
    pub fn from_bytes(file: &Path, bytes: &[u8]) -> Result<Self, CheckpointError> {
        let file = || file.to_owned();
        let invalid = |source: serde_json::Error| CheckpointError::InvalidManifest {
            file: file(),
            line: source.line(),
            column: source.column(),
            source,
        };
        // What it is comes first: a file of a later version may not even parse as this one.
        let kind: Kind = serde_json::from_slice(bytes).map_err(invalid)?;
        if kind.format.as_deref() != Some(FORMAT) {
            let (expected, found) = (FORMAT, kind.format);
            return Err(CheckpointError::WrongFormat { file: file(), expected, found });
        }
        if !(1..=u64::from(VERSION)).contains(&kind.version) {
            let (supported, found) = (VERSION, kind.version);
            return Err(CheckpointError::UnsupportedVersion { file: file(), supported, found });
        }
        let content: Content = serde_json::from_slice(bytes).map_err(invalid)?;
        let config = content.model.validate();
        config.map_err(|source| CheckpointError::InvalidConfig { file: file(), source })?;

        let mut paths = BTreeSet::new();
        let mut shards = Vec::with_capacity(content.shards.len());
        for ShardRepr { path, bytes, blake3, tier } in content.shards {
            let path = ShardPath::new(path)
                .map_err(|source| CheckpointError::EscapingPath { file: file(), source })?;
            if !paths.insert(path.clone()) {
                return Err(CheckpointError::DuplicateShard { file: file(), path: path.0 });
            }
            shards.push(ShardEntry { path, bytes, digest: blake3, tier });
        }
        let tokenizer = match content.tokenizer {
            None => None,
            Some(FileRepr { path, bytes, blake3 }) => {
                let path = ShardPath::new(path)
                    .map_err(|source| CheckpointError::EscapingPath { file: file(), source })?;
                Some(FileEntry { path, bytes, digest: blake3 })
            }
        };
        Ok(Self { model: content.model, shards, tokenizer, provenance: content.provenance })
    }
}

/// The manifest as it is written.
#[derive(Serialize)]
struct ManifestRepr<'a> {
    format: &'a str,
    version: u32,
    model: &'a ModelConfig,
    shards: Vec<ShardRepr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tokenizer: Option<FileRepr>,
    provenance: &'a BTreeMap<String, String>,
}

/// What kind of file a manifest is.
#[derive(Deserialize)]
struct Kind {
    #[serde(default)]
    format: Option<String>,
    #[serde(default)]
    version: u64,
}

/// The rest of a manifest, as it is read.
#[derive(Deserialize)]
struct Content {
    model: ModelConfig,
    shards: Vec<ShardRepr>,
    #[serde(default)]
    tokenizer: Option<FileRepr>,
    #[serde(default)]
    provenance: BTreeMap<String, String>,
}

/// A shard as it is written and read.
#[derive(Serialize, Deserialize)]
struct ShardRepr {
    path: String,
    bytes: u64,
    blake3: Digest,
    #[serde(default)]
    tier: Option<TierId>,
}

/// A file without tensors as it is written and read.
#[derive(Serialize, Deserialize)]
struct FileRepr {
    path: String,
    bytes: u64,
    blake3: Digest,
}

impl From<&FileEntry> for FileRepr {
    fn from(entry: &FileEntry) -> Self {
        Self { path: entry.path.0.clone(), bytes: entry.bytes, blake3: entry.digest }
    }
}

impl From<&ShardEntry> for ShardRepr {
    fn from(entry: &ShardEntry) -> Self {
        Self {
            path: entry.path.0.clone(),
            bytes: entry.bytes,
            blake3: entry.digest,
            tier: entry.tier.clone(),
        }
    }
}
