//! Copies rows of a matrix side by side, `[depth][rows]`: the fast half of packing.
//!
//! It moves values and computes nothing, so a wrong bit here can only be a wrong place.

use crate::Isa;

/// Rows that one step turns.
const STEP: usize = 8;

/// Elements past the last written one that [`interleave`] may overwrite.
pub(super) const SLACK: usize = STEP;

/// Writes `to[k * stride + r] = row_r[k]` for all rows `r` and all `k` below `depth`.
///
/// Elements between the rows' end and the next `k` (where `stride` is more than the rows), and
/// [`SLACK`] elements after the last one, may be overwritten with anything.
///
/// Shape: row `r` is `from[r * from_stride..][..depth]`; `to` holds `(depth − 1) · stride + rows +
/// SLACK` elements or more, or exactly those without the slack if `rows` is a multiple of 8.
pub(super) fn interleave(
    isa: Isa,
    from: &[f32],
    from_stride: usize,
    rows: usize,
    depth: usize,
    to: &mut [f32],
    stride: usize,
) {
    if rows == 0 || depth == 0 {
        return;
    }
    assert!(rows <= stride, "rows overlap");
    assert!(from.len() >= (rows - 1) * from_stride + depth, "a row ends early");
    let slack = if rows.is_multiple_of(STEP) { 0 } else { SLACK };
    assert!(to.len() >= (depth - 1) * stride + rows + slack, "no room for the result");
    let done = turned(isa, from, from_stride, rows, depth, to, stride);
    for k in done..depth {
        for (r, to) in to[k * stride..][..rows].iter_mut().enumerate() {
            *to = from[r * from_stride + k];
        }
    }
}

/// Turns as many `k` as fit whole steps and returns how many.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, reason = "vector instructions")]
fn turned(
    isa: Isa,
    from: &[f32],
    from_stride: usize,
    rows: usize,
    depth: usize,
    to: &mut [f32],
    stride: usize,
) -> usize {
    if !matches!(isa.or_scalar(), Isa::Avx2 | Isa::Avx512) {
        return 0;
    }
    let done = depth - depth % STEP;
    // SAFETY: AVX was detected; `interleave` checked that every row has `depth` elements, and that
    // `to` has room for eight elements at each k.
    unsafe {
        x86::turn_all(from.as_ptr(), from_stride, rows, done, to.as_mut_ptr(), stride);
    }
    done
}

/// Turns nothing: the plain loop does it all.
#[cfg(not(target_arch = "x86_64"))]
fn turned(_: Isa, _: &[f32], _: usize, _: usize, _: usize, _: &mut [f32], _: usize) -> usize {
    0
}

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, reason = "vector instructions")]
mod x86 {
    use super::STEP;
    use std::arch::x86_64::{
        __m256, _mm_loadu_ps, _mm256_castps128_ps256, _mm256_insertf128_ps, _mm256_shuffle_ps,
        _mm256_storeu_ps, _mm256_unpackhi_ps, _mm256_unpacklo_ps,
    };

    /// Turns `depth` elements, a multiple of eight, of some rows.
    ///
    /// # Safety
    /// AVX must exist, each row must have `depth` elements, and `to` room for eight at every stride.
    #[target_feature(enable = "avx")]
    pub(super) unsafe fn turn_all(
        from: *const f32,
        from_stride: usize,
        rows: usize,
        depth: usize,
        to: *mut f32,
        stride: usize,
    ) {
        let groups = rows.div_ceil(STEP);
        for k in (0..depth).step_by(STEP) {
            // Groups of rows from the last to the first: what a ragged one writes too much lies in
            // the first group of the next k, which comes after it.
            for group in (0..groups).rev() {
                let first = group * STEP;
                let last = (rows - first).min(STEP) - 1;
                let from = from.wrapping_add(first * from_stride + k);
                // SAFETY: the caller's promise; a row past the end is read as the last one.
                unsafe {
                    let to = to.wrapping_add(k * stride + first);
                    turn(|r| from.wrapping_add(r.min(last) * from_stride), to, stride);
                }
            }
        }
    }

    /// Writes eight elements of eight rows as eight columns, in ascending order.
    ///
    /// # Safety
    /// AVX must exist, each row must have eight elements, and `to` room for eight at every stride.
    #[target_feature(enable = "avx")]
    #[inline]
    unsafe fn turn(row: impl Fn(usize) -> *const f32, to: *mut f32, stride: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            // Halves of rows r and r + 4 share a register: elements 0–3, then elements 4–7.
            for half in [0, 4] {
                let [a, b, c, d] = [
                    pair(row(0), row(4), half),
                    pair(row(1), row(5), half),
                    pair(row(2), row(6), half),
                    pair(row(3), row(7), half),
                ];
                let (ab_low, ab_high) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
                let (cd_low, cd_high) = (_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
                let to = to.wrapping_add(half * stride);
                _mm256_storeu_ps(to, _mm256_shuffle_ps::<0x44>(ab_low, cd_low));
                let to = to.wrapping_add(stride);
                _mm256_storeu_ps(to, _mm256_shuffle_ps::<0xee>(ab_low, cd_low));
                let to = to.wrapping_add(stride);
                _mm256_storeu_ps(to, _mm256_shuffle_ps::<0x44>(ab_high, cd_high));
                let to = to.wrapping_add(stride);
                _mm256_storeu_ps(to, _mm256_shuffle_ps::<0xee>(ab_high, cd_high));
            }
        }
    }

    /// Four elements of one row in the lower half, of another in the upper half.
    #[target_feature(enable = "avx")]
    #[inline]
    unsafe fn pair(lower: *const f32, upper: *const f32, first: usize) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe {
            let lower = _mm256_castps128_ps256(_mm_loadu_ps(lower.add(first)));
            _mm256_insertf128_ps::<1>(lower, _mm_loadu_ps(upper.add(first)))
        }
    }
}
