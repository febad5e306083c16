//! One matrix, lowered: codes, tiles, gains, and what the program will make of the samples.
//!
//! **Invariant:** `table[j] = scale_w[j] * 2^s_min` is exact, where `s_min` is the smallest shift
//! in the slice of output `j`; a tile's `accumulate_shift` is its shift above `s_min`.

use crate::CompileError;
use crate::gain::choose_shift;
use crate::options::{CompileOptions, GainPolicy};
use crate::quantise::{QuantisedMatrix, QuantisedRows};
use crate::tile::{TileGrid, needed_tiles};
use litecore_kernels::codes;
use litecore_types::chip::ChipDescription;
use rayon::prelude::*;

/// A weight matrix by its name, as the caller gave it: row-major outputs × inputs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Matrix<'a> {
    pub(crate) name: &'a str,
    pub(crate) weights: &'a [f32],
    pub(crate) outputs: usize,
    pub(crate) inputs: usize,
}

impl Matrix<'_> {
    /// Checks that the shape is not empty and holds the weights.
    pub(crate) fn check(&self) -> Result<(), CompileError> {
        let Self { outputs, inputs, .. } = *self;
        let layer = || self.name.to_owned();
        if outputs == 0 || inputs == 0 {
            return Err(CompileError::EmptyLayer { layer: layer(), outputs, inputs });
        }
        if outputs.checked_mul(inputs) != Some(self.weights.len()) {
            let found = self.weights.len();
            return Err(CompileError::WeightCount { layer: layer(), outputs, inputs, found });
        }
        Ok(())
    }
}

/// A matrix ready to be scheduled.
#[derive(Debug)]
pub(crate) struct LoweredMatrix {
    pub(crate) name: String,
    pub(crate) outputs: usize,
    pub(crate) inputs: usize,
    pub(crate) grid: TileGrid,
    /// One per M-tile, ascending.
    pub(crate) slices: Vec<LoweredSlice>,
    /// Dequantisation factors, one per output.
    pub(crate) table: Vec<f32>,
    /// What the program computes on the samples: rows × outputs.
    pub(crate) outcome: Vec<f32>,
}

/// The tiles that add up to one slice of the outputs.
#[derive(Debug)]
pub(crate) struct LoweredSlice {
    pub(crate) first_output: usize,
    /// Never empty; K ascending.
    pub(crate) tiles: Vec<LoweredTile>,
}

/// One tile with its gain.
#[derive(Debug)]
pub(crate) struct LoweredTile {
    pub(crate) k_tile: usize,
    pub(crate) codes: Vec<i8>,
    pub(crate) shift: u8,
    pub(crate) accumulate_shift: u8,
}

/// A slice with its part of the table and of the outcome.
struct SliceOutcome {
    slice: LoweredSlice,
    table: Vec<f32>,
    /// rows × outputs of the slice.
    outcome: Vec<f32>,
}

/// Lowers a matrix for inputs like `samples`.
pub(crate) fn lower(
    chip: &ChipDescription,
    options: &CompileOptions,
    matrix: Matrix<'_>,
    samples: &QuantisedRows,
) -> Result<LoweredMatrix, CompileError> {
    let Matrix { name, outputs, inputs, .. } = matrix;
    let quantised = QuantisedMatrix::new(matrix, chip.weight_limit())?;
    let grid = TileGrid::new(outputs, inputs, chip.tile_inputs(), chip.tile_outputs());
    let x: Vec<Vec<i8>> =
        (0..grid.k_tiles).map(|k_tile| samples.k_slice(k_tile, grid.tile_inputs)).collect();
    let slices: Vec<Result<SliceOutcome, CompileError>> = (0..grid.m_tiles)
        .into_par_iter()
        .map(|m_tile| lower_slice(chip, options, name, &quantised, grid, m_tile, &x, samples))
        .collect();

    let mut lowered = LoweredMatrix {
        name: name.to_owned(),
        outputs,
        inputs,
        grid,
        slices: Vec::with_capacity(grid.m_tiles),
        table: Vec::with_capacity(outputs),
        outcome: vec![0.0; samples.rows * outputs],
    };
    for slice in slices {
        let SliceOutcome { slice, table, outcome } = slice?;
        let rows = lowered.outcome.chunks_exact_mut(outputs);
        for (row, part) in rows.zip(outcome.chunks_exact(table.len())) {
            row[slice.first_output..][..table.len()].copy_from_slice(part);
        }
        lowered.table.extend(table);
        lowered.slices.push(slice);
    }
    Ok(lowered)
}

