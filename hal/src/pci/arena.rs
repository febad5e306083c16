#![allow(unsafe_code, reason = "memory shared with a card is reached by address")]

use super::function::DmaFault;
use super::memory::HostMemory;
use std::collections::BTreeMap;
use std::ptr;
use std::slice;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Slices begin at multiples of this, a cache line. Source: x86-64, and at least that on aarch64.
const ALIGNMENT: usize = 64;

/// Host memory shared with a card, mapped for it once, and handed out in slices.
///
/// **Invariant:** a byte is either in one [`ArenaSlice`] or free. A slice that is *lent* to the card
/// is read and written by the card alone until it is taken back.
pub struct Arena {
    memory: HostMemory,
    bus_address: u64,
    books: Mutex<Books>,
}

#[derive(Default)]
struct Books {
    /// Free ranges: start and length; neighbors are merged.
    free: BTreeMap<usize, usize>,
    /// Ranges the card may touch: start and length.
    lent: BTreeMap<usize, usize>,
}

impl Arena {
    /// An arena over all of `memory`, which the card sees from `bus_address` on.
    pub fn new(memory: HostMemory, bus_address: u64) -> Arc<Self> {
        let mut books = Books::default();
        books.free.insert(0, memory.len());
        Arc::new(Self { memory, bus_address, books: Mutex::new(books) })
    }

    /// The memory itself.
    pub fn memory(&self) -> &HostMemory {
        &self.memory
    }

    /// Where the card sees its first byte.
    pub fn bus_address(&self) -> u64 {
        self.bus_address
    }

    /// A slice of at least `capacity` bytes; `None` where no free range is that long.
    pub fn slice(self: &Arc<Self>, capacity: usize) -> Option<ArenaSlice> {
        let rounded = capacity.max(1).checked_next_multiple_of(ALIGNMENT)?;
        let mut books = self.books();
        let (&start, &len) = books.free.iter().find(|(_, len)| **len >= rounded)?;
        books.free.remove(&start);
        if len > rounded {
            books.free.insert(start + rounded, len - rounded);
        }
        drop(books);
        Some(ArenaSlice { arena: Arc::clone(self), start, rounded, capacity })
    }

    /// Free bytes, in however many pieces.
    pub fn free_bytes(&self) -> usize {
        self.books().free.values().sum()
    }

    /// Bytes the card may touch at present.
    pub fn lent_bytes(&self) -> usize {
        self.books().lent.values().sum()
    }

    /// Copies out of lent memory, for a card within this process.
    ///
    /// Errors: [`DmaFault`] where any byte is not lent.
    pub(super) fn card_reads(&self, address: u64, into: &mut [u8]) -> Result<(), DmaFault> {
        let from = self.lent_at(address, into.len() as u64)?;
        // SAFETY: the range is inside the mapping and lent, so no reference to it exists; `into`
        // is another allocation.
        unsafe { ptr::copy_nonoverlapping(from, into.as_mut_ptr(), into.len()) };
        Ok(())
    }

    /// Copies into lent memory, for a card within this process.
    ///
    /// Errors: [`DmaFault`] where any byte is not lent.
    pub(super) fn card_writes(&self, address: u64, from: &[u8]) -> Result<(), DmaFault> {
        let to = self.lent_at(address, from.len() as u64)?;
        #[expect(clippy::cast_ptr_alignment, reason = "checked on the next line")]
        let whole = to.cast::<u64>();
        if let Ok(word) = <[u8; 8]>::try_from(from)
            && whole.is_aligned()
        {
            // SAFETY: as in `card_reads`, and aligned: eight bytes are written in one piece.
            let target = unsafe { AtomicU64::from_ptr(whole) };
            target.store(u64::from_ne_bytes(word), Ordering::Release);
            return Ok(());
        }
        // SAFETY: as in `card_reads`.
        unsafe { ptr::copy_nonoverlapping(from.as_ptr(), to, from.len()) };
        Ok(())
    }

