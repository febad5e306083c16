//! Cards that go and come back, and several at once.

use super::world::{WAYS, Way, World};
use litecore_hal::conformance::Workload;
use litecore_hal::{Device, DeviceError, RunRequest};
use litecore_sim::card::FaultPlan;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn a_card_pulled_out_in_mid_run_finishes_the_run_when_it_is_back() {
    for way in WAYS {
        let mut world = World::of("tiny-4");
        let json = r#"{"rules": [{"when": {"opcode": "run"}, "do": {"remove_ns": 300000000}}]}"#;
        world.plan = FaultPlan::from_json(json).unwrap();
        let (mut card, _far) = world.open(way);
        let work = Workload::new(&world.chip, 5, 9, 3).unwrap();
        let image = card.load(Arc::clone(&work.program)).unwrap();
        let request = RunRequest { image, tags: &work.tags, inputs: &work.inputs };
        let began = Instant::now();
        let outcome = card.run(&request).unwrap_or_else(|error| panic!("{way:?}: {error}"));
        assert_eq!(outcome.outputs, work.expected, "{way:?}");
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(290), "{way:?}: {took:?}, it was not pulled out");
        assert!(card.recovery().restarts > 0, "{way:?}");
        assert_eq!(card.run(&request).unwrap().outputs, work.expected, "{way:?}: and again");
    }
}

#[test]
fn a_card_that_stays_away_is_lost_by_the_deadline_and_found_again_later() {
    for way in [Way::Pipe, Way::Function, Way::Serial, Way::VfioUser] {
        let mut world = World::of("tiny-4");
        let json =
            r#"{"rules": [{"when": {"opcode": "loopback"}, "do": {"remove_ns": 1500000000}}]}"#;
        world.plan = FaultPlan::from_json(json).unwrap();
        world.timeouts.return_of_card = Duration::from_millis(200);
        let (mut card, _far) = world.open(way);
        let began = Instant::now();
        let error = card.loopback(&[1, 2, 3]).unwrap_err();
        assert_eq!(error, DeviceError::LinkLost, "{way:?}");
        assert!(began.elapsed() < Duration::from_millis(1400), "{way:?}: {:?}", began.elapsed());
        thread::sleep(Duration::from_millis(1700).saturating_sub(began.elapsed()));
        assert_eq!(card.loopback(&[1, 2, 3]).unwrap(), [1, 2, 3], "{way:?}");
    }
}

#[test]
fn another_card_in_the_same_place_is_not_taken_for_the_first() {
    let world = World::of("tiny-4");
    let far = world.serve(Way::VfioUser);
    let mut card = world.open_at(&far.uri()).unwrap();
    card.loopback(&[1]).unwrap();
    let uri = far.uri();
    let path = far.keep_place();
    let other = World { seed: 8, ..world };
    let _far = other.serve_at(Way::VfioUser, path);
    let error = card.loopback(&[2]).unwrap_err();
    assert!(error.to_string().contains("another card than before"), "{error}");
    drop(card);
    assert_eq!(other.open_at(&uri).unwrap().capabilities().serial, "sim-8");
}

#[test]
fn several_cards_run_at_once_each_its_own() {
    let threads: Vec<_> = (0..6_u128)
        .map(|seed| {
            thread::spawn(move || {
                let way = WAYS[seed as usize % WAYS.len()];
                let world = World { seed, ..World::of("tiny-4") };
                let (mut card, _far) = world.open(way);
                assert_eq!(card.capabilities().serial, format!("sim-{seed}"));
                let work = Workload::new(&world.chip, 4, 6, seed as u64).unwrap();
                let image = card.load(Arc::clone(&work.program)).unwrap();
                for _ in 0..50 {
                    let request = RunRequest { image, tags: &work.tags, inputs: &work.inputs };
                    assert_eq!(card.run(&request).unwrap().outputs, work.expected, "{way:?}");
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn runs_are_split_where_transfers_are_short_and_give_the_same() {
    let mut world = World::of("tiny-4");
    world.terms = litecore_sim::Terms::all();
    let work = Workload::new(&world.chip, 3, 200, 5).unwrap();
    let whole = {
        let mut bare = world.simulator();
        let image = bare.load(Arc::clone(&work.program)).unwrap();
        bare.run(&RunRequest { image, tags: &work.tags, inputs: &work.inputs }).unwrap()
    };
    // 200 symbols of 8 numbers are 8000 bytes with their tags.
    (world.card.payload_max, world.card.reply_max) = (1000, 1200);
    for way in [Way::Pipe, Way::Function] {
        let (mut card, _far) = world.open(way);
        let image = card.load(Arc::clone(&work.program)).unwrap();
        let before = card.link_counters().submitted;
        let request = RunRequest { image, tags: &work.tags, inputs: &work.inputs };
        let outcome = card.run(&request).unwrap();
        assert_eq!(outcome.outputs, whole.outputs, "{way:?}");
        assert_eq!(card.link_counters().submitted - before, 8, "25 symbols fit into a payload");
        assert_eq!(card.telemetry().unwrap().runs, 1);
    }
}

#[test]
fn no_register_is_read_while_programs_run() {
    for way in [Way::Function, Way::VfioUser] {
        let world = World::of("tiny-4");
        let (mut card, _far) = world.open(way);
        let work = Workload::new(&world.chip, 3, 20, 5).unwrap();
        let image = card.load(Arc::clone(&work.program)).unwrap();
        let before = card.link_counters();
        for _ in 0..200 {
            let request = RunRequest { image, tags: &work.tags, inputs: &work.inputs };
            card.run(&request).unwrap();
            card.loopback(&[7; 5000]).unwrap();
        }
        let after = card.link_counters();
        assert_eq!(after.register_reads, before.register_reads, "{way:?}");
        let doorbells = after.register_writes - before.register_writes;
        let repeated = after.doorbells_repeated - before.doorbells_repeated;
        assert_eq!(doorbells - repeated, 400, "{way:?}: one write for each command");
    }
}
