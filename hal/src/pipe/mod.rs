//! Byte pipes: what carries frames where there are no rings.

mod in_process;
mod link;
#[cfg(feature = "serial")]
mod serial;
#[cfg(feature = "usb")]
mod usb;

pub use in_process::{InProcessPipe, PipeEnd};
pub use link::{PipeLink, PipeOptions};
#[cfg(feature = "serial")]
pub use serial::{BAUD, SerialPipe};
#[cfg(feature = "usb")]
pub use usb::{UsbName, UsbPipe, usb_devices};

use crate::{Deadline, LinkError, LinkKind, ResetLevel};

/// A pipe for bytes to a card and back, which may lose, damage and invent some.
pub trait BytePipe: Send {
    /// Which kind of link this makes.
    fn kind(&self) -> LinkKind;

    /// Where it leads, for messages.
    fn address(&self) -> &str;

    /// How frames are told apart on it.
    fn framing(&self) -> PipeFraming;

    /// Reads what is there, without waiting; zero bytes where nothing is.
    ///
    /// On [`PipeFraming::Packets`] one call gives one packet.
    ///
    /// Errors: [`LinkError`].
    fn read(&mut self, into: &mut [u8]) -> Result<usize, LinkError>;

    /// Writes what fits, without waiting for long; zero bytes where nothing fits at present.
    ///
    /// On [`PipeFraming::Packets`] `bytes` is one packet, and what is left of a packet that fitted in
    /// part must be written next.
    ///
    /// Errors: [`LinkError`].
    fn write(&mut self, bytes: &[u8], deadline: Deadline) -> Result<usize, LinkError>;

    /// Waits until there is something to read, or room to write where `want_write`, or `deadline`.
    ///
    /// Errors: [`LinkError`].
    fn wait(&mut self, want_write: bool, deadline: Deadline) -> Result<(), LinkError>;

    /// Starts the pipe over; what was in it is gone.
    ///
    /// [`ResetLevel::Function`] resets the port or tells the card to start over where the pipe has
    /// a way to; [`ResetLevel::Reenumerate`] looks for the card again and opens it anew.
    ///
    /// Errors: [`LinkError::NoSuchReset`] where the pipe has no such thing.
    fn reset(&mut self, level: ResetLevel, deadline: Deadline) -> Result<(), LinkError>;
}

/// How frames are told apart on a pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PipeFraming {
    /// A stream of bytes: frames are stuffed and delimited.
    Delimited,
    /// Transfers with an end: whole frames, one after the other.
    Packets,
}
