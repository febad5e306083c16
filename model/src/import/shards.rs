//! Where each tensor lies: the index and the headers of the shards, without their data.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use safetensors::Dtype;
use safetensors::tensor::Metadata;
use serde::Deserialize;

use super::error::ImportError;
use crate::checkpoint::HeaderProblem;

/// A tensor of the directory.
#[derive(Debug, Clone)]
pub(super) struct Located {
    /// Its shard, by place in [`Directory::shards`].
    pub(super) shard: usize,
    /// The type of its elements.
    pub(super) dtype: Dtype,
    /// Its shape.
    pub(super) shape: Vec<usize>,
    /// Where its data starts in the file, in bytes.
    pub(super) start: u64,
    /// Its size, in bytes.
    pub(super) bytes: u64,
}

/// The shards of a directory and the tensors in them.
#[derive(Debug)]
pub(super) struct Directory {
    /// The files, by name.
    pub(super) shards: Vec<PathBuf>,
    /// The tensors, by their names.
    pub(super) tensors: BTreeMap<String, Located>,
}

const INDEX: &str = "model.safetensors.index.json";
const SINGLE: &str = "model.safetensors";
/// The most bytes of a JSON file: an index of hundreds of thousands of tensors.
const JSON_BYTES_MAX: u64 = 256 << 20;

/// What the index says.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Directory {
    /// Reads the index, or finds the one shard, and reads all headers.
    pub(super) fn open(directory: &Path) -> Result<Self, ImportError> {
        let index = directory.join(INDEX);
        let Some(bytes) = read_json(&index)? else {
            let single = directory.join(SINGLE);
            if !single.exists() {
                let remedy = "a model has one, or model.safetensors.index.json and the shards it \
                              names; convert other formats to safetensors first";
                return Err(ImportError::FileMissing { file: single, remedy });
            }
            return Self::of_files(vec![single]);
        };
        let parsed: Index = serde_json::from_slice(&bytes).map_err(|source| {
            let (file, line) = (index.clone(), source.line());
            ImportError::Malformed { file, line, source }
        })?;
        let mut names = BTreeSet::new();
        for (tensor, shard) in &parsed.weight_map {
            if names.contains(shard) {
                continue;
            }
            let plain = Path::new(shard).file_name().is_some_and(|name| name == shard.as_str());
            if !plain || shard.contains(['/', '\\']) {
                return Err(ImportError::ShardName { index, shard: shard.clone() });
            }
            if !directory.join(shard).exists() {
                let (tensor, shard) = (tensor.clone(), shard.clone());
                return Err(ImportError::ShardMissing { index, tensor, shard });
            }
            names.insert(shard.clone());
        }
        Self::of_files(names.into_iter().map(|name| directory.join(name)).collect())
    }

    fn of_files(shards: Vec<PathBuf>) -> Result<Self, ImportError> {
        let mut tensors: BTreeMap<String, Located> = BTreeMap::new();
        for (shard, file) in shards.iter().enumerate() {
            let (data_start, header) = read_header(file)?;
            for (name, info) in header.tensors() {
                let (start, end) = info.data_offsets;
                let located = Located {
                    shard,
                    dtype: info.dtype,
                    shape: info.shape.clone(),
                    start: data_start + start as u64,
                    bytes: (end - start) as u64,
                };
                if let Some(other) = tensors.get(&name) {
                    let (file, other) = (file.clone(), shards[other.shard].clone());
                    return Err(ImportError::Duplicate { tensor: name, file, other });
                }
                tensors.insert(name, located);
            }
        }
        Ok(Self { shards, tensors })
    }

    /// The name of a tensor's shard.
    pub(super) fn shard_name(&self, tensor: &Located) -> String {
        let name = self.shards[tensor.shard].file_name();
        name.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }
}

/// The bytes of a JSON file, or nothing if there is none.
pub(super) fn read_json(file: &Path) -> Result<Option<Vec<u8>>, ImportError> {
    let unreadable = |source| ImportError::Unreadable { file: file.to_owned(), source };
    let opened = match File::open(file) {
        Ok(opened) => opened,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    let found = opened.metadata().map_err(unreadable)?.len();
    if found > JSON_BYTES_MAX {
        let (file, maximum) = (file.to_owned(), JSON_BYTES_MAX);
        return Err(ImportError::TooLarge { file, found, maximum });
    }
    let mut bytes = Vec::new();
    opened.take(JSON_BYTES_MAX).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(Some(bytes))
}

/// Where the data of a shard starts, and its header. The file is as long as the header says.
fn read_header(file: &Path) -> Result<(u64, Metadata), ImportError> {
    let unreadable = |source: io::Error| ImportError::Unreadable { file: file.to_owned(), source };
    let broken = |problem| ImportError::ShardHeader { file: file.to_owned(), problem };
    let mut opened = File::open(file).map_err(unreadable)?;
    let total = opened.metadata().map_err(unreadable)?.len();
    let mut length = [0; 8];
    if total < 8 {
        return Err(broken(HeaderProblem::NoLength { found: total }));
    }
    opened.read_exact(&mut length).map_err(unreadable)?;
    let claimed = u64::from_le_bytes(length);
    let available = total - 8;
    if claimed > available || claimed > JSON_BYTES_MAX {
        return Err(broken(HeaderProblem::BeyondEnd { claimed, available }));
    }
    let mut header = Vec::new();
    opened.take(claimed).read_to_end(&mut header).map_err(unreadable)?;
    let header: Metadata = serde_json::from_slice(&header)
        .map_err(|source| broken(HeaderProblem::Malformed { source }))?;
    let (claimed, available) = (header.data_len() as u64, available - claimed);
    if claimed != available {
        return Err(broken(HeaderProblem::DataLength { claimed, available }));
    }
    Ok((total - available, header))
}
