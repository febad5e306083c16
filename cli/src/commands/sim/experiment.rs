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

use super::operands::{
    Data, Operands, ShiftChoice, ideal_square_error, mean_square, not_all_zero, step,
};
use crate::console::Console;
use crate::error::CliError;
use litecore_hal::SymbolTag;
use litecore_kernels::codes;
use litecore_sim::array::ArrayModel;
use litecore_sim::budget::{Budget, Source, Statistics};
use litecore_sim::dynamic::Draws;
use litecore_sim::packing::Layout;
use litecore_sim::{Term, Terms};
use litecore_types::Seed;
use litecore_types::chip::{ChipDescription, Impairment};
use rayon::prelude::*;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Errors and points kept for the plots, in all.
const SAMPLES_MAX: usize = 200_000;
/// Widest converter a chip description may have.
const FINE_BITS: u8 = 16;
/// The largest shift of the fine converter: half its range is then 2^62 units.
const SHIFT_MAX: u8 = 47;
/// Standard deviations in half the range of the fine converter.
const FINE_RANGE: f64 = 8.0;
/// Half a unit of the exact sum: less does not blur its rounding.
const LEAST_SIGMA: f64 = 0.5;

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

/// Samples for the plots.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples {
    /// Errors in units of the exact sum.
    pub(crate) errors: Vec<f64>,
    /// Exact and measured sums, each I and Q; Q is zero where it is not read.
    pub(crate) points: Vec<([f64; 2], [f64; 2])>,
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

/// One instance's share of everything.
#[derive(Default)]
struct Share {
    total: f64,
    codes_off: u64,
    quantisation: f64,
    terms: Vec<f64>,
    samples: Samples,
}

