//! Firmware updates of the emulated card.

use super::spy::Spy;
use super::world::{Way, World};
use litecore_firmware_proto::firmware::{FirmwareHeader, FirmwareVersion, SignatureScheme};
use litecore_firmware_proto::{FaultCode, Opcode};
use litecore_hal::update::{
    FileFault, UpdateError, UpdatePolicy, UpdateStep, Updated, roll_back_firmware, update_firmware,
};
use litecore_hal::{CardDevice, DeviceError};
use litecore_sim::card::FaultPlan;
use sha2::{Digest, Sha256};

const OLD: FirmwareVersion = FirmwareVersion::new(1, 0, 0);
const NEW: FirmwareVersion = FirmwareVersion::new(1, 1, 0);
const FORCE: UpdatePolicy = UpdatePolicy { force: true };
const POLITE: UpdatePolicy = UpdatePolicy { force: false };

/// A firmware file for the emulated card.
fn file(version: FirmwareVersion, change: impl FnOnce(&mut FirmwareHeader)) -> Vec<u8> {
    let body: Vec<u8> = (0..200_000_u32).map(|i| (i * 7 + version.patch) as u8).collect();
    let mut header = FirmwareHeader {
        board: 0x4c43_0001,
        hardware_min: 1,
        hardware_max: 3,
        version,
        body_len: body.len() as u64,
        digest: Sha256::digest(&body).into(),
        scheme: SignatureScheme::None,
        key: 0,
        signature: [0; 64],
        label: [0; 32],
    };
    change(&mut header);
    [&header.encode()[..], &body].concat()
}

fn update(
    card: &mut CardDevice,
    file: &[u8],
    policy: UpdatePolicy,
) -> Result<Updated, UpdateError> {
    update_firmware(card, file, policy, &mut |_| {})
}

#[test]
fn new_firmware_is_brought_tried_and_kept_over_every_kind_of_link() {
    for way in [Way::Pipe, Way::Function, Way::Serial, Way::VfioUser] {
        let (mut card, _far) = World::of("tiny-4").open(way);
        assert_eq!(card.identity().firmware, OLD);
        let mut steps = Vec::new();
        let done = update_firmware(&mut card, &file(NEW, |_| {}), POLITE, &mut |s| steps.push(s));
        assert_eq!(done, Ok(Updated::To { before: OLD, now: NEW, resumed_from: 0 }), "{way:?}");
        assert_eq!(card.identity().firmware, NEW);
        assert_eq!(steps[0], UpdateStep::Upload { done: 0, of: 200_000 });
        let last = [UpdateStep::Verify, UpdateStep::Restart, UpdateStep::Confirm];
        assert_eq!(steps[steps.len() - 3..], last, "{way:?}");
        card.reset_function().unwrap();
        assert_eq!(card.identity().firmware, NEW, "it was confirmed");
    }
}

#[test]
fn equal_is_skipped_older_refused_and_force_does_both() {
    let (mut card, _far) = World::of("tiny-4").open(Way::Function);
    let same = file(OLD, |_| {});
    assert_eq!(update(&mut card, &same, POLITE), Ok(Updated::Current(OLD)));
    let older = FirmwareVersion::new(0, 9, 9);
    let refused = update(&mut card, &file(older, |_| {}), POLITE).unwrap_err();
    assert_eq!(refused, UpdateError::Older { file: older, card: OLD });
    assert!(refused.to_string().contains("version 0.9.9, the card runs 1.0.0"), "{refused}");
    let forced = update(&mut card, &file(older, |_| {}), FORCE).unwrap();
    assert_eq!(forced, Updated::To { before: OLD, now: older, resumed_from: 0 });
}

