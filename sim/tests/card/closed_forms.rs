//! What arrays show by experiment, against what theory says in closed form.

use crate::single_tile::{PackedTile, SingleTile, chip_with, decibels};
use litecore_kernels::math::sin_cos;
use litecore_kernels::normal::standard_normal;
use litecore_sim::budget::{Budget, Source, Statistics};
use litecore_sim::packing::{Layout, Packing, column_sums};
use litecore_sim::{Term, Terms};
use litecore_types::chip::ChipDescription;

fn close(what: &str, measured: f64, expected: f64, tolerance: f64) {
    eprintln!("{what}: {measured:.2} dB, form {expected:.2} dB");
    assert!(
        (measured - expected).abs() < tolerance,
        "{what}: {measured:.3} dB, expected {expected:.3} ± {tolerance}"
    );
}

/// Converters too fine to matter, and a chip of this size.
fn fine_chip(size: usize, more: &[(&str, &str)]) -> ChipDescription {
    let size = size.to_string();
    let mut changes = vec![("array.inputs", &*size), ("array.outputs", &*size)];
    changes.extend([("adc.bits", "16"), ("adc.enob", "ideal")]);
    changes.extend(more);
    chip_with("ref-64-eo", &changes)
}

/// Laser power for so many launched photons per cell: `P_L = n f N M ħω`.
fn power(photons: f64, size: usize) -> String {
    format!("{:e}", photons * 2.0e9 * (size * size) as f64 * 1.281_580e-19)
}

const LOSS: [(&str, &str); 2] =
    [("path.insertion_loss_db", "10.0"), ("path.crossing_loss_db", "ideal")];

/// SNR = κ η n t² s, the same for every size (V2): a hybrid has κ = 2, and one real and one complex
/// operand s = 1/18.
#[test]
fn shot_noise_is_a_matter_of_photons_and_not_of_size() {
    for (photons, expected) in [(2.0e4, 22.5), (200.0, 2.5)] {
        for (size, symbols) in [(64, 600), (256, 60)] {
            let power = power(photons, size);
            let mut changes = vec![("laser.power_w", &*power), ("receiver.readout", "iq")];
            changes.extend(LOSS);
            let tile = PackedTile::random(fine_chip(size, &changes), Packing::Rows, symbols);
            let measured = tile.snr_rms_db(Terms::only(Term::Shot), 7);
            close(&format!("V2, N = {size}, n = {photons}"), measured, expected, 0.3);
        }
    }
}

/// The packings at equal light (V3).
#[test]
fn packings_differ_by_what_they_do_with_the_light() {
    let power = power(2.0e4, 128);
    for (packing, readout, expected) in [
        (Packing::Single, "i", 28.5),
        (Packing::Tokens, "iq", 22.5),
        (Packing::Rows, "iq", 22.5),
        (Packing::Conjugate, "i", 25.5),
        (Packing::Complex, "iq", 22.5),
    ] {
        let mut changes = vec![("laser.power_w", &*power), ("receiver.readout", readout)];
        changes.extend(LOSS);
        let tile = PackedTile::random(fine_chip(128, &changes), packing, 200);
        let measured = tile.snr_rms_db(Terms::only(Term::Shot), 7);
        close(&format!("V3, {packing}"), measured, expected, 0.3);
    }
}

/// RIN of -150 dB/Hz in 2.5 GHz, and 100 kHz over 140 ps (V8).
#[test]
fn laser_noise_is_bandwidth_times_density_and_linewidth_times_delay() {
    let changes = [
        ("clock.symbol_rate_hz", "5.0e9"),
        ("laser.rin_db_per_hz", "-150"),
        ("laser.linewidth_hz", "1.0e5"),
        ("path.mismatch_ps", "140"),
    ];
    let tile = PackedTile::random(fine_chip(32, &changes), Packing::Conjugate, 8000);
    close("V8, RIN", tile.snr_rms_db(Terms::only(Term::Rin), 7), 56.02, 0.3);
    close("V8, phase", tile.snr_rms_db(Terms::only(Term::PhaseNoise), 7), 40.57, 0.3);
    let mut changes = changes.to_vec();
    changes.push(("receiver.readout", "iq"));
    let tile = PackedTile::random(fine_chip(32, &changes), Packing::Complex, 8000);
    close("V8, phase, turned", tile.snr_rms_db(Terms::only(Term::PhaseNoise), 7), 40.57, 0.3);
}

