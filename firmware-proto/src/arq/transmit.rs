//! The sending half: which frames are out, which are lost, and when to ask.
//!
//! Pipes keep their order. So when a frame is acknowledged, every frame that was sent before it and
//! is not acknowledged is lost, and is sent again at once, alone.

use super::{ArqCounters, ArqOptions, SLOTS};
use crate::frame::{FrameHeader, MTU_MIN, WINDOW};

/// Frames in a row without a loss, after which frames grow.
const CLEAN_RUN: u16 = 16;
/// Payload of the first frames of a connection.
const MTU_START: usize = 256;
/// Payload beyond which frames grow only where round trips are short: on slow lines a long frame is
/// long lost before anybody knows.
const MTU_SLOW: usize = 4096;
/// Round trips that are short.
const SHORT_TRIP_NS: u64 = 50_000_000;
/// Most doublings of the time to a repetition.
const DOUBLINGS_MAX: u32 = 10;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Unsent,
    Sent,
    Lost,
    Acked,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    state: State,
    len: u16,
    /// Which transmission the last one of this frame was.
    order: u64,
    sent_at: u64,
    once: bool,
}

/// A data frame to send now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outgoing {
    pub(super) slot: usize,
    pub(super) seq: u16,
    pub(super) len: u16,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Transmitter {
    slots: [Slot; SLOTS],
    /// The oldest frame that is not acknowledged.
    first: u16,
    /// The first frame that was never sent.
    next: u16,
    /// The first frame that does not exist.
    end: u16,
    /// The far end takes frames before this one.
    limit: u16,
    transmissions: u64,
    lost: u16,
    mtu: usize,
    mtu_now: usize,
    clean: u16,
    timeout: Timeout,
}

#[derive(Clone, Copy, Debug)]
struct Timeout {
    first_ns: u64,
    min_ns: u64,
    max_ns: u64,
    /// Smoothed round trip and its mean deviation, as in RFC 6298; `None` until measured.
    measured: Option<(u64, u64)>,
    doublings: u32,
    at: Option<u64>,
}

impl Transmitter {
    pub(super) fn new(options: &ArqOptions) -> Self {
        Self {
            slots: [Slot::default(); SLOTS],
            first: 0,
            next: 0,
            end: 0,
            limit: WINDOW,
            transmissions: 0,
            lost: 0,
            mtu: MTU_MIN,
            mtu_now: MTU_MIN,
            clean: 0,
            timeout: Timeout {
                first_ns: options.timeout_first_ns,
                min_ns: options.timeout_min_ns,
                max_ns: options.timeout_max_ns,
                measured: None,
                doublings: 0,
                at: None,
            },
        }
    }

    /// Sets what both ends take in one frame.
    pub(super) fn agree(&mut self, mtu: usize) {
        self.mtu = mtu.max(MTU_MIN);
        self.mtu_now = self.mtu.min(MTU_START);
    }

    pub(super) fn is_idle(&self) -> bool {
        self.first == self.end
    }

    pub(super) fn next_seq(&self) -> u16 {
        self.next
    }

    pub(super) fn timeout_at(&self) -> Option<u64> {
        self.timeout.at
    }

    /// The slot that new bytes go to, the bytes in it, and how many it takes in all.
    pub(super) fn room(&mut self) -> Option<(usize, usize, usize)> {
        if self.end != self.next {
            let last = self.end.wrapping_sub(1);
            let len = usize::from(self.slot(last).len);
            if len < self.mtu_now {
                return Some((place(last), len, self.mtu_now));
            }
        }
        if self.end.wrapping_sub(self.first) >= WINDOW {
            return None;
        }
        *self.slot_mut(self.end) = Slot::default();
        self.end = self.end.wrapping_add(1);
        Some((place(self.end.wrapping_sub(1)), 0, self.mtu_now))
    }

    /// Counts bytes that were put where [`Transmitter::room`] said.
    pub(super) fn fill(&mut self, len: usize) {
        let last = self.end.wrapping_sub(1);
        let slot = self.slot_mut(last);
        slot.len = slot.len.saturating_add(u16::try_from(len).unwrap_or(u16::MAX));
    }

    /// Looks at the clock; `true` when the far end is to be asked for its state.
    pub(super) fn on_time(&mut self, now: u64, counters: &mut ArqCounters) -> bool {
        if self.timeout.at.is_none_or(|at| now < at) {
            return false;
        }
        counters.timeouts += 1;
        self.timeout.doublings = (self.timeout.doublings + 1).min(DOUBLINGS_MAX);
        self.timeout.at = Some(now.saturating_add(self.timeout.now_ns()));
        let Some(oldest) = self.outstanding().find(|seq| self.slot(*seq).state == State::Sent)
        else {
            return self.lost == 0;
        };
        self.lose(oldest);
        false
    }

