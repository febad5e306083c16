//! Random weights and inputs, and the sums they give exactly: inputs block by block, as there may be
//! more than memory holds.

use crate::error::CliError;
use litecore_kernels::codes;
use litecore_kernels::normal::standard_normals;
use litecore_sim::packing::{Layout, Packing};
use litecore_types::Seed;
use litecore_types::chip::ChipDescription;
use std::fmt;
use std::ops::Range;
use std::str::FromStr;

/// What codes are drawn from, weights and inputs alike.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Data {
    /// Every code equally likely.
    Uniform,
    /// Normal, with the largest code at so many standard deviations and clipped there.
    Gaussian { sigmas: f64 },
}

/// A text that names no distribution.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no distribution: write uniform, or gaussian:SIGMAS with the number of standard \
     deviations in the largest code, {LEAST_SIGMAS} to {MOST_SIGMAS}, e.g. gaussian:3"
)]
pub(crate) struct ParseDataError {
    text: String,
}

const LEAST_SIGMAS: f64 = 0.1;
const MOST_SIGMAS: f64 = 100.0;

impl FromStr for Data {
    type Err = ParseDataError;

    fn from_str(text: &str) -> Result<Self, ParseDataError> {
        let problem = || ParseDataError { text: text.to_owned() };
        if text == "uniform" {
            return Ok(Self::Uniform);
        }
        let sigmas = text.strip_prefix("gaussian:").ok_or_else(problem)?;
        let sigmas: f64 = sigmas.parse().map_err(|_| problem())?;
        if (LEAST_SIGMAS..=MOST_SIGMAS).contains(&sigmas) {
            Ok(Self::Gaussian { sigmas })
        } else {
            Err(problem())
        }
    }
}

impl fmt::Display for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uniform => f.write_str("uniform"),
            Self::Gaussian { sigmas } => write!(f, "gaussian:{sigmas}"),
        }
    }
}

impl Data {
    /// Codes of magnitude `limit` at most: those with these numbers of an endless row.
    fn codes(self, seed: Seed, label: &str, limit: i32, range: Range<usize>) -> Vec<i8> {
        match self {
            Self::Uniform => uniform(seed, label, limit, range),
            Self::Gaussian { sigmas } => {
                let mut normals = vec![0.0; range.len()];
                standard_normals(seed.key(label, 0), range.start as u64, &mut normals);
                normals
                    .into_iter()
                    .map(|normal| clipped(f64::from(normal), sigmas, limit))
                    .collect()
            }
        }
    }
}

fn uniform(seed: Seed, label: &str, limit: i32, range: Range<usize>) -> Vec<i8> {
    let span = u64::from(limit.unsigned_abs()) * 2 + 1;
    let code = |draw: u64| {
        // 32 bits scaled to the span: unequal by 2^-24 at most.
        let scaled = (draw * span) >> 32;
        i8::try_from(i64::try_from(scaled).unwrap_or(0) - i64::from(limit)).unwrap_or(0)
    };
    (range.start as u64 / 2..range.end.div_ceil(2) as u64)
        .map(|index| seed.key(label, index))
        .flat_map(|draw| [code(draw >> 32), code(draw & u64::from(u32::MAX))])
        .skip(range.start % 2)
        .take(range.len())
        .collect()
}

#[allow(clippy::cast_possible_truncation, reason = "clamped to the limit of an 8-bit code")]
fn clipped(normal: f64, sigmas: f64, limit: i32) -> i8 {
    let limit = f64::from(limit);
    (normal * limit / sigmas).round_ties_even().clamp(-limit, limit) as i8
}

/// A matrix, and an endless row of symbols for it.
#[derive(Clone, Debug)]
pub(super) struct Operands {
    /// Shape: inputs × outputs of the layout.
    pub(super) weights: Vec<i8>,
    layout: Layout,
    data: Data,
    seed: Seed,
    input_limit: i32,
}

