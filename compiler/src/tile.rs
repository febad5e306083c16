//! Matrices to tiles: conjugate folding of the inputs and zero padding.
//!
//! In conjugate folding an array of N rows and M columns takes a real block of 2N inputs and M
//! outputs: cell (k, j) holds `w[k][j] - i w[k+N][j]`. The two halves of the inputs are thus the
//! real and imaginary parts, and a tile is stored as the plain 2N × M block.

use crate::quantise::QuantisedMatrix;
use litecore_kernels::codes;

/// How a matrix is cut into tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TileGrid {
    /// Inputs of one tile: 2N.
    pub(crate) tile_inputs: usize,
    /// Outputs of one tile: M.
    pub(crate) tile_outputs: usize,
    /// Tiles along the inputs.
    pub(crate) k_tiles: usize,
    /// Tiles along the outputs: accumulator slices.
    pub(crate) m_tiles: usize,
}

impl TileGrid {
    pub(crate) fn new(
        outputs: usize,
        inputs: usize,
        tile_inputs: usize,
        tile_outputs: usize,
    ) -> Self {
        let (k_tiles, m_tiles) = (inputs.div_ceil(tile_inputs), outputs.div_ceil(tile_outputs));
        Self { tile_inputs, tile_outputs, k_tiles, m_tiles }
    }

    /// Tiles of the whole matrix.
    pub(crate) fn count(&self) -> usize {
        self.k_tiles.saturating_mul(self.m_tiles)
    }
}

/// The codes of one tile, `codes[k * M + j]`, zero where the matrix has ended.
///
/// `plane` holds the codes of the whole matrix, row-major.
pub(crate) fn tile_codes(
    matrix: &QuantisedMatrix,
    plane: &[i8],
    grid: TileGrid,
    k_tile: usize,
    m_tile: usize,
) -> Vec<i8> {
    let mut codes = vec![0; grid.tile_inputs * grid.tile_outputs];
    let first_input = k_tile * grid.tile_inputs;
    let inputs = first_input..matrix.inputs.min(first_input + grid.tile_inputs);
    let first_output = m_tile * grid.tile_outputs;
    let outputs = first_output..matrix.outputs.min(first_output + grid.tile_outputs);
    let block = (outputs.len(), inputs.len());
    let first = outputs.start * matrix.inputs + first_input;
    codes::turn(&plane[first..], matrix.inputs, block, &mut codes, grid.tile_outputs);
    codes
}

/// Whether a tile adds nothing, so that it need not be run.
pub(crate) fn is_zero(codes: &[i8]) -> bool {
    codes.iter().all(|code| *code == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(outputs: usize, inputs: usize, codes: &[i8]) -> QuantisedMatrix {
        QuantisedMatrix {
            outputs,
            inputs,
            codes: codes.to_vec(),
            fine: vec![],
            fine_bits: 7,
            scales: vec![1.0; outputs],
        }
    }

    #[test]
    fn every_code_of_a_matrix_is_in_its_place() {
        // Whole blocks of eight, and rests both ways; every place holds another code.
        let (outputs, inputs) = (21, 29);
        let code = |output: usize, input: usize| {
            i8::try_from((output * 31 + input * 7) % 127).expect("below 127") - 63
        };
        let codes: Vec<i8> =
            (0..outputs * inputs).map(|at| code(at / inputs, at % inputs)).collect();
        let matrix = matrix(outputs, inputs, &codes);
        let grid = TileGrid::new(outputs, inputs, 18, 12);
        for (k_tile, m_tile) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let tile = tile_codes(&matrix, &matrix.codes, grid, k_tile, m_tile);
            for (at, found) in tile.into_iter().enumerate() {
                let (input, output) = (k_tile * 18 + at / 12, m_tile * 12 + at % 12);
                let inside = input < inputs && output < outputs;
                assert_eq!(found, if inside { code(output, input) } else { 0 }, "{input} {output}");
            }
        }
    }

    #[test]
    fn a_three_by_five_matrix_on_two_by_two_cells() {
        let matrix = matrix(3, 5, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
        let grid = TileGrid::new(3, 5, 4, 2);
        assert_eq!((grid.k_tiles, grid.m_tiles, grid.count()), (2, 2, 4));
        assert_eq!(tile_codes(&matrix, &matrix.codes, grid, 0, 0), [1, 6, 2, 7, 3, 8, 4, 9]);
        assert_eq!(tile_codes(&matrix, &matrix.codes, grid, 1, 0), [5, 10, 0, 0, 0, 0, 0, 0]);
        assert_eq!(tile_codes(&matrix, &matrix.codes, grid, 0, 1), [11, 0, 12, 0, 13, 0, 14, 0]);
        assert_eq!(tile_codes(&matrix, &matrix.codes, grid, 1, 1), [15, 0, 0, 0, 0, 0, 0, 0]);
    }
}
