//! What is static about an array whose operands are both streamed: its lanes and its detectors.
//!
//! A lane is a modulator that sends one operand after the other; each input lane carries one vector,
//! each weight lane one output's weights. The detector where lanes t and j meet sees
//! `f_tj Σ_k w_k z_k` through its hybrid, with `f = (1 + a) e^(s + ip) …` as a cell of the other
//! dataflow has it: amplitude, phase, drift, splitters, polarization and reflection are those of the
//! two ways that meet there.

use super::cells::Cells;
use super::quadratures::{Matrix, NOTHING, own_share};
use super::{Origin, Planes, single};
use crate::Term;
use crate::dynamic::half_skew;
use crate::optics::power_ratio;
use crate::packing::Packing;
use litecore_types::chip::Readout;

/// Everything static that is wrong with one array.
pub(crate) struct StreamedErrors {
    pub(crate) inputs: Lanes,
    pub(crate) weights: Lanes,
    detectors: Detectors,
}

/// Modulators that send operands one after the other.
pub(crate) struct Lanes {
    matrices: Vec<Matrix>,
    /// What leaks through each modulator at any code, in codes.
    leaks: Vec<(f32, f32)>,
    /// Each drive's relative error in half-wave voltage: all in-phase drives, then all others.
    transfer_errors: Vec<f32>,
    /// How much of an operand is still there when the next one is sent.
    lag: f32,
    err: bool,
}

/// Where two lanes meet, row by row: inputs × weights.
struct Detectors {
    columns: usize,
    reads_quadrature: bool,
    factors: Option<(Vec<f32>, Vec<f32>)>,
    hybrids: Option<Vec<Matrix>>,
}

impl StreamedErrors {
    pub(crate) fn draw(origin: Origin<'_>, packing: Packing) -> Self {
        let array = &origin.chip.array;
        let (rows, columns) = (array.inputs, array.outputs);
        let both = packing.weights_per_cell() == 2;
        let chip = origin.chip;
        Self {
            inputs: Lanes::draw(origin, 0, rows, packing.drives_quadrature(), chip.input_limit()),
            weights: Lanes::draw(origin, 1, columns, both, chip.weight_limit()),
            detectors: Detectors::draw(origin, packing),
        }
    }

    /// Whether any sum differs from the one that is meant.
    pub(crate) fn err(&self) -> bool {
        self.inputs.err
            || self.weights.err
            || self.detectors.factors.is_some()
            || self.detectors.hybrids.is_some()
    }

    /// What the weight lanes make of the weights: each column's lane sends its rows in order.
    pub(crate) fn send_weights(&self, planes: &mut Planes, columns: usize, curve: &[f32]) {
        let mut before = vec![(0.0, 0.0); columns];
        let rows = planes.re.chunks_exact_mut(columns).zip(planes.im.chunks_exact_mut(columns));
        for (re, im) in rows {
            let cells = re.iter_mut().zip(im).zip(&mut before);
            for (lane, ((re, im), before)) in cells.enumerate() {
                *before =
                    self.weights.lagged(self.weights.driven(lane, (*re, *im), curve), *before);
                (*re, *im) = self.weights.sent(lane, *before);
            }
        }
    }

    /// What an input lane makes of a vector: real parts, then imaginary parts.
    pub(crate) fn send_inputs(&self, lane: usize, x: &[i8], curve: &[f32], out: &mut [f32]) {
        let (re, im) = out.split_at_mut(out.len() / 2);
        let (first, second) = x.split_at(re.len());
        let mut before = (0.0, 0.0);
        for (k, ((re, im), &first)) in re.iter_mut().zip(im).zip(first).enumerate() {
            let second = second.get(k).copied().unwrap_or(0);
            let codes = (f32::from(first), f32::from(second));
            before = self.inputs.lagged(self.inputs.driven(lane, codes, curve), before);
            (*re, *im) = self.inputs.sent(lane, before);
        }
    }

    /// What the detectors of an input lane show of their fields: I, then Q where it is read.
    pub(crate) fn show(&self, lane: usize, fields: &[f32], out: &mut [f32]) {
        let Detectors { columns, reads_quadrature, factors, hybrids } = &self.detectors;
        let (re, im) = fields.split_at(*columns);
        for column in 0..*columns {
            let detector = lane * columns + column;
            let (mut e_re, mut e_im) = (re[column], im[column]);
            if let Some((f_re, f_im)) = factors {
                let (f_re, f_im) = (f_re[detector], f_im[detector]);
                (e_re, e_im) = (e_re * f_re - e_im * f_im, e_re * f_im + e_im * f_re);
            }
            let h = hybrids.as_ref().map_or(NOTHING, |hybrids| hybrids[detector]);
            out[column] = h.i_of_i * e_re + h.i_of_q * e_im;
            if *reads_quadrature {
                out[column + columns] = h.q_of_i * e_re + h.q_of_q * e_im;
            }
        }
    }
}

