//! Outlying weights saturate so that the others of their row get finer codes.
//!
//! A row's step is its largest weight over the largest code. Where that weight stands alone, a
//! smaller step that saturates it costs less than it saves. What counts is the error of the
//! product: each weight's squared error times the mean square of the input it meets.

use super::{Pass, PassReport};
use litecore_kernels::codes;

/// Half-ranges of the best uniform quantiser of a Gaussian, in standard deviations, for 2 to 8
/// bits. Source: Max, "Quantizing for minimum distortion" (1960), table II, half the number of
/// levels times their spacing. A row within it has nothing to gain.
const LOADING: [f64; 7] = [1.991, 2.344, 2.682, 3.010, 3.331, 3.642, 3.945];

/// Clipping levels that are tried, as shares of the row's largest weight.
const SHARES: [f32; 6] = [0.875, 0.75, 0.625, 0.5, 0.375, 0.25];

/// What became of one row.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct ClippedRow {
    /// The largest magnitude its codes cover; nothing where that is its largest weight.
    pub(crate) level: Option<f32>,
    before: f64,
    after: f64,
    saturated: usize,
}

/// Chooses the level of a row whose input k has the mean square `power[k]`; `limit` is the largest
/// code.
///
/// `largest` is the row's largest magnitude. A row with a weight that is not finite is left to the
/// quantiser, which names it.
pub(crate) fn clip_level(row: &[f32], largest: f32, power: &[f32], limit: i32) -> ClippedRow {
    let nothing = ClippedRow::default();
    let bits = (i32::BITS - limit.leading_zeros() + 1).clamp(2, 8) as usize;
    let mean = codes::sum_of_squares(row) / row.len() as f32;
    let crest = f64::from(largest) / f64::from(mean).sqrt();
    if !(crest > LOADING[bits - 2] && crest.is_finite()) {
        return nothing;
    }
    let error = |level| codes::squared_code_error(row, power, limit, level);
    let before = error(largest);
    let (mut level, mut after) = (largest, before);
    for share in SHARES {
        let tried = error(share * largest);
        // Finer steps save less and less, what saturates costs more and more.
        if tried >= after {
            break;
        }
        (level, after) = (share * largest, tried);
    }
    if after >= 0.98 * before {
        return nothing;
    }
    let saturated = row.iter().filter(|weight| weight.abs() > level).count();
    ClippedRow { level: Some(level), before, after, saturated }
}

/// The figures of a matrix of so many weights.
pub(crate) fn report_clipping(name: &str, rows: &[ClippedRow], weights: usize) -> PassReport {
    let clipped = rows.iter().filter(|row| row.level.is_some()).count();
    let (mut before, mut after, mut saturated) = (0.0, 0.0, 0_usize);
    for row in rows {
        before += row.before;
        after += row.after;
        saturated += row.saturated;
    }
    let share = saturated as f64 / weights.max(1) as f64;
    let report = PassReport::new(Pass::Clip, Some(name))
        .changed(clipped > 0)
        .figure("rows that clip", 0.0, clipped as f64)
        .figure("share of weights that saturate", 0.0, share);
    if clipped == 0 {
        return report;
    }
    report.figure("squared error of the clipped rows, relative", 1.0, after / before)
}

#[cfg(test)]
mod tests {
    use super::*;
    use litecore_kernels::normal::standard_normals;

    fn clip(row: &[f32], power: &[f32], limit: i32) -> ClippedRow {
        clip_level(row, codes::largest_magnitude(row), power, limit)
    }

    fn normals(key: u64, count: usize) -> Vec<f32> {
        let mut values = vec![0.0; count];
        standard_normals(key, 0, &mut values);
        values
    }

    #[test]
    fn eight_bits_hold_a_gaussian_row_and_four_bits_clip_it() {
        let row = normals(1, 4096);
        let power = vec![1.0; row.len()];
        assert_eq!(clip(&row, &power, 127).level, None);
        let level = f64::from(clip(&row, &power, 7).level.expect("four bits clip"));
        // Fifteen symmetric levels reach to 7 steps of 0.335 (Max, table II, 16 levels): 2.35.
        assert!((2.0..2.9).contains(&level), "{level}");
    }

    #[test]
    fn an_outlier_that_meets_no_input_saturates_and_one_that_does_stays() {
        let mut row = normals(1, 256);
        row[9] = 100.0;
        let mut power = vec![1.0; 256];
        assert_eq!(clip(&row, &power, 127).level, None);
        power[9] = 0.0;
        let clipped = clip(&row, &power, 127);
        assert_eq!(clipped.level, Some(25.0));
        let report = report_clipping("m", &[clipped], 256);
        assert_eq!(report.figures[1].after, Some(1.0 / 256.0));
        assert!(report.figures[2].after.expect("a ratio") < 0.1);
    }

    #[test]
    fn what_is_not_a_number_is_left_to_the_quantiser() {
        for bad in [f32::NAN, f32::INFINITY] {
            assert_eq!(clip(&[1.0, bad, 0.0, 2.0], &[1.0; 4], 127).level, None);
        }
        assert_eq!(clip(&[0.0; 4], &[1.0; 4], 127).level, None);
    }
}
