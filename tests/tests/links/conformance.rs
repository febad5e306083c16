//! One suite, every link, the same bytes.

use super::world::{WAYS, World};
use litecore_hal::conformance::{CaseReport, Setup, device_suite, run_on_card, run_on_device};
use litecore_hal::{Device, RunRequest};
use litecore_sim::Terms;
use std::sync::Arc;

fn all_hold(where_: &str, reports: &[CaseReport]) {
    for report in reports {
        assert!(report.failure.is_none(), "{where_}, {}: {:?}", report.name, report.failure);
    }
}

#[test]
fn the_simulator_itself_conforms() {
    for chip in ["tiny-4", "ref-64-eo"] {
        let world = World::of(chip);
        let setup = Setup::new(&world.chip, true).unwrap();
        let reports = run_on_device(&mut world.simulator(), &setup);
        assert_eq!(reports.len(), device_suite().len());
        all_hold(chip, &reports);
    }
}

#[test]
fn the_card_conforms_over_every_link() {
    for chip in ["tiny-4", "ref-64-eo"] {
        let world = World::of(chip);
        let setup = Setup::new(&world.chip, true).unwrap();
        for way in WAYS {
            let (mut card, _far) = world.open(way);
            let reports = run_on_card(&mut card, &setup);
            assert_eq!(reports.len(), 18, "{way:?}");
            all_hold(&format!("{chip} over {way:?}"), &reports);
        }
    }
}

#[test]
fn a_noisy_card_gives_the_same_bytes_over_every_link_as_without_one() {
    let mut world = World::of("ref-64-eo");
    world.terms = Terms::all();
    let setup = Setup::new(&world.chip, false).unwrap();
    let work = &setup.large;
    let run = |device: &mut dyn Device| {
        let image = device.load(Arc::clone(&work.program)).unwrap();
        device.run(&RunRequest { image, tags: &work.tags, inputs: &work.inputs }).unwrap()
    };
    let bare = run(&mut world.simulator());
    assert_ne!(bare.outputs, work.expected, "noise is on");
    for way in WAYS {
        let (mut card, _far) = world.open(way);
        let outcome = run(&mut card);
        let bits = |outputs: &[f32]| outputs.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&outcome.outputs), bits(&bare.outputs), "{way:?}");
        assert_eq!(outcome.cycles, bare.cycles, "{way:?}");
        assert_eq!(outcome.energy, bare.energy, "{way:?}");
    }
}
