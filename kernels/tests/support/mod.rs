//! What the tests of this crate share: values, comparison of bits, a digest.
#![allow(dead_code, reason = "each test file uses a part")]

/// Values of both signs over twelve binades, from a small generator of its own.
pub(crate) fn values(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..count)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let [a, b, c, d, exponent, ..] = state.to_le_bytes();
            let sign_and_fraction = u32::from_le_bytes([a, b, c & 0x7f, d & 0x80]);
            f32::from_bits(sign_and_fraction | (120 + u32::from(exponent % 12)) << 23)
        })
        .collect()
}

/// Codes over the whole range, from the same generator.
pub(crate) fn codes(count: usize, seed: u64) -> Vec<i8> {
    values(count, seed).iter().map(|x| x.to_bits().to_le_bytes()[1].cast_signed()).collect()
}

/// Fails unless all bits agree; a NaN agrees with any NaN.
pub(crate) fn assert_same_bits(actual: &[f32], expected: &[f32], what: &str) {
    assert_eq!(actual.len(), expected.len(), "{what}");
    for (i, (a, e)) in actual.iter().zip(expected).enumerate() {
        let same = a.to_bits() == e.to_bits() || (a.is_nan() && e.is_nan());
        assert!(same, "{what}, element {i}: {a:e} is not {e:e}");
    }
}

/// A 64-bit digest (FNV-1a) of the bits.
pub(crate) fn digest(values: &[f32]) -> u64 {
    values.iter().flat_map(|value| value.to_le_bytes()).fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
