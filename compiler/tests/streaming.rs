//! Compiling into a file: all of it or nothing, and in the memory of a few experts.

#[path = "problem/model.rs"]
mod problem;

use litecore_compiler::{
    ArtifactReader, CompileError, CompileOptions, CompiledExpert, CompiledModel, ExpertPlace,
    ModelRequest, compile_model, compile_model_to,
};
use litecore_kernels::normal::standard_normals;
use litecore_model::checkpoint::{Checkpoint, Dtype, write_dir};
use litecore_model::{ExpertKey, ModelConfig, Tensor, TierConfig, TierId};
use litecore_types::chip::{ChipDescription, builtin, builtin_text};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;

fn none(_: u32, _: ExpertKey) -> Vec<f32> {
    Vec::new()
}

fn go_on(_: ExpertPlace, _: &CompiledExpert) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn request<'a>(
    chip: &'a ChipDescription,
    chip_text: &'a str,
    checkpoint: &'a Checkpoint,
    options: &'a CompileOptions,
) -> ModelRequest<'a> {
    ModelRequest { chip, chip_text, checkpoint, samples: &none, options }
}

#[test]
fn a_streamed_file_is_the_file_of_the_model_in_memory() {
    let (chip, text) = problem::tiny();
    let checkpoint = problem::checkpoint(&problem::config());
    let options = CompileOptions { symbols_max: 16, ..CompileOptions::default() };
    let folder = tempfile::tempdir().expect("a folder");
    let target = folder.path().join("streamed");
    let mut seen = Vec::new();
    compile_model_to(
        &target,
        &request(&chip, text, &checkpoint, &options),
        &mut |_, _| {},
        &mut |place, expert| {
            seen.push((place, expert.report.name.clone()));
            ControlFlow::Continue(())
        },
    )
    .expect("a small model");
    let whole =
        compile_model(&chip, text, &checkpoint, &none, &options, &mut |_, _| {}).expect("likewise");
    assert_eq!(std::fs::read(&target).expect("there"), whole.to_bytes().expect("memory"));
    assert_eq!(CompiledModel::read(&target).expect("whole"), whole);
    let names: Vec<_> =
        whole.reports.iter().map(|(place, report)| (*place, report.name.clone())).collect();
    assert_eq!(seen, names);
    assert_eq!(std::fs::read_dir(folder.path()).expect("there").count(), 1);
}

#[test]
fn a_model_whose_experts_all_need_a_newer_reader_keeps_its_other_tensors() {
    let (chip, text) = problem::tiny();
    let mut config = problem::config();
    for tier in &mut config.tiers {
        tier.requires = vec!["an ability to come".to_owned()];
    }
    let checkpoint = problem::checkpoint(&config);
    let options = CompileOptions::default();
    let folder = tempfile::tempdir().expect("a folder");
    let target = folder.path().join("empty");
    let request = request(&chip, text, &checkpoint, &options);
    compile_model_to(&target, &request, &mut |_, _| {}, &mut go_on).expect("nothing to compile");
    let read = CompiledModel::read(&target).expect("whole");
    assert!(read.experts.is_empty());
    assert_eq!(read.dense.len(), config.dense_specs().count());
}

