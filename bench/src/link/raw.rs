//! The references: what a socket, a terminal and an event cost by themselves.

use super::LinkBenchError;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::fs::{Mode, OFlags, fcntl_getfl, fcntl_setfl, open};
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;

/// A card behind a socket that can do one thing: on a doorbell message fetch a descriptor, copy 64
/// bytes, write a status, raise an event, and answer the message.
pub(super) struct LeastCard {
    socket: UnixStream,
    event: OwnedFd,
    memory: Arc<[AtomicU64]>,
    tail: u32,
}

/// Bytes of a vfio-user message that writes one 32-bit register, and of its answer.
const WRITE_BYTES: usize = 36;
const ANSWER_BYTES: usize = 32;
/// Words of memory: 64 descriptors of four words, then eight words each of input and output.
const INPUT: usize = 256;
const OUTPUT: usize = 264;

impl LeastCard {
    pub(super) fn start() -> Result<Self, LinkBenchError> {
        let (near, mut far) = UnixStream::pair()?;
        let event = eventfd(0, EventfdFlags::CLOEXEC).map_err(std::io::Error::from)?;
        let raised = event.try_clone()?;
        let memory: Arc<[AtomicU64]> = (0..512).map(AtomicU64::new).collect();
        let its = Arc::clone(&memory);
        thread::spawn(move || {
            let (mut message, mut head) = ([0; WRITE_BYTES], 0_u32);
            while far.read_exact(&mut message).is_ok() {
                let [.., a, b, c, d] = message;
                while head != u32::from_le_bytes([a, b, c, d]) {
                    let at = (head % 64) as usize * 4;
                    let word = |i: usize| {
                        usize::try_from(its[at + i].load(Ordering::Relaxed)).unwrap_or(0)
                    };
                    for i in 0..8 {
                        let value = its[word(0) + i].load(Ordering::Relaxed);
                        its[word(1) + i].store(value, Ordering::Relaxed);
                    }
                    its[at + 3].store(1, Ordering::Release);
                    head = head.wrapping_add(1);
                }
                let _ = rustix::io::write(&raised, &1_u64.to_ne_bytes());
                if far.write_all(&[0; ANSWER_BYTES]).is_err() {
                    break;
                }
            }
        });
        Ok(Self { socket: near, event, memory, tail: 0 })
    }

    /// One descriptor, from doorbell to event.
    pub(super) fn once(&mut self) -> Result<(), LinkBenchError> {
        let at = (self.tail % 64) as usize * 4;
        for (i, value) in [INPUT as u64, OUTPUT as u64, 64, 0].into_iter().enumerate() {
            self.memory[at + i].store(value, Ordering::Relaxed);
        }
        self.tail = self.tail.wrapping_add(1);
        let mut message = [0; WRITE_BYTES];
        message[32..].copy_from_slice(&self.tail.to_le_bytes());
        self.socket.write_all(&message)?;
        self.socket.read_exact(&mut [0; ANSWER_BYTES])?;
        rustix::io::read(&self.event, &mut [0; 8]).map_err(std::io::Error::from)?;
        if self.memory[at + 3].load(Ordering::Acquire) == 1 {
            Ok(())
        } else {
            Err(LinkBenchError::NotUp)
        }
    }
}

/// A pseudo-terminal without framing, driven as it must be by whoever keeps deadlines: nothing
/// blocks but `poll(2)`. The far end counts what comes and says when all of it is there.
pub(super) struct BareTerminal {
    near: OwnedFd,
    expected: mpsc::Sender<usize>,
}

impl BareTerminal {
    pub(super) fn start() -> Result<Self, LinkBenchError> {
        let (far, near) = terminal().map_err(std::io::Error::from)?;
        let (expected, orders) = mpsc::channel::<usize>();
        thread::spawn(move || {
            let mut bytes = vec![0; 64 << 10];
            for expected in orders {
                let mut came = 0;
                while came < expected {
                    match ready(&far, PollFlags::IN).and_then(|()| read(&far, &mut bytes)) {
                        Ok(len) => came += len,
                        Err(Errno::AGAIN) => {}
                        Err(_) => return,
                    }
                }
                if rustix::io::write(&far, &[1]).is_err() {
                    return;
                }
            }
        });
        Ok(Self { near, expected })
    }

    /// Sends bytes until the far end has them all.
    pub(super) fn send(&mut self, bytes: usize) -> Result<(), LinkBenchError> {
        self.expected.send(bytes).map_err(|_| LinkBenchError::NotUp)?;
        let out = vec![0x5a_u8; 64 << 10];
        let mut sent = 0;
        loop {
            let all = sent == bytes;
            let moved = if all {
                ready(&self.near, PollFlags::IN).and_then(|()| read(&self.near, &mut [0; 1]))
            } else {
                let piece = &out[..out.len().min(bytes - sent)];
                ready(&self.near, PollFlags::OUT)
                    .and_then(|()| rustix::io::write(&self.near, piece))
            };
            match moved {
                Ok(1..) if all => return Ok(()),
                Ok(more) => sent += more,
                Err(Errno::AGAIN) => {}
                Err(errno) => return Err(std::io::Error::from(errno).into()),
            }
        }
    }
}

fn ready(fd: &OwnedFd, wanted: PollFlags) -> Result<(), Errno> {
    poll(&mut [PollFd::new(fd, wanted)], None).map(drop)
}

fn read(fd: &OwnedFd, into: &mut [u8]) -> Result<usize, Errno> {
    rustix::io::read(fd, into)
}

/// The far end and the near end, neither of which blocks.
fn terminal() -> Result<(OwnedFd, OwnedFd), Errno> {
    let far = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&far)?;
    unlockpt(&far)?;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let near = open(ptsname(&far, Vec::new())?, flags, Mode::empty())?;
    let mut settings = tcgetattr(&near)?;
    settings.make_raw();
    tcsetattr(&near, OptionalActions::Now, &settings)?;
    for end in [&far, &near] {
        fcntl_setfl(end, fcntl_getfl(end)? | OFlags::NONBLOCK)?;
    }
    Ok((far, near))
}
