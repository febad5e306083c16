//! The A/B update, from an empty slot to a confirmed one, and every way it can go wrong.

use crate::commands::Bench;
use crate::scenario::card;
use litecore_firmware_proto::command::FLAG_ALLOW_OLDER;
use litecore_firmware_proto::crc32c::crc32c;
use litecore_firmware_proto::firmware::{
    FirmwareHeader, FirmwareRefusal, FirmwareStatus, FirmwareVersion, SignatureScheme,
};
use litecore_firmware_proto::update::{Slot, SlotState};
use litecore_firmware_proto::{CommandHeader, CompletionHeader, FaultCode, Opcode, ResetDepth};
use sha2::{Digest, Sha256};

const BODY: [u8; 5000] = [0x5a; 5000];

fn header() -> FirmwareHeader {
    let mut label = [0; 32];
    label[..6].copy_from_slice(b"second");
    FirmwareHeader {
        board: 0x4c43_0001,
        hardware_min: 1,
        hardware_max: 2,
        version: FirmwareVersion::new(1, 1, 0),
        body_len: BODY.len() as u64,
        digest: Sha256::digest(BODY).into(),
        scheme: SignatureScheme::None,
        key: 0,
        signature: [0; 64],
        label,
    }
}

fn begin(bench: &mut Bench, header: &FirmwareHeader, flags: u16) -> CompletionHeader {
    let argument = header.body_len;
    let command = CommandHeader { argument, flags, ..bench.next(Opcode::FirmwareBegin) };
    bench.execute(command, &header.encode())
}

fn data(bench: &mut Bench, from: usize, to: usize) -> CompletionHeader {
    let piece = &BODY[from..to];
    let command = CommandHeader {
        offset: from as u64,
        argument: u64::from(crc32c(piece)),
        ..bench.next(Opcode::FirmwareData)
    };
    bench.execute(command, piece)
}

fn restart(bench: &mut Bench) {
    bench.ask(Opcode::Reset, ResetDepth::Function.number(), &[]);
    bench.now += 10_000_000;
    bench.card.advance(bench.now);
    bench.open();
}

fn status(bench: &mut Bench) -> FirmwareStatus {
    bench.ask(Opcode::FirmwareStatus, 0, &[]);
    FirmwareStatus::decode(&bench.reply).unwrap()
}

/// Up to and including the restart that begins the trial.
fn on_trial() -> Bench {
    let mut bench = Bench::new(card());
    assert_eq!(begin(&mut bench, &header(), 0).fault, None);
    assert_eq!(data(&mut bench, 0, 5000).fault, None);
    for opcode in [Opcode::FirmwareVerify, Opcode::FirmwareActivate] {
        assert_eq!(bench.ask(opcode, 0, &[]).fault, None);
    }
    restart(&mut bench);
    bench
}

#[test]
fn an_update_is_uploaded_resumed_tried_and_kept() {
    let mut bench = Bench::new(card());
    assert_eq!(begin(&mut bench, &header(), 0).argument, 0);
    assert_eq!(data(&mut bench, 0, 2000).argument, 2000);
    assert_eq!(
        bench.ask(Opcode::FirmwareVerify, 0, &[]).fault,
        Some(FaultCode::OffsetUnexpected),
        "half of it cannot be verified"
    );
    restart(&mut bench);
    assert_eq!(begin(&mut bench, &header(), 0).argument, 2000, "what was staged is still there");
    assert_eq!(data(&mut bench, 2000, 5000).argument, 5000);
    let before = status(&mut bench);
    assert_eq!((before.running, before.next), (Slot::A, Slot::A));
    assert_eq!(before.states, [SlotState::Confirmed, SlotState::Staging]);
    assert_eq!(bench.ask(Opcode::FirmwareVerify, 0, &[]).fault, None);
    assert_eq!(bench.ask(Opcode::FirmwareActivate, 0, &[]).fault, None);
    assert_eq!(status(&mut bench).next, Slot::B);
    restart(&mut bench);
    let trial = status(&mut bench);
    assert_eq!((trial.running, trial.states[1]), (Slot::B, SlotState::Trial));
    assert!(trial.trial_left_ns > 9_000_000_000 && trial.trial_left_ns <= 10_000_000_000);
    assert_eq!(trial.versions[1], FirmwareVersion::new(1, 1, 0));
    assert_eq!(bench.ask(Opcode::FirmwareConfirm, 0, &[]).fault, None);
    bench.now += 60_000_000_000;
    assert!(!bench.card.advance(bench.now), "what is kept is kept");
    assert_eq!(status(&mut bench).states, [SlotState::Confirmed, SlotState::Confirmed]);
    assert_eq!(begin(&mut bench, &header(), 0).fault, None, "the same version may come again");
}

