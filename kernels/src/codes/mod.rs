//! The integer meaning of a tile operation and the float steps around it, exact to the bit.
//!
//! **Invariant:** every function equals its one-line definition on every machine; products of codes
//! are exact, as |Σ w·x| ≤ 65536 · 2^14 = 2^30 fits an i32.

mod tile;
#[cfg(target_arch = "x86_64")]
mod tile_x86;

pub use tile::{tile_product, tile_product_reference, tile_product_with};

use crate::{Isa, math};

/// A value that has no code, because it is a NaN or infinite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NonFinite {
    /// Where the first such value is.
    pub index: usize,
}

impl std::fmt::Display for NonFinite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "value {} is not finite and has no code", self.index)
    }
}

impl std::error::Error for NonFinite {}

/// Quantises values to symmetric codes and returns the scale, so that `value ≈ code · scale`.
///
/// `inverse = limit / absmax`, `code = clamp(round_ties_even(x · inverse), ±limit)`,
/// `scale = absmax / limit`. Where all values are zero, or so small that `inverse` overflows, codes
/// and scale are zero. A limit outside 1 ..= 127 counts as the nearer of the two.
///
/// Errors: [`NonFinite`], with the first offender; the codes are then not written.
/// Panics: if the lengths differ.
pub fn quantise(x: &[f32], limit: i32, codes: &mut [i8]) -> Result<f32, NonFinite> {
    assert_eq!(x.len(), codes.len(), "one code per value");
    let isa = Isa::detected();
    let largest = absmax(isa, x);
    if !largest.is_finite() {
        let index = x.iter().position(|x| !x.is_finite()).unwrap_or(0);
        return Err(NonFinite { index });
    }
    let limit = limit.clamp(1, 127) as f32;
    let inverse = limit / largest;
    if !inverse.is_finite() {
        codes.fill(0);
        return Ok(0.0);
    }
    quantise_by(isa, x, inverse, limit, codes);
    Ok(largest / limit)
}

/// The largest magnitude of some values: not finite if one of them is not; zero of none.
///
/// Exact: bit-exact.
pub fn largest_magnitude(x: &[f32]) -> f32 {
    absmax(Isa::detected(), x)
}

on_every_isa! { fn absmax(x: &[f32]) -> f32 = absmax_body; }
on_every_isa! {
    fn quantise_by(x: &[f32], inverse: f32, limit: f32, codes: &mut [i8]) = quantise_by_body;
}

/// The largest magnitude; a NaN or an infinity gives a value that is not finite.
#[inline(always)]
fn absmax_body(x: &[f32]) -> f32 {
    // Magnitudes order like their bits, with infinity and NaN on top.
    f32::from_bits(x.iter().fold(0, |largest, x| largest.max(x.to_bits() & 0x7fff_ffff)))
}

#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "the low byte is meant")]
fn quantise_by_body(x: &[f32], inverse: f32, limit: f32, codes: &mut [i8]) {
    // 1.5 · 2^23: adding it rounds to an integer, ties to even, and leaves that in the low bits.
    const ROUND: f32 = 12_582_912.0;
    for (&x, code) in x.iter().zip(codes) {
        let scaled = x * inverse;
        // As the limit is an integer, it may come before the rounding.
        let low = if scaled < -limit { -limit } else { scaled };
        let clamped = if low > limit { limit } else { low };
        *code = ((clamped + ROUND).to_bits() as u8).cast_signed();
    }
}

/// What the converter reads: `acc / 2^shift`, ties to even, saturated to `adc_bits` bits.
///
/// The range is `−2^(b−1) ..= 2^(b−1) − 1`; a bit count outside 1 ..= 32 counts as the nearer of the
/// two.
pub fn requantise(acc: i32, shift: u8, adc_bits: u8) -> i32 {
    Converter::new(shift, adc_bits).read(acc)
}

/// [`requantise`] of every element.
///
/// Panics: if the lengths differ.
pub fn requantise_all(acc: &[i32], shift: u8, adc_bits: u8, out: &mut [i32]) {
    assert_eq!(acc.len(), out.len(), "one code per sum");
    requantise_on(Isa::detected(), acc, Converter::new(shift, adc_bits), out);
}

