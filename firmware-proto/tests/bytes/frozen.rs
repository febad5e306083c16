//! The bytes of protocol version 1.0, frozen: what is written here was sent by that version, and
//! every later one reads it. The examples in `docs/protocol.md` are the same bytes.

use litecore_firmware_proto::arq::{Arq, ArqOptions, Flavor, Role, storage_bytes};
use litecore_firmware_proto::command::{FLAG_ENERGY, FLAG_OPEN_SESSION};
use litecore_firmware_proto::firmware::{
    FirmwareHeader, FirmwareStatus, FirmwareVersion, SignatureScheme,
};
use litecore_firmware_proto::identity::{IDENTITY_BYTES, IdentifyRequest, Identity};
use litecore_firmware_proto::image::{
    Image, ImageBuffer, ImageHeader, ImageStep, ImageWriter, step,
};
use litecore_firmware_proto::payload::{
    RunPayload, RunReply, energy_entry, f32s, u64s, write_f32s, write_u64s,
};
use litecore_firmware_proto::ring::{CompletionEntry, Descriptor};
use litecore_firmware_proto::telemetry::TelemetryRecord;
use litecore_firmware_proto::update::{Slot, SlotState};
use litecore_firmware_proto::{
    CapabilityBlock, ChipName, CommandHeader, CompletionHeader, Cookie, FaultCode, Opcode,
};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/wire/1.0");
const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/protocol.md");

fn identify() -> CommandHeader {
    CommandHeader {
        flags: FLAG_OPEN_SESSION,
        payload_len: 16,
        reply_capacity: 2048,
        ..CommandHeader::new(Cookie::new(0x5e55_0001, 1), Opcode::Identify)
    }
}

fn run() -> CommandHeader {
    CommandHeader {
        flags: FLAG_ENERGY,
        image: 3,
        payload_len: 16,
        reply_capacity: 4096,
        argument: 1,
        ..CommandHeader::new(Cookie::new(0x5e55_0001, 9), Opcode::Run)
    }
}

fn ran() -> CompletionHeader {
    CompletionHeader {
        reply_len: 24,
        cycles: 0x1234,
        argument: 1,
        ..CompletionHeader::done(&run())
    }
}

fn refused() -> CompletionHeader {
    CompletionHeader { argument: 8, ..CompletionHeader::refused(&run(), FaultCode::InputLength) }
}

fn descriptor() -> Descriptor {
    Descriptor { command: run(), payload_address: 0x1_0000_2000, reply_address: 0x1_0000_3000 }
}

fn request() -> IdentifyRequest {
    IdentifyRequest { version_min: 0x0100, version_max: 0x0100, features: 7 }
}

fn identity() -> Identity<'static> {
    Identity {
        capability: CapabilityBlock {
            rows: 64,
            columns: 64,
            arrays: 2,
            banks: 2,
            dac_bits: 8,
            adc_bits: 8,
            weight_bits: 8,
            sram_bytes: 8 << 20,
            chip: ChipName::new("ref-64-eo").unwrap(),
        },
        version_min: 0x0100,
        version_max: 0x0100,
        version: 0x0100,
        features_offered: 7,
        features_accepted: 7,
        payload_max: 16 << 20,
        reply_max: 16 << 20,
        in_flight_max: 64,
        images_max: 4096,
        image_bytes_max: 4 << 30,
        boot: 1,
        serial: "LC-0042",
        firmware: FirmwareVersion::new(1, 2, 3),
        board: 0x4c43_0001,
        hardware: 1,
        simulated: true,
    }
}

fn identity_bytes() -> Vec<u8> {
    let mut out = vec![0xee; IDENTITY_BYTES];
    let len = identity().encode(&mut out).unwrap();
    out.truncate(len);
    out
}

fn run_payload() -> Vec<u8> {
    let mut out = vec![0; 16];
    assert_eq!(write_u64s([0x0102_0304_0506_0708].into_iter(), &mut out), Some(8));
    assert_eq!(write_f32s(&[1.0, -0.5], &mut out[8..]), Some(8));
    out
}

