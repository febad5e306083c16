use crate::{Buffer, Deadline};
use litecore_firmware_proto::{CommandHeader, CompletionHeader, FaultCode};
use std::fmt;

/// Moves whole commands to a card and their completions back.
///
/// Order: [`Link::buffer`], fill it, [`Link::submit`], then [`Link::poll`] until the completion is
/// there. Completions may come in any order. What a link moves it moves whole and undamaged, at
/// least once; a card carries each cookie out at most once, so together exactly once.
///
/// One thread owns a link. It waits nowhere but in calls that take a deadline.
pub trait Link: Send {
    /// What this link is and can do; the same until a reset at [`ResetLevel::Reenumerate`].
    fn info(&self) -> &LinkInfo;

    /// Memory for a payload or a reply; on links that copy nothing, memory the card can reach.
    ///
    /// Errors: [`LinkError::NoRoom`].
    fn buffer(&mut self, capacity: usize) -> Result<Buffer, LinkError>;

    /// Hands a command to the card. The link owns both buffers until the completion.
    ///
    /// `command.payload_len` is the payload's length, `command.reply_capacity` at most the reply's
    /// capacity.
    ///
    /// Errors: [`LinkError`]. The buffers are then free again: nothing was sent.
    fn submit(
        &mut self,
        command: &CommandHeader,
        payload: Buffer,
        reply: Buffer,
    ) -> Result<(), LinkError>;

    /// The next completion; `None` when there is none by `deadline`.
    ///
    /// Errors: [`LinkError`]. Commands in flight stay in flight.
    fn poll(&mut self, deadline: Deadline) -> Result<Option<Completion>, LinkError>;

    /// Starts the link over at a level, and gives back the commands that were in flight.
    ///
    /// Order: when this returns `Ok`, the card no longer touches any of their buffers.
    ///
    /// Errors: [`LinkError`]; the buffers then stay out of reach until a reset succeeds.
    fn reset(
        &mut self,
        level: ResetLevel,
        deadline: Deadline,
    ) -> Result<Vec<Unfinished>, LinkError>;

    /// What has happened on this link so far.
    fn counters(&self) -> LinkCounters;
}

/// What a link is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkInfo {
    /// Which kind.
    pub kind: LinkKind,
    /// Where it leads, for messages.
    pub address: String,
    /// Most commands in flight.
    pub window: usize,
    /// Most bytes of one payload or one reply.
    pub transfer_max: usize,
    /// By how much this world is slower than hardware; stretches all [`crate::Timeouts`].
    pub time_scale: u32,
}

/// The kinds of link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LinkKind {
    /// A byte pipe within this process.
    InProcessPipe,
    /// A PCI function within this process.
    InProcessFunction,
    /// A serial port.
    Serial,
    /// USB bulk endpoints.
    Usb,
    /// A PCI Express function through the kernel.
    Pcie,
    /// A PCI function behind a socket.
    VfioUser,
}

impl fmt::Display for LinkKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InProcessPipe => "in-process pipe",
            Self::InProcessFunction => "in-process function",
            Self::Serial => "serial",
            Self::Usb => "usb",
            Self::Pcie => "pcie",
            Self::VfioUser => "vfio-user",
        })
    }
}

/// The rungs of the recovery ladder that a link can climb, least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ResetLevel {
    /// A new epoch: both ends forget what was under way on the wire.
    Link,
    /// Queues are emptied and set up again; the card keeps its images.
    Queue,
    /// The card's function or port is reset; the card may lose its images.
    Function,
    /// The card is looked for again, by its serial number where there is one.
    Reenumerate,
}

impl ResetLevel {
    /// All levels, least first.
    pub const LADDER: [Self; 4] = [Self::Link, Self::Queue, Self::Function, Self::Reenumerate];
}

impl fmt::Display for ResetLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Link => "new epoch",
            Self::Queue => "queue reset",
            Self::Function => "function reset",
            Self::Reenumerate => "re-enumeration",
        })
    }
}

/// A finished command.
#[derive(Debug)]
pub struct Completion {
    /// What the card says about it.
    pub header: CompletionHeader,
    /// The command's payload, free to be used again.
    pub payload: Buffer,
    /// The reply; its length is the header's `reply_len`.
    pub reply: Buffer,
}

