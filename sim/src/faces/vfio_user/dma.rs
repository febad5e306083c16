//! The client's memory, as it shares it for the card's memory accesses.

use super::window::Window;
use litecore_hal::pci::{Dma, DmaFault};
use rustix::io::{Errno, pread, pwrite};
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

/// Which bus addresses lead to which part of which file.
///
/// Accesses are reads and writes of the shared files and not memory mappings: a client that takes
/// its memory away makes an access fail, where a mapping would end this process. Only single
/// words, which must arrive in one piece, go through a mapping, and only of memory that the client
/// has sealed against shrinking.
#[derive(Debug, Default)]
pub(super) struct SharedMemory {
    maps: BTreeMap<u64, Mapping>,
}

/// Bytes of what a card writes in one piece: the last word of a completion, with its phase bit.
const WORD: usize = 8;

#[derive(Debug)]
pub(super) struct Mapping {
    /// Bytes, at least one.
    pub(super) len: u64,
    /// Where in the file it begins.
    pub(super) offset: u64,
    /// None where the client keeps the memory to itself.
    pub(super) file: Option<OwnedFd>,
    pub(super) readable: bool,
    pub(super) writable: bool,
    /// The same bytes, mapped where that is safe; made when the first word is written.
    pub(super) window: OnceCell<Option<Window>>,
}

impl SharedMemory {
    /// Adds a mapping at a bus address.
    ///
    /// Errors: it is empty, runs over the end of all addresses, or overlaps another.
    pub(super) fn map(&mut self, address: u64, mapping: Mapping) -> Result<(), Errno> {
        let last = mapping.len.checked_sub(1).and_then(|more| address.checked_add(more));
        let last = last.ok_or(Errno::INVAL)?;
        let before = self.maps.range(..=last).next_back();
        if before.is_some_and(|(at, other)| at + (other.len - 1) >= address) {
            return Err(Errno::EXIST);
        }
        self.maps.insert(address, mapping);
        Ok(())
    }

    /// Takes away every mapping that begins within a range.
    pub(super) fn unmap(&mut self, address: u64, len: u64) {
        let last = address.saturating_add(len.saturating_sub(1));
        self.maps.retain(|at, _| *at < address || *at > last);
    }

    /// Takes away all.
    pub(super) fn clear(&mut self) {
        self.maps.clear();
    }

    /// Writes a word in one piece, behind all that was written before it; false where it does not
    /// lie so that one piece is possible.
    fn store_word(&self, address: u64, word: [u8; WORD]) -> bool {
        let Some((at, mapping)) = self.maps.range(..=address).next_back() else { return false };
        let inside = address - at;
        let Some(file) = mapping.file.as_ref().filter(|_| mapping.writable) else { return false };
        let make = || Window::new(file, mapping.offset, mapping.len);
        mapping.window.get_or_init(make).as_ref().is_some_and(|window| window.store(inside, word))
    }

    /// The longest piece from an address on that one mapping holds: mapping, place in its file,
    /// bytes. A memory unit hands over one mapping per page, so accesses are split here.
    fn piece(&self, address: u64, len: usize) -> Result<(&Mapping, u64, usize), DmaFault> {
        let fault = DmaFault { address, len: len as u64 };
        let (at, mapping) = self.maps.range(..=address).next_back().ok_or(fault)?;
        let inside = address - at;
        let left = mapping.len.checked_sub(inside).filter(|left| *left > 0).ok_or(fault)?;
        let bytes = usize::try_from(left).unwrap_or(usize::MAX).min(len);
        let place = mapping.offset.checked_add(inside).ok_or(fault)?;
        Ok((mapping, place, bytes))
    }
}

impl Dma for SharedMemory {
    fn read(&mut self, address: u64, into: &mut [u8]) -> Result<(), DmaFault> {
        let mut done = 0;
        while done < into.len() {
            let from = address.wrapping_add(done as u64);
            let fault = DmaFault { address: from, len: (into.len() - done) as u64 };
            let (mapping, place, bytes) = self.piece(from, into.len() - done)?;
            let file = mapping.file.as_ref().filter(|_| mapping.readable).ok_or(fault)?;
            match pread(file, &mut into[done..done + bytes], place) {
                Ok(0) => return Err(fault),
                Ok(read) => done += read,
                Err(Errno::INTR) => {}
                Err(_) => return Err(fault),
            }
        }
        Ok(())
    }

