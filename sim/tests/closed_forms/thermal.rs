use crate::close;
use litecore_sim::thermal::{Block, Crosstalk, Solver, ThermalError, negative_count};
use litecore_sim::uniform::Uniforms;
use litecore_types::Seed;
use std::f64::consts::PI;

const CELLS: usize = 256;

fn block(pitch_um: f64) -> Crosstalk {
    Crosstalk::of(&Block { rows: 16, columns: 16, pitch_um }).unwrap()
}

/// Wanted phases, uniform from 0 to π.
fn wanted(index: u64) -> Vec<f64> {
    let mut stream = Uniforms::new(Seed(23).key("wanted phases", index));
    (0..CELLS).map(|_| PI * stream.unit()).collect()
}

/// The root-mean-square error over all wanted phases, without drawing any.
///
/// The error is linear in them, `e = L φ`; as each has mean π/2 and variance π²/12 and they are
/// independent, the mean of `e_i²` is `(π/2)² (Σ_j L_ij)² + π²/12 Σ_j L_ij²`.
fn expected_rms(error_of: impl Fn(&[f64]) -> Vec<f64>) -> f64 {
    let (mut sums, mut squares) = (vec![0.0; CELLS], 0.0);
    for cell in 0..CELLS {
        let mut one = vec![0.0; CELLS];
        one[cell] = 1.0;
        for (sum, error) in sums.iter_mut().zip(error_of(&one)) {
            *sum += error;
            squares += error * error;
        }
    }
    let of_mean = sums.iter().map(|sum| sum * sum).sum::<f64>();
    ((PI * PI / 4.0 * of_mean + PI * PI / 12.0 * squares) / CELLS as f64).sqrt()
}

/// The phase errors of a drive that `solver` finds.
fn errors(truth: &Crosstalk, solver: &Solver, wanted: &[f64]) -> Vec<f64> {
    difference(truth.phases(&solver.drive(wanted).unwrap()), wanted)
}

fn difference(phases: Result<Vec<f64>, ThermalError>, wanted: &[f64]) -> Vec<f64> {
    phases.unwrap().iter().zip(wanted).map(|(phase, wanted)| phase - wanted).collect()
}

/// Root-mean-square over draws of what the product says is left.
fn drawn_rms(truth: &Crosstalk, draws: u64, drive: impl Fn(u64, &[f64]) -> Vec<f64>) -> f64 {
    let square = |index| {
        let wanted = wanted(index);
        let rms = truth.residual_rms(&drive(index, &wanted), &wanted).unwrap();
        rms * rms
    };
    ((0..draws).map(square).sum::<f64>() / draws as f64).sqrt()
}

/// A figure with what its last digit leaves open.
struct Figure(f64, f64);

