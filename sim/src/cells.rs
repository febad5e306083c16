use crate::{Term, Terms};
use litecore_kernels::math;
use litecore_kernels::normal::standard_normals;
use litecore_kernels::s2::PackedMatrix;
use litecore_types::Seed;
use litecore_types::chip::ChipDescription;

/// What the cells of one array do to their weights.
///
/// A cell turns its weight `w̃` into `(1 + a) e^(ip) · w̃`; a and p belong to the cell, whatever
/// tile and bank it works for.
pub(crate) struct CellErrors {
    columns: usize,
    /// `(1 + a) cos p`, row-major.
    in_phase: Vec<f32>,
    /// `(1 + a) sin p`, row-major.
    quadrature: Vec<f32>,
}

impl CellErrors {
    /// The cells of one array, drawn from the chip's seed.
    pub(crate) fn draw(chip: &ChipDescription, terms: Terms, seed: Seed, array: u16) -> Self {
        let columns = chip.array.outputs;
        let cells = chip.array.inputs * columns;
        let draw = |term: Term, sigma: f64| {
            let mut draws = vec![0.0; cells];
            if terms.contains(term) {
                let key = seed.branch("cell", u64::from(array)).key(term.name(), 0);
                standard_normals(key, 0, &mut draws);
            }
            draws.into_iter().map(move |draw| sigma * f64::from(draw))
        };
        let amplitudes = draw(Term::CellAmplitude, chip.cell.amplitude_error.value);
        let phases = draw(Term::CellPhase, chip.cell.phase_error_rad.value);
        let (in_phase, quadrature) = amplitudes
            .zip(phases)
            .map(|(amplitude, phase)| {
                let (sin, cos) = math::sin_cos(phase);
                (single((1.0 + amplitude) * cos), single((1.0 + amplitude) * sin))
            })
            .unzip();
        Self { columns, in_phase, quadrature }
    }

    /// The real tile that these cells make of a programmed one.
    ///
    /// `codes` has the shape 2N × M; cell (k, j) holds `w[k][j] - i w[k+N][j]`. The real part of
    /// `(1 + a) e^(ip) (w1 - i w2)(x1 + i x2)` has the coefficients
    /// `(1 + a)(w1 cos p + w2 sin p)` on x1 and `(1 + a)(w2 cos p - w1 sin p)` on x2.
    pub(crate) fn effective(&self, codes: &[i8]) -> PackedMatrix {
        let cells = self.in_phase.len();
        let (upper, lower) = codes.split_at(cells);
        let mut tile = vec![0.0_f32; 2 * cells];
        let (x1, x2) = tile.split_at_mut(cells);
        for (cell, (x1, x2)) in x1.iter_mut().zip(x2).enumerate() {
            let (w1, w2) = (f32::from(upper[cell]), f32::from(lower[cell]));
            let (cos, sin) = (self.in_phase[cell], self.quadrature[cell]);
            *x1 = w1 * cos + w2 * sin;
            *x2 = w2 * cos - w1 * sin;
        }
        PackedMatrix::from_columns(&tile, 2 * cells / self.columns, self.columns)
    }
}

/// The nearest number in single precision.
#[allow(clippy::cast_possible_truncation, reason = "rounding to the nearest is meant")]
pub(crate) fn single(x: f64) -> f32 {
    x as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use litecore_kernels::s2;
    use litecore_types::chip::builtin;

    fn codes(seed: u64, count: usize) -> Vec<i8> {
        let code = |index| u8::try_from(Seed(1).key("codes", seed ^ index << 8) % 255).unwrap();
        (0..count as u64).map(|index| code(index).wrapping_sub(127).cast_signed()).collect()
    }

    #[test]
    fn an_array_computes_the_real_part_of_the_complex_sum() {
        let mut chip = builtin("tiny-4").unwrap();
        chip.cell.phase_error_rad.value = 0.7;
        chip.cell.amplitude_error.value = 0.3;
        let (rows, columns) = (chip.array.inputs, chip.array.outputs);
        let errors = CellErrors::draw(&chip, Terms::all(), Seed(5), 0);
        let (weights, x) = (codes(1, 2 * rows * columns), codes(2, 2 * rows));
        let mut sums = vec![0.0; columns];
        let x_single: Vec<f32> = x.iter().map(|&x| f32::from(x)).collect();
        s2::product(&x_single, &errors.effective(&weights), &mut sums);

        // The same from the cells themselves, in complex double arithmetic.
        let key = |term: Term| Seed(5).branch("cell", 0).key(term.name(), 0);
        for (column, &sum) in sums.iter().enumerate() {
            let mut expected = 0.0;
            for row in 0..rows {
                let cell = row * columns + column;
                let draw = |term| {
                    f64::from(litecore_kernels::normal::standard_normal(key(term), cell as u64))
                };
                let (sin, cos) = math::sin_cos(0.7 * draw(Term::CellPhase));
                let gain = 1.0 + 0.3 * draw(Term::CellAmplitude);
                let (w_re, w_im) =
                    (f64::from(weights[cell]), -f64::from(weights[cell + rows * columns]));
                let (z_re, z_im) = (f64::from(x[row]), f64::from(x[row + rows]));
                let (p_re, p_im) = (w_re * z_re - w_im * z_im, w_re * z_im + w_im * z_re);
                expected += gain * (p_re * cos - p_im * sin);
            }
            assert!((f64::from(sum) - expected).abs() < 0.02, "{sum} against {expected}");
        }
    }

    #[test]
    fn a_term_that_is_off_leaves_the_other_as_it_was() {
        let chip = builtin("tiny-4").unwrap();
        let draw = |terms, array| CellErrors::draw(&chip, terms, Seed(9), array);
        let (all, phase) = (draw(Terms::all(), 0), draw(Terms::only(Term::CellPhase), 0));
        let amplitude = draw(Terms::only(Term::CellAmplitude), 0);
        for cell in 0..16 {
            let expected = amplitude.in_phase[cell] * phase.in_phase[cell];
            assert!((all.in_phase[cell] - expected).abs() < 1e-6);
            let expected = amplitude.in_phase[cell] * phase.quadrature[cell];
            assert!((all.quadrature[cell] - expected).abs() < 1e-6);
            assert!(amplitude.quadrature[cell].abs() < f32::MIN_POSITIVE);
        }
        assert_ne!(all.in_phase, draw(Terms::all(), 1).in_phase, "arrays share their cells");
    }

    #[test]
    fn cells_without_errors_hold_the_codes_exactly() {
        let chip = builtin("tiny-4").unwrap();
        let weights = codes(3, 32);
        let errors = CellErrors::draw(&chip, Terms::none(), Seed(9), 0);
        let x: Vec<f32> = (0..8).map(|k| if k == 5 { 1.0 } else { 0.0 }).collect();
        let mut row = [0.0; 4];
        s2::product(&x, &errors.effective(&weights), &mut row);
        let expected: Vec<f32> = weights[20..24].iter().map(|&w| f32::from(w)).collect();
        assert_eq!(
            row.map(f32::to_bits).to_vec(),
            expected.iter().map(|w| w.to_bits()).collect::<Vec<_>>()
        );
    }
}
