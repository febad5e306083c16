//! What noise to expect, in closed form: the noise budget of one tile.
//!
//! Per sample, in units of the exact sum. An output sums K products of real codes; `S = K⟨w²⟩⟨x²⟩`;
//! P is the mean square of one quadrature of the column's field, and Q that of the quadrature that
//! is not wanted: both equal S, but in `single`, where P is half of it and Q is zero. Δ is the
//! converter's step, L a full-scale code; `turn(m, σ) = ⟨sin² ψ⟩ Q + ⟨(1 - cos ψ)²⟩ S` for a normal
//! angle ψ of mean m (zero where not given) and deviation σ, which is `(m² + σ²) Q` where it is small.
//!
//! ```text
//! shot, receiver, dark   from light, amplifier and diode            (optics)
//! dac                    ⟨w²⟩ K (4^(bits - enob) - 1) / 12
//! adc                    Δ²/12 · (4^(bits - enob) - 1)
//! quantisation           Δ²/12                                      always there
//! rin                    RIN B ⟨acc²⟩
//! rin_lo                 RIN B / CMRR · (R P_LO)²
//! phase_noise            turn(2π Δν ΔT)
//! jitter                 (π f σ_t)² S                               as if it were at half the rate
//! wdm                    2 (1 - 1/Λ) XT · P                         Λ wavelengths
//! isi                    2 r² / (1 + r) · S                         r = e^(-2π B/f)
//! cell_phase, lo_phase   turn(σ)
//! drift                  turn(σ sqrt(1 - e^(-2t/τ)))
//! crosstalk              turn(c Σγ ⟨d⟩, c sqrt(Σγ² var d))          d: drives, c: what is left
//! heating                turn(heating ⟨d⟩ / 2π, 0)
//! cell_amplitude         σ² S
//! splitter               (ln 10 / 40 · σ_dB)² · stages · S
//! imbalance              (g²/4 + ψ²/2) S      g²/4 S where only one quadrature is driven
//! hybrid                 (g²/4 + ψ²/2) S      g²/4 S where only I is used
//! extinction             L² 10^(-ER/10) ⟨w²⟩ K                      zero in `single`
//! transfer               σ² ⟨L² asin²(x/L) (1 - x²/L²)⟩ ⟨w²⟩ K
//! dead                   p S
//! stuck                  p (⟨w²⟩ + L²/3) K ⟨x²⟩
//! ring                   ⟨|t₁ t₂ - w|²⟩ over all weights and errors, per quadrature; so are drift,
//!                        crosstalk and heating where cells are rings, which they detune
//! levels, write          (L²/12 levels²), (σ L)², per quadrature
//! aging                  (loss · log10 t)² ⟨acc²⟩
//! skew, receiver_skew    (f σ_t)² (1 - 1/π) / 2 · S                 zero where only one quadrature is
//! crossing               XT N/2 · L² · Σ⟨|z|²⟩ / 2
//! polarization           c² (cosh v - 1) S + (e^v - 1) (absolute)   v = artanh 10^(-PER/10)
//! reflection             R P
//! ```
//!
//! Output-stationary arrays send both operands through modulators, and add up in the detector; `Λ` is
//! the light of both vectors in symbols at full drive, `L_w` and `L_x` the largest codes, e the number
//! of operands whose lanes drive both quadratures. What is not listed is as above.
//!
//! ```text
//! shot                   2 q R P_d B Λ over amperes²                P_d: one beam at one detector
//! receiver, dark         N times that of one symbol
//! dac                    as above, of inputs and of weights
//! rin, phase_noise       RIN B · S, turn(2π Δν ΔT)                  each symbol its own
//! rin_lo                 RIN B / CMRR · (R P_d Λ)² / N
//! isi                    (ρ² - 2 (1 - r)² + 1) S                    ρ = (1 - r)/(1 + r), modulators only
//! splitter               of 2 (log N + log M) stages
//! imbalance              2 g²/4 ⟨acc²⟩ + e ψ²/2 Q
//! extinction             ε (L_x² ⟨w²⟩ + L_w² ⟨x²⟩) K + (1 or 2) N² ε² L_x² L_w²      ε = 10^(-ER/10)
//! transfer               σ² (curve(x)/⟨x²⟩ + curve(w)/⟨w²⟩) ⟨acc²⟩
//! cell_amplitude, splitter, dead, polarization, turn   as above, of ⟨acc²⟩ for S
//! reflection             R (⟨acc²⟩ + Q) / 2
//! skew                   e (f σ_t)² (1 - 1/π) / 2 · S
//! receiver_skew          (f σ_t)² / 2N · S
//! jitter                 2 (f σ_t)² / N · S                         a symbol at each end of the window
//! crossing               XT N · P                                   of both beams
//! lo_phase, crosstalk, heating, stuck, ring, levels, write, aging: none
//! ```
//!
//! *Absolute* are `shot`, `receiver`, `dark` and `rin_lo` as far as they are on: light that lies across
//! the oscillator makes no signal, so that their share of it grows.
//!
//! The parts are independent, so their squares add, but for those that detune the same rings: the total
//! has these together. Left out: clipping at the ends of the
//! converter's range, rounding when the sums are not many steps large, correlations between inputs
//! or between weights, cells at the rim of the array, and that drives and films are counted for
//! weights spread evenly, and modulators for codes spread evenly unless the codes are given. What the codes themselves lose of the user's numbers is no matter of the
//! array, and not in it either.

