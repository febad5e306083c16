//! Cells that err whatever they are programmed to: amplitude, phase, drift, the light that reaches
//! them, and cells that do not work at all.

use super::splitter::{along, levels, nodes};
use super::{Origin, single};
use crate::Term;
use crate::dynamic::{overlap, polarization_variance};
use crate::optics::power_ratio;
use crate::packing::Packing;
use litecore_kernels::cells::{self, Parts};
use litecore_kernels::math;
use litecore_types::chip::guide::GROUP_INDEX;
use litecore_types::chip::{ChipDescription, Dataflow};

/// What the cells of one array do to their weights.
///
/// A cell turns its weight w into `(1 + a) e^(s + ip) w`; a, s and p belong to the cell, whatever
/// tile and bank it works for.
pub(super) struct Cells {
    /// Real part of the factor, row-major.
    re: Vec<f32>,
    /// Imaginary part of the factor, row-major.
    im: Vec<f32>,
    /// Cells that hold a weight of their own, in codes; ascending.
    fixed: Vec<(usize, f32, f32)>,
    before: Option<Before>,
}

/// The weights that were held before, of which something is left.
struct Before {
    residual: f32,
    /// In codes, row-major.
    weights: Vec<(f32, f32)>,
}

impl Before {
    /// Random weights: which tile a bank held is a matter of what else runs on the card.
    fn draw(origin: Origin<'_>, packing: Packing) -> Option<Self> {
        let residual = origin.strength(Term::Settling, origin.chip.cell.settling_residual.value());
        let held = origin.chip.array.dataflow == Dataflow::WeightStationary;
        let weights = || {
            numbers_of_cells(origin)
                .map(|cell| random_weight(origin, packing, ["held_re", "held_im"], cell))
        };
        (held && residual > 0.0)
            .then(|| Self { residual: single(residual), weights: weights().collect() })
    }
}

impl Cells {
    /// The cells of one array; nothing if they are perfect.
    pub(super) fn draw(origin: Origin<'_>, packing: Packing) -> Option<Self> {
        let cell = &origin.chip.cell;
        let amplitude = origin.strength(Term::CellAmplitude, cell.amplitude_error.value());
        let phase = origin.strength(Term::CellPhase, cell.phase_error_rad.value());
        // Rings drift each by itself, and show it as they do.
        let holds = origin.chip.ring.is_none();
        let drift = if holds { origin.strength(Term::Drift, cell.drift_rad.value()) } else { 0.0 };
        let splitter = origin.strength(Term::Splitter, log_amplitude_per_stage(origin.chip));
        let residual = &origin.chip.path.polarization_residual;
        let angle = polarization_variance(origin.chip).sqrt();
        let polarization = origin.strength(Term::Polarization, residual.value() * angle);
        let reflection = origin.strength(Term::Reflection, reflected_power(origin.chip));
        let fixed = fixed_cells(origin, packing);
        let strengths = [amplitude, phase, drift, splitter, polarization, reflection];
        let before = Before::draw(origin, packing);
        let exact = strengths.iter().all(|&strength| strength <= 0.0);
        if fixed.is_empty() && before.is_none() && exact {
            return None;
        }
        let count = origin.chip.array.inputs * origin.columns;
        // What has no strength is left out: it takes seconds where cells are millions.
        let draw = |term, strength: f64| {
            if strength > 0.0 { origin.normals_of_cells(term, 0) } else { Vec::new() }
        };
        let (amplitudes, phases) =
            (draw(Term::CellAmplitude, amplitude), draw(Term::CellPhase, phase));
        let walk = if drift > 0.0 { drifts(origin, drift, 0) } else { Vec::new() };
        let logs = if splitter > 0.0 { light(origin, splitter) } else { Vec::new() };
        let turns = phase > 0.0 || drift > 0.0;
        let (mut re, mut im): (Vec<f32>, Vec<f32>) = (0..count)
            .map(|cell| {
                let of = |draws: &[f32], strength: f64| {
                    draws.get(cell).map_or(0.0, |&draw| strength * f64::from(draw))
                };
                let mut gain = 1.0 + of(&amplitudes, amplitude);
                if let Some(&log) = logs.get(cell) {
                    gain *= pxfm::f_exp(log);
                }
                if !turns {
                    return (single(gain), 0.0);
                }
                let drift = walk.get(cell).copied().unwrap_or(0.0);
                let (sin, cos) = math::sin_cos(of(&phases, phase) + drift);
                (single(gain * cos), single(gain * sin))
            })
            .unzip();
        if polarization > 0.0 {
            let overlaps = overlaps(origin, angle, residual.value());
            for ((re, im), overlap) in re.iter_mut().zip(&mut im).zip(overlaps) {
                (*re, *im) = (*re * overlap, *im * overlap);
            }
        }
        if reflection > 0.0 {
            let ghosts = ghosts(origin, reflection);
            for ((re, im), (g_re, g_im)) in re.iter_mut().zip(&mut im).zip(ghosts) {
                (*re, *im) = (*re + *re * g_re - *im * g_im, *im + *re * g_im + *im * g_re);
            }
        }
        Some(Self { re, im, fixed, before })
    }

