//! The host's end of the rings of an emulated card, in virtual time.

use crate::driver::{Polled, Wire};
use litecore_firmware_proto::registers::{self as reg, config, control, status};
use litecore_firmware_proto::ring::{
    COMPLETION_BYTES, CompletionEntry, DESCRIPTOR_BYTES, Descriptor, RingShape,
};
use litecore_firmware_proto::{CommandHeader, CompletionHeader, Cookie, Opcode};
use litecore_hal::pci::{Dma, DmaFault, Function, Irq};
use litecore_sim::card::PciFunction;

const ENTRIES: u32 = 8;
/// Where the card sees this memory.
const BUS: u64 = 0x4000_0000;
const COMPLETIONS_AT: usize = 0x1000;
const BUFFERS_AT: usize = 0x2000;
const BUFFER_BYTES: usize = 0x2000;
/// How long the host sleeps on an interrupt before it looks by itself.
const LOOK_NS: u64 = 5_000_000;

/// Host memory: the card may touch the rings and the buffers of commands in flight.
pub(crate) struct Memory {
    pub(crate) bytes: Vec<u8>,
    lent: Vec<(usize, usize)>,
    trespasses: usize,
    pub(crate) interrupts: usize,
}

impl Memory {
    fn at(&mut self, address: u64, len: usize) -> Result<usize, DmaFault> {
        let fault = DmaFault { address, len: len as u64 };
        let at = usize::try_from(address.wrapping_sub(BUS)).map_err(|_| fault)?;
        let end = at.checked_add(len).ok_or(fault)?;
        if len > 0 && !self.lent.iter().any(|(from, to)| *from <= at && end <= *to) {
            self.trespasses += 1;
            return Err(fault);
        }
        Ok(at)
    }
}

impl Dma for Memory {
    fn read(&mut self, address: u64, into: &mut [u8]) -> Result<(), DmaFault> {
        let at = self.at(address, into.len())?;
        if !into.is_empty() {
            into.copy_from_slice(&self.bytes[at..at + into.len()]);
        }
        Ok(())
    }

    fn write(&mut self, address: u64, from: &[u8]) -> Result<(), DmaFault> {
        let at = self.at(address, from.len())?;
        if !from.is_empty() {
            self.bytes[at..at + from.len()].copy_from_slice(from);
        }
        Ok(())
    }
}

#[derive(Default)]
pub(crate) struct Line {
    raised: usize,
}

impl Irq for Line {
    fn raise(&mut self, vector: u16) {
        self.raised += usize::from(vector == reg::VECTOR_COMPLETION);
    }
}

pub(crate) struct RingHost {
    pub(crate) now: u64,
    pub(crate) function: PciFunction,
    pub(crate) memory: Memory,
    line: Line,
    shape: RingShape,
    tail: u32,
    seen: u32,
    ready: bool,
    /// Commands in flight and their places in the ring.
    flight: Vec<(Cookie, u32)>,
}

impl RingHost {
    pub(crate) fn new(function: PciFunction) -> Self {
        let shape = RingShape::new(ENTRIES).unwrap();
        let bytes = vec![0; BUFFERS_AT + 2 * BUFFER_BYTES * ENTRIES as usize];
        let memory = Memory { bytes, lent: Vec::new(), trespasses: 0, interrupts: 0 };
        let line = Line::default();
        let mut host = Self {
            now: 0,
            function,
            memory,
            line,
            shape,
            tail: 0,
            seen: 0,
            ready: false,
            flight: Vec::new(),
        };
        host.set_up();
        host
    }

    pub(crate) fn read(&mut self, offset: u64) -> u32 {
        let mut bytes = [0; 4];
        self.function.bar_read(0, offset, &mut bytes, self.now);
        u32::from_le_bytes(bytes)
    }

    pub(crate) fn write(&mut self, offset: u64, value: u32) {
        let bytes = value.to_le_bytes();
        self.function.bar_write(0, offset, &bytes, self.now, &mut self.memory, &mut self.line);
        self.memory.interrupts = self.line.raised;
    }

    fn write64(&mut self, offset: u64, value: u64) {
        let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
        self.write(offset, u32::from_le_bytes([a, b, c, d]));
        self.write(offset + 4, u32::from_le_bytes([e, f, g, h]));
    }

    fn is_there(&mut self) -> bool {
        self.read(reg::MAGIC) == reg::MAGIC_VALUE && self.read(reg::ALIVE) == reg::ALIVE_VALUE
    }

