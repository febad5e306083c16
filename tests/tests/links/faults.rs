//! Seeded fault plans: every call gives what it should or a typed error, by its deadline.

use super::world::{Way, World};
use litecore_firmware_proto::{Cookie, Opcode};
use litecore_hal::conformance::Workload;
use litecore_hal::{CardDevice, Device, DeviceError, ImageId, Remedy, RunRequest, Timeouts};
use litecore_sim::card::FaultPlan;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Short, so that many plans fit into a test; long against what a plan does by itself.
fn short() -> Timeouts {
    Timeouts {
        open: Duration::from_secs(4),
        command: Duration::from_millis(1500),
        run: Duration::from_millis(1500),
        per_mebibyte: Duration::from_secs(1),
        rung: Duration::from_millis(40),
        reset: Duration::from_millis(600),
        return_of_card: Duration::from_millis(800),
    }
}

/// No call may last longer: a run, with a load and a transfer of less than a mebibyte each, and
/// what a busy machine adds.
const LONGEST: Duration = Duration::from_secs(6);

#[derive(Debug, Default)]
struct Tally {
    calls: u64,
    failures: u64,
    recoveries: u64,
    /// Runs that gave outputs.
    runs: u64,
}

/// One plan: loads, runs and loopbacks, then proof that the card still works.
fn endure(way: Way, seed: u64) -> Tally {
    let mut world = World::of("tiny-4");
    world.plan = FaultPlan::random(seed);
    world.timeouts = short();
    world.card.journal = true;
    let what = format!("plan {seed} over {way:?}: {:?}", world.plan);
    let work = Workload::new(&world.chip, 3, 7, seed).unwrap();
    let wire = world.plan.wire;
    let is_sound = [wire.flip_one_in, wire.drop_one_in, wire.insert_one_in]
        .iter()
        .all(|one_in| *one_in == 0 || *one_in > 8000);
    let mut tally = Tally::default();
    let began = Instant::now();
    // Opening has its own time; a plan may make it fail, but not hang.
    let opened = world.try_open(way);
    assert!(began.elapsed() < short().open + Duration::from_secs(2), "{what}: opening hangs");
    let Ok((mut card, far)) = opened else {
        tally.failures += 1;
        return tally;
    };
    let mut image = None;
    for number in 0..12 {
        step(&mut card, &work, &mut image, number, &mut tally, &what);
    }
    if is_sound {
        // All rules are spent or far away: in the end the card works.
        let mut tries = 0;
        while !step(&mut card, &work, &mut image, 100 + tries, &mut tally, &what) {
            tries += 1;
            assert!(tries < 30, "{what}: the card does not come to itself");
            thread::sleep(Duration::from_millis(30));
        }
    }
    let recovery = card.recovery();
    tally.recoveries = recovery.resets.iter().sum::<u64>() + recovery.restarts;
    drop(card);
    let journal = far.card().journal();
    check_once_and_in_order(&journal, &what);
    let runs = journal.iter().filter(|(_, opcode)| *opcode == Opcode::Run).count() as u64;
    assert!(runs >= tally.runs, "{what}: {} runs gave outputs, {runs} were done", tally.runs);
    tally
}

/// Whether every command was carried out at most once, in the order of names, and none of a session
/// after a later one had begun.
fn check_once_and_in_order(journal: &[(Cookie, Opcode)], what: &str) {
    let mut ended: Vec<u32> = Vec::new();
    for pair in journal.windows(2) {
        let [(before, first), (after, second)] = [pair[0], pair[1]];
        if before.session() != after.session() {
            ended.push(before.session());
            assert!(!ended.contains(&after.session()), "{what}: {after:?} of an ended session");
            continue;
        }
        // Only the greeting that opens a session may come again, to a card that has started over.
        let greeted_again =
            before == after && (first, second) == (Opcode::Identify, Opcode::Identify);
        assert!(
            after.sequence() > before.sequence() || greeted_again,
            "{what}: {second:?} {after:?} was carried out behind {first:?} {before:?}"
        );
    }
}

