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
pub(crate) use crosstalk::{drive_statistics, neighbor_share, neighbor_sums, sin_cos};
pub(crate) use film::{faded, full_scale, level_count};
pub(crate) use ring::{Detuning, mean_square_error as ring_mean_square_error};
pub(crate) use stray::crossing_power;
pub(crate) use streamed::StreamedErrors;

use crate::packing::Packing;
use crate::{Term, Terms};
use cells::Cells;
use crosstalk::Heat;
use film::Film;
use litecore_kernels::normal::standard_normals;
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
    /// Row-major, real inputs × (I of all columns, then Q of all columns where it is read).
    pub(crate) tile: Vec<f32>,
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
}

impl Origin<'_> {
    /// `count` standard normals of a term; other parts of the term have other numbers.
    fn normals(&self, term: Term, part: u64, count: usize) -> Vec<f32> {
        let key = self.seed.branch("cell", u64::from(self.array)).key(term.name(), part);
        let mut normals = vec![0.0; count];
        standard_normals(key, 0, &mut normals);
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
            columns: origin.chip.array.outputs,
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

    /// What the array makes of programmed weights.
    pub(crate) fn fold(&self, mut planes: Planes) -> Folded {
        let phases = self.heat.as_ref().map(|heat| heat.phases(&planes));
        if let Some(film) = &self.film {
            film.apply(&mut planes);
        }
        if let Some(rings) = &self.rings {
            rings.apply(&mut planes, phases.as_deref());
        }
        if let Some(cells) = &self.cells {
            cells.apply(&mut planes);
        }
        // Rings have been detuned by the heat; all other cells turn.
        if let Some(phases) = phases.filter(|_| self.rings.is_none()) {
            crosstalk::turn(&mut planes, &phases);
        }
        if let Some(stray) = &self.stray {
            stray.add(&mut planes);
        }
        self.emit(&planes)
    }

    /// The real tile of effective complex weights.
    fn emit(&self, planes: &Planes) -> Folded {
        let columns = self.columns;
        let rows = planes.re.len() / columns;
        let (two_inputs, two_outputs) =
            (self.packing.drives_quadrature(), self.packing.reads_quadrature());
        let width = if two_outputs { 2 * columns } else { columns };
        let inputs = if two_inputs { 2 * rows } else { rows };
        let mut tile = vec![0.0; inputs * width];
        let mut offsets = vec![0.0; width];
        let mut leak = Planes { re: vec![0.0; columns], im: vec![0.0; columns] };
        for row in 0..rows {
            let cells = row * columns..(row + 1) * columns;
            let (re, im) = (&planes.re[cells.clone()], &planes.im[cells]);
            let Matrix { i_of_i, i_of_q, q_of_i, q_of_q } = self.quadratures.row(row);
            // The two real drives enter as these complex operands.
            let drives = [(row, i_of_i, q_of_i), (row + rows, i_of_q, q_of_q)];
            for (input, z_re, z_im) in &drives[..=usize::from(two_inputs)] {
                let out = &mut tile[input * width..(input + 1) * width];
                self.show(re, im, (*z_re, *z_im), out);
            }
            if let Some((z_re, z_im)) = self.quadratures.leak(row) {
                for (column, (&re, &im)) in re.iter().zip(im).enumerate() {
                    leak.re[column] += re * z_re - im * z_im;
                    leak.im[column] += re * z_im + im * z_re;
                }
            }
        }
        self.show(&leak.re, &leak.im, (1.0, 0.0), &mut offsets);
        Folded { tile, offsets }
    }

    /// What the receivers show of one row of fields times one operand.
    fn show(&self, re: &[f32], im: &[f32], (z_re, z_im): (f32, f32), out: &mut [f32]) {
        let (in_phase, quadrature) = out.split_at_mut(re.len());
        let hybrids = self.quadratures.columns();
        for (((out, h), &re), &im) in in_phase.iter_mut().zip(hybrids).zip(re).zip(im) {
            let (e_re, e_im) = (re * z_re - im * z_im, re * z_im + im * z_re);
            *out = h.i_of_i * e_re + h.i_of_q * e_im;
        }
        for (((out, h), &re), &im) in quadrature.iter_mut().zip(hybrids).zip(re).zip(im) {
            let (e_re, e_im) = (re * z_re - im * z_im, re * z_im + im * z_re);
            *out = h.q_of_i * e_re + h.q_of_q * e_im;
        }
    }
}

/// The nearest number in single precision.
#[allow(clippy::cast_possible_truncation, reason = "rounding to the nearest is meant")]
pub(crate) fn single(x: f64) -> f32 {
    x as f32
}
