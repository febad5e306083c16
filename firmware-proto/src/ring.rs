//! Commands and completions in host memory, as PCI Express cards fetch and write them.
//!
//! The submission ring holds [`DESCRIPTOR_BYTES`] per command, the completion ring
//! [`COMPLETION_BYTES`] per completion; both have the same power-of-two number of entries. Indices
//! run freely over all of `u32`; an entry's place is its index modulo the number of entries.
//!
//! The card writes the first 56 bytes of a completion, then its last eight in one piece. The lowest
//! bit of the ring word among them is the phase: 1 on the first pass over the ring, 0 on the
//! second, and so on. The host zeroes the ring before it enables the queue and needs no register to
//! see that an entry is new.

use crate::command::{HEADER_BYTES, ring_tail, ring_word};
use crate::fields::{bytes_at, put, u64_at};
use crate::{CommandHeader, CompletionHeader, HeaderError};

/// Bytes of one entry of the submission ring.
pub const DESCRIPTOR_BYTES: usize = 128;
/// Bytes of one entry of the completion ring.
pub const COMPLETION_BYTES: usize = HEADER_BYTES;
/// Fewest entries of a ring.
pub const ENTRIES_MIN: u32 = 2;
/// Most entries of a ring.
pub const ENTRIES_MAX: u32 = 1024;
/// Where the eight bytes that are written last begin in a completion entry.
pub const TAIL_AT: usize = 56;

/// One entry of the submission ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// The command.
    pub command: CommandHeader,
    /// Where the card reads the payload: a bus address.
    pub payload_address: u64,
    /// Where the card writes the reply: a bus address.
    pub reply_address: u64,
}

impl Descriptor {
    /// The bytes of the entry.
    pub fn encode(&self) -> [u8; DESCRIPTOR_BYTES] {
        let mut out = [0; DESCRIPTOR_BYTES];
        put(&mut out, 0, &self.command.encode());
        put(&mut out, 64, &self.payload_address.to_le_bytes());
        put(&mut out, 72, &self.reply_address.to_le_bytes());
        out
    }

    /// Reads an entry; bytes that are zero in this version are ignored.
    ///
    /// Errors: [`HeaderError`].
    pub fn decode(bytes: &[u8; DESCRIPTOR_BYTES]) -> Result<Self, HeaderError> {
        Ok(Self {
            command: CommandHeader::decode(&bytes_at(bytes, 0))?,
            payload_address: u64_at(bytes, 64),
            reply_address: u64_at(bytes, 72),
        })
    }
}

/// The shape of a pair of rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingShape {
    entries: u32,
}

impl RingShape {
    /// Rings of `entries` entries; `None` unless it is a power of two within
    /// [`ENTRIES_MIN`]..=[`ENTRIES_MAX`].
    pub const fn new(entries: u32) -> Option<Self> {
        if entries.is_power_of_two() && entries >= ENTRIES_MIN && entries <= ENTRIES_MAX {
            Some(Self { entries })
        } else {
            None
        }
    }

    /// Entries of each ring.
    pub const fn entries(self) -> u32 {
        self.entries
    }

    /// Bytes of the submission ring.
    pub const fn submission_bytes(self) -> usize {
        self.entries as usize * DESCRIPTOR_BYTES
    }

    /// Bytes of the completion ring.
    pub const fn completion_bytes(self) -> usize {
        self.entries as usize * COMPLETION_BYTES
    }

    /// The place of entry `index`.
    pub const fn slot(self, index: u32) -> u32 {
        index & (self.entries - 1)
    }

    /// Byte offset of descriptor `index` in the submission ring.
    pub const fn descriptor_at(self, index: u32) -> u64 {
        self.slot(index) as u64 * DESCRIPTOR_BYTES as u64
    }

    /// Byte offset of completion `index` in the completion ring.
    pub const fn completion_at(self, index: u32) -> u64 {
        self.slot(index) as u64 * COMPLETION_BYTES as u64
    }

    /// The phase of completion `index`: `true` on the first pass and every other one after it.
    pub const fn phase(self, index: u32) -> bool {
        (index / self.entries).is_multiple_of(2)
    }

    /// Entries from `head` up to `tail`; `None` if they do not fit in the ring, so one of the two
    /// is wrong.
    pub const fn pending(self, head: u32, tail: u32) -> Option<u32> {
        let pending = tail.wrapping_sub(head);
        if pending <= self.entries { Some(pending) } else { None }
    }
}

/// A completion as it lies in the ring.
pub struct CompletionEntry;

impl CompletionEntry {
    /// The two pieces of an entry: 56 bytes to write first, and the last eight, little-endian, to
    /// write after them in one piece.
    pub fn encode(completion: &CompletionHeader, phase: bool) -> ([u8; TAIL_AT], u64) {
        let bytes = completion.encode();
        (bytes_at(&bytes, 0), ring_tail(&bytes, u32::from(phase)))
    }

    /// The phase bit of an entry.
    pub fn phase(bytes: &[u8; COMPLETION_BYTES]) -> bool {
        ring_word(bytes) & 1 == 1
    }

    /// The phase bit in the last eight bytes of an entry, read as one little-endian number.
    pub const fn phase_of_tail(tail: u64) -> bool {
        tail & 1 == 1
    }

    /// Reads an entry whose phase says that it is there.
    ///
    /// Errors: [`HeaderError`].
    pub fn decode(bytes: &[u8; COMPLETION_BYTES]) -> Result<CompletionHeader, HeaderError> {
        CompletionHeader::decode(bytes)
    }
}
