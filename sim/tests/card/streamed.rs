//! Arrays whose operands are both streamed: exact when silent, each term as its closed form has it,
//! the quantum limit of the light, and the same promises as any card.

use crate::single_tile::{PackedTile, SingleTile, chip_with, decibels, run};
use litecore_hal::{Device, SymbolTag};
use litecore_kernels::codes;
use litecore_sim::array::{ArrayError, ArrayModel};
use litecore_sim::budget::{Budget, Source, Statistics};
use litecore_sim::dynamic::Draws;
use litecore_sim::homodyne::Homodyne;
use litecore_sim::packing::Packing;
use litecore_sim::{Term, Terms};
use litecore_types::Seed;
use litecore_types::chip::ChipDescription;
use std::sync::Arc;

/// 32 × 32 detectors behind converters too fine to matter.
fn chip_for(packing: Packing, more: &[(&str, &str)]) -> ChipDescription {
    let readout = if packing.reads_quadrature() { "iq" } else { "i" };
    let mut changes = vec![("receiver.readout", readout), ("adc.bits", "16")];
    changes.extend([("adc.enob", "ideal"), ("array.inputs", "32"), ("array.outputs", "32")]);
    changes.extend(more);
    chip_with("ref-64-os", &changes)
}

#[test]
fn a_silent_array_is_the_integer_meaning_in_every_packing() {
    for packing in Packing::ALL {
        let chip = chip_for(packing, &[("array.inputs", "700"), ("array.outputs", "9")]);
        let tile = PackedTile::random(chip, packing, 11);
        let read = |&sum: &i32| codes::requantise(sum, tile.shift, 16);
        let expected: Vec<i32> = tile.sums.iter().map(read).collect();
        assert_eq!(tile.codes(Terms::none(), 7), expected, "{packing}");
        // Terms that this dataflow does not have change nothing.
        let absent = [
            Term::LoPhase,
            Term::Crosstalk,
            Term::Heating,
            Term::Stuck,
            Term::Settling,
            Term::Ring,
        ];
        let absent = absent.into_iter().fold(Terms::none(), Terms::with);
        assert_eq!(tile.codes(absent, 7), expected, "{packing}");
    }
}

/// The sums of the array that holds its weights, by another way.
#[test]
fn both_dataflows_mean_the_same() {
    for packing in Packing::ALL {
        let streamed = PackedTile::random(chip_for(packing, &[]), packing, 70);
        let held = chip_for(packing, &[("array.dataflow", "weight_stationary")]);
        let held = PackedTile::random(held, packing, 70);
        assert_eq!(streamed.sums, held.sums);
        assert_eq!(streamed.codes(Terms::none(), 1), held.codes(Terms::none(), 1));
        assert_ne!(streamed.codes(Terms::all(), 1), held.codes(Terms::all(), 1));
    }
}

#[test]
fn packings_that_need_another_receiver_are_refused_by_name() {
    let chip = chip_for(Packing::Single, &[]);
    for packing in Packing::ALL {
        let refused = ArrayModel::new(&chip, Terms::none(), Seed(0), packing).err();
        let expected =
            packing.reads_quadrature().then_some(ArrayError::NeedsQuadrature { packing });
        assert_eq!(refused, expected);
    }
}

