#![allow(unsafe_code, reason = "mappings are made and ended by address")]

use crate::LinkError;
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr;

/// Bytes of a huge page. Source: x86-64 and aarch64 with 4 KiB base pages.
pub const HUGE_PAGE: usize = 2 << 20;

/// Host memory that a card may reach: page-aligned, mapped once, zero at first.
pub struct HostMemory {
    address: *mut u8,
    len: usize,
    fd: Option<OwnedFd>,
    huge: bool,
}

// SAFETY: it owns its mapping; all access to the bytes goes through `ArenaSlice`, which hands each
// byte to one holder at a time, or through raw copies that make no references.
unsafe impl Send for HostMemory {}
// SAFETY: as above; the struct's own fields never change.
unsafe impl Sync for HostMemory {}

impl HostMemory {
    /// Memory of this process alone, in huge pages where the system has any to give: then the
    /// card's memory unit needs one entry for all of it.
    ///
    /// `len` is rounded up to whole huge pages.
    ///
    /// Errors: [`LinkError::System`].
    pub fn private(address: &str, len: usize) -> Result<Self, LinkError> {
        let len = len.next_multiple_of(HUGE_PAGE);
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let map = |flags| {
            // SAFETY: a new anonymous mapping at an address the kernel chooses touches no other.
            unsafe { rustix::mm::mmap_anonymous(ptr::null_mut(), len, protection, flags) }
        };
        let flags = MapFlags::PRIVATE | MapFlags::POPULATE;
        let (mapped, huge) = match map(flags | MapFlags::HUGETLB) {
            Ok(mapped) => (mapped, true),
            Err(_) => (map(flags).map_err(|e| mapping_failed(address, e))?, false),
        };
        Ok(Self { address: mapped.cast(), len, fd: None, huge })
    }

    /// Memory that another process can map too, through [`HostMemory::fd`].
    ///
    /// `len` is rounded up to whole huge pages.
    ///
    /// Errors: [`LinkError::System`].
    pub fn shared(address: &str, len: usize) -> Result<Self, LinkError> {
        let len = len.next_multiple_of(HUGE_PAGE);
        let failed = |e| mapping_failed(address, e);
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let fd = rustix::fs::memfd_create("litecore-arena", flags).map_err(failed)?;
        rustix::fs::ftruncate(&fd, len as u64).map_err(failed)?;
        // Whoever maps it may rely on its length.
        rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::SEAL).map_err(failed)?;
        // SAFETY: a new mapping at an address the kernel chooses touches no other; the file is
        // sealed against shrinking.
        let mapped = unsafe {
            rustix::mm::mmap(
                ptr::null_mut(),
                len,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED | MapFlags::POPULATE,
                &fd,
                0,
            )
        };
        let mapped = mapped.map_err(failed)?;
        Ok(Self { address: mapped.cast(), len, fd: Some(fd), huge: false })
    }

    /// Bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no bytes; it always has some.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether it is in huge pages.
    pub fn is_huge(&self) -> bool {
        self.huge
    }

    /// The file behind shared memory.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.fd.as_ref().map(AsFd::as_fd)
    }

    /// The first byte. Bytes up to [`HostMemory::len`] may be reached from it.
    pub fn as_ptr(&self) -> *mut u8 {
        self.address
    }
}

impl Drop for HostMemory {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by this struct with this length, and everyone who reaches
        // into it holds a counted reference to the struct. It cannot fail for a valid mapping.
        let _ = unsafe { rustix::mm::munmap(self.address.cast(), self.len) };
    }
}

fn mapping_failed(address: &str, errno: rustix::io::Errno) -> LinkError {
    LinkError::system(address, "reserving memory for the card", errno)
}
