//! Energy per useful multiply-accumulate by component, for writing and for reading.

use super::{Drawn, GRID, INK, PALETTE, label};
use crate::commands::eval::CostReport;
use crate::table::si;
use litecore_types::chip::ChipDescription;
use litecore_types::{Component, Share};
use plotters::prelude::*;
use std::path::Path;

/// Decades shown below the largest bar.
const DECADES: i32 = 6;

pub(super) fn draw(
    path: &Path,
    writing: &CostReport,
    reading: &CostReport,
    chip: &ChipDescription,
) -> Drawn {
    let per_mac =
        |cost: &CostReport, component| cost.joules(component) / cost.useful_macs.max(1) as f64;
    let rows: Vec<(Component, [f64; 2])> = Component::ALL
        .into_iter()
        .map(|part| (part, [per_mac(writing, part), per_mac(reading, part)]))
        .collect();
    let largest = rows.iter().flat_map(|(_, pair)| *pair).fold(1e-18_f64, f64::max);
    let top = pxfm::f_log10(largest).ceil();
    let bottom = top - f64::from(DECADES);

    let root = SVGBackend::new(path, (860, 520)).into_drawing_area();
    root.fill(&WHITE)?;
    let title = format!("Energy per useful multiply-accumulate on {}", chip.name);
    let count = rows.len() as f64;
    let mut chart = ChartBuilder::on(&root)
        .caption(title, label(20))
        .margin(14)
        .x_label_area_size(44)
        .y_label_area_size(178)
        .build_cartesian_2d(bottom..top + 0.9, 0.0..count)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .light_line_style(WHITE)
        .bold_line_style(GRID)
        .axis_style(INK)
        .y_labels(0)
        .x_labels(DECADES as usize + 2)
        .x_label_formatter(&|decade| si(pxfm::f_pow(10.0, *decade), "J"))
        .x_desc("joules per useful MAC, logarithmic")
        .label_style(label(13))
        .axis_desc_style(label(14))
        .draw()?;
    for (index, (component, pair)) in rows.iter().enumerate() {
        let y = count - 1.0 - index as f64;
        for (bar, joules) in pair.iter().enumerate() {
            if *joules <= 0.0 {
                continue;
            }
            let end = pxfm::f_log10(*joules).max(bottom);
            let (low, high) = (y + 0.52 - 0.4 * bar as f64, y + 0.88 - 0.4 * bar as f64);
            let bar_shape = Rectangle::new([(bottom, low), (end, high)], PALETTE[bar].filled());
            chart.draw_series([bar_shape])?;
            let text = Text::new(si(*joules, "J"), (end + 0.05, high - 0.02), label(12));
            chart.draw_series([text])?;
        }
        let share = match component.share() {
            Share::Optics => "optics",
            Share::Core => "core",
            Share::System => "system",
        };
        let pixel = chart.backend_coord(&(bottom, y + 0.66));
        let text = format!("{} ({share})", component.name());
        root.draw(&Text::new(text, (22, pixel.1), label(13)))?;
    }
    let legend = [
        format!("writing: {:.1} tokens per expert run", writing.symbols_per_run),
        format!("reading: {:.1} tokens per expert run", reading.symbols_per_run),
    ];
    for (index, text) in (0_i32..).zip(legend) {
        let (x, y) = (600, 176 + 20 * index);
        let color = PALETTE[index.unsigned_abs() as usize];
        root.draw(&Rectangle::new([(x, y), (x + 12, y + 10)], color.filled()))?;
        root.draw(&Text::new(text, (x + 18, y - 1), label(13)))?;
    }
    root.present()?;
    Ok(())
}
