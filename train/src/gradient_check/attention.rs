//! Attention with rotary positions.

use super::reference::{attend, dot};
use super::{assert_slopes, normals, wide};
use crate::attention::Attention;

const HEADS: usize = 2;
const WIDTH: usize = 6;
const THETA: f32 = 100.0;

/// The loss whose gradient is asked for: what the heads put out, weighted.
fn loss(qkv: &[f64], weights: &[f32]) -> f64 {
    let rows = qkv.chunks_exact(3 * HEADS * WIDTH).map(<[f64]>::to_vec).collect();
    let mixed = attend(rows, HEADS, WIDTH, f64::from(THETA)).concat();
    dot(&mixed, &wide(weights))
}

fn check(length: usize, stride: usize) {
    let attention = Attention::new(HEADS, WIDTH, length, THETA);
    let qkv = normals(1, length * 3 * HEADS * WIDTH);
    let weights = normals(2, length * HEADS * WIDTH);
    let mut rotated = qkv.clone();
    let mut probabilities = vec![f32::NAN; attention.probabilities()];
    let mut output = vec![f32::NAN; weights.len()];
    attention.rotate(&mut rotated);
    attention.forward(&rotated, &mut probabilities, &mut output);
    let error = dot(&wide(&output), &wide(&weights)) - loss(&wide(&qkv), &weights);
    assert!(error.abs() < 1e-4, "the loss is off by {error:e}");

    let mut dqkv = vec![f32::NAN; qkv.len()];
    attention.backward(&rotated, &probabilities, &weights, &mut dqkv);
    assert_slopes(&dqkv, &qkv, stride, |qkv| loss(qkv, &weights));
}

#[test]
fn attention_gradients_equal_differences() {
    check(9, 1);
}

/// 70 positions cross the blocks of 64 queries. The stride is prime to the row, so that queries,
/// keys and values of both heads take part.
#[test]
fn attention_gradients_hold_across_blocks_of_queries() {
    check(70, 31);
}

#[test]
fn a_single_position_passes_its_value_on() {
    let attention = Attention::new(1, 2, 1, THETA);
    let mut qkv = [0.3, -0.2, 5.0, 1.0, 0.75, -2.0];
    let (mut probabilities, mut output) = ([0.0], [0.0; 2]);
    attention.rotate(&mut qkv);
    attention.forward(&qkv, &mut probabilities, &mut output);
    assert_eq!(output.map(f32::to_bits), [0.75_f32, -2.0].map(f32::to_bits));
    let mut dqkv = [f32::NAN; 6];
    attention.backward(&qkv, &probabilities, &[1.5, 0.5], &mut dqkv);
    // One probability that is always one: nothing reaches queries and keys.
    assert_eq!(
        dqkv.map(f32::abs).map(f32::to_bits),
        [0.0_f32, 0.0, 0.0, 0.0, 1.5, 0.5].map(f32::to_bits)
    );
}