    /// Copies between lent ranges, for a card within this process.
    ///
    /// Errors: [`DmaFault`] where any byte is not lent.
    pub(super) fn card_copies(&self, from: u64, to: u64, len: u64) -> Result<(), DmaFault> {
        let source = self.lent_at(from, len)?;
        let target = self.lent_at(to, len)?;
        let len = usize::try_from(len).map_err(|_| DmaFault { address: from, len })?;
        // SAFETY: both ranges are inside the mapping and lent, so no reference to either exists;
        // `copy` allows them to overlap.
        unsafe { ptr::copy(source, target, len) };
        Ok(())
    }

    fn lent_at(&self, address: u64, len: u64) -> Result<*mut u8, DmaFault> {
        let fault = DmaFault { address, len };
        let offset = address
            .checked_sub(self.bus_address)
            .and_then(|offset| usize::try_from(offset).ok())
            .ok_or(fault)?;
        let len = usize::try_from(len).map_err(|_| fault)?;
        let end = offset.checked_add(len).ok_or(fault)?;
        let books = self.books();
        let inside = books
            .lent
            .range(..=offset)
            .next_back()
            .is_some_and(|(start, lent)| end <= start + lent);
        drop(books);
        if !inside {
            return Err(fault);
        }
        // SAFETY: lent ranges lie inside the mapping.
        Ok(unsafe { self.memory.as_ptr().add(offset) })
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        // The books are consistent at every point where a holder could have panicked.
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A piece of an [`Arena`]; back in the arena when dropped.
pub struct ArenaSlice {
    arena: Arc<Arena>,
    start: usize,
    rounded: usize,
    capacity: usize,
}

impl ArenaSlice {
    /// Where the card sees its first byte.
    pub fn bus_address(&self) -> u64 {
        self.arena.bus_address + self.start as u64
    }

    /// Bytes.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Whether it is a piece of `arena`.
    pub(super) fn is_of(&self, arena: &Arc<Arena>) -> bool {
        Arc::ptr_eq(&self.arena, arena)
    }

    /// Lets the card touch it. Whoever calls this makes no reference to its bytes until
    /// [`ArenaSlice::take_back`].
    pub(super) fn lend(&self) {
        self.arena.books().lent.insert(self.start, self.rounded);
    }

    /// The card is done with it.
    pub(super) fn take_back(&self) {
        self.arena.books().lent.remove(&self.start);
    }

    /// The bytes, for reading.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: the range is inside the mapping and belongs to this slice alone; links lend a
        // slice only while they own it and make no references to it then.
        unsafe { slice::from_raw_parts(self.as_ptr(), self.capacity) }
    }

    /// The bytes, for writing.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and `self` is borrowed alone.
        unsafe { slice::from_raw_parts_mut(self.as_ptr(), self.capacity) }
    }

    /// Writes bytes at a position of a lent slice; positions beyond its end are left alone.
    pub(super) fn put(&self, at: usize, bytes: &[u8]) {
        if at.checked_add(bytes.len()).is_some_and(|end| end <= self.rounded) {
            // SAFETY: the range is inside the slice, to which no reference exists while it is lent.
            unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.as_ptr().add(at), bytes.len()) };
        }
    }

    /// Reads bytes at a position of a lent slice; positions beyond its end read as zero.
    pub(super) fn get<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut bytes = [0; N];
        if at.checked_add(N).is_some_and(|end| end <= self.rounded) {
            // SAFETY: as in `put`. A card that writes meanwhile gives bytes whose checksum fails.
            unsafe { ptr::copy_nonoverlapping(self.as_ptr().add(at), bytes.as_mut_ptr(), N) };
        }
        bytes
    }

    /// Reads eight bytes that the card writes in one piece, and all it wrote before them; `at` is
    /// a multiple of eight inside the slice, else it reads as zero.
    pub(super) fn load64(&self, at: usize) -> u64 {
        let inside = at.checked_add(8).is_some_and(|end| end <= self.rounded);
        if !inside || !at.is_multiple_of(8) {
            return 0;
        }
        // SAFETY: inside the slice, which begins at a multiple of 64, so it is aligned; all
        // accesses to a lent slice are atomic, or to other bytes, or checked.
        let word = unsafe { AtomicU64::from_ptr(self.as_ptr().add(at).cast()) };
        u64::from_le(word.load(Ordering::Acquire))
    }

    /// Zeroes a slice that the card does not touch at present.
    pub(super) fn zero(&self) {
        // SAFETY: the whole slice, to which no reference exists.
        unsafe { ptr::write_bytes(self.as_ptr(), 0, self.rounded) };
    }

    fn as_ptr(&self) -> *mut u8 {
        // SAFETY: slices lie inside the mapping.
        unsafe { self.arena.memory.as_ptr().add(self.start) }
    }
}

