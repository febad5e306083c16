//! The Monte Carlo itself: many instances of a chip, each with its own tile and inputs.
//!
//! * **Total**: the converter's codes with all chosen terms, times their step, against the exact
//!   sums. Rounding and saturation count as error.
//! * **Each term** alone on the same tiles, inputs and noise, through a converter of 16 bits whose
//!   range the signal cannot leave; what that converter's own rounding adds is known and taken off.
//!   `adc` is of the chip's converter, so it is measured through that one, and its rounding and
//!   saturation are taken off.
//!
//! No converter has a step finer than one unit of the exact sum, so what is predicted below half a
//! unit is not measured.

use super::instance::{Alone, LEAST_SIGMA, Samples, Share};
use super::operands::{Data, Operands, ShiftChoice, mean_square, not_all_zero, step};
use crate::console::Console;
use crate::error::CliError;
use litecore_sim::budget::{Budget, Source, Statistics};
use litecore_sim::dynamic::Draws;
use litecore_sim::packing::Layout;
use litecore_sim::{Term, Terms};
use litecore_types::Seed;
use litecore_types::chip::{ChipDescription, Impairment};
use rayon::prelude::*;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Widest converter a chip description may have.
const FINE_BITS: u8 = 16;
/// The largest shift of the fine converter: half its range is then 2^62 units.
const SHIFT_MAX: u8 = 47;
/// Standard deviations in half the range of the fine converter.
const FINE_RANGE: f64 = 8.0;

/// What is to be measured.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    pub(super) chip: ChipDescription,
    /// Of the columns that are realised.
    pub(super) layout: Layout,
    /// The first so many columns of each chip are realised.
    pub(super) columns: usize,
    pub(super) terms: Terms,
    pub(super) data: Data,
    pub(super) symbols: usize,
    /// Chips of this model that the symbols are spread over.
    pub(super) instances: usize,
    /// Left out, the one of least error for an ideal chip.
    pub(super) shift: Option<u8>,
    pub(super) seed: Seed,
    pub(super) draws: Draws,
    /// Whether the symbols are fewer than usual because the array is large.
    pub(super) symbols_shortened: bool,
}

/// A mean-square error over instances.
#[derive(Clone, Debug, Default)]
pub(super) struct Level {
    /// One mean square of each instance; equal weights.
    mean_squares: Vec<f64>,
}

impl Level {
    /// The mean over instances, in squared units of the exact sum. Where another error has been
    /// taken off, chance can make it negative.
    pub(super) fn mean_square(&self) -> f64 {
        self.mean_squares.iter().sum::<f64>() / self.mean_squares.len().max(1) as f64
    }

    /// The standard error of that mean.
    pub(super) fn standard_error(&self) -> Option<f64> {
        let count = self.mean_squares.len() as f64;
        let mean = self.mean_square();
        let squares: f64 = self.mean_squares.iter().map(|m| (m - mean) * (m - mean)).sum();
        (count > 1.0).then(|| (squares / (count - 1.0) / count).sqrt())
    }
}

/// What one term does alone.
#[derive(Clone, Debug)]
pub(super) struct TermResult {
    pub(super) source: Source,
    /// Standard deviation by the closed form, in units of the exact sum.
    pub(super) closed_form_sigma: f64,
    pub(super) measured: Level,
    /// Whether a converter can tell it from nothing.
    pub(super) resolved: bool,
}

/// What was found.
#[derive(Clone, Debug)]
pub(super) struct Findings {
    pub(super) shift: u8,
    pub(super) mean_square_sum: f64,
    pub(super) closed_form_total_sigma: f64,
    pub(super) total: Level,
    /// Codes that an ideal card would not have given.
    pub(super) codes_off: u64,
    pub(super) parts: Vec<TermResult>,
    pub(super) samples: Samples,
}

impl Setup {
    /// Runs it all. The result does not depend on how many threads there are.
    pub(super) fn run(&self, console: &Console) -> Result<Findings, CliError> {
        let (packing, statistics) = (self.layout.packing(), self.statistics(console)?);
        let budget = Budget::predict_packed(&self.chip, packing, self.terms, &statistics);
        let alone: Vec<Alone> =
            self.terms.iter().map(|term| self.alone(term, &statistics)).collect();

        let done = AtomicUsize::new(0);
        // Everything together, and each term.
        let progress = console.progress("simulating", self.all_blocks() * (1 + alone.len()));
        let tick = || progress.set(done.fetch_add(1, Ordering::Relaxed) + 1);
        let shares = (0..self.instances)
            .into_par_iter()
            .map(|instance| self.measure(instance, statistics.shift, &alone, &tick))
            .collect::<Result<Vec<Share>, CliError>>()?;
        drop(progress);

        let level = |pick: &dyn Fn(&Share) -> f64| Level {
            mean_squares: shares.iter().map(pick).collect(),
        };
        let mut parts: Vec<TermResult> = alone
            .iter()
            .enumerate()
            .map(|(index, Alone { term, sigma, .. })| TermResult {
                source: Source::Term(*term),
                closed_form_sigma: *sigma,
                measured: level(&|share| share.terms[index]),
                resolved: *sigma <= 0.0 || *sigma >= LEAST_SIGMA,
            })
            .collect();
        parts.push(TermResult {
            source: Source::Quantisation,
            closed_form_sigma: budget
                .part(Source::Quantisation)
                .map_or(0.0, |part| part.sigma_units),
            measured: level(&|share| share.quantisation),
            resolved: true,
        });
        let (total, codes_off) =
            (level(&|share| share.total), shares.iter().map(|share| share.codes_off).sum());
        let mut samples = Samples::default();
        for share in shares {
            samples.errors.extend(share.samples.errors);
            samples.points.extend(share.samples.points);
        }
        Ok(Findings {
            shift: statistics.shift,
            mean_square_sum: statistics.mean_square_sum,
            closed_form_total_sigma: budget.total.sigma_units,
            total,
            codes_off,
            parts,
            samples,
        })
    }

