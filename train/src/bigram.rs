//! The byte-bigram model: the simplest model worth beating.

/// Bits per byte of a bigram model on held-out text.
///
/// The model is `p(b | a) = (n(a,b) + k·p(b)) / (n(a) + k)` with `p(b) = (n(b) + 1) / (n + 256)`,
/// where `n` counts the training text and `k = 4`: bigrams, smoothed by single bytes. The first
/// byte of the held-out text is judged by `p(b)`. Zero for an empty held-out text.
///
/// Units: bits per byte.
pub fn bits_per_byte(train: &[u8], heldout: &[u8]) -> f64 {
    Bigram::new(train).bits_per_byte(heldout)
}

/// Weight of the single-byte model, in counts.
const SMOOTHING: f64 = 4.0;

/// A trained bigram model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bigram {
    /// How often byte `b` follows byte `a`, at `256·a + b`.
    pairs: Vec<u32>,
    /// How often each byte occurs.
    singles: Vec<u32>,
}

impl Bigram {
    /// Counts a text. Counts saturate at `u32::MAX`.
    pub fn new(text: &[u8]) -> Self {
        let mut model = Self { pairs: vec![0; 256 * 256], singles: vec![0; 256] };
        for &byte in text {
            let count = &mut model.singles[usize::from(byte)];
            *count = count.saturating_add(1);
        }
        for (&first, &second) in text.iter().zip(text.iter().skip(1)) {
            let count = &mut model.pairs[usize::from(first) * 256 + usize::from(second)];
            *count = count.saturating_add(1);
        }
        model
    }

    /// The probability of a byte after another one, or of a first byte.
    pub fn probability(&self, before: Option<u8>, byte: u8) -> f64 {
        let total: f64 = self.singles.iter().map(|&count| f64::from(count)).sum();
        self.conditional(before, byte, total)
    }

    /// Bits per byte on a text; zero for an empty one.
    pub fn bits_per_byte(&self, text: &[u8]) -> f64 {
        let total: f64 = self.singles.iter().map(|&count| f64::from(count)).sum();
        let mut before = None;
        let mut bits = 0.0;
        for &byte in text {
            bits -= pxfm::f_log2(self.conditional(before, byte, total));
            before = Some(byte);
        }
        if text.is_empty() { 0.0 } else { bits / text.len() as f64 }
    }

    fn conditional(&self, before: Option<u8>, byte: u8, total: f64) -> f64 {
        let single = (f64::from(self.singles[usize::from(byte)]) + 1.0) / (total + 256.0);
        let Some(before) = before else { return single };
        let row = &self.pairs[usize::from(before) * 256..][..256];
        let pair = f64::from(row[usize::from(byte)]);
        let context: f64 = row.iter().map(|&count| f64::from(count)).sum();
        SMOOTHING.mul_add(single, pair) / (context + SMOOTHING)
    }
}

#[cfg(test)]
mod tests {
    use super::{Bigram, bits_per_byte};

    /// `abab` has two `a`, two `b`, twice `ab` and once `ba`.
    #[test]
    fn probabilities_of_a_small_text_by_hand() {
        let model = Bigram::new(b"abab");
        let single = 3.0 / 260.0;
        let close = |found: f64, expected: f64| {
            assert!((found - expected).abs() < 1e-15, "{found}, not {expected}");
        };
        close(model.probability(None, b'a'), single);
        close(model.probability(None, b'z'), 1.0 / 260.0);
        close(model.probability(Some(b'a'), b'b'), (2.0 + 4.0 * single) / 6.0);
        close(model.probability(Some(b'b'), b'a'), (1.0 + 4.0 * single) / 5.0);
        close(model.probability(Some(b'a'), b'a'), 4.0 * single / 6.0);
        // After a byte that never came, only single bytes count.
        close(model.probability(Some(b'z'), b'b'), single);
    }

    #[test]
    fn probabilities_sum_to_one() {
        let model = Bigram::new(b"the tile holds the codes");
        for before in [None, Some(b'e'), Some(b't'), Some(0)] {
            let sum: f64 = (0..=255).map(|byte| model.probability(before, byte)).sum();
            assert!((sum - 1.0).abs() < 1e-12, "{sum} after {before:?}");
        }
    }

    #[test]
    fn bits_of_a_small_text_by_hand() {
        // −log2(3/260) is 6.4374053, −log2((2 + 12/260)/6) is 1.5520479: 7.9894532 in all.
        let bits = bits_per_byte(b"abab", b"ab");
        assert!((bits - 7.989_453_2 / 2.0).abs() < 1e-7, "{bits}");
        assert!(bits_per_byte(b"abab", b"").abs() < 1e-15);
        assert!((bits_per_byte(b"", b"xy") - 8.0).abs() < 1e-12);
    }
}
