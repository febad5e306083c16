//! Counts of independent events, such as photons on a detector.
//!
//! **Invariant:** a count is a function of the mean and of the stream it is drawn from; the
//! functions used are correctly rounded or nearly so, and the same everywhere.

use crate::uniform::Uniforms;
use thiserror::Error;

/// The Poisson law of one mean, ready to be drawn from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Poisson {
    mean: f64,
    method: Method,
}

/// A mean that this sampler does not serve.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
#[error("no counts of mean {mean} can be drawn: give a mean from 0 to {}", Poisson::LARGEST_MEAN)]
pub struct MeanOutOfRange {
    /// The mean asked for.
    pub mean: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Method {
    /// Walk up the distribution until it passes a uniform number; `zero` is the chance of none.
    Inversion { zero: f64 },
    /// Transformed rejection with a squeeze.
    Rejection { a: f64, b: f64, inverse_alpha: f64, squeeze: f64, log_mean: f64 },
}

impl Poisson {
    /// The largest mean. Beyond it the acceptance test would lose more than 1e-5 to rounding.
    pub const LARGEST_MEAN: f64 = 1e9;

    /// From this mean on, counts are drawn by rejection; the method needs at least 10.
    const REJECTION_FROM: f64 = 10.0;

    /// The law of this mean.
    ///
    /// Errors: [`MeanOutOfRange`] outside 0 ..= [`Poisson::LARGEST_MEAN`], and for a NaN.
    pub fn new(mean: f64) -> Result<Self, MeanOutOfRange> {
        if !(0.0..=Self::LARGEST_MEAN).contains(&mean) {
            return Err(MeanOutOfRange { mean });
        }
        let method = if mean < Self::REJECTION_FROM {
            Method::Inversion { zero: pxfm::f_exp(-mean) }
        } else {
            // Constants of algorithm PTRS: W. Hörmann, "The transformed rejection method for
            // generating Poisson random variables", Insurance: Math. and Economics 12 (1993).
            let b = 0.931 + 2.53 * mean.sqrt();
            Method::Rejection {
                a: -0.059 + 0.024_83 * b,
                b,
                inverse_alpha: 1.1239 + 1.1328 / (b - 3.4),
                squeeze: 0.9277 - 3.6224 / (b - 2.0),
                log_mean: pxfm::f_log(mean),
            }
        };
        Ok(Self { mean, method })
    }

    /// The mean, which is the variance too.
    pub fn mean(&self) -> f64 {
        self.mean
    }

