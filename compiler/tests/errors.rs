//! Every refusal names the layer, the reason and the remedy.

mod problem;

use litecore_compiler::{CompileError, CompileOptions, compile_expert, compile_linear};
use problem::{SampleExpert, chip, normals};

fn refused(result: Result<litecore_compiler::CompiledExpert, CompileError>) -> CompileError {
    result.expect_err("refused")
}

#[test]
fn a_weight_that_is_not_finite_is_named_in_its_matrix() {
    let mut expert = SampleExpert::gaussian(1, 8, 6);
    expert.up[3 * 8 + 5] = f32::NAN;
    let chip = chip("tiny-4", &[]);
    let result = compile_expert(&chip, &expert.weights(), &[], &CompileOptions::default());
    assert_eq!(
        refused(result).to_string(),
        "layer `layer 0 small.0.1 up`: the weight in row 3, column 5 is not finite: \
         repair the checkpoint, it may come from a diverged training run"
    );
}

#[test]
fn wrong_shapes_are_named_before_anything_is_computed() {
    let chip = chip("tiny-4", &[]);
    let mut expert = SampleExpert::gaussian(1, 8, 6);
    expert.down.pop();
    let result = compile_expert(&chip, &expert.weights(), &[], &CompileOptions::default());
    let error = refused(result);
    assert!(
        matches!(&error, CompileError::WeightCount { outputs: 8, inputs: 6, found: 47, .. }),
        "{error}"
    );
    let error = compile_linear(&chip, "l", &[], 0, 4, &[], &CompileOptions::default())
        .expect_err("no outputs");
    assert!(matches!(error, CompileError::EmptyLayer { .. }), "{error}");
}

#[test]
fn samples_must_be_whole_and_finite() {
    let chip = chip("tiny-4", &[]);
    let expert = SampleExpert::gaussian(1, 8, 6);
    let compile = |samples: &[f32]| {
        refused(compile_expert(&chip, &expert.weights(), samples, &CompileOptions::default()))
    };
    let error = compile(&[1.0; 9]);
    assert!(matches!(error, CompileError::SampleCount { elements: 9, inputs: 8, .. }), "{error}");
    let mut samples = normals(2, 24);
    samples[13] = f32::INFINITY;
    let error = compile(&samples);
    assert!(
        matches!(error, CompileError::NonFiniteSample { sample: 1, element: 5, .. }),
        "{error}"
    );
    // Finite samples whose product overflows on the way to the second layer.
    let huge: Vec<f32> = normals(3, 16).iter().map(|x| x * 1e30).collect();
    let error = compile(&huge);
    assert!(
        matches!(&error, CompileError::NonFiniteSample { layer, .. } if layer.ends_with("down")),
        "{error}"
    );
}

#[test]
fn a_card_without_room_for_one_symbol_is_refused() {
    let chip = chip("tiny-4", &[("memory.sram_bytes", "1024")]);
    let expert = SampleExpert::gaussian(1, 64, 64);
    let error = refused(compile_expert(&chip, &expert.weights(), &[], &CompileOptions::default()));
    assert!(matches!(error, CompileError::OutOfMemory { sram_bytes: 1024, .. }), "{error}");
}

#[test]
fn a_layer_of_too_many_tiles_is_refused() {
    let chip = chip("tiny-4", &[("array.inputs", "1"), ("array.outputs", "1")]);
    let (outputs, inputs) = (400, 880);
    let weights = vec![1.0; outputs * inputs];
    let options = CompileOptions::default();
    let error = compile_linear(&chip, "large", &weights, outputs, inputs, &[], &options)
        .expect_err("176000 tiles");
    assert!(matches!(error, CompileError::TooLarge { what: "steps", .. }), "{error}");
    assert!(error.to_string().ends_with("split it, or use a chip whose arrays fit its matrices"));
}

#[test]
fn options_and_chips_are_checked_first() {
    let expert = SampleExpert::gaussian(1, 8, 6);
    let none = CompileOptions { symbols_max: 0, ..CompileOptions::default() };
    let error = refused(compile_expert(&chip("tiny-4", &[]), &expert.weights(), &[], &none));
    assert!(matches!(error, CompileError::ZeroOption { option: "symbols_max", .. }), "{error}");
    let mut chip = chip("tiny-4", &[]);
    chip.array.banks = 0;
    let error = refused(compile_expert(&chip, &expert.weights(), &[], &CompileOptions::default()));
    assert!(matches!(error, CompileError::UnsupportedChip { key: "array.banks", .. }), "{error}");
}
