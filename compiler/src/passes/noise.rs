//! What rounding to codes and reading with noise will cost a product, in closed form.
//!
//! A quantiser with step `s` adds `s² / 12` to every value. Over the samples, the outputs of
//! `y = W x` then err by
//!
//! ```text
//! weights   Σ_x |x|² · Σ_j step_j² / 12        step_j = max |row j| / limit
//! inputs    Σ_x step_x² / 12 · Σ_jk w_jk²      step_x = max |x| / limit
//! reads     Σ_x step_x² · Σ_j step_j² · σ²     σ: noise of a read, in units of the exact sum
//! ```
//!
//! The converter's own rounding follows the gain, which follows the sums: it is the same before and
//! after an exact rewrite, and left out.

use crate::passes::equalise::Scaled;

/// Squared rounding errors of a product, summed over samples and outputs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct RoundingError {
    /// What the weights' rounding makes.
    pub(crate) weights: f64,
    /// What the inputs' rounding makes.
    pub(crate) inputs: f64,
    /// What the noise of the readings makes.
    pub(crate) reads: f64,
}

/// The largest codes of weights and inputs, and how noisy a read is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) weight: i32,
    pub(crate) input: i32,
    /// Noise of one read, as a standard deviation in units of the exact sum.
    pub(crate) read_noise: f64,
}

impl RoundingError {
    /// The error of `(W / d)(d x)` for the column factors `d` of `product`.
    pub(crate) fn of(product: &Scaled<'_>, limits: Limits) -> Self {
        let (mut power, mut input_steps) = (0.0, 0.0);
        for x in product.samples.chunks_exact(product.columns) {
            let (mut largest, mut sum) = (0.0_f64, 0.0);
            for (x, factor) in x.iter().zip(product.factors) {
                let x = f64::from(*x) * factor;
                largest = largest.max(x.abs());
                sum += x * x;
            }
            power += sum;
            input_steps += square(largest / f64::from(limits.input));
        }
        let row_steps = square(1.0 / f64::from(limits.weight)) * product.squared_row_maxima;
        let weight_power: f64 = product
            .column_powers
            .iter()
            .zip(product.factors)
            .map(|(power, factor)| power / square(*factor))
            .sum();
        Self {
            weights: power * row_steps / 12.0,
            inputs: input_steps / 12.0 * weight_power,
            reads: square(limits.read_noise) * input_steps * row_steps,
        }
    }

    /// All together.
    pub(crate) fn total(self) -> f64 {
        self.weights + self.inputs + self.reads
    }
}

fn square(x: f64) -> f64 {
    x * x
}

/// Ten times the decimal logarithm.
pub(crate) fn decibels(ratio: f64) -> f64 {
    10.0 * pxfm::f_log10(ratio)
}

#[cfg(test)]
mod tests {
    use super::*;
    use litecore_kernels::codes;
    use litecore_kernels::normal::standard_normals;

    fn normals(key: u64, count: usize) -> Vec<f32> {
        let mut values = vec![0.0; count];
        standard_normals(key, 0, &mut values);
        values
    }

    /// What the codes of `values`, vector by vector, stand for.
    fn rounded(values: &[f32], len: usize, limit: i32) -> Vec<f64> {
        let mut out = Vec::new();
        for row in values.chunks_exact(len) {
            let mut codes = vec![0; len];
            let scale = codes::quantise(row, limit, &mut codes).expect("finite");
            out.extend(codes.iter().map(|code| f64::from(*code) * f64::from(scale)));
        }
        out
    }

    #[test]
    fn the_prediction_is_what_rounding_does_to_a_gaussian_product() {
        let (outputs, inputs, rows) = (96, 128, 40);
        let (w, x) = (normals(1, outputs * inputs), normals(2, rows * inputs));
        for (weight, input) in [(127, 127), (7, 127), (127, 15)] {
            let factors = vec![1.0; inputs];
            let product = Scaled::new(&w, inputs, &x, &factors);
            let predicted = RoundingError::of(&product, Limits { weight, input, read_noise: 0.0 });
            let (w_codes, x_codes) = (rounded(&w, inputs, weight), rounded(&x, inputs, input));
            let mut measured = 0.0;
            for symbol in 0..rows {
                for j in 0..outputs {
                    let sum = |w: &dyn Fn(usize) -> f64, x: &dyn Fn(usize) -> f64| -> f64 {
                        (0..inputs).map(|k| w(j * inputs + k) * x(symbol * inputs + k)).sum()
                    };
                    let exact = sum(&|i| f64::from(w[i]), &|i| f64::from(x[i]));
                    let coded = sum(&|i| w_codes[i], &|i| x_codes[i]);
                    measured += square(coded - exact);
                }
            }
            let difference = decibels(measured / predicted.total());
            assert!(difference.abs() < 0.35, "{weight}, {input}: {difference:.2} dB");
        }
    }
}
