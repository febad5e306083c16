use litecore_firmware_proto::registers::{
    BAR0_BYTES, MSIX_BAR, MSIX_BAR_BYTES, MSIX_PENDING_AT, PCI_CLASS, PCI_DEVICE, PCI_VENDOR,
    VECTORS, config,
};

/// The card's PCI configuration space: a plain endpoint with MSI-X and a function-level reset.
///
/// Source of the layout: PCI Local Bus Specification 3.0, section 6.1, and PCI Express Base
/// Specification 5.0, sections 7.5.3 and 7.7.2.
pub(super) struct ConfigSpace {
    bytes: [u8; config::BYTES],
}

const COMMAND: usize = 0x04;
const BUS_MASTER: u16 = 1 << 2;
/// What software may change of Command: memory space, bus master, interrupt disable.
const COMMAND_MASK: u16 = 1 << 1 | BUS_MASTER | 1 << 10;
const BAR0: usize = 0x10;
const INTERRUPT_LINE: usize = 0x3c;
const MSIX_CONTROL: usize = config::MSIX_AT + 2;
/// What software may change of MSI-X Message Control: function mask, enable.
const MSIX_MASK: u16 = 1 << 14 | 1 << 15;

/// What a write did beyond changing bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConfigEffect {
    /// Nothing.
    None,
    /// It asked for a function-level reset.
    Reset,
}

impl ConfigSpace {
    pub(super) fn new() -> Self {
        let mut space = Self { bytes: [0; config::BYTES] };
        space.put16(0x00, PCI_VENDOR);
        space.put16(0x02, PCI_DEVICE);
        // Status: there is a list of capabilities.
        space.put16(0x06, 1 << 4);
        space.put32(0x08, PCI_CLASS << 8 | 1);
        space.put16(0x2c, PCI_VENDOR);
        space.put16(0x2e, PCI_DEVICE);
        space.bytes[0x34] = 0x40;
        space.put16(config::MSIX_AT, 0x11 | 0x50 << 8);
        space.put16(MSIX_CONTROL, VECTORS - 1);
        space.put32(config::MSIX_AT + 4, u32::from(MSIX_BAR));
        space.put32(config::MSIX_AT + 8, MSIX_PENDING_AT | u32::from(MSIX_BAR));
        // PCI Express capability, version 2, an endpoint, the last in the list.
        space.put16(config::PCIE_AT, 0x10);
        space.put16(config::PCIE_AT + 2, 2);
        // Device Capabilities: function-level reset.
        space.put32(config::PCIE_AT + 4, 1 << 28);
        space
    }

    /// Bytes from `offset` on; ones beyond the end.
    pub(super) fn read(&self, offset: u64, into: &mut [u8]) {
        for (byte, at) in into.iter_mut().zip(offset..) {
            let at = usize::try_from(at).unwrap_or(usize::MAX);
            *byte = self.bytes.get(at).copied().unwrap_or(0xff);
        }
    }

    /// Changes what software may change.
    pub(super) fn write(&mut self, offset: u64, from: &[u8]) -> ConfigEffect {
        let mut effect = ConfigEffect::None;
        for (byte, at) in from.iter().zip(offset..) {
            let Some(at) = usize::try_from(at).ok().filter(|at| *at < config::BYTES) else { break };
            let mask = writable(at);
            self.bytes[at] = self.bytes[at] & !mask | byte & mask;
            // The bit lies in the upper byte of Device Control, and reads as 0.
            if at == config::DEVICE_CONTROL_AT + 1
                && byte & config::INITIATE_FLR.to_le_bytes()[1] != 0
            {
                effect = ConfigEffect::Reset;
            }
        }
        effect
    }

    pub(super) fn is_bus_master(&self) -> bool {
        self.bytes[COMMAND] & BUS_MASTER.to_le_bytes()[0] != 0
    }

    fn put16(&mut self, at: usize, value: u16) {
        self.bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }

    fn put32(&mut self, at: usize, value: u32) {
        self.bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
}

/// The bits of a byte that software may change.
fn writable(at: usize) -> u8 {
    let bar = |index: usize, bytes: u64| {
        let first = BAR0 + 4 * index;
        let size = u32::try_from(bytes).unwrap_or(u32::MAX);
        (first..first + 4).contains(&at).then(|| (!(size - 1)).to_le_bytes()[at - first])
    };
    let half = |first: usize, mask: u16| {
        (first..first + 2).contains(&at).then(|| mask.to_le_bytes()[at - first])
    };
    let line = (at == INTERRUPT_LINE).then_some(0xff);
    // Device Control: everything but the reset bit.
    let control = half(config::DEVICE_CONTROL_AT, !config::INITIATE_FLR);
    bar(0, BAR0_BYTES)
        .or_else(|| bar(usize::from(MSIX_BAR), MSIX_BAR_BYTES))
        .or_else(|| half(COMMAND, COMMAND_MASK))
        .or_else(|| half(MSIX_CONTROL, MSIX_MASK))
        .or(line)
        .or(control)
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read32(space: &ConfigSpace, at: u64) -> u32 {
        let mut bytes = [0; 4];
        space.read(at, &mut bytes);
        u32::from_le_bytes(bytes)
    }

    #[test]
    fn it_is_an_accelerator_with_two_capabilities() {
        let space = ConfigSpace::new();
        assert_eq!(read32(&space, 0), 0x4c43_1209);
        assert_eq!(read32(&space, 8) >> 24, 0x12);
        assert_eq!(read32(&space, 0x34) & 0xff, 0x40);
        assert_eq!(read32(&space, 0x40) & 0xffff, 0x5011, "MSI-X, the next one at 0x50");
        assert_eq!(read32(&space, 0x50) & 0xffff, 0x0010, "PCI Express, the last one");
        assert_eq!(read32(&space, 0x54), 1 << 28);
        let mut beyond = [0; 4];
        space.read(4094, &mut beyond);
        assert_eq!(beyond, [0, 0, 0xff, 0xff]);
    }

    #[test]
    fn sizes_can_be_asked_and_the_rest_is_fixed() {
        let mut space = ConfigSpace::new();
        for at in [0x10, 0x18] {
            space.write(at, &[0xff; 4]);
            assert_eq!(read32(&space, at), 0xffff_f000);
        }
        space.write(0x14, &[0xff; 4]);
        assert_eq!(read32(&space, 0x14), 0, "no second BAR");
        space.write(0, &[0; 4]);
        assert_eq!(read32(&space, 0), 0x4c43_1209);
        assert!(!space.is_bus_master());
        space.write(4, &[6, 0]);
        assert!(space.is_bus_master());
        assert_eq!(space.write(0x58, &[0, 0x80]), ConfigEffect::Reset);
        assert_eq!(read32(&space, 0x58) & 0xffff, 0);
        assert_eq!(space.write(u64::MAX - 1, &[0; 8]), ConfigEffect::None);
    }
}
