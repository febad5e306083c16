//! How strong each dynamic term is where both operands are streamed.
//!
//! A sample is the sum of N symbols' currents, so what is drawn for a symbol elsewhere is drawn once
//! for the sum here: independent in each symbol, and weighted by products of its own in each detector.
//! With `A = Σ|z|²` and `B = Σ|w̃|²` of the two vectors in codes, `Λ = A/(2L_x²) + B/(2L_w²)` the light
//! of both (a lane that holds one code has no 2), and `P = A B / 2N` the mean square of one quadrature
//! of the sum, a term adds a normal of variance
//!
//! ```text
//! absolute + steps Δ² + light Λ + light² Λ² + weights Σw² + inputs Σx² + field P
//! ```

use crate::dynamic::{Dynamics, half_skew, neighbor_light, overlap, phase_sigma, turned};
use crate::fold;
use crate::optics::{Optics, power_ratio};
use crate::packing::Packing;
use crate::{Term, Terms};
use litecore_types::chip::ChipDescription;

/// What the variance of one sample is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Strength {
    /// Variance in units² of the exact sum.
    pub(crate) absolute: f64,
    /// Variance in converter steps squared.
    pub(crate) steps: f64,
    /// Variance per light of both operands.
    pub(crate) light: f64,
    /// Variance per light of both operands, squared.
    pub(crate) light_squared: f64,
    /// Variance per sum of squared weights.
    pub(crate) weights: f64,
    /// Variance per sum of squared inputs.
    pub(crate) inputs: f64,
    /// Variance per mean square of one quadrature of the sum.
    pub(crate) field: f64,
}

/// What a variance depends on, of one pair of vectors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// The converter's step in units of the exact sum.
    pub(crate) step: f64,
    /// Light of both operands, in symbols at full drive of one.
    pub(crate) light: f64,
    /// Sum of the squared weights of the output.
    pub(crate) weights: f64,
    /// Sum of the squared inputs that meet them.
    pub(crate) inputs: f64,
    /// Mean square of one quadrature of the sum.
    pub(crate) field: f64,
}

impl Strength {
    pub(crate) fn variance(&self, of: Sizes) -> f64 {
        self.absolute
            + self.steps * of.step * of.step
            + self.light * of.light
            + self.light_squared * of.light * of.light
            + self.weights * of.weights
            + self.inputs * of.inputs
            + self.field * of.field
    }

    /// Both, which are independent.
    pub(crate) fn plus(&self, other: &Self) -> Self {
        Self {
            absolute: self.absolute + other.absolute,
            steps: self.steps + other.steps,
            light: self.light + other.light,
            light_squared: self.light_squared + other.light_squared,
            weights: self.weights + other.weights,
            inputs: self.inputs + other.inputs,
            field: self.field + other.field,
        }
    }
}

/// Codes in one operand's lane.
pub(crate) fn codes_per_lane(packing: Packing) -> [f64; 2] {
    let inputs = if packing.drives_quadrature() { 2.0 } else { 1.0 };
    [inputs, packing.weights_per_cell() as f64]
}

/// The terms that are on and have strength, in the order of [`Term::ALL`].
pub(crate) fn strengths(
    chip: &ChipDescription,
    terms: Terms,
    packing: Packing,
) -> Vec<(Term, Strength)> {
    let of = |term| (term, strength(chip, terms, packing, term));
    terms.iter().map(of).filter(|(_, strength)| *strength != Strength::default()).collect()
}

fn strength(chip: &ChipDescription, terms: Terms, packing: Packing, term: Term) -> Strength {
    let optics = Optics::of_packing(chip, packing);
    let symbols = chip.array.inputs as f64;
    let square = |x: f64| x * x;
    let none = Strength::default();
    // What does not beat is lost: one unit of the sum is fewer amperes.
    let light = if terms.contains(Term::Polarization) { overlap(chip) } else { 1.0 };
    let in_units = |sigma: f64| square(sigma / light);
    // The sum of independent products, over one quadrature of the field.
    let signal = if packing == Packing::Single { 2.0 } else { 1.0 };
    let unwanted = if packing == Packing::Single { 0.0 } else { 1.0 };
    match term {
        Term::Shot => {
            // Both operands at full drive are two symbols' light in each symbol.
            Strength { light: in_units(optics.shot_sigma_units) / (2.0 * symbols), ..none }
        }
        Term::Receiver => Strength { absolute: in_units(optics.receiver_sigma_units), ..none },
        Term::Dark => Strength { absolute: in_units(optics.dark_sigma_units), ..none },
        Term::Rin => Strength { field: signal * square(intensity(chip)), ..none },
        Term::RinLo => {
            let rejection = chip.receiver.common_mode_rejection_db.quantity();
            let let_through = rejection.map_or(0.0, |db| power_ratio(-db.value));
            let amperes = intensity(chip) * optics.oscillator_amperes / optics.amperes_per_unit;
            Strength { light_squared: let_through * in_units(amperes) / symbols, ..none }
        }
        Term::PhaseNoise => {
            let [across, along] = turned(0.0, phase_sigma(chip));
            Strength { field: across * unwanted + along * signal, ..none }
        }
        Term::Dac => {
            // Both operands come from converters of this kind.
            let inputs = optics.dac_sigma_codes;
            let weights = inputs * f64::from(chip.weight_limit()) / f64::from(chip.input_limit());
            Strength { weights: square(inputs), inputs: square(weights), ..none }
        }
        Term::Adc => Strength { steps: square(optics.adc_sigma_steps), ..none },
        Term::Jitter => {
            // The window opens and closes at instants of their own; each moves by τ and so loses f τ of
            // the symbol at its end, or gains as much of the one beyond: as strong, and independent.
            let share = chip.clock.symbol_rate_hz.value * chip.receiver.jitter_s.value();
            Strength { field: signal * 2.0 * share * share / symbols, ..none }
        }
        Term::Wdm => Strength { field: neighbor_light(chip), ..none },
        Term::Skew => {
            let share = half_skew(chip, chip.modulator.iq_skew_s.value());
            let lanes = codes_per_lane(packing).into_iter().filter(|&codes| codes > 1.0).count();
            Strength { field: lanes as f64 * share * share, ..none }
        }
        Term::ReceiverSkew if packing.reads_quadrature() => {
            // One symbol of the sum is cut at one end, and another looks in at the other.
            let share = half_skew(chip, chip.receiver.iq_skew_s.value());
            Strength { field: 2.0 * share * share / symbols, ..none }
        }
        // Of both beams; who else is on the crossed guides is no matter of this sum.
        Term::Crossing => Strength { field: 2.0 * fold::crossing_power(chip), ..none },
        _ => none,
    }
}

/// Standard deviation of a symbol's relative intensity.
fn intensity(chip: &ChipDescription) -> f64 {
    Dynamics::of(chip, Terms::only(Term::Rin), Packing::Conjugate).rin_sigma
}