impl Drop for ArenaSlice {
    fn drop(&mut self) {
        let mut books = self.arena.books();
        books.lent.remove(&self.start);
        let (mut start, mut len) = (self.start, self.rounded);
        if let Some(after) = books.free.remove(&(start + len)) {
            len += after;
        }
        let before = books.free.range(..start).next_back().map(|(s, l)| (*s, *l));
        if let Some((before, before_len)) = before
            && before + before_len == start
        {
            start = before;
            len += before_len;
        }
        books.free.insert(start, len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pci::memory::HUGE_PAGE;
    use proptest::prelude::*;

    fn arena() -> Arc<Arena> {
        Arena::new(HostMemory::private("test", HUGE_PAGE).unwrap(), 0x1000)
    }

    #[test]
    fn slices_come_back_whole_whatever_the_order() {
        let arena = arena();
        let slices: Vec<_> = (0..5).map(|i| arena.slice(100 + i).unwrap()).collect();
        assert_eq!(arena.free_bytes(), HUGE_PAGE - 5 * 128);
        let mut slices: Vec<_> = slices.into_iter().map(Some).collect();
        for at in [1, 3, 0, 4, 2] {
            slices[at] = None;
        }
        assert_eq!(arena.slice(HUGE_PAGE).unwrap().capacity(), HUGE_PAGE, "merged into one range");
        assert!(arena.slice(HUGE_PAGE + 1).is_none());
        assert!(arena.slice(usize::MAX).is_none());
    }

    #[test]
    fn a_card_reaches_what_is_lent_and_nothing_else() {
        let arena = arena();
        let (mut a, b) = (arena.slice(64).unwrap(), arena.slice(64).unwrap());
        a.bytes_mut().copy_from_slice(&[7; 64]);
        let mut seen = [0; 64];
        let fault = DmaFault { address: a.bus_address(), len: 64 };
        assert_eq!(arena.card_reads(a.bus_address(), &mut seen), Err(fault));
        a.lend();
        b.lend();
        assert_eq!(arena.lent_bytes(), 128);
        arena.card_reads(a.bus_address(), &mut seen).unwrap();
        assert_eq!(seen, [7; 64]);
        arena.card_copies(a.bus_address(), b.bus_address(), 64).unwrap();
        arena.card_writes(b.bus_address() + 63, &[9]).unwrap();
        for (address, len) in [(0, 1), (a.bus_address() + 1, 64), (u64::MAX, 2), (0x1000, u64::MAX)]
        {
            assert!(arena.card_copies(address, b.bus_address(), len).is_err(), "{address} {len}");
        }
        b.take_back();
        assert!(arena.card_writes(b.bus_address(), &[1]).is_err());
        assert_eq!(b.bytes()[..3], [7; 3]);
        assert_eq!(b.bytes()[63], 9);
        drop(a);
        assert_eq!(arena.lent_bytes(), 0, "a slice that is given back is no longer lent");
    }

    proptest! {
        #[test]
        fn slices_never_overlap_and_all_come_back(sizes in prop::collection::vec(1_usize..5000, 1..60)) {
            let arena = arena();
            let mut held: Vec<ArenaSlice> = Vec::new();
            for (turn, size) in sizes.into_iter().enumerate() {
                if turn % 3 == 2 && !held.is_empty() {
                    held.remove(size % held.len());
                }
                held.extend(arena.slice(size));
                let mut ranges: Vec<_> = held.iter().map(|s| (s.start, s.start + s.rounded)).collect();
                ranges.sort_unstable();
                prop_assert!(ranges.windows(2).all(|pair| pair[0].1 <= pair[1].0));
            }
            drop(held);
            prop_assert_eq!(arena.free_bytes(), HUGE_PAGE);
        }
    }
}
