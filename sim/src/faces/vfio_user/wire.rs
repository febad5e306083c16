//! The messages of the vfio-user protocol, version 0.0.
//!
//! Source: the protocol's specification in QEMU's documentation, `interop/vfio-user`.

use rustix::io::{Errno, IoSliceMut};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use std::io::{self, Read, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

/// Bytes of the header in front of every message.
const HEADER_BYTES: usize = 16;
/// Most bytes of one message that are taken.
const MESSAGE_MAX: usize = (1 << 20) + 4096;
/// Most file descriptors one message can bear; said to the client.
pub(super) const FDS_MAX: usize = 16;

const REPLY: u32 = 1;
const NO_REPLY: u32 = 1 << 4;
const ERROR: u32 = 1 << 5;

/// A command from the client.
#[derive(Debug)]
pub(super) struct Message {
    id: u16,
    pub(super) command: u16,
    flags: u32,
    pub(super) body: Vec<u8>,
    pub(super) fds: Vec<OwnedFd>,
}

pub(super) const VERSION: u16 = 1;
pub(super) const DMA_MAP: u16 = 2;
pub(super) const DMA_UNMAP: u16 = 3;
pub(super) const DEVICE_GET_INFO: u16 = 4;
pub(super) const DEVICE_GET_REGION_INFO: u16 = 5;
pub(super) const DEVICE_GET_IRQ_INFO: u16 = 7;
pub(super) const DEVICE_SET_IRQS: u16 = 8;
pub(super) const REGION_READ: u16 = 9;
pub(super) const REGION_WRITE: u16 = 10;
pub(super) const DEVICE_RESET: u16 = 13;

/// The next message; `None` where the client has left.
///
/// Errors: what the system says; a message that no client sends.
pub(super) fn receive(stream: &mut UnixStream) -> io::Result<Option<Message>> {
    let mut header = [0; HEADER_BYTES];
    // Descriptors come with the first byte of a message.
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let mut into = [IoSliceMut::new(&mut header)];
        match recvmsg(&*stream, &mut into, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            other => break other?.bytes,
        }
    };
    if received == 0 {
        return Ok(None);
    }
    let mut fds = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    stream.read_exact(&mut header[received..])?;
    let u16_at = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
    let u32_at = |at| u32::from(u16_at(at)) | u32::from(u16_at(at + 2)) << 16;
    let size = usize::try_from(u32_at(4)).unwrap_or(usize::MAX);
    if !(HEADER_BYTES..=MESSAGE_MAX).contains(&size) {
        let what = format!("a message of {size} bytes: this client does not speak vfio-user");
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    let mut body = vec![0; size - HEADER_BYTES];
    stream.read_exact(&mut body)?;
    Ok(Some(Message { id: u16_at(0), command: u16_at(2), flags: u32_at(8), body, fds }))
}

impl Message {
    /// Answers, unless the client wants no answer.
    ///
    /// Errors: what the system says.
    pub(super) fn answer(
        &self,
        stream: &mut UnixStream,
        outcome: Result<&[u8], Errno>,
    ) -> io::Result<()> {
        if self.flags & NO_REPLY != 0 {
            return Ok(());
        }
        let (body, flags, error) = match outcome {
            Ok(body) => (body, REPLY, 0),
            Err(error) => (&[][..], REPLY | ERROR, error.raw_os_error().unsigned_abs()),
        };
        let size = u32::try_from(HEADER_BYTES + body.len()).unwrap_or(u32::MAX);
        let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len());
        bytes.extend_from_slice(&self.id.to_le_bytes());
        bytes.extend_from_slice(&self.command.to_le_bytes());
        for number in [size, flags, error] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(body);
        stream.write_all(&bytes)
    }
}

/// Reads the numbers of a body, one after the other; too short a body is an invalid argument.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    pub(super) rest: &'a [u8],
}

impl Fields<'_> {
    pub(super) fn u16(&mut self) -> Result<u16, Errno> {
        self.take().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Errno> {
        self.take().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Errno> {
        self.take().map(u64::from_le_bytes)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Errno> {
        let (head, rest) = self.rest.split_first_chunk().ok_or(Errno::INVAL)?;
        self.rest = rest;
        Ok(*head)
    }
}

/// A body made of 32-bit numbers.
pub(super) fn words<const N: usize>(numbers: [u32; N]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}
