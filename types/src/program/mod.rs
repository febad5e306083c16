//! Programs: what the compiler makes, the verifier admits, and a card executes.
//!
//! A [`Program`] computes one function of a vector, on any number of vectors (symbols) up to
//! [`Program::symbols_max`]: usually one expert. It holds weight codes ([`Tile`]), constants,
//! card-memory buffers, and steps. Steps are listed in an order that each engine keeps; beyond
//! that, a step waits for the steps in its `after` list and for nothing else. A step works on a
//! range of the run's symbols ([`Symbols`]); one whose range a run does not reach is dropped.
//! Durations are not stored: they follow from the chip ([`crate::chip::timing`]).
//!
//! # The meaning of a tile
//!
//! A tile is a real matrix; its [`Packing`] says how many inputs and outputs it has on an array of N
//! rows and M columns, and how they lie in the cells. Whatever the packing, a tile means:
//!
//! ```text
//! acc[j]  = sum over the inputs k of  x[k] * w[k][j]                     exact
//! code[j] = saturate(round_half_even(acc[j] / 2^shift), adc_bits)
//! P[j]   += code[j] << accumulate_shift
//! ```

mod one_tile;
mod order;
mod packing;
mod regions;
mod symbols;
mod text;
mod verify;
mod violation;

pub use one_tile::OneTile;
pub use order::{Finished, Lane, ORDER_MAX};
pub use packing::Packing;
pub use symbols::Symbols;
pub use text::ParseProgramError;
pub use verify::{VerifiedLayout, VerifiedProgram};
pub use violation::Violation;

use std::fmt;
use std::sync::Arc;

/// Index of a buffer in a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BufferId(pub u32);

/// Index of a tile in a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TileId(pub u32);

/// Index of a constant table in a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TableId(pub u32);

/// Index of a step in a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StepIndex(pub u32);

/// What the elements of a buffer are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ElementKind {
    /// IEEE single precision, 4 bytes.
    F32,
    /// Signed converter code, 1 byte.
    Code,
    /// Signed partial sum, 4 bytes.
    Accumulator,
}

impl ElementKind {
    /// Bytes of one element.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 | Self::Accumulator => 4,
            Self::Code => 1,
        }
    }
}

/// A piece of card memory: `len` elements for each symbol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// What the elements are.
    pub kind: ElementKind,
    /// Elements per symbol.
    pub len: usize,
    /// First byte in card memory; the buffer takes `bytes_per_symbol() * symbols_max` bytes.
    pub address: u64,
}

impl Buffer {
    /// Bytes for one symbol.
    pub fn bytes_per_symbol(&self) -> usize {
        self.len * self.kind.bytes()
    }
}

/// Weight codes for one bank of one array.
///
/// Shape: inputs × outputs of the packing, the output index runs fastest; unused rows and columns
/// are zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tile {
    /// How the codes lie in the cells.
    pub packing: Packing,
    /// The codes, `codes[k * outputs + j]`.
    pub codes: Vec<i8>,
}

impl Tile {
    /// Codes that a load writes to the drivers: each once, also where it stands twice.
    pub fn loaded_codes(&self) -> usize {
        self.codes.len() / self.packing.copies()
    }
}

/// One step of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What is done.
    pub action: Action,
    /// For which symbols. For [`Action::LoadBank`] and [`Action::Settle`]: those of the streams
    /// they are for, so that they are dropped together.
    pub symbols: Symbols,
    /// Steps that must have finished first; ascending. Shared with the same step of other programs.
    pub after: Arc<[StepIndex]>,
}

impl Step {
    /// A step on all symbols of a run.
    pub fn new(action: Action, after: impl Into<Arc<[StepIndex]>>) -> Self {
        Self { action, symbols: Symbols::ALL, after: after.into() }
    }

    /// Whether it differs from another in nothing but its gains.
    pub fn is_like(&self, other: &Self) -> bool {
        let (own, others) = (self.action.without_gain(), other.action.without_gain());
        own == others && self.symbols == other.symbols && self.after == other.after
    }

    /// The step with its gains set to zero.
    #[must_use]
    pub fn without_gain(&self) -> Self {
        Self { action: self.action.without_gain(), ..self.clone() }
    }
}

