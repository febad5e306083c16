//! Cells of two rings: the first sets the amplitude, the second turns the phase, and an error in
//! the resonance of either shows in both.
//!
//! With `u = e^(iδ)`, δ the round-trip phase, self-coupling r and round trip a, the first ring lies
//! between two buses and the second on one:
//!
//! ```text
//! t₁ = r (1 − a u) / (1 − r² a u)         largest at δ = π
//! t₂ = (r − u) / (1 − r u)                of modulus one: its loss is counted as insertion loss
//! ```
//!
//! A weight is programmed by the joint inverse: the first ring's δ from the modulus, then the
//! second's from the phase that is left.

use super::crosstalk::{PAIRS, places};
use super::{Origin, film, single};
use crate::Term;
use crate::packing::Packing;
use litecore_kernels::cells::{self, Parts, RingPair};
use litecore_kernels::math;
use std::sync::OnceLock;

/// A complex number.
#[derive(Clone, Copy)]
struct C(f64, f64);

impl C {
    fn times(self, other: Self) -> Self {
        Self(self.0 * other.0 - self.1 * other.1, self.0 * other.1 + self.1 * other.0)
    }

    fn over(self, other: Self) -> Self {
        let norm = other.0 * other.0 + other.1 * other.1;
        let C(re, im) = self.times(C(other.0, -other.1));
        Self(re / norm, im / norm)
    }

    fn modulus(self) -> f64 {
        (self.0 * self.0 + self.1 * self.1).sqrt()
    }

    /// `a + b·self`
    fn line(self, a: f64, b: f64) -> Self {
        Self(a + b * self.0, b * self.1)
    }
}

/// The two rings of a cell.
#[derive(Clone, Copy)]
pub(super) struct Rings {
    r: f64,
    a: f64,
}

impl Rings {
    fn first(self, u: C) -> C {
        let C(re, im) = u.line(1.0, -self.a).over(u.line(1.0, -self.r * self.r * self.a));
        C(self.r * re, self.r * im)
    }

    fn second(self, u: C) -> C {
        u.line(self.r, -1.0).over(u.line(1.0, -self.r))
    }

    /// Round trips that give a weight of modulus one at most; a modulus out of reach becomes the
    /// nearest in reach.
    fn program(self, weight: C) -> (C, C) {
        let (r, a) = (self.r, self.a);
        let modulus = weight.modulus();
        let most = self.most();
        // |t₁|² = r² (1 + a² − 2 a c) / (1 + r⁴ a² − 2 r² a c), solved for c = cos δ.
        let share = modulus * most * modulus * most / (r * r);
        let c = (share * (1.0 + r * r * r * r * a * a) - (1.0 + a * a))
            / (2.0 * a * (share * r * r - 1.0));
        let c = c.clamp(-1.0, 1.0);
        let u1 = C(c, (1.0 - c * c).max(0.0).sqrt());
        let t1 = self.first(u1);
        let target =
            if modulus > 0.0 { C(weight.0 / modulus, weight.1 / modulus) } else { C(1.0, 0.0) };
        let scale = t1.modulus();
        let phase1 = if scale > 0.0 { C(t1.0 / scale, t1.1 / scale) } else { C(1.0, 0.0) };
        let left = target.over(phase1);
        // t₂ = (r − u) / (1 − r u) is its own inverse.
        (u1, self.second(left))
    }

    /// The largest modulus of the first ring, which stands for a weight of one.
    fn most(self) -> f64 {
        self.first(C(-1.0, 0.0)).modulus()
    }

    /// The weight that two round trips give.
    #[cfg(test)]
    fn weight(self, u1: C, u2: C) -> C {
        let C(re, im) = self.first(u1).times(self.second(u2));
        C(re / self.most(), im / self.most())
    }
}

/// The rings of one array.
///
/// Single precision, and one division for a weight, as this is most of what loading a tile takes: what
/// it rounds is a detuning of 1e-7 rad.
pub(super) struct RingErrors {
    rings: Rings,
    full: f64,
    /// Each cell's two errors, as turns of the round trips.
    turns: [Turns; 2],
    /// The two round trips of each pair of codes, filled when the first tile is loaded.
    programs: OnceLock<Vec<[f32; 4]>>,
}

/// Points on the unit circle, one for each cell.
struct Turns {
    cos: Vec<f32>,
    sin: Vec<f32>,
}

/// Fewer cells than this are programmed one by one: a table would take longer.
const CELLS_WORTH_A_TABLE: usize = 1024;
/// Cells that are worked on together.
const CELLS_AT_ONCE: usize = 64;

