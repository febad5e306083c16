use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use litecore_model::checkpoint::{
    Checkpoint, Dtype, OFFENCES_MAX, TensorProblem, WriteError, encode, write_dir,
};
use litecore_model::{ModelConfig, Tensor};

use crate::tiny;

fn write(target: &Path) -> Result<litecore_model::checkpoint::Digest, WriteError> {
    let config = tiny::config();
    write_dir(target, &config, &tiny::tensors(&config), Dtype::Bf16, &tiny::provenance())
}

fn problems(config: &ModelConfig, tensors: &BTreeMap<String, Tensor>) -> Vec<TensorProblem> {
    match encode(config, tensors, Dtype::Bf16, &BTreeMap::new()) {
        Err(WriteError::Tensors { offences }) => offences,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_empty_directory_is_filled_and_nothing_else_is_touched() {
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("model");
    fs::create_dir(&target).unwrap();
    write(&target).unwrap();
    assert!(Checkpoint::open_dir(&target).unwrap().verify().is_clean());
    // Nothing temporary is left.
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);

    let before = fs::read(target.join("manifest.json")).unwrap();
    let again = write(&target).unwrap_err();
    assert!(matches!(&again, WriteError::TargetExists { target: found } if *found == target));
    assert_eq!(fs::read(target.join("manifest.json")).unwrap(), before);

    let file = directory.path().join("file");
    fs::write(&file, "mine").unwrap();
    assert!(matches!(write(&file), Err(WriteError::TargetExists { .. })));
    assert_eq!(fs::read(&file).unwrap(), b"mine");
}

#[test]
fn two_writers_exclude_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("model");
    let temporary = directory.path().join(".model.partial");
    fs::create_dir(&temporary).unwrap();
    let error = write(&target).unwrap_err();
    assert!(matches!(&error, WriteError::Locked { temporary: found } if *found == temporary));
    // The other one's directory stays.
    assert!(temporary.exists() && !target.exists());
    fs::remove_dir(&temporary).unwrap();
    write(&target).unwrap();
}

#[test]
fn a_target_that_cannot_be_made_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let nowhere = directory.path().join("missing").join("model");
    let missing = directory.path().join("missing");
    assert!(
        matches!(write(&nowhere), Err(WriteError::ParentMissing { parent }) if parent == missing)
    );
    assert!(matches!(write(Path::new("/")), Err(WriteError::TargetExists { .. })));
    let unnamed = directory.path().join("missing").join("..");
    assert!(matches!(write(&unnamed), Err(WriteError::TargetUnnamed { .. })));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn wrong_tensors_are_all_listed_and_nothing_is_written() {
    let config = tiny::config();
    let mut tensors = tiny::tensors(&config);
    tensors.remove("head.weight");
    tensors.insert("extra.weight".to_owned(), Tensor::zeros(vec![1]).unwrap());
    tensors.get_mut("final_norm.gain").unwrap().shape = vec![2, 2];
    tensors.get_mut("layers.0.attn_norm.gain").unwrap().data.pop();
    tensors.get_mut("layers.0.attn.q.weight").unwrap().data[5] = f32::NEG_INFINITY;
    // Finite, but the nearest bf16 is not.
    tensors.get_mut("layers.1.attn.q.weight").unwrap().data[7] = f32::MAX;
    let name = |text: &str| text.to_owned();
    let expected = [
        TensorProblem::Unexpected { tensor: name("extra.weight") },
        TensorProblem::Shape {
            tensor: name("final_norm.gain"),
            expected: vec![4],
            found: vec![2, 2],
        },
        TensorProblem::NonFinite {
            tensor: name("layers.0.attn.q.weight"),
            index: 5,
            value: f32::NEG_INFINITY,
        },
        TensorProblem::Elements { tensor: name("layers.0.attn_norm.gain"), expected: 4, found: 3 },
        TensorProblem::NonFinite {
            tensor: name("layers.1.attn.q.weight"),
            index: 7,
            value: f32::MAX,
        },
        TensorProblem::Missing { tensor: name("head.weight") },
    ];
    assert_eq!(problems(&config, &tensors), expected);

    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("model");
    let error = write_dir(&target, &config, &tensors, Dtype::Bf16, &BTreeMap::new()).unwrap_err();
    assert!(error.to_string().contains("6 offences"), "{error}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn the_largest_number_fits_f32_only() {
    let config = tiny::config();
    let mut tensors = tiny::tensors(&config);
    tensors.get_mut("embed.weight").unwrap().data[0] = f32::MAX;
    encode(&config, &tensors, Dtype::F32, &BTreeMap::new()).unwrap();
    assert_eq!(problems(&config, &tensors).len(), 1);
}

#[test]
fn a_model_of_absurd_size_is_refused_quickly() {
    let mut config = tiny::config();
    config.layers = 1 << 24;
    config.tiers[0].groups = 1 << 16;
    let offences = problems(&config, &tiny::tensors(&tiny::config()));
    assert_eq!(offences.len(), OFFENCES_MAX);
    config.width = 0;
    let refused = encode(&config, &BTreeMap::new(), Dtype::F32, &BTreeMap::new());
    assert!(matches!(refused, Err(WriteError::InvalidConfig { .. })));
}
