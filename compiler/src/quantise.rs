//! Floats to codes: one scale per weight row, one scale per input vector.
//!
//! **Invariant:** weights and inputs go through the same function the programs use, so that what
//! the compiler measures is what a program does.

use crate::CompileError;
use crate::layer::Matrix;
use litecore_kernels::codes::{self, NonFinite};

/// A weight matrix as codes, with one scale per output row.
#[derive(Debug)]
pub(crate) struct QuantisedMatrix {
    pub(crate) outputs: usize,
    pub(crate) inputs: usize,
    /// Row-major outputs × inputs.
    pub(crate) codes: Vec<i8>,
    /// One per output: `weight ≈ code * scale`.
    pub(crate) scales: Vec<f32>,
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
    /// Errors: the first weight that is not finite.
    pub(crate) fn new(matrix: Matrix<'_>, limit: i32) -> Result<Self, CompileError> {
        let Matrix { name, weights, outputs, inputs } = matrix;
        let mut codes = vec![0; weights.len()];
        let mut scales = Vec::with_capacity(outputs);
        let rows = weights.chunks_exact(inputs).zip(codes.chunks_exact_mut(inputs));
        for (row, (weights, codes)) in rows.enumerate() {
            let scale = codes::quantise(weights, limit, codes).map_err(|NonFinite { index }| {
                let layer = name.to_owned();
                CompileError::NonFiniteWeight { layer, row, column: index }
            })?;
            scales.push(scale);
        }
        Ok(Self { outputs, inputs, codes, scales })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn quantise(
        weights: &[f32],
        outputs: usize,
        limit: i32,
    ) -> Result<QuantisedMatrix, CompileError> {
        let inputs = weights.len() / outputs;
        QuantisedMatrix::new(Matrix { name: "layer 3 up", weights, outputs, inputs }, limit)
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