on_every_isa! { fn requantise_on(acc: &[i32], converter: Converter, out: &mut [i32]) = requantise_body; }

#[inline(always)]
fn requantise_body(acc: &[i32], converter: Converter, out: &mut [i32]) {
    for (&acc, out) in acc.iter().zip(out) {
        *out = converter.read(acc);
    }
}

/// The constants of a conversion.
#[derive(Clone, Copy)]
struct Converter {
    shift: u32,
    half: i32,
    lowest: i32,
    highest: i32,
}

impl Converter {
    #[inline(always)]
    fn new(shift: u8, adc_bits: u8) -> Self {
        let lowest = i32::MIN >> (32 - u32::from(adc_bits).clamp(1, 32));
        let shift = u32::from(shift);
        // Without a shift nothing is left over, and one is more than nothing.
        let half = 1 << shift.saturating_sub(1).min(30);
        Self { shift, half, lowest, highest: !lowest }
    }

    #[inline(always)]
    fn read(self, acc: i32) -> i32 {
        // From 2^32 on every sum is at most one half, and the tie goes to zero.
        let shift = self.shift.min(31);
        let floor = acc >> shift;
        let rest = acc & !(-1 << shift);
        let rounded = floor.wrapping_add(i32::from(rest > self.half.wrapping_sub(floor & 1)));
        let rounded = if self.shift > 31 { 0 } else { rounded };
        rounded.max(self.lowest).min(self.highest)
    }
}

/// `out = silu(gate) · up`, each step rounded once.
///
/// Panics: if the lengths differ.
pub fn swiglu(gate: &[f32], up: &[f32], out: &mut [f32]) {
    assert!(gate.len() == up.len() && up.len() == out.len(), "gate, up and out must fit together");
    math::silu_all(gate, out);
    for (out, &up) in out.iter_mut().zip(up) {
        *out *= up;
    }
}

/// `out = H (x · table)` in blocks of `block` elements, H a Walsh–Hadamard matrix without its factor:
/// for strides 1, 2, 4 … each pair `(a, b)` a stride apart becomes `(a + b, a − b)`.
///
/// Panics: if the lengths differ, or `block` is no power of two that divides them.
pub fn rotate(x: &[f32], table: &[f32], block: usize, out: &mut [f32]) {
    assert!(x.len() == table.len() && x.len() == out.len(), "x, table and out must fit");
    assert!(
        block.is_power_of_two() && x.len().is_multiple_of(block),
        "blocks must fill the vector"
    );
    for ((out, x), factor) in out.iter_mut().zip(x).zip(table) {
        *out = x * factor;
    }
    let mut stride = 1;
    while stride < block {
        for pair in out.chunks_exact_mut(2 * stride) {
            let (low, high) = pair.split_at_mut(stride);
            for (a, b) in low.iter_mut().zip(high) {
                (*a, *b) = (*a + *b, *a - *b);
            }
        }
        stride *= 2;
    }
}

/// `out[j] = (p[j] as f32 · scale_x) · scale_w[j]`: sums of codes back to values, for one symbol.
///
/// Panics: if the lengths differ.
pub fn dequantise(p: &[i32], scale_x: f32, scale_w: &[f32], out: &mut [f32]) {
    assert!(p.len() == scale_w.len() && p.len() == out.len(), "p, scale_w and out must fit");
    dequantise_on(Isa::detected(), p, scale_x, scale_w, out);
}

on_every_isa! {
    fn dequantise_on(p: &[i32], scale_x: f32, scale_w: &[f32], out: &mut [f32]) = dequantise_body;
}

#[inline(always)]
fn dequantise_body(p: &[i32], scale_x: f32, scale_w: &[f32], out: &mut [f32]) {
    for ((&p, &scale_w), out) in p.iter().zip(scale_w).zip(out) {
        *out = (p as f32 * scale_x) * scale_w;
    }
}
