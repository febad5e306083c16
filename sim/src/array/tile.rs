//! Tiles: what is programmed, and what is kept of it.

use crate::fold::{Planes, single};
use crate::packing::Packing;
use litecore_kernels::s2::PackedMatrix;

/// A tile in the cells of an array, with all static errors in it.
#[derive(Clone, Debug)]
pub struct LoadedTile {
    pub(crate) array: u16,
    pub(crate) form: Form,
    /// What each output shows without any input, in units of the exact sum.
    pub(super) offsets: Vec<f32>,
    /// Each output's sum of squared coefficients.
    pub(crate) squares: Vec<f32>,
    /// Each output's `Σ|c|² / 2N`: times `Σ|z|²` it is the mean square of its field.
    pub(crate) field: Vec<f32>,
}

#[derive(Clone, Debug)]
pub(crate) enum Form {
    /// Nothing static errs: real inputs × outputs, in codes.
    Exact(Vec<i8>),
    /// What the cells hold.
    Analog(PackedMatrix),
}

impl LoadedTile {
    /// Bytes of memory that it takes.
    pub fn bytes(&self) -> usize {
        let weights = match &self.form {
            Form::Exact(weights) => weights.len(),
            Form::Analog(packed) => packed.bytes(),
        };
        weights + 4 * (self.offsets.len() + self.squares.len() + self.field.len())
    }
}

/// The complex weights that cells are programmed to.
pub(super) fn planes(packing: Packing, rows: usize, columns: usize, weights: &[i8]) -> Planes {
    let cells = rows * columns;
    let floats = |codes: &[i8]| codes.iter().map(|&code| f32::from(code)).collect::<Vec<f32>>();
    let halves = |part: usize| -> Vec<f32> {
        let rows = weights.chunks_exact(2 * columns).take(rows);
        rows.flat_map(|row| floats(&row[part * columns..(part + 1) * columns])).collect()
    };
    match packing {
        Packing::Single | Packing::Tokens => Planes { re: floats(weights), im: vec![0.0; cells] },
        Packing::Conjugate => {
            let im = weights[cells..].iter().map(|&code| -f32::from(code)).collect();
            Planes { re: floats(&weights[..cells]), im }
        }
        Packing::Rows | Packing::Complex => Planes { re: halves(0), im: halves(1) },
    }
}

/// The real tile in codes, real inputs × outputs.
pub(super) fn real_tile(packing: Packing, rows: usize, columns: usize, weights: &[i8]) -> Vec<i8> {
    if packing != Packing::Tokens {
        return weights.to_vec();
    }
    // Each vector has its own inputs and outputs.
    let mut tile = vec![0; 4 * rows * columns];
    for (row, weights) in weights.chunks_exact(columns).enumerate() {
        let first = row * 2 * columns;
        let second = (row + rows) * 2 * columns + columns;
        tile[first..first + columns].copy_from_slice(weights);
        tile[second..second + columns].copy_from_slice(weights);
    }
    tile
}

/// Each output's sum of squared coefficients, and its `Σ|c|² / 2N`.
pub(super) fn powers(
    packing: Packing,
    rows: usize,
    columns: usize,
    planes: &Planes,
) -> (Vec<f32>, Vec<f32>) {
    let sum = |plane: &[f32]| {
        let mut sums = vec![0.0_f32; columns];
        for row in plane.chunks_exact(columns) {
            for (sum, &weight) in sums.iter_mut().zip(row) {
                *sum += weight * weight;
            }
        }
        sums
    };
    let (re, im) = (sum(&planes.re), sum(&planes.im));
    let both: Vec<f32> = re.iter().zip(&im).map(|(re, im)| re + im).collect();
    let share = single(1.0 / (2.0 * rows as f64));
    let mut field: Vec<f32> = both.iter().map(|both| share * both).collect();
    let squares = match packing {
        Packing::Single | Packing::Conjugate => both,
        Packing::Tokens | Packing::Complex => both.repeat(2),
        Packing::Rows => [re, im].concat(),
    };
    if packing.reads_quadrature() {
        field.extend_from_within(..);
    }
    (squares, field)
}
