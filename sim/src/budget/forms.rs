//! The closed form of each term, as the table of [`super`] has it.

use super::Statistics;
use crate::dynamic::{Dynamics, lag};
use crate::fold;
use crate::optics::{power_ratio, step_units};
use crate::packing::Packing;
use crate::{Term, Terms};
use litecore_kernels::math::sin_cos;
use litecore_types::chip::{ChipDescription, Readout};
use std::f64::consts::{LN_10, TAU};

/// What the closed forms are made of.
pub(super) struct Forms<'a> {
    chip: &'a ChipDescription,
    packing: Packing,
    statistics: Statistics,
    /// `⟨w²⟩ K`: an output's sum of squared coefficients.
    weights: f64,
    /// S, the power of the sum of independent products.
    signal: f64,
    /// P, the power of one quadrature of the field.
    field: f64,
    /// Q, the power of the quadrature that is not wanted.
    unwanted: f64,
}

impl<'a> Forms<'a> {
    pub(super) fn of(chip: &'a ChipDescription, packing: Packing, statistics: Statistics) -> Self {
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
            statistics,
            weights: products * weight,
            signal: products * weight * input,
            field,
            unwanted: if packing == Packing::Single { 0.0 } else { field },
        }
    }

    /// The variance of one sample that a term makes.
    pub(super) fn variance(&self, term: Term) -> f64 {
        let (chip, cell) = (self.chip, &self.chip.cell);
        let square = |x: f64| x * x;
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
                self.turned(cell.drift_rad.value() * fold::age_share(chip, cell.drift_time_s.value))
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
            Term::Splitter => {
                let stage = chip.path.splitter_imbalance_db.value() * LN_10 / 40.0;
                f64::from(fold::splitter_stages(chip)) * square(stage) * self.signal
            }
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
                square(chip.modulator.transfer_error.value()) * self.curve() * self.weights
            }
            Term::Dead => cell.dead_fraction.value() * self.signal,
            Term::Stuck => {
                let stuck = square(f64::from(chip.weight_limit())) / 3.0;
                let share = 1.0 + stuck / self.statistics.mean_square_weight;
                cell.stuck_fraction.value() * share * self.signal
            }
            Term::Ring | Term::Levels | Term::Write | Term::Aging => self.cell_kind(term),
        }
    }

    /// Terms that are drawn for each symbol.
    fn dynamic(&self, term: Term) -> f64 {
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
        let full = fold::full_scale(chip.weight_limit(), self.packing);
        let film = chip.phase_change.as_ref();
        let fading = film.map_or(0.0, |film| fold::faded(film, chip.cell.drift_time_s.value));
        // Errors along the weight itself, which in `single` lies in the one quadrature.
        let along = if self.packing == Packing::Single { 2.0 } else { 1.0 };
        let variance = match term {
            Term::Aging => return fading * fading * self.statistics.mean_square_sum,
            Term::Ring => fold::ring_mean_square_error(chip, self.packing),
            Term::Levels => film.map_or(0.0, |film| {
                let levels = fold::level_count(film);
                along / (12.0 * levels * levels)
            }),
            _ => {
                film.map_or(0.0, |film| along * film.write_error.value() * film.write_error.value())
            }
        };
        let per_row = if self.packing.drives_quadrature() { 2.0 } else { 1.0 };
        let rows = chip.array.inputs as f64;
        variance * full * full * rows * per_row * self.statistics.mean_square_input / 2.0
    }

    /// The error of sums that are turned by a normal angle of this deviation.
    fn turned(&self, sigma: f64) -> f64 {
        self.turned_about(0.0, sigma)
    }

    /// The error of sums that are turned by a normal angle of this mean and deviation.
    fn turned_about(&self, mean: f64, sigma: f64) -> f64 {
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
        across * self.unwanted + along * self.signal
    }

    /// `⟨L² asin²(x/L) (1 - x²/L²)⟩` for codes spread evenly, as wide as the data's mean square.
    fn curve(&self) -> f64 {
        const STEPS: u32 = 1000;
        let limit = f64::from(self.chip.input_limit());
        let width = ((3.0 * self.statistics.mean_square_input).sqrt() / limit).min(1.0);
        let sum: f64 = (0..STEPS)
            .map(|step| {
                let x = width * (f64::from(step) + 0.5) / f64::from(STEPS);
                let asin = pxfm::f_asin(x);
                asin * asin * (1.0 - x * x)
            })
            .sum();
        limit * limit * sum / f64::from(STEPS)
    }
}
