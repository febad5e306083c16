//! Under any plan of faults, every command is carried out at most once and in order, every answer
//! is the right one, and every operation ends by its deadline: done, or with an error that says
//! what to do.

use crate::driver::{Driver, Wire};
use crate::pipe_host::PipeHost;
use crate::ring_host::RingHost;
use crate::scenario::card;
use litecore_firmware_proto::Opcode;
use litecore_firmware_proto::arq::Flavor;
use litecore_hal::{DeviceError, Remedy};
use litecore_sim::card::{FaultPlan, PciFunction, PipeCard};
use std::collections::BTreeSet;

const OPERATIONS: u64 = 12;

/// What came of the plans, to see that they did something.
#[derive(Default)]
struct Tally {
    done: u64,
    failed: u64,
    remedies: BTreeSet<Remedy>,
    restarts: u64,
}

fn hold<W: Wire>(wire: W, seed: u64, tally: &mut Tally) {
    let mut driver = Driver::new(wire);
    for number in 0..OPERATIONS {
        match driver.operation(number) {
            Ok(()) => tally.done += 1,
            Err(error) => {
                tally.failed += 1;
                tally.remedies.insert(error.remedy());
                let request_at_fault = matches!(error.remedy(), Remedy::Reject);
                assert!(!request_at_fault, "plan {seed}: a sound request was refused: {error}");
                driver.heed(&error);
            }
        }
    }
    let journal = driver.wire.journal();
    let mut once = BTreeSet::new();
    for (cookie, opcode) in &journal {
        // A session may be opened again by a card that restarted before anybody heard of it.
        let new = once.insert(*cookie) || *opcode == Opcode::Identify;
        assert!(new, "plan {seed}: {opcode} {cookie} was carried out twice");
    }
    // One at a time within a session, so what has an effect has it in the order of the names.
    assert!(journal.is_sorted(), "plan {seed}: out of order");
    assert_eq!(driver.wire.trespasses(), 0, "plan {seed}: a buffer was touched after its time");
    tally.restarts +=
        journal.iter().map(|(c, _)| c.session()).collect::<BTreeSet<_>>().len() as u64;
}

fn over_a_pipe(flavor: Flavor, seeds: std::ops::Range<u64>) -> Tally {
    let mut tally = Tally::default();
    for seed in seeds {
        let card = PipeCard::with_faults(card(), flavor, 512, FaultPlan::random(seed));
        hold(PipeHost::new(card, flavor), seed, &mut tally);
    }
    tally
}

fn over_rings(seeds: std::ops::Range<u64>) -> Tally {
    let mut tally = Tally::default();
    for seed in seeds {
        let function = PciFunction::with_faults(card(), FaultPlan::random(seed));
        hold(RingHost::new(function), seed, &mut tally);
    }
    tally
}

/// The plans must neither all succeed nor all fail.
fn check(tally: &Tally, plans: u64) {
    let all = plans * OPERATIONS;
    assert_eq!(tally.done + tally.failed, all);
    assert!(tally.done > all * 8 / 10, "{} of {all} done", tally.done);
    assert!(tally.failed > all / 1000, "{} of {all} failed", tally.failed);
    assert!(tally.remedies.contains(&Remedy::Park) && tally.remedies.contains(&Remedy::Stop));
    assert!(tally.restarts > plans * 11 / 10, "cards restarted");
}

#[test]
fn over_a_serial_line() {
    check(&over_a_pipe(Flavor::Delimited, 0..250), 250);
}

#[test]
fn over_usb() {
    check(&over_a_pipe(Flavor::Packet, 1000..1250), 250);
}

#[test]
fn over_pci_express() {
    check(&over_rings(2000..2250), 250);
}

/// `cargo test -p litecore-sim --test firmware --release -- --ignored ten_thousand`
#[test]
#[ignore = "minutes; the three tests above are its beginning"]
fn ten_thousand_plans() {
    check(&over_a_pipe(Flavor::Delimited, 10_000..13_500), 3_500);
    check(&over_a_pipe(Flavor::Packet, 20_000..23_000), 3_000);
    check(&over_rings(30_000..33_500), 3_500);
}

#[test]
fn without_faults_nothing_fails_and_nothing_is_sent_again() {
    for flavor in [Flavor::Delimited, Flavor::Packet] {
        let mut driver = Driver::new(PipeHost::new(PipeCard::new(card(), flavor, 512), flavor));
        for number in 0..OPERATIONS {
            assert_eq!(driver.operation(number), Ok(()));
        }
        let counters = driver.wire.card.counters();
        assert_eq!((counters.resent, counters.damaged, counters.timeouts), (0, 0, 0));
    }
    let mut driver = Driver::new(RingHost::new(PciFunction::new(card())));
    for number in 0..OPERATIONS {
        assert_eq!(driver.operation(number), Ok(()));
    }
    assert!(driver.wire.now < 1_000_000, "every interrupt came at once");
}

#[test]
fn a_card_that_never_comes_back_is_given_up_by_the_deadline() {
    let plan = |action: &str| {
        let text = format!(r#"{{"rules":[{{"when":{{"operation":9}},"do":{action},"times":0}}]}}"#);
        FaultPlan::from_json(&text).unwrap()
    };
    let gone = plan(r#"{"remove_ns":1000000000000000}"#);
    let card_there = |errors: &[DeviceError]| {
        errors.iter().all(|e| matches!(e, DeviceError::TimedOut { .. } | DeviceError::LinkLost))
    };
    let pipe = PipeCard::with_faults(card(), Flavor::Delimited, 512, gone.clone());
    let mut driver = Driver::new(PipeHost::new(pipe, Flavor::Delimited));
    let errors: Vec<_> = (0..4).filter_map(|number| driver.operation(number).err()).collect();
    assert!(errors.len() >= 3 && card_there(&errors), "{errors:?}");
    let mut driver = Driver::new(RingHost::new(PciFunction::with_faults(card(), gone)));
    let errors: Vec<_> = (0..4).filter_map(|number| driver.operation(number).err()).collect();
    assert!(errors.len() >= 3 && card_there(&errors), "{errors:?}");
    // A card that hangs for good is helped by a reset of its function.
    let stuck = plan(r#"{"stall_ns":1000000000000000}"#);
    let pipe = PipeCard::with_faults(card(), Flavor::Delimited, 512, stuck.clone());
    let mut driver = Driver::new(PipeHost::new(pipe, Flavor::Delimited));
    assert!((0..4).all(|number| driver.operation(number).is_ok()));
    assert_eq!(driver.wire.card.card().boot(), 2);
    let mut driver = Driver::new(RingHost::new(PciFunction::with_faults(card(), stuck)));
    assert!((0..4).all(|number| driver.operation(number).is_ok()));
    assert_eq!(driver.wire.function.card().boot(), 2);
}
