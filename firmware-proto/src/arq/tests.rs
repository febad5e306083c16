use super::*;
use proptest::prelude::*;
use std::boxed::Box;
use std::collections::VecDeque;
use std::vec;
use std::vec::Vec;

type End = Arq<Box<[u8]>>;

fn end(role: Role, flavor: Flavor, mtu: u16) -> End {
    let storage = vec![0xee; storage_bytes(mtu)].into_boxed_slice();
    Arq::new(storage, ArqOptions { mtu, ..ArqOptions::usual(role, flavor) }).unwrap()
}

/// A generator that is good enough to decide which bytes a bad cable spoils.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let x = (self.0 ^ (self.0 >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        x ^ (x >> 33)
    }
    fn one_in(&mut self, n: u64) -> bool {
        n > 0 && self.roll().is_multiple_of(n)
    }
}

/// Two ends, a cable between them, and one clock.
struct Pair {
    now: u64,
    host: End,
    card: End,
    to_card: VecDeque<Vec<u8>>,
    to_host: VecDeque<Vec<u8>>,
    dice: Dice,
    /// One in this many bytes is spoiled; 0 is never.
    bad: u64,
}

const LATENCY_NS: u64 = 50_000;

impl Pair {
    fn new(flavor: Flavor, mtu: u16, bad: u64, seed: u64) -> Self {
        let mut host = end(Role::Host, flavor, mtu);
        host.open(0, 77);
        Self {
            now: 0,
            host,
            card: end(Role::Card { boot: 1 }, flavor, mtu),
            to_card: VecDeque::new(),
            to_host: VecDeque::new(),
            dice: Dice(seed),
            bad,
        }
    }

    fn spoil(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for byte in bytes {
            if !self.dice.one_in(self.bad) {
                out.push(*byte);
                continue;
            }
            match self.dice.roll() % 3 {
                0 => {}
                1 => out.push(byte ^ (1 << (self.dice.roll() % 8))),
                _ => out.extend([*byte, self.dice.roll().to_le_bytes()[0]]),
            }
        }
        out
    }

    /// Moves everything once over the cable, and the clock to the next thing that happens.
    fn step(&mut self) {
        while let Some(bytes) = self.host.poll_transmit(self.now).map(<[u8]>::to_vec) {
            let bytes = self.spoil(&bytes);
            self.to_card.push_back(bytes);
        }
        while let Some(bytes) = self.card.poll_transmit(self.now).map(<[u8]>::to_vec) {
            let bytes = self.spoil(&bytes);
            self.to_host.push_back(bytes);
        }
        if self.to_card.is_empty() && self.to_host.is_empty() {
            let next = [self.host.next_timeout(), self.card.next_timeout()];
            let next = next.into_iter().flatten().min().unwrap_or(self.now);
            self.now = self.now.max(next);
        } else {
            self.now += LATENCY_NS;
        }
        for bytes in std::mem::take(&mut self.to_card) {
            self.card.on_bytes(self.now, &bytes);
        }
        for bytes in std::mem::take(&mut self.to_host) {
            self.host.on_bytes(self.now, &bytes);
        }
    }

    fn connect(&mut self) {
        while !(self.host.is_up() && self.card.is_up()) {
            self.step();
            assert!(self.now < 600_000_000_000, "no connection after ten minutes");
        }
    }
}

fn text(len: usize, seed: u64) -> Vec<u8> {
    let mut dice = Dice(seed);
    (0..len).map(|_| dice.roll().to_le_bytes()[3]).collect()
}

/// Sends `len` bytes each way and checks that they come, once and in order.
fn both_ways(pair: &mut Pair, len: usize) {
    pair.connect();
    let (down, up) = (text(len, 1), text(len, 2));
    let (mut sent_down, mut sent_up) = (0, 0);
    let (mut got_down, mut got_up) = (Vec::new(), Vec::new());
    let mut piece = [0; 777];
    while got_down.len() < len || got_up.len() < len {
        sent_down += pair.host.send(&down[sent_down..]);
        sent_up += pair.card.send(&up[sent_up..]);
        pair.step();
        let taken = pair.card.receive(&mut piece);
        got_down.extend_from_slice(&piece[..taken]);
        let taken = pair.host.receive(&mut piece);
        got_up.extend_from_slice(&piece[..taken]);
        assert!(pair.now < 3_600_000_000_000, "not through after an hour");
        assert!(down.starts_with(&got_down) && up.starts_with(&got_up));
    }
    assert_eq!((got_down.len(), got_up.len()), (len, len));
}

#[test]
fn a_clean_cable_carries_every_byte_without_a_repetition() {
    for flavor in [Flavor::Delimited, Flavor::Packet] {
        let mut pair = Pair::new(flavor, 1024, 0, 3);
        both_ways(&mut pair, 200_000);
        for counters in [pair.host.counters(), pair.card.counters()] {
            assert_eq!((counters.resent, counters.damaged, counters.foreign), (0, 0, 0));
            assert!(counters.sent < 400, "frames grow to the MTU: {counters:?}");
        }
    }
}