    fn write(&mut self, address: u64, from: &[u8]) -> Result<(), DmaFault> {
        if let Ok(word) = from.try_into()
            && self.store_word(address, word)
        {
            return Ok(());
        }
        let mut done = 0;
        while done < from.len() {
            let to = address.wrapping_add(done as u64);
            let fault = DmaFault { address: to, len: (from.len() - done) as u64 };
            let (mapping, place, bytes) = self.piece(to, from.len() - done)?;
            let file = mapping.file.as_ref().filter(|_| mapping.writable).ok_or(fault)?;
            match pwrite(file, &from[done..done + bytes], place) {
                Ok(0) => return Err(fault),
                Ok(written) => done += written,
                Err(Errno::INTR) => {}
                Err(_) => return Err(fault),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};

    fn page(offset: u64, readable: bool, writable: bool) -> Mapping {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = memfd_create("test", flags).unwrap();
        ftruncate(&file, offset + 4096).unwrap();
        Mapping { len: 4096, offset, file: Some(file), readable, writable, window: OnceCell::new() }
    }

    fn sealed(offset: u64) -> Mapping {
        let page = page(offset, true, true);
        fcntl_add_seals(page.file.as_ref().unwrap(), SealFlags::SHRINK).unwrap();
        page
    }

    #[test]
    fn accesses_cross_mappings_and_stop_at_holes() {
        let mut memory = SharedMemory::default();
        memory.map(0x1000, page(512, true, true)).unwrap();
        memory.map(0x2000, page(0, true, true)).unwrap();
        let sent: Vec<u8> = (0..=255).collect();
        memory.write(0x1f80, &sent).unwrap();
        let mut back = vec![0; 256];
        memory.read(0x1f80, &mut back).unwrap();
        assert_eq!(back, sent);
        let fault = memory.write(0x2fff, &[1, 2]).unwrap_err();
        assert_eq!(fault, DmaFault { address: 0x3000, len: 1 });
        assert!(memory.read(0xfff, &mut [0]).is_err());
        assert!(memory.read(u64::MAX, &mut [0, 0]).is_err());
        memory.unmap(0x1000, 0x1000);
        assert!(memory.read(0x1000, &mut [0]).is_err());
        memory.read(0x2000, &mut [0]).unwrap();
    }

    #[test]
    fn words_arrive_where_they_are_sent_and_nowhere_else() {
        let mut memory = SharedMemory::default();
        memory.map(0x1000, sealed(4096)).unwrap();
        memory.map(0x2000, page(0, true, true)).unwrap();
        for address in [0x1000, 0x1ff8, 0x1ffc, 0x2003, 0x2008] {
            let word = (address * 0x0101_0101_u64).to_le_bytes();
            memory.write(address, &word).unwrap();
            let mut back = [0; 8];
            memory.read(address, &mut back).unwrap();
            assert_eq!(back, word, "{address:#x}");
        }
        let is_mapped = |at| memory.maps[&at].window.get().is_some_and(Option::is_some);
        assert!(is_mapped(0x1000) && !is_mapped(0x2000), "only what cannot be cut off is mapped");
        for address in [0x2ffc, 0x3000, 0xff8, u64::MAX - 7, u64::MAX - 2] {
            assert!(memory.write(address, &[1; 8]).is_err(), "{address:#x}");
        }
    }

    #[test]
    fn a_word_for_memory_that_was_cut_off_does_not_end_the_process() {
        let mut memory = SharedMemory::default();
        memory.map(0, page(0, true, true)).unwrap();
        memory.write(8, &[1; 8]).unwrap();
        ftruncate(memory.maps[&0].file.as_ref().unwrap(), 0).unwrap();
        memory.write(8, &[2; 8]).unwrap();
        // What the client says is longer than what it has.
        memory.map(0x1_0000, Mapping { len: 8192, ..sealed(0) }).unwrap();
        memory.write(0x1_1000, &[3; 8]).unwrap();
    }

    #[test]
    fn permissions_hold_and_lost_memory_is_a_fault() {
        let mut memory = SharedMemory::default();
        memory.map(0, page(0, true, false)).unwrap();
        assert!(memory.write(0, &[1]).is_err());
        memory.map(0x1000, page(0, false, true)).unwrap();
        assert!(memory.read(0x1000, &mut [0]).is_err());
        let shrunk = page(0, true, true);
        ftruncate(shrunk.file.as_ref().unwrap(), 0).unwrap();
        memory.map(0x2000, shrunk).unwrap();
        assert!(memory.read(0x2000, &mut [0]).is_err());
        memory.write(0x2000, &[1; 8]).unwrap();
    }

    #[test]
    fn mappings_neither_overlap_nor_wrap() {
        let mut memory = SharedMemory::default();
        memory.map(0x1000, page(0, true, true)).unwrap();
        for (address, len) in [(0x1000, 1), (0x1fff, 4096), (0x800, 0x1000), (0, 0x4000)] {
            let mapping = Mapping { len, ..page(0, true, true) };
            assert_eq!(memory.map(address, mapping), Err(Errno::EXIST), "{address:#x}");
        }
        for (address, len) in [(u64::MAX, 2), (0x9000, 0)] {
            let mapping = Mapping { len, ..page(0, true, true) };
            assert_eq!(memory.map(address, mapping), Err(Errno::INVAL), "{address:#x}");
        }
        memory.map(u64::MAX - 4095, page(0, true, true)).unwrap();
    }
}
