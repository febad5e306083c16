//! The input vectors that gains are chosen on: the caller's, or a stated model of them.
//!
//! One in four is held out: nothing is chosen on it, and the report's SNR is that of these alone. What
//! gains were chosen on flatters them.
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

/// Rows of the Gaussian model where tiles have 64 outputs or more: a gain then rests on 3072 sums.
const GAUSSIAN_ROWS: usize = 64;

/// Of so many rows, one is held out.
const HELD_OUT: usize = 4;

/// Whole input vectors, row after row: those that things are chosen on, then those held out.
#[derive(Debug)]
pub(crate) struct Samples {
    pub(crate) values: Vec<f32>,
    pub(crate) rows: SampleRows,
    pub(crate) source: SampleSource,
}

/// Rows of samples, or of what something made of each: the first ones are for choosing, the others
/// are held out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SampleRows {
    all: usize,
    seen: usize,
}

impl SampleRows {
    /// So many rows, one in four of them held out; none of less than four.
    pub(crate) fn new(all: usize) -> Self {
        Self { all, seen: all - all / HELD_OUT }
    }

    /// How many rows it takes for so many to choose on.
    pub(crate) fn needed_to_see(seen: usize) -> usize {
        seen + seen.saturating_sub(1) / (HELD_OUT - 1)
    }

    /// How many are for choosing.
    pub(crate) fn seen_count(self) -> usize {
        self.seen
    }

    /// How many are held out.
    pub(crate) fn held_out_count(self) -> usize {
        self.all - self.seen
    }

    /// Of some whole rows, those that things are chosen on.
    pub(crate) fn seen<T>(self, values: &[T]) -> &[T] {
        &values[..self.len_seen(values)]
    }

    /// Of some whole rows, those that the outcome is judged by: what is held out, or all if nothing is.
    pub(crate) fn judged<T>(self, values: &[T]) -> &[T] {
        let first = if self.seen < self.all { self.len_seen(values) } else { 0 };
        &values[first..]
    }

    fn len_seen<T>(self, values: &[T]) -> usize {
        values.len() / self.all.max(1) * self.seen
    }
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
            let needed = SampleRows::needed_to_see(SAMPLE_SUMS_MIN.div_ceil(tile_outputs.max(1)));
            let available = GAUSSIAN_ROWS.max(needed);
            let rows = options.sample_rows(available, weights, tile_outputs);
            return Ok(Self::gaussian(inputs, rows));
        }
        let available = given.len() / inputs;
        let rows = options.sample_rows(available, weights, tile_outputs);
        let mut values = Vec::with_capacity(rows * inputs);
        let is_held_out = |row: &usize| row % HELD_OUT == HELD_OUT - 1;
        let seen = (0..rows).filter(|row| !is_held_out(row));
        for row in seen.chain((0..rows).filter(is_held_out)) {
            values.extend_from_slice(&given[row * available / rows * inputs..][..inputs]);
        }
        let source = SampleSource::Caller { rows };
        Ok(Self { values, rows: SampleRows::new(rows), source })
    }

    fn gaussian(inputs: usize, rows: usize) -> Self {
        let mut values = vec![0.0; rows * inputs];
        standard_normals(Seed(0).key("compiler.samples", 0), 0, &mut values);
        let source = SampleSource::GaussianModel { rows };
        Self { values, rows: SampleRows::new(rows), source }
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
    fn one_row_in_four_is_held_out_from_all_over_the_samples() {
        let given: Vec<f32> = (0..9_u8).map(f32::from).collect();
        let samples =
            Samples::choose("l", &given, 1, (8, 64), &CompileOptions::default()).expect("whole");
        assert_eq!(samples.rows.seen(&samples.values), [0.0, 1.0, 2.0, 4.0, 5.0, 6.0, 8.0]);
        assert_eq!(samples.rows.judged(&samples.values), [3.0, 7.0]);
        assert_eq!((samples.rows.seen_count(), samples.rows.held_out_count()), (7, 2));
        // Two elements for each row.
        assert_eq!(samples.rows.judged(&[0; 18]).len(), 4);
        for seen in 0..200 {
            let rows = SampleRows::new(SampleRows::needed_to_see(seen));
            assert_eq!(rows.seen_count(), seen);
        }
        // Too few to do without any: they are judged by what was chosen on them.
        let few = SampleRows::new(3);
        assert_eq!((few.seen(&[1, 2, 3]).len(), few.judged(&[1, 2, 3]).len()), (3, 3));
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
