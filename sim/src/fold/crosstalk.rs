//! Heat: what each cell's drive does to its neighbors, and all drives to all cells.
//!
//! A cell's drive is the phase its heaters make. Of the drive d of a cell at distance r,
//! `γ(r) = γ₂₃ e^(-k (r - 23 µm))` shows in another cell; below 23 µm the published near field takes
//! over ([`crate::thermal::coupling`]). Calibration leaves a fraction of the sum. All drives
//! together turn every cell by the heating phase times their mean over a full turn.

use super::memo::Memo;
use super::{Origin, Planes, single};
use crate::Term;
use crate::packing::Packing;
use crate::thermal::coupling;
use litecore_kernels::cells;
use litecore_types::chip::{CellType, ChipDescription};
use std::f64::consts::{PI, TAU};

/// The distance at which the crosstalk of a description is stated.
const STATED_AT_UM: f64 = 23.0;
/// A neighbor whose share of a full turn is below this is left out.
const SMALLEST_RAD: f64 = 1e-5;
/// Neighbors farther than this many cells are left out.
const REACH: usize = 16;

/// The heat of one array.
pub(super) struct Heat {
    columns: usize,
    /// Drive of each pair of codes, in radians.
    drives: Vec<f32>,
    /// Neighbors: rows down, columns to the right, and the share that is left after calibration.
    neighbors: Vec<(isize, isize, f32)>,
    /// Phase of all cells per radian of mean drive.
    common: f64,
}

impl Heat {
    pub(super) fn of(origin: Origin<'_>, packing: Packing) -> Option<Self> {
        let chip = origin.chip;
        let neighbors =
            if origin.terms.contains(Term::Crosstalk) { neighbors(chip) } else { vec![] };
        let common = origin.strength(Term::Heating, chip.cell.heating_phase_rad.value()) / TAU;
        if neighbors.is_empty() && common <= 0.0 {
            return None;
        }
        let drives = (0..PAIRS)
            .map(|pair| {
                let code = |byte: usize| byte as f64 - 128.0;
                single(drive(chip, packing, code(pair >> 8), code(pair & 255)))
            })
            .collect();
        Some(Self { columns: origin.columns, drives, neighbors, common })
    }

    /// The drives of a tile's cells, which make the heat.
    pub(super) fn drives(&self, planes: &Planes) -> Drives {
        let mut drives = Vec::with_capacity(planes.re.len());
        let mut listed = [0; 64];
        for (re, im) in planes.re.chunks(64).zip(planes.im.chunks(64)) {
            places(re, im, &mut listed);
            drives.extend(listed[..re.len()].iter().map(|&place| self.drives[place]));
        }
        let phase = single(self.common * mean(&drives));
        Drives { drives, phase }
    }

    /// The phases by which heat turns one row of cells; each adds its neighbors in order.
    pub(super) fn phases(&self, of: &Drives, row: usize, phases: &mut [f32]) {
        phases.fill(of.phase);
        let columns = self.columns;
        let rows = of.drives.len() / columns;
        for &(down, right, share) in &self.neighbors {
            let Some(from) = row.checked_add_signed(down).filter(|&from| from < rows) else {
                continue;
            };
            let (first, last) = overlap(columns, right);
            let start = (from * columns + first).wrapping_add_signed(right);
            let drives = &of.drives[start..][..last - first];
            cells::add_share(share, drives, &mut phases[first..last]);
        }
    }
}

/// What heats one tile.
pub(super) struct Drives {
    drives: Vec<f32>,
    /// The phase that all drives together make in every cell.
    phase: f32,
}

/// The mean, by sixteen sums that wait for each other no longer than for the next drives.
///
/// Drives are zero or a thousandth of a radian at least, so the sums of a million cells are exact.
fn mean(drives: &[f32]) -> f64 {
    let (chunks, rest) = drives.as_chunks::<16>();
    let mut sums = [0.0; 16];
    for chunk in chunks {
        for (sum, &drive) in sums.iter_mut().zip(chunk) {
            *sum += f64::from(drive);
        }
    }
    let rest = rest.iter().map(|&drive| f64::from(drive)).sum::<f64>();
    (sums.iter().sum::<f64>() + rest) / drives.len() as f64
}

/// The columns that have a neighbor so far to the right.
fn overlap(columns: usize, right: isize) -> (usize, usize) {
    let gap = right.unsigned_abs().min(columns);
    if right < 0 { (gap, columns) } else { (0, columns - gap) }
}

