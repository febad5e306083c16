//! The emulated card as a PCI function behind a socket: a vfio-user server.
//!
//! QEMU's `vfio-user-pci` puts it on a guest's bus; the driver's own client drives it without one.

mod dma;
mod window;
mod wire;

use super::socket::Socket;
use super::stop::{Clock, Stop, Watch, Woken, wait};
use dma::{Mapping, SharedMemory};
use litecore_hal::pci::{Function, Irq};
use rustix::io::Errno;
use std::cell::OnceCell;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;
use wire::{Fields, Message, words};

/// Regions of a PCI function, in VFIO's order: BARs 0 to 5, expansion ROM, configuration, VGA.
const REGIONS: u32 = 9;
const CONFIGURATION: u32 = 7;
const CONFIGURATION_BYTES: u64 = 4096;
/// Interrupt kinds, in VFIO's order: pin, MSI, MSI-X, error, request.
const INTERRUPTS: u32 = 5;
const MSI: u32 = 1;
const MSI_X: u32 = 2;
/// Flags of the device: it can be reset, and it is of the PCI kind.
const RESETTABLE_AND_PCI: u32 = 3;
/// The flag of interrupts that arrive through descriptors.
const BY_EVENTFD: u32 = 1;
/// A client that says half a message and then nothing is let go after this long.
const HALF_A_MESSAGE: Duration = Duration::from_secs(5);

/// A vfio-user server. Its socket is taken away when it goes.
#[derive(Debug)]
pub struct VfioUserServer {
    socket: Socket,
}

impl VfioUserServer {
    /// Listens at `path`; a socket that an ended process left there is replaced.
    ///
    /// Errors: what the system says; somebody listens there already.
    pub fn bind(path: &Path) -> io::Result<Self> {
        Ok(Self { socket: Socket::bind(path)? })
    }

    /// Serves one client after the other until it is stopped. Each client finds the function
    /// freshly reset.
    ///
    /// `note` gets a line for whoever watches when a client comes, leaves or is let go.
    ///
    /// Errors: the listening socket fails. A client's mistakes end its connection and no more.
    pub fn serve(
        &self,
        function: &mut dyn Function,
        clock: &Clock,
        stop: &Stop,
        note: &mut dyn FnMut(&str),
    ) -> io::Result<()> {
        while let Some(mut stream) = self.socket.accept(stop)? {
            note("a client is here");
            stream.set_read_timeout(Some(HALF_A_MESSAGE))?;
            stream.set_write_timeout(Some(HALF_A_MESSAGE))?;
            let mut client = Client::default();
            match client.serve(&mut stream, function, clock, stop) {
                Ok(()) => note("the client has left"),
                Err(error) => note(&format!("the client is let go: {error}")),
            }
            function.reset(clock.now_ns());
        }
        Ok(())
    }
}

/// What one client has set up.
#[derive(Debug, Default)]
struct Client {
    memory: SharedMemory,
    interrupts: Interrupts,
}

/// Where interrupts go: one descriptor per vector, of the kind the client has enabled.
#[derive(Debug, Default)]
struct Interrupts {
    msi: Vec<Option<OwnedFd>>,
    msi_x: Vec<Option<OwnedFd>>,
}

impl Irq for Interrupts {
    fn raise(&mut self, vector: u16) {
        let of = |fds: &[Option<OwnedFd>]| {
            let fd = fds.get(usize::from(vector))?.as_ref()?;
            // A full counter has the client's attention already; a closed one has no client.
            let _ = rustix::io::write(fd, &1_u64.to_ne_bytes());
            Some(())
        };
        let _ = of(&self.msi_x).or_else(|| of(&self.msi));
    }
}

impl Client {
    fn serve(
        &mut self,
        stream: &mut UnixStream,
        function: &mut dyn Function,
        clock: &Clock,
        stop: &Stop,
    ) -> io::Result<()> {
        loop {
            let time = clock.until(function.next_wakeup_ns());
            match wait(&[Watch::reading(&*stream)], stop, time)? {
                Woken::Stopped => return Ok(()),
                Woken::Ready => {
                    let Some(mut message) = wire::receive(stream)? else { return Ok(()) };
                    let outcome = self.handle(&mut message, function, clock);
                    message.answer(stream, outcome.as_deref().map_err(|error| *error))?;
                }
                Woken::Time => {}
            }
            function.advance(clock.now_ns(), &mut self.memory, &mut self.interrupts);
        }
    }

