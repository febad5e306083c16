//! Every parser against bytes of all kinds: arbitrary, sound with some bytes changed, cut, grown.
//! None panics, what is read is written again, and a flipped bit under a checksum is found.

use litecore_firmware_proto::arq::{Arq, ArqOptions, Flavor, Role, storage_bytes};
use litecore_firmware_proto::firmware::{FirmwareHeader, FirmwareStatus};
use litecore_firmware_proto::frame::{self, FrameHeader, FrameKind, Hello};
use litecore_firmware_proto::identity::{IDENTITY_BYTES, IdentifyRequest, Identity};
use litecore_firmware_proto::image::{Image, ImageStep, ImageWriter};
use litecore_firmware_proto::payload::{RunPayload, RunReply};
use litecore_firmware_proto::ring::{CompletionEntry, Descriptor, RingShape};
use litecore_firmware_proto::telemetry::TelemetryRecord;
use litecore_firmware_proto::{
    CapabilityBlock, CommandHeader, CompletionHeader, Cookie, FaultCode, Opcode, cobs,
};
use proptest::prelude::*;
use std::fs;

/// The frozen bytes, as a place to start from.
fn frozen() -> Vec<Vec<u8>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/wire/1.0");
    let mut paths: Vec<_> =
        fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    paths.sort();
    paths
        .iter()
        .map(|path| {
            let text = fs::read_to_string(path).unwrap();
            text.split_whitespace().map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
        })
        .collect()
}

/// Sound bytes with a few changes, or any bytes.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let starts = frozen();
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6);
    let mutated = (0..starts.len(), changes, 0_usize..40, any::<bool>()).prop_map(
        move |(start, changes, length, grow)| {
            let mut bytes = starts[start].clone();
            for (at, value) in changes {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            let len = if grow { bytes.len() + length } else { bytes.len().saturating_sub(length) };
            bytes.resize(len, 0xa5);
            bytes
        },
    );
    prop_oneof![3 => mutated, 1 => prop::collection::vec(any::<u8>(), 0..400)]
}

/// Frames whose checksum fits, whatever they say, and now and then something else.
fn traffic() -> impl Strategy<Value = Vec<u8>> {
    let small = prop_oneof![0_u16..20, any::<u16>()];
    let epoch = prop_oneof![Just(0_u32), Just(0x1122_3344), Just(0x0001_0001), any::<u32>()];
    let fields = (small.clone(), small.clone(), any::<u16>(), epoch, 0_u8..20, any::<u8>());
    let payload = prop_oneof![
        2 => prop::collection::vec(any::<u8>(), 0..80),
        1 => Just(frozen_hello()),
    ];
    let framed = (fields, 1_u8..6, payload).prop_map(|(fields, kind, payload)| {
        let (seq, ack, sack, epoch, credit, flags) = fields;
        let kind = FrameKind::from_number(kind).unwrap();
        let len = u16::try_from(payload.len()).unwrap();
        let header = FrameHeader { kind, flags, seq, ack, sack, epoch, credit, len };
        let mut frame = [vec![0; 16], payload, vec![0; 4]].concat();
        frame::seal(&mut frame, &header).unwrap();
        frame
    });
    prop_oneof![5 => framed, 1 => bytes()]
}

/// What opens a connection, so that what follows belongs to one.
fn frozen_hello() -> Vec<u8> {
    let hello = Hello {
        version_min: 0x100,
        version_max: 0x100,
        mtu: 64,
        epoch: 0x1122_3344,
        boot: 1,
        features: 0,
    };
    hello.encode().to_vec()
}

