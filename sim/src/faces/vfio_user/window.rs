#![expect(unsafe_code, reason = "a word that must arrive in one piece needs shared memory")]

use rustix::fs::{SealFlags, fcntl_get_seals, fstat};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use std::os::fd::OwnedFd;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering};

/// A part of a client's file, mapped for writing.
///
/// **Invariant:** the file is sealed against shrinking and is at least as long as the part.
#[derive(Debug)]
pub(super) struct Window {
    start: NonNull<u8>,
    len: usize,
}

impl Window {
    /// Maps a part of a file; `None` where the system does not, the part begins off a page, or the
    /// client may still cut it off: writing there would end this process.
    pub(super) fn new(file: &OwnedFd, offset: u64, len: u64) -> Option<Self> {
        let is_whole = fcntl_get_seals(file).ok()?.contains(SealFlags::SHRINK);
        let size = u64::try_from(fstat(file).ok()?.st_size).ok()?;
        if !is_whole || offset.checked_add(len)? > size {
            return None;
        }
        let len = usize::try_from(len).ok()?;
        // SAFETY: a new mapping, at a place the system chooses, takes nothing from anybody.
        let start = unsafe {
            mmap(ptr::null_mut(), len, ProtFlags::WRITE, MapFlags::SHARED, file, offset).ok()?
        };
        Some(Self { start: NonNull::new(start.cast())?, len })
    }

    /// Writes a word in one piece, behind all that was written before; false where it does not fit
    /// or would not be one piece.
    pub(super) fn store(&self, at: u64, word: [u8; 8]) -> bool {
        let Ok(inside) = usize::try_from(at) else { return false };
        let fits = inside.checked_add(8).is_some_and(|end| end <= self.len);
        if !fits || !inside.is_multiple_of(8) {
            return false;
        }
        // SAFETY: the eight bytes lie in the mapping, which lives as long as `self`, and aligned,
        // for a mapping begins at a page; the file has them for good, by the invariant. Whoever else looks at them is another process, or the
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