/// Some of the symbols, and what they give exactly.
#[derive(Clone, Debug)]
pub(super) struct Block {
    /// Which symbols of the row.
    pub(super) symbols: Range<usize>,
    /// Shape: symbols × vectors × inputs of the layout.
    pub(super) x: Vec<i8>,
    /// Shape: symbols × conversions per symbol, I before Q.
    pub(super) sums: Vec<i32>,
}

impl Operands {
    /// Draws a tile.
    pub(super) fn draw(chip: &ChipDescription, layout: Layout, data: Data, seed: Seed) -> Self {
        let (inputs, outputs) = (layout.inputs(), layout.outputs());
        let count = inputs * outputs;
        let draw = |count| data.codes(seed, "weights", chip.weight_limit(), 0..count);
        let weights = match layout.packing() {
            Packing::Complex => complex_blocks(&draw(count / 2), inputs / 2, outputs / 2),
            _ => draw(count),
        };
        Self { weights, layout, data, seed, input_limit: chip.input_limit() }
    }

    /// Symbols, and their products with the tile in integers.
    pub(super) fn block(&self, symbols: Range<usize>) -> Block {
        let x = self.inputs("inputs", symbols.clone());
        let (inputs, outputs) = (self.layout.inputs(), self.layout.outputs());
        let mut sums = vec![0; symbols.len() * self.layout.vectors() * outputs];
        codes::tile_product(&self.weights, inputs, outputs, &x, &mut sums);
        Block { symbols, x, sums }
    }

    /// The inputs of symbols alone.
    pub(super) fn inputs_of(&self, symbols: Range<usize>) -> Vec<i8> {
        self.inputs("inputs", symbols)
    }

    /// The inputs of so many symbols that are none of the row, to go ahead of the first.
    pub(super) fn ahead(&self, symbols: usize) -> Vec<i8> {
        self.inputs("ahead", 0..symbols)
    }

    fn inputs(&self, label: &str, symbols: Range<usize>) -> Vec<i8> {
        let each = self.layout.vectors() * self.layout.inputs();
        let range = symbols.start * each..symbols.end * each;
        self.data.codes(self.seed, label, self.input_limit, range)
    }
}

/// The real matrix `[[A, B], [-B, A]]`, inputs × outputs, of a complex one of rows × columns.
fn complex_blocks(parts: &[i8], rows: usize, columns: usize) -> Vec<i8> {
    let (a, b) = parts.split_at(rows * columns);
    let mut blocks = Vec::with_capacity(4 * rows * columns);
    for (a, b) in a.chunks_exact(columns).zip(b.chunks_exact(columns)) {
        blocks.extend_from_slice(a);
        blocks.extend_from_slice(b);
    }
    for (a, b) in a.chunks_exact(columns).zip(b.chunks_exact(columns)) {
        blocks.extend(b.iter().map(|b| -b));
        blocks.extend_from_slice(a);
    }
    blocks
}

/// The shifts at which an ideal converter's errors on sums can be compared.
#[derive(Clone, Debug)]
pub(super) struct ShiftChoice {
    adc_bits: u8,
    errors: Vec<(u8, f64)>,
}

impl ShiftChoice {
    pub(super) fn among(chip: &ChipDescription) -> Self {
        let errors = chip.gain_shifts().map(|shift| (shift, 0.0)).collect();
        Self { adc_bits: chip.adc.bits, errors }
    }

    pub(super) fn add(&mut self, sums: &[i32]) {
        for (shift, error) in &mut self.errors {
            *error += ideal_square_error(sums, *shift, self.adc_bits);
        }
    }

    /// Adds what `other`, of the same chip, has seen.
    pub(super) fn join(&mut self, other: &Self) {
        for ((_, error), (_, more)) in self.errors.iter_mut().zip(&other.errors) {
            *error += more;
        }
    }

    /// The shift of least error; of equal ones the smallest.
    pub(super) fn best(&self) -> u8 {
        let least = self.errors.iter().min_by(|(_, a), (_, b)| a.total_cmp(b));
        least.map_or(0, |(shift, _)| *shift)
    }
}

/// The sum of squared errors of an ideal converter.
pub(super) fn ideal_square_error(sums: &[i32], shift: u8, adc_bits: u8) -> f64 {
    sums.iter()
        .map(|&sum| {
            let error =
                f64::from(codes::requantise(sum, shift, adc_bits)) * step(shift) - f64::from(sum);
            error * error
        })
        .sum()
}

