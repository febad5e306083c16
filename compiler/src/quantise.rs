//! Floats to codes: one scale per weight row, one scale per input vector; weights tile by tile.
//!
//! **Invariant:** weights and inputs go through the same function the programs use, so that what
//! the compiler measures is what a program does.

use crate::CompileError;
use crate::layer::Matrix;
use crate::passes::{ClippedRow, PassReport, clip_level, report_clipping};
use crate::tile::TileGrid;
use litecore_kernels::codes::{self, NonFinite};
use rayon::prelude::*;

/// A weight matrix as codes, with one scale per output row.
#[derive(Debug)]
pub(crate) struct QuantisedMatrix {
    /// Ascending, one for each M-tile.
    pub(crate) slices: Vec<SliceCodes>,
    /// One less than the bits of a code, so that what codes leave fits the same cells.
    pub(crate) fine_bits: u8,
    /// One per output: `weight ≈ code * scale`.
    pub(crate) scales: Vec<f32>,
    /// Root mean square of the codes over the largest one: how much of the range they use.
    pub(crate) range_used: f64,
}

/// The codes of one slice of outputs, tile by tile, K ascending: `codes[k * M + j]`, zero where the
/// matrix has ended.
#[derive(Debug, Default)]
pub(crate) struct SliceCodes {
    pub(crate) coarse: Vec<Vec<i8>>,
    /// What these leave of each weight, in steps `2^fine_bits` finer; empty without such a plane.
    pub(crate) fine: Vec<Vec<i8>>,
}

/// How the weights of a matrix become codes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quantiser<'a> {
    /// The largest weight code.
    pub(crate) limit: i32,
    /// The mean squares of the inputs, where rows may saturate (see [`clip_level`]).
    pub(crate) clip: Option<&'a [f32]>,
    /// How the matrix is cut.
    pub(crate) grid: TileGrid,
}

/// Rows that are looked at together, while they are in the nearest caches.
const BLOCK_ROWS: usize = 32;

/// Weights that one thread looks at, at least: below it, handing them on costs more than it brings,
/// and a thread that waits for the others begins something larger meanwhile.
pub(crate) const JOB_WEIGHTS: usize = 1 << 20;

/// How many bits finer the second plane of codes up to `limit` is: its codes reach half as far.
pub(crate) fn fine_bits(limit: i32) -> u8 {
    u8::try_from((limit + 1).ilog2()).unwrap_or(7).min(7)
}

/// Input vectors as codes, with one scale per vector.
#[derive(Debug)]
pub(crate) struct QuantisedRows {
    pub(crate) rows: usize,
    pub(crate) len: usize,
    /// Row-major rows × len.
    pub(crate) codes: Vec<i8>,
    /// One per row: `value ≈ code * scale`.
    pub(crate) scales: Vec<f32>,
}

