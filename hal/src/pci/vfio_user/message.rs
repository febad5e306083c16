//! The messages of the vfio-user protocol that a client of one PCI function needs.
//!
//! Source: the vfio-user protocol specification, version 0.9.1 (QEMU, `docs/interop/vfio-user.rst`).

/// Bytes of a message's header.
pub(super) const HEADER: usize = 16;
/// Most bytes of a message that this client takes; a server sends no longer ones unasked.
pub(super) const MESSAGE_MAX: usize = 64 << 10;
/// The region with the registers.
pub(super) const REGION_BAR0: u32 = 0;
/// The region with configuration space.
pub(super) const REGION_CONFIG: u32 = 7;
/// Interrupt index of MSI.
pub(super) const IRQ_MSI: u32 = 1;
/// Interrupt index of MSI-X.
pub(super) const IRQ_MSIX: u32 = 2;
/// The device is a PCI function.
pub(super) const DEVICE_IS_PCI: u32 = 1 << 1;

const FLAG_REPLY: u32 = 1;
const FLAG_NO_REPLY: u32 = 1 << 4;
const FLAG_ERROR: u32 = 1 << 5;
const MAP_READ_WRITE: u32 = 3;
const SET_EVENTFD_TRIGGER: u32 = (1 << 2) | (1 << 5);
const SET_NONE_TRIGGER: u32 = 1 | (1 << 5);

/// What a message asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request<'a> {
    Version,
    DeviceInfo,
    IrqInfo { index: u32 },
    MapMemory { address: u64, len: u64 },
    SetInterrupts { index: u32, count: u32 },
    Read { region: u32, offset: u64, len: u32 },
    Write { region: u32, offset: u64, bytes: &'a [u8] },
    Reset,
}

impl Request<'_> {
    /// The bytes of the message; `posted` asks for no reply.
    pub(super) fn encode(&self, id: u16, posted: bool, out: &mut Vec<u8>) {
        out.clear();
        let flags = if posted { FLAG_NO_REPLY } else { 0 };
        let mut parts = Parts(out);
        parts.u16(id).u16(self.command()).u32(0).u32(flags).u32(0);
        match *self {
            Self::Version => {
                parts.u16(0).u16(1).0.extend_from_slice(
                    b"{\"capabilities\":{\"max_msg_fds\":1,\"max_data_xfer_size\":1048576}}\0",
                );
            }
            Self::DeviceInfo => {
                parts.u32(16).u32(0).u32(0).u32(0);
            }
            Self::IrqInfo { index } => {
                parts.u32(16).u32(0).u32(index).u32(0);
            }
            Self::MapMemory { address, len } => {
                parts.u32(32).u32(MAP_READ_WRITE).u64(0).u64(address).u64(len);
            }
            Self::SetInterrupts { index, count } => {
                let flags = if count == 0 { SET_NONE_TRIGGER } else { SET_EVENTFD_TRIGGER };
                parts.u32(20).u32(flags).u32(index).u32(0).u32(count);
            }
            Self::Read { region, offset, len } => {
                parts.u64(offset).u32(region).u32(len);
            }
            Self::Write { region, offset, bytes } => {
                let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
                parts.u64(offset).u32(region).u32(len).0.extend_from_slice(bytes);
            }
            Self::Reset => {}
        }
        let len = u32::try_from(out.len()).unwrap_or(u32::MAX);
        out[4..8].copy_from_slice(&len.to_le_bytes());
    }

    /// What is being done, for messages.
    pub(super) fn doing(&self) -> &'static str {
        match self {
            Self::Version => "agreeing on a version",
            Self::DeviceInfo => "asking what the device is",
            Self::IrqInfo { .. } => "asking for interrupts",
            Self::MapMemory { .. } => "mapping memory",
            Self::SetInterrupts { .. } => "setting up interrupts",
            Self::Read { .. } => "reading a register",
            Self::Write { .. } => "writing a register",
            Self::Reset => "resetting the function",
        }
    }

    fn command(&self) -> u16 {
        match self {
            Self::Version => 1,
            Self::MapMemory { .. } => 2,
            Self::DeviceInfo => 4,
            Self::IrqInfo { .. } => 7,
            Self::SetInterrupts { .. } => 8,
            Self::Read { .. } => 9,
            Self::Write { .. } => 10,
            Self::Reset => 13,
        }
    }
}

