//! Reports as they stand in the file.

use crate::passes::PassReport;
use crate::report::{LayerReport, MatrixReport, TileReport};
use crate::samples::SampleSource;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
pub(super) struct ReportRepr {
    name: String,
    chip: String,
    samples: SamplesRepr,
    /// Not there in older files, whose SNR is that of all samples: then it is zero.
    #[serde(default)]
    held_out: usize,
    symbols_max: u64,
    sram_bytes_per_symbol: u64,
    weight_bytes: u64,
    table_bytes: u64,
    snr_db: Option<f64>,
    passes: Vec<PassReport>,
    matrices: Vec<MatrixRepr>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SamplesRepr {
    Caller(usize),
    GaussianModel(usize),
}

#[derive(Serialize, Deserialize)]
struct MatrixRepr {
    name: String,
    outputs: usize,
    inputs: usize,
    skipped_tiles: usize,
    useful_weights: u64,
    cell_capacity: u64,
    snr_db: Option<f64>,
    tiles: Vec<TileRepr>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
struct TileRepr {
    k_tile: usize,
    m_tile: usize,
    shift: u8,
    accumulate_shift: u8,
}

impl ReportRepr {
    pub(super) fn new(report: &LayerReport) -> Self {
        Self {
            name: report.name.clone(),
            chip: report.chip.clone(),
            samples: match report.samples {
                SampleSource::Caller { rows } => SamplesRepr::Caller(rows),
                SampleSource::GaussianModel { rows } => SamplesRepr::GaussianModel(rows),
            },
            held_out: report.held_out,
            symbols_max: report.symbols_max,
            sram_bytes_per_symbol: report.sram_bytes_per_symbol,
            weight_bytes: report.weight_bytes,
            table_bytes: report.table_bytes,
            snr_db: report.snr_db,
            passes: report.passes.clone(),
            matrices: report.matrices.iter().map(MatrixRepr::new).collect(),
        }
    }

    pub(super) fn into_report(self) -> LayerReport {
        LayerReport {
            name: self.name,
            chip: self.chip,
            samples: match self.samples {
                SamplesRepr::Caller(rows) => SampleSource::Caller { rows },
                SamplesRepr::GaussianModel(rows) => SampleSource::GaussianModel { rows },
            },
            held_out: self.held_out,
            symbols_max: self.symbols_max,
            sram_bytes_per_symbol: self.sram_bytes_per_symbol,
            weight_bytes: self.weight_bytes,
            table_bytes: self.table_bytes,
            snr_db: self.snr_db,
            passes: self.passes,
            matrices: self.matrices.into_iter().map(MatrixRepr::into_report).collect(),
        }
    }
}

impl MatrixRepr {
    fn new(report: &MatrixReport) -> Self {
        let tile = |tile: &TileReport| {
            let TileReport { k_tile, m_tile, shift, accumulate_shift } = *tile;
            TileRepr { k_tile, m_tile, shift, accumulate_shift }
        };
        Self {
            name: report.name.clone(),
            outputs: report.outputs,
            inputs: report.inputs,
            skipped_tiles: report.skipped_tiles,
            useful_weights: report.useful_weights,
            cell_capacity: report.cell_capacity,
            snr_db: report.snr_db,
            tiles: report.tiles.iter().map(tile).collect(),
        }
    }

    fn into_report(self) -> MatrixReport {
        let tile = |tile: TileRepr| {
            let TileRepr { k_tile, m_tile, shift, accumulate_shift } = tile;
            TileReport { k_tile, m_tile, shift, accumulate_shift }
        };
        MatrixReport {
            name: self.name,
            outputs: self.outputs,
            inputs: self.inputs,
            skipped_tiles: self.skipped_tiles,
            useful_weights: self.useful_weights,
            cell_capacity: self.cell_capacity,
            snr_db: self.snr_db,
            tiles: self.tiles.into_iter().map(tile).collect(),
        }
    }
}