/// The unwanted quadrature that phase noise brings in is drawn, not computed: against the phasor
/// sums themselves, turned by normal angles.
#[test]
fn a_drawn_quadrature_has_the_law_of_the_computed_one() {
    let chip = fine_chip(32, &[("path.mismatch_ps", "3000")]);
    let (rows, columns) = (chip.array.inputs, chip.array.outputs);
    let tile = PackedTile::random(chip, Packing::Conjugate, 4000);
    let layout = Layout::new(Packing::Conjugate, rows, columns).unwrap();
    let cells = layout.cells(&tile.weights).unwrap();
    let sigma = (std::f64::consts::TAU * 1.0e5 * 3000.0e-12).sqrt();
    let mut computed = Vec::new();
    for (symbol, x) in tile.x.chunks(2 * rows).enumerate() {
        let angle = sigma * f64::from(standard_normal(99, symbol as u64));
        let (sin, cos) = sin_cos(angle);
        for sum in column_sums(&cells, &layout.drive(x).unwrap()).unwrap() {
            let (re, im) = (sum.re as f64, sum.im as f64);
            computed.push(re * cos - im * sin - re);
        }
    }
    let step = f64::from(1_u32 << tile.shift);
    let codes = tile.codes(Terms::only(Term::PhaseNoise), 7);
    let drawn: Vec<f64> = codes
        .iter()
        .zip(&tile.sums)
        .map(|(&code, &sum)| f64::from(code) * step - f64::from(sum))
        .collect();
    let moment = |errors: &[f64], power: usize| {
        let of = |error: &f64| (0..power).fold(1.0, |product, _| product * error);
        errors.iter().map(of).sum::<f64>() / errors.len() as f64
    };
    // 4000 angles: a variance is known to 2.2 %, and twice that for the difference.
    let ratio = moment(&drawn, 2) / moment(&computed, 2);
    assert!((ratio - 1.0).abs() < 0.08, "{ratio}");
    // An angle times a quadrature, both normal: kurtosis nine.
    let kurtosis = |errors: &[f64]| moment(errors, 4) / (moment(errors, 2) * moment(errors, 2));
    let (drawn, computed) = (kurtosis(&drawn), kurtosis(&computed));
    assert!((drawn - 9.0).abs() < 1.2 && (computed - 9.0).abs() < 1.2, "{drawn} {computed}");
}

