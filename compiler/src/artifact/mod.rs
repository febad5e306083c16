//! Compiled models on disk: one file, checked to the last byte and verified again when read.
//!
//! ```text
//! 8 bytes   magic "LCMODEL" and a zero
//! u32       version
//! dense     tensors outside the experts, by name (f32)
//! records   one per expert, by layer and key: its metadata (JSON: program header, gains, report),
//!           its steps (JSON) unless they are a layout, its tables (f32), its tiles (i8)
//! index     JSON: chip text, model configuration, the tokenizer's file where the model has one, tensor
//!           names and shapes, layouts (steps that programs share but for their gains), and for each
//!           expert its layout and the lengths of its record
//! u64       bytes of index
//! 32 bytes  BLAKE3 digest of everything before
//! 8 bytes   end mark "LCEND" and three zeros
//! ```
//!
//! Numbers are little-endian. The file is written in one pass as experts are done, and may be read
//! expert by expert ([`ArtifactReader`]): neither needs memory for the whole. The digest tells
//! damage from a whole file, not friend from foe, so whatever is read is treated as untrusted:
//! nothing is allocated for a length the file does not have the bytes for, and every program passes
//! the verifier again.

mod check;
mod error;
mod read;
mod report_repr;
mod repr;
mod source;
mod write;

pub use error::{ArtifactError, ArtifactProblem};
pub use read::ArtifactReader;
pub use write::ArtifactWriter;
pub(crate) use write::Record;

/// The first bytes of every compiled model.
const MAGIC: [u8; 8] = *b"LCMODEL\0";

/// The version this crate writes, and the only one it reads.
const VERSION: u32 = 3;

/// Most layouts of a file. A model has a few shapes; where tiles of zeros are left out of each expert in
/// another way, a writer must not keep the steps of all in memory.
const LAYOUTS_MAX: usize = 16;

/// Magic and version.
const HEADER_BYTES: u64 = 12;

/// The last bytes of every compiled model: without them it was cut off, or goes on.
const END_MARK: [u8; 8] = *b"LCEND\0\0\0";

/// The digest before the end mark.
const DIGEST_BYTES: u64 = 32;

/// Length of the index, the digest, the end mark.
const TRAILER_BYTES: u64 = 8 + DIGEST_BYTES + END_MARK.len() as u64;
