//! One shard in memory, verified, and the tensors in it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};

use super::digest::Digest;
use super::error::{CheckpointError, HeaderProblem};
use super::manifest::ShardEntry;
use super::source::Source;
use crate::names::TensorSpec;
use crate::tensor::Tensor;

/// A shard whose digest agrees with the manifest and whose header agrees with its size.
#[derive(Debug)]
pub(super) struct Shard {
    file: PathBuf,
    bytes: Arc<Vec<u8>>,
    header: Metadata,
    /// Where the data starts in the bytes.
    data_start: usize,
}

impl Shard {
    /// Reads a shard and checks its size, digest and header, in this order.
    pub(super) fn load(source: &Source, entry: &ShardEntry) -> Result<Self, CheckpointError> {
        let file = source.shard_file(&entry.path);
        let bytes = source.listed(&entry.path, entry.bytes)?;
        let (expected, found) = (entry.digest, Digest::of(&bytes));
        if expected != found {
            return Err(CheckpointError::DigestMismatch { file, expected, found });
        }
        match read_header(&bytes) {
            Ok((data_start, header)) => Ok(Self { file, bytes, header, data_start }),
            Err(problem) => Err(CheckpointError::ShardHeader { file, problem }),
        }
    }

    /// The size of the file. Units: bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The file, for messages.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// The names of the tensors, in the order of their data.
    pub(super) fn tensor_names(&self) -> Vec<String> {
        self.header.offset_keys()
    }

    /// A tensor widened to `f32`, or nothing if the shard does not hold it.
    pub(super) fn tensor(&self, spec: &TensorSpec) -> Result<Option<Tensor>, CheckpointError> {
        let Some(info) = self.header.info(&spec.name) else { return Ok(None) };
        if info.shape != spec.shape {
            return Err(CheckpointError::TensorShape {
                file: self.file.clone(),
                tensor: spec.name.clone(),
                expected: spec.shape.clone(),
                found: info.shape.clone(),
            });
        }
        let data = widen(info.dtype, self.data(info)).ok_or_else(|| {
            let found = format!("{:?}", info.dtype);
            CheckpointError::TensorDtype {
                file: self.file.clone(),
                tensor: spec.name.clone(),
                found,
            }
        })?;
        let tensor = Tensor { shape: info.shape.clone(), data };
        if let Some(index) = tensor.first_non_finite() {
            return Err(CheckpointError::NonFinite {
                file: self.file.clone(),
                tensor: spec.name.clone(),
                index,
                value: tensor.data[index],
            });
        }
        Ok(Some(tensor))
    }

    fn data(&self, info: &TensorInfo) -> &[u8] {
        let (start, end) = info.data_offsets;
        self.bytes[self.data_start..].get(start..end).expect("offsets were checked with the header")
    }
}

/// The names of the tensors a header lists, if it is one; nothing else about it is checked.
pub(super) fn names_in_header(bytes: &[u8]) -> Option<Vec<String>> {
    let header: Metadata = serde_json::from_slice(bytes.get(8..)?).ok()?;
    Some(header.offset_keys())
}

/// Where the data starts, and the header.
///
/// The frame is read here and not by the library, whose own reader adds claimed sizes without a
/// check. The library checks that tensors follow each other without gaps and fit their shapes.
fn read_header(bytes: &[u8]) -> Result<(usize, Metadata), HeaderProblem> {
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
        return Err(HeaderProblem::NoLength { found: bytes.len() as u64 });
    };
    let claimed = u64::from_le_bytes(*length);
    let header = usize::try_from(claimed).ok().and_then(|claimed| rest.split_at_checked(claimed));
    let available = rest.len() as u64;
    let (header, data) = header.ok_or(HeaderProblem::BeyondEnd { claimed, available })?;
    let header: Metadata =
        serde_json::from_slice(header).map_err(|source| HeaderProblem::Malformed { source })?;
    if header.data_len() != data.len() {
        let (claimed, available) = (header.data_len() as u64, data.len() as u64);
        return Err(HeaderProblem::DataLength { claimed, available });
    }
    Ok((bytes.len() - data.len(), header))
}

/// The elements as `f32`, exactly; nothing for a type that is not supported.
fn widen(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f32>> {
    let (words, _) = bytes.as_chunks::<4>();
    let (halves, _) = bytes.as_chunks::<2>();
    match dtype {
        Dtype::F32 => Some(words.iter().map(|word| f32::from_le_bytes(*word)).collect()),
        Dtype::BF16 => {
            Some(halves.iter().map(|half| bf16::from_le_bytes(*half).to_f32()).collect())
        }
        Dtype::F16 => Some(halves.iter().map(|half| f16::from_le_bytes(*half).to_f32()).collect()),
        _ => None,
    }
}
