use super::Card;
use super::config_space::{ConfigEffect, ConfigSpace};
use super::faults::{FaultPlan, Faults, Verdict};
use super::pipe::told;
use litecore_firmware_proto::registers::{
    self as reg, BAR0_BYTES, MSIX_BAR, MSIX_BAR_BYTES, VECTOR_COMPLETION, VECTOR_EVENT, control,
    event, status,
};
use litecore_firmware_proto::ring::{
    CompletionEntry, DESCRIPTOR_BYTES, Descriptor, RingShape, TAIL_AT,
};
use litecore_firmware_proto::{CommandHeader, CompletionHeader, FaultCode, Opcode};
use litecore_hal::pci::{Dma, DmaFault, Function, Irq};
use std::collections::VecDeque;

/// A card as a PCI Express function: configuration space, registers, rings, interrupts.
///
/// Commands are carried out when the doorbell rings. Whatever waits, for a fault plan or for bus
/// mastering, goes on in [`Function::advance`]. While the function is removed it reads as ones.
pub struct PciFunction {
    card: Card,
    faults: Faults,
    config: ConfigSpace,
    msix: Vec<u8>,
    queue: Queue,
    fault: Option<FaultCode>,
    event: u32,
    event_mask: u32,
    coalesce: u32,
    scratch: u32,
    identity: Vec<u8>,
    boot: u32,
    stalled_until: u64,
    removed_until: Option<u64>,
    answered: u64,
    payload: Vec<u8>,
    reply: Vec<u8>,
}

/// The pair of rings.
#[derive(Default)]
struct Queue {
    entries: u32,
    submission_base: u64,
    completion_base: u64,
    /// The shape, while the queue is enabled.
    shape: Option<RingShape>,
    stopped: bool,
    /// The last index written to the doorbell, and the next descriptor.
    tail: u32,
    head: u32,
    /// The next completion.
    completed: u32,
    /// Completions that wait for their time, first first.
    late: VecDeque<Late>,
}

struct Late {
    at_ns: u64,
    completion: CompletionHeader,
    reply_address: u64,
    reply: Vec<u8>,
    verdict: Verdict,
}

impl PciFunction {
    /// A card in a slot, without faults.
    pub fn new(card: Card) -> Self {
        Self::with_faults(card, FaultPlan::default())
    }

    /// A card in a slot, with what goes wrong.
    pub fn with_faults(card: Card, plan: FaultPlan) -> Self {
        let boot = card.boot();
        let identity = card.identity_block(0, 0);
        Self {
            card,
            faults: Faults::new(plan),
            config: ConfigSpace::new(),
            msix: vec![0; usize::try_from(MSIX_BAR_BYTES).unwrap_or(0)],
            queue: Queue::default(),
            fault: None,
            event: 0,
            event_mask: 0,
            coalesce: 0,
            scratch: 0,
            identity,
            boot,
            stalled_until: 0,
            removed_until: None,
            answered: 0,
            payload: Vec::new(),
            reply: Vec::new(),
        }
    }

    /// The card itself.
    pub fn card(&mut self) -> &mut Card {
        &mut self.card
    }

    /// Commands answered since the first start, silently ones included.
    pub fn answered(&self) -> u64 {
        self.answered
    }

    /// Pulls the card out until a time; it then starts by itself.
    pub fn remove(&mut self, until_ns: u64) {
        self.removed_until = Some(until_ns);
    }

    /// Whether the card is in its slot.
    pub fn is_there(&self) -> bool {
        self.removed_until.is_none()
    }

    fn read32(&self, offset: u64) -> u32 {
        let halves = |value: u64, at: u64| {
            let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
            u32::from_le_bytes(if offset == at { [a, b, c, d] } else { [e, f, g, h] })
        };
        match offset {
            reg::MAGIC => reg::MAGIC_VALUE,
            reg::VERSION => {
                let [minor, major] = self.card.options().versions.1.to_le_bytes();
                u32::from(major) << 16 | u32::from(minor)
            }
            reg::ALIVE => reg::ALIVE_VALUE,
            reg::BOOT => self.card.boot(),
            reg::STATUS => self.status(),
            reg::CONTROL if self.queue.shape.is_some() => control::ENABLE,
            reg::FAULT => self.fault.map_or(0, |fault| u32::from(fault.number())),
            reg::ENTRIES_MAX => self.entries_max(),
            reg::ENTRIES => self.queue.entries,
            at if at & !4 == reg::SUBMISSION_BASE => {
                halves(self.queue.submission_base, reg::SUBMISSION_BASE)
            }
            at if at & !4 == reg::COMPLETION_BASE => {
                halves(self.queue.completion_base, reg::COMPLETION_BASE)
            }
            reg::DOORBELL => self.queue.tail,
            reg::HEAD => self.queue.head,
            reg::EVENT_MASK => self.event_mask,
            reg::EVENT => self.event,
            reg::COALESCE => self.coalesce,
            reg::SCRATCH => self.scratch,
            reg::IDENTITY_LEN => u32::try_from(self.identity.len()).unwrap_or(0),
            at => usize::try_from(at.wrapping_sub(reg::IDENTITY))
                .ok()
                .and_then(|at| self.identity.get(at..))
                .map_or(0, |rest| {
                    let mut word = [0; 4];
                    for (to, from) in word.iter_mut().zip(rest) {
                        *to = *from;
                    }
                    u32::from_le_bytes(word)
                }),
        }
    }

