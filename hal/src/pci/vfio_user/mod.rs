//! A PCI function behind a socket that speaks vfio-user.

mod message;

use super::memory::HostMemory;
use super::{Arena, PciBackend};
use crate::{Deadline, LinkError, LinkKind};
use message::{
    DEVICE_IS_PCI, IRQ_MSI, IRQ_MSIX, REGION_BAR0, REGION_CONFIG, Reply, Request, take_reply,
};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType, connect, recv, sendmsg, socket_with,
};
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// A client of a vfio-user server: register accesses are messages, memory and interrupts are file
/// descriptors that the server receives.
pub struct VfioUserFunction {
    path: String,
    address: String,
    socket: OwnedFd,
    interrupt: OwnedFd,
    inbox: Vec<u8>,
    outbox: Vec<u8>,
    next_id: u16,
    limit: Deadline,
    vectors: u32,
    /// Keeps what the server may write to from being given away.
    mapped: Option<Arc<Arena>>,
}

impl VfioUserFunction {
    /// Connects to a server and agrees on the protocol.
    ///
    /// Errors: [`LinkError::System`] with the number of `connect`, [`LinkError::TimedOut`] where
    /// nobody speaks, [`LinkError::Garbage`] where it is not vfio-user or no PCI function.
    pub fn connect(path: &str, deadline: Deadline) -> Result<Self, LinkError> {
        let address = format!("vfio-user:{path}");
        let socket = connected(path, &address)?;
        let interrupt = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|e| LinkError::system(&address, "making an event", e))?;
        let mut function = Self {
            path: path.to_owned(),
            address,
            socket,
            interrupt,
            inbox: Vec::new(),
            outbox: Vec::new(),
            next_id: 0,
            limit: deadline,
            vectors: IRQ_MSIX,
            mapped: None,
        };
        function.greet()?;
        Ok(function)
    }

    fn greet(&mut self) -> Result<(), LinkError> {
        let version = self.ask(&Request::Version, None)?;
        if version.get(..2) != Some(&[0, 0]) {
            return Err(self.garbage("another vfio-user version than 0"));
        }
        let info = self.ask(&Request::DeviceInfo, None)?;
        let flags = info.get(4..8).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes);
        if flags & DEVICE_IS_PCI == 0 {
            return Err(self.garbage("a device that is no PCI function"));
        }
        let count = |body: Vec<u8>| {
            body.get(12..16).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
        };
        let msix = count(self.ask(&Request::IrqInfo { index: IRQ_MSIX }, None)?);
        self.vectors = if msix > 0 { IRQ_MSIX } else { IRQ_MSI };
        Ok(())
    }

    /// Sends a request and returns the body of its reply.
    fn ask(
        &mut self,
        request: &Request<'_>,
        fd: Option<BorrowedFd<'_>>,
    ) -> Result<Vec<u8>, LinkError> {
        let id = self.send(request, false, fd)?;
        let started = Instant::now();
        let mut heard = false;
        loop {
            while let Some(reply) = self.take_reply()? {
                if reply.id != id || !reply.answers {
                    // The late answer to a request that has timed out, or a request of the server.
                    continue;
                }
                return match reply.refused {
                    None => Ok(reply.body),
                    Some(errno) => Err(LinkError::System {
                        address: self.address.clone(),
                        doing: request.doing(),
                        errno: i32::try_from(errno).unwrap_or(0),
                    }),
                };
            }
            // A server that never stops talking does not answer either.
            let talks = !heard || !self.limit.passed();
            heard = true;
            if !talks || !self.receive(request.doing(), self.limit)? {
                let waited_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
                let address = self.address.clone();
                return Err(LinkError::TimedOut { address, doing: request.doing(), waited_ms });
            }
        }
    }

    fn take_reply(&mut self) -> Result<Option<Reply>, LinkError> {
        take_reply(&mut self.inbox).map_err(|what| self.garbage(what))
    }

    fn send(
        &mut self,
        request: &Request<'_>,
        posted: bool,
        fd: Option<BorrowedFd<'_>>,
    ) -> Result<u16, LinkError> {
        self.next_id = self.next_id.wrapping_add(1);
        let id = self.next_id;
        let mut bytes = std::mem::take(&mut self.outbox);
        request.encode(id, posted, &mut bytes);
        let sent = self.send_all(&bytes, fd, request.doing());
        self.outbox = bytes;
        sent.map(|()| id)
    }

    fn send_all(
        &self,
        bytes: &[u8],
        fd: Option<BorrowedFd<'_>>,
        doing: &'static str,
    ) -> Result<(), LinkError> {
        let mut sent = 0;
        while let Some(rest) = bytes.get(sent..).filter(|rest| !rest.is_empty()) {
            let fds: Vec<_> = fd.into_iter().filter(|_| sent == 0).collect();
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !fds.is_empty() {
                control.push(SendAncillaryMessage::ScmRights(&fds));
            }
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            match sendmsg(&self.socket, &[IoSlice::new(rest)], &mut control, flags) {
                Ok(more) => sent += more,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    let mut ready = [PollFd::new(&self.socket, PollFlags::OUT)];
                    if !wait(&mut ready, self.limit, &self.address)? {
                        let address = self.address.clone();
                        return Err(LinkError::TimedOut { address, doing, waited_ms: 0 });
                    }
                }
                Err(errno) => return Err(LinkError::system(&self.address, doing, errno)),
            }
        }
        Ok(())
    }

    /// Takes in what the server has sent; `false` when nothing came by `deadline`.
    fn receive(&mut self, doing: &'static str, deadline: Deadline) -> Result<bool, LinkError> {
        let mut piece = [0_u8; 4096];
        loop {
            match recv(&self.socket, &mut piece, RecvFlags::DONTWAIT) {
                Ok((_, 0)) => {
                    return Err(LinkError::Gone { address: self.address.clone(), doing });
                }
                Ok((_, bytes)) => {
                    self.inbox.extend_from_slice(&piece[..bytes.min(piece.len())]);
                    return Ok(true);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    let mut ready = [PollFd::new(&self.socket, PollFlags::IN)];
                    if !wait(&mut ready, deadline, &self.address)? {
                        return Ok(false);
                    }
                }
                Err(errno) => return Err(LinkError::system(&self.address, doing, errno)),
            }
        }
    }

    fn garbage(&self, what: &'static str) -> LinkError {
        LinkError::Garbage { address: self.address.clone(), what }
    }
}

