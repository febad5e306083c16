use crate::pci::ArenaSlice;
use std::fmt;
use std::ops::{Deref, DerefMut};

/// Memory for a payload or a reply: of this process, or of an arena that a card can reach.
///
/// **Invariant:** whoever holds a buffer is alone in using it. A link that has handed memory to a
/// card keeps the buffer until the card is done with it.
pub struct Buffer {
    memory: Memory,
    len: usize,
}

enum Memory {
    Heap(Vec<u8>),
    Arena(ArenaSlice),
}

impl Buffer {
    /// Nothing.
    pub fn empty() -> Self {
        Self::heap(0)
    }

    /// Zeros in this process's memory; `capacity` of them.
    pub fn heap(capacity: usize) -> Self {
        Self { memory: Memory::Heap(vec![0; capacity]), len: capacity }
    }

    /// A copy of bytes in this process's memory.
    pub fn copy_of(bytes: &[u8]) -> Self {
        Self { len: bytes.len(), memory: Memory::Heap(bytes.to_vec()) }
    }

    /// A slice of an arena, all of it; what is in it is whatever was there.
    pub fn arena(slice: ArenaSlice) -> Self {
        Self { len: slice.capacity(), memory: Memory::Arena(slice) }
    }

    /// Most bytes it can hold.
    pub fn capacity(&self) -> usize {
        match &self.memory {
            Memory::Heap(bytes) => bytes.len(),
            Memory::Arena(slice) => slice.capacity(),
        }
    }

    /// Bytes in use.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no byte is in use.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Chooses how many bytes are in use; more than [`Buffer::capacity`] become the capacity.
    pub fn set_len(&mut self, len: usize) {
        self.len = len.min(self.capacity());
    }

    /// The arena slice behind it, if there is one.
    pub(crate) fn slice(&self) -> Option<&ArenaSlice> {
        match &self.memory {
            Memory::Heap(_) => None,
            Memory::Arena(slice) => Some(slice),
        }
    }
}

impl Deref for Buffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        let all = match &self.memory {
            Memory::Heap(bytes) => bytes.as_slice(),
            Memory::Arena(slice) => slice.bytes(),
        };
        all.get(..self.len).unwrap_or(all)
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        let all = match &mut self.memory {
            Memory::Heap(bytes) => bytes.as_mut_slice(),
            Memory::Arena(slice) => slice.bytes_mut(),
        };
        let len = self.len.min(all.len());
        all.get_mut(..len).unwrap_or_default()
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match self.memory {
            Memory::Heap(_) => "heap",
            Memory::Arena(_) => "arena",
        };
        write!(f, "Buffer({place}, {} of {} bytes)", self.len, self.capacity())
    }
}
