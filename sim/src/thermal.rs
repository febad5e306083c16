//! Heaters warm their neighbors: how much, what that costs, and how a driver takes it back.
//!
//! A block of cells has one heater each. Driving cell j for a phase of `P_j` gives cell i the phase
//! `γ(d_ij) P_j`, with γ(0) = 1:
//!
//! ```text
//! φ = Γ P        Γ_ij = γ(d_ij), symmetric and positive definite
//! P = Γ⁻¹ φ      what to drive so that the phases come out as wanted
//! ```
//!
//! The inverse asks some heaters for less than nothing where cells lie close and their wanted
//! phases differ; a real driver then adds a whole turn to those cells or a common bias to all.
//!
//! Left out: heat that spreads over the whole chip, and everything that is not linear in power.

use crate::uniform::Uniforms;
use litecore_kernels::normal::standard_normal;
use litecore_types::Seed;
use thiserror::Error;

/// Distance below which the polynomial holds, in micrometers; the exponential holds from here on.
const EXPONENTIAL_FROM_UM: f64 = 23.0;
/// Highest power first, for distances in micrometers.
const POLYNOMIAL: [f64; 6] =
    [3.551_175_28e-7, -1.557_892_01e-5, -8.296_316_81e-6, 9.896_167_61e-3, -1.760_138_71e-1, 1.0];
/// Amplitude and decay per micrometer.
const EXPONENTIAL: [f64; 2] = [0.216_726_7, -0.127_472_11];

/// The part of a heater's phase that a cell at this distance gets: γ(d).
///
/// A fit of two pieces to heat simulations of doped-silicon heaters; nothing is interpolated by us.
/// It reads 10 % at 10 µm, 1.6 % at 20 µm, 0.47 % at 30 µm and 0.04 % at 50 µm. Between 21 and
/// 23 µm the polynomial dips to 1.0 % and rises again to 1.18 %, where the exponential goes on from
/// 1.16 %: read it as 1.1 ± 0.1 % there. The uncertainty elsewhere is not stated by the source;
/// assumed 10 % of γ.
///
/// Units: micrometers. A NaN gives a NaN; a distance below zero counts as zero.
///
/// Source: SCATTER (Yin et al., 2024), published code `core/models/layers/utils.py`, the parameters
/// of its crosstalk model.
pub fn coupling(distance_um: f64) -> f64 {
    if distance_um < EXPONENTIAL_FROM_UM {
        let distance = distance_um.max(0.0);
        POLYNOMIAL.iter().fold(0.0, |value, coefficient| value * distance + coefficient)
    } else {
        EXPONENTIAL[0] * pxfm::f_exp(EXPONENTIAL[1] * distance_um)
    }
}

/// A rectangular block of cells at one pitch in both directions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Block {
    /// Cells from top to bottom.
    pub rows: usize,
    /// Cells from left to right.
    pub columns: usize,
    /// From heater to heater, in micrometers.
    pub pitch_um: f64,
}

/// Why the phases of a block cannot be computed.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
pub enum ThermalError {
    /// The block has no cells, or more than a dense matrix serves.
    #[error(
        "a block of {rows} × {columns} cells cannot be solved: give 1 to {} cells",
        Crosstalk::LARGEST
    )]
    Size {
        /// Rows given.
        rows: usize,
        /// Columns given.
        columns: usize,
    },
    /// The pitch is no length.
    #[error("a pitch of {pitch_um} µm is no distance: give a positive finite one")]
    Pitch {
        /// What was given.
        pitch_um: f64,
    },
    /// There is not one number for each cell.
    #[error("{found} numbers were given for {expected} cells")]
    Length {
        /// Cells.
        expected: usize,
        /// Numbers.
        found: usize,
    },
    /// The matrix is not positive definite: no drive is certain to give the phases.
    #[error(
        "the crosstalk cannot be undone: cell {cell} follows from those before it; widen the pitch"
    )]
    Singular {
        /// The first cell whose pivot is not positive.
        cell: usize,
    },
}

