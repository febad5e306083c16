//! Each command, and what the card refuses.

use crate::scenario::{card, card_with, expected_bytes, image, run_payload, workload};
use litecore_firmware_proto::command::{
    FLAG_DROP_IMAGES, FLAG_ENERGY, FLAG_OPEN_SESSION, FLAG_REPEATED,
};
use litecore_firmware_proto::crc32c::crc32c;
use litecore_firmware_proto::identity::{IdentifyRequest, Identity};
use litecore_firmware_proto::payload::RunReply;
use litecore_firmware_proto::telemetry::TelemetryRecord;
use litecore_firmware_proto::{
    CommandHeader, CompletionHeader, Cookie, CookieState, FaultCode, Opcode, ResetDepth,
};
use litecore_hal::Device;
use litecore_sim::card::{Card, CardOptions};
use litecore_types::program::{Action, Program};

/// A card, an open session, and the next name.
pub(crate) struct Bench {
    pub(crate) card: Card,
    pub(crate) now: u64,
    session: u32,
    sequence: u32,
    pub(crate) reply: Vec<u8>,
}

impl Bench {
    pub(crate) fn new(card: Card) -> Self {
        let mut bench = Self { card, now: 0, session: 0, sequence: 0, reply: Vec::new() };
        bench.open();
        bench
    }

    pub(crate) fn open(&mut self) {
        self.session += 1;
        self.sequence = 0;
        let versions = (0x100, 0x100);
        let done = self.identify(versions, FLAG_OPEN_SESSION);
        assert_eq!(done.fault, None);
    }

    fn identify(&mut self, versions: (u16, u16), flags: u16) -> CompletionHeader {
        let request = IdentifyRequest {
            version_min: versions.0,
            version_max: versions.1,
            features: u64::MAX,
        };
        let command = CommandHeader { flags, ..self.next(Opcode::Identify) };
        self.execute(command, &request.encode())
    }

    pub(crate) fn next(&mut self, opcode: Opcode) -> CommandHeader {
        self.sequence += 1;
        let cookie = Cookie::new(self.session, self.sequence);
        CommandHeader { reply_capacity: 1 << 20, ..CommandHeader::new(cookie, opcode) }
    }

    pub(crate) fn execute(&mut self, command: CommandHeader, payload: &[u8]) -> CompletionHeader {
        let command = CommandHeader { payload_len: payload.len() as u64, ..command };
        self.now += 1000;
        let done = self.card.execute(self.now, &command, payload, &mut self.reply);
        assert_eq!(done.reply_len, self.reply.len() as u64);
        assert_eq!(done.cookie, command.cookie);
        done
    }

    pub(crate) fn ask(
        &mut self,
        opcode: Opcode,
        argument: u64,
        payload: &[u8],
    ) -> CompletionHeader {
        let command = CommandHeader { argument, ..self.next(opcode) };
        self.execute(command, payload)
    }

    pub(crate) fn load(&mut self, bytes: &[u8]) -> CompletionHeader {
        let begun = self.ask(Opcode::ImageBegin, bytes.len() as u64, &[]);
        assert_eq!(begun.fault, None);
        let half = bytes.len() / 2;
        for (offset, piece) in [(0, &bytes[..half]), (half, &bytes[half..])] {
            let command = CommandHeader {
                image: begun.image,
                offset: offset as u64,
                ..self.next(Opcode::ImageData)
            };
            let done = self.execute(command, piece);
            assert_eq!((done.fault, done.argument), (None, (offset + piece.len()) as u64));
        }
        self.commit(begun.image, u64::from(crc32c(bytes)))
    }

    fn commit(&mut self, image: u64, argument: u64) -> CompletionHeader {
        let command = CommandHeader { image, argument, ..self.next(Opcode::ImageCommit) };
        self.execute(command, &[])
    }

    fn run(&mut self, image: u64, flags: u16) -> CompletionHeader {
        let payload = run_payload(&workload());
        let command = CommandHeader { image, flags, argument: 3, ..self.next(Opcode::Run) };
        self.execute(command, &payload)
    }
}

#[test]
fn a_card_says_what_it_is_and_agrees_on_a_version() {
    let mut bench = Bench::new(card());
    let identity = Identity::parse(&bench.reply).unwrap();
    assert_eq!(identity.capability.chip.as_str(), "tiny-4");
    assert_eq!((identity.version, identity.boot), (0x100, 1));
    assert_eq!(identity.serial, "sim-3");
    assert!(identity.simulated && identity.features_accepted == identity.features_offered);
    let refused = bench.identify((0x200, 0x2ff), 0);
    assert_eq!(refused.fault, Some(FaultCode::VersionUnsupported));
    assert_eq!(refused.detail, 0x0100_0100, "the card says what it speaks");
}