/// Pairs of codes of eight bits.
pub(super) const PAIRS: usize = 1 << 16;

/// Where each pair of codes stands in a table of [`PAIRS`]. Codes are whole, and 127 at most.
pub(super) fn places(re: &[f32], im: &[f32], places: &mut [usize]) {
    for ((place, &re), &im) in places.iter_mut().zip(re).zip(im) {
        *place = (byte(re) << 8 | byte(im)) as usize;
    }
}

/// A whole code from -128 to 127, plus 128: added to 2^23, it is in the last bits of the sum.
#[inline]
fn byte(code: f32) -> u32 {
    const WHOLE: f32 = 8_388_608.0;
    (code.clamp(-128.0, 127.0) + (WHOLE + 128.0)).to_bits() & 255
}

/// The neighbors of a cell that feel it, with the share that calibration leaves.
fn neighbors(chip: &ChipDescription) -> Vec<(isize, isize, f32)> {
    let reach = isize::try_from(REACH).unwrap_or(0);
    let mut found = Vec::new();
    for down in -reach..=reach {
        for right in -reach..=reach {
            let (x, y) = (right as f64, down as f64);
            let share = share_at(chip, chip.array.pitch_um.value * (x * x + y * y).sqrt());
            if (down, right) != (0, 0) && share * TAU > SMALLEST_RAD {
                found.push((down, right, single(share)));
            }
        }
    }
    found
}

/// The share of a drive that shows at a distance after calibration.
fn share_at(chip: &ChipDescription, distance_um: f64) -> f64 {
    chip.cell.crosstalk_residual.value() * built_share(chip, distance_um)
}

/// The share of a drive that shows in the next cell before any calibration.
pub(crate) fn neighbor_share(chip: &ChipDescription) -> f64 {
    built_share(chip, chip.array.pitch_um.value).min(1.0)
}

/// The share of a drive that shows at a distance before any calibration.
fn built_share(chip: &ChipDescription, distance_um: f64) -> f64 {
    let cell = &chip.cell;
    let shape = if distance_um < STATED_AT_UM {
        coupling(distance_um) / coupling(STATED_AT_UM)
    } else {
        pxfm::f_exp(-cell.thermal_decay_per_um.value * (distance_um - STATED_AT_UM))
    };
    cell.thermal_crosstalk.value() * shape
}

/// The sum of all neighbors' shares, and of their squares, for a cell amid the array.
pub(crate) fn neighbor_sums(chip: &ChipDescription) -> (f64, f64) {
    neighbors(chip).iter().fold((0.0, 0.0), |(sum, squares), &(_, _, share)| {
        let share = f64::from(share);
        (sum + share, squares + share * share)
    })
}

/// The phase that the heaters of a cell make for a weight.
///
/// The phase shifter makes the argument, from zero to a full turn; the interferometer's two arms
/// differ by `2 acos |w|`. Films hold amplitudes without heat, and rings are taken to be tuned
/// by as much as the phase they make.
fn drive(chip: &ChipDescription, packing: Packing, re: f64, im: f64) -> f64 {
    let full = super::film::full_scale(chip.weight_limit(), packing);
    let amplitude = ((re * re + im * im).sqrt() / full).min(1.0);
    let angle = if amplitude > 0.0 { pxfm::f_atan2(im, re) } else { 0.0 };
    let turned = if angle < 0.0 { angle + TAU } else { angle };
    match chip.array.cell_type {
        CellType::Interferometer => turned + 2.0 * pxfm::f_acos(amplitude),
        CellType::RingPair => turned + PI * amplitude,
        CellType::PhaseChange => turned,
    }
}

/// Mean and variance of the drives of codes spread evenly.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DriveStatistics {
    pub(crate) mean: f64,
    pub(crate) variance: f64,
}

/// The drives of weights spread evenly over all codes.
pub(crate) fn drive_statistics(chip: &ChipDescription, packing: Packing) -> DriveStatistics {
    thread_local! {
        static LAST: Memo<(CellType, i32, Packing), DriveStatistics> = const { Memo::new() };
    }
    let asked = (chip.array.cell_type, chip.weight_limit(), packing);
    LAST.with(|last| last.get(asked, || statistics_of_drives(chip, packing)))
}

