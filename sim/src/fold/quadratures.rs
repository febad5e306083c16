//! What rows and outputs do to the two quadratures: modulators, local oscillators, hybrids.

use super::{Origin, single};
use crate::Term;
use crate::dynamic::half_skew;
use crate::packing::Packing;
use litecore_kernels::math;
use litecore_types::chip::Readout;

/// A real 2 × 2 matrix on in-phase and quadrature.
#[derive(Clone, Copy, Debug)]
pub(super) struct Matrix {
    pub(super) i_of_i: f32,
    pub(super) i_of_q: f32,
    pub(super) q_of_i: f32,
    pub(super) q_of_q: f32,
}

impl Matrix {
    /// A modulator whose quadratures differ by a gain and miss the right angle by another.
    pub(super) fn of_modulator(gain: f64, angle: f64) -> Self {
        let (sin, cos) = math::sin_cos(angle);
        Self {
            i_of_i: single(1.0 + gain / 2.0),
            i_of_q: single(-(1.0 - gain / 2.0) * sin),
            q_of_i: 0.0,
            q_of_q: single((1.0 - gain / 2.0) * cos),
        }
    }

    /// A receiver: I is E seen at the angle `lo`, Q at `lo` and a right angle and `angle` more.
    pub(super) fn of_receiver(gain: f64, angle: f64, lo: f64) -> Self {
        let ((sin_i, cos_i), (sin_q, cos_q)) = (math::sin_cos(lo), math::sin_cos(lo + angle));
        Self {
            i_of_i: single((1.0 + gain / 2.0) * cos_i),
            i_of_q: single((1.0 + gain / 2.0) * sin_i),
            q_of_i: single(-(1.0 - gain / 2.0) * sin_q),
            q_of_q: single((1.0 - gain / 2.0) * cos_q),
        }
    }

    /// All of it weaker by a factor.
    pub(super) fn times(self, factor: f32) -> Self {
        Self {
            i_of_i: self.i_of_i * factor,
            i_of_q: self.i_of_q * factor,
            q_of_i: self.q_of_i * factor,
            q_of_q: self.q_of_q * factor,
        }
    }
}

pub(super) const NOTHING: Matrix = Matrix { i_of_i: 1.0, i_of_q: 0.0, q_of_i: 0.0, q_of_q: 1.0 };

/// The rows and outputs of one array.
pub(super) struct Quadratures {
    rows: Vec<Matrix>,
    /// What I shows of each column's Re E and Im E, and what Q shows.
    seen: [(Vec<f32>, Vec<f32>); 2],
    /// What leaks through each row's modulator at any code, in codes.
    leaks: Vec<(f32, f32)>,
    /// One for each real input.
    transfer_errors: Vec<f32>,
    /// One for each output.
    pair_signs: Vec<f32>,
    err: bool,
}