/// Skew shows symbols next to the one that is read, which are drawn and not computed: against the
/// waveforms themselves, rectangles that come early or late into the receiver's window.
#[test]
fn drawn_neighbors_have_the_law_of_the_computed_ones() {
    const SHARE: f64 = 0.02;
    let chip = fine_chip(32, &[("modulator.iq_skew_s", &format!("{:e}", 2.0 * SHARE / 2.0e9))]);
    let (rows, columns) = (chip.array.inputs, chip.array.outputs);
    let tile = PackedTile::random(chip, Packing::Conjugate, 1500);
    let step = f64::from(1_u32 << tile.shift);
    let (mut drawn, mut computed) = (0.0, 0.0);
    for seed in 0..8_u64 {
        let codes = tile.codes(Terms::only(Term::Skew), u128::from(seed));
        for (&code, &sum) in codes.iter().zip(&tile.sums) {
            let error = f64::from(code) * step - f64::from(sum);
            drawn += error * error;
        }
        // Of each row, x1 comes early by as much as x2 comes late, or the other way round.
        let skews: Vec<f64> = (0..rows as u64)
            .map(|row| SHARE * f64::from(standard_normal(seed + 1000, row)))
            .collect();
        let symbols: Vec<&[i8]> = tile.x.chunks(2 * rows).collect();
        for s in 1..symbols.len() - 1 {
            for column in 0..columns {
                let mut error = 0.0;
                for (row, &skew) in skews.iter().enumerate() {
                    for (input, early) in [(row, skew > 0.0), (row + rows, skew <= 0.0)] {
                        let weight = f64::from(tile.weights[input * columns + column]);
                        let next = symbols[if early { s + 1 } else { s - 1 }][input];
                        // Calibration knows what a symbol loses of itself on average.
                        let lost = skew.abs() - SHARE * std::f64::consts::FRAC_2_PI.sqrt();
                        let own = f64::from(symbols[s][input]);
                        error += weight * (skew.abs() * f64::from(next) - lost * own);
                    }
                }
                computed +=
                    error * error * tile.sums.len() as f64 / ((symbols.len() - 2) * columns) as f64;
            }
        }
    }
    // Eight chips of 32 skews: a mean square is known to 9 % each, before any rounding of 1/12.
    let ratio = (drawn - 8.0 * tile.sums.len() as f64 * step * step / 12.0) / computed;
    assert!((ratio - 1.0).abs() < 0.2, "{ratio}");
}

/// Light across the oscillator is lost: shot noise grows by it, which two runs that share every draw
/// show exactly.
#[test]
fn light_across_the_oscillator_makes_noise_larger_by_its_share() {
    let changes = [
        ("path.polarization_extinction_db", "10"),
        ("path.polarization_residual", "ideal"),
        ("laser.power_w", "1.0e-3"),
    ];
    let tile = PackedTile::random(fine_chip(32, &changes), Packing::Conjugate, 200);
    let shot = Terms::only(Term::Shot);
    let both = shot.with(Term::Polarization);
    let ratio = tile.snr_rms_db(shot, 7) - tile.snr_rms_db(both, 7);
    // ⟨cos²⟩ / ⟨sin²⟩ = 10, so v = artanh 0.1, and 10 log e^v = 0.4357 dB.
    close("the light lost", ratio, 0.4357, 0.001);
    let forms = [shot, both].map(|terms| tile.budget(terms).total.snr_rms_db);
    close("in closed form", forms[0] - forms[1], 0.4357, 0.001);
}

/// Rings so sharp that an error turns the phase by half a radian: no first order would do.
#[test]
fn sharp_rings_err_as_their_closed_form_says() {
    for packing in [Packing::Single, Packing::Conjugate] {
        let changes = [
            ("ring.self_coupling", "0.98"),
            ("ring.round_trip", "0.98"),
            ("ring.detuning_error_rad", "5e-3"),
        ];
        let tile = PackedTile::random(special_chip(Term::Ring, &changes), packing, 200);
        let terms = Terms::only(Term::Ring);
        let powers: f64 =
            (0..12).map(|seed| pxfm::f_exp10(-tile.snr_rms_db(terms, seed) / 10.0)).sum();
        let form = tile.budget(terms).part(Source::Term(Term::Ring)).unwrap().snr_rms_db;
        close(&format!("{packing}, sharp rings"), -decibels(powers / 12.0), form, 0.15);
    }
}

