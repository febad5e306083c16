//! What is left on a card and a link by those who used it before.

use super::spy::Spy;
use super::world::{Way, World};
use litecore_firmware_proto::{CommandHeader, Cookie, FaultCode, Opcode};
use litecore_hal::conformance::Workload;
use litecore_hal::{CardDevice, Device, DeviceError, ResetLevel, RunRequest};
use litecore_sim::card::FaultPlan;
use std::sync::Arc;
use std::time::Duration;

fn load_and_run(card: &mut CardDevice, work: &Workload) {
    let image = card.load(Arc::clone(&work.program)).unwrap();
    let request = RunRequest { image, tags: &work.tags, inputs: &work.inputs };
    assert_eq!(card.run(&request).unwrap().outputs, work.expected);
}

#[test]
fn a_card_does_not_fill_up_with_the_images_of_those_who_have_left() {
    let mut world = World::of("tiny-4");
    let work = Workload::new(&world.chip, 3, 4, 1).unwrap();
    world.card.images_max = 1;
    for way in [Way::Serial, Way::VfioUser] {
        let far = world.serve(way);
        for _ in 0..3 {
            let mut card = world.open_at(&far.uri()).unwrap();
            assert_eq!(card.card_telemetry().unwrap().images, 0, "{way:?}");
            load_and_run(&mut card, &work);
            assert_eq!(card.card_telemetry().unwrap().images, 1, "{way:?}");
        }
    }
    for way in [Way::Pipe, Way::Packets, Way::Function] {
        let far = world.card(way);
        let open = || world.start(world.link_to(way, &far).unwrap()).unwrap();
        let mut first = open();
        load_and_run(&mut first, &work);
        // It ends without a word.
        std::mem::forget(first);
        let mut second = open();
        assert_eq!(second.card_telemetry().unwrap().images, 0, "{way:?}");
        load_and_run(&mut second, &work);
        drop(second);
        // And this one with one.
        let mut third = open();
        load_and_run(&mut third, &work);
        let before = third.card_telemetry().unwrap().commands;
        drop(third);
        let (link, script) = Spy::on(world.link_to(way, &far).unwrap());
        let mut fourth = world.start(link).unwrap();
        let after = fourth.card_telemetry().unwrap();
        assert_eq!(after.commands - before, 3, "{way:?}: goodbye, identify, telemetry");
        drop(fourth);
        let seen = &script.lock().unwrap().seen;
        assert_eq!(seen[..], [Opcode::Identify, Opcode::Telemetry], "{way:?}: nothing to drop");
    }
}

#[test]
fn a_session_that_has_no_names_left_is_followed_by_another_and_images_stay() {
    for way in [Way::Pipe, Way::Function] {
        let mut world = World::of("tiny-4");
        world.card.journal = true;
        let work = Workload::new(&world.chip, 3, 4, 1).unwrap();
        let card = world.card(way);
        let (link, script) = Spy::on(world.link_to(way, &card).unwrap());
        let mut device = world.start(link).unwrap();
        let image = device.load(Arc::clone(&work.program)).unwrap();
        let request = RunRequest { image, tags: &work.tags, inputs: &work.inputs };
        device.skip_names(u32::MAX - 5000);
        // Far into the names, and across their end.
        for _ in 0..1500 {
            assert_eq!(device.run(&request).unwrap().outputs, work.expected, "{way:?}");
        }
        let greetings =
            |seen: &[Opcode]| seen.iter().filter(|one| **one == Opcode::Identify).count();
        {
            let seen = &script.lock().unwrap().seen;
            assert_eq!(greetings(seen), 2, "{way:?}");
            let uploads = seen.iter().filter(|one| **one == Opcode::ImageBegin).count();
            assert_eq!(uploads, 1, "{way:?}: images stay");
        }
        assert_eq!(device.recovery().restarts, 0, "{way:?}");
        let journal = card.journal();
        let runs: Vec<Cookie> = journal
            .iter()
            .filter(|(_, opcode)| *opcode == Opcode::Run)
            .map(|(cookie, _)| *cookie)
            .collect();
        assert_eq!(runs.len(), 1500, "{way:?}");
        assert!(runs[0].sequence() > u32::MAX - 5000 && runs[1499].sequence() < 1500, "{way:?}");
        // A card that has started over in between has no images, whatever the names.
        device.skip_names(u32::MAX);
        device.reset_function().unwrap();
        assert_eq!(device.run(&request).unwrap().outputs, work.expected, "{way:?}");
    }
}

#[test]
fn memory_that_a_card_could_not_reach_is_tried_again_behind_a_reset_of_the_queue() {
    let world = World::of("tiny-4");
    let work = Workload::new(&world.chip, 3, 4, 1).unwrap();
    let (link, script) = Spy::on(world.link(Way::Function).unwrap());
    let mut card = world.start(link).unwrap();
    script.lock().unwrap().refuse = Some((Opcode::Run, FaultCode::TransferFault));
    load_and_run(&mut card, &work);
    let script = script.lock().unwrap();
    assert_eq!(script.refuse, None, "it was refused");
    assert_eq!(script.resets, [ResetLevel::Queue]);
    drop(script);
    assert_eq!(card.recovery().resets, [0, 1, 0, 0]);
    assert_eq!(card.recovery().restarts, 0);
}

#[test]
fn commands_that_were_given_up_do_not_keep_their_room() {
    let mut world = World::of("tiny-4");
    // Calls end before anything is suspected.
    world.timeouts.command = Duration::from_millis(100);
    world.timeouts.rung = Duration::from_millis(500);
    let json = r#"{"rules": [{"when": {"opcode": "loopback"}, "do": {"drop": "command"},
        "times": 18}]}"#;
    world.plan = FaultPlan::from_json(json).unwrap();
    let (mut card, _far) = world.open(Way::Function);
    // Sixteen of them are all that the card can reach.
    let bytes = vec![1; 520_000];
    let mut given_up = 0;
    let back = loop {
        match card.loopback(&bytes) {
            Ok(back) => break back,
            Err(DeviceError::TimedOut { .. }) => given_up += 1,
            Err(other) => panic!("{other} behind {given_up} that were given up"),
        }
        assert!(given_up < 60);
    };
    assert_eq!(back, bytes);
    assert!(given_up >= 18, "{given_up}");
}

#[test]
fn a_window_full_of_commands_that_nobody_answers_is_emptied() {
    for way in [Way::Pipe, Way::Function] {
        let mut world = World::of("tiny-4");
        let json = r#"{"rules": [{"when": {"opcode": "telemetry"}, "do": {"drop": "command"},
            "times": 0}]}"#;
        world.plan = FaultPlan::from_json(json).unwrap();
        world.timeouts.rung = Duration::from_millis(40);
        let (mut card, _far) = world.open(way);
        for number in 0..card.link_info().window as u32 {
            let command = CommandHeader::new(Cookie::new(1, number), Opcode::Telemetry);
            let link = card.link();
            let (payload, reply) = (link.buffer(0).unwrap(), link.buffer(0).unwrap());
            link.submit(&command, payload, reply).unwrap();
        }
        assert_eq!(card.loopback(&[1, 2, 3]).unwrap(), [1, 2, 3], "{way:?}");
    }
}