    /// The factors alone, zero for dead cells: where what a cell turns is no weight of its own.
    pub(super) fn into_factors(mut self) -> (Vec<f32>, Vec<f32>) {
        for &(cell, _, _) in &self.fixed {
            (self.re[cell], self.im[cell]) = (0.0, 0.0);
        }
        (self.re, self.im)
    }

    /// Turns programmed weights, from `first` on in the array, into effective ones.
    pub(super) fn apply(&self, first: usize, re: &mut [f32], im: &mut [f32]) {
        let cells = first..first + re.len();
        if let Some(Before { residual, weights }) = &self.before {
            for ((re, im), &(b_re, b_im)) in
                re.iter_mut().zip(&mut *im).zip(&weights[cells.clone()])
            {
                (*re, *im) = (*re + residual * (b_re - *re), *im + residual * (b_im - *im));
            }
        }
        let from = self.fixed.partition_point(|&(cell, _, _)| cell < cells.start);
        for &(cell, w_re, w_im) in self.fixed[from..].iter().take_while(|f| f.0 < cells.end) {
            (re[cell - first], im[cell - first]) = (w_re, w_im);
        }
        let factors = Parts { re: &self.re[cells.clone()], im: &self.im[cells] };
        cells::multiply(factors, re, im);
    }
}

/// `1 + c (cos θ / ⟨cos θ⟩ − 1)` of each cell, c the fraction that calibration leaves.
fn overlaps(origin: Origin<'_>, angle: f64, residual: f64) -> impl Iterator<Item = f32> {
    let mean = overlap(origin.chip);
    origin.normals_of_cells(Term::Polarization, 0).into_iter().map(move |normal| {
        let (_, cos) = math::sin_cos(angle * f64::from(normal));
        single(1.0 + residual * (cos / mean - 1.0))
    })
}

/// Wavelength at which phases are as drawn.
const DRAWN_AT_M: f64 = 1550.0e-9;

/// Power of the light that comes a second time, over that which comes at once.
pub(crate) fn reflected_power(chip: &ChipDescription) -> f64 {
    chip.path.back_reflection_db.quantity().map_or(0.0, |db| power_ratio(db.value))
}

/// What comes a second time of each cell's light, relative to what comes at once: the sum of many
/// small reflections, so a complex normal number. At another wavelength each turns by the phase of
/// its own round trip.
fn ghosts(origin: Origin<'_>, power: f64) -> impl Iterator<Item = (f32, f32)> {
    let sigma = (power / 2.0).sqrt();
    let detuning = 1.0 / (origin.chip.laser.wavelength_nm.value * 1e-9) - 1.0 / DRAWN_AT_M;
    let round_trip_m = origin.chip.path.reflection_length_m.value;
    let turn = std::f64::consts::TAU * GROUP_INDEX * round_trip_m * detuning;
    let draw = |part| origin.normals_of_cells(Term::Reflection, part).into_iter().map(f64::from);
    draw(0).zip(draw(1)).zip(draw(2)).map(move |((re, im), length)| {
        // Lengths differ by as much as they are.
        let (sin, cos) = math::sin_cos(turn * (1.0 + length));
        (single(sigma * (re * cos - im * sin)), single(sigma * (re * sin + im * cos)))
    })
}

/// Splitters and combiners on the way through one cell; where both operands are streamed, on both
/// ways to one detector.
pub(crate) fn splitter_stages(chip: &ChipDescription) -> u32 {
    let (rows, columns) = (levels(chip.array.inputs), levels(chip.array.outputs));
    match chip.array.dataflow {
        Dataflow::WeightStationary => 2 * rows + columns,
        Dataflow::OutputStationary => 2 * (rows + columns),
    }
}

/// Standard deviation of the logarithm of the amplitude in one arm: half of the ratio in dB.
fn log_amplitude_per_stage(chip: &ChipDescription) -> f64 {
    chip.path.splitter_imbalance_db.value() * std::f64::consts::LN_10 / 40.0
}

