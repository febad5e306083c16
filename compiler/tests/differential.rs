//! Programs compute what their meaning says: two executors against sums written from the definition
//! of a tile, on random layers and random chips.

mod problem;

use litecore_compiler::{
    CompileError, CompileOptions, MatrixReport, PassSet, compile_expert, compile_linear,
};
use litecore_kernels::math::silu;
use litecore_kernels::program::{Converters, Fast, Reference, Workspace, execute};
use litecore_types::chip::ChipDescription;
use litecore_types::program::{Program, VerifiedProgram};
use problem::{SampleExpert, chip, normals};
use proptest::prelude::*;

/// Codes and scale of a vector: `code = clamp(round_half_even(x * (limit / absmax)))`, and zeros where
/// the quotient is infinite.
fn quantise(x: &[f32], limit: i32) -> (Vec<i64>, f32) {
    let absmax = x.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
    let limit = limit as f32;
    if (limit / absmax).is_infinite() {
        return (vec![0; x.len()], 0.0);
    }
    let code = |x: &f32| (x * (limit / absmax)).round_ties_even().clamp(-limit, limit);
    #[allow(clippy::cast_possible_truncation, reason = "codes are small")]
    let codes = x.iter().map(|x| code(x) as i64).collect();
    (codes, absmax / limit)
}

/// `y = W x` by the meaning of tiles in conjugate folding, one vector at a time.
///
/// The report says at which shift a tile is read; tiles it leaves out must be zero, so they are
/// read at the slice's smallest shift.
fn meaning(chip: &ChipDescription, report: &MatrixReport, weights: &[f32], x: &[f32]) -> Vec<f32> {
    let (n, m) = (chip.array.inputs, chip.array.outputs);
    let half_range = f64::from(1_u32 << (chip.adc.bits - 1));
    let (x, scale_x) = quantise(x, chip.input_limit());
    let mut y = Vec::new();
    for (j, row) in weights.chunks_exact(report.inputs).enumerate() {
        let (w, scale_w) = quantise(row, chip.weight_limit());
        let of_slice = || report.tiles.iter().filter(|tile| tile.m_tile == j / m);
        let s_min = of_slice().map(|tile| tile.shift).min().expect("never empty");
        let mut p = 0_i64;
        for k_tile in 0..report.inputs.div_ceil(2 * n) {
            let tile = of_slice().find(|tile| tile.k_tile == k_tile);
            let s = tile.map_or(s_min, |tile| tile.shift);
            let at = |codes: &[i64], k: usize| codes.get(k_tile * 2 * n + k).copied().unwrap_or(0);
            let mut acc = 0_i64;
            for k in 0..n {
                // Re((w_k - i w_(k+N)) * (x_k + i x_(k+N))).
                let (w_re, w_im) = (at(&w, k), -at(&w, k + n));
                let (z_re, z_im) = (at(&x, k), at(&x, k + n));
                acc += w_re * z_re - w_im * z_im;
            }
            let read = (acc as f64 / f64::from(1_u32 << s)).round_ties_even();
            #[allow(clippy::cast_possible_truncation, reason = "saturated to the converter")]
            let code = read.clamp(-half_range, half_range - 1.0) as i64;
            p += code << (s - s_min);
        }
        let table = scale_w * (1_u32 << s_min) as f32;
        y.push((p as f32 * scale_x) * table);
    }
    y
}