/// A command that was in flight when its link was reset.
#[derive(Debug)]
pub struct Unfinished {
    /// The command as it was submitted.
    pub command: CommandHeader,
    /// Its payload, as it was submitted.
    pub payload: Buffer,
    /// Its reply buffer; what is in it means nothing.
    pub reply: Buffer,
}

/// What has happened on a link. Counts never go back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkCounters {
    /// Commands handed to the card.
    pub submitted: u64,
    /// Completions handed to the caller.
    pub completed: u64,
    /// Completions that belong to no command in flight, or were damaged; dropped.
    pub strays: u64,
    /// Frames sent again.
    pub resent: u64,
    /// Frames that came damaged.
    pub damaged: u64,
    /// Completions that were found without their interrupt.
    pub interrupts_lost: u64,
    /// Registers read from the card.
    pub register_reads: u64,
    /// Registers written on the card.
    pub register_writes: u64,
    /// Doorbells among them that were rung again, because no interrupt came for a while.
    pub doorbells_repeated: u64,
    /// Resets that succeeded, at any level.
    pub resets: u64,
}

/// Why a link did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The far end is gone: unplugged, powered off, or its process ended.
    #[error("{address} is gone while {doing}: check cable and power")]
    Gone {
        /// Where the link leads.
        address: String,
        /// What was being done.
        doing: &'static str,
    },
    /// No answer by the deadline.
    #[error("{address} did not answer within {waited_ms} ms while {doing}")]
    TimedOut {
        /// Where the link leads.
        address: String,
        /// What was being done.
        doing: &'static str,
        /// How long was waited.
        waited_ms: u64,
    },
    /// What came is not of this protocol.
    #[error("{address} answers what no card says ({what}): check that it is a card of this kind")]
    Garbage {
        /// Where the link leads.
        address: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The card, or what stood for it, has started over; the link needs a reset.
    #[error("{address} has started over: reset the link")]
    Restarted {
        /// Where the link leads.
        address: String,
    },
    /// Card and driver have no protocol version in common. Major in the upper byte.
    #[error(
        "{address} speaks protocol versions {card_min:#06x} to {card_max:#06x}, this driver {:#06x}",
        litecore_firmware_proto::PROTOCOL_VERSION
    )]
    Versions {
        /// Where the link leads.
        address: String,
        /// The least the card speaks.
        card_min: u16,
        /// The greatest the card speaks.
        card_max: u16,
    },
    /// The card does not take the queue that it was given.
    #[error(
        "{address} does not start its queue, for it reports: {fault}; update driver and firmware"
    )]
    NotStarted {
        /// Where the link leads.
        address: String,
        /// What the card reports.
        fault: FaultCode,
    },
    /// The operating system refused.
    #[error("{address}: the system refuses {doing} (error {errno})")]
    System {
        /// Where the link leads.
        address: String,
        /// What was being done.
        doing: &'static str,
        /// The system's error number.
        errno: i32,
    },
    /// More commands in flight than the window, or no memory left for a buffer of this size.
    #[error("{address} has no room for {bytes} bytes more: wait for a completion")]
    NoRoom {
        /// Where the link leads.
        address: String,
        /// What was asked for.
        bytes: usize,
    },
    /// This link has no such rung.
    #[error("{address} knows no {level}")]
    NoSuchReset {
        /// Where the link leads.
        address: String,
        /// Which one was asked for.
        level: ResetLevel,
    },
}

impl LinkError {
    /// The error for what the operating system said.
    pub fn system(address: &str, doing: &'static str, errno: rustix::io::Errno) -> Self {
        use rustix::io::Errno;
        let address = address.to_owned();
        match errno {
            Errno::PIPE
            | Errno::CONNRESET
            | Errno::NODEV
            | Errno::NXIO
            | Errno::NOTCONN
            | Errno::SHUTDOWN
            | Errno::IO => Self::Gone { address, doing },
            _ => Self::System { address, doing, errno: errno.raw_os_error() },
        }
    }
}