/// What a step does, to each symbol of its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Copies the input vectors from the host into `to` (F32).
    MoveIn {
        /// Destination.
        to: BufferId,
    },
    /// Turns each vector of `from` (F32) into codes with one scale per vector.
    ///
    /// `scale = absmax / limit`, `code = clamp(round_half_even(x * (limit / absmax)))`, where
    /// `limit` is the chip's input limit and every operation is in f32. Where `limit / absmax` is
    /// infinite, all codes and the scale are zero: so it is for a zero vector, and for one whose
    /// largest magnitude is below about `limit / f32::MAX`, 3.7e-37 for a limit of 127.
    Quantise {
        /// Source.
        from: BufferId,
        /// Codes, same length.
        to: BufferId,
        /// One F32 per symbol.
        scale: BufferId,
    },
    /// Writes a tile's codes to the drivers of a bank.
    LoadBank {
        /// Which array.
        array: u16,
        /// Which bank of it.
        bank: u16,
        /// What to load.
        tile: TileId,
    },
    /// Connects a bank to the cells and waits until they are within their stated error.
    ///
    /// A bank is a set of drivers; the cells are the same for all banks of an array.
    Settle {
        /// Which array.
        array: u16,
        /// Which bank of it.
        bank: u16,
    },
    /// Streams a slice of `from` as long as the tile's inputs through a bank, samples every column,
    /// and accumulates `code << accumulate_shift` into a slice of `to` as long as the tile's outputs
    /// (set, not added, if `first`).
    ///
    /// Inputs beyond the end of `from` are zero; columns beyond the end of `to` are dropped.
    Stream {
        /// Which array.
        array: u16,
        /// Which bank of it.
        bank: u16,
        /// The tile the bank must hold.
        tile: TileId,
        /// Codes.
        from: BufferId,
        /// First code of the slice.
        from_offset: u32,
        /// Analog gain: the ADC's step is `2^shift` units of the exact sum.
        shift: u8,
        /// Accumulators.
        to: BufferId,
        /// First accumulator of the slice.
        to_offset: u32,
        /// Left shift of the code before it is added.
        accumulate_shift: u8,
        /// Whether this is the first contribution to these accumulators.
        first: bool,
    },
    /// `to[j] = (P[j] as f32 * scale) * table[j]`, for each symbol with its own scale.
    Dequantise {
        /// Accumulators.
        from: BufferId,
        /// One F32 per symbol.
        scale: BufferId,
        /// One F32 per output.
        table: TableId,
        /// F32, same length.
        to: BufferId,
    },
    /// `to = silu(gate) * up`, element by element, all F32.
    SwiGlu {
        /// Gate projection.
        gate: BufferId,
        /// Up projection.
        up: BufferId,
        /// Product.
        to: BufferId,
    },
    /// Scales and rotates a vector: `to = H (from * table)`, all F32.
    ///
    /// First every element is multiplied by its constant. Then, in every block of `block` elements,
    /// for strides 1, 2, 4 up to half the block, each pair `(a, b)` a stride apart becomes
    /// `(a + b, a - b)`: a Walsh–Hadamard matrix without its factor, which belongs into `table`. With
    /// blocks of one element nothing is rotated.
    Rotate {
        /// Source.
        from: BufferId,
        /// One F32 per element.
        table: TableId,
        /// Elements that are rotated together: a power of two that divides the length.
        block: u32,
        /// F32, same length.
        to: BufferId,
    },
    /// Copies `from` (F32) to the host as the output vectors.
    MoveOut {
        /// Source.
        from: BufferId,
    },
}

impl Action {
    fn without_gain(mut self) -> Self {
        if let Self::Stream { shift, accumulate_shift, .. } = &mut self {
            (*shift, *accumulate_shift) = (0, 0);
        }
        self
    }
}

/// A program as the compiler emits it; see [`VerifiedProgram`] for one that may be loaded.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    /// What it computes, for reports.
    pub name: String,
    /// The chip model it is compiled for.
    pub chip: String,
    /// Physical rows of that chip's arrays.
    pub rows: usize,
    /// Physical columns of that chip's arrays.
    pub columns: usize,
    /// Most symbols in one run; buffers are allocated for this many.
    pub symbols_max: u64,
    /// Multiply-accumulates of the user's matrices per symbol; padding is not counted.
    pub useful_macs_per_symbol: u64,
    /// Card memory.
    pub buffers: Vec<Buffer>,
    /// Weights.
    pub tiles: Vec<Tile>,
    /// Constants.
    pub tables: Vec<Vec<f32>>,
    /// What to do.
    pub steps: Vec<Step>,
}

impl Program {
    /// Inputs and outputs of the tile `id`. Panics: as [`Program::tile`].
    pub fn tile_shape(&self, id: TileId) -> (usize, usize) {
        let packing = self.tile(id).packing;
        (packing.inputs(self.rows), packing.outputs(self.columns))
    }

    /// The buffer `id`. Panics: if there is none; a verified program has all it names.
    pub fn buffer(&self, id: BufferId) -> &Buffer {
        &self.buffers[id.0 as usize]
    }

    /// The tile `id`. Panics: if there is none; a verified program has all it names.
    pub fn tile(&self, id: TileId) -> &Tile {
        &self.tiles[id.0 as usize]
    }

    /// The table `id`. Panics: if there is none; a verified program has all it names.
    pub fn table(&self, id: TableId) -> &[f32] {
        &self.tables[id.0 as usize]
    }

    /// Length of the input vectors: of the first buffer that is moved in.
    pub fn input_len(&self) -> usize {
        self.steps
            .iter()
            .find_map(|step| match step.action {
                Action::MoveIn { to } => self.buffers.get(to.0 as usize).map(|b| b.len),
                _ => None,
            })
            .unwrap_or(0)
    }

    /// Length of the output vectors: of the buffer that is moved out.
    pub fn output_len(&self) -> usize {
        self.steps
            .iter()
            .find_map(|step| match step.action {
                Action::MoveOut { from } => self.buffers.get(from.0 as usize).map(|b| b.len),
                _ => None,
            })
            .unwrap_or(0)
    }

    /// Bytes of weight codes.
    pub fn weight_bytes(&self) -> u64 {
        self.tiles.iter().map(|tile| tile.codes.len() as u64).sum()
    }
}

impl fmt::Display for StepIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step {}", self.0)
    }
}
