//! One instance of a chip: its symbols go through block by block, so that what is held does not
//! grow with them.
//!
//! An instance whose symbols are one block draws them once; of a longer row every pass draws each
//! block again.

use super::experiment::Setup;
use super::operands::{Block, Operands, ideal_square_error, step};
use crate::error::CliError;
use litecore_hal::SymbolTag;
use litecore_kernels::codes;
use litecore_sim::array::{ArrayModel, LoadedTile};
use litecore_sim::{Term, Terms};
use litecore_types::chip::ChipDescription;
use std::ops::Range;

/// Errors and points kept for the plots, in all.
const SAMPLES_MAX: usize = 200_000;
/// Half a unit of the exact sum: less does not blur its rounding.
pub(super) const LEAST_SIGMA: f64 = 0.5;
/// Inputs, sums and codes of one block.
const BLOCK_BYTES: usize = 8 << 20;
/// Symbols on each wavelength that go ahead of a block that is not the first: what those before them
/// leave behind is of no account.
const BEFORE: usize = 16;

/// Samples for the plots.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples {
    /// Errors in units of the exact sum.
    pub(crate) errors: Vec<f64>,
    /// Exact and measured sums, each I and Q; Q is zero where it is not read.
    pub(crate) points: Vec<([f64; 2], [f64; 2])>,
}

/// One instance's share of everything: mean squares.
#[derive(Default)]
pub(super) struct Share {
    pub(super) total: f64,
    pub(super) codes_off: u64,
    pub(super) quantisation: f64,
    pub(super) terms: Vec<f64>,
    pub(super) samples: Samples,
}

/// A term, what it is predicted to do, and the converter it is measured through.
#[derive(Clone, Debug)]
pub(super) struct Alone {
    pub(super) term: Term,
    pub(super) sigma: f64,
    /// The chip with that converter.
    pub(super) chip: ChipDescription,
    pub(super) shift: u8,
}

impl Setup {
    /// The blocks of an instance's symbols.
    pub(super) fn blocks(&self, instance: usize) -> impl ExactSizeIterator<Item = Range<usize>> {
        let layout = &self.layout;
        let bytes = layout.vectors() * layout.inputs() + 8 * layout.adcs_per_symbol();
        let each = (BLOCK_BYTES / bytes).max(BEFORE * self.chip.array.wavelengths).max(1);
        let all = self.symbols_of(instance);
        (0..all.div_ceil(each)).map(move |block| block * each..all.min((block + 1) * each))
    }

    /// Everything together, and each term alone; `tick` is called after each block of each.
    pub(super) fn measure(
        &self,
        instance: usize,
        shift: u8,
        alone: &[Alone],
        tick: &(impl Fn() + Sync),
    ) -> Result<Share, CliError> {
        let operands = self.operands(instance);
        let row = Row {
            setup: self,
            instance,
            only: match self.blocks(instance).len() {
                1 => self.blocks(instance).next().map(|symbols| operands.block(symbols)),
                _ => None,
            },
            operands,
        };
        let count = (self.symbols_of(instance) * self.layout.adcs_per_symbol()).max(1) as f64;
        let bits = self.chip.adc.bits;
        let mut share = Share::default();
        row.stream(&self.chip, self.terms, shift, |sums, measured| {
            share.total += square_error(sums, measured, shift);
            share.codes_off += codes_off(sums, measured, shift, bits);
            share.quantisation += ideal_square_error(sums, shift, bits);
            self.keep_samples(instance, sums, measured, shift, &mut share.samples);
            tick();
        })?;
        share.total /= count;
        share.quantisation /= count;
        for Alone { term, sigma, chip, shift } in alone {
            let (mut error, mut ideal) = (0.0, 0.0);
            row.stream(chip, Terms::only(*term), *shift, |sums, measured| {
                error += square_error(sums, measured, *shift);
                ideal += ideal_square_error(sums, *shift, chip.adc.bits);
                tick();
            })?;
            let blur = if *sigma >= LEAST_SIGMA { blur(*shift) } else { 0.0 };
            share.terms.push(error / count - ideal / count - blur);
        }
        Ok(share)
    }

    /// Keeps an instance's first errors and points, as many as are its share.
    fn keep_samples(
        &self,
        instance: usize,
        sums: &[i32],
        codes: &[i32],
        shift: u8,
        samples: &mut Samples,
    ) {
        let most = SAMPLES_MAX.div_ceil(self.instances);
        let pairs = || {
            let measured = codes.iter().map(|&code| f64::from(code) * step(shift));
            sums.iter().map(|&sum| f64::from(sum)).zip(measured)
        };
        let left = most - samples.errors.len();
        samples.errors.extend(pairs().take(left).map(|(exact, measured)| measured - exact));
        let conversions = self.layout.adcs_per_symbol();
        let columns =
            if self.layout.packing().reads_quadrature() { conversions / 2 } else { conversions };
        // Whole symbols: one of each instance where its share is less, until there are enough.
        let symbols = most.max(conversions) / conversions;
        if instance * symbols * conversions >= SAMPLES_MAX {
            return;
        }
        let left = symbols - samples.points.len() / columns;
        let all: Vec<(f64, f64)> = pairs().take(left * conversions).collect();
        for symbol in all.chunks_exact(conversions) {
            for column in 0..columns {
                let (i, q) = (symbol[column], symbol.get(column + columns).copied());
                let q = q.unwrap_or((0.0, 0.0));
                samples.points.push(([i.0, q.0], [i.1, q.1]));
            }
        }
    }
}