    /// Carries a message out and gives the body of the answer.
    fn handle(
        &mut self,
        message: &mut Message,
        function: &mut dyn Function,
        clock: &Clock,
    ) -> Result<Vec<u8>, Errno> {
        let fds = std::mem::take(&mut message.fds);
        let mut fields = Fields { rest: &message.body };
        match message.command {
            wire::VERSION => version(&mut fields),
            wire::DMA_MAP => self.map(&mut fields, fds).map(|()| Vec::new()),
            wire::DMA_UNMAP => {
                self.unmap(&mut fields)?;
                Ok(message.body.clone())
            }
            wire::DEVICE_GET_INFO => Ok(words([16, RESETTABLE_AND_PCI, REGIONS, INTERRUPTS])),
            wire::DEVICE_GET_REGION_INFO => region_info(&mut fields, function),
            wire::DEVICE_GET_IRQ_INFO => {
                let (_, _, index) = (fields.u32()?, fields.u32()?, fields.u32()?);
                Ok(words([16, BY_EVENTFD, index, interrupt_count(index, function)?]))
            }
            wire::DEVICE_SET_IRQS => self.set_interrupts(&mut fields, fds, function),
            wire::REGION_READ => region_read(&mut fields, function, clock),
            wire::REGION_WRITE => self.region_write(&mut fields, function, clock),
            wire::DEVICE_RESET => {
                function.reset(clock.now_ns());
                Ok(Vec::new())
            }
            _ => Err(Errno::NOTSUP),
        }
    }

    fn map(&mut self, fields: &mut Fields<'_>, mut fds: Vec<OwnedFd>) -> Result<(), Errno> {
        let (_, flags) = (fields.u32()?, fields.u32()?);
        let (offset, address, len) = (fields.u64()?, fields.u64()?, fields.u64()?);
        if fds.len() > 1 {
            return Err(Errno::INVAL);
        }
        let (readable, writable) = (flags & 1 != 0, flags & 2 != 0);
        let file = fds.pop();
        let mapping = Mapping { len, offset, file, readable, writable, window: OnceCell::new() };
        self.memory.map(address, mapping)
    }

    fn unmap(&mut self, fields: &mut Fields<'_>) -> Result<(), Errno> {
        const ALL: u32 = 2;
        let (_, flags) = (fields.u32()?, fields.u32()?);
        let (address, len) = (fields.u64()?, fields.u64()?);
        if flags & ALL != 0 {
            self.memory.clear();
        } else {
            self.memory.unmap(address, len);
        }
        Ok(())
    }

    fn set_interrupts(
        &mut self,
        fields: &mut Fields<'_>,
        fds: Vec<OwnedFd>,
        function: &mut dyn Function,
    ) -> Result<Vec<u8>, Errno> {
        const BY_BOOLEAN: u32 = 1 << 1;
        const TRIGGER: u32 = 1 << 5;
        let (_, flags, index) = (fields.u32()?, fields.u32()?, fields.u32()?);
        let (start, count) = (fields.u32()?, fields.u32()?);
        let vectors = interrupt_count(index, function)?;
        if flags & BY_BOOLEAN != 0 || start.checked_add(count).is_none_or(|end| end > vectors) {
            return Err(Errno::INVAL);
        }
        let slots = match index {
            MSI => &mut self.interrupts.msi,
            MSI_X => &mut self.interrupts.msi_x,
            _ => return Ok(Vec::new()),
        };
        if flags & TRIGGER == 0 {
            // Masking is the client's own affair: a masked vector's descriptor it does not read.
            return Ok(Vec::new());
        }
        if count == 0 {
            slots.clear();
            return Ok(Vec::new());
        }
        slots.resize_with(usize::try_from(vectors).unwrap_or(0), || None);
        let start = usize::try_from(start).unwrap_or(usize::MAX);
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let mut fds = fds.into_iter();
        for slot in slots.iter_mut().skip(start).take(count) {
            *slot = fds.next();
        }
        Ok(Vec::new())
    }

    fn region_write(
        &mut self,
        fields: &mut Fields<'_>,
        function: &mut dyn Function,
        clock: &Clock,
    ) -> Result<Vec<u8>, Errno> {
        let (offset, region, count) = (fields.u64()?, fields.u32()?, fields.u32()?);
        let data = fields.rest;
        if u32::try_from(data.len()) != Ok(count) {
            return Err(Errno::INVAL);
        }
        in_region(function, region, offset, data.len())?;
        let now = clock.now_ns();
        if region == CONFIGURATION {
            function.config_write(offset, data, now);
        } else {
            let bar = u8::try_from(region).map_err(|_| Errno::INVAL)?;
            let (memory, interrupts) = (&mut self.memory, &mut self.interrupts);
            function.bar_write(bar, offset, data, now, memory, interrupts);
        }
        Ok(access(offset, region, count))
    }
}

