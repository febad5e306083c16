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

use super::{Origin, Planes, film, single};
use crate::Term;
use crate::packing::Packing;
use litecore_kernels::math;

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
        let most = self.first(C(-1.0, 0.0)).modulus();
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

    /// The weight that two round trips give.
    fn weight(self, u1: C, u2: C) -> C {
        let most = self.first(C(-1.0, 0.0)).modulus();
        let C(re, im) = self.first(u1).times(self.second(u2));
        C(re / most, im / most)
    }
}

/// The rings of one array.
pub(super) struct RingErrors {
    rings: Rings,
    full: f64,
    /// Each cell's two errors, as turns of the round trips.
    turns: Vec<[(f64, f64); 2]>,
}

impl RingErrors {
    pub(super) fn draw(origin: Origin<'_>, packing: Packing) -> Option<Self> {
        let ring = origin.chip.ring.as_ref()?;
        if !origin.terms.contains(Term::Ring) {
            return None;
        }
        let sigma = ring.detuning_error_rad.value();
        let count = origin.chip.array.inputs * origin.chip.array.outputs;
        let turn = |normal: f32| {
            let (sin, cos) = math::sin_cos(sigma * f64::from(normal));
            (cos, sin)
        };
        let first = origin.normals(Term::Ring, 0, count);
        let second = origin.normals(Term::Ring, 1, count);
        Some(Self {
            rings: rings_of(origin.chip)?,
            full: film::full_scale(origin.chip.weight_limit(), packing),
            turns: first.into_iter().zip(second).map(|(a, b)| [turn(a), turn(b)]).collect(),
        })
    }

    pub(super) fn apply(&self, planes: &mut Planes) {
        let weights = planes.re.iter_mut().zip(&mut planes.im);
        for ((re, im), turns) in weights.zip(&self.turns) {
            let wanted = C(f64::from(*re) / self.full, f64::from(*im) / self.full);
            let (u1, u2) = self.rings.program(wanted);
            let [first, second] = turns.map(|(cos, sin)| C(cos, sin));
            let C(found_re, found_im) = self.rings.weight(u1.times(first), u2.times(second));
            (*re, *im) = (single(found_re * self.full), single(found_im * self.full));
        }
    }
}

fn rings_of(chip: &litecore_types::chip::ChipDescription) -> Option<Rings> {
    let ring = chip.ring.as_ref()?;
    Some(Rings { r: ring.self_coupling.value, a: ring.round_trip.value })
}

/// Steps of each quadrature in the grid of weights.
const STEPS: i32 = 100;

/// Mean-square error of a cell's weight over its full scale, for codes spread evenly: by the
/// derivative of both rings at each of a grid of weights, and in full where a modulus is out of
/// reach. In `single` only the real part counts, twice, as the field's power is counted by halves.
pub(crate) fn mean_square_error(
    chip: &litecore_types::chip::ChipDescription,
    packing: Packing,
) -> f64 {
    let (Some(rings), Some(ring)) = (rings_of(chip), chip.ring.as_ref()) else { return 0.0 };
    let sigma = ring.detuning_error_rad.value();
    let both = packing.weights_per_cell() == 2;
    let scale = if both { std::f64::consts::FRAC_1_SQRT_2 } else { 1.0 };
    let power = |C(re, im): C| {
        if packing == Packing::Single { 2.0 * re * re } else { re * re + im * im }
    };
    let value = |step: i32| scale * (f64::from(2 * step + 1) / f64::from(STEPS) - 1.0);
    let (mut sum, mut count) = (0.0, 0.0);
    for i in 0..STEPS {
        for q in 0..if both { STEPS } else { 1 } {
            let wanted = C(value(i), if both { value(q) } else { 0.0 });
            let (u1, u2) = rings.program(wanted);
            let held = rings.weight(u1, u2);
            sum += power(C(held.0 - wanted.0, held.1 - wanted.1));
            // d/dε of each ring, by a central difference.
            let h = 1e-5;
            let (sin, cos) = math::sin_cos(h);
            let (plus, minus) = (C(cos, sin), C(cos, -sin));
            for (a, b) in [
                (rings.weight(u1.times(plus), u2), rings.weight(u1.times(minus), u2)),
                (rings.weight(u1, u2.times(plus)), rings.weight(u1, u2.times(minus))),
            ] {
                let slope = C((a.0 - b.0) / (2.0 * h), (a.1 - b.1) / (2.0 * h));
                sum += power(slope) * sigma * sigma;
            }
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
}
