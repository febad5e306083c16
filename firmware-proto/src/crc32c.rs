//! CRC-32C (Castagnoli): polynomial 0x1EDC6F41, reflected, start and end inverted.
//!
//! The same sum as in iSCSI (RFC 3720, appendix B.4), whose examples are tested below.

/// The polynomial, reflected.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// How many bytes one round takes; a table each, 16 KiB in all.
const SLICES: usize = 16;

/// A checksum in the making.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crc32c {
    /// The inverted sum of the bytes so far.
    state: u32,
}

/// The checksum of `bytes`.
pub fn crc32c(bytes: &[u8]) -> u32 {
    Crc32c::new().with(bytes).value()
}

impl Crc32c {
    /// The checksum of nothing.
    pub const fn new() -> Self {
        Self { state: !0 }
    }

    /// The checksum of everything so far and then `bytes`.
    #[must_use]
    pub fn with(self, bytes: &[u8]) -> Self {
        #[cfg(feature = "std")]
        if let Some(state) = crate::crc32c_hardware::update(self.state, bytes) {
            return Self { state };
        }
        Self { state: update(self.state, bytes) }
    }

    /// The sum.
    pub const fn value(self) -> u32 {
        !self.state
    }
}

impl Default for Crc32c {
    fn default() -> Self {
        Self::new()
    }
}

/// The portable way, by tables.
pub(crate) fn update(mut state: u32, bytes: &[u8]) -> u32 {
    let (rounds, rest) = bytes.as_chunks::<SLICES>();
    for round in rounds {
        let [a, b, c, d, tail @ ..] = *round;
        let [a, b, c, d] = (state ^ u32::from_le_bytes([a, b, c, d])).to_le_bytes();
        let at = |table: usize, byte: u8| TABLES[table][usize::from(byte)];
        let [e, f, g, h, i, j, k, l, m, n, o, p] = tail;
        state = at(15, a) ^ at(14, b) ^ at(13, c) ^ at(12, d);
        state ^= at(11, e) ^ at(10, f) ^ at(9, g) ^ at(8, h);
        state ^= at(7, i) ^ at(6, j) ^ at(5, k) ^ at(4, l);
        state ^= at(3, m) ^ at(2, n) ^ at(1, o) ^ at(0, p);
    }
    for byte in rest {
        let [low, ..] = state.to_le_bytes();
        state = (state >> 8) ^ TABLES[0][usize::from(low ^ byte)];
    }
    state
}

/// The state after one zero byte.
#[cfg(all(feature = "std", target_arch = "x86_64"))]
pub(crate) const fn over_a_zero(state: u32) -> u32 {
    let [low, ..] = state.to_le_bytes();
    (state >> 8) ^ TABLES_OF_ONE[low as usize]
}

#[cfg(all(feature = "std", target_arch = "x86_64"))]
const TABLES_OF_ONE: [u32; 256] = tables()[0];

/// `TABLES[k][b]` is what byte `b` becomes when `k` zero bytes follow it.
static TABLES: [[u32; 256]; SLICES] = tables();

const fn tables() -> [[u32; 256]; SLICES] {
    let mut tables = [[0; 256]; SLICES];
    let mut byte = 0;
    while byte < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "below 256")]
        let mut sum = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            sum = (sum >> 1) ^ (POLYNOMIAL * (sum & 1));
            bit += 1;
        }
        tables[0][byte] = sum;
        byte += 1;
    }
    let mut slice = 1;
    while slice < SLICES {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[slice - 1][byte];
            tables[slice][byte] = (before >> 8) ^ tables[0][(before & 0xff) as usize];
            byte += 1;
        }
        slice += 1;
    }
    tables
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    #[test]
    fn the_examples_of_the_standard_hold() {
        // RFC 3720, B.4, and the check value of the catalogs of CRCs.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        let ascending: Vec<u8> = (0..32).collect();
        assert_eq!(crc32c(&ascending), 0x46dd_794e);
        let descending: Vec<u8> = (0..32).rev().collect();
        assert_eq!(crc32c(&descending), 0x113f_db5c);
        assert_eq!(crc32c(&[]), 0);
    }

    /// Long division, one bit at a time.
    fn divided(bytes: &[u8]) -> u32 {
        let mut state = !0_u32;
        for byte in bytes {
            state ^= u32::from(*byte);
            for _ in 0..8 {
                state = if state & 1 == 1 { (state >> 1) ^ POLYNOMIAL } else { state >> 1 };
            }
        }
        !state
    }

    proptest! {
        #[test]
        fn it_equals_long_division_however_the_bytes_are_cut(bytes: Vec<u8>, cut: prop::sample::Index) {
            let cut = cut.index(bytes.len() + 1);
            prop_assert_eq!(crc32c(&bytes), divided(&bytes));
            // Long enough for the lanes of the wide way.
            let long: Vec<u8> = bytes.iter().chain(&[0x5a; 6500]).chain(&bytes).copied().collect();
            prop_assert_eq!(crc32c(&long), divided(&long));
            prop_assert_eq!(!update(!0, &bytes), divided(&bytes), "the portable way");
            prop_assert_eq!(Crc32c::new().with(&bytes[..cut]).with(&bytes[cut..]).value(), divided(&bytes));
        }
    }
}