#[test]
fn whoever_looks_on_can_stop_it_and_nothing_is_left() {
    let (chip, text) = problem::tiny();
    let checkpoint = problem::checkpoint(&problem::config());
    let options = CompileOptions { symbols_max: 16, ..CompileOptions::default() };
    let folder = tempfile::tempdir().expect("a folder");
    let target = folder.path().join("model");
    let mut seen = 0;
    let mut until_the_second = |_: ExpertPlace, _: &CompiledExpert| {
        seen += 1;
        if seen == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let request = request(&chip, text, &checkpoint, &options);
    let error = compile_model_to(&target, &request, &mut |_, _| {}, &mut until_the_second)
        .expect_err("stopped");
    assert!(matches!(error, CompileError::Stopped { .. }), "{error}");
    assert_eq!(seen, 2);
    assert_eq!(std::fs::read_dir(folder.path()).expect("there").count(), 0);
}

#[test]
fn where_compiling_fails_the_old_file_stays_and_nothing_else() {
    let (chip, text) = problem::tiny();
    let options = CompileOptions::default();
    let folder = tempfile::tempdir().expect("a folder");
    let target = folder.path().join("model");
    std::fs::write(&target, b"the old one").expect("writable");
    let refused = |checkpoint: &Checkpoint, samples: &dyn Fn(u32, ExpertKey) -> Vec<f32>| {
        let request = ModelRequest { samples, ..request(&chip, text, checkpoint, &options) };
        let error =
            compile_model_to(&target, &request, &mut |_, _| {}, &mut go_on).expect_err("refused");
        assert_eq!(std::fs::read(&target).expect("there"), b"the old one");
        assert_eq!(std::fs::read_dir(folder.path()).expect("there").count(), 1, "{error}");
        error
    };
    // In the last expert, when others have been written.
    let sound = problem::checkpoint(&problem::config());
    let bad = |layer, key: ExpertKey| {
        if layer == 1 && key.expert == 1 { vec![f32::NAN; 6] } else { vec![] }
    };
    let error = refused(&sound, &bad);
    assert!(
        matches!(&error, CompileError::NonFiniteSample { layer, .. } if layer == "layer 1 b.0.1"),
        "{error}"
    );
    // A tensor outside the experts, when the first of them are in the making.
    let mut files = problem::files(&problem::config());
    files.retain(|name, _| name == "manifest.json" || name.starts_with("tier-"));
    let error = refused(&problem::open(&files), &none);
    let name = &problem::config().name;
    assert!(matches!(&error, CompileError::Tensor { layer, .. } if layer == name), "{error}");
    // A tensor that is not in its shard.
    let mut files = problem::files(&problem::config());
    let shard = files.remove("tier-b.safetensors").expect("written");
    let error = refused(&problem::open(&files), &none);
    assert!(
        matches!(&error, CompileError::Tensor { layer, .. } if layer == "layer 0 b.0.0"),
        "{error}"
    );
    // A damaged one.
    let mut damaged = shard;
    *damaged.last_mut().expect("not empty") ^= 1;
    files.insert("tier-b.safetensors".to_owned(), damaged);
    let error = refused(&problem::open(&files), &none);
    assert!(matches!(&error, CompileError::Tensor { .. }), "{error}");
}

#[test]
fn a_shard_that_is_damaged_where_nothing_looks_leaves_nothing() {
    // A tier of more than one piece, compiled from a directory: its digest is known only at the end.
    let config = ModelConfig {
        width: 64,
        layers: 1,
        tiers: vec![TierConfig::new(TierId::new("a").expect("a word"), 1, 2, 96)],
        ..problem::config()
    };
    let folder = tempfile::tempdir().expect("a folder");
    let (directory, target) = (folder.path().join("checkpoint"), folder.path().join("model"));
    std::fs::create_dir(&directory).expect("a folder");
    let files = problem::files(&config);
    for (name, bytes) in &files {
        std::fs::write(directory.join(name), bytes).expect("written");
    }
    let (chip, text) = problem::tiny();
    let options = CompileOptions { symbols_max: 16, ..CompileOptions::default() };
    let compile = || {
        let checkpoint = Checkpoint::open_dir(&directory).expect("its manifest is whole");
        let request = request(&chip, text, &checkpoint, &options);
        compile_model_to(&target, &request, &mut |_, _| {}, &mut go_on)
    };
    compile().expect("sound");
    let whole = compile_model(&chip, text, &problem::open(&files), &none, &options, &mut |_, _| {})
        .expect("sound");
    assert_eq!(CompiledModel::read(&target).expect("whole"), whole);

    // The lowest bit of a weight: as good a number as before, and another model.
    std::fs::remove_file(&target).expect("there");
    let shard = directory.join("tier-a.safetensors");
    let mut bytes = std::fs::read(&shard).expect("there");
    let at = bytes.len() - 4;
    assert!(bytes.len() > 2 << 16);
    bytes[at] ^= 1;
    std::fs::write(&shard, bytes).expect("written");
    let error = compile().expect_err("damaged");
    let CompileError::Checkpoint { source, .. } = &error else { panic!("{error}") };
    assert!(source.to_string().contains("tier-a.safetensors"), "{source}");
    assert!(!target.exists());
    assert_eq!(std::fs::read_dir(folder.path()).expect("there").count(), 1);
}

#[test]
fn a_place_that_cannot_be_written_is_named() {
    let (chip, text) = problem::tiny();
    let checkpoint = problem::checkpoint(&problem::config());
    let options = CompileOptions::default();
    let folder = tempfile::tempdir().expect("a folder");
    let target = folder.path().join("none").join("model");
    let request = request(&chip, text, &checkpoint, &options);
    let error = compile_model_to(&target, &request, &mut |_, _| {}, &mut go_on)
        .expect_err("no such folder");
    assert!(matches!(error, CompileError::Artifact { .. }), "{error}");
    assert!(error.to_string().contains("cannot be written"), "{error}");
}

/// Tiers of eight experts each; every tier is a shard of its own.
const TIERS: usize = 8;
const EXPERTS: usize = 8;
const WIDTH: usize = 512;
const EXPERT_WIDTH: usize = 512;

/// A model whose weights take 200 MB in f32.
fn large() -> ModelConfig {
    let tier = |index| {
        let id = TierId::new(format!("t{index}")).expect("a plain word");
        TierConfig::new(id, 1, EXPERTS, EXPERT_WIDTH)
    };
    ModelConfig {
        name: "large".to_owned(),
        width: WIDTH,
        layers: 1,
        tiers: (0..TIERS).map(tier).collect(),
        ..problem::config()
    }
}

const FOLDER: &str = "LITECORE_TEST_STREAMING_FOLDER";

/// Runs in a process of its own, started by the test below.
#[test]
fn child_that_compiles_a_large_model() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let folder = Path::new(&folder);
    let chip = builtin("ref-64-eo").expect("shipped");
    let text = builtin_text("ref-64-eo").expect("shipped");
    let checkpoint = Checkpoint::open_dir(&folder.join("checkpoint")).expect("written");
    let options = CompileOptions::default();
    compile_model_to(
        &folder.join("compiled"),
        &request(&chip, text, &checkpoint, &options),
        &mut |_, _| {},
        &mut go_on,
    )
    .expect("compiled");
}