/// The symbols of one instance.
struct Row<'a> {
    setup: &'a Setup,
    instance: usize,
    operands: Operands,
    /// All symbols, where they are one block.
    only: Option<Block>,
}

impl Row<'_> {
    /// Streams the symbols through an array of `chip`; `see` gets the exact sums and the codes of
    /// each block.
    fn stream(
        &self,
        chip: &ChipDescription,
        terms: Terms,
        shift: u8,
        mut see: impl FnMut(&[i32], &[i32]),
    ) -> Result<(), CliError> {
        let setup = self.setup;
        let seed = setup.instance_seed(self.instance);
        let array = ArrayModel::new(chip, terms, seed, setup.layout.packing())?;
        let mut array = array.with_draws(setup.draws).with_columns(setup.columns);
        // What no term disturbs need not be loaded to be known.
        let tile =
            if array.is_exact(0) { None } else { Some(array.load(0, &self.operands.weights)?) };
        let mut measured = Vec::new();
        for symbols in setup.blocks(self.instance) {
            let drawn;
            let block = if let Some(only) = &self.only {
                only
            } else {
                drawn = self.operands.block(symbols);
                &drawn
            };
            if let Some(tile) = &tile {
                let meets = terms.contains(Term::Isi);
                self.forward(&mut array, tile, block, meets, shift, &mut measured);
            } else {
                measured.resize(block.sums.len(), 0);
                codes::requantise_all(&block.sums, shift, chip.adc.bits, &mut measured);
            }
            see(&block.sums, &measured);
        }
        Ok(())
    }

    /// The codes of a block.
    ///
    /// A call begins in the dark. Where symbols meet those before, others go ahead of them, so that
    /// each has one before it on its wavelength.
    fn forward(
        &self,
        array: &mut ArrayModel,
        tile: &LoadedTile,
        block: &Block,
        meets: bool,
        shift: u8,
        codes: &mut Vec<i32>,
    ) {
        let key = self.setup.instance_seed(self.instance).key("stream", 0);
        let wavelengths = self.setup.chip.array.wavelengths;
        let first = block.symbols.start;
        let before = if meets { first.min(BEFORE * wavelengths) } else { 0 };
        let ahead = if meets && before == 0 { wavelengths } else { 0 };
        let tags: Vec<SymbolTag> = (0..ahead as u64)
            .map(|before| SymbolTag(u64::MAX - before))
            .chain((first - before..block.symbols.end).map(|symbol| SymbolTag(symbol as u64)))
            .collect();
        if meets {
            let earlier = if before > 0 {
                self.operands.inputs_of(first - before..first)
            } else {
                self.operands.ahead(ahead)
            };
            array.forward(tile, &[&earlier, &block.x[..]].concat(), key, &tags, shift, codes);
            codes.drain(..codes.len() - block.sums.len());
        } else {
            array.forward(tile, &block.x, key, &tags, shift, codes);
        }
    }
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
    use super::super::operands::Data;
    use super::*;
    use litecore_sim::dynamic::Draws;
    use litecore_sim::packing::{Layout, Packing};
    use litecore_types::Seed;
    use litecore_types::chip::{Override, builtin_text};

    #[test]
    fn blocks_join_without_a_seam() {
        let set = |path: &str, value: &str| Override { path: path.into(), value: value.into() };
        let sets = [set("receiver.bandwidth_hz", "2e8"), set("array.wavelengths", "2")];
        let text = builtin_text("tiny-4").unwrap();
        let chip = ChipDescription::from_toml_with(text, "tiny-4", &sets).unwrap();
        let layout = Layout::new(Packing::Conjugate, chip.array.inputs, 4).unwrap();
        let setup = Setup {
            layout,
            columns: 4,
            terms: Terms::all(),
            data: Data::Uniform,
            symbols: 300,
            instances: 1,
            shift: None,
            seed: Seed(3),
            draws: Draws::Merged,
            symbols_shortened: false,
            chip,
        };
        let operands = setup.operands(0);
        let row = Row { setup: &setup, instance: 0, operands, only: None };
        let (chip, terms, packing) = (&setup.chip, setup.terms, Packing::Conjugate);
        let mut array = ArrayModel::new(chip, terms, setup.instance_seed(0), packing).unwrap();
        let tile = array.load(0, &row.operands.weights).unwrap();
        // Fine steps, so that a little of a symbol long ago would show.
        let shift = chip.full_scale_shift() - 2;
        let mut codes = |symbols| {
            let mut codes = Vec::new();
            let block = row.operands.block(symbols);
            row.forward(&mut array, &tile, &block, true, shift, &mut codes);
            codes
        };
        let whole = codes(0..300);
        assert_eq!(whole.len(), 1200);
        for cut in [40, 77, 151] {
            assert_eq!([codes(0..cut), codes(cut..300)].concat(), whole, "{cut}");
        }
    }

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
}
