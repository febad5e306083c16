//! How a matrix lies on complex cells: the packing that costs the chip least.
//!
//! All packings of real weights make two products in a cell and symbol, complex weights four; what differs is the shape of a tile,
//! and with it the padding, and the converters that work for a symbol. So a matrix as wide as the
//! array's fan-in folds its inputs; a narrow and tall one fills the array with pairs of outputs; a
//! small one takes two vectors in a symbol and needs half the codes loaded.

use super::{Pass, PassReport};
use crate::layer::Matrix;
use crate::tile::TileGrid;
use litecore_types::chip::{ChipDescription, Readout};
use litecore_types::program::Packing;

/// What one run of a matrix costs in some packing.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Cost {
    /// Cycles of the busier of loading and streaming; of both, where one bank takes turns.
    cycles: f64,
    /// Joules of converters, modulators, receivers and loads.
    joules: f64,
}

/// Chooses the packing of a matrix for runs of `batch` vectors: the quickest; of those as quick one
/// that takes less than half the energy; else conjugate folding.
///
/// `complex` says that it is the real form of a complex matrix, which may lie on the cells as it is.
/// Packings other than conjugate folding need both quadratures of the receiver.
pub(crate) fn choose_packing(
    matrix: Matrix<'_>,
    chip: &ChipDescription,
    batch: u64,
    complex: bool,
) -> (Packing, PassReport) {
    let Matrix { name, outputs, inputs, .. } = matrix;
    let usual = cost(chip, outputs, inputs, batch, Packing::Conjugate);
    let mut best = (Packing::Conjugate, usual);
    if chip.receiver.readout == Readout::Iq {
        let packings: &[Packing] = if complex { &Packing::ALL } else { &Packing::REAL };
        for &packing in packings {
            let cost = cost(chip, outputs, inputs, batch, packing);
            // Folding reads three decibels better at equal light, which halves what a read is worth.
            let quicker = cost.cycles < 0.99 * best.1.cycles;
            let as_quick = cost.cycles <= best.1.cycles && cost.joules < 0.5 * best.1.joules;
            if quicker || as_quick {
                best = (packing, cost);
            }
        }
    }
    let tiles = |packing| grid(chip, outputs, inputs, packing).count() as f64;
    let report = PassReport::new(Pass::Packing, Some(name))
        .changed(best.0 != Packing::Conjugate)
        .figure("tiles", tiles(Packing::Conjugate), tiles(best.0))
        .figure("cycles of the array, at the least", usual.cycles, best.1.cycles)
        .figure("energy of the array, nJ", 1e9 * usual.joules, 1e9 * best.1.joules);
    (best.0, report)
}

/// How a matrix is cut in some packing.
pub(crate) fn grid(
    chip: &ChipDescription,
    outputs: usize,
    inputs: usize,
    packing: Packing,
) -> TileGrid {
    let (rows, columns) = (chip.array.inputs, chip.array.outputs);
    TileGrid::new(outputs, inputs, packing.inputs(rows), packing.outputs(columns))
}

fn cost(
    chip: &ChipDescription,
    outputs: usize,
    inputs: usize,
    batch: u64,
    packing: Packing,
) -> Cost {
    let grid = grid(chip, outputs, inputs, packing);
    let tiles = grid.count() as f64;
    let codes = (grid.tile_inputs * grid.tile_outputs / packing.copies()) as f64;
    let rate = chip.clock.symbol_rate_hz.value;
    let optical = batch.div_ceil(packing.vectors()) as f64;
    let load = tiles * (codes / chip.weights.load_bytes_per_s.value * rate).ceil();
    let settle = (chip.cell.settling_s.value * rate).ceil();
    let stream = tiles * ((optical / chip.array.wavelengths as f64).ceil() + settle);
    let arrays = chip.array.arrays as f64;
    let cycles = if chip.array.banks > 1 { load.max(stream) } else { load + stream } / arrays;
    let drives = optical * (packing.drives_per_row() * chip.array.inputs) as f64;
    let samples = optical * (chip.receiver.readout.pairs() * chip.array.outputs) as f64;
    let per_tile = codes
        * (chip.weights.fetch_energy_j_per_byte.value + chip.weights.dac_energy_j.value)
        + drives * (chip.dac.energy_j.value + chip.dac.modulator_energy_j.value)
        + samples * (chip.receiver.energy_j.value + chip.adc.energy_j.value);
    Cost { cycles, joules: tiles * per_tile }
}

#[cfg(test)]
mod tests {
    use super::*;
    use litecore_types::chip::{Override, builtin_text};

    fn chip(readout: &str) -> ChipDescription {
        let readout = Override { path: "receiver.readout".into(), value: readout.into() };
        let text = builtin_text("ref-64-eo").expect("shipped");
        ChipDescription::from_toml_with(text, "test", &[readout]).expect("valid")
    }

    fn chosen(readout: &str, outputs: usize, inputs: usize) -> Packing {
        let matrix = Matrix { name: "m", weights: &[], outputs, inputs };
        choose_packing(matrix, &chip(readout), 64, false).0
    }

    #[test]
    fn complex_matrices_lie_on_the_cells_as_they_are() {
        // 64 complex inputs and outputs: one tile instead of two.
        let matrix = Matrix { name: "m", weights: &[], outputs: 128, inputs: 128 };
        assert_eq!(choose_packing(matrix, &chip("iq"), 64, true).0, Packing::Complex);
        assert_eq!(choose_packing(matrix, &chip("i"), 64, true).0, Packing::Conjugate);
        assert_eq!(choose_packing(matrix, &chip("iq"), 64, false).0, Packing::Conjugate);
    }

    #[test]
    fn each_shape_gets_the_packing_that_pads_it_least() {
        // 64 x 64 cells: folding takes 128 inputs and 64 outputs, rows 64 and 128, tokens 64 and 64.
        assert_eq!(chosen("iq", 64, 128), Packing::Conjugate);
        assert_eq!(chosen("iq", 512, 1024), Packing::Conjugate);
        assert_eq!(chosen("iq", 128, 64), Packing::Rows);
        assert_eq!(chosen("iq", 64, 64), Packing::Tokens);
    }

    #[test]
    fn without_the_second_quadrature_everything_is_folded() {
        for (outputs, inputs) in [(64, 128), (128, 64), (64, 64)] {
            assert_eq!(chosen("i", outputs, inputs), Packing::Conjugate);
        }
    }
}
