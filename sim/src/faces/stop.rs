use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Ends what serves under the [`Stop`] it was made with.
#[derive(Clone, Debug)]
pub struct Stopper {
    end: Arc<UnixStream>,
}

/// What a serving face watches beside its clients.
#[derive(Clone, Debug)]
pub struct Stop {
    end: Arc<UnixStream>,
}

/// A pair: whoever holds the first can end what serves under the second.
///
/// Errors: the system gives no sockets.
pub fn stop_pair() -> io::Result<(Stopper, Stop)> {
    let (near, far) = UnixStream::pair()?;
    Ok((Stopper { end: Arc::new(near) }, Stop { end: Arc::new(far) }))
}

impl Stopper {
    /// Ends it, now or as soon as it looks; calling again changes nothing.
    pub fn stop(&self) {
        // The far end reads end-of-file from now on. An error means that it does so already.
        let _ = self.end.shutdown(Shutdown::Both);
    }
}

impl Stop {
    /// Whether it is time to end.
    pub fn is_stopped(&self) -> bool {
        matches!(wait(&[], self, Some(Duration::ZERO)), Ok(Woken::Stopped))
    }
}

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    /// One of the descriptors is ready or broken; reading or writing it will tell.
    Ready,
    /// The time is over.
    Time,
    /// It is time to end.
    Stopped,
}

/// What to wait for on a descriptor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watch<'a> {
    pub(crate) fd: BorrowedFd<'a>,
    pub(crate) write: bool,
    pub(crate) read: bool,
}

impl<'a> Watch<'a> {
    pub(crate) fn reading(fd: &'a impl AsFd) -> Self {
        Self { fd: fd.as_fd(), read: true, write: false }
    }
}

/// Sleeps until something is to be done; without `time`, until a descriptor wakes it.
///
/// Errors: what the system says, except interruptions, which are waited through.
pub(crate) fn wait(
    watches: &[Watch<'_>],
    stop: &Stop,
    time: Option<Duration>,
) -> io::Result<Woken> {
    let until = time.map(|time| Instant::now() + time.min(Duration::from_secs(3600)));
    let mut fds: Vec<PollFd<'_>> = vec![PollFd::new(&*stop.end, PollFlags::IN)];
    for watch in watches {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::IN, watch.read);
        flags.set(PollFlags::OUT, watch.write);
        fds.push(PollFd::from_borrowed_fd(watch.fd, flags));
    }
    loop {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let timeout = left.map(|left| Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        });
        match poll(&mut fds, timeout.as_ref()) {
            Ok(0) => return Ok(Woken::Time),
            Ok(_) if !fds[0].revents().is_empty() => return Ok(Woken::Stopped),
            Ok(_) => return Ok(Woken::Ready),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Nanoseconds since it was made: the time an emulated card lives in.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock that begins now.
    pub fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// Now.
    pub fn now_ns(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// How long from now until a moment of this clock.
    pub(crate) fn until(&self, moment_ns: Option<u64>) -> Option<Duration> {
        Some(Duration::from_nanos(moment_ns?.saturating_sub(self.now_ns())))
    }
}