fn run_reply() -> Vec<u8> {
    let mut out = vec![0; 8];
    assert_eq!(write_f32s(&[2.5], &mut out), Some(4));
    out.extend(energy_entry(1, 1.5));
    out
}

fn telemetry() -> TelemetryRecord {
    TelemetryRecord {
        images: 1,
        runs: 2,
        symbols: 3,
        cycles: 4,
        temperature_c: Some(36.5),
        uptime_ns: 5_000_000_000,
        boot: 6,
        last_fault: Some(FaultCode::ThermalTrip),
        commands: 7,
        repeats: 8,
        parked: true,
        too_hot: true,
        laser_fault: false,
    }
}

fn firmware_header() -> FirmwareHeader {
    let mut label = [0; 32];
    label[..7].copy_from_slice(b"example");
    FirmwareHeader {
        board: 0x4c43_0001,
        hardware_min: 1,
        hardware_max: 2,
        version: FirmwareVersion::new(1, 3, 0),
        body_len: 65_536,
        digest: core::array::from_fn(|i| u8::try_from(i).unwrap()),
        scheme: SignatureScheme::None,
        key: 0,
        signature: [0; 64],
        label,
    }
}

fn firmware_status() -> FirmwareStatus {
    FirmwareStatus {
        running: Slot::A,
        next: Slot::B,
        states: [SlotState::Confirmed, SlotState::Activated],
        staged: 65_536,
        trial_left_ns: 0,
        versions: [FirmwareVersion::new(1, 2, 3), FirmwareVersion::new(1, 3, 0)],
        boot: 1,
    }
}

fn stream() -> ImageStep {
    ImageStep {
        kind: step::STREAM,
        array: 1,
        bank: 2,
        shift: 3,
        accumulate_shift: 4,
        first: 1,
        a: 0,
        b: 0,
        c: 1,
        d: 0,
        from_offset: 5,
        to_offset: 6,
        symbols_from: 2,
        symbols_to: 4,
    }
}

/// One of each part; not a program that a card would take.
fn image() -> Vec<u8> {
    let header = ImageHeader {
        name: "example",
        chip: "tiny-4",
        rows: 4,
        columns: 4,
        symbols_max: 8,
        useful_macs: 32,
        buffers: 1,
        tables: 1,
        tiles: 1,
        steps: 2,
    };
    let mut out = Vec::new();
    let mut writer = ImageWriter::new(&header, |bytes: &[u8]| out.extend_from_slice(bytes));
    writer.buffer(ImageBuffer { kind: 1, len: 8, address: 0x100 });
    writer.table(&[0.5]);
    writer.packings([2].into_iter());
    writer.tile(&[1, -1, 127, -127, 0]);
    writer.step(&ImageStep { kind: step::MOVE_IN, ..ImageStep::default() }, [].into_iter());
    writer.step(&stream(), [0].into_iter());
    out
}

type End = Arq<Box<[u8]>>;

fn end(role: Role, flavor: Flavor) -> End {
    let options = ArqOptions { mtu: 1024, ..ArqOptions::usual(role, flavor) };
    Arq::new(vec![0; storage_bytes(1024)].into_boxed_slice(), options).unwrap()
}

/// The frames of a connection, from the first to the acknowledgment of one completion.
fn dialog(flavor: Flavor) -> Vec<Vec<u8>> {
    let mut host = end(Role::Host, flavor);
    let mut card = end(Role::Card { boot: 1 }, flavor);
    let mut frames = Vec::new();
    let mut carry = |from: &mut End, to: &mut End, now: u64| {
        let frame = from.poll_transmit(now).unwrap().to_vec();
        assert!(from.poll_transmit(now).is_none(), "one frame at a time");
        to.on_bytes(now, &frame);
        frames.push(frame);
    };
    host.open(0, 0x1122_3344);
    carry(&mut host, &mut card, 0);
    carry(&mut card, &mut host, 1);
    let park = CommandHeader::new(Cookie::new(0x5e55_0001, 2), Opcode::Park);
    assert_eq!(host.send(&park.encode()), 64);
    carry(&mut host, &mut card, 2);
    assert_eq!(card.send(&CompletionHeader::done(&park).encode()), 64);
    carry(&mut card, &mut host, 3);
    // Behind the delay of an acknowledgment.
    carry(&mut host, &mut card, 10_000_000);
    // A card that knows nothing of it.
    let mut other = end(Role::Card { boot: 2 }, flavor);
    host.send(b"lost");
    carry(&mut host, &mut other, 20_000_000);
    carry(&mut other, &mut host, 20_000_001);
    assert!(!host.is_up());
    frames
}

