//! What an array's static errors make of a programmed tile: one real matrix, made once per load.
//!
//! The operands of row k are `m_k (x₁, x₂)`, the cell turns them by its effective weight, the column
//! sums, and the receiver shows `h_j (Re E, Im E)`; `m_k` and `h_j` are real 2 × 2 matrices. All of
//! this is linear over the reals, so it folds into one real tile, and what does not depend on the
//! inputs folds into one offset per output.

mod cells;
mod crosstalk;
mod film;
mod memo;
mod quadratures;
mod ring;
mod splitter;
mod stray;
mod streamed;

pub(crate) use cells::{age_share, reflected_power, splitter_stages};
pub(crate) use crosstalk::{drive_statistics, neighbor_share, neighbor_sums};
pub(crate) use film::{faded, full_scale, level_count};
pub(crate) use ring::{Detuning, mean_square_error as ring_mean_square_error};
pub(crate) use stray::crossing_power;
pub(crate) use streamed::StreamedErrors;

use crate::packing::Packing;
use crate::{Term, Terms};
use cells::Cells;
use crosstalk::Heat;
use film::Film;
use litecore_kernels::cells::{self as kernels, Parts};
use litecore_kernels::normal::standard_normals;
use litecore_kernels::s2::PackedMatrix;
use litecore_types::Seed;
use litecore_types::chip::ChipDescription;
use quadratures::{Matrix, Quadratures};
use ring::RingErrors;
use stray::Stray;

/// The complex weights of all cells, in codes; row-major, the column runs fastest.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Planes {
    pub(crate) re: Vec<f32>,
    pub(crate) im: Vec<f32>,
}

/// Everything static that is wrong with one array, whatever tile it holds.
pub(crate) struct ArrayErrors {
    columns: usize,
    packing: Packing,
    cells: Option<Cells>,
    film: Option<Film>,
    rings: Option<RingErrors>,
    heat: Option<Heat>,
    stray: Option<Stray>,
    quadratures: Quadratures,
}

/// A real tile and what it adds without any input.
pub(crate) struct Folded {
    /// Real inputs × (I of all columns, then Q of all columns where it is read).
    pub(crate) tile: PackedMatrix,
    /// One number for each output, in units of the exact sum.
    pub(crate) offsets: Vec<f32>,
}

/// Where the static errors of one array are drawn from.
#[derive(Clone, Copy)]
pub(crate) struct Origin<'a> {
    pub(crate) chip: &'a ChipDescription,
    pub(crate) terms: Terms,
    pub(crate) seed: Seed,
    pub(crate) array: u16,
    pub(crate) age_s: f64,
    /// Columns that are realised: the first so many of the array's.
    pub(crate) columns: usize,
}

impl Origin<'_> {
    /// `count` standard normals of a term; other parts of the term have other numbers.
    fn normals(&self, term: Term, part: u64, count: usize) -> Vec<f32> {
        let key = self.seed.branch("cell", u64::from(self.array)).key(term.name(), part);
        let mut normals = vec![0.0; count];
        standard_normals(key, 0, &mut normals);
        normals
    }

    /// One standard normal for each cell that is realised, row-major. Those of a column are the same
    /// whether others are realised or not.
    fn normals_of_cells(&self, term: Term, part: u64) -> Vec<f32> {
        let (rows, all) = (self.chip.array.inputs, self.chip.array.outputs);
        if self.columns == all {
            return self.normals(term, part, rows * all);
        }
        let key = self.seed.branch("cell", u64::from(self.array)).key(term.name(), part);
        let mut normals = vec![0.0; rows * self.columns];
        for (row, normals) in (0..).zip(normals.chunks_exact_mut(self.columns)) {
            standard_normals(key, row * all as u64, normals);
        }
        normals
    }

    /// The strength of a term: zero where it is off.
    fn strength(&self, term: Term, value: f64) -> f64 {
        if self.terms.contains(term) { value } else { 0.0 }
    }
}

impl ArrayErrors {
    /// The errors of one array, drawn from the chip's seed.
    pub(crate) fn draw(origin: Origin<'_>, packing: Packing) -> Self {
        let heat = Heat::of(origin, packing);
        Self {
            columns: origin.columns,
            packing,
            cells: Cells::draw(origin, packing),
            film: Film::draw(origin, packing),
            rings: RingErrors::draw(origin, packing, heat.is_some()),
            heat,
            stray: Stray::draw(origin, packing),
            quadratures: Quadratures::draw(origin, packing),
        }
    }