/// The converter's step at a shift, in units of the exact sum.
pub(super) fn step(shift: u8) -> f64 {
    (1_u64 << shift.min(63)) as f64
}

pub(super) fn mean_square<T: Into<f64> + Copy>(values: &[T]) -> f64 {
    let sum: f64 = values.iter().map(|&value| value.into() * value.into()).sum();
    sum / values.len().max(1) as f64
}

/// Errors: nothing can be measured on sums that are all zero.
pub(super) fn not_all_zero(mean_square_sum: f64) -> Result<(), CliError> {
    if mean_square_sum > 0.0 {
        return Ok(());
    }
    Err(CliError::usage(
        "every sum is zero, so no ratio of signal to noise can be told: take more symbols, or \
         fewer standard deviations in --data gaussian:SIGMAS",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use litecore_types::chip::builtin;

    #[test]
    fn distributions_read_back_and_bad_ones_are_refused() {
        for text in ["uniform", "gaussian:3", "gaussian:4.5"] {
            assert_eq!(text.parse::<Data>().map(|data| data.to_string()), Ok(text.to_owned()));
        }
        for text in ["", "gaussian", "gaussian:", "gaussian:0", "gaussian:-3", "gaussian:nan", "x"]
        {
            assert!(text.parse::<Data>().is_err(), "{text}");
        }
    }

    #[test]
    fn codes_have_the_moments_of_their_distribution() {
        // Uniform over ±127: 127 · 128 / 3.
        let codes = Data::Uniform.codes(Seed(1), "x", 127, 0..100_001);
        assert_eq!(codes.len(), 100_001);
        assert!((mean_square(&codes) / (127.0 * 128.0 / 3.0) - 1.0).abs() < 0.01);
        // Normal with 3 deviations in 127; clipping takes 0.5 % of the power.
        let codes = Data::Gaussian { sigmas: 3.0 }.codes(Seed(1), "x", 127, 0..100_000);
        assert!((mean_square(&codes) / (127.0 * 127.0 / 9.0) - 0.995).abs() < 0.01);
        assert_eq!(codes.iter().max(), Some(&127));
    }

    #[test]
    fn blocks_are_pieces_of_one_row() {
        // An odd number of codes in each symbol.
        let chip = builtin("tiny-4").unwrap();
        let layout = Layout::new(Packing::Single, 3, 5).unwrap();
        for data in [Data::Uniform, Data::Gaussian { sigmas: 3.0 }] {
            let operands = Operands::draw(&chip, layout, data, Seed(7));
            let whole = operands.block(0..40);
            for range in [0..1, 1..2, 7..40, 8..13] {
                let piece = operands.block(range.clone());
                assert_eq!(piece.x, whole.x[3 * range.start..3 * range.end], "{range:?}");
                assert_eq!(piece.sums, whole.sums[5 * range.start..5 * range.end], "{range:?}");
            }
        }
    }

    #[test]
    fn sums_are_those_of_the_complex_cells_for_every_packing() {
        let chip = builtin("tiny-4").unwrap();
        for packing in Packing::ALL {
            let layout = Layout::new(packing, chip.array.inputs, chip.array.outputs).unwrap();
            let operands = Operands::draw(&chip, layout, Data::Uniform, Seed(7));
            let block = operands.block(0..3);
            let cells = layout.cells(&operands.weights).unwrap();
            let each = layout.inputs() * layout.vectors();
            let mut sums = Vec::new();
            for x in block.x.chunks_exact(each) {
                let drive = layout.drive(x).unwrap();
                let columns = litecore_sim::packing::column_sums(&cells, &drive).unwrap();
                sums.extend(layout.results(&columns).unwrap());
            }
            let found: Vec<i64> = block.sums.iter().map(|&sum| i64::from(sum)).collect();
            assert_eq!(found, sums, "{packing}");
            assert_eq!(sums.len(), 3 * layout.adcs_per_symbol());
        }
    }
}