impl Quantiser<'_> {
    /// Quantises a matrix whose shape was checked; `fine` asks for the plane of what the codes leave.
    ///
    /// Where rows may saturate, there is a report of it.
    /// Errors: the first weight that is not finite.
    pub(crate) fn quantise(
        &self,
        matrix: Matrix<'_>,
        fine: bool,
    ) -> Result<(QuantisedMatrix, Option<PassReport>), CompileError> {
        self.quantise_beside(matrix, fine, &mut [], 0, |_, _| {})
    }

    /// The same, while `work` makes something of the weights of each block of rows, and of their part
    /// of `made`, which has `per_row` elements for each row.
    ///
    /// Errors: as there.
    pub(crate) fn quantise_beside(
        &self,
        matrix: Matrix<'_>,
        fine: bool,
        made: &mut [f32],
        per_row: usize,
        work: impl Fn(&[f32], &mut [f32]) + Sync,
    ) -> Result<(QuantisedMatrix, Option<PassReport>), CompileError> {
        let Matrix { name, weights, outputs, inputs } = matrix;
        let rows = self.grid.tile_outputs;
        let mut of_rows: Vec<Result<(f32, ClippedRow), NonFinite>> =
            vec![Ok(Default::default()); outputs];
        let mut made: Vec<&mut [f32]> = made.chunks_mut((per_row * rows).max(1)).collect();
        made.resize_with(self.grid.m_tiles, Default::default);
        let slices = weights
            .par_chunks(inputs * rows)
            .zip(of_rows.par_chunks_mut(rows).zip(made))
            .with_min_len((JOB_WEIGHTS / (inputs * rows)).max(1));
        let slices: Vec<(SliceCodes, i64)> = slices
            .map_init(Vec::new, |room, (weights, (of_rows, made))| {
                let mut made = made.chunks_mut((per_row * BLOCK_ROWS).max(1));
                let of_slice = &mut *of_rows;
                room.resize(weights.len(), 0);
                let blocks = weights
                    .chunks(inputs * BLOCK_ROWS)
                    .zip(room.chunks_mut(inputs * BLOCK_ROWS))
                    .zip(of_slice.chunks_mut(BLOCK_ROWS));
                for ((weights, codes), of_rows) in blocks {
                    work(weights, made.next().unwrap_or_default());
                    let rows = weights.chunks_exact(inputs).zip(codes.chunks_exact_mut(inputs));
                    for ((weights, codes), of_row) in rows.zip(of_rows) {
                        *of_row = self.quantise_row(weights, codes);
                    }
                }
                let squares = codes::sum_of_squared_codes(room);
                let coarse = self.tiles(room, inputs);
                let mut slice = SliceCodes { coarse, fine: Vec::new() };
                if fine {
                    let rows = weights.chunks_exact(inputs).zip(room.chunks_exact_mut(inputs));
                    for ((weights, codes), of_row) in rows.zip(of_rows) {
                        let scale = of_row.as_ref().map_or(0.0, |(scale, _)| *scale);
                        self.leave_rest(weights, scale, codes);
                    }
                    slice.fine = self.tiles(room, inputs);
                }
                (slice, squares)
            })
            .collect();
        let mut scales = Vec::with_capacity(outputs);
        let mut clipped = Vec::with_capacity(outputs);
        for (row, of_row) in of_rows.into_iter().enumerate() {
            let (scale, of_row) = of_row.map_err(|NonFinite { index }| {
                let layer = name.to_owned();
                CompileError::NonFiniteWeight { layer, row, column: index }
            })?;
            scales.push(scale);
            clipped.push(of_row);
        }
        let report = self.clip.map(|_| report_clipping(name, &clipped, weights.len()));
        let squares = slices.iter().map(|(_, squares)| squares).sum();
        let range_used = range_used(squares, weights.len(), self.limit);
        let slices = slices.into_iter().map(|(slice, _)| slice).collect();
        let fine_bits = fine_bits(self.limit);
        Ok((QuantisedMatrix { slices, fine_bits, scales, range_used }, report))
    }

    /// The scale of a row of weights, whose codes are written, and how it was clipped.
    fn quantise_row(
        &self,
        weights: &[f32],
        codes: &mut [i8],
    ) -> Result<(f32, ClippedRow), NonFinite> {
        let limit = self.limit;
        let largest = codes::largest_magnitude(weights);
        let level = |power| clip_level(weights, largest, power, limit);
        let clipped = self.clip.map_or_else(ClippedRow::default, level);
        // What lies beyond the level has the last code anyway.
        let within = clipped.level.unwrap_or(largest);
        Ok((codes::quantise_within(weights, within, limit, codes)?, clipped))
    }

    /// Turns the codes of a row into what they leave of its weights.
    ///
    /// `rest = weight - code * scale`, `fine = clamp(round_half_even(rest * 2^fine_bits / scale))`.
    fn leave_rest(&self, weights: &[f32], scale: f32, codes: &mut [i8]) {
        let limit = self.limit as f32;
        let steps = f32::from(1_u8 << fine_bits(self.limit));
        for (weight, code) in weights.iter().zip(codes) {
            let rest = f32::from(*code).mul_add(-scale, *weight) * (steps / scale);
            let fine = rest.round_ties_even().clamp(-limit, limit);
            #[allow(clippy::cast_possible_truncation, reason = "clamped to the limit")]
            let fine = if fine.is_nan() { 0 } else { fine as i8 };
            *code = fine;
        }
    }

    /// The tiles of a slice of outputs, given as rows of so many codes.
    fn tiles(&self, codes: &[i8], inputs: usize) -> Vec<Vec<i8>> {
        let TileGrid { tile_inputs, tile_outputs, k_tiles, .. } = self.grid;
        let rows = codes.len() / inputs;
        let tile = |k_tile| {
            let mut tile = vec![0; tile_inputs * tile_outputs];
            let first = k_tile * tile_inputs;
            let block = (rows, tile_inputs.min(inputs - first));
            codes::turn(&codes[first..], inputs, block, &mut tile, tile_outputs);
            tile
        };
        (0..k_tiles).map(tile).collect()
    }
}

