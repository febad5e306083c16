//! Each dynamic term of both dataflows against decibels computed here, from the figures of a chip and
//! the equations of a coherent receiver: nothing is taken from the simulator but its codes.

use crate::single_tile::{PackedTile, chip_with, decibels};
use litecore_sim::budget::Source;
use litecore_sim::packing::Packing;
use litecore_sim::{Term, Terms};
use std::f64::consts::{FRAC_1_PI, PI, TAU};

/// Charge of the electron in coulombs.
const CHARGE: f64 = 1.602_177e-19;
/// Energy of a photon of 1550 nm in joules.
const PHOTON: f64 = 1.281_580e-19;
/// Rows and columns.
const N: f64 = 16.0;
/// Symbols per second, and half of them: the receiver's noise bandwidth.
const RATE: f64 = 2.0e9;
const BANDWIDTH: f64 = 1.0e9;
/// Largest code.
const L: f64 = 127.0;
const LASER_W: f64 = 0.05;
const OSCILLATOR_W: f64 = 4.0e-3;
/// 10 dB, and eight crossings of 0.02 dB.
const TRANSMISSION_DB: f64 = -10.16;
/// Amperes per watt: eight electrons for ten photons.
const RESPONSIVITY: f64 = 0.8 * CHARGE / PHOTON;

const CHIP: [(&str, &str); 10] = [
    ("array.inputs", "16"),
    ("array.outputs", "16"),
    ("adc.bits", "16"),
    ("adc.enob", "ideal"),
    ("clock.symbol_rate_hz", "2e9"),
    ("laser.power_w", "0.05"),
    ("laser.wavelength_nm", "1550"),
    ("path.insertion_loss_db", "10"),
    ("path.crossing_loss_db", "0.02"),
    ("receiver.lo_power_w", "4e-3"),
];

/// What the codes of a tile and its vectors say.
struct Data {
    /// Mean square of the exact sum.
    signal: f64,
    /// Sum of an output's squared weights, and of a vector's squared inputs, in the mean.
    weights: f64,
    inputs: f64,
    /// The converter's step in units of the sum.
    step: f64,
}

impl Data {
    fn of(tile: &PackedTile) -> Self {
        let square = |codes: &[i8]| codes.iter().map(|&c| f64::from(c) * f64::from(c)).sum::<f64>();
        let sums = tile.sums.iter().map(|&sum| f64::from(sum) * f64::from(sum)).sum::<f64>();
        Self {
            signal: sums / tile.sums.len() as f64,
            weights: square(&tile.weights) / N,
            inputs: square(&tile.x) / tile.tags.len() as f64,
            step: f64::from(1_u32 << tile.shift),
        }
    }
}

/// Ratio of powers.
fn power(db: f64) -> f64 {
    pxfm::f_exp10(db / 10.0)
}

