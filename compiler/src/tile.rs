//! Matrices to tiles: conjugate folding of the inputs and zero padding.
//!
//! In conjugate folding an array of N rows and M columns takes a real block of 2N inputs and M
//! outputs: cell (k, j) holds `w[k][j] - i w[k+N][j]`. The two halves of the inputs are thus the
//! real and imaginary parts, and a tile is stored as the plain 2N × M block.

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

/// Whether a tile adds nothing, so that it need not be run.
pub(crate) fn is_zero(codes: &[i8]) -> bool {
    codes.iter().all(|code| *code == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_three_by_five_matrix_on_two_by_two_cells() {
        let grid = TileGrid::new(3, 5, 4, 2);
        assert_eq!((grid.k_tiles, grid.m_tiles, grid.count()), (2, 2, 4));
    }
}
