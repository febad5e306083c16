//! How real matrices and vectors are laid onto complex cells, and read back, in exact integers.
//!
//! An array has N rows and M columns of complex cells. Row k receives the operand `z_k`, cell
//! (k, j) holds `c_kj`, and column j gives `Σ_k c_kj z_k`, whose real part is the in-phase output I
//! and whose imaginary part is the quadrature output Q. With real weights w and inputs x:
//!
//! | packing   | cell       | row         | I             | Q             | inputs | outputs |
//! |-----------|------------|-------------|---------------|---------------|--------|---------|
//! | single    | w          | x           | w·x           | not read      | N      | M       |
//! | tokens    | w          | x₁ + i x₂   | w·x₁          | w·x₂          | N      | M       |
//! | rows      | w₁ + i w₂  | x           | w₁·x          | w₂·x          | N      | 2M      |
//! | conjugate | w₁ − i w₂  | x₁ + i x₂   | w₁·x₁ + w₂·x₂ | not read      | 2N     | M       |
//! | complex   | a + i b    | x₁ + i x₂   | a·x₁ − b·x₂   | b·x₁ + a·x₂   | 2N     | 2M      |
//!
//! In `single` Q is zero. In `conjugate` it is `w₁·x₂ − w₂·x₁`: the same weights on `(x₂, −x₁)`,
//! never a new output. In `tokens` x₁ and x₂ are two vectors, elsewhere the halves of one; w₁ and
//! w₂ are the weights of two outputs in `rows` and of two inputs in `conjugate`.
//!
//! A cell holds two real numbers, and a real map of 2N inputs and 2M outputs has four for each
//! cell. So an unstructured map has at most two useful products in each cell and symbol; only
//! `complex` has four, and takes only maps of the form `[[A, −B], [B, A]]`.

use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// How real numbers are laid onto complex cells: see the table of [this module](self).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Packing {
    /// One real weight in a cell, one real input on a row.
    Single,
    /// Two input vectors at once, on the two quadratures of the rows.
    Tokens,
    /// Two outputs at once, on the two quadratures of the cells.
    Rows,
    /// Two inputs on each row, folded by conjugate weights into the in-phase output.
    Conjugate,
    /// A complex matrix as it is.
    Complex,
}

/// A text that names no packing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{text}` is no packing: write single, tokens, rows, conjugate or complex")]
pub struct ParsePackingError {
    /// What was given.
    pub text: String,
}

/// Why numbers do not fit a layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PackingError {
    /// The array has no cells or more than 65536 rows or columns.
    #[error(
        "an array of {rows} rows and {columns} columns cannot be used: give 1 to 65536 of both"
    )]
    Size {
        /// Rows given.
        rows: usize,
        /// Columns given.
        columns: usize,
    },
    /// There are not as many numbers as the layout takes.
    #[error("{found} {what} were given where the layout takes {expected}")]
    Length {
        /// What was counted: `weights`, `cells`, `inputs` or `sums`.
        what: &'static str,
        /// How many there must be.
        expected: usize,
        /// How many there are.
        found: usize,
    },
    /// A matrix for [`Packing::Complex`] is not of the form `[[A, −B], [B, A]]`.
    #[error(
        "the blocks of cell ({row}, {column}) are not those of a complex weight [[a, −b], [b, a]]"
    )]
    NotComplex {
        /// The physical row.
        row: usize,
        /// The physical column.
        column: usize,
    },
}

/// A complex integer that a cell holds or a row receives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Operand {
    /// Real part.
    pub re: i16,
    /// Imaginary part.
    pub im: i16,
}

/// A column's exact sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// In-phase output I.
    pub re: i64,
    /// Quadrature output Q.
    pub im: i64,
}

/// A packing on an array of given size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    packing: Packing,
    rows: usize,
    columns: usize,
}

impl Packing {
    /// Every packing.
    pub const ALL: [Self; 5] =
        [Self::Single, Self::Tokens, Self::Rows, Self::Conjugate, Self::Complex];

    /// The name, as [`FromStr`] reads it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::Tokens => "tokens",
            Self::Rows => "rows",
            Self::Conjugate => "conjugate",
            Self::Complex => "complex",
        }
    }

    /// Useful real multiply-accumulates in each cell and symbol.
    pub fn useful_macs_per_cell(self) -> usize {
        match self {
            Self::Single => 1,
            Self::Tokens | Self::Rows | Self::Conjugate => 2,
            Self::Complex => 4,
        }
    }

    /// Independent real weights in each cell.
    pub fn weights_per_cell(self) -> usize {
        if self.fills_cells() { 2 } else { 1 }
    }

    /// Whether rows carry both quadratures, which takes two converters and an IQ modulator each.
    pub fn drives_quadrature(self) -> bool {
        matches!(self, Self::Tokens | Self::Conjugate | Self::Complex)
    }

    /// Whether Q is read, which takes a 90° hybrid and a second converter for each column, and
    /// halves the light of I.
    pub fn reads_quadrature(self) -> bool {
        matches!(self, Self::Tokens | Self::Rows | Self::Complex)
    }

    fn fills_cells(self) -> bool {
        matches!(self, Self::Rows | Self::Conjugate | Self::Complex)
    }
}

