//! The exponential, one at a time or over slices, correctly rounded.
//!
//! It is computed in f64 and rounded to f32. The f64 steps err by about one unit in 2^52, and no
//! exponential of an f32 lies so close to a tie that this matters: over all 2^32 inputs it differs
//! from `pxfm::f_expf` in one, 0xbbf0edf1, where the exact value lies 4.5e-9 of a unit beyond the tie
//! and this one is right (`examples/exponential_all.rs` repeats the comparison in half a minute).

use crate::Isa;

/// `e^x`, correctly rounded.
pub fn exp(x: f32) -> f32 {
    exp_one(Isa::detected(), x)
}

/// `values[i] = exp(values[i])`.
pub fn exp_in_place(values: &mut [f32]) {
    exp_on(Isa::detected(), values);
}

/// `out[i] = silu(x[i])`, each as [`super::silu`].
///
/// Panics: if the lengths differ.
pub fn silu_all(x: &[f32], out: &mut [f32]) {
    assert_eq!(x.len(), out.len(), "one output per input");
    silu_on(Isa::detected(), x, out);
}

/// `out[i] = sigmoid(x[i])`, each as [`super::sigmoid`].
///
/// Panics: if the lengths differ.
pub fn sigmoid_all(x: &[f32], out: &mut [f32]) {
    assert_eq!(x.len(), out.len(), "one output per input");
    sigmoid_on(Isa::detected(), x, out);
}

on_every_isa! { fn exp_one(x: f32) -> f32 = exp_of; }
on_every_isa! { fn exp_on(values: &mut [f32]) = exp_body; }
on_every_isa! { fn silu_on(x: &[f32], out: &mut [f32]) = silu_body; }
on_every_isa! { fn sigmoid_on(x: &[f32], out: &mut [f32]) = sigmoid_body; }

#[inline(always)]
fn exp_body(values: &mut [f32]) {
    for value in values {
        *value = exp_of(*value);
    }
}

#[inline(always)]
fn silu_body(x: &[f32], out: &mut [f32]) {
    for (&x, out) in x.iter().zip(out) {
        *out = x / (1.0 + exp_of(-x));
    }
}

#[inline(always)]
fn sigmoid_body(x: &[f32], out: &mut [f32]) {
    for (&x, out) in x.iter().zip(out) {
        *out = 1.0 / (1.0 + exp_of(-x));
    }
}

/// `e^x` without branches, so that the compiler can take many at a time.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "the final rounding to f32")]
fn exp_of(x: f32) -> f32 {
    // 1.5 · 2^52: adding it leaves the nearest integer in the low bits.
    const ROUND: f64 = 6_755_399_441_055_744.0;
    // Beyond these the f32 is zero or infinite anyway; a NaN passes both comparisons.
    let x = if x < -110.0 { -110.0 } else { x };
    let x = f64::from(if x > 100.0 { 100.0 } else { x });
    // x = n · ln 2 + r with |r| ≤ ½ ln 2; ln 2 in two parts.
    let shifted = x.mul_add(std::f64::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-std::f64::consts::LN_2, x);
    let r = n.mul_add(-2.319_046_813_846_299_6e-17, r);
    // e^r = 1 + r + r² Q(r), Q of least relative error (3% of a unit in 2^53).
    let mut q = 2.500_006_162_553_198_7e-8_f64;
    q = q.mul_add(r, 2.763_024_838_532_269_4e-7);
    q = q.mul_add(r, 2.755_758_637_378_517_6e-6);
    q = q.mul_add(r, 2.480_149_309_888_739_4e-5);
    q = q.mul_add(r, 1.984_126_950_657_872_3e-4);
    q = q.mul_add(r, 1.388_888_894_363_013_4e-3);
    q = q.mul_add(r, 8.333_333_333_494_461e-3);
    q = q.mul_add(r, 4.166_666_666_653_015_5e-2);
    q = q.mul_add(r, 1.666_666_666_666_641_3e-1);
    q = q.mul_add(r, 0.500_000_000_000_001_1);
    let power = 1.0 + (r * r).mul_add(q, r);
    // 2^n from the low bits of `shifted`; n is small, so the f64 stays normal.
    let scale = f64::from_bits(shifted.to_bits().wrapping_add(1023) << 52);
    (power * scale) as f32
}
