use super::SystemPaths;
use crate::DeviceUri;
use litecore_firmware_proto::registers::{PCI_DEVICE, PCI_VENDOR};
use std::fs;
use std::path::{Path, PathBuf};

/// USB vendor of the cards; the product tells bulk endpoints from a serial port.
const USB_VENDOR: u16 = PCI_VENDOR;

/// Something that is, or may be, a card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundDevice {
    /// Its address.
    pub uri: DeviceUri,
    /// Whether its numbers say that it is a card; serial ports do not say.
    pub is_card: bool,
    /// What the system knows about it, for people.
    pub note: String,
}

/// What the system has where a card could be: PCI functions and USB devices of our numbers, and
/// every serial port behind a USB bridge. Nothing is opened.
///
/// Order: PCI, USB, serial; each by address. Emulated cards behind sockets are not found.
pub fn find_devices(system: &SystemPaths) -> Vec<FoundDevice> {
    let mut found = pci_functions(&system.sys);
    found.extend(usb_devices(&system.sys));
    found.extend(serial_ports(&system.sys, &system.dev));
    found
}

fn pci_functions(sys: &Path) -> Vec<FoundDevice> {
    let functions = entries(&sys.join("bus/pci/devices"));
    let card = |path: PathBuf| {
        let is_card = number(&path.join("vendor"))? == PCI_VENDOR
            && number(&path.join("device"))? == PCI_DEVICE;
        let name = path.file_name()?.to_str()?;
        let uri: DeviceUri = format!("pcie:{name}").parse().ok()?;
        let driver = fs::read_link(path.join("driver")).ok();
        let driver = driver.as_deref().and_then(Path::file_name).map(|d| d.to_string_lossy());
        let note = match driver.as_deref() {
            Some("vfio-pci") => "ready".to_owned(),
            Some(other) => format!("held by the kernel's driver {other}"),
            None => "no driver: bind it to vfio-pci".to_owned(),
        };
        is_card.then_some(FoundDevice { uri, is_card, note })
    };
    functions.into_iter().filter_map(card).collect()
}

fn usb_devices(sys: &Path) -> Vec<FoundDevice> {
    let devices = entries(&sys.join("bus/usb/devices"));
    let card = |path: PathBuf| {
        let (vendor, product) = (number(&path.join("idVendor"))?, number(&path.join("idProduct"))?);
        let serial = text(&path.join("serial"));
        let note = text(&path.join("product")).unwrap_or_default();
        let uri = DeviceUri::Usb { vendor, product, serial };
        (vendor == USB_VENDOR).then_some(FoundDevice { uri, is_card: true, note })
    };
    devices.into_iter().filter_map(card).collect()
}

fn serial_ports(sys: &Path, dev: &Path) -> Vec<FoundDevice> {
    let ports = entries(&sys.join("class/tty"));
    let port = |path: PathBuf| {
        let name = path.file_name()?.to_str()?.to_owned();
        let is_bridge = ["ttyUSB", "ttyACM", "ttyAMA"].iter().any(|start| name.starts_with(start));
        let port = dev.join(&name).to_str()?.to_owned();
        // The USB device is one or two levels above the port's own folder.
        let product = ["device/../product", "device/../../product"]
            .iter()
            .find_map(|place| text(&path.join(place)));
        let note = product.unwrap_or_else(|| "a serial port".to_owned());
        let uri = DeviceUri::Serial { port };
        is_bridge.then_some(FoundDevice { uri, is_card: false, note })
    };
    ports.into_iter().filter_map(port).collect()
}

/// The entries of a folder by name; none where there is no such folder.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> =
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn number(file: &Path) -> Option<u16> {
    u16::from_str_radix(text(file)?.trim_start_matches("0x"), 16).ok()
}

fn text(file: &Path) -> Option<String> {
    fs::read_to_string(file).ok().map(|text| text.trim().to_owned())
}