#[test]
fn a_bad_cable_loses_time_and_no_byte() {
    for (bad, len) in [(30_000, 400_000), (3_000, 100_000), (300, 20_000), (100, 4_000)] {
        for flavor in [Flavor::Delimited, Flavor::Packet] {
            let mut pair = Pair::new(flavor, 4096, bad, bad);
            both_ways(&mut pair, len);
            let counters = pair.card.counters();
            assert!(counters.damaged > 0 && pair.host.counters().resent > 0, "{counters:?}");
        }
    }
}

#[test]
fn a_single_lost_frame_is_sent_again_alone_and_at_once() {
    let mut pair = Pair::new(Flavor::Packet, 256, 0, 0);
    pair.connect();
    assert_eq!(pair.host.send(&[5; 256 * 8]), 256 * 8);
    let mut frames = Vec::new();
    while let Some(bytes) = pair.host.poll_transmit(pair.now).map(<[u8]>::to_vec) {
        frames.push(bytes);
    }
    frames.remove(2);
    pair.to_card = frames.into();
    let before = pair.now;
    let (mut all, mut got) = (vec![0; 256 * 8 + 1], 0);
    while got < 256 * 8 {
        pair.step();
        got += pair.card.receive(&mut all[got..]);
    }
    assert_eq!(got, 256 * 8);
    let took = pair.now - before;
    while !pair.host.is_idle() {
        pair.step();
    }
    assert_eq!(pair.host.counters().resent, 1);
    assert_eq!(pair.host.counters().timeouts, 0);
    assert!(took < 10 * LATENCY_NS, "no time-out was waited for");
}

#[test]
fn a_reader_that_rests_stops_the_sender_and_nothing_is_lost() {
    let mut pair = Pair::new(Flavor::Delimited, 64, 0, 0);
    pair.connect();
    let down = text(10_000, 9);
    let mut sent = 0;
    for _ in 0..200 {
        sent += pair.host.send(&down[sent..]);
        pair.step();
    }
    assert!(sent <= 2 * 16 * 64, "two windows of frames at most: {sent}");
    let mut got = Vec::new();
    let (before, asked) = (pair.now, pair.host.counters().timeouts);
    let mut turn = 0;
    while got.len() < down.len() {
        sent += pair.host.send(&down[sent..]);
        // By then the window is full, and the sender knows it.
        if turn % 3 == 0 {
            let mut piece = [0; 64 * 16];
            let taken = pair.card.receive(&mut piece);
            got.extend_from_slice(&piece[..taken]);
        }
        turn += 1;
        pair.step();
        assert!(pair.now - before < 3_000_000_000, "awake within a second");
    }
    assert_eq!(got, down);
    assert_eq!(pair.host.counters().resent, 0);
    let asked = pair.host.counters().timeouts - asked;
    assert!(asked <= 1, "room is told of and not asked for: {asked}");
}

/// All frames an end has to send now.
fn drain(end: &mut End, now: u64) -> Vec<Vec<u8>> {
    core::iter::from_fn(|| end.poll_transmit(now).map(<[u8]>::to_vec)).collect()
}

#[test]
fn frames_that_come_twice_or_late_are_delivered_once() {
    for flavor in [Flavor::Delimited, Flavor::Packet] {
        let mut pair = Pair::new(flavor, 64, 0, 0);
        pair.connect();
        let down = text(64 * 60, 4);
        let (mut sent, mut got, mut old) = (0, Vec::new(), Vec::new());
        while got.len() < down.len() {
            pair.now += 1_000_000;
            sent += pair.host.send(&down[sent..]);
            let frames = drain(&mut pair.host, pair.now);
            // Everything again at once, and what came a window ago once more.
            for frame in frames.iter().chain(&frames).chain(&old) {
                pair.card.on_bytes(pair.now, frame);
            }
            old = frames;
            let mut piece = [0; 64 * 5];
            let taken = pair.card.receive(&mut piece);
            got.extend_from_slice(&piece[..taken]);
            assert!(down.starts_with(&got), "{} bytes are right", got.len());
            for frame in drain(&mut pair.card, pair.now) {
                pair.host.on_bytes(pair.now, &frame);
            }
        }
        assert!(pair.card.counters().duplicates >= 60);
        pair.step();
        assert_eq!(pair.card.readable(), b"");
    }
}

#[test]
fn a_hello_that_comes_twice_opens_one_connection() {
    let mut pair = Pair::new(Flavor::Packet, 64, 0, 0);
    let hello = drain(&mut pair.host, 0).remove(0);
    pair.card.on_bytes(0, &hello);
    drop(drain(&mut pair.card, 0));
    assert!(!pair.host.is_up(), "the answer was lost");
    pair.connect();
    let connection = pair.host.connection();
    pair.host.send(b"before");
    pair.step();
    pair.card.on_bytes(pair.now, &hello);
    pair.host.send(b" and after");
    for _ in 0..10 {
        pair.step();
    }
    assert_eq!((pair.host.connection(), pair.host.is_up()), (connection, true));
    let mut text = [0; 32];
    let taken = pair.card.receive(&mut text);
    assert_eq!(&text[..taken], b"before and after");
    assert_eq!(pair.card.counters().connections, 1);
}

