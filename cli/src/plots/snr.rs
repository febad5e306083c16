//! SNR per layer: what quantisation leaves, what noise leaves, and both.

use super::{Drawn, FONT, GRID, INK, PALETTE, label};
use crate::commands::eval::EvalReport;
use litecore_types::chip::ChipDescription;
use plotters::prelude::*;
use std::path::Path;

pub(super) fn draw(
    path: &Path,
    photonic: &EvalReport,
    cpu: &EvalReport,
    chip: &ChipDescription,
) -> Drawn {
    let series: [(&str, Vec<Option<f64>>); 3] = [
        ("8-bit codes alone (cpu)", cpu.layers.iter().map(|l| l.snr_rms_to_f32_db).collect()),
        ("noise alone", photonic.layers.iter().map(|l| l.snr_rms_to_integer_db).collect()),
        ("both (photonic)", photonic.layers.iter().map(|l| l.snr_rms_to_f32_db).collect()),
    ];
    let layers = photonic.layers.len();
    let highest = series
        .iter()
        .flat_map(|(_, levels)| levels.iter().flatten())
        .fold(10.0_f64, |highest, level| highest.max(*level));

    let root = SVGBackend::new(path, (760, 420)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(format!("SNR of expert outputs on {}", chip.name), label(20))
        .margin(14)
        .x_label_area_size(42)
        .y_label_area_size(58)
        .build_cartesian_2d(-0.5..layers as f64 - 0.5, 0.0..highest * 1.25)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(WHITE)
        .bold_line_style(GRID)
        .axis_style(INK)
        .x_labels(layers + 1)
        .x_label_formatter(&|x| {
            if (x - x.round()).abs() < 0.01 { format!("{x:.0}") } else { String::new() }
        })
        .y_label_formatter(&|db| format!("{db:.0}"))
        .x_desc("layer")
        .y_desc("SNR_rms in dB")
        .label_style(label(13))
        .axis_desc_style(label(14))
        .draw()?;
    let width = 0.8 / series.len() as f64;
    for (index, (name, levels)) in series.iter().enumerate() {
        let color = PALETTE[index];
        let left = |layer: usize| layer as f64 - 0.4 + index as f64 * width;
        let bars = levels.iter().enumerate().filter_map(|(layer, level)| {
            let level = (*level)?;
            Some(Rectangle::new(
                [(left(layer) + 0.02, 0.0), (left(layer) + width - 0.02, level)],
                color.filled(),
            ))
        });
        chart
            .draw_series(bars)?
            .label(*name)
            .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 12, y + 5)], color.filled()));
        let numbers = levels.iter().enumerate().filter_map(|(layer, level)| {
            let level = (*level)?;
            Some(Text::new(
                format!("{level:.0}"),
                (left(layer) + 0.06, level + highest * 0.045),
                label(12),
            ))
        });
        chart.draw_series(numbers)?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE)
        .border_style(GRID)
        .label_font((FONT, 13))
        .draw()?;
    root.present()?;
    Ok(())
}
