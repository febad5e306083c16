//! The rival of the crossbar: a rectangular mesh of interferometers, to compare errors and losses.
//!
//! N columns of interferometers, each on two neighboring guides, make a unitary matrix of size N
//! (Clements et al., "Optimal design for universal multiport interferometers", 2016), up to the
//! phases of the outputs. Those are left out: they are no stage of the mesh, and a receiver turns
//! them back. One interferometer is
//!
//! ```text
//! S(π/4 + α₂) · diag(e^iθ, 1) · S(π/4 + α₁) · diag(e^iφ, 1)      S(η) = [ cos η   i sin η ]
//!                                                                      [ i sin η   cos η ]
//! ```
//!
//! Nothing is decomposed: phases are drawn, which is enough to see how errors add up. To first
//! order each splitter contributes `2 α²` to `‖ΔU‖²` and each phase `δ²`, whatever the phases are;
//! so N (N − 1) of either, with deviations σ, give
//!
//! ```text
//! ‖ΔU‖ / √N = √(2 (N − 1)) σ_splitter      and      √(N − 1) σ_phase
//! ```
//!
//! where a crossbar, in which light meets one cell, has the relative error σ whatever its size.

use crate::fidelity::ComplexMatrix;
use crate::uniform::Uniforms;
use litecore_kernels::normal::standard_normal;
use litecore_types::Seed;
use std::f64::consts::{FRAC_PI_4, TAU};

/// A mesh with the phases and splitters that it has.
#[derive(Clone, Debug, PartialEq)]
pub struct Mesh {
    guides: usize,
    /// In the order that light meets them.
    interferometers: Vec<Interferometer>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Interferometer {
    /// The upper of its two guides.
    guide: usize,
    /// θ and φ.
    phases: [f64; 2],
    /// α₁ and α₂.
    splitters: [f64; 2],
}

/// Standard deviations of what a mesh has wrong, each independent of the others.
///
/// Units: radians.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MeshErrors {
    /// Of a splitter's angle from π/4.
    pub splitter_rad: f64,
    /// Of a phase from what was programmed.
    pub phase_rad: f64,
}

impl Mesh {
    /// A mesh of even splitters and of phases drawn uniformly over the whole turn.
    pub fn random(guides: usize, seed: Seed) -> Self {
        let mut stream = Uniforms::new(seed.key("mesh phases", 0));
        let interferometers = (0..guides)
            .flat_map(|column| (column % 2..guides.saturating_sub(1)).step_by(2))
            .map(|guide| Interferometer {
                guide,
                phases: [TAU * stream.unit(), TAU * stream.unit()],
                splitters: [0.0; 2],
            })
            .collect();
        Self { guides, interferometers }
    }

    /// The same mesh, made with errors.
    #[must_use]
    pub fn with_errors(&self, errors: MeshErrors, seed: Seed) -> Self {
        let splitter_key = seed.key("mesh splitters", 0);
        let phase_key = seed.key("mesh phase errors", 0);
        let draw = |key, index: u64| f64::from(standard_normal(key, index));
        let mut mesh = self.clone();
        for (index, interferometer) in (0..).step_by(2).zip(&mut mesh.interferometers) {
            for (index, splitter) in (index..).zip(&mut interferometer.splitters) {
                *splitter += errors.splitter_rad * draw(splitter_key, index);
            }
            for (index, phase) in (index..).zip(&mut interferometer.phases) {
                *phase += errors.phase_rad * draw(phase_key, index);
            }
        }
        mesh
    }

    /// How many interferometers there are: N (N − 1) / 2.
    pub fn interferometers(&self) -> usize {
        self.interferometers.len()
    }

    /// What the mesh does to the fields of its guides.
    pub fn matrix(&self) -> ComplexMatrix {
        let mut matrix = ComplexMatrix::identity(self.guides);
        for interferometer in &self.interferometers {
            matrix.combine_rows(interferometer.guide, interferometer.transfer());
        }
        matrix
    }
}

impl Interferometer {
    /// Its matrix, multiplied out.
    fn transfer(&self) -> [[(f64, f64); 2]; 2] {
        let [theta, phi] = self.phases.map(pxfm::f_sincos);
        let [(s1, c1), (s2, c2)] = self.splitters.map(|alpha| pxfm::f_sincos(FRAC_PI_4 + alpha));
        let (theta, phi) = ((theta.1, theta.0), (phi.1, phi.0));
        // S₂ · diag(e^iθ, 1) · S₁, before the outer phase.
        let inner = [
            [
                (c1 * c2 * theta.0 - s1 * s2, c1 * c2 * theta.1),
                times_i((s1 * c2 * theta.0 + c1 * s2, s1 * c2 * theta.1)),
            ],
            [
                times_i((c1 * s2 * theta.0 + s1 * c2, c1 * s2 * theta.1)),
                (c1 * c2 - s1 * s2 * theta.0, -s1 * s2 * theta.1),
            ],
        ];
        inner.map(|[first, second]| [times(first, phi), second])
    }
}

