//! One matrix, lowered: codes, tiles, gains, and what the program will make of the samples.

use crate::CompileError;
use crate::options::CompileOptions;
use crate::passes::{Parts, Pass, PassReport, Reads, cell_error, choose_packing, decibels, grid};
use crate::quantise::{JOB_WEIGHTS, QuantisedMatrix, QuantisedRows, Quantiser};
use crate::samples::SampleRows;
use crate::schedule::steps_max;
pub(crate) use crate::slice::LoweredSlice;
use crate::slice::{ReadingSums, SliceOutcome, SlicePlan};
use crate::tile::{TileGrid, is_zero};
use litecore_types::chip::ChipDescription;
use litecore_types::program::Packing;
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

/// Vectors in a run for which a packing is chosen, where the caller does not say.
const TYPICAL_BATCH: u64 = 64;

/// A matrix ready to be scheduled.
#[derive(Debug)]
pub(crate) struct LoweredMatrix {
    pub(crate) name: String,
    pub(crate) outputs: usize,
    pub(crate) inputs: usize,
    /// How its tiles lie on the cells.
    pub(crate) packing: Packing,
    pub(crate) grid: TileGrid,
    /// One per M-tile, ascending.
    pub(crate) slices: Vec<LoweredSlice>,
    /// Dequantisation factors, one per output.
    pub(crate) table: Vec<f32>,
    /// What the program computes on the samples: rows × outputs.
    pub(crate) outcome: Vec<f32>,
    /// What the passes from `clip` to `gain` did.
    pub(crate) passes: Vec<PassReport>,
}

/// The inputs that a matrix is lowered for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inputs<'a> {
    pub(crate) codes: &'a QuantisedRows,
    /// Mean square of each input.
    pub(crate) channel_power: &'a [f32],
    /// What a squared error of each output costs; one of each where nothing is given.
    pub(crate) importance: Option<&'a [f64]>,
    /// Whether they are pairs, of real and imaginary parts, that a complex matrix takes.
    pub(crate) complex: bool,
    /// Which of them things are chosen on.
    pub(crate) rows: SampleRows,
}

/// A matrix as codes, and the report of what was clipped.
pub(crate) type WithReport = (QuantisedMatrix, Option<PassReport>);

/// How a matrix lies on the cells, and what the choice was between.
pub(crate) fn packing_of(
    chip: &ChipDescription,
    options: &CompileOptions,
    matrix: Matrix<'_>,
    complex: bool,
) -> (Packing, Option<PassReport>) {
    if !options.has(Pass::Packing) {
        return (Packing::Conjugate, None);
    }
    let batch = options.batch.unwrap_or(TYPICAL_BATCH);
    let (packing, report) = choose_packing(matrix, chip, batch, complex);
    (packing, Some(report))
}

/// Lowers a matrix for inputs like the samples; `ready` holds its codes where they were made before,
/// with the same clipping, for the same cells.
pub(crate) fn lower(
    chip: &ChipDescription,
    options: &CompileOptions,
    matrix: Matrix<'_>,
    inputs: Inputs<'_>,
    ready: Option<WithReport>,
) -> Result<LoweredMatrix, CompileError> {
    let limit = chip.weight_limit();
    let mut passes = Vec::new();
    let clip = options.has(Pass::Clip).then_some(inputs.channel_power);
    let (packing, chosen) = packing_of(chip, options, matrix, inputs.complex);
    let grid = grid(chip, matrix.outputs, matrix.inputs, packing);
    let quantiser = Quantiser { limit, clip, grid };
    let (mut codes, clipped) = match ready {
        Some(ready) => ready,
        None => quantiser.quantise(matrix, false)?,
    };
    passes.extend(clipped);
    passes.push(
        PassReport::new(Pass::Quantise, Some(matrix.name))
            .changed(true)
            .figure("rms weight code over the largest", f64::NAN, codes.range_used)
            .figure(
                "rms input code over the largest",
                f64::NAN,
                inputs.codes.range_used(chip.input_limit()),
            ),
    );
    passes.extend(chosen);
    let lowering = Lowering::new(chip, options, matrix, inputs, packing);
    let mut slices = lowering.slices(&mut codes, Reads::default())?;
    if let Some(target) = options.target_snr_db.filter(|_| options.has(Pass::Split)) {
        let parts = lowering.parts(&codes, &slices);
        let finer = f64::from(1_u32 << codes.fine_bits);
        // Three matrices share the error of an expert evenly.
        let share = pxfm::f_exp10(-target / 10.0) / 3.0;
        let reads = parts.choose(share, finer);
        let (before, after) = (parts.snr_db(Reads::default(), finer), parts.snr_db(reads, finer));
        let wanted = -decibels(share);
        passes.push(
            PassReport::new(Pass::Split, Some(matrix.name))
                .changed(reads != Reads::default())
                .falls_short(after < wanted)
                .figure("reads of each tile", 1.0, f64::from(reads.repeats))
                .figure("planes of weight codes", 1.0, if reads.fine { 2.0 } else { 1.0 })
                .figure("predicted SNR, dB", before, after)
                .figure("wanted SNR of this matrix, dB", wanted, wanted),
        );
        if reads != Reads::default() {
            // What clips leaves more than the fine plane can hold.
            let clip = clip.filter(|_| !reads.fine);
            codes = Quantiser { clip, ..quantiser }.quantise(matrix, reads.fine)?.0;
            slices = lowering.slices(&mut codes, reads)?;
        }
    }
    Ok(lowering.finish(slices, passes))
}

