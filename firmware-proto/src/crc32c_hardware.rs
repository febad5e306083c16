//! CRC-32C by the instructions that processors have for it, where this one has them.

#![allow(unsafe_code, reason = "instructions that were asked for at run time")]

/// The state after `bytes`; `None` where the processor has no such instruction.
pub(crate) fn update(state: u32, bytes: &[u8]) -> Option<u32> {
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("sse4.2") {
        // SAFETY: the processor has SSE 4.2, and the function needs nothing else.
        return Some(unsafe { x86_64(state, bytes) });
    }
    #[cfg(target_arch = "aarch64")]
    if std::arch::is_aarch64_feature_detected!("crc") {
        // SAFETY: the processor has the CRC extension, and the function needs nothing else.
        return Some(unsafe { aarch64(state, bytes) });
    }
    let _ = (state, bytes);
    None
}

/// Bytes of a lane: three lanes at once keep the instruction busy, which takes three cycles and can
/// begin in each.
#[cfg(target_arch = "x86_64")]
const LANE: usize = 1024;

/// `SHIFTS[k][b]` is what a state with byte `b` in place `k` becomes over a lane of zeros.
#[cfg(target_arch = "x86_64")]
static SHIFTS: [[u32; 256]; 4] = shifts();

#[cfg(target_arch = "x86_64")]
const fn shifts() -> [[u32; 256]; 4] {
    let mut shifts = [[0; 256]; 4];
    let mut bit = 0;
    while bit < 32 {
        let mut state = 1_u32 << bit;
        let mut zeros = 0;
        while zeros < LANE {
            state = crate::crc32c::over_a_zero(state);
            zeros += 1;
        }
        // The sum is linear: every byte is the sum of its bits.
        let mut byte = 0;
        while byte < 256 {
            if byte >> (bit % 8) & 1 == 1 {
                shifts[bit / 8][byte] ^= state;
            }
            byte += 1;
        }
        bit += 1;
    }
    shifts
}

/// The state after a lane of zeros.
#[cfg(target_arch = "x86_64")]
fn shifted(state: u32) -> u32 {
    let bytes = state.to_le_bytes();
    bytes.iter().zip(&SHIFTS).fold(0, |sum, (byte, shift)| sum ^ shift[usize::from(*byte)])
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "sse4.2")]
fn x86_64(state: u32, bytes: &[u8]) -> u32 {
    use core::arch::x86_64::{_mm_crc32_u8, _mm_crc32_u64};
    // The instruction leaves the upper half zero.
    let narrow = |wide: u64| u32::try_from(wide).unwrap_or(0);
    let mut state = state;
    let (rounds, bytes) = bytes.as_chunks::<{ 3 * LANE }>();
    for round in rounds {
        let (first, rest) = round.split_at(LANE);
        let (second, third) = rest.split_at(LANE);
        let (mut a, mut b, mut c) = (u64::from(state), 0, 0);
        let lanes = first.as_chunks::<8>().0.iter();
        let lanes = lanes.zip(second.as_chunks::<8>().0).zip(third.as_chunks::<8>().0);
        for ((x, y), z) in lanes {
            a = _mm_crc32_u64(a, u64::from_le_bytes(*x));
            b = _mm_crc32_u64(b, u64::from_le_bytes(*y));
            c = _mm_crc32_u64(c, u64::from_le_bytes(*z));
        }
        state = shifted(shifted(narrow(a)) ^ narrow(b)) ^ narrow(c);
    }
    let (words, rest) = bytes.as_chunks::<8>();
    let mut wide = u64::from(state);
    for word in words {
        wide = _mm_crc32_u64(wide, u64::from_le_bytes(*word));
    }
    rest.iter().fold(narrow(wide), |state, byte| _mm_crc32_u8(state, *byte))
}

#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "crc")]
fn aarch64(state: u32, bytes: &[u8]) -> u32 {
    use core::arch::aarch64::{__crc32cb, __crc32cd};
    let (words, rest) = bytes.as_chunks::<8>();
    let state = words.iter().fold(state, |state, word| __crc32cd(state, u64::from_le_bytes(*word)));
    rest.iter().fold(state, |state, byte| __crc32cb(state, *byte))
}
