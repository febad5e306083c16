//! What passes leave in a program: legal steps, the same function, better numbers.

mod problem;

use litecore_compiler::{
    CompileOptions, CompiledLinear, Pass, PassSet, compile_expert, compile_linear, report_run,
};
use litecore_kernels::codes;
use litecore_kernels::program::{Converters, Fast, Reference, Workspace, execute};
use litecore_types::chip::ChipDescription;
use litecore_types::program::{Action, Packing, Program, VerifiedProgram, Violation};
use problem::{SampleExpert, chip, normals};

fn options(with: &[Pass]) -> CompileOptions {
    let passes = with.iter().fold(PassSet::default(), |set, pass| set.with(*pass));
    CompileOptions { passes, ..CompileOptions::default() }
}

/// Vectors with one element that towers over the others, another one in every row.
fn spiky(rows: usize, len: usize) -> Vec<f32> {
    let mut samples = normals(3, rows * len);
    for (index, row) in samples.chunks_exact_mut(len).enumerate() {
        row[index * 7 % len] += 60.0;
    }
    samples
}

fn run(program: &VerifiedProgram, chip: &ChipDescription, x: &[f32]) -> Vec<f32> {
    let (mut slow, mut fast) = (Vec::new(), Vec::new());
    let (converters, mut space) = (Converters::of(chip), Workspace::default());
    execute(program, &mut Reference::new(converters), x, &mut slow, &mut space).expect("finite");
    execute(program, &mut Fast::new(converters), x, &mut fast, &mut space).expect("finite");
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&slow), bits(&fast), "reference and fast differ");
    slow
}

/// Signal over error against f64, in decibels.
fn snr_db(weights: &[f32], x: &[f32], inputs: usize, found: &[f32]) -> f64 {
    let (mut signal, mut error) = (0.0, 0.0);
    let outputs = weights.len() / inputs;
    for (x, found) in x.chunks_exact(inputs).zip(found.chunks_exact(outputs)) {
        for (row, found) in weights.chunks_exact(inputs).zip(found) {
            let product = |(w, x): (&f32, &f32)| f64::from(*w) * f64::from(*x);
            let exact: f64 = row.iter().zip(x).map(product).sum();
            let difference = f64::from(*found) - exact;
            signal += exact * exact;
            error += difference * difference;
        }
    }
    10.0 * pxfm::f_log10(signal / error)
}

