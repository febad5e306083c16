//! Blocks of a matrix of codes on x86-64, column by column: sixteen rows at a time, in registers.
//!
//! Interleaving the first half of sixteen rows with the second, byte by byte, four times, exchanges
//! rows and columns within each sixteen columns.
#![allow(unsafe_code, reason = "vector instructions")]
#![allow(clippy::cast_ptr_alignment, reason = "loads and stores here take any alignment")]

use std::arch::x86_64::{
    __m128i, __m256i, __m512i, _mm_storeu_si128, _mm256_castsi256_si128, _mm256_extracti128_si256,
    _mm256_loadu_si256, _mm256_unpackhi_epi8, _mm256_unpacklo_epi8, _mm512_castsi512_si128,
    _mm512_extracti32x4_epi32, _mm512_loadu_si512, _mm512_unpackhi_epi8, _mm512_unpacklo_epi8,
};

use crate::Isa;

/// Rows of a block.
const ROWS: usize = 16;

/// Turns as many rows and columns of a block as make whole registers, and says how many that are.
///
/// What [`super::turn()`] asks of its arguments must hold.
pub(super) fn turn(
    isa: Isa,
    codes: &[i8],
    stride: usize,
    (rows, len): (usize, usize),
    out: &mut [i8],
    width: usize,
) -> (usize, usize) {
    let columns = match isa.or_scalar() {
        Isa::Avx512 => 64,
        Isa::Avx2 => 32,
        Isa::Scalar | Isa::Neon => return (0, 0),
    };
    let (rows, len) = (rows - rows % ROWS, len - len % columns);
    for first in (0..rows).step_by(ROWS) {
        for column in (0..len).step_by(columns) {
            let from = &codes[first * stride + column..][..(ROWS - 1) * stride + columns];
            let to = &mut out[column * width + first..][..(columns - 1) * width + ROWS];
            // SAFETY: `or_scalar` returned it, so its instructions were detected. The block's last row
            // and the last column end where the slices do.
            unsafe {
                if columns == 64 {
                    block_512(from.as_ptr(), stride, to.as_mut_ptr(), width);
                } else {
                    block_256(from.as_ptr(), stride, to.as_mut_ptr(), width);
                }
            }
        }
    }
    (rows, len)
}

/// Sixteen rows of 64 codes.
///
/// # Safety
/// AVX-512 F and BW must exist, the rows must be readable, `stride` apart, and the columns, sixteen codes
/// each, writable, `width` apart.
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn block_512(from: *const i8, stride: usize, to: *mut i8, width: usize) {
    // SAFETY: the rows are readable.
    let rows: [__m512i; ROWS] = std::array::from_fn(|row| unsafe {
        _mm512_loadu_si512(from.wrapping_add(row * stride).cast())
    });
    let turned = interleaved(rows, |a, b| (_mm512_unpacklo_epi8(a, b), _mm512_unpackhi_epi8(a, b)));
    for (column, turned) in turned.into_iter().enumerate() {
        let lanes: [__m128i; 4] = [
            _mm512_castsi512_si128(turned),
            _mm512_extracti32x4_epi32::<1>(turned),
            _mm512_extracti32x4_epi32::<2>(turned),
            _mm512_extracti32x4_epi32::<3>(turned),
        ];
        for (lane, codes) in lanes.into_iter().enumerate() {
            let to = to.wrapping_add((16 * lane + column) * width);
            // SAFETY: the column is writable.
            unsafe { _mm_storeu_si128(to.cast(), codes) };
        }
    }
}

/// Sixteen rows of 32 codes.
///
/// # Safety
/// As [`block_512`], with AVX2 and half as many columns.
#[target_feature(enable = "avx2")]
unsafe fn block_256(from: *const i8, stride: usize, to: *mut i8, width: usize) {
    // SAFETY: the rows are readable.
    let rows: [__m256i; ROWS] = std::array::from_fn(|row| unsafe {
        _mm256_loadu_si256(from.wrapping_add(row * stride).cast())
    });
    let turned = interleaved(rows, |a, b| (_mm256_unpacklo_epi8(a, b), _mm256_unpackhi_epi8(a, b)));
    for (column, turned) in turned.into_iter().enumerate() {
        let lanes: [__m128i; 2] =
            [_mm256_castsi256_si128(turned), _mm256_extracti128_si256::<1>(turned)];
        for (lane, codes) in lanes.into_iter().enumerate() {
            let to = to.wrapping_add((16 * lane + column) * width);
            // SAFETY: the column is writable.
            unsafe { _mm_storeu_si128(to.cast(), codes) };
        }
    }
}

/// The first half of some registers interleaved with the second, four times.
#[inline(always)]
fn interleaved<V: Copy>(rows: [V; ROWS], both: impl Fn(V, V) -> (V, V)) -> [V; ROWS] {
    once(once(once(once(rows, &both), &both), &both), &both)
}

/// Written out, so that all are in registers.
#[inline(always)]
fn once<V: Copy>(r: [V; ROWS], both: &impl Fn(V, V) -> (V, V)) -> [V; ROWS] {
    let (a, b) = both(r[0], r[8]);
    let (c, d) = both(r[1], r[9]);
    let (e, f) = both(r[2], r[10]);
    let (g, h) = both(r[3], r[11]);
    let (i, j) = both(r[4], r[12]);
    let (k, l) = both(r[5], r[13]);
    let (m, n) = both(r[6], r[14]);
    let (o, p) = both(r[7], r[15]);
    [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
}