    /// The next frame to send: a lost one, else a new one that the far end takes.
    pub(super) fn next(&mut self, now: u64, counters: &mut ArqCounters) -> Option<Outgoing> {
        let seq = if self.lost > 0 {
            let seq = self.outstanding().find(|seq| self.slot(*seq).state == State::Lost)?;
            self.lost -= 1;
            counters.resent += 1;
            self.slot_mut(seq).once = false;
            seq
        } else if self.next != self.end {
            if self.limit.wrapping_sub(self.next).wrapping_sub(1) >= WINDOW {
                // Blocked: ask later whether there is room again.
                if self.timeout.at.is_none() {
                    self.timeout.at = Some(now.saturating_add(self.timeout.now_ns()));
                }
                return None;
            }
            let seq = self.next;
            self.next = self.next.wrapping_add(1);
            counters.sent += 1;
            self.slot_mut(seq).once = true;
            seq
        } else {
            return None;
        };
        self.transmissions += 1;
        let order = self.transmissions;
        let slot = self.slot_mut(seq);
        slot.state = State::Sent;
        slot.order = order;
        slot.sent_at = now;
        let len = slot.len;
        if self.timeout.at.is_none() {
            self.timeout.at = Some(now.saturating_add(self.timeout.now_ns()));
        }
        Some(Outgoing { slot: place(seq), seq, len })
    }

    /// Takes what a frame of the far end says about ours.
    pub(super) fn on_ack(&mut self, now: u64, header: FrameHeader, counters: &mut ArqCounters) {
        let out = self.next.wrapping_sub(self.first);
        if header.ack.wrapping_sub(self.first) > out {
            counters.foreign += 1;
            return;
        }
        self.limit = header.ack.wrapping_add(u16::from(header.credit).min(WINDOW));
        let mut newest: Option<(u64, u64, bool)> = None;
        for seq in self.outstanding() {
            let ahead = seq.wrapping_sub(header.ack);
            let acked = ahead >= WINDOW || (ahead > 0 && header.sack >> (ahead - 1) & 1 == 1);
            let slot = self.slot_mut(seq);
            if acked && slot.state != State::Acked {
                let was_lost = slot.state == State::Lost;
                slot.state = State::Acked;
                let (order, sent_at, once) = (slot.order, slot.sent_at, slot.once);
                self.lost -= u16::from(was_lost);
                if newest.is_none_or(|(newest, ..)| order > newest) {
                    newest = Some((order, sent_at, once));
                }
                self.clean += 1;
            }
        }
        self.first = header.ack;
        let Some((newest, sent_at, once)) = newest else {
            // Asked and answered: there is room again, or still none.
            if self.first == self.next {
                self.timeout.at = None;
            }
            return;
        };
        if once {
            self.timeout.measure(now.saturating_sub(sent_at));
        }
        self.timeout.doublings = 0;
        for seq in self.outstanding() {
            let slot = self.slot(seq);
            if slot.state == State::Sent && slot.order < newest {
                self.lose(seq);
            }
        }
        if self.clean >= CLEAN_RUN {
            self.clean = 0;
            let slow = self.timeout.measured.is_none_or(|(mean, _)| mean > SHORT_TRIP_NS);
            let most = if slow { self.mtu.min(MTU_SLOW.max(self.mtu_now)) } else { self.mtu };
            self.mtu_now = (self.mtu_now * 2).min(most);
        }
        let waiting = self.first != self.next;
        self.timeout.at = waiting.then(|| now.saturating_add(self.timeout.now_ns()));
    }

    fn lose(&mut self, seq: u16) {
        self.slot_mut(seq).state = State::Lost;
        self.lost += 1;
        // Shorter frames are hit less often; one step for each run of losses.
        if self.clean > 0 {
            self.mtu_now = (self.mtu_now / 2).max(MTU_MIN);
        }
        self.clean = 0;
    }

    /// The frames that are out, oldest first.
    fn outstanding(&self) -> impl Iterator<Item = u16> + use<> {
        let first = self.first;
        (0..self.next.wrapping_sub(first)).map(move |ahead| first.wrapping_add(ahead))
    }

    fn slot(&self, seq: u16) -> Slot {
        self.slots[place(seq)]
    }

    fn slot_mut(&mut self, seq: u16) -> &mut Slot {
        &mut self.slots[place(seq)]
    }
}

impl Timeout {
    fn now_ns(&self) -> u64 {
        let plain = self.measured.map_or(self.first_ns, |(mean, deviation)| {
            mean.saturating_add(deviation.saturating_mul(4)).max(self.min_ns)
        });
        plain.saturating_mul(1 << self.doublings).min(self.max_ns)
    }

    fn measure(&mut self, trip_ns: u64) {
        self.measured = Some(match self.measured {
            None => (trip_ns, trip_ns / 2),
            Some((mean, deviation)) => {
                let off = mean.abs_diff(trip_ns);
                let deviation = deviation - deviation / 4 + off / 4;
                (mean - mean / 8 + trip_ns / 8, deviation)
            }
        });
    }
}

fn place(seq: u16) -> usize {
    usize::from(seq % WINDOW)
}
