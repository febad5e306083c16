//! Writing a checkpoint block by block: what is too large for memory passes through.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use safetensors::tensor::TensorInfo;

use super::MANIFEST;
use super::digest::Digest;
use super::error::WriteError;
use super::manifest::{FileEntry, Manifest, ShardEntry, ShardPath};
use super::temporary::{Temporary, write_flushed};
use super::write::encode_header;
use crate::config::ModelConfig;
use crate::tier::TierId;

/// A tensor of a shard to be written: what its header says.
#[derive(Debug, Clone)]
pub(crate) struct PlannedTensor {
    /// Its name in the checkpoint.
    pub(crate) name: String,
    /// The type of its elements.
    pub(crate) dtype: safetensors::Dtype,
    /// Its shape.
    pub(crate) shape: Vec<usize>,
    /// Its size.
    pub(crate) bytes: u64,
}

/// A checkpoint in the making. Dropped before [`DirWriter::finish`], it leaves nothing behind.
pub(crate) struct DirWriter<'a> {
    target: &'a Path,
    temporary: Temporary,
    shards: Vec<ShardEntry>,
    tokenizer: Option<FileEntry>,
}

/// Takes the data of a shard, tensor after tensor, in blocks.
pub(crate) struct BlockSink {
    path: PathBuf,
    file: BufWriter<File>,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl<'a> DirWriter<'a> {
    /// Begins a checkpoint beside a target that does not exist yet or is empty.
    pub(crate) fn begin(target: &'a Path) -> Result<Self, WriteError> {
        Temporary::refuse_existing(target)?;
        let temporary = Temporary::beside(target)?;
        Ok(Self { target, temporary, shards: Vec::new(), tokenizer: None })
    }

    /// Writes one shard; `fill` hands the data of its tensors to the sink, in order.
    pub(crate) fn shard<E: From<WriteError>>(
        &mut self,
        path: ShardPath,
        tier: Option<&TierId>,
        tensors: &[PlannedTensor],
        fill: impl FnOnce(&mut BlockSink) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut infos = Vec::with_capacity(tensors.len());
        let mut start = 0_usize;
        for tensor in tensors {
            // A shard is far smaller than what a machine addresses: its parts were cut so.
            let end = start.saturating_add(usize::try_from(tensor.bytes).unwrap_or(usize::MAX));
            let (dtype, shape) = (tensor.dtype, tensor.shape.clone());
            let info = TensorInfo { dtype, shape, data_offsets: (start, end) };
            infos.push((tensor.name.clone(), info));
            start = end;
        }
        let unencodable =
            |source| WriteError::Unencodable { file: path.as_str().to_owned(), source };
        let header = encode_header(infos).map_err(unencodable)?;
        let mut sink = BlockSink::create(self.temporary.path.join(path.as_str()))?;
        sink.write(&header)?;
        fill(&mut sink)?;
        let (bytes, digest) = sink.finish()?;
        debug_assert_eq!(bytes, (header.len() + start) as u64, "the data announced");
        self.shards.push(ShardEntry { path, bytes, digest, tier: tier.cloned() });
        Ok(())
    }

    /// Writes the tokenizer's file.
    pub(crate) fn tokenizer(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        let path = ShardPath::of_tokenizer();
        let file = self.temporary.path.join(path.as_str());
        write_flushed(&file, bytes).map_err(|source| WriteError::Unwritable { file, source })?;
        let (length, digest) = (bytes.len() as u64, Digest::of(bytes));
        self.tokenizer = Some(FileEntry { path, bytes: length, digest });
        Ok(())
    }

    /// Writes the manifest and gives the checkpoint its name. Returns the manifest's digest.
    pub(crate) fn finish(
        self,
        model: ModelConfig,
        provenance: BTreeMap<String, String>,
    ) -> Result<Digest, WriteError> {
        let Self { target, temporary, shards, tokenizer } = self;
        let manifest = Manifest { model, shards, tokenizer, provenance };
        let unencodable = |source| WriteError::Unencodable { file: MANIFEST.to_owned(), source };
        let bytes = manifest.to_bytes().map_err(unencodable)?;
        let file = temporary.path.join(MANIFEST);
        write_flushed(&file, &bytes).map_err(|source| WriteError::Unwritable { file, source })?;
        temporary.rename_to(target)?;
        Ok(Digest::of(&bytes))
    }
}

impl BlockSink {
    fn create(path: PathBuf) -> Result<Self, WriteError> {
        let unwritable = |source| WriteError::Unwritable { file: path.clone(), source };
        let file = BufWriter::new(File::create_new(&path).map_err(unwritable)?);
        Ok(Self { path, file, hasher: blake3::Hasher::new(), bytes: 0 })
    }

    /// Takes a block.
    pub(crate) fn write(&mut self, block: &[u8]) -> Result<(), WriteError> {
        self.hasher.update(block);
        self.bytes += block.len() as u64;
        self.file.write_all(block).map_err(|source| self.unwritable(source))
    }

    fn finish(mut self) -> Result<(u64, Digest), WriteError> {
        let flushed = self.file.flush().and_then(|()| self.file.get_ref().sync_all());
        flushed.map_err(|source| self.unwritable(source))?;
        Ok((self.bytes, Digest::from(self.hasher.finalize())))
    }

    fn unwritable(&self, source: std::io::Error) -> WriteError {
        WriteError::Unwritable { file: self.path.clone(), source }
    }
}
