//! Every way in which a manifest can be damaged, and the error it gives.

use std::fs;

use litecore_model::checkpoint::{Checkpoint, CheckpointError};
use serde_json::json;

use crate::victim::Victim;

#[test]
fn no_manifest() {
    let victim = Victim::new();
    fs::remove_file(victim.path("manifest.json")).unwrap();
    let error = victim.refused();
    assert!(matches!(&error, CheckpointError::ManifestMissing { file }
        if *file == victim.path("manifest.json")));
    let nowhere = Checkpoint::open_dir(&victim.path("nowhere"));
    assert!(matches!(nowhere, Err(CheckpointError::ManifestMissing { .. })));
    let below_a_file = Checkpoint::open_dir(&victim.path("base.safetensors"));
    assert!(matches!(below_a_file, Err(CheckpointError::ManifestMissing { .. })));
    assert!(matches!(Checkpoint::from_bytes(&[]), Err(CheckpointError::ManifestMissing { .. })));
}

#[test]
fn directories_in_place_of_files() {
    let victim = Victim::new();
    fs::remove_file(victim.path("base.safetensors")).unwrap();
    fs::create_dir(victim.path("base.safetensors")).unwrap();
    let file = victim.path("base.safetensors");
    assert!(matches!(victim.offence("head.weight"), CheckpointError::NotAFile { file: found }
        if found == file));
    fs::remove_file(victim.path("manifest.json")).unwrap();
    fs::create_dir(victim.path("manifest.json")).unwrap();
    assert!(matches!(victim.refused(), CheckpointError::NotAFile { .. }));
}

#[test]
fn a_manifest_beyond_all_measure() {
    let victim = Victim::new();
    let file = fs::File::create(victim.path("manifest.json")).unwrap();
    // Sparse: the size is claimed, the disk is not used.
    file.set_len(1 << 40).unwrap();
    let error = victim.refused();
    assert!(matches!(error, CheckpointError::ManifestTooLarge { found: 0x100_0000_0000, .. }));
}

#[test]
fn a_manifest_cut_off() {
    let victim = Victim::new();
    let manifest = fs::read_to_string(victim.path("manifest.json")).unwrap();
    let lines: Vec<&str> = manifest.lines().collect();
    fs::write(victim.path("manifest.json"), lines[..5].join("\n")).unwrap();
    let error = victim.refused();
    let CheckpointError::InvalidManifest { line, column, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!((*line, *column), (5, lines[4].len()));
    assert!(error.to_string().contains("manifest.json, line 5, column"), "{error}");
}

#[test]
fn a_manifest_with_a_wrong_field() {
    let victim = Victim::new();
    let manifest = fs::read_to_string(victim.path("manifest.json")).unwrap();
    let line = manifest.lines().position(|line| line.contains("\"heads\"")).unwrap();
    let damaged = manifest.replacen("\"heads\": 2", "\"heads\": -2", 1);
    fs::write(victim.path("manifest.json"), damaged).unwrap();
    let error = victim.refused();
    assert!(matches!(&error, CheckpointError::InvalidManifest { line: found, .. }
        if *found == line + 1));

    victim.edit_manifest(|manifest| manifest["model"]["heads"] = json!(2));
    victim.edit_manifest(|manifest| manifest["shards"][0]["blake3"] = json!("12ab"));
    let error = victim.refused();
    assert!(error.to_string().contains("`12ab` is not a BLAKE3 digest"), "{error}");
}

#[test]
fn the_manifest_of_something_else() {
    let victim = Victim::new();
    victim.edit_manifest(|manifest| manifest["format"] = json!("cookbook"));
    assert!(matches!(victim.refused(), CheckpointError::WrongFormat {
        expected: "litecore-checkpoint", found: Some(found), .. } if found == "cookbook"));
    fs::write(victim.path("manifest.json"), "{}").unwrap();
    assert!(matches!(victim.refused(), CheckpointError::WrongFormat { found: None, .. }));
}

#[test]
fn a_manifest_from_the_future() {
    let victim = Victim::new();
    victim.edit_manifest(|manifest| {
        manifest["version"] = json!(3);
        manifest["shards"] = json!("described elsewhere");
    });
    let error = victim.refused();
    assert!(matches!(error, CheckpointError::UnsupportedVersion { supported: 2, found: 3, .. }));
    assert!(error.to_string().contains("update LiteCore"));
    victim.edit_manifest(|manifest| manifest["version"] = json!(0));
    assert!(matches!(victim.refused(), CheckpointError::UnsupportedVersion { found: 0, .. }));
}

#[test]
fn unknown_fields_are_ignored_and_optional_ones_may_be_missing() {
    let victim = Victim::new();
    victim.edit_manifest(|manifest| {
        manifest["signature"] = json!({ "by": "somebody" });
        manifest["shards"][0]["color"] = json!("blue");
        manifest["model"]["tiers"][0]["color"] = json!("blue");
        let fields = manifest.as_object_mut().unwrap();
        fields.remove("provenance").unwrap();
        fields["shards"][0].as_object_mut().unwrap().remove("tier").unwrap();
        fields["model"].as_object_mut().unwrap().remove("norm_epsilon").unwrap();
    });
    let checkpoint = victim.open().unwrap();
    assert!(checkpoint.verify().is_clean());
    assert!(checkpoint.manifest.provenance.is_empty());
}

#[test]
fn a_configuration_that_makes_no_sense() {
    let victim = Victim::new();
    victim.edit_manifest(|manifest| {
        manifest["model"]["heads"] = json!(0);
        manifest["model"]["head_width"] = json!(7);
    });
    let error = victim.refused();
    let CheckpointError::InvalidConfig { source, .. } = &error else { panic!("{error}") };
    assert_eq!(source.offences.len(), 2);
    assert!(error.to_string().contains("`heads` is 0"));
}

#[test]
fn paths_that_lead_out() {
    let victim = Victim::new();
    for path in [
        "../base.safetensors",
        "a/../../base.safetensors",
        "/etc/passwd",
        "..",
        ".",
        "",
        "a//b",
        "./a",
        "C:base.safetensors",
        "..\\base.safetensors",
        "a\u{0}b",
    ] {
        victim.edit_manifest(|manifest| manifest["shards"][0]["path"] = json!(path));
        let error = victim.refused();
        assert!(
            matches!(&error, CheckpointError::EscapingPath { source, .. } if source.path == path),
            "{path}: {error}"
        );
    }
}

#[test]
fn a_path_into_a_subdirectory_is_fine() {
    let victim = Victim::new();
    fs::create_dir(victim.path("shards")).unwrap();
    fs::rename(victim.path("base.safetensors"), victim.path("shards/base.st")).unwrap();
    victim.edit_manifest(|manifest| manifest["shards"][0]["path"] = json!("shards/base.st"));
    assert!(victim.verify().is_clean());
}

#[test]
fn a_shard_listed_twice() {
    let victim = Victim::new();
    victim.edit_manifest(|manifest| {
        let again = manifest["shards"][1].clone();
        manifest["shards"].as_array_mut().unwrap().push(again);
    });
    assert!(matches!(victim.refused(), CheckpointError::DuplicateShard { path, .. }
        if path == "tier-small.safetensors"));
}

#[test]
fn tiers_for_newer_readers_are_not_looked_at() {
    let victim = Victim::new();
    victim.edit_manifest(|manifest| {
        manifest["model"]["tiers"][1]["requires"] = json!(["sparse-gates"]);
        manifest["shards"].as_array_mut().unwrap().pop();
    });
    assert!(victim.verify().is_clean());
}
