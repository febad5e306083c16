//! Reading a symbol's sums: noise, gain and conversion in passes that vectorize.
//!
//! **Invariant:** each element goes through the written operations in their order, so that every
//! machine gives the same bits.

use crate::Isa;

/// What a noise row is made of: element j has the variance `floor[j] + strength · slope[j]`.
#[derive(Clone, Copy, Debug)]
pub struct Spread<'a> {
    /// The part of each output's variance that no symbol changes.
    pub floor: &'a [f32],
    /// The part that goes with a symbol's strength.
    pub slope: &'a [f32],
    /// The symbol's strength.
    pub strength: f32,
}

/// `noise[j] = noise[j] + normals[j] · sqrt(strength · slope[j] + floor[j])`.
///
/// Panics: if the lengths differ.
pub fn add_noise(spread: Spread<'_>, normals: &[f32], noise: &mut [f32]) {
    let n = noise.len();
    assert!(normals.len() == n && spread.floor.len() == n && spread.slope.len() == n);
    add_noise_on(Isa::detected(), spread, normals, noise);
}

on_every_isa! {
    fn add_noise_on(spread: Spread<'_>, normals: &[f32], noise: &mut [f32]) = add_noise_body;
}

#[inline(always)]
fn add_noise_body(spread: Spread<'_>, normals: &[f32], noise: &mut [f32]) {
    let columns = spread.floor.iter().zip(spread.slope);
    for ((noise, &normal), (&floor, &slope)) in noise.iter_mut().zip(normals).zip(columns) {
        let sigma = spread.strength.mul_add(slope, floor).sqrt();
        *noise = normal.mul_add(sigma, *noise);
    }
}

/// `i, q = i cos − q sin, q cos + i sin`: both quadratures turned by one angle.
///
/// Panics: if the lengths differ.
pub fn rotate(cos: f32, sin: f32, i: &mut [f32], q: &mut [f32]) {
    assert_eq!(i.len(), q.len(), "two quadratures of each output");
    rotate_on(Isa::detected(), cos, sin, i, q);
}

on_every_isa! { fn rotate_on(cos: f32, sin: f32, i: &mut [f32], q: &mut [f32]) = rotate_body; }

#[inline(always)]
fn rotate_body(cos: f32, sin: f32, i: &mut [f32], q: &mut [f32]) {
    for (i, q) in i.iter_mut().zip(q) {
        (*i, *q) = (i.mul_add(cos, -(*q * sin)), q.mul_add(cos, *i * sin));
    }
}

/// `now = now + share · (before − now)`: what a slow receiver shows after a symbol.
///
/// Panics: if the lengths differ.
pub fn lag(share: f32, before: &[f32], now: &mut [f32]) {
    assert_eq!(before.len(), now.len(), "two symbols of one length");
    lag_on(Isa::detected(), share, before, now);
}

on_every_isa! { fn lag_on(share: f32, before: &[f32], now: &mut [f32]) = lag_body; }

#[inline(always)]
fn lag_body(share: f32, before: &[f32], now: &mut [f32]) {
    for (now, &before) in now.iter_mut().zip(before) {
        *now = share.mul_add(before - *now, *now);
    }
}

/// A converter of a symbol's sums.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// What the sums are multiplied by, noise excluded.
    pub gain: f32,
    /// Codes per unit of the sum, a power of two.
    pub codes_per_unit: f32,
    /// The least and the greatest code; magnitudes are below 2^22.
    pub range: [f32; 2],
}

/// `codes[j] = clamp(round_ties_even((gain · sums[j] + noise[j]) · codes_per_unit))`.
///
/// Panics: if the lengths differ.
pub fn read(reading: Reading, sums: &[f32], noise: &[f32], codes: &mut [i32]) {
    assert!(sums.len() == codes.len() && noise.len() == codes.len(), "one code per sum");
    read_on(Isa::detected(), reading, sums, noise, codes);
}

on_every_isa! {
    fn read_on(reading: Reading, sums: &[f32], noise: &[f32], codes: &mut [i32]) = read_body;
}

#[inline(always)]
fn read_body(reading: Reading, sums: &[f32], noise: &[f32], codes: &mut [i32]) {
    // 1.5 · 2^23: adding it rounds to an integer, ties to even, and leaves that in the low bits.
    const ROUND: f32 = 12_582_912.0;
    const BITS: i32 = ROUND.to_bits().cast_signed();
    let [low, high] = reading.range;
    for ((&sum, &noise), code) in sums.iter().zip(noise).zip(codes) {
        let level = sum.mul_add(reading.gain, noise) * reading.codes_per_unit;
        // As the ends of the range are integers, they may come before the rounding.
        let level = if level < low { low } else { level };
        let level = if level > high { high } else { level };
        *code = (level + ROUND).to_bits().cast_signed().wrapping_sub(BITS);
    }
}

/// `out[k] = x[k]` as floats, and the sum of squares of each symbol of `length` codes.
///
/// Exact: the sums of squares below 2^31.
/// Panics: if the lengths do not fit together.
pub fn drive(x: &[i8], length: usize, out: &mut [f32], squares: &mut [f32]) {
    assert!(x.len() == out.len() && length > 0 && squares.len() == x.len() / length);
    drive_on(Isa::detected(), x, length, out, squares);
}

on_every_isa! {
    fn drive_on(x: &[i8], length: usize, out: &mut [f32], squares: &mut [f32]) = drive_body;
}

