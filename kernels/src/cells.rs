//! Passes over the cells of an array: complex weights that are heated, turned, multiplied and read.
//!
//! **Invariant:** each element goes through the written operations in their order, none of them
//! fused, so that every machine gives the same bits.

use crate::{Isa, math};

/// `to[k] = to[k] + share · from[k]`.
///
/// Panics: if the lengths differ.
pub fn add_share(share: f32, from: &[f32], to: &mut [f32]) {
    assert_eq!(from.len(), to.len(), "one number for each");
    add_share_on(Isa::detected(), share, from, to);
}

on_every_isa! { fn add_share_on(share: f32, from: &[f32], to: &mut [f32]) = add_share_body; }

#[inline(always)]
fn add_share_body(share: f32, from: &[f32], to: &mut [f32]) {
    for (to, &from) in to.iter_mut().zip(from) {
        *to += share * from;
    }
}

/// Complex numbers in two rows: real parts and imaginary parts.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// Real parts.
    pub re: &'a [f32],
    /// Imaginary parts.
    pub im: &'a [f32],
}

/// Multiplies each cell by its complex factor.
///
/// Panics: if the lengths differ.
pub fn multiply(factors: Parts<'_>, re: &mut [f32], im: &mut [f32]) {
    let n = re.len();
    assert!(im.len() == n && factors.re.len() == n && factors.im.len() == n, "one factor each");
    multiply_on(Isa::detected(), factors, re, im);
}

