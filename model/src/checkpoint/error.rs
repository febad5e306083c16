//! What can be wrong with a checkpoint, or stand in the way of writing one.

use std::io;
use std::path::PathBuf;

use super::digest::Digest;
use super::manifest::EscapingPath;
use crate::config::InvalidConfig;
use crate::vocabulary::TokenizerError;

/// What is wrong with a checkpoint that is read.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// There is no manifest.
    #[error("{}: no manifest there: name the directory that holds `manifest.json`", file.display())]
    ManifestMissing {
        /// Where it was expected.
        file: PathBuf,
    },
    /// The manifest is too large to be one.
    #[error(
        "{}: {found} bytes, a manifest has at most {maximum}: restore the file", file.display()
    )]
    ManifestTooLarge {
        /// The manifest.
        file: PathBuf,
        /// Its size.
        found: u64,
        /// The most it may be.
        maximum: u64,
    },
    /// The manifest is not JSON, or a field is missing or has the wrong type.
    #[error(
        "{}, line {line}, column {column}: {source}: restore the file, it is cut off or damaged",
        file.display()
    )]
    InvalidManifest {
        /// The manifest.
        file: PathBuf,
        /// Where in it, from 1.
        line: usize,
        /// Where in the line, from 1; 0 is the end of the line before.
        column: usize,
        /// What was expected there.
        source: serde_json::Error,
    },
    /// The file is the manifest of something else.
    #[error(
        "{}: format is {}, expected `{expected}`: name a LiteCore checkpoint, or import the model",
        file.display(), found.as_ref().map_or("not given".to_owned(), |found| format!("`{found}`"))
    )]
    WrongFormat {
        /// The manifest.
        file: PathBuf,
        /// The format this reader knows.
        expected: &'static str,
        /// The format in the file.
        found: Option<String>,
    },
    /// The manifest has a version this reader does not know.
    #[error(
        "{}: version {found}, this reader knows {supported}: update LiteCore", file.display()
    )]
    UnsupportedVersion {
        /// The manifest.
        file: PathBuf,
        /// The version this reader knows.
        supported: u32,
        /// The version in the file.
        found: u64,
    },
    /// The configuration in the manifest makes no sense.
    #[error("{}: {source}", file.display())]
    InvalidConfig {
        /// The manifest.
        file: PathBuf,
        /// Everything wrong with it.
        source: InvalidConfig,
    },
    /// A shard lies outside the checkpoint.
    #[error("{}: {source}", file.display())]
    EscapingPath {
        /// The manifest.
        file: PathBuf,
        /// Which path.
        source: EscapingPath,
    },
    /// The manifest lists a shard twice.
    #[error("{}: shard `{path}` is listed twice: remove one entry", file.display())]
    DuplicateShard {
        /// The manifest.
        file: PathBuf,
        /// The path within the checkpoint.
        path: String,
    },
    /// A shard is not there.
    #[error("{}: the shard is missing: restore it from where the checkpoint came from", file.display())]
    ShardMissing {
        /// Where it was expected.
        file: PathBuf,
    },
    /// Something is there that is not a regular file.
    #[error("{}: not a regular file: put the file of the checkpoint there", file.display())]
    NotAFile {
        /// What is not a file.
        file: PathBuf,
    },
    /// The operating system refused to read a file.
    #[error("{}: cannot read: {source}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Its reason.
        source: io::Error,
    },
    /// A shard has another size than the manifest says.
    #[error(
        "{}: {found} bytes, the manifest says {expected}: the copy was cut off or the file \
         changed, restore it", file.display()
    )]
    ShardSize {
        /// The shard.
        file: PathBuf,
        /// Bytes according to the manifest.
        expected: u64,
        /// Bytes there are.
        found: u64,
    },
    /// A shard has another content than the manifest says.
    #[error(
        "{}: digest {found}, the manifest says {expected}: the file is damaged, restore it",
        file.display()
    )]
    DigestMismatch {
        /// The shard.
        file: PathBuf,
        /// Digest according to the manifest.
        expected: Digest,
        /// Digest of the file.
        found: Digest,
    },
    /// A shard has changed between two reads of it.
    #[error("{}: changed while it was read: start again when nobody writes it", file.display())]
    Changed {
        /// The shard.
        file: PathBuf,
    },
    /// A shard is not a safetensors file.
    #[error("{}: the safetensors header is broken: {problem}: write the shard again", file.display())]
    ShardHeader {
        /// The shard.
        file: PathBuf,
        /// In which way.
        problem: HeaderProblem,
    },
    /// The model has no tensor of this name.
    #[error("the model has no tensor `{tensor}`: see the names in its configuration")]
    UnknownTensor {
        /// The name asked for.
        tensor: String,
    },
    /// A tensor of the model is in none of the shards that should hold it.
    #[error(
        "tensor `{tensor}` is missing from {}: write the checkpoint again with it",
        if files.is_empty() { "the checkpoint, which has no shard for it".to_owned() }
        else { files.join(", ") }
    )]
    TensorMissing {
        /// The tensor.
        tensor: String,
        /// The shards that should hold it, as the manifest names them.
        files: Vec<String>,
    },
    /// A tensor is in two shards.
    #[error("{}: tensor `{tensor}` is also in {}: keep one", file.display(), other.display())]
    DuplicateTensor {
        /// The tensor.
        tensor: String,
        /// A shard that holds it.
        file: PathBuf,
        /// Another one, earlier in the manifest.
        other: PathBuf,
    },
    /// A tensor has another shape than the configuration says.
    #[error(
        "{}: tensor `{tensor}` has shape {found:?}, the configuration says {expected:?}: \
         use the manifest the shard was written with", file.display()
    )]
    TensorShape {
        /// The shard.
        file: PathBuf,
        /// The tensor.
        tensor: String,
        /// Shape according to the configuration.
        expected: Vec<usize>,
        /// Shape in the shard.
        found: Vec<usize>,
    },
    /// A tensor has elements of a type this reader does not widen to `f32`.
    #[error(
        "{}: tensor `{tensor}` has elements of type {found}, expected F32, BF16 or F16: \
         convert it", file.display()
    )]
    TensorDtype {
        /// The shard.
        file: PathBuf,
        /// The tensor.
        tensor: String,
        /// The type, as safetensors names it.
        found: String,
    },
    /// The tokenizer is none.
    #[error(transparent)]
    Tokenizer(#[from] DamagedTokenizer),
    /// The model's tokens are not bytes, and the checkpoint has no tokenizer.
    #[error("{}: no tokenizer for a vocabulary of {vocab}: import the model again", file.display())]
    TokenizerAbsent {
        /// The manifest.
        file: PathBuf,
        /// How many tokens there are.
        vocab: usize,
    },
    /// A tensor holds an infinity or not-a-number.
    #[error(
        "{}: tensor `{tensor}`, element {index} is {value}: the training diverged, use an \
         earlier checkpoint", file.display()
    )]
    NonFinite {
        /// The shard.
        file: PathBuf,
        /// The tensor.
        tensor: String,
        /// Which element, counted through the tensor in row-major order.
        index: usize,
        /// What is there.
        value: f32,
    },
}