    fn status(&self) -> u32 {
        let flag = |on, bit| if on { bit } else { 0 };
        let enabled = self.queue.shape.is_some();
        let idle = self.queue.late.is_empty() && self.queue.head == self.queue.tail;
        status::READY
            | flag(enabled, status::ENABLED)
            | flag(!enabled || self.queue.stopped || idle, status::QUIET)
            | flag(self.queue.stopped, status::STOPPED)
            | flag(self.card.is_too_hot(), status::THERMAL)
            | flag(self.card.is_on_trial(), status::TRIAL)
    }

    fn entries_max(&self) -> u32 {
        let most =
            self.card.options().in_flight_max.min(litecore_firmware_proto::ring::ENTRIES_MAX);
        // The greatest power of two that is not above it.
        most.checked_ilog2().map_or(1, |power| 1 << power)
    }

    fn write32(&mut self, offset: u64, value: u32, now_ns: u64, bus: &mut Bus<'_>) {
        let disabled = self.queue.shape.is_none();
        let with_half = |old: u64, at: u64| {
            let [a, b, c, d, e, f, g, h] = old.to_le_bytes();
            let [i, j, k, l] = value.to_le_bytes();
            u64::from_le_bytes(if offset == at {
                [i, j, k, l, e, f, g, h]
            } else {
                [a, b, c, d, i, j, k, l]
            })
        };
        match offset {
            reg::CONTROL => self.write_control(value, now_ns),
            reg::ENTRIES if disabled => self.queue.entries = value,
            at if at & !4 == reg::SUBMISSION_BASE && disabled => {
                let old = self.queue.submission_base;
                self.queue.submission_base = with_half(old, reg::SUBMISSION_BASE);
            }
            at if at & !4 == reg::COMPLETION_BASE && disabled => {
                let old = self.queue.completion_base;
                self.queue.completion_base = with_half(old, reg::COMPLETION_BASE);
            }
            reg::DOORBELL => {
                self.queue.tail = value;
                self.work(now_ns, bus);
            }
            reg::EVENT_MASK => self.event_mask = value,
            reg::EVENT => self.event &= !value,
            reg::COALESCE => self.coalesce = value,
            reg::SCRATCH => self.scratch = value,
            _ => {}
        }
    }

    fn write_control(&mut self, value: u32, now_ns: u64) {
        if value & control::RESET_FUNCTION != 0 {
            self.card.restart(now_ns);
            self.start_over();
            return;
        }
        let enable = value & control::ENABLE != 0;
        if value & control::RESET_QUEUE != 0 || (!enable && self.queue.shape.is_some()) {
            self.reset_queue();
        } else if enable && self.queue.shape.is_none() {
            let aligned = self.queue.submission_base.is_multiple_of(DESCRIPTOR_BYTES as u64)
                && self.queue.completion_base.is_multiple_of(64);
            let entries = self.queue.entries;
            let shape = RingShape::new(entries).filter(|_| entries <= self.entries_max());
            match shape.filter(|_| aligned) {
                Some(shape) => {
                    self.queue.shape = Some(shape);
                    self.queue.tail = 0;
                    self.queue.head = 0;
                    self.queue.completed = 0;
                    self.fault = None;
                }
                None => self.fault = Some(FaultCode::ArgumentInvalid),
            }
        }
    }

    fn reset_queue(&mut self) {
        self.queue.shape = None;
        self.queue.stopped = false;
        self.queue.late.clear();
        self.queue.tail = 0;
        self.queue.head = 0;
    }

    /// What a restart leaves of the function: its place in the system, and nothing else.
    fn start_over(&mut self) {
        self.boot = self.card.boot();
        self.queue = Queue::default();
        self.fault = None;
        self.event = event::RESTARTED;
        self.event_mask = 0;
        self.coalesce = 0;
        self.scratch = 0;
        self.stalled_until = 0;
        self.identity = self.card.identity_block(0, 0);
    }

    fn is_deaf(&self, now_ns: u64) -> bool {
        self.removed_until.is_some() || now_ns < self.stalled_until
    }

    fn suffer(&mut self, now_ns: u64, verdict: &Verdict, irq: &mut dyn Irq) {
        if let Some(ns) = verdict.remove_ns {
            self.remove(now_ns.saturating_add(ns));
        }
        if let Some(ns) = verdict.thermal_ns {
            self.card.trip_thermally(now_ns.saturating_add(ns));
            self.raise_event(event::THERMAL, irq);
        }
        if let Some(ns) = verdict.laser_ns {
            self.card.fail_laser(now_ns.saturating_add(ns));
            self.raise_event(event::LASER, irq);
        }
        if verdict.stall_ns > 0 {
            self.stalled_until = self.stalled_until.max(now_ns.saturating_add(verdict.stall_ns));
        }
    }

