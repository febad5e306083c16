//! The bytes a card and its driver exchange: fault numbers and the capability block.
//!
//! **Invariant:** no allocation, no std, and no input makes anything here panic. Numbers and byte
//! positions are frozen by tests: a change is a new version.

#![no_std]

#[cfg(test)]
extern crate std;

mod capability;
mod fault;

pub use capability::{BLOCK_BYTES, CapabilityBlock, ChipName, MalformedBlock, NameError, VERSION};
pub use fault::FaultCode;
