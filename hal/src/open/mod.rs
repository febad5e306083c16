//! From an address to a card, with every way it can fail told apart.

mod error;
mod find;
mod missing;
#[cfg(feature = "pcie")]
mod pcie;
#[cfg(feature = "serial")]
mod serial;
#[cfg(feature = "usb")]
mod usb;
mod vfio_user;

#[cfg(not(feature = "pcie"))]
use missing as pcie;
#[cfg(not(feature = "serial"))]
use missing as serial;
#[cfg(not(feature = "usb"))]
use missing as usb;

pub use error::{Advice, OpenError};
pub use find::{FoundDevice, find_devices};

use crate::pci::RingOptions;
use crate::wrappers::TracedLink;
use crate::{
    CardDevice, CardOptions, Deadline, Device, DeviceError, DeviceUri, Link, LinkError,
    OwnedDevice, Timeouts,
};
use litecore_firmware_proto::PROTOCOL_VERSION;
use std::fs::File;
use std::io::LineWriter;
use std::path::PathBuf;

/// How cards are opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenOptions {
    /// How long things may take.
    pub timeouts: Timeouts,
    /// By how much the card's world is slower than hardware; stretches all time-outs.
    pub time_scale: u32,
    /// Names this use of the card: a number that no earlier one had on the same card.
    pub session: u32,
    /// Symbols per second of serial ports.
    pub baud: u32,
    /// How rings are set up.
    pub ring: RingOptions,
    /// Where the system lists its devices.
    pub system: SystemPaths,
    /// A file for a [`TracedLink`] of what goes over the link.
    pub trace: Option<PathBuf>,
}

/// Where the system lists its devices; other folders than the usual ones are for tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemPaths {
    /// `/sys`.
    pub sys: PathBuf,
    /// `/dev`.
    pub dev: PathBuf,
}

impl Default for SystemPaths {
    fn default() -> Self {
        Self { sys: PathBuf::from("/sys"), dev: PathBuf::from("/dev") }
    }
}

impl OpenOptions {
    /// The usual options, for a session with this number; see [`fresh_session`].
    pub fn usual(session: u32) -> Self {
        Self {
            timeouts: Timeouts::default(),
            time_scale: 1,
            session,
            baud: 3_000_000,
            ring: RingOptions::default(),
            system: SystemPaths::default(),
            trace: None,
        }
    }
}

/// A session number that no other process and no earlier moment gives: from the clock and the
/// process. It names messages and enters no result.
pub fn fresh_session() -> u32 {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::{SystemTime, UNIX_EPOCH};
    static EARLIER: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_micros());
    let mut sum = litecore_firmware_proto::crc32c::Crc32c::new().with(&now.to_le_bytes());
    sum = sum.with(&std::process::id().to_le_bytes());
    sum = sum.with(&EARLIER.fetch_add(1, Ordering::Relaxed).to_le_bytes());
    sum.value().max(1)
}

/// Opens the card at an address, with a thread of its own that owns it: no call lasts longer than
/// its deadline, whatever the kernel does.
///
/// Errors: [`OpenError`].
pub fn open(uri: &DeviceUri, options: &OpenOptions) -> Result<Box<dyn Device>, OpenError> {
    let owned = OwnedDevice::of_card(open_card(uri, options)?).map_err(|error| {
        let errno = error.raw_os_error().unwrap_or_default();
        let doing = "starting the card's thread";
        OpenError::Link(LinkError::System { address: uri.to_string(), doing, errno })
    })?;
    Ok(Box::new(owned))
}

/// Opens the card at an address, as a card: with its link, its firmware and its counters. The
/// caller's thread owns it.
///
/// Errors: [`OpenError`].
pub fn open_card(uri: &DeviceUri, options: &OpenOptions) -> Result<CardDevice, OpenError> {
    let timeouts = options.timeouts.scaled(options.time_scale.max(1));
    let deadline = Deadline::after(timeouts.open);
    let mut link = connect(uri, options, deadline)?;
    if let Some(path) = &options.trace {
        let trace = File::create(path)
            .map_err(|error| OpenError::Trace { path: path.clone(), error: error.kind() })?;
        link = Box::new(TracedLink::new(link, LineWriter::new(trace)));
    }
    let card = CardOptions { timeouts, session: options.session };
    CardDevice::start(link, card, deadline).map_err(|error| refused(uri, error))
}

/// Opens the link to an address, and asks nothing of the card behind it.
///
/// Errors: [`OpenError`].
pub fn connect(
    uri: &DeviceUri,
    options: &OpenOptions,
    deadline: Deadline,
) -> Result<Box<dyn Link>, OpenError> {
    match uri {
        DeviceUri::Sim { .. } => Err(OpenError::Simulator { uri: uri.clone() }),
        DeviceUri::Serial { .. } => serial::connect_serial(uri, options, deadline),
        DeviceUri::Usb { .. } => usb::connect_usb(uri, options, deadline),
        DeviceUri::Pcie { .. } => pcie::connect_pcie(uri, options, deadline),
        DeviceUri::VfioUser { .. } => vfio_user::connect_vfio_user(uri, options, deadline),
    }
}

/// What a link's failure means when it is the first thing that happens.
fn link_refused(uri: &DeviceUri, error: LinkError) -> OpenError {
    let uri = uri.clone();
    match error {
        LinkError::TimedOut { waited_ms, .. } => OpenError::Silent { uri, waited_ms },
        LinkError::Garbage { what, .. } => OpenError::Garbage { uri, what },
        LinkError::Versions { card_min, .. } if card_min > PROTOCOL_VERSION => {
            OpenError::TooNew { uri, card: card_min, driver: PROTOCOL_VERSION }
        }
        LinkError::Versions { card_max, .. } => {
            OpenError::TooOld { uri, card: card_max, driver: PROTOCOL_VERSION }
        }
        other => OpenError::Link(other),
    }
}

fn refused(uri: &DeviceUri, error: DeviceError) -> OpenError {
    match error {
        DeviceError::Link(error) => link_refused(uri, error),
        DeviceError::TimedOut { waited_ms } => OpenError::Silent { uri: uri.clone(), waited_ms },
        DeviceError::BadReply { what, .. } => OpenError::Garbage { uri: uri.clone(), what },
        other => OpenError::Card(other),
    }
}

/// The system's error number of a refusal to open something.
fn errno_of(error: &LinkError) -> Option<i32> {
    match error {
        LinkError::System { errno, .. } => Some(*errno),
        _ => None,
    }
}
