//! A vector scaled by powers of two and rotated by a Hadamard matrix, on the card, before it becomes
//! codes; and the matrices behind it, undone beforehand.
//!
//! With `x' = H D x` and `W' = W D⁻¹ H / block` the product stays what it was. Scaling alone (blocks of
//! one element) is exact in f32. Rotating rounds in f32, a millionth of what the codes round: it
//! spreads an element that stands out over its block, so that the codes use their range.

use super::equalise::{Scaled, column_powers, exponents, peaks, power_of_two, squared_row_maxima};
use super::noise::{Limits, RoundingError, decibels};
use super::{Pass, PassReport};
use litecore_kernels::codes;
use rayon::prelude::*;

/// `x' = H (x * factors)` in blocks.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct VectorChange {
    /// Powers of two, one per element.
    pub(crate) factors: Vec<f32>,
    /// Elements that are rotated together; one where nothing is rotated.
    pub(crate) block: u32,
}

/// What a change may do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowed {
    pub(crate) fold: bool,
    pub(crate) rotate: bool,
}

/// The least gain that is worth a step on the vector unit, as a ratio of squared errors: a decibel.
const WORTH_IT: f64 = 0.794;

/// How far ranges are moved between the vector and its matrices; see `equalise`.
const STRENGTHS: [f64; 2] = [0.5, 1.0];

/// Exponents beyond this are left alone.
const EXPONENT_MAX: i32 = 24;

/// Chooses a change of the vectors that some matrices take, for vectors like `samples`.
///
/// Each matrix is rows × `len`, row-major. A change is made only where the predicted rounding error of
/// all matrices together falls by a decibel.
pub(crate) fn change_vector(
    name: &str,
    matrices: &[&[f32]],
    samples: &[f32],
    len: usize,
    limits: Limits,
    allowed: Allowed,
) -> (Option<VectorChange>, Vec<PassReport>) {
    if !allowed.fold && !allowed.rotate {
        return (None, Vec::new());
    }
    let mut reports = Vec::new();
    let mut change = VectorChange { factors: vec![1.0; len], block: 1 };
    let mut error = predicted(&change, matrices, samples, limits);
    let signal = signal(matrices, samples, len);
    if allowed.fold {
        let candidates = folds(matrices, samples, len).into_iter().map(|factors| {
            let change = VectorChange { factors, block: 1 };
            (predicted(&change, matrices, samples, limits), change)
        });
        let best = candidates.min_by(|a, b| a.0.total_cmp(&b.0));
        let better = best.filter(|(after, _)| *after < WORTH_IT * error);
        reports.push(report(Pass::Fold, name, signal, error, better.as_ref().map(|best| best.0)));
        if let Some((after, folded)) = better {
            (error, change) = (after, folded);
        }
    }
    let block = largest_block(len);
    if allowed.rotate {
        // Half the exponents of the block, so that the elements stay of a size.
        let scale = power_of_two(-(block.ilog2().cast_signed() / 2));
        #[allow(clippy::cast_possible_truncation, reason = "a power of two within f32")]
        let factors = change.factors.iter().map(|factor| factor * scale as f32).collect();
        let rotated = VectorChange { factors, block };
        let after = predicted(&rotated, matrices, samples, limits);
        let better = (block > 1 && after < WORTH_IT * error).then_some(after);
        let before = crest(&change.of_samples(samples), len);
        let turned = better.map_or(before, |_| crest(&rotated.of_samples(samples), len));
        reports.push(report(Pass::Rotate, name, signal, error, better).figure(
            "largest element over rms",
            before,
            turned,
        ));
        if better.is_some() {
            change = rotated;
        }
    }
    let plain = change.block == 1 && change.factors.iter().all(|factor| factor.to_bits() == ONE);
    ((!plain).then_some(change), reports)
}

const ONE: u32 = 1.0_f32.to_bits();

