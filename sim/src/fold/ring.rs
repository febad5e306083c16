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
//!
//! What else turns a cell's phase detunes its rings just so: each ring drifts by itself, and the heat
//! of other cells turns both alike.

use super::cells::{age_share, drifts};
use super::crosstalk::{PAIRS, drive_statistics, neighbor_sums, places};
use super::memo::Memo;
use super::{Origin, film, single};
use crate::Term;
use crate::Terms;
use crate::packing::Packing;
use litecore_kernels::cells::{self, Parts, RingPair};
use litecore_kernels::math;
use litecore_types::chip::ChipDescription;
use std::f64::consts::TAU;
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
#[derive(Clone, Copy, PartialEq)]
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
    /// Whether weights out of reach become the nearest in reach; else what detunes a ring changes the
    /// weight by as much as it changes the nearest one.
    confines: bool,
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
    /// The rings of one array, if something detunes them; `heated` says whether heat will.
    pub(super) fn draw(origin: Origin<'_>, packing: Packing, heated: bool) -> Option<Self> {
        let ring = origin.chip.ring.as_ref()?;
        let confines = origin.terms.contains(Term::Ring);
        let drift = origin.strength(Term::Drift, origin.chip.cell.drift_rad.value());
        if !confines && !heated && drift <= 0.0 {
            return None;
        }
        let sigma = origin.strength(Term::Ring, ring.detuning_error_rad.value());
        let turns = |part: u8| {
            let built =
                if sigma > 0.0 { origin.normals_of_cells(Term::Ring, part.into()) } else { vec![] };
            let walk = if drift > 0.0 { drifts(origin, drift, part) } else { vec![] };
            let turn = |cell: usize| {
                let built = built.get(cell).map_or(0.0, |&normal| sigma * f64::from(normal));
                let (sin, cos) = math::sin_cos(built + walk.get(cell).copied().unwrap_or(0.0));
                (single(cos), single(sin))
            };
            let (cos, sin) = (0..origin.chip.array.inputs * origin.columns).map(turn).unzip();
            Turns { cos, sin }
        };
        Some(Self {
            rings: rings_of(origin.chip)?,
            full: film::full_scale(origin.chip.weight_limit(), packing),
            turns: [turns(0), turns(1)],
            confines,
            programs: OnceLock::new(),
        })
    }

    /// Puts programmed weights, from `first` on in the array, into their rings; heat turns each by a
    /// phase, if there is any.
    pub(super) fn apply(&self, first: usize, re: &mut [f32], im: &mut [f32], heat: Option<&[f32]>) {
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
            let mut turned = [[[0.0_f32; CELLS_AT_ONCE]; 2]; 2];
            let turns = [0, 1].map(|ring: usize| Parts {
                re: &self.turns[ring].cos[start..][..re.len()],
                im: &self.turns[ring].sin[start..][..re.len()],
            });
            let turns = match heat {
                None => turns,
                Some(heat) => turn_more(turns, &heat[start - first..][..re.len()], &mut turned),
            };
            if self.confines {
                cells::hold_in_rings(rings, programs, turns, re, im);
            } else {
                add_change(rings, programs, turns, re, im);
            }
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

/// The turns of both rings of some cells, in a place of their own, with a phase more.
fn turn_more<'a>(
    turns: [Parts<'_>; 2],
    phases: &[f32],
    turned: &'a mut [[[f32; CELLS_AT_ONCE]; 2]; 2],
) -> [Parts<'a>; 2] {
    let n = phases.len();
    for ([re, im], of) in turned.iter_mut().zip(turns) {
        let (re, im) = (&mut re[..n], &mut im[..n]);
        re.copy_from_slice(of.re);
        im.copy_from_slice(of.im);
        cells::turn(phases, re, im);
    }
    turned.each_ref().map(|[re, im]| Parts { re: &re[..n], im: &im[..n] })
}

/// Changes weights by as much as the turns change what the rings hold for them.
fn add_change(
    rings: RingPair,
    programs: &[[f32; 4]],
    turns: [Parts<'_>; 2],
    re: &mut [f32],
    im: &mut [f32],
) {
    let n = re.len();
    let (one, none) = ([1.0; CELLS_AT_ONCE], [0.0; CELLS_AT_ONCE]);
    let tuned = Parts { re: &one[..n], im: &none[..n] };
    let held = |turns| {
        let [mut re, mut im] = [[0.0; CELLS_AT_ONCE]; 2];
        cells::hold_in_rings(rings, programs, turns, &mut re[..n], &mut im[..n]);
        (re, im)
    };
    let ((held_re, held_im), (tuned_re, tuned_im)) = (held(turns), held([tuned; 2]));
    for (cell, (re, im)) in re.iter_mut().zip(im).enumerate() {
        *re += held_re[cell] - tuned_re[cell];
        *im += held_im[cell] - tuned_im[cell];
    }
}

fn rings_of(chip: &ChipDescription) -> Option<Rings> {
    let ring = chip.ring.as_ref()?;
    Some(Rings { r: ring.self_coupling.value, a: ring.round_trip.value })
}

/// Steps of each quadrature in the grid of weights.
const STEPS: i32 = 40;
/// Fewest steps of a normal error, from -4 to 4 of its deviations, and most.
const ERROR_STEPS: [f64; 2] = [16.0, 160.0];

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

/// Turns by a normal error of this mean and deviation, with their shares; `sharp` is the phase over
/// which what they turn changes.
fn turns_of(mean: f64, sigma: f64, sharp: f64) -> Vec<(C, f64)> {
    let [fewest, most] = ERROR_STEPS;
    // Two steps for a deviation at least, and as many for what is sharper.
    let steps = (8.0 * sigma / (0.7 * sharp)).clamp(fewest, most).ceil();
    #[allow(clippy::cast_possible_truncation, reason = "a few dozen")]
    let steps = if sigma > 0.0 { steps as i32 } else { 0 };
    let at = |step: i32| 8.0 * f64::from(step) / f64::from(steps.max(1)) - 4.0;
    let weights = || (0..=steps).map(|step| (at(step), pxfm::f_exp(-at(step) * at(step) / 2.0)));
    let sum: f64 = weights().map(|(_, weight)| weight).sum();
    let turn = |(x, weight): (f64, f64)| {
        let (sin, cos) = math::sin_cos(mean + sigma * x);
        (C(cos, sin), weight / sum)
    };
    weights().map(turn).collect()
}

/// What detunes the rings of a cell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Detuning {
    /// Deviation of each ring by itself.
    own: f64,
    /// Mean and deviation of what both rings of a cell have in common.
    common: [f64; 2],
    /// Whether weights out of reach count.
    confines: bool,
}

impl Detuning {
    /// What these terms do to the rings of a chip; nothing if they do nothing to them.
    pub(crate) fn of(chip: &ChipDescription, packing: Packing, terms: Terms) -> Option<Self> {
        let ring = chip.ring.as_ref()?;
        let cell = &chip.cell;
        let on = |term, value: f64| if terms.contains(term) { value } else { 0.0 };
        let built = on(Term::Ring, ring.detuning_error_rad.value());
        let drift = on(Term::Drift, cell.drift_rad.value() * age_share(chip, cell.age_s.value));
        let (sum, squares) =
            if terms.contains(Term::Crosstalk) { neighbor_sums(chip) } else { (0.0, 0.0) };
        let all = on(Term::Heating, cell.heating_phase_rad.value()) / TAU;
        let common = if sum > 0.0 || all > 0.0 {
            let drives = drive_statistics(chip, packing);
            [(sum + all) * drives.mean, (squares * drives.variance).sqrt()]
        } else {
            [0.0; 2]
        };
        let detuning = Self {
            own: (built * built + drift * drift).sqrt(),
            common,
            confines: terms.contains(Term::Ring),
        };
        let some = detuning.confines || detuning.own > 0.0 || common[0] > 0.0;
        some.then_some(detuning)
    }
}

/// Mean-square error of a cell's weight over its full scale, for codes spread evenly and rings of any
/// sharpness: `⟨|t₁ t₂ - w|²⟩` by the moments of both rings, whose errors are independent but for what
/// they have in common. In `single` only the real part counts, twice, as the field's power is counted
/// by halves.
pub(crate) fn mean_square_error(
    chip: &ChipDescription,
    packing: Packing,
    detuning: Detuning,
) -> f64 {
    type Asked = (Rings, Packing, Detuning);
    thread_local! {
        static LAST: Memo<Asked, f64> = const { Memo::new() };
    }
    rings_of(chip).map_or(0.0, |rings| {
        LAST.with(|last| {
            last.get((rings, packing, detuning), || integrate(rings, packing, detuning))
        })
    })
}

fn integrate(rings: Rings, packing: Packing, detuning: Detuning) -> f64 {
    // The second ring is the sharper one: it loses nothing.
    let sharp = 1.0 - rings.r;
    let turns = turns_of(0.0, detuning.own, sharp);
    let [mean, sigma] = detuning.common;
    let commons = turns_of(mean, sigma, sharp.max(detuning.own));
    let both = packing.weights_per_cell() == 2;
    let scale = if both { std::f64::consts::FRAC_1_SQRT_2 } else { 1.0 };
    let most = rings.most();
    let value = |step: i32| scale * (f64::from(2 * step + 1) / f64::from(STEPS) - 1.0);
    let (mut sum, mut count) = (0.0, 0.0);
    for i in 0..STEPS {
        for q in 0..if both { STEPS } else { 1 } {
            let meant = C(value(i), if both { value(q) } else { 0.0 });
            let (u1, u2) = rings.program(meant);
            let wanted = if detuning.confines { meant } else { rings.weight(u1, u2) };
            for &(common, share) in &commons {
                let first = Moments::of(|u| rings.first(u), u1.times(common), &turns);
                let second = Moments::of(|u| rings.second(u), u2.times(common), &turns);
                let mean = first.mean.times(second.mean);
                let power = first.power * second.power / (most * most);
                let error = if packing == Packing::Single {
                    let square = first.square.times(second.square).0 / (most * most);
                    // ⟨(Re t)²⟩ is half of ⟨|t|²⟩ + Re⟨t²⟩.
                    let real = f64::midpoint(power, square);
                    2.0 * (real - 2.0 * wanted.0 * mean.0 / most + wanted.0 * wanted.0)
                } else {
                    let along = wanted.0 * mean.0 + wanted.1 * mean.1;
                    power - 2.0 * along / most + wanted.0 * wanted.0 + wanted.1 * wanted.1
                };
                sum += share * error;
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
            let errors = RingErrors {
                rings,
                full,
                turns: [turns(0), turns(1)],
                confines: true,
                programs: OnceLock::new(),
            };
            let heat: Vec<f32> = (0..count).map(|cell| 2e-3 * (cell % 5) as f32).collect();
            let code = |cell: usize, step: usize| (cell * step % 255) as f32 - 127.0;
            let [mut held_re, mut held_im] =
                [31, 17].map(|step| (0..count).map(|cell| code(cell, step)).collect::<Vec<f32>>());
            // In rows of 50, as an array has them.
            let rows = held_re.chunks_mut(50).zip(held_im.chunks_mut(50));
            for (row, (re, im)) in rows.enumerate() {
                errors.apply(50 * row, re, im, Some(&heat[50 * row..][..re.len()]));
            }
            for (cell, &heat) in heat.iter().enumerate() {
                let wanted = C(f64::from(code(cell, 31)) / full, f64::from(code(cell, 17)) / full);
                let (u1, u2) = rings.program(wanted);
                let turn = |part| {
                    let (sin, cos) = math::sin_cos(angle(cell, part) + f64::from(heat));
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
