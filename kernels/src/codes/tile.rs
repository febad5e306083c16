//! The product of a tile's codes, in integers.

use crate::Isa;

/// The definition of [`tile_product`].
///
/// Panics: if the lengths do not fit together.
pub fn tile_product_reference(
    weights: &[i8],
    inputs: usize,
    outputs: usize,
    x: &[i8],
    acc: &mut [i32],
) {
    check(weights, inputs, outputs, x, acc);
    for (index, acc) in acc.iter_mut().enumerate() {
        let (symbol, output) = (index / outputs, index % outputs);
        *acc = (0..inputs)
            .map(|k| i32::from(weights[k * outputs + output]) * i32::from(x[symbol * inputs + k]))
            .sum();
    }
}

/// `acc[symbol][output] = Σ_k w[k][output] · x[symbol][k]`, exact for up to 65536 inputs.
///
/// Shape: `weights` is inputs × outputs, `x` is symbols × inputs, `acc` is symbols × outputs, all
/// row-major; `acc` is overwritten and its length says how many symbols there are.
/// Panics: if the lengths do not fit together, or there are more inputs.
pub fn tile_product(weights: &[i8], inputs: usize, outputs: usize, x: &[i8], acc: &mut [i32]) {
    tile_product_with(Isa::detected(), weights, inputs, outputs, x, acc);
}

/// [`tile_product`] on chosen instructions; those that this machine lacks run as [`Isa::Scalar`].
///
/// With AVX-512 the paths that need its integer dot products are taken where they exist.
pub fn tile_product_with(
    isa: Isa,
    weights: &[i8],
    inputs: usize,
    outputs: usize,
    x: &[i8],
    acc: &mut [i32],
) {
    check(weights, inputs, outputs, x, acc);
    if outputs == 0 {
        return;
    }
    if inputs == 0 {
        acc.fill(0);
        return;
    }
    let isa = isa.or_scalar();
    #[cfg(target_arch = "x86_64")]
    if super::tile_x86::product(isa, weights, inputs, outputs, x, acc) {
        return;
    }
    plain_on(isa, weights, inputs, outputs, x, acc);
}

/// Two codes multiply to 2^14 at most.
const INPUTS_MAX: usize = 1 << 16;

fn check(weights: &[i8], inputs: usize, outputs: usize, x: &[i8], acc: &[i32]) {
    assert!(inputs <= INPUTS_MAX, "a sum of {inputs} products might not fit an i32");
    assert_eq!(weights.len(), inputs * outputs, "weights must be inputs × outputs");
    assert_eq!(x.len() * outputs, acc.len() * inputs, "x and acc must have the same symbols");
    assert!(outputs == 0 || acc.len().is_multiple_of(outputs), "acc must be symbols × outputs");
}

on_every_isa! {
    fn plain_on(weights: &[i8], inputs: usize, outputs: usize, x: &[i8], acc: &mut [i32]) = plain;
}

#[inline(always)]
fn plain(weights: &[i8], inputs: usize, outputs: usize, x: &[i8], acc: &mut [i32]) {
    acc.fill(0);
    for (x, acc) in x.chunks_exact(inputs).zip(acc.chunks_exact_mut(outputs)) {
        for (&x, weights) in x.iter().zip(weights.chunks_exact(outputs)) {
            for (acc, &w) in acc.iter_mut().zip(weights) {
                // A product of two codes fits sixteen bits.
                *acc = acc.wrapping_add(i32::from(i16::from(w).wrapping_mul(i16::from(x))));
            }
        }
    }
}