/// The crosstalk matrix Γ of a block, or what somebody believes it to be.
///
/// Order: cells row by row.
#[derive(Clone, Debug, PartialEq)]
pub struct Crosstalk {
    cells: usize,
    /// Row-major and symmetric.
    gamma: Vec<f64>,
}

impl Crosstalk {
    /// The largest number of cells in a block: a matrix of 128 MiB.
    pub const LARGEST: usize = 4096;

    /// The matrix of a block.
    pub fn of(block: &Block) -> Result<Self, ThermalError> {
        let Block { rows, columns, pitch_um } = *block;
        let cells = rows.saturating_mul(columns);
        if !(1..=Self::LARGEST).contains(&cells) {
            return Err(ThermalError::Size { rows, columns });
        }
        if !(pitch_um > 0.0 && pitch_um.is_finite()) {
            return Err(ThermalError::Pitch { pitch_um });
        }
        let gamma = (0..cells * cells)
            .map(|index| {
                let (i, j) = (index / cells, index % cells);
                let down = (i / columns).abs_diff(j / columns) as f64;
                let across = (i % columns).abs_diff(j % columns) as f64;
                coupling(pitch_um * (down * down + across * across).sqrt())
            })
            .collect();
        Ok(Self { cells, gamma })
    }

    /// How many cells there are.
    pub fn cells(&self) -> usize {
        self.cells
    }

    /// `Γ_ij`. Panics: outside the matrix.
    pub fn at(&self, i: usize, j: usize) -> f64 {
        assert!(j < self.cells, "cell {j} of {}", self.cells);
        self.gamma[i * self.cells + j]
    }

    /// What somebody believes who has every coupling between different cells wrong by this factor.
    #[must_use]
    pub fn scaled(&self, factor: f64) -> Self {
        self.map_pairs(|_| factor)
    }

    /// What somebody believes who has measured each coupling with this relative deviation.
    ///
    /// A pair of cells has one error for both directions, as heat flows alike both ways.
    #[must_use]
    pub fn misread(&self, sigma: f64, seed: Seed) -> Self {
        let key = seed.key("thermal coupling", 0);
        self.map_pairs(|pair| 1.0 + sigma * f64::from(standard_normal(key, pair)))
    }

    /// Multiplies each coupling by a factor of its pair, pairs counted row by row above the
    /// diagonal.
    fn map_pairs(&self, factor: impl Fn(u64) -> f64) -> Self {
        let mut changed = self.clone();
        let mut pair = 0;
        for i in 0..self.cells {
            for j in i + 1..self.cells {
                let value = self.at(i, j) * factor(pair);
                changed.gamma[i * self.cells + j] = value;
                changed.gamma[j * self.cells + i] = value;
                pair += 1;
            }
        }
        changed
    }

    /// The phases that a drive gives: Γ P, each sum in ascending order.
    ///
    /// Units: radians, of phase and of drive.
    pub fn phases(&self, drive: &[f64]) -> Result<Vec<f64>, ThermalError> {
        self.expect_length(drive)?;
        let product = |row: &[f64]| row.iter().zip(drive).fold(0.0, |sum, (g, p)| sum + g * p);
        Ok(self.gamma.chunks_exact(self.cells).map(product).collect())
    }

    /// Root-mean-square phase error of a drive: of Γ P against what was wanted.
    ///
    /// Units: radians.
    pub fn residual_rms(&self, drive: &[f64], wanted: &[f64]) -> Result<f64, ThermalError> {
        self.expect_length(wanted)?;
        let phases = self.phases(drive)?;
        let square = |(phase, wanted): (&f64, &f64)| (phase - wanted) * (phase - wanted);
        let squares = phases.iter().zip(wanted).map(square).fold(0.0, |sum, square| sum + square);
        Ok((squares / self.cells as f64).sqrt())
    }

