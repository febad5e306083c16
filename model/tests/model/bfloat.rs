//! Rounding to bf16 and widening of the 16-bit types, against the definition of the formats.

use std::collections::BTreeMap;

use litecore_model::checkpoint::{Checkpoint, Digest, Dtype, encode};
use litecore_model::{ModelConfig, Tensor};

use crate::tiny;

/// A model with one large tensor, so that many values fit into it.
fn wide_model(elements: usize) -> ModelConfig {
    let mut config = tiny::config();
    config.vocab = elements.div_ceil(config.width);
    config
}

fn through_checkpoint(values: &[f32]) -> Vec<f32> {
    let config = wide_model(values.len());
    let mut tensors = tiny::tensors(&config);
    let embedding = tensors.get_mut("embed.weight").unwrap();
    embedding.data.fill(0.0);
    embedding.data[..values.len()].copy_from_slice(values);
    let files = encode(&config, &tensors, Dtype::Bf16, &BTreeMap::new()).unwrap();
    let files: Vec<(&str, &[u8])> =
        files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
    let mut data = Checkpoint::from_bytes(&files).unwrap().tensor_f32("embed.weight").unwrap().data;
    data.truncate(values.len());
    data
}

#[test]
fn bf16_rounds_to_nearest_ties_to_even() {
    let one = 1.0_f32.to_bits();
    let cases = [
        (one | 0x7fff, one),
        (one | 0x8000, one),
        (one | 0x8001, one + 0x1_0000),
        (one | 0x1_7fff, one + 0x1_0000),
        (one | 0x1_8000, one + 0x2_0000),
        (one | 0x8000_8000, one | 0x8000_0000),
        // Up into the next power of two.
        (0x3fff_ffff, 0x4000_0000),
        // The smallest numbers: halfway to the smallest of bf16 goes to zero.
        (0x0000_8000, 0),
        (0x0000_8001, 0x0001_0000),
        (0x8000_0000, 0x8000_0000),
    ];
    let values: Vec<f32> = cases.iter().map(|(bits, _)| f32::from_bits(*bits)).collect();
    let found: Vec<u32> = through_checkpoint(&values).iter().map(|value| value.to_bits()).collect();
    let expected: Vec<u32> = cases.iter().map(|(_, bits)| *bits).collect();
    assert_eq!(found, expected);
}

#[test]
fn every_finite_bf16_survives() {
    let values: Vec<f32> = (0..=u16::MAX)
        .map(|bits| f32::from_bits(u32::from(bits) << 16))
        .filter(|value| value.is_finite())
        .collect();
    assert_eq!(values.len(), 65_536 - 2 * 128);
    let found = through_checkpoint(&values);
    assert!(values.iter().zip(&found).all(|(a, b)| a.to_bits() == b.to_bits()));
}

#[test]
fn every_finite_f16_is_widened_exactly() {
    let halves: Vec<u16> = (0..=u16::MAX).filter(|bits| bits & 0x7c00 != 0x7c00).collect();
    let config = wide_model(halves.len());
    let mut files = encode(&config, &tiny::tensors(&config), Dtype::F32, &BTreeMap::new()).unwrap();
    // A shard written by the safetensors crate, with the embedding as f16 and the rest as it was.
    let base = files["base.safetensors"].clone();
    let old = safetensors::SafeTensors::deserialize(&base).unwrap();
    let mut data: Vec<u8> = halves.iter().flat_map(|bits| bits.to_le_bytes()).collect();
    data.resize(config.vocab * config.width * 2, 0);
    let shape = vec![config.vocab, config.width];
    let embedding =
        safetensors::tensor::TensorView::new(safetensors::Dtype::F16, shape, &data).unwrap();
    let views = old.iter().filter(|(name, _)| *name != "embed.weight");
    let views: Vec<_> = views.chain([("embed.weight", embedding)]).collect();
    let shard = safetensors::serialize(views, None).unwrap();
    let manifest = String::from_utf8(files["manifest.json"].clone()).unwrap();
    let manifest = manifest
        .replace(&Digest::of(&base).to_string(), &Digest::of(&shard).to_string())
        .replace(&format!("\"bytes\": {}", base.len()), &format!("\"bytes\": {}", shard.len()));
    files.insert("base.safetensors".to_owned(), shard);
    files.insert("manifest.json".to_owned(), manifest.into_bytes());

    let files: Vec<(&str, &[u8])> =
        files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
    let checkpoint = Checkpoint::from_bytes(&files).unwrap();
    assert!(checkpoint.verify().is_clean());
    let Tensor { data, .. } = checkpoint.tensor_f32("embed.weight").unwrap();
    for (bits, found) in halves.iter().zip(data) {
        assert_eq!(found.to_bits(), half_value(*bits).to_bits(), "{bits:#06x}");
    }
}

/// The value of an f16 by the definition of the format, with exact products only.
fn half_value(bits: u16) -> f32 {
    let (exponent, fraction) = (u32::from(bits >> 10) & 31, f32::from(bits & 0x3ff));
    // 2^-24 is the weight of the last bit of the smallest numbers.
    let unit = f32::from_bits((127 - 24) << 23);
    let magnitude = if exponent == 0 {
        fraction * unit
    } else {
        (fraction + 1024.0) * unit * f32::from_bits((127 + exponent - 1) << 23)
    };
    if bits >> 15 == 1 { -magnitude } else { magnitude }
}
