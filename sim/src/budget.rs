//! What noise to expect, in closed form: the noise budget of one tile.
//!
//! Per sample, in units of the exact sum, with step `Δ = 2^shift` and 2N real inputs:
//!
//! ```text
//! shot, receiver    σ² from light and amplifier              (optics)
//! adc               Δ²/12 · (4^(bits - enob) - 1)
//! quantisation      Δ²/12                                    always there
//! cell_amplitude    σ_a² · 2N · ⟨w²⟩⟨x²⟩
//! cell_phase        σ_p² · 2N · ⟨w²⟩⟨x²⟩
//! ```
//!
//! The parts are independent, so their squares add. Left out: clipping at the ends of the
//! converter's range, rounding when the sums are not many steps large, and correlations between
//! inputs or between weights. What the codes themselves lose of the user's numbers is no matter of
//! the array, and not in it either.

use crate::optics::{Optics, decibels, step_units};
use crate::{Term, Terms};
use litecore_types::chip::ChipDescription;

/// What a budget must know of the data, all in codes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Statistics {
    /// Mean square of the exact sum.
    pub mean_square_sum: f64,
    /// Mean square of the weight codes, unused cells included.
    pub mean_square_weight: f64,
    /// Mean square of the input codes, padding included.
    pub mean_square_input: f64,
    /// The converter's step is `2^shift` units of the exact sum.
    pub shift: u8,
}

impl Statistics {
    /// Independent codes, uniform over the whole range of `chip`.
    pub fn uniform(chip: &ChipDescription, shift: u8) -> Self {
        let mean_square = |limit: i32| f64::from(limit) * f64::from(limit + 1) / 3.0;
        let (weight, input) = (mean_square(chip.weight_limit()), mean_square(chip.input_limit()));
        Self {
            mean_square_sum: chip.tile_inputs() as f64 * weight * input,
            mean_square_weight: weight,
            mean_square_input: input,
            shift,
        }
    }

    /// The statistics of given codes and their exact sums. Nothing has a mean square of zero.
    pub fn measured(weights: &[i8], inputs: &[i8], sums: &[i32], shift: u8) -> Self {
        Self {
            mean_square_sum: mean_square(sums.iter().map(|&sum| f64::from(sum))),
            mean_square_weight: mean_square(weights.iter().map(|&code| f64::from(code))),
            mean_square_input: mean_square(inputs.iter().map(|&code| f64::from(code))),
            shift,
        }
    }
}

fn mean_square(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len().max(1) as f64;
    values.map(|value| value * value).sum::<f64>() / count
}

/// Where a part of the noise is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// An impairment.
    Term(Term),
    /// Rounding to converter codes.
    Quantisation,
}

impl Source {
    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Term(term) => term.name(),
            Self::Quantisation => "quantisation",
        }
    }
}

/// One part of the noise, or all of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Part {
    /// Standard deviation of one sample, in units of the exact sum.
    pub sigma_units: f64,
    /// Mean square of the exact sum over mean square of the error; infinite where there is no error.
    pub snr_rms_db: f64,
}

/// The expected noise of a tile.
#[derive(Clone, Debug, PartialEq)]
pub struct Budget {
    /// Each part, in the order of [`Term::ALL`], quantisation last.
    pub parts: Vec<(Source, Part)>,
    /// All parts together.
    pub total: Part,
}

impl Budget {
    /// What `chip` makes of data with these statistics while `terms` are on.
    pub fn predict(chip: &ChipDescription, terms: Terms, statistics: &Statistics) -> Self {
        let optics = Optics::of(chip);
        let step = step_units(statistics.shift);
        let through_cells = (chip.tile_inputs() as f64
            * statistics.mean_square_weight
            * statistics.mean_square_input)
            .sqrt();
        let sigma = |term| match term {
            Term::CellPhase => chip.cell.phase_error_rad.value * through_cells,
            Term::CellAmplitude => chip.cell.amplitude_error.value * through_cells,
            dynamic => optics.sigma_units(dynamic, statistics.shift),
        };
        let part = |sigma_units: f64| Part {
            sigma_units,
            snr_rms_db: decibels(statistics.mean_square_sum / (sigma_units * sigma_units)),
        };
        let mut parts: Vec<(Source, Part)> =
            terms.iter().map(|term| (Source::Term(term), part(sigma(term)))).collect();
        parts.push((Source::Quantisation, part(step / 12.0_f64.sqrt())));
        let variance: f64 = parts.iter().map(|(_, part)| part.sigma_units * part.sigma_units).sum();
        Self { total: part(variance.sqrt()), parts }
    }

    /// The part of one source, if it is on.
    pub fn part(&self, source: Source) -> Option<Part> {
        self.parts.iter().find(|(of, _)| *of == source).map(|(_, part)| *part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use litecore_types::chip::builtin;

    #[test]
    fn the_default_chip_on_uniform_data_by_hand() {
        let chip = builtin("ref-64-eo").unwrap();
        // The sum's deviation is sqrt(128) · 127² / 3 = 60.8e3; shift 11 puts 4.3 of them in range.
        let budget = Budget::predict(&chip, Terms::all(), &Statistics::uniform(&chip, 11));
        let db = |source| budget.part(source).unwrap().snr_rms_db;
        let close = |measured: f64, expected: f64| {
            assert!((measured - expected).abs() < 0.1, "{measured} against {expected}");
        };
        // 4 · 0.8 · 4.763e5 · 10^-1.07 / 18 = 7207 is 38.6 dB; codes lack 0.07 dB of the continuum.
        close(db(Source::Term(Term::Shot)), 38.64);
        close(db(Source::Term(Term::Receiver)), 38.64 + 11.08);
        // 1/0.005² is 46.0 dB.
        close(db(Source::Term(Term::CellPhase)), 46.02);
        close(db(Source::Term(Term::CellAmplitude)), 46.02);
        // 20 log10(61.3e3 / 2048) + 10.79.
        close(db(Source::Quantisation), 40.31);
        close(db(Source::Term(Term::Adc)), 40.31 - 4.77);
        // 1.37e-4 + 1.07e-5 + 2 · 2.50e-5 + 9.31e-5 + 2.79e-4 of the signal's power.
        close(budget.total.snr_rms_db, 32.45);
    }

    #[test]
    fn a_term_that_is_off_has_no_part() {
        let chip = builtin("tiny-4").unwrap();
        let statistics = Statistics::uniform(&chip, 8);
        let budget = Budget::predict(&chip, Terms::only(Term::Adc), &statistics);
        assert_eq!(budget.parts.len(), 2);
        assert_eq!(budget.part(Source::Term(Term::Shot)), None);
        let silent = Budget::predict(&chip, Terms::none(), &statistics);
        assert_eq!(silent.total, silent.part(Source::Quantisation).unwrap());
    }

    #[test]
    fn statistics_of_codes_are_their_mean_squares() {
        let statistics = Statistics::measured(&[3, -4], &[1, 0, -1, 2], &[10, -10, 0], 5);
        let expected = Statistics {
            mean_square_sum: 200.0 / 3.0,
            mean_square_weight: 12.5,
            mean_square_input: 1.5,
            shift: 5,
        };
        assert_eq!(statistics, expected);
        assert!(Statistics::measured(&[], &[], &[], 0).mean_square_sum.abs() < f64::MIN_POSITIVE);
    }
}