fn statistics_of_drives(chip: &ChipDescription, packing: Packing) -> DriveStatistics {
    let limit = chip.weight_limit();
    let (mut sum, mut squares, mut count) = (0.0, 0.0, 0.0);
    let second = if packing.weights_per_cell() == 2 { limit } else { 0 };
    for re in -limit..=limit {
        for im in -second..=second {
            let drive = drive(chip, packing, f64::from(re), f64::from(im));
            sum += drive;
            squares += drive * drive;
            count += 1.0;
        }
    }
    let mean = sum / count;
    DriveStatistics { mean, variance: squares / count - mean * mean }
}

#[cfg(test)]
mod tests {
    use super::*;
    use litecore_types::chip::{Impairment, builtin};

    /// V10 is held against the dense matrix of [`crate::thermal`]: the array's own map is that matrix.
    #[test]
    fn the_map_of_an_array_is_the_published_matrix() {
        for pitch_um in [10.0, 15.0, 23.0, 30.0, 50.0] {
            let mut chip = builtin("tiny-4").unwrap();
            (chip.array.inputs, chip.array.outputs) = (16, 16);
            chip.array.pitch_um.value = pitch_um;
            chip.cell.thermal_crosstalk = Impairment::set(coupling(STATED_AT_UM));
            chip.cell.thermal_decay_per_um.value = 0.127_472_11;
            chip.cell.crosstalk_residual = Impairment::set(1.0);
            let terms = crate::Terms::only(Term::Crosstalk);
            let seed = litecore_types::Seed(0);
            let origin = Origin { chip: &chip, terms, seed, array: 0, age_s: 0.0, columns: 16 };
            let heat = Heat::of(origin, Packing::Conjugate).unwrap();
            let code = |i: usize| (i * i * 31 % 255) as f32 - 127.0;
            let re: Vec<f32> = (0..256).map(code).collect();
            let im: Vec<f32> = (0..256).map(|i| code(i + 1000)).collect();
            let drives: Vec<f64> = re
                .iter()
                .zip(&im)
                .map(|(&re, &im)| drive(&chip, Packing::Conjugate, re.into(), im.into()))
                .collect();
            let block = crate::thermal::Block { rows: 16, columns: 16, pitch_um };
            let matrix = crate::thermal::Crosstalk::of(&block).unwrap();
            let expected = matrix.phases(&drives).unwrap();
            let mut phases = [0.0; 256];
            let heats = heat.drives(&Planes { re, im });
            for (row, phases) in phases.chunks_exact_mut(16).enumerate() {
                heat.phases(&heats, row, phases);
            }
            for (cell, phase) in phases.iter().enumerate() {
                // A phase of the matrix has the cell's own drive in it. Neighbors of less than 1e-5 rad
                // are left out, 200 of them at most.
                let off = (f64::from(*phase) + drives[cell] - expected[cell]).abs();
                assert!(off < 2e-3, "{pitch_um} um, cell {cell}: {off} rad");
            }
        }
    }

    #[test]
    fn one_driven_cell_shows_in_its_neighbors_by_the_stated_law() {
        let mut chip = builtin("tiny-4").unwrap();
        chip.array.pitch_um.value = 23.0;
        chip.cell.thermal_crosstalk = Impairment::set(0.02);
        chip.cell.crosstalk_residual = Impairment::set(0.5);
        let origin = Origin {
            chip: &chip,
            terms: crate::Terms::only(Term::Crosstalk),
            seed: litecore_types::Seed(0),
            array: 0,
            age_s: 0.0,
            columns: 4,
        };
        let heat = Heat::of(origin, Packing::Single).unwrap();
        // Full positive weights need no drive; a full negative one half a turn.
        let mut planes = Planes { re: vec![127.0; 16], im: vec![0.0; 16] };
        planes.re[5] = -127.0;
        let mut phases = [0.0; 16];
        let drives = heat.drives(&planes);
        for (row, phases) in phases.chunks_exact_mut(4).enumerate() {
            heat.phases(&drives, row, phases);
        }
        let expected = |distance: f64| PI * 0.01 * pxfm::f_exp(-0.1275 * 23.0 * (distance - 1.0));
        for (cell, distance) in [(1, 1.0), (4, 1.0), (6, 1.0), (0, 2.0_f64.sqrt()), (7, 2.0)] {
            let found = f64::from(phases[cell]);
            assert!((found / expected(distance) - 1.0).abs() < 1e-5, "cell {cell}: {found}");
        }
        assert!(phases[5].abs() < 1e-9, "no cell is its own neighbor");
    }
}