    pub(super) fn instance_seed(&self, instance: usize) -> Seed {
        self.seed.branch("instance", instance as u64)
    }

    /// Symbols of one instance: those of all differ by one at most.
    pub(super) fn symbols_of(&self, instance: usize) -> usize {
        self.symbols / self.instances + usize::from(instance < self.symbols % self.instances)
    }

    fn all_blocks(&self) -> usize {
        (0..self.instances).map(|instance| self.blocks(instance).len()).sum()
    }

    pub(super) fn operands(&self, instance: usize) -> Operands {
        Operands::draw(&self.chip, self.layout, self.data, self.instance_seed(instance))
    }

    /// What the closed forms must know of the data, and the shift.
    fn statistics(&self, console: &Console) -> Result<Statistics, CliError> {
        let done = AtomicUsize::new(0);
        let progress = console.progress("exact sums", self.all_blocks());
        let tick = || progress.set(done.fetch_add(1, Ordering::Relaxed) + 1);
        let shares: Vec<([f64; 5], ShiftChoice)> = (0..self.instances)
            .into_par_iter()
            .map(|instance| self.statistics_of(instance, &tick))
            .collect();
        drop(progress);
        let mean = |index: usize| {
            shares.iter().map(|(squares, _)| squares[index]).sum::<f64>() / shares.len() as f64
        };
        let mut choice = ShiftChoice::among(&self.chip);
        for (_, share) in &shares {
            choice.join(share);
        }
        not_all_zero(mean(0))?;
        Ok(Statistics {
            mean_square_sum: mean(0),
            mean_square_weight: mean(1),
            mean_square_input: mean(2),
            shift: self.shift.unwrap_or_else(|| choice.best()),
            sine_law: Some([mean(3), mean(4)]),
        })
    }

    /// Mean squares of an instance's sums, weights and inputs, and of inputs and weights behind the
    /// law of the modulators; and its errors at each shift.
    fn statistics_of(&self, instance: usize, tick: &(impl Fn() + Sync)) -> ([f64; 5], ShiftChoice) {
        let operands = self.operands(instance);
        let mut choice = ShiftChoice::among(&self.chip);
        let law = |weights: &[i8], x: &[i8]| {
            let of_none = Statistics::measured(&[], &[], &[], 0);
            of_none.of_codes(&self.chip, weights, x).sine_law.unwrap_or_default()
        };
        let [_, law_of_weights] = law(&operands.weights, &[]);
        let mut squares = [0.0, mean_square(&operands.weights), 0.0, 0.0, law_of_weights];
        for symbols in self.blocks(instance) {
            let block = operands.block(symbols);
            if self.shift.is_none() {
                choice.add(&block.sums);
            }
            let share = block.symbols.len() as f64 / self.symbols_of(instance) as f64;
            squares[0] += share * mean_square(&block.sums);
            squares[2] += share * mean_square(&block.x);
            squares[3] += share * law(&[], &block.x)[0];
            tick();
        }
        (squares, choice)
    }

    /// What a term does by the closed form, and the converter it is measured through.
    fn alone(&self, term: Term, statistics: &Statistics) -> Alone {
        let packing = self.layout.packing();
        let budget = Budget::predict_packed(&self.chip, packing, Terms::only(term), statistics);
        let sigma = budget.part(Source::Term(term)).map_or(0.0, |part| part.sigma_units);
        let mut chip = self.chip.clone();
        if term == Term::Adc {
            return Alone { term, sigma, chip, shift: statistics.shift };
        }
        chip.adc.bits = FINE_BITS;
        chip.adc.enob = Impairment::Ideal;
        let reach = FINE_RANGE * (statistics.mean_square_sum.sqrt() + sigma);
        let half_range = |shift: u8| step(shift + FINE_BITS - 1);
        let shift = (0..SHIFT_MAX).find(|&shift| half_range(shift) >= reach).unwrap_or(SHIFT_MAX);
        Alone { term, sigma, chip, shift }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_a_mean_with_an_error() {
        let level = Level { mean_squares: vec![1.0, 2.0, 3.0, 6.0] };
        assert!((level.mean_square() - 3.0).abs() < 1e-12);
        // Squares 4 + 1 + 0 + 9 = 14, over 3, over 4.
        assert!((level.standard_error().unwrap() - (14.0_f64 / 12.0).sqrt()).abs() < 1e-12);
        assert_eq!(Level { mean_squares: vec![1.0] }.standard_error(), None);
    }
}
