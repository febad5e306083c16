//! The pictures a run leaves behind, as SVG.

mod energy;
mod expert_usage;
mod roofline;
mod snr;
mod tile_budget;
mod tile_constellation;
mod tile_histogram;

use crate::commands::{ReportDocument, Samples, SimReport, Trial};
use crate::error::CliError;
use litecore_model::ModelConfig;
use litecore_types::chip::ChipDescription;
use plotters::prelude::*;
use std::path::Path;

/// Colors that people with any color vision can tell apart (after Okabe and Ito).
const PALETTE: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(213, 94, 0),
    RGBColor(120, 120, 120),
];
const INK: RGBColor = RGBColor(40, 40, 40);
const GRID: RGBColor = RGBColor(225, 225, 225);
const FONT: &str = "sans-serif";

/// Draws everything the demo measured; gives the paths of the files.
pub(crate) fn write_all(
    dir: &Path,
    trials: &[Trial],
    config: &ModelConfig,
    chip: &ChipDescription,
) -> Result<Vec<String>, CliError> {
    let mut written = Vec::new();
    let mut draw = |name: &str, plot: &Plot<'_>| -> Result<(), CliError> {
        written.push(draw_file(dir, name, plot)?);
        Ok(())
    };
    let find = |name: &str| trials.iter().find(|trial| trial.name == name);
    if let (Some(photonic), Some(cpu)) = (find("photonic"), find("cpu")) {
        draw("snr.svg", &|path| snr::draw(path, &photonic.report, &cpu.report, chip))?;
        if let (Some(writing), Some(reading)) = (&photonic.writing, &photonic.report.cost) {
            draw("energy.svg", &|path| energy::draw(path, writing, reading, chip))?;
        }
    }
    if let Some(truth) = find("f32") {
        draw("experts.svg", &|path| expert_usage::draw(path, &truth.evaluation.routes, config))?;
    }
    Ok(written)
}

/// What was measured on one array.
#[derive(Debug)]
pub(crate) struct TilePictures<'a> {
    pub(crate) report: &'a SimReport,
    pub(crate) samples: &'a Samples,
    /// Standard deviation of all errors by the closed form, in units of the exact sum.
    pub(crate) predicted_sigma: f64,
}

impl TilePictures<'_> {
    /// The converter's step in units of the exact sum.
    fn step(&self) -> f64 {
        (1_u64 << self.report.shift.min(63)) as f64
    }
}

/// Draws what was measured on one array; gives the paths of the files.
pub(crate) fn write_tile(dir: &Path, pictures: &TilePictures<'_>) -> Result<Vec<String>, CliError> {
    Ok(vec![
        draw_file(dir, "errors.svg", &|path| tile_histogram::draw(path, pictures))?,
        draw_file(dir, "constellation.svg", &|path| tile_constellation::draw(path, pictures))?,
        draw_file(dir, "budget.svg", &|path| tile_budget::draw(path, pictures))?,
    ])
}

/// Draws the roofs that a compiled model works under; gives the paths of the files.
pub(crate) fn write_roofline(
    dir: &Path,
    document: &ReportDocument,
    chip: &ChipDescription,
) -> Result<Vec<String>, CliError> {
    Ok(vec![draw_file(dir, "roofline.svg", &|path| roofline::draw(path, document, chip))?])
}

type Plot<'a> = dyn Fn(&Path) -> Drawn + 'a;

fn draw_file(dir: &Path, name: &str, plot: &Plot<'_>) -> Result<String, CliError> {
    let path = dir.join(name);
    match plot(&path) {
        Ok(()) => Ok(path.display().to_string()),
        Err(error) => Err(CliError::Plot { path, why: error.to_string() }),
    }
}

/// What drawing gives: plotters' errors are generic over the back end, so only the words are kept.
type Drawn = Result<(), Box<dyn std::error::Error>>;

/// Text in ink, of a size in pixels.
fn label(size: u32) -> TextStyle<'static> {
    (FONT, size).into_font().color(&INK)
}
