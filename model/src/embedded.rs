//! The model that ships with the project.

use crate::checkpoint::{Checkpoint, CheckpointError};

/// The files of the shipped checkpoint, as `litecore train --embedded` wrote them.
const FILES: [(&str, &[u8]); 5] = [
    ("manifest.json", include_bytes!("../embedded/manifest.json")),
    ("base.safetensors", include_bytes!("../embedded/base.safetensors")),
    ("tier-small.safetensors", include_bytes!("../embedded/tier-small.safetensors")),
    ("tier-medium.safetensors", include_bytes!("../embedded/tier-medium.safetensors")),
    ("tier-large.safetensors", include_bytes!("../embedded/tier-large.safetensors")),
];

/// Opens the shipped checkpoint, from memory.
///
/// Errors: none unless the program file itself is damaged; digests are checked as in any other.
pub fn checkpoint() -> Result<Checkpoint, CheckpointError> {
    Checkpoint::from_bytes(&FILES)
}