/// What the slices of one matrix have in common.
pub(crate) struct Lowering<'a> {
    pub(crate) chip: &'a ChipDescription,
    pub(crate) options: &'a CompileOptions,
    pub(crate) matrix: Matrix<'a>,
    pub(crate) inputs: Inputs<'a>,
    pub(crate) packing: Packing,
    pub(crate) grid: TileGrid,
    /// The codes of each K-tile.
    pub(crate) x: Vec<Vec<i8>>,
    /// Squared scales of the samples that things are chosen on.
    pub(crate) symbol_weights: Vec<f64>,
}

impl<'a> Lowering<'a> {
    fn new(
        chip: &'a ChipDescription,
        options: &'a CompileOptions,
        matrix: Matrix<'a>,
        inputs: Inputs<'a>,
        packing: Packing,
    ) -> Self {
        let grid = grid(chip, matrix.outputs, matrix.inputs, packing);
        let x = (0..grid.k_tiles)
            .map(|k_tile| inputs.codes.k_slice(k_tile, grid.tile_inputs))
            .collect();
        let scales = inputs.rows.seen(&inputs.codes.scales);
        let symbol_weights = scales.iter().map(|scale| square(*scale)).collect();
        Self { chip, options, matrix, inputs, packing, grid, x, symbol_weights }
    }

    /// Lowers all slices, which are taken out of `codes`.
    fn slices(
        &self,
        codes: &mut QuantisedMatrix,
        reads: Reads,
    ) -> Result<Vec<SliceOutcome>, CompileError> {
        let slices = std::mem::take(&mut codes.slices);
        let tiles = slices.iter().flat_map(|slice| &slice.coarse).filter(|tile| !is_zero(tile));
        // Three steps for each tile; looking at all of them first may take long.
        let (needed, limit) = (tiles.count().saturating_mul(3), steps_max(self.chip));
        if needed > limit {
            let (layer, what) = (self.matrix.name.to_owned(), "steps");
            return Err(CompileError::TooLarge { layer, what, needed, limit });
        }
        let codes = &*codes;
        let of_slice = self.matrix.inputs * self.grid.tile_outputs;
        let slices: Vec<Result<SliceOutcome, CompileError>> = slices
            .into_par_iter()
            .enumerate()
            .with_min_len((JOB_WEIGHTS / of_slice).max(1))
            .map(|slice| SlicePlan::lower(self, codes, slice, reads))
            .collect();
        // The first slice at fault, whichever thread was first.
        slices.into_iter().collect()
    }

    /// Variance of the converter's own noise, in squared steps.
    fn step_noise(&self) -> f64 {
        let adc = &self.chip.adc;
        // An ideal converter of fewer bits has a step 2^missing as wide.
        let missing = f64::from(adc.bits) - adc.effective_bits();
        (pxfm::f_exp2(2.0 * missing) - 1.0) / 12.0
    }

    /// What a squared error of an output costs.
    fn importance(&self, output: usize) -> f64 {
        self.inputs.importance.map_or(1.0, |importance| importance[output])
    }

    /// The power of some outputs, each weighted as its errors are, over the rows that things are chosen
    /// on. Shape: rows × `outputs`.
    fn power(&self, outcome: &[f32], first_output: usize, outputs: usize) -> f64 {
        let of_row = |row: &[f32]| -> f64 {
            let weighted = |(j, y): (usize, &f32)| self.importance(first_output + j) * square(*y);
            row.iter().enumerate().map(weighted).sum()
        };
        self.inputs.rows.seen(outcome).chunks_exact(outputs).map(of_row).sum()
    }