impl Lanes {
    /// `side` is 0 for inputs and 1 for weights; `both` says whether both quadratures are driven.
    fn draw(origin: Origin<'_>, side: u64, count: usize, both: bool, limit: i32) -> Self {
        let modulator = &origin.chip.modulator;
        let draws = |term, part, sigma: f64, count| -> Vec<f64> {
            if sigma <= 0.0 {
                return vec![0.0; count];
            }
            origin.normals(term, part, count).iter().map(|&n| sigma * f64::from(n)).collect()
        };
        let gain = origin.strength(Term::Imbalance, modulator.iq_gain_error.value());
        let angle = origin.strength(Term::Imbalance, modulator.iq_phase_error_rad.value());
        let skew = half_skew(origin.chip, modulator.iq_skew_s.value());
        let skew = if both { origin.strength(Term::Skew, skew) } else { 0.0 };
        let matrices = draws(Term::Imbalance, 2 * side, gain, count)
            .into_iter()
            .zip(draws(Term::Imbalance, 2 * side + 1, angle, count))
            .zip(draws(Term::Skew, side, skew, count))
            .map(|((gain, angle), own)| {
                Matrix::of_modulator(gain, angle).times(own_share(own, skew))
            })
            .collect();
        let leak = modulator
            .extinction_db
            .quantity()
            .map_or(0.0, |db| power_ratio(-db.value).sqrt() * f64::from(limit));
        let leak = origin.strength(Term::Extinction, leak);
        let transfer = origin.strength(Term::Transfer, modulator.transfer_error.value());
        let lag = modulator.bandwidth_hz.quantity().map_or(0.0, |hz| {
            pxfm::f_exp(-std::f64::consts::TAU * hz.value / origin.chip.clock.symbol_rate_hz.value)
        });
        let lag = origin.strength(Term::Isi, lag);
        let errors = [gain, angle, skew, leak, transfer, lag];
        Self {
            matrices,
            leaks: if leak > 0.0 {
                let signs = origin.normals(Term::Extinction, side, 2 * count);
                let sign = |index: usize| single(leak * f64::from(signs[index].signum()));
                // The drive of one quadrature leaks into the other.
                (0..count)
                    .map(|lane| (if both { sign(lane + count) } else { 0.0 }, sign(lane)))
                    .collect()
            } else {
                Vec::new()
            },
            transfer_errors: if transfer > 0.0 {
                draws(Term::Transfer, side, transfer, 2 * count).into_iter().map(single).collect()
            } else {
                Vec::new()
            },
            lag: single(lag),
            err: errors.iter().any(|&error| error > 0.0),
        }
    }

    /// The two drives of a lane, after a sine law that is undone with voltages of its own.
    fn driven(&self, lane: usize, codes: (f32, f32), curve: &[f32]) -> (f32, f32) {
        if self.transfer_errors.is_empty() {
            return codes;
        }
        let (first, second) = self.transfer_errors.split_at(self.matrices.len());
        let drive = |error: f32, code: f32| code + error * curve[index(code)];
        (drive(first[lane], codes.0), drive(second[lane], codes.1))
    }

    /// Drives that still have some of those before.
    fn lagged(&self, now: (f32, f32), before: (f32, f32)) -> (f32, f32) {
        let share = self.lag;
        (now.0 + share * (before.0 - now.0), now.1 + share * (before.1 - now.1))
    }

    /// The operand that a lane sends for its two drives.
    fn sent(&self, lane: usize, (first, second): (f32, f32)) -> (f32, f32) {
        let m = self.matrices[lane];
        let (re, im) = (m.i_of_i * first + m.i_of_q * second, m.q_of_i * first + m.q_of_q * second);
        let (leak_re, leak_im) = self.leaks.get(lane).copied().unwrap_or((0.0, 0.0));
        (re + leak_re, im + leak_im)
    }
}

impl Detectors {
    fn draw(origin: Origin<'_>, packing: Packing) -> Self {
        let chip = origin.chip;
        let count = chip.array.inputs * chip.array.outputs;
        // A detector holds no weight that could be stuck.
        let origin = Origin { terms: origin.terms.without(Term::Stuck), ..origin };
        let hybrid = |value| match chip.receiver.readout {
            Readout::I => 0.0,
            Readout::Iq => origin.strength(Term::Hybrid, value),
        };
        let gain = hybrid(chip.receiver.hybrid_gain_error.value());
        let angle = hybrid(chip.receiver.hybrid_phase_error_rad.value());
        let draws = |part, sigma: f64| {
            let normals = origin.normals(Term::Hybrid, part, count);
            normals.into_iter().map(move |normal| sigma * f64::from(normal))
        };
        let hybrids = (gain > 0.0 || angle > 0.0).then(|| {
            let pairs = draws(0, gain).zip(draws(1, angle));
            pairs.map(|(gain, angle)| Matrix::of_receiver(gain, angle, 0.0)).collect()
        });
        Self {
            columns: chip.array.outputs,
            reads_quadrature: packing.reads_quadrature(),
            factors: Cells::draw(origin, packing).map(Cells::into_factors),
            hybrids,
        }
    }
}

/// Where a code stands in a curve: codes of eight bits, as bytes.
#[allow(clippy::cast_possible_truncation, reason = "codes are whole")]
fn index(code: f32) -> usize {
    usize::from((code as i8).cast_unsigned())
}