/// Strengths at which each term stands clear of rounding, and small enough for first order; left
/// out are those that this dataflow does not have.
const STRENGTHS: [(Term, &[(&str, &str)]); 25] = [
    (Term::Shot, &[("laser.power_w", "1.0e-2")]),
    (Term::Receiver, &[("receiver.noise_a_per_rthz", "1.0e-11")]),
    (Term::Dark, &[("receiver.dark_current_a", "1.0e-4")]),
    (Term::Rin, &[("laser.rin_db_per_hz", "-130")]),
    (Term::RinLo, &[("laser.rin_db_per_hz", "-110"), ("receiver.common_mode_rejection_db", "20")]),
    (Term::PhaseNoise, &[("path.mismatch_ps", "700")]),
    (Term::Dac, &[("dac.enob", "6.0")]),
    (Term::Adc, &[("adc.enob", "11.0")]),
    (Term::Jitter, &[("receiver.jitter_s", "2.0e-12")]),
    (Term::Wdm, &[("array.wavelengths", "4")]),
    (Term::Isi, &[("modulator.bandwidth_hz", "1.0e9")]),
    (Term::CellPhase, &[("cell.phase_error_rad", "0.02")]),
    (Term::CellAmplitude, &[("cell.amplitude_error", "0.02")]),
    (Term::Drift, &[("cell.drift_rad", "0.02")]),
    (Term::Splitter, &[("path.splitter_imbalance_db", "0.1")]),
    (
        Term::Imbalance,
        &[("modulator.iq_gain_error", "0.03"), ("modulator.iq_phase_error_rad", "0.04")],
    ),
    (Term::Extinction, &[("modulator.extinction_db", "35")]),
    (Term::Transfer, &[("modulator.transfer_error", "0.03")]),
    (
        Term::Hybrid,
        &[("receiver.hybrid_gain_error", "0.03"), ("receiver.hybrid_phase_error_rad", "0.04")],
    ),
    (Term::Dead, &[("cell.dead_fraction", "0.01")]),
    (Term::Skew, &[("modulator.iq_skew_s", "2.0e-11")]),
    (Term::ReceiverSkew, &[("receiver.iq_skew_s", "2.0e-11")]),
    (Term::Crossing, &[("path.crossing_crosstalk_db", "-50")]),
    (
        Term::Polarization,
        &[("path.polarization_extinction_db", "15"), ("path.polarization_residual", "1.0")],
    ),
    (Term::Reflection, &[("path.back_reflection_db", "-35")]),
];

#[test]
fn every_term_alone_is_what_its_closed_form_says() {
    for (term, strengths) in STRENGTHS {
        for packing in Packing::ALL {
            let tile = PackedTile::random(chip_for(packing, strengths), packing, 200);
            let Some(part) = tile.budget(Terms::only(term)).part(Source::Term(term)) else {
                let silent = tile.codes(Terms::none(), 0);
                assert_eq!(tile.codes(Terms::only(term), 0), silent, "{packing} {}", term.name());
                continue;
            };
            // In `single` what leaks of both operands is one number in every sum: it stands alone,
            // 60 dB down.
            if part.snr_rms_db > 58.0 && term == Term::Extinction {
                continue;
            }
            // The errors of one chip are a small sample of what its kind has.
            let chips = 24_u32;
            let powers: f64 = (0..u128::from(chips))
                .map(|seed| tile.snr_rms_db(Terms::only(term), seed))
                .map(|snr_db| pxfm::f_exp10(-snr_db / 10.0))
                .sum();
            let measured = -decibels(powers / f64::from(chips));
            let form = tile.budget(Terms::only(term)).total.snr_rms_db;
            eprintln!("{packing}, {}: {measured:.2} dB, form {form:.2} dB", term.name());
            assert!((measured - form).abs() < 0.6, "{packing}, {}: {measured} {form}", term.name());
            assert_ne!(tile.codes(Terms::only(term), 0), tile.codes(Terms::none(), 0));
        }
    }
}

/// Operands that belong together: a detector's factor turns the whole sum, so its error goes with the
/// sum as it is, twenty times that of independent products.
#[test]
fn a_detector_errs_with_its_whole_sum() {
    let changes = [("cell.amplitude_error", "0.02"), ("path.splitter_imbalance_db", "0.1")];
    let chip = chip_for(Packing::Conjugate, &changes);
    let columns = chip.array.outputs;
    let mut tile = PackedTile::random(chip.clone(), Packing::Conjugate, 200);
    let first: Vec<i8> = tile.weights.iter().step_by(columns).copied().collect();
    tile.weights = first.iter().flat_map(|&code| vec![code; columns]).collect();
    tile.x = first.repeat(200);
    let model = ArrayModel::new(&chip, Terms::none(), Seed(0), Packing::Conjugate).unwrap();
    tile.sums = model.sums(&tile.weights, &tile.x).unwrap();
    let rms = Statistics::measured(&[], &[], &tile.sums, 0).mean_square_sum.sqrt();
    let range = |shift: &u8| 32768.0 * f64::from(1_u32 << shift) > 2.0 * rms;
    tile.shift = (0..24).find(range).unwrap();
    for term in [Term::CellAmplitude, Term::Splitter] {
        let powers: f64 = (0..24)
            .map(|seed| pxfm::f_exp10(-tile.snr_rms_db(Terms::only(term), seed) / 10.0))
            .sum();
        let measured = -decibels(powers / 24.0);
        let form = tile.budget(Terms::only(term)).part(Source::Term(term)).unwrap().snr_rms_db;
        eprintln!("{}: {measured:.2} dB, form {form:.2} dB", term.name());
        assert!((measured - form).abs() < 0.6, "{}: {measured} {form}", term.name());
    }
}

