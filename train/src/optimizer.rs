//! `AdamW` with clipping, and the learning-rate schedule.

use pxfm::f_cospi;
use rayon::prelude::*;

use crate::config::TrainConfig;
use crate::weights::Layout;

/// Elements handled at a time; fixes the order of the norm's sum.
const CHUNK: usize = 1 << 14;

/// The running averages of `AdamW`, one of each per parameter.
#[derive(Debug)]
pub(crate) struct AdamW {
    mean: Vec<f32>,
    square: Vec<f32>,
    /// One for a parameter that decays, zero for a gain.
    decays: Vec<bool>,
    /// `beta1^t` and `beta2^t`, by repeated multiplication.
    powers: (f64, f64),
}

impl AdamW {
    pub(crate) fn new(layout: &Layout) -> Self {
        let mut decays = vec![false; layout.length];
        for tensor in &layout.tensors {
            decays[tensor.range.clone()].fill(tensor.spread > 0.0);
        }
        let zeros = || vec![0.0; layout.length];
        Self { mean: zeros(), square: zeros(), decays, powers: (1.0, 1.0) }
    }

    /// One step: `w −= rate·(m̂ / (sqrt(v̂) + ε) + decay·w)`. Returns the norm of the
    /// gradient before clipping.
    #[allow(clippy::cast_possible_truncation, reason = "factors are used in f32")]
    pub(crate) fn step(
        &mut self,
        config: &TrainConfig,
        rate: f32,
        gradient: &[f32],
        values: &mut [f32],
    ) -> f32 {
        let norm = norm(gradient);
        let shorten = if norm > config.clip { config.clip / norm } else { 1.0 };
        self.powers.0 *= f64::from(config.beta1);
        self.powers.1 *= f64::from(config.beta2);
        let correct_mean = (1.0 / (1.0 - self.powers.0)) as f32;
        let correct_square = (1.0 / (1.0 - self.powers.1)) as f32;
        let (beta1, beta2, decay) = (config.beta1, config.beta2, rate * config.weight_decay);
        let chunks = values
            .par_chunks_mut(CHUNK)
            .zip(self.mean.par_chunks_mut(CHUNK))
            .zip(self.square.par_chunks_mut(CHUNK))
            .zip(self.decays.par_chunks(CHUNK))
            .zip(gradient.par_chunks(CHUNK));
        chunks.for_each(|((((values, mean), square), decays), gradient)| {
            let each = values.iter_mut().zip(mean).zip(square).zip(decays).zip(gradient);
            for ((((value, mean), square), &decays), &gradient) in each {
                let g = gradient * shorten;
                *mean = beta1 * *mean + (1.0 - beta1) * g;
                *square = beta2 * *square + (1.0 - beta2) * (g * g);
                let move_by = (*mean * correct_mean) / ((*square * correct_square).sqrt() + 1e-8);
                let decay = if decays { decay } else { 0.0 };
                *value -= rate * move_by + decay * *value;
            }
        });
        norm
    }
}

/// The learning rate of a step, counted from zero: linear warm-up, then half a cosine.
#[allow(clippy::cast_possible_truncation, reason = "the rate is used in f32")]
pub(crate) fn learning_rate(config: &TrainConfig, step: u32) -> f32 {
    if step < config.warmup {
        return config.learning_rate * ((step + 1) as f32 / config.warmup as f32);
    }
    let span = config.steps.saturating_sub(config.warmup).max(1);
    let progress = f64::from((step - config.warmup).min(span)) / f64::from(span);
    let share = f64::from(config.final_share);
    let factor = share + (1.0 - share) * 0.5 * (1.0 + f_cospi(progress));
    (f64::from(config.learning_rate) * factor) as f32
}

