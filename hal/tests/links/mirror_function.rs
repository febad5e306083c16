use litecore_firmware_proto::registers::{self, control, status};
use litecore_firmware_proto::ring::{
    CompletionEntry, DESCRIPTOR_BYTES, Descriptor, RingShape, TAIL_AT,
};
use litecore_firmware_proto::{
    CommandHeader, CompletionHeader, Cookie, FaultCode, Opcode, PROTOCOL_VERSION,
};
use litecore_hal::pci::{Dma, Function, Irq};
use std::collections::BTreeMap;

/// What goes wrong with the next command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mishap {
    /// It is done, and nobody is told.
    LoseInterrupt,
    /// It is done, and its completion is damaged.
    DamageCompletion,
    /// It is done, and a completion of somebody else's comes first.
    StrayCompletion,
    /// It is forgotten.
    Forget,
}

/// A function that sends payloads back, and knows how to misbehave.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "misbehaviors that happen apart or together")]
pub(crate) struct MirrorFunction {
    pub(crate) registers: BTreeMap<u64, u32>,
    pub(crate) enabled: bool,
    pub(crate) head: u32,
    pub(crate) completed: u32,
    pub(crate) mishaps: Vec<Mishap>,
    pub(crate) is_gone: bool,
    /// Never quiet after a reset of the queue.
    pub(crate) never_quiet: bool,
    /// Never enabled, for this reason.
    pub(crate) never_enabled: Option<FaultCode>,
    /// It was given a queue once.
    pub(crate) was_enabled: bool,
    /// Instead of answering, it completes commands that nobody sent, whenever it is looked at.
    pub(crate) floods: bool,
    /// The greatest protocol version; 0 for the driver's own.
    pub(crate) version: u16,
    /// What is told in the register window.
    pub(crate) identity: Vec<u8>,
    pub(crate) function_resets: u32,
    pub(crate) reads: u64,
    pub(crate) doorbells: u64,
}

impl MirrorFunction {
    fn base(&self, low: u64) -> u64 {
        let half = |at| u64::from(self.registers.get(&at).copied().unwrap_or(0));
        half(low) | half(low + 4) << 32
    }

    fn serve(&mut self, tail: u32, dma: &mut dyn Dma, irq: &mut dyn Irq) {
        let shape = RingShape::new(self.registers[&registers::ENTRIES]).unwrap();
        while self.head != tail {
            let mut entry = [0; DESCRIPTOR_BYTES];
            let at = self.base(registers::SUBMISSION_BASE) + shape.descriptor_at(self.head);
            self.head = self.head.wrapping_add(1);
            dma.read(at, &mut entry).unwrap();
            let descriptor = Descriptor::decode(&entry).unwrap();
            assert_eq!(descriptor.command.opcode, Opcode::Loopback);
            let mishap = if self.mishaps.is_empty() { None } else { Some(self.mishaps.remove(0)) };
            if mishap == Some(Mishap::Forget) {
                continue;
            }
            let len = descriptor.command.payload_len;
            dma.copy(descriptor.payload_address, descriptor.reply_address, len).unwrap();
            let done =
                CompletionHeader { reply_len: len, ..CompletionHeader::done(&descriptor.command) };
            if mishap == Some(Mishap::StrayCompletion) {
                let mut stray = done;
                stray.cookie.0 ^= 1 << 63;
                self.complete(shape, &stray, false, dma);
            }
            self.complete(shape, &done, mishap == Some(Mishap::DamageCompletion), dma);
            if mishap != Some(Mishap::LoseInterrupt) {
                irq.raise(registers::VECTOR_COMPLETION);
            }
        }
    }

    fn complete(
        &mut self,
        shape: RingShape,
        header: &CompletionHeader,
        damaged: bool,
        dma: &mut dyn Dma,
    ) {
        let (mut first, last) = CompletionEntry::encode(header, shape.phase(self.completed));
        first[3] ^= u8::from(damaged);
        let at = self.base(registers::COMPLETION_BASE) + shape.completion_at(self.completed);
        self.completed = self.completed.wrapping_add(1);
        dma.write(at, &first).unwrap();
        dma.write(at + TAIL_AT as u64, &last.to_le_bytes()).unwrap();
    }
}

impl Function for MirrorFunction {
    fn config_read(&mut self, _: u64, into: &mut [u8]) {
        into.fill(if self.is_gone { 0xff } else { 0x12 });
    }
    fn config_write(&mut self, _: u64, _: &[u8], _: u64) {}
    fn bar_len(&self, bar: u8) -> u64 {
        if bar == 0 { registers::BAR0_BYTES } else { 0 }
    }
    fn bar_read(&mut self, bar: u8, offset: u64, into: &mut [u8], _: u64) {
        assert_eq!(bar, 0);
        self.reads += 1;
        let quiet = if self.never_quiet { 0 } else { status::QUIET };
        let value = match offset {
            _ if self.is_gone => u32::MAX,
            registers::MAGIC => registers::MAGIC_VALUE,
            registers::ALIVE => registers::ALIVE_VALUE,
            registers::STATUS => {
                let enabled = self.enabled && self.never_enabled.is_none();
                status::READY | quiet | if enabled { status::ENABLED } else { 0 }
            }
            registers::FAULT => self.never_enabled.map_or(0, |fault| u32::from(fault.number())),
            registers::VERSION => {
                let version = if self.version == 0 { PROTOCOL_VERSION } else { self.version };
                u32::from(version >> 8) << 16 | u32::from(version & 0xff)
            }
            registers::IDENTITY_LEN => self.identity.len() as u32,
            at if at >= registers::IDENTITY => {
                let rest = self.identity.get((at - registers::IDENTITY) as usize..);
                let word = rest.and_then(<[u8]>::first_chunk::<4>);
                word.map_or(0, |word| u32::from_le_bytes(*word))
            }
            registers::ENTRIES_MAX => 256,
            _ => self.registers.get(&offset).copied().unwrap_or(0),
        };
        into.copy_from_slice(&value.to_le_bytes());
    }
    fn bar_write(
        &mut self,
        _: u8,
        offset: u64,
        from: &[u8],
        _: u64,
        dma: &mut dyn Dma,
        irq: &mut dyn Irq,
    ) {
        if self.is_gone {
            return;
        }
        let value = u32::from_le_bytes(from.try_into().unwrap());
        match offset {
            registers::DOORBELL if self.floods => {}
            registers::DOORBELL if self.enabled => {
                self.doorbells += 1;
                self.serve(value, dma, irq);
            }
            registers::CONTROL if value & control::RESET_QUEUE != 0 => self.enabled = false,
            registers::CONTROL if value & control::ENABLE != 0 => {
                (self.enabled, self.head, self.completed) = (true, 0, 0);
                self.was_enabled = true;
            }
            _ => _ = self.registers.insert(offset, value),
        }
    }
    fn advance(&mut self, _: u64, dma: &mut dyn Dma, irq: &mut dyn Irq) {
        if self.floods {
            let entries = self.registers[&registers::ENTRIES];
            let shape = RingShape::new(entries).unwrap();
            let nobody = CommandHeader::new(Cookie::new(9, 9), Opcode::Loopback);
            for _ in 0..entries {
                self.complete(shape, &CompletionHeader::done(&nobody), false, dma);
            }
            irq.raise(registers::VECTOR_COMPLETION);
        }
    }
    fn next_wakeup_ns(&self) -> Option<u64> {
        None
    }
    fn reset(&mut self, _: u64) {
        self.function_resets += 1;
        self.enabled = false;
        self.never_quiet = false;
        self.registers.clear();
    }
}
