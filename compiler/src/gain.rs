//! Analog gain: which ADC step suits a tile's sums.
//!
//! The ADC reads `saturate(round(sum / 2^shift))`. A large shift wastes codes on values that never
//! come, a small one clips; both are weighed on the sums the samples make, by what they do to the
//! outputs: squared, times the squared scales of the vector and of the row.
//!
//! Samples never show all that will come. So one sum in eight ([`SHARE`]) also counts as if it were
//! [`HEADROOM`] times as large, with what would then be cut off. On sums that come nowhere near the
//! end of the range this changes nothing. The converter's own noise is left out on purpose: what a
//! finer step saves of it, what is cut off costs again, and more reads take noise away but no clipping.

use litecore_kernels::codes;
use std::ops::RangeInclusive;

/// How much larger a sum may come than any that the samples made: a quarter.
const HEADROOM: f64 = 1.25;

/// The share of sums that are reckoned with that much larger.
const SHARE: f64 = 0.125;

/// The shift that suits some sums best, and what it leaves.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct GainChoice {
    pub(crate) shift: u8,
    /// Summed squared difference of `code << shift` and the exact sum, weighted, without headroom.
    pub(crate) squared_error: f64,
    /// The same at the largest shift that was offered, unity gain, reckoned.
    pub(crate) unity_error: f64,
    /// How many sums saturate.
    pub(crate) clipped: usize,
    /// What the ADC reads.
    pub(crate) reading: Vec<i32>,
}

/// The sums of a tile, symbols × outputs, and what an error of one costs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WeightedSums<'a> {
    pub(crate) sums: &'a [i32],
    /// One per symbol.
    pub(crate) symbol_weights: &'a [f64],
    /// One per output.
    pub(crate) output_weights: &'a [f64],
}

/// Chooses the shift with the least squared error over the sums, of those that use the range: a shift
/// coarser than one that cuts nothing off is not tried.
///
/// Between equals the larger shift wins: it needs the least analog gain. Without any signal that is
/// unity gain.
/// Panics: if `shifts` is empty; a chip always offers unity gain.
pub(crate) fn choose_shift(
    sums: WeightedSums<'_>,
    shifts: RangeInclusive<u8>,
    adc_bits: u8,
) -> GainChoice {
    let largest = largest(sums.sums);
    let unity = *shifts.end();
    let start = if largest == 0 { unity } else { first_that_fits(largest, &shifts, adc_bits) };
    let mut best: Option<(f64, GainChoice)> = None;
    for shift in (*shifts.start()..=start).rev() {
        let cut_off = CutOff::of(sums, largest, shift, adc_bits);
        // Smaller ranges cut off more still.
        if best.as_ref().is_some_and(|(least, _)| cut_off.error > *least) {
            break;
        }
        let choice = read(sums, shift, adc_bits, cut_off);
        let robust = choice.squared_error + cut_off.error;
        if best.as_ref().is_none_or(|(least, _)| robust < *least) {
            best = Some((robust, choice));
        }
    }
    let mut choice = best.expect("a chip offers at least unity gain").1;
    choice.unity_error = rounding(sums, unity).max(choice.squared_error);
    choice
}

fn largest(sums: &[i32]) -> u32 {
    sums.iter().map(|sum| sum.unsigned_abs()).max().unwrap_or(0)
}

/// The smallest shift that cuts nothing off, headroom included: coarser ones only round more.
fn first_that_fits(largest: u32, shifts: &RangeInclusive<u8>, adc_bits: u8) -> u8 {
    shifts.clone().find(|shift| fits(largest, *shift, adc_bits)).unwrap_or(*shifts.end())
}

/// Whether a shift cuts nothing off, headroom included.
fn fits(largest: u32, shift: u8, adc_bits: u8) -> bool {
    let reach = f64::from((1_u32 << (adc_bits - 1)) - 1);
    HEADROOM * f64::from(largest) <= reach * f64::from(1_u32 << shift)
}

/// What rounding to steps of a shift would cost, reckoned: step² / 12 for each sum.
fn rounding(weighted: WeightedSums<'_>, shift: u8) -> f64 {
    let step = f64::from(1_u32 << shift);
    let symbols: f64 = weighted.symbol_weights.iter().sum();
    let outputs: f64 = weighted.output_weights.iter().sum();
    symbols * outputs * step * step / 12.0
}

/// What one shift makes of the sums.
pub(crate) fn at_shift(sums: WeightedSums<'_>, shift: u8, adc_bits: u8) -> GainChoice {
    let cut_off = CutOff::of(sums, largest(sums.sums), shift, adc_bits);
    read(sums, shift, adc_bits, cut_off)
}

/// What a shift cuts off.
#[derive(Clone, Copy)]
struct CutOff {
    /// Reckoned, of sums with headroom.
    error: f64,
    /// How many sums.
    clipped: usize,
}

impl CutOff {
    fn of(weighted: WeightedSums<'_>, largest: u32, shift: u8, adc_bits: u8) -> Self {
        if fits(largest, shift, adc_bits) {
            return Self { error: 0.0, clipped: 0 };
        }
        let WeightedSums { sums, symbol_weights, output_weights } = weighted;
        let outputs = output_weights.len();
        let of = codes::cut_off_errors(sums, symbol_weights, outputs, shift, adc_bits);
        let of_outputs = of.beyond.iter().zip(output_weights);
        let error = of_outputs.map(|(beyond, weight)| SHARE * weight * beyond).sum();
        Self { error, clipped: usize::try_from(of.clipped).unwrap_or(usize::MAX) }
    }
}