impl RingErrors {
    pub(super) fn draw(origin: Origin<'_>, packing: Packing) -> Option<Self> {
        let ring = origin.chip.ring.as_ref()?;
        if !origin.terms.contains(Term::Ring) {
            return None;
        }
        let sigma = ring.detuning_error_rad.value();
        let turns = |part| {
            let turn = |normal: f32| {
                let (sin, cos) = math::sin_cos(sigma * f64::from(normal));
                (single(cos), single(sin))
            };
            let (cos, sin) =
                origin.normals_of_cells(Term::Ring, part).into_iter().map(turn).unzip();
            Turns { cos, sin }
        };
        Some(Self {
            rings: rings_of(origin.chip)?,
            full: film::full_scale(origin.chip.weight_limit(), packing),
            turns: [turns(0), turns(1)],
            programs: OnceLock::new(),
        })
    }

    /// Puts programmed weights, from `first` on in the array, into their rings.
    pub(super) fn apply(&self, first: usize, re: &mut [f32], im: &mut [f32]) {
        let small = self.turns[0].cos.len() < CELLS_WORTH_A_TABLE;
        let table: &[[f32; 4]] = if small { &[] } else { self.programs() };
        let rings = self.pair();
        let mut programs = [[0.0_f32; 4]; CELLS_AT_ONCE];
        let mut listed = [0; CELLS_AT_ONCE];
        let chunks = re.chunks_mut(CELLS_AT_ONCE).zip(im.chunks_mut(CELLS_AT_ONCE));
        for (start, (re, im)) in (first..).step_by(CELLS_AT_ONCE).zip(chunks) {
            let programs = &mut programs[..re.len()];
            if table.is_empty() {
                for ((program, &re), &im) in programs.iter_mut().zip(&*re).zip(&*im) {
                    *program = self.program(f64::from(re), f64::from(im));
                }
            } else {
                places(re, im, &mut listed);
                for (program, &place) in programs.iter_mut().zip(&listed) {
                    *program = table[place];
                }
            }
            let turns = [&self.turns[0], &self.turns[1]].map(|turns| Parts {
                re: &turns.cos[start..][..re.len()],
                im: &turns.sin[start..][..re.len()],
            });
            cells::hold_in_rings(rings, programs, turns, re, im);
        }
    }

    /// The rings with the scale that makes transmissions codes.
    fn pair(&self) -> RingPair {
        let Rings { r, a } = self.rings;
        RingPair {
            scale: single(r / self.rings.most() * self.full),
            coupling: single(r),
            round_trip: single(a),
            inner: single(r * r * a),
        }
    }

    /// The round trips of a pair of codes, real and imaginary parts.
    fn program(&self, re: f64, im: f64) -> [f32; 4] {
        let (first, second) = self.rings.program(C(re / self.full, im / self.full));
        [first.0, first.1, second.0, second.1].map(single)
    }

    /// The round trips of every pair of codes.
    fn programs(&self) -> &[[f32; 4]] {
        self.programs.get_or_init(|| {
            let code = |byte: usize| byte as f64 - 128.0;
            (0..PAIRS).map(|pair| self.program(code(pair >> 8), code(pair & 255))).collect()
        })
    }
}

fn rings_of(chip: &litecore_types::chip::ChipDescription) -> Option<Rings> {
    let ring = chip.ring.as_ref()?;
    Some(Rings { r: ring.self_coupling.value, a: ring.round_trip.value })
}

/// Steps of each quadrature in the grid of weights.
const STEPS: i32 = 100;
/// Steps of a normal error, from -4 to 4 of its deviations.
const ERROR_STEPS: i32 = 16;

/// Means of a ring's transmission over its normal error: of itself, of its square, and of its power.
struct Moments {
    mean: C,
    square: C,
    power: f64,
}

impl Moments {
    /// By the trapezoidal rule, which for a normal weight is as good as exact.
    fn of(transmission: impl Fn(C) -> C, at: C, turns: &[(C, f64)]) -> Self {
        let mut moments = Self { mean: C(0.0, 0.0), square: C(0.0, 0.0), power: 0.0 };
        for &(turn, weight) in turns {
            let t = transmission(at.times(turn));
            let square = t.times(t);
            moments.mean = C(moments.mean.0 + weight * t.0, moments.mean.1 + weight * t.1);
            moments.square =
                C(moments.square.0 + weight * square.0, moments.square.1 + weight * square.1);
            moments.power += weight * (t.0 * t.0 + t.1 * t.1);
        }
        moments
    }
}

/// Turns by a normal error of this deviation, with their shares.
fn turns_of(sigma: f64) -> Vec<(C, f64)> {
    let at = |step: i32| 8.0 * f64::from(step) / f64::from(ERROR_STEPS) - 4.0;
    let weights =
        || (0..=ERROR_STEPS).map(|step| (at(step), pxfm::f_exp(-at(step) * at(step) / 2.0)));
    let sum: f64 = weights().map(|(_, weight)| weight).sum();
    let turn = |(x, weight): (f64, f64)| {
        let (sin, cos) = math::sin_cos(sigma * x);
        (C(cos, sin), weight / sum)
    };
    weights().map(turn).collect()
}