#[test]
fn a_journal_with_a_command_twice_late_or_of_an_ended_session_is_found() {
    let entry = |session, sequence| (Cookie::new(session, sequence), Opcode::Run);
    let sound = [entry(1, 1), entry(1, 2), entry(1, 5), entry(2, 1), entry(2, 2)];
    check_once_and_in_order(&sound, "sound");
    for unsound in [
        vec![entry(1, 1), entry(1, 1)],
        vec![entry(1, 3), entry(1, 2)],
        vec![entry(1, 1), entry(2, 1), entry(1, 2)],
    ] {
        let found = std::panic::catch_unwind(|| check_once_and_in_order(&unsound, "unsound"));
        assert!(found.is_err(), "{unsound:?}");
    }
}

/// One call; whether it succeeded.
fn step(
    card: &mut CardDevice,
    work: &Workload,
    image: &mut Option<ImageId>,
    number: u64,
    tally: &mut Tally,
    what: &str,
) -> bool {
    let began = Instant::now();
    let result = match *image {
        None => card.load(Arc::clone(&work.program)).map(|loaded| *image = Some(loaded)),
        Some(image) if number % 4 != 3 => {
            let request = RunRequest { image, tags: &work.tags, inputs: &work.inputs };
            card.run(&request).map(|outcome| {
                assert_eq!(outcome.outputs, work.expected, "{what}: wrong outputs, call {number}");
                tally.runs += 1;
            })
        }
        Some(_) => {
            let sent: Vec<u8> = (0..300 + number).map(|i| (i * 31 + number) as u8).collect();
            card.loopback(&sent).map(|came| {
                assert!(came == sent, "{what}: bytes changed, call {number}");
            })
        }
    };
    let took = began.elapsed();
    assert!(took < LONGEST, "{what}: call {number} took {took:?}: {result:?}");
    tally.calls += 1;
    let Err(error) = result else { return true };
    tally.failures += 1;
    assert!(is_typed(&error), "{what}: call {number}: {error}");
    if error.remedy() == Remedy::Park {
        let _ = card.park();
    }
    false
}

/// Errors that a sound request may meet on a faulty card; none blames the request.
fn is_typed(error: &DeviceError) -> bool {
    error.remedy() != Remedy::Reject
        && matches!(
            error,
            DeviceError::Fault { .. }
                | DeviceError::TimedOut { .. }
                | DeviceError::LinkLost
                | DeviceError::Dead { .. }
                | DeviceError::Link(_)
        )
}

/// Plans mostly wait, so many fit on one processor.
fn endure_all(way: Way, seeds: std::ops::Range<u64>, at_once: usize) {
    let next = AtomicU64::new(seeds.start);
    let tallies: Vec<Tally> = thread::scope(|scope| {
        let workers: Vec<_> = (0..at_once)
            .map(|_| {
                scope.spawn(|| {
                    let mut sum = Tally::default();
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= seeds.end {
                            return sum;
                        }
                        let tally = endure(way, seed);
                        sum.calls += tally.calls;
                        sum.failures += tally.failures;
                        sum.recoveries += tally.recoveries;
                    }
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    let sum = |of: fn(&Tally) -> u64| tallies.iter().map(of).sum::<u64>();
    let (calls, failures) = (sum(|t| t.calls), sum(|t| t.failures));
    let recoveries = sum(|t| t.recoveries);
    let plans = seeds.end - seeds.start;
    assert!(calls >= plans * 6, "{way:?}: {calls} calls in {plans} plans");
    assert!(failures < calls / 3, "{way:?}: {failures} of {calls} calls failed");
    assert!(recoveries > plans / 4, "{way:?}: only {recoveries} recoveries in {plans} plans");
}

#[test]
fn some_plans_in_process() {
    endure_all(Way::Pipe, 0..60, 8);
    endure_all(Way::Packets, 1000..1030, 8);
    endure_all(Way::Function, 2000..2060, 8);
}

#[test]
fn some_plans_over_a_serial_port() {
    endure_all(Way::Serial, 0..24, 8);
}

#[test]
fn some_plans_over_vfio_user() {
    endure_all(Way::VfioUser, 0..24, 8);
}

#[test]
#[ignore = "minutes: 200 plans over each link that has a kernel in it"]
fn two_hundred_plans_over_each_link() {
    endure_all(Way::Serial, 0..200, 8);
    endure_all(Way::VfioUser, 0..200, 8);
}

#[test]
#[ignore = "minutes: ten thousand plans"]
fn ten_thousand_plans_in_process() {
    endure_all(Way::Pipe, 0..5000, 48);
    endure_all(Way::Function, 5000..10_000, 48);
}
