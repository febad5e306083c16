//! Light that enters a column beside its cells: at the crossings, from the guides that are crossed.
//!
//! A column's way meets the guides of all rows. Each crossing lets in a share of the field that the
//! crossed guide carries to a cell, before any weight, at a phase of its own. Light meets half as many
//! crossings as there are rows, so each row's light enters a column that often: what adds up for one
//! row and one column is a complex normal number beside the weight.

use super::{Origin, Planes, film, single};
use crate::Term;
use crate::optics::power_ratio;
use crate::packing::Packing;
use litecore_kernels::cells;
use litecore_types::chip::ChipDescription;

/// The strays of one array, in codes.
pub(super) struct Stray(Planes);

impl Stray {
    pub(super) fn draw(origin: Origin<'_>, packing: Packing) -> Option<Self> {
        let power = origin.strength(Term::Crossing, crossing_power(origin.chip));
        if power <= 0.0 {
            return None;
        }
        let full = film::full_scale(origin.chip.weight_limit(), packing);
        let sigma = single((power / 2.0).sqrt() * full);
        let part = |part| {
            let normals = origin.normals_of_cells(Term::Crossing, part);
            normals.iter().map(|normal| sigma * normal).collect()
        };
        Some(Self(Planes { re: part(0), im: part(1) }))
    }

    /// Adds them to effective weights, from `first` on in the array.
    pub(super) fn add(&self, first: usize, re: &mut [f32], im: &mut [f32]) {
        for (weights, strays) in [(re, &self.0.re), (im, &self.0.im)] {
            let strays = &strays[first..][..weights.len()];
            cells::add_share(1.0, strays, weights);
        }
    }
}

/// Power of the stray light of one row in one column, over that of a cell at full scale:
/// `XT · N / 2`.
pub(crate) fn crossing_power(chip: &ChipDescription) -> f64 {
    let share = chip.path.crossing_crosstalk_db.quantity();
    share.map_or(0.0, |db| power_ratio(db.value) * chip.array.inputs as f64 / 2.0)
}
