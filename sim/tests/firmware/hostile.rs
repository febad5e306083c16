//! A host that means harm or has gone mad: no bytes make the card panic, and none reach its chip
//! unverified.

use crate::commands::Bench;
use crate::scenario::{card, card_with, image, workload};
use litecore_firmware_proto::arq::Flavor;
use litecore_firmware_proto::crc32c::crc32c;
use litecore_firmware_proto::registers::{self as reg};
use litecore_firmware_proto::ring::Descriptor;
use litecore_firmware_proto::{CommandHeader, Cookie, Opcode};
use litecore_hal::pci::{Dma, DmaFault, Function, Irq};
use litecore_hal::pipe::PipeEnd;
use litecore_sim::card::{CardOptions, PciFunction, PipeCard, decode_image};
use litecore_types::program::VerifiedProgram;
use proptest::prelude::*;

fn opcode() -> impl Strategy<Value = Opcode> {
    (0_usize..20, any::<u16>()).prop_map(|(index, number)| {
        Opcode::LISTED.get(index).map_or(Opcode::from_number(number), |(opcode, _)| *opcode)
    })
}

/// A number that is small, at an edge, or anything.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 0_u64..6, 1 => Just(u64::MAX), 1 => Just(1 << 40), 1 => any::<u64>()]
}

fn command() -> impl Strategy<Value = CommandHeader> {
    let fields = (number(), number(), number(), number());
    (1_u32..60, opcode(), prop_oneof![3 => Just(0), 1 => any::<u16>()], fields).prop_map(
        |(sequence, opcode, flags, (image, offset, reply_capacity, argument))| CommandHeader {
            flags,
            image,
            offset,
            reply_capacity,
            argument,
            ..CommandHeader::new(Cookie::new(1, sequence), opcode)
        },
    )
}

/// A sound image with some bytes changed, or cut.
fn damaged_image() -> impl Strategy<Value = Vec<u8>> {
    let sound = image(&workload().program);
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8);
    (changes, 0..sound.len(), any::<bool>()).prop_map(move |(changes, cut, whole)| {
        let mut bytes = sound.clone();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        bytes.truncate(if whole { bytes.len() } else { cut });
        bytes
    })
}

/// Memory that answers every address with the same bytes.
struct Anywhere(Vec<u8>);

impl Dma for Anywhere {
    fn read(&mut self, address: u64, into: &mut [u8]) -> Result<(), DmaFault> {
        if self.0.is_empty() || address % 7 == 3 {
            return Err(DmaFault { address, len: into.len() as u64 });
        }
        for (to, from) in into.iter_mut().zip(self.0.iter().cycle()) {
            *to = *from;
        }
        Ok(())
    }
    fn write(&mut self, _: u64, _: &[u8]) -> Result<(), DmaFault> {
        Ok(())
    }
}

impl Irq for Anywhere {
    fn raise(&mut self, _: u16) {}
}

struct Silent;

impl Irq for Silent {
    fn raise(&mut self, _: u16) {}
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_is_loaded_is_what_the_verifier_admits(bytes in damaged_image()) {
        let mut bench = Bench::new(card());
        let done = bench.load(&bytes);
        let chip = crate::scenario::chip();
        let admitted = decode_image(&bytes, 1 << 16)
            .ok()
            .is_some_and(|program| VerifiedProgram::new(program, &chip).is_ok());
        prop_assert_eq!(done.fault.is_none(), admitted);
    }

    #[test]
    fn no_commands_make_the_card_panic(
        commands in prop::collection::vec((command(), prop::collection::vec(any::<u8>(), 0..300)), 1..60),
    ) {
        let options = CardOptions { image_bytes_max: 1 << 20, ..CardOptions::default() };
        let mut bench = Bench::new(card_with(options));
        bench.load(&image(&workload().program));
        for (command, payload) in commands {
            let done = bench.execute(command, &payload);
            prop_assert!(done.fault.is_some() || done.reply_len <= command.reply_capacity);
        }
    }

    #[test]
    fn no_registers_make_the_function_panic(
        accesses in prop::collection::vec((0_u64..0x1100, number(), 0_usize..9, any::<bool>()), 1..80),
        command in command(),
        memory: Vec<u8>,
    ) {
        let mut function = PciFunction::new(card());
        let descriptor = Descriptor { command, payload_address: 0, reply_address: 64 };
        let mut dma = Anywhere([&descriptor.encode()[..], &memory].concat());
        function.config_write(4, &[6, 0], 0);
        for (now, (at, value, len, sane)) in (0..).zip(accesses) {
            let registers = [reg::ENTRIES, reg::SUBMISSION_BASE, reg::CONTROL, reg::DOORBELL];
            let at = if sane { registers[usize::try_from(at % 4).unwrap()] } else { at };
            let bytes = value.to_le_bytes();
            let bytes = if sane { &bytes[..4] } else { &bytes[..len.min(8)] };
            function.bar_write(0, at, bytes, now, &mut dma, &mut Silent);
            function.bar_read(0, at, &mut [0; 8], now);
            function.config_write(at, bytes, now);
            function.config_write(4, &[6, 0], now);
            function.advance(now, &mut dma, &mut Silent);
        }
    }

    #[test]
    fn no_bytes_make_the_pipe_panic(pieces: Vec<Vec<u8>>, delimited: bool) {
        let flavor = if delimited { Flavor::Delimited } else { Flavor::Packet };
        let mut pipe = PipeCard::new(card(), flavor, 256);
        let mut out = Vec::new();
        for (now, piece) in (0..).zip(pieces) {
            pipe.on_bytes(now * 1_000_000, &piece);
            pipe.transmit(now * 1_000_000, &mut out);
        }
    }
}

#[test]
fn an_image_that_lies_about_its_size_takes_no_memory() {
    let mut bytes = image(&workload().program);
    for at in [40, 44, 48, 52] {
        let mut lie = bytes.clone();
        lie[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(decode_image(&lie, u32::MAX).is_err());
    }
    bytes[16..24].copy_from_slice(&u64::MAX.to_le_bytes());
    let mut bench = Bench::new(card());
    assert!(bench.load(&bytes).fault.is_some(), "as many symbols as there are numbers");
    let sum = u64::from(crc32c(&bytes));
    let many = bench.ask(Opcode::ImageBegin, u64::MAX, &[]);
    assert!(many.fault.is_some() && sum > 0);
}
