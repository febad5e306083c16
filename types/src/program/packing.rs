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
}

impl Packing {
    /// Every packing.
    pub const ALL: [Self; 3] = [Self::Conjugate, Self::Rows, Self::Tokens];

    /// The name in texts and files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Conjugate => "conjugate",
            Self::Rows => "rows",
            Self::Tokens => "tokens",
        }
    }

    /// The packing with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|packing| packing.name() == name)
    }

    /// Inputs of a tile on an array with so many rows.
    pub fn inputs(self, rows: usize) -> usize {
        match self {
            Self::Conjugate => 2 * rows,
            Self::Rows | Self::Tokens => rows,
        }
    }

    /// Outputs of a tile on an array with so many columns.
    pub fn outputs(self, columns: usize) -> usize {
        match self {
            Self::Rows => 2 * columns,
            Self::Conjugate | Self::Tokens => columns,
        }
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
    fn a_cell_makes_two_products_in_every_packing() {
        for packing in Packing::ALL {
            assert_eq!(Packing::from_name(packing.name()), Some(packing));
            let products = packing.inputs(3) * packing.outputs(5);
            let vectors = usize::try_from(packing.vectors()).unwrap();
            assert_eq!(products * vectors, 2 * 3 * 5, "{packing:?}");
            // What goes in and what comes out, counted by converters.
            assert_eq!(packing.drives_per_row() * 3, packing.inputs(3) * vectors);
            assert_eq!(packing.codes_per_column() * 5, packing.outputs(5) * vectors);
        }
        assert_eq!(Packing::from_name("pairs"), None);
    }
}
