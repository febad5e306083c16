//! A file whose digest is found out piece by piece, in whatever order the pieces are read.
//!
//! A BLAKE3 digest is the root of a tree over the bytes. Each piece is a subtree, hashed while it is
//! still in the nearest caches; when all are known, the rest of the tree is a few operations.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use blake3::hazmat::{
    ChainingValue, HasherExt, Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root,
};

use super::digest::Digest;
use super::error::CheckpointError;
use super::source::unreadable;

/// Bytes of a piece.
pub(super) const PIECE: usize = 1 << 16;

/// A file of more than one piece, and what is known of its digest.
#[derive(Debug)]
pub(super) struct Pieces {
    file: PathBuf,
    bytes: u64,
    expected: Digest,
    /// The node of each piece that was read.
    nodes: Mutex<Vec<Option<ChainingValue>>>,
}

impl Pieces {
    /// A file that should have so many bytes, more than [`PIECE`], and this digest.
    pub(super) fn new(file: PathBuf, bytes: u64, expected: Digest) -> Self {
        let count = usize::try_from(bytes.div_ceil(PIECE as u64)).unwrap_or(usize::MAX);
        Self { file, bytes, expected, nodes: Mutex::new(vec![None; count]) }
    }

    /// The file, for messages.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// Reads some bytes and hands them on part by part. Nobody vouches for them before
    /// [`Self::verify`].
    ///
    /// Errors: the file cannot be read, has another size, or has changed since an earlier call.
    pub(super) fn read(
        &self,
        range: Range<u64>,
        take: &mut dyn FnMut(&[u8]),
    ) -> Result<(), CheckpointError> {
        if range.is_empty() {
            return Ok(());
        }
        let failed = |source| unreadable(&self.file, source);
        let mut file = File::open(&self.file).map_err(failed)?;
        let found = file.metadata().map_err(failed)?.len();
        if found != self.bytes {
            let (file, expected) = (self.file.clone(), self.bytes);
            return Err(CheckpointError::ShardSize { file, expected, found });
        }
        let size = PIECE as u64;
        let first = range.start / size;
        file.seek(SeekFrom::Start(first * size)).map_err(failed)?;
        let mut buffer = vec![0; PIECE];
        let mut nodes = Vec::new();
        for piece in first..range.end.div_ceil(size) {
            let start = piece * size;
            let within = |at: u64| usize::try_from(at.saturating_sub(start)).unwrap_or(PIECE);
            let buffer = &mut buffer[..within(self.bytes).min(PIECE)];
            file.read_exact(buffer).map_err(failed)?;
            let mut hasher = blake3::Hasher::new();
            nodes.push(hasher.set_input_offset(start).update(buffer).finalize_non_root());
            take(&buffer[within(range.start)..within(range.end).min(buffer.len())]);
        }
        self.note(usize::try_from(first).unwrap_or(usize::MAX), &nodes)
    }

    /// Remembers the nodes of some pieces.
    fn note(&self, first: usize, nodes: &[ChainingValue]) -> Result<(), CheckpointError> {
        let mut known = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        for (known, node) in known[first..].iter_mut().zip(nodes) {
            if known.get_or_insert(*node) != node {
                return Err(CheckpointError::Changed { file: self.file.clone() });
            }
        }
        Ok(())
    }

    /// Reads the pieces that were not read yet, and checks the digest.
    ///
    /// Errors: as for [`Self::read`], and where the digest is another.
    pub(super) fn verify(&self) -> Result<(), CheckpointError> {
        let mut missing = 0..0;
        let known = self.nodes.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (piece, node) in (0_u64..).zip(known.iter().map(Some).chain([None])) {
            if node == Some(&None) {
                missing.end = piece + 1;
                continue;
            }
            let bytes = missing.start * PIECE as u64..self.bytes.min(missing.end * PIECE as u64);
            self.read(bytes, &mut |_| {})?;
            missing = piece + 1..piece + 1;
        }
        let known = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        let nodes: Vec<ChainingValue> = known.iter().flatten().copied().collect();
        let (left, right) = children(&nodes, self.bytes);
        let found = Digest::from(merge_subtrees_root(&left, &right, Mode::Hash));
        if found == self.expected {
            return Ok(());
        }
        let (file, expected) = (self.file.clone(), self.expected);
        Err(CheckpointError::DigestMismatch { file, expected, found })
    }
}

/// The two subtrees under the node over some pieces, which hold so many bytes.
fn children(pieces: &[ChainingValue], bytes: u64) -> (ChainingValue, ChainingValue) {
    let left = left_subtree_len(bytes);
    // A power of two times a chunk, and longer than a piece wherever there are more pieces than one.
    let (of_left, of_right) = pieces.split_at(usize::try_from(left / PIECE as u64).unwrap_or(0));
    (node(of_left, left), node(of_right, bytes - left))
}

fn node(pieces: &[ChainingValue], bytes: u64) -> ChainingValue {
    if let [only] = pieces {
        return *only;
    }
    let (left, right) = children(pieces, bytes);
    merge_subtrees_non_root(&left, &right, Mode::Hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file whose digest is known by the other way, all at once.
    fn file_of(length: usize) -> (tempfile::TempDir, PathBuf, Vec<u8>) {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("shard");
        let bytes: Vec<u8> =
            (0..length).map(|at| u8::try_from(at * at / 7 % 251).expect("a byte")).collect();
        std::fs::write(&file, &bytes).expect("written");
        (folder, file, bytes)
    }

    #[test]
    fn pieces_in_any_order_give_the_digest_of_the_whole() {
        for length in [PIECE + 1, 2 * PIECE, 3 * PIECE + 1025, 7 * PIECE - 1, 9 * PIECE + 1] {
            let (_folder, file, bytes) = file_of(length);
            let pieces = Pieces::new(file, length as u64, Digest::of(&bytes));
            let end = length as u64;
            // Backwards, with a gap, across borders, and some bytes twice.
            for range in [end - 3..end, 65_530..65_537, 5..6, 0..9, end - 3..end - 3] {
                let mut found = Vec::new();
                let [from, to] =
                    [range.start, range.end].map(|at| usize::try_from(at).expect("small"));
                pieces.read(range, &mut |part| found.extend_from_slice(part)).expect("there");
                assert_eq!(found, bytes[from..to]);
            }
            pieces.verify().expect("as written");
        }
    }

    #[test]
    fn a_flipped_bit_and_a_change_meanwhile_are_found() {
        let (_folder, file, mut bytes) = file_of(5 * PIECE);
        let length = bytes.len() as u64;
        let expected = Digest::of(&bytes);
        bytes[3 * PIECE + 17] ^= 4;
        std::fs::write(&file, &bytes).expect("written");
        let pieces = Pieces::new(file.clone(), length, expected);
        pieces.read(0..100, &mut |_| {}).expect("sound so far");
        let error = pieces.verify().expect_err("flipped");
        let CheckpointError::DigestMismatch { found, .. } = error else { panic!("{error}") };
        assert_eq!(found, Digest::of(&bytes));

        bytes[20] ^= 1;
        std::fs::write(&file, &bytes).expect("written");
        let error = pieces.read(90..91, &mut |_| {}).expect_err("it was another");
        assert!(matches!(error, CheckpointError::Changed { .. }), "{error}");
        std::fs::write(&file, &bytes[1..]).expect("written");
        let error = pieces.read(90..91, &mut |_| {}).expect_err("shorter");
        assert!(matches!(error, CheckpointError::ShardSize { .. }), "{error}");
    }
}