#[allow(clippy::too_many_arguments, reason = "the loop body of `lower`, by name")]
fn lower_slice(
    chip: &ChipDescription,
    options: &CompileOptions,
    name: &str,
    matrix: &QuantisedMatrix,
    grid: TileGrid,
    m_tile: usize,
    x: &[Vec<i8>],
    samples: &QuantisedRows,
) -> Result<SliceOutcome, CompileError> {
    let mut tiles = Vec::new();
    let mut readings = Vec::new();
    for (k_tile, codes) in needed_tiles(matrix, grid, m_tile) {
        let mut sums = vec![0; samples.rows * grid.tile_outputs];
        codes::tile_product(&codes, grid.tile_inputs, grid.tile_outputs, &x[k_tile], &mut sums);
        let shift = match options.gain {
            GainPolicy::FromSamples => choose_shift(&sums, chip.gain_shifts(), chip.adc.bits).shift,
            GainPolicy::Unity => chip.full_scale_shift(),
        };
        let mut reading = vec![0; sums.len()];
        codes::requantise_all(&sums, shift, chip.adc.bits, &mut reading);
        readings.push(reading);
        tiles.push(LoweredTile { k_tile, codes, shift, accumulate_shift: 0 });
    }
    let lowest = tiles.iter().map(|tile| tile.shift).min().unwrap_or(0);
    for tile in &mut tiles {
        tile.accumulate_shift = tile.shift - lowest;
    }
    let slice = LoweredSlice { first_output: m_tile * grid.tile_outputs, tiles };
    check_accumulators(chip, name, &slice)?;
    let table = table(name, matrix, &slice, grid, lowest)?;

    let mut outcome = vec![0.0; samples.rows * table.len()];
    for (row, out) in outcome.chunks_exact_mut(table.len()).enumerate() {
        let mut sums = vec![0_i32; table.len()];
        for (tile, reading) in slice.tiles.iter().zip(&readings) {
            let reading = &reading[row * grid.tile_outputs..][..table.len()];
            for (sum, code) in sums.iter_mut().zip(reading) {
                *sum += code << tile.accumulate_shift;
            }
        }
        codes::dequantise(&sums, samples.scales[row], &table, out);
    }
    Ok(SliceOutcome { slice, table, outcome })
}

/// Checks that no inputs whatever can overflow the card's accumulators.
fn check_accumulators(
    chip: &ChipDescription,
    name: &str,
    slice: &LoweredSlice,
) -> Result<(), CompileError> {
    let code_max = 1_u128 << (chip.adc.bits - 1);
    let worst: u128 = slice.tiles.iter().map(|tile| code_max << tile.accumulate_shift).sum();
    if worst <= i32::MAX.unsigned_abs().into() {
        return Ok(());
    }
    Err(CompileError::AccumulatorOverflow {
        layer: name.to_owned(),
        output: slice.first_output,
        k_tiles: slice.tiles.len(),
        bits: 129 - worst.leading_zeros(),
    })
}

