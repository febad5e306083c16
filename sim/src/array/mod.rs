//! One array of cells: tiles are loaded, symbols go through, converter codes come out.
//!
//! Loading folds every static error into one real matrix ([`crate::Term`] says which are static).
//! Streaming is then one real product, and one pass over the outputs for noise and conversion. The
//! noise of a symbol is a function of the model's seed, the stream's key and the symbol's tag, and
//! of nothing else: not of its batch, not of the tiles loaded before.
//!
//! One exception is physics: with [`crate::Term::Isi`] a symbol shows some of the one before it in
//! the same call and on the same wavelength. A call begins in the dark.

mod stream;
mod tile;

pub(crate) use stream::Stream as NoiseStream;
pub(crate) use tile::Form;
pub use tile::LoadedTile;

use crate::Terms;
use crate::dynamic::{Draws, Dynamics};
use crate::fold::{ArrayErrors, Folded, Origin, single};
use crate::noise::{Normals, SymbolCommons};
use crate::packing::Packing;
use crate::streamed::Streamed;
use litecore_kernels::codes;
use litecore_types::Seed;
use litecore_types::chip::{ChipDescription, Dataflow, Readout};
use std::collections::BTreeMap;
use stream::Stream;
use tile::{planes, powers, real_tile};

/// Why a chip, a packing and a tile do not go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArrayError {
    /// The packing reads both quadratures, the receivers only one.
    #[error(
        "packing {packing} reads both quadratures: set receiver.readout = iq, or take single or conjugate"
    )]
    NeedsQuadrature {
        /// The packing.
        packing: Packing,
    },
    /// Not as many weights as a tile has.
    #[error("{found} weights were given where a tile has {expected}")]
    WeightsLength {
        /// How many a tile has.
        expected: usize,
        /// How many were given.
        found: usize,
    },
    /// A matrix for [`Packing::Complex`] is not of the form `[[a, b], [-b, a]]`.
    #[error("the four weights of cell ({row}, {column}) are not those of a complex number")]
    NotComplex {
        /// The physical row.
        row: usize,
        /// The physical column.
        column: usize,
    },
}

/// The arrays of a chip in one packing, with the impairments that are on.
///
/// Memory: eight bytes and more for each cell of each array in use; tiles belong to the caller.
pub struct ArrayModel {
    chip: ChipDescription,
    terms: Terms,
    seed: Seed,
    packing: Packing,
    draws: Draws,
    age_s: f64,
    /// Columns that are realised.
    columns: usize,
    dynamics: Dynamics,
    arrays: BTreeMap<u16, ArrayErrors>,
    /// What an output-stationary chip has instead.
    streamed: Option<Streamed>,
    curve: Box<[f32; 256]>,
    scratch: Scratch,
}

/// Buffers that live from call to call.
#[derive(Default)]
struct Scratch {
    inputs: Vec<f32>,
    strengths: Vec<f32>,
    exact: Vec<i32>,
    sums: Vec<f32>,
    noise: Vec<f32>,
    /// The last sums on each wavelength, where symbols mix.
    before: Vec<f32>,
    /// For each row of normals, the variances that no symbol changes.
    floors: Vec<Vec<f32>>,
    /// For each row of normals, its name and its share of the field.
    fields: Vec<(Stream, f32)>,
    commons: Vec<SymbolCommons>,
    normals: Normals,
}

impl ArrayModel {
    /// The arrays of a chip; the seed makes them one instance of their kind.
    ///
    /// Errors: [`ArrayError::NeedsQuadrature`].
    pub fn new(
        chip: &ChipDescription,
        terms: Terms,
        seed: Seed,
        packing: Packing,
    ) -> Result<Self, ArrayError> {
        if packing.reads_quadrature() && chip.receiver.readout == Readout::I {
            return Err(ArrayError::NeedsQuadrature { packing });
        }
        Ok(Self::of_any(chip, terms, seed, packing))
    }

    pub(crate) fn of_any(
        chip: &ChipDescription,
        terms: Terms,
        seed: Seed,
        packing: Packing,
    ) -> Self {
        Self {
            terms,
            seed,
            packing,
            draws: Draws::default(),
            age_s: chip.cell.age_s.value,
            columns: chip.array.outputs,
            dynamics: Dynamics::of(chip, terms, packing),
            arrays: BTreeMap::new(),
            streamed: (chip.array.dataflow == Dataflow::OutputStationary)
                .then(|| Streamed::of(chip, terms, packing, transfer_curve)),
            curve: transfer_curve(chip.input_limit()),
            scratch: Scratch::default(),
            chip: chip.clone(),
        }
    }

    /// Chooses how noise is drawn.
    #[must_use]
    pub fn with_draws(mut self, draws: Draws) -> Self {
        self.draws = draws;
        self
    }

    /// Realises the first so many columns of each array, all rows, in every call from now on; at
    /// least one. They are as in the whole array, but that heat from columns beyond the last is left
    /// out, and that the noise of Q is of other draws. Output-stationary arrays are realised whole.
    #[must_use]
    pub fn with_columns(mut self, columns: usize) -> Self {
        if self.streamed.is_none() {
            self.columns = columns.clamp(1, self.chip.array.outputs);
            self.arrays.clear();
        }
        self
    }

    /// Whether nothing errs: no term that is on has a strength, and codes are rounded exact sums.
    pub fn is_exact(&mut self, array: u16) -> bool {
        if let Some(streamed) = &mut self.streamed {
            let (chip, terms, seed, age_s, columns) =
                (&self.chip, self.terms, self.seed, self.age_s, self.columns);
            let origin = Origin { chip, terms, seed, array, age_s, columns };
            return !streamed.draws() && !streamed.errors_of(origin).err();
        }
        self.errors_of(array);
        let errors = &self.arrays[&array];
        !self.dynamics.err() && !errors.err() && errors.transfer_errors().is_none()
    }

