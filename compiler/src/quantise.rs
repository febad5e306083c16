//! Floats to codes: one scale per weight row, one scale per input vector.
//!
//! **Invariant:** weights and inputs go through the same function the programs use, so that what
//! the compiler measures is what a program does.

use crate::CompileError;
use crate::layer::Matrix;
use crate::passes::{ClippedRow, PassReport, clip_level, report_clipping};
use litecore_kernels::codes::{self, NonFinite};
use rayon::prelude::*;

/// A weight matrix as codes, with one scale per output row.
#[derive(Debug)]
pub(crate) struct QuantisedMatrix {
    pub(crate) outputs: usize,
    pub(crate) inputs: usize,
    /// Row-major outputs × inputs.
    pub(crate) codes: Vec<i8>,
    /// What `codes` leave of each weight, in steps `2^fine_bits` finer; empty without such a plane.
    pub(crate) fine: Vec<i8>,
    /// One less than the bits of a code, so that the rest fits the same cells.
    pub(crate) fine_bits: u8,
    /// One per output: `weight ≈ code * scale`.
    pub(crate) scales: Vec<f32>,
}

/// Rows that are looked at together.
const BLOCK_ROWS: usize = 24;

/// The scale of a row of weights, whose codes are written, and how it was clipped.
fn quantise_row(
    weights: &[f32],
    limit: i32,
    clip: Option<&[f32]>,
    codes: &mut [i8],
) -> Result<(f32, ClippedRow), NonFinite> {
    let largest = codes::largest_magnitude(weights);
    let clipped = clip.map_or_else(ClippedRow::default, |p| clip_level(weights, largest, p, limit));
    let scale = match clipped.level {
        None => codes::quantise_within(weights, largest, limit, codes)?,
        Some(level) => {
            let clamped: Vec<f32> =
                weights.iter().map(|weight| weight.clamp(-level, level)).collect();
            codes::quantise(&clamped, limit, codes)?
        }
    };
    Ok((scale, clipped))
}

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

impl QuantisedMatrix {
    /// Quantises a matrix whose shape was checked; `limit` is the largest weight code.
    ///
    /// With the mean squares of the inputs in `clip`, rows saturate where that pays (see
    /// [`crate::passes::clip_level`]), and there is a report of it.
    /// Errors: the first weight that is not finite.
    pub(crate) fn new(
        matrix: Matrix<'_>,
        limit: i32,
        clip: Option<&[f32]>,
    ) -> Result<(Self, Option<PassReport>), CompileError> {
        Self::beside(matrix, limit, clip, &mut [], 0, |_, _| {})
    }

    /// The same, while `work` makes something of the weights of each block of rows, and of their part
    /// of `made`, which has `per_row` elements for each row: while the rows are in the nearest caches.
    ///
    /// Errors: as there.
    pub(crate) fn beside(
        matrix: Matrix<'_>,
        limit: i32,
        clip: Option<&[f32]>,
        made: &mut [f32],
        per_row: usize,
        work: impl Fn(&[f32], &mut [f32]) + Sync,
    ) -> Result<(Self, Option<PassReport>), CompileError> {
        let Matrix { name, weights, outputs, inputs } = matrix;
        let mut codes = vec![0; weights.len()];
        let mut quantised: Vec<Result<(f32, ClippedRow), NonFinite>> =
            vec![Ok(Default::default()); outputs];
        let mut made: Vec<&mut [f32]> = made.chunks_mut((per_row * BLOCK_ROWS).max(1)).collect();
        made.resize_with(outputs.div_ceil(BLOCK_ROWS), Default::default);
        let blocks = weights
            .par_chunks(inputs * BLOCK_ROWS)
            .zip(codes.par_chunks_mut(inputs * BLOCK_ROWS))
            .zip(quantised.par_chunks_mut(BLOCK_ROWS).zip(made));
        blocks.for_each(|((weights, codes), (quantised, made))| {
            work(weights, made);
            let rows = weights.chunks_exact(inputs).zip(codes.chunks_exact_mut(inputs));
            for ((weights, codes), quantised) in rows.zip(quantised) {
                *quantised = quantise_row(weights, limit, clip, codes);
            }
        });
        let mut scales = Vec::with_capacity(outputs);
        let mut clipped = Vec::with_capacity(outputs);
        for (row, quantised) in quantised.into_iter().enumerate() {
            let (scale, of_row) = quantised.map_err(|NonFinite { index }| {
                let layer = name.to_owned();
                CompileError::NonFiniteWeight { layer, row, column: index }
            })?;
            scales.push(scale);
            clipped.push(of_row);
        }
        let report = clip.map(|_| report_clipping(name, &clipped, weights.len()));
        Ok((
            Self { outputs, inputs, codes, fine: Vec::new(), fine_bits: fine_bits(limit), scales },
            report,
        ))
    }

