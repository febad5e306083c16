//! Reading a model directory of another library and writing it as our checkpoint.
//!
//! A directory holds `config.json`, `tokenizer.json`, and `model.safetensors` or
//! `model.safetensors.index.json` with the shards it names. All of it is untrusted. Everything that
//! can be known without the elements is checked before anything is written; then the elements pass
//! through in blocks, so that memory holds headers and one block, however large the model.

mod copy;
mod error;
mod families;
mod fields;
mod mapping;
mod shards;

pub use error::{ImportError, TensorOffence};
pub use families::Family;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::checkpoint::{Digest, DirWriter, OFFENCES_MAX, PlannedTensor, ShardPath};
use crate::config::ModelConfig;
use crate::tier::TierId;
use crate::vocabulary::Tokenizer;
use copy::{Copier, is_imported};
use fields::Fields;
use shards::{Directory, Located, read_json};

/// The most bytes of data in one shard that is written, unless one tensor alone has more.
///
/// Readers keep whole shards in memory to check them before use.
pub const SHARD_BYTES: u64 = 256 << 20;

/// What was imported.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    /// The family of the model.
    pub family: Family,
    /// The model.
    pub config: ModelConfig,
    /// How many tensors there were.
    pub tensors: usize,
    /// Bytes of all of them.
    pub bytes: u64,
    /// How many shards were written.
    pub shards: usize,
    /// The digest of the checkpoint's manifest, which identifies it.
    pub digest: Digest,
}

/// Imports the model in `source` as a checkpoint at `target`, which must not exist or be empty.
///
/// `on_progress` is told how many bytes of tensors are written, and how many there are.
/// Errors: [`ImportError`]; the target is then as it was.
pub fn import_dir(
    source: &Path,
    target: &Path,
    on_progress: &mut dyn FnMut(u64, u64),
) -> Result<Imported, ImportError> {
    let (family, config) = read_config(source)?;
    let tokenizer = read_tokenizer(source, config.vocab)?;
    let directory = Directory::open(source)?;
    let plan = plan(source, family, &config, &directory)?;
    let shards = plan.len();
    let tensors: usize = plan.iter().map(|shard| shard.tensors.len()).sum();
    let all = plan.iter().flat_map(|shard| &shard.tensors);
    let bytes: u64 = all.map(|(planned, _)| planned.bytes).sum();

    let mut writer = DirWriter::begin(target)?;
    let mut copier = Copier::new(&directory);
    let mut done = 0;
    on_progress(0, bytes);
    for shard in &plan {
        let planned: Vec<PlannedTensor> = shard.tensors.iter().map(|(p, _)| p.clone()).collect();
        writer.shard(shard.path.clone(), shard.tier, &planned, |sink| {
            shard.tensors.iter().try_for_each(|(_, theirs)| {
                let tensor = &directory.tensors[*theirs];
                copier.copy(theirs, tensor, sink, &mut |block| {
                    done += block;
                    on_progress(done, bytes);
                })
            })
        })?;
    }
    writer.tokenizer(&tokenizer)?;
    let provenance = BTreeMap::from([
        ("imported_from".to_owned(), format!("a model directory of the family {}", family.name())),
        ("tokenizer_blake3".to_owned(), Digest::of(&tokenizer).to_string()),
    ]);
    let digest = writer.finish(config.clone(), provenance)?;
    Ok(Imported { family, config, tensors, bytes, shards, digest })
}

/// The model that `config.json` describes.
fn read_config(source: &Path) -> Result<(Family, ModelConfig), ImportError> {
    if source.is_file() {
        return Err(ImportError::NotADirectory { path: source.to_owned() });
    }
    let file = source.join("config.json");
    let Some(fields) = read_fields(&file)? else {
        let remedy = "name a directory as the transformers library saves it";
        return Err(ImportError::FileMissing { file, remedy });
    };
    let family = Family::of(&fields)?;
    let generation = generation_end_tokens(source)?;
    let name = source.canonicalize().unwrap_or_else(|_| source.to_owned());
    let name = name.file_name().map(|name| name.to_string_lossy().into_owned());
    let mut config = family.model(&fields, &name.unwrap_or_default())?;
    let (said_in, end_tokens) = match generation {
        Some((generation, tokens)) => (generation, tokens),
        None => (fields.clone(), family.end_tokens(&fields)?),
    };
    if end_tokens.iter().any(|token| *token as usize >= config.vocab) {
        return Err(said_in.wrong("eos_token_id", "tokens of the vocabulary"));
    }
    config.end_tokens = end_tokens;
    config.validate().map_err(|source| ImportError::Config { file, source })?;
    Ok((family, config))
}

/// The tokens that end a text according to `generation_config.json`, which overrides the other
/// configuration where it is there and says so.
fn generation_end_tokens(source: &Path) -> Result<Option<(Fields, Vec<u32>)>, ImportError> {
    let Some(fields) = read_fields(&source.join("generation_config.json"))? else {
        return Ok(None);
    };
    let tokens = fields.tokens("eos_token_id")?;
    Ok((!tokens.is_empty()).then_some((fields, tokens)))
}

