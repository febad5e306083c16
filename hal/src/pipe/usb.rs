//! A pair of USB bulk endpoints.

use super::{BytePipe, PipeFraming};
use crate::{Deadline, LinkError, LinkKind, ResetLevel};
use rusb::{Context, Device, DeviceHandle, Direction, TransferType, UsbContext};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Which USB device is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsbName {
    /// Vendor number.
    pub vendor: u16,
    /// Product number.
    pub product: u16,
    /// Serial text, where one device of several is meant.
    pub serial: Option<String>,
}

/// A card behind bulk endpoints, one in each direction.
///
/// A thread keeps a read pending, because a card may only speak when it is asked to.
pub struct UsbPipe {
    name: UsbName,
    address: String,
    port: Option<Port>,
}

struct Port {
    handle: Arc<DeviceHandle<Context>>,
    interface: u8,
    endpoint_in: u8,
    endpoint_out: u8,
    packet: usize,
    inbox: Arc<Inbox>,
    reader: Option<JoinHandle<()>>,
    /// Bytes of the packet at hand that went out before the time was up.
    sent_before: usize,
}

/// Transfers that have come in, and how reading ended.
struct Inbox {
    state: Mutex<Arrived>,
    changed: Condvar,
    stop: AtomicBool,
}

#[derive(Default)]
struct Arrived {
    transfers: VecDeque<Vec<u8>>,
    ended: Option<rusb::Error>,
}

/// Most bytes of one transfer of a card.
const TRANSFER_BYTES: usize = 64 << 10;
/// Bytes of one read. The library cuts longer ones into requests of so many bytes, and has the kernel
/// take back those that a short transfer leaves over, which costs more than the transfer.
const READ_BYTES: usize = 16 << 10;
/// How long a read stays pending before the reader looks whether it should stop.
const READ_TIME: Duration = Duration::from_millis(100);
/// Transfers that wait to be taken before the reader waits too.
const INBOX_MAX: usize = 64;

impl UsbPipe {
    /// Opens the device and takes the interface with the bulk endpoints.
    ///
    /// Errors: [`LinkError::System`]: `ENODEV` where there is no such device, `EACCES` where the
    /// user may not open it, `EBUSY` where somebody else has it, and `ENXIO` where it has no pair
    /// of bulk endpoints.
    pub fn open(name: UsbName) -> Result<Self, LinkError> {
        let mut address = format!("usb:{:04x}:{:04x}", name.vendor, name.product);
        if let Some(serial) = &name.serial {
            address.push(':');
            address.push_str(serial);
        }
        let (port, serial) = open_port(&name).map_err(|e| refused(&address, e))?;
        // From here on this card is meant and no other of its kind.
        let name = UsbName { serial: name.serial.or(serial), ..name };
        Ok(Self { name, address, port: Some(port) })
    }

    fn port(&mut self, doing: &'static str) -> Result<&mut Port, LinkError> {
        let gone = LinkError::Gone { address: self.address.clone(), doing };
        self.port.as_mut().ok_or(gone)
    }
}

/// Every device with these numbers, or with any where they are `None`: its name and where it is
/// plugged in.
///
/// Errors: what libusb says.
pub fn usb_devices(numbers: Option<(u16, u16)>) -> rusb::Result<Vec<UsbName>> {
    let mut found = Vec::new();
    for device in Context::new()?.devices()?.iter() {
        let Ok(descriptor) = device.device_descriptor() else { continue };
        let its = (descriptor.vendor_id(), descriptor.product_id());
        if numbers.is_none_or(|numbers| numbers == its) {
            let serial = device.open().ok().and_then(|handle| serial_of(&handle, &device));
            found.push(UsbName { vendor: its.0, product: its.1, serial });
        }
    }
    Ok(found)
}

fn serial_of(handle: &DeviceHandle<Context>, device: &Device<Context>) -> Option<String> {
    handle.read_serial_number_string_ascii(&device.device_descriptor().ok()?).ok()
}

fn open_port(name: &UsbName) -> rusb::Result<(Port, Option<String>)> {
    let mut refused = rusb::Error::NoDevice;
    // A system without USB has no such device either.
    let context = Context::new().map_err(|_| rusb::Error::NoDevice)?;
    for device in context.devices()?.iter() {
        let Ok(descriptor) = device.device_descriptor() else { continue };
        if (descriptor.vendor_id(), descriptor.product_id()) != (name.vendor, name.product) {
            continue;
        }
        let handle = match device.open() {
            Ok(handle) => handle,
            Err(error) => {
                refused = error;
                continue;
            }
        };
        let serial = serial_of(&handle, &device);
        if name.serial.is_none() || name.serial == serial {
            return claim(handle, &device).map(|port| (port, serial));
        }
    }
    Err(refused)
}

