//! From an address to a device: the simulator in this process, or a card.

use crate::args::LinkSettings;
use crate::error::CliError;
use crate::workload::{NamedChip, named_chip};
use litecore_hal::{CardDevice, Device, DeviceUri, OpenOptions, fresh_session, open_card};
use litecore_types::chip::BUILTIN_NAMES;

/// An open device, and the chip it carries.
pub(crate) struct OpenDevice {
    pub(crate) device: Box<dyn Device>,
    /// The chip's name, as the device says it.
    pub(crate) chip: String,
    /// Its description; a card may carry a chip of which only its maker has one.
    pub(crate) description: Option<NamedChip>,
}

/// Opens the device at an address. Every command that runs a model opens it here.
pub(crate) fn open(uri: &DeviceUri, settings: &LinkSettings) -> Result<OpenDevice, CliError> {
    if let DeviceUri::Sim { chip, .. } = uri {
        let device = Box::new(litecore_sim::open(uri)?);
        let description = named_chip(chip, &[])?;
        let chip = description.chip.name.clone();
        return Ok(OpenDevice { device, chip, description: Some(description) });
    }
    let device = litecore_hal::open(uri, &options(settings))?;
    let chip = device.capabilities().chip.clone();
    let shipped = BUILTIN_NAMES.contains(&chip.as_str());
    let description = if shipped { Some(named_chip(&chip, &[])?) } else { None };
    Ok(OpenDevice { device, chip, description })
}

/// Opens a card, with its link and its firmware.
pub(crate) fn card(uri: &DeviceUri, settings: &LinkSettings) -> Result<CardDevice, CliError> {
    Ok(open_card(uri, &options(settings))?)
}

/// How cards are opened.
pub(crate) fn options(settings: &LinkSettings) -> OpenOptions {
    OpenOptions {
        time_scale: settings.time_scale,
        baud: settings.baud,
        trace: settings.trace.clone(),
        ..OpenOptions::usual(fresh_session())
    }
}
