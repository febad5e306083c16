//! Complex layers compute what complex numbers say: two executors against products written out.

mod problem;

use litecore_compiler::{
    CompileError, CompileOptions, MatrixReport, compile_complex_linear, predict, report_run,
};
use litecore_kernels::program::{Converters, Fast, Reference, Workspace, execute};
use litecore_types::chip::ChipDescription;
use litecore_types::chip::timing::Engine;
use litecore_types::program::{Packing, Program, VerifiedProgram};
use problem::{chip, normals};
use proptest::prelude::*;

/// Codes of some pairs, and their scale.
fn quantise(values: &[f32], limit: i32) -> (Vec<(i64, i64)>, f32) {
    let absmax = values.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
    if absmax == 0.0 {
        return (vec![(0, 0); values.len() / 2], 0.0);
    }
    let limit = limit as f32;
    #[allow(clippy::cast_possible_truncation, reason = "codes are small")]
    let code = |x: f32| (x * (limit / absmax)).round_ties_even().clamp(-limit, limit) as i64;
    (values.chunks_exact(2).map(|pair| (code(pair[0]), code(pair[1]))).collect(), absmax / limit)
}

/// `y = W x` over complex numbers, one vector at a time, by the reads that the report lists.
fn meaning(chip: &ChipDescription, report: &MatrixReport, weights: &[f32], x: &[f32]) -> Vec<f32> {
    let (n, m) = (chip.array.inputs, chip.array.outputs);
    let half_range = f64::from(1_u32 << (chip.adc.bits - 1));
    let (x, scale_x) = quantise(x, chip.input_limit());
    let mut y = Vec::new();
    for (j, row) in weights.chunks_exact(report.inputs).enumerate() {
        let (w, scale_w) = quantise(row, chip.weight_limit());
        let tiles: Vec<_> = report.tiles.iter().filter(|tile| tile.m_tile == j / m).collect();
        let s_min = tiles.iter().map(|tile| tile.shift).min().expect("never empty");
        let (mut re, mut im) = (0_i64, 0_i64);
        for tile in tiles {
            let range = tile.k_tile * n..x.len().min((tile.k_tile + 1) * n);
            let (mut sum_re, mut sum_im) = (0_i64, 0_i64);
            for ((a, b), (c, d)) in w[range.clone()].iter().zip(&x[range]) {
                sum_re += a * c - b * d;
                sum_im += a * d + b * c;
            }
            let read = |sum: i64| {
                let code = (sum as f64 / f64::from(1_u32 << tile.shift)).round_ties_even();
                #[allow(clippy::cast_possible_truncation, reason = "saturated to the converter")]
                let code = code.clamp(-half_range, half_range - 1.0) as i64;
                code << (tile.shift - s_min)
            };
            re += read(sum_re);
            im += read(sum_im);
        }
        let table = scale_w * (1_u32 << s_min) as f32;
        y.extend([re, im].map(|sum| (sum as f32 * scale_x) * table));
    }
    y
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// What both executors make of some inputs; they must agree.
fn run(program: &VerifiedProgram, chip: &ChipDescription, x: &[f32]) -> Vec<f32> {
    let (mut slow, mut fast) = (Vec::new(), Vec::new());
    let (converters, mut space) = (Converters::of(chip), Workspace::default());
    execute(program, &mut Reference::new(converters), x, &mut slow, &mut space).expect("finite");
    execute(program, &mut Fast::new(converters), x, &mut fast, &mut space).expect("finite");
    assert_eq!(bits(&slow), bits(&fast), "reference and fast differ");
    slow
}

fn chips() -> impl Strategy<Value = ChipDescription> {
    let geometry = (1_usize..6, 1_usize..6, 1_usize..3, 1_usize..4);
    (geometry, 2_u8..=8, 3_u8..=12, 2_u8..=8).prop_map(
        |((inputs, outputs, arrays, banks), dac, adc, weights)| {
            chip(
                "tiny-4",
                &[
                    ("array.inputs", &inputs.to_string()),
                    ("array.outputs", &outputs.to_string()),
                    ("array.arrays", &arrays.to_string()),
                    ("array.banks", &banks.to_string()),
                    ("receiver.readout", "iq"),
                    ("dac.bits", &dac.to_string()),
                    ("dac.enob", "ideal"),
                    ("adc.bits", &adc.to_string()),
                    ("adc.enob", "2.5"),
                    ("weights.bits", &weights.to_string()),
                ],
            )
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(80))]

    #[test]
    fn complex_layers_compute_their_meaning(
        chip in chips(),
        outputs in 1_usize..14,
        inputs in 1_usize..20,
        symbols in 1_usize..5,
        key in any::<u64>(),
    ) {
        let weights = normals(key, 2 * outputs * inputs);
        let x = normals(key ^ 1, 2 * symbols * inputs);
        let options = CompileOptions { symbols_max: 32, ..CompileOptions::default() };
        let compiled =
            compile_complex_linear(&chip, "l", &weights, outputs, inputs, &[], &options);
        let compiled = match compiled {
            Ok(compiled) => compiled,
            Err(error) => return Err(TestCaseError::fail(error.to_string())),
        };
        let y = run(&compiled.program, &chip, &x);
        if compiled.program.tiles.iter().all(|tile| tile.packing == Packing::Complex) {
            let report = &compiled.report.matrices[0];
            let vectors = x.chunks_exact(2 * inputs);
            let expected: Vec<f32> =
                vectors.flat_map(|x| meaning(&chip, report, &weights, x)).collect();
            prop_assert_eq!(bits(&y), bits(&expected));
        }
        let text = compiled.program.to_string();
        let parsed: Program = text.parse().expect("what is emitted can be parsed");
        prop_assert_eq!(&parsed, &*compiled.program);
    }
}

#[test]
fn a_complex_layer_takes_half_the_tiles_and_counts_all_four_products() {
    let weights = normals(1, 2 * 128 * 128);
    let compile = |readout: &str| {
        let chip = chip("ref-64-eo", &[("receiver.readout", readout)]);
        let options = CompileOptions::default();
        let compiled = compile_complex_linear(&chip, "l", &weights, 128, 128, &[], &options);
        (compiled.expect("fits"), chip)
    };
    let (native, iq) = compile("iq");
    assert!(native.program.tiles.iter().all(|tile| tile.packing == Packing::Complex));
    assert_eq!(native.program.tiles.len(), 4);
    // Two codes in each of 64 x 64 cells.
    assert!(native.program.tiles.iter().all(|tile| tile.loaded_codes() == 2 * 64 * 64));
    let (folded, i) = compile("i");
    assert_eq!(folded.program.tiles.len(), 8);
    let use_of = |program, chip| report_run(program, chip, 512).0.utilisation;
    let (native_use, folded_use) = (use_of(&native.program, &iq), use_of(&folded.program, &i));
    assert_eq!(
        (native_use.ceiling.to_bits(), folded_use.ceiling.to_bits()),
        (4.0_f64.to_bits(), 2.0_f64.to_bits())
    );
    assert!(native_use.while_streaming > 3.9 && native_use.while_streaming <= 4.0);
    // One vector needs each tile once: 8192 codes of each at 32 a cycle.
    let loading = |program, chip| predict(program, chip, 1).engine_busy[&Engine::Loader(0)].0;
    assert_eq!(loading(&native.program, &iq), 4 * 256);
    assert_eq!(loading(&folded.program, &i), 8 * 256);
    // The error is the converters', as for real layers of that size.
    let snr = native.report.snr_db.expect("noise of rounding");
    assert!((25.0..45.0).contains(&snr), "{snr}");
}

#[test]
fn bad_complex_layers_are_named() {
    let chip = chip("tiny-4", &[]);
    let compile = |weights: &[f32], outputs, inputs| {
        let options = CompileOptions::default();
        compile_complex_linear(&chip, "mixer", weights, outputs, inputs, &[], &options)
            .expect_err("refused")
    };
    assert!(matches!(compile(&[], 0, 2), CompileError::EmptyLayer { .. }));
    assert!(matches!(compile(&[0.0; 7], 2, 2), CompileError::WeightCount { found: 7, .. }));
    assert!(matches!(compile(&[], usize::MAX, 2), CompileError::WeightCount { .. }));
    let mut weights = [1.0; 12];
    weights[9] = f32::NAN;
    let error = compile(&weights, 2, 3);
    assert!(matches!(error, CompileError::NonFiniteWeight { row: 1, column: 1, .. }), "{error}");
    assert!(error.to_string().starts_with("layer `mixer`: "));
}
