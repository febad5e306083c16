//! The noise budget of one array: each term alone and all together, closed form and measured.

use super::{Drawn, GRID, INK, PALETTE, TilePictures, label};
use crate::commands::BudgetRow;
use plotters::prelude::*;
use std::path::Path;

/// Height of one term's row in pixels.
const ROW: u32 = 30;
const LEFT: u32 = 150;
const WIDTH: i32 = 820;

pub(super) fn draw(path: &Path, pictures: &TilePictures<'_>) -> Drawn {
    let report = pictures.report;
    let level = |row: &BudgetRow| row.closed_form_db.or(row.measured_db);
    let mut rows: Vec<&BudgetRow> =
        report.budget.iter().filter(|row| level(row).is_some()).collect();
    rows.sort_by(|a, b| {
        let key = |row: &BudgetRow| level(row).unwrap_or(f64::INFINITY);
        key(a).total_cmp(&key(b))
    });
    let total = report.total_row();
    rows.insert(0, &total);
    let levels = || rows.iter().flat_map(|row| [row.closed_form_db, row.measured_db]).flatten();
    let highest = levels().fold(10.0_f64, f64::max) * 1.12;
    let lowest = levels().fold(0.0_f64, f64::min) * 1.2;

    let height = 110 + ROW * u32::try_from(rows.len())?;
    let root = SVGBackend::new(path, (WIDTH.unsigned_abs(), height)).into_drawing_area();
    root.fill(&WHITE)?;
    let count = rows.len() as f64;
    let mut chart = ChartBuilder::on(&root)
        .caption(format!("Noise budget of one array of {}", report.chip), label(20))
        .margin(14)
        .x_label_area_size(44)
        .y_label_area_size(LEFT)
        .build_cartesian_2d(lowest..highest, 0.0..count)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .light_line_style(WHITE)
        .bold_line_style(GRID)
        .axis_style(INK)
        .y_labels(0)
        .x_labels(9)
        .x_label_formatter(&|db| format!("{db:.0}"))
        .x_desc("SNR_rms in dB if this were all: a short bar is much noise")
        .label_style(label(13))
        .axis_desc_style(label(14))
        .draw()?;
    for (index, row) in rows.iter().enumerate() {
        let top = count - index as f64;
        for (bar, db) in [row.closed_form_db, row.measured_db].into_iter().enumerate() {
            let Some(db) = db else { continue };
            let high = top - 0.12 - 0.38 * bar as f64;
            let shape = Rectangle::new([(0.0, high - 0.36), (db, high)], PALETTE[bar].filled());
            chart.draw_series([shape])?;
            let at = (db.max(0.0) + highest * 0.008, high + 0.02);
            chart.draw_series([Text::new(format!("{db:.1}"), at, label(12))])?;
        }
        let (_, y) = chart.backend_coord(&(lowest, top - 0.28));
        root.draw(&Text::new(row.term, (22, y), label(13)))?;
    }
    for (index, text) in (0_i32..).zip(["closed form", "measured"]) {
        let (x, y) = (WIDTH - 130, 14 + 18 * index);
        let color = PALETTE[index.unsigned_abs() as usize];
        root.draw(&Rectangle::new([(x, y), (x + 12, y + 10)], color.filled()))?;
        root.draw(&Text::new(text, (x + 18, y - 1), label(13)))?;
    }
    root.present()?;
    Ok(())
}