fn times(a: (f64, f64), b: (f64, f64)) -> (f64, f64) {
    (a.0 * b.0 - a.1 * b.1, a.0 * b.1 + a.1 * b.0)
}

fn times_i(a: (f64, f64)) -> (f64, f64) {
    (-a.1, a.0)
}

/// Loss on the longest path through two meshes of N columns with a column of attenuators between
/// them, which is what a general matrix takes: 2N + 1 stages.
///
/// Units: decibels, of power.
pub fn mesh_loss_db(guides: usize, stage_db: f64) -> f64 {
    (2.0 * guides as f64 + 1.0) * stage_db
}

/// The loss of one stage at which a mesh's losses eat up its advantage over a crossbar of the same
/// size, whose combiner costs a factor of N: `10 log10(N) / (2N)`, for stages that are many.
///
/// Units: decibels, of power.
pub fn stage_loss_at_par_db(guides: usize) -> f64 {
    let guides = guides as f64;
    10.0 * pxfm::f_log10(guides) / (2.0 * guides)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mesh_is_unitary_and_reaches_from_every_guide_to_every_other() {
        for guides in [2, 3, 8, 9] {
            let errors = MeshErrors { splitter_rad: 0.3, phase_rad: 0.5 };
            let ideal = Mesh::random(guides, Seed(4));
            assert_eq!(ideal.interferometers(), guides * (guides - 1) / 2);
            for matrix in [ideal.matrix(), ideal.with_errors(errors, Seed(1)).matrix()] {
                for i in 0..guides {
                    for j in 0..guides {
                        let (re, im) = inner_product(&matrix, i, j);
                        let expected = f64::from(i == j);
                        assert!((re - expected).abs() < 1e-13 && im.abs() < 1e-13);
                        let (re, im) = matrix.at(i, j);
                        assert!(re * re + im * im > 1e-9, "no light from {j} to {i}");
                    }
                }
            }
        }
    }

    fn inner_product(matrix: &ComplexMatrix, i: usize, j: usize) -> (f64, f64) {
        (0..matrix.columns()).fold((0.0, 0.0), |sum, column| {
            let (a, b) = (matrix.at(i, column), matrix.at(j, column));
            let term = times(a, (b.0, -b.1));
            (sum.0 + term.0, sum.1 + term.1)
        })
    }

    #[test]
    fn one_interferometer_is_the_product_of_its_four_parts() {
        let part = Interferometer { guide: 0, phases: [0.7, -1.9], splitters: [0.1, -0.2] };
        let splitter = |alpha: f64| {
            let (sin, cos) = pxfm::f_sincos(FRAC_PI_4 + alpha);
            [[(cos, 0.0), (0.0, sin)], [(0.0, sin), (cos, 0.0)]]
        };
        let phase = |angle: f64| {
            let (sin, cos) = pxfm::f_sincos(angle);
            [[(cos, sin), (0.0, 0.0)], [(0.0, 0.0), (1.0, 0.0)]]
        };
        let mut product = ComplexMatrix::identity(2);
        for factor in [phase(-1.9), splitter(0.1), phase(0.7), splitter(-0.2)] {
            product.combine_rows(0, factor);
        }
        let mut at_once = ComplexMatrix::identity(2);
        at_once.combine_rows(0, part.transfer());
        assert!(product.relative_error(&at_once).unwrap() < 1e-15);
    }

    #[test]
    fn an_interferometer_at_half_a_turn_passes_and_at_none_crosses() {
        let part = |theta| Interferometer { guide: 0, phases: [theta, 0.0], splitters: [0.0; 2] };
        let power = |(re, im): (f64, f64)| re * re + im * im;
        let bar = part(std::f64::consts::PI).transfer();
        assert!((power(bar[0][0]) - 1.0).abs() < 1e-15 && power(bar[0][1]) < 1e-30);
        let cross = part(0.0).transfer();
        assert!(power(cross[0][0]) < 1e-30 && (power(cross[0][1]) - 1.0).abs() < 1e-15);
    }

    #[test]
    fn a_mesh_without_guides_or_with_one_has_nothing_in_it() {
        for guides in [0, 1] {
            let mesh = Mesh::random(guides, Seed(0));
            assert_eq!((mesh.interferometers(), mesh.matrix().rows()), (0, guides));
        }
    }
}