#[test]
fn the_wrong_file_is_refused_before_anything_is_sent() {
    let (mut card, _far) = World::of("tiny-4").open(Way::Pipe);
    let before = card.link_counters().submitted;
    let board = update(&mut card, &file(NEW, |h| h.board = 5), POLITE).unwrap_err();
    assert_eq!(board, UpdateError::OtherBoard { file: 5, card: 0x4c43_0001 });
    let hardware = update(&mut card, &file(NEW, |h| h.hardware_min = 2), POLITE).unwrap_err();
    assert!(matches!(hardware, UpdateError::OtherHardware { least: 2, greatest: 3, card: 1 }));
    let mut short = file(NEW, |_| {});
    short.pop();
    let short = update(&mut card, &short, POLITE).unwrap_err();
    let length = FileFault::Length { stated: 200_000, found: 199_999 };
    assert_eq!(short, UpdateError::NotFirmware(length));
    assert!(matches!(update(&mut card, b"LCFX", POLITE), Err(UpdateError::NotFirmware(_))));
    assert_eq!(card.link_counters().submitted, before);
}

#[test]
fn damaged_firmware_is_not_run() {
    let (mut card, _far) = World::of("tiny-4").open(Way::Function);
    let mut damaged = file(NEW, |_| {});
    *damaged.last_mut().unwrap() ^= 1;
    assert_eq!(update(&mut card, &damaged, POLITE), Err(UpdateError::Damaged));
    card.reset_function().unwrap();
    assert_eq!(card.identity().firmware, OLD);
    let signed = file(NEW, |h| h.scheme = SignatureScheme::Ed25519);
    let refused = update(&mut card, &signed, POLITE).unwrap_err();
    assert!(
        refused.to_string().contains("not signed with a key that the card trusts"),
        "{refused}"
    );
    assert!(update(&mut card, &file(NEW, |_| {}), POLITE).is_ok(), "and the slot is usable again");
}

#[test]
fn an_interrupted_update_goes_on_where_it_was() {
    let mut world = World::of("tiny-4");
    world.timeouts.command = std::time::Duration::from_millis(300);
    world.timeouts.rung = std::time::Duration::from_millis(50);
    // The fourth piece meets a card that is gone for longer than anyone waits.
    let json = r#"{"rules": [{"when": {"operation": 6}, "do": {"remove_ns": 2500000000}}]}"#;
    world.plan = FaultPlan::from_json(json).unwrap();
    world.timeouts.return_of_card = std::time::Duration::from_millis(100);
    let (mut card, _far) = world.open(Way::Function);
    let new = file(NEW, |_| {});
    let failed = update(&mut card, &new, POLITE).unwrap_err();
    assert!(matches!(failed, UpdateError::Device(DeviceError::LinkLost)), "{failed}");
    std::thread::sleep(std::time::Duration::from_millis(2600));
    let done = update(&mut card, &new, POLITE).unwrap();
    let Updated::To { resumed_from, now, .. } = done else { panic!("{done:?}") };
    assert_eq!(now, NEW);
    assert!((65_536..200_000).contains(&resumed_from), "{resumed_from}");
}

#[test]
fn a_card_goes_back_to_what_it_ran_before() {
    let (mut card, _far) = World::of("tiny-4").open(Way::Serial);
    assert_eq!(roll_back_firmware(&mut card), Err(UpdateError::NothingToReturnTo));
    update(&mut card, &file(NEW, |_| {}), POLITE).unwrap();
    assert_eq!(roll_back_firmware(&mut card), Ok(OLD));
    assert_eq!(card.identity().firmware, OLD);
}

