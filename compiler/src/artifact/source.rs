//! Where the bytes of an artifact are: a file or memory, read piece by piece.

use super::ArtifactProblem;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;

/// Bytes of an artifact.
#[derive(Debug)]
pub(super) enum Source<'a> {
    /// A file, and how long it was when it was opened.
    File(File, u64),
    /// Memory.
    Memory(&'a [u8]),
}

/// Bytes that are hashed at a time.
const PIECE: usize = 1 << 20;

impl Source<'_> {
    /// Opens a file.
    pub(super) fn open(path: &Path) -> Result<Self, ArtifactProblem> {
        let file = File::open(path).map_err(unreadable)?;
        let len = file.metadata().map_err(unreadable)?.len();
        Ok(Self::File(file, len))
    }

    /// How many bytes there are.
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::File(_, len) => *len,
            Self::Memory(bytes) => bytes.len() as u64,
        }
    }

    /// Some bytes. The caller has held the range against [`Self::len`].
    pub(super) fn bytes(&mut self, at: u64, len: u64) -> Result<Vec<u8>, ArtifactProblem> {
        let too_large = || unreadable(io::Error::from(ErrorKind::FileTooLarge));
        let len = usize::try_from(len).map_err(|_| too_large())?;
        match self {
            Self::File(file, _) => {
                file.seek(SeekFrom::Start(at)).map_err(unreadable)?;
                let mut bytes = vec![0; len];
                file.read_exact(&mut bytes).map_err(unreadable)?;
                Ok(bytes)
            }
            Self::Memory(bytes) => {
                let at = usize::try_from(at).map_err(|_| too_large())?;
                let range = at.checked_add(len).and_then(|end| bytes.get(at..end));
                let ended = || unreadable(io::Error::from(ErrorKind::UnexpectedEof));
                Ok(range.ok_or_else(ended)?.to_vec())
            }
        }
    }

    /// The digest of the first `len` bytes, which are read piece by piece.
    pub(super) fn digest(&mut self, len: u64) -> Result<blake3::Hash, ArtifactProblem> {
        let mut hasher = blake3::Hasher::new();
        let mut at = 0;
        while at < len {
            let piece = (len - at).min(PIECE as u64);
            hasher.update(&self.bytes(at, piece)?);
            at += piece;
        }
        Ok(hasher.finalize())
    }
}

fn unreadable(source: io::Error) -> ArtifactProblem {
    ArtifactProblem::Unreadable { source }
}
