//! Output-stationary homodyne: both operands arrive as light, and each output counts photons.
//!
//! In symbol k one beam carries the weight, the other the input, as real amplitudes in √photons.
//! They meet on a balanced splitter; two detectors count, and add up over all K symbols:
//!
//! ```text
//! a_k = g_a A_k,  b_k = g_x x_k       with  ‖a‖² = ‖b‖² = K n / 2
//! N± ~ Poisson( Σ_k (a_k ± b_k)² / 2 )
//! A·x ≈ (N+ − N−) / (2 g_a g_x)
//! ```
//!
//! The difference has mean `2 a·b` and variance `‖a‖² + ‖b‖² = K n`. With the light shared equally
//! between the beams, which is the best share, the estimate's standard deviation is
//! `‖A‖ ‖x‖ / √(K n)` for any operands: `n` is what both detectors together count per
//! multiply-accumulate.
//!
//! Left out: everything but the counting. Detectors are perfect (their efficiency is in n), the
//! splitter is balanced, and modulators reach every amplitude.

use crate::poisson::{MeanOutOfRange, Poisson};
use crate::uniform::Uniforms;
use litecore_types::Seed;
use thiserror::Error;

/// One output: the dot product of two streamed vectors at a given brightness.
///
/// Source: Hamerly et al., "Large-scale optical neural networks based on photoelectric
/// multiplication", 2019, for the receiver and its quantum limit.
#[derive(Clone, Debug)]
pub struct Homodyne {
    /// The two detectors of each symbol.
    symbols: Vec<[Poisson; 2]>,
    /// The two detectors over all symbols.
    total: [Poisson; 2],
    /// What a difference of one count stands for.
    unit: f64,
    exact: f64,
    sigma: f64,
}

/// Why two vectors cannot be multiplied with light.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
pub enum HomodyneError {
    /// The vectors do not pair up.
    #[error("{weights} weights do not pair with {inputs} inputs: give as many of both")]
    Lengths {
        /// Weights given.
        weights: usize,
        /// Inputs given.
        inputs: usize,
    },
    /// The sum of squares of an operand is zero or not finite, so that no gain fits it.
    #[error(
        "a vector of norm {norm} cannot be scaled to a beam: its norm must be above zero and finite"
    )]
    Norm {
        /// The norm.
        norm: f64,
    },
    /// There is no light, or more than the counting model serves.
    #[error("{photons_per_mac} photons per multiply-accumulate cannot be counted: {cause}")]
    Light {
        /// What was asked for.
        photons_per_mac: f64,
        /// The mean that was refused.
        cause: MeanOutOfRange,
    },
}

impl Homodyne {
    /// The receiver for `weights · inputs` with `photons_per_mac` detected photons for each product.
    pub fn new(
        weights: &[f64],
        inputs: &[f64],
        photons_per_mac: f64,
    ) -> Result<Self, HomodyneError> {
        if weights.len() != inputs.len() {
            let (weights, inputs) = (weights.len(), inputs.len());
            return Err(HomodyneError::Lengths { weights, inputs });
        }
        let light = |cause| HomodyneError::Light { photons_per_mac, cause };
        let photons = weights.len() as f64 * photons_per_mac;
        if photons.is_nan() || photons <= 0.0 {
            return Err(light(MeanOutOfRange { mean: photons }));
        }
        let (weight_norm, input_norm) = (norm(weights)?, norm(inputs)?);
        let beam = (photons / 2.0).sqrt();
        let (weight_gain, input_gain) = (beam / weight_norm, beam / input_norm);
        let mut symbols = Vec::with_capacity(weights.len());
        let (mut sum, mut difference, mut exact) = (0.0, 0.0, 0.0);
        for (&weight, &input) in weights.iter().zip(inputs) {
            let (a, b) = (weight_gain * weight, input_gain * input);
            let means = [(a + b) * (a + b) / 2.0, (a - b) * (a - b) / 2.0];
            sum += means[0];
            difference += means[1];
            exact += weight * input;
            let [plus, minus] = means.map(|mean| Poisson::new(mean).map_err(light));
            symbols.push([plus?, minus?]);
        }
        Ok(Self {
            symbols,
            total: [Poisson::new(sum).map_err(light)?, Poisson::new(difference).map_err(light)?],
            unit: weight_norm * input_norm / photons,
            exact,
            sigma: weight_norm * input_norm / photons.sqrt(),
        })
    }

