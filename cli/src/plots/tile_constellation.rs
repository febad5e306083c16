//! Outputs of one array: where they should be, and where they are.

use super::{Drawn, FONT, GRID, INK, PALETTE, TilePictures, label};
use plotters::prelude::*;
use std::path::Path;

/// Outputs shown.
const POINTS_I: usize = 1500;
const POINTS_IQ: usize = 250;

pub(super) fn draw(path: &Path, pictures: &TilePictures<'_>) -> Drawn {
    let step = pictures.step();
    let scale = |[i, q]: [f64; 2]| (i / step, q / step);
    let both = pictures.report.reads_quadrature;
    let points: Vec<((f64, f64), (f64, f64))> = pictures
        .samples
        .points
        .iter()
        .take(if both { POINTS_IQ } else { POINTS_I })
        .map(|&(exact, measured)| (scale(exact), scale(measured)))
        .collect();
    let reach = points
        .iter()
        .flat_map(|(a, b)| [a.0, a.1, b.0, b.1])
        .fold(1.0_f64, |reach, x| reach.max(x.abs()))
        * 1.08;

    let root = SVGBackend::new(path, (620, 640)).into_drawing_area();
    root.fill(&WHITE)?;
    let (title, x, y) = if both {
        ("Outputs in both quadratures", "I, in converter steps", "Q, in converter steps")
    } else {
        ("Outputs in phase", "exact sum, in converter steps", "measured, in converter steps")
    };
    let mut chart = ChartBuilder::on(&root)
        .caption(format!("{title}: one array of {}", pictures.report.chip), label(20))
        .margin(14)
        .x_label_area_size(44)
        .y_label_area_size(58)
        .build_cartesian_2d(-reach..reach, -reach..1.25 * reach)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .bold_line_style(GRID)
        .axis_style(INK)
        .x_labels(9)
        .y_labels(9)
        .x_label_formatter(&|steps| format!("{steps:.0}"))
        .y_label_formatter(&|steps| format!("{steps:.0}"))
        .x_desc(x)
        .y_desc(y)
        .label_style(label(13))
        .axis_desc_style(label(14))
        .draw()?;
    if both {
        let errors = points.iter().map(|&(exact, measured)| {
            PathElement::new([exact, measured], PALETTE[6].stroke_width(1))
        });
        chart.draw_series(errors)?;
        let exact = points.iter().map(|(exact, _)| Circle::new(*exact, 4, PALETTE[1]));
        chart
            .draw_series(exact)?
            .label("exact")
            .legend(|(x, y)| Circle::new((x + 6, y), 4, PALETTE[1]));
        let measured =
            points.iter().map(|(_, measured)| Circle::new(*measured, 2, PALETTE[0].filled()));
        chart
            .draw_series(measured)?
            .label(format!("measured, {} outputs", points.len()))
            .legend(|(x, y)| Circle::new((x + 6, y), 2, PALETTE[0].filled()));
    } else {
        let ideal = LineSeries::new([(-reach, -reach), (reach, reach)], PALETTE[1].stroke_width(2));
        chart
            .draw_series(ideal)?
            .label("without error")
            .legend(|(x, y)| PathElement::new([(x, y), (x + 12, y)], PALETTE[1].stroke_width(2)));
        let color = PALETTE[0].mix(0.6);
        let measured = points
            .iter()
            .map(|(exact, measured)| Circle::new((exact.0, measured.0), 2, color.filled()));
        chart
            .draw_series(measured)?
            .label(format!("measured, {} outputs", points.len()))
            .legend(move |(x, y)| Circle::new((x + 6, y), 3, color.filled()));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE)
        .border_style(GRID)
        .label_font((FONT, 13))
        .draw()?;
    root.present()?;
    Ok(())
}
