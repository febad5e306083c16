#![expect(unsafe_code, reason = "a word that must arrive in one piece needs shared memory")]

use rustix::fs::fstat;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use std::os::fd::OwnedFd;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering};

/// A part of a client's file, mapped for writing.
#[derive(Debug)]
pub(super) struct Window {
    start: NonNull<u8>,
    len: usize,
    /// Where in the file it begins.
    offset: u64,
}

impl Window {
    /// Maps a part of a file; `None` where the system does not, or the part begins off a page.
    pub(super) fn new(file: &OwnedFd, offset: u64, len: u64) -> Option<Self> {
        let len = usize::try_from(len).ok()?;
        // SAFETY: a new mapping, at a place the system chooses, takes nothing from anybody.
        let start = unsafe {
            mmap(ptr::null_mut(), len, ProtFlags::WRITE, MapFlags::SHARED, file, offset).ok()?
        };
        Some(Self { start: NonNull::new(start.cast())?, len, offset })
    }

    /// Writes a word in one piece, behind all that was written before; false where it does not fit
    /// or would not be one piece.
    pub(super) fn store(&self, file: &OwnedFd, at: u64, word: [u8; 8]) -> bool {
        let Ok(inside) = usize::try_from(at) else { return false };
        let fits = inside.checked_add(8).is_some_and(|end| end <= self.len);
        if !fits || !inside.is_multiple_of(8) {
            return false;
        }
        // Writing where the file has been cut off would end the process.
        let end = self.offset.saturating_add(at).saturating_add(8);
        let size = fstat(file).map_or(0, |found| u64::try_from(found.st_size).unwrap_or(0));
        if end > size {
            return false;
        }
        // SAFETY: the eight bytes lie in the mapping, which lives as long as `self`, and aligned,
        // for a mapping begins at a page. Whoever else looks at them is another process, or the
        // system on behalf of a `read` or `write` here; no reference to them exists.
        let shared = unsafe { AtomicU64::from_ptr(self.start.as_ptr().add(inside).cast()) };
        shared.store(u64::from_ne_bytes(word), Ordering::Release);
        true
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // SAFETY: this is the mapping made in `new`, and nothing points into it any more.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.len) };
    }
}
