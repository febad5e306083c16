//! How the actions of a program compute: the scalar definition and the vector path.

use crate::codes::{self, NonFinite};
use crate::math;
use litecore_types::chip::ChipDescription;
use litecore_types::program::{Packing, StepIndex, TileId};

/// What the interpreter must know of a chip's converters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Converters {
    /// Largest magnitude of an input code.
    pub input_limit: i32,
    /// Output code width, sign included.
    pub adc_bits: u8,
}

impl Converters {
    /// The converters of `chip`.
    pub fn of(chip: &ChipDescription) -> Self {
        Self { input_limit: chip.input_limit(), adc_bits: chip.adc.bits }
    }
}

/// One pass of symbols through one tile.
#[derive(Clone, Copy, Debug)]
pub struct StreamCall<'a> {
    /// The step, for addressing noise and records.
    pub step: StepIndex,
    /// The position in the run of the first of these symbols.
    pub first_symbol: usize,
    /// The array the tile sits on.
    pub array: u16,
    /// The tile.
    pub tile: TileId,
    /// How its codes lie in the cells.
    pub packing: Packing,
    /// Its codes. Shape: `inputs × outputs`, outputs run fastest.
    pub weights: &'a [i8],
    /// Real inputs of the tile.
    pub inputs: usize,
    /// Outputs of the tile.
    pub outputs: usize,
    /// Input codes. Shape: `symbols × inputs`, inputs run fastest, zero padded.
    pub x: &'a [i8],
    /// The ADC's step is `2^shift` units of the exact sum.
    pub shift: u8,
}

/// How the actions of a program compute.
pub trait Arithmetic {
    /// Codes and scale of one vector, as `Action::Quantise` defines.
    fn quantise(&mut self, x: &[f32], codes: &mut [i8]) -> Result<f32, NonFinite>;

    /// ADC codes of one pass. Shape of `codes`: `symbols × outputs`, outputs run fastest.
    fn stream(&mut self, call: &StreamCall<'_>, codes: &mut [i32]);

    /// One vector, as `Action::Dequantise` defines.
    fn dequantise(&mut self, p: &[i32], scale: f32, table: &[f32], out: &mut [f32]);

    /// Element by element, as `Action::SwiGlu` defines.
    fn swiglu(&mut self, gate: &[f32], up: &[f32], out: &mut [f32]);

    /// One vector, as `Action::Rotate` defines.
    fn rotate(&mut self, x: &[f32], table: &[f32], block: usize, out: &mut [f32]);
}

/// The scalar definition of every action, written straight from their meaning.
#[derive(Clone, Debug)]
pub struct Reference {
    converters: Converters,
}

impl Reference {
    /// The definition for these converters.
    pub fn new(converters: Converters) -> Self {
        Self { converters }
    }
}

impl Arithmetic for Reference {
    #[allow(clippy::cast_possible_truncation, reason = "the value is clamped to the limit")]
    fn quantise(&mut self, x: &[f32], codes: &mut [i8]) -> Result<f32, NonFinite> {
        if let Some(index) = x.iter().position(|x| !x.is_finite()) {
            return Err(NonFinite { index });
        }
        let limit = self.converters.input_limit as f32;
        let absmax = x.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
        let inverse = limit / absmax;
        if !inverse.is_finite() {
            codes.fill(0);
            return Ok(0.0);
        }
        for (code, x) in codes.iter_mut().zip(x) {
            *code = (x * inverse).round_ties_even().clamp(-limit, limit) as i8;
        }
        Ok(absmax / limit)
    }

    #[allow(clippy::cast_possible_truncation, reason = "a converter is at most 16 bits wide")]
    fn stream(&mut self, call: &StreamCall<'_>, codes: &mut [i32]) {
        let highest = (1_i64 << (self.converters.adc_bits - 1)) - 1;
        let step = 1_i64 << call.shift;
        for (index, code) in codes.iter_mut().enumerate() {
            let (symbol, output) = (index / call.outputs, index % call.outputs);
            let sum: i64 = (0..call.inputs)
                .map(|k| {
                    let weight = i64::from(call.weights[k * call.outputs + output]);
                    weight * i64::from(call.x[symbol * call.inputs + k])
                })
                .sum();
            // Round half to even: twice the rest against the step decides, a tie takes the even.
            let (quotient, rest) = (sum.div_euclid(step), sum.rem_euclid(step));
            let up = 2 * rest > step || (2 * rest == step && quotient % 2 != 0);
            *code = (quotient + i64::from(up)).clamp(-highest - 1, highest) as i32;
        }
    }

    fn dequantise(&mut self, p: &[i32], scale: f32, table: &[f32], out: &mut [f32]) {
        for ((out, &p), &weight) in out.iter_mut().zip(p).zip(table) {
            *out = (p as f32 * scale) * weight;
        }
    }

    fn rotate(&mut self, x: &[f32], table: &[f32], block: usize, out: &mut [f32]) {
        for ((out, x), factor) in out.iter_mut().zip(x).zip(table) {
            *out = x * factor;
        }
        out.chunks_exact_mut(block).for_each(rotate_block);
    }

    fn swiglu(&mut self, gate: &[f32], up: &[f32], out: &mut [f32]) {
        for ((out, &gate), &up) in out.iter_mut().zip(gate).zip(up) {
            *out = math::silu(gate) * up;
        }
    }
}

/// A Walsh–Hadamard matrix times a block, from its definition: both halves, then their sum and
/// difference.
fn rotate_block(block: &mut [f32]) {
    if block.len() < 2 {
        return;
    }
    let (low, high) = block.split_at_mut(block.len() / 2);
    rotate_block(low);
    rotate_block(high);
    for (a, b) in low.iter_mut().zip(high) {
        (*a, *b) = (*a + *b, *a - *b);
    }
}

/// The same bits as [`Reference`], with the instructions this machine has.
#[derive(Clone, Debug)]
pub struct Fast {
    converters: Converters,
    sums: Vec<i32>,
}

impl Fast {
    /// The fast path for these converters.
    pub fn new(converters: Converters) -> Self {
        Self { converters, sums: Vec::new() }
    }
}

impl Arithmetic for Fast {
    fn quantise(&mut self, x: &[f32], codes: &mut [i8]) -> Result<f32, NonFinite> {
        codes::quantise(x, self.converters.input_limit, codes)
    }

    fn stream(&mut self, call: &StreamCall<'_>, codes: &mut [i32]) {
        self.sums.resize(codes.len(), 0);
        codes::tile_product(call.weights, call.inputs, call.outputs, call.x, &mut self.sums);
        codes::requantise_all(&self.sums, call.shift, self.converters.adc_bits, codes);
    }

    fn dequantise(&mut self, p: &[i32], scale: f32, table: &[f32], out: &mut [f32]) {
        codes::dequantise(p, scale, table, out);
    }

    fn rotate(&mut self, x: &[f32], table: &[f32], block: usize, out: &mut [f32]) {
        codes::rotate(x, table, block, out);
    }

    fn swiglu(&mut self, gate: &[f32], up: &[f32], out: &mut [f32]) {
        codes::swiglu(gate, up, out);
    }
}
