//! Writing a checkpoint: the same bytes every time, and all of them or nothing.

use std::collections::BTreeMap;
use std::path::Path;

use half::bf16;
use safetensors::tensor::{Metadata, TensorInfo};

use super::MANIFEST;
use super::digest::Digest;
use super::error::{TensorProblem, WriteError};
use super::manifest::{Manifest, ShardEntry, ShardPath};
use super::temporary::{Temporary, write_flushed};
use super::verify::OFFENCES_MAX;
use crate::config::ModelConfig;
use crate::tensor::{Tensor, element_count};
use crate::tier::TierId;

/// The type of the elements written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dtype {
    /// 32 bits, as they are.
    F32,
    /// The upper 16 bits, rounded to nearest, ties to even.
    Bf16,
}

/// Writes a checkpoint to a directory that does not exist yet or is empty.
///
/// The files are written and flushed to a directory beside the target (`.NAME.partial`), which is
/// then renamed: the target is complete or absent, whatever happens. Two writers to one target
/// exclude each other by that directory. Returns the digest of the manifest, which identifies the
/// checkpoint.
///
/// Errors: [`WriteError`]. The temporary directory is removed, unless the machine stops.
pub fn write_dir(
    directory: &Path,
    config: &ModelConfig,
    tensors: &BTreeMap<String, Tensor>,
    dtype: Dtype,
    provenance: &BTreeMap<String, String>,
) -> Result<Digest, WriteError> {
    Temporary::refuse_existing(directory)?;
    let (shards, manifest) = encode_parts(config, tensors, dtype, provenance)?;
    let temporary = Temporary::beside(directory)?;
    let shards = shards.iter().map(|(path, bytes)| (path.as_str(), bytes));
    for (path, bytes) in shards.chain([(MANIFEST, &manifest)]) {
        let file = temporary.path.join(path);
        write_flushed(&file, bytes).map_err(|source| WriteError::Unwritable { file, source })?;
    }
    temporary.rename_to(directory)?;
    Ok(Digest::of(&manifest))
}

/// The files of a checkpoint: path within it, and bytes.
///
/// Errors: [`WriteError`], if configuration and tensors do not fit each other.
pub fn encode(
    config: &ModelConfig,
    tensors: &BTreeMap<String, Tensor>,
    dtype: Dtype,
    provenance: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, Vec<u8>>, WriteError> {
    let (shards, manifest) = encode_parts(config, tensors, dtype, provenance)?;
    Ok(shards.into_iter().chain([(MANIFEST.to_owned(), manifest)]).collect())
}

/// A file of a checkpoint: path within it, and bytes.
type NamedBytes = (String, Vec<u8>);

/// The shards and the bytes of the manifest.
fn encode_parts(
    config: &ModelConfig,
    tensors: &BTreeMap<String, Tensor>,
    dtype: Dtype,
    provenance: &BTreeMap<String, String>,
) -> Result<(Vec<NamedBytes>, Vec<u8>), WriteError> {
    config.validate()?;
    let mut files = Vec::new();
    let mut shards = Vec::new();
    for (tier, tensors) in sort_by_tier(config, tensors, dtype)? {
        let tier: Option<TierId> = tier.map(|index| config.tiers[usize::from(index)].id.clone());
        let path = ShardPath::of_tier(tier.as_ref());
        let file = path.as_str().to_owned();
        let bytes = match encode_shard(&tensors, dtype) {
            Ok(bytes) => bytes,
            Err(source) => return Err(WriteError::Unencodable { file, source }),
        };
        let (length, digest) = (bytes.len() as u64, Digest::of(&bytes));
        files.push((file, bytes));
        shards.push(ShardEntry { path, bytes: length, digest, tier });
    }
    let (model, provenance) = (config.clone(), provenance.clone());
    let manifest = Manifest { model, shards, tokenizer: None, provenance };
    match manifest.to_bytes() {
        Ok(manifest) => Ok((files, manifest)),
        Err(source) => Err(WriteError::Unencodable { file: MANIFEST.to_owned(), source }),
    }
}

/// Tensors by name, for each shard: dense ones, then those of each tier.
type ByTier<'a> = BTreeMap<Option<u16>, BTreeMap<&'a str, &'a Tensor>>;

fn sort_by_tier<'a>(
    config: &ModelConfig,
    tensors: &'a BTreeMap<String, Tensor>,
    dtype: Dtype,
) -> Result<ByTier<'a>, WriteError> {
    let mut offences = Vec::new();
    let mut by_tier = ByTier::new();
    for (name, tensor) in tensors {
        match config.tensor_spec(name) {
            None => offences.push(TensorProblem::Unexpected { tensor: name.clone() }),
            Some(spec) => {
                offences.extend(problem(name, tensor, &spec.shape, dtype));
                by_tier.entry(spec.tier).or_default().insert(name.as_str(), tensor);
            }
        }
    }
    // Stops when the list is full: a configuration can claim more tensors than can be listed.
    let missing = config.tensor_specs().filter(|spec| !tensors.contains_key(&spec.name));
    let missing = missing.map(|spec| TensorProblem::Missing { tensor: spec.name });
    offences.extend(missing.take(OFFENCES_MAX.saturating_sub(offences.len())));
    offences.truncate(OFFENCES_MAX);
    if offences.is_empty() { Ok(by_tier) } else { Err(WriteError::Tensors { offences }) }
}