    /// Prepares for solving, by a Cholesky factorization.
    pub fn solver(&self) -> Result<Solver, ThermalError> {
        let n = self.cells;
        let mut lower = self.gamma.clone();
        for j in 0..n {
            let (done, open) = lower.split_at_mut((j + 1) * n);
            let row = &mut done[j * n..];
            let pivot = row[j] - row[..j].iter().fold(0.0, |sum, x| sum + x * x);
            if pivot.is_nan() || pivot <= 0.0 {
                return Err(ThermalError::Singular { cell: j });
            }
            let pivot = pivot.sqrt();
            row[j] = pivot;
            row[j + 1..].fill(0.0);
            for below in open.chunks_exact_mut(n) {
                let product = below[..j].iter().zip(&*row).fold(0.0, |sum, (a, b)| sum + a * b);
                below[j] = (below[j] - product) / pivot;
            }
        }
        Ok(Solver { cells: n, lower })
    }

    fn expect_length(&self, numbers: &[f64]) -> Result<(), ThermalError> {
        let (expected, found) = (self.cells, numbers.len());
        if expected == found { Ok(()) } else { Err(ThermalError::Length { expected, found }) }
    }
}

/// Finds the drive for wanted phases, for one matrix.
#[derive(Clone, Debug, PartialEq)]
pub struct Solver {
    cells: usize,
    /// Row-major L of Γ = L Lᵀ.
    lower: Vec<f64>,
}

impl Solver {
    /// The drive P = Γ⁻¹ φ; some of it may be negative.
    ///
    /// Units: radians.
    pub fn drive(&self, wanted: &[f64]) -> Result<Vec<f64>, ThermalError> {
        let (expected, found) = (self.cells, wanted.len());
        if expected != found {
            return Err(ThermalError::Length { expected, found });
        }
        let n = self.cells;
        let mut x = wanted.to_vec();
        for (i, row) in self.lower.chunks_exact(n).enumerate() {
            let known = row[..i].iter().zip(&x).fold(0.0, |sum, (l, x)| sum + l * x);
            x[i] = (x[i] - known) / row[i];
        }
        for (i, row) in self.lower.chunks_exact(n).enumerate().rev() {
            x[i] /= row[i];
            let value = x[i];
            for (x, l) in x[..i].iter_mut().zip(row) {
                *x -= l * value;
            }
        }
        Ok(x)
    }

    /// The smallest eigenvalue of Γ, by inverse iteration from a drawn vector.
    ///
    /// Exact: to 1e-9 of the value, or what 2000 steps give.
    pub fn smallest_eigenvalue(&self) -> Result<f64, ThermalError> {
        let mut stream = Uniforms::new(0);
        let mut vector: Vec<f64> = (0..self.cells).map(|_| stream.unit() - 0.5).collect();
        let mut inverse = 0.0;
        for _ in 0..2000 {
            let norm = vector.iter().fold(0.0, |sum, x| sum + x * x).sqrt();
            for x in &mut vector {
                *x /= norm;
            }
            let next = self.drive(&vector)?;
            // The Rayleigh quotient of Γ⁻¹ grows towards its largest eigenvalue.
            let quotient = vector.iter().zip(&next).fold(0.0, |sum, (x, y)| sum + x * y);
            let settled = (quotient - inverse).abs() < 1e-12 * quotient;
            inverse = quotient;
            vector = next;
            if settled {
                break;
            }
        }
        Ok(1.0 / inverse)
    }
}