/// Gives bytes to every parser; those that hold what they read must write it again.
fn parse_all(bytes: &[u8]) {
    if let Some(header) = bytes.first_chunk() {
        if let Ok(command) = CommandHeader::decode(header) {
            assert_eq!(CommandHeader::decode(&command.encode()), Ok(command));
        }
        if let Ok(completion) = CompletionHeader::decode(header) {
            assert_eq!(CompletionHeader::decode(&completion.encode()), Ok(completion));
        }
        let _ = CompletionEntry::phase(header);
    }
    if let Some(entry) = bytes.first_chunk()
        && let Ok(descriptor) = Descriptor::decode(entry)
    {
        assert_eq!(Descriptor::decode(&descriptor.encode()), Ok(descriptor));
    }
    if let Ok(identity) = Identity::parse(bytes) {
        let mut out = [0; IDENTITY_BYTES];
        let len = identity.encode(&mut out).expect("what was read fits");
        assert_eq!(Identity::parse(&out[..len]), Ok(identity));
    }
    if let Some(request) = IdentifyRequest::decode(bytes) {
        assert_eq!(IdentifyRequest::decode(&request.encode()), Some(request));
    }
    let _ = CapabilityBlock::parse(bytes);
    if let Some(record) = TelemetryRecord::decode(bytes) {
        let again = TelemetryRecord::decode(&record.encode()).expect("sound");
        assert_eq!(again.encode(), record.encode());
    }
    if let Ok(header) = FirmwareHeader::parse(bytes) {
        assert_eq!(FirmwareHeader::parse(&header.encode()), Ok(header));
        let _ = header.label();
    }
    if let Some(status) = FirmwareStatus::decode(bytes) {
        assert_eq!(FirmwareStatus::decode(&status.encode()), Some(status));
    }
    if let Some(hello) = Hello::decode(bytes) {
        assert_eq!(Hello::decode(&hello.encode()), Some(hello));
    }
    for symbols in [0, 1, 2, u64::MAX] {
        let _ = RunPayload::parse(bytes, symbols, bytes.len());
        let _ = RunReply::parse(bytes, usize::try_from(symbols).unwrap_or(9), 3, symbols)
            .map(|reply| reply.energy().count());
    }
    if let Ok((header, payload)) = frame::open(bytes) {
        assert_eq!(payload.len(), usize::from(header.len));
        assert_eq!(FrameHeader::decode(&header.encode()), Ok(header));
    }
    parse_image(bytes);
    let mut out = vec![0; bytes.len()];
    let _ = cobs::decode(bytes, &mut out);
}

fn parse_image(bytes: &[u8]) {
    let Ok(image) = Image::parse(bytes) else { return };
    let mut out = Vec::new();
    let mut writer = ImageWriter::new(image.header(), |bytes: &[u8]| out.extend_from_slice(bytes));
    for buffer in image.buffers() {
        writer.buffer(buffer);
    }
    for table in image.tables() {
        let numbers: Vec<f32> = litecore_firmware_proto::payload::f32s(table).collect();
        writer.table(&numbers);
    }
    let packings: Vec<u8> = image.tiles().map(|(packing, _)| packing).collect();
    writer.packings(packings.into_iter());
    for (_, tile) in image.tiles() {
        let codes: Vec<i8> = tile.iter().map(|byte| byte.cast_signed()).collect();
        writer.tile(&codes);
    }
    let mut steps = 0;
    for (step, after) in image.steps() {
        let ImageStep { .. } = step;
        writer.step(&step, after);
        steps += 1;
    }
    assert_eq!(steps, image.header().steps);
    assert_eq!(out.len(), bytes.len(), "every byte was one of a part");
    let again = Image::parse(&out).expect("what was read");
    assert_eq!(again.header(), image.header());
    assert!(again.steps().map(|(step, _)| step).eq(image.steps().map(|(step, _)| step)));
}

/// Two ends and what somebody puts between them.
fn feed_ends(pieces: &[Vec<u8>], delimited: bool) {
    let flavor = if delimited { Flavor::Delimited } else { Flavor::Packet };
    for role in [Role::Host, Role::Card { boot: 1 }] {
        let options = ArqOptions { mtu: 64, ..ArqOptions::usual(role, flavor) };
        let mut end = Arq::new(vec![0; storage_bytes(64)], options).unwrap();
        end.open(0, 0x1122_3344);
        for (now, piece) in (0..).zip(pieces) {
            let now = now * 50_000_000;
            let mut wire = vec![0; cobs::encoded_max(piece.len()) + 1];
            if delimited {
                let len = cobs::encode(piece, &mut wire).unwrap();
                end.on_bytes(now, &wire[..=len]);
            } else {
                end.on_bytes(now, piece);
            }
            end.send(piece);
            let mut frames = 0;
            while end.poll_transmit(now).is_some() {
                frames += 1;
                assert!(frames < 100, "it speaks without end");
            }
            let taken = end.receive(&mut [0; 100]);
            assert!(taken <= 100);
            let _ = (end.take_event(), end.next_timeout());
        }
    }
}