#[test]
fn a_program_is_loaded_and_runs_as_it_must() {
    let mut bench = Bench::new(card());
    let workload = workload();
    let loaded = bench.load(&image(&workload.program));
    assert_eq!(loaded.fault, None);
    let done = bench.run(loaded.image, FLAG_ENERGY);
    assert_eq!(done.fault, None);
    assert!(done.cycles > 0);
    let reply = bench.reply.clone();
    let parts = RunReply::parse(&reply, 3, 4, done.argument).unwrap();
    assert_eq!(parts.outputs, expected_bytes(&workload));
    assert!(parts.energy().len() > 5 && parts.energy().all(|(_, joules)| joules > 0.0));
    let plain = bench.run(loaded.image, 0);
    assert_eq!((plain.argument, plain.cycles), (0, done.cycles));
    assert_eq!(bench.reply, expected_bytes(&workload));
    bench.ask(Opcode::Telemetry, 0, &[]);
    let record = TelemetryRecord::decode(&bench.reply).unwrap();
    assert_eq!((record.images, record.runs, record.symbols), (1, 2, 6));
    assert_eq!(record.cycles, 2 * done.cycles);
}

#[test]
fn what_would_harm_the_chip_is_refused_whatever_the_host_says() {
    let sound: Program = (**workload().program).clone();
    let mut bench = Bench::new(card());
    let mut refuse = |program: &Program, words: &str| {
        let done = bench.load(&image(program));
        let reply = String::from_utf8(bench.reply.clone()).unwrap();
        assert!(reply.contains(words), "{reply}");
        (done.fault, done.detail)
    };
    let mut outside = sound.clone();
    outside.buffers[0].address = 1 << 40;
    let (fault, violations) = refuse(&outside, "of 65536");
    assert_eq!((fault, violations), (Some(FaultCode::ProgramRefused), 1));
    let mut unsettled = sound.clone();
    for step in &mut unsettled.steps {
        step.after = [].into();
    }
    assert_eq!(refuse(&unsettled, "\n").0, Some(FaultCode::ProgramRefused));
    let mut bank = sound.clone();
    for step in &mut bank.steps {
        if let Action::Settle { bank, .. } = &mut step.action {
            *bank = 900;
        }
    }
    assert_eq!(refuse(&bank, "900").0, Some(FaultCode::ProgramRefused));
    let mut other = sound.clone();
    other.chip = "ref-64-eo".to_owned();
    assert_eq!(refuse(&other, "ref-64-eo").0, Some(FaultCode::ProgramForOtherChip));
    assert_eq!(bench.run(1, 0).fault, Some(FaultCode::ImageUnknown), "nothing was loaded");
}

#[test]
fn an_upload_is_checked_in_every_piece() {
    let mut bench = Bench::new(card_with(CardOptions {
        image_bytes_max: 10_000,
        images_max: 2,
        ..CardOptions::default()
    }));
    let full = bench.ask(Opcode::ImageBegin, 10_001, &[]);
    assert_eq!((full.fault, full.argument), (Some(FaultCode::MemoryFull), 10_000));
    let bytes = image(&workload().program);
    let begun = bench.ask(Opcode::ImageBegin, bytes.len() as u64, &[]).image;
    let data = |bench: &mut Bench, offset: u64, piece: &[u8]| {
        let command = CommandHeader { image: begun, offset, ..bench.next(Opcode::ImageData) };
        let done = bench.execute(command, piece);
        (done.fault, done.argument)
    };
    assert_eq!(data(&mut bench, 8, &bytes[8..]), (Some(FaultCode::OffsetUnexpected), 0));
    assert_eq!(data(&mut bench, 0, &bytes[..8]), (None, 8));
    assert_eq!(data(&mut bench, 0, &bytes[..8]), (Some(FaultCode::OffsetUnexpected), 8));
    assert_eq!(data(&mut bench, 8, &[0; 10_000]).0, Some(FaultCode::ArgumentInvalid));
    let early = bench.commit(begun, 0);
    assert_eq!((early.fault, early.argument), (Some(FaultCode::OffsetUnexpected), 8));
    assert_eq!(data(&mut bench, 8, &bytes[8..]).0, None);
    assert_eq!(bench.commit(begun, 1).fault, Some(FaultCode::ImageDamaged));
    assert_eq!(bench.commit(begun, 1).fault, Some(FaultCode::ImageUnknown), "it was dropped");
    let garbage = vec![7; 100];
    let done = bench.load(&garbage);
    assert_eq!(done.fault, Some(FaultCode::ImageDamaged));
    for _ in 0..2 {
        assert_eq!(bench.ask(Opcode::ImageBegin, 1, &[]).fault, None);
    }
    assert_eq!(bench.ask(Opcode::ImageBegin, 1, &[]).fault, Some(FaultCode::MemoryFull));
    bench.ask(Opcode::Reset, ResetDepth::Queue.number(), &[]);
    assert_eq!(bench.ask(Opcode::ImageBegin, 1, &[]).fault, None, "a queue reset drops uploads");
}