    /// Adds the plane of what the codes leave of the weights they were made from.
    ///
    /// `rest = weight - code * scale`, `fine = clamp(round_half_even(rest * 2^fine_bits / scale))`.
    pub(crate) fn add_fine_plane(&mut self, weights: &[f32], limit: i32) {
        let limit = limit as f32;
        let steps = f32::from(1_u8 << self.fine_bits);
        let rows = weights.chunks_exact(self.inputs).zip(self.codes.chunks_exact(self.inputs));
        for ((weights, codes), scale) in rows.zip(&self.scales) {
            let fine = weights.iter().zip(codes).map(|(weight, code)| {
                let rest = (f32::from(*code).mul_add(-scale, *weight)) * (steps / scale);
                let fine = rest.round_ties_even().clamp(-limit, limit);
                #[allow(clippy::cast_possible_truncation, reason = "clamped to the limit")]
                let fine = if fine.is_nan() { 0 } else { fine as i8 };
                fine
            });
            self.fine.extend(fine);
        }
    }

    /// Root mean square of the codes over the largest one: how much of the range they use.
    pub(crate) fn range_used(&self, limit: i32) -> f64 {
        range_used(&self.codes, limit)
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
        range_used(&self.codes, limit)
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

fn range_used(codes: &[i8], limit: i32) -> f64 {
    let sum = codes::sum_of_squared_codes(codes);
    (sum as f64 / codes.len().max(1) as f64).sqrt() / f64::from(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantise(
        weights: &[f32],
        outputs: usize,
        limit: i32,
    ) -> Result<QuantisedMatrix, CompileError> {
        let inputs = weights.len() / outputs;
        let matrix = Matrix { name: "layer 3 up", weights, outputs, inputs };
        QuantisedMatrix::new(matrix, limit, None).map(|(matrix, _)| matrix)
    }

    #[test]
    fn each_row_has_its_own_scale_and_uses_the_whole_range() {
        let weights = [1.0, -0.5, 0.0, 127.0, 254.0, -1.0];
        let matrix = quantise(&weights, 2, 127).expect("finite");
        // -0.5 * 127 = -63.5 and 127 * 0.5 = 63.5 both tie to 64; -1 * 0.5 = -0.5 ties to 0.
        assert_eq!(matrix.codes, [127, -64, 0, 64, 127, 0]);
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
        let matrix = Matrix { name: "l", weights: &weights, outputs: 2, inputs: 64 };
        let (plain, none) = QuantisedMatrix::new(matrix, 127, None).expect("finite");
        let (clipped, report) = QuantisedMatrix::new(matrix, 127, Some(&power)).expect("finite");
        // A quarter of the range is the least that is tried.
        assert_eq!(plain.scales[..1], [80.0 / 127.0]);
        assert_eq!(clipped.scales[..1], [20.0 / 127.0]);
        assert_eq!((plain.codes[0], clipped.codes[0]), (127, 127));
        let finer: Vec<f32> =
            weights[1..64].iter().map(|w| (w * (127.0 / 20.0)).round_ties_even()).collect();
        let codes: Vec<f32> = clipped.codes[1..64].iter().map(|code| f32::from(*code)).collect();
        assert_eq!(codes, finer);
        assert_eq!(clipped.codes[64..], plain.codes[64..]);
        assert!(none.is_none());
        assert_eq!(report.expect("asked for").figures[0].after, Some(1.0));
    }

    #[test]
    fn two_planes_hold_fifteen_bits() {
        let weights = [127.0, 1.25, -2.49, 0.0, 100.6];
        let matrix = Matrix { name: "l", weights: &weights, outputs: 1, inputs: 5 };
        let (mut matrix, _) = QuantisedMatrix::new(matrix, 127, None).expect("finite");
        matrix.add_fine_plane(&weights, 127);
        assert_eq!(matrix.codes, [127, 1, -2, 0, 101]);
        // 0.25, -0.49 and -0.4 in steps of 1/128.
        assert_eq!(matrix.fine, [0, 32, -63, 0, -51]);
    }

    #[test]
    fn narrow_cells_get_narrow_codes() {
        let matrix = quantise(&[7.0, -3.0, 1.0], 1, 7).expect("finite");
        assert_eq!(matrix.codes, [7, -3, 1]);
    }

    #[test]
    fn a_weight_that_is_not_finite_is_named_by_layer_row_and_column() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let weights = [0.0, 1.0, 2.0, 3.0, bad, 5.0];
            let error = quantise(&weights, 2, 127).expect_err("bad");
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
