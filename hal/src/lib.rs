//! What a device is to everybody who uses one: five coarse calls, typed errors, and an address.
//!
//! **Invariant:** a caller never learns from this crate what stands behind a [`Device`]; the one
//! hint is [`Capabilities::simulated`], which is there for reports.

mod device;
mod error;
mod uri;

pub use device::{Capabilities, Device, ImageId, RunOutcome, RunRequest, SymbolTag, Telemetry};
pub use error::{DeviceError, Remedy};
pub use litecore_firmware_proto::FaultCode;
pub use uri::{DeviceUri, DeviceUriError, PcieAddress};
