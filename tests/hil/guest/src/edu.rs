//! QEMU's teaching device, which nobody here wrote, driven through the same backend as a card:
//! registers, interrupts, and transfers through the machine's memory unit.
//!
//! Its registers are as QEMU documents them (`docs/specs/edu.rst` there).

use crate::kernel;
use crate::report::{Failure, Report};
use litecore_hal::pci::{Arena, HUGE_PAGE, PciBackend, VfioFunction};
use litecore_hal::{Buffer, Deadline, PcieAddress};
use std::time::{Duration, Instant};

const IDENTIFICATION: u64 = 0x00;
const LIVENESS: u64 = 0x04;
const INTERRUPT_STATUS: u64 = 0x24;
const INTERRUPT_RAISE: u64 = 0x60;
const INTERRUPT_ACKNOWLEDGE: u64 = 0x64;
const TRANSFER_FROM: u64 = 0x80;
const TRANSFER_TO: u64 = 0x88;
const TRANSFER_BYTES: u64 = 0x90;
const TRANSFER_COMMAND: u64 = 0x98;

const START: u32 = 1;
const TO_MEMORY: u32 = 2;
const INTERRUPT_AFTER: u32 = 4;
/// What the interrupt after a transfer reads as.
const TRANSFERRED: u32 = 0x100;
/// Where the device's own buffer lies.
const OWN_BUFFER: u32 = 0x4_0000;
/// Half its buffer: QEMU ends the whole machine on a transfer that reaches the buffer's end.
const BYTES: usize = 2048;
/// Where the device sees our memory; its address lines are set to 32.
const BUS_ADDRESS: u64 = 0x1000_0000;

pub(crate) fn run(report: &mut Report) -> Result<(), Failure> {
    let path = kernel::bind_to_vfio(&kernel::pci_address(0x1234, 0x11e8)?)?;
    let mut edu = open(&path)?;
    let identification = edu.read32(IDENTIFICATION)?;
    expect(identification & 0xff == 0xed, format!("edu answers {identification:#x}"))?;
    edu.write32(LIVENESS, 0x1234_5678)?;
    expect(edu.read32(LIVENESS)? == !0x1234_5678, "edu does not invert".to_owned())?;

    let arena = Arena::new(edu.memory(HUGE_PAGE)?, BUS_ADDRESS);
    edu.map(&arena)?;
    edu.enable()?;
    edu.write32(INTERRUPT_RAISE, 5)?;
    interrupt(&mut edu, 5)?;

    let slice = |bytes| arena.slice(bytes).ok_or("the arena has no room");
    let (from, to) = (slice(BYTES)?, slice(BYTES)?);
    let (from_address, to_address) = (bus32(from.bus_address())?, bus32(to.bus_address())?);
    let mut sent = Buffer::arena(from);
    for (byte, value) in sent.iter_mut().zip((0_u8..=250).cycle()) {
        *byte = value;
    }
    let begun = Instant::now();
    transfer(&mut edu, from_address, OWN_BUFFER, START | INTERRUPT_AFTER)?;
    transfer(&mut edu, OWN_BUFFER, to_address, START | TO_MEMORY | INTERRUPT_AFTER)?;
    report.figure("there_and_back_ms", begun.elapsed().as_secs_f64() * 1e3);
    let back = Buffer::arena(to);
    expect(*back == *sent, "what came back is not what was sent".to_owned())?;

    // An address that is not mapped: the memory unit must stop it, and the machine must live on.
    let hole = bus32(BUS_ADDRESS + arena.memory().len() as u64)?;
    transfer(&mut edu, OWN_BUFFER, hole, START | TO_MEMORY | INTERRUPT_AFTER)?;
    expect(edu.read32(IDENTIFICATION)? == identification, "edu is gone".to_owned())?;

    edu.silence()?;
    edu.write32(INTERRUPT_RAISE, 1)?;
    let silent = !edu.wait_interrupt(Deadline::after(Duration::from_millis(50)))?;
    expect(silent, "it interrupts without being bus master".to_owned())
}

fn open(path: &std::path::Path) -> Result<VfioFunction, Failure> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let uri: litecore_hal::DeviceUri = format!("pcie:{name}").parse()?;
    let litecore_hal::DeviceUri::Pcie { address } = uri else { return Err("no address".into()) };
    let address: PcieAddress = address;
    Ok(VfioFunction::open(path.parent().ok_or("no folder")?, address)?)
}

fn transfer(edu: &mut VfioFunction, from: u32, to: u32, command: u32) -> Result<(), Failure> {
    edu.write32(TRANSFER_FROM, from)?;
    edu.write32(TRANSFER_TO, to)?;
    edu.write32(TRANSFER_BYTES, u32::try_from(BYTES)?)?;
    edu.write32(TRANSFER_COMMAND, command)?;
    interrupt(edu, TRANSFERRED)
}

fn interrupt(edu: &mut VfioFunction, cause: u32) -> Result<(), Failure> {
    let came = edu.wait_interrupt(Deadline::after(Duration::from_secs(2)))?;
    expect(came, format!("no interrupt {cause:#x} within two seconds"))?;
    let status = edu.read32(INTERRUPT_STATUS)?;
    expect(status == cause, format!("it interrupts for {status:#x}, not {cause:#x}"))?;
    Ok(edu.write32(INTERRUPT_ACKNOWLEDGE, status)?)
}

fn bus32(address: u64) -> Result<u32, Failure> {
    Ok(u32::try_from(address)?)
}

fn expect(holds: bool, otherwise: String) -> Result<(), Failure> {
    if holds { Ok(()) } else { Err(otherwise.into()) }
}
