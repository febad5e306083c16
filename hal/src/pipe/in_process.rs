use super::{BytePipe, PipeFraming};
use crate::{Deadline, LinkError, LinkKind, ResetLevel};
use std::thread;
use std::time::{Duration, Instant};

/// The far end of a pipe within this process: a card behind its framing, without I/O of its own.
///
/// Time is nanoseconds from any fixed origin and never runs backwards.
pub trait PipeEnd: Send {
    /// Bytes have arrived.
    fn on_bytes(&mut self, now_ns: u64, bytes: &[u8]);

    /// Appends what the card sends at this moment; one packet a call on packet pipes.
    fn transmit(&mut self, now_ns: u64, out: &mut Vec<u8>);

    /// When [`PipeEnd::transmit`] may have something next; `None` where nothing is pending.
    fn next_wakeup_ns(&self) -> Option<u64>;

    /// Whether the card is plugged in.
    fn is_there(&self) -> bool {
        true
    }

    /// The port was reset.
    fn port_reset(&mut self, now_ns: u64);
}

/// A byte pipe to a [`PipeEnd`] in this process; the owner's waiting is what moves the far end.
pub struct InProcessPipe<E> {
    end: E,
    name: String,
    framing: PipeFraming,
    started: Instant,
    /// Bytes from the card, and where the unread ones begin.
    incoming: Vec<u8>,
    read_from: usize,
}

impl<E: PipeEnd> InProcessPipe<E> {
    /// A pipe to `end`; `name` is for messages.
    pub fn new(end: E, name: &str, framing: PipeFraming) -> Self {
        Self {
            end,
            name: format!("in-process:{name}"),
            framing,
            started: Instant::now(),
            incoming: Vec::new(),
            read_from: 0,
        }
    }

    /// The far end.
    pub fn end(&mut self) -> &mut E {
        &mut self.end
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn pump(&mut self) {
        if self.read_from == self.incoming.len() {
            self.incoming.clear();
            self.read_from = 0;
            let now = self.now_ns();
            self.end.transmit(now, &mut self.incoming);
        }
    }

    fn check_there(&self, doing: &'static str) -> Result<(), LinkError> {
        if self.end.is_there() {
            Ok(())
        } else {
            Err(LinkError::Gone { address: self.name.clone(), doing })
        }
    }
}

impl<E: PipeEnd> BytePipe for InProcessPipe<E> {
    fn kind(&self) -> LinkKind {
        LinkKind::InProcessPipe
    }

    fn address(&self) -> &str {
        &self.name
    }

    fn framing(&self) -> PipeFraming {
        self.framing
    }

    fn read(&mut self, into: &mut [u8]) -> Result<usize, LinkError> {
        self.check_there("reading")?;
        self.pump();
        let unread = self.incoming.get(self.read_from..).unwrap_or_default();
        let bytes = unread.len().min(into.len());
        into[..bytes].copy_from_slice(&unread[..bytes]);
        self.read_from += bytes;
        Ok(bytes)
    }

    fn write(&mut self, bytes: &[u8], _deadline: Deadline) -> Result<usize, LinkError> {
        self.check_there("writing")?;
        let now = self.now_ns();
        self.end.on_bytes(now, bytes);
        Ok(bytes.len())
    }

    fn wait(&mut self, want_write: bool, deadline: Deadline) -> Result<(), LinkError> {
        loop {
            self.check_there("waiting")?;
            self.pump();
            let left = deadline.left();
            if want_write || self.read_from < self.incoming.len() || left.is_zero() {
                return Ok(());
            }
            let look_again = Duration::from_millis(20);
            let pending = self.end.next_wakeup_ns().map_or(look_again, |at| {
                Duration::from_nanos(at.saturating_sub(self.now_ns())).min(look_again)
            });
            thread::sleep(pending.min(left));
        }
    }

    fn reset(&mut self, level: ResetLevel, deadline: Deadline) -> Result<(), LinkError> {
        self.incoming.clear();
        self.read_from = 0;
        match level {
            ResetLevel::Link | ResetLevel::Queue => Ok(()),
            ResetLevel::Function => {
                self.check_there("resetting the port")?;
                let now = self.now_ns();
                self.end.port_reset(now);
                Ok(())
            }
            ResetLevel::Reenumerate => loop {
                let now = self.now_ns();
                self.end.transmit(now, &mut self.incoming);
                self.incoming.clear();
                if self.end.is_there() {
                    return Ok(());
                }
                let left = deadline.left();
                if left.is_zero() {
                    return self.check_there("waiting for it to come back");
                }
                thread::sleep(left.min(Duration::from_millis(1)));
            },
        }
    }
}
