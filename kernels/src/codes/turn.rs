//! Blocks of a matrix of codes, column by column: how tiles hold them.

use crate::Isa;

/// Writes a block of a row-major matrix column by column: `out[k * width + j] = codes[j * stride + k]`
/// for `j` below `rows` and `k` below `len`. The other places of `out` stay what they are.
///
/// Panics: if the block does not lie in `codes`, or not in `out`.
pub fn turn(codes: &[i8], stride: usize, block: (usize, usize), out: &mut [i8], width: usize) {
    turn_with(Isa::detected(), codes, stride, block, out, width);
}

/// [`turn`] on chosen instructions; those that this machine lacks run as [`Isa::Scalar`].
///
/// Panics: as there.
pub fn turn_with(
    isa: Isa,
    codes: &[i8],
    stride: usize,
    (rows, len): (usize, usize),
    out: &mut [i8],
    width: usize,
) {
    if rows == 0 || len == 0 {
        return;
    }
    assert!(len <= stride && rows <= width, "neither rows nor columns overlap");
    let end = |lines: usize, apart: usize, last: usize| {
        (lines - 1).checked_mul(apart).and_then(|start| start.checked_add(last))
    };
    assert!(
        end(rows, stride, len).is_some_and(|end| end <= codes.len()),
        "the block lies in `codes`"
    );
    assert!(end(len, width, rows).is_some_and(|end| end <= out.len()), "the columns have room");
    #[cfg(target_arch = "x86_64")]
    let (above, left) = super::turn_x86::turn(isa, codes, stride, (rows, len), out, width);
    #[cfg(not(target_arch = "x86_64"))]
    let (above, left) = (0, 0);
    // What is right of the part that is done, and what is below it.
    if left < len {
        turn_on(isa, &codes[left..], stride, (above, len - left), &mut out[left * width..], width);
    }
    if above < rows {
        let below = (rows - above, len);
        turn_on(isa, &codes[above * stride..], stride, below, &mut out[above..], width);
    }
}

on_every_isa! {
    fn turn_on(
        codes: &[i8],
        stride: usize,
        shape: (usize, usize),
        out: &mut [i8],
        width: usize,
    ) = turn_body;
}

/// Columns that are turned together, in eight words of each of eight rows.
const COLUMNS: usize = 64;

#[inline(always)]
fn turn_body(
    codes: &[i8],
    stride: usize,
    (rows, len): (usize, usize),
    out: &mut [i8],
    width: usize,
) {
    let mut j = 0;
    while j + 8 <= rows {
        let mut k = 0;
        while k + COLUMNS <= len {
            let block = std::array::from_fn(|r| words(&codes[(j + r) * stride + k..][..COLUMNS]));
            let turned = swap(block);
            let mut below = &mut out[k * width + j..];
            for b in 0..8 {
                for columns in &turned {
                    let column = columns[b].to_le_bytes().map(u8::cast_signed);
                    below[..8].copy_from_slice(&column);
                    below = below.get_mut(width..).unwrap_or_default();
                }
            }
            k += COLUMNS;
        }
        for k in k..len {
            for r in 0..8 {
                out[k * width + j + r] = codes[(j + r) * stride + k];
            }
        }
        j += 8;
    }
    for j in j..rows {
        for k in 0..len {
            out[k * width + j] = codes[j * stride + k];
        }
    }
}

/// Sixty-four codes as eight words.
#[inline(always)]
fn words(codes: &[i8]) -> [u64; 8] {
    let (chunks, _) = codes.as_chunks::<8>();
    std::array::from_fn(|b| u64::from_le_bytes(chunks[b].map(i8::cast_unsigned)))
}

/// Eight blocks of eight rows of eight codes, side by side, each with rows and columns exchanged.
#[inline(always)]
fn swap(mut rows: [[u64; 8]; 8]) -> [[u64; 8]; 8] {
    // The off-diagonal quarters of blocks of eight, then of four, then of two.
    for (apart, mask) in
        [(4, 0x0000_0000_ffff_ffff_u64), (2, 0x0000_ffff_0000_ffff), (1, 0x00ff_00ff_00ff_00ff)]
    {
        for low in (0..8).filter(|row| row & apart == 0) {
            let (above, below) = rows.split_at_mut(low + apart);
            for (low, high) in above[low].iter_mut().zip(&mut below[0]) {
                let swapped = ((*low >> (8 * apart)) ^ *high) & mask;
                *high ^= swapped;
                *low ^= swapped << (8 * apart);
            }
        }
    }
    rows
}