/// Setup: 16 × 16 cells, wanted phases uniform from 0 to π and independent, pitches of 10 to 50 µm;
/// the drive is the wanted phases as they are, or solved with every coupling 5 % too large, or with
/// each coupling off by a Gaussian of 2 %.
/// Target: the figures of the physics notes.
/// Tolerance: the figures are of one draw. The mean of 256 phases varies by 3.7 %, and with it what
/// all neighbors together add; two of these, and the figure's rounding. Random couplings add
/// 1 / √(2 · 256) = 4.4 %, which makes 5.7 %, and two of them. Draws of our own must meet the
/// expectation within three deviations: 3 · 3.7 % / √64, and 3 · 5.7 % / √32.
#[test]
fn crosstalk_leaves_the_phases_off_by_what_it_must() {
    for (pitch_um, as_is, systematic, random) in [
        (10.0, Figure(1.18, 5e-3), Figure(33.0, 0.5), Figure(5.5, 0.05)),
        (15.0, Figure(0.37, 5e-3), Figure(15.0, 0.5), Figure(2.5, 0.05)),
        (23.0, Figure(0.095, 5e-4), Figure(4.5, 0.05), Figure(0.83, 5e-3)),
        (30.0, Figure(0.036, 5e-4), Figure(1.8, 0.05), Figure(0.34, 5e-3)),
        (50.0, Figure(0.0025, 5e-5), Figure(0.12, 5e-3), Figure(0.03, 5e-3)),
    ] {
        let what = |drive: &str| format!("{pitch_um} µm, {drive}");
        let truth = block(pitch_um);

        let expected = expected_rms(|phases| difference(truth.phases(phases), phases));
        close(&what("as is, rad"), expected, as_is.0, 0.074 * as_is.0 + as_is.1);
        let drawn = drawn_rms(&truth, 64, |_, wanted| wanted.to_vec());
        close(&what("as is, drawn"), drawn / expected, 1.0, 0.014);

        let believed = truth.scaled(1.05).solver().unwrap();
        let expected = expected_rms(|phases| errors(&truth, &believed, phases));
        let tolerance = 0.074 * systematic.0 + systematic.1;
        close(&what("5 % systematic, mrad"), 1e3 * expected, systematic.0, tolerance);
        let drawn = drawn_rms(&truth, 64, |_, wanted| believed.drive(wanted).unwrap());
        close(&what("5 % systematic, drawn"), drawn / expected, 1.0, 0.014);

        // To first order in the couplings' errors, cell i is off by Σ_j ε_ij γ_ij P_j.
        let solver = truth.solver().unwrap();
        let weight = |j: usize| {
            let others = (0..CELLS).filter(|&i| i != j);
            others.map(|i| truth.at(i, j) * truth.at(i, j)).sum::<f64>().sqrt()
        };
        let weights: Vec<f64> = (0..CELLS).map(weight).collect();
        let expected = 0.02
            * expected_rms(|phases| {
                let drive = solver.drive(phases).unwrap();
                drive.iter().zip(&weights).map(|(drive, weight)| drive * weight).collect()
            });
        close(&what("2 % random, mrad"), 1e3 * expected, random.0, 0.114 * random.0 + random.1);
        let drawn = drawn_rms(&truth, 32, |index, wanted| {
            let believed = truth.misread(0.02, Seed(u128::from(index))).solver().unwrap();
            believed.drive(wanted).unwrap()
        });
        close(&what("2 % random, drawn"), drawn / expected, 1.0, 0.03);
    }
}

/// Setup: as above, the drive solved with the true couplings.
/// Target: phases exact to 1e-12 rad; smallest eigenvalue 0.78 at 10 µm and positive everywhere;
/// 59 of 256 powers negative at 10 µm and 10 at 23 µm.
/// Tolerance: the rounding of the eigenvalue. The counts are of one draw and binomial; the mean of
/// ours must be within two of their deviations, √(59 · 0.77) = 6.7 and √10 = 3.2.
#[test]
fn the_inverse_is_exact_and_asks_some_heaters_for_less_than_nothing() {
    for (pitch_um, figure, tolerance) in [(10.0, 59.0, 13.4), (15.0, 24.0, 9.0), (23.0, 10.0, 6.4)]
    {
        let truth = block(pitch_um);
        let solver = truth.solver().unwrap();
        let left = drawn_rms(&truth, 32, |_, wanted| solver.drive(wanted).unwrap());
        assert!(left < 1e-12, "{left} rad are left at {pitch_um} µm");
        let negative = |index| negative_count(&solver.drive(&wanted(index)).unwrap()) as f64;
        let count = (0..32).map(negative).sum::<f64>() / 32.0;
        close(&format!("{pitch_um} µm, negative powers"), count, figure, tolerance);
        let smallest = solver.smallest_eigenvalue().unwrap();
        assert!(smallest > 0.0 && smallest < 1.0);
        if pitch_um < 11.0 {
            close("smallest eigenvalue at 10 µm", smallest, 0.78, 0.005);
        }
    }
}
