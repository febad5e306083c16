//! Next-byte cross-entropy.

use litecore_kernels::math::{exp_in_place, ln};
use rayon::prelude::*;

/// Replaces logits by the gradients of their mean cross-entropy and returns the mean, in nats.
///
/// Shape: `logits` is tokens × vocab, `targets` has one byte per token. Order: tokens ascending
/// within a chunk of rows, then chunks ascending, in f64.
pub(crate) fn cross_entropy(logits: &mut [f32], targets: &[u8], vocab: usize, rows: usize) -> f64 {
    let share = 1.0 / targets.len() as f32;
    let chunks = logits.par_chunks_mut(rows * vocab).zip(targets.par_chunks(rows));
    let sums: Vec<f64> = chunks
        .map(|(logits, targets)| {
            let rows = logits.chunks_exact_mut(vocab).zip(targets);
            rows.fold(0.0, |sum, (row, &target)| sum + f64::from(surprise(row, target, share)))
        })
        .collect();
    sums.into_iter().fold(0.0, |sum, part| sum + part) / targets.len() as f64
}

/// `−ln softmax(row)[target]`; the row becomes `(softmax − onehot)·share`.
fn surprise(row: &mut [f32], target: u8, share: f32) -> f32 {
    let target = usize::from(target);
    let largest = row.iter().fold(f32::NEG_INFINITY, |a, &b| if b > a { b } else { a });
    for logit in row.iter_mut() {
        *logit -= largest;
    }
    let wanted = row[target];
    exp_in_place(row);
    let sum = row.iter().fold(0.0, |sum, e| sum + e);
    let scale = share / sum;
    for e in row.iter_mut() {
        *e *= scale;
    }
    row[target] -= share;
    ln(sum) - wanted
}

#[cfg(test)]
mod tests {
    use super::cross_entropy;

    /// Logits `0, ln 3` are the probabilities ¼ and ¾.
    #[test]
    fn two_rows_by_hand() {
        let ln3 = 1.098_612_3_f32;
        let mut logits = [0.0, ln3, 5.0, 5.0 + ln3, 2.0, 2.0];
        let mean = cross_entropy(&mut logits, &[1, 0, 0], 2, 2);
        // ln(4/3) + ln 4 + ln 2 = ln(32/3).
        let expected = 2.367_123_6 / 3.0;
        assert!((mean - expected).abs() < 1e-6, "{mean}, not {expected}");
        let gradient = [0.25, -0.25, -0.75, 0.75, -0.5, 0.5];
        for (found, expected) in logits.iter().zip(gradient) {
            assert!((found - expected / 3.0).abs() < 1e-6, "{found}, not {expected} / 3");
        }
    }

    #[test]
    fn large_logits_do_not_overflow() {
        let mut logits = [1e30, -1e30, 0.0];
        let mean = cross_entropy(&mut logits, &[0], 3, 1);
        assert!(mean.abs() < 1e-12, "{mean}");
        assert!(logits.iter().all(|gradient| gradient.abs() < 1e-12), "{logits:?}");
    }
}
