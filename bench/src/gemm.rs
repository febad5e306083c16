//! Deterministic products against the `gemm` crate, the fastest Rust GEMM measured.

#![allow(unsafe_code, reason = "the gemm crate takes pointers")]

use crate::rounds::interleaved;
use litecore_kernels::normal;
use litecore_kernels::s2::{self, PackedMatrix};
use serde::Serialize;
use std::hint::black_box;

/// One shape, both ways, in one thread.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// Rows of the left operand.
    pub m: usize,
    /// Inner dimension.
    pub k: usize,
    /// Columns of the right operand.
    pub n: usize,
    /// Our multiply-accumulates per second, weights packed once.
    pub macs_per_s: f64,
    /// Those of the `gemm` crate.
    pub gemm_macs_per_s: f64,
    /// The first over the second.
    pub ratio_to_gemm: f64,
}

/// Shapes of decoding, of small batches and of training.
const SHAPES: [(usize, usize, usize); 5] =
    [(1, 128, 128), (1, 1024, 2816), (64, 128, 128), (64, 1024, 2816), (512, 512, 512)];

/// Measures every shape for about `seconds` each.
pub fn compare(seconds: f64) -> Vec<Row> {
    SHAPES.into_iter().map(|(m, k, n)| measure(m, k, n, seconds)).collect()
}

fn measure(m: usize, k: usize, n: usize, seconds: f64) -> Row {
    let (x, w) = (random(1, m * k), random(2, k * n));
    let packed = PackedMatrix::from_columns(&w, k, n);
    let (mut ours, mut theirs) = (vec![0.0; m * n], vec![0.0; m * n]);
    // Enough repetitions that a round takes some tenths of a millisecond.
    let repeats = (4_000_000 / (m * k * n)).max(1);
    let (own, other) = interleaved(
        seconds,
        &mut || {
            for _ in 0..repeats {
                s2::product(black_box(&x), &packed, black_box(&mut ours));
            }
        },
        &mut || {
            for _ in 0..repeats {
                product(black_box(&x), &w, black_box(&mut theirs), m, k, n);
            }
        },
    );
    let macs = (repeats * m * k * n) as f64;
    Row {
        m,
        k,
        n,
        macs_per_s: macs / own,
        gemm_macs_per_s: macs / other,
        ratio_to_gemm: other / own,
    }
}

/// `y = x · w` by the `gemm` crate, all row-major, in one thread.
///
/// Panics: if the lengths do not fit together.
pub fn product(x: &[f32], w: &[f32], y: &mut [f32], m: usize, k: usize, n: usize) {
    assert!(x.len() == m * k && w.len() == k * n && y.len() == m * n, "shapes must fit");
    let stride = |len: usize| isize::try_from(len).unwrap_or(isize::MAX);
    // SAFETY: the three slices hold exactly the matrices that the sizes and strides describe, and
    // `y` overlaps neither of the others, being borrowed mutably.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            y.as_mut_ptr(),
            1,
            stride(n),
            false,
            x.as_ptr(),
            1,
            stride(k),
            w.as_ptr(),
            1,
            stride(n),
            0.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

pub(crate) fn random(key: u64, len: usize) -> Vec<f32> {
    let mut out = vec![0.0; len];
    normal::standard_normals(key, 0, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_compute_the_same_product() {
        let (m, k, n) = (3, 70, 33);
        let (x, w) = (random(1, m * k), random(2, k * n));
        let (mut ours, mut theirs) = (vec![0.0; m * n], vec![0.0; m * n]);
        s2::product(&x, &PackedMatrix::from_columns(&w, k, n), &mut ours);
        product(&x, &w, &mut theirs, m, k, n);
        for (a, b) in ours.iter().zip(&theirs) {
            assert!((a - b).abs() < 1e-4, "{a} {b}");
        }
    }
}
