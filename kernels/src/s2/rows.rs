//! Products of one vector with the rows of a matrix that is not packed, as attention needs them.

use super::BLOCK;
use super::transpose::interleave;
use crate::Isa;

/// The dot product of two vectors by the rule.
///
/// Panics: if the lengths differ.
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len(), "both vectors must have the same length");
    dot_on(Isa::detected(), a, b)
}

/// `out[i] = dot(x, row i)`, many rows at once: the scores of a query against keys.
///
/// Shape: row `i` is `rows[i * stride..][..x.len()]`; there are `out.len()` rows.
/// Panics: if `rows` is too short.
pub fn dots(x: &[f32], rows: &[f32], stride: usize, out: &mut [f32]) {
    check_rows(rows, stride, out.len(), x.len());
    let isa = Isa::detected();
    dots_on(isa.min(Isa::Avx2), isa, x, rows, stride, out);
}

/// `out[d] = Σ_i weights[i] · row_i[d]` by the rule with K = i: the values of attended positions.
///
/// Shape: row `i` is `rows[i * stride..][..out.len()]`; there are `weights.len()` rows.
/// Panics: if `rows` is too short.
pub fn combine(weights: &[f32], rows: &[f32], stride: usize, out: &mut [f32]) {
    check_rows(rows, stride, weights.len(), out.len());
    combine_on(Isa::detected(), weights, rows, stride, out);
}

fn check_rows(rows: &[f32], stride: usize, count: usize, length: usize) {
    let needed = count.checked_sub(1).map_or(0, |last| last * stride + length);
    assert!(rows.len() >= needed, "{count} rows need {needed} elements, not {}", rows.len());
}

on_every_isa! { fn dot_on(a: &[f32], b: &[f32]) -> f32 = dot_body; }
on_every_isa! {
    fn dots_on(turn: Isa, x: &[f32], rows: &[f32], stride: usize, out: &mut [f32]) = dots_body;
}
on_every_isa! {
    fn combine_on(weights: &[f32], rows: &[f32], stride: usize, out: &mut [f32]) = combine_body;
}

#[inline(always)]
fn dot_body(a: &[f32], b: &[f32]) -> f32 {
    let mut total = 0.0;
    for (index, (a, b)) in a.chunks(BLOCK).zip(b.chunks(BLOCK)).enumerate() {
        let sum = a.iter().zip(b).fold(0.0_f32, |sum, (&a, &b)| a.mul_add(b, sum));
        total = if index == 0 { sum } else { total + sum };
    }
    total
}

/// Rows whose chains run side by side, one per lane.
const ABREAST: usize = 32;

/// Elements of K turned into lanes at a time; it divides [`BLOCK`].
const TURNED: usize = 32;

#[inline(always)]
fn dots_body(isa: Isa, x: &[f32], rows: &[f32], stride: usize, out: &mut [f32]) {
    let mut lanes = [[0.0_f32; ABREAST]; TURNED + 1];
    for (group, out) in out.chunks_mut(ABREAST).enumerate() {
        let rows = &rows[(group * ABREAST * stride).min(rows.len())..];
        let mut total = [0.0_f32; ABREAST];
        for (block, x) in x.chunks(BLOCK).enumerate() {
            let mut sums = [0.0_f32; ABREAST];
            for (part, x) in x.chunks(TURNED).enumerate() {
                let from = &rows[block * BLOCK + part * TURNED..];
                interleave(
                    isa,
                    from,
                    stride,
                    out.len(),
                    x.len(),
                    lanes.as_flattened_mut(),
                    ABREAST,
                );
                for (&x, lanes) in x.iter().zip(&lanes) {
                    for (sum, &lane) in sums.iter_mut().zip(lanes) {
                        *sum = x.mul_add(lane, *sum);
                    }
                }
            }
            for (total, sum) in total.iter_mut().zip(sums) {
                *total = if block == 0 { sum } else { *total + sum };
            }
        }
        out.copy_from_slice(&total[..out.len()]);
    }
}

/// Outputs whose chains stay in registers.
const COLUMNS: usize = 32;

#[inline(always)]
fn combine_body(weights: &[f32], rows: &[f32], stride: usize, out: &mut [f32]) {
    if weights.is_empty() {
        out.fill(0.0);
    }
    for (start, block) in weights.chunks(BLOCK).enumerate() {
        let rows = &rows[start * BLOCK * stride..];
        for (group, out) in out.chunks_mut(COLUMNS).enumerate() {
            let rows = &rows[group * COLUMNS..];
            let mut sums = [0.0_f32; COLUMNS];
            if let Ok(out) = <&mut [f32; COLUMNS]>::try_from(&mut *out) {
                for (i, &weight) in block.iter().enumerate() {
                    let row = &rows[i * stride..][..out.len()];
                    for (sum, &value) in sums.iter_mut().zip(row) {
                        *sum = weight.mul_add(value, *sum);
                    }
                }
            } else {
                for (i, &weight) in block.iter().enumerate() {
                    let row = &rows[i * stride..][..out.len()];
                    for (sum, &value) in sums.iter_mut().zip(row) {
                        *sum = weight.mul_add(value, *sum);
                    }
                }
            }
            for (out, sum) in out.iter_mut().zip(sums) {
                *out = if start == 0 { sum } else { *out + sum };
            }
        }
    }
}
