//! What can be wrong with a compiled model, or stand in the way of writing one.

use crate::model::ExpertPlace;
use litecore_model::checkpoint::Digest;
use litecore_model::{ExpertKey, InvalidConfig};
use litecore_types::chip::ChipError;
use litecore_types::program::Violation;
use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why a compiled model cannot be read or written, and which one.
#[derive(Debug)]
pub struct ArtifactError {
    /// The file, or the name of the bytes.
    pub origin: String,
    /// What is wrong with it.
    pub problem: Box<ArtifactProblem>,
}

impl fmt::Display for ArtifactError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.problem)
    }
}

impl std::error::Error for ArtifactError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(self.problem.as_ref())
    }
}

/// What is wrong with a compiled model, or stands in the way of writing one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArtifactProblem {
    /// The operating system refused to read.
    #[error("cannot be read: check that the file is there and may be read")]
    Unreadable {
        /// Its reason.
        source: io::Error,
    },
    /// The operating system refused to write.
    #[error("cannot be written: check the directory and the space left")]
    Unwritable {
        /// Its reason.
        source: io::Error,
    },
    /// The target has no file name, like `/` or `..`.
    #[error("is not the name of a file: add one")]
    Unnamed,
    /// Another writer is at work, or one was interrupted.
    #[error(
        "another writer is at work or was interrupted: wait, or remove {}", temporary.display()
    )]
    Locked {
        /// The temporary file beside the target.
        temporary: PathBuf,
    },
    /// The metadata could not be put into JSON.
    #[error("its metadata cannot be encoded: report it, this is a bug")]
    Unencodable {
        /// Why.
        source: serde_json::Error,
    },
    /// The first bytes are not those of a compiled model.
    #[error("is not a compiled model: name a file that `litecore compile` wrote")]
    NotACompiledModel,
    /// The file was written by a newer version.
    #[error("has format version {found}, this program reads up to {supported}: update it")]
    VersionTooNew {
        /// Version of the file.
        found: u32,
        /// The newest version that can be read.
        supported: u32,
    },
    /// The file was written by an older version.
    #[error("has format version {found}, this program reads {supported}: compile it again")]
    VersionTooOld {
        /// Version of the file.
        found: u32,
        /// The version that can be read.
        supported: u32,
    },
    /// The file ends early, or goes on after its end.
    #[error("ends at byte {at} without its end mark: copy or compile it again")]
    Truncated {
        /// Bytes there are.
        at: u64,
    },
    /// The content is not what was written.
    #[error("is damaged, digest {found}, written as {expected}: copy or compile it again")]
    DigestMismatch {
        /// The digest in the file.
        expected: Digest,
        /// The digest of its content.
        found: Digest,
    },
    /// The metadata is not the JSON it should be.
    #[error("has metadata that cannot be read at line {line}, column {column}: compile it again")]
    Metadata {
        /// Line of the metadata, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What was expected there.
        source: serde_json::Error,
    },
    /// The metadata claims more or less data than there is.
    #[error("has {found} bytes of data, its metadata says {claimed}: compile it again")]
    PayloadLength {
        /// Bytes the metadata speaks of.
        claimed: u128,
        /// Bytes there are.
        found: u64,
    },
    /// The chip text is not a chip description.
    #[error("holds a chip description that cannot be read: compile it again")]
    Chip {
        /// Everything wrong with it.
        source: ChipError,
    },
    /// The model configuration makes no sense.
    #[error("holds a model configuration that is invalid: compile it again")]
    Config {
        /// Everything wrong with it.
        source: InvalidConfig,
    },
    /// The dense tensors are not those of the model, in the order of their names.
    #[error(
        "has dense tensor {}, its model needs {}: compile it again",
        shaped(found.as_ref()),
        shaped(expected.as_ref())
    )]
    DenseTensor {
        /// Name and shape the model needs next; nothing where it needs no more.
        expected: Option<(String, Vec<usize>)>,
        /// Name and shape in the file; nothing where there are no more.
        found: Option<(String, Vec<usize>)>,
    },
    /// An element of a dense tensor is a NaN or infinite.
    #[error("has dense tensor `{tensor}` whose element {index} is not finite: compile it again")]
    NonFinite {
        /// The tensor.
        tensor: String,
        /// Which element, row-major.
        index: usize,
    },
    /// The experts are not those of the model, in layer and key order.
    #[error("has {} where its model has {}: compile it again", placed(*found), placed(*expected))]
    Expert {
        /// The next expert of the model; nothing where there are no more.
        expected: Option<ExpertPlace>,
        /// The next one in the file; nothing where there are no more.
        found: Option<ExpertPlace>,
    },
    /// More layouts than any writer makes.
    #[error("has {found} layouts, the most is {limit}: compile it again")]
    TooManyLayouts {
        /// How many there are.
        found: usize,
        /// The most there may be.
        limit: usize,
    },
    /// An expert whose steps are a layout that the file does not have.
    #[error(
        "has {} with the steps of layout {layout}, there are {layouts}: compile it again",
        placed(Some(*place))
    )]
    NoSuchLayout {
        /// Which expert.
        place: ExpertPlace,
        /// The layout, from 0.
        layout: usize,
        /// How many there are.
        layouts: usize,
    },
    /// An expert program with more or fewer gains than tiles.
    #[error(
        "has {} with {found} gains for {expected} tiles: compile it again", placed(Some(*place))
    )]
    GainCount {
        /// Which expert.
        place: ExpertPlace,
        /// Gains there are.
        found: usize,
        /// Tiles there are.
        expected: usize,
    },
    /// An expert program that is larger than any the compiler makes.
    #[error("has {} with {found} {what}, the most is {limit}: compile it again", placed(Some(*place)))]
    TooLarge {
        /// Which expert.
        place: ExpertPlace,
        /// What there is too much of.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// The most there may be.
        limit: usize,
    },
    /// An expert program that says of itself that it does more or less than the model's expert.
    #[error(
        "has {} counting {found} useful multiply-accumulates, its model's has {expected}: \
         compile it again",
        placed(Some(*place))
    )]
    UsefulMacs {
        /// Which expert.
        place: ExpertPlace,
        /// What the program says.
        found: u64,
        /// What the model's expert has.
        expected: u64,
    },
    /// An expert program whose vectors do not fit the model.
    #[error(
        "has {} with {inputs} inputs and {outputs} outputs, its model is {width} wide: \
         compile it again",
        placed(Some(*place))
    )]
    ExpertWidth {
        /// Which expert.
        place: ExpertPlace,
        /// Length of its input vectors.
        inputs: usize,
        /// Length of its output vectors.
        outputs: usize,
        /// Width of the model.
        width: usize,
    },
    /// An expert program that the verifier refuses.
    #[error(
        "has {} with {} violations, first: {}: compile it again",
        placed(Some(*place)), violations.len(),
        violations.first().map_or_else(String::new, ToString::to_string)
    )]
    Refused {
        /// Which expert.
        place: ExpertPlace,
        /// Everything the verifier found.
        violations: Vec<Violation>,
    },
}

impl ArtifactProblem {
    pub(super) fn of(self, origin: &str) -> ArtifactError {
        ArtifactError { origin: origin.to_owned(), problem: Box::new(self) }
    }
}

fn shaped(tensor: Option<&(String, Vec<usize>)>) -> String {
    match tensor {
        Some((name, shape)) => format!("`{name}` {shape:?}"),
        None => "nothing more".to_owned(),
    }
}

fn placed(place: Option<ExpertPlace>) -> String {
    match place {
        Some((layer, ExpertKey { tier, group, expert })) => {
            format!("layer {layer} expert {tier}.{group}.{expert}")
        }
        None => "no more experts".to_owned(),
    }
}
