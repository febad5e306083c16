//! One shard in memory, verified, and the tensors in it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use safetensors::tensor::{Metadata, TensorInfo};

use super::digest::Digest;
use super::elements::Decoder;
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
        match read_header(&bytes, bytes.len() as u64) {
            Ok((data_start, header)) => {
                let data_start = usize::try_from(data_start).unwrap_or(usize::MAX);
                Ok(Self { file, bytes, header, data_start })
            }
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
        let mut widening = Widening::begin(&self.file, spec, info, Vec::new())?;
        widening.push(self.data(info));
        widening.finish().map(Some)
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

/// Where the data starts, and the header, of a shard of so many bytes that begins with `head`: the
/// header, or more.
///
/// The frame is read here and not by the library, whose own reader adds claimed sizes without a
/// check. The library checks that tensors follow each other without gaps and fit their shapes.
pub(super) fn read_header(head: &[u8], bytes: u64) -> Result<(u64, Metadata), HeaderProblem> {
    let Some((length, rest)) = head.split_first_chunk::<8>() else {
        return Err(HeaderProblem::NoLength { found: head.len() as u64 });
    };
    let claimed = u64::from_le_bytes(*length);
    let header = usize::try_from(claimed).ok().and_then(|claimed| rest.get(..claimed));
    let available = bytes.saturating_sub(8);
    let header = header.ok_or(HeaderProblem::BeyondEnd { claimed, available })?;
    let header: Metadata =
        serde_json::from_slice(header).map_err(|source| HeaderProblem::Malformed { source })?;
    let available = available - claimed;
    if header.data_len() as u64 != available {
        let claimed = header.data_len() as u64;
        return Err(HeaderProblem::DataLength { claimed, available });
    }
    Ok((8 + claimed, header))
}

/// A tensor of the shape the model wants, while its bytes come in.
pub(super) struct Widening<'a> {
    file: &'a Path,
    spec: &'a TensorSpec,
    decoder: Decoder,
}

impl<'a> Widening<'a> {
    /// The elements go to the memory of `room`, whatever it holds.
    ///
    /// Errors: another shape than the model's, or a type that is not supported.
    pub(super) fn begin(
        file: &'a Path,
        spec: &'a TensorSpec,
        info: &TensorInfo,
        room: Vec<f32>,
    ) -> Result<Self, CheckpointError> {
        if info.shape != spec.shape {
            return Err(CheckpointError::TensorShape {
                file: file.to_owned(),
                tensor: spec.name.clone(),
                expected: spec.shape.clone(),
                found: info.shape.clone(),
            });
        }
        // The header's offsets fit its shapes, and the file has the bytes for them.
        let elements = info.shape.iter().product();
        match Decoder::new(info.dtype, elements, room) {
            Some(decoder) => Ok(Self { file, spec, decoder }),
            None => Err(CheckpointError::TensorDtype {
                file: file.to_owned(),
                tensor: spec.name.clone(),
                found: format!("{:?}", info.dtype),
            }),
        }
    }

    /// Takes the next bytes of the tensor.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.decoder.push(bytes);
    }

    /// Errors: an element that is not finite.
    pub(super) fn finish(self) -> Result<Tensor, CheckpointError> {
        let (data, finite) = self.decoder.finish();
        let tensor = Tensor { shape: self.spec.shape.clone(), data };
        let offender = if finite { None } else { tensor.first_non_finite() };
        match offender {
            None => Ok(tensor),
            Some(index) => Err(CheckpointError::NonFinite {
                file: self.file.to_owned(),
                tensor: self.spec.name.clone(),
                index,
                value: tensor.data[index],
            }),
        }
    }
}