impl fmt::Display for Packing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Packing {
    type Err = ParsePackingError;

    fn from_str(text: &str) -> Result<Self, ParsePackingError> {
        let found = Self::ALL.into_iter().find(|packing| packing.name() == text);
        found.ok_or_else(|| ParsePackingError { text: text.to_owned() })
    }
}

impl Layout {
    /// A packing on an array of N rows and M columns.
    pub fn new(packing: Packing, rows: usize, columns: usize) -> Result<Self, PackingError> {
        let sizes = 1..=65_536;
        if sizes.contains(&rows) && sizes.contains(&columns) {
            Ok(Self { packing, rows, columns })
        } else {
            Err(PackingError::Size { rows, columns })
        }
    }

    /// The packing.
    pub fn packing(&self) -> Packing {
        self.packing
    }

    /// Length of a real input vector.
    pub fn inputs(&self) -> usize {
        match self.packing {
            Packing::Single | Packing::Tokens | Packing::Rows => self.rows,
            Packing::Conjugate | Packing::Complex => 2 * self.rows,
        }
    }

    /// Length of a real output vector.
    pub fn outputs(&self) -> usize {
        match self.packing {
            Packing::Single | Packing::Tokens | Packing::Conjugate => self.columns,
            Packing::Rows | Packing::Complex => 2 * self.columns,
        }
    }

    /// Real vectors in one symbol.
    pub fn vectors(&self) -> usize {
        if self.packing == Packing::Tokens { 2 } else { 1 }
    }

    /// Useful real multiply-accumulates in one symbol: outputs · inputs · vectors.
    pub fn useful_macs_per_symbol(&self) -> usize {
        self.packing.useful_macs_per_cell() * self.rows * self.columns
    }

    /// Digital-to-analog conversions in one symbol.
    pub fn dacs_per_symbol(&self) -> usize {
        if self.packing.drives_quadrature() { 2 * self.rows } else { self.rows }
    }

    /// Analog-to-digital conversions in one symbol.
    pub fn adcs_per_symbol(&self) -> usize {
        if self.packing.reads_quadrature() { 2 * self.columns } else { self.columns }
    }

    /// What the cells hold for a real matrix.
    ///
    /// Shape: `weights` is inputs × outputs, the output index runs fastest; the cells are
    /// rows × columns, the column index runs fastest. Where a cell or a row holds two of
    /// something, these are number k and number k + N of the inputs, or j and j + M of the outputs.
    pub fn cells(&self, weights: &[i8]) -> Result<Vec<Operand>, PackingError> {
        expect("weights", self.inputs() * self.outputs(), weights.len())?;
        let (rows, columns, outputs) = (self.rows, self.columns, self.outputs());
        let weight = |input: usize, output: usize| i16::from(weights[input * outputs + output]);
        let cell = |row: usize, column: usize| {
            let w = weight(row, column);
            Ok(match self.packing {
                Packing::Single | Packing::Tokens => Operand { re: w, im: 0 },
                Packing::Rows => Operand { re: w, im: weight(row, column + columns) },
                Packing::Conjugate => Operand { re: w, im: -weight(row + rows, column) },
                Packing::Complex => {
                    let im = weight(row, column + columns);
                    if weight(row + rows, column + columns) != w
                        || weight(row + rows, column) != -im
                    {
                        return Err(PackingError::NotComplex { row, column });
                    }
                    Operand { re: w, im }
                }
            })
        };
        (0..rows)
            .flat_map(|row| (0..columns).map(move |column| (row, column)))
            .map(|(row, column)| cell(row, column))
            .collect()
    }

    /// What the rows receive in one symbol.
    ///
    /// Shape: `x` is vectors × inputs, the input index runs fastest.
    pub fn drive(&self, x: &[i8]) -> Result<Vec<Operand>, PackingError> {
        expect("inputs", self.vectors() * self.inputs(), x.len())?;
        // A second vector and the second half of the only one both begin at N.
        let second =
            |row: usize| if self.packing.drives_quadrature() { x[row + self.rows] } else { 0 };
        let operand = |row: usize| Operand { re: i16::from(x[row]), im: i16::from(second(row)) };
        Ok((0..self.rows).map(operand).collect())
    }