/// A tokenizer that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}: restore the file", file.display())]
pub struct DamagedTokenizer {
    /// The file.
    pub file: PathBuf,
    /// What is wrong with it.
    pub problem: TokenizerError,
}

/// In which way a safetensors header is broken.
#[derive(Debug, thiserror::Error)]
pub enum HeaderProblem {
    /// The file is too short to say how long its header is.
    #[error("the file has {found} bytes, the length of the header alone takes 8")]
    NoLength {
        /// Bytes there are.
        found: u64,
    },
    /// The header ends after the file.
    #[error("it claims {claimed} bytes, {available} follow")]
    BeyondEnd {
        /// Bytes the header claims.
        claimed: u64,
        /// Bytes after the length.
        available: u64,
    },
    /// The header is not the JSON it should be, or its offsets contradict its shapes.
    #[error("{source}")]
    Malformed {
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The tensors do not fill the rest of the file.
    #[error("its tensors take {claimed} bytes, {available} follow")]
    DataLength {
        /// Bytes of all tensors.
        claimed: u64,
        /// Bytes after the header.
        available: u64,
    },
}

/// What stands in the way of writing a checkpoint.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The configuration makes no sense.
    #[error("{source}")]
    InvalidConfig {
        /// Everything wrong with it.
        #[from]
        source: InvalidConfig,
    },
    /// The tensors are not those of the model.
    #[error(
        "the tensors do not fit the model ({} offences), the first: {}",
        offences.len(), offences.first().map(ToString::to_string).unwrap_or_default()
    )]
    Tensors {
        /// All offences, up to [`OFFENCES_MAX`](super::OFFENCES_MAX). Never empty.
        offences: Vec<TensorProblem>,
    },
    /// Something is at the target already.
    #[error("{}: already there: choose another name or remove it first", target.display())]
    TargetExists {
        /// The target.
        target: PathBuf,
    },
    /// The target has no name, like `/` or `..`.
    #[error("{}: not the name of a directory to make: add one", target.display())]
    TargetUnnamed {
        /// The target.
        target: PathBuf,
    },
    /// The directory that the target should be made in is not there.
    #[error("{}: there is no such directory: make it first, or choose another place", parent.display())]
    ParentMissing {
        /// The directory.
        parent: PathBuf,
    },
    /// Another writer is at work, or one was interrupted.
    #[error(
        "{}: another writer is at work or was interrupted: wait, or remove it", temporary.display()
    )]
    Locked {
        /// The temporary directory beside the target.
        temporary: PathBuf,
    },
    /// The operating system refused to write.
    #[error("{}: cannot write: {source}", file.display())]
    Unwritable {
        /// The file or directory.
        file: PathBuf,
        /// Its reason.
        source: io::Error,
    },
    /// The manifest or a shard header could not be put into bytes.
    #[error("cannot encode {file}: {source}")]
    Unencodable {
        /// The file within the checkpoint.
        file: String,
        /// Why.
        source: serde_json::Error,
    },
}

/// What is wrong with a tensor that should be written.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TensorProblem {
    /// A tensor of the model was not given.
    #[error("tensor `{tensor}` is missing: add it")]
    Missing {
        /// The tensor.
        tensor: String,
    },
    /// A tensor was given that the model does not have.
    #[error("tensor `{tensor}` is not part of the model: leave it out")]
    Unexpected {
        /// The tensor.
        tensor: String,
    },
    /// A tensor has another shape than the configuration says.
    #[error("tensor `{tensor}` has shape {found:?}, the configuration says {expected:?}")]
    Shape {
        /// The tensor.
        tensor: String,
        /// Shape according to the configuration.
        expected: Vec<usize>,
        /// Shape given.
        found: Vec<usize>,
    },
    /// A tensor has more or fewer elements than its shape holds.
    #[error("tensor `{tensor}` has {found} elements, its shape holds {expected}")]
    Elements {
        /// The tensor.
        tensor: String,
        /// Elements the shape holds.
        expected: usize,
        /// Elements given.
        found: usize,
    },
    /// An element is infinite, not a number, or becomes infinite in the type written.
    #[error("tensor `{tensor}`, element {index} is {value}: not finite in the type written")]
    NonFinite {
        /// The tensor.
        tensor: String,
        /// Which element, counted through the tensor in row-major order.
        index: usize,
        /// What is there.
        value: f32,
    },
}