/// `LITECORE_CASES=1000000 cargo test -p litecore-firmware-proto --release --test bytes -- --ignored long`
fn long_run() -> ProptestConfig {
    let cases = std::env::var("LITECORE_CASES").ok().and_then(|text| text.parse().ok());
    ProptestConfig::with_cases(cases.unwrap_or(200_000))
}

proptest! {
    #[test]
    fn no_bytes_make_a_parser_panic(bytes in bytes()) {
        parse_all(&bytes);
    }

    #[test]
    fn no_bytes_make_an_end_of_a_pipe_panic(pieces in prop::collection::vec(traffic(), 0..40), delimited: bool) {
        feed_ends(&pieces, delimited);
    }

    #[test]
    fn headers_come_back_and_every_flipped_bit_is_found(
        numbers: (u64, u64, u64, u64, u64, u64),
        small: (u16, u16, u32),
        bit in 0_usize..448,
    ) {
        let (cookie, image, offset, payload_len, reply_capacity, argument) = numbers;
        let command = CommandHeader {
            cookie: Cookie(cookie), opcode: Opcode::from_number(small.0), flags: small.1, image,
            offset, payload_len, reply_capacity, argument,
        };
        let completion = CompletionHeader {
            cookie: Cookie(cookie), fault: (small.0 != 0).then(|| FaultCode::from_number(small.0)),
            flags: small.1, detail: small.2, image, reply_len: offset, cycles: payload_len, argument,
        };
        prop_assert_eq!(CommandHeader::decode(&command.encode()), Ok(command));
        prop_assert_eq!(CompletionHeader::decode(&completion.encode()), Ok(completion));
        for mut bytes in [command.encode(), completion.encode()] {
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(CommandHeader::decode(&bytes).is_err());
            prop_assert!(CompletionHeader::decode(&bytes).is_err());
        }
    }

    #[test]
    fn frames_come_back_and_every_flipped_bit_is_found(
        payload in prop::collection::vec(any::<u8>(), 0..200),
        numbers: (u16, u16, u16, u32, u8, u8),
        kind in 1_u8..6,
        bit: prop::sample::Index,
    ) {
        let (seq, ack, sack, epoch, credit, flags) = numbers;
        let header = FrameHeader {
            kind: FrameKind::from_number(kind).unwrap(), flags, seq, ack, sack, epoch, credit,
            len: u16::try_from(payload.len()).unwrap(),
        };
        let mut room = [vec![0; 16], payload.clone(), vec![0; 9]].concat();
        let len = frame::seal(&mut room, &header).unwrap();
        prop_assert_eq!(len, payload.len() + 20);
        prop_assert_eq!(frame::open(&room[..len]), Ok((header, payload.as_slice())));
        let bit = bit.index(len * 8);
        room[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(frame::open(&room[..len]).is_err());
        prop_assert!(frame::seal(&mut room[..len - 1], &header).is_none());
    }

    #[test]
    fn ring_arithmetic_holds_across_the_end_of_the_numbers(power in 1_u32..11, head: u32, pending: u32) {
        let shape = RingShape::new(1 << power).unwrap();
        let tail = head.wrapping_add(pending);
        let fits = pending <= shape.entries();
        prop_assert_eq!(shape.pending(head, tail), fits.then_some(pending));
        prop_assert_eq!(shape.slot(head), head % shape.entries());
        prop_assert_ne!(shape.phase(head), shape.phase(head.wrapping_add(shape.entries())));
        prop_assert_eq!(shape.descriptor_at(head), u64::from(shape.slot(head)) * 128);
        prop_assert_eq!(shape.completion_at(head), u64::from(shape.slot(head)) * 64);
        prop_assert!(RingShape::new(shape.entries() + 1).is_none());
    }
}

proptest! {
    #![proptest_config(long_run())]

    #[test]
    #[ignore = "a long run"]
    fn long_no_bytes_make_a_parser_panic(bytes in bytes()) {
        parse_all(&bytes);
    }

    #[test]
    #[ignore = "a long run"]
    fn long_no_bytes_make_an_end_of_a_pipe_panic(
        pieces in prop::collection::vec(traffic(), 0..60), delimited: bool,
    ) {
        feed_ends(&pieces, delimited);
    }
}
