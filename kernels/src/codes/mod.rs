//! The integer meaning of a tile operation and the float steps around it, exact to the bit.
//!
//! **Invariant:** every function equals its one-line definition on every machine; products of codes
//! are exact, as |Σ w·x| ≤ 65536 · 2^14 = 2^30 fits an i32.

mod reading;
mod tile;
#[cfg(target_arch = "x86_64")]
mod tile_x86;
mod turn;
#[cfg(target_arch = "x86_64")]
mod turn_x86;

pub use reading::{
    CutOff, add_readings, cut_off_errors, requantise, requantise_all, rounding_errors,
};
pub use tile::{tile_product, tile_product_reference, tile_product_with};
pub use turn::{turn, turn_with};

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
    quantise_within(x, largest_magnitude(x), limit, codes)
}

/// [`quantise`], where the caller says which magnitude gets the largest code: [`largest_magnitude`], or
/// less of it, beyond which values saturate.
///
/// Errors: [`NonFinite`], if `largest` is not finite, with the first such value. Where it is less than the
/// largest magnitude, the caller knows that all are finite. Panics: as there.
pub fn quantise_within(
    x: &[f32],
    largest: f32,
    limit: i32,
    codes: &mut [i8],
) -> Result<f32, NonFinite> {
    assert_eq!(x.len(), codes.len(), "one code per value");
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
    quantise_by(Isa::detected(), x, inverse, limit, codes);
    Ok(largest / limit)
}

/// The sum of squares, in 64 partial sums: element k goes to sum k mod 64, ascending. Then the upper half
/// of the sums is added to the lower one, until one is left.
pub fn sum_of_squares(x: &[f32]) -> f32 {
    squares_on(Isa::detected(), x)
}

/// Adds the square of each element to the sum at its place.
///
/// Panics: if the lengths differ.
/// Exact: bit-exact.
pub fn add_squares(x: &[f32], sums: &mut [f32]) {
    assert_eq!(x.len(), sums.len(), "one sum per value");
    add_squares_on(Isa::detected(), x, sums);
}

/// The squared errors of codes that reach to `level`, each times its element of `power`.
///
/// `code = clamp(round_ties_even(x · (limit / level)), ±limit)`, `error = x − code · (level / limit)`.
/// The f32 terms `error² · power` go to eight partial sums, term k to sum k mod 8, those of every 256
/// elements are added in f64.
pub fn squared_code_error(x: &[f32], power: &[f32], limit: i32, level: f32) -> f64 {
    code_error_on(Isa::detected(), x, power, limit as f32, level)
}

on_every_isa! { fn squares_on(x: &[f32]) -> f32 = squares_body; }
on_every_isa! { fn add_squares_on(x: &[f32], sums: &mut [f32]) = add_squares_body; }
on_every_isa! {
    fn code_error_on(x: &[f32], power: &[f32], limit: f32, level: f32) -> f64 = code_error_body;
}

#[inline(always)]
fn squares_body(x: &[f32]) -> f32 {
    let mut sums = [0.0_f32; 64];
    let (chunks, rest) = x.as_chunks::<64>();
    for chunk in chunks {
        for (sum, value) in sums.iter_mut().zip(chunk) {
            *sum += value * value;
        }
    }
    for (sum, value) in sums.iter_mut().zip(rest) {
        *sum += value * value;
    }
    for half in [32, 16, 8, 4, 2, 1] {
        let (low, high) = sums.split_at_mut(half);
        for (low, high) in low.iter_mut().zip(high) {
            *low += *high;
        }
    }
    sums[0]
}

#[inline(always)]
fn add_squares_body(x: &[f32], sums: &mut [f32]) {
    for (sum, value) in sums.iter_mut().zip(x) {
        *sum += value * value;
    }
}

#[inline(always)]
fn code_error_body(x: &[f32], power: &[f32], limit: f32, level: f32) -> f64 {
    let (scale, inverse) = (level / limit, limit / level);
    let mut sums = [0.0_f32; 8];
    let mut total = 0.0;
    for (x, power) in x.chunks(256).zip(power.chunks(256)) {
        sums.fill(0.0);
        for (x, power) in x.chunks(8).zip(power.chunks(8)) {
            for ((sum, x), power) in sums.iter_mut().zip(x).zip(power) {
                let scaled = x * inverse;
                let low = if scaled < -limit { -limit } else { scaled };
                let code = (if low > limit { limit } else { low }) + ROUND - ROUND;
                let error = x - code * scale;
                *sum += error * error * power;
            }
        }
        total += sums.iter().map(|sum| f64::from(*sum)).sum::<f64>();
    }
    total
}

/// 1.5 · 2^23: adding it rounds to an integer, ties to even, and leaves that in the low bits.
const ROUND: f32 = 12_582_912.0;

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
    for (&x, code) in x.iter().zip(codes) {
        let scaled = x * inverse;
        // As the limit is an integer, it may come before the rounding.
        let low = if scaled < -limit { -limit } else { scaled };
        let clamped = if low > limit { limit } else { low };
        *code = ((clamped + ROUND).to_bits() as u8).cast_signed();
    }
}

/// The sum of the squares of codes: exact.
pub fn sum_of_squared_codes(codes: &[i8]) -> i64 {
    // Each square is at most 2^14, so pieces of 2^16 fit an i32, which vectors add quickly.
    codes.chunks(1 << 16).map(|codes| i64::from(squared_codes_on(Isa::detected(), codes))).sum()
}

on_every_isa! { fn squared_codes_on(codes: &[i8]) -> i32 = squared_codes_body; }

#[inline(always)]
fn squared_codes_body(codes: &[i8]) -> i32 {
    let square = |code: &i8| i32::from(*code).wrapping_mul(i32::from(*code));
    codes.iter().fold(0, |sum, code| sum.wrapping_add(square(code)))
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