    /// Sets the time since calibration and writing, for tiles loaded from now on. At first it is
    /// [`litecore_types::chip::Cell::age_s`], which closed forms go by.
    pub fn set_age(&mut self, age_s: f64) {
        self.age_s = age_s.max(0.0);
        self.arrays.clear();
        if let Some(streamed) = &mut self.streamed {
            streamed.clear();
        }
    }

    /// The packing.
    pub fn packing(&self) -> Packing {
        self.packing
    }

    /// Real numbers that go in with each symbol.
    pub fn inputs_per_symbol(&self) -> usize {
        let rows = self.chip.array.inputs;
        if self.packing.drives_quadrature() { 2 * rows } else { rows }
    }

    /// Converter codes that come out with each symbol: I of all columns, then Q of all columns where
    /// it is read.
    pub fn outputs_per_symbol(&self) -> usize {
        let columns = self.columns;
        if self.packing.reads_quadrature() { 2 * columns } else { columns }
    }

    /// Weights in a tile: see [`crate::packing::Layout::cells`] for their order.
    pub fn weights_per_tile(&self) -> usize {
        let cells = self.chip.array.inputs * self.columns;
        match self.packing {
            Packing::Single | Packing::Tokens => cells,
            Packing::Rows | Packing::Conjugate => 2 * cells,
            Packing::Complex => 4 * cells,
        }
    }

    /// Puts a tile into the cells of an array, or into the lanes that send it.
    ///
    /// Errors: [`ArrayError::WeightsLength`], [`ArrayError::NotComplex`].
    pub fn load(&mut self, array: u16, weights: &[i8]) -> Result<LoadedTile, ArrayError> {
        self.check(weights)?;
        let packing = self.packing;
        let (rows, columns) = (self.chip.array.inputs, self.columns);
        let planes = planes(packing, rows, columns, weights);
        let (squares, field) = powers(packing, rows, columns, &planes);
        let width = squares.len();
        if let Some(streamed) = &mut self.streamed {
            let (chip, terms, seed, age_s, columns) =
                (&self.chip, self.terms, self.seed, self.age_s, self.columns);
            let form = streamed.form(Origin { chip, terms, seed, array, age_s, columns }, planes);
            let form =
                form.unwrap_or_else(|| Form::Exact(real_tile(packing, rows, columns, weights)));
            return Ok(LoadedTile { array, form, offsets: Vec::new(), squares, field });
        }
        self.errors_of(array);
        let errors = &self.arrays[&array];
        if !errors.err() && errors.transfer_errors().is_none() {
            let form = Form::Exact(real_tile(packing, rows, columns, weights));
            return Ok(LoadedTile { array, form, offsets: vec![0.0; width], squares, field });
        }
        let Folded { tile, offsets } = errors.fold(planes);
        Ok(LoadedTile { array, form: Form::Analog(tile), offsets, squares, field })
    }

    /// Draws the errors of an array at its first use.
    fn errors_of(&mut self, array: u16) {
        let (chip, terms, seed, age_s, columns) =
            (&self.chip, self.terms, self.seed, self.age_s, self.columns);
        let draw =
            || ArrayErrors::draw(Origin { chip, terms, seed, array, age_s, columns }, self.packing);
        self.arrays.entry(array).or_insert_with(draw);
    }

    /// The exact integer sums of the same weights and inputs, in the order of [`Self::forward`].
    ///
    /// Errors: as [`Self::load`].
    /// Panics: if `x` is not a whole number of symbols.
    pub fn sums(&self, weights: &[i8], x: &[i8]) -> Result<Vec<i32>, ArrayError> {
        self.check(weights)?;
        let (rows, columns) = (self.chip.array.inputs, self.columns);
        let tile = real_tile(self.packing, rows, columns, weights);
        let (inputs, outputs) = (self.inputs_per_symbol(), self.outputs_per_symbol());
        let mut sums = vec![0; x.len() / inputs * outputs];
        codes::tile_product(&tile, inputs, outputs, x, &mut sums);
        Ok(sums)
    }

    fn check(&self, weights: &[i8]) -> Result<(), ArrayError> {
        let (expected, found) = (self.weights_per_tile(), weights.len());
        if expected != found {
            return Err(ArrayError::WeightsLength { expected, found });
        }
        if self.packing == Packing::Complex {
            let (rows, columns) = (self.chip.array.inputs, self.columns);
            let (upper, lower) = weights.split_at(2 * rows * columns);
            for (row, (upper, lower)) in
                upper.chunks_exact(2 * columns).zip(lower.chunks_exact(2 * columns)).enumerate()
            {
                for column in 0..columns {
                    let (a, b) = (upper[column], upper[column + columns]);
                    let same = lower[column + columns] == a;
                    if !same || i16::from(lower[column]) != -i16::from(b) {
                        return Err(ArrayError::NotComplex { row, column });
                    }
                }
            }
        }
        Ok(())
    }
}

/// `asin(x) sqrt(1 − x²)` for every code, in codes: what the sine law makes of a small relative
/// error in half-wave voltage after it is undone.
fn transfer_curve(limit: i32) -> Box<[f32; 256]> {
    let mut curve = Box::new([0.0; 256]);
    for (byte, value) in (0_u8..=255).zip(curve.iter_mut()) {
        let x = (f64::from(byte.cast_signed()) / f64::from(limit)).clamp(-1.0, 1.0);
        *value = single(f64::from(limit) * pxfm::f_asin(x) * (1.0 - x * x).sqrt());
    }
    curve
}