    /// Draws one count; the law is exact up to the rounding of f64.
    pub fn draw(&self, stream: &mut Uniforms) -> u64 {
        match self.method {
            Method::Inversion { zero } => invert(self.mean, zero, stream.unit()),
            Method::Rejection { a, b, inverse_alpha, squeeze, log_mean } => loop {
                let u = stream.unit() - 0.5;
                let v = stream.unit();
                let us = 0.5 - u.abs();
                let k = ((2.0 * a / us + b) * u + self.mean + 0.43).floor();
                if us >= 0.07 && v <= squeeze {
                    return count(k);
                }
                if k < 0.0 || (us < 0.013 && v > us) {
                    continue;
                }
                let chance = k * log_mean - self.mean - pxfm::f_lgamma(k + 1.0);
                if pxfm::f_log(v * inverse_alpha / (a / (us * us) + b)) <= chance {
                    return count(k);
                }
            },
        }
    }
}

/// The least k with `P(count ≤ k) ≥ u`.
fn invert(mean: f64, zero: f64, u: f64) -> u64 {
    let (mut k, mut chance, mut below) = (0_u32, zero, zero);
    // The sum may stop short of one by rounding; what is left by then is less likely than 1e-17.
    while below < u && (f64::from(k) < mean || chance > 1e-18) {
        k += 1;
        chance *= mean / f64::from(k);
        below += chance;
    }
    u64::from(k)
}

/// The whole number k as an integer; k is not negative where this is called and below 2^53.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "k is whole and within the range of both types"
)]
fn count(k: f64) -> u64 {
    k as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use litecore_types::Seed;

    fn draws(mean: f64, count: u64) -> Vec<u64> {
        let law = Poisson::new(mean).unwrap();
        let key = Seed(2).key("poisson", mean.to_bits());
        let mut stream = Uniforms::new(key);
        (0..count).map(|_| law.draw(&mut stream)).collect()
    }

    /// The mean of n counts has variance μ/n, and their variance has variance (2μ² + μ)/n.
    #[test]
    fn mean_and_variance_are_the_mean() {
        for mean in [0.2, 1.0, 9.99, 10.0, 40.0, 1e4, 1e8] {
            let n = 40_000;
            let counts = draws(mean, n);
            let n = n as f64;
            let average = counts.iter().map(|&k| k as f64 - mean).sum::<f64>() / n;
            let variance =
                counts.iter().map(|&k| (k as f64 - mean) * (k as f64 - mean)).sum::<f64>() / n;
            let (of_mean, of_variance) =
                ((mean / n).sqrt(), ((2.0 * mean * mean + mean) / n).sqrt());
            assert!(average.abs() < 4.0 * of_mean, "mean {mean}: off by {average}");
            assert!(
                (variance - mean).abs() < 4.0 * of_variance,
                "mean {mean}: variance {variance}"
            );
        }
    }

    /// Pearson's statistic of d cells has mean d − 1 and variance 2(d − 1); the bound is at four
    /// deviations. The probabilities come from the recursion, not from the logarithm that the
    /// sampler uses.
    #[test]
    fn frequencies_are_the_probabilities() {
        for mean in [0.4, 3.0, 9.9, 10.0, 14.5, 60.0] {
            let n = 200_000;
            let counts = draws(mean, n);
            let (mut statistic, mut cells, mut chance, mut left) =
                (0.0, 0.0, pxfm::f_exp(-mean), 1.0);
            let mut others = n as f64;
            for k in 0..200_u32 {
                let expected = chance * n as f64;
                if expected >= 20.0 {
                    let seen = counts.iter().filter(|&&c| c == u64::from(k)).count() as f64;
                    statistic += (seen - expected) * (seen - expected) / expected;
                    cells += 1.0;
                    left -= chance;
                    others -= seen;
                }
                chance *= mean / f64::from(k + 1);
            }
            let expected = left * n as f64;
            statistic += (others - expected) * (others - expected) / expected;
            // `cells` of them and the rest make cells + 1, of which `cells` are free.
            let bound = cells + 4.0 * (2.0_f64 * cells).sqrt();
            assert!(statistic < bound, "mean {mean}: {statistic:.1} for {cells} cells");
        }
    }

    #[test]
    fn the_walk_inverts_the_distribution() {
        // P(0), P(≤ 1), P(≤ 2) of mean 2: 0.1353, 0.4060, 0.6767.
        let zero = pxfm::f_exp(-2.0);
        let counts = [0.1, 0.14, 0.4, 0.41, 0.67, 0.68].map(|u| invert(2.0, zero, u));
        assert_eq!(counts, [0, 1, 1, 2, 2, 3]);
        // The walk ends even where the sum never reaches the number.
        assert!(invert(9.0, pxfm::f_exp(-9.0), 1.0) < 60);
        assert_eq!(invert(0.0, 1.0, 1.0), 0);
    }

    #[test]
    fn a_mean_out_of_range_is_refused_by_name() {
        for mean in [-1.0, 1e10, f64::INFINITY, f64::NAN] {
            assert!(Poisson::new(mean).is_err(), "{mean}");
        }
        let error = Poisson::new(-1.0).unwrap_err();
        let text = "no counts of mean -1 can be drawn: give a mean from 0 to 1000000000";
        assert_eq!(error.to_string(), text);
    }
}
