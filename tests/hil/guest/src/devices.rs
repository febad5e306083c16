//! Bringing the machine's devices to where the drivers find them.

use crate::kernel::{bind_to_vfio, wait_for};
use crate::report::Failure;
use rustix::fd::{AsRawFd as _, OwnedFd};
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// How long a device of the machine may take to show up.
const APPEARANCE: Duration = Duration::from_secs(5);

/// The address of a card of this machine, once its driver has it.
///
/// Errors: the device does not appear, or there is no such card.
pub(crate) fn uri_of(card: &str) -> Result<String, Failure> {
    let serial = |path: &str| node(path).map(|path| format!("serial:{}", path.display()));
    Ok(match card {
        "pcie" => pci("0000:00:05.0")?,
        "pcie-faults" => pci("0000:00:06.0")?,
        "pcie-unplug" => pci("0000:00:07.0")?,
        "usbip" => {
            attach_usbip(&node("/dev/vport0p1")?)?;
            usb(card)?
        }
        "usb" | "usb-faults" | "usb-unplug" => usb(card)?,
        "uart" => serial("/dev/ttyS1")?,
        "ftdi" => serial("/dev/ttyUSB0")?,
        "ftdi-faults" => serial("/dev/ttyUSB1")?,
        "acm" => serial("/dev/ttyACM0")?,
        _ => return Err("no such card".into()),
    })
}

/// Gives the PCI function at this address to `vfio-pci`.
fn pci(address: &str) -> io::Result<String> {
    bind_to_vfio(address)?;
    Ok(format!("pcie:{address}"))
}

/// Waits for a device node.
fn node(path: &str) -> io::Result<PathBuf> {
    wait_for(APPEARANCE, path, || Path::new(path).exists().then(|| PathBuf::from(path)))
}

/// Waits for the card that calls itself `name`.
fn usb(name: &str) -> io::Result<String> {
    wait_for(APPEARANCE, &format!("the USB device {name}"), || {
        let devices = fs::read_dir("/sys/bus/usb/devices").ok()?;
        devices.flatten().find_map(|device| {
            let text = |file: &str| fs::read_to_string(device.path().join(file)).ok();
            let is_it = text("serial")?.trim() == name;
            let (vendor, product) = (text("idVendor")?, text("idProduct")?);
            is_it.then(|| format!("usb:{}:{}:{name}", vendor.trim(), product.trim()))
        })
    })
}

/// Plugs a USB/IP device that is at the far end of a virtio port into `vhci-hcd`.
///
/// Errors: the server refuses; the kernel refuses.
fn attach_usbip(port: &Path) -> io::Result<()> {
    let status = fs::read_to_string("/sys/devices/platform/vhci_hcd.0/status")?;
    // The fourth field of a port in use is not zero; the first line is the heading.
    let device = |line: &str| line.split_whitespace().nth(4).map(str::to_owned);
    if status.lines().nth(1).and_then(device).is_some_and(|id| id != "00000000") {
        return Ok(());
    }
    let mut to_server = File::options().read(true).write(true).open(port)?;
    let mut request = vec![0x01, 0x11, 0x80, 0x03, 0, 0, 0, 0];
    let mut bus_id = [0; 32];
    bus_id[..3].copy_from_slice(b"1-1");
    request.extend_from_slice(&bus_id);
    to_server.write_all(&request)?;
    let mut answer = [0; 8 + 312];
    to_server.read_exact(&mut answer)?;
    if answer[4..8] != [0; 4] {
        return Err(io::Error::other("the USB/IP server exports no device 1-1"));
    }
    let (kernel, ours) = UnixStream::pair()?;
    // The kernel takes a socket of ours by its number and keeps it.
    let (root_port, device, high_speed) = (0, 0x0001_0001, 3);
    let command = format!("{root_port} {} {device} {high_speed}", kernel.as_raw_fd());
    fs::write("/sys/devices/platform/vhci_hcd.0/attach", command)?;
    forward(to_server.try_clone()?.into(), ours.try_clone()?.into());
    forward(ours.into(), to_server.into());
    Ok(())
}

/// Carries bytes from one descriptor to another until either ends.
fn forward(from: OwnedFd, to: OwnedFd) {
    thread::spawn(move || {
        let (mut from, mut to) = (File::from(from), File::from(to));
        io::copy(&mut from, &mut to)
    });
}
