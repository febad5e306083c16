//! The closed form of each term, as the table of [`super`] has it.

use super::Statistics;
use crate::dynamic::{Dynamics, lag, overlap, polarization_variance, skew_error, turned};
use crate::fold;
use crate::optics::{power_ratio, step_units};
use crate::packing::Packing;
use crate::{Term, Terms};
use litecore_types::chip::{ChipDescription, Dataflow, Readout};
use std::f64::consts::{LN_10, TAU};

/// What the closed forms are made of.
pub(super) struct Forms<'a> {
    pub(super) chip: &'a ChipDescription,
    pub(super) packing: Packing,
    /// The terms that are on together.
    terms: Terms,
    pub(super) statistics: Statistics,
    /// `⟨w²⟩ K`: an output's sum of squared coefficients.
    pub(super) weights: f64,
    /// `⟨x²⟩ K`: the sum of squared inputs that meet them.
    pub(super) inputs: f64,
    /// S, the power of the sum of independent products.
    pub(super) signal: f64,
    /// P, the power of one quadrature of the field.
    pub(super) field: f64,
    /// Q, the power of the quadrature that is not wanted.
    pub(super) unwanted: f64,
}

impl<'a> Forms<'a> {
    pub(super) fn of(
        chip: &'a ChipDescription,
        packing: Packing,
        terms: Terms,
        statistics: Statistics,
    ) -> Self {
        let rows = chip.array.inputs as f64;
        let per_row = if packing.drives_quadrature() { 2.0 } else { 1.0 };
        let products = match packing {
            Packing::Single | Packing::Tokens | Packing::Rows => rows,
            Packing::Conjugate | Packing::Complex => 2.0 * rows,
        };
        let (weight, input) = (statistics.mean_square_weight, statistics.mean_square_input);
        let field = rows * packing.weights_per_cell() as f64 * weight * per_row * input / 2.0;
        Self {
            chip,
            packing,
            terms,
            statistics,
            weights: products * weight,
            inputs: products * input,
            signal: products * weight * input,
            field,
            unwanted: if packing == Packing::Single { 0.0 } else { field },
        }
    }