impl VectorChange {
    /// What becomes of some rows.
    pub(crate) fn of_samples(&self, samples: &[f32]) -> Vec<f32> {
        let len = self.factors.len();
        let mut out = vec![0.0; samples.len()];
        for (x, out) in samples.chunks_exact(len).zip(out.chunks_exact_mut(len)) {
            codes::rotate(x, &self.factors, self.block as usize, out);
        }
        out
    }

    /// The matrix that makes of changed vectors what `weights` makes of plain ones.
    pub(crate) fn of_weights(&self, weights: &[f32]) -> Vec<f32> {
        let len = self.factors.len();
        let undo: Vec<f32> = self.factors.iter().map(|factor| 1.0 / factor).collect();
        let norm = 1.0 / self.block as f32;
        let mut out = vec![0.0; weights.len()];
        out.par_chunks_exact_mut(len).zip(weights.par_chunks_exact(len)).for_each(|(out, row)| {
            codes::rotate(row, &undo, self.block as usize, out);
            for weight in out {
                *weight *= norm;
            }
        });
        out
    }
}

/// Factors that bring elements and columns nearer to each other, exact in f32 for every weight and
/// sample.
fn folds(matrices: &[&[f32]], samples: &[f32], len: usize) -> Vec<Vec<f32>> {
    let mut powers = vec![0.0; len];
    for matrix in matrices {
        for (sum, power) in powers.iter_mut().zip(column_powers(matrix, len)) {
            *sum += power;
        }
    }
    let peaks = peaks(samples, len);
    // Weights that a factor would push to the ends of the range stay where they are.
    let tame = |column: usize| {
        let mut column = matrices.iter().flat_map(|matrix| matrix[column..].iter().step_by(len));
        column.all(|weight| *weight == 0.0 || (1e-30..1e30).contains(&weight.abs()))
    };
    STRENGTHS
        .iter()
        .map(|strength| {
            let exponents = exponents(&powers, &peaks, *strength, EXPONENT_MAX);
            let factor = |(column, exponent): (usize, i32)| {
                #[allow(clippy::cast_possible_truncation, reason = "a power of two within f32")]
                let factor = power_of_two(exponent) as f32;
                if exponent == 0 || tame(column) { factor } else { 1.0 }
            };
            exponents.into_iter().enumerate().map(factor).collect()
        })
        .collect()
}

/// The predicted error of all matrices behind a change.
fn predicted(change: &VectorChange, matrices: &[&[f32]], samples: &[f32], limits: Limits) -> f64 {
    let len = change.factors.len();
    let (ones, wide) = (vec![1.0; len], vec![1.0; len]);
    let samples = change.of_samples(samples);
    let of = |matrix: &&[f32]| {
        let weights = change.of_weights(matrix);
        let product = Scaled {
            columns: len,
            samples: &samples,
            factors: &wide,
            column_powers: column_powers(&weights, len),
            squared_row_maxima: squared_row_maxima(&weights, &ones),
        };
        RoundingError::of(&product, limits).total()
    };
    matrices.iter().map(of).sum()
}

/// The power of the products, if the elements of the vectors were independent.
fn signal(matrices: &[&[f32]], samples: &[f32], len: usize) -> f64 {
    let powers: Vec<Vec<f64>> = matrices.iter().map(|matrix| column_powers(matrix, len)).collect();
    let square = |value: f32| f64::from(value) * f64::from(value);
    let row = |row: &[f32]| -> f64 {
        powers.iter().flat_map(|powers| row.iter().zip(powers)).map(|(x, p)| square(*x) * p).sum()
    };
    samples.chunks_exact(len).map(row).sum()
}

fn report(pass: Pass, name: &str, signal: f64, before: f64, after: Option<f64>) -> PassReport {
    PassReport::new(pass, Some(name)).changed(after.is_some()).figure(
        "predicted SNR of rounding, dB",
        decibels(signal / before),
        decibels(signal / after.unwrap_or(before)),
    )
}

/// The mean over the rows of the largest magnitude over the root mean square.
fn crest(samples: &[f32], len: usize) -> f64 {
    let rows = samples.chunks_exact(len);
    let count = rows.len().max(1) as f64;
    let of_row = |row: &[f32]| {
        let power: f64 = row.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
        let rms = (power / len as f64).sqrt();
        if rms > 0.0 { f64::from(codes::largest_magnitude(row)) / rms } else { 1.0 }
    };
    rows.map(of_row).sum::<f64>() / count
}