/// How many heaters a drive asks for less than nothing.
pub fn negative_count(drive: &[f64]) -> usize {
    drive.iter().filter(|&&power| power < 0.0).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(rows: usize, columns: usize, pitch_um: f64) -> Block {
        Block { rows, columns, pitch_um }
    }

    #[test]
    fn the_kernel_passes_through_the_published_points() {
        for (distance_um, percent, tolerance) in [
            (0.0, 100.0, 1e-9),
            (10.0, 10.0, 0.1),
            (20.0, 1.6, 0.05),
            (23.0, 1.2, 0.05),
            (30.0, 0.47, 0.005),
            (50.0, 0.04, 0.005),
        ] {
            let found = 100.0 * coupling(distance_um);
            assert!((found - percent).abs() < tolerance, "{found} % at {distance_um} µm");
        }
        // Where the pieces meet, they are within 3 %.
        let step = coupling(23.0) / coupling(22.999_999);
        assert!((0.97..1.0).contains(&step), "{step}");
        assert!((coupling(-1.0) - 1.0).abs() < 1e-15 && coupling(f64::NAN).is_nan());
    }

    #[test]
    fn two_cells_are_solved_by_hand() {
        let pair = Crosstalk::of(&block(1, 2, 10.0)).unwrap();
        let g = coupling(10.0);
        let phases = pair.phases(&[2.0, 1.0]).unwrap();
        assert!(
            (phases[0] - (2.0 + g)).abs() < 1e-15 && (phases[1] - (1.0 + 2.0 * g)).abs() < 1e-15
        );
        let solver = pair.solver().unwrap();
        let drive = solver.drive(&[1.0, 0.0]).unwrap();
        let determinant = 1.0 - g * g;
        assert!((drive[0] - 1.0 / determinant).abs() < 1e-15);
        assert!((drive[1] + g / determinant).abs() < 1e-15);
        assert_eq!(negative_count(&drive), 1);
        assert!((solver.smallest_eigenvalue().unwrap() - (1.0 - g)).abs() < 1e-9);
        let left = pair.residual_rms(&[1.0, 0.0], &[1.0, 0.0]).unwrap();
        assert!((left - g / 2.0_f64.sqrt()).abs() < 1e-15);
    }

    #[test]
    fn distances_are_those_of_the_grid() {
        let crosstalk = Crosstalk::of(&block(3, 4, 25.0)).unwrap();
        // Cells (0, 1) and (2, 3): two down and two across.
        let expected = coupling(25.0 * 8.0_f64.sqrt());
        assert!((crosstalk.at(1, 11) - expected).abs() < 1e-15);
        assert!((crosstalk.at(11, 1) - expected).abs() < 1e-15);
    }

    #[test]
    fn wrong_beliefs_keep_the_diagonal_and_the_symmetry() {
        let crosstalk = Crosstalk::of(&block(2, 3, 12.0)).unwrap();
        for believed in [crosstalk.scaled(1.05), crosstalk.misread(0.02, Seed(1))] {
            for i in 0..6 {
                assert!((believed.at(i, i) - 1.0).abs() < 1e-15);
                for j in 0..i {
                    assert!((believed.at(i, j) - believed.at(j, i)).abs() < 1e-15);
                    assert!((believed.at(i, j) / crosstalk.at(i, j) - 1.0).abs() > 1e-5);
                }
            }
        }
    }

    #[test]
    fn what_cannot_be_computed_is_refused_by_name() {
        let of = |rows, columns, pitch_um| Crosstalk::of(&block(rows, columns, pitch_um));
        assert_eq!(of(0, 3, 1.0), Err(ThermalError::Size { rows: 0, columns: 3 }));
        assert!(matches!(of(usize::MAX, 2, 1.0), Err(ThermalError::Size { .. })));
        assert_eq!(of(2, 2, 0.0), Err(ThermalError::Pitch { pitch_um: 0.0 }));
        let crosstalk = of(2, 2, 30.0).unwrap();
        let length = Err(ThermalError::Length { expected: 4, found: 3 });
        assert_eq!(crosstalk.phases(&[0.0; 3]), length);
        assert_eq!(crosstalk.solver().unwrap().drive(&[0.0; 3]), length);
        let singular = crosstalk.scaled(1e3).solver();
        assert_eq!(singular, Err(ThermalError::Singular { cell: 1 }));
    }
}