#[test]
fn a_card_that_restarted_says_so_and_a_new_connection_begins_empty() {
    let mut pair = Pair::new(Flavor::Delimited, 256, 0, 0);
    pair.connect();
    assert!(matches!(pair.host.take_event(), Some(ArqEvent::Up { boot: 1, .. })));
    pair.host.send(b"half a message");
    pair.step();
    pair.card = end(Role::Card { boot: 2 }, Flavor::Delimited, 256);
    pair.host.send(b" and the rest");
    while pair.host.is_up() {
        pair.step();
    }
    assert_eq!(pair.host.take_event(), Some(ArqEvent::PeerRestarted));
    assert_eq!(pair.host.send(b"x"), 0, "nothing goes into a dead connection");
    pair.host.open(pair.now, 78);
    pair.connect();
    assert!(matches!(pair.host.take_event(), Some(ArqEvent::Up { boot: 2, .. })));
    assert_eq!(pair.card.readable(), b"");
    both_ways(&mut pair, 5_000);
}

#[test]
fn a_host_that_restarted_takes_the_card_over() {
    let mut pair = Pair::new(Flavor::Delimited, 256, 0, 0);
    both_ways(&mut pair, 3_000);
    let old = pair.host.connection();
    pair.card.send(b"an answer to nobody");
    pair.host = end(Role::Host, Flavor::Delimited, 256);
    pair.host.open(pair.now, 1234);
    while !pair.host.is_up() {
        pair.step();
    }
    assert_ne!(pair.host.connection(), old);
    both_ways(&mut pair, 3_000);
}

#[test]
fn ends_without_a_common_version_say_so() {
    let storage = vec![0; storage_bytes(256)];
    let role = Role::Card { boot: 1 };
    let options =
        ArqOptions { versions: (0x200, 0x201), ..ArqOptions::usual(role, Flavor::Packet) };
    let mut pair = Pair::new(Flavor::Packet, 256, 0, 0);
    pair.card = Arq::new(storage.into_boxed_slice(), ArqOptions { mtu: 256, ..options }).unwrap();
    while pair.host.is_opening() {
        pair.step();
    }
    let expected = ArqEvent::VersionMismatch { card_min: 0x200, card_max: 0x201 };
    assert_eq!(pair.host.take_event(), Some(expected));
    assert!(!pair.card.is_up());
}

#[test]
fn memory_that_is_too_short_is_refused() {
    let options = ArqOptions::usual(Role::Host, Flavor::Packet);
    let needed = storage_bytes(options.mtu);
    let error = Arq::new(vec![0; needed - 1], options).map(|_| ()).unwrap_err();
    assert_eq!(error, StorageTooShort { given: needed - 1, needed });
    let tiny = ArqOptions { mtu: 1, ..options };
    assert!(Arq::new(vec![0; storage_bytes(64)], tiny).is_ok(), "the least MTU is 64");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_bytes_make_an_end_panic(
        pieces: Vec<Vec<u8>>,
        delimited: bool,
        host: bool,
        seed: u64,
    ) {
        let flavor = if delimited { Flavor::Delimited } else { Flavor::Packet };
        let mut pair = Pair::new(flavor, 128, 0, seed);
        pair.connect();
        // Among sound frames, damaged ones and noise; fields are then changed under a sound sum.
        pair.host.send(&text(500, seed));
        pair.card.send(&text(500, seed));
        let frames: Vec<Vec<u8>> = core::iter::from_fn(|| {
            let from = if host { &mut pair.card } else { &mut pair.host };
            from.poll_transmit(pair.now).map(<[u8]>::to_vec)
        }).collect();
        let to = if host { &mut pair.host } else { &mut pair.card };
        let mut dice = Dice(seed);
        for piece in &pieces {
            to.on_bytes(pair.now, piece);
            let mut frame = frames.first().cloned().unwrap_or_default();
            if flavor == Flavor::Packet && frame.len() > 20 {
                let at = usize::try_from(dice.roll() % 12).unwrap();
                frame[at] = dice.roll().to_le_bytes()[1];
                let end = frame.len() - 4;
                let sum = crate::crc32c::crc32c(&frame[..end]);
                frame[end..].copy_from_slice(&sum.to_le_bytes());
            }
            to.on_bytes(pair.now, &frame);
            pair.now += dice.roll() % 1_000_000_000;
            while to.poll_transmit(pair.now).is_some() {}
            let len = to.readable().len();
            to.consume(len);
        }
    }

    #[test]
    fn any_cable_and_any_pieces_deliver_every_byte(
        seed: u64, bad in prop_oneof![Just(0), 80_u64..5_000], mtu in 64_u16..2_000, packet: bool,
    ) {
        let flavor = if packet { Flavor::Packet } else { Flavor::Delimited };
        both_ways(&mut Pair::new(flavor, mtu, bad, seed), 3_000);
    }
}
