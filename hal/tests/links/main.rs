//! Links against the least card there can be: one that sends payloads back.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers as well")]
#![allow(clippy::cast_possible_truncation, reason = "patterns of bytes and small counts")]

mod mirror_function;
mod mirror_pipe;
mod pipe;
mod ring;

use litecore_firmware_proto::{CommandHeader, Cookie, Opcode};
use litecore_hal::{Deadline, Link};
use std::time::Duration;

/// Long enough for anything that works.
fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(5))
}

fn command(number: u32, bytes: usize) -> CommandHeader {
    CommandHeader {
        payload_len: bytes as u64,
        reply_capacity: bytes as u64,
        ..CommandHeader::new(Cookie::new(1, number), Opcode::Loopback)
    }
}

/// Submits a loopback of these bytes.
fn submit(link: &mut dyn Link, number: u32, bytes: &[u8]) {
    let mut payload = link.buffer(bytes.len()).unwrap();
    payload.copy_from_slice(bytes);
    let reply = link.buffer(bytes.len()).unwrap();
    link.submit(&command(number, bytes.len()), payload, reply).unwrap();
}

/// Bytes that differ from number to number and from place to place.
fn pattern(number: u32, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|i| (i as u32).wrapping_mul(2_654_435_761).wrapping_add(number) as u8).collect()
}

/// Sends bytes there and back.
fn echo(link: &mut dyn Link, number: u32, bytes: &[u8]) {
    submit(link, number, bytes);
    let completion = link.poll(soon()).unwrap().expect("a completion");
    assert_eq!(completion.header.cookie, Cookie::new(1, number));
    assert_eq!(&completion.reply[..], bytes, "command {number}");
}
