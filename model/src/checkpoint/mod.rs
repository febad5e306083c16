//! Checkpoints: a directory with `manifest.json` and safetensors shards.
//!
//! The manifest holds the configuration of the model and, for each shard, its path, size and
//! BLAKE3 digest. The writer makes one shard `base.safetensors` for the dense tensors and one
//! `tier-NAME.safetensors` per tier, or numbered ones where a model is imported; the reader takes any
//! number of shards per tier. An imported model also has its `tokenizer.json`.
//!
//! Everything read is treated as untrusted: a shard is used only after its size and digest agree
//! with the manifest, a tensor only after its name, shape, type and values agree with the
//! configuration. ([`Pass`] gives tensors first and checks digests at the end.) A manifest is trusted as it is; whoever needs to know that it is the right one
//! compares [`Checkpoint::digest`].
//!
//! **Invariant:** the same tensors, configuration and provenance give the same bytes.

mod digest;
mod elements;
mod error;
mod manifest;
mod pass;
mod pieces;
mod read;
mod shard;
mod source;
mod stream;
mod temporary;
mod verify;
mod write;

pub use digest::{Digest, InvalidDigest};
pub use error::{CheckpointError, DamagedTokenizer, HeaderProblem, TensorProblem, WriteError};
pub use manifest::{EscapingPath, FORMAT, FileEntry, Manifest, ShardEntry, ShardPath, VERSION};
pub use pass::Pass;
pub use read::{Checkpoint, KEPT_BYTES};
pub(crate) use stream::{BlockSink, DirWriter, PlannedTensor};
pub use verify::{OFFENCES_MAX, Report};
pub use write::{Dtype, encode, write_dir};

/// The name of the manifest within a checkpoint.
pub const MANIFEST: &str = "manifest.json";
