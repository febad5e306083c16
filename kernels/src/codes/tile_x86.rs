//! The product of a tile's codes on x86-64, four or two inputs per instruction.
//!
//! Rows of weights are interleaved in registers as they are read, so that the instructions find the
//! weights of neighboring inputs side by side. All sums wrap, and as the true result fits an i32 it
//! comes out exact whatever lies between.
#![allow(unsafe_code, reason = "vector instructions")]
#![allow(clippy::cast_ptr_alignment, reason = "loads and stores here take any alignment")]
#![allow(clippy::needless_range_loop, reason = "constant places keep the sums in registers")]

use std::arch::x86_64::{
    __m128i, __m256i, __m512i, __mmask64, _mm_loadu_si128, _mm_unpackhi_epi8, _mm_unpacklo_epi8,
    _mm256_add_epi32, _mm256_cvtepi8_epi16, _mm256_madd_epi16, _mm256_set1_epi32,
    _mm256_setzero_si256, _mm256_storeu_si256, _mm512_dpbusd_epi32, _mm512_mask_storeu_epi32,
    _mm512_maskz_loadu_epi8, _mm512_set1_epi8, _mm512_set1_epi32, _mm512_shuffle_i32x4,
    _mm512_unpackhi_epi8, _mm512_unpackhi_epi16, _mm512_unpacklo_epi8, _mm512_unpacklo_epi16,
    _mm512_xor_si512,
};

use crate::Isa;

/// Runs the product if there is a path for it and says whether it did.
pub(super) fn product(
    isa: Isa,
    weights: &[i8],
    inputs: usize,
    outputs: usize,
    x: &[i8],
    acc: &mut [i32],
) -> bool {
    let tile = Tile { weights, inputs, outputs };
    if isa == Isa::Avx512 && is_x86_feature_detected!("avx512vnni") {
        // SAFETY: `isa` is detected, and so is VNNI.
        unsafe { with_quads(&tile, x, acc) }
        return true;
    }
    if isa >= Isa::Avx2 && outputs >= COLUMNS_2 {
        // SAFETY: AVX2 is part of both families left.
        unsafe { with_pairs(&tile, &pairs_of(x, inputs), acc) }
        return true;
    }
    false
}

/// The weights, inputs × outputs.
struct Tile<'a> {
    weights: &'a [i8],
    inputs: usize,
    outputs: usize,
}

impl Tile<'_> {
    /// The weights of `N` neighboring inputs from an output on; behind the last input, those of the
    /// last one, which then meet a zero.
    #[inline(always)]
    fn rows<const N: usize>(&self, input: usize, output: usize) -> [*const i8; N] {
        let last = self.inputs - 1;
        let row = |input: usize| self.weights.as_ptr().wrapping_add(input * self.outputs + output);
        std::array::from_fn(|k| row(last.min(input + k)))
    }
}

/// Outputs of one step with VNNI: the bytes of a register.
const COLUMNS_4: usize = 64;

/// Symbols that share an interleaved register, both ways.
const SYMBOLS: usize = 4;

/// Every product with VNNI.
///
/// # Safety
/// AVX-512 F, BW and VNNI must exist.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
unsafe fn with_quads(tile: &Tile, x: &[i8], acc: &mut [i32]) {
    let together = x.chunks(SYMBOLS * tile.inputs).zip(acc.chunks_mut(SYMBOLS * tile.outputs));
    for (x, acc) in together {
        for output in (0..tile.outputs).step_by(COLUMNS_4) {
            // SAFETY: passed on; the output exists.
            unsafe {
                match x.len() / tile.inputs {
                    1 => quads::<1>(tile, output, x, acc),
                    2 => quads::<2>(tile, output, x, acc),
                    3 => quads::<3>(tile, output, x, acc),
                    _ => quads::<4>(tile, output, x, acc),
                }
            }
        }
    }
}

