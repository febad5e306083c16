//! Every way in which a shard can be damaged, and the error it gives.

use std::fs;

use litecore_model::checkpoint::{CheckpointError, Digest, HeaderProblem, OFFENCES_MAX};
use safetensors::Dtype as Element;
use serde_json::json;

use crate::tiny;
use crate::victim::Victim;

/// Recognises one problem of a header.
type Check = fn(&HeaderProblem) -> bool;

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// A shard whose header claims a length, with this text and so many bytes of data.
fn header(length: u64, text: &str, data: usize) -> Vec<u8> {
    let mut bytes = length.to_le_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

/// A shard whose header claims the length it has.
fn whole(text: &str, data: usize) -> Vec<u8> {
    header(text.len() as u64, text, data)
}

#[test]
fn a_missing_shard() {
    let victim = Victim::new();
    fs::remove_file(victim.path("base.safetensors")).unwrap();
    let error = victim.offence("head.weight");
    assert!(matches!(&error, CheckpointError::ShardMissing { file }
        if *file == victim.path("base.safetensors")));
    assert!(error.to_string().contains("base.safetensors"));
}

#[test]
fn a_shard_of_another_size() {
    let victim = Victim::new();
    let path = victim.path("base.safetensors");
    let bytes = fs::read(&path).unwrap();
    let size = bytes.len() as u64;
    fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    assert!(matches!(victim.offence("head.weight"),
        CheckpointError::ShardSize { expected, found, .. } if (expected, found) == (size, size - 1)));
    // A claim beyond all measure costs nothing.
    fs::write(&path, &bytes).unwrap();
    victim.edit_manifest(|manifest| manifest["shards"][0]["bytes"] = json!(u64::MAX));
    assert!(matches!(victim.offence("head.weight"),
        CheckpointError::ShardSize { expected: u64::MAX, found, .. } if found == size));
}

#[test]
fn a_shard_with_one_bit_flipped() {
    let victim = Victim::new();
    let path = victim.path("base.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let right = Digest::of(&bytes);
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, &bytes).unwrap();
    let error = victim.offence("head.weight");
    assert!(matches!(&error, CheckpointError::DigestMismatch { file, expected, found }
        if *file == path && *expected == right && *found == Digest::of(&bytes)));
    assert!(error.to_string().contains(&right.to_string()));
}

#[test]
fn broken_headers() {
    // Eight tensors that together claim almost as many bytes as can be counted.
    let (elements, size) = ((1_u64 << 58) - 1, (1_u64 << 61) - 8);
    let huge = (0..8).map(|i| {
        let (start, end) = (i * size, (i + 1) * size);
        format!(r#""{i}":{{"dtype":"F64","shape":[{elements}],"data_offsets":[{start},{end}]}}"#)
    });
    let huge = format!("{{{}}}", huge.collect::<Vec<_>>().join(","));
    let cases: Vec<(Vec<u8>, Check)> = vec![
        (vec![1, 2, 3], |p| matches!(p, HeaderProblem::NoLength { found: 3 })),
        (header(u64::MAX, "{}", 0), |p| {
            matches!(p, HeaderProblem::BeyondEnd { claimed: u64::MAX, available: 2 })
        }),
        (header(3, "{}", 0), |p| matches!(p, HeaderProblem::BeyondEnd { claimed: 3, .. })),
        (whole("{nonsense", 0), |p| matches!(p, HeaderProblem::Malformed { .. })),
        (whole("\u{1F4A5}", 0), |p| matches!(p, HeaderProblem::Malformed { .. })),
        (whole(r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#, 4), |p| {
            matches!(p, HeaderProblem::Malformed { .. })
        }),
        (whole(r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}"#, 4), |p| {
            matches!(p, HeaderProblem::Malformed { .. })
        }),
        (whole(r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#, 8), |p| {
            matches!(p, HeaderProblem::Malformed { .. })
        }),
        (whole(r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, 4), |p| {
            matches!(p, HeaderProblem::DataLength { claimed: 8, available: 4 })
        }),
        (whole(r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, 5), |p| {
            matches!(p, HeaderProblem::DataLength { claimed: 4, available: 5 })
        }),
        (
            whole(&huge, 0),
            |p| matches!(p, HeaderProblem::DataLength { claimed, available: 0 } if *claimed > 1 << 62),
        ),
    ];
    for (bytes, check) in cases {
        let victim = Victim::new();
        victim.replace_shard("base.safetensors", &bytes);
        let error = victim.offence("head.weight");
        let CheckpointError::ShardHeader { problem, .. } = &error else { panic!("{error}") };
        assert!(check(problem), "{error}");
    }
}

#[test]
fn a_tensor_that_is_not_there() {
    let victim = Victim::new();
    victim.replace_tensor("head.weight", None);
    assert!(
        matches!(victim.offence("head.weight"), CheckpointError::TensorMissing { tensor, files }
        if tensor == "head.weight" && files == ["base.safetensors"])
    );
    // The name of no tensor is another mistake.
    let error = victim.open().unwrap().tensor_f32("tail.weight");
    assert!(
        matches!(error, Err(CheckpointError::UnknownTensor { tensor }) if tensor == "tail.weight")
    );
}

#[test]
fn a_tensor_in_the_shard_of_another_tier_is_missing() {
    let victim = Victim::new();
    victim.edit_manifest(|manifest| manifest["shards"][1]["tier"] = json!("big"));
    let report = victim.verify();
    assert_eq!(report.good_shards, 3);
    // Two layers, two experts, three matrices.
    assert_eq!(report.offences.len(), 12);
    assert!(report.offences.iter().all(|offence| matches!(offence,
        CheckpointError::TensorMissing { tensor, files }
            if tensor.contains("tiers.small") && files.is_empty())));
}

#[test]
fn a_tensor_of_another_shape() {
    let victim = Victim::new();
    // The same elements, transposed.
    victim.replace_tensor("head.weight", Some((Element::F32, &[4, 8], &[0; 128])));
    let error = victim.offence("head.weight");
    assert!(matches!(&error, CheckpointError::TensorShape { expected, found, .. }
        if *expected == [8, 4] && *found == [4, 8]));
    assert!(error.to_string().contains("`head.weight`"));
}

#[test]
fn a_tensor_of_a_type_that_is_not_supported() {
    let victim = Victim::new();
    victim.replace_tensor("head.weight", Some((Element::I32, &[8, 4], &[0; 128])));
    assert!(matches!(victim.offence("head.weight"), CheckpointError::TensorDtype { found, .. }
        if found == "I32"));
}

#[test]
fn a_tensor_with_a_value_that_is_not_finite() {
    for (bad, bits) in [(f32::NAN, 0x7fc0_u16), (f32::NEG_INFINITY, 0xff80)] {
        let victim = Victim::new();
        let mut values = [1.0_f32; 32];
        values[17] = bad;
        victim.replace_tensor("head.weight", Some((Element::F32, &[8, 4], &floats(&values))));
        let error = victim.offence("head.weight");
        assert!(matches!(&error, CheckpointError::NonFinite { tensor, index: 17, value, .. }
            if tensor == "head.weight" && value.to_bits() == bad.to_bits()));
        let halves: Vec<u8> =
            (0..32).flat_map(|i| if i == 17 { bits } else { 0x3f80 }.to_le_bytes()).collect();
        victim.replace_tensor("head.weight", Some((Element::BF16, &[8, 4], &halves)));
        let error = victim.offence("head.weight");
        assert!(matches!(error, CheckpointError::NonFinite { index: 17, .. }));
    }
}

#[test]
fn a_tensor_in_two_shards() {
    let victim = Victim::new();
    let bytes = fs::read(victim.path("base.safetensors")).unwrap();
    fs::write(victim.path("copy.safetensors"), &bytes).unwrap();
    victim.edit_manifest(|manifest| {
        let mut again = manifest["shards"][0].clone();
        again["path"] = json!("copy.safetensors");
        manifest["shards"].as_array_mut().unwrap().push(again);
    });
    let report = victim.verify();
    assert_eq!(report.offences.len(), tiny::config().dense_specs().count());
    assert!(report.offences.iter().all(|offence| matches!(offence,
        CheckpointError::DuplicateTensor { file, other, .. }
            if file.ends_with("copy.safetensors") && other.ends_with("base.safetensors"))));
}

#[test]
fn all_offences_are_listed() {
    let victim = Victim::new();
    let small = fs::read(victim.path("tier-small.safetensors")).unwrap();
    fs::write(victim.path("tier-small.safetensors"), &small[1..]).unwrap();
    fs::remove_file(victim.path("tier-big.safetensors")).unwrap();
    victim.replace_tensor("final_norm.gain", Some((Element::F32, &[3], &[0; 12])));
    let ones = floats(&[1.0, 2.0, f32::INFINITY, 3.0]);
    victim.replace_tensor("layers.1.attn_norm.gain", Some((Element::F32, &[4], &ones)));
    victim.replace_tensor("embed.weight", None);
    let report = victim.verify();
    let mut kinds: Vec<&str> = report
        .offences
        .iter()
        .map(|offence| match offence {
            CheckpointError::TensorShape { .. } => "shape",
            CheckpointError::NonFinite { .. } => "finite",
            CheckpointError::ShardSize { .. } => "size",
            CheckpointError::ShardMissing { .. } => "shard",
            CheckpointError::TensorMissing { tensor, .. } if tensor == "embed.weight" => "tensor",
            other => panic!("{other}"),
        })
        .collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["finite", "shape", "shard", "size", "tensor"]);
    assert_eq!(report.good_shards, 1);
    assert_eq!(report.good_tensors, tiny::config().dense_specs().count() - 3);
}

#[test]
fn a_claim_of_endless_tensors_ends() {
    let victim = Victim::new();
    victim.edit_manifest(|manifest| {
        manifest["model"]["layers"] = json!(1 << 24);
        manifest["model"]["tiers"][0]["groups"] = json!(1 << 16);
        manifest["model"]["tiers"][0]["experts_per_group"] = json!(1 << 16);
    });
    let report = victim.verify();
    assert_eq!(report.offences.len(), OFFENCES_MAX);
    assert!(report.cut_off);
    // With every shard gone nothing is listed but the shards.
    for path in ["base.safetensors", "tier-small.safetensors", "tier-big.safetensors"] {
        fs::remove_file(victim.path(path)).unwrap();
    }
    let report = victim.verify();
    assert_eq!((report.offences.len(), report.cut_off), (3, false));
}

#[test]
fn a_shard_the_system_refuses_to_read() {
    let victim = Victim::new();
    // Longer than any file system allows a name to be.
    let name = "a".repeat(5000);
    victim.edit_manifest(|manifest| manifest["shards"][0]["path"] = json!(name));
    assert!(matches!(victim.offence("head.weight"), CheckpointError::Unreadable { file, .. }
        if file.ends_with(&name)));
}