    /// The variance of one sample that a term makes.
    pub(super) fn variance(&self, term: Term) -> f64 {
        let (chip, cell) = (self.chip, &self.chip.cell);
        let square = |x: f64| x * x;
        if self.is_streamed()
            && let Some(variance) = self.streamed(term)
        {
            return variance;
        }
        if let Some(variance) = self.detuned(Terms::only(term)) {
            return variance;
        }
        match term {
            Term::Shot
            | Term::Receiver
            | Term::Dark
            | Term::Dac
            | Term::Adc
            | Term::Jitter
            | Term::Wdm
            | Term::Rin
            | Term::RinLo
            | Term::PhaseNoise => self.dynamic(term),
            Term::Isi => 2.0 * square(lag(chip)) / (1.0 + lag(chip)) * self.signal,
            Term::CellPhase => self.turned(cell.phase_error_rad.value()),
            Term::LoPhase => self.turned(chip.receiver.lo_phase_error_rad.value()),
            Term::Drift => {
                self.turned(cell.drift_rad.value() * fold::age_share(chip, cell.age_s.value))
            }
            Term::Crosstalk => {
                let (sum, squares) = fold::neighbor_sums(chip);
                let drives = fold::drive_statistics(chip, self.packing);
                self.turned_about(sum * drives.mean, (squares * drives.variance).sqrt())
            }
            Term::Heating => {
                let drives = fold::drive_statistics(chip, self.packing);
                self.turned_about(drives.mean / TAU * cell.heating_phase_rad.value(), 0.0)
            }
            Term::CellAmplitude => square(cell.amplitude_error.value()) * self.signal,
            Term::Splitter => splitter_variance(chip) * self.signal,
            Term::Imbalance => {
                let modulator = &chip.modulator;
                let gain = square(modulator.iq_gain_error.value()) / 4.0;
                let angle = square(modulator.iq_phase_error_rad.value()) / 2.0;
                let both = self.packing.drives_quadrature();
                (gain + if both { angle } else { 0.0 }) * self.signal
            }
            Term::Hybrid if chip.receiver.readout == Readout::I => 0.0,
            Term::Hybrid => {
                let gain = square(chip.receiver.hybrid_gain_error.value()) / 4.0;
                let angle = square(chip.receiver.hybrid_phase_error_rad.value()) / 2.0;
                let both = self.packing.reads_quadrature();
                (gain + if both { angle } else { 0.0 }) * self.signal
            }
            Term::Extinction if self.packing == Packing::Single => 0.0,
            Term::Extinction => chip.modulator.extinction_db.quantity().map_or(0.0, |db| {
                square(f64::from(chip.input_limit())) * power_ratio(-db.value) * self.weights
            }),
            Term::Transfer => {
                square(chip.modulator.transfer_error.value()) * self.curves()[0] * self.weights
            }
            Term::Dead => cell.dead_fraction.value() * self.signal,
            Term::Stuck => cell.stuck_fraction.value() * self.another_weight(),
            Term::Settling => square(cell.settling_residual.value()) * self.another_weight(),
            Term::Skew if !self.packing.drives_quadrature() => 0.0,
            Term::ReceiverSkew if !self.packing.reads_quadrature() => 0.0,
            Term::Skew => skew_error(chip, chip.modulator.iq_skew_s.value()) * self.signal,
            Term::ReceiverSkew => skew_error(chip, chip.receiver.iq_skew_s.value()) * self.signal,
            Term::Crossing => self.beside_the_weights(fold::crossing_power(chip)),
            Term::Polarization => self.polarization(),
            Term::Reflection => fold::reflected_power(chip) * self.field,
            Term::Ring | Term::Levels | Term::Write | Term::Aging => self.cell_kind(term),
        }
    }

    /// The error of cells that all hold a random weight instead of their own.
    fn another_weight(&self) -> f64 {
        let limit = f64::from(self.chip.weight_limit());
        (1.0 + limit * limit / 3.0 / self.statistics.mean_square_weight) * self.signal
    }

    /// Terms that are drawn for each symbol, each alone.
    fn dynamic(&self, term: Term) -> f64 {
        if self.is_streamed() {
            return self.drawn(term);
        }
        let dynamics = Dynamics::of(self.chip, Terms::only(term), self.packing);
        let step = step_units(self.statistics.shift);
        let per_output: f64 = dynamics
            .per_output
            .iter()
            .map(|noise| noise.variance(step, self.weights, self.field))
            .sum();
        let rin = dynamics.rin_sigma * dynamics.rin_sigma * self.statistics.mean_square_sum;
        let rin_lo = dynamics.rin_lo_units * dynamics.rin_lo_units;
        per_output + rin + rin_lo + self.turned(dynamics.phase_sigma)
    }

    /// Terms that only some kinds of cell have.
    fn cell_kind(&self, term: Term) -> f64 {
        let chip = self.chip;
        let film = chip.phase_change.as_ref();
        let fading = film.map_or(0.0, |film| fold::faded(film, chip.cell.age_s.value));
        // Errors along the weight itself, which in `single` lies in the one quadrature.
        let along = if self.packing == Packing::Single { 2.0 } else { 1.0 };
        let variance = match term {
            Term::Aging => return fading * fading * self.statistics.mean_square_sum,
            Term::Levels => film.map_or(0.0, |film| {
                let levels = fold::level_count(film);
                along / (12.0 * levels * levels)
            }),
            Term::Write => {
                film.map_or(0.0, |film| along * film.write_error.value() * film.write_error.value())
            }
            // Only what detunes rings makes such an error.
            _ => 0.0,
        };
        self.beside_the_weights(variance)
    }

