//! Useful work per second against tokens in a run, under the roofs of each resource.

use super::{Drawn, GRID, INK, PALETTE, label};
use crate::commands::ReportDocument;
use crate::table::si;
use litecore_compiler::{BoundKind, RunReport};
use litecore_types::chip::ChipDescription;
use plotters::prelude::*;
use std::path::Path;

const KINDS: [BoundKind; 7] = [
    BoundKind::WeightLoad,
    BoundKind::Stream,
    BoundKind::Converter,
    BoundKind::Vector,
    BoundKind::Host,
    BoundKind::Memory,
    BoundKind::Command,
];

pub(super) fn draw(path: &Path, document: &ReportDocument, chip: &ChipDescription) -> Drawn {
    let tokens = |run: &RunReport| pxfm::f_log2((run.symbols / run.runs.max(1)).max(1) as f64);
    let level = |rate: f64| pxfm::f_log10(rate.max(1.0));
    let reached = |run: &RunReport| run.useful_macs as f64 / run.seconds.max(f64::MIN_POSITIVE);
    let roofs = |kind: BoundKind| -> Vec<(f64, f64)> {
        let bound = |run: &RunReport| {
            let bound = run.roofline.iter().find(|bound| bound.kind == kind)?;
            (bound.useful_macs_per_s > 0.0).then(|| (tokens(run), level(bound.useful_macs_per_s)))
        };
        document.total.iter().filter_map(bound).collect()
    };
    let points: Vec<(f64, f64)> =
        document.total.iter().map(|run| (tokens(run), level(reached(run)))).collect();
    let all = KINDS.iter().flat_map(|kind| roofs(*kind)).chain(points.iter().copied());
    let (mut low, mut high, mut right) = (f64::MAX, f64::MIN, 1.0_f64);
    for (x, y) in all {
        (low, high, right) = (low.min(y), high.max(y), right.max(x));
    }
    if points.is_empty() {
        (low, high) = (0.0, 1.0);
    }
    let (bottom, top) = (low.floor(), high.ceil());
    let root = SVGBackend::new(path, (860, 520)).into_drawing_area();
    root.fill(&WHITE)?;
    let title = format!("Roofs of {}, all experts of {}", chip.name, document.model);
    let mut chart = ChartBuilder::on(&root)
        .caption(title, label(20))
        .margin(14)
        .x_label_area_size(44)
        .y_label_area_size(112)
        .build_cartesian_2d(-0.3..right + 3.2, bottom..top + 0.2)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .bold_line_style(GRID)
        .axis_style(INK)
        .x_labels(12)
        .x_label_formatter(&|x| {
            let whole = x.round();
            let shown = (x - whole).abs() < 1e-6 && whole >= 0.0 && whole <= right;
            if shown { format!("{:.0}", pxfm::f_exp2(whole)) } else { String::new() }
        })
        .y_label_formatter(&|y| si(pxfm::f_exp10(*y), "MAC/s"))
        .x_desc("tokens in one expert run")
        .y_desc("useful real MACs per second")
        .label_style(label(13))
        .axis_desc_style(label(14))
        .draw()?;
    let mut labels: Vec<(f64, String, RGBColor)> = Vec::new();
    for (kind, color) in KINDS.into_iter().zip(PALETTE) {
        let line = roofs(kind);
        if let Some(last) = line.last() {
            labels.push((last.1, kind.name().to_owned(), color));
        }
        chart.draw_series(LineSeries::new(line, color.stroke_width(2)))?;
    }
    chart.draw_series(LineSeries::new(points.clone(), INK.stroke_width(3)))?;
    chart.draw_series(points.iter().map(|point| Circle::new(*point, 5, INK.filled())))?;
    if let Some(last) = points.last() {
        labels.push((last.1, "predicted".to_owned(), INK));
    }
    // Names stand beside the ends of their lines, moved apart where those meet.
    labels.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut above = i32::MIN;
    for (y, name, color) in labels {
        let (x, wanted) = chart.backend_coord(&(right + 0.12, y));
        let at = wanted.max(above.saturating_add(17));
        above = at;
        let style = label(14).color(&color);
        root.draw(&Text::new(name, (x + 6, at - 8), style))?;
    }
    root.present()?;
    Ok(())
}
