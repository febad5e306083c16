//! Copying tensors block by block, looking at every element on the way.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use half::{bf16, f16};
use safetensors::Dtype;

use super::error::ImportError;
use super::shards::{Directory, Located};
use crate::checkpoint::BlockSink;

/// Bytes in memory at a time; a multiple of every element's size.
const BLOCK: usize = 1 << 20;

/// Reads tensors of a directory, keeping one shard open.
#[derive(Debug)]
pub(super) struct Copier<'d> {
    directory: &'d Directory,
    open: Option<(usize, File)>,
    block: Vec<u8>,
}

impl<'d> Copier<'d> {
    pub(super) fn new(directory: &'d Directory) -> Self {
        Self { directory, open: None, block: vec![0; BLOCK] }
    }

    /// Copies a tensor's data; `copied` is told the bytes of every block.
    pub(super) fn copy(
        &mut self,
        name: &str,
        tensor: &Located,
        sink: &mut BlockSink,
        copied: &mut dyn FnMut(u64),
    ) -> Result<(), ImportError> {
        let path = &self.directory.shards[tensor.shard];
        let unreadable = |source| ImportError::Unreadable { file: path.clone(), source };
        let file = match &mut self.open {
            Some((shard, file)) if *shard == tensor.shard => file,
            open => &mut open.insert((tensor.shard, File::open(path).map_err(unreadable)?)).1,
        };
        file.seek(SeekFrom::Start(tensor.start)).map_err(unreadable)?;
        let mut done = 0;
        while done < tensor.bytes {
            let rest = usize::try_from(tensor.bytes - done).unwrap_or(usize::MAX);
            let block = &mut self.block[..rest.min(BLOCK)];
            file.read_exact(block).map_err(unreadable)?;
            if let Some((index, value)) = first_non_finite(tensor.dtype, block) {
                let index = done / (tensor.dtype.bitsize() as u64 / 8) + index as u64;
                let (file, tensor) = (path.clone(), name.to_owned());
                return Err(ImportError::NonFinite { file, tensor, index, value });
            }
            sink.write(block)?;
            done += block.len() as u64;
            copied(block.len() as u64);
        }
        Ok(())
    }
}

/// The types that are imported.
pub(super) fn is_imported(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F32 | Dtype::BF16 | Dtype::F16)
}

/// The first element whose exponent is all ones, and its value.
fn first_non_finite(dtype: Dtype, block: &[u8]) -> Option<(usize, f32)> {
    let (words, _) = block.as_chunks::<4>();
    let (halves, _) = block.as_chunks::<2>();
    let half_with = |mask: u16| {
        // Without an early end, so that many are looked at together; the block is then searched.
        let full = |half: &[u8; 2]| u16::from_le_bytes(*half) & mask == mask;
        let any = halves.iter().fold(false, |any, half| any | full(half));
        if any { halves.iter().position(full) } else { None }
    };
    match dtype {
        Dtype::F32 => {
            const MASK: u32 = 0x7f80_0000;
            let full = |word: &[u8; 4]| u32::from_le_bytes(*word) & MASK == MASK;
            let any = words.iter().fold(false, |any, word| any | full(word));
            let index = if any { words.iter().position(full) } else { None }?;
            Some((index, f32::from_le_bytes(words[index])))
        }
        Dtype::BF16 => {
            let index = half_with(0x7f80)?;
            Some((index, bf16::from_le_bytes(halves[index]).to_f32()))
        }
        Dtype::F16 => {
            let index = half_with(0x7c00)?;
            Some((index, f16::from_le_bytes(halves[index]).to_f32()))
        }
        _ => None,
    }
}
