//! Cells that err whatever they are programmed to: amplitude, phase, drift, the light that reaches
//! them, and cells that do not work at all.

use super::splitter::{along, levels, nodes};
use super::{Origin, Planes, single};
use crate::Term;
use crate::packing::Packing;
use litecore_kernels::math;
use litecore_types::chip::ChipDescription;

/// What the cells of one array do to their weights.
///
/// A cell turns its weight w into `(1 + a) e^(s + ip) w`; a, s and p belong to the cell, whatever
/// tile and bank it works for.
pub(super) struct Cells {
    /// Real part of the factor, row-major.
    re: Vec<f32>,
    /// Imaginary part of the factor, row-major.
    im: Vec<f32>,
    /// Cells that hold a weight of their own, in codes.
    fixed: Vec<(usize, f32, f32)>,
}

impl Cells {
    /// The cells of one array; nothing if they are perfect.
    pub(super) fn draw(origin: Origin<'_>, packing: Packing) -> Option<Self> {
        let cell = &origin.chip.cell;
        let amplitude = origin.strength(Term::CellAmplitude, cell.amplitude_error.value());
        let phase = origin.strength(Term::CellPhase, cell.phase_error_rad.value());
        let drift = origin.strength(Term::Drift, cell.drift_rad.value());
        let splitter = origin.strength(Term::Splitter, log_amplitude_per_stage(origin.chip));
        let fixed = fixed_cells(origin, packing);
        let strengths = [amplitude, phase, drift, splitter];
        if fixed.is_empty() && strengths.iter().all(|&strength| strength <= 0.0) {
            return None;
        }
        let count = origin.chip.array.inputs * origin.chip.array.outputs;
        let draw = |term, strength: f64| {
            let draws =
                if strength > 0.0 { origin.normals(term, 0, count) } else { vec![0.0; count] };
            draws.into_iter().map(move |draw| strength * f64::from(draw))
        };
        let logs = if splitter > 0.0 { light(origin, splitter) } else { vec![0.0; count] };
        let (re, im) = draw(Term::CellAmplitude, amplitude)
            .zip(draw(Term::CellPhase, phase))
            .zip(drifts(origin, drift, count))
            .zip(logs)
            .map(|(((amplitude, phase), drift), log)| {
                let (sin, cos) = math::sin_cos(phase + drift);
                let gain = (1.0 + amplitude) * pxfm::f_exp(log);
                (single(gain * cos), single(gain * sin))
            })
            .unzip();
        Some(Self { re, im, fixed })
    }

    /// Turns programmed weights into effective ones.
    pub(super) fn apply(&self, planes: &mut Planes) {
        for &(cell, re, im) in &self.fixed {
            (planes.re[cell], planes.im[cell]) = (re, im);
        }
        let weights = planes.re.iter_mut().zip(&mut planes.im);
        for ((w_re, w_im), (&re, &im)) in weights.zip(self.re.iter().zip(&self.im)) {
            (*w_re, *w_im) = (*w_re * re - *w_im * im, *w_re * im + *w_im * re);
        }
    }
}

/// Splitters and combiners on the way through one cell.
pub(crate) fn splitter_stages(chip: &ChipDescription) -> u32 {
    2 * levels(chip.array.inputs) + levels(chip.array.outputs)
}

/// Standard deviation of the logarithm of the amplitude in one arm: half of the ratio in dB.
fn log_amplitude_per_stage(chip: &ChipDescription) -> f64 {
    chip.path.splitter_imbalance_db.value() * std::f64::consts::LN_10 / 40.0
}

