//! Powers of two between rows of `up` and columns of `down`.
//!
//! `down · (silu(gate x) * (up x))` does not change when row i of `up` is multiplied by `2^e` and
//! column i of `down` divided by it: `SwiGLU` is linear in `up`. With a power of two every product in
//! f32 is the same number, barring exponents at the ends of the range, which are left alone. What
//! changes is where the codes' range goes: a hidden element that towers over the others costs all
//! of them bits, and so does a column of `down` that towers over the other columns.

use super::noise::{Limits, RoundingError, decibels};
use super::{Pass, PassReport};
use crate::samples::SampleRows;
use litecore_kernels::codes;
use rayon::prelude::*;
use std::borrow::Cow;

/// A product with a factor between each input and its column.
#[derive(Debug)]
pub(crate) struct Scaled<'a> {
    pub(crate) columns: usize,
    /// rows × columns.
    pub(crate) samples: &'a [f32],
    pub(crate) factors: &'a [f64],
    /// Sum of squares of each column of the weights, factors left out.
    pub(crate) column_powers: Vec<f64>,
    /// Sum over the rows of the squared largest magnitude, factors divided out.
    pub(crate) squared_row_maxima: f64,
}

#[cfg(test)]
impl<'a> Scaled<'a> {
    pub(crate) fn new(
        weights: &[f32],
        columns: usize,
        samples: &'a [f32],
        factors: &'a [f64],
    ) -> Self {
        let column_powers = column_powers(weights, columns);
        Self {
            columns,
            samples,
            factors,
            column_powers,
            squared_row_maxima: squared_row_maxima(weights, &inverse(factors)),
        }
    }
}

/// What an expert makes of the samples on the way, rows × hidden width.
#[derive(Debug)]
pub(crate) struct HiddenSamples<'a> {
    /// Which of them things are chosen on.
    pub(crate) rows: SampleRows,
    /// After `SwiGLU`.
    pub(crate) hidden: &'a mut [f32],
    /// `up · x`.
    pub(crate) raised: &'a mut [f32],
}

/// How far the range is moved: 0 not at all, 1 all the way to equal columns.
const STRENGTHS: [f64; 3] = [0.33, 0.67, 1.0];

/// The least gain that is worth a change, as a ratio of squared errors: half a decibel.
const WORTH_IT: f64 = 0.891;

/// Exponents beyond this are left alone, so that no weight leaves the range of normal numbers.
const EXPONENT_MAX: i32 = 24;

/// Equalises `up` (hidden × width) and `down` (width × hidden) for hidden vectors like `hidden`.
///
/// Returns the report; the matrices, and with them the samples of the hidden vectors and of what
/// `up` makes, change only where the predicted error falls.
pub(crate) fn equalise(
    up: &mut Cow<'_, [f32]>,
    down: &mut Cow<'_, [f32]>,
    samples: HiddenSamples<'_>,
    hidden_width: usize,
    limits: Limits,
) -> PassReport {
    let HiddenSamples { rows, hidden, raised } = samples;
    let seen = rows.seen(hidden);
    let report = PassReport::new(Pass::Equalise, None);
    let powers = column_powers(down, hidden_width);
    let peaks = peaks(seen, hidden_width);
    let candidates: Vec<Vec<i32>> = STRENGTHS
        .iter()
        .map(|strength| exponents(&powers, &peaks, *strength, EXPONENT_MAX))
        .collect();
    let error = |exponents: &[i32]| {
        let factors: Vec<f64> = exponents.iter().map(|e| power_of_two(*e)).collect();
        let product = Scaled {
            columns: hidden_width,
            samples: seen,
            column_powers: powers.clone(),
            squared_row_maxima: squared_row_maxima(down, &inverse(&factors)),
            factors: &factors,
        };
        RoundingError::of(&product, limits).total()
    };
    let before = error(&vec![0; hidden_width]);
    let best = candidates
        .into_iter()
        .map(|exponents| (error(&exponents), exponents))
        .min_by(|a, b| a.0.total_cmp(&b.0));
    let signal = signal(&powers, seen, hidden_width);
    let Some((after, exponents)) = best.filter(|(after, _)| *after < WORTH_IT * before) else {
        let level = decibels(signal / before);
        return report.figure("predicted SNR of down's rounding, dB", level, level);
    };
    apply(up, down, [hidden, raised], hidden_width, &exponents);
    let crest = |peaks: &[f64]| {
        let largest = peaks.iter().copied().fold(0.0, f64::max);
        let mean = peaks.iter().map(|peak| peak * peak).sum::<f64>() / peaks.len().max(1) as f64;
        largest / mean.sqrt()
    };
    let moved: Vec<f64> =
        peaks.iter().zip(&exponents).map(|(peak, e)| peak * power_of_two(*e)).collect();
    report
        .changed(true)
        .figure(
            "predicted SNR of down's rounding, dB",
            decibels(signal / before),
            decibels(signal / after),
        )
        .figure("largest hidden peak over their rms", crest(&peaks), crest(&moved))
}

