//! The driver against the emulated card, over every link that needs no virtual machine.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers as well")]
#![allow(clippy::cast_possible_truncation, reason = "patterns of bytes and small counts")]

mod conformance;
mod crowding;
mod faults;
mod hotplug;
mod refusals;
mod spy;
mod suspicion;
mod update;
mod watched;
mod world;
