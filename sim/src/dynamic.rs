//! What differs from symbol to symbol: how strong each dynamic term is, and its draws.
//!
//! A term that draws for each output adds a normal with the variance
//!
//! ```text
//! absolute + steps · Δ² + weights · Σ_k w_k² + field · P        in units² of the exact sum
//! ```
//!
//! Δ is the converter's step, w are the output's real coefficients, and `P = Σ|c|² Σ|z|² / 2N` is
//! the mean square of one quadrature of the column's field when the operands' phases are random.
//!
//! `phase_noise` turns a symbol's fields by one angle φ. Where both quadratures are read the turn is
//! carried out. Where only I is read, I becomes `I cos φ − Q sin φ`, and Q is not computed but
//! drawn: it is a sum of N products of which each has a phase of its own, so a normal of variance P.
//! The law of the sum is exact for operands of random phase and N ≫ 1; that this Q is not the Q of
//! the given operands is the approximation. `single` has no Q.
//!
//! `skew` and `receiver_skew` show some of the symbols next to the one that is read. They are not
//! computed but drawn as well, as the field of a symbol just as strong: a symbol's result then depends
//! on no other.

use crate::optics::{Optics, power_ratio};
use crate::packing::Packing;
use crate::{Term, Terms};
use litecore_kernels::math::sin_cos;
use litecore_types::chip::ChipDescription;
use std::f64::consts::{PI, TAU};

/// How the terms that draw for each output are drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Draws {
    /// One normal for each output, with the variance of the sum of all terms: the exact law of the
    /// sum, at the price of one draw. Two runs that differ in a dynamic term share the draw, not its
    /// size.
    #[default]
    Merged,
    /// A normal for each term and output, so that two runs that differ in one term share all
    /// others: for paired comparisons.
    PerTerm,
}

/// The strength of a term that draws a normal for each output and symbol.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OutputNoise {
    /// The term.
    pub term: Term,
    /// Variance in units² of the exact sum.
    pub absolute: f64,
    /// Variance in converter steps squared.
    pub steps: f64,
    /// Variance per sum of squared coefficients of the output.
    pub weights: f64,
    /// Variance per mean square of one quadrature of the field.
    pub field: f64,
}

/// Everything dynamic about one array.
#[derive(Clone, Debug, PartialEq)]
pub struct Dynamics {
    /// The terms that draw for each output, in the order of [`Term::ALL`]; those without strength
    /// are left out.
    pub per_output: Vec<OutputNoise>,
    /// Standard deviation of a symbol's relative gain.
    pub rin_sigma: f64,
    /// Size of the oscillator's intensity noise in each output, in units of the exact sum.
    pub rin_lo_units: f64,
    /// Standard deviation of a symbol's phase.
    pub phase_sigma: f64,
    /// Share of the symbol before in what is sampled.
    pub lag: f64,
    /// Whether I is read without Q, and Q is not zero by construction.
    pub leaks_quadrature: bool,
}

impl Dynamics {
    /// The dynamics of a chip in a packing.
    pub fn of(chip: &ChipDescription, terms: Terms, packing: Packing) -> Self {
        let optics = Optics::of_packing(chip, packing);
        let on = |term, value: f64| if terms.contains(term) { value } else { 0.0 };
        let bandwidth = chip.clock.symbol_rate_hz.value / 2.0;
        let intensity = chip.laser.rin_db_per_hz.quantity();
        let intensity = intensity.map_or(0.0, |db| power_ratio(db.value) * bandwidth);
        let rejection = chip.receiver.common_mode_rejection_db.quantity();
        let let_through = rejection.map_or(0.0, |db| power_ratio(-db.value));
        let square = |x: f64| x * x;
        // What does not beat with the oscillator is lost: one unit of the sum is fewer amperes.
        let light = if terms.contains(Term::Polarization) { overlap(chip) } else { 1.0 };
        let in_units = |sigma: f64| square(sigma / light);
        let none = |term| OutputNoise { term, absolute: 0.0, steps: 0.0, weights: 0.0, field: 0.0 };
        let per_output = [
            OutputNoise { absolute: in_units(optics.shot_sigma_units), ..none(Term::Shot) },
            OutputNoise { absolute: in_units(optics.receiver_sigma_units), ..none(Term::Receiver) },
            OutputNoise { absolute: in_units(optics.dark_sigma_units), ..none(Term::Dark) },
            OutputNoise { weights: square(optics.dac_sigma_codes), ..none(Term::Dac) },
            OutputNoise { steps: square(optics.adc_sigma_steps), ..none(Term::Adc) },
            OutputNoise { field: jitter(chip, packing), ..none(Term::Jitter) },
            OutputNoise { field: neighbor_light(chip), ..none(Term::Wdm) },
            OutputNoise { field: skew_of_rows(chip, packing), ..none(Term::Skew) },
            OutputNoise { field: skew_of_outputs(chip, packing), ..none(Term::ReceiverSkew) },
        ];
        Self {
            per_output: per_output
                .into_iter()
                .filter(|noise| terms.contains(noise.term) && noise.variance(1.0, 1.0, 1.0) > 0.0)
                .collect(),
            rin_sigma: on(Term::Rin, intensity.sqrt()),
            rin_lo_units: on(
                Term::RinLo,
                (intensity * let_through).sqrt() * optics.oscillator_amperes
                    / optics.amperes_per_unit
                    / light,
            ),
            phase_sigma: on(Term::PhaseNoise, phase_sigma(chip)),
            lag: on(Term::Isi, lag(chip)),
            leaks_quadrature: packing == Packing::Conjugate,
        }
    }