/// The Euclidean norm, summed in f64: within chunks ascending, then chunks ascending.
#[allow(clippy::cast_possible_truncation, reason = "the norm is used in f32")]
fn norm(gradient: &[f32]) -> f32 {
    let square =
        |chunk: &[f32]| chunk.iter().fold(0.0_f64, |sum, &g| sum + f64::from(g) * f64::from(g));
    let sums: Vec<f64> = gradient.par_chunks(CHUNK).map(square).collect();
    sums.into_iter().fold(0.0, |sum, part| sum + part).sqrt() as f32
}

#[cfg(test)]
mod tests {
    use super::{AdamW, learning_rate};
    use crate::config::TrainConfig;
    use crate::weights::Layout;

    fn recipe() -> TrainConfig {
        toml::from_str(crate::EMBEDDED_RECIPE).unwrap()
    }

    #[test]
    fn the_schedule_rises_and_falls() {
        let mut config = recipe();
        (config.steps, config.warmup, config.learning_rate, config.final_share) =
            (110, 10, 0.5, 0.1);
        // A tenth after one step, all after ten, the middle at the middle, and a tenth at the end.
        for (step, expected) in
            [(0, 0.05), (4, 0.25), (9, 0.5), (10, 0.5), (60, 0.275), (110, 0.05)]
        {
            let found = learning_rate(&config, step);
            assert!((found - expected).abs() < 1e-6, "step {step}: {found}, not {expected}");
        }
        config.warmup = 0;
        assert!((learning_rate(&config, 0) - 0.5).abs() < 1e-6);
    }

    /// Bias correction makes the first step `rate · sign(g)`, whatever the size of the gradient;
    /// decay takes its share of matrices, not of gains.
    #[test]
    fn the_first_step_by_hand() {
        let mut config = recipe();
        (config.clip, config.weight_decay) = (1e6, 0.5);
        let layout = Layout::new(&config.model);
        let mut gradient = vec![0.0; layout.length];
        let mut values = vec![2.0; layout.length];
        let (matrix, gain) = (layout.head.start, layout.final_norm.start);
        (gradient[matrix], gradient[matrix + 1], gradient[gain]) = (3.0, -0.01, 4.0);
        let norm = AdamW::new(&layout).step(&config, 0.125, &gradient, &mut values);
        assert!((norm - 5.000_01).abs() < 1e-5, "{norm}");
        let close = |index: usize, expected: f32| {
            let found = values[index];
            assert!((found - expected).abs() < 1e-5, "{index}: {found}, not {expected}");
        };
        close(matrix, 2.0 - 0.125 - 0.125 * 0.5 * 2.0);
        close(matrix + 1, 2.0 + 0.125 - 0.125 * 0.5 * 2.0);
        close(matrix + 2, 2.0 - 0.125 * 0.5 * 2.0);
        close(gain, 2.0 - 0.125);
        close(gain + 1, 2.0);
    }

    /// The second step tells a clipped gradient from the same one unclipped: with a first gradient
    /// of 4 shortened to 1 and a second one of ½, `m̂ = (β₁ + ½)/(1 + β₁)` and
    /// `v̂ = (β₂ + ¼)/(1 + β₂)`.
    #[test]
    fn long_gradients_are_shortened() {
        let mut config = recipe();
        (config.clip, config.weight_decay, config.beta1, config.beta2) = (1.0, 0.0, 0.5, 0.75);
        let layout = Layout::new(&config.model);
        let mut optimizer = AdamW::new(&layout);
        let mut values = vec![0.0; layout.length];
        let mut gradient = vec![0.0; layout.length];
        for g in [4.0, 0.5] {
            gradient[0] = g;
            let norm = optimizer.step(&config, 0.25, &gradient, &mut values);
            assert!((norm - g).abs() < 1e-6, "the norm is that before clipping");
        }
        let (mean, square) = (1.0 / 1.5, 1.0 / 1.75_f32);
        let expected = -0.25 - 0.25 * mean / square.sqrt();
        assert!((values[0] - expected).abs() < 1e-6, "{}, not {expected}", values[0]);
    }
}
