use super::error::Advice;
use super::{OpenError, OpenOptions, errno_of, link_refused};
use crate::pci::{RingLink, RingOptions, VfioFunction};
use crate::{Deadline, DeviceUri, Link, LinkError};
use litecore_firmware_proto::registers::{PCI_DEVICE, PCI_VENDOR};
use rustix::io::Errno;
use std::fs;
use std::path::Path;

pub(super) fn connect_pcie(
    uri: &DeviceUri,
    options: &OpenOptions,
    deadline: Deadline,
) -> Result<Box<dyn Link>, OpenError> {
    let DeviceUri::Pcie { address } = uri else {
        return Err(OpenError::Simulator { uri: uri.clone() });
    };
    let devices = options.system.sys.join("bus/pci/devices");
    let node = ready(uri, &devices.join(address.to_string()), &options.system.dev)?;
    let function = VfioFunction::open(&devices, *address).map_err(|error| {
        let uri = uri.clone();
        match errno_of(&error).map(Errno::from_raw_os_error) {
            Some(Errno::BUSY) => OpenError::Busy { uri },
            Some(Errno::ACCESS | Errno::PERM) => {
                OpenError::NotPermitted { uri, advice: Advice::VfioRule { node } }
            }
            Some(Errno::NOENT) => OpenError::Absent { uri, advice: Advice::List },
            _ => OpenError::Link(error),
        }
    })?;
    let ring = RingOptions { time_scale: options.time_scale, ..options.ring };
    let link = RingLink::open(Box::new(function), ring, deadline);
    link.map(|link| Box::new(link) as Box<dyn Link>).map_err(|error| match error {
        LinkError::Gone { .. } => OpenError::Absent { uri: uri.clone(), advice: Advice::List },
        other => link_refused(uri, other),
    })
}

/// Whether the function is there, of our kind, and lent to programs; its node in `/dev`.
fn ready(uri: &DeviceUri, function: &Path, dev: &Path) -> Result<String, OpenError> {
    let uri = uri.clone();
    if !function.exists() {
        return Err(OpenError::Absent { uri, advice: Advice::List });
    }
    let number = |file: &str| {
        let text = fs::read_to_string(function.join(file)).unwrap_or_default();
        u16::from_str_radix(text.trim().trim_start_matches("0x"), 16).unwrap_or(0)
    };
    let (vendor, device) = (number("vendor"), number("device"));
    if (vendor, device) != (PCI_VENDOR, PCI_DEVICE) {
        let what = format!("the PCI function {vendor:04x}:{device:04x}");
        return Err(OpenError::WrongKind { uri, advice: Advice::OtherThanCard { what } });
    }
    let name_behind = |link: &str| {
        let target = fs::read_link(function.join(link)).ok()?;
        Some(target.file_name()?.to_string_lossy().into_owned())
    };
    let Some(group) = name_behind("iommu_group") else {
        return Err(OpenError::NotBound { uri, advice: Advice::EnableIommu });
    };
    let driver = name_behind("driver");
    if driver.as_deref() != Some("vfio-pci") {
        let address = function.file_name().unwrap_or_default().to_string_lossy().into_owned();
        return Err(OpenError::NotBound { uri, advice: Advice::BindVfio { address, driver } });
    }
    Ok(dev.join("vfio").join(group).to_string_lossy().into_owned())
}