impl QuantisedRows {
    /// Quantises whole vectors of `len` elements; `limit` is the largest input code.
    ///
    /// Errors: the first element that is not finite. Panics: if the vectors are not whole.
    pub(crate) fn new(
        layer: &str,
        values: &[f32],
        len: usize,
        limit: i32,
    ) -> Result<Self, CompileError> {
        assert!(len > 0 && values.len().is_multiple_of(len), "the samples were cut into vectors");
        let mut codes = vec![0; values.len()];
        let mut scales = Vec::with_capacity(values.len() / len);
        let rows = values.chunks_exact(len).zip(codes.chunks_exact_mut(len));
        for (sample, (values, codes)) in rows.enumerate() {
            let scale = codes::quantise(values, limit, codes).map_err(|NonFinite { index }| {
                let layer = layer.to_owned();
                CompileError::NonFiniteSample { layer, sample, element: index }
            })?;
            scales.push(scale);
        }
        Ok(Self { rows: scales.len(), len, codes, scales })
    }

    /// Root mean square of the codes over the largest one: how much of the range they use.
    pub(crate) fn range_used(&self, limit: i32) -> f64 {
        range_used(codes::sum_of_squared_codes(&self.codes), self.codes.len(), limit)
    }

    /// The slice of every row that one K-tile takes: rows × `tile_inputs`, zero beyond the end.
    pub(crate) fn k_slice(&self, k_tile: usize, tile_inputs: usize) -> Vec<i8> {
        let start = k_tile * tile_inputs;
        let len = tile_inputs.min(self.len - start);
        let mut slice = vec![0; self.rows * tile_inputs];
        let rows = self.codes.chunks_exact(self.len).zip(slice.chunks_exact_mut(tile_inputs));
        for (row, slice) in rows {
            slice[..len].copy_from_slice(&row[start..start + len]);
        }
        slice
    }
}

