//! The pictures a run leaves behind, as SVG.

mod energy;
mod expert_usage;
mod snr;

use crate::commands::Trial;
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
    let mut draw = |name: &str, plot: &dyn Fn(&Path) -> Drawn| -> Result<(), CliError> {
        let path = dir.join(name);
        plot(&path)
            .map_err(|error| CliError::Plot { path: path.clone(), why: error.to_string() })?;
        written.push(path.display().to_string());
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

/// What drawing gives: plotters' errors are generic over the back end, so only the words are kept.
type Drawn = Result<(), Box<dyn std::error::Error>>;

/// Text in ink, of a size in pixels.
fn label(size: u32) -> TextStyle<'static> {
    (FONT, size).into_font().color(&INK)
}