impl PciBackend for VfioUserFunction {
    fn kind(&self) -> LinkKind {
        LinkKind::VfioUser
    }

    fn address(&self) -> &str {
        &self.address
    }

    fn limit(&mut self, deadline: Deadline) {
        self.limit = deadline;
    }

    fn config_read(&mut self, offset: u16, into: &mut [u8]) -> Result<(), LinkError> {
        self.read_region(REGION_CONFIG, u64::from(offset), into)
    }

    fn config_write(&mut self, offset: u16, from: &[u8]) -> Result<(), LinkError> {
        let offset = u64::from(offset);
        let request = Request::Write { region: REGION_CONFIG, offset, bytes: from };
        self.ask(&request, None).map(drop)
    }

    fn read32(&mut self, offset: u64) -> Result<u32, LinkError> {
        let mut bytes = [0; 4];
        self.read_region(REGION_BAR0, offset, &mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    /// Posted: nobody waits for the server to have done it.
    fn write32(&mut self, offset: u64, value: u32) -> Result<(), LinkError> {
        let bytes = value.to_le_bytes();
        self.send(&Request::Write { region: REGION_BAR0, offset, bytes: &bytes }, true, None)?;
        Ok(())
    }

    fn memory(&self, len: usize) -> Result<HostMemory, LinkError> {
        HostMemory::shared(&self.address, len)
    }

    fn map(&mut self, arena: &Arc<Arena>) -> Result<(), LinkError> {
        let (address, len) = (arena.bus_address(), arena.memory().len() as u64);
        let fd = arena.memory().fd().ok_or_else(|| self.garbage("memory that is not shared"))?;
        self.ask(&Request::MapMemory { address, len }, Some(fd))?;
        self.mapped = Some(Arc::clone(arena));
        Ok(())
    }

    fn enable(&mut self) -> Result<(), LinkError> {
        let interrupt = self
            .interrupt
            .try_clone()
            .map_err(|_| self.garbage("no room for another file descriptor"))?;
        let request = Request::SetInterrupts { index: self.vectors, count: 1 };
        self.ask(&request, Some(interrupt.as_fd()))?;
        // Memory space and bus mastering on.
        self.config_write(0x04, &[0x06, 0x00])
    }

    fn wait_interrupt(&mut self, deadline: Deadline) -> Result<bool, LinkError> {
        loop {
            let mut count = [0_u8; 8];
            match rustix::io::read(&self.interrupt, &mut count) {
                Ok(_) => return Ok(true),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(errno) => {
                    return Err(LinkError::system(&self.address, "taking an interrupt", errno));
                }
            }
            let mut ready = [
                PollFd::new(&self.interrupt, PollFlags::IN),
                PollFd::new(&self.socket, PollFlags::IN),
            ];
            if !wait(&mut ready, deadline, &self.address)? {
                return Ok(false);
            }
            let spoken = !ready[1].revents().is_empty();
            if spoken {
                // A late reply, or the end of the connection.
                self.receive("waiting for a completion", Deadline::now())?;
                while self.take_reply()?.is_some() {}
                if deadline.passed() {
                    return Ok(false);
                }
            }
        }
    }

    fn silence(&mut self) -> Result<(), LinkError> {
        self.config_write(0x04, &[0x02, 0x00])
    }

    fn reset(&mut self, deadline: Deadline) -> Result<(), LinkError> {
        self.limit = deadline;
        self.ask(&Request::Reset, None).map(drop)
    }

    fn reopen(&mut self, deadline: Deadline) -> Result<(), LinkError> {
        // The old connection must be closed first: a server has one client at a time.
        let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
        self.mapped = None;
        self.inbox.clear();
        self.limit = deadline;
        let mut pause = Duration::from_millis(1);
        loop {
            let patience = deadline.or_after(Duration::from_millis(500));
            let again = Self::connect(&self.path, patience);
            match again {
                Ok(function) => {
                    *self = function;
                    self.limit = deadline;
                    return Ok(());
                }
                Err(error) if deadline.left() <= pause => return Err(gone(error)),
                Err(_) => thread::sleep(pause),
            }
            pause = (pause * 2).min(Duration::from_millis(100));
        }
    }
}

impl VfioUserFunction {
    fn read_region(&mut self, region: u32, offset: u64, into: &mut [u8]) -> Result<(), LinkError> {
        let len = u32::try_from(into.len()).unwrap_or(u32::MAX);
        let body = self.ask(&Request::Read { region, offset, len }, None)?;
        let bytes = body.get(16..).filter(|bytes| bytes.len() == into.len());
        into.copy_from_slice(bytes.ok_or_else(|| self.garbage("a read of another length"))?);
        Ok(())
    }
}

/// Nobody listens any more: for a link that was open, that is a card that is gone.
fn gone(error: LinkError) -> LinkError {
    match error {
        LinkError::System { address, .. } => {
            LinkError::Gone { address, doing: "waiting for it to come back" }
        }
        other => other,
    }
}

fn connected(path: &str, address: &str) -> Result<OwnedFd, LinkError> {
    let failed = |e| LinkError::system(address, "connecting", e);
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket =
        socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).map_err(failed)?;
    let to = SocketAddrUnix::new(path).map_err(failed)?;
    connect(&socket, &to).map_err(failed)?;
    Ok(socket)
}

/// `false` when nothing was ready by `deadline`.
fn wait(ready: &mut [PollFd<'_>], deadline: Deadline, address: &str) -> Result<bool, LinkError> {
    loop {
        let left = deadline.left();
        let time = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        match poll(ready, Some(&time)) {
            Ok(count) => return Ok(count > 0),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(LinkError::system(address, "waiting", errno)),
        }
    }
}
