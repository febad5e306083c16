//! How the errors of one array are distributed, next to the normal curve of the closed form.

use super::{Drawn, FONT, GRID, INK, PALETTE, TilePictures, label};
use plotters::prelude::*;
use std::path::Path;

const BINS: usize = 61;
/// Half the width of the picture, in predicted standard deviations.
const REACH: f64 = 4.5;

pub(super) fn draw(path: &Path, pictures: &TilePictures<'_>) -> Drawn {
    let step = pictures.step();
    let sigma = pictures.predicted_sigma / step;
    let errors: Vec<f64> = pictures.samples.errors.iter().map(|error| error / step).collect();
    // An exact array has only rounding, which reaches half a step.
    let reach = (REACH * sigma).max(0.75);
    let bin = 2.0 * reach / BINS as f64;
    let mut counts = [0_u64; BINS];
    let mut outside = 0_u64;
    for error in &errors {
        match place(*error, reach, bin) {
            Some(index) => counts[index] += 1,
            None => outside += 1,
        }
    }
    let density = |count: u64| count as f64 / (errors.len().max(1) as f64 * bin);
    let normal = |x: f64| {
        let z = x / sigma;
        pxfm::f_exp(-0.5 * z * z) / (sigma * (2.0 * std::f64::consts::PI).sqrt())
    };
    let highest = counts.iter().map(|&count| density(count)).fold(normal(0.0), f64::max);

    let root = SVGBackend::new(path, (760, 440)).into_drawing_area();
    root.fill(&WHITE)?;
    let title = format!("Errors of one array of {}", pictures.report.chip);
    let mut chart = ChartBuilder::on(&root)
        .caption(title, label(20))
        .margin(14)
        .x_label_area_size(44)
        .y_label_area_size(58)
        .build_cartesian_2d(-reach..reach, 0.0..highest * 1.3)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(WHITE)
        .bold_line_style(GRID)
        .axis_style(INK)
        .x_desc("measured minus exact sum, in converter steps")
        .y_desc("probability density per step")
        .label_style(label(13))
        .axis_desc_style(label(14))
        .draw()?;
    let bars = counts.iter().enumerate().map(|(index, &count)| {
        let left = -reach + index as f64 * bin;
        let corners = [(left + 0.06 * bin, 0.0), (left + 0.94 * bin, density(count))];
        Rectangle::new(corners, PALETTE[4].filled())
    });
    let measured = format!(
        "measured: {} samples, rms {:.3} steps",
        errors.len(),
        (errors.iter().map(|e| e * e).sum::<f64>() / errors.len().max(1) as f64).sqrt()
    );
    chart
        .draw_series(bars)?
        .label(measured)
        .legend(|(x, y)| Rectangle::new([(x, y - 5), (x + 12, y + 5)], PALETTE[4].filled()));
    let curve = (0..=200_u32).map(|i| reach * (f64::from(i) / 100.0 - 1.0)).map(|x| (x, normal(x)));
    chart
        .draw_series(LineSeries::new(curve, PALETTE[5].stroke_width(2)))?
        .label(format!("closed form: normal, sigma {sigma:.3} steps"))
        .legend(|(x, y)| PathElement::new([(x, y), (x + 12, y)], PALETTE[5].stroke_width(2)));
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE)
        .border_style(GRID)
        .label_font((FONT, 13))
        .draw()?;
    if outside > 0 {
        let text = format!("outside the picture: {outside}");
        root.draw(&Text::new(text, (84, 52), label(12)))?;
    }
    root.present()?;
    Ok(())
}

/// The bin an error falls into.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked to lie between zero and the number of bins"
)]
fn place(error: f64, reach: f64, bin: f64) -> Option<usize> {
    let index = ((error + reach) / bin).floor();
    (0.0..BINS as f64).contains(&index).then_some(index as usize)
}
