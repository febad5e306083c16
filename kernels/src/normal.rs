//! Standard normals by counter: the value depends on a key and a counter, and on nothing else.
//!
//! Counters `2p` and `2p + 1` share one 64-bit hash of `(key, p)`. Its upper half gives the radius
//! `sqrt(−2 ln u)`, its lower half the angle, of one point of the plane (Box and Muller); the even
//! counter takes the cosine, the odd one the sine. As u is (n + ½) / 2^32, the largest magnitude is
//! 6.76, and a true normal exceeds that once in 7e10.
//!
//! **Invariant:** only integer operations and IEEE multiply-add, addition, multiplication and
//! square root occur, so that every machine gives the same bits.

use crate::Isa;

/// The normal of one counter.
pub fn standard_normal(key: u64, counter: u64) -> f32 {
    let mut value = [0.0];
    standard_normals(key, counter, &mut value);
    value[0]
}

/// `out[i] = standard_normal(key, first_counter + i)`, wrapping after the last counter.
pub fn standard_normals(key: u64, first_counter: u64, out: &mut [f32]) {
    standard_normals_with(Isa::detected(), key, first_counter, out);
}

/// [`standard_normals`] on chosen instructions; those that this machine lacks run as
/// [`Isa::Scalar`].
pub fn standard_normals_with(isa: Isa, key: u64, first_counter: u64, out: &mut [f32]) {
    fill(isa, &Keys::new(key), first_counter, out);
}

/// The key, spread over two words that no simple relation of keys survives.
struct Keys {
    start: u64,
    middle: u64,
}

impl Keys {
    fn new(key: u64) -> Self {
        let start = scramble(key ^ 0x6c69_7465_636f_7265);
        let middle = scramble(start.wrapping_add(WEYL));
        Self { start, middle }
    }

    /// The hash of a pair: two rounds of multiply and shift, with a word of the key before each.
    #[inline(always)]
    fn hash(&self, pair: u64) -> u64 {
        self.finish(self.begin(pair))
    }

    /// The hash's first word, which grows by `WEYL` from one pair to the next.
    #[inline(always)]
    fn begin(&self, pair: u64) -> u64 {
        pair.wrapping_mul(WEYL).wrapping_add(self.start)
    }

