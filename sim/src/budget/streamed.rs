//! The closed forms of output-stationary arrays, as the second table of [`super`] has them.

use super::forms::{Forms, splitter_variance};
use crate::dynamic::skew_error;
use crate::fold;
use crate::optics::{power_ratio, step_units};
use crate::packing::Packing;
use crate::streamed::noise::{Sizes, codes_per_lane, strengths};
use crate::{Term, Terms};
use std::f64::consts::TAU;

impl Forms<'_> {
    /// The variance of one sample that a term makes; `None` where it is the same as in an array that
    /// holds its weights.
    pub(super) fn streamed(&self, term: Term) -> Option<f64> {
        let (chip, modulator) = (self.chip, &self.chip.modulator);
        let square = |x: f64| x * x;
        let lanes = codes_per_lane(self.packing);
        let lanes_of_two = lanes.into_iter().filter(|&codes| codes > 1.0).count() as f64;
        // A lane or a detector is one factor of all that it sums up, so what it does goes with the
        // sums as they are, and not with those of independent products. What differs between the two
        // quadratures of a lane takes their parts of the sum as uncorrelated.
        let sums = self.statistics.mean_square_sum;
        Some(match term {
            Term::CellAmplitude => square(chip.cell.amplitude_error.value()) * sums,
            Term::Splitter => splitter_variance(chip) * sums,
            Term::Dead => chip.cell.dead_fraction.value() * sums,
            // Half of its power beats with each quadrature.
            Term::Reflection => fold::reflected_power(chip) * (sums + self.unwanted) / 2.0,
            // What one lane does, of both operands: it sums up.
            Term::Imbalance => {
                let gain = square(modulator.iq_gain_error.value()) / 4.0;
                let angle = square(modulator.iq_phase_error_rad.value()) / 2.0;
                2.0 * gain * sums + lanes_of_two * angle * self.unwanted
            }
            Term::Extinction => modulator.extinction_db.quantity().map_or(0.0, |db| {
                let leak = power_ratio(-db.value);
                let input = leak * square(f64::from(chip.input_limit()));
                let weight = leak * square(f64::from(chip.weight_limit()));
                let one_leaks = match self.packing {
                    Packing::Single => 0.0,
                    _ => input * self.weights + weight * self.inputs,
                };
                // Both leak, in every symbol with the same sign.
                let both = match self.packing {
                    Packing::Single | Packing::Tokens | Packing::Rows => 1.0,
                    Packing::Conjugate | Packing::Complex => 2.0,
                };
                one_leaks + both * square(chip.array.inputs as f64) * input * weight
            }),
            Term::Transfer => {
                // A small code is itself, and a large one less.
                let [input, weight] = self.curves();
                let left = |curve: f64, codes: f64| if codes > 0.0 { curve / codes } else { 1.0 };
                let left = left(input, self.statistics.mean_square_input)
                    + left(weight, self.statistics.mean_square_weight);
                square(modulator.transfer_error.value()) * left * sums
            }
            Term::Skew => {
                lanes_of_two * skew_error(chip, modulator.iq_skew_s.value()) * self.signal
            }
            Term::Isi => {
                let left = modulator.bandwidth_hz.quantity().map_or(0.0, |hz| {
                    pxfm::f_exp(-TAU * hz.value / chip.clock.symbol_rate_hz.value)
                });
                // Each operand keeps (1 - r)/(1 + r) of its power and 1 - r of itself.
                let power = square((1.0 - left) / (1.0 + left));
                (power - 2.0 * square(1.0 - left) + 1.0) * self.signal
            }
            Term::ReceiverSkew | Term::Crossing => self.drawn(term),
            // No oscillator, no heaters, no weights that are held.
            Term::LoPhase
            | Term::Crosstalk
            | Term::Heating
            | Term::Stuck
            | Term::Settling
            | Term::Ring
            | Term::Levels
            | Term::Write
            | Term::Aging => 0.0,
            _ => return None,
        })
    }

    /// The variance of what a term draws for each sum, alone.
    pub(super) fn drawn(&self, term: Term) -> f64 {
        let chip = self.chip;
        let share =
            |mean_square: f64, limit: i32| mean_square / (f64::from(limit) * f64::from(limit));
        let (input, weight) =
            (self.statistics.mean_square_input, self.statistics.mean_square_weight);
        let of_lanes = share(input, chip.input_limit()) + share(weight, chip.weight_limit());
        let sizes = Sizes {
            step: step_units(self.statistics.shift),
            light: chip.array.inputs as f64 * of_lanes,
            weights: self.weights,
            inputs: self.inputs,
            field: self.field,
        };
        strengths(chip, Terms::only(term), self.packing)
            .iter()
            .map(|(_, strength)| strength.variance(sizes))
            .sum()
    }
}
