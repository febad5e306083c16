//! A serial port.

#![allow(unsafe_code, reason = "the library gives its descriptor as a number")]

use super::{BytePipe, PipeFraming};
use crate::{Deadline, LinkError, LinkKind, ResetLevel};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use serialport::{SerialPort, TTYPort};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::thread;
use std::time::Duration;

/// A serial port, opened for this process alone and switched to raw bytes.
pub struct SerialPipe {
    path: String,
    baud: u32,
    address: String,
    port: TTYPort,
}

/// Symbols per second where an address names none; USB ports ignore it. Source: *assumed*, the
/// highest rate that common USB bridges share.
pub const BAUD: u32 = 3_000_000;

/// How long a port is watched before the thread sleeps. The far end of a fast line answers within
/// microseconds, and a processor that fell asleep meanwhile takes tens of them to wake, more where it
/// is virtual. A wait on a slow line costs as much processor time, once, and gives way to whoever has
/// work. Source: measured on pseudo-terminals (`docs/performance.md`); shorter ones lose, longer ones
/// gain little.
const WATCH: Duration = Duration::from_micros(50);

/// How long the line is held in break to tell a card to start over.
const BREAK: Duration = Duration::from_millis(2);

impl SerialPipe {
    /// Opens a port.
    ///
    /// Errors: [`LinkError::System`] with the system's error number; `EBUSY` where another process
    /// has the port.
    pub fn open(path: &str, baud: u32) -> Result<Self, LinkError> {
        let address = format!("serial:{path}");
        let port = open_port(path, baud, &address)?;
        Ok(Self { path: path.to_owned(), baud, address, port })
    }

    fn fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the port keeps its descriptor open for as long as it lives, and the result
        // borrows the port.
        unsafe { BorrowedFd::borrow_raw(self.port.as_raw_fd()) }
    }
}

impl Drop for SerialPipe {
    fn drop(&mut self) {
        // The kernel lets what was not sent yet drain before it closes a port, for half a minute
        // where the far end has stopped listening.
        let _ = self.port.clear(serialport::ClearBuffer::All);
    }
}

fn open_port(path: &str, baud: u32, address: &str) -> Result<TTYPort, LinkError> {
    let doing = "opening the port";
    let port = TTYPort::open(&serialport::new(path, baud)).map_err(|error| {
        use serialport::ErrorKind as Kind;
        let errno = match error.kind() {
            // Taken by somebody else: `TIOCEXCL` or the lock.
            Kind::NoDevice => Errno::BUSY,
            Kind::Io(kind) => Errno::from_io_error(&kind.into()).unwrap_or(match kind {
                std::io::ErrorKind::NotFound => Errno::NOENT,
                std::io::ErrorKind::PermissionDenied => Errno::ACCESS,
                _ => Errno::NOTTY,
            }),
            Kind::InvalidInput | Kind::Unknown => Errno::NOTTY,
        };
        LinkError::System { address: address.to_owned(), doing, errno: errno.raw_os_error() }
    })?;
    // SAFETY: the port is open here and outlives the use of the descriptor.
    let fd = unsafe { BorrowedFd::borrow_raw(port.as_raw_fd()) };
    let failed = |errno| LinkError::system(address, doing, errno);
    let flags = fcntl_getfl(fd).map_err(failed)?;
    fcntl_setfl(fd, flags | OFlags::NONBLOCK).map_err(failed)?;
    // What came before the settings took effect may be garbled.
    let _ = port.clear(serialport::ClearBuffer::Input);
    Ok(port)
}

/// Looks again and again for a short time, while others may have the processor; whether something
/// came.
fn watch(ready: &mut [PollFd<'_>], deadline: Deadline) -> Result<bool, Errno> {
    let until = deadline.or_after(WATCH);
    loop {
        if sleep(ready, Duration::ZERO)? {
            return Ok(true);
        }
        if until.passed() {
            return Ok(false);
        }
        thread::yield_now();
    }
}

/// Sleeps until something comes, or so long; whether something came.
fn sleep(ready: &mut [PollFd<'_>], most: Duration) -> Result<bool, Errno> {
    let time = Timespec {
        tv_sec: i64::try_from(most.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: most.subsec_nanos().into(),
    };
    match poll(ready, Some(&time)) {
        Ok(count) => Ok(count > 0),
        Err(Errno::INTR) => Ok(false),
        Err(errno) => Err(errno),
    }
}

impl BytePipe for SerialPipe {
    fn kind(&self) -> LinkKind {
        LinkKind::Serial
    }

    fn address(&self) -> &str {
        &self.address
    }

    fn framing(&self) -> PipeFraming {
        PipeFraming::Delimited
    }

    fn read(&mut self, into: &mut [u8]) -> Result<usize, LinkError> {
        if into.is_empty() {
            return Ok(0);
        }
        match rustix::io::read(self.fd(), into) {
            // A terminal without bytes says "again"; nothing at all means that it was hung up.
            Ok(0) => Err(LinkError::Gone { address: self.address.clone(), doing: "reading" }),
            Ok(bytes) => Ok(bytes),
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            Err(errno) => Err(LinkError::system(&self.address, "reading", errno)),
        }
    }

    fn write(&mut self, bytes: &[u8], _deadline: Deadline) -> Result<usize, LinkError> {
        match rustix::io::write(self.fd(), bytes) {
            Ok(written) => Ok(written),
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            Err(errno) => Err(LinkError::system(&self.address, "writing", errno)),
        }
    }

    fn wait(&mut self, want_write: bool, deadline: Deadline) -> Result<(), LinkError> {
        let wanted = if want_write { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
        let fd = self.fd();
        let mut ready = [PollFd::new(&fd, wanted)];
        let failed = |errno| LinkError::system(&self.address, "waiting", errno);
        if !watch(&mut ready, deadline).map_err(failed)? {
            sleep(&mut ready, deadline.left()).map_err(failed)?;
        }
        let seen = ready[0].revents();
        if seen.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL)
            && !seen.contains(PollFlags::IN)
        {
            return Err(LinkError::Gone { address: self.address.clone(), doing: "waiting" });
        }
        Ok(())
    }

    fn reset(&mut self, level: ResetLevel, deadline: Deadline) -> Result<(), LinkError> {
        let _ = self.port.clear(serialport::ClearBuffer::All);
        match level {
            ResetLevel::Link | ResetLevel::Queue => Ok(()),
            ResetLevel::Function => {
                // Ports without a line, such as pseudo-terminals, take it and do nothing.
                if self.port.set_break().is_ok() {
                    thread::sleep(BREAK.min(deadline.left()));
                    let _ = self.port.clear_break();
                }
                Ok(())
            }
            ResetLevel::Reenumerate => loop {
                // Let go first: a port that came back may have kept its name.
                let _ = self.port.set_exclusive(false);
                match open_port(&self.path, self.baud, &self.address) {
                    Ok(port) => {
                        self.port = port;
                        return Ok(());
                    }
                    Err(_) if deadline.passed() => {
                        let doing = "waiting for it to come back";
                        return Err(LinkError::Gone { address: self.address.clone(), doing });
                    }
                    Err(_) => thread::sleep(deadline.left().min(Duration::from_millis(10))),
                }
            },
        }
    }
}
