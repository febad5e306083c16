//! What a simulated card shows by experiment, against what theory says in closed form.

use crate::single_tile::{SingleTile, chip_with, decibels};
use litecore_sim::budget::{Budget, Source, Statistics};
use litecore_sim::optics::Optics;
use litecore_sim::{Term, Terms};

fn close(what: &str, measured: f64, expected: f64, tolerance: f64) {
    assert!(
        (measured - expected).abs() < tolerance,
        "{what}: {measured:.3} dB, expected {expected:.3} ± {tolerance}"
    );
}

/// A converter too fine to matter, and a chip of this size.
fn fine_chip(size: usize, more: &[(&str, &str)]) -> litecore_types::chip::ChipDescription {
    let size = size.to_string();
    let mut changes = vec![("array.inputs", &*size), ("array.outputs", &*size), ("adc.bits", "16")];
    changes.push(("adc.enob", "16.0"));
    changes.extend(more);
    chip_with("ref-64-eo", &changes)
}

#[test]
fn shot_noise_is_a_matter_of_photons_and_not_of_size() {
    // SNR_rms = κ η n t² s with κ = 4, η = 0.8, t² = 0.1, and s = 1/18 for uniform data.
    for (photons, uniform) in [(2.0e4, 25.51), (2.0e5, 35.51)] {
        for (size, symbols) in [(16, 3000), (64, 1500), (256, 300)] {
            // n = P_L / (f N M ħω) at 2 GHz and 1550 nm.
            let cells = (size * size) as f64;
            let power = format!("{:e}", photons * 2.0e9 * cells * 1.281_580e-19);
            let chip =
                fine_chip(size, &[("path.insertion_loss_db", "10.0"), ("laser.power_w", &power)]);
            let optics = Optics::of(&chip);
            assert!((optics.photons_per_cell / photons - 1.0).abs() < 1e-4);
            let shift = chip.full_scale_shift();
            let tile = SingleTile::random(chip, shift, symbols);
            let measured = tile.snr_rms_db(&tile.codes(Terms::only(Term::Shot), 7));
            // s of these very codes: a sum over N cells, each code over 127 √2.
            let mean_square = Statistics::measured(&[], &[], &tile.sums, 0).mean_square_sum;
            let s = mean_square / (size as f64 * 4.0 * (127.0 * 127.0) * (127.0 * 127.0));
            let form = decibels(4.0 * 0.8 * photons * 0.1 * s);
            eprintln!("shot, N = M = {size}, n = {photons}: {measured:.3} dB, form {form:.3} dB");
            close("shot, with s of the codes", measured, form, 0.06);
            // Few random codes are not quite uniform.
            close(
                "shot, with s of uniform data",
                measured,
                uniform,
                if size < 64 { 0.4 } else { 0.15 },
            );
        }
    }
}

#[test]
fn static_errors_add_in_power_whatever_the_size() {
    for (term, key) in
        [(Term::CellAmplitude, "cell.amplitude_error"), (Term::CellPhase, "cell.phase_error_rad")]
    {
        for (sigma, expected) in [("0.02", 33.98), ("0.005", 46.02)] {
            for (size, symbols) in [(32, 1000), (64, 500), (128, 250)] {
                let chip = fine_chip(size, &[(key, sigma)]);
                let shift = chip.full_scale_shift();
                let tile = SingleTile::random(chip, shift, symbols);
                // The errors of one chip are a small sample of what its kind has.
                let chips = 16_u32;
                let powers: f64 = (0..u128::from(chips))
                    .map(|seed| tile.snr_rms_db(&tile.codes(Terms::only(term), seed)))
                    .map(|snr_db| pxfm::f_exp10(-snr_db / 10.0))
                    .sum();
                let measured = -decibels(powers / f64::from(chips));
                eprintln!("{}, N = M = {size}, σ = {sigma}: {measured:.3} dB", term.name());
                close(term.name(), measured, expected, 0.15);
            }
        }
    }
}

#[test]
fn the_budget_is_what_the_card_shows() {
    let default = chip_with("ref-64-eo", &[]);
    let finer = chip_with("ref-64-eo", &[("adc.bits", "10"), ("adc.enob", "9.0")]);
    // The default's range is 4.2 deviations of the sum, where clipping costs up to 0.13 dB, which
    // the budget leaves out; the finer one's is 8.4.
    for (chip, shift, tolerance) in [(default, 11, 0.2), (finer, 10, 0.08)] {
        let tile = SingleTile::random(chip.clone(), shift, 2000);
        let statistics = Statistics::measured(&tile.weights, &tile.x, &tile.sums, shift);
        let mut sets: Vec<(&str, Terms)> =
            Term::ALL.map(|term| (term.name(), Terms::only(term))).to_vec();
        sets.extend([("none", Terms::none()), ("all", Terms::all())]);
        for (name, terms) in sets {
            let expected = Budget::predict(&chip, terms, &statistics).total.snr_rms_db;
            let measured = tile.snr_rms_db(&tile.codes(terms, 3));
            eprintln!("{name} and rounding: {measured:.3} dB, budget {expected:.3} dB");
            close(name, measured, expected, tolerance);
        }
    }
}

#[test]
fn uniform_statistics_are_those_of_uniform_codes() {
    let chip = chip_with("ref-64-eo", &[]);
    let tile = SingleTile::random(chip.clone(), 11, 500);
    let drawn = Statistics::measured(&tile.weights, &tile.x, &tile.sums, 11);
    let uniform = Statistics::uniform(&chip, 11);
    for source in [Source::Term(Term::Shot), Source::Term(Term::CellPhase), Source::Quantisation] {
        let of = |statistics| {
            Budget::predict(&chip, Terms::all(), statistics).part(source).unwrap().snr_rms_db
        };
        close(source.name(), of(&drawn), of(&uniform), 0.1);
    }
}
