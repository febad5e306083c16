//! The definition of the rule in plain scalar code: slow, short, and what every path must equal.

use super::BLOCK;

/// The definition of [`super::product`], from unpacked weights.
///
/// Shape: `x` is rows × inputs, `w_rows` is outputs × inputs, `y` is rows × outputs, row-major.
/// Panics: if the lengths do not fit together.
pub fn product_reference(x: &[f32], w_rows: &[f32], inputs: usize, outputs: usize, y: &mut [f32]) {
    assert_eq!(w_rows.len(), outputs * inputs, "w must be outputs × inputs");
    assert_eq!(x.len() * outputs, y.len() * inputs, "x and y must have the same rows");
    for (index, out) in y.iter_mut().enumerate() {
        let (row, output) = (index / outputs, index % outputs);
        let mut total = 0.0;
        for first in (0..inputs).step_by(BLOCK) {
            let mut sum = 0.0_f32;
            for k in first..inputs.min(first + BLOCK) {
                sum = x[row * inputs + k].mul_add(w_rows[output * inputs + k], sum);
            }
            total = if first == 0 { sum } else { total + sum };
        }
        *out = total;
    }
}

/// The definition of [`super::gradient_of_weights`].
///
/// Shape: `dy` is rows × outputs, `x` is rows × inputs, `dw` is outputs × inputs, row-major.
/// Panics: if the lengths do not fit together.
pub fn gradient_of_weights_reference(dy: &[f32], x: &[f32], rows: usize, dw: &mut [f32]) {
    let Some((outputs, inputs)) = super::gradient_shape(dy, x, rows, dw) else { return };
    for (index, total) in dw.iter_mut().enumerate() {
        let (output, input) = (index / inputs, index % inputs);
        for first in (0..rows).step_by(BLOCK) {
            let mut sum = 0.0_f32;
            for row in first..rows.min(first + BLOCK) {
                sum = dy[row * outputs + output].mul_add(x[row * inputs + input], sum);
            }
            *total += sum;
        }
    }
}
