//! Complex matrices side by side: how far what was made is from what was meant.

/// A dense complex matrix in double precision.
///
/// Shape: rows × columns, the column index runs fastest.
#[derive(Clone, Debug, PartialEq)]
pub struct ComplexMatrix {
    columns: usize,
    re: Vec<f64>,
    im: Vec<f64>,
}

impl ComplexMatrix {
    /// The matrix of `rows × columns` elements that `element(row, column)` gives as real and
    /// imaginary part, asked for in storage order.
    pub fn from_fn(
        rows: usize,
        columns: usize,
        mut element: impl FnMut(usize, usize) -> (f64, f64),
    ) -> Self {
        let (re, im) = (0..rows)
            .flat_map(|row| (0..columns).map(move |column| (row, column)))
            .map(|(row, column)| element(row, column))
            .unzip();
        Self { columns, re, im }
    }

    /// The identity.
    pub fn identity(size: usize) -> Self {
        Self::from_fn(size, size, |row, column| (if row == column { 1.0 } else { 0.0 }, 0.0))
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.re.len().checked_div(self.columns).unwrap_or(0)
    }

    /// How many columns there are.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Real and imaginary part of one element. Panics: outside the matrix.
    pub fn at(&self, row: usize, column: usize) -> (f64, f64) {
        assert!(column < self.columns, "column {column} of {}", self.columns);
        let index = row * self.columns + column;
        (self.re[index], self.im[index])
    }

    /// Replaces rows r and r + 1 by their combinations with a 2 × 2 matrix of complex numbers.
    ///
    /// Panics: unless both rows are there.
    pub(crate) fn combine_rows(&mut self, r: usize, by: [[(f64, f64); 2]; 2]) {
        let width = self.columns;
        let [[a, b], [c, d]] = by;
        let (re, im) = (&mut self.re[r * width..], &mut self.im[r * width..]);
        let ((re1, re2), (im1, im2)) = (re.split_at_mut(width), im.split_at_mut(width));
        for ((x_re, x_im), (y_re, y_im)) in re1.iter_mut().zip(im1).zip(re2.iter_mut().zip(im2)) {
            let ((p, q), (s, t)) = ((*x_re, *x_im), (*y_re, *y_im));
            *x_re = a.0 * p - a.1 * q + (b.0 * s - b.1 * t);
            *x_im = a.0 * q + a.1 * p + (b.0 * t + b.1 * s);
            *y_re = c.0 * p - c.1 * q + (d.0 * s - d.1 * t);
            *y_im = c.0 * q + c.1 * p + (d.0 * t + d.1 * s);
        }
    }

    /// The Frobenius norm.
    pub fn norm(&self) -> f64 {
        sum(self.re.iter().zip(&self.im).map(|(re, im)| re * re + im * im)).sqrt()
    }

    /// `‖other − self‖ / ‖self‖` in the Frobenius norm; of a unitary matrix of size N that is
    /// `‖ΔU‖ / √N`. `None` if the shapes differ, or `self` is
    /// zero or not a number.
    pub fn relative_error(&self, other: &Self) -> Option<f64> {
        let norm = self.norm();
        if !self.same_shape(other) || norm.is_nan() || norm <= 0.0 {
            return None;
        }
        let square = |(a, b): (&f64, &f64)| (a - b) * (a - b);
        let re = sum(self.re.iter().zip(&other.re).map(square));
        let im = sum(self.im.iter().zip(&other.im).map(square));
        Some((re + im).sqrt() / norm)
    }

    /// `|Σ w̄ v|² / (‖w‖² ‖v‖²)` over the elements w of `self` and v of `other`: one if they are
    /// equal up to a common complex factor. `None` if the shapes differ, or a matrix is
    /// zero or not a number.
    pub fn fidelity(&self, other: &Self) -> Option<f64> {
        let norms = self.norm() * other.norm();
        if !self.same_shape(other) || norms.is_nan() || norms <= 0.0 {
            return None;
        }
        let product = |(a, b): (&f64, &f64)| a * b;
        let of = |x: &[f64], y: &[f64]| sum(x.iter().zip(y).map(product));
        let re = of(&self.re, &other.re) + of(&self.im, &other.im);
        let im = of(&self.re, &other.im) - of(&self.im, &other.re);
        Some((re / norms) * (re / norms) + (im / norms) * (im / norms))
    }

    fn same_shape(&self, other: &Self) -> bool {
        self.columns == other.columns && self.re.len() == other.re.len()
    }
}

/// The sum in ascending order.
fn sum(terms: impl Iterator<Item = f64>) -> f64 {
    terms.fold(0.0, |sum, term| sum + term)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_common_factor_is_an_error_and_no_loss_of_fidelity() {
        let matrix = ComplexMatrix::from_fn(2, 3, |row, column| {
            (1.0 + row as f64, 0.5 * column as f64 - row as f64)
        });
        assert_eq!((matrix.rows(), matrix.columns()), (2, 3));
        assert_eq!(matrix.at(1, 2), (2.0, 0.0));
        // Times 2i.
        let turned = ComplexMatrix::from_fn(2, 3, |row, column| {
            let (re, im) = matrix.at(row, column);
            (-2.0 * im, 2.0 * re)
        });
        assert!((matrix.fidelity(&turned).unwrap() - 1.0).abs() < 1e-14);
        // |2i − 1| = √5.
        assert!((matrix.relative_error(&turned).unwrap() - 5.0_f64.sqrt()).abs() < 1e-14);
    }

    #[test]
    fn orthogonal_matrices_have_no_fidelity_and_unlike_shapes_none_at_all() {
        let one = ComplexMatrix::identity(2);
        let swap = ComplexMatrix::from_fn(2, 2, |row, column| (0.0, f64::from(row != column)));
        assert!(one.fidelity(&swap).unwrap() < 1e-30);
        assert!((one.relative_error(&swap).unwrap() - 2.0_f64.sqrt()).abs() < 1e-14);
        let wide = ComplexMatrix::from_fn(1, 4, |_, _| (1.0, 0.0));
        assert_eq!((one.fidelity(&wide), one.relative_error(&wide)), (None, None));
        let zero = ComplexMatrix::from_fn(2, 2, |_, _| (0.0, 0.0));
        assert_eq!((zero.fidelity(&one), zero.relative_error(&one)), (None, None));
        assert_eq!(ComplexMatrix::from_fn(0, 0, |_, _| (0.0, 0.0)).rows(), 0);
    }

    #[test]
    fn rows_are_combined_as_a_matrix_product() {
        let mut matrix = ComplexMatrix::from_fn(3, 1, |row, _| (row as f64, 1.0));
        matrix.combine_rows(1, [[(0.0, 1.0), (1.0, 0.0)], [(2.0, 0.0), (0.0, -1.0)]]);
        // i (1 + i) + (2 + i) = 1 + 2i;  2 (1 + i) − i (2 + i) = 3.
        assert_eq!([0, 1, 2].map(|row| matrix.at(row, 0)), [(0.0, 1.0), (1.0, 2.0), (3.0, 0.0)]);
    }
}
