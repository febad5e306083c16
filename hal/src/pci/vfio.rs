//! A PCI function that the kernel's vfio-pci driver lends to this process.

#![allow(unsafe_code, reason = "memory is mapped for a card by address")]

use super::memory::HostMemory;
use super::{Arena, PciBackend};
use crate::{Deadline, LinkError, LinkKind, PcieAddress};
use pci_driver::backends::vfio::VfioPciDevice;
use pci_driver::device::PciDevice;
use pci_driver::regions::{MappedOwningPciRegion, OwningPciRegion, PciRegion, Permissions};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

/// A function behind vfio-pci: registers by memory access, transfers through the system's memory
/// management unit, interrupts as events.
///
/// Resetting and closing a function that no longer answers keep the kernel busy for more than a
/// minute, so both run on threads of their own and never hold up the caller.
pub struct VfioFunction {
    sysfs: PathBuf,
    address: String,
    // `None` only while it is being opened anew.
    open: Option<Open>,
    interrupt: OwnedFd,
    /// A reset that did not finish in time; the function is not to be used until it has.
    resetting: Option<Receiver<io::Result<()>>>,
}

struct Open {
    device: Arc<VfioPciDevice>,
    registers: Registers,
    /// Kept until the kernel has closed the function and no transfer can be under way.
    mapped: Option<Arc<Arena>>,
}

enum Registers {
    Mapped(MappedOwningPciRegion),
    /// Regions the kernel does not let us map are read by system call.
    Unmapped(OwningPciRegion),
}

/// Offset of the Command register in configuration space. Source: PCI Express Base Specification.
const COMMAND: u64 = 0x04;
/// Memory space and bus mastering on.
const MASTER: u16 = 0x0006;
/// Memory space on, bus mastering off.
const NO_MASTER: u16 = 0x0002;

impl VfioFunction {
    /// Opens the function at `address`, below the system's list of devices at `sysfs`, which is
    /// `/sys/bus/pci/devices` but in tests.
    ///
    /// Errors: [`LinkError::System`] with the kernel's error number.
    pub fn open(sysfs: &Path, address: PcieAddress) -> Result<Self, LinkError> {
        let text = format!("pcie:{address}");
        let interrupt = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|e| LinkError::system(&text, "making an event", e))?;
        let sysfs = sysfs.join(address.to_string());
        let open = open_device(&sysfs).map_err(|e| failed(&text, "opening the function", &e))?;
        Ok(Self { sysfs, address: text, open: Some(open), interrupt, resetting: None })
    }

    fn open_one(&self, doing: &'static str) -> Result<&Open, LinkError> {
        let gone = || LinkError::Gone { address: self.address.clone(), doing };
        self.open.as_ref().ok_or_else(gone)
    }

    fn command(&self, value: u16, doing: &'static str) -> Result<(), LinkError> {
        let config = self.open_one(doing)?.device.config();
        config.write_le_u16(COMMAND, value).map_err(|e| failed(&self.address, doing, &e))
    }

    /// Lets go of the function on a thread of its own.
    fn let_go(&mut self) {
        if let Some(open) = self.open.take() {
            let (done, finished) = mpsc::channel();
            let thread = thread::Builder::new().name("card-close".to_owned());
            // Where no thread can be had, `open` is dropped right here.
            let _ = thread.spawn(move || {
                drop(open.registers);
                drop(open.device);
                drop(open.mapped);
                let _ = done.send(());
            });
            // A function that answers is closed at once, and free for the next user.
            let _ = finished.recv_timeout(Duration::from_millis(500));
        }
    }
}

fn open_device(sysfs: &Path) -> io::Result<Open> {
    let device = VfioPciDevice::open(sysfs)?;
    // The kernel hands functions over with bus mastering off, and their memory possibly too.
    device.config().write_le_u16(COMMAND, MASTER)?;
    let bar = device.bar(0).ok_or_else(|| io::Error::from(Errno::NODEV))?;
    let registers = if bar.is_mappable() {
        Registers::Mapped(bar.map(.., Permissions::ReadWrite)?)
    } else {
        Registers::Unmapped(bar)
    };
    Ok(Open { device: Arc::new(device), registers, mapped: None })
}

impl PciBackend for VfioFunction {
    fn kind(&self) -> LinkKind {
        LinkKind::Pcie
    }

    fn address(&self) -> &str {
        &self.address
    }

    fn limit(&mut self, _deadline: Deadline) {
        // Register accesses do not wait; what may is on threads.
    }

    fn config_read(&mut self, offset: u16, into: &mut [u8]) -> Result<(), LinkError> {
        let doing = "reading configuration space";
        let config = self.open_one(doing)?.device.config();
        config.read_bytes(u64::from(offset), into).map_err(|e| failed(&self.address, doing, &e))
    }

    fn config_write(&mut self, offset: u16, from: &[u8]) -> Result<(), LinkError> {
        let doing = "writing configuration space";
        let config = self.open_one(doing)?.device.config();
        for (at, byte) in (u64::from(offset)..).zip(from) {
            config.write_u8(at, *byte).map_err(|e| failed(&self.address, doing, &e))?;
        }
        Ok(())
    }

