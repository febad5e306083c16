//! Compiled models on disk: one file, checked to the last byte and verified again when read.
//!
//! ```text
//! 8 bytes   magic "LCMODEL" and a zero
//! u32       version
//! u64       bytes of metadata
//! u64       bytes of payload
//! metadata  JSON: chip text, model configuration, tensor names and shapes, program headers, steps
//! payload   dense tensors by name (f32); then for each expert, by layer and key, its tables (f32)
//!           and its tiles (i8)
//! 32 bytes  BLAKE3 digest of everything before
//! ```
//!
//! Numbers are little-endian. The digest tells damage from a whole file, not friend from foe, so
//! whatever is read is treated as untrusted: nothing is allocated for a length the file does not
//! have the bytes for, and every program passes the verifier again.

mod error;
mod read;
mod report_repr;
mod repr;
mod write;

pub use error::{ArtifactError, ArtifactProblem};

/// The first bytes of every compiled model.
const MAGIC: [u8; 8] = *b"LCMODEL\0";

/// The version this crate writes, and the newest it reads.
const VERSION: u32 = 1;

/// Magic, version and two lengths.
const HEADER_BYTES: usize = 28;

/// The digest at the end.
const DIGEST_BYTES: usize = 32;
