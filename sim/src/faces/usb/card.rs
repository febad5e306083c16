use super::descriptors::{BULK_PACKET, UsbKind, text};
use litecore_hal::pipe::PipeEnd;
use std::collections::VecDeque;

/// The card as its USB controller sees it: control requests, bulk transfers, resets.
pub(super) struct UsbCard<'a> {
    end: &'a mut dyn PipeEnd,
    pub(super) kind: UsbKind,
    serial: &'a str,
    pub(super) configuration: u8,
    halted: Halted,
    /// A transfer towards the card whose last packet has not come yet.
    arriving: Vec<u8>,
    /// What the card has sent and nobody has asked for yet.
    departing: VecDeque<u8>,
    /// Requests for bytes from the card, in order.
    asked: VecDeque<Asked>,
    /// The modem's settings; kept, and of no consequence.
    line_coding: [u8; 7],
}

#[derive(Clone, Copy, Debug, Default)]
struct Halted {
    out: bool,
    into: bool,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    id: u64,
    len: usize,
}

/// The request, or the endpoint, is refused; the bus calls it a stall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stall;

/// Transfers towards the card longer than this are cut: no frame is nearly as long.
const ARRIVING_MAX: usize = 1 << 20;

/// Most requests that may wait for bytes; the systems in use keep a few dozen at most.
pub(super) const WAITING_MAX: usize = 1024;

impl<'a> UsbCard<'a> {
    pub(super) fn new(end: &'a mut dyn PipeEnd, kind: UsbKind, serial: &'a str) -> Self {
        Self {
            end,
            kind,
            serial,
            configuration: 0,
            halted: Halted::default(),
            arriving: Vec::new(),
            departing: VecDeque::new(),
            asked: VecDeque::new(),
            // 115 200 baud, one stop bit, no parity, eight bits.
            line_coding: [0x00, 0xc2, 0x01, 0x00, 0, 0, 8],
        }
    }

    pub(super) fn is_there(&self) -> bool {
        self.end.is_there()
    }

    pub(super) fn next_wakeup_ns(&self) -> Option<u64> {
        self.end.next_wakeup_ns()
    }

    /// A reset of the port: the card's end of the conversation starts over.
    pub(super) fn reset(&mut self, now_ns: u64) {
        self.forget();
        self.configuration = 0;
        self.end.port_reset(now_ns);
    }

    /// The plug is out: nothing that was under way will end.
    pub(super) fn forget(&mut self) {
        self.halted = Halted::default();
        self.arriving.clear();
        self.departing.clear();
        self.asked.clear();
    }

    /// A request on endpoint 0; the answer's bytes where it has some.
    pub(super) fn control(&mut self, setup: [u8; 8], data: &[u8]) -> Result<Vec<u8>, Stall> {
        let [kind, request, value_low, value_high, index_low, _, len_low, len_high] = setup;
        let mut answer = match (kind, request) {
            (0x80, 6) => self.descriptor(value_high, value_low)?,
            (0x80, 0) => vec![1, 0],
            (0x81, 0) => vec![0, 0],
            (0x82, 0) => vec![u8::from(*self.halt(index_low)?), 0],
            (0x02, 1) => {
                *self.halt(index_low)? = false;
                Vec::new()
            }
            (0x02, 3) => {
                *self.halt(index_low)? = true;
                Vec::new()
            }
            (0x80, 8) => vec![self.configuration],
            (0x00, 9) => {
                self.set_configuration(value_low)?;
                Vec::new()
            }
            (0x81, 10) => vec![0],
            (0x01, 11) if value_low == 0 => Vec::new(),
            // The modem's requests: line coding, lines, break.
            (0x21, 0x20) if self.kind == UsbKind::Acm => {
                self.line_coding = data.try_into().map_err(|_| Stall)?;
                Vec::new()
            }
            (0xa1, 0x21) if self.kind == UsbKind::Acm => self.line_coding.to_vec(),
            (0x21, 0x22 | 0x23) if self.kind == UsbKind::Acm => Vec::new(),
            _ => return Err(Stall),
        };
        answer.truncate(usize::from(u16::from_le_bytes([len_low, len_high])));
        Ok(answer)
    }

    pub(super) fn set_configuration(&mut self, value: u8) -> Result<(), Stall> {
        if value > 1 {
            return Err(Stall);
        }
        self.configuration = value;
        self.halted = Halted::default();
        Ok(())
    }

    /// Bytes towards the card.
    pub(super) fn bulk_out(&mut self, now_ns: u64, bytes: &[u8]) -> Result<(), Stall> {
        if self.halted.out {
            return Err(Stall);
        }
        if self.kind == UsbKind::Acm {
            self.end.on_bytes(now_ns, bytes);
            return Ok(());
        }
        self.arriving.extend_from_slice(bytes);
        // A packet that is not full ends a transfer; a card on a cable knows no other end.
        let ended = !bytes.len().is_multiple_of(usize::from(BULK_PACKET)) || bytes.is_empty();
        if ended || self.arriving.len() > ARRIVING_MAX {
            self.end.on_bytes(now_ns, &self.arriving);
            self.arriving.clear();
        }
        Ok(())
    }

    /// A request for up to `len` bytes from the card; it waits until there are some.
    pub(super) fn bulk_in(&mut self, id: u64, len: usize) -> Result<(), Stall> {
        if self.halted.into {
            return Err(Stall);
        }
        self.asked.push_back(Asked { id, len });
        Ok(())
    }

    /// Requests that wait for bytes.
    pub(super) fn waiting(&self) -> usize {
        self.asked.len()
    }

    /// Takes a waiting request back; false where it is answered already.
    pub(super) fn cancel(&mut self, id: u64) -> bool {
        let before = self.asked.len();
        self.asked.retain(|asked| asked.id != id);
        self.asked.len() < before
    }

    /// The next request that can be answered, with its bytes.
    pub(super) fn answered(&mut self, now_ns: u64) -> Option<(u64, Vec<u8>)> {
        let asked = *self.asked.front()?;
        if self.departing.is_empty() {
            let mut sent = Vec::new();
            self.end.transmit(now_ns, &mut sent);
            self.departing.extend(sent);
        }
        if self.departing.is_empty() {
            return None;
        }
        self.asked.pop_front();
        let bytes = asked.len.min(self.departing.len());
        Some((asked.id, self.departing.drain(..bytes).collect()))
    }

    /// Lets the card's time pass when nobody asks it for anything.
    pub(super) fn idle(&mut self, now_ns: u64) {
        if self.departing.is_empty() {
            let mut sent = Vec::new();
            self.end.transmit(now_ns, &mut sent);
            self.departing.extend(sent);
        }
    }

    fn descriptor(&self, kind: u8, index: u8) -> Result<Vec<u8>, Stall> {
        match kind {
            1 => Ok(self.kind.device()),
            2 => Ok(self.kind.configuration()),
            3 => text(index, self.serial).ok_or(Stall),
            _ => Err(Stall),
        }
    }

    fn halt(&mut self, endpoint: u8) -> Result<&mut bool, Stall> {
        match endpoint {
            super::descriptors::BULK_OUT => Ok(&mut self.halted.out),
            super::descriptors::BULK_IN => Ok(&mut self.halted.into),
            _ => Err(Stall),
        }
    }
}
