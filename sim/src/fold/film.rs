//! Phase-change films: amplitudes in levels, written with scatter, fading with time.

use super::{Origin, single};
use crate::Term;
use crate::packing::Packing;
use litecore_types::chip::PhaseChange;

/// The films of one array.
pub(super) struct Film {
    /// Weight code of full amplitude.
    full: f32,
    /// Levels above zero; none where levels are off.
    levels: Option<f32>,
    /// Relative amplitude that is left.
    left: f32,
    /// Each cell's scatter, in codes.
    scatter: Vec<f32>,
}

impl Film {
    pub(super) fn draw(origin: Origin<'_>, packing: Packing) -> Option<Self> {
        let film = origin.chip.phase_change.as_ref()?;
        let full = full_scale(origin.chip.weight_limit(), packing);
        let levels = origin.terms.contains(Term::Levels).then(|| level_count(film));
        let fading = origin.strength(Term::Aging, faded(film, origin.age_s));
        let write = origin.strength(Term::Write, film.write_error.value());
        if levels.is_none() && fading <= 0.0 && write <= 0.0 {
            return None;
        }
        let scatter = if write > 0.0 {
            let sigma = single(write * full);
            let normals = origin.normals_of_cells(Term::Write, 0);
            normals.iter().map(|normal| sigma * normal).collect()
        } else {
            Vec::new()
        };
        Some(Self {
            full: single(full),
            levels: levels.map(single),
            left: single(1.0 - fading),
            scatter,
        })
    }

    /// Writes weights, from `first` on in the array: amplitudes are changed, phases stay; a cell without light has none to change but scatter.
    pub(super) fn apply(&self, first: usize, re: &mut [f32], im: &mut [f32]) {
        for (cell, (re, im)) in (first..).zip(re.iter_mut().zip(im)) {
            let amplitude = (*re * *re + *im * *im).sqrt();
            let (cos, sin) =
                if amplitude > 0.0 { (*re / amplitude, *im / amplitude) } else { (1.0, 0.0) };
            let written = match self.levels {
                Some(levels) => {
                    (amplitude / self.full * levels).round_ties_even() / levels * self.full
                }
                None => amplitude,
            };
            let held = (written + self.scatter.get(cell).copied().unwrap_or(0.0)) * self.left;
            (*re, *im) = (held * cos, held * sin);
        }
    }
}

/// The weight code of a cell at full amplitude: a cell that holds two codes needs room for both.
pub(crate) fn full_scale(weight_limit: i32, packing: Packing) -> f64 {
    f64::from(weight_limit) * (packing.weights_per_cell() as f64).sqrt()
}

/// Levels above zero.
pub(crate) fn level_count(film: &PhaseChange) -> f64 {
    ((1_u32 << film.level_bits) - 1).into()
}

/// Relative amplitude lost at an age: so much for each tenfold time from one second on.
pub(crate) fn faded(film: &PhaseChange, age_s: f64) -> f64 {
    (film.drift_per_decade.value() * pxfm::f_log10(age_s.max(1.0))).min(1.0)
}