    /// What these terms make together by detuning rings, if they do: sharp rings do not add them up.
    pub(super) fn detuned(&self, terms: Terms) -> Option<f64> {
        let detuning = fold::Detuning::of(self.chip, self.packing, terms)?;
        let error = fold::ring_mean_square_error(self.chip, self.packing, detuning);
        Some(self.beside_the_weights(error))
    }

    /// What complex errors of the weights make, of this mean square over full scale.
    fn beside_the_weights(&self, mean_square: f64) -> f64 {
        let full = fold::full_scale(self.chip.weight_limit(), self.packing);
        let per_row = if self.packing.drives_quadrature() { 2.0 } else { 1.0 };
        let rows = self.chip.array.inputs as f64;
        mean_square * full * full * rows * per_row * self.statistics.mean_square_input / 2.0
    }

    /// What calibration leaves of the cells' differences, and what the lost light adds to the terms
    /// that are absolute.
    fn polarization(&self) -> f64 {
        let chip = self.chip;
        let v = polarization_variance(chip);
        let left = chip.path.polarization_residual.value();
        // cosh v − 1, by its series: v is a third at most.
        let sums = if self.is_streamed() { self.statistics.mean_square_sum } else { self.signal };
        let differences = left * left * v * v / 2.0 * (1.0 + v * v / 12.0) * sums;
        let absolute: f64 = [Term::Shot, Term::Receiver, Term::Dark, Term::RinLo]
            .into_iter()
            .filter(|&term| self.terms.contains(term))
            .map(|term| self.dynamic(term))
            .sum();
        let light = overlap(chip);
        differences + (1.0 / (light * light) - 1.0) * absolute
    }

    /// The error of sums that are turned by a normal angle of this deviation.
    fn turned(&self, sigma: f64) -> f64 {
        self.turned_about(0.0, sigma)
    }

    /// The error of sums that are turned by a normal angle of this mean and deviation.
    fn turned_about(&self, mean: f64, sigma: f64) -> f64 {
        let [across, along] = turned(mean, sigma);
        let sums = if self.is_streamed() { self.statistics.mean_square_sum } else { self.signal };
        across * self.unwanted + along * sums
    }

    fn is_streamed(&self) -> bool {
        self.chip.array.dataflow == Dataflow::OutputStationary
    }

    /// `⟨L² asin²(x/L) (1 - x²/L²)⟩` of inputs and of weights: of the codes themselves where they are
    /// known, else of codes spread evenly, as wide as their mean square.
    pub(super) fn curves(&self) -> [f64; 2] {
        let (chip, statistics) = (self.chip, &self.statistics);
        statistics.sine_law.unwrap_or_else(|| {
            [
                evenly_spread(chip.input_limit(), statistics.mean_square_input),
                evenly_spread(chip.weight_limit(), statistics.mean_square_weight),
            ]
        })
    }
}

/// The variance of a cell's relative amplitude that splitters and combiners make.
pub(super) fn splitter_variance(chip: &ChipDescription) -> f64 {
    let stage = chip.path.splitter_imbalance_db.value() * LN_10 / 40.0;
    f64::from(fold::splitter_stages(chip)) * stage * stage
}

/// The mean of [`sine_law_square`] over codes spread evenly with this mean square.
fn evenly_spread(limit: i32, mean_square: f64) -> f64 {
    const STEPS: u32 = 1000;
    let limit = f64::from(limit);
    let width = ((3.0 * mean_square).sqrt() / limit).min(1.0);
    let sum: f64 = (0..STEPS)
        .map(|step| {
            let x = width * (f64::from(step) + 0.5) / f64::from(STEPS);
            sine_law_square(x)
        })
        .sum();
    limit * limit * sum / f64::from(STEPS)
}

/// `asin²(x) (1 - x²)`: the square of what the sine law makes of a small relative error in half-wave
/// voltage after it is undone.
pub(super) fn sine_law_square(x: f64) -> f64 {
    let asin = pxfm::f_asin(x.clamp(-1.0, 1.0));
    (asin * asin * (1.0 - x * x)).max(0.0)
}