/// A message from the server.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) id: u16,
    pub(super) answers: bool,
    /// The server's error number, where it refuses.
    pub(super) refused: Option<u32>,
    pub(super) body: Vec<u8>,
}

/// Takes the first whole message out of what has come in.
///
/// Errors: what is wrong with it, where it can be no message.
pub(super) fn take_reply(inbox: &mut Vec<u8>) -> Result<Option<Reply>, &'static str> {
    let Some(header) = inbox.first_chunk::<HEADER>() else { return Ok(None) };
    let u32_at = |at: usize| {
        u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    let (len, flags, error) = (u32_at(4) as usize, u32_at(8), u32_at(12));
    if !(HEADER..=MESSAGE_MAX).contains(&len) {
        return Err("a message length that cannot be");
    }
    if inbox.len() < len {
        return Ok(None);
    }
    let reply = Reply {
        id: u16::from_le_bytes([header[0], header[1]]),
        answers: flags & 0xf == FLAG_REPLY,
        refused: (flags & FLAG_ERROR != 0).then_some(error),
        body: inbox[HEADER..len].to_vec(),
    };
    inbox.drain(..len);
    Ok(Some(reply))
}

struct Parts<'a>(&'a mut Vec<u8>);

impl Parts<'_> {
    fn u16(&mut self, value: u16) -> &mut Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }
    fn u32(&mut self, value: u32) -> &mut Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }
    fn u64(&mut self, value: u64) -> &mut Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn messages_have_the_bytes_of_the_specification() {
        let mut out = Vec::new();
        Request::Write { region: 0, offset: 0x40, bytes: &[1, 2, 3, 4] }.encode(7, true, &mut out);
        #[rustfmt::skip]
        let expected = [
            7, 0, 10, 0, 36, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0,
            0x40, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 1, 2, 3, 4,
        ];
        assert_eq!(out, expected);
        Request::MapMemory { address: 0x1000, len: 0x2000 }.encode(1, false, &mut out);
        assert_eq!(out[..8], [1, 0, 2, 0, 48, 0, 0, 0]);
        assert_eq!(out[16..24], [32, 0, 0, 0, 3, 0, 0, 0]);
        assert_eq!(out[32..48], [0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0x20, 0, 0, 0, 0, 0, 0]);
        Request::SetInterrupts { index: IRQ_MSIX, count: 1 }.encode(1, false, &mut out);
        assert_eq!(out[16..36], [20, 0, 0, 0, 0x24, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
    }

    #[test]
    fn replies_are_cut_at_their_length_and_errors_are_seen() {
        let mut inbox = vec![5, 0, 9, 0, 18, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 8, 9, 5];
        let reply = take_reply(&mut inbox).unwrap().unwrap();
        assert_eq!(reply, Reply { id: 5, answers: true, refused: None, body: vec![8, 9] });
        assert_eq!(take_reply(&mut inbox).unwrap(), None);
        assert_eq!(inbox, [5]);
        let mut inbox = vec![5, 0, 9, 0, 16, 0, 0, 0, 0x21, 0, 0, 0, 22, 0, 0, 0];
        assert_eq!(take_reply(&mut inbox).unwrap().unwrap().refused, Some(22));
        let mut inbox = vec![0; 16];
        assert!(take_reply(&mut inbox).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(mut inbox: Vec<u8>) {
            while let Ok(Some(_)) = take_reply(&mut inbox) {}
        }
    }
}