/// The power of the outputs, if the elements of the hidden vectors were independent.
fn signal(powers: &[f64], hidden: &[f32], hidden_width: usize) -> f64 {
    let rows = hidden.chunks_exact(hidden_width);
    rows.flat_map(|row| row.iter().zip(powers))
        .map(|(value, power)| f64::from(*value) * f64::from(*value) * power)
        .sum()
}

/// Exponents that bring `peak · 2^e` and `column / 2^e` nearer to each other, by `strength`, and
/// leave the geometric mean where it is.
pub(super) fn exponents(powers: &[f64], peaks: &[f64], strength: f64, most: i32) -> Vec<i32> {
    let ratio = |(power, peak): (&f64, &f64)| {
        let live = *power > 0.0 && *peak > 0.0;
        live.then(|| strength * (0.5 * pxfm::f_log2(*power) - pxfm::f_log2(*peak)))
    };
    let ratios: Vec<Option<f64>> = powers.iter().zip(peaks).map(ratio).collect();
    let live = ratios.iter().flatten().count().max(1) as f64;
    let middle = ratios.iter().flatten().sum::<f64>() / live;
    #[allow(clippy::cast_possible_truncation, reason = "clamped to a few dozen")]
    let exponent = |ratio: &Option<f64>| {
        let exponent = ratio.map_or(0.0, |ratio| (ratio - middle).round_ties_even());
        exponent.clamp(-f64::from(most), f64::from(most)) as i32
    };
    ratios.iter().map(exponent).collect()
}

fn apply(
    up: &mut Cow<'_, [f32]>,
    down: &mut Cow<'_, [f32]>,
    samples: [&mut [f32]; 2],
    hidden_width: usize,
    exponents: &[i32],
) {
    let width = up.len() / hidden_width;
    let mut kept: Vec<f32> = exponents.iter().map(|e| power_of_two_f32(*e)).collect();
    // A factor that would round one weight is no factor.
    for (row, factor) in up.chunks_exact(width).zip(&mut kept) {
        if !row.iter().all(|weight| stays_exact(*weight, *factor)) {
            *factor = 1.0;
        }
    }
    for row in down.chunks_exact(hidden_width) {
        for (weight, factor) in row.iter().zip(&mut kept) {
            if !stays_exact(*weight, 1.0 / *factor) {
                *factor = 1.0;
            }
        }
    }
    for (row, factor) in up.to_mut().chunks_exact_mut(width).zip(&kept) {
        for weight in row {
            *weight *= factor;
        }
    }
    let inverse: Vec<f32> = kept.iter().map(|factor| 1.0 / factor).collect();
    for row in down.to_mut().chunks_exact_mut(hidden_width) {
        for (weight, factor) in row.iter_mut().zip(&inverse) {
            *weight *= factor;
        }
    }
    for row in samples.into_iter().flat_map(|rows| rows.chunks_exact_mut(hidden_width)) {
        for (value, factor) in row.iter_mut().zip(&kept) {
            *value *= factor;
        }
    }
}

/// Whether a number times a power of two is that number times that power.
fn stays_exact(value: f32, factor: f32) -> bool {
    let product = value * factor;
    value == 0.0 || product.is_normal()
}

pub(super) fn power_of_two(exponent: i32) -> f64 {
    f64::from(power_of_two_f32(exponent))
}

fn power_of_two_f32(exponent: i32) -> f32 {
    f32::from_bits(u32::try_from(127 + exponent).expect("exponents are small") << 23)
}

fn inverse(factors: &[f64]) -> Vec<f32> {
    #[allow(clippy::cast_possible_truncation, reason = "powers of two within f32")]
    factors.iter().map(|factor| (1.0 / factor) as f32).collect()
}

/// The largest magnitude of each element of some rows.
pub(super) fn peaks(rows: &[f32], len: usize) -> Vec<f64> {
    let mut peaks = vec![0.0_f64; len];
    for row in rows.chunks_exact(len) {
        for (peak, value) in peaks.iter_mut().zip(row) {
            *peak = peak.max(f64::from(value.abs()));
        }
    }
    peaks
}

/// Sum of squares of each column.
pub(crate) fn column_powers(weights: &[f32], columns: usize) -> Vec<f64> {
    let mut powers = vec![0.0; columns];
    let mut sums = vec![0.0_f32; columns];
    // In single precision for some rows at a time, which vectors add twice as quickly.
    for rows in weights.chunks(columns * 64) {
        sums.fill(0.0);
        for row in rows.chunks_exact(columns) {
            codes::add_squares(row, &mut sums);
        }
        for (power, sum) in powers.iter_mut().zip(&sums) {
            *power += f64::from(*sum);
        }
    }
    powers
}