#[test]
fn an_image_can_be_dropped_and_its_room_used_again() {
    let bytes = image(&workload().program);
    let room = bytes.len() as u64 + 10;
    let mut bench =
        Bench::new(card_with(CardOptions { image_bytes_max: room, ..CardOptions::default() }));
    for _ in 0..3 {
        let loaded = bench.load(&bytes).image;
        assert_eq!(bench.ask(Opcode::ImageBegin, 11, &[]).fault, Some(FaultCode::MemoryFull));
        assert_eq!(bench.run(loaded, 0).fault, None);
        let drop = CommandHeader { image: loaded, ..bench.next(Opcode::ImageDrop) };
        assert_eq!(bench.execute(drop, &[]).fault, None);
        assert_eq!(bench.run(loaded, 0).fault, Some(FaultCode::ImageUnknown));
    }
}

#[test]
fn images_outlive_their_session_unless_a_greeting_drops_them() {
    let bytes = image(&workload().program);
    let room = bytes.len() as u64 + 10;
    let mut bench =
        Bench::new(card_with(CardOptions { image_bytes_max: room, ..CardOptions::default() }));
    let loaded = bench.load(&bytes).image;
    bench.open();
    assert_eq!(bench.run(loaded, 0).fault, None);
    // A greeting that is refused drops nothing.
    let refused = bench.identify((0x300, 0x300), FLAG_DROP_IMAGES);
    assert_eq!(refused.fault, Some(FaultCode::VersionUnsupported));
    assert_eq!(bench.run(loaded, 0).fault, None);
    for flags in [FLAG_DROP_IMAGES, FLAG_DROP_IMAGES | FLAG_OPEN_SESSION] {
        assert_eq!(bench.identify((0x100, 0x100), flags).fault, None);
        assert_eq!(bench.run(loaded, 0).fault, Some(FaultCode::ImageUnknown));
        let again = bench.load(&bytes).image;
        assert!(again > loaded, "a number is not used again");
        assert_eq!(bench.run(again, 0).fault, None);
    }
}

#[test]
fn a_cookie_is_carried_out_at_most_once() {
    let mut bench = Bench::new(card());
    let loaded = bench.load(&image(&workload().program)).image;
    let payload = run_payload(&workload());
    let command = CommandHeader { image: loaded, argument: 3, ..bench.next(Opcode::Run) };
    let first = bench.execute(command, &payload);
    let reply = bench.reply.clone();
    let again = bench.execute(command, &payload);
    assert_eq!(again, CompletionHeader { flags: FLAG_REPEATED, ..first });
    assert_eq!(bench.reply, reply);
    assert_eq!(bench.card.device().last_timeline(), None);
    bench.ask(Opcode::Telemetry, 0, &[]);
    let record = TelemetryRecord::decode(&bench.reply).unwrap();
    assert_eq!((record.runs, record.repeats), (1, 1));
    let query = bench.ask(Opcode::Query, command.cookie.0, &[]);
    assert_eq!(query.detail, CookieState::Finished.number());
    let told = CompletionHeader::decode(bench.reply.as_slice().try_into().unwrap());
    assert_eq!(told, Ok(first));
    let never = Cookie::new(command.cookie.session(), 10_000);
    assert_eq!(bench.ask(Opcode::Query, never.0, &[]).detail, CookieState::Unknown.number());
    for _ in 0..128 {
        bench.ask(Opcode::Park, 0, &[]);
    }
    assert_eq!(bench.execute(command, &payload).fault, Some(FaultCode::CookieStale));
    let gone = bench.ask(Opcode::Query, command.cookie.0, &[]).detail;
    assert_eq!(gone, CookieState::Forgotten.number());
    let runs = bench.card.journal().iter().filter(|(_, opcode)| *opcode == Opcode::Run).count();
    assert_eq!(runs, 1);
}

#[test]
fn a_reply_that_is_too_long_to_keep_is_not_made_twice() {
    let small = CardOptions { kept_reply_bytes: 16, ..CardOptions::default() };
    let mut bench = Bench::new(card_with(small));
    let loaded = bench.load(&image(&workload().program)).image;
    let payload = run_payload(&workload());
    let command = CommandHeader { image: loaded, argument: 3, ..bench.next(Opcode::Run) };
    assert_eq!(bench.execute(command, &payload).fault, None);
    assert_eq!(bench.execute(command, &payload).fault, Some(FaultCode::ReplyForgotten));
}