fn range_used(squares: i64, count: usize, limit: i32) -> f64 {
    (squares as f64 / count.max(1) as f64).sqrt() / f64::from(limit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::WithReport;

    /// A matrix in one tile.
    fn quantised(
        weights: &[f32],
        outputs: usize,
        limit: i32,
        clip: Option<&[f32]>,
    ) -> Result<WithReport, CompileError> {
        let inputs = weights.len() / outputs;
        let matrix = Matrix { name: "layer 3 up", weights, outputs, inputs };
        let grid = TileGrid::new(outputs, inputs, inputs, outputs);
        Quantiser { limit, clip, grid }.quantise(matrix, false)
    }

    /// The codes of a matrix in one tile, row-major as its weights are.
    fn codes(matrix: &QuantisedMatrix) -> Vec<i8> {
        let (tile, outputs) = (&matrix.slices[0].coarse[0], matrix.scales.len());
        let rows = (0..outputs).flat_map(|row| tile.iter().skip(row).step_by(outputs));
        rows.copied().collect()
    }

    #[test]
    fn each_row_has_its_own_scale_and_uses_the_whole_range() {
        let weights = [1.0, -0.5, 0.0, 127.0, 254.0, -1.0];
        let (matrix, _) = quantised(&weights, 2, 127, None).expect("finite");
        // -0.5 * 127 = -63.5 and 127 * 0.5 = 63.5 both tie to 64; -1 * 0.5 = -0.5 ties to 0.
        assert_eq!(codes(&matrix), [127, -64, 0, 64, 127, 0]);
        assert_eq!(matrix.scales, [1.0 / 127.0, 2.0]);
    }

    #[test]
    fn a_clipped_row_saturates_and_the_others_get_finer_codes() {
        // A towering weight that meets no input, in the first row; the second has none.
        let mut weights = vec![0.0; 128];
        litecore_kernels::normal::standard_normals(3, 0, &mut weights);
        weights[0] = 80.0;
        let mut power = vec![1.0; 64];
        power[0] = 0.0;
        let (plain, none) = quantised(&weights, 2, 127, None).expect("finite");
        let (clipped, report) = quantised(&weights, 2, 127, Some(&power)).expect("finite");
        // A quarter of the range is the least that is tried.
        assert_eq!(plain.scales[..1], [80.0 / 127.0]);
        assert_eq!(clipped.scales[..1], [20.0 / 127.0]);
        let (plain, clipped) = (codes(&plain), codes(&clipped));
        assert_eq!((plain[0], clipped[0]), (127, 127));
        let finer: Vec<f32> =
            weights[1..64].iter().map(|w| (w * (127.0 / 20.0)).round_ties_even()).collect();
        let found: Vec<f32> = clipped[1..64].iter().map(|code| f32::from(*code)).collect();
        assert_eq!(found, finer);
        assert_eq!(clipped[64..], plain[64..]);
        assert!(none.is_none());
        assert_eq!(report.expect("asked for").figures[0].after, Some(1.0));
    }

    #[test]
    fn two_planes_hold_fifteen_bits() {
        let weights = [127.0, 1.25, -2.49, 0.0, 100.6];
        let matrix = Matrix { name: "l", weights: &weights, outputs: 1, inputs: 5 };
        let grid = TileGrid::new(1, 5, 5, 1);
        let (made, _) =
            Quantiser { limit: 127, clip: None, grid }.quantise(matrix, true).expect("finite");
        assert_eq!(made.slices[0].coarse, [[127, 1, -2, 0, 101]]);
        // 0.25, -0.49 and -0.4 in steps of 1/128.
        assert_eq!(made.slices[0].fine, [[0, 32, -63, 0, -51]]);
    }

    #[test]
    fn every_code_of_a_matrix_is_in_its_tile() {
        // Whole blocks of eight, and rests both ways, in both planes. The first weight of each row
        // makes the step one, so that the others are their own codes, and a quarter more.
        let (outputs, inputs) = (69, 83);
        let code = |output: usize, input: usize| {
            let code = i16::try_from((output * 31 + input * 7) % 253).expect("small") - 126;
            if input == 0 { 127 } else { i8::try_from(code).expect("below 127") }
        };
        let weights: Vec<f32> = (0..outputs * inputs)
            .map(|at| match (at / inputs, at % inputs) {
                (_, 0) => 127.0,
                (output, input) => f32::from(code(output, input)) + 0.25,
            })
            .collect();
        let matrix = Matrix { name: "l", weights: &weights, outputs, inputs };
        for (tile_inputs, tile_outputs) in [(18, 12), (128, 64), (7, 30)] {
            let grid = TileGrid::new(outputs, inputs, tile_inputs, tile_outputs);
            let (made, _) =
                Quantiser { limit: 127, clip: None, grid }.quantise(matrix, true).expect("finite");
            assert_eq!(made.slices.len(), grid.m_tiles);
            for (m_tile, slice) in made.slices.iter().enumerate() {
                assert_eq!((slice.coarse.len(), slice.fine.len()), (grid.k_tiles, grid.k_tiles));
                for (k_tile, (coarse, fine)) in slice.coarse.iter().zip(&slice.fine).enumerate() {
                    for (at, found) in coarse.iter().zip(fine).enumerate() {
                        let input = k_tile * tile_inputs + at / tile_outputs;
                        let output = m_tile * tile_outputs + at % tile_outputs;
                        let expected = match (input, output) {
                            (input, output) if input >= inputs || output >= outputs => (0, 0),
                            (0, _) => (127, 0),
                            (input, output) => (code(output, input), 32),
                        };
                        assert_eq!((*found.0, *found.1), expected, "{input} {output}");
                    }
                }
            }
        }
    }

    #[test]
    fn narrow_cells_get_narrow_codes() {
        let (matrix, _) = quantised(&[7.0, -3.0, 1.0], 1, 7, None).expect("finite");
        assert_eq!(codes(&matrix), [7, -3, 1]);
    }

    #[test]
    fn a_weight_that_is_not_finite_is_named_by_layer_row_and_column() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let weights = [0.0, 1.0, 2.0, 3.0, bad, 5.0];
            let error = quantised(&weights, 2, 127, None).expect_err("bad");
            assert_eq!(
                error.to_string(),
                "layer `layer 3 up`: the weight in row 1, column 1 is not finite: \
                 repair the checkpoint, it may come from a diverged training run"
            );
        }
    }

    #[test]
    fn a_k_slice_is_padded_with_zeros() {
        let rows = QuantisedRows::new("l", &[1.0, 2.0, 3.0, -3.0, 2.0, 1.0], 3, 3).expect("finite");
        assert_eq!(rows.k_slice(0, 2), [1, 2, -3, 2]);
        assert_eq!(rows.k_slice(1, 2), [3, 0, 1, 0]);
    }
}
