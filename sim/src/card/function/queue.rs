//! The rings: descriptors in, completions out.

use super::{Bus, Late, PciFunction, Queue};
use crate::card::pipe::told;
use litecore_firmware_proto::registers::VECTOR_COMPLETION;
use litecore_firmware_proto::ring::{
    CompletionEntry, DESCRIPTOR_BYTES, Descriptor, RingShape, TAIL_AT,
};
use litecore_firmware_proto::{CommandHeader, CompletionHeader, FaultCode, Opcode};
use litecore_hal::pci::DmaFault;

impl PciFunction {
    /// Fetches descriptors and carries them out, as far as nothing is in the way.
    pub(super) fn work(&mut self, now_ns: u64, bus: &mut Bus<'_>) {
        let boot = self.card.boot();
        let mut wrote = self.post_late(now_ns, bus);
        while let Some(shape) = self.queue.shape
            && !self.queue.stopped
            && !self.is_deaf(now_ns)
            && self.config.is_bus_master()
            && self.queue.late.is_empty()
            && self.card.boot() == boot
        {
            let Queue { head, tail, .. } = self.queue;
            match shape.pending(head, tail) {
                Some(0) => break,
                None => self.stop(FaultCode::ArgumentInvalid, bus.irq),
                Some(_) => {
                    self.queue.head = head.wrapping_add(1);
                    match self.serve(shape, head, now_ns, bus) {
                        Ok(interrupt) => wrote |= interrupt,
                        Err(fault) => self.stop(fault, bus.irq),
                    }
                }
            }
        }
        if self.card.boot() != boot {
            self.start_over();
        } else if wrote {
            bus.irq.raise(VECTOR_COMPLETION);
        }
    }

    /// Serves one descriptor; `true` when an interrupt is to tell of it.
    fn serve(
        &mut self,
        shape: RingShape,
        index: u32,
        now_ns: u64,
        bus: &mut Bus<'_>,
    ) -> Result<bool, FaultCode> {
        let mut bytes = [0; DESCRIPTOR_BYTES];
        let at = self.queue.submission_base.wrapping_add(shape.descriptor_at(index));
        bus.dma.read(at, &mut bytes).map_err(|_| FaultCode::TransferFault)?;
        let descriptor = Descriptor::decode(&bytes).map_err(|_| FaultCode::FrameDamaged)?;
        let command = &descriptor.command;
        let verdict = self.faults.on_command(now_ns, command.opcode);
        self.suffer(now_ns, &verdict, bus.irq);
        if verdict.drop_command || verdict.remove_ns.is_some() {
            return Ok(false);
        }
        let mut reply = std::mem::take(&mut self.reply);
        reply.clear();
        let completion = self.carry_out(now_ns, &descriptor, &mut reply, bus);
        self.answered += 1;
        if verdict.reset {
            self.card.restart(now_ns);
            return Ok(false);
        }
        if verdict.drop_completion {
            return Ok(false);
        }
        let late = Late {
            at_ns: now_ns.saturating_add(verdict.delay_ns).max(self.stalled_until),
            completion,
            reply_address: descriptor.reply_address,
            reply,
            verdict,
        };
        if late.at_ns > now_ns {
            self.queue.late.push_back(late);
            return Ok(false);
        }
        let interrupt = self.post(&late, bus);
        self.reply = late.reply;
        interrupt
    }

    /// Carries one command out; the reply of a loopback goes straight to where it belongs.
    fn carry_out(
        &mut self,
        now_ns: u64,
        descriptor: &Descriptor,
        reply: &mut Vec<u8>,
        bus: &mut Bus<'_>,
    ) -> CompletionHeader {
        let Descriptor { command, payload_address, reply_address } = descriptor;
        let faulted = |_: DmaFault| CompletionHeader::refused(command, FaultCode::TransferFault);
        if command.opcode == Opcode::Loopback && self.fits(command) {
            if let Err(answer) = self.card.admit(now_ns, command, reply) {
                return answer;
            }
            let copied = bus.dma.copy(*payload_address, *reply_address, command.payload_len);
            let reply_len = command.payload_len;
            let done = CompletionHeader { reply_len, ..CompletionHeader::done(command) };
            return copied.map_or_else(faulted, |()| done);
        }
        let mut payload = std::mem::take(&mut self.payload);
        payload.clear();
        // What is too long to take is not fetched; the card then refuses the command.
        if command.payload_len <= self.card.options().payload_max {
            payload.resize(usize::try_from(command.payload_len).unwrap_or(0), 0);
        }
        let completion = match bus.dma.read(*payload_address, &mut payload) {
            Ok(()) => self.card.execute(now_ns, command, &payload, reply),
            Err(fault) => faulted(fault),
        };
        self.payload = payload;
        completion
    }

    fn fits(&self, command: &CommandHeader) -> bool {
        let options = self.card.options();
        let most = command.reply_capacity.min(options.reply_max).min(options.payload_max);
        command.payload_len <= most && command.flags == 0
    }

    fn post_late(&mut self, now_ns: u64, bus: &mut Bus<'_>) -> bool {
        let mut wrote = false;
        while !self.is_deaf(now_ns)
            && self.config.is_bus_master()
            && self.queue.late.front().is_some_and(|late| late.at_ns <= now_ns)
        {
            let Some(late) = self.queue.late.pop_front() else { break };
            match self.post(&late, bus) {
                Ok(interrupt) => wrote |= interrupt,
                Err(fault) => self.stop(fault, bus.irq),
            }
        }
        wrote
    }

    /// Writes reply and completion; `true` when an interrupt is to tell of it.
    fn post(&mut self, late: &Late, bus: &mut Bus<'_>) -> Result<bool, FaultCode> {
        let Some(shape) = self.queue.shape else { return Ok(false) };
        let mut completion = late.completion;
        if !late.reply.is_empty() && bus.dma.write(late.reply_address, &late.reply).is_err() {
            completion = CompletionHeader {
                fault: Some(FaultCode::TransferFault),
                reply_len: 0,
                ..completion
            };
        }
        let index = self.queue.completed;
        self.queue.completed = index.wrapping_add(1);
        let told = told(&completion, late.verdict.wrong_completion);
        let (mut first, tail) = CompletionEntry::encode(&told, shape.phase(index));
        if late.verdict.corrupt {
            self.faults.flip(&mut first);
        }
        let at = self.queue.completion_base.wrapping_add(shape.completion_at(index));
        let tail_at = at.wrapping_add(TAIL_AT as u64);
        bus.dma
            .write(at, &first)
            .and_then(|()| bus.dma.write(tail_at, &tail.to_le_bytes()))
            .map_err(|_| FaultCode::TransferFault)?;
        Ok(!late.verdict.lose_interrupt)
    }
}
