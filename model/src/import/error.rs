//! What can stand in the way of an import.

use std::io;
use std::path::PathBuf;

use crate::checkpoint::{HeaderProblem, WriteError};
use crate::config::InvalidConfig;
use crate::vocabulary::TokenizerError;

/// Why a model cannot be imported. The target is then as it was.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A file was named where a directory is asked for.
    #[error("{}: a file: name the directory, not a file in it", path.display())]
    NotADirectory {
        /// What was named.
        path: PathBuf,
    },
    /// A file of the directory is not there.
    #[error("{}: there is no such file: {remedy}", file.display())]
    FileMissing {
        /// The file.
        file: PathBuf,
        /// What to do.
        remedy: &'static str,
    },
    /// The operating system refused to read a file.
    #[error("{}: cannot read: {source}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Its reason.
        source: io::Error,
    },
    /// A JSON file is too large to be what its name says.
    #[error("{}: {found} bytes, at most {maximum} make sense: download it again", file.display())]
    TooLarge {
        /// The file.
        file: PathBuf,
        /// Its size.
        found: u64,
        /// The most it may be.
        maximum: u64,
    },
    /// A JSON file is none, or not of the form it should have.
    #[error("{}, line {line}: {source}: download the file again", file.display())]
    Malformed {
        /// The file.
        file: PathBuf,
        /// Where in it, from 1.
        line: usize,
        /// What was expected there.
        source: serde_json::Error,
    },
    /// A field of the configuration is missing or of the wrong type.
    #[error("{}: `{field}` is {found}, expected {expected}: correct the file", file.display())]
    Field {
        /// The configuration.
        file: PathBuf,
        /// The field.
        field: String,
        /// What is there.
        found: String,
        /// What should be.
        expected: &'static str,
    },
    /// The architecture is none that is imported.
    #[error(
        "{}: the architecture `{found}` is not imported: the families that are: {}",
        file.display(), known.join(", ")
    )]
    Architecture {
        /// The configuration.
        file: PathBuf,
        /// What it says.
        found: String,
        /// What would do.
        known: Vec<&'static str>,
    },
    /// The model does something that the runtime does not.
    #[error("{}: `{field}` is {found}, which is not supported: {remedy}", file.display())]
    Unsupported {
        /// The configuration.
        file: PathBuf,
        /// The field.
        field: String,
        /// Its value.
        found: String,
        /// What to do.
        remedy: String,
    },
    /// The configuration makes no sense as a model.
    #[error("{}: {source}", file.display())]
    Config {
        /// The configuration.
        file: PathBuf,
        /// Everything wrong with it.
        source: InvalidConfig,
    },
    /// The index names a shard that is not there.
    #[error(
        "{}: tensor `{tensor}` is said to be in `{shard}`, which is not there: download it",
        index.display()
    )]
    ShardMissing {
        /// The index.
        index: PathBuf,
        /// A tensor it places there.
        tensor: String,
        /// The shard.
        shard: String,
    },
    /// A shard's name leads out of the directory.
    #[error(
        "{}: shard `{shard}` is not a plain file name: the index is not to be trusted",
        index.display()
    )]
    ShardName {
        /// The index.
        index: PathBuf,
        /// The name.
        shard: String,
    },
    /// A shard is not a safetensors file, or cut off.
    #[error("{}: the file is damaged or cut off: {problem}: download it again", file.display())]
    ShardHeader {
        /// The shard.
        file: PathBuf,
        /// In which way.
        problem: HeaderProblem,
    },
    /// A tensor is in two shards.
    #[error("{}: tensor `{tensor}` is also in {}: remove one of the files", file.display(), other.display())]
    Duplicate {
        /// The tensor.
        tensor: String,
        /// A shard that holds it.
        file: PathBuf,
        /// Another one.
        other: PathBuf,
    },
    /// The tensors are not those of the architecture.
    #[error(
        "{}: the tensors do not fit the configuration ({} offences{}):{}",
        directory.display(), offences.len(), if *cut_off { " and more" } else { "" }, lines(offences)
    )]
    Tensors {
        /// The directory.
        directory: PathBuf,
        /// What is wrong: missing tensors, then unexpected ones.
        offences: Vec<TensorOffence>,
        /// Whether there were more.
        cut_off: bool,
    },
    /// An element is infinite or not a number.
    #[error(
        "{}: tensor `{tensor}`, element {index} is {value}: the training diverged or the file is \
         damaged, use another checkpoint", file.display()
    )]
    NonFinite {
        /// The shard.
        file: PathBuf,
        /// The tensor.
        tensor: String,
        /// Which element, counted through the tensor in row-major order.
        index: u64,
        /// What is there.
        value: f32,
    },
    /// The tokenizer cannot be used.
    #[error("{}: {problem}: save it again with the library it came from", file.display())]
    Tokenizer {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        problem: TokenizerError,
    },
    /// The checkpoint cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// What is wrong with one tensor of a model to be imported.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TensorOffence {
    /// A tensor of the architecture is in no shard.
    #[error("`{tensor}` is missing: download all shards, or correct the configuration")]
    Missing {
        /// The tensor.
        tensor: String,
    },
    /// A tensor has another shape than the configuration says.
    #[error(
        "`{tensor}` in {shard} has shape {found:?}, the configuration says {expected:?}: \
         take both from one model"
    )]
    Shape {
        /// The tensor.
        tensor: String,
        /// The shard that holds it.
        shard: String,
        /// Shape according to the configuration.
        expected: Vec<usize>,
        /// Shape in the shard.
        found: Vec<usize>,
    },
    /// A tensor has elements of a type that is not imported.
    #[error("`{tensor}` in {shard} is {found}, expected F32, BF16 or F16: convert it")]
    Dtype {
        /// The tensor.
        tensor: String,
        /// The shard that holds it.
        shard: String,
        /// The type, as safetensors names it.
        found: String,
    },
    /// A tensor is not part of the architecture as the configuration describes it.
    #[error("`{tensor}` in {shard} has no place in the architecture: nothing would use it")]
    Unexpected {
        /// The tensor.
        tensor: String,
        /// The shard that holds it.
        shard: String,
    },
}

fn lines(offences: &[TensorOffence]) -> String {
    let mut text = String::new();
    for offence in offences {
        text.push_str("\n- ");
        text.push_str(&offence.to_string());
    }
    text
}
