//! Whole models: every expert once, in order, whatever the number of threads.

#[path = "problem/model.rs"]
mod problem;

use litecore_compiler::{
    CompileError, CompileOptions, ExpertWeights, SampleSource, compile_expert, compile_model,
};
use litecore_model::ExpertKey;
use litecore_model::names::{self, Part};
use litecore_types::chip::{ChipDescription, Override, builtin_text};
use std::cell::RefCell;

fn key(tier: u16, expert: u16) -> ExpertKey {
    ExpertKey { tier, group: 0, expert }
}

#[test]
fn every_expert_is_compiled_as_it_would_be_alone() {
    let (chip, text) = problem::tiny();
    let checkpoint = problem::checkpoint(&problem::config());
    let options = CompileOptions::default();
    let asked = RefCell::new(Vec::new());
    let samples = |layer: u32, key: ExpertKey| {
        asked.borrow_mut().push((layer, key));
        // One expert gets samples: two vectors of six.
        if layer == 1 && key.tier == 0 { [0.5, -1.0, 2.0, 0.0, 1.0, 1.0].repeat(2) } else { vec![] }
    };
    let mut steps = Vec::new();
    let mut progress = |done, total| steps.push((done, total));
    let model = compile_model(&chip, text, &checkpoint, &samples, &options, &mut progress)
        .expect("a small model");

    let places: Vec<(u32, ExpertKey)> = (0..2)
        .flat_map(|layer| [key(0, 0), key(1, 0), key(1, 1)].map(|key| (layer, key)))
        .collect();
    assert_eq!(*asked.borrow(), places);
    assert_eq!(model.experts.keys().copied().collect::<Vec<_>>(), places);
    assert_eq!(steps.first(), Some(&(0, 6)));
    assert_eq!(steps.last(), Some(&(6, 6)));
    assert_eq!(model.reports[&(1, key(0, 0))].samples, SampleSource::Caller { rows: 2 });
    assert_eq!(model.reports[&(1, key(0, 0))].held_out, 0);
    assert_eq!(model.reports[&(1, key(1, 0))].held_out, 42);
    assert_eq!(model.reports[&(1, key(1, 0))].samples, SampleSource::GaussianModel { rows: 170 });
    let dense: Vec<String> = problem::config().dense_specs().map(|spec| spec.name).collect();
    assert_eq!(model.dense.len(), dense.len());
    assert!(dense.iter().all(|name| model.dense.contains_key(name)));
    assert_eq!(model.checkpoint, checkpoint.digest());

    let part = |part| {
        let tier = &problem::config().tiers[1].id;
        checkpoint.tensor_f32(&names::expert(1, tier, 0, 1, part)).expect("there").data
    };
    let weights = ExpertWeights {
        name: "layer 1 b.0.1",
        gate: &part(Part::Gate),
        up: &part(Part::Up),
        down: &part(Part::Down),
        width: 6,
        expert_width: 9,
    };
    let alone = compile_expert(&chip, &weights, &[], &options).expect("one of them");
    assert_eq!(*model.experts[&(1, key(1, 1))], alone.program);
    assert_eq!(model.reports[&(1, key(1, 1))], alone.report);
}

#[test]
fn threads_do_not_change_a_model() {
    let on = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        pool.install(|| problem::compiled().to_bytes().expect("memory"))
    };
    assert_eq!(on(1), on(5));
}

#[test]
fn the_chip_text_must_be_the_chips() {
    let (chip, text) = problem::tiny();
    let checkpoint = problem::checkpoint(&problem::config());
    let compile = |chip: &ChipDescription, text: &str| {
        let none = |_, _| Vec::new();
        compile_model(chip, text, &checkpoint, &none, &CompileOptions::default(), &mut |_, _| {})
            .expect_err("refused")
    };
    let other = builtin_text("ref-64-eo").expect("shipped");
    let error = compile(&chip, other);
    assert!(matches!(error, CompileError::ChipTextMismatch { .. }), "{error}");
    let change = Override { path: "array.banks".into(), value: "2".into() };
    let changed = ChipDescription::from_toml_with(text, "t", &[change]).expect("valid");
    let error = compile(&changed, text);
    assert!(matches!(error, CompileError::ChipTextMismatch { .. }), "{error}");
    let error = compile(&chip, "name = 1");
    assert!(matches!(error, CompileError::ChipText { .. }), "{error}");
}

#[test]
fn the_first_expert_at_fault_is_named() {
    let (chip, text) = problem::tiny();
    let checkpoint = problem::checkpoint(&problem::config());
    let bad = |layer, key: ExpertKey| {
        if layer == 0 && key.tier == 1 { vec![f32::NAN; 6] } else { vec![] }
    };
    let options = CompileOptions::default();
    let error = compile_model(&chip, text, &checkpoint, &bad, &options, &mut |_, _| {})
        .expect_err("samples that are not finite");
    let CompileError::NonFiniteSample { layer, .. } = &error else { panic!("{error}") };
    assert_eq!(layer, "layer 0 b.0.0");
}

#[test]
fn a_damaged_shard_is_named_with_the_layer_that_needs_it() {
    let (chip, text) = problem::tiny();
    let compile = |shard: &str| {
        let mut files = problem::files(&problem::config());
        *files.get_mut(shard).expect("written").last_mut().expect("not empty") ^= 1;
        let (checkpoint, none) = (problem::open(&files), |_, _| Vec::new());
        compile_model(&chip, text, &checkpoint, &none, &CompileOptions::default(), &mut |_, _| {})
            .expect_err("damaged")
    };
    let error = compile("tier-b.safetensors");
    let CompileError::Tensor { layer, tensor, .. } = &error else { panic!("{error}") };
    assert_eq!(layer, "layer 0 b.0.0");
    assert_eq!(tensor, "layers.0.tiers.b.groups.0.experts.0.gate.weight");
    let error = compile("base.safetensors");
    assert!(matches!(&error, CompileError::Tensor { layer, .. } if layer == "two layers"));
}