fn problem(name: &str, tensor: &Tensor, expected: &[usize], dtype: Dtype) -> Option<TensorProblem> {
    let name = name.to_owned();
    if tensor.shape != expected {
        let (expected, found) = (expected.to_vec(), tensor.shape.clone());
        return Some(TensorProblem::Shape { tensor: name, expected, found });
    }
    if !tensor.is_consistent() {
        let (expected, found) = (element_count(expected).unwrap_or(usize::MAX), tensor.data.len());
        return Some(TensorProblem::Elements { tensor: name, expected, found });
    }
    let finite = |value: f32| match dtype {
        Dtype::F32 => value.is_finite(),
        Dtype::Bf16 => bf16::from_f32(value).is_finite(),
    };
    let index = tensor.data.iter().position(|&value| !finite(value))?;
    Some(TensorProblem::NonFinite { tensor: name, index, value: tensor.data[index] })
}

/// A safetensors file with the tensors in the order of their names.
fn encode_shard(
    tensors: &BTreeMap<&str, &Tensor>,
    dtype: Dtype,
) -> Result<Vec<u8>, serde_json::Error> {
    let mut data = Vec::new();
    let mut infos = Vec::with_capacity(tensors.len());
    for (&name, tensor) in tensors {
        let start = data.len();
        match dtype {
            Dtype::F32 => data.extend(tensor.data.iter().flat_map(|value| value.to_le_bytes())),
            Dtype::Bf16 => {
                let halves = tensor.data.iter().map(|&value| bf16::from_f32(value));
                data.extend(halves.flat_map(bf16::to_le_bytes));
            }
        }
        let dtype = match dtype {
            Dtype::F32 => safetensors::Dtype::F32,
            Dtype::Bf16 => safetensors::Dtype::BF16,
        };
        let data_offsets = (start, data.len());
        infos.push((
            name.to_owned(),
            TensorInfo { dtype, shape: tensor.shape.clone(), data_offsets },
        ));
    }
    let mut bytes = encode_header(infos)?;
    bytes.append(&mut data);
    Ok(bytes)
}

/// The bytes of a shard before its data. The offsets follow from the shapes, without gaps.
pub(super) fn encode_header(
    infos: Vec<(String, TensorInfo)>,
) -> Result<Vec<u8>, serde_json::Error> {
    let header = Metadata::new(None, infos).expect("offsets follow from the shapes");
    let mut header = serde_json::to_vec(&header)?;
    // The data starts at a multiple of eight bytes, so that readers may map it.
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.append(&mut header);
    Ok(bytes)
}
