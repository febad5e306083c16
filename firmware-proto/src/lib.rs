//! The bytes a card and its driver exchange, and the state machines that need no system under them.
//!
//! * [`CommandHeader`] and [`CompletionHeader`] are the same on every link.
//! * [`registers`] and [`ring`] carry them over PCI Express, [`frame`] and [`arq`] over byte pipes.
//!
//! * [`identity`], [`image`], [`payload`], [`telemetry`] and [`firmware`] are what the commands carry.
//! * [`update`] says which step of a firmware update is allowed when.
//!
//! `docs/protocol.md` is the whole of it in words.
//!
//! The feature `std` lets checksums use the processor's instructions; nothing else depends on it.
//!
//! **Invariant:** no allocation, no std otherwise, and no input makes anything here panic. Numbers and byte
//! positions are frozen by tests: a change is a new version.

#![no_std]

#[cfg(any(test, feature = "std"))]
extern crate std;

pub mod arq;
mod capability;
pub mod cobs;
pub mod command;
pub mod crc32c;
#[cfg(feature = "std")]
mod crc32c_hardware;
mod fault;
mod fields;
pub mod firmware;
pub mod frame;
pub mod identity;
pub mod image;
mod listed;
pub mod payload;
pub mod registers;
pub mod ring;
pub mod telemetry;
pub mod update;

pub use capability::{BLOCK_BYTES, CapabilityBlock, ChipName, MalformedBlock, NameError, VERSION};
pub use command::{
    CommandHeader, CompletionHeader, Cookie, CookieState, HEADER_BYTES, HeaderError, Opcode,
    ResetDepth,
};
pub use fault::FaultCode;

/// The version of the protocol that this crate speaks: major in the upper byte, minor in the lower.
/// Ends with different majors do not talk; with the same major, the smaller minor counts.
pub const PROTOCOL_VERSION: u16 = 0x0100;
