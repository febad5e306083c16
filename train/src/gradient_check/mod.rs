//! Gradients against central differences of plain definitions in f64: of single operations, where a
//! wrong term cannot hide, and of the whole network, where a missing one cannot.

mod attention;
mod network;
mod norm;
mod reference;
mod routing;

use litecore_kernels::normal::standard_normals;
use litecore_model::{
    AttentionConfig, ModelConfig, RoutingConfig, RoutingRule, Seed128, TierConfig, TierId,
    TierMask, TierSet,
};

/// Half the distance of central differences: their error is near 1e-10.
const STEP: f64 = 1e-5;

/// Two small layers with three tiers of different sizes.
pub(crate) fn tiny(experts_per_group: usize) -> ModelConfig {
    let tier = |id: &str, groups, experts, inner| {
        TierConfig::new(TierId::new(id).unwrap(), groups, experts, inner)
    };
    ModelConfig {
        name: "tiny".to_owned(),
        vocab: 256,
        width: 12,
        layers: 2,
        heads: 2,
        head_width: 6,
        attention_window: 90,
        rope_theta: 100.0,
        norm_epsilon: 1e-5,
        attention: AttentionConfig::default(),
        tied_head: false,
        end_tokens: Vec::new(),
        routing: RoutingConfig {
            tiers_per_token: 2,
            groups_per_tier: 1,
            experts_per_group,
            seed: Seed128(1),
            rule: RoutingRule::Levels,
        },
        tiers: vec![tier("small", 2, 2, 8), tier("medium", 2, 2, 5), tier("large", 3, 3, 10)],
    }
}

fn mask(config: &ModelConfig, tiers: &str) -> TierMask {
    tiers.parse::<TierSet>().unwrap().resolve(config).unwrap()
}

/// Standard normals named by a key.
fn normals(key: u64, count: usize) -> Vec<f32> {
    let mut values = vec![0.0; count];
    standard_normals(key, 0, &mut values);
    values
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| f64::from(value)).collect()
}

/// The slope of a function in the direction of one input.
fn slope(at: &mut [f64], index: usize, function: impl Fn(&[f64]) -> f64) -> f64 {
    let value = at[index];
    at[index] = value + STEP;
    let above = function(at);
    at[index] = value - STEP;
    let below = function(at);
    at[index] = value;
    (above - below) / (2.0 * STEP)
}

/// Compares every `stride`-th element of a gradient with the slopes of a function.
///
/// The tolerance is relative to the largest slope. Single operations in f32 round a few dozen
/// times, each by 6e-8.
#[track_caller]
fn assert_slopes(found: &[f32], at: &[f32], stride: usize, function: impl Fn(&[f64]) -> f64) {
    const TOLERANCE: f64 = 5e-6;
    assert_eq!(found.len(), at.len());
    let mut at = wide(at);
    let indices: Vec<usize> = (0..found.len()).step_by(stride).collect();
    let slopes: Vec<f64> = indices.iter().map(|&i| slope(&mut at, i, &function)).collect();
    let largest = slopes.iter().fold(0.0_f64, |largest, slope| largest.max(slope.abs()));
    assert!(largest > 1e-3, "nothing to compare: the largest slope is {largest:e}");
    for (index, slope) in indices.into_iter().zip(slopes) {
        let error = (slope - f64::from(found[index])).abs() / largest;
        assert!(error < TOLERANCE, "element {index} is {}, not {slope}: {error:e}", found[index]);
    }
}