    /// The real results in the columns' sums.
    ///
    /// Shape: vectors × outputs, the output index runs fastest.
    pub fn results(&self, sums: &[Sum]) -> Result<Vec<i64>, PackingError> {
        expect("sums", self.columns, sums.len())?;
        let mut results: Vec<i64> = sums.iter().map(|sum| sum.re).collect();
        // A second vector's outputs and the second half of the only one's both follow the first.
        if self.packing.reads_quadrature() {
            results.extend(sums.iter().map(|sum| sum.im));
        }
        Ok(results)
    }
}

/// What an array of complex cells does in one symbol: the exact sum of every column.
///
/// Shape: `cells` is rows × columns, the column index runs fastest; one operand for each row.
/// Sums are exact below 2^32 rows.
pub fn column_sums(cells: &[Operand], drive: &[Operand]) -> Result<Vec<Sum>, PackingError> {
    let columns = cells.len().checked_div(drive.len()).unwrap_or(0);
    expect("cells", columns * drive.len(), cells.len())?;
    let mut sums = vec![Sum::default(); columns];
    if columns > 0 {
        for (row, z) in cells.chunks_exact(columns).zip(drive) {
            let (z_re, z_im) = (i64::from(z.re), i64::from(z.im));
            for (sum, cell) in sums.iter_mut().zip(row) {
                let (re, im) = (i64::from(cell.re), i64::from(cell.im));
                sum.re += re * z_re - im * z_im;
                sum.im += re * z_im + im * z_re;
            }
        }
    }
    Ok(sums)
}

fn expect(what: &'static str, expected: usize, found: usize) -> Result<(), PackingError> {
    if expected == found { Ok(()) } else { Err(PackingError::Length { what, expected, found }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        for packing in Packing::ALL {
            assert_eq!(packing.to_string().parse(), Ok(packing));
        }
        let error = "pairs".parse::<Packing>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "`pairs` is no packing: write single, tokens, rows, conjugate or complex"
        );
    }

    #[test]
    fn one_cell_of_each_packing_is_as_in_the_table() {
        for (packing, weights, x, cell, row, results) in [
            (Packing::Single, &[3_i8][..], &[5_i8][..], (3, 0), (5, 0), &[15_i64][..]),
            (Packing::Tokens, &[3], &[5, 7], (3, 0), (5, 7), &[15, 21]),
            (Packing::Rows, &[3, 4], &[5], (3, 4), (5, 0), &[15, 20]),
            (Packing::Conjugate, &[3, 4], &[5, 7], (3, -4), (5, 7), &[43]),
            // a = 3, b = 4: inputs × outputs is [a, b; −b, a].
            (Packing::Complex, &[3, 4, -4, 3], &[5, 7], (3, 4), (5, 7), &[-13, 41]),
        ] {
            let layout = Layout::new(packing, 1, 1).unwrap();
            let cells = layout.cells(weights).unwrap();
            let drive = layout.drive(x).unwrap();
            assert_eq!(cells, [Operand { re: cell.0, im: cell.1 }], "{packing}");
            assert_eq!(drive, [Operand { re: row.0, im: row.1 }], "{packing}");
            let sums = column_sums(&cells, &drive).unwrap();
            assert_eq!(layout.results(&sums).unwrap(), results, "{packing}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_by_name() {
        assert_eq!(
            Layout::new(Packing::Rows, 0, 4),
            Err(PackingError::Size { rows: 0, columns: 4 })
        );
        assert!(Layout::new(Packing::Rows, 4, 65_537).is_err());
        let layout = Layout::new(Packing::Rows, 2, 3).unwrap();
        let error = layout.cells(&[0; 11]).unwrap_err();
        assert_eq!(error, PackingError::Length { what: "weights", expected: 12, found: 11 });
        assert!(layout.drive(&[0; 4]).is_err() && layout.results(&[Sum::default(); 2]).is_err());
        let complex = Layout::new(Packing::Complex, 1, 1).unwrap();
        for weights in [[3, 4, 4, 3], [3, 4, -4, 2]] {
            let error = complex.cells(&weights);
            assert_eq!(error, Err(PackingError::NotComplex { row: 0, column: 0 }));
        }
        let operands = [Operand::default(); 5];
        assert!(column_sums(&operands, &operands[..2]).is_err());
        assert!(column_sums(&operands, &[]).is_err());
        assert_eq!(column_sums(&[], &[]), Ok(vec![]));
    }
}