#[inline(always)]
fn drive_body(x: &[i8], length: usize, out: &mut [f32], squares: &mut [f32]) {
    let symbols = x.chunks_exact(length).zip(out.chunks_exact_mut(length));
    for ((x, out), square) in symbols.zip(squares) {
        let mut sum = 0_i32;
        for (&x, out) in x.iter().zip(out) {
            let short = i16::from(x);
            sum = sum.wrapping_add(i32::from(short.wrapping_mul(short)));
            *out = f32::from(x);
        }
        *square = sum as f32;
    }
}

/// `out[k] = x[k] + errors[k] · curve[x[k]]` for every symbol of `errors.len()` codes: drives
/// through a curve of which each input has its own share. Squares are those of [`drive`].
///
/// Order: `curve[c]` belongs to the code whose two's complement byte is `c`.
/// Panics: if the lengths do not fit together.
pub fn drive_through(
    curve: &[f32; 256],
    errors: &[f32],
    x: &[i8],
    out: &mut [f32],
    squares: &mut [f32],
) {
    let length = errors.len();
    assert!(x.len() == out.len() && length > 0 && squares.len() == x.len() / length);
    drive_through_on(Isa::detected(), curve, errors, x, out, squares);
}

on_every_isa! {
    fn drive_through_on(
        curve: &[f32; 256], errors: &[f32], x: &[i8], out: &mut [f32], squares: &mut [f32],
    ) = through_body;
}

#[inline(always)]
fn through_body(
    curve: &[f32; 256],
    errors: &[f32],
    x: &[i8],
    out: &mut [f32],
    squares: &mut [f32],
) {
    let length = errors.len();
    let symbols = x.chunks_exact(length).zip(out.chunks_exact_mut(length));
    for ((x, out), square) in symbols.zip(squares) {
        let mut sum = 0_i32;
        for ((&code, out), &error) in x.iter().zip(out).zip(errors) {
            let short = i16::from(code);
            sum = sum.wrapping_add(i32::from(short.wrapping_mul(short)));
            *out = error.mul_add(curve[usize::from(code.cast_unsigned())], f32::from(code));
        }
        *square = sum as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codes::requantise;
    use crate::normal::standard_normals;

    fn bits(values: &[f32]) -> Vec<u32> {
        values.iter().map(|value| value.to_bits()).collect()
    }

    #[test]
    fn reading_rounds_half_to_even_and_saturates() {
        let reading = Reading { gain: 1.0, codes_per_unit: 0.125, range: [-128.0, 127.0] };
        let sums: Vec<f32> = (-1200..1200_i16).map(f32::from).collect();
        let mut codes = vec![0; sums.len()];
        read(reading, &sums, &vec![0.0; sums.len()], &mut codes);
        for (sum, &code) in (-1200..1200).zip(&codes) {
            assert_eq!(code, requantise(sum, 3, 8), "{sum} / 8");
        }
        let reading = Reading { gain: 0.5, ..reading };
        read(reading, &[160.0, 1e30, -1e30], &[8.0, 0.0, 0.0], &mut codes[..3]);
        assert_eq!(codes[..3], [11, 127, -128]);
    }

    #[test]
    fn every_family_of_instructions_gives_the_bits_of_the_definition() {
        let n = 203;
        let mut normals = vec![0.0; 3 * n];
        standard_normals(1, 0, &mut normals);
        let (a, rest) = normals.split_at(n);
        let (b, c) = rest.split_at(n);
        let floor: Vec<f32> = b.iter().map(|b| b * b).collect();
        let slope: Vec<f32> = c.iter().map(|c| c * c).collect();
        let x: Vec<i8> =
            (0..2 * n).map(|i| u8::try_from(i * 37 % 256).unwrap().cast_signed()).collect();
        let curve: [f32; 256] = std::array::from_fn(|code| normals[code]);
        for isa in Isa::available() {
            let spread = Spread { floor: &floor, slope: &slope, strength: 0.3 };
            let mut noise = b.to_vec();
            add_noise_on(isa, spread, a, &mut noise);
            let mut now = b.to_vec();
            lag_on(isa, 0.1, a, &mut now);
            let (mut i, mut q) = (a.to_vec(), b.to_vec());
            rotate_on(isa, 0.8, 0.6, &mut i, &mut q);
            for k in 0..n {
                let sigma = 0.3_f32.mul_add(slope[k], floor[k]).sqrt();
                assert_eq!(noise[k].to_bits(), a[k].mul_add(sigma, b[k]).to_bits(), "{isa:?}");
                assert_eq!(now[k].to_bits(), 0.1_f32.mul_add(a[k] - b[k], b[k]).to_bits());
                assert_eq!(i[k].to_bits(), a[k].mul_add(0.8, -(b[k] * 0.6)).to_bits());
                assert_eq!(q[k].to_bits(), b[k].mul_add(0.8, a[k] * 0.6).to_bits());
            }
            let (mut out, mut squares) = (vec![0.0; 2 * n], [0.0; 2]);
            drive_on(isa, &x, n, &mut out, &mut squares);
            let exact: Vec<f32> = x.iter().map(|&x| f32::from(x)).collect();
            assert_eq!(bits(&out), bits(&exact));
            let square: i32 = x[n..].iter().map(|&x| i32::from(x) * i32::from(x)).sum();
            assert_eq!(squares[1].to_bits(), (square as f32).to_bits());
            drive_through_on(isa, &curve, a, &x, &mut out, &mut squares);
            let through = |(k, &x): (usize, &i8)| {
                a[k % n].mul_add(curve[usize::from(x.cast_unsigned())], f32::from(x))
            };
            assert_eq!(bits(&out), bits(&x.iter().enumerate().map(through).collect::<Vec<_>>()));
        }
    }
}