/// Mean-square error of a cell's weight over its full scale, for codes spread evenly and rings of any
/// sharpness: `⟨|t₁ t₂ - w|²⟩` by the moments of both rings, whose errors are independent. In `single`
/// only the real part counts, twice, as the field's power is counted by halves.
pub(crate) fn mean_square_error(
    chip: &litecore_types::chip::ChipDescription,
    packing: Packing,
) -> f64 {
    let (Some(rings), Some(ring)) = (rings_of(chip), chip.ring.as_ref()) else { return 0.0 };
    let turns = turns_of(ring.detuning_error_rad.value());
    let both = packing.weights_per_cell() == 2;
    let scale = if both { std::f64::consts::FRAC_1_SQRT_2 } else { 1.0 };
    let most = rings.most();
    let value = |step: i32| scale * (f64::from(2 * step + 1) / f64::from(STEPS) - 1.0);
    let (mut sum, mut count) = (0.0, 0.0);
    for i in 0..STEPS {
        for q in 0..if both { STEPS } else { 1 } {
            let wanted = C(value(i), if both { value(q) } else { 0.0 });
            let (u1, u2) = rings.program(wanted);
            let first = Moments::of(|u| rings.first(u), u1, &turns);
            let second = Moments::of(|u| rings.second(u), u2, &turns);
            let mean = first.mean.times(second.mean);
            let power = first.power * second.power / (most * most);
            sum += if packing == Packing::Single {
                let square = first.square.times(second.square).0 / (most * most);
                // ⟨(Re t)²⟩ is half of ⟨|t|²⟩ + Re⟨t²⟩.
                let real = f64::midpoint(power, square);
                2.0 * (real - 2.0 * wanted.0 * mean.0 / most + wanted.0 * wanted.0)
            } else {
                let along = wanted.0 * mean.0 + wanted.1 * mean.1;
                power - 2.0 * along / most + wanted.0 * wanted.0 + wanted.1 * wanted.1
            };
            count += 1.0;
        }
    }
    sum / count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_joint_inverse_meets_every_weight_in_reach() {
        let rings = Rings { r: 0.95, a: 0.999 };
        for (re, im) in [(1.0, 0.0), (0.3, -0.4), (-0.7, 0.7), (0.0, -0.05), (-0.999, 0.0)] {
            let (u1, u2) = rings.program(C(re, im));
            assert!((u1.modulus() - 1.0).abs() < 1e-12 && (u2.modulus() - 1.0).abs() < 1e-12);
            let C(found_re, found_im) = rings.weight(u1, u2);
            assert!((found_re - re).abs() < 1e-9 && (found_im - im).abs() < 1e-9, "{re} {im}");
        }
        // Nothing is darker than resonance.
        let (u1, u2) = rings.program(C(0.0, 0.0));
        let darkest = rings.weight(u1, u2).modulus();
        let by_hand = (1.0 - 0.999) / (1.0 - 0.9025 * 0.999) / (1.999 / (1.0 + 0.9025 * 0.999));
        assert!((darkest - by_hand).abs() < 1e-9, "{darkest} {by_hand}");
    }

    /// Cell by cell against the two rings' own transmissions, in double precision.
    #[test]
    fn many_cells_at_once_are_as_each_alone() {
        let rings = Rings { r: 0.95, a: 0.999 };
        for count in [100, 1100] {
            let angle = |cell: usize, part: usize| 1e-2 * ((cell * 7 + part * 3) % 11) as f64;
            let turns = |part: usize| {
                let pairs = (0..count).map(|cell| math::sin_cos(angle(cell, part)));
                let (sin, cos) = pairs.map(|(sin, cos)| (single(sin), single(cos))).unzip();
                Turns { cos, sin }
            };
            let full = 127.0 * 2.0_f64.sqrt();
            let errors =
                RingErrors { rings, full, turns: [turns(0), turns(1)], programs: OnceLock::new() };
            let code = |cell: usize, step: usize| (cell * step % 255) as f32 - 127.0;
            let [mut held_re, mut held_im] =
                [31, 17].map(|step| (0..count).map(|cell| code(cell, step)).collect::<Vec<f32>>());
            // In rows of 50, as an array has them.
            let rows = held_re.chunks_mut(50).zip(held_im.chunks_mut(50));
            for (row, (re, im)) in rows.enumerate() {
                errors.apply(50 * row, re, im);
            }
            for cell in 0..count {
                let wanted = C(f64::from(code(cell, 31)) / full, f64::from(code(cell, 17)) / full);
                let (u1, u2) = rings.program(wanted);
                let turn = |part| {
                    let (sin, cos) = math::sin_cos(angle(cell, part));
                    C(cos, sin)
                };
                let C(re, im) = rings.weight(u1.times(turn(0)), u2.times(turn(1)));
                let off = (f64::from(held_re[cell]) - re * full).abs()
                    + (f64::from(held_im[cell]) - im * full).abs();
                assert!(off < 1e-2, "{cell}: {off} codes");
            }
        }
    }
}
