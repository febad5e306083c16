//! What the device says about itself. Layout: USB 2.0 chapter 9, and CDC PSTN 1.2 for the modem.

/// The vendor number: pid.codes, which gives numbers to open hardware.
pub const VENDOR: u16 = 0x1209;
/// The product number of the card with two bulk endpoints; one pid.codes sets aside for tests.
pub const PRODUCT_BULK: u16 = 0x0001;
/// The product number of the card as a modem; one pid.codes sets aside for tests.
pub const PRODUCT_ACM: u16 = 0x0002;

/// As what the card comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsbKind {
    /// Two bulk endpoints of its own kind, whole frames in each transfer, for a driver of its own.
    Bulk,
    /// A modem (CDC ACM), a serial port to the system: frames travel as on a serial line.
    Acm,
}

/// The bulk endpoint towards the card.
pub(super) const BULK_OUT: u8 = 0x01;
/// The bulk endpoint from the card.
pub(super) const BULK_IN: u8 = 0x81;
/// The modem's endpoint for changes of its lines; nothing is ever said there.
pub(super) const NOTICE_IN: u8 = 0x82;
/// Bytes of a bulk packet at high speed.
pub(super) const BULK_PACKET: u16 = 512;
const NOTICE_PACKET: u16 = 16;
/// Endpoint kinds as descriptors have them.
const BULK: u8 = 2;
const INTERRUPT: u8 = 3;

/// Class, subclass, protocol of an interface or a device.
type Class = [u8; 3];
const OWN_CLASS: Class = [0xff, 0, 0];
const COMMUNICATION: Class = [2, 2, 1];
const COMMUNICATION_DATA: Class = [10, 0, 0];

/// An endpoint: address, kind, packet bytes, polling interval.
pub(super) type Endpoint = (u8, u8, u16, u8);

const BULK_PAIR: [Endpoint; 2] =
    [(BULK_OUT, BULK, BULK_PACKET, 0), (BULK_IN, BULK, BULK_PACKET, 0)];
const NOTICE: [Endpoint; 1] = [(NOTICE_IN, INTERRUPT, NOTICE_PACKET, 9)];

impl UsbKind {
    pub(super) fn product(self) -> u16 {
        match self {
            Self::Bulk => PRODUCT_BULK,
            Self::Acm => PRODUCT_ACM,
        }
    }

    /// The class in the device descriptor.
    pub(super) fn device_class(self) -> Class {
        match self {
            Self::Bulk => OWN_CLASS,
            Self::Acm => [2, 0, 0],
        }
    }

    /// Its interfaces with their endpoints, by number.
    pub(super) fn interfaces(self) -> &'static [(Class, &'static [Endpoint])] {
        match self {
            Self::Bulk => &[(OWN_CLASS, &BULK_PAIR)],
            Self::Acm => &[(COMMUNICATION, &NOTICE), (COMMUNICATION_DATA, &BULK_PAIR)],
        }
    }

    /// The device descriptor.
    pub(super) fn device(self) -> Vec<u8> {
        let mut bytes = vec![18, 1, 0x00, 0x02];
        bytes.extend_from_slice(&self.device_class());
        bytes.push(64);
        for number in [VENDOR, self.product(), RELEASE] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        // Texts 1 to 3, one configuration.
        bytes.extend_from_slice(&[1, 2, 3, 1]);
        bytes
    }

    /// The configuration descriptor with all that hangs on it.
    pub(super) fn configuration(self) -> Vec<u8> {
        let interfaces = self.interfaces();
        let count = u8::try_from(interfaces.len()).unwrap_or(u8::MAX);
        // Its own power supply, 100 mA from the bus.
        let mut bytes = vec![9, 2, 0, 0, count, 1, 0, 0xc0, 50];
        for (number, (class, endpoints)) in (0_u8..).zip(interfaces) {
            let endpoint_count = u8::try_from(endpoints.len()).unwrap_or(u8::MAX);
            bytes.extend_from_slice(&[9, 4, number, 0, endpoint_count]);
            bytes.extend_from_slice(class);
            bytes.push(0);
            if *class == COMMUNICATION {
                // Header, call management, abstract control (line coding and break), union.
                bytes.extend_from_slice(&[5, 0x24, 0, 0x10, 0x01, 5, 0x24, 1, 0, 1]);
                bytes.extend_from_slice(&[4, 0x24, 2, 6, 5, 0x24, 6, 0, 1]);
            }
            for (address, kind, packet, interval) in *endpoints {
                let [low, high] = packet.to_le_bytes();
                bytes.extend_from_slice(&[7, 5, *address, *kind, low, high, *interval]);
            }
        }
        let total = u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_le_bytes();
        bytes[2..4].copy_from_slice(&total);
        bytes
    }
}

/// The device's release, binary coded decimal.
pub(super) const RELEASE: u16 = 0x0100;

/// A string descriptor: 0 is the list of languages, then maker, product, serial number.
pub(super) fn text(index: u8, serial: &str) -> Option<Vec<u8>> {
    let words = match index {
        0 => return Some(vec![4, 3, 0x09, 0x04]),
        1 => "LiteCore",
        2 => "photonic card (emulated)",
        3 => serial,
        _ => return None,
    };
    let mut bytes = vec![0, 3];
    // A descriptor has at most 255 bytes.
    for unit in words.encode_utf16().take(126) {
        bytes.extend_from_slice(&unit.to_le_bytes());
    }
    bytes[0] = u8::try_from(bytes.len()).unwrap_or(u8::MAX);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_add_up() {
        for kind in [UsbKind::Bulk, UsbKind::Acm] {
            assert_eq!(kind.device().len(), 18);
            let bytes = kind.configuration();
            assert_eq!(usize::from(u16::from_le_bytes([bytes[2], bytes[3]])), bytes.len());
            let (mut at, mut interfaces, mut endpoints) = (0, 0, 0);
            while at < bytes.len() {
                interfaces += usize::from(bytes[at + 1] == 4);
                endpoints += usize::from(bytes[at + 1] == 5);
                at += usize::from(bytes[at]);
            }
            assert_eq!(at, bytes.len(), "lengths lead from one descriptor to the next");
            assert_eq!(interfaces, kind.interfaces().len());
            assert_eq!(endpoints, if kind == UsbKind::Bulk { 2 } else { 3 });
        }
        assert_eq!(text(3, "ab").unwrap(), [6, 3, b'a', 0, b'b', 0]);
        assert_eq!(text(3, &"x".repeat(500)).unwrap()[0], 254);
        assert_eq!(text(4, "ab"), None);
    }
}