fn vectors() -> BTreeMap<&'static str, Vec<u8>> {
    let mut all = BTreeMap::from([
        ("command-identify", identify().encode().to_vec()),
        ("identify-request", request().encode().to_vec()),
        ("identity", identity_bytes()),
        ("command-run", run().encode().to_vec()),
        ("run-payload", run_payload()),
        ("completion-run", ran().encode().to_vec()),
        ("run-reply", run_reply()),
        ("completion-refused", refused().encode().to_vec()),
        ("descriptor", descriptor().encode().to_vec()),
        ("telemetry", telemetry().encode().to_vec()),
        ("firmware-header", firmware_header().encode().to_vec()),
        ("firmware-status", firmware_status().encode().to_vec()),
        ("image", image()),
    ]);
    let (first, tail) = CompletionEntry::encode(&ran(), true);
    all.insert("completion-entry", [first.as_slice(), &tail.to_le_bytes()].concat());
    let names =
        ["hello", "hello-ack", "data-command", "data-completion", "ack", "data-lost", "reset"];
    for (name, frame) in names.into_iter().zip(dialog(Flavor::Packet)) {
        all.insert(name, frame);
    }
    all.insert("hello-delimited", dialog(Flavor::Delimited).remove(0));
    all
}

fn hex(bytes: &[u8]) -> String {
    let mut out = String::new();
    for line in bytes.chunks(16) {
        let pairs: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(out, "{}", pairs.join(" ")).unwrap();
    }
    out
}

#[test]
fn every_encoder_gives_the_frozen_bytes() {
    let vectors = vectors();
    for (name, bytes) in &vectors {
        let path = Path::new(FOLDER).join(format!("{name}.hex"));
        let frozen = fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(
            hex(bytes),
            frozen,
            "{name}: a change of bytes is a new version of the protocol"
        );
    }
    let files = fs::read_dir(FOLDER).unwrap().count();
    assert_eq!(files, vectors.len(), "a frozen file that nothing is held against");
}