    /// The dot product, without noise.
    pub fn exact(&self) -> f64 {
        self.exact
    }

    /// The standard deviation of a reading in closed form.
    pub fn sigma(&self) -> f64 {
        self.sigma
    }

    /// One reading: each detector's counts over all symbols are drawn at once.
    ///
    /// That is the same law as [`Homodyne::read_by_symbol`], as a sum of independent Poisson counts
    /// is a Poisson count; the draws differ.
    pub fn read(&self, seed: Seed, shot: u64) -> f64 {
        let mut stream = Uniforms::new(seed.key("homodyne", shot));
        let [plus, minus] = &self.total;
        let (plus, minus) = (plus.draw(&mut stream), minus.draw(&mut stream));
        (plus as f64 - minus as f64) * self.unit
    }

    /// One reading with every symbol's counts drawn and added up, as the integrator does.
    pub fn read_by_symbol(&self, seed: Seed, shot: u64) -> f64 {
        let mut stream = Uniforms::new(seed.key("homodyne by symbol", shot));
        let (mut plus, mut minus) = (0, 0);
        for [above, below] in &self.symbols {
            plus += above.draw(&mut stream);
            minus += below.draw(&mut stream);
        }
        (plus as f64 - minus as f64) * self.unit
    }
}

fn norm(values: &[f64]) -> Result<f64, HomodyneError> {
    let mut squares = 0.0_f64;
    for value in values {
        squares = value.mul_add(*value, squares);
    }
    let norm = squares.sqrt();
    if norm > 0.0 && norm.is_finite() { Ok(norm) } else { Err(HomodyneError::Norm { norm }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bright_symbol_is_read_almost_exactly() {
        // 3 · −2 with 1e8 photons: σ = 6 / 1e4.
        let output = Homodyne::new(&[3.0], &[-2.0], 1e8).unwrap();
        assert!((output.exact() + 6.0).abs() < 1e-12);
        assert!((output.sigma() - 6e-4).abs() < 1e-15);
        for shot in 0..20 {
            assert!((output.read(Seed(1), shot) + 6.0).abs() < 4.0 * 6e-4);
            assert!((output.read_by_symbol(Seed(1), shot) + 6.0).abs() < 4.0 * 6e-4);
        }
        // Of opposite operands the bright detector sees nothing.
        assert!(output.total[0].mean() < 1e-6 && (output.total[1].mean() - 1e8).abs() < 1.0);
    }

    #[test]
    fn what_cannot_be_multiplied_is_refused_by_name() {
        let lengths = HomodyneError::Lengths { weights: 1, inputs: 2 };
        assert_eq!(Homodyne::new(&[1.0], &[1.0, 2.0], 1.0).unwrap_err(), lengths);
        let zero = HomodyneError::Norm { norm: 0.0 };
        assert_eq!(Homodyne::new(&[1.0], &[0.0], 1.0).unwrap_err(), zero);
        assert!(matches!(
            Homodyne::new(&[f64::NAN], &[1.0], 1.0),
            Err(HomodyneError::Norm { norm }) if norm.is_nan()
        ));
        for photons in [0.0, -1.0, f64::NAN, 1e12] {
            let error = Homodyne::new(&[1.0], &[1.0], photons).unwrap_err();
            assert!(matches!(error, HomodyneError::Light { .. }), "{error}");
        }
        assert!(matches!(Homodyne::new(&[], &[], 1.0), Err(HomodyneError::Light { .. })));
    }
}
