//! Analog gain: which ADC step suits a tile's sums.
//!
//! The ADC reads `saturate(round(sum / 2^shift))`. A large shift wastes codes on values that never
//! come, a small one clips; both are counted, in integers, on the sums the samples make.

use std::ops::RangeInclusive;

/// The shift that suits some sums best, and the error it leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GainChoice {
    pub(crate) shift: u8,
    /// Summed squared difference of `code << shift` and the exact sum.
    pub(crate) squared_error: u128,
}

/// Chooses the shift with the least summed squared error over `sums`, exactly.
///
/// Between equals the larger shift wins: it needs the least analog gain.
/// Panics: if `shifts` is empty; a chip always offers unity gain.
pub(crate) fn choose_shift(sums: &[i32], shifts: RangeInclusive<u8>, adc_bits: u8) -> GainChoice {
    let choices = shifts
        .rev()
        .map(|shift| GainChoice { shift, squared_error: squared_error(sums, shift, adc_bits) });
    choices.min_by_key(|choice| choice.squared_error).expect("a chip offers at least unity gain")
}

/// Summed squared difference of what the ADC reads and the exact sum.
fn squared_error(sums: &[i32], shift: u8, adc_bits: u8) -> u128 {
    sums.iter()
        .map(|&sum| {
            let code = litecore_kernels::codes::requantise(sum, shift, adc_bits);
            let error = (i64::from(code) << shift) - i64::from(sum);
            u128::from(error.unsigned_abs()) * u128::from(error.unsigned_abs())
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use litecore_kernels::normal::standard_normals;
    use litecore_types::chip::builtin;

    /// Sums like those of Gaussian weights and inputs, `sigma` wide.
    fn gaussian_sums(sigma: f32, count: usize) -> Vec<i32> {
        let mut normals = vec![0.0; count];
        standard_normals(5, 0, &mut normals);
        #[allow(clippy::cast_possible_truncation, reason = "a few sigma fit an i32")]
        normals.iter().map(|normal| (normal * sigma).round_ties_even() as i32).collect()
    }

    /// The same error by floating point and another formula.
    fn error_in_f64(sums: &[i32], shift: u8, adc_bits: u8) -> f64 {
        let step = f64::from(1_u32 << shift);
        let half_range = f64::from(1_u32 << (adc_bits - 1));
        sums.iter()
            .map(|&sum| {
                let read = (f64::from(sum) / step).round_ties_even();
                let error = read.clamp(-half_range, half_range - 1.0) * step - f64::from(sum);
                error * error
            })
            .sum()
    }

    #[test]
    fn the_choice_is_the_brute_force_minimum() {
        for sigma in [3.0, 40.0, 700.0, 22_910.0, 300_000.0] {
            for adc_bits in [4, 8, 12] {
                let sums = gaussian_sums(sigma, 500);
                let choice = choose_shift(&sums, 2..=16, adc_bits);
                let best = error_in_f64(&sums, choice.shift, adc_bits);
                for shift in 2..=16 {
                    let other = error_in_f64(&sums, shift, adc_bits);
                    assert!(best <= other, "sigma {sigma}, {adc_bits} bits, shift {shift}");
                }
                let exact = u128::from(best.to_bits() != 0) * choice.squared_error;
                assert!((exact as f64 - best).abs() <= 1e-9 * best, "{exact} {best}");
            }
        }
    }

    #[test]
    fn a_wide_gaussian_clips_nothing_that_matters() {
        // 128 inputs of Gaussian codes with an rms of 45: sigma = 45 * 45 * sqrt(128).
        // Shift 10 covers 5.7 sigma with 8 bits, shift 9 clips at 2.9 sigma.
        let choice = choose_shift(&gaussian_sums(22_910.0, 10_000), 7..=14, 8);
        assert_eq!(choice.shift, 10);
        let rounding = 1024.0 * 1024.0 / 12.0 * 10_000.0;
        assert!((choice.squared_error as f64 / rounding - 1.0).abs() < 0.05);
    }

    #[test]
    fn it_beats_unity_gain_by_ten_decibels_on_gaussian_sums() {
        let chip = builtin("ref-64-eo").expect("shipped");
        let unity = chip.full_scale_shift();
        assert_eq!(unity, 14);
        let sums = gaussian_sums(22_910.0, 10_000);
        let chosen = choose_shift(&sums, chip.gain_shifts(), chip.adc.bits);
        let without = squared_error(&sums, unity, chip.adc.bits);
        assert!(without > 10 * chosen.squared_error, "{without} {chosen:?}");
    }

    #[test]
    fn sums_that_fit_exactly_choose_the_exact_shift() {
        assert_eq!(choose_shift(&[-128, 127, 1], 0..=6, 8).shift, 0);
        assert_eq!(choose_shift(&[-512, 508, 4], 0..=6, 8).shift, 2);
    }

    #[test]
    fn without_any_signal_gain_stays_at_unity() {
        let choice = choose_shift(&[0; 9], 3..=7, 8);
        assert_eq!((choice.shift, choice.squared_error), (7, 0));
    }
}