/// Rows that are looked at, evenly spread, where a matrix has more: enough for a mean.
const ROWS_MAX: usize = 256;

/// Sum over the rows of the squared largest magnitude of `weight * factor`, from the mean of at most
/// [`ROWS_MAX`] rows.
pub(super) fn squared_row_maxima(weights: &[f32], factors: &[f32]) -> f64 {
    let rows = weights.len() / factors.len();
    let stride = rows.div_ceil(ROWS_MAX).max(1);
    let squares: Vec<f64> = weights
        .par_chunks_exact(factors.len())
        .step_by(stride)
        .map_init(
            || vec![0.0; factors.len()],
            |scaled, row| {
                for ((scaled, weight), factor) in scaled.iter_mut().zip(row).zip(factors) {
                    *scaled = weight * factor;
                }
                let largest = f64::from(codes::largest_magnitude(scaled));
                largest * largest
            },
        )
        .collect();
    squares.iter().sum::<f64>() / squares.len().max(1) as f64 * rows as f64
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

    fn samples(hidden: &mut [f32], rows: usize) -> HiddenSamples<'_> {
        HiddenSamples { rows: SampleRows::new(rows), hidden, raised: &mut [] }
    }

    #[test]
    fn a_towering_channel_is_brought_down_and_the_product_stays_the_same_to_the_bit() {
        let (hidden_width, width, rows) = (32, 16, 20);
        let mut up = normals(1, hidden_width * width);
        up[5 * width..6 * width].iter_mut().for_each(|w| *w *= 200.0);
        let down = normals(2, width * hidden_width);
        let mut hidden = normals(3, rows * hidden_width);
        hidden.chunks_exact_mut(hidden_width).for_each(|row| row[5] *= 200.0);
        let before = hidden.clone();
        let (mut up_c, mut down_c) = (Cow::Borrowed(&up[..]), Cow::Borrowed(&down[..]));
        let report =
            equalise(&mut up_c, &mut down_c, samples(&mut hidden, rows), hidden_width, LIMITS);
        assert!(report.changed);
        let (levels, peaks) = (&report.figures[0], &report.figures[1]);
        assert!(levels.after.expect("a level") > levels.before.expect("a level") + 6.0);
        assert!(peaks.after < peaks.before, "{peaks:?}");
        for row in 0..rows {
            for j in 0..width {
                for i in 0..hidden_width {
                    let old = before[row * hidden_width + i] * down[j * hidden_width + i];
                    let new = hidden[row * hidden_width + i] * down_c[j * hidden_width + i];
                    assert_eq!(old.to_bits(), new.to_bits());
                }
            }
        }
        // Rows of `up` moved by powers of two, the towering one down.
        assert!(up_c[5 * width].abs() < up[5 * width].abs());
        assert_eq!((up_c[5 * width] / up[5 * width]).to_bits() & 0x007f_ffff, 0);
    }

    #[test]
    fn even_channels_are_left_alone() {
        let (up, down) = (normals(1, 32 * 16), normals(2, 16 * 32));
        let mut hidden = normals(3, 20 * 32);
        let (mut up_c, mut down_c) = (Cow::Borrowed(&up[..]), Cow::Borrowed(&down[..]));
        let report = equalise(&mut up_c, &mut down_c, samples(&mut hidden, 20), 32, LIMITS);
        assert!(!report.changed);
        assert!(matches!((up_c, down_c), (Cow::Borrowed(_), Cow::Borrowed(_))));
    }

    #[test]
    fn weights_at_the_end_of_the_range_are_not_rounded() {
        let (mut up, down) = (vec![1.0_f32; 4], vec![1.0_f32, 1e30, 1.0, 1.0]);
        up[1] = f32::MIN_POSITIVE;
        let mut hidden = vec![1.0, 1e-6, 1.0, 1.0];
        let (mut up_c, mut down_c) = (Cow::Borrowed(&up[..]), Cow::Borrowed(&down[..]));
        equalise(&mut up_c, &mut down_c, samples(&mut hidden, 1), 4, LIMITS);
        assert!(up_c.iter().all(|weight| weight.is_normal()));
        for (i, (up_new, down_new)) in up_c.iter().zip(down_c.iter()).enumerate() {
            let (new, old) =
                (f64::from(*up_new) * f64::from(*down_new), f64::from(up[i]) * f64::from(down[i]));
            assert_eq!(new.to_bits(), old.to_bits());
        }
    }
}