/// The logarithm of each cell's light: the tree to the rows, the tree of each row, and the combiner
/// of each column.
fn light(origin: Origin<'_>, strength: f64) -> Vec<f64> {
    let (rows, columns) = (origin.chip.array.inputs, origin.chip.array.outputs);
    let (of_rows, of_columns) = (nodes(rows), nodes(columns));
    let feed = origin.normals(Term::Splitter, 0, of_rows);
    let row_trees = origin.normals(Term::Splitter, 1, rows * of_columns);
    let combiners = origin.normals(Term::Splitter, 2, columns * of_rows);
    let mut logs = Vec::with_capacity(rows * columns);
    for row in 0..rows {
        let to_row = along(&feed, row, levels(rows));
        let tree = &row_trees[row * of_columns..];
        for column in 0..columns {
            let combiner = &combiners[column * of_rows..];
            let sum =
                to_row + along(tree, column, levels(columns)) + along(combiner, row, levels(rows));
            logs.push(strength * sum);
        }
    }
    logs
}

/// Steps of the drift in its own time.
const STEPS_PER_TIME: f64 = 16.0;
/// Steps after which the drift has forgotten: e^-8.
const STEPS_KEPT: u32 = 128;

/// Steps since calibration, and how much is left of a deviation after one.
fn drift_steps(chip: &ChipDescription, age_s: f64) -> (u64, f64) {
    let steps = (age_s / chip.cell.drift_time_s.value * STEPS_PER_TIME).round();
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates")]
    let steps = steps.max(0.0) as u64;
    (steps, pxfm::f_exp(-1.0 / STEPS_PER_TIME))
}

/// Standard deviation of the drift at an age, over that long after: `sqrt(1 - e^(-2t/τ))`.
pub(crate) fn age_share(chip: &ChipDescription, age_s: f64) -> f64 {
    let (steps, _) = drift_steps(chip, age_s);
    (1.0 - pxfm::f_exp(-2.0 * steps as f64 / STEPS_PER_TIME)).sqrt()
}

/// Each cell's drift: a walk `φ ← a φ + sqrt(1 - a²) σ n` from zero at calibration. A step has its
/// own normals, so that every age sees the same walk.
fn drifts(origin: Origin<'_>, sigma: f64, count: usize) -> impl Iterator<Item = f64> {
    let mut walk = vec![0.0; count];
    if sigma > 0.0 {
        let (steps, kept) = drift_steps(origin.chip, origin.age_s);
        let fresh = sigma * (1.0 - kept * kept).sqrt();
        for step in steps.saturating_sub(u64::from(STEPS_KEPT))..steps {
            let normals = origin.normals(Term::Drift, step, count);
            for (walk, normal) in walk.iter_mut().zip(normals) {
                *walk = *walk * kept + fresh * f64::from(normal);
            }
        }
    }
    walk.into_iter()
}

/// Cells that are dead, and cells stuck at a random weight.
fn fixed_cells(origin: Origin<'_>, packing: Packing) -> Vec<(usize, f32, f32)> {
    let chip = origin.chip;
    let dead = origin.strength(Term::Dead, chip.cell.dead_fraction.value());
    let stuck = origin.strength(Term::Stuck, chip.cell.stuck_fraction.value());
    let count = chip.array.inputs * chip.array.outputs;
    // Each cell has one number per kind: it fails if this is below the fraction.
    let root = origin.seed.branch("cell", u64::from(origin.array));
    let fails = |term: Term, fraction: f64, cell: usize| {
        fraction > 0.0 && unit(root.key(term.name(), cell as u64)) < fraction
    };
    let limit = f64::from(chip.weight_limit());
    (0..count)
        .filter_map(|cell| {
            if fails(Term::Dead, dead, cell) {
                return Some((cell, 0.0, 0.0));
            }
            fails(Term::Stuck, stuck, cell).then(|| {
                let weight =
                    |label| single(limit * (2.0 * unit(root.key(label, cell as u64)) - 1.0));
                let im = if packing.weights_per_cell() == 2 { weight("stuck_im") } else { 0.0 };
                (cell, weight("stuck_re"), im)
            })
        })
        .collect()
}

/// A key as a number from zero to one.
fn unit(key: u64) -> f64 {
    (key >> 11) as f64 / (1_u64 << 53) as f64
}