fn claim(handle: DeviceHandle<Context>, device: &Device<Context>) -> rusb::Result<Port> {
    let config = device.active_config_descriptor()?;
    for interface in config.interfaces() {
        for setting in interface.descriptors() {
            let bulk = |direction| {
                setting.endpoint_descriptors().find(|endpoint| {
                    endpoint.transfer_type() == TransferType::Bulk
                        && endpoint.direction() == direction
                })
            };
            let (Some(from_card), Some(to_card)) = (bulk(Direction::In), bulk(Direction::Out))
            else {
                continue;
            };
            let number = setting.interface_number();
            // Not every system has kernel drivers that could be in the way.
            let _ = handle.set_auto_detach_kernel_driver(true);
            handle.claim_interface(number)?;
            if setting.setting_number() != 0 {
                handle.set_alternate_setting(number, setting.setting_number())?;
            }
            let handle = Arc::new(handle);
            let inbox = Arc::new(Inbox {
                state: Mutex::default(),
                changed: Condvar::new(),
                stop: AtomicBool::new(false),
            });
            let (endpoint_in, endpoint_out) = (from_card.address(), to_card.address());
            let packet = usize::from(from_card.max_packet_size()).max(8);
            let reader = {
                let (handle, inbox) = (Arc::clone(&handle), Arc::clone(&inbox));
                thread::Builder::new()
                    .name("usb-reader".to_owned())
                    .spawn(move || read_all(&handle, endpoint_in, packet, &inbox))
                    .map_err(|_| rusb::Error::NoMem)?
            };
            return Ok(Port {
                handle,
                interface: number,
                endpoint_in,
                endpoint_out,
                packet: usize::from(to_card.max_packet_size()).max(8),
                inbox,
                reader: Some(reader),
                sent_before: 0,
            });
        }
    }
    Err(rusb::Error::NotFound)
}