    #[inline(always)]
    fn finish(&self, z: u64) -> u64 {
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = z ^ self.middle;
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// 2^64 divided by the golden ratio, made odd.
const WEYL: u64 = 0x9e37_79b9_7f4a_7c15;

fn scramble(word: u64) -> u64 {
    let z = (word ^ (word >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let z = (z ^ (z >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    z ^ (z >> 33)
}

/// Pairs computed side by side, and in what is left over.
const PAIRS: usize = 64;
const FEW_PAIRS: usize = 16;

on_every_isa! { fn fill(keys: &Keys, first_counter: u64, out: &mut [f32]) = fill_body; }

#[inline(always)]
fn fill_body(keys: &Keys, first_counter: u64, out: &mut [f32]) {
    let odd = usize::from(first_counter & 1 == 1).min(out.len());
    let (head, rest) = out.split_at_mut(odd);
    let mut pair = first_counter >> 1;
    for value in head {
        *value = polar(keys.hash(pair)).1;
        pair = next(pair, 1);
    }
    let (blocks, rest) = rest.as_chunks_mut::<{ 2 * PAIRS }>();
    for block in blocks {
        fill_block::<PAIRS>(keys, pair, block);
        pair = next(pair, PAIRS as u64);
    }
    let (blocks, tail) = rest.as_chunks_mut::<{ 2 * FEW_PAIRS }>();
    for block in blocks {
        fill_block::<FEW_PAIRS>(keys, pair, block);
        pair = next(pair, FEW_PAIRS as u64);
    }
    for values in tail.chunks_mut(2) {
        let (even, odd) = polar(keys.hash(pair));
        values[0] = even;
        if let Some(value) = values.get_mut(1) {
            *value = odd;
        }
        pair = next(pair, 1);
    }
}

/// The pair some pairs later, in the 63 bits that a counter has for it.
#[inline(always)]
fn next(pair: u64, pairs: u64) -> u64 {
    pair.wrapping_add(pairs) & (u64::MAX >> 1)
}

#[inline(always)]
fn fill_block<const N: usize>(keys: &Keys, pair: u64, out: &mut [f32]) {
    let mut high = [0_u32; N];
    let mut low = [0_u32; N];
    let words = high.iter_mut().zip(&mut low);
    if next(pair, N as u64) > pair {
        let first = keys.begin(pair);
        for (i, (high, low)) in (0_u64..).zip(words) {
            (*high, *low) = halves(keys.finish(first.wrapping_add(i.wrapping_mul(WEYL))));
        }
    } else {
        for (i, (high, low)) in (0_u64..).zip(words) {
            (*high, *low) = halves(keys.hash(next(pair, i)));
        }
    }
    let mut even = [0.0_f32; N];
    let mut odd = [0.0_f32; N];
    for i in 0..N {
        (even[i], odd[i]) = point(high[i], low[i]);
    }
    for (values, (even, odd)) in out.as_chunks_mut::<2>().0.iter_mut().zip(even.iter().zip(&odd)) {
        *values = [*even, *odd];
    }
}

#[inline(always)]
fn polar(hash: u64) -> (f32, f32) {
    let (high, low) = halves(hash);
    point(high, low)
}

#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "each half is meant")]
fn halves(hash: u64) -> (u32, u32) {
    ((hash >> 32) as u32, hash as u32)
}

/// The point of the plane with this radius and this angle.
#[inline(always)]
fn point(radius: u32, angle: u32) -> (f32, f32) {
    let r = radius_of(radius);
    let (sin, cos) = sin_cos_of(angle);
    (r * cos, r * sin)
}

/// `sqrt(−2 ln u)` with `u = (n + ½) / 2^32`.
#[inline(always)]
fn radius_of(n: u32) -> f32 {
    const SQRT_HALF: u32 = 0x3f35_04f3;
    // 2^−32; every u is a normal float.
    const STEP: f32 = 2.328_306_4e-10;
    let u = (n as f32 + 0.5) * STEP;
    // u = 2^e · (1 + f) with 1 + f from sqrt ½ to sqrt 2.
    let bits = u.to_bits().wrapping_sub(SQRT_HALF).cast_signed();
    let e = bits >> 23;
    let f = f32::from_bits((bits & 0x7f_ffff).cast_unsigned().wrapping_add(SQRT_HALF)) - 1.0;
    // Where e is zero, f is the distance of u to one: less than 2^31 steps, and exact if counted.
    let rest = (!n).cast_signed() as f32;
    let f = if e == 0 { (rest + 0.5) * -STEP } else { f };
    // ln(1 + f) = f − f²/2 + f³ P(f), P of least relative error (6e-9).
    let mut p = -0.076_345_04_f32;
    p = p.mul_add(f, 0.127_615_78);
    p = p.mul_add(f, -0.131_601_8);
    p = p.mul_add(f, 0.142_017_57);
    p = p.mul_add(f, -0.166_233_57);
    p = p.mul_add(f, 0.200_012_27);
    p = p.mul_add(f, -0.250_008_2);
    p = p.mul_add(f, 0.333_333_3);
    let square = f * f;
    let log = (p * square).mul_add(f, square.mul_add(-0.5, f));
    let log = (e as f32).mul_add(std::f32::consts::LN_2, log);
    (log * -2.0).sqrt()
}

/// Sine and cosine of `2π · n / 2^32`.
#[inline(always)]
fn sin_cos_of(n: u32) -> (f32, f32) {
    // The nearest quarter turn, and the rest of −⅛ to ⅛ turn.
    let quarter = n.wrapping_add(1 << 29) >> 30;
    let rest = n.wrapping_sub(quarter << 30).cast_signed();
    // 2π / 2^32.
    let x = rest as f32 * 1.462_918_1e-9;
    let z = x * x;
    // sin x = x + x³ S(x²), cos x = 1 − x²/2 + x⁴ C(x²), of least error (4e-9 and 1e-10).
    let s = (-0.000_195_173_f32).mul_add(z, 0.008_332_178).mul_add(z, -0.166_666_55);
    let c = 2.443_845_2e-5_f32.mul_add(z, -0.001_388_736_8).mul_add(z, 0.041_666_646);
    let sin = (s * z).mul_add(x, x);
    let cos = (c * z).mul_add(z, z.mul_add(-0.5, 1.0));
    let (sin, cos) = if quarter & 1 == 1 { (cos, sin) } else { (sin, cos) };
    // Quarters 2 and 3 turn the sine over, quarters 1 and 2 the cosine.
    let sin = f32::from_bits(sin.to_bits() ^ (quarter >> 1 << 31));
    let cos = f32::from_bits(cos.to_bits() ^ ((quarter + 1) >> 1 << 31));
    (sin, cos)
}