#[cfg(target_os = "linux")]
#[test]
fn a_model_larger_than_its_memory_compiles() {
    let config = large();
    let bytes = TIERS * EXPERTS * 3 * WIDTH * EXPERT_WIDTH * 4;
    assert!(bytes > 200_000_000);
    let folder = tempfile::tempdir().expect("a folder");
    let mut tensors = BTreeMap::new();
    for (spec, key) in config.tensor_specs().zip(0..) {
        let mut data = vec![0.0; spec.shape.iter().product()];
        standard_normals(key, 0, &mut data);
        tensors.insert(spec.name, Tensor::new(spec.shape, data).expect("as the shape says"));
    }
    let directory = folder.path().join("checkpoint");
    write_dir(&directory, &config, &tensors, Dtype::F32, &BTreeMap::new()).expect("written");
    drop(tensors);

    // Data, heap and stacks within 160 MB: less than the weights, whatever the machine has. Nobody
    // tells the checkpoint to give anything back.
    let binary = std::env::current_exe().expect("this program");
    let limit = "ulimit -d 160000 && exec \"$0\" --exact child_that_compiles_a_large_model";
    let status = Command::new("sh")
        .args(["-c", limit])
        .arg(binary)
        .env(FOLDER, folder.path())
        .env("RAYON_NUM_THREADS", "2")
        .output()
        .expect("a shell");
    assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stderr));
    let reader = ArtifactReader::open(&folder.path().join("compiled")).expect("whole");
    assert_eq!(reader.experts().count(), TIERS * EXPERTS);
}