fn linear(chip: &ChipDescription, with: &[Pass], weights: &[f32], x: &[f32]) -> CompiledLinear {
    let inputs = 128;
    let outputs = weights.len() / inputs;
    compile_linear(chip, "l", weights, outputs, inputs, x, &options(with))
        .unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn rotation_wins_decibels_on_spiky_vectors_and_survives_the_text_form() {
    let chip = chip("ref-64-eo", &[]);
    let (weights, x) = (normals(1, 64 * 128), spiky(40, 128));
    let plain = linear(&chip, &[], &weights, &x);
    let rotated = linear(&chip, &[Pass::Rotate], &weights, &x);
    let before = snr_db(&weights, &x, 128, &run(&plain.program, &chip, &x));
    let after = snr_db(&weights, &x, 128, &run(&rotated.program, &chip, &x));
    assert!(after > before + 4.0, "{before:.1} dB, rotated {after:.1} dB");
    let steps = &rotated.program.steps;
    assert!(steps.iter().any(|step| matches!(step.action, Action::Rotate { block: 128, .. })));
    let parsed: Program = rotated.program.to_string().parse().expect("what is emitted is read");
    assert_eq!(VerifiedProgram::new(parsed, &chip).as_ref(), Ok(&rotated.program));
}

#[test]
fn a_rotation_that_does_not_fit_its_vector_is_refused() {
    let chip = chip("ref-64-eo", &[]);
    let (weights, x) = (normals(1, 64 * 128), spiky(40, 128));
    let rotated = linear(&chip, &[Pass::Rotate], &weights, &x).program;
    let with_block = |damaged: u32| {
        let mut program = Program::clone(&rotated);
        for step in &mut program.steps {
            if let Action::Rotate { block, .. } = &mut step.action {
                *block = damaged;
            }
        }
        VerifiedProgram::new(program, &chip).expect_err("no such rotation")
    };
    for damaged in [0, 3, 256] {
        let violations = with_block(damaged);
        assert!(
            violations.iter().all(
                |v| matches!(v, Violation::RotationBlock { block, len: 128, .. } if *block == damaged)
            ),
            "{violations:?}"
        );
    }
}

#[test]
fn a_hadamard_matrix_of_four_by_hand() {
    let mut out = [0.0; 4];
    codes::rotate(&[1.0, 2.0, 3.0, 4.0], &[1.0, 0.5, 1.0, 0.25], 4, &mut out);
    // 1, 1, 3, 1 by the rows ++++, +-+-, ++--, +--+.
    assert_eq!(out.to_vec(), [6.0, 2.0, -2.0, -2.0]);
    codes::rotate(&[1.0, 2.0, 3.0, 4.0], &[1.0; 4], 2, &mut out);
    assert_eq!(out.to_vec(), [3.0, -1.0, 7.0, -1.0]);
    codes::rotate(&[1.0, 2.0, 3.0, 4.0], &[2.0; 4], 1, &mut out);
    assert_eq!(out.to_vec(), [2.0, 4.0, 6.0, 8.0]);
}

#[test]
fn two_planes_make_narrow_cells_as_good_as_wide_ones() {
    // Four-bit cells and a converter that hardly rounds: the weights' own rounding is what is left.
    let wide = [
        ("weights.bits", "4"),
        ("adc.bits", "14"),
        ("adc.enob", "ideal"),
        ("memory.sram_bytes", "1048576"),
    ];
    let chip = chip("ref-64-eo", &wide);
    let weights = normals(1, 64 * 128);
    let x = normals(2, 60 * 128);
    let compile = |target_snr_db| {
        let options = CompileOptions { target_snr_db, ..CompileOptions::default() };
        compile_linear(&chip, "l", &weights, 64, 128, &x, &options).expect("fits")
    };
    let measure =
        |compiled: &CompiledLinear| snr_db(&weights, &x, 128, &run(&compiled.program, &chip, &x));
    let (one, two) = (compile(None), compile(Some(34.0)));
    let (narrow, sliced) = (measure(&one), measure(&two));
    // A Gaussian row of 128 in fifteen levels: about 20 dB; in 2^11 of them only the inputs round.
    assert!((17.0..23.0).contains(&narrow), "{narrow:.1} dB");
    assert!(sliced > narrow + 15.0, "{narrow:.1} dB, sliced {sliced:.1} dB");
    assert_eq!((one.program.tiles.len(), two.program.tiles.len()), (1, 2));
}

#[test]
fn repeated_reads_load_a_tile_once() {
    let chip = chip("ref-64-eo", &[("adc.enob", "5")]);
    let weights = normals(1, 64 * 128);
    let options = CompileOptions { target_snr_db: Some(33.0), ..CompileOptions::default() };
    let compiled = compile_linear(&chip, "l", &weights, 64, 128, &[], &options).expect("fits");
    let program = &compiled.program;
    let reads = compiled.report.matrices[0].tiles.len();
    assert!(reads >= 8, "{reads}");
    assert!(program.tiles.len() <= 2, "{}", program.tiles.len());
    // One run of all its symbols loads each tile once for every time it must.
    let split = compiled.report.passes.iter().find(|pass| pass.pass == Pass::Split);
    assert!(split.is_some_and(|pass| pass.changed));
}

#[test]
fn packings_follow_the_shape_where_both_quadratures_are_read() {
    let chip = chip("ref-64-eo", &[("receiver.readout", "iq")]);
    let packing = |outputs: usize, inputs: usize| {
        let weights = normals(1, outputs * inputs);
        let options = CompileOptions::default();
        let compiled =
            compile_linear(&chip, "l", &weights, outputs, inputs, &[], &options).expect("fits");
        let x = normals(2, 5 * inputs);
        let level = snr_db(&weights, &x, inputs, &run(&compiled.program, &chip, &x));
        assert!(level > 30.0, "{outputs} x {inputs}: {level:.1} dB");
        compiled.program.tiles[0].packing
    };
    assert_eq!(packing(64, 128), Packing::Conjugate);
    assert_eq!(packing(128, 64), Packing::Rows);
    assert_eq!(packing(64, 64), Packing::Tokens);
}

#[test]
fn a_low_rank_expert_takes_fewer_tiles_within_its_budget() {
    let chip = chip("tiny-4", &[]);
    let mut expert = SampleExpert::gaussian(5, 48, 48);
    // A gate of rank two.
    let (left, right) = (normals(8, 48 * 2), normals(9, 2 * 48));
    for j in 0..48 {
        for k in 0..48 {
            expert.gate[j * 48 + k] =
                (left[2 * j] * right[k] + left[2 * j + 1] * right[48 + k]) / 7.0;
        }
    }
    let compile = |with: &[Pass]| {
        compile_expert(&chip, &expert.weights(), &[], &options(with)).expect("fits")
    };
    let (full, thin) = (compile(&[]), compile(&[Pass::LowRank]));
    assert_eq!(full.report.matrices.len(), 3);
    assert_eq!(thin.report.matrices.len(), 4);
    assert!(thin.program.tiles.len() + 40 < full.program.tiles.len());
    let (full, thin) = (full.report.snr_db.expect("dB"), thin.report.snr_db.expect("dB"));
    assert!(thin > full - 4.0, "{full:.1} dB, thin {thin:.1} dB");
}

#[test]
fn empty_tiles_are_what_the_budget_allows() {
    let chip = chip("tiny-4", &[]);
    let mut weights = normals(1, 16 * 64);
    // Every other tile is a hundred times weaker.
    for row in weights.chunks_exact_mut(64) {
        for tile in row.chunks_exact_mut(8).skip(1).step_by(2) {
            for weight in tile {
                *weight /= 100.0;
            }
        }
    }
    let tiles = |error_budget, passes: PassSet| {
        let options = CompileOptions { error_budget, passes, ..CompileOptions::default() };
        let compiled = compile_linear(&chip, "l", &weights, 16, 64, &[], &options).expect("fits");
        compiled.report.matrices[0].tiles.len()
    };
    let sparse = PassSet::default().with(Pass::TileSparsity);
    assert_eq!(tiles(1e-3, PassSet::default()), 32);
    assert_eq!(tiles(1e-3, sparse), 16);
    assert_eq!(tiles(1e-6, sparse), 32);
}

#[test]
fn the_error_of_the_outputs_stays_within_the_budget() {
    // Converters fine enough that rounding is a small part of what is lost.
    let chip = chip(
        "tiny-4",
        &[("adc.bits", "14"), ("adc.enob", "ideal"), ("memory.sram_bytes", "1048576")],
    );
    let (outputs, inputs, rows) = (40, 48, 512);
    // Directions that get weaker and weaker, on inputs that get quieter along the vector.
    let mut weights = vec![0.0; outputs * inputs];
    let mut strength = 1.0;
    for key in 0..24 {
        let (left, right) = (normals(2 * key, outputs), normals(2 * key + 1, inputs));
        for (row, left) in weights.chunks_exact_mut(inputs).zip(&left) {
            for (weight, right) in row.iter_mut().zip(&right) {
                *weight += strength * left * right;
            }
        }
        strength *= 0.75;
    }
    let mut x = normals(99, rows * inputs);
    for row in x.chunks_exact_mut(inputs) {
        let mut level = 1.0;
        for x in row {
            *x *= level;
            level *= 0.95;
        }
    }
    let lost = |with: &[Pass], error_budget: f64| {
        let options = CompileOptions { error_budget, ..options(with) };
        let compiled = compile_linear(&chip, "l", &weights, outputs, inputs, &x, &options)
            .unwrap_or_else(|error| panic!("{error}"));
        let found = run(&compiled.program, &chip, &x);
        pxfm::f_exp10(-snr_db(&weights, &x, inputs, &found) / 10.0)
    };
    let rounding = lost(&[], 0.0);
    for budget in [0.2, 0.05] {
        for with in
            [&[Pass::LowRank][..], &[Pass::TileSparsity], &[Pass::LowRank, Pass::TileSparsity]]
        {
            let lost = lost(with, budget);
            assert!(lost <= budget, "{with:?}: {lost} of {budget}, {rounding} without");
            assert!(lost > 10.0 * rounding, "{with:?}: nothing was approximated");
        }
    }
}

#[test]
fn utilisation_is_of_what_is_run_and_stays_below_its_ceiling() {
    let chip = chip("tiny-4", &[("array.wavelengths", "2")]);
    let mut expert = SampleExpert::gaussian(4, 40, 40);
    // A matrix of rank one, and one that is nearly empty.
    let (left, right) = (normals(5, 40), normals(6, 40));
    let of_rank_one = left.iter().flat_map(|left| right.iter().map(move |right| left * right));
    expert.up = of_rank_one.collect();
    expert.down[200..].fill(0.0);
    for (with, target) in [
        (&[][..], None),
        (&[Pass::LowRank], None),
        (&[Pass::LowRank, Pass::TileSparsity], None),
        // Reads that are repeated make nothing more of the same products.
        (&[Pass::LowRank], Some(60.0)),
    ] {
        let options = CompileOptions { target_snr_db: target, ..options(with) };
        let compiled = compile_expert(&chip, &expert.weights(), &[], &options)
            .unwrap_or_else(|error| panic!("{error}"));
        let weights: u64 = compiled.report.matrices.iter().map(|m| m.useful_weights).sum();
        for symbols in [1, 7, 64] {
            let (run, _) = report_run(&compiled.program, &chip, symbols);
            assert_eq!(run.useful_macs, 3 * 1600 * symbols);
            assert_eq!(run.macs_run, weights * symbols, "{with:?}, {target:?}");
            let utilisation = run.utilisation;
            assert!(utilisation.while_streaming <= utilisation.ceiling, "{utilisation:?}");
            assert!(utilisation.of_the_run <= utilisation.while_streaming, "{utilisation:?}");
            let mut sum = run.clone();
            sum.add(&run);
            let same = sum.utilisation.while_streaming / utilisation.while_streaming;
            assert!((same - 1.0).abs() < 1e-12 && sum.macs_run == 2 * run.macs_run);
        }
        // Tiles of zeros are not run; the factors are much smaller than what they replace.
        assert!(weights < if with.is_empty() { 4800 } else { 3200 }, "{with:?}: {weights}");
    }
}