#[test]
fn all_terms_together_are_the_sum_of_the_parts() {
    for packing in Packing::ALL {
        let chip = chip_for(packing, &[("adc.enob", "10"), ("array.inputs", "64")]);
        let tile = PackedTile::random(chip, packing, 400);
        let expected = tile.budget(Terms::all()).total.snr_rms_db;
        let powers: f64 =
            (0..6).map(|seed| pxfm::f_exp10(-tile.snr_rms_db(Terms::all(), seed) / 10.0)).sum();
        let measured = -decibels(powers / 6.0);
        eprintln!("{packing}: {measured:.2} dB, form {expected:.2} dB");
        assert!((measured - expected).abs() < 0.2, "{packing}: {measured} {expected}");
    }
}

/// Shot noise alone, of operands whose beams are equally strong, is the standard quantum limit:
/// `‖w‖ ‖x‖ / √(K n)` for n detected photons in each product (V1), whose receiver counts photons.
#[test]
fn shot_noise_is_the_quantum_limit_of_the_light() {
    for packing in [Packing::Single, Packing::Conjugate] {
        let chip = chip_for(packing, &[("laser.power_w", "2.0e-3")]);
        let mut tile = PackedTile::random(chip.clone(), packing, 4000);
        // Every vector is the first output's weights, so that both beams are equally strong.
        let columns = chip.array.outputs;
        let first: Vec<i8> = tile.weights.iter().step_by(columns).copied().collect();
        tile.x = first.repeat(4000);
        let model = ArrayModel::new(&chip, Terms::none(), Seed(0), packing).unwrap();
        tile.sums = model.sums(&tile.weights, &tile.x).unwrap();
        tile.shift = 4;
        let step = f64::from(1_u32 << tile.shift);
        let codes = tile.codes(Terms::only(Term::Shot), 3);
        let (codes, sums) = (codes.iter().step_by(columns), tile.sums.iter().step_by(columns));
        let squares: f64 = codes
            .zip(sums)
            .map(|(&code, &sum)| {
                let error = f64::from(code) * step - f64::from(sum);
                error * error
            })
            .sum();
        let measured = (squares / 4000.0 - step * step / 12.0).sqrt();

        // Photons that both beams bring to one detector, by the transmission and the energy alone.
        let transmission = pxfm::f_exp10(-chip.path.excess_loss_db(32) / 10.0);
        let per_symbol = 2.0e-3 * transmission / (32.0 * 32.0) / (2.0e9 * 1.281_580e-19) * 0.8;
        let operand: Vec<f64> = first.iter().map(|&code| f64::from(code)).collect();
        let squares: f64 = operand.iter().map(|code| code * code).sum();
        let fill = squares / (packing.weights_per_cell() as f64 * 127.0 * 127.0);
        let per_mac = per_symbol * fill / operand.len() as f64;
        let limit = Homodyne::new(&operand, &operand, per_mac).unwrap().sigma();
        eprintln!("{packing}: {per_mac:.0} photons per product, {measured:.1}, limit {limit:.1}");
        // 4000 samples: a deviation is known to 1.1 %.
        assert!((measured / limit - 1.0).abs() < 0.04, "{packing}: {measured} against {limit}");
    }
}

#[test]
fn a_vector_meets_the_same_noise_in_every_batch() {
    let tile = PackedTile::random(chip_for(Packing::Conjugate, &[]), Packing::Conjugate, 300);
    let together = tile.codes(Terms::all(), 3);
    let mut model = ArrayModel::new(&tile.chip, Terms::all(), Seed(3), tile.packing).unwrap();
    model.load(5, &tile.weights).unwrap();
    let loaded = model.load(0, &tile.weights).unwrap();
    let (key, inputs) = (Seed(3).key("stream", 0), model.inputs_per_symbol());
    let mut apart = Vec::new();
    for (tags, x) in tile.tags.chunks(77).zip(tile.x.chunks(77 * inputs)) {
        let mut codes = Vec::new();
        model.forward(&loaded, x, key, tags, tile.shift, &mut codes);
        apart.extend(codes);
    }
    assert_eq!(apart, together);
    // A new calibration age draws the same lanes again.
    model.set_age(0.0);
    let mut fresh = Vec::new();
    model.forward(&loaded, &tile.x, key, &tile.tags, tile.shift, &mut fresh);
    assert_ne!(fresh, together);
}