mod forms;
mod streamed;

use crate::optics::{decibels, step_units};
use crate::packing::Packing;
use crate::{Term, Terms};
use forms::{Forms, sine_law_square};
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
    /// `⟨L² asin²(x/L) (1 - x²/L²)⟩` of inputs and of weights, L their largest code; left out, that
    /// of codes spread evenly ([`Self::of_codes`]).
    pub sine_law: Option<[f64; 2]>,
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
            sine_law: None,
        }
    }

    /// These, with what the law of the modulators makes of given codes instead of codes spread
    /// evenly: of account for [`Term::Transfer`] where most codes are small.
    #[must_use]
    pub fn of_codes(self, chip: &ChipDescription, weights: &[i8], inputs: &[i8]) -> Self {
        let mean = |codes: &[i8], limit: i32| {
            let limit = f64::from(limit);
            // One for each byte, as codes are many and the law is slow.
            let law: [f64; 256] = std::array::from_fn(|byte| {
                let code = byte as f64 - if byte < 128 { 0.0 } else { 256.0 };
                sine_law_square(code / limit)
            });
            let squares = codes.iter().map(|&code| law[usize::from(code.cast_unsigned())]);
            limit * limit * squares.sum::<f64>() / codes.len().max(1) as f64
        };
        let of_inputs = mean(inputs, chip.input_limit());
        Self { sine_law: Some([of_inputs, mean(weights, chip.weight_limit())]), ..self }
    }

    /// The statistics of given codes and their exact sums. Nothing has a mean square of zero.
    pub fn measured(weights: &[i8], inputs: &[i8], sums: &[i32], shift: u8) -> Self {
        Self {
            mean_square_sum: mean_square(sums.iter().map(|&sum| f64::from(sum))),
            mean_square_weight: mean_square(weights.iter().map(|&code| f64::from(code))),
            mean_square_input: mean_square(inputs.iter().map(|&code| f64::from(code))),
            shift,
            sine_law: None,
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

/// What detunes rings. Their errors do not add up where rings are sharp, so that the total counts them
/// together.
const DETUNING: [Term; 4] = [Term::Ring, Term::Drift, Term::Crosstalk, Term::Heating];

/// The expected noise of a tile.
#[derive(Clone, Debug, PartialEq)]
pub struct Budget {
    /// Each part, in the order of [`Term::ALL`], quantisation last.
    pub parts: Vec<(Source, Part)>,
    /// All parts together.
    pub total: Part,
}

impl Budget {
    /// What `chip` makes of data with these statistics while `terms` are on, in conjugate folding.
    pub fn predict(chip: &ChipDescription, terms: Terms, statistics: &Statistics) -> Self {
        Self::predict_packed(chip, Packing::Conjugate, terms, statistics)
    }

    /// What `chip` makes of data in a packing. The statistics are those of real codes and of real
    /// sums. A term without strength has no part.
    pub fn predict_packed(
        chip: &ChipDescription,
        packing: Packing,
        terms: Terms,
        statistics: &Statistics,
    ) -> Self {
        let forms = Forms::of(chip, packing, terms, *statistics);
        let part = |variance: f64| Part {
            sigma_units: variance.sqrt(),
            snr_rms_db: decibels(statistics.mean_square_sum / variance),
        };
        let mut variances: Vec<(Source, f64)> = terms
            .iter()
            .map(|term| (Source::Term(term), forms.variance(term)))
            .filter(|(_, variance)| *variance > 0.0)
            .collect();
        let step = step_units(statistics.shift);
        variances.push((Source::Quantisation, step * step / 12.0));
        let detuning = |source: &Source| match source {
            Source::Term(term) => DETUNING.contains(term),
            Source::Quantisation => false,
        };
        let together = DETUNING.into_iter().filter(|&term| terms.contains(term));
        let together = forms.detuned(together.fold(Terms::none(), Terms::with));
        let total = variances
            .iter()
            .filter(|(source, _)| together.is_none() || !detuning(source))
            .map(|(_, variance)| variance)
            .sum::<f64>()
            + together.unwrap_or(0.0);
        Self {
            parts: variances.into_iter().map(|(source, of)| (source, part(of))).collect(),
            total: part(total),
        }
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
        // RIN: -155 dB in 1 GHz. 100 kHz over 7 ps: 2π · 1e5 · 7e-12 = 4.4e-6.
        close(db(Source::Term(Term::Rin)), 65.0);
        // Shot over it: 2 q / (R P_LO · RIN / CMRR) = 253.
        close(db(Source::Term(Term::RinLo)), 38.64 + 24.03);
        close(db(Source::Term(Term::PhaseNoise)), 53.57);
        // Half a code of noise on inputs of 127/√3.
        close(db(Source::Term(Term::Dac)), 43.36);
        // 18 stages of ln 10 / 40 · 0.005 each.
        close(db(Source::Term(Term::Splitter)), 58.26);
        // 3e-3²/4 + 3e-3²/2.
        close(db(Source::Term(Term::Imbalance)), 51.71);
        // Uniform inputs are a third of full scale's power.
        close(db(Source::Term(Term::Extinction)), 50.0 - 4.74);
        close(db(Source::Term(Term::Jitter)), 64.04);
        // (2 GHz · 0.5 ps)² · 0.3408.
        close(db(Source::Term(Term::Skew)), 64.67);
        // 32 crossings at -70 dB beside weights of a third of full scale's power.
        close(db(Source::Term(Term::Crossing)), 70.0 - 15.05 - 4.74);
        close(db(Source::Term(Term::Reflection)), 55.0);
        // A tenth of 0.01 / sqrt 2, and 1 % more of shot and amplifier.
        close(db(Source::Term(Term::Polarization)), 57.1);
        let sum: f64 =
            budget.parts.iter().map(|(_, part)| part.sigma_units * part.sigma_units).sum();
        assert!((sum.sqrt() / budget.total.sigma_units - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_term_that_is_off_has_no_part() {
        let chip = builtin("tiny-4").unwrap();
        let statistics = Statistics::uniform(&chip, 8);
        let budget = Budget::predict(&chip, Terms::only(Term::Adc), &statistics);
        assert_eq!(budget.parts.len(), 2);
        let absent = Budget::predict(&chip, Terms::only(Term::Ring), &statistics);
        assert_eq!(absent.parts.len(), 1, "there are no rings");
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
            sine_law: None,
        };
        assert_eq!(statistics, expected);
        assert!(Statistics::measured(&[], &[], &[], 0).mean_square_sum.abs() < f64::MIN_POSITIVE);
    }
}
