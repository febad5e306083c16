//! The receiving half: frames out of bytes, into their order.

use super::{Arq, ArqCounters, ArqEvent, SLOTS};
use crate::cobs;
use crate::frame::{self, FRAME_HEADER_BYTES, FRAME_TRAILER_BYTES};
use crate::frame::{FrameError, FrameHeader, Hello, WINDOW};

/// Data frames after which an acknowledgment is due at once.
const ACK_EVERY: u16 = 4;
/// Credit below which the far end is told when there is room again.
const CREDIT_LOW: u16 = WINDOW / 4;

#[derive(Clone, Copy, Debug)]
pub(super) struct Receiver {
    /// Which slot holds the frame of each place in the window; the last is the spare one.
    slots: [u8; SLOTS + 1],
    lens: [u16; SLOTS],
    /// Places of the window that hold a frame.
    held: u16,
    /// The frame being read, and bytes of it that were taken.
    read: u16,
    taken: usize,
    /// The first frame that is missing.
    next: u16,
    /// Bytes of an unfinished stuffed frame, and whether more came than fit.
    partial: usize,
    overflow: bool,
    unacked: u16,
    ack_at: Option<u64>,
    ack_now: bool,
    /// The credit that was last told.
    told: u16,
}

impl Receiver {
    pub(super) fn new() -> Self {
        let mut slots = [0; SLOTS + 1];
        for (slot, number) in slots.iter_mut().zip(0..) {
            *slot = number;
        }
        Self {
            slots,
            lens: [0; SLOTS],
            held: 0,
            read: 0,
            taken: 0,
            next: 0,
            partial: 0,
            overflow: false,
            unacked: 0,
            ack_at: None,
            ack_now: false,
            told: WINDOW,
        }
    }

    pub(super) fn next_seq(&self) -> u16 {
        self.next
    }

    pub(super) fn ack_at(&self) -> Option<u64> {
        if self.ack_now { Some(0) } else { self.ack_at }
    }

    pub(super) fn ack_due(&self, now: u64) -> bool {
        self.ack_now || self.ack_at.is_some_and(|at| at <= now)
    }

    pub(super) fn answer_at_once(&mut self) {
        self.ack_now = true;
    }

    /// A frame is going out and says it all.
    pub(super) fn answered(&mut self) {
        self.ack_now = false;
        self.ack_at = None;
        self.unacked = 0;
        self.told = u16::from(self.credit());
    }

    pub(super) fn credit(&self) -> u8 {
        let used = self.next.wrapping_sub(self.read);
        u8::try_from(WINDOW.saturating_sub(used)).unwrap_or(0)
    }

    pub(super) fn sack(&self) -> u16 {
        let mut bits = 0;
        for ahead in 1..u16::from(self.credit()) {
            let seq = self.next.wrapping_add(ahead);
            bits |= (self.held >> (seq % WINDOW) & 1) << (ahead - 1);
        }
        bits
    }

    /// The slot being read and the bytes in it that were not taken.
    pub(super) fn readable(&self) -> Option<(usize, usize, usize)> {
        let place = usize::from(self.read % WINDOW);
        (self.read != self.next)
            .then(|| (usize::from(self.slots[place]), self.taken, usize::from(self.lens[place])))
    }

    pub(super) fn consume(&mut self, len: usize) {
        if self.read == self.next {
            return;
        }
        let place = self.read % WINDOW;
        self.taken = self.taken.saturating_add(len);
        if self.taken >= usize::from(self.lens[usize::from(place)]) {
            self.held &= !(1 << place);
            self.taken = 0;
            self.read = self.read.wrapping_add(1);
            if self.told < CREDIT_LOW && u16::from(self.credit()) >= WINDOW / 2 {
                self.ack_now = true;
            }
        }
    }

    /// Takes the data frame in the spare slot.
    pub(super) fn on_data(
        &mut self,
        now: u64,
        header: FrameHeader,
        delay_ns: u64,
        counters: &mut ArqCounters,
    ) {
        let ahead = header.seq.wrapping_sub(self.next);
        let place = header.seq % WINDOW;
        if ahead >= u16::from(self.credit()) || self.held >> place & 1 == 1 {
            counters.duplicates += 1;
            self.ack_now = true;
            return;
        }
        if header.len == 0 {
            // Nothing sends it, and an empty slot would stop the reader.
            counters.damaged += 1;
            return;
        }
        counters.received += 1;
        self.slots.swap(usize::from(place), SLOTS);
        self.lens[usize::from(place)] = header.len;
        self.held |= 1 << place;
        while self.credit() > 0 && self.held >> (self.next % WINDOW) & 1 == 1 {
            self.next = self.next.wrapping_add(1);
        }
        self.unacked += 1;
        if ahead > 0 || self.unacked >= ACK_EVERY {
            self.ack_now = true;
        } else if self.ack_at.is_none() {
            self.ack_at = Some(now.saturating_add(delay_ns));
        }
    }
}

