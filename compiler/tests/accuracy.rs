//! Quantisation costs what its closed form says, and gain recovers what unity gain wastes.

mod problem;

use litecore_compiler::{CompileOptions, Pass, PassSet, compile_expert, compile_linear};
use litecore_kernels::program::{Converters, Fast, Workspace, execute};
use litecore_types::chip::ChipDescription;
use litecore_types::program::VerifiedProgram;
use problem::{SampleExpert, chip, normals};

fn run(program: &VerifiedProgram, chip: &ChipDescription, x: &[f32]) -> Vec<f32> {
    let mut y = Vec::new();
    let mut arithmetic = Fast::new(Converters::of(chip));
    execute(program, &mut arithmetic, x, &mut y, &mut Workspace::default()).expect("finite");
    y
}

fn product(weights: &[f32], inputs: usize, x: &[f64]) -> Vec<f64> {
    let mut y = Vec::new();
    for x in x.chunks_exact(inputs) {
        for row in weights.chunks_exact(inputs) {
            y.push(row.iter().zip(x).map(|(w, x)| f64::from(*w) * x).sum());
        }
    }
    y
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|x| f64::from(*x)).collect()
}

fn power(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum()
}

fn noise(exact: &[f64], found: &[f32]) -> f64 {
    power(
        &exact
            .iter()
            .zip(found)
            .map(|(exact, found)| f64::from(*found) - exact)
            .collect::<Vec<_>>(),
    )
}

fn decibels(ratio: f64) -> f64 {
    10.0 * pxfm::f_log10(ratio)
}

/// Step of a quantiser over a vector: absmax / 127.
fn step(values: &[f32]) -> f64 {
    f64::from(values.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()))) / 127.0
}

#[test]
fn the_error_of_a_gaussian_layer_is_what_its_three_roundings_add_up_to() {
    let chip = chip("ref-64-eo", &[]);
    let (outputs, inputs, symbols) = (96, 128, 200);
    let weights = normals(11, outputs * inputs);
    let options = CompileOptions::default();
    let compiled =
        compile_linear(&chip, "l", &weights, outputs, inputs, &[], &options).expect("Gaussian");
    let report = &compiled.report.matrices[0];
    let x = normals(12, symbols * inputs);
    let y = run(&compiled.program, &chip, &x);
    let exact = product(&weights, inputs, &wide(&x));

    // Each rounding adds step^2 / 12; the ADC's step is 2^shift codes of weight times input.
    let mut predicted = 0.0;
    for x in x.chunks_exact(inputs) {
        let step_x = step(x);
        for (j, row) in weights.chunks_exact(inputs).enumerate() {
            let step_w = step(row);
            let shift = report.tiles[j / chip.array.outputs].shift;
            let adc = f64::from(1_u32 << shift) * step_w * step_x;
            let of_weights = power(&wide(x)) * step_w * step_w;
            let of_inputs = power(&wide(row)) * step_x * step_x;
            predicted += (of_weights + of_inputs + adc * adc) / 12.0;
        }
    }
    let measured = noise(&exact, &y);
    let difference = decibels(measured / predicted);
    assert!(difference.abs() < 0.3, "measured over predicted: {difference:.2} dB");

    let snr = decibels(power(&exact) / measured);
    assert!((30.0..40.0).contains(&snr), "{snr:.2} dB");
    let reported = compiled.report.snr_db.expect("noisy");
    assert!((reported - snr).abs() < 0.5, "reported {reported:.2} dB, measured {snr:.2} dB");
}

#[test]
fn an_expert_keeps_thirty_decibels_on_inputs_it_was_not_compiled_on() {
    let chip = chip("ref-64-eo", &[]);
    let expert = SampleExpert::gaussian(21, 128, 128);
    let compiled = expert.compile(&chip);
    let x = normals(22, 300 * 128);
    let y = run(&compiled.program, &chip, &x);
    let gate = product(&expert.gate, 128, &wide(&x));
    let up = product(&expert.up, 128, &wide(&x));
    let hidden: Vec<f64> =
        gate.iter().zip(&up).map(|(gate, up)| gate / (1.0 + pxfm::f_exp(-gate)) * up).collect();
    let exact = product(&expert.down, 128, &hidden);
    let snr = decibels(power(&exact) / noise(&exact, &y));
    assert!((28.0..36.0).contains(&snr), "{snr:.2} dB");
    let reported = compiled.report.snr_db.expect("noisy");
    assert!((reported - snr).abs() < 0.7, "reported {reported:.2} dB, measured {snr:.2} dB");
}

#[test]
fn chosen_gain_beats_unity_gain_by_ten_decibels() {
    let chip = chip("ref-64-eo", &[]);
    let expert = SampleExpert::gaussian(31, 128, 128);
    let snr = |passes| {
        let options = CompileOptions { passes, ..CompileOptions::default() };
        let compiled = compile_expert(&chip, &expert.weights(), &[], &options).expect("Gaussian");
        compiled.report.snr_db.expect("noisy")
    };
    let all = PassSet::default();
    let (chosen, unity) = (snr(all), snr(all.without(Pass::Gain).expect("a choice")));
    assert!(chosen > unity + 10.0, "chosen {chosen:.1} dB, unity {unity:.1} dB");
}

#[test]
fn gains_follow_the_samples() {
    // Inputs all of one sign add up to sums far larger than Gaussian ones do.
    let chip = chip("ref-64-eo", &[]);
    let weights: Vec<f32> = normals(41, 64 * 128).iter().map(|w| w.abs()).collect();
    let samples: Vec<f32> = normals(42, 32 * 128).iter().map(|x| x.abs()).collect();
    let options = CompileOptions::default();
    let shift = |samples: &[f32]| {
        let compiled = compile_linear(&chip, "l", &weights, 64, 128, samples, &options);
        compiled.expect("finite").report.matrices[0].tiles[0].shift
    };
    assert!(shift(&samples) > shift(&[]), "{} {}", shift(&samples), shift(&[]));
}

#[test]
fn narrow_converters_come_near_the_best_uniform_quantiser_there_is() {
    // Max, "Quantizing for minimum distortion" (1960), table II: equally spaced levels on a
    // Gaussian. Gains are powers of two, so up to half an octave of step is lost either way.
    for (bits, distortion) in [("4", 0.01154), ("5", 0.00349)] {
        let chip = chip("ref-64-eo", &[("adc.bits", bits), ("adc.enob", "3")]);
        let weights = normals(51, 64 * 128);
        let options = CompileOptions::default();
        let compiled = compile_linear(&chip, "l", &weights, 64, 128, &[], &options);
        let compiled = compiled.expect("Gaussian");
        let x = normals(52, 500 * 128);
        let exact = product(&weights, 128, &wide(&x));
        let snr = decibels(power(&exact) / noise(&exact, &run(&compiled.program, &chip, &x)));
        let best = decibels(1.0 / distortion);
        assert!(snr < best + 0.1 && snr > best - 3.0, "{bits} bits: {snr:.2} of {best:.2} dB");
    }
}
