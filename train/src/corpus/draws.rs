//! Seeded choices: the only source of variety in the corpus.

/// A stream of pseudo-random choices. Equal seeds give equal streams on every machine.
///
/// The generator is `SplitMix64`: a counter stepped by the golden ratio and mixed by two
/// multiplications.
#[derive(Debug, Clone)]
pub(crate) struct Draws {
    state: u64,
}

/// Mixes 64 bits so that every input bit changes about half of the output bits.
pub(crate) fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Hashes bytes to 64 bits; used to split records between training and held-out text.
pub(crate) fn hash_bytes(bytes: &[u8]) -> u64 {
    let mut state = 0x51_7c_c1_b7_27_22_0a_95_u64;
    for &byte in bytes {
        state = mix(state ^ u64::from(byte)).wrapping_add(0x9e37_79b9_7f4a_7c15);
    }
    mix(state)
}

impl Draws {
    /// Starts the stream named by `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: mix(seed ^ 0x6c69_7465_636f_7265) }
    }

    /// The next 64 bits.
    pub(crate) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.state)
    }

    /// A number in `0..bound`; 0 when the bound is 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        // The bias of the remainder is below 2^-40 for the small bounds used here.
        self.next().checked_rem(bound).unwrap_or(0)
    }

    /// A number in `low..=high`.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// A number in `low..=high` as a float, in steps of `1 / parts`.
    pub(crate) fn real(&mut self, low: u64, high: u64, parts: u32) -> f64 {
        let parts_wide = u64::from(parts);
        self.between(low * parts_wide, high * parts_wide) as f64 / f64::from(parts)
    }

    /// One of the given words.
    pub(crate) fn pick<'a>(&mut self, words: &[&'a str]) -> &'a str {
        let index = usize::try_from(self.below(words.len() as u64)).unwrap_or(0);
        words.get(index).copied().unwrap_or("")
    }

    /// True once in `n` draws.
    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::{Draws, hash_bytes};

    #[test]
    fn the_stream_is_frozen() {
        let mut draws = Draws::new(7);
        let first = [draws.next(), draws.next()];
        assert_eq!(first, FROZEN, "a changed stream changes the whole corpus");
        assert_eq!(hash_bytes(b"litecore"), FROZEN_HASH);
    }

    #[test]
    fn between_reaches_both_ends() {
        let mut draws = Draws::new(1);
        let seen: Vec<u64> = (0..200).map(|_| draws.between(3, 5)).collect();
        assert!(seen.iter().all(|v| (3..=5).contains(v)));
        assert!(seen.contains(&3) && seen.contains(&5));
    }

    const FROZEN: [u64; 2] = [941_933_867_533_329_048, 8_484_324_056_030_952_438];
    const FROZEN_HASH: u64 = 7_769_110_527_901_101_933;
}