/// Dequantisation factors of one slice.
fn table(
    name: &str,
    matrix: &QuantisedMatrix,
    slice: &LoweredSlice,
    grid: TileGrid,
    lowest: u8,
) -> Result<Vec<f32>, CompileError> {
    // Exact: a power of two up to 2^31.
    let step = (1_u64 << lowest) as f32;
    let end = matrix.outputs.min(slice.first_output + grid.tile_outputs);
    (slice.first_output..end)
        .map(|row| {
            let factor = matrix.scales[row] * step;
            if factor.is_finite() {
                Ok(factor)
            } else {
                Err(CompileError::ScaleOverflow { layer: name.to_owned(), row })
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use litecore_types::chip::{Override, builtin_text};

    fn tiny(overrides: &[(&str, &str)]) -> ChipDescription {
        let overrides: Vec<Override> = overrides
            .iter()
            .map(|(path, value)| Override { path: (*path).into(), value: (*value).into() })
            .collect();
        let text = builtin_text("tiny-4").expect("shipped");
        ChipDescription::from_toml_with(text, "tiny-4", &overrides).expect("valid")
    }

    fn lower_all(
        chip: &ChipDescription,
        weights: &[f32],
        outputs: usize,
        x: &[f32],
    ) -> Result<LoweredMatrix, CompileError> {
        let inputs = weights.len() / outputs;
        let samples = QuantisedRows::new("l", x, inputs, chip.input_limit()).expect("finite");
        let matrix = Matrix { name: "l", weights, outputs, inputs };
        lower(chip, &CompileOptions::default(), matrix, &samples)
    }

    #[test]
    fn a_strong_and_a_weak_tile_share_one_scale() {
        // Two K-tiles of eight inputs; the second is a hundred times weaker.
        let weights: Vec<f32> = (0..16).map(|k| if k < 8 { 1.0 } else { 0.01 }).collect();
        let x: Vec<f32> = (0..16).map(|k| if k % 2 == 0 { 1.0 } else { 0.75 }).collect();
        let lowered = lower_all(&tiny(&[]), &weights, 1, &x).expect("fits");
        let tiles = &lowered.slices[0].tiles;
        // Sums: 127 * (4 * 127 + 4 * 95) = 112776 and 888. The chip offers shifts 5 to 10. The
        // first reads 110 at shift 10 and would clip at 9; the second reads 896 / 2^s at shifts 5,
        // 6 and 7, with the same error, and takes the least gain of them.
        assert_eq!((tiles[0].shift, tiles[1].shift), (10, 7));
        assert_eq!((tiles[0].accumulate_shift, tiles[1].accumulate_shift), (3, 0));
        let expected = ((110 * 8 + 7) as f32 * (1.0 / 127.0)) * (128.0 / 127.0);
        assert_eq!(lowered.outcome, [expected]);
    }

    #[test]
    fn accumulators_that_may_overflow_are_an_error_with_a_remedy() {
        let wide = [("adc.bits", "16"), ("adc.enob", "12"), ("receiver.gain_log2_max", "16")];
        let chip = tiny(&wide);
        assert_eq!(chip.gain_shifts(), 0..=2);
        // Sixteen-bit readings: 65536 of them already need 32 bits.
        let many = vec![1.0; 8 * 65_536];
        let error = lower_all(&chip, &many, 1, &many).expect_err("too many");
        let CompileError::AccumulatorOverflow { k_tiles, bits, .. } = &error else {
            panic!("{error}");
        };
        assert_eq!((*k_tiles, *bits), (65_536, 33));
        assert!(error.to_string().starts_with("layer `l`: 65536 partial sums of output 0 may"));
        assert!(error.to_string().contains("split the layer's inputs"));
    }

    #[test]
    fn a_wrong_count_and_an_empty_shape_are_refused() {
        let check = |weights: &[f32], outputs, inputs| {
            Matrix { name: "l", weights, outputs, inputs }.check().expect_err("refused")
        };
        let error = check(&[0.0; 5], 2, 3);
        assert!(matches!(error, CompileError::WeightCount { found: 5, .. }), "{error}");
        let error = check(&[], 0, 3);
        assert!(matches!(error, CompileError::EmptyLayer { outputs: 0, .. }), "{error}");
        let error = check(&[], usize::MAX, 2);
        assert!(matches!(error, CompileError::WeightCount { found: 0, .. }), "{error}");
    }

    #[test]
    fn a_scale_beyond_f32_is_named_by_its_row() {
        let mut weights = [1.0; 16];
        weights[8..].fill(f32::MAX);
        let error = lower_all(&tiny(&[]), &weights, 2, &[1.0; 8]).expect_err("too large");
        assert!(matches!(error, CompileError::ScaleOverflow { row: 1, .. }), "{error}");
    }
}
