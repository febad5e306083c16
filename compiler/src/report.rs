//! What the compiler made of a layer: tiles, gains, and how well the codes hold the numbers.

use crate::layer::LoweredMatrix;
use crate::passes::PassReport;
use crate::samples::{SampleRows, SampleSource, Samples};
use litecore_types::program::Program;
use serde::Serialize;

/// What the compiler made of a layer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerReport {
    /// The layer.
    pub name: String,
    /// The chip it is compiled for.
    pub chip: String,
    /// The input vectors that it was compiled for.
    pub samples: SampleSource,
    /// How many of them nothing was chosen on. Both kinds of SNR are of these alone; where there are none,
    /// of all samples, which flatters them.
    pub held_out: usize,
    /// Most symbols in one run.
    pub symbols_max: u64,
    /// Card memory one symbol takes, before alignment.
    pub sram_bytes_per_symbol: u64,
    /// Weight codes of all tiles, padding included.
    pub weight_bytes: u64,
    /// Dequantisation tables.
    pub table_bytes: u64,
    /// Signal over quantisation noise of the layer's outputs on the samples held out, against the layer
    /// in f32; nothing where there is no signal or no noise.
    pub snr_db: Option<f64>,
    /// What each pass did, in the order they ran.
    pub passes: Vec<PassReport>,
    /// Its matrices, in the order they are streamed.
    pub matrices: Vec<MatrixReport>,
}

/// What the compiler made of one matrix.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MatrixReport {
    /// The matrix.
    pub name: String,
    /// Its rows.
    pub outputs: usize,
    /// Its columns.
    pub inputs: usize,
    /// Tiles of zeros that are not run.
    pub skipped_tiles: usize,
    /// Weights of the matrix that lie in a tile.
    pub useful_weights: u64,
    /// Weights the tiles could hold.
    pub cell_capacity: u64,
    /// Signal over quantisation noise of this matrix alone: its outputs on the inputs it gets of the
    /// samples held out, against f32 on the same inputs; nothing where there is no signal or no noise.
    pub snr_db: Option<f64>,
    /// The reads of tiles, by output slice, then along the inputs; a tile that is read several
    /// times, or in two planes, stands here as often.
    pub tiles: Vec<TileReport>,
}

/// Place and gain of one tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct TileReport {
    /// Position along the inputs, in tiles.
    pub k_tile: usize,
    /// Position along the outputs, in tiles.
    pub m_tile: usize,
    /// The ADC's step is `2^shift` units of the exact sum.
    pub shift: u8,
    /// What the shift is above the smallest of the slice.
    pub accumulate_shift: u8,
}

impl LayerReport {
    /// Tiles that are run.
    pub fn tiles(&self) -> usize {
        self.matrices.iter().map(|matrix| matrix.tiles.len()).sum()
    }

    /// Whether the SNR that was asked for is out of reach of a matrix, however it is read.
    pub fn misses_target(&self) -> bool {
        self.passes.iter().any(|pass| pass.falls_short)
    }

    /// Useful weights over what the tiles could hold: 1 where no cell is padding.
    pub fn fill(&self) -> f64 {
        let useful: u64 = self.matrices.iter().map(|matrix| matrix.useful_weights).sum();
        let capacity: u64 = self.matrices.iter().map(|matrix| matrix.cell_capacity).sum();
        useful as f64 / capacity.max(1) as f64
    }

    pub(crate) fn new(
        program: &Program,
        samples: &Samples,
        snr_db: Option<f64>,
        passes: Vec<PassReport>,
        matrices: Vec<MatrixReport>,
    ) -> Self {
        let per_symbol = program.buffers.iter().map(|b| b.bytes_per_symbol() as u64).sum();
        let constants: usize = program.tables.iter().map(Vec::len).sum();
        Self {
            name: program.name.clone(),
            chip: program.chip.clone(),
            samples: samples.source,
            held_out: samples.rows.held_out_count(),
            symbols_max: program.symbols_max,
            sram_bytes_per_symbol: per_symbol,
            weight_bytes: program.weight_bytes(),
            table_bytes: 4 * constants as u64,
            snr_db,
            passes,
            matrices,
        }
    }
}

impl MatrixReport {
    /// Useful weights over what the tiles could hold: 1 where no cell is padding.
    pub fn fill(&self) -> f64 {
        self.useful_weights as f64 / self.cell_capacity.max(1) as f64
    }

    /// The report on a matrix; `exact` is what f32 makes of the inputs it is judged by, where that is
    /// known.
    pub(crate) fn new(matrix: &LoweredMatrix, exact: Option<(&[f32], SampleRows)>) -> Self {
        let grid = matrix.grid;
        let mut tiles = Vec::new();
        let (mut useful_weights, mut placed) = (0, 0);
        for (m_tile, slice) in matrix.slices.iter().enumerate() {
            let outputs = grid.tile_outputs.min(matrix.outputs - slice.first_output);
            let mut last = None;
            for tile in &slice.tiles {
                let k_tile = tile.k_tile;
                // Planes and repeated reads of one tile follow each other and count once.
                if last.replace(k_tile) != Some(k_tile) {
                    let inputs = grid.tile_inputs.min(matrix.inputs - k_tile * grid.tile_inputs);
                    useful_weights += (inputs * outputs) as u64;
                    placed += 1;
                }
                let (shift, accumulate_shift) = (tile.shift, tile.accumulate_shift);
                tiles.push(TileReport { k_tile, m_tile, shift, accumulate_shift });
            }
        }
        Self {
            name: matrix.name.clone(),
            outputs: matrix.outputs,
            inputs: matrix.inputs,
            skipped_tiles: grid.count() - placed,
            useful_weights,
            cell_capacity: (placed * grid.tile_inputs * grid.tile_outputs) as u64,
            snr_db: exact.and_then(|(exact, rows)| snr_db(exact, rows.judged(&matrix.outcome))),
            tiles,
        }
    }
}

/// `10 log10` of the power of `exact` over that of the difference, summed in order.
///
/// Nothing where either is zero or not finite.
pub(crate) fn snr_db(exact: &[f32], found: &[f32]) -> Option<f64> {
    let (mut signal, mut noise) = (0.0_f64, 0.0_f64);
    for (&exact, &found) in exact.iter().zip(found) {
        let difference = f64::from(found) - f64::from(exact);
        signal += f64::from(exact) * f64::from(exact);
        noise += difference * difference;
    }
    let ratio = signal / noise;
    (ratio.is_normal() && ratio > 0.0).then(|| 10.0 * pxfm::f_log10(ratio))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snr_is_a_power_ratio_in_decibels() {
        let snr = snr_db(&[3.0, 4.0], &[3.0, 3.95]).expect("both finite");
        assert!((snr - 40.0).abs() < 1e-4, "{snr}");
        assert_eq!(snr_db(&[1.0], &[1.0]), None);
        assert_eq!(snr_db(&[0.0], &[1.0]), None);
        assert_eq!(snr_db(&[f32::INFINITY], &[1.0]), None);
    }
}