/// 64 outputs or the rest of them, for `S` symbols.
///
/// # Safety
/// AVX-512 F, BW and VNNI must exist, and so must the output.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[inline]
unsafe fn quads<const S: usize>(tile: &Tile, output: usize, x: &[i8], acc: &mut [i32]) {
    let columns = (tile.outputs - output).min(COLUMNS_4);
    let mask: __mmask64 = u64::MAX >> (COLUMNS_4 - columns);
    let symbols: [&[i8]; S] = std::array::from_fn(|s| &x[s * tile.inputs..][..tile.inputs]);
    // The instruction takes unsigned times signed: weights plus 128 are unsigned, and 128 times the
    // sum of the inputs is taken off at the start.
    let mut sums = [[_mm512_set1_epi32(0); 4]; S];
    for s in 0..S {
        sums[s] = [_mm512_set1_epi32(sum(symbols[s]).wrapping_mul(-128)); 4];
    }
    let groups = tile.inputs / 4;
    let mut rows = tile.rows(0, output);
    for group in 0..groups {
        // SAFETY: the rows have `columns` weights from `output` on.
        let quads = unsafe { interleaved(rows, mask) };
        rows = rows.map(|row| row.wrapping_add(4 * tile.outputs));
        for s in 0..S {
            // SAFETY: every symbol has four inputs from `4 * group` on.
            let x = unsafe { symbols[s].as_ptr().add(4 * group).cast::<i32>().read_unaligned() };
            accumulate(&mut sums[s], quads, x);
        }
    }
    if !tile.inputs.is_multiple_of(4) {
        // SAFETY: as above.
        let quads = unsafe { interleaved(tile.rows(4 * groups, output), mask) };
        for s in 0..S {
            let mut codes = [0; 4];
            for (code, &x) in codes.iter_mut().zip(&symbols[s][4 * groups..]) {
                *code = x.cast_unsigned();
            }
            accumulate(&mut sums[s], quads, i32::from_le_bytes(codes));
        }
    }
    for (s, sums) in sums.into_iter().enumerate() {
        let to = acc[s * tile.outputs + output..][..columns].as_mut_ptr();
        for (part, sums) in in_order(sums).into_iter().enumerate() {
            let mask = low_16(mask >> (16 * part));
            // SAFETY: the mask writes only the outputs that exist.
            unsafe { _mm512_mask_storeu_epi32(to.wrapping_add(16 * part), mask, sums) }
        }
    }
}

/// The weights of four inputs plus 128, byte beside byte.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
unsafe fn interleaved([a, b, c, d]: [*const i8; 4], mask: __mmask64) -> [__m512i; 4] {
    let offset = _mm512_set1_epi8(i8::MIN);
    // SAFETY: the mask reads no more than the caller promised.
    let [a, b, c, d] = unsafe {
        [
            _mm512_xor_si512(_mm512_maskz_loadu_epi8(mask, a), offset),
            _mm512_xor_si512(_mm512_maskz_loadu_epi8(mask, b), offset),
            _mm512_xor_si512(_mm512_maskz_loadu_epi8(mask, c), offset),
            _mm512_xor_si512(_mm512_maskz_loadu_epi8(mask, d), offset),
        ]
    };
    let (ab_low, ab_high) = (_mm512_unpacklo_epi8(a, b), _mm512_unpackhi_epi8(a, b));
    let (cd_low, cd_high) = (_mm512_unpacklo_epi8(c, d), _mm512_unpackhi_epi8(c, d));
    [
        _mm512_unpacklo_epi16(ab_low, cd_low),
        _mm512_unpackhi_epi16(ab_low, cd_low),
        _mm512_unpacklo_epi16(ab_high, cd_high),
        _mm512_unpackhi_epi16(ab_high, cd_high),
    ]
}

/// Adds the products of four inputs of one symbol.
#[target_feature(enable = "avx512f,avx512vnni")]
#[inline]
fn accumulate(sums: &mut [__m512i; 4], quads: [__m512i; 4], x: i32) {
    let x = _mm512_set1_epi32(x);
    for (sum, quad) in sums.iter_mut().zip(quads) {
        *sum = _mm512_dpbusd_epi32(*sum, quad, x);
    }
}

#[inline(always)]
fn sum(codes: &[i8]) -> i32 {
    codes.iter().fold(0, |sum, &code| sum.wrapping_add(i32::from(code)))
}

#[allow(clippy::cast_possible_truncation, reason = "sixteen bits are meant")]
fn low_16(mask: u64) -> u16 {
    mask as u16
}

