//! A reliable byte stream over a pipe that loses, damages and inserts bytes: one end of it.
//!
//! No input, no output, no clock, no allocation: bytes and the time come in as arguments, frames
//! come out of [`Arq::poll_transmit`], and the caller gives the memory. Host and card run the same
//! code in their [`Role`].
//!
//! Order: the host calls [`Arq::open`]; both feed [`Arq::on_bytes`], then call
//! [`Arq::poll_transmit`] until it has nothing more, and call it again at [`Arq::next_timeout`].
//! Within one connection every byte that [`Arq::send`] took is delivered once and in order. A new
//! connection begins with nothing in flight at either end.
//!
//! Times are nanoseconds from any fixed origin and do not run backwards.

mod connect;
mod receive;
mod transmit;

#[cfg(test)]
mod tests;

use crate::cobs;
use crate::frame::{
    FRAME_HEADER_BYTES, FRAME_TRAILER_BYTES, HELLO_BYTES, Hello, MTU_MAX, MTU_MIN, WINDOW,
};
use core::fmt;
use receive::Receiver;
use transmit::Transmitter;

/// Slots of the transmit and the receive window. One more receives the frame at hand.
const SLOTS: usize = WINDOW as usize;

/// How frames are told apart on the pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flavor {
    /// Stuffed, with a zero byte before and after: for serial lines and sockets. Bytes may arrive
    /// in any pieces.
    Delimited,
    /// As they are: for USB bulk transfers. One call of [`Arq::on_bytes`] is one transfer, and a
    /// frame does not go beyond it.
    Packet,
}

/// Which end this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Begins connections.
    Host,
    /// Answers.
    Card {
        /// How often the card has started, this time included.
        boot: u32,
    },
}

/// How an end behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArqOptions {
    /// Which end it is.
    pub role: Role,
    /// How frames are told apart.
    pub flavor: Flavor,
    /// Most payload bytes of one frame, within [`MTU_MIN`]..=[`MTU_MAX`]; the smaller of the two
    /// ends' counts.
    pub mtu: u16,
    /// Least and greatest protocol version this end speaks.
    pub versions: (u16, u16),
    /// Time to the first repetition, until a round trip has been measured.
    pub timeout_first_ns: u64,
    /// Least time to a repetition.
    pub timeout_min_ns: u64,
    /// Most time to a repetition.
    pub timeout_max_ns: u64,
    /// How long an acknowledgment may wait for company.
    pub ack_delay_ns: u64,
}

impl ArqOptions {
    /// The usual times, for pipes with round trips of up to tens of milliseconds. Source:
    /// *assumed*, and tried on pseudo-terminals and emulated USB.
    pub const fn usual(role: Role, flavor: Flavor) -> Self {
        Self {
            role,
            flavor,
            mtu: 4096,
            versions: (crate::PROTOCOL_VERSION, crate::PROTOCOL_VERSION),
            timeout_first_ns: 100_000_000,
            // A bus repeats damaged packets by itself, so a frame that is late there is seldom lost;
            // and a window of its long frames takes longer than the first short ones did.
            timeout_min_ns: match flavor {
                Flavor::Delimited => 10_000_000,
                Flavor::Packet => 50_000_000,
            },
            timeout_max_ns: 1_000_000_000,
            // Shorter than any time to a repetition. On a stream, also longer than four frames take on a
            // pseudo-terminal: a timer for each read made that half as fast.
            ack_delay_ns: match flavor {
                Flavor::Delimited => 2_000_000,
                Flavor::Packet => 200_000,
            },
        }
    }
}

/// Something the caller should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArqEvent {
    /// A connection is open; both streams are empty.
    Up {
        /// Its number.
        connection: u32,
        /// How often the card had started, as it says; at the card's end, its own count.
        boot: u32,
    },
    /// The card knows nothing of the connection: it restarted, or another host took it. The host
    /// is to open a new one; nothing more is delivered on this one.
    PeerRestarted,
    /// The ends have no protocol version in common.
    VersionMismatch {
        /// Least version the card speaks.
        card_min: u16,
        /// Greatest version the card speaks.
        card_max: u16,
    },
    /// Frames of another layout version arrive: the far end is of another generation.
    FrameVersion {
        /// The version in their first byte.
        version: u8,
    },
}