/// The object in a JSON file, or nothing if there is no file.
fn read_fields(file: &Path) -> Result<Option<Fields>, ImportError> {
    let Some(bytes) = read_json(file)? else { return Ok(None) };
    match serde_json::from_slice(&bytes) {
        Ok(fields) => Ok(Some(Fields::new(file, fields))),
        Err(source) => {
            let (file, line) = (file.to_owned(), source.line());
            Err(ImportError::Malformed { file, line, source })
        }
    }
}

/// The bytes of a tokenizer that can be used with the model.
fn read_tokenizer(source: &Path, vocab: usize) -> Result<Vec<u8>, ImportError> {
    let file = source.join("tokenizer.json");
    let Some(bytes) = read_json(&file)? else {
        let remedy = "load the tokenizer with the transformers library and save it here, which \
                      writes this file";
        return Err(ImportError::FileMissing { file, remedy });
    };
    match Tokenizer::from_json(&bytes, vocab) {
        Ok(_) => Ok(bytes),
        Err(problem) => Err(ImportError::Tokenizer { file, problem }),
    }
}

/// One shard to be written: its tensors and what they are called where they come from.
struct PlannedShard<'a> {
    path: ShardPath,
    tier: Option<&'a TierId>,
    tensors: Vec<(PlannedTensor, &'a str)>,
}

/// What goes into which shard.
fn plan<'a>(
    source: &Path,
    family: Family,
    config: &'a ModelConfig,
    directory: &'a Directory,
) -> Result<Vec<PlannedShard<'a>>, ImportError> {
    let mut offences = Vec::new();
    let mut used = BTreeSet::new();
    let mut by_tier: BTreeMap<Option<u16>, Vec<(PlannedTensor, &'a str)>> = BTreeMap::new();
    for spec in config.tensor_specs() {
        if offences.len() > OFFENCES_MAX {
            break;
        }
        let theirs = mapping::source_name(family, &spec.name)
            .expect("every tensor of an imported model has a source");
        let Some((name, located)) = directory.tensors.get_key_value(&theirs) else {
            offences.push(TensorOffence::Missing { tensor: theirs });
            continue;
        };
        used.insert(name.as_str());
        offences.extend(offence(directory, name, located, &spec.shape));
        let Located { dtype, shape, bytes, .. } = located.clone();
        let planned = PlannedTensor { name: spec.name, dtype, shape, bytes };
        by_tier.entry(spec.tier).or_default().push((planned, name.as_str()));
    }
    for (name, located) in &directory.tensors {
        if !used.contains(name.as_str()) && !mapping::is_redundant(config, name) {
            let (tensor, shard) = (name.clone(), directory.shard_name(located));
            offences.push(TensorOffence::Unexpected { tensor, shard });
        }
    }
    if !offences.is_empty() {
        let cut_off = offences.len() > LISTED_MAX;
        offences.truncate(LISTED_MAX);
        let directory = source.to_owned();
        return Err(ImportError::Tensors { directory, offences, cut_off });
    }
    let cut = by_tier.into_iter().flat_map(|(tier, tensors)| {
        cut(tier.map(|tier| &config.tiers[usize::from(tier)].id), tensors)
    });
    Ok(cut.collect())
}

/// The most offences a message lists.
const LISTED_MAX: usize = 10;

/// What is wrong with a tensor that is there.
fn offence(
    directory: &Directory,
    name: &str,
    located: &Located,
    expected: &[usize],
) -> Option<TensorOffence> {
    let (tensor, shard) = (name.to_owned(), directory.shard_name(located));
    if located.shape != expected {
        let (expected, found) = (expected.to_vec(), located.shape.clone());
        return Some(TensorOffence::Shape { tensor, shard, expected, found });
    }
    let found = format!("{:?}", located.dtype);
    (!is_imported(located.dtype)).then_some(TensorOffence::Dtype { tensor, shard, found })
}

/// Cuts the tensors of a tier into shards of at most [`SHARD_BYTES`].
fn cut<'a>(
    tier: Option<&'a TierId>,
    tensors: Vec<(PlannedTensor, &'a str)>,
) -> Vec<PlannedShard<'a>> {
    let mut parts: Vec<Vec<(PlannedTensor, &str)>> = vec![Vec::new()];
    let mut bytes = 0_u64;
    for tensor in tensors {
        let more = bytes.saturating_add(tensor.0.bytes);
        if more > SHARD_BYTES && bytes > 0 {
            parts.push(Vec::new());
            bytes = tensor.0.bytes;
        } else {
            bytes = more;
        }
        parts.last_mut().expect("one part is there from the start").push(tensor);
    }
    let alone = parts.len() == 1;
    let shard = |(part, mut tensors): (usize, Vec<(PlannedTensor, &'a str)>)| {
        // Wide elements first, so that each starts at a multiple of its size.
        tensors.sort_by_key(|(planned, _)| std::cmp::Reverse(planned.dtype.bitsize()));
        let path =
            if alone { ShardPath::of_tier(tier) } else { ShardPath::of_tier_part(tier, part + 1) };
        PlannedShard { path, tier, tensors }
    };
    parts.into_iter().enumerate().map(shard).collect()
}
