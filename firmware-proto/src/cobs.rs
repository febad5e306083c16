//! Consistent overhead byte stuffing: any bytes, without a zero among them.
//!
//! Source: Cheshire and Baker, "Consistent Overhead Byte Stuffing", IEEE/ACM Transactions on
//! Networking 7(2), 1999. Each block begins with the distance to the next zero; 255 means 254
//! bytes and no zero.

/// Longest run of bytes in a block.
const RUN_MAX: usize = 254;

/// Most bytes that `len` bytes become.
pub const fn encoded_max(len: usize) -> usize {
    len + len / RUN_MAX + 1
}

/// Writes the stuffed form of `bytes` to `out` and says how many bytes that took; `None` if `out`
/// is shorter than [`encoded_max`] says.
pub fn encode(bytes: &[u8], out: &mut [u8]) -> Option<usize> {
    if out.len() < encoded_max(bytes.len()) {
        return None;
    }
    let (mut rest, mut written) = (bytes, 0);
    loop {
        let window = rest.get(..RUN_MAX).unwrap_or(rest);
        let run = zero_at(window).unwrap_or(window.len());
        let (code, block) = out.get_mut(written..=written + run)?.split_first_mut()?;
        // At most 254, so it fits.
        *code = u8::try_from(run + 1).ok()?;
        block.copy_from_slice(rest.get(..run)?);
        written += run + 1;
        let zero = run < window.len();
        rest = rest.get(run + usize::from(zero)..)?;
        if rest.is_empty() && !zero {
            return Some(written);
        }
    }
}

/// Writes the bytes that `stuffed` stands for to `out` and says how many they are.
///
/// `stuffed` is what lies between two zeros, so it has none. `None` if a block goes beyond its end,
/// or the bytes beyond that of `out`.
pub fn decode(stuffed: &[u8], out: &mut [u8]) -> Option<usize> {
    let (mut rest, mut written) = (stuffed, 0);
    while let Some((code, tail)) = rest.split_first() {
        let run = usize::from(*code).checked_sub(1)?;
        out.get_mut(written..written + run)?.copy_from_slice(tail.get(..run)?);
        written += run;
        rest = tail.get(run..)?;
        if run < RUN_MAX && !rest.is_empty() {
            *out.get_mut(written)? = 0;
            written += 1;
        }
    }
    Some(written)
}

/// Where the first zero is.
pub(crate) fn zero_at(bytes: &[u8]) -> Option<usize> {
    let (blocks, rest) = bytes.as_chunks::<64>();
    for (index, block) in blocks.iter().enumerate() {
        // Without a way out in the middle, so that it becomes a few wide instructions.
        if block.iter().fold(0, |found, byte| found | u8::from(*byte == 0)) != 0 {
            return zero_in_words(block).map(|at| index * 64 + at);
        }
    }
    zero_in_words(rest).map(|at| blocks.len() * 64 + at)
}

fn zero_in_words(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        // The lowest high bit set is at the first zero byte.
        let zeros = word.wrapping_sub(ONES) & !word & (ONES << 7);
        if zeros != 0 {
            return Some(index * 8 + (zeros.trailing_zeros() / 8) as usize);
        }
    }
    rest.iter().position(|byte| *byte == 0).map(|at| words.len() * 8 + at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec;
    use std::vec::Vec;

    fn stuffed(bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![0xee; encoded_max(bytes.len())];
        let written = encode(bytes, &mut out).unwrap();
        out.truncate(written);
        out
    }

    #[test]
    fn the_examples_of_the_paper_hold() {
        assert_eq!(stuffed(&[]), [1]);
        assert_eq!(stuffed(&[0]), [1, 1]);
        assert_eq!(stuffed(&[0, 0]), [1, 1, 1]);
        assert_eq!(stuffed(&[0x11, 0x22, 0, 0x33]), [3, 0x11, 0x22, 2, 0x33]);
        assert_eq!(stuffed(&[0x11, 0, 0, 0]), [2, 0x11, 1, 1, 1]);
        let long: Vec<u8> = (1..=254).collect();
        assert_eq!(stuffed(&long)[0], 255);
        assert_eq!(stuffed(&long).len(), 255, "a full block needs no zero behind it");
        let longer: Vec<u8> = (1..=255).collect();
        assert_eq!(stuffed(&longer)[255..], [2, 255]);
    }

    #[test]
    fn a_block_beyond_the_end_is_refused() {
        let mut out = [0; 8];
        assert_eq!(decode(&[3, 1], &mut out), None);
        assert_eq!(decode(&[0], &mut out), None);
        assert_eq!(decode(&[9, 1, 2, 3, 4, 5, 6, 7, 8], &mut out[..4]), None);
        assert_eq!(encode(&[1, 2, 3], &mut out[..3]), None);
    }

    proptest! {
        #[test]
        fn bytes_come_back_and_no_zero_is_left(
            bytes in prop::collection::vec(prop_oneof![3 => Just(0_u8), 40 => any::<u8>()], 0..900),
        ) {
            let stuffed = stuffed(&bytes);
            prop_assert!(!stuffed.contains(&0));
            prop_assert!(stuffed.len() <= encoded_max(bytes.len()));
            let mut out = vec![0; bytes.len()];
            prop_assert_eq!(decode(&stuffed, &mut out), Some(bytes.len()));
            prop_assert_eq!(out, bytes);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, room in 0_usize..300) {
            let mut out = vec![0; room];
            if let Some(written) = decode(&bytes, &mut out) {
                prop_assert!(written <= room);
            }
            prop_assert_eq!(zero_at(&bytes), bytes.iter().position(|b| *b == 0));
        }
    }
}