/// Keeps a read pending until told to stop or the device is gone.
fn read_all(handle: &DeviceHandle<Context>, endpoint: u8, packet: usize, inbox: &Inbox) {
    let mut bytes = vec![0; TRANSFER_BYTES];
    let mut len = 0;
    while !inbox.stop.load(Ordering::Acquire) {
        let asked = READ_BYTES.min(TRANSFER_BYTES - len);
        let room = bytes.get_mut(len..len + asked).unwrap_or_default();
        let began = Instant::now();
        let result = handle.read_bulk(endpoint, room, READ_TIME);
        let in_time = began.elapsed() < READ_TIME;
        match result {
            Ok(read) => {
                len += read;
                // A read that is full, or that ran out of time, gives whole packets and no end: the
                // rest of the transfer comes with the next one. Otherwise a packet that is not
                // full, or empty, has ended it.
                let has_ended = (in_time && read < asked) || !read.is_multiple_of(packet);
                let is_whole = has_ended || len == TRANSFER_BYTES;
                if is_whole && len > 0 {
                    inbox.deliver(bytes.get(..len).unwrap_or_default().to_vec());
                    len = 0;
                }
            }
            // Nothing follows what came before.
            Err(rusb::Error::Timeout) if len > 0 => {
                inbox.deliver(bytes.get(..len).unwrap_or_default().to_vec());
                len = 0;
            }
            Err(rusb::Error::Timeout | rusb::Error::Interrupted) => {}
            Err(rusb::Error::Pipe) => {
                len = 0;
                if handle.clear_halt(endpoint).is_err() {
                    thread::sleep(Duration::from_millis(1));
                }
            }
            Err(rusb::Error::Overflow) => len = 0,
            Err(error) => return inbox.end(error),
        }
    }
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, Arrived> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn deliver(&self, transfer: Vec<u8>) {
        let mut state = self.lock();
        while state.transfers.len() >= INBOX_MAX && !self.stop.load(Ordering::Acquire) {
            let waited = self.changed.wait_timeout(state, READ_TIME);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.transfers.push_back(transfer);
        self.changed.notify_all();
    }

    fn end(&self, error: rusb::Error) {
        self.lock().ended = Some(error);
        self.changed.notify_all();
    }
}

impl BytePipe for UsbPipe {
    fn kind(&self) -> LinkKind {
        LinkKind::Usb
    }

    fn address(&self) -> &str {
        &self.address
    }

    fn framing(&self) -> PipeFraming {
        PipeFraming::Packets
    }

    fn read(&mut self, into: &mut [u8]) -> Result<usize, LinkError> {
        let address = self.address.clone();
        let port = self.port("reading")?;
        let mut state = port.inbox.lock();
        if let Some(transfer) = state.transfers.pop_front() {
            port.inbox.changed.notify_all();
            let len = transfer.len().min(into.len());
            into[..len].copy_from_slice(&transfer[..len]);
            return Ok(len);
        }
        match state.ended {
            None => Ok(0),
            Some(_) => Err(LinkError::Gone { address, doing: "reading" }),
        }
    }

    fn write(&mut self, bytes: &[u8], deadline: Deadline) -> Result<usize, LinkError> {
        let address = self.address.clone();
        let port = self.port("writing")?;
        // libusb takes zero for "for ever".
        let time = deadline.left().max(Duration::from_millis(1));
        match port.handle.write_bulk(port.endpoint_out, bytes, time) {
            // Where the time is up, libusb still says how much went out.
            Ok(sent) if sent < bytes.len() => {
                port.sent_before += sent;
                Ok(sent)
            }
            Ok(sent) => {
                let whole = port.sent_before + sent;
                port.sent_before = 0;
                if whole.is_multiple_of(port.packet) {
                    // Only a short packet ends a transfer.
                    let time = deadline.left().max(Duration::from_millis(1));
                    let _ = port.handle.write_bulk(port.endpoint_out, &[], time);
                }
                Ok(sent)
            }
            Err(rusb::Error::Timeout | rusb::Error::Interrupted) => Ok(0),
            Err(rusb::Error::Pipe) => {
                let _ = port.handle.clear_halt(port.endpoint_out);
                Ok(0)
            }
            Err(rusb::Error::NoDevice | rusb::Error::Io | rusb::Error::NotFound) => {
                Err(LinkError::Gone { address, doing: "writing" })
            }
            Err(error) => Err(refused(&address, error)),
        }
    }

    fn wait(&mut self, want_write: bool, deadline: Deadline) -> Result<(), LinkError> {
        if want_write {
            // Writing waits by itself.
            return Ok(());
        }
        let port = self.port("waiting")?;
        let mut state = port.inbox.lock();
        while state.transfers.is_empty() && state.ended.is_none() {
            let left = deadline.left();
            if left.is_zero() {
                break;
            }
            let waited = port.inbox.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }

    fn reset(&mut self, level: ResetLevel, deadline: Deadline) -> Result<(), LinkError> {
        match level {
            ResetLevel::Link | ResetLevel::Queue => {
                let port = self.port("starting over")?;
                port.inbox.lock().transfers.clear();
                port.sent_before = 0;
                if level == ResetLevel::Queue {
                    let _ = port.handle.clear_halt(port.endpoint_out);
                    let _ = port.handle.clear_halt(port.endpoint_in);
                }
                Ok(())
            }
            ResetLevel::Function => {
                let address = self.address.clone();
                let doing = "resetting the port";
                let handle = Arc::clone(&self.port(doing)?.handle);
                let (done, finished) = mpsc::channel();
                // The kernel may take long over a device that does not answer.
                thread::spawn(move || {
                    let _ = done.send(handle.reset());
                });
                match finished.recv_timeout(deadline.left()) {
                    Ok(Ok(())) => self.reset(ResetLevel::Queue, deadline),
                    Ok(Err(_)) => Err(LinkError::Gone { address, doing }),
                    Err(_) => Err(LinkError::TimedOut { address, doing, waited_ms: 0 }),
                }
            }
            ResetLevel::Reenumerate => {
                self.port = None;
                loop {
                    match open_port(&self.name) {
                        Ok((port, _)) => {
                            self.port = Some(port);
                            return Ok(());
                        }
                        Err(_) if deadline.passed() => {
                            let doing = "waiting for it to come back";
                            return Err(LinkError::Gone { address: self.address.clone(), doing });
                        }
                        Err(_) => thread::sleep(deadline.left().min(Duration::from_millis(20))),
                    }
                }
            }
        }
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.inbox.stop.store(true, Ordering::Release);
        self.inbox.changed.notify_all();
        let (reader, handle, interface) =
            (self.reader.take(), Arc::clone(&self.handle), self.interface);
        let (done, finished) = mpsc::channel();
        // The kernel may hold up whoever closes a device that has died.
        let closing = thread::Builder::new().name("usb-close".to_owned()).spawn(move || {
            if let Some(reader) = reader {
                let _ = reader.join();
            }
            let _ = handle.release_interface(interface);
            drop(handle);
            let _ = done.send(());
        });
        if closing.is_ok() {
            // A device that answers is free for the next user at once.
            let _ = finished.recv_timeout(Duration::from_millis(500));
        }
    }
}

fn refused(address: &str, error: rusb::Error) -> LinkError {
    let errno = match error {
        rusb::Error::Access => Errno::ACCESS,
        rusb::Error::Busy => Errno::BUSY,
        rusb::Error::NoDevice => Errno::NODEV,
        rusb::Error::NotFound => Errno::NXIO,
        rusb::Error::NoMem => Errno::NOMEM,
        rusb::Error::NotSupported => Errno::OPNOTSUPP,
        _ => Errno::INVAL,
    };
    let doing = "opening the device";
    LinkError::System { address: address.to_owned(), doing, errno: errno.raw_os_error() }
}