/// Undoes the interleaving: register q held outputs 4q ..= 4q + 3 of every sixteen.
#[target_feature(enable = "avx512f")]
#[inline]
fn in_order([a, b, c, d]: [__m512i; 4]) -> [__m512i; 4] {
    let (ab_low, ab_high) =
        (_mm512_shuffle_i32x4::<0x44>(a, b), _mm512_shuffle_i32x4::<0xee>(a, b));
    let (cd_low, cd_high) =
        (_mm512_shuffle_i32x4::<0x44>(c, d), _mm512_shuffle_i32x4::<0xee>(c, d));
    [
        _mm512_shuffle_i32x4::<0x88>(ab_low, cd_low),
        _mm512_shuffle_i32x4::<0xdd>(ab_low, cd_low),
        _mm512_shuffle_i32x4::<0x88>(ab_high, cd_high),
        _mm512_shuffle_i32x4::<0xdd>(ab_high, cd_high),
    ]
}

/// Outputs of one step without VNNI: the bytes of half a register.
const COLUMNS_2: usize = 16;

/// The inputs of all symbols as pairs of sixteen-bit numbers, padded with zeros.
fn pairs_of(x: &[i8], inputs: usize) -> Vec<i32> {
    let pair = |codes: &[i8]| {
        let low = i32::from(codes[0]) & 0xffff;
        low | codes.get(1).map_or(0, |&high| i32::from(high) << 16)
    };
    x.chunks_exact(inputs).flat_map(|x| x.chunks(2).map(pair)).collect()
}

/// Every product with pairs of sixteen-bit numbers; there must be 16 outputs or more.
///
/// # Safety
/// AVX2 must exist.
#[target_feature(enable = "avx2")]
unsafe fn with_pairs(tile: &Tile, x: &[i32], acc: &mut [i32]) {
    let groups = tile.inputs.div_ceil(2);
    let together = x.chunks(SYMBOLS * groups).zip(acc.chunks_mut(SYMBOLS * tile.outputs));
    for (x, acc) in together {
        for output in (0..tile.outputs).step_by(COLUMNS_2) {
            // The last step goes back to be whole, and writes some outputs again.
            let output = output.min(tile.outputs - COLUMNS_2);
            // SAFETY: passed on; sixteen outputs exist.
            unsafe {
                match x.len() / groups {
                    1 => pairs::<1>(tile, output, x, acc),
                    2 => pairs::<2>(tile, output, x, acc),
                    3 => pairs::<3>(tile, output, x, acc),
                    _ => pairs::<4>(tile, output, x, acc),
                }
            }
        }
    }
}

/// 16 outputs for `S` symbols.
///
/// # Safety
/// AVX2 must exist, and so must the outputs.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn pairs<const S: usize>(tile: &Tile, output: usize, x: &[i32], acc: &mut [i32]) {
    let groups = tile.inputs.div_ceil(2);
    let symbols: [&[i32]; S] = std::array::from_fn(|s| &x[s * groups..][..groups]);
    let mut sums = [[_mm256_setzero_si256(); 2]; S];
    for group in 0..groups {
        let [a, b] = tile.rows(2 * group, output).map(|row| {
            // SAFETY: the row has 16 weights from `output` on.
            unsafe { _mm_loadu_si128(row.cast::<__m128i>()) }
        });
        let pairs = [
            _mm256_cvtepi8_epi16(_mm_unpacklo_epi8(a, b)),
            _mm256_cvtepi8_epi16(_mm_unpackhi_epi8(a, b)),
        ];
        for (sums, x) in sums.iter_mut().zip(symbols) {
            let x = _mm256_set1_epi32(x[group]);
            for (sum, pair) in sums.iter_mut().zip(pairs) {
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pair, x));
            }
        }
    }
    for (s, sums) in sums.into_iter().enumerate() {
        let to = &mut acc[s * tile.outputs + output..][..COLUMNS_2];
        for (to, sums) in to.chunks_exact_mut(8).zip(sums) {
            // SAFETY: there are eight outputs to write.
            unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast::<__m256i>(), sums) }
        }
    }
}
