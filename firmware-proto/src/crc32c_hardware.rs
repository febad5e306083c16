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

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "sse4.2")]
fn x86_64(state: u32, bytes: &[u8]) -> u32 {
    use core::arch::x86_64::{_mm_crc32_u8, _mm_crc32_u64};
    let (words, rest) = bytes.as_chunks::<8>();
    let mut wide = u64::from(state);
    for word in words {
        wide = _mm_crc32_u64(wide, u64::from_le_bytes(*word));
    }
    // The instruction leaves the upper half zero.
    let narrow = u32::try_from(wide).unwrap_or(0);
    rest.iter().fold(narrow, |state, byte| _mm_crc32_u8(state, *byte))
}

#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "crc")]
fn aarch64(state: u32, bytes: &[u8]) -> u32 {
    use core::arch::aarch64::{__crc32cb, __crc32cd};
    let (words, rest) = bytes.as_chunks::<8>();
    let state = words.iter().fold(state, |state, word| __crc32cd(state, u64::from_le_bytes(*word)));
    rest.iter().fold(state, |state, byte| __crc32cb(state, *byte))
}