/// The largest power of two that divides a length, within what the vector unit mixes at a time.
fn largest_block(len: usize) -> u32 {
    const BLOCK_MAX: u32 = 4096;
    let exponent = len.trailing_zeros().min(BLOCK_MAX.ilog2());
    1 << exponent
}

#[cfg(test)]
mod tests {
    use super::*;
    use litecore_kernels::normal::standard_normals;

    const LIMITS: Limits = Limits { weight: 127, input: 127, read_noise: 0.0 };

    fn normals(key: u64, count: usize) -> Vec<f32> {
        let mut values = vec![0.0; count];
        standard_normals(key, 0, &mut values);
        values
    }

    fn product(weights: &[f32], x: &[f32]) -> Vec<f64> {
        let row = |row: &[f32]| row.iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum();
        weights.chunks_exact(x.len()).map(row).collect()
    }

    /// Vectors with one element that towers over the others, another one in every row.
    fn spiky(rows: usize, len: usize) -> Vec<f32> {
        let mut samples = normals(3, rows * len);
        for (index, row) in samples.chunks_exact_mut(len).enumerate() {
            row[index * 7 % len] += 60.0;
        }
        samples
    }

    #[test]
    fn spikes_are_spread_and_the_product_stays() {
        let (len, outputs, rows) = (64, 24, 16);
        let (w, x) = (normals(1, outputs * len), spiky(rows, len));
        let allowed = Allowed { fold: false, rotate: true };
        let (change, reports) = change_vector("v", &[&w], &x, len, LIMITS, allowed);
        let change = change.expect("worth it");
        assert_eq!(change.block, 64);
        let levels = &reports[0].figures[0];
        assert!(levels.after.expect("dB") > levels.before.expect("dB") + 3.0, "{levels:?}");
        let crests = &reports[0].figures[1];
        assert!(crests.after.expect("a ratio") < 0.5 * crests.before.expect("a ratio"));
        let (w2, x2) = (change.of_weights(&w), change.of_samples(&x));
        for (x, x2) in x.chunks_exact(len).zip(x2.chunks_exact(len)) {
            for (old, new) in product(&w, x).iter().zip(product(&w2, x2)) {
                assert!((old - new).abs() < 1e-4 * 60.0, "{old} {new}");
            }
        }
    }

    #[test]
    fn a_loud_channel_is_folded_exactly() {
        let (len, outputs, rows) = (48, 20, 12);
        let mut w = normals(1, outputs * len);
        let mut x = normals(2, rows * len);
        // A loud input that meets small weights.
        x.chunks_exact_mut(len).for_each(|row| row[5] *= 300.0);
        w.chunks_exact_mut(len).for_each(|row| row[5] /= 300.0);
        let allowed = Allowed { fold: true, rotate: false };
        let (change, reports) = change_vector("v", &[&w], &x, len, LIMITS, allowed);
        let change = change.expect("worth it");
        assert_eq!((change.block, reports.len()), (1, 1));
        assert!(change.factors[5] < 0.1);
        let (w2, x2) = (change.of_weights(&w), change.of_samples(&x));
        for (x, x2) in x.chunks_exact(len).zip(x2.chunks_exact(len)) {
            for (w, w2) in w.chunks_exact(len).zip(w2.chunks_exact(len)) {
                for k in 0..len {
                    assert_eq!((x[k] * w[k]).to_bits(), (x2[k] * w2[k]).to_bits());
                }
            }
        }
    }

    #[test]
    fn even_vectors_are_left_alone() {
        let (w, x) = (normals(1, 24 * 64), normals(2, 16 * 64));
        let allowed = Allowed { fold: true, rotate: true };
        let (change, reports) = change_vector("v", &[&w], &x, 64, LIMITS, allowed);
        assert!(change.is_none());
        assert!(reports.iter().all(|report| !report.changed));
    }
}