#[test]
fn an_update_that_nobody_confirms_falls_back_by_itself() {
    let mut bench = on_trial();
    let boot = bench.card.boot();
    let due = bench.card.next_wakeup_ns().unwrap();
    assert!(!bench.card.advance(due - 1));
    assert!(bench.card.advance(due));
    bench.now = due;
    assert_eq!(bench.card.boot(), boot + 1);
    bench.open();
    let back = status(&mut bench);
    assert_eq!((back.running, back.next), (Slot::A, Slot::A));
    assert_eq!(back.states, [SlotState::Confirmed, SlotState::Rejected]);
}

#[test]
fn an_update_can_be_taken_back_on_trial_and_after() {
    let mut bench = on_trial();
    assert_eq!(begin(&mut bench, &header(), 0).fault, Some(FaultCode::FirmwareOrder));
    assert_eq!(bench.ask(Opcode::FirmwareRollback, 0, &[]).fault, None);
    restart(&mut bench);
    assert_eq!(status(&mut bench).running, Slot::A);
    let mut bench = on_trial();
    bench.ask(Opcode::FirmwareConfirm, 0, &[]);
    assert_eq!(bench.ask(Opcode::FirmwareRollback, 0, &[]).fault, None);
    restart(&mut bench);
    assert_eq!(status(&mut bench).running, Slot::A);
}

#[test]
fn firmware_that_is_not_for_this_card_is_refused_with_the_reason() {
    let mut bench = Bench::new(card());
    let mut refuse = |header: &FirmwareHeader, flags| {
        let done = begin(&mut bench, header, flags);
        done.fault.map(|fault| (fault, FirmwareRefusal::from_number(done.detail)))
    };
    let refused = |why| Some((FaultCode::FirmwareRefused, why));
    let sound = header();
    let board = FirmwareHeader { board: 7, ..sound };
    assert_eq!(refuse(&board, 0), refused(FirmwareRefusal::Board));
    let hardware = FirmwareHeader { hardware_min: 2, ..sound };
    assert_eq!(refuse(&hardware, 0), refused(FirmwareRefusal::Hardware));
    let older = FirmwareHeader { version: FirmwareVersion::new(0, 9, 9), ..sound };
    assert_eq!(refuse(&older, 0), refused(FirmwareRefusal::Older));
    assert_eq!(refuse(&older, FLAG_ALLOW_OLDER), None);
    let long = FirmwareHeader { body_len: 1 << 40, ..sound };
    assert_eq!(refuse(&long, 0), refused(FirmwareRefusal::TooLong));
    let signed = FirmwareHeader { scheme: SignatureScheme::Ed25519, ..sound };
    assert_eq!(refuse(&signed, 0), refused(FirmwareRefusal::Signature));
    let done = bench.ask(Opcode::FirmwareBegin, 0, &[0; 256]);
    assert_eq!(FirmwareRefusal::from_number(done.detail), FirmwareRefusal::Header);
}

#[test]
fn damaged_firmware_is_found_twice() {
    let mut bench = Bench::new(card());
    let wrong = FirmwareHeader { digest: [9; 32], ..header() };
    begin(&mut bench, &wrong, 0);
    let command = CommandHeader { argument: 1, ..bench.next(Opcode::FirmwareData) };
    assert_eq!(bench.execute(command, &BODY[..10]).fault, Some(FaultCode::FrameDamaged));
    assert_eq!(data(&mut bench, 0, 5000).fault, None);
    assert_eq!(bench.ask(Opcode::FirmwareVerify, 0, &[]).fault, Some(FaultCode::FirmwareDamaged));
    assert_eq!(bench.ask(Opcode::FirmwareActivate, 0, &[]).fault, Some(FaultCode::FirmwareOrder));
    assert_eq!(data(&mut bench, 5000, 5000).fault, Some(FaultCode::FirmwareOrder));
    assert_eq!(status(&mut bench).states[1], SlotState::Rejected);
}