on_every_isa! { fn multiply_on(factors: Parts<'_>, re: &mut [f32], im: &mut [f32]) = multiply_body; }

#[inline(always)]
fn multiply_body(factors: Parts<'_>, re: &mut [f32], im: &mut [f32]) {
    let cells = re.iter_mut().zip(im).zip(factors.re.iter().zip(factors.im));
    for ((re, im), (&f_re, &f_im)) in cells {
        (*re, *im) = (*re * f_re - *im * f_im, *re * f_im + *im * f_re);
    }
}

/// Below this angle the polynomials are exact enough.
const SMALL: f32 = 0.5;

/// Turns each cell by its phase, as [`sin_cos`] has it.
///
/// Panics: if the lengths differ.
pub fn turn(phases: &[f32], re: &mut [f32], im: &mut [f32]) {
    assert!(re.len() == phases.len() && im.len() == phases.len(), "one phase for each cell");
    turn_on(Isa::detected(), phases, re, im);
}

on_every_isa! { fn turn_on(phases: &[f32], re: &mut [f32], im: &mut [f32]) = turn_body; }

#[inline(always)]
fn turn_body(phases: &[f32], re: &mut [f32], im: &mut [f32]) {
    /// Cells that are turned together if all their phases are small.
    const CELLS_AT_ONCE: usize = 64;
    let cells = re.chunks_mut(CELLS_AT_ONCE).zip(im.chunks_mut(CELLS_AT_ONCE));
    for ((re, im), phases) in cells.zip(phases.chunks(CELLS_AT_ONCE)) {
        let small = phases.iter().fold(true, |small, phase| small & (phase.abs() < SMALL));
        let cells = re.iter_mut().zip(im).zip(phases);
        if small {
            for ((re, im), &phase) in cells {
                let (sin, cos) = small_sin_cos(phase);
                (*re, *im) = (*re * cos - *im * sin, *re * sin + *im * cos);
            }
        } else {
            for ((re, im), &phase) in cells {
                let (sin, cos) = sin_cos(phase);
                (*re, *im) = (*re * cos - *im * sin, *re * sin + *im * cos);
            }
        }
    }
}

/// Sine and cosine, cheaply where the angle is small.
#[inline]
pub fn sin_cos(phase: f32) -> (f32, f32) {
    if phase.abs() < SMALL {
        small_sin_cos(phase)
    } else {
        let (sin, cos) = math::sin_cos(f64::from(phase));
        (single(sin), single(cos))
    }
}

/// Taylor's polynomials: within 2e-8 below [`SMALL`].
#[inline(always)]
fn small_sin_cos(x: f32) -> (f32, f32) {
    let z = x * x;
    let sin = x - x * z * (1.0 / 6.0 - z * (1.0 / 120.0 - z * (1.0 / 5040.0)));
    let cos = 1.0 - z * (0.5 - z * (1.0 / 24.0 - z * (1.0 / 720.0 - z * (1.0 / 40320.0))));
    (sin, cos)
}

#[allow(clippy::cast_possible_truncation, reason = "rounding to the nearest is meant")]
fn single(x: f64) -> f32 {
    x as f32
}

/// Cells of two rings each: self-coupling r and round trip a.
#[derive(Clone, Copy, Debug)]
pub struct RingPair {
    /// The weight, in codes, of a transmission of one.
    pub scale: f32,
    /// `r`
    pub coupling: f32,
    /// `a`
    pub round_trip: f32,
    /// `r² a`
    pub inner: f32,
}

/// What ring pairs hold for round trips `p` and `q` that are turned by errors of their own:
/// `scale (1 − a u)(r − v) / ((1 − r² a u)(1 − r v))` with `u = p · first`, `v = q · second`.
///
/// Shape: `programs` has the real and imaginary parts of p and of q for each cell.
/// Panics: if the lengths differ.
pub fn hold_in_rings(
    rings: RingPair,
    programs: &[[f32; 4]],
    turns: [Parts<'_>; 2],
    re: &mut [f32],
    im: &mut [f32],
) {
    let n = re.len();
    assert!(im.len() == n && programs.len() == n, "one program for each cell");
    assert!(turns.iter().all(|turn| turn.re.len() == n && turn.im.len() == n), "two turns each");
    hold_in_rings_on(Isa::detected(), rings, programs, turns, re, im);
}

on_every_isa! {
    fn hold_in_rings_on(
        rings: RingPair, programs: &[[f32; 4]], turns: [Parts<'_>; 2], re: &mut [f32], im: &mut [f32],
    ) = hold_body;
}

#[inline(always)]
fn hold_body(
    rings: RingPair,
    programs: &[[f32; 4]],
    turns: [Parts<'_>; 2],
    re: &mut [f32],
    im: &mut [f32],
) {
    let RingPair { scale, coupling: r, round_trip: a, inner } = rings;
    let [first, second] = turns;
    let turns = first.re.iter().zip(first.im).zip(second.re.iter().zip(second.im));
    let cells = re.iter_mut().zip(im).zip(programs);
    for (((re, im), program), ((&p_cos, &p_sin), (&q_cos, &q_sin))) in cells.zip(turns) {
        let &[p_re, p_im, q_re, q_im] = program;
        let (u_re, u_im) = (p_re * p_cos - p_im * p_sin, p_re * p_sin + p_im * p_cos);
        let (v_re, v_im) = (q_re * q_cos - q_im * q_sin, q_re * q_sin + q_im * q_cos);
        let (n1, n2) = ((1.0 - a * u_re, -a * u_im), (r - v_re, -v_im));
        let (d1, d2) = ((1.0 - inner * u_re, -inner * u_im), (1.0 - r * v_re, -r * v_im));
        let (n_re, n_im) = (n1.0 * n2.0 - n1.1 * n2.1, n1.0 * n2.1 + n1.1 * n2.0);
        let (d_re, d_im) = (d1.0 * d2.0 - d1.1 * d2.1, d1.0 * d2.1 + d1.1 * d2.0);
        let scale = scale / (d_re * d_re + d_im * d_im);
        (*re, *im) = ((n_re * d_re + n_im * d_im) * scale, (n_im * d_re - n_re * d_im) * scale);
    }
}

/// `out[k] = seen.re[k] · Re(z c[k]) + seen.im[k] · Im(z c[k])`: what one quadrature of each column
/// shows of its cell c under the operand z.
///
/// Panics: if the lengths differ.
pub fn show(z: (f32, f32), cells: Parts<'_>, seen: Parts<'_>, out: &mut [f32]) {
    let n = out.len();
    assert!(cells.re.len() == n && cells.im.len() == n, "one cell for each column");
    assert!(seen.re.len() == n && seen.im.len() == n, "one receiver for each column");
    show_on(Isa::detected(), z, cells, seen, out);
}

on_every_isa! {
    fn show_on(z: (f32, f32), cells: Parts<'_>, seen: Parts<'_>, out: &mut [f32]) = show_body;
}

#[inline(always)]
fn show_body(z: (f32, f32), cells: Parts<'_>, seen: Parts<'_>, out: &mut [f32]) {
    let (z_re, z_im) = z;
    let columns = cells.re.iter().zip(cells.im).zip(seen.re.iter().zip(seen.im));
    for (out, ((&re, &im), (&of_re, &of_im))) in out.iter_mut().zip(columns) {
        let (e_re, e_im) = (re * z_re - im * z_im, re * z_im + im * z_re);
        *out = of_re * e_re + of_im * e_im;
    }
}

/// Adds to each column's sum its cell under the operand z: `sum[k] += z c[k]`.
///
/// Panics: if the lengths differ.
pub fn add_under(z: (f32, f32), cells: Parts<'_>, re: &mut [f32], im: &mut [f32]) {
    let n = re.len();
    assert!(im.len() == n && cells.re.len() == n && cells.im.len() == n, "one cell each");
    add_under_on(Isa::detected(), z, cells, re, im);
}

on_every_isa! {
    fn add_under_on(z: (f32, f32), cells: Parts<'_>, re: &mut [f32], im: &mut [f32]) = under_body;
}

#[inline(always)]
fn under_body(z: (f32, f32), cells: Parts<'_>, re: &mut [f32], im: &mut [f32]) {
    let (z_re, z_im) = z;
    let sums = re.iter_mut().zip(im);
    for ((sum_re, sum_im), (&re, &im)) in sums.zip(cells.re.iter().zip(cells.im)) {
        *sum_re += re * z_re - im * z_im;
        *sum_im += re * z_im + im * z_re;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::normal::standard_normals;

    /// Complex arithmetic cell by cell, in double precision.
    #[derive(Clone, Copy)]
    struct C(f64, f64);

    impl C {
        fn at(parts: Parts<'_>, cell: usize) -> Self {
            Self(f64::from(parts.re[cell]), f64::from(parts.im[cell]))
        }

        fn times(self, other: Self) -> Self {
            Self(self.0 * other.0 - self.1 * other.1, self.0 * other.1 + self.1 * other.0)
        }

        fn over(self, other: Self) -> Self {
            let norm = other.0 * other.0 + other.1 * other.1;
            let Self(re, im) = self.times(Self(other.0, -other.1));
            Self(re / norm, im / norm)
        }

        /// `a + b·self`
        fn line(self, a: f64, b: f64) -> Self {
            Self(a + b * self.0, b * self.1)
        }

        fn is_near(self, re: f32, im: f32) -> bool {
            let off = (self.0 - f64::from(re)).abs() + (self.1 - f64::from(im)).abs();
            off < 1e-4 * (1.0 + self.0.abs() + self.1.abs())
        }
    }

    const N: usize = 203;

    fn row(label: u64) -> Vec<f32> {
        let mut row = vec![0.0; N];
        standard_normals(label, 0, &mut row);
        row
    }

    /// The bits of every pass on one family of instructions.
    fn passes(isa: Isa, phase: f32) -> Vec<u32> {
        let [a, b, c, d] = [1, 2, 3, 4].map(row);
        let (x, y) = (Parts { re: &a, im: &b }, Parts { re: &c, im: &d });
        let phases: Vec<f32> = a.iter().map(|a| phase * a).collect();
        let programs: Vec<[f32; 4]> = (0..N).map(|k| [a[k], b[k], d[k], c[k]]).collect();
        let rings = RingPair { scale: 127.0, coupling: 0.9, round_trip: 0.99, inner: 0.8 };
        let mut all = Vec::new();
        let mut keep = |row: &[f32]| all.extend(row.iter().map(|value| value.to_bits()));
        let (mut re, mut im) = (a.clone(), b.clone());
        add_share_on(isa, 0.3, &c, &mut re);
        keep(&re);
        multiply_on(isa, y, &mut re, &mut im);
        turn_on(isa, &phases, &mut re, &mut im);
        keep(&re);
        keep(&im);
        show_on(isa, (0.3, -0.8), x, y, &mut re);
        keep(&re);
        add_under_on(isa, (0.2, 0.7), x, &mut re, &mut im);
        keep(&re);
        keep(&im);
        hold_in_rings_on(isa, rings, &programs, [x, y], &mut re, &mut im);
        keep(&re);
        keep(&im);
        all
    }

    #[test]
    fn every_family_of_instructions_gives_the_same_bits() {
        for phase in [0.1, 3.0] {
            let scalar = passes(Isa::Scalar, phase);
            for isa in Isa::available() {
                assert_eq!(passes(isa, phase), scalar, "{isa:?}");
            }
        }
    }

    #[test]
    fn cells_are_what_complex_arithmetic_says() {
        let [a, b, c, d] = [1, 2, 3, 4].map(row);
        let (x, y) = (Parts { re: &a, im: &b }, Parts { re: &c, im: &d });
        let (mut re, mut im) = (a.clone(), b.clone());
        multiply(y, &mut re, &mut im);
        assert!((0..N).all(|k| C::at(x, k).times(C::at(y, k)).is_near(re[k], im[k])));

        let (mut re, mut im) = (a.clone(), b.clone());
        turn(&c, &mut re, &mut im);
        let turned = |k: usize| {
            let (sin, cos) = math::sin_cos(f64::from(c[k]));
            C::at(x, k).times(C(cos, sin))
        };
        assert!((0..N).all(|k| turned(k).is_near(re[k], im[k])));

        let (mut re, mut im) = (c.clone(), d.clone());
        add_under((0.3, -0.8), x, &mut re, &mut im);
        let under = |k: usize| {
            let (C(re, im), C(to_re, to_im)) = (C::at(x, k).times(C(0.3, -0.8)), C::at(y, k));
            C(to_re + re, to_im + im)
        };
        assert!((0..N).all(|k| under(k).is_near(re[k], im[k])));

        let mut out = vec![0.0; N];
        show((0.3, -0.8), x, y, &mut out);
        let shown = |k: usize| {
            let C(re, im) = C::at(x, k).times(C(0.3, -0.8));
            C(re * f64::from(c[k]) + im * f64::from(d[k]), 0.0)
        };
        assert!((0..N).all(|k| shown(k).is_near(out[k], 0.0)));

        let mut to = a.clone();
        add_share(0.25, &b, &mut to);
        let added = |k: usize| C(f64::from(a[k]) + 0.25 * f64::from(b[k]), 0.0);
        assert!((0..N).all(|k| added(k).is_near(to[k], 0.0)));
    }

    #[test]
    fn rings_hold_the_product_of_two_transmissions() {
        let angles: Vec<f64> = (0..N).map(|k| 0.4 + 0.01 * k as f64).collect();
        let unit = |shift: f64| -> (Vec<f32>, Vec<f32>) {
            let points = angles.iter().map(|angle| math::sin_cos(angle + shift));
            points.map(|(sin, cos)| (single(cos), single(sin))).unzip()
        };
        let [p, q, first, second] = [0.0, 1.0, 2.0, 3.0].map(unit);
        let programs: Vec<[f32; 4]> = (0..N).map(|k| [p.0[k], p.1[k], q.0[k], q.1[k]]).collect();
        let (r, a) = (0.9, 0.99);
        let rings = RingPair {
            scale: 100.0,
            coupling: single(r),
            round_trip: single(a),
            inner: single(r * r * a),
        };
        let [first, second] = [&first, &second].map(|(re, im)| Parts { re, im });
        let (mut re, mut im) = (vec![0.0; N], vec![0.0; N]);
        hold_in_rings(rings, &programs, [first, second], &mut re, &mut im);
        for k in 0..N {
            let u = C::at(Parts { re: &p.0, im: &p.1 }, k).times(C::at(first, k));
            let v = C::at(Parts { re: &q.0, im: &q.1 }, k).times(C::at(second, k));
            let one = u.line(1.0, -a).over(u.line(1.0, -r * r * a));
            let other = v.line(r, -1.0).over(v.line(1.0, -r));
            let C(held_re, held_im) = one.times(other);
            assert!(C(100.0 * held_re, 100.0 * held_im).is_near(re[k], im[k]), "{k}");
        }
    }
}