    fn raise_event(&mut self, bit: u32, irq: &mut dyn Irq) {
        self.event |= bit;
        if self.event_mask & bit != 0 {
            irq.raise(VECTOR_EVENT);
        }
    }

    fn stop(&mut self, fault: FaultCode, irq: &mut dyn Irq) {
        self.queue.stopped = true;
        self.fault = Some(fault);
        self.raise_event(event::STOPPED, irq);
    }

    /// Fetches descriptors and carries them out, as far as nothing is in the way.
    fn work(&mut self, now_ns: u64, bus: &mut Bus<'_>) {
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

    /// Does what is due by the clock.
    fn tick(&mut self, now_ns: u64, irq: &mut dyn Irq) {
        if self.removed_until.is_some_and(|until| until <= now_ns) {
            self.removed_until = None;
            self.config = ConfigSpace::new();
            self.card.restart(now_ns);
        }
        if self.stalled_until <= now_ns {
            self.stalled_until = 0;
        }
        if let Some(verdict) = self.faults.on_time(now_ns) {
            self.suffer(now_ns, &verdict, irq);
            if verdict.reset {
                self.card.restart(now_ns);
            }
        }
        self.card.advance(now_ns);
        if self.card.boot() != self.boot {
            self.start_over();
        }
    }
}

/// The two ways from the card to the host.
struct Bus<'a> {
    dma: &'a mut dyn Dma,
    irq: &'a mut dyn Irq,
}

/// For accesses that cannot reach the host.
struct Nobody;

impl Irq for Nobody {
    fn raise(&mut self, _: u16) {}
}

impl Function for PciFunction {
    fn config_read(&mut self, offset: u64, into: &mut [u8]) {
        if self.is_there() {
            self.config.read(offset, into);
        } else {
            into.fill(0xff);
        }
    }

    fn config_write(&mut self, offset: u64, from: &[u8], now_ns: u64) {
        if self.is_there() && self.config.write(offset, from) == ConfigEffect::Reset {
            self.reset(now_ns);
        }
    }

    fn bar_len(&self, bar: u8) -> u64 {
        match bar {
            0 => BAR0_BYTES,
            MSIX_BAR => MSIX_BAR_BYTES,
            _ => 0,
        }
    }

    fn bar_read(&mut self, bar: u8, offset: u64, into: &mut [u8], now_ns: u64) {
        self.tick(now_ns, &mut Nobody);
        if !self.is_there() {
            into.fill(0xff);
            return;
        }
        let end = offset.saturating_add(into.len() as u64);
        if end > self.bar_len(bar) {
            into.fill(0xff);
            return;
        }
        for (byte, at) in into.iter_mut().zip(offset..) {
            let within = usize::try_from(at & 3).unwrap_or(0);
            *byte = if bar == 0 {
                self.read32(at & !3).to_le_bytes()[within]
            } else {
                usize::try_from(at).ok().and_then(|at| self.msix.get(at)).copied().unwrap_or(0)
            };
        }
    }

    fn bar_write(
        &mut self,
        bar: u8,
        offset: u64,
        from: &[u8],
        now_ns: u64,
        dma: &mut dyn Dma,
        irq: &mut dyn Irq,
    ) {
        self.tick(now_ns, irq);
        if !self.is_there() || offset.saturating_add(from.len() as u64) > self.bar_len(bar) {
            return;
        }
        if bar != 0 {
            let at = usize::try_from(offset).unwrap_or(usize::MAX);
            if let Some(target) =
                self.msix.get_mut(at..).and_then(|rest| rest.get_mut(..from.len()))
            {
                target.copy_from_slice(from);
            }
            return;
        }
        // Registers take whole 32-bit words; other writes have no effect.
        let (words, rest) = from.as_chunks::<4>();
        if !rest.is_empty() || !offset.is_multiple_of(4) {
            return;
        }
        let mut bus = Bus { dma, irq };
        for (word, at) in words.iter().zip((offset..).step_by(4)) {
            self.write32(at, u32::from_le_bytes(*word), now_ns, &mut bus);
        }
    }

    fn advance(&mut self, now_ns: u64, dma: &mut dyn Dma, irq: &mut dyn Irq) {
        self.tick(now_ns, irq);
        if self.is_there() {
            self.work(now_ns, &mut Bus { dma, irq });
        }
    }

    fn next_wakeup_ns(&self) -> Option<u64> {
        let stalled = (self.stalled_until > 0).then_some(self.stalled_until);
        let late = self.queue.late.front().map(|late| late.at_ns);
        [
            self.removed_until.or(stalled).or(late),
            self.faults.next_time(),
            self.card.next_wakeup_ns(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn reset(&mut self, now_ns: u64) {
        if self.is_there() {
            self.config = ConfigSpace::new();
            self.card.restart(now_ns);
            self.start_over();
        }
    }
}