/// Drift, heat and detuning as built are one and the same to a ring: sharp ones lose the weight.
#[test]
fn whatever_detunes_rings_errs_by_one_law() {
    let rings = [
        ("ring.self_coupling", "0.98"),
        ("ring.round_trip", "0.98"),
        ("ring.detuning_error_rad", "0.02"),
        ("cell.age_s", "6000"),
        // So many weights that their mean is that of evenly spread ones.
        ("array.inputs", "64"),
        ("array.outputs", "64"),
    ];
    let mean = |tile: &PackedTile, terms| {
        let powers = (0..6).map(|seed| pxfm::f_exp10(-tile.snr_rms_db(terms, seed) / 10.0));
        -decibels(powers.sum::<f64>() / 6.0)
    };
    let tile_with = |packing, more: &[(&str, &str)]| {
        let changes = [&rings[..], more].concat();
        PackedTile::random(special_chip(Term::Ring, &changes), packing, 60)
    };
    for packing in [Packing::Single, Packing::Conjugate] {
        // Heat that turns rings by a third of their width: the rim, which feels less, is few cells.
        let less = [("cell.crosstalk_residual", "0.03"), ("cell.heating_phase_rad", "0.015")];
        let heated = [&HEAT[..], &less, &[("cell.drift_rad", "0.067")]].concat();
        let tile = tile_with(packing, &heated);
        for term in [Term::Drift, Term::Crosstalk, Term::Heating] {
            let terms = Terms::only(term);
            let form = tile.budget(terms).part(Source::Term(term)).unwrap().snr_rms_db;
            // Heat is counted for cells amid the array, of which the rim feels less.
            let tolerance = if term == Term::Crosstalk { 0.4 } else { 0.2 };
            let what = format!("{packing}, rings, {}", term.name());
            close(&what, mean(&tile, terms), form, tolerance);
            // A plain turn by as much would be far less.
            let plain = chip_of_plain_cells(&heated);
            let plain = PackedTile::random(plain, packing, 200).budget(terms);
            let plain = plain.part(Source::Term(term)).unwrap().snr_rms_db;
            assert!(form < plain - 10.0, "{what}: {form} {plain}");
        }
        // All of it together is less than the sum of the parts, and the total knows.
        let drift = [("cell.drift_rad", "0.067")];
        let tile = tile_with(packing, &drift);
        let both = Terms::only(Term::Ring).with(Term::Drift);
        let form = tile.budget(both).total.snr_rms_db;
        close(&format!("{packing}, rings, built and drifted"), mean(&tile, both), form, 0.2);
    }
    // An error of drift is one of building, but for weights out of reach.
    let built = tile_with(Packing::Conjugate, &[("ring.detuning_error_rad", "0.067")]);
    let drifted = tile_with(Packing::Conjugate, &[("cell.drift_rad", "0.067")]);
    let built = mean(&built, Terms::only(Term::Ring));
    close("built or drifted", mean(&drifted, Terms::only(Term::Drift)), built, 1.0);
}

fn chip_of_plain_cells(changes: &[(&str, &str)]) -> ChipDescription {
    special_chip(Term::Drift, changes)
}

/// Most codes small, as of bell-shaped data: the law of the modulators is that of the codes.
#[test]
fn modulators_err_by_the_codes_they_are_given() {
    let chip = fine_chip(32, &[("modulator.transfer_error", "0.1")]);
    let mut tile = PackedTile::random(chip.clone(), Packing::Conjugate, 300);
    for (index, x) in (0..).zip(&mut tile.x) {
        let normal = f64::from(standard_normal(5, index));
        *x = bell(30.0 * normal);
    }
    let model = litecore_sim::array::ArrayModel::new(
        &chip,
        Terms::none(),
        litecore_types::Seed(0),
        Packing::Conjugate,
    )
    .unwrap();
    tile.sums = model.sums(&tile.weights, &tile.x).unwrap();
    let terms = Terms::only(Term::Transfer);
    let powers: f64 = (0..24).map(|seed| pxfm::f_exp10(-tile.snr_rms_db(terms, seed) / 10.0)).sum();
    let form = |statistics: &Statistics| {
        Budget::predict(&chip, terms, statistics).part(Source::Term(Term::Transfer)).unwrap()
    };
    let evenly = tile.statistics();
    let of_codes = evenly.of_codes(&chip, &tile.weights, &tile.x);
    // 24 chips of 64 drives: 0.16 dB.
    close("bell", -decibels(powers / 24.0), form(&of_codes).snr_rms_db, 0.3);
    // A bell of this width is 0.3 dB off an even spread of its power.
    assert!((form(&of_codes).snr_rms_db - form(&evenly).snr_rms_db).abs() > 0.05);
}

