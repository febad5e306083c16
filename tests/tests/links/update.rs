//! Firmware updates of the emulated card.

use super::world::{Way, World};
use litecore_firmware_proto::firmware::{FirmwareHeader, FirmwareVersion, SignatureScheme};
use litecore_hal::update::{
    FileFault, UpdateError, UpdatePolicy, UpdateStep, Updated, roll_back_firmware, update_firmware,
};
use litecore_hal::{CardDevice, DeviceError};
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
    world.plan = litecore_sim::card::FaultPlan::from_json(json).unwrap();
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