    /// Empties the queue and sets it up again.
    fn set_up(&mut self) -> bool {
        self.ready = false;
        if !self.is_there() {
            return false;
        }
        self.write(reg::CONTROL, control::RESET_QUEUE);
        if self.read(reg::STATUS) & status::QUIET == 0 {
            return false;
        }
        // Quiet: whatever was lent is ours again, and nothing may touch it.
        self.memory.lent = vec![
            (0, self.shape.submission_bytes()),
            (COMPLETIONS_AT, COMPLETIONS_AT + self.shape.completion_bytes()),
        ];
        self.memory.bytes[..BUFFERS_AT].fill(0);
        self.function.config_write(4, &[6, 0], self.now);
        self.write(reg::ENTRIES, ENTRIES);
        self.write64(reg::SUBMISSION_BASE, BUS);
        self.write64(reg::COMPLETION_BASE, BUS + COMPLETIONS_AT as u64);
        self.write(reg::CONTROL, control::ENABLE);
        self.tail = 0;
        self.seen = 0;
        self.flight.clear();
        self.ready = self.read(reg::STATUS) & status::ENABLED != 0;
        self.ready
    }

    fn buffers(&self, index: u32) -> (usize, usize) {
        let at = BUFFERS_AT + 2 * BUFFER_BYTES * self.shape.slot(index) as usize;
        (at, at + BUFFER_BYTES)
    }

    /// The next completion in the ring; a damaged one counts as none and stays.
    fn completion(&mut self) -> Option<Result<(CompletionHeader, Vec<u8>), ()>> {
        let at = COMPLETIONS_AT + usize::try_from(self.shape.completion_at(self.seen)).unwrap();
        let entry: &[u8; COMPLETION_BYTES] =
            self.memory.bytes[at..at + COMPLETION_BYTES].first_chunk().unwrap();
        if CompletionEntry::phase(entry) != self.shape.phase(self.seen) {
            return None;
        }
        let Ok(header) = CompletionEntry::decode(entry) else { return Some(Err(())) };
        self.seen += 1;
        // A completion of nobody has no buffer, and nothing in it.
        let found = self.flight.iter().find(|(cookie, _)| *cookie == header.cookie);
        let Some((_, reply_at)) = found.map(|(_, index)| self.buffers(*index)) else {
            return Some(Ok((header, Vec::new())));
        };
        let reply =
            self.memory.bytes[reply_at..][..usize::try_from(header.reply_len).unwrap()].to_vec();
        Some(Ok((header, reply)))
    }
}

impl Wire for RingHost {
    fn now(&self) -> u64 {
        self.now
    }

    fn submit(&mut self, commands: &[(CommandHeader, Vec<u8>)]) {
        for (command, payload) in commands {
            let (payload_at, reply_at) = self.buffers(self.tail);
            self.memory.bytes[payload_at..payload_at + payload.len()].copy_from_slice(payload);
            self.memory.bytes[reply_at..reply_at + BUFFER_BYTES].fill(0xee);
            self.memory.lent.push((payload_at, payload_at + payload.len()));
            self.memory.lent.push((reply_at, reply_at + BUFFER_BYTES));
            let descriptor = Descriptor {
                command: *command,
                payload_address: BUS + payload_at as u64,
                reply_address: BUS + reply_at as u64,
            };
            let at = usize::try_from(self.shape.descriptor_at(self.tail)).unwrap();
            self.memory.bytes[at..at + DESCRIPTOR_BYTES].copy_from_slice(&descriptor.encode());
            self.flight.push((command.cookie, self.tail));
            self.tail += 1;
        }
        self.write(reg::DOORBELL, self.tail);
    }

    fn poll(&mut self, until: u64) -> Polled {
        if !self.ready {
            return Polled::Lost;
        }
        let mut look = self.now + LOOK_NS;
        loop {
            if std::mem::take(&mut self.line.raised) > 0 || self.now >= look || self.now >= until {
                look = self.now + LOOK_NS;
                match self.completion() {
                    Some(Ok((header, reply))) => {
                        // The interrupt may have stood for more than one.
                        self.line.raised = 1;
                        return Polled::Done(header, reply);
                    }
                    Some(Err(())) => return Polled::Lost,
                    None if self.now >= until => return Polled::Nothing,
                    None => {}
                }
            }
            let next = self.function.next_wakeup_ns().unwrap_or(until).max(self.now + 1_000);
            self.now = next.min(look).min(until);
            self.function.advance(self.now, &mut self.memory, &mut self.line);
        }
    }

    fn reset(&mut self, rung: usize, until: u64) -> bool {
        if rung == 2 {
            let bit = config::INITIATE_FLR.to_le_bytes();
            self.function.config_write(config::DEVICE_CONTROL_AT as u64, &bit, self.now);
        }
        while !self.set_up() {
            if self.now >= until {
                return false;
            }
            let next = self.function.next_wakeup_ns().unwrap_or(until).max(self.now + 1_000_000);
            self.wait(next.min(until));
        }
        true
    }

    fn wait(&mut self, until: u64) {
        while self.now < until {
            let next = self.function.next_wakeup_ns().unwrap_or(until).max(self.now + 1_000);
            self.now = next.min(until);
            self.function.advance(self.now, &mut self.memory, &mut self.line);
        }
    }

    fn journal(&mut self) -> Vec<(Cookie, Opcode)> {
        self.function.card().journal().to_vec()
    }

    fn trespasses(&self) -> usize {
        self.memory.trespasses
    }
}