fn version(fields: &mut Fields<'_>) -> Result<Vec<u8>, Errno> {
    let (major, _minor) = (fields.u16()?, fields.u16()?);
    if major != 0 {
        return Err(Errno::NOTSUP);
    }
    let mut body = vec![0; 4];
    let capabilities = format!(
        "{{\"capabilities\":{{\"max_msg_fds\":{},\"max_data_xfer_size\":{}}}}}\0",
        wire::FDS_MAX,
        1 << 20
    );
    body.extend_from_slice(capabilities.as_bytes());
    Ok(body)
}

fn region_info(fields: &mut Fields<'_>, function: &dyn Function) -> Result<Vec<u8>, Errno> {
    const READ_AND_WRITE: u32 = 3;
    let (_, _, index) = (fields.u32()?, fields.u32()?, fields.u32()?);
    let len = region_len(function, index)?;
    let flags = if len == 0 { 0 } else { READ_AND_WRITE };
    let mut body = words([32, flags, index, 0]);
    body.extend_from_slice(&len.to_le_bytes());
    body.extend_from_slice(&0_u64.to_le_bytes());
    Ok(body)
}

fn region_read(
    fields: &mut Fields<'_>,
    function: &mut dyn Function,
    clock: &Clock,
) -> Result<Vec<u8>, Errno> {
    let (offset, region, count) = (fields.u64()?, fields.u32()?, fields.u32()?);
    let len = usize::try_from(count).unwrap_or(usize::MAX);
    in_region(function, region, offset, len)?;
    let mut body = access(offset, region, count);
    let head = body.len();
    body.resize(head + len, 0);
    if region == CONFIGURATION {
        function.config_read(offset, &mut body[head..]);
    } else {
        let bar = u8::try_from(region).map_err(|_| Errno::INVAL)?;
        function.bar_read(bar, offset, &mut body[head..], clock.now_ns());
    }
    Ok(body)
}

fn access(offset: u64, region: u32, count: u32) -> Vec<u8> {
    let mut body = offset.to_le_bytes().to_vec();
    body.extend_from_slice(&words([region, count]));
    body
}

fn region_len(function: &dyn Function, index: u32) -> Result<u64, Errno> {
    match index {
        0..6 => Ok(function.bar_len(u8::try_from(index).unwrap_or(0))),
        CONFIGURATION => Ok(CONFIGURATION_BYTES),
        6 | 8..REGIONS => Ok(0),
        _ => Err(Errno::INVAL),
    }
}

fn in_region(function: &dyn Function, index: u32, offset: u64, len: usize) -> Result<(), Errno> {
    let end = offset.checked_add(len as u64).ok_or(Errno::INVAL)?;
    if end <= region_len(function, index)? { Ok(()) } else { Err(Errno::INVAL) }
}

/// How many vectors of a kind the function has, as its configuration space says.
fn interrupt_count(index: u32, function: &mut dyn Function) -> Result<u32, Errno> {
    const MSI_CAPABILITY: u8 = 0x05;
    const MSI_X_CAPABILITY: u8 = 0x11;
    let control = |function: &mut dyn Function, id| {
        let at = find_capability(function, id)?;
        let mut control = [0; 2];
        function.config_read(u64::from(at) + 2, &mut control);
        Some(u32::from(u16::from_le_bytes(control)))
    };
    match index {
        MSI => Ok(control(function, MSI_CAPABILITY).map_or(0, |word| 1 << (word >> 1 & 7).min(5))),
        MSI_X => Ok(control(function, MSI_X_CAPABILITY).map_or(0, |word| (word & 0x7ff) + 1)),
        0..INTERRUPTS => Ok(0),
        _ => Err(Errno::INVAL),
    }
}

/// Where a capability lies in configuration space.
fn find_capability(function: &mut dyn Function, id: u8) -> Option<u8> {
    const STATUS: u64 = 6;
    const HAS_CAPABILITIES: u8 = 0x10;
    const FIRST_CAPABILITY: u64 = 0x34;
    let byte = |function: &mut dyn Function, at| {
        let mut byte = [0];
        function.config_read(at, &mut byte);
        byte[0]
    };
    if byte(function, STATUS) & HAS_CAPABILITIES == 0 {
        return None;
    }
    let mut at = byte(function, FIRST_CAPABILITY) & !3;
    // As many as fit, so that a list that runs in a circle ends.
    for _ in 0..48 {
        if at < 0x40 {
            return None;
        }
        if byte(function, at.into()) == id {
            return Some(at);
        }
        at = byte(function, u64::from(at) + 1) & !3;
    }
    None
}

#[cfg(test)]
mod tests;