impl<S: AsRef<[u8]> + AsMut<[u8]>> Arq<S> {
    /// Bytes of a delimited pipe, in any pieces.
    pub(super) fn on_stream(&mut self, now: u64, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some(end) = cobs::zero_at(rest) {
            let (piece, tail) = rest.split_at(end);
            rest = tail.get(1..).unwrap_or_default();
            let whole = self.rx.partial == 0 && !self.rx.overflow;
            if whole && piece.is_empty() {
                continue;
            }
            let spare_at = self.layout.rx(usize::from(self.rx.slots[SLOTS]));
            let decoded = if whole {
                let spare = self.storage.as_mut().get_mut(spare_at..spare_at + self.layout.slot);
                spare.and_then(|spare| cobs::decode(piece, spare))
            } else {
                self.keep(piece);
                let len = core::mem::take(&mut self.rx.partial);
                let overflow = core::mem::take(&mut self.rx.overflow);
                let partial_at = self.layout.partial();
                let (slots, wire) = self.storage.as_mut().split_at_mut(partial_at);
                let spare = slots.get_mut(spare_at..spare_at + self.layout.slot);
                let stuffed = wire.get(..len).filter(|_| !overflow);
                spare.zip(stuffed).and_then(|(spare, stuffed)| cobs::decode(stuffed, spare))
            };
            match decoded {
                Some(len) => self.on_spare(now, spare_at, len),
                None => self.counters.damaged += 1,
            }
        }
        self.keep(rest);
    }

    /// Puts bytes behind the unfinished frame.
    fn keep(&mut self, piece: &[u8]) {
        let at = self.layout.partial() + self.rx.partial;
        let fits = self.rx.partial + piece.len() <= self.layout.wire;
        match self.storage.as_mut().get_mut(at..at + piece.len()) {
            Some(target) if fits => {
                target.copy_from_slice(piece);
                self.rx.partial += piece.len();
            }
            _ => self.rx.overflow = true,
        }
    }

    /// A whole unstuffed frame in the spare slot.
    fn on_spare(&mut self, now: u64, at: usize, len: usize) {
        let frame = self.storage.as_ref().get(at..at + len).unwrap_or_default();
        let opened = frame::open(frame).and_then(|(header, payload)| {
            let whole = payload.len() + FRAME_HEADER_BYTES + FRAME_TRAILER_BYTES == len;
            let hello = Hello::decode(payload);
            if whole { Ok((header, hello)) } else { Err(FrameError::Length(header.len)) }
        });
        self.on_opened(now, opened);
    }

    /// One transfer of a packet pipe.
    pub(super) fn on_transfer(&mut self, now: u64, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let opened = frame::open(rest);
            let Ok((header, payload)) = opened else {
                // Where the next frame begins is not known.
                self.on_opened(now, opened.map(|(header, _)| (header, None)));
                return;
            };
            let at = self.layout.rx(usize::from(self.rx.slots[SLOTS])) + FRAME_HEADER_BYTES;
            if payload.len() > usize::from(self.options.mtu) {
                self.counters.damaged += 1;
                return;
            }
            if let Some(spare) = self.storage.as_mut().get_mut(at..at + payload.len()) {
                spare.copy_from_slice(payload);
            }
            let len = FRAME_HEADER_BYTES + payload.len() + FRAME_TRAILER_BYTES;
            self.on_opened(now, Ok((header, Hello::decode(payload))));
            rest = rest.get(len..).unwrap_or_default();
        }
    }

    fn on_opened(&mut self, now: u64, opened: Result<(FrameHeader, Option<Hello>), FrameError>) {
        match opened {
            Ok((header, hello)) => self.on_frame(now, header, hello),
            Err(error) => {
                self.counters.damaged += 1;
                if let FrameError::Version(version) = error
                    && !self.is_up()
                {
                    self.event = Some(ArqEvent::FrameVersion { version });
                }
            }
        }
    }
}
