//! Why a serial port or a card is not opened, with real terminals and a doctored card.

use super::world::{Way, World};
use litecore_hal::{Device, DeviceUri, OpenError, OpenOptions, open_card};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::thread;
use std::time::{Duration, Instant};

/// A terminal, and its far end held open.
fn terminal() -> (File, String, OwnedFd) {
    let near = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&near).unwrap();
    unlockpt(&near).unwrap();
    let path = ptsname(&near, Vec::new()).unwrap().into_string().unwrap();
    let far = rustix::fs::open(&path, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
    let mut settings = tcgetattr(&far).unwrap();
    settings.make_raw();
    tcsetattr(&far, OptionalActions::Now, &settings).unwrap();
    (File::from(near), path, far)
}

fn refusal(uri: &DeviceUri) -> OpenError {
    let mut options = OpenOptions::usual(3);
    options.timeouts.open = Duration::from_millis(200);
    let began = Instant::now();
    let error = open_card(uri, &options).err().unwrap();
    assert!(began.elapsed() < Duration::from_secs(1), "{uri}: {:?}", began.elapsed());
    error
}

fn serial(port: &str) -> DeviceUri {
    DeviceUri::Serial { port: port.to_owned() }
}

#[test]
fn a_port_that_is_not_there_or_none_says_so() {
    let absent = refusal(&serial("/dev/ttyNoSuchPort"));
    assert!(matches!(absent, OpenError::Absent { .. }), "{absent}");
    assert!(absent.to_string().contains("`litecore device list` shows what there is"));
    let null = refusal(&serial("/dev/null"));
    assert!(matches!(null, OpenError::WrongKind { .. }), "{null}");
    assert!(null.to_string().contains("no terminal line"), "{null}");
    let file = tempfile::NamedTempFile::new().unwrap();
    let file = refusal(&serial(file.path().to_str().unwrap()));
    assert!(matches!(file, OpenError::WrongKind { .. }), "{file}");
    assert!(file.to_string().contains("a file and no serial port"), "{file}");
}

#[test]
fn silence_garbage_and_an_echo_are_told_apart() {
    let (_near, path, _far) = terminal();
    let silent = refusal(&serial(&path));
    assert!(matches!(silent, OpenError::Silent { .. }), "{silent}");

    let (mut near, path, _far) = terminal();
    // Nobody may read, and the terminal holds only so much.
    rustix::fs::fcntl_setfl(&near, OFlags::RDWR | OFlags::NONBLOCK).unwrap();
    let babble = thread::spawn(move || {
        let noise: Vec<u8> = (0..200_u32).map(|i| ((i * i * 37) >> 3) as u8).collect();
        let until = Instant::now() + Duration::from_millis(400);
        while Instant::now() < until {
            let _ = near.write(&noise);
            thread::sleep(Duration::from_millis(1));
        }
    });
    let garbage = refusal(&serial(&path));
    assert!(matches!(garbage, OpenError::Garbage { .. }), "{garbage}");
    babble.join().unwrap();

    // Whatever is sent comes back, as with a cable plugged into itself.
    let (mut near, path, far) = terminal();
    let echo = thread::spawn(move || {
        let mut bytes = [0; 1000];
        while let Ok(len @ 1..) = near.read(&mut bytes) {
            near.write_all(&bytes[..len]).unwrap();
        }
    });
    let echoed = refusal(&serial(&path));
    assert!(matches!(echoed, OpenError::Garbage { .. } | OpenError::Silent { .. }), "{echoed}");
    drop(far);
    echo.join().unwrap();
}

#[test]
fn a_port_that_another_program_uses_is_busy_and_free_afterwards() {
    let world = World::of("tiny-4");
    let far = world.serve(Way::Serial);
    let mut card = world.open_at(&far.uri()).unwrap();
    let busy = refusal(&far.uri());
    assert!(matches!(busy, OpenError::Busy { .. }), "{busy}");
    assert!(busy.to_string().ends_with("end it, or wait until it is done"), "{busy}");
    card.loopback(&[1]).unwrap();
    drop(card);
    world.open_at(&far.uri()).unwrap().telemetry().unwrap();
}

#[test]
fn a_card_that_another_program_uses_is_busy_over_vfio_user_too() {
    let world = World::of("tiny-4");
    let far = world.serve(Way::VfioUser);
    let mut card = world.open_at(&far.uri()).unwrap();
    let busy = refusal(&far.uri());
    assert!(matches!(busy, OpenError::Busy { .. }), "{busy}");
    card.loopback(&[1]).unwrap();
    drop(card);
    world.open_at(&far.uri()).unwrap().telemetry().unwrap();
}

#[test]
fn a_port_without_permission_says_whom_to_ask() {
    let (_near, path, _far) = terminal();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    let error = refusal(&serial(&path));
    if rustix::fs::access(&path, rustix::fs::Access::READ_OK).is_ok() {
        // The superuser may open it all the same.
        assert!(matches!(error, OpenError::Silent { .. }), "{error}");
    } else {
        assert!(matches!(error, OpenError::NotPermitted { .. }), "{error}");
    }
}

#[test]
fn a_card_of_another_generation_is_too_new_or_too_old_on_every_link() {
    for way in [Way::Serial, Way::VfioUser] {
        for (versions, too_new) in [((0x0200, 0x0203), true), ((0x0001, 0x0009), false)] {
            let mut world = World::of("tiny-4");
            world.card.versions = versions;
            let far = world.serve(way);
            let error = world.open_at(&far.uri()).err().unwrap();
            match error {
                OpenError::TooNew { card, driver: 0x0100, .. } => {
                    assert!(too_new && card == 0x0200, "{way:?}: {error}");
                }
                OpenError::TooOld { card, driver: 0x0100, .. } => {
                    assert!(!too_new && card == 0x0009, "{way:?}: {error}");
                }
                other => panic!("{way:?}: {other}"),
            }
        }
    }
}
