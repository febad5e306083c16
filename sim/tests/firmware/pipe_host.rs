//! The host's end of a pipe to an emulated card, in virtual time.

use crate::driver::{Polled, Wire};
use litecore_firmware_proto::arq::{Arq, ArqEvent, ArqOptions, Flavor, Role, storage_bytes};
use litecore_firmware_proto::{CommandHeader, CompletionHeader, Cookie, HEADER_BYTES, Opcode};
use litecore_hal::pipe::PipeEnd;
use litecore_sim::card::PipeCard;

const MTU: u16 = 512;
const LATENCY_NS: u64 = 20_000;

pub(crate) struct PipeHost {
    pub(crate) now: u64,
    pub(crate) card: PipeCard,
    arq: Arq<Box<[u8]>>,
    epoch: u32,
    outgoing: Vec<u8>,
    incoming: Vec<u8>,
    from_card: Vec<u8>,
}

impl PipeHost {
    pub(crate) fn new(card: PipeCard, flavor: Flavor) -> Self {
        let options = ArqOptions { mtu: MTU, ..ArqOptions::usual(Role::Host, flavor) };
        let mut arq = Arq::new(vec![0; storage_bytes(MTU)].into_boxed_slice(), options).unwrap();
        arq.open(0, 1);
        Self {
            now: 0,
            card,
            arq,
            epoch: 1,
            outgoing: Vec::new(),
            incoming: Vec::new(),
            from_card: Vec::new(),
        }
    }

    fn reopen(&mut self) {
        self.epoch += 1;
        self.outgoing.clear();
        self.incoming.clear();
        self.arq.open(self.now, self.epoch);
    }

    /// Moves everything once over the cable; `false` when there was nothing.
    fn pump(&mut self) -> bool {
        let mut moved = false;
        let sent = self.arq.send(&self.outgoing);
        self.outgoing.drain(..sent);
        while let Some(frame) = self.arq.poll_transmit(self.now).map(<[u8]>::to_vec) {
            moved = true;
            self.card.on_bytes(self.now, &frame);
        }
        loop {
            self.from_card.clear();
            self.card.transmit(self.now, &mut self.from_card);
            if self.from_card.is_empty() {
                break;
            }
            moved = true;
            self.arq.on_bytes(self.now, &self.from_card);
        }
        let readable = self.arq.readable().len();
        if readable > 0 {
            moved = true;
            self.incoming.extend_from_slice(self.arq.readable());
            self.arq.consume(readable);
        }
        moved
    }

    /// Goes on to the next thing that happens, but not beyond `until`.
    fn step(&mut self, until: u64) {
        if self.pump() {
            self.now += LATENCY_NS;
        } else {
            let next = [self.arq.next_timeout(), self.card.next_wakeup_ns()];
            let next = next.into_iter().flatten().min().unwrap_or(until);
            self.now = next.max(self.now + 1_000);
        }
        self.now = self.now.min(until);
    }

    fn completion(&mut self) -> Option<(CompletionHeader, Vec<u8>)> {
        let header: &[u8; HEADER_BYTES] = self.incoming.first_chunk()?;
        let header = CompletionHeader::decode(header).expect("a stream of whole completions");
        let end = HEADER_BYTES + usize::try_from(header.reply_len).unwrap();
        let reply = self.incoming.get(HEADER_BYTES..end)?.to_vec();
        self.incoming.drain(..end);
        Some((header, reply))
    }
}

impl Wire for PipeHost {
    fn now(&self) -> u64 {
        self.now
    }

    fn submit(&mut self, commands: &[(CommandHeader, Vec<u8>)]) {
        for (command, payload) in commands {
            self.outgoing.extend_from_slice(&command.encode());
            self.outgoing.extend_from_slice(payload);
        }
    }

    fn poll(&mut self, until: u64) -> Polled {
        loop {
            if let Some((header, reply)) = self.completion() {
                return Polled::Done(header, reply);
            }
            if let Some(ArqEvent::PeerRestarted) = self.arq.take_event() {
                return Polled::Lost;
            }
            if self.now >= until {
                return Polled::Nothing;
            }
            self.step(until);
        }
    }

    fn reset(&mut self, rung: usize, until: u64) -> bool {
        if rung == 2 && self.card.is_there() {
            self.card.port_reset(self.now);
        }
        self.reopen();
        while !self.arq.is_up() {
            if self.now >= until {
                return false;
            }
            self.step(until);
        }
        true
    }

    fn wait(&mut self, until: u64) {
        while self.now < until {
            self.step(until);
        }
    }

    fn journal(&mut self) -> Vec<(Cookie, Opcode)> {
        self.card.card().journal().to_vec()
    }

    fn trespasses(&self) -> usize {
        0
    }
}