/// What one shift, which cuts this off, makes of the sums.
fn read(weighted: WeightedSums<'_>, shift: u8, adc_bits: u8, cut_off: CutOff) -> GainChoice {
    let WeightedSums { sums, symbol_weights, output_weights } = weighted;
    let mut reading = vec![0; sums.len()];
    codes::requantise_all(sums, shift, adc_bits, &mut reading);
    let outputs = output_weights.len();
    let errors = codes::rounding_errors(sums, &reading, symbol_weights, outputs, shift);
    let squared_error = errors.iter().zip(output_weights).map(|(error, w)| w * error).sum();
    let clipped = cut_off.clipped;
    GainChoice { shift, squared_error, unity_error: squared_error, clipped, reading }
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

    fn choose(sums: &[i32], shifts: RangeInclusive<u8>, adc_bits: u8) -> GainChoice {
        let symbol_weights = vec![1.0; sums.len()];
        choose_shift(
            WeightedSums { sums, symbol_weights: &symbol_weights, output_weights: &[1.0] },
            shifts,
            adc_bits,
        )
    }

    /// The error of the reading, and of what a quarter more would cut off, by another formula.
    fn error_in_f64(sums: &[i32], shift: u8, adc_bits: u8) -> f64 {
        let step = f64::from(1_u32 << shift);
        let half_range = f64::from(1_u32 << (adc_bits - 1));
        let saturated = |value: f64| value.clamp(-half_range, half_range - 1.0);
        sums.iter()
            .map(|&sum| {
                let read = (f64::from(sum) / step).round_ties_even();
                let error = saturated(read) * step - f64::from(sum);
                let above = 1.25 * f64::from(sum) - (half_range - 0.5) * step;
                let below = -(half_range + 0.5) * step - 1.25 * f64::from(sum);
                let beyond = above.max(below).max(0.0);
                error * error + beyond * beyond / 8.0
            })
            .sum()
    }

    #[test]
    fn the_choice_is_the_brute_force_minimum() {
        for sigma in [3.0, 40.0, 700.0, 22_910.0, 300_000.0] {
            for adc_bits in [4, 8, 12] {
                let sums = gaussian_sums(sigma, 500);
                let choice = choose(&sums, 2..=16, adc_bits);
                let best = error_in_f64(&sums, choice.shift, adc_bits);
                for shift in 2..=16 {
                    let other = error_in_f64(&sums, shift, adc_bits);
                    assert!(best <= other, "sigma {sigma}, {adc_bits} bits, shift {shift}");
                }
            }
        }
    }

    #[test]
    fn a_wide_gaussian_clips_nothing_that_matters() {
        // 128 inputs of Gaussian codes with an rms of 45: sigma = 45 * 45 * sqrt(128).
        // Shift 10 covers 5.7 sigma with 8 bits, shift 9 clips at 2.9 sigma.
        let choice = choose(&gaussian_sums(22_910.0, 10_000), 7..=14, 8);
        assert_eq!((choice.shift, choice.clipped), (10, 0));
        let rounding = 1024.0 * 1024.0 / 12.0 * 10_000.0;
        assert!((choice.squared_error / rounding - 1.0).abs() < 0.05);
    }

    #[test]
    fn it_beats_unity_gain_by_ten_decibels_on_gaussian_sums() {
        let chip = builtin("ref-64-eo").expect("shipped");
        let unity = chip.full_scale_shift();
        assert_eq!(unity, 14);
        let sums = gaussian_sums(22_910.0, 10_000);
        let chosen = choose(&sums, chip.gain_shifts(), chip.adc.bits);
        let without = error_in_f64(&sums, unity, chip.adc.bits);
        assert!(without > 10.0 * chosen.squared_error, "{without} {}", chosen.squared_error);
    }

    #[test]
    fn sums_that_fit_exactly_choose_the_exact_shift() {
        assert_eq!(choose(&[-100, 101, 1], 0..=6, 8).shift, 0);
        assert_eq!(choose(&[-400, 404, 4], 0..=6, 8).shift, 2);
    }

    #[test]
    fn sums_at_the_end_of_the_range_keep_room_for_larger_ones() {
        // 127 just fits; but a quarter more would cut off 31, and a coarser step rounds by half.
        assert_eq!(choose(&[-127, 127, 126], 0..=6, 8).shift, 1);
    }

    #[test]
    fn without_any_signal_gain_stays_at_unity() {
        let choice = choose(&[0; 9], 3..=7, 8);
        assert_eq!((choice.shift, choice.squared_error.to_bits()), (7, 0));
    }

    #[test]
    fn errors_count_by_what_they_do_to_the_outputs() {
        // One loud symbol that needs shift 2, many quiet ones that shift 0 reads exactly.
        let mut sums = vec![3; 400];
        sums[0] = 400;
        let choose = |loud: f64| {
            let mut symbol_weights = vec![1.0; 400];
            symbol_weights[0] = loud;
            let output_weights = &[1.0];
            let sums =
                WeightedSums { sums: &sums, symbol_weights: &symbol_weights, output_weights };
            choose_shift(sums, 0..=4, 8)
        };
        assert_eq!(choose(1.0).shift, 2);
        let quiet = choose(1e-6);
        assert_eq!((quiet.shift, quiet.clipped), (0, 1));
    }
}