/// What both executors make of some inputs; they must agree.
fn run(program: &VerifiedProgram, chip: &ChipDescription, x: &[f32]) -> Vec<f32> {
    let (mut slow, mut fast) = (Vec::new(), Vec::new());
    let converters = Converters::of(chip);
    let mut workspace = Workspace::default();
    execute(program, &mut Reference::new(converters), x, &mut slow, &mut workspace)
        .expect("finite inputs");
    execute(program, &mut Fast::new(converters), x, &mut fast, &mut workspace)
        .expect("finite inputs");
    assert_eq!(bits(&slow), bits(&fast), "reference and fast differ");
    slow
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn small_chips() -> impl Strategy<Value = ChipDescription> {
    let geometry = (1_usize..7, 1_usize..7, 1_usize..4, 1_usize..4);
    let converters = (2_u8..=8, 3_u8..=12, 2_u8..=8, 0_u8..=8);
    (geometry, converters).prop_map(
        |((inputs, outputs, arrays, banks), (dac, adc, weights, gain))| {
            let text = |value: usize| value.to_string();
            chip(
                "tiny-4",
                &[
                    ("array.inputs", &text(inputs)),
                    ("array.outputs", &text(outputs)),
                    ("array.arrays", &text(arrays)),
                    ("array.banks", &text(banks)),
                    ("dac.bits", &text(dac.into())),
                    ("dac.enob", "ideal"),
                    ("adc.bits", &text(adc.into())),
                    ("adc.enob", "2.5"),
                    ("weights.bits", &text(weights.into())),
                    ("receiver.gain_log2_max", &text(gain.into())),
                ],
            )
        },
    )
}

/// The passes that every program needs: weights and inputs are those of the layer.
fn plain() -> CompileOptions {
    CompileOptions { passes: PassSet::needed(), symbols_max: 64, ..CompileOptions::default() }
}

/// Zeroes some weights, in runs, so that whole tiles and rows vanish.
fn sparsify(weights: &mut [f32], run: usize, every: usize) {
    for (index, run) in weights.chunks_mut(run).enumerate() {
        if index % every == 0 {
            run.fill(0.0);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(160))]

    #[test]
    fn linear_layers_compute_their_meaning(
        chip in small_chips(),
        outputs in 1_usize..30,
        inputs in 1_usize..60,
        symbols in 1_usize..6,
        sparsity in (1_usize..40, 1_usize..5),
        with_samples in any::<bool>(),
        key in any::<u64>(),
    ) {
        let mut weights = normals(key, outputs * inputs);
        sparsify(&mut weights, sparsity.0, sparsity.1);
        let x = normals(key ^ 1, symbols * inputs);
        let samples = if with_samples { normals(key ^ 2, 9 * inputs) } else { Vec::new() };
        let compiled = compile_linear(
            &chip, "l", &weights, outputs, inputs, &samples, &plain(),
        );
        let compiled = match compiled {
            Ok(compiled) => compiled,
            Err(error) => return Err(TestCaseError::fail(error.to_string())),
        };
        let y = run(&compiled.program, &chip, &x);
        let report = &compiled.report.matrices[0];
        let expected: Vec<f32> =
            x.chunks_exact(inputs).flat_map(|x| meaning(&chip, report, &weights, x)).collect();
        prop_assert_eq!(bits(&y), bits(&expected));
    }

    #[test]
    fn experts_compute_their_meaning_and_survive_the_text_form(
        chip in small_chips(),
        width in 1_usize..40,
        expert_width in 1_usize..40,
        symbols in 1_usize..5,
        name in "\\PC{0,12}",
        key in 0_u64..1 << 40,
    ) {
        let expert = SampleExpert::gaussian(key, width, expert_width);
        let mut weights = expert.weights();
        weights.name = &name;
        let compiled = match compile_expert(&chip, &weights, &[], &plain()) {
            Ok(compiled) => compiled,
            Err(CompileError::PassBug { violations, .. }) => {
                return Err(TestCaseError::fail(format!("{violations:?}")));
            }
            Err(error) => return Err(TestCaseError::fail(error.to_string())),
        };
        let x = normals(key ^ 1, symbols * width);
        let y = run(&compiled.program, &chip, &x);
        let [gate, up, down] = &compiled.report.matrices[..] else { panic!("three matrices") };
        let mut expected = Vec::new();
        for x in x.chunks_exact(width) {
            let gated = meaning(&chip, gate, &expert.gate, x);
            let raised = meaning(&chip, up, &expert.up, x);
            let hidden: Vec<f32> =
                gated.iter().zip(&raised).map(|(gate, up)| silu(*gate) * up).collect();
            expected.extend(meaning(&chip, down, &expert.down, &hidden));
        }
        prop_assert_eq!(bits(&y), bits(&expected));

        let text = compiled.program.to_string();
        let parsed: Program = text.parse().expect("what is emitted can be parsed");
        prop_assert_eq!(&parsed, &*compiled.program);
    }
}

#[test]
fn a_zero_vector_gives_zeros() {
    let chip = chip("tiny-4", &[]);
    let compiled = SampleExpert::gaussian(3, 8, 8).compile(&chip);
    assert_eq!(bits(&run(&compiled.program, &chip, &[0.0; 16])), [0; 16]);
}

#[test]
fn vectors_too_small_for_a_scale_give_zeros() {
    let chip = chip("tiny-4", &[]);
    let weights: Vec<f32> = normals(1, 6 * 16).iter().map(|weight| weight * 1e20).collect();
    let compiled =
        compile_linear(&chip, "l", &weights, 6, 16, &[], &plain()).expect("large weights");
    let report = &compiled.report.matrices[0];
    // Where the inverse of the scale is no longer finite, long before the numbers themselves end.
    let least = chip.input_limit() as f32 / f32::MAX;
    let shape = normals(2, 16);
    let largest = shape.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
    for (times, silent) in [(0.99, true), (1e-6, true), (1.01, false)] {
        let x: Vec<f32> = shape.iter().map(|x| x / largest * least * times).collect();
        let y = run(&compiled.program, &chip, &x);
        assert_eq!(bits(&y), bits(&meaning(&chip, report, &weights, &x)), "{times}");
        assert_eq!(y.iter().all(|y| *y == 0.0), silent, "{times}");
    }
}

#[test]
fn a_matrix_of_zeros_runs_one_tile_per_slice() {
    let chip = chip("tiny-4", &[]);
    let options = CompileOptions::default();
    let compiled = compile_linear(&chip, "l", &[0.0; 16 * 6], 6, 16, &[], &options).expect("zeros");
    let report = &compiled.report.matrices[0];
    assert_eq!((report.tiles.len(), report.skipped_tiles, report.snr_db), (2, 2, None));
    assert_eq!(bits(&run(&compiled.program, &chip, &[1.0; 16])), [0; 6]);
}

#[test]
fn an_expert_of_a_hundred_thousand_steps_is_like_any_other() {
    // As many tiles as the experts of large models have on arrays of 64 by 64.
    let chip = chip("tiny-4", &[]);
    let (width, expert_width) = (640, 560);
    let expert = SampleExpert::gaussian(11, width, expert_width);
    let compiled = expert.compile(&chip);
    let program = &compiled.program;
    assert!(program.steps.len() > 100_000, "{} steps", program.steps.len());
    let x = normals(5, 3 * width);
    let y = run(program, &chip, &x);
    let (mut signal, mut error) = (0.0, 0.0);
    let product = |weights: &[f32], x: &[f64]| -> Vec<f64> {
        let rows = weights.chunks_exact(x.len());
        rows.map(|row| row.iter().zip(x).map(|(w, x)| f64::from(*w) * x).sum()).collect()
    };
    for (x, y) in x.chunks_exact(width).zip(y.chunks_exact(width)) {
        let x: Vec<f64> = x.iter().copied().map(f64::from).collect();
        let (gate, up) = (product(&expert.gate, &x), product(&expert.up, &x));
        let hidden: Vec<f64> =
            gate.iter().zip(&up).map(|(gate, up)| gate / (1.0 + pxfm::f_exp(-gate)) * up).collect();
        for (exact, found) in product(&expert.down, &hidden).iter().zip(y) {
            signal += exact * exact;
            error += (exact - f64::from(*found)) * (exact - f64::from(*found));
        }
    }
    let (found, reported) = (10.0 * pxfm::f_log10(signal / error), compiled.report.snr_db);
    let reported = reported.expect("codes are not floats");
    assert!((found - reported).abs() < 1.5, "{found:.2} dB, reported {reported:.2} dB");
}