/// The logarithm of each cell's light: the tree to the rows, the tree of each row, and the combiner
/// of each column. Where both operands are streamed, the column has a tree like the row, and there is
/// a tree to the columns.
fn light(origin: Origin<'_>, strength: f64) -> Vec<f64> {
    let (rows, columns) = (origin.chip.array.inputs, origin.chip.array.outputs);
    let (of_rows, of_columns) = (nodes(rows), nodes(columns));
    let realised = origin.columns;
    let feed = origin.normals(Term::Splitter, 0, of_rows);
    let row_trees = origin.normals(Term::Splitter, 1, rows * of_columns);
    let combiners = origin.normals(Term::Splitter, 2, realised * of_rows);
    let to_columns = match origin.chip.array.dataflow {
        Dataflow::WeightStationary => None,
        Dataflow::OutputStationary => Some(origin.normals(Term::Splitter, 3, of_columns)),
    };
    let mut logs = Vec::with_capacity(rows * realised);
    for row in 0..rows {
        let to_row = along(&feed, row, levels(rows));
        let tree = &row_trees[row * of_columns..];
        for column in 0..realised {
            let combiner = &combiners[column * of_rows..];
            let sum =
                to_row + along(tree, column, levels(columns)) + along(combiner, row, levels(rows));
            let to_column =
                to_columns.as_ref().map_or(0.0, |feed| along(feed, column, levels(columns)));
            logs.push(strength * (sum + to_column));
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
/// own normals, so that every age sees the same walk; so has the second ring of a cell, `part` 1.
pub(super) fn drifts(origin: Origin<'_>, sigma: f64, part: u8) -> Vec<f64> {
    let side = u64::from(part) << 63;
    let mut walk = vec![0.0; origin.chip.array.inputs * origin.columns];
    let (steps, kept) = drift_steps(origin.chip, origin.age_s);
    let fresh = sigma * (1.0 - kept * kept).sqrt();
    for step in steps.saturating_sub(u64::from(STEPS_KEPT))..steps {
        let normals = origin.normals_of_cells(Term::Drift, side | step);
        for (walk, normal) in walk.iter_mut().zip(normals) {
            *walk = *walk * kept + fresh * f64::from(normal);
        }
    }
    walk
}

/// Cells that are dead, and cells stuck at a random weight.
fn fixed_cells(origin: Origin<'_>, packing: Packing) -> Vec<(usize, f32, f32)> {
    let chip = origin.chip;
    let dead = origin.strength(Term::Dead, chip.cell.dead_fraction.value());
    let stuck = origin.strength(Term::Stuck, chip.cell.stuck_fraction.value());
    if dead <= 0.0 && stuck <= 0.0 {
        return Vec::new();
    }
    // Each cell has one number per kind: it fails if this is below the fraction.
    let root = origin.seed.branch("cell", u64::from(origin.array));
    let fails = |term: Term, fraction: f64, cell: u64| {
        fraction > 0.0 && unit(root.key(term.name(), cell)) < fraction
    };
    numbers_of_cells(origin)
        .enumerate()
        .filter_map(|(place, cell)| {
            if fails(Term::Dead, dead, cell) {
                return Some((place, 0.0, 0.0));
            }
            fails(Term::Stuck, stuck, cell).then(|| {
                let (re, im) = random_weight(origin, packing, ["stuck_re", "stuck_im"], cell);
                (place, re, im)
            })
        })
        .collect()
}

/// The number of each realised cell in the whole array, row-major.
fn numbers_of_cells(origin: Origin<'_>) -> impl Iterator<Item = u64> {
    let (rows, all) = (origin.chip.array.inputs as u64, origin.chip.array.outputs as u64);
    let columns = origin.columns as u64;
    (0..rows).flat_map(move |row| (0..columns).map(move |column| row * all + column))
}

/// A weight of a cell, in codes, of which any is as likely; the second part is zero where a cell has but
/// one.
fn random_weight(origin: Origin<'_>, packing: Packing, names: [&str; 2], cell: u64) -> (f32, f32) {
    let root = origin.seed.branch("cell", u64::from(origin.array));
    let limit = f64::from(origin.chip.weight_limit());
    let [re, im] = names.map(|name| single(limit * (2.0 * unit(root.key(name, cell)) - 1.0)));
    (re, if packing.weights_per_cell() == 2 { im } else { 0.0 })
}

/// A key as a number from zero to one.
fn unit(key: u64) -> f64 {
    (key >> 11) as f64 / (1_u64 << 53) as f64
}