/// What a term adds to silence is what it adds to all others.
#[test]
fn a_term_switched_shares_every_other_terms_draws() {
    let chip = chip_for(Packing::Conjugate, &[("adc.enob", "11.0")]);
    let tile = PackedTile::random(chip, Packing::Conjugate, 40);
    let drawn = |terms| tile.codes_drawn(terms, 7, Draws::PerTerm);
    let (all, none) = (drawn(Terms::all()), drawn(Terms::none()));
    for (source, part) in &tile.budget(Terms::all()).parts {
        let Source::Term(term) = *source else { continue };
        let (without, only) = (drawn(Terms::all().without(term)), drawn(Terms::only(term)));
        let steps = part.sigma_units / f64::from(1_u32 << tile.shift);
        for index in 0..all.len() {
            let (among, alone) = (all[index] - without[index], only[index] - none[index]);
            let off = f64::from((among - alone).abs());
            assert!(off <= 3.0 + 0.2 * steps, "{}: {among} and {alone}", term.name());
        }
    }
}

/// Recorded on x86-64 with AVX-512; every machine, profile and thread count must show the same.
#[test]
fn every_packings_noise_is_frozen() {
    let digests = Packing::ALL.map(|packing| {
        let more = [("cell.dead_fraction", "0.01"), ("modulator.bandwidth_hz", "1.5e9")];
        let tile = PackedTile::random(chip_for(packing, &more), packing, 40);
        Seed(0).key(&format!("{:?}", tile.codes(Terms::all(), 7)), 0)
    });
    assert_eq!(digests, FROZEN, "{digests:#x?}");
}

const FROZEN: [u64; 5] = [
    0x899a_521a_5b05_fe29,
    0x4f31_bc68_7633_2775,
    0xb3af_6146_7edf_a6a4,
    0xe839_7a29_0405_7e14,
    0xdb27_accb_ed85_8711,
];

/// The same programs as for cells, through the same seam: exact when silent, as noisy as predicted,
/// and as long as a block of vectors takes.
#[test]
fn a_card_of_them_runs_programs() {
    let chip = chip_with("ref-64-os", &[]);
    let tile = SingleTile::random(chip.clone(), 11, 130);
    let exact: Vec<i32> = tile.sums.iter().map(|&sum| codes::requantise(sum, 11, 8)).collect();
    assert_eq!(tile.codes(Terms::none(), 7), exact);
    let statistics = Statistics::measured(&tile.weights, &tile.x, &tile.sums, 11);
    let expected = Budget::predict(&chip, Terms::all(), &statistics).total.snr_rms_db;
    let measured = tile.snr_rms_db(&tile.codes(Terms::all(), 7));
    eprintln!("ref-64-os: {measured:.2} dB, form {expected:.2} dB");
    // Clipping at 4.2 deviations costs 0.13 dB, and one chip is a small sample.
    assert!((measured - expected).abs() < 0.35, "{measured} against {expected}");

    let mut device = tile.device(Terms::all(), 7);
    let image = device.load(Arc::clone(&tile.program)).unwrap();
    let cycles = |device: &mut litecore_sim::SimDevice, count: u64| {
        let tags: Vec<SymbolTag> = (0..count).map(SymbolTag).collect();
        let inputs = usize::try_from(count).unwrap() * 128;
        run(device, image, &tags, &tile.x[..inputs]).cycles.0
    };
    // 64 vectors go past the weights in 64 symbols, one more takes 64 more; in and out, quantising
    // and rescaling take 32, 4, 16 and 2 cycles for each.
    let [one, block, more] = [1, 64, 65].map(|count| cycles(&mut device, count));
    assert_eq!((block - one, more - block), (63 * 54, 64 + 54));
}