impl Quadratures {
    pub(super) fn draw(origin: Origin<'_>, packing: Packing) -> Self {
        let chip = origin.chip;
        let (rows, columns) = (chip.array.inputs, origin.columns);
        let (modulator, receiver) = (&chip.modulator, &chip.receiver);
        let strength = |term, value| origin.strength(term, value);
        let draws = |term, part, value: f64, count| -> Vec<f64> {
            if value <= 0.0 {
                return vec![0.0; count];
            }
            origin.normals(term, part, count).iter().map(|&n| value * f64::from(n)).collect()
        };

        let gain = strength(Term::Imbalance, modulator.iq_gain_error.value());
        let angle = strength(Term::Imbalance, modulator.iq_phase_error_rad.value());
        let skew = |term, of_account: bool, skew_s: f64, count| {
            let half = if of_account { strength(term, half_skew(chip, skew_s)) } else { 0.0 };
            (half, draws(term, 0, half, count))
        };
        let (skew_in, row_skews) =
            skew(Term::Skew, packing.drives_quadrature(), modulator.iq_skew_s.value(), rows);
        let (skew_out, column_skews) = skew(
            Term::ReceiverSkew,
            packing.reads_quadrature(),
            receiver.iq_skew_s.value(),
            columns,
        );
        let row_matrices = draws(Term::Imbalance, 0, gain, rows)
            .into_iter()
            .zip(draws(Term::Imbalance, 1, angle, rows))
            .map(|(gain, angle)| Matrix::of_modulator(gain, angle))
            .zip(row_skews)
            .map(|(matrix, skew)| matrix.times(own_share(skew, skew_in)))
            .collect();

        let hybrid = |value| match receiver.readout {
            Readout::I => 0.0,
            Readout::Iq => strength(Term::Hybrid, value),
        };
        let gain_out = hybrid(receiver.hybrid_gain_error.value());
        let angle_out = hybrid(receiver.hybrid_phase_error_rad.value());
        let lo = strength(Term::LoPhase, receiver.lo_phase_error_rad.value());
        let column_matrices: Vec<Matrix> = draws(Term::Hybrid, 0, gain_out, columns)
            .into_iter()
            .zip(draws(Term::Hybrid, 1, angle_out, columns))
            .zip(draws(Term::LoPhase, 0, lo, columns))
            .map(|((gain, angle), lo)| Matrix::of_receiver(gain, angle, lo))
            .zip(column_skews)
            .map(|(matrix, skew)| matrix.times(own_share(skew, skew_out)))
            .collect();

        let inputs = if packing.drives_quadrature() { 2 * rows } else { rows };
        let transfer = strength(Term::Transfer, modulator.transfer_error.value());
        let extinction = modulator.extinction_db.quantity().map_or(0.0, |db| {
            crate::optics::power_ratio(-db.value).sqrt() * f64::from(chip.input_limit())
        });
        let leak = strength(Term::Extinction, extinction);
        Self {
            err: [gain, angle, gain_out, angle_out, lo, leak, skew_in, skew_out]
                .iter()
                .any(|&value| value > 0.0),
            rows: row_matrices,
            seen: [
                column_matrices.iter().map(|m| (m.i_of_i, m.i_of_q)).unzip(),
                column_matrices.iter().map(|m| (m.q_of_i, m.q_of_q)).unzip(),
            ],
            leaks: if leak > 0.0 { leaks(origin, packing, leak, rows) } else { Vec::new() },
            transfer_errors: if transfer > 0.0 {
                draws(Term::Transfer, 0, transfer, inputs).into_iter().map(single).collect()
            } else {
                Vec::new()
            },
            pair_signs: signs(origin, Term::RinLo, 2 * columns),
        }
    }

    /// Whether any row or output differs from a perfect one.
    pub(super) fn err(&self) -> bool {
        self.err
    }

    pub(super) fn row(&self, row: usize) -> Matrix {
        self.rows.get(row).copied().unwrap_or(NOTHING)
    }

    /// What I shows of each column's Re E and Im E, then what Q shows.
    pub(super) fn seen(&self) -> impl Iterator<Item = (&[f32], &[f32])> {
        self.seen.iter().map(|(of_re, of_im)| (&of_re[..], &of_im[..]))
    }

    /// What row's modulator lets through at any code.
    pub(super) fn leak(&self, row: usize) -> Option<(f32, f32)> {
        self.leaks.get(row).copied()
    }

    pub(super) fn transfer_errors(&self) -> Option<&[f32]> {
        (!self.transfer_errors.is_empty()).then_some(&self.transfer_errors)
    }

    pub(super) fn pair_signs(&self) -> &[f32] {
        &self.pair_signs
    }
}

/// What is left of the symbol itself, where so much of the window belongs to the one next to it;
/// calibration knows what is lost on average, for skews of this deviation.
pub(super) fn own_share(half_skew: f64, sigma: f64) -> f32 {
    let mean = sigma * std::f64::consts::FRAC_2_PI.sqrt();
    single((1.0 + mean - half_skew.abs()).max(0.0))
}

/// The drive of x₁ leaks into the quadrature, that of x₂ into the in-phase, with a sign of its own.
fn leaks(origin: Origin<'_>, packing: Packing, leak: f64, rows: usize) -> Vec<(f32, f32)> {
    let signs = signs(origin, Term::Extinction, 2 * rows);
    let leak = single(leak);
    let second = if packing.drives_quadrature() { leak } else { 0.0 };
    (0..rows).map(|row| (signs[row + rows] * second, signs[row] * leak)).collect()
}

fn signs(origin: Origin<'_>, term: Term, count: usize) -> Vec<f32> {
    origin.normals(term, 0, count).iter().map(|normal| normal.signum()).collect()
}