/// What happened on this end so far. Counts never go back, and wrap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArqCounters {
    /// Data frames sent, without repetitions.
    pub sent: u64,
    /// Data frames sent again.
    pub resent: u64,
    /// Data frames received in their turn or early.
    pub received: u64,
    /// Data frames received again.
    pub duplicates: u64,
    /// Frames that came damaged, or bytes between frames.
    pub damaged: u64,
    /// Frames of other connections.
    pub foreign: u64,
    /// Times that nothing was heard for too long.
    pub timeouts: u64,
    /// Connections opened.
    pub connections: u64,
}

/// The caller's memory is too short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StorageTooShort {
    /// Bytes given.
    pub given: usize,
    /// Bytes needed: [`storage_bytes`].
    pub needed: usize,
}

/// Bytes of memory that an end with this MTU needs.
pub const fn storage_bytes(mtu: u16) -> usize {
    let slot = slot_bytes(clamped(mtu));
    let wire = wire_bytes(slot);
    (2 * SLOTS + 2) * slot + 2 * wire
}

/// One end of a reliable byte stream.
///
/// `S` is its memory: a boxed slice on a host, a static array in firmware.
pub struct Arq<S> {
    storage: S,
    layout: Layout,
    options: ArqOptions,
    phase: Phase,
    /// The host's epoch of this connection.
    epoch: u32,
    /// The card's number of this connection; 0 is none.
    connection: u32,
    /// Connections the card has accepted since its start.
    accepted: u16,
    event: Option<ArqEvent>,
    reply: Option<Reply>,
    tx: Transmitter,
    rx: Receiver,
    counters: ArqCounters,
}

/// Where things lie in the storage.
#[derive(Clone, Copy, Debug)]
struct Layout {
    slot: usize,
    wire: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Closed,
    Opening { next_at: u64, wait_ns: u64 },
    Up,
}

/// An answer that the card owes outside of any connection.
#[derive(Clone, Copy, Debug)]
enum Reply {
    Accept,
    NoVersion { epoch: u32 },
    Reset { connection: u32 },
}

impl<S: AsRef<[u8]> + AsMut<[u8]>> Arq<S> {
    /// An end without a connection.
    ///
    /// Errors: [`StorageTooShort`].
    pub fn new(storage: S, options: ArqOptions) -> Result<Self, StorageTooShort> {
        let needed = storage_bytes(options.mtu);
        let given = storage.as_ref().len();
        if given < needed {
            return Err(StorageTooShort { given, needed });
        }
        let mtu = clamped(options.mtu);
        let slot = slot_bytes(mtu);
        #[expect(clippy::cast_possible_truncation, reason = "clamped to MTU_MAX, which fits")]
        let options = ArqOptions { mtu: mtu as u16, ..options };
        Ok(Self {
            storage,
            layout: Layout { slot, wire: wire_bytes(slot) },
            options,
            phase: Phase::Closed,
            epoch: 0,
            connection: 0,
            accepted: 0,
            event: None,
            reply: None,
            tx: Transmitter::new(&options),
            rx: Receiver::new(),
            counters: ArqCounters::default(),
        })
    }

    /// Its memory back.
    pub fn into_storage(self) -> S {
        self.storage
    }

    /// Whether bytes can be sent and received.
    pub fn is_up(&self) -> bool {
        self.phase == Phase::Up
    }

    /// Whether everything that was sent has been acknowledged.
    pub fn is_idle(&self) -> bool {
        self.tx.is_idle()
    }

    /// The number of the connection; 0 before the first.
    pub fn connection(&self) -> u32 {
        self.connection
    }

    /// What happened so far.
    pub fn counters(&self) -> ArqCounters {
        self.counters
    }

    /// The latest thing to know, once.
    pub fn take_event(&mut self) -> Option<ArqEvent> {
        self.event.take()
    }

    /// Takes bytes into the stream and says how many: fewer than given, or none, while the window
    /// is full or no connection is open.
    pub fn send(&mut self, bytes: &[u8]) -> usize {
        if self.phase != Phase::Up {
            return 0;
        }
        let mut taken = 0;
        while let Some(rest) = bytes.get(taken..).filter(|rest| !rest.is_empty()) {
            let Some((slot, len, most)) = self.tx.room() else { break };
            let piece = rest.get(..most - len).unwrap_or(rest);
            let at = self.layout.tx(slot) + FRAME_HEADER_BYTES + len;
            let Some(target) = self.storage.as_mut().get_mut(at..at + piece.len()) else { break };
            target.copy_from_slice(piece);
            self.tx.fill(piece.len());
            taken += piece.len();
        }
        taken
    }

