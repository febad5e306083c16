mod queue;
mod window;

use super::Card;
use super::config_space::{ConfigEffect, ConfigSpace};
use super::faults::{FaultPlan, Faults, Verdict};
use litecore_firmware_proto::registers::{
    BAR0_BYTES, MSIX_BAR, MSIX_BAR_BYTES, VECTOR_EVENT, event,
};
use litecore_firmware_proto::ring::RingShape;
use litecore_firmware_proto::{CompletionHeader, FaultCode};
use litecore_hal::pci::{Dma, Function, Irq};
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
        // Without leave to write, there is nothing to wake up for.
        let late = self.queue.late.front().filter(|_| self.config.is_bus_master());
        let late = late.map(|late| late.at_ns);
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
