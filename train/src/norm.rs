//! RMS norm, forward and backward, over rows.

use litecore_kernels::math::{rms_inverse, rms_norm};
use rayon::prelude::*;

use crate::sums::lane_dot;

/// `y = rms_norm(x) ∘ gain` for every row.
pub(crate) fn forward(x: &[f32], gain: &[f32], epsilon: f32, rows: usize, y: &mut [f32]) {
    let width = gain.len();
    let chunks = y.par_chunks_mut(rows * width).zip(x.par_chunks(rows * width));
    chunks.for_each(|(y, x)| {
        for (y, x) in y.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
            rms_norm(x, gain, epsilon, y);
        }
    });
}

/// Adds the gradient of the norm's input to `dx`, and that of its gain to `dgain`.
///
/// With `r = 1 / sqrt(mean(x²) + ε)`: `dx_i += r·(g_i·dy_i − x_i·r²/n·Σ g_j·dy_j·x_j)`.
/// Order: partial sums of the gain per chunk of rows, then chunks ascending.
pub(crate) fn backward(
    x: &[f32],
    gain: &[f32],
    epsilon: f32,
    rows: usize,
    dy: &[f32],
    dx: &mut [f32],
    dgain: &mut [f32],
) {
    let width = gain.len();
    let size = rows * width;
    let chunks = (dx.par_chunks_mut(size), dy.par_chunks(size), x.par_chunks(size));
    let partials: Vec<Vec<f32>> = chunks
        .into_par_iter()
        .map(|(dx, dy, x)| {
            let mut partial = vec![0.0; width];
            let mut scaled = vec![0.0; width];
            let each = dx.chunks_exact_mut(width).zip(dy.chunks_exact(width));
            for ((dx, dy), x) in each.zip(x.chunks_exact(width)) {
                backward_row(x, gain, epsilon, dy, dx, &mut partial, &mut scaled);
            }
            partial
        })
        .collect();
    for partial in partials {
        dgain.iter_mut().zip(partial).for_each(|(sum, value)| *sum += value);
    }
}

fn backward_row(
    x: &[f32],
    gain: &[f32],
    epsilon: f32,
    dy: &[f32],
    dx: &mut [f32],
    dgain: &mut [f32],
    scaled: &mut [f32],
) {
    let count = x.len() as f32;
    let inverse = rms_inverse(x, epsilon);
    for ((scaled, dy), gain) in scaled.iter_mut().zip(dy).zip(gain) {
        *scaled = dy * gain;
    }
    let along = lane_dot(scaled, x) * inverse * inverse / count;
    for ((dx, scaled), x) in dx.iter_mut().zip(scaled.iter()).zip(x) {
        *dx += (scaled - x * along) * inverse;
    }
    for ((dgain, dy), x) in dgain.iter_mut().zip(dy).zip(x) {
        *dgain += dy * (x * inverse);
    }
}