    /// The next bytes of the far end's stream, as many as lie together; empty if none came.
    pub fn readable(&self) -> &[u8] {
        let Some((slot, from, to)) = self.rx.readable() else { return &[] };
        let at = self.layout.rx(slot) + FRAME_HEADER_BYTES;
        self.storage.as_ref().get(at + from..at + to).unwrap_or_default()
    }

    /// Takes the first `len` bytes off the far end's stream; no more than are readable.
    pub fn consume(&mut self, len: usize) {
        self.rx.consume(len);
    }

    /// Takes bytes off the far end's stream and says how many.
    pub fn receive(&mut self, into: &mut [u8]) -> usize {
        let mut taken = 0;
        loop {
            let readable = self.readable();
            let Some(rest) = into.get_mut(taken..) else { break };
            let len = readable.len().min(rest.len());
            if len == 0 {
                break;
            }
            rest[..len].copy_from_slice(&readable[..len]);
            self.consume(len);
            taken += len;
        }
        taken
    }

    /// Takes what came from the pipe.
    pub fn on_bytes(&mut self, now_ns: u64, bytes: &[u8]) {
        match self.options.flavor {
            Flavor::Delimited => self.on_stream(now_ns, bytes),
            Flavor::Packet => self.on_transfer(now_ns, bytes),
        }
    }

    /// The next frame for the pipe, if there is one to send now.
    ///
    /// Order: call it until it returns `None`, after every other call that changes something.
    pub fn poll_transmit(&mut self, now_ns: u64) -> Option<&[u8]> {
        let (at, len) = self.next_frame(now_ns)?;
        match self.options.flavor {
            Flavor::Packet => self.storage.as_ref().get(at..at + len),
            Flavor::Delimited => self.stuff(at, len),
        }
    }

    /// When [`Arq::poll_transmit`] may have something to send though nothing else happened.
    pub fn next_timeout(&self) -> Option<u64> {
        match self.phase {
            Phase::Closed => None,
            Phase::Opening { next_at, .. } => Some(next_at),
            Phase::Up => match (self.tx.timeout_at(), self.rx.ack_at()) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            },
        }
    }

    fn stuff(&mut self, at: usize, len: usize) -> Option<&[u8]> {
        let out_at = self.layout.out();
        let (frames, wire) = self.storage.as_mut().split_at_mut_checked(out_at)?;
        let frame = frames.get(at..at + len)?;
        let written = cobs::encode(frame, wire.get_mut(1..)?)?;
        *wire.first_mut()? = 0;
        *wire.get_mut(written + 1)? = 0;
        wire.get(..written + 2)
    }
}

impl Layout {
    const fn tx(self, slot: usize) -> usize {
        slot * self.slot
    }

    const fn rx(self, slot: usize) -> usize {
        (SLOTS + slot) * self.slot
    }

    /// Where frames without data are made.
    const fn control(self) -> usize {
        (2 * SLOTS + 1) * self.slot
    }

    /// Where the bytes of an unfinished frame wait.
    const fn partial(self) -> usize {
        (2 * SLOTS + 2) * self.slot
    }

    /// Where stuffed frames are made.
    const fn out(self) -> usize {
        self.partial() + self.wire
    }
}

const fn clamped(mtu: u16) -> usize {
    let mtu = mtu as usize;
    if mtu < MTU_MIN {
        MTU_MIN
    } else if mtu > MTU_MAX {
        MTU_MAX
    } else {
        mtu
    }
}

const fn slot_bytes(mtu: usize) -> usize {
    FRAME_HEADER_BYTES + mtu + FRAME_TRAILER_BYTES
}

/// A stuffed frame with a zero before and after it.
const fn wire_bytes(slot: usize) -> usize {
    cobs::encoded_max(slot) + 2
}

// A hello must fit into every slot.
const _: () = assert!(HELLO_BYTES <= MTU_MIN && size_of::<Hello>() <= MTU_MIN);

impl fmt::Display for StorageTooShort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { given, needed } = self;
        write!(f, "{given} bytes of memory for a pipe's end, {needed} are needed")
    }
}

impl core::error::Error for StorageTooShort {}
