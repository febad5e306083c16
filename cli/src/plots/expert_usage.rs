//! How often each expert of each layer was taken.

use super::{Drawn, INK, label};
use litecore_model::{ExpertKey, ModelConfig};
use litecore_runtime::RouteRecord;
use plotters::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;

const CELL: i32 = 34;
const LEFT: i32 = 74;
const TOP: i32 = 96;

pub(super) fn draw(path: &Path, routes: &[RouteRecord], config: &ModelConfig) -> Drawn {
    let mut counts: BTreeMap<(u32, ExpertKey), u64> = BTreeMap::new();
    let mut tokens: BTreeMap<u32, u64> = BTreeMap::new();
    for record in routes {
        *tokens.entry(record.layer).or_default() += 1;
        for &key in &record.experts {
            *counts.entry((record.layer, key)).or_default() += 1;
        }
    }
    let experts: Vec<ExpertKey> = config.experts().collect();
    let layers = i32::try_from(config.layers)?;
    let columns = i32::try_from(experts.len())?;
    let size = (LEFT + columns * CELL + 40, TOP + layers * CELL + 60);
    let size = (size.0.unsigned_abs().max(520), size.1.unsigned_abs());
    let root = SVGBackend::new(path, size).into_drawing_area();
    root.fill(&WHITE)?;
    root.draw(&Text::new("Share of tokens each expert took", (LEFT, 14), label(20)))?;
    for (column, key) in (0..).zip(&experts) {
        let x = LEFT + column * CELL;
        if key.group == 0 && key.expert == 0 {
            let tier = &config.tiers[usize::from(key.tier)].id;
            root.draw(&Text::new(tier.to_string(), (x + 6, TOP - 42), label(14)))?;
            root.draw(&PathElement::new([(x, TOP - 44), (x, TOP + layers * CELL)], INK))?;
        }
        let name = format!("{}.{}", key.group, key.expert);
        root.draw(&Text::new(name, (x + 6, TOP - 18), label(12)))?;
        for (layer, row) in (0_u32..).zip(0..layers) {
            let count = counts.get(&(layer, *key)).copied().unwrap_or(0);
            let share = count as f64 / tokens.get(&layer).copied().unwrap_or(0).max(1) as f64;
            let y = TOP + row * CELL;
            let area = [(x + 1, y + 1), (x + CELL - 1, y + CELL - 1)];
            root.draw(&Rectangle::new(area, shade(share).filled()))?;
            let ink = if share > 0.35 { WHITE } else { INK };
            let text = (super::FONT, 12).into_font().color(&ink);
            root.draw(&Text::new(format!("{:.0}", 100.0 * share), (x + 9, y + 11), text))?;
        }
    }
    for (row, layer) in (0..layers).zip(0_u32..) {
        let y = TOP + row * CELL + 10;
        root.draw(&Text::new(format!("layer {layer}"), (14, y), label(13)))?;
    }
    let note = "percent of tokens; columns are group.expert within each tier";
    root.draw(&Text::new(note, (LEFT, TOP + layers * CELL + 16), label(13)))?;
    root.present()?;
    Ok(())
}

/// White for none, dark blue for all.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share is between zero and one"
)]
fn shade(share: f64) -> RGBColor {
    let mix = |from: f64, to: f64| (from + (to - from) * share.sqrt()).round() as u8;
    RGBColor(mix(255.0, 0.0), mix(255.0, 80.0), mix(255.0, 150.0))
}
