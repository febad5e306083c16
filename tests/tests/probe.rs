//! The calibration's measurement, on simulated cards: it must find what the noise budget predicts.

use litecore_calibration::{Probe, probe};
use litecore_hal::Device;
use litecore_sim::budget::{Budget, Statistics};
use litecore_sim::{SimDevice, SimOptions, Term, Terms};
use litecore_types::Seed;
use litecore_types::chip::{ChipDescription, Impairment, builtin};

fn measure(chip: &ChipDescription, terms: Terms, seed: u128) -> Probe {
    let options = SimOptions { seed: Seed(seed), terms, record_timeline: false };
    let mut device: Box<dyn Device> = Box::new(SimDevice::new(chip.clone(), options));
    probe(device.as_mut(), chip, 2000, Seed(42)).expect("a sound device")
}

#[test]
fn a_silent_card_computes_exactly() {
    for name in ["tiny-4", "ref-64-eo"] {
        let chip = builtin(name).expect("shipped");
        let found = measure(&chip, Terms::none(), 7);
        assert_eq!(found.codes_off, 0);
        assert!((found.snr_rms_db - found.ideal_snr_rms_db).abs() < 1e-9);
        assert_eq!(found.serial, "sim-7");
    }
}

#[test]
fn a_noisy_card_shows_its_noise_budget() {
    let chip = builtin("ref-64-eo").expect("shipped");
    let sets = Term::ALL.map(Terms::only).into_iter().chain([Terms::all()]);
    for terms in sets {
        let found = measure(&chip, terms, 7);
        let statistics = Statistics::uniform(&chip, found.shift);
        let expected = Budget::predict(&chip, terms, &statistics).total.snr_rms_db;
        // One chip is a small sample of cells, and the budget leaves clipping out.
        let difference = found.snr_rms_db - expected;
        assert!(difference.abs() < 0.25, "{terms}: {} dB, budget {expected} dB", found.snr_rms_db);
        // What stays far below a converter step, or is ideal here, moves no code.
        let silent = Budget::predict(&chip, Terms::none(), &statistics).total.snr_rms_db;
        if expected < silent - 0.05 {
            assert!(found.codes_off > 0, "{terms}");
            assert!(found.snr_rms_db < found.ideal_snr_rms_db, "{terms}");
        }
    }
}

#[test]
fn a_card_with_poor_cells_has_poor_outputs() {
    let mut chip = builtin("ref-64-eo").expect("shipped");
    chip.cell.amplitude_error = Impairment::set(0.1);
    let found = measure(&chip, Terms::only(Term::CellAmplitude), 7);
    // 1 / 0.1² is 20 dB.
    assert!((found.snr_rms_db - 20.0).abs() < 0.3, "{} dB", found.snr_rms_db);
    // A column's mean error over its 64 cells shows as its gain, 0.1 / 8 wide.
    let deviation = |probe: &Probe| {
        let squares: f64 = probe.outputs.iter().map(|o| (o.gain - 1.0) * (o.gain - 1.0)).sum();
        (squares / probe.outputs.len() as f64).sqrt()
    };
    assert!((0.008..0.02).contains(&deviation(&found)), "{}", deviation(&found));
    assert!(deviation(&measure(&chip, Terms::none(), 7)) < 0.002);
    for output in &found.outputs {
        assert!(output.corrected_snr_rms_db >= output.snr_rms_db - 0.2);
    }
}
