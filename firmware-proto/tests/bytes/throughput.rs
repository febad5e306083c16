//! How fast the framing is, by itself, on one core: nothing but two ends and a buffer between them.

use litecore_firmware_proto::arq::{Arq, ArqOptions, Flavor, Role, storage_bytes};
use litecore_firmware_proto::crc32c::crc32c;
use std::time::Instant;

const BYTES: usize = 256 << 20;

type End = Arq<Box<[u8]>>;

fn end(role: Role, flavor: Flavor) -> End {
    let storage = vec![0; storage_bytes(4096)].into_boxed_slice();
    Arq::new(storage, ArqOptions::usual(role, flavor)).expect("as long as it says")
}

fn carry(from: &mut End, to: &mut End, now: u64) {
    while let Some(frame) = from.poll_transmit(now) {
        to.on_bytes(now, frame);
    }
}

/// Mebibytes a second from host to card, and that every byte came.
fn one_way(flavor: Flavor) -> f64 {
    let (mut host, mut card) = (end(Role::Host, flavor), end(Role::Card { boot: 1 }, flavor));
    host.open(0, 1);
    while !host.is_up() {
        carry(&mut host, &mut card, 0);
        carry(&mut card, &mut host, 0);
    }
    let data: Vec<u8> = (0..1_u64 << 20).map(|i| ((i * i) >> 7).to_le_bytes()[0]).collect();
    let (mut sent, mut got, mut now) = (0, 0, 0);
    let mut sink = vec![0; 64 << 10];
    let started = Instant::now();
    while got < BYTES {
        now += 1000;
        if sent < BYTES {
            let at = sent % data.len();
            sent += host.send(&data[at..]);
        }
        carry(&mut host, &mut card, now);
        loop {
            let taken = card.receive(&mut sink);
            if taken == 0 {
                break;
            }
            assert_eq!(sink[0], data[got % data.len()]);
            got += taken;
        }
        carry(&mut card, &mut host, now);
    }
    let seconds = started.elapsed().as_secs_f64();
    assert_eq!((host.counters().resent, card.counters().damaged), (0, 0));
    BYTES as f64 / seconds / f64::from(1 << 20)
}

/// `cargo test -p litecore-firmware-proto --release --features std --test bytes -- --ignored --nocapture framing`
#[test]
#[ignore = "a measurement"]
fn framing_is_faster_than_any_pipe() {
    let data = vec![0x5a; 1 << 20];
    let started = Instant::now();
    let mut sum = 0;
    for _ in 0..256 {
        sum ^= crc32c(&data);
    }
    let crc = 256.0 / started.elapsed().as_secs_f64();
    let (delimited, packet) = (one_way(Flavor::Delimited), one_way(Flavor::Packet));
    eprintln!(
        "crc32c {crc:.0} MiB/s, delimited {delimited:.0} MiB/s, packet {packet:.0} MiB/s ({sum})"
    );
    assert!(delimited > 200.0 && packet > 200.0, "hundreds of megabytes a second");
}