#[allow(clippy::cast_possible_truncation, reason = "clamped to a code")]
fn bell(x: f64) -> i8 {
    x.round().clamp(-127.0, 127.0) as i8
}

/// At another wavelength what comes a second time has another phase, and the same power.
#[test]
fn reflections_belong_to_a_wavelength() {
    let errors = |wavelength: &str| -> Vec<f64> {
        let changes = [("path.back_reflection_db", "-30"), ("laser.wavelength_nm", wavelength)];
        let tile = PackedTile::random(fine_chip(32, &changes), Packing::Conjugate, 100);
        let step = f64::from(1_u32 << tile.shift);
        let codes = tile.codes(Terms::only(Term::Reflection), 7);
        codes.iter().zip(&tile.sums).map(|(&c, &s)| f64::from(c) * step - f64::from(s)).collect()
    };
    let [here, near, far] = ["1550", "1550.001", "1551"].map(errors);
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let alike = |a: &[f64], b: &[f64]| dot(a, b) / (dot(a, a) * dot(b, b)).sqrt();
    assert!(alike(&here, &near) > 0.99, "{}", alike(&here, &near));
    assert!(alike(&here, &far).abs() < 0.15, "{}", alike(&here, &far));
    assert!((dot(&far, &far) / dot(&here, &here) - 1.0).abs() < 0.15);
}

/// Every term alone, in every packing that has it, in the mean over chips where it is static.
#[test]
fn every_term_alone_is_what_its_closed_form_says() {
    assert_eq!(STRENGTHS.map(|(term, _)| term), Term::ALL, "no term is left out");
    for (term, strengths) in STRENGTHS {
        let mut packings_that_show_it = 0;
        for packing in Packing::ALL {
            let mut changes = strengths.to_vec();
            if packing.reads_quadrature() {
                changes.push(("receiver.readout", "iq"));
            }
            let chip = special_chip(term, &changes);
            let tile = PackedTile::random(chip.clone(), packing, 200);
            let budget = tile.budget(Terms::only(term));
            let Some(part) = budget.part(Source::Term(term)) else {
                let silent = tile.codes(Terms::none(), 0);
                assert_eq!(tile.codes(Terms::only(term), 0), silent, "{}", term.name());
                continue;
            };
            // The errors of one chip are a small sample of what its kind has.
            let chips = 24_u32;
            let powers: f64 = (0..u128::from(chips))
                .map(|seed| tile.snr_rms_db(Terms::only(term), seed))
                .map(|snr_db| pxfm::f_exp10(-snr_db / 10.0))
                .sum();
            let measured = -decibels(powers / f64::from(chips));
            // 24 chips of 32 rows: an angle per row or output, or one per chip, is the least sure.
            close(&format!("{packing}, {}", term.name()), measured, part.snr_rms_db, 0.6);
            assert_ne!(tile.codes(Terms::only(term), 0), tile.codes(Terms::none(), 0));
            packings_that_show_it += 1;
        }
        assert!(packings_that_show_it > 0, "{} changes nothing", term.name());
    }
}

/// A chip of 32 × 32 cells of the kind that has the term.
fn special_chip(term: Term, changes: &[(&str, &str)]) -> ChipDescription {
    let kind = match term {
        Term::Ring => "ring_pair",
        Term::Levels | Term::Write | Term::Aging => "phase_change",
        _ => "interferometer",
    };
    let size = [("array.inputs", "32"), ("array.outputs", "32"), ("adc.bits", "16")];
    let mut all = size.to_vec();
    all.extend([("adc.enob", "ideal"), ("array.cell_type", kind)]);
    all.extend(changes);
    chip_with(kind, &all)
}

