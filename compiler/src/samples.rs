//! The input vectors that gains are chosen on: the caller's, or a stated model of them.
//!
//! Without samples, inputs are modeled as independent standard normals: the inputs of an expert
//! are RMS-normalised, and quantisation divides out whatever common scale is left.

use crate::options::SAMPLE_SUMS_MIN;
use crate::{CompileError, CompileOptions};
use litecore_kernels::normal::standard_normals;
use litecore_types::Seed;
use serde::Serialize;

/// Where the input vectors came from that gains were chosen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "from", rename_all = "snake_case")]
pub enum SampleSource {
    /// The caller gave them.
    Caller {
        /// How many were used.
        rows: usize,
    },
    /// None were given: independent standard normals from a fixed seed.
    GaussianModel {
        /// How many were drawn.
        rows: usize,
    },
}

/// Rows of the Gaussian model where tiles have 64 outputs or more: a gain then rests on 4096 sums.
const GAUSSIAN_ROWS: usize = 64;

/// Whole input vectors, row after row.
#[derive(Debug)]
pub(crate) struct Samples {
    pub(crate) values: Vec<f32>,
    pub(crate) source: SampleSource,
}

impl Samples {
    /// The samples to use for a layer with `inputs` inputs and so many weights, on tiles of so many
    /// outputs.
    ///
    /// Errors: if `given` is not a whole number of vectors.
    pub(crate) fn choose(
        layer: &str,
        given: &[f32],
        inputs: usize,
        (weights, tile_outputs): (usize, usize),
        options: &CompileOptions,
    ) -> Result<Self, CompileError> {
        if inputs == 0 || !given.len().is_multiple_of(inputs) {
            let (layer, elements) = (layer.to_owned(), given.len());
            return Err(CompileError::SampleCount { layer, elements, inputs });
        }
        if given.is_empty() {
            let available = GAUSSIAN_ROWS.max(SAMPLE_SUMS_MIN.div_ceil(tile_outputs.max(1)));
            let rows = options.sample_rows(available, weights, tile_outputs);
            return Ok(Self::gaussian(inputs, rows));
        }
        let available = given.len() / inputs;
        let rows = options.sample_rows(available, weights, tile_outputs);
        let mut values = Vec::with_capacity(rows * inputs);
        for row in 0..rows {
            values.extend_from_slice(&given[row * available / rows * inputs..][..inputs]);
        }
        Ok(Self { values, source: SampleSource::Caller { rows } })
    }

    fn gaussian(inputs: usize, rows: usize) -> Self {
        let mut values = vec![0.0; rows * inputs];
        standard_normals(Seed(0).key("compiler.samples", 0), 0, &mut values);
        Self { values, source: SampleSource::GaussianModel { rows } }
    }
}

/// The mean square of each element of some rows.
pub(crate) fn channel_power(rows: &[f32], len: usize) -> Vec<f32> {
    let mut power = vec![0.0_f64; len];
    for row in rows.chunks_exact(len) {
        for (power, value) in power.iter_mut().zip(row) {
            *power += f64::from(*value) * f64::from(*value);
        }
    }
    let count = (rows.len() / len).max(1) as f64;
    #[allow(clippy::cast_possible_truncation, reason = "a weight of errors, not a result")]
    let mean = |power: f64| (power / count) as f32;
    power.into_iter().map(mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_samples_are_thinned_out_evenly() {
        let options = CompileOptions { sample_rows_max: 3, ..CompileOptions::default() };
        let given: Vec<f32> = (0..16_u8).map(f32::from).collect();
        let samples = Samples::choose("l", &given, 2, (8, 64), &options).expect("whole vectors");
        assert_eq!(samples.values, [0.0, 1.0, 4.0, 5.0, 10.0, 11.0]);
        assert_eq!(samples.source, SampleSource::Caller { rows: 3 });
    }

    #[test]
    fn without_samples_the_model_has_unit_power() {
        let samples =
            Samples::choose("l", &[], 128, (8, 64), &CompileOptions::default()).expect("none");
        assert_eq!(samples.source, SampleSource::GaussianModel { rows: 64 });
        let power: f64 = samples.values.iter().map(|x| f64::from(x * x)).sum();
        assert!((power / samples.values.len() as f64 - 1.0).abs() < 0.05);
    }

    #[test]
    fn half_a_vector_is_refused() {
        let error = Samples::choose("l", &[1.0; 5], 2, (8, 64), &CompileOptions::default());
        assert!(matches!(error, Err(CompileError::SampleCount { elements: 5, inputs: 2, .. })));
    }
}
