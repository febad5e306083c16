//! Matrix products by the rule S2(256), the same bits on every machine.
//!
//! The rule, for every output element: K is cut in blocks of [`BLOCK`]; inside a block
//! `s = fma(a[k], b[k], s)` with k ascending from `s = +0`; block sums are added in ascending
//! order, `c = s0; c = c + s1; …`. An empty K gives `+0`.
//!
//! **Invariant:** vectors and threads run over rows and outputs, never over K, so that vector
//! width, tile shape, thread count and batch size cannot change a bit. [`product_reference`] is the
//! definition; a NaN is a NaN on every path, but its payload is not specified.

mod drive;
mod lanes;
#[cfg(target_arch = "aarch64")]
mod neon;
mod pack;
mod parallel;
mod reference;
mod rows;
mod tile;
mod transpose;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use pack::PackedMatrix;
pub use parallel::{gradient_of_weights_parallel, product_parallel};
pub use reference::{gradient_of_weights_reference, product_reference};
pub use rows::{combine, dot, dots};

use crate::Isa;
use drive::Job;

/// The length of a block of K in the rule.
pub const BLOCK: usize = 256;

/// Outputs per panel of a [`PackedMatrix`].
const PANEL: usize = 32;

/// `y = x · Wᵀ`: every row of `x` through the weights, on the best instructions, in one thread.
///
/// Shape: `x` is rows × inputs, `y` is rows × outputs, both row-major; `y` is overwritten and its
/// length says how many rows there are.
/// Panics: if the lengths do not fit together.
/// Exact: bit-exact.
pub fn product(x: &[f32], w: &PackedMatrix, y: &mut [f32]) {
    product_with(Isa::detected(), x, w, y);
}

/// [`product`] on chosen instructions; those that this machine lacks run as [`Isa::Scalar`].
pub fn product_with(isa: Isa, x: &[f32], w: &PackedMatrix, y: &mut [f32]) {
    Job::product(x, w, y).run(isa);
}

/// `dW = dW + dyᵀ · x`: what a batch of rows adds to the gradient of the weights.
///
/// The K of the rule is the rows; the block sums are added to what `dw` holds, in ascending order.
/// So a call over many rows equals calls over pieces of it, if each piece but the last has a
/// multiple of [`BLOCK`] rows.
///
/// Shape: `dy` is rows × outputs, `x` is rows × inputs, `dw` is outputs × inputs, all row-major.
/// Panics: if the lengths do not fit together.
/// Exact: bit-exact.
pub fn gradient_of_weights(dy: &[f32], x: &[f32], rows: usize, dw: &mut [f32]) {
    gradient_of_weights_with(Isa::detected(), dy, x, rows, dw);
}

/// [`gradient_of_weights`] on chosen instructions; those that this machine lacks run as
/// [`Isa::Scalar`].
pub fn gradient_of_weights_with(isa: Isa, dy: &[f32], x: &[f32], rows: usize, dw: &mut [f32]) {
    let Some((outputs, inputs)) = gradient_shape(dy, x, rows, dw) else { return };
    let right = PackedMatrix::from_columns(x, rows, inputs);
    Job::gradient(dy, outputs, &right, dw).run(isa);
}

/// The outputs and inputs of a gradient, or nothing where there is nothing to add.
fn gradient_shape(dy: &[f32], x: &[f32], rows: usize, dw: &[f32]) -> Option<(usize, usize)> {
    if rows == 0 {
        assert!(dy.is_empty() && x.is_empty(), "no rows, yet dy or x is not empty");
        return None;
    }
    let (outputs, inputs) = (dy.len() / rows, x.len() / rows);
    assert_eq!(dy.len(), rows * outputs, "dy must be rows × outputs");
    assert_eq!(x.len(), rows * inputs, "x must be rows × inputs");
    assert_eq!(dw.len(), outputs * inputs, "dw must be outputs × inputs");
    (outputs > 0 && inputs > 0).then_some((outputs, inputs))
}

/// `y = aᵀ · W` with a left matrix stored K × rows, row-major.
///
/// Shape: `a` is inputs × rows, `y` is rows × outputs, row-major; `y` is overwritten.
/// Panics: if the lengths do not fit together.
/// Exact: bit-exact.
pub fn product_transposed_left(a: &[f32], w: &PackedMatrix, y: &mut [f32]) {
    Job::product_transposed(a, w, y).run(Isa::detected());
}