/// One term: what is changed, and the variance it must make in squared units of the sum.
type Case = (Term, &'static [(&'static str, &'static str)], fn(&Data) -> f64);

/// Columns of cells, oscillator at each, one quadrature: `E = √P t / (N √M) Σ w x`, `I = 2 R √P_LO Re E`,
/// and two codes in each operand, so that `Re Σ w x` is the sum over `2 L²`.
fn amperes_held() -> f64 {
    let field = (LASER_W * power(TRANSMISSION_DB)).sqrt() / (N * N.sqrt());
    2.0 * RESPONSIVITY * OSCILLATOR_W.sqrt() * field / (2.0 * L * L)
}

const HELD: [Case; 10] = [
    // 2 q R P_LO B.
    (Term::Shot, &[], |_| {
        2.0 * CHARGE * RESPONSIVITY * OSCILLATOR_W * BANDWIDTH / amperes_held() / amperes_held()
    }),
    // i² B.
    (Term::Receiver, &[("receiver.noise_a_per_rthz", "2e-11")], |_| {
        4.0e-22 * BANDWIDTH / amperes_held() / amperes_held()
    }),
    // 2 q (2 I) B.
    (Term::Dark, &[("receiver.dark_current_a", "1e-4")], |_| {
        2.0 * CHARGE * 2.0e-4 * BANDWIDTH / amperes_held() / amperes_held()
    }),
    // RIN B of the signal.
    (Term::Rin, &[("laser.rin_db_per_hz", "-130")], |d| 1.0e-4 * d.signal),
    // RIN B (R P_LO)² / CMRR.
    (
        Term::RinLo,
        &[("laser.rin_db_per_hz", "-130"), ("receiver.common_mode_rejection_db", "30")],
        |_| {
            let amperes = RESPONSIVITY * OSCILLATOR_W / amperes_held();
            1.0e-4 * 1.0e-3 * amperes * amperes
        },
    ),
    // 2π Δν ΔT.
    (Term::PhaseNoise, &[("laser.linewidth_hz", "1e5"), ("path.mismatch_ps", "140")], |d| {
        TAU * 1.0e5 * 140.0e-12 * d.signal
    }),
    // Two bits are missing: sixteen times a twelfth, of which one is there already.
    (Term::Dac, &[("dac.enob", "6")], |d| 15.0 / 12.0 * d.weights),
    (Term::Adc, &[("adc.enob", "10")], |d| 4095.0 / 12.0 * d.step * d.step),
    // (2π f_in σ)², f_in half the rate.
    (Term::Jitter, &[("receiver.jitter_s", "2e-12")], |d| {
        (PI * RATE * 2.0e-12) * (PI * RATE * 2.0e-12) * d.signal
    }),
    // Of four wavelengths, two have two neighbors and two have one.
    (Term::Wdm, &[("array.wavelengths", "4"), ("path.wdm_crosstalk_db", "-30")], |d| {
        1.5e-3 * d.signal
    }),
];

/// Half of the laser to N lanes, half to M, and each detector a share of both for N symbols:
/// `P_d = P t² / 2 N M`, `Σ I = 2 R P_d Re Σ w z`.
fn beam_w() -> f64 {
    LASER_W * power(TRANSMISSION_DB) / (2.0 * N * N)
}

fn amperes_streamed() -> f64 {
    2.0 * RESPONSIVITY * beam_w() / (2.0 * L * L)
}

/// The light of both operands over all symbols, in symbols of one at full drive.
fn light(d: &Data) -> f64 {
    (d.weights + d.inputs) / (2.0 * L * L)
}

const STREAMED: [Case; 11] = [
    // 2 q R P_d Σ (|w|² + |z|²) B.
    (Term::Shot, &[], |d| {
        let square = 2.0 * CHARGE * RESPONSIVITY * beam_w() * light(d) * BANDWIDTH;
        square / amperes_streamed() / amperes_streamed()
    }),
    (Term::Receiver, &[("receiver.noise_a_per_rthz", "1e-11")], |_| {
        N * 1.0e-22 * BANDWIDTH / amperes_streamed() / amperes_streamed()
    }),
    (Term::Dark, &[("receiver.dark_current_a", "1e-4")], |_| {
        N * 2.0 * CHARGE * 2.0e-4 * BANDWIDTH / amperes_streamed() / amperes_streamed()
    }),
    // Each symbol's product errs by itself, and there are as many as make the signal.
    (Term::Rin, &[("laser.rin_db_per_hz", "-130")], |d| 1.0e-4 * d.signal),
    // N symbols, each with a share of the light.
    (
        Term::RinLo,
        &[("laser.rin_db_per_hz", "-110"), ("receiver.common_mode_rejection_db", "20")],
        |d| {
            let amperes = RESPONSIVITY * beam_w() * light(d) / N / amperes_streamed();
            1.0e-2 * 1.0e-2 * N * amperes * amperes
        },
    ),
    (Term::PhaseNoise, &[("laser.linewidth_hz", "1e5"), ("path.mismatch_ps", "140")], |d| {
        TAU * 1.0e5 * 140.0e-12 * d.signal
    }),
    // Converters of both operands.
    (Term::Dac, &[("dac.enob", "6")], |d| 15.0 / 12.0 * (d.weights + d.inputs)),
    (Term::Adc, &[("adc.enob", "10")], |d| 4095.0 / 12.0 * d.step * d.step),
    // Each end of the window moves by τ: f τ of one symbol of N comes or goes.
    (Term::Jitter, &[("receiver.jitter_s", "4e-11")], |d| {
        2.0 * (RATE * 4.0e-11) * (RATE * 4.0e-11) * d.signal / N
    }),
    (Term::Wdm, &[("array.wavelengths", "4"), ("path.wdm_crosstalk_db", "-30")], |d| {
        1.5e-3 * d.signal
    }),
    // Eight crossings on the way of each of two beams.
    (Term::Crossing, &[("path.crossing_crosstalk_db", "-50")], |d| 16.0e-5 * d.signal),
];

/// 12 000 symbols: what a whole symbol has in common is known to 0.055 dB, all else better. The
/// simulator's own forms must agree more closely, as nothing is drawn there: 0.06 dB is what a mean
/// square of 192 000 sums of 12 000 vectors differs from the mean of its products.
#[test]
fn each_dynamic_term_is_what_its_equation_says_by_hand() {
    for (name, dataflow, cases) in
        [("held", "weight_stationary", &HELD[..]), ("streamed", "output_stationary", &STREAMED)]
    {
        for (term, changes, variance) in cases {
            let changes = [&CHIP[..], &[("array.dataflow", dataflow)], changes].concat();
            let chip = chip_with("ref-64-eo", &changes);
            let tile = PackedTile::random(chip, Packing::Conjugate, 12_000);
            let data = Data::of(&tile);
            let terms = Terms::only(*term);
            let by_hand = decibels(data.signal / variance(&data));
            let shown = tile.snr_rms_db(terms, 5);
            let form = tile.budget(terms).part(Source::Term(*term)).unwrap().snr_rms_db;
            let what = format!("{name} {}: {shown:.2}, form {form:.2}", term.name());
            eprintln!("{what}, by hand {by_hand:.2} dB");
            assert!(by_hand < 62.0, "{what}: rounding is 82 dB down");
            assert!((shown - by_hand).abs() < 0.2, "{what}, by hand {by_hand:.3} dB");
            assert!((form - by_hand).abs() < 0.06, "{what}, by hand {by_hand:.3} dB");
        }
    }
}

/// Terms that draw something for each row or output as well: their forms alone, as what they draw is a
/// small sample here.
#[test]
fn half_static_terms_have_the_forms_of_their_equations() {
    // E τ² of what is shown of the next symbol, and the variance of |τ| of the own: (fσ/2)² (2 - 2/π).
    let share = (RATE * 2.0e-11 / 2.0) * (RATE * 2.0e-11 / 2.0);
    let both = share * (2.0 - 2.0 * FRAC_1_PI);
    let angle = 0.02 * 0.02;
    let cases = [
        (Term::LoPhase, "weight_stationary", ("receiver.lo_phase_error_rad", "0.02"), angle),
        (Term::Skew, "weight_stationary", ("modulator.iq_skew_s", "2e-11"), both),
        (Term::ReceiverSkew, "weight_stationary", ("receiver.iq_skew_s", "2e-11"), both),
        // Lanes of two operands; and one symbol of N at each end of the window.
        (Term::Skew, "output_stationary", ("modulator.iq_skew_s", "2e-11"), 2.0 * both),
        (Term::ReceiverSkew, "output_stationary", ("receiver.iq_skew_s", "2e-11"), 2.0 * share / N),
    ];
    for (term, dataflow, change, relative) in cases {
        let more = [("array.dataflow", dataflow), ("receiver.readout", "iq"), change];
        let chip = chip_with("ref-64-eo", &[&CHIP[..], &more].concat());
        let tile = PackedTile::random(chip, Packing::Complex, 4000);
        let form = tile.budget(Terms::only(term)).part(Source::Term(term)).unwrap().snr_rms_db;
        let by_hand = -decibels(relative);
        assert!((form - by_hand).abs() < 0.1, "{dataflow} {}: {form} {by_hand}", term.name());
    }
}
