use serde::{Serialize, Serializer};
use siphasher::sip::SipHasher24;
use std::fmt;
use std::hash::Hasher;
use std::str::FromStr;

/// The root of all chance in a run: 128 bits, split into named branches by a portable hash.
///
/// Two branches with different labels or indices are independent for every purpose here, and a
/// branch does not change when other branches are added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seed(pub u128);

impl Seed {
    /// The 64-bit key of the branch `label`, `index`: SipHash-2-4 over the label's bytes, a zero
    /// byte and the index in little-endian order, keyed by the seed's little-endian bytes.
    pub fn key(self, label: &str, index: u64) -> u64 {
        let mut hasher = SipHasher24::new_with_key(&self.0.to_le_bytes());
        hasher.write(label.as_bytes());
        hasher.write(&[0]);
        hasher.write(&index.to_le_bytes());
        hasher.finish()
    }

    /// The seed of a sub-tree: both halves are branches of `self`.
    #[must_use]
    pub fn branch(self, label: &str, index: u64) -> Self {
        let low = self.key(label, index);
        let high = Self(self.0 ^ u128::MAX).key(label, index);
        Self(u128::from(high) << 64 | u128::from(low))
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// Why a text is not a seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseSeedError {
    /// What was given.
    pub text: String,
}

impl fmt::Display for ParseSeedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not a seed: give a whole number below 2^128, decimal or 0x…", self.text)
    }
}

impl std::error::Error for ParseSeedError {}

impl FromStr for Seed {
    type Err = ParseSeedError;
    fn from_str(text: &str) -> Result<Self, ParseSeedError> {
        let parsed = match text.strip_prefix("0x") {
            Some(hex) => u128::from_str_radix(hex, 16),
            None => text.parse(),
        };
        parsed.map(Self).map_err(|_| ParseSeedError { text: text.to_owned() })
    }
}

impl Serialize for Seed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn siphash_matches_the_vector_of_its_authors() {
        // Aumasson and Bernstein, "SipHash: a fast short-input PRF", appendix A.
        let key: [u8; 16] = core::array::from_fn(|i| u8::try_from(i).expect("below 16"));
        let message: [u8; 15] = core::array::from_fn(|i| u8::try_from(i).expect("below 15"));
        let mut hasher = SipHasher24::new_with_key(&key);
        hasher.write(&message);
        assert_eq!(hasher.finish(), 0xa129_ca61_49be_45e5);
    }

    #[test]
    fn branches_are_frozen() {
        assert_eq!(Seed(0).key("cell_phase", 0), FROZEN_A);
        assert_eq!(Seed(7).key("cell_phase", 3), FROZEN_B);
        assert_eq!(Seed(7).branch("run", 1), Seed(FROZEN_C));
    }

    #[test]
    fn seeds_read_decimal_and_hexadecimal() {
        assert_eq!("17".parse(), Ok(Seed(17)));
        assert_eq!("0x11".parse(), Ok(Seed(17)));
        assert!("-1".parse::<Seed>().is_err());
        assert!("".parse::<Seed>().is_err());
        let seed = Seed(0x1234_5678_9abc_def0_1122_3344_5566_7788);
        assert_eq!(seed.to_string().parse(), Ok(seed));
    }

    // From an independent SipHash-2-4 written in another language.
    const FROZEN_A: u64 = 0x3e5f_e849_2d22_bf9a;
    const FROZEN_B: u64 = 0x642a_f656_7a7b_a61b;
    const FROZEN_C: u128 = 0xe647_5669_44be_6299_6424_222b_6b17_2f9c;
}