    /// Whether a symbol draws anything.
    pub fn draws(&self) -> bool {
        !self.per_output.is_empty()
            || self.rin_sigma > 0.0
            || self.rin_lo_units > 0.0
            || self.phase_sigma > 0.0
    }

    /// Whether anything happens between fold and converter.
    pub fn err(&self) -> bool {
        self.draws() || self.lag > 0.0
    }
}

impl OutputNoise {
    /// The variance of one sample, in units² of the exact sum.
    ///
    /// `step` is the converter's step in units, `weights` the output's sum of squared coefficients,
    /// `field` the mean square of one quadrature of its field.
    pub fn variance(&self, step: f64, weights: f64, field: f64) -> f64 {
        self.absolute + self.steps * step * step + self.weights * weights + self.field * field
    }
}

/// `σ_φ = sqrt(2π Δν |ΔT|)`: laser phase noise over the mismatch of two ways.
pub(crate) fn phase_sigma(chip: &ChipDescription) -> f64 {
    (TAU * chip.laser.linewidth_hz.value() * chip.path.mismatch_ps.value() * 1e-12).sqrt()
}

/// Relative variance of a sample at an uncertain instant, for a signal at half the symbol rate:
/// `(2π f_in σ_t)²`, over one quadrature of the field.
fn jitter(chip: &ChipDescription, packing: Packing) -> f64 {
    let angle = PI * chip.clock.symbol_rate_hz.value * chip.receiver.jitter_s.value();
    // All the field of real operands is in the one quadrature.
    let share = if packing == Packing::Single { 2.0 } else { 1.0 };
    share * angle * angle
}

/// Light of the neighboring wavelengths over the own, in the mean over the band.
pub(crate) fn neighbor_light(chip: &ChipDescription) -> f64 {
    let channels = chip.array.wavelengths as f64;
    let neighbors = 2.0 * (channels - 1.0) / channels;
    chip.path.wdm_crosstalk_db.quantity().map_or(0.0, |db| neighbors * power_ratio(db.value))
}

/// Shares of the unwanted and of the wanted quadrature's power in the error of sums that are turned
/// by a normal angle ψ of this mean and deviation: `⟨sin² ψ⟩` and `⟨(1 - cos ψ)²⟩`.
pub(crate) fn turned(mean: f64, sigma: f64) -> [f64; 2] {
    let (m, v) = (mean * mean, sigma * sigma);
    let cos = sin_cos(mean).1 * pxfm::f_exp(-v / 2.0);
    let cos_of_twice = sin_cos(2.0 * mean).1 * pxfm::f_exp(-2.0 * v);
    let across = (1.0 - cos_of_twice) / 2.0;
    // Of nearly equal numbers, so by its series where that is exact enough.
    let along = if m + v < 1e-4 {
        (m * m + 6.0 * m * v + 3.0 * v * v) / 4.0
    } else {
        1.5 - 2.0 * cos + cos_of_twice / 2.0
    };
    [across, along]
}

/// Half of a skew over the symbol's duration: what each of two drives loses at one end of the
/// receiver's window, which calibration puts between them, and shows of the symbol next to it.
pub(crate) fn half_skew(chip: &ChipDescription, skew_s: f64) -> f64 {
    skew_s * chip.clock.symbol_rate_hz.value / 2.0
}

/// The variance of one sample's error through a skew of this deviation, over its signal: what is
/// drawn of the neighbors, and `|τ|` less its mean of the symbol itself.
pub(crate) fn skew_error(chip: &ChipDescription, skew_s: f64) -> f64 {
    let half = half_skew(chip, skew_s);
    half * half * (2.0 - std::f64::consts::FRAC_2_PI)
}

/// The symbols next to this one through the skew of the rows, over one quadrature of the field: as
/// strong as this one, and independent of it.
fn skew_of_rows(chip: &ChipDescription, packing: Packing) -> f64 {
    let share = half_skew(chip, chip.modulator.iq_skew_s.value());
    if packing.drives_quadrature() { share * share } else { 0.0 }
}

/// The same through the skew of the outputs.
fn skew_of_outputs(chip: &ChipDescription, packing: Packing) -> f64 {
    let share = half_skew(chip, chip.receiver.iq_skew_s.value());
    if packing.reads_quadrature() { share * share } else { 0.0 }
}

/// Variance of the angle between a cell's light and the oscillator. A normal angle of variance v has
/// `⟨sin²⟩ / ⟨cos²⟩ = tanh v`, which is what the extinction states.
pub(crate) fn polarization_variance(chip: &ChipDescription) -> f64 {
    chip.path.polarization_extinction_db.quantity().map_or(0.0, |db| {
        let ratio = power_ratio(-db.value);
        pxfm::f_log((1.0 + ratio) / (1.0 - ratio)) / 2.0
    })
}

/// `⟨cos θ⟩ = e^(−v/2)`: the share of the field that beats with the oscillator.
pub(crate) fn overlap(chip: &ChipDescription) -> f64 {
    pxfm::f_exp(-polarization_variance(chip) / 2.0)
}

/// `1 − Π (1 − e^(−2π B/f))`: what modulator and receiver leave of the symbol before.
pub(crate) fn lag(chip: &ChipDescription) -> f64 {
    let left = |bandwidth: Option<f64>| {
        bandwidth.map_or(0.0, |hz| pxfm::f_exp(-TAU * hz / chip.clock.symbol_rate_hz.value))
    };
    let modulator = left(chip.modulator.bandwidth_hz.quantity().map(|hz| hz.value));
    let receiver = left(chip.receiver.bandwidth_hz.quantity().map(|hz| hz.value));
    1.0 - (1.0 - modulator) * (1.0 - receiver)
}