    /// What the product errs by, relative to its power, on the samples.
    fn parts(&self, codes: &QuantisedMatrix, slices: &[SliceOutcome]) -> Parts {
        let signal: f64 = slices
            .iter()
            .map(|slice| self.power(&slice.outcome, slice.slice.first_output, slice.table.len()))
            .sum();
        let sum = |figure: fn(&ReadingSums) -> f64| -> f64 {
            slices.iter().map(|slice| figure(&slice.readings)).sum()
        };
        let row_steps: f64 = codes
            .scales
            .iter()
            .enumerate()
            .map(|(output, scale)| self.importance(output) * square(*scale))
            .sum();
        let rows = self.inputs.rows.seen_count() as f64;
        let power: f64 = self.inputs.channel_power.iter().map(|p| f64::from(*p)).sum();
        let weight_power: f64 = self
            .matrix
            .weights
            .chunks_exact(self.matrix.inputs)
            .enumerate()
            .map(|(output, row)| {
                self.importance(output) * row.iter().map(|w| square(*w)).sum::<f64>()
            })
            .sum();
        let input_steps: f64 = self.symbol_weights.iter().sum();
        let steps = sum(|readings| readings.steps);
        let converter = self.step_noise() * steps;
        let beyond = square_wide(self.options.read_noise) * sum(|readings| readings.units);
        let relative = |error: f64| if signal > 0.0 { error / signal } else { 0.0 };
        Parts {
            weights: relative(rows * power * row_steps / 12.0),
            inputs: relative(input_steps / 12.0 * weight_power),
            steps: relative(steps),
            clipping: relative((sum(|readings| readings.error) - steps / 12.0).max(0.0)),
            noise: relative(converter + beyond),
            cells: cell_error(self.chip),
        }
    }

    fn finish(&self, slices: Vec<SliceOutcome>, mut passes: Vec<PassReport>) -> LoweredMatrix {
        let Matrix { name, outputs, inputs, .. } = self.matrix;
        let mut lowered = LoweredMatrix {
            name: name.to_owned(),
            outputs,
            inputs,
            packing: self.packing,
            grid: self.grid,
            slices: Vec::with_capacity(self.grid.m_tiles),
            table: Vec::with_capacity(outputs),
            outcome: vec![0.0; self.inputs.codes.rows * outputs],
            passes: Vec::new(),
        };
        let mut readings = ReadingSums::default();
        let mut tiles = 0;
        for slice in slices {
            let SliceOutcome { slice, table, outcome, readings: of_slice } = slice;
            readings.add(&of_slice);
            tiles += slice.tiles.len();
            let rows = lowered.outcome.chunks_exact_mut(outputs);
            for (row, part) in rows.zip(outcome.chunks_exact(table.len())) {
                row[slice.first_output..][..table.len()].copy_from_slice(part);
            }
            lowered.table.extend(table);
            lowered.slices.push(slice);
        }
        let signal = self.power(&lowered.outcome, 0, outputs);
        passes.push(PassReport::new(Pass::Tile, Some(name)).changed(true).figure(
            "tiles",
            self.grid.count() as f64,
            tiles as f64,
        ));
        if self.options.has(Pass::Gain) {
            let clipped = readings.clipped as f64 / readings.sums.max(1) as f64;
            passes.push(
                PassReport::new(Pass::Gain, Some(name))
                    .changed(true)
                    .figure(
                        "SNR of the readings, dB",
                        decibels(signal / readings.unity),
                        decibels(signal / readings.error),
                    )
                    .figure("share of sums that saturate", 0.0, clipped),
            );
        }
        lowered.passes = passes;
        lowered
    }
}

pub(crate) fn square(x: f32) -> f64 {
    f64::from(x) * f64::from(x)
}

pub(crate) fn square_wide(x: f64) -> f64 {
    x * x
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
        let codes = &QuantisedRows::new("l", x, inputs, chip.input_limit()).expect("finite");
        let matrix = Matrix { name: "l", weights, outputs, inputs };
        let channel_power = &vec![1.0; inputs];
        let rows = SampleRows::new(codes.rows);
        let inputs = Inputs { codes, channel_power, importance: None, complex: false, rows };
        lower(chip, &CompileOptions::default(), matrix, inputs, None)
    }

    #[test]
    fn a_strong_and_a_weak_tile_share_one_scale() {
        // Two K-tiles of eight inputs; the second is a hundred times weaker.
        let weights: Vec<f32> = (0..16).map(|k| if k < 8 { 1.0 } else { 0.01 }).collect();
        let x: Vec<f32> = (0..16).map(|k| if k % 2 == 0 { 1.0 } else { 0.75 }).collect();
        let lowered = lower_all(&tiny(&[]), &weights, 1, &x).expect("fits");
        let tiles = &lowered.slices[0].tiles;
        // Sums: 127 * (4 * 127 + 4 * 95) = 112776 and 888. The chip offers shifts 5 to 10. The
        // first reads 110 at shift 10 and would clip at 9; the second fits the smallest, and reads
        // 888 / 32 = 27.75 as 28.
        assert_eq!((tiles[0].shift, tiles[1].shift), (10, 5));
        assert_eq!((tiles[0].accumulate_shift, tiles[1].accumulate_shift), (5, 0));
        let expected = ((110 * 32 + 28) as f32 * (1.0 / 127.0)) * (32.0 / 127.0);
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
