/// How a real tile is laid onto the complex cells of N rows and M columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Packing {
    /// Two inputs on each row, folded by conjugate weights into the in-phase output: 2N × M. Cell
    /// (k, j) holds `w[k][j] - i w[k+N][j]`, row k receives `x[k] + i x[k+N]`.
    Conjugate,
    /// Two outputs of each column, on both quadratures: N × 2M. Cell (k, j) holds
    /// `w[k][j] + i w[k][j+M]`, row k receives `x[k]`. Needs read-out `iq`.
    Rows,
    /// Two vectors in each optical symbol, on the two quadratures: N × M. Cell (k, j) holds
    /// `w[k][j]`, row k receives `x[k] + i y[k]`, where x and y are neighboring vectors of the run,
    /// an even one and the odd one after it. Needs read-out `iq`.
    Tokens,
    /// Complex weights as they are, for complex vectors: 2N × 2M. Inputs and outputs are pairs, a real
    /// part and the imaginary part after it. Cell (k, j) holds `a + i b`, row k receives
    /// `x[2k] + i x[2k+1]`, and the tile is `w[2k][2j] = w[2k+1][2j+1] = a`,
    /// `w[2k][2j+1] = b`, `w[2k+1][2j] = -b`. Needs read-out `iq`.
    Complex,
}

impl Packing {
    /// Every packing.
    pub const ALL: [Self; 4] = [Self::Conjugate, Self::Rows, Self::Tokens, Self::Complex];

    /// The packings that hold any real matrix.
    pub const REAL: [Self; 3] = [Self::Conjugate, Self::Rows, Self::Tokens];

    /// The name in texts and files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Conjugate => "conjugate",
            Self::Rows => "rows",
            Self::Tokens => "tokens",
            Self::Complex => "complex",
        }
    }

    /// The packing with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|packing| packing.name() == name)
    }

    /// Inputs of a tile on an array with so many rows.
    pub fn inputs(self, rows: usize) -> usize {
        match self {
            Self::Conjugate | Self::Complex => 2 * rows,
            Self::Rows | Self::Tokens => rows,
        }
    }

    /// Outputs of a tile on an array with so many columns.
    pub fn outputs(self, columns: usize) -> usize {
        match self {
            Self::Rows | Self::Complex => 2 * columns,
            Self::Conjugate | Self::Tokens => columns,
        }
    }

    /// How often each code that a cell holds stands in a tile.
    pub fn copies(self) -> usize {
        if self == Self::Complex { 2 } else { 1 }
    }

    /// Whether a tile's codes are those of complex weights: the first row and column of a pair in
    /// which they are not, if not.
    pub fn broken_pair(self, codes: &[i8], columns: usize) -> Option<(usize, usize)> {
        if self != Self::Complex || columns == 0 {
            return None;
        }
        let outputs = self.outputs(columns);
        for (row, pair) in codes.chunks_exact(2 * outputs).enumerate() {
            let (re, im) = pair.split_at(outputs);
            for column in 0..columns {
                let (a, b) = (re[2 * column], re[2 * column + 1]);
                let (minus_b, again) = (im[2 * column], im[2 * column + 1]);
                if again != a || i16::from(minus_b) != -i16::from(b) {
                    return Some((row, column));
                }
            }
        }
        None
    }

    /// Vectors that share one optical symbol.
    pub fn vectors(self) -> u64 {
        if self == Self::Tokens { 2 } else { 1 }
    }

    /// Input conversions for each row and optical symbol.
    pub fn drives_per_row(self) -> usize {
        if self == Self::Rows { 1 } else { 2 }
    }

    /// Output codes that are used, for each column and optical symbol.
    pub fn codes_per_column(self) -> usize {
        if self.reads_quadrature() { 2 } else { 1 }
    }

    /// Whether both quadratures are read, which takes a 90° hybrid.
    pub fn reads_quadrature(self) -> bool {
        self != Self::Conjugate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_makes_two_products_in_every_packing_of_real_weights() {
        for packing in Packing::ALL {
            assert_eq!(Packing::from_name(packing.name()), Some(packing));
            let products = packing.inputs(3) * packing.outputs(5);
            let vectors = usize::try_from(packing.vectors()).unwrap();
            // Of complex weights four: each of its two codes meets both parts of the input.
            assert_eq!(products * vectors, 2 * packing.copies() * 3 * 5, "{packing:?}");
            // What goes in and what comes out, counted by converters.
            assert_eq!(packing.drives_per_row() * 3, packing.inputs(3) * vectors);
            assert_eq!(packing.codes_per_column() * 5, packing.outputs(5) * vectors);
        }
        assert_eq!(Packing::from_name("pairs"), None);
    }

    #[test]
    fn complex_tiles_hold_each_code_twice() {
        // One row of two cells: 3 + 4i and -5i.
        let codes = [3, 4, 0, -5, -4, 3, 5, 0];
        assert_eq!(Packing::Complex.broken_pair(&codes, 2), None);
        for spoilt in 0..codes.len() {
            let mut codes = codes;
            codes[spoilt] += 1;
            let pair = (0, spoilt % 4 / 2);
            assert_eq!(Packing::Complex.broken_pair(&codes, 2), Some(pair), "{spoilt}");
            assert_eq!(Packing::Conjugate.broken_pair(&codes, 2), None);
        }
    }
}