    fn read32(&mut self, offset: u64) -> Result<u32, LinkError> {
        let doing = "reading a register";
        let value = match &self.open_one(doing)?.registers {
            Registers::Mapped(bar) => bar.read_le_u32(offset),
            Registers::Unmapped(bar) => bar.read_le_u32(offset),
        };
        value.map_err(|e| failed(&self.address, doing, &e))
    }

    fn write32(&mut self, offset: u64, value: u32) -> Result<(), LinkError> {
        let doing = "writing a register";
        let written = match &self.open_one(doing)?.registers {
            Registers::Mapped(bar) => bar.write_le_u32(offset, value),
            Registers::Unmapped(bar) => bar.write_le_u32(offset, value),
        };
        written.map_err(|e| failed(&self.address, doing, &e))
    }

    fn memory(&self, len: usize) -> Result<HostMemory, LinkError> {
        HostMemory::private(&self.address, len)
    }

    fn map(&mut self, arena: &Arc<Arena>) -> Result<(), LinkError> {
        let doing = "mapping memory for the card";
        let memory = arena.memory();
        let open = self.open_one(doing)?;
        let iommu = open.device.iommu();
        // SAFETY: the range is the whole of a mapping that `mapped` keeps alive until the function
        // is closed, and which is only reached through `ArenaSlice`.
        let mapped = unsafe {
            let from = memory.as_ptr();
            iommu.map(arena.bus_address(), memory.len(), from, Permissions::ReadWrite)
        };
        mapped.map_err(|e| failed(&self.address, doing, &e))?;
        if let Some(open) = &mut self.open {
            open.mapped = Some(Arc::clone(arena));
        }
        Ok(())
    }

    fn enable(&mut self) -> Result<(), LinkError> {
        let doing = "enabling interrupts";
        let fd = self.interrupt.as_raw_fd();
        let interrupts = self.open_one(doing)?.device.interrupts();
        let kind = if interrupts.msi_x().max() > 0 { interrupts.msi_x() } else { interrupts.msi() };
        // Enabling twice is an error for the kernel; disabling what is off may be one too.
        let _ = kind.disable();
        kind.enable(&[fd]).map_err(|e| failed(&self.address, doing, &e))?;
        self.command(MASTER, doing)
    }

    fn wait_interrupt(&mut self, deadline: Deadline) -> Result<bool, LinkError> {
        let doing = "waiting for an interrupt";
        loop {
            let mut count = [0_u8; 8];
            match rustix::io::read(&self.interrupt, &mut count) {
                Ok(_) => return Ok(true),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(errno) => return Err(LinkError::system(&self.address, doing, errno)),
            }
            let left = deadline.left();
            let time = Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            };
            match poll(&mut [PollFd::new(&self.interrupt, PollFlags::IN)], Some(&time)) {
                Ok(0) => return Ok(false),
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(LinkError::system(&self.address, doing, errno)),
            }
        }
    }

    fn silence(&mut self) -> Result<(), LinkError> {
        self.command(NO_MASTER, "switching bus mastering off")
    }

    fn reset(&mut self, deadline: Deadline) -> Result<(), LinkError> {
        let doing = "resetting the function";
        let started = Instant::now();
        let finished = if let Some(running) = self.resetting.take() {
            running
        } else {
            let device = Arc::clone(&self.open_one(doing)?.device);
            let (done, finished) = mpsc::channel();
            thread::Builder::new()
                .name("card-reset".to_owned())
                .spawn(move || {
                    let _ = done.send(device.reset());
                })
                .map_err(|e| failed(&self.address, doing, &e))?;
            finished
        };
        let Ok(result) = finished.recv_timeout(deadline.left()) else {
            self.resetting = Some(finished);
            let waited_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
            let address = self.address.clone();
            return Err(LinkError::TimedOut { address, doing, waited_ms });
        };
        result.map_err(|e| failed(&self.address, doing, &e))?;
        self.command(NO_MASTER, doing)
    }

    fn reopen(&mut self, deadline: Deadline) -> Result<(), LinkError> {
        self.let_go();
        self.resetting = None;
        loop {
            bind(&self.sysfs);
            match open_device(&self.sysfs) {
                Ok(open) => {
                    self.open = Some(open);
                    return Ok(());
                }
                Err(error) if deadline.passed() => {
                    return Err(failed(&self.address, "waiting for it to come back", &error));
                }
                Err(_) => thread::sleep(deadline.left().min(Duration::from_millis(5))),
            }
        }
    }
}

impl Drop for VfioFunction {
    fn drop(&mut self) {
        self.let_go();
    }
}

/// Gives a function that has come back to vfio-pci again, as it was before; where that takes rights
/// that we lack, a rule of the system's must do it.
fn bind(sysfs: &Path) {
    let is_bound = fs::read_link(sysfs.join("driver"))
        .is_ok_and(|driver| driver.file_name().is_some_and(|name| name == "vfio-pci"));
    let Some(name) = sysfs.file_name().filter(|_| !is_bound && sysfs.exists()) else { return };
    let _ = fs::write(sysfs.join("driver_override"), "vfio-pci");
    let probe = sysfs.parent().map(|devices| devices.join("../drivers_probe"));
    let _ = probe.map(|probe| fs::write(probe, name.as_encoded_bytes()));
}

fn failed(address: &str, doing: &'static str, error: &io::Error) -> LinkError {
    let errno = Errno::from_io_error(error).unwrap_or(Errno::INVAL);
    LinkError::system(address, doing, errno)
}
