//! Losses under commands that may take long: noticed at once, and nothing else is taken for one.

use super::world::{WAYS, Way, World};
use litecore_firmware_proto::Opcode;
use litecore_hal::conformance::Workload;
use litecore_hal::wrappers::TracedLink;
use litecore_hal::{
    CardDevice, CardOptions, Deadline, Device, RecoveryCounters, RunRequest, Timeouts,
    fresh_session,
};
use litecore_sim::card::FaultPlan;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

fn world(when: &str, what: &str) -> World {
    let mut world = World::of("tiny-4");
    let plan =
        format!(r#"{{"rules": [{{"when": {{"opcode": "{when}"}}, "do": {what}, "times": 1}}]}}"#);
    world.plan = FaultPlan::from_json(&plan).unwrap();
    world
}

/// Loads and runs; the time each took.
fn use_it(card: &mut CardDevice, world: &World) -> (Duration, Duration) {
    let work = Workload::new(&world.chip, 5, 9, 3).unwrap();
    let began = Instant::now();
    let image = card.load(Arc::clone(&work.program)).unwrap();
    let load = began.elapsed();
    let began = Instant::now();
    let request = RunRequest { image, tags: &work.tags, inputs: &work.inputs };
    assert_eq!(card.run(&request).unwrap().outputs, work.expected);
    (load, began.elapsed())
}

#[test]
fn a_lost_completion_of_a_long_command_costs_less_than_a_second() {
    let patience = Timeouts::default().run / 4;
    assert!(patience > Duration::from_secs(7), "what it would cost to wait that long");
    for what in [r#"{"drop": "completion"}"#, r#"{"drop": "command"}"#, r#""wrong_completion""#] {
        for when in [Opcode::ImageCommit, Opcode::Run] {
            for way in WAYS {
                let world = world(when.name(), what);
                let (mut card, _far) = world.open(way);
                let (load, run) = use_it(&mut card, &world);
                let hit = if when == Opcode::Run { run } else { load };
                let rung = world.timeouts.rung;
                let case = format!("{what} at {} over {way:?}: {load:?}, {run:?}", when.name());
                assert!(hit >= rung && hit < Duration::from_secs(1), "{case}");
                let recovery = card.recovery();
                assert_eq!((recovery.resent, recovery.restarts), (1, 0), "{case}: {recovery:?}");
            }
        }
    }
}

#[test]
fn a_card_that_is_at_work_is_not_suspected() {
    for way in WAYS {
        // More than the time of a short command, and more than one question.
        let world = world("image_commit", r#"{"delay_ns": 900000000}"#);
        let (mut card, _far) = world.open(way);
        let (load, _) = use_it(&mut card, &world);
        assert!(load >= Duration::from_millis(900), "{way:?}: {load:?}");
        assert_eq!(card.recovery(), RecoveryCounters::default(), "{way:?}");
    }
}

/// A trace that a test can read while a link writes it.
#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_trace_of_the_link_tells_the_story_of_a_loss() {
    let world = world("image_commit", r#"{"drop": "completion"}"#);
    let page = Page::default();
    let link = world.link(Way::Function).unwrap();
    let link = Box::new(TracedLink::new(link, page.clone()));
    let options = CardOptions { timeouts: world.timeouts, session: fresh_session() };
    let mut card = CardDevice::start(link, options, Deadline::after(world.timeouts.open)).unwrap();
    use_it(&mut card, &world);
    let text = String::from_utf8(page.0.lock().unwrap().clone()).unwrap();
    // Without times, sessions and numbers that a run chooses.
    let story: Vec<String> = text
        .lines()
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().skip(1).collect();
            let cookie = words[1].split_once(':').map_or(words[1], |(_, sequence)| sequence);
            format!("{} {cookie} {}", words[0], words.get(2).unwrap_or(&"").trim_end_matches(','))
        })
        .collect();
    let expected = [
        "submit 1 identify",
        "complete 1 identify",
        "submit 2 image_begin",
        "complete 2 image_begin",
        "submit 3 image_data",
        "complete 3 image_data",
        "submit 4 image_commit",
        "silent 1 in",
        "submit 5 query",
        "complete 5 query",
        "reset new epoch",
        "reset queue reset",
        "submit 4 image_commit",
        "complete 4 image_commit",
        "submit 6 run",
        "complete 6 run",
    ];
    assert_eq!(story, expected, "{text}");
}