impl Setup {
    /// Runs it all. The result does not depend on how many threads there are.
    pub(super) fn run(&self, console: &Console) -> Result<Findings, CliError> {
        let (packing, statistics) = (self.layout.packing(), self.statistics()?);
        let budget = Budget::predict_packed(&self.chip, packing, self.terms, &statistics);
        let fine: Vec<(Term, f64, Converter)> = self
            .terms
            .iter()
            .map(|term| {
                let alone =
                    Budget::predict_packed(&self.chip, packing, Terms::only(term), &statistics);
                let sigma = alone.part(Source::Term(term)).map_or(0.0, |part| part.sigma_units);
                (term, sigma, self.converter_for(term, sigma, &statistics))
            })
            .collect();

        let done = AtomicUsize::new(0);
        // For each chip everything together, and each term.
        let progress = console.progress("simulating", self.instances * (1 + fine.len()));
        let tick = || progress.set(done.fetch_add(1, Ordering::Relaxed) + 1);
        let shares = (0..self.instances)
            .into_par_iter()
            .map(|instance| self.measure(instance, statistics.shift, &fine, &tick))
            .collect::<Result<Vec<Share>, CliError>>()?;
        drop(progress);

        let level = |pick: &dyn Fn(&Share) -> f64| Level {
            mean_squares: shares.iter().map(pick).collect(),
        };
        let mut parts: Vec<TermResult> = fine
            .iter()
            .enumerate()
            .map(|(index, (term, sigma, _))| TermResult {
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

    fn instance_seed(&self, instance: usize) -> Seed {
        self.seed.branch("instance", instance as u64)
    }

    /// Symbols of one instance: those of all differ by one at most.
    fn symbols_of(&self, instance: usize) -> usize {
        self.symbols / self.instances + usize::from(instance < self.symbols % self.instances)
    }

    fn operands(&self, instance: usize) -> Operands {
        let seed = self.instance_seed(instance);
        Operands::draw(&self.chip, &self.layout, self.data, self.symbols_of(instance), seed)
    }

    /// What the closed forms must know of the data, and the shift.
    fn statistics(&self) -> Result<Statistics, CliError> {
        let shares: Vec<([f64; 5], ShiftChoice)> = (0..self.instances)
            .into_par_iter()
            .map(|instance| {
                let operands = self.operands(instance);
                let mut choice = ShiftChoice::among(&self.chip);
                if self.shift.is_none() {
                    choice.add(&operands.sums);
                }
                let Operands { weights, x, sums, .. } = &operands;
                let statistics = Statistics::measured(weights, x, sums, 0);
                let [input, weight] =
                    statistics.of_codes(&self.chip, weights, x).sine_law.unwrap_or_default();
                let squares =
                    [mean_square(sums), mean_square(weights), mean_square(x), input, weight];
                (squares, choice)
            })
            .collect();
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

    /// The converter a term is measured through.
    fn converter_for(&self, term: Term, sigma: f64, statistics: &Statistics) -> Converter {
        let mut chip = self.chip.clone();
        if term == Term::Adc {
            return Converter { chip, shift: statistics.shift };
        }
        chip.adc.bits = FINE_BITS;
        chip.adc.enob = Impairment::Ideal;
        let reach = FINE_RANGE * (statistics.mean_square_sum.sqrt() + sigma);
        let half_range = |shift: u8| step(shift + FINE_BITS - 1);
        let shift = (0..SHIFT_MAX).find(|&shift| half_range(shift) >= reach).unwrap_or(SHIFT_MAX);
        Converter { chip, shift }
    }

    fn measure(
        &self,
        instance: usize,
        shift: u8,
        fine: &[(Term, f64, Converter)],
        tick: &(impl Fn() + Sync),
    ) -> Result<Share, CliError> {
        let operands = self.operands(instance);
        let count = operands.sums.len().max(1) as f64;
        let ideal = |shift, bits| ideal_square_error(&operands.sums, shift, bits) / count;
        let bits = self.chip.adc.bits;
        let measured = self.codes(&self.chip, self.terms, shift, instance, &operands)?;
        let mut share = Share {
            total: square_error(&operands.sums, &measured, shift) / count,
            codes_off: codes_off(&operands.sums, &measured, shift, bits),
            quantisation: ideal(shift, bits),
            ..Share::default()
        };
        self.keep_samples(&operands.sums, &measured, shift, &mut share.samples);
        tick();
        for (term, sigma, converter) in fine {
            let Converter { chip, shift } = converter;
            let measured = self.codes(chip, Terms::only(*term), *shift, instance, &operands)?;
            let error = square_error(&operands.sums, &measured, *shift) / count;
            let blur = if *sigma >= LEAST_SIGMA { blur(*shift) } else { 0.0 };
            share.terms.push(error - ideal(*shift, chip.adc.bits) - blur);
            tick();
        }
        Ok(share)
    }

    /// What the array gives for the operands of an instance.
    fn codes(
        &self,
        chip: &ChipDescription,
        terms: Terms,
        shift: u8,
        instance: usize,
        operands: &Operands,
    ) -> Result<Vec<i32>, CliError> {
        let seed = self.instance_seed(instance);
        let array = ArrayModel::new(chip, terms, seed, self.layout.packing())?;
        let mut array = array.with_draws(self.draws).with_columns(self.columns);
        if array.is_exact(0) {
            // What no term disturbs need not be loaded to be known.
            let mut codes = vec![0; operands.sums.len()];
            codes::requantise_all(&operands.sums, shift, chip.adc.bits, &mut codes);
            return Ok(codes);
        }
        let tile = array.load(0, &operands.weights)?;
        // A call begins in the dark. Where symbols meet those before, others go ahead of them, so
        // that each has one before it on its wavelength.
        let meets = terms.contains(Term::Isi);
        let (ahead, x) = if meets {
            (chip.array.wavelengths, [&operands.ahead[..], &operands.x].concat())
        } else {
            (0, operands.x.clone())
        };
        let tags: Vec<SymbolTag> = (0..ahead as u64)
            .map(|before| SymbolTag(u64::MAX - before))
            .chain((0..self.symbols_of(instance) as u64).map(SymbolTag))
            .collect();
        let mut codes = Vec::new();
        array.forward(&tile, &x, seed.key("stream", 0), &tags, shift, &mut codes);
        codes.drain(..ahead * self.layout.adcs_per_symbol());
        Ok(codes)
    }

    fn keep_samples(&self, sums: &[i32], codes: &[i32], shift: u8, samples: &mut Samples) {
        let most = SAMPLES_MAX.div_ceil(self.instances);
        let pairs = || {
            let measured = codes.iter().map(|&code| f64::from(code) * step(shift));
            sums.iter().map(|&sum| f64::from(sum)).zip(measured)
        };
        samples.errors.extend(pairs().take(most).map(|(exact, measured)| measured - exact));
        let conversions = self.layout.adcs_per_symbol();
        let columns =
            if self.layout.packing().reads_quadrature() { conversions / 2 } else { conversions };
        let all: Vec<(f64, f64)> = pairs().take(most.max(conversions)).collect();
        for symbol in all.chunks_exact(conversions) {
            for column in 0..columns {
                let (i, q) = (symbol[column], symbol.get(column + columns).copied());
                let q = q.unwrap_or((0.0, 0.0));
                samples.points.push(([i.0, q.0], [i.1, q.1]));
            }
        }
    }
}

/// A chip with a converter of its own, and the shift to use it at.
#[derive(Clone, Debug)]
struct Converter {
    chip: ChipDescription,
    shift: u8,
}

/// How much more than a whole number errs in rounding when something blurs it.
///
/// Blurred, it errs by `4^shift / 12`. Whole, it is one of `2^shift` places in a step, of which one
/// is just between two codes: `(4^shift + 2) / 12`. With a step of one unit it does not err.
fn blur(shift: u8) -> f64 {
    if shift == 0 { 1.0 / 12.0 } else { -1.0 / 6.0 }
}

fn square_error(sums: &[i32], codes: &[i32], shift: u8) -> f64 {
    sums.iter()
        .zip(codes)
        .map(|(&sum, &code)| {
            let error = f64::from(code) * step(shift) - f64::from(sum);
            error * error
        })
        .sum()
}

fn codes_off(sums: &[i32], codes: &[i32], shift: u8, bits: u8) -> u64 {
    let differ = |(sum, code): &(&i32, &i32)| codes::requantise(**sum, shift, bits) != **code;
    sums.iter().zip(codes).filter(differ).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_round_as_stated() {
        for shift in 0..6 {
            // Whole periods of the rounding, even and odd codes alike.
            let sums: Vec<i32> = (-256..256).collect();
            let whole = ideal_square_error(&sums, shift, 16) / 512.0;
            let blurred = step(shift) * step(shift) / 12.0;
            assert!((whole + blur(shift) - blurred).abs() < 1e-12, "{shift}: {whole}");
        }
    }

    #[test]
    fn a_level_is_a_mean_with_an_error() {
        let level = Level { mean_squares: vec![1.0, 2.0, 3.0, 6.0] };
        assert!((level.mean_square() - 3.0).abs() < 1e-12);
        // Squares 4 + 1 + 0 + 9 = 14, over 3, over 4.
        assert!((level.standard_error().unwrap() - (14.0_f64 / 12.0).sqrt()).abs() < 1e-12);
        assert_eq!(Level { mean_squares: vec![1.0] }.standard_error(), None);
    }
}
