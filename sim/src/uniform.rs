//! Uniform numbers by counter: a key names a stream, and a stream is a fixed list of numbers.
//!
//! **Invariant:** only integer operations and one exact multiplication occur, so that every machine
//! gives the same bits.

/// A stream of uniform numbers: number i is a function of the key and of i.
///
/// Streams are named by [`litecore_types::Seed::key`]. The mixer is that of `SplitMix64` (Steele,
/// Lea and Flood, 2014) with the key as its seed.
#[derive(Clone, Debug)]
pub struct Uniforms {
    state: u64,
}

impl Uniforms {
    /// The stream of a key, at its start.
    pub fn new(key: u64) -> Self {
        Self { state: key }
    }

    /// The next 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = self.state;
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// The next number, uniform between 0 and 1; neither end occurs.
    ///
    /// Exact: `(n + ½) / 2^52` for a random n of 52 bits.
    pub fn unit(&mut self) -> f64 {
        /// 2^−52.
        const STEP: f64 = f64::EPSILON;
        ((self.bits() >> 12) as f64 + 0.5) * STEP
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bits_are_the_published_sequence() {
        // The first outputs of SplitMix64 seeded with 1234567, as widely published.
        let mut stream = Uniforms::new(1_234_567);
        let bits = [stream.bits(), stream.bits(), stream.bits()];
        assert_eq!(
            bits,
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        );
    }

    #[test]
    fn units_have_the_moments_of_the_uniform_law_and_stay_inside() {
        let mut stream = Uniforms::new(3);
        let count = 100_000;
        let (mut sum, mut squares) = (0.0, 0.0);
        for _ in 0..count {
            let u = stream.unit();
            assert!(0.0 < u && u < 1.0);
            sum += u;
            squares += u * u;
        }
        // Four deviations: 4 · √(1/12 / n) and 4 · √(4/45 / n).
        let n = f64::from(count);
        assert!((sum / n - 0.5).abs() < 4.0 * (1.0 / 12.0 / n).sqrt());
        assert!((squares / n - 1.0 / 3.0).abs() < 4.0 * (4.0 / 45.0 / n).sqrt());
    }
}