/// An update during which this happens, and what the card runs in the end.
fn update_with(way: Way, rule: &str) -> (Result<Updated, UpdateError>, FirmwareVersion) {
    let mut world = World::of("tiny-4");
    world.plan = FaultPlan::from_json(&format!(r#"{{"rules": [{rule}]}}"#)).unwrap();
    // A quarter of this is how long a card may be silent over a verification.
    world.timeouts.run = std::time::Duration::from_secs(1);
    let (mut card, _far) = world.open(way);
    let updated = update(&mut card, &file(NEW, |_| {}), POLITE);
    card.reset_function().unwrap();
    (updated, card.identity().firmware)
}

#[test]
fn a_card_that_falls_back_before_it_has_confirmed_is_not_called_updated() {
    let gone = r#"{"when": {"opcode": "firmware_confirm"}, "do": {"remove_ns": 300000000}}"#;
    let restart = r#"{"when": {"opcode": "firmware_confirm"}, "do": "reset"}"#;
    for way in [Way::Pipe, Way::Function, Way::Serial, Way::VfioUser] {
        let fell_back = Err(UpdateError::FellBack { tried: NEW, runs: OLD });
        assert_eq!(update_with(way, gone), (fell_back, OLD), "{way:?}");
        // Here the card has confirmed, and only the answer is lost.
        let updated = Ok(Updated::To { before: OLD, now: NEW, resumed_from: 0 });
        assert_eq!(update_with(way, restart), (updated, NEW), "{way:?}");
    }
}

#[test]
fn a_restart_at_any_step_of_an_update_ends_in_an_answer_that_is_true() {
    let steps = ["firmware_begin", "firmware_data", "firmware_verify", "firmware_activate"];
    for step in steps.into_iter().chain(["reset", "loopback", "telemetry", "firmware_status"]) {
        for action in [r#""reset""#, r#"{"remove_ns": 50000000}"#] {
            let rule = format!(r#"{{"when": {{"opcode": "{step}"}}, "do": {action}}}"#);
            let (updated, runs) = update_with(Way::Function, &rule);
            let told = match updated {
                Ok(Updated::To { before: OLD, now, .. }) => now,
                Err(UpdateError::FellBack { tried: NEW, runs }) => runs,
                other => panic!("{step} {action}: {other:?}"),
            };
            assert_eq!(told, runs, "{step} {action}");
            // Until the trial begins nothing is lost; later restarts may end it.
            if steps.contains(&step) || step == "reset" {
                assert_eq!(told, NEW, "{step} {action}");
            }
        }
    }
}

#[test]
fn a_piece_that_arrives_damaged_is_sent_again() {
    let world = World::of("tiny-4");
    let (link, script) = Spy::on(world.link(Way::Function).unwrap());
    let mut card = world.start(link).unwrap();
    script.lock().unwrap().damage = Some(Opcode::FirmwareData);
    let done = update(&mut card, &file(NEW, |_| {}), POLITE);
    assert_eq!(done, Ok(Updated::To { before: OLD, now: NEW, resumed_from: 0 }));
    let script = script.lock().unwrap();
    assert_eq!(script.damage, None, "it was damaged");
    let pieces = script.seen.iter().filter(|opcode| **opcode == Opcode::FirmwareData).count();
    assert_eq!(pieces, 200_000_usize.div_ceil(64 << 10) + 1, "and one piece sent twice");
}

#[test]
fn a_trial_that_an_earlier_update_has_left_is_checked_before_it_is_kept() {
    let world = World::of("tiny-4");
    let (link, script) = Spy::on(world.link(Way::Function).unwrap());
    let mut card = world.start(link).unwrap();
    let new = file(NEW, |_| {});
    script.lock().unwrap().refuse = Some((Opcode::FirmwareConfirm, FaultCode::FirmwareFault));
    let code = FaultCode::FirmwareFault;
    let interrupted = Err(UpdateError::Device(DeviceError::Fault { code }));
    assert_eq!(update(&mut card, &new, POLITE), interrupted);
    script.lock().unwrap().seen.clear();
    let done = update(&mut card, &new, POLITE);
    assert_eq!(done, Ok(Updated::To { before: NEW, now: NEW, resumed_from: 200_000 }));
    let seen = script.lock().unwrap().seen.clone();
    let at = |opcode| seen.iter().position(|one| *one == opcode).expect("it was asked");
    assert!(at(Opcode::Loopback) < at(Opcode::FirmwareConfirm), "{seen:?}");
    assert!(at(Opcode::Telemetry) < at(Opcode::FirmwareConfirm), "{seen:?}");
    card.reset_function().unwrap();
    assert_eq!(card.identity().firmware, NEW, "it was kept");
}
