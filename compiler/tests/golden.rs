//! Whole programs as text. `LITECORE_BLESS=1 cargo test -p litecore-compiler --test golden` writes
//! them anew; the difference is then the review.

mod problem;

use litecore_compiler::{CompileOptions, ExpertWeights, compile_expert, compile_linear};
use litecore_types::chip::ChipDescription;
use litecore_types::program::{Program, Step, VerifiedProgram};
use std::path::PathBuf;

fn check(name: &str, program: &VerifiedProgram, chip: &ChipDescription) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    let text = program.to_string();
    if std::env::var_os("LITECORE_BLESS").is_some() {
        std::fs::write(&path, &text).expect("the golden file can be written");
    }
    let golden = std::fs::read_to_string(&path).expect("the golden file is there");
    assert_eq!(text, golden, "{name} changed: bless it if this was meant");
    let parsed: Program = golden.parse().expect("golden files parse");
    assert_eq!(VerifiedProgram::new(parsed, chip).as_ref(), Ok(program));
}

/// Small whole numbers with a pattern, so that codes can be followed by eye.
fn weights(outputs: usize, inputs: usize, step: i16) -> Vec<f32> {
    (0_i16..).take(outputs * inputs).map(|index| f32::from((index * step + 5) % 13 - 6)).collect()
}

#[test]
fn a_linear_layer_of_two_tiles() {
    let chip = problem::chip("tiny-4", &[]);
    let options = CompileOptions { symbols_max: 8, ..CompileOptions::default() };
    let weights = weights(3, 10, 7);
    let compiled = compile_linear(&chip, "three by ten", &weights, 3, 10, &[], &options);
    check("linear-3x10.program", &compiled.expect("small").program, &chip);
}

#[test]
fn an_expert_on_two_banks() {
    let chip = problem::chip("tiny-4", &[("array.banks", "2")]);
    let options = CompileOptions { symbols_max: 8, ..CompileOptions::default() };
    let expert = ExpertWeights {
        name: "layer 0 small.0.1",
        gate: &weights(6, 4, 5),
        up: &weights(6, 4, 3),
        down: &weights(4, 6, 2),
        width: 4,
        expert_width: 6,
    };
    let compiled = compile_expert(&chip, &expert, &[], &options).expect("small");
    check("expert-4x6.program", &compiled.program, &chip);
}

#[test]
fn a_linear_layer_in_parts() {
    let chip = problem::chip("tiny-4", &[]);
    let options = CompileOptions { symbols_max: 24, batch: Some(24), ..CompileOptions::default() };
    let weights = weights(3, 10, 7);
    let compiled = compile_linear(&chip, "in parts", &weights, 3, 10, &[], &options);
    let program = compiled.expect("small").program;
    assert!(program.steps.iter().any(|step| step.symbols.from == 8), "parts of eight");
    // Short runs look at a part of it: all that they have work in, and no more.
    for symbols in 1..=24 {
        let works = |step: &Step| step.symbols.count_in(symbols) > 0;
        let last = program.steps.iter().rposition(works).expect("something is done");
        assert_eq!(program.steps_in_reach(symbols).len(), last + 1, "{symbols} symbols");
    }
    assert!(program.steps_in_reach(8).len() < program.steps_in_reach(24).len());
    check("linear-in-parts.program", &program, &chip);
}