#[test]
fn sessions_end_with_a_restart_and_with_the_next_one() {
    let mut bench = Bench::new(card());
    let loaded = bench.load(&image(&workload().program)).image;
    assert_eq!(bench.ask(Opcode::Reset, ResetDepth::Function.number(), &[]).fault, None);
    assert_eq!(bench.ask(Opcode::Park, 0, &[]).fault, Some(FaultCode::Busy));
    bench.now += bench.card.options().restart_after_ns;
    assert_eq!(bench.ask(Opcode::Park, 0, &[]).fault, Some(FaultCode::SessionUnknown));
    assert_eq!(bench.card.boot(), 2);
    bench.open();
    assert_eq!(bench.run(loaded, 0).fault, Some(FaultCode::ImageUnknown));
    let old = bench.next(Opcode::Park);
    bench.open();
    assert_eq!(bench.execute(old, &[]).fault, Some(FaultCode::SessionUnknown));
    assert_eq!(bench.ask(Opcode::Reset, 9, &[]).fault, Some(FaultCode::ArgumentInvalid));
}

#[test]
fn requests_that_make_no_sense_are_told_apart() {
    let mut bench = Bench::new(card());
    let loaded = bench.load(&image(&workload().program)).image;
    let fault = |bench: &mut Bench, command: CommandHeader, payload: &[u8]| {
        let done = bench.execute(command, payload);
        (done.fault.unwrap(), done.detail, done.argument)
    };
    let unknown = bench.next(Opcode::Unlisted(0x777));
    assert_eq!(fault(&mut bench, unknown, &[]).0, FaultCode::CommandUnknown);
    let flags = CommandHeader { flags: 0x40, ..bench.next(Opcode::Park) };
    assert_eq!(fault(&mut bench, flags, &[]), (FaultCode::ArgumentInvalid, 10, 0));
    let run = CommandHeader { image: loaded, argument: 2, ..bench.next(Opcode::Run) };
    assert_eq!(fault(&mut bench, run, &[0; 5]), (FaultCode::InputLength, 0, 8));
    let most = u64::MAX;
    let run = CommandHeader { image: loaded, argument: most, ..bench.next(Opcode::Run) };
    assert_eq!(fault(&mut bench, run, &[]).0, FaultCode::InputLength);
    let mut payload = run_payload(&workload());
    payload[24..28].copy_from_slice(&f32::NAN.to_le_bytes());
    let run = CommandHeader { image: loaded, argument: 3, ..bench.next(Opcode::Run) };
    assert_eq!(fault(&mut bench, run, &payload), (FaultCode::InputNotFinite, 0, 0));
    let many: Vec<u8> = vec![0; 1000 * (8 + 8 * 4)];
    let run = CommandHeader { image: loaded, argument: 1000, ..bench.next(Opcode::Run) };
    assert_eq!(fault(&mut bench, run, &many).0, FaultCode::SymbolsTooMany);
    let run =
        CommandHeader { image: loaded, argument: 3, reply_capacity: 47, ..bench.next(Opcode::Run) };
    let payload = run_payload(&workload());
    assert_eq!(fault(&mut bench, run, &payload), (FaultCode::ReplyTooLong, 0, 48));
    let echo = CommandHeader { reply_capacity: 3, ..bench.next(Opcode::Loopback) };
    assert_eq!(fault(&mut bench, echo, b"four"), (FaultCode::ReplyTooLong, 0, 4));
}

#[test]
fn a_hot_chip_rests_until_it_was_parked_and_cool() {
    let mut bench = Bench::new(card());
    let loaded = bench.load(&image(&workload().program)).image;
    bench.card.trip_thermally(1_000_000);
    assert_eq!(bench.run(loaded, 0).fault, Some(FaultCode::ThermalTrip));
    bench.now = 1_000_000;
    assert_eq!(bench.run(loaded, 0).fault, Some(FaultCode::ThermalTrip), "not parked");
    assert_eq!(bench.ask(Opcode::Park, 0, &[]).fault, None);
    assert_eq!(bench.run(loaded, 0).fault, None);
    bench.card.fail_laser(2_000_000);
    assert_eq!(bench.run(loaded, 0).fault, Some(FaultCode::LaserFault));
    bench.ask(Opcode::Telemetry, 0, &[]);
    let record = TelemetryRecord::decode(&bench.reply).unwrap();
    assert!(record.laser_fault && !record.too_hot);
    assert_eq!(record.last_fault, Some(FaultCode::LaserFault));
    assert_eq!(bench.ask(Opcode::Loopback, 0, b"x").fault, None, "only runs need light");
    assert_eq!(bench.card.device().capabilities().rows, 4);
}
