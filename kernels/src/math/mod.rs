//! Functions on floats with the same bits everywhere: correctly rounded, or IEEE steps in a written
//! order.
//!
//! **Invariant:** nothing here calls a transcendental function of std, which may differ by platform.

mod exponential;
mod rope;

pub use exponential::{exp, exp_in_place, sigmoid_all, silu_all};
pub use rope::{Rope, Turn};

use crate::s2;

/// The natural logarithm, correctly rounded.
pub fn ln(x: f32) -> f32 {
    pxfm::f_logf(x)
}

/// The hyperbolic tangent, correctly rounded.
pub fn tanh(x: f32) -> f32 {
    pxfm::f_tanhf(x)
}

/// The sine and cosine of an angle, correctly rounded.
///
/// Units: radians.
pub fn sin_cos(angle: f64) -> (f64, f64) {
    pxfm::f_sincos(angle)
}

/// `1 / (1 + exp(−x))`, each step rounded once.
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// `x / (1 + exp(−x))`, each step rounded once.
pub fn silu(x: f32) -> f32 {
    x / (1.0 + exp(-x))
}

/// Turns scores into probabilities: subtract the largest, [`exp`], ascending sum, divide.
///
/// An empty row stays empty. A NaN, a `+∞` or nothing but `−∞` gives NaN.
pub fn softmax_in_place(row: &mut [f32]) {
    let mut largest = f32::NEG_INFINITY;
    for &score in row.iter() {
        if score > largest {
            largest = score;
        }
    }
    for score in row.iter_mut() {
        *score -= largest;
    }
    exp_in_place(row);
    let mut sum = 0.0_f32;
    for &weight in row.iter() {
        sum += weight;
    }
    for weight in row {
        *weight /= sum;
    }
}

/// `y = (x · inverse) · gain` with `inverse = 1 / sqrt(dot(x, x) / n + epsilon)`.
///
/// Panics: if the lengths differ.
pub fn rms_norm(x: &[f32], gain: &[f32], epsilon: f32, y: &mut [f32]) {
    assert!(x.len() == gain.len() && x.len() == y.len(), "x, gain and y must have one length");
    let inverse = rms_inverse(x, epsilon);
    for ((y, &x), &gain) in y.iter_mut().zip(x).zip(gain) {
        *y = (x * inverse) * gain;
    }
}

/// `1 / sqrt(dot(x, x) / n + epsilon)`, what [`rms_norm`] multiplies by.
pub fn rms_inverse(x: &[f32], epsilon: f32) -> f32 {
    let mean = s2::dot(x, x) / x.len() as f32;
    1.0 / (mean + epsilon).sqrt()
}
