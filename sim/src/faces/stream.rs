use super::stop::{Clock, Stop, Watch, Woken, wait};
use litecore_hal::pipe::PipeEnd;
use rustix::io::Errno;
use std::io;
use std::os::fd::AsFd;
use std::thread;
use std::time::Duration;

/// One end of a conversation over a byte stream, without I/O of its own.
pub(super) trait Conversation {
    /// Bytes have come.
    ///
    /// Errors: they are not what this protocol says; the client is then let go.
    fn on_bytes(&mut self, now_ns: u64, bytes: &[u8]) -> Result<(), Mistake>;

    /// Appends what is to be sent now.
    fn transmit(&mut self, now_ns: u64, out: &mut Vec<u8>);

    /// When there may be more to send without bytes coming first.
    fn next_wakeup_ns(&self) -> Option<u64>;

    /// Bytes that are ready to be sent, and were not taken by [`Conversation::transmit`] yet.
    fn backlog(&self) -> usize {
        0
    }

    /// Whether this end hangs up.
    fn is_over(&self) -> bool {
        false
    }
}

/// What a client said that its protocol does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it does not speak {protocol}: {what}")]
pub(super) struct Mistake {
    pub(super) protocol: &'static str,
    pub(super) what: String,
}

/// How a conversation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The client left.
    Left,
    /// This end hung up.
    HungUp,
    /// It is time to end.
    Stopped,
}

const PIECE: usize = 64 << 10;
/// A client that has so many bytes to take in is not heard before it has taken some.
const BACKLOG_MAX: usize = 1 << 20;
/// Less than this is part of something: no frame and no message is as short.
const FRAGMENT: usize = 8;
const MOMENT: Duration = Duration::from_micros(100);

/// Holds a conversation over a descriptor that does not block.
///
/// Errors: what the system says; the client's mistake.
pub(super) fn converse(
    fd: &impl AsFd,
    end: &mut dyn Conversation,
    clock: &Clock,
    stop: &Stop,
) -> io::Result<Ended> {
    let mut incoming = vec![0; PIECE];
    let mut outgoing = Vec::new();
    let mut sent = 0;
    loop {
        if sent == outgoing.len() {
            outgoing.clear();
            sent = 0;
            end.transmit(clock.now_ns(), &mut outgoing);
        }
        if outgoing.is_empty() && end.is_over() {
            return Ok(Ended::HungUp);
        }
        sent += write_some(fd, &outgoing[sent..])?;
        let more = sent < outgoing.len();
        if !more && end.backlog() > 0 {
            continue;
        }
        let read = outgoing.len() - sent + end.backlog() < BACKLOG_MAX;
        let watch = Watch { fd: fd.as_fd(), read, write: more };
        let time = if more { None } else { clock.until(end.next_wakeup_ns()) };
        match wait(&[watch], stop, time)? {
            Woken::Stopped => return Ok(Ended::Stopped),
            Woken::Time => {}
            Woken::Ready if !read => {}
            Woken::Ready => match read_all(fd, &mut incoming)? {
                None => return Ok(Ended::Left),
                Some(0) => {}
                Some(read) => {
                    end.on_bytes(clock.now_ns(), &incoming[..read]).map_err(io::Error::other)?;
                }
            },
        }
    }
}

/// Reads all that is there, as far as there is room; `None` where the client has left.
///
/// A terminal gives its bytes in small pieces, and some lines bring them one by one: those get a
/// moment, so that the card does not work on each of them.
fn read_all(fd: &impl AsFd, into: &mut [u8]) -> io::Result<Option<usize>> {
    let mut filled = 0;
    let mut waited = false;
    while filled < into.len() {
        match rustix::io::read(fd, &mut into[filled..]) {
            Ok(0) | Err(Errno::IO | Errno::CONNRESET) if filled == 0 => return Ok(None),
            // The next read says so again.
            Ok(0) | Err(Errno::IO | Errno::CONNRESET) => break,
            Ok(read) => filled += read,
            Err(Errno::AGAIN) if filled > 0 && filled < FRAGMENT && !waited => {
                waited = true;
                thread::sleep(MOMENT);
            }
            Err(Errno::AGAIN) => break,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Some(filled))
}

fn write_some(fd: &impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    if bytes.is_empty() {
        return Ok(0);
    }
    match rustix::io::write(fd, bytes) {
        Ok(written) => Ok(written),
        Err(Errno::AGAIN | Errno::INTR) => Ok(0),
        // That the client is gone is what the next read says.
        Err(Errno::PIPE | Errno::IO | Errno::CONNRESET) => Ok(bytes.len()),
        Err(error) => Err(error.into()),
    }
}

/// A card on a plain byte pipe, such as a serial line.
pub(super) struct Line<'a> {
    pub(super) end: &'a mut dyn PipeEnd,
}

impl Conversation for Line<'_> {
    fn on_bytes(&mut self, now_ns: u64, bytes: &[u8]) -> Result<(), Mistake> {
        self.end.on_bytes(now_ns, bytes);
        Ok(())
    }

    fn transmit(&mut self, now_ns: u64, out: &mut Vec<u8>) {
        self.end.transmit(now_ns, out);
    }

    fn next_wakeup_ns(&self) -> Option<u64> {
        self.end.next_wakeup_ns()
    }

    fn is_over(&self) -> bool {
        !self.end.is_there()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faces::stop_pair;
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;

    /// Says so many bytes for each that it hears.
    const TALK: usize = 50;

    #[derive(Default)]
    struct Talker {
        ready: Vec<u8>,
        most: usize,
    }

    impl Conversation for Talker {
        fn on_bytes(&mut self, _: u64, bytes: &[u8]) -> Result<(), Mistake> {
            self.ready.resize(self.ready.len() + bytes.len() * TALK, 7);
            self.most = self.most.max(self.ready.len());
            Ok(())
        }
        fn transmit(&mut self, _: u64, out: &mut Vec<u8>) {
            out.append(&mut self.ready);
        }
        fn next_wakeup_ns(&self) -> Option<u64> {
            None
        }
        fn backlog(&self) -> usize {
            self.ready.len()
        }
    }

    #[test]
    fn a_client_that_does_not_listen_is_not_heard_and_loses_nothing() {
        let (near, mut far) = UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        far.set_nonblocking(true).unwrap();
        let (_stopper, stop) = stop_pair().unwrap();
        let mut talker = Talker::default();
        std::thread::scope(|scope| {
            let talker = &mut talker;
            let serving = scope.spawn(move || converse(&near, talker, &Clock::start(), &stop));
            let (mut sent, mut refused) = (0, 0);
            while refused < 20 && sent < 1_000_000 {
                if let Ok(len) = far.write(&[1; 1000]) {
                    (sent, refused) = (sent + len, 0);
                } else {
                    refused += 1;
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
            far.set_nonblocking(false).unwrap();
            far.read_exact(&mut vec![0; sent * TALK]).unwrap();
            drop(far);
            assert_eq!(serving.join().unwrap().unwrap(), Ended::Left);
        });
        assert!(talker.most <= BACKLOG_MAX + PIECE * TALK, "{}", talker.most);
    }
}