#[test]
fn every_decoder_reads_the_frozen_bytes() {
    let frozen = |name: &str| -> Vec<u8> {
        let text = fs::read_to_string(Path::new(FOLDER).join(format!("{name}.hex"))).unwrap();
        text.split_whitespace().map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
    };
    let header = |name| <[u8; 64]>::try_from(frozen(name)).unwrap();
    assert_eq!(CommandHeader::decode(&header("command-identify")), Ok(identify()));
    assert_eq!(CommandHeader::decode(&header("command-run")), Ok(run()));
    assert_eq!(CompletionHeader::decode(&header("completion-run")), Ok(ran()));
    assert_eq!(CompletionHeader::decode(&header("completion-refused")), Ok(refused()));
    assert_eq!(CompletionEntry::decode(&header("completion-entry")), Ok(ran()));
    assert!(CompletionEntry::phase(&header("completion-entry")));
    assert!(!CompletionEntry::phase(&header("completion-run")));
    let entry = frozen("descriptor").try_into().unwrap();
    assert_eq!(Descriptor::decode(&entry), Ok(descriptor()));
    assert_eq!(IdentifyRequest::decode(&frozen("identify-request")), Some(request()));
    assert_eq!(Identity::parse(&frozen("identity")), Ok(identity()));
    assert_eq!(TelemetryRecord::decode(&frozen("telemetry")), Some(telemetry()));
    assert_eq!(FirmwareHeader::parse(&frozen("firmware-header")), Ok(firmware_header()));
    assert_eq!(firmware_header().label(), "example");
    assert_eq!(FirmwareStatus::decode(&frozen("firmware-status")), Some(firmware_status()));
    let payload = frozen("run-payload");
    let parts = RunPayload::parse(&payload, 1, 2).unwrap();
    assert!(u64s(parts.tags).eq([0x0102_0304_0506_0708]));
    assert!(f32s(parts.inputs).eq([1.0, -0.5]));
    let reply = frozen("run-reply");
    let parts = RunReply::parse(&reply, 1, 1, 1).unwrap();
    assert!(f32s(parts.outputs).eq([2.5]) && parts.energy().eq([(1, 1.5)]));
    let bytes = frozen("image");
    let image = Image::parse(&bytes).unwrap();
    assert_eq!((image.header().name, image.header().chip), ("example", "tiny-4"));
    assert!(image.buffers().eq([ImageBuffer { kind: 1, len: 8, address: 0x100 }]));
    assert!(image.tables().map(|table| f32s(table).collect::<Vec<_>>()).eq([[0.5]]));
    assert!(image.tiles().eq([(2, &[1, 0xff, 127, 0x81, 0][..])]));
    let steps: Vec<_> = image.steps().map(|(step, after)| (step, after.collect())).collect();
    let move_in = ImageStep { kind: step::MOVE_IN, ..ImageStep::default() };
    assert_eq!(steps, [(move_in, vec![]), (stream(), vec![0])]);
}

#[test]
fn the_examples_in_the_document_are_the_frozen_bytes() {
    let document = fs::read_to_string(DOCUMENT).unwrap();
    let mut examples = BTreeMap::new();
    for block in document.split("```hex ").skip(1) {
        let (name, rest) = block.split_once('\n').unwrap();
        let (bytes, _) = rest.split_once("```").unwrap();
        assert!(examples.insert(name, bytes).is_none(), "{name} is there twice");
    }
    let vectors = vectors();
    for (name, bytes) in &vectors {
        assert_eq!(examples.get(name), Some(&hex(bytes).as_str()), "{name}");
    }
    assert_eq!(examples.len(), vectors.len(), "an example that nothing is held against");
}

#[test]
fn every_number_is_in_the_document() {
    use litecore_firmware_proto::registers as reg;
    let document = fs::read_to_string(DOCUMENT).unwrap();
    let row = |cells: &str| assert!(document.contains(cells), "the document lacks `{cells}`");
    for (opcode, number) in Opcode::LISTED {
        row(&format!("| `{number:#06x}` | {} |", opcode.name()));
    }
    for (fault, number) in FaultCode::LISTED {
        row(&format!("| `{number:#06x}` | {fault:?} |"));
    }
    for (name, offset) in [
        ("MAGIC", reg::MAGIC),
        ("VERSION", reg::VERSION),
        ("ALIVE", reg::ALIVE),
        ("BOOT", reg::BOOT),
        ("STATUS", reg::STATUS),
        ("CONTROL", reg::CONTROL),
        ("FAULT", reg::FAULT),
        ("ENTRIES_MAX", reg::ENTRIES_MAX),
        ("ENTRIES", reg::ENTRIES),
        ("SUBMISSION_BASE", reg::SUBMISSION_BASE),
        ("COMPLETION_BASE", reg::COMPLETION_BASE),
        ("DOORBELL", reg::DOORBELL),
        ("HEAD", reg::HEAD),
        ("EVENT_MASK", reg::EVENT_MASK),
        ("EVENT", reg::EVENT),
        ("COALESCE", reg::COALESCE),
        ("SCRATCH", reg::SCRATCH),
        ("IDENTITY_LEN", reg::IDENTITY_LEN),
        ("IDENTITY", reg::IDENTITY),
    ] {
        row(&format!("| `{offset:#05x}` | {name} |"));
    }
}
