//! One pass over a checkpoint of any size, in the memory of single tensors, by many threads.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use safetensors::tensor::Metadata;

use super::error::CheckpointError;
use super::manifest::ShardEntry;
use super::pieces::{PIECE, Pieces};
use super::read::Checkpoint;
use super::shard::{Widening, read_header};
use super::source::Source;
use crate::names::TensorSpec;
use crate::tensor::Tensor;

/// The tensors of a checkpoint, each read from its file when it is asked for; nothing is kept.
///
/// Digests are found out along the way, and stand only at the end: whatever was made of the tensors
/// must be thrown away unless [`Pass::finish`] says that their shards are what the manifest says.
#[derive(Debug)]
pub struct Pass<'c> {
    checkpoint: &'c Checkpoint,
    /// By their place in the manifest.
    shards: Mutex<BTreeMap<usize, Arc<OpenShard>>>,
    /// Memory of tensors that nobody needs any more.
    spare: Mutex<Vec<Vec<f32>>>,
}

impl<'c> Pass<'c> {
    pub(super) fn new(checkpoint: &'c Checkpoint) -> Self {
        Self { checkpoint, shards: Mutex::default(), spare: Mutex::default() }
    }

    /// A tensor, widened to `f32` exactly.
    ///
    /// Errors: those of [`Checkpoint::tensor_f32`].
    pub fn tensor_f32(&self, name: &str) -> Result<Tensor, CheckpointError> {
        let spec = self.checkpoint.config().tensor_spec(name);
        let spec =
            spec.ok_or_else(|| CheckpointError::UnknownTensor { tensor: name.to_owned() })?;
        match self.find(&spec) {
            Ok(Some(tensor)) => Ok(tensor),
            // Small shards, and whatever is wrong: the checked way says what it is.
            Ok(None) => self.checkpoint.tensor_f32(name),
            Err(error) => Err(self.checkpoint.tensor_f32(name).err().unwrap_or(error)),
        }
    }

    /// Takes back tensors that nobody needs any more: their memory serves the next ones.
    ///
    /// Fresh memory costs as much as reading what goes there: the system has to clear it first.
    pub fn give_back(&self, tensors: impl IntoIterator<Item = Tensor>) {
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        spare.extend(tensors.into_iter().map(|tensor| tensor.data));
    }

    /// Reads what no tensor asked for, and checks the digests.
    ///
    /// Errors: the first shard that is not what the manifest says, in its order.
    pub fn finish(self) -> Result<(), CheckpointError> {
        let shards = self.shards.into_inner().unwrap_or_else(PoisonError::into_inner);
        shards.values().try_for_each(|shard| shard.pieces.verify())
    }

    /// Looks for a tensor where its shard's header hints at, then in all shards of its tier, in the
    /// order of the manifest.
    fn find(&self, spec: &TensorSpec) -> Result<Option<Tensor>, CheckpointError> {
        let manifest = &self.checkpoint.manifest;
        let all = manifest.shards.iter().enumerate();
        let of_tier = all.filter(|(_, entry)| manifest.belongs(spec, entry));
        for (index, entry) in self.checkpoint.hint(spec).into_iter().chain(of_tier) {
            let Some(shard) = self.shard(index, entry)? else { return Ok(None) };
            if let Some(tensor) = shard.tensor(spec, &self.spare)? {
                return Ok(Some(tensor));
            }
        }
        Ok(None)
    }

    /// A shard with its header; nothing where it is in memory, or so small that it may be.
    fn shard(
        &self,
        index: usize,
        entry: &ShardEntry,
    ) -> Result<Option<Arc<OpenShard>>, CheckpointError> {
        let source = self.checkpoint.source();
        if source.is_memory() || entry.bytes <= PIECE as u64 {
            return Ok(None);
        }
        // Held while reading the header, so that it is read once.
        let mut shards = self.shards.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shard) = shards.get(&index) {
            return Ok(Some(Arc::clone(shard)));
        }
        let shard = Arc::new(OpenShard::new(source, entry)?);
        shards.insert(index, Arc::clone(&shard));
        Ok(Some(shard))
    }
}

/// A shard of which the header is in memory.
#[derive(Debug)]
struct OpenShard {
    pieces: Pieces,
    header: Metadata,
    /// Where the data starts in the file.
    data_start: u64,
}

impl OpenShard {
    fn new(source: &Source, entry: &ShardEntry) -> Result<Self, CheckpointError> {
        let pieces = Pieces::new(source.shard_file(&entry.path), entry.bytes, entry.digest);
        let mut head = Vec::new();
        pieces.read(0..8, &mut |part| head.extend_from_slice(part))?;
        let length = head.first_chunk().map_or(0, |length| u64::from_le_bytes(*length));
        // A length beyond the file is refused with the header.
        let end = length.saturating_add(8).min(entry.bytes);
        pieces.read(8..end, &mut |part| head.extend_from_slice(part))?;
        match read_header(&head, entry.bytes) {
            Ok((data_start, header)) => Ok(Self { pieces, header, data_start }),
            Err(problem) => {
                let file = pieces.file().to_owned();
                Err(CheckpointError::ShardHeader { file, problem })
            }
        }
    }

    /// A tensor widened to `f32`, or nothing if the shard does not hold it.
    fn tensor(
        &self,
        spec: &TensorSpec,
        spare: &Mutex<Vec<Vec<f32>>>,
    ) -> Result<Option<Tensor>, CheckpointError> {
        let Some(info) = self.header.info(&spec.name) else { return Ok(None) };
        let room = spare.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let file = self.pieces.file();
        let mut widening = Widening::begin(file, spec, info, room.unwrap_or_default())?;
        let (start, end) = info.data_offsets;
        let range = self.data_start + start as u64..self.data_start + end as u64;
        self.pieces.read(range, &mut |part| widening.push(part))?;
        widening.finish().map(Some)
    }
}