/// Strengths at which each term stands clear of rounding, and small enough for first order.
const STRENGTHS: [(Term, &[(&str, &str)]); 34] = [
    (Term::Shot, &[]),
    (Term::Receiver, &[]),
    (Term::Dark, &[("receiver.dark_current_a", "1.0e-4")]),
    (Term::Rin, &[("laser.rin_db_per_hz", "-130")]),
    (Term::RinLo, &[("laser.rin_db_per_hz", "-130")]),
    (Term::PhaseNoise, &[("path.mismatch_ps", "700")]),
    (Term::Dac, &[("dac.enob", "6.0")]),
    (Term::Adc, &[("adc.enob", "6.0")]),
    (Term::Jitter, &[("receiver.jitter_s", "2.0e-12")]),
    (Term::Wdm, &[("array.wavelengths", "4")]),
    (Term::Isi, &[("receiver.bandwidth_hz", "1.0e9"), ("modulator.bandwidth_hz", "2.0e9")]),
    (Term::CellPhase, &[("cell.phase_error_rad", "0.02")]),
    (Term::CellAmplitude, &[("cell.amplitude_error", "0.02")]),
    (Term::Drift, &[("cell.drift_rad", "0.02")]),
    (Term::Crosstalk, &HEAT),
    (Term::Heating, &HEAT),
    (Term::Splitter, &[("path.splitter_imbalance_db", "0.1")]),
    (
        Term::Imbalance,
        &[("modulator.iq_gain_error", "0.03"), ("modulator.iq_phase_error_rad", "0.04")],
    ),
    (Term::Extinction, &[("modulator.extinction_db", "35")]),
    (Term::Transfer, &[("modulator.transfer_error", "0.03")]),
    (Term::LoPhase, &[("receiver.lo_phase_error_rad", "0.02")]),
    (
        Term::Hybrid,
        &[("receiver.hybrid_gain_error", "0.03"), ("receiver.hybrid_phase_error_rad", "0.04")],
    ),
    (Term::Dead, &[("cell.dead_fraction", "0.01")]),
    (Term::Stuck, &[("cell.stuck_fraction", "0.01")]),
    (Term::Ring, &[]),
    (Term::Levels, &[]),
    (Term::Write, &[]),
    (Term::Aging, &[]),
    (Term::Skew, &[("modulator.iq_skew_s", "2.0e-11")]),
    (Term::ReceiverSkew, &[("receiver.iq_skew_s", "2.0e-11")]),
    (Term::Crossing, &[("path.crossing_crosstalk_db", "-50")]),
    (
        Term::Polarization,
        &[("path.polarization_extinction_db", "15"), ("path.polarization_residual", "1.0")],
    ),
    (Term::Reflection, &[("path.back_reflection_db", "-35")]),
    (Term::Settling, &[("cell.settling_residual", "0.02")]),
];

/// Heaters 23 µm apart.
const HEAT: [(&str, &str); 4] = [
    ("array.pitch_um", "23"),
    ("cell.thermal_crosstalk", "0.0115"),
    ("cell.crosstalk_residual", "0.1"),
    ("cell.heating_phase_rad", "0.05"),
];

#[test]
fn all_terms_together_are_the_sum_of_the_parts() {
    let default = chip_with("ref-64-eo", &[]);
    let finer = chip_with("ref-64-eo", &[("adc.bits", "10"), ("adc.enob", "9.0")]);
    // The default's range is 4.2 deviations of the sum, where clipping costs up to 0.13 dB, which
    // the budget leaves out; the finer one's is 8.4. One chip is a small sample of rows and outputs.
    for (chip, shift, tolerance) in [(default, 11, 0.25), (finer, 10, 0.2)] {
        let tile = SingleTile::random(chip.clone(), shift, 2000);
        let statistics = Statistics::measured(&tile.weights, &tile.x, &tile.sums, shift);
        for terms in [Terms::all(), Terms::none()] {
            let budget = Budget::predict(&chip, terms, &statistics);
            let parts: f64 =
                budget.parts.iter().map(|(_, part)| part.sigma_units * part.sigma_units).sum();
            assert!((parts.sqrt() / budget.total.sigma_units - 1.0).abs() < 1e-12);
            let measured = tile.snr_rms_db(&tile.codes(terms, 3));
            close(&format!("{terms} and rounding"), measured, budget.total.snr_rms_db, tolerance);
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
