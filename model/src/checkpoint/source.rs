//! Where the bytes of a checkpoint come from: a directory or memory.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::MANIFEST;
use super::error::CheckpointError;
use super::manifest::{MANIFEST_BYTES_MAX, ShardPath};

/// Where the bytes of a checkpoint come from.
#[derive(Debug)]
pub(super) enum Source {
    /// A directory.
    Directory(PathBuf),
    /// Files in memory, by path.
    Memory(BTreeMap<String, Arc<Vec<u8>>>),
}

impl Source {
    /// The bytes of the manifest.
    pub(super) fn manifest(&self) -> Result<Arc<Vec<u8>>, CheckpointError> {
        let file = self.manifest_file();
        let refuse_size = |found| {
            let (file, maximum) = (file.clone(), MANIFEST_BYTES_MAX);
            if found > maximum {
                Err(CheckpointError::ManifestTooLarge { file, found, maximum })
            } else {
                Ok(())
            }
        };
        let bytes = self.read(MANIFEST, &file, refuse_size)?;
        bytes.ok_or(CheckpointError::ManifestMissing { file })
    }

    /// The bytes of a shard or another file of the checkpoint. They have the size the manifest
    /// says; their digest is not checked.
    pub(super) fn listed(
        &self,
        path: &ShardPath,
        expected: u64,
    ) -> Result<Arc<Vec<u8>>, CheckpointError> {
        let file = self.shard_file(path);
        let refuse_size = |found| {
            let file = file.clone();
            if found == expected {
                Ok(())
            } else {
                Err(CheckpointError::ShardSize { file, expected, found })
            }
        };
        let bytes = self.read(path.as_str(), &file, refuse_size)?;
        bytes.ok_or(CheckpointError::ShardMissing { file })
    }

    /// The first bytes of a shard up to the end of its header, or nothing if they cannot be had.
    /// Nobody vouches for them: they are a hint, and what is read by it has to be checked.
    pub(super) fn header_hint(&self, path: &ShardPath) -> Option<Vec<u8>> {
        let end = |length: [u8; 8]| u64::from_le_bytes(length).checked_add(8);
        match self {
            Self::Memory(files) => {
                let bytes = files.get(path.as_str())?;
                let end = usize::try_from(end(*bytes.first_chunk()?)?).ok()?;
                Some(bytes.get(..end)?.to_vec())
            }
            Self::Directory(_) => {
                let file = self.shard_file(path);
                if !file.metadata().ok()?.is_file() {
                    return None;
                }
                let mut file = File::open(file).ok()?;
                let mut bytes = vec![0; 8];
                file.read_exact(&mut bytes).ok()?;
                let end = end(*bytes.first_chunk()?)?;
                file.take(end.min(MANIFEST_BYTES_MAX) - 8).read_to_end(&mut bytes).ok()?;
                Some(bytes)
            }
        }
    }

    /// Whether its bytes are in memory anyway.
    pub(super) fn is_memory(&self) -> bool {
        matches!(self, Self::Memory(_))
    }

    /// The manifest, for messages.
    pub(super) fn manifest_file(&self) -> PathBuf {
        self.file(MANIFEST)
    }

    /// A shard, for messages.
    pub(super) fn shard_file(&self, path: &ShardPath) -> PathBuf {
        self.file(path.as_str())
    }

    fn file(&self, path: &str) -> PathBuf {
        match self {
            Self::Directory(directory) => directory.join(path),
            Self::Memory(_) => PathBuf::from(path),
        }
    }

    /// The bytes of a file, or nothing if there is none. The size is asked about before memory is
    /// taken for it and again for what was read, as the file may grow or shrink meanwhile.
    fn read(
        &self,
        path: &str,
        file: &Path,
        refuse_size: impl Fn(u64) -> Result<(), CheckpointError>,
    ) -> Result<Option<Arc<Vec<u8>>>, CheckpointError> {
        let bytes = match self {
            Self::Memory(files) => match files.get(path) {
                Some(bytes) => Arc::clone(bytes),
                None => return Ok(None),
            },
            Self::Directory(_) => {
                let unreadable = |source| unreadable(file, source);
                let metadata = match file.metadata() {
                    Ok(metadata) => metadata,
                    Err(error) if is_absence(&error) => return Ok(None),
                    Err(error) => return Err(unreadable(error)),
                };
                if !metadata.is_file() {
                    return Err(CheckpointError::NotAFile { file: file.to_owned() });
                }
                refuse_size(metadata.len())?;
                // One byte more, so that a file that grew is noticed.
                let room = usize::try_from(metadata.len()).unwrap_or(0).saturating_add(1);
                let mut bytes = Vec::new();
                bytes
                    .try_reserve_exact(room)
                    .map_err(|_| unreadable(io::Error::from(ErrorKind::OutOfMemory)))?;
                let limited = File::open(file).map_err(unreadable)?;
                let mut limited = limited.take(metadata.len().saturating_add(1));
                limited.read_to_end(&mut bytes).map_err(unreadable)?;
                Arc::new(bytes)
            }
        };
        refuse_size(bytes.len() as u64)?;
        Ok(Some(bytes))
    }
}

pub(super) fn unreadable(file: &Path, source: io::Error) -> CheckpointError {
    CheckpointError::Unreadable { file: file.to_owned(), source }
}

/// Whether the file is not there, also because what should be its directory is a file.
fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}
