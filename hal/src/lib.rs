//! What a device is to everybody who uses one: five coarse calls, typed errors, and an address.
//!
//! **Invariant:** a caller never learns from this crate what stands behind a [`Device`]; the one
//! hint is [`Capabilities::simulated`], which is there for reports.

mod buffer;
mod card;
pub mod conformance;
mod deadline;
mod device;
mod error;
mod image;
mod link;
mod open;
mod owner;
pub mod pci;
pub mod pipe;
pub mod update;
mod uri;
pub mod wrappers;

pub use buffer::Buffer;
pub use card::{CardDevice, CardIdentity, CardOptions, RecoveryCounters};
pub use deadline::{Deadline, Timeouts};
pub use device::{Capabilities, Device, ImageId, RunOutcome, RunRequest, SymbolTag, Telemetry};
pub use error::{DeviceError, Remedy};
pub use image::encode_image;
pub use link::{
    Completion, Link, LinkCounters, LinkError, LinkInfo, LinkKind, ResetLevel, Unfinished,
};
pub use litecore_firmware_proto::FaultCode;
pub use open::{
    Advice, FoundDevice, OpenError, OpenOptions, SystemPaths, connect, find_devices, fresh_session,
    open, open_card,
};
pub use owner::OwnedDevice;
pub use uri::{DeviceUri, DeviceUriError, PcieAddress, SimSettings};