    /// Whether any tile differs from what is programmed.
    pub(crate) fn err(&self) -> bool {
        self.cells.is_some()
            || self.film.is_some()
            || self.rings.is_some()
            || self.heat.is_some()
            || self.stray.is_some()
            || self.quadratures.err()
    }

    /// The size of the oscillator's intensity noise in each output, as a sign.
    pub(crate) fn pair_signs(&self) -> &[f32] {
        self.quadratures.pair_signs()
    }

    /// The relative error of each real input's half-wave voltage, if there is any.
    pub(crate) fn transfer_errors(&self) -> Option<&[f32]> {
        self.quadratures.transfer_errors()
    }

    /// What the array makes of programmed weights: row by row, which stays in the nearest cache.
    pub(crate) fn fold(&self, mut planes: Planes) -> Folded {
        let columns = self.columns;
        let rows = planes.re.len() / columns;
        let heat = self.heat.as_ref().map(|heat| (heat, heat.drives(&planes)));
        let mut phases = vec![0.0; columns];
        let mut emitted = Emitted::new(self, rows);
        let weights = planes.re.chunks_exact_mut(columns).zip(planes.im.chunks_exact_mut(columns));
        for (row, (re, im)) in weights.enumerate() {
            let first = row * columns;
            if let Some((heat, drives)) = &heat {
                heat.phases(drives, row, &mut phases);
            }
            let phases = heat.is_some().then_some(&phases[..]);
            if let Some(film) = &self.film {
                film.apply(first, re, im);
            }
            if let Some(rings) = &self.rings {
                rings.apply(first, re, im, phases);
            }
            if let Some(cells) = &self.cells {
                cells.apply(first, re, im);
            }
            // Rings have been detuned by the heat; all other cells turn.
            if let Some(phases) = phases.filter(|_| self.rings.is_none()) {
                kernels::turn(phases, re, im);
            }
            if let Some(stray) = &self.stray {
                stray.add(first, re, im);
            }
            emitted.row(row, re, im);
        }
        emitted.folded()
    }

    /// What the receivers show of one row of fields times one operand.
    fn show(&self, re: &[f32], im: &[f32], operand: (f32, f32), out: &mut [f32]) {
        let parts = out.chunks_exact_mut(re.len()).zip(self.quadratures.seen());
        for (out, (of_re, of_im)) in parts {
            let (cells, seen) = (Parts { re, im }, Parts { re: of_re, im: of_im });
            kernels::show(operand, cells, seen, out);
        }
    }
}

/// The real tile of effective complex weights, row by row.
struct Emitted<'a> {
    errors: &'a ArrayErrors,
    rows: usize,
    tile: PackedMatrix,
    shown: Vec<f32>,
    leak: Planes,
}

impl<'a> Emitted<'a> {
    fn new(errors: &'a ArrayErrors, rows: usize) -> Self {
        let (columns, packing) = (errors.columns, errors.packing);
        let width = if packing.reads_quadrature() { 2 * columns } else { columns };
        let inputs = if packing.drives_quadrature() { 2 * rows } else { rows };
        Self {
            errors,
            rows,
            tile: PackedMatrix::zeros(inputs, width),
            shown: vec![0.0; width],
            leak: Planes { re: vec![0.0; columns], im: vec![0.0; columns] },
        }
    }

    fn row(&mut self, row: usize, re: &[f32], im: &[f32]) {
        let quadratures = &self.errors.quadratures;
        let Matrix { i_of_i, i_of_q, q_of_i, q_of_q } = quadratures.row(row);
        // The two real drives enter as these complex operands.
        let drives = [(row, i_of_i, q_of_i), (row + self.rows, i_of_q, q_of_q)];
        let two_inputs = self.errors.packing.drives_quadrature();
        for (input, z_re, z_im) in &drives[..=usize::from(two_inputs)] {
            self.errors.show(re, im, (*z_re, *z_im), &mut self.shown);
            self.tile.set_input(*input, &self.shown);
        }
        if let Some((z_re, z_im)) = quadratures.leak(row) {
            let Planes { re: leak_re, im: leak_im } = &mut self.leak;
            kernels::add_under((z_re, z_im), Parts { re, im }, leak_re, leak_im);
        }
    }

    fn folded(self) -> Folded {
        let mut offsets = vec![0.0; self.shown.len()];
        self.errors.show(&self.leak.re, &self.leak.im, (1.0, 0.0), &mut offsets);
        Folded { tile: self.tile, offsets }
    }
}

/// The nearest number in single precision.
#[allow(clippy::cast_possible_truncation, reason = "rounding to the nearest is meant")]
pub(crate) fn single(x: f64) -> f32 {
    x as f32
}
