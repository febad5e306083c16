use litecore_sim::packing::{Layout, Operand, Packing, column_sums};
use proptest::prelude::*;

/// The plain product: vectors × inputs times inputs × outputs.
fn product(weights: &[i8], x: &[i8], inputs: usize, outputs: usize) -> Vec<i64> {
    x.chunks_exact(inputs)
        .flat_map(|vector| {
            (0..outputs).map(|output| {
                let terms = vector.iter().zip(weights.iter().skip(output).step_by(outputs));
                terms.map(|(&x, &w)| i64::from(x) * i64::from(w)).sum()
            })
        })
        .collect()
}

/// A real matrix of the form `[[A, −B], [B, A]]`, inputs × outputs.
fn complex_weights(codes: &[i8], rows: usize, columns: usize) -> Vec<i8> {
    let outputs = 2 * columns;
    (0..2 * rows * outputs)
        .map(|index| {
            let (input, output) = (index / outputs, index % outputs);
            let cell = 2 * (input % rows * columns + output % columns);
            let (a, b) = (codes[cell], codes[cell + 1].max(-127));
            match (input < rows, output < columns) {
                (true, true) | (false, false) => a,
                (true, false) => b,
                (false, true) => -b,
            }
        })
        .collect()
}

fn codes(count: usize) -> impl Strategy<Value = Vec<i8>> {
    prop::collection::vec(any::<i8>(), count)
}

/// An array, weights for four numbers in each cell, and inputs for two in each row.
fn arrays() -> impl Strategy<Value = (usize, usize, Vec<i8>, Vec<i8>)> {
    (1..9_usize, 1..9_usize).prop_flat_map(|(rows, columns)| {
        (Just(rows), Just(columns), codes(4 * rows * columns), codes(2 * rows))
    })
}

proptest! {
    /// Setup: any array up to 8 × 8, any codes, every packing.
    /// Target: the plain integer product.
    /// Tolerance: none.
    #[test]
    fn every_packing_computes_the_plain_product((rows, columns, weights, x) in arrays()) {
        for packing in Packing::ALL {
            let layout = Layout::new(packing, rows, columns).unwrap();
            let (inputs, outputs) = (layout.inputs(), layout.outputs());
            let weights = match packing {
                Packing::Complex => complex_weights(&weights, rows, columns),
                _ => weights[..inputs * outputs].to_vec(),
            };
            let x = &x[..layout.vectors() * inputs];
            let cells = layout.cells(&weights).unwrap();
            let sums = column_sums(&cells, &layout.drive(x).unwrap()).unwrap();
            prop_assert_eq!(
                layout.results(&sums).unwrap(),
                product(&weights, x, inputs, outputs),
                "{}", packing
            );
        }
    }

    /// Setup: any real map of 2N inputs and 2M outputs, in blocks y₁ = P x₁ + Q x₂ and
    /// y₂ = R x₁ + S x₂; two passes, of z and of its conjugate, with weights twice
    /// ½ [(P + S) + i (R − Q)] and ½ [(P − S) + i (R + Q)].
    /// Target: twice the plain integer product, as the weights are doubled to be whole.
    /// Tolerance: none.
    #[test]
    fn two_passes_compute_any_real_map((rows, columns, weights, x) in arrays()) {
        let outputs = 2 * columns;
        let block = |down: usize, across: usize| {
            let weights = &weights;
            (0..rows * columns).map(move |cell| {
                let (row, column) = (cell / columns + down * rows, cell % columns + across * columns);
                i16::from(weights[row * outputs + column])
            })
        };
        // Inputs run down and outputs across, so that Q is below P and R beside it.
        let (p, r, q, s) = (block(0, 0), block(0, 1), block(1, 0), block(1, 1));
        let (direct, conjugate): (Vec<Operand>, Vec<Operand>) = p.zip(q).zip(r.zip(s))
            .map(|((p, q), (r, s))| (
                Operand { re: p + s, im: r - q },
                Operand { re: p - s, im: r + q },
            ))
            .unzip();
        let z = Layout::new(Packing::Conjugate, rows, columns).unwrap().drive(&x).unwrap();
        let bar: Vec<Operand> = z.iter().map(|z| Operand { re: z.re, im: -z.im }).collect();
        let (first, second) = (column_sums(&direct, &z).unwrap(), column_sums(&conjugate, &bar).unwrap());
        let both = || first.iter().zip(&second);
        let mut doubled: Vec<i64> = both().map(|(a, b)| a.re + b.re).collect();
        doubled.extend(both().map(|(a, b)| a.im + b.im));
        let expected = product(&weights, &x, 2 * rows, outputs);
        prop_assert_eq!(doubled, expected.iter().map(|y| 2 * y).collect::<Vec<_>>());
    }

    /// Setup: conjugate folding with Q read as well.
    /// Target: Q is the in-phase output of the same cells for the input (x₂, −x₁): no new output.
    /// Tolerance: none.
    #[test]
    fn the_unread_output_of_folding_is_nothing_new((rows, columns, weights, x) in arrays()) {
        let layout = Layout::new(Packing::Conjugate, rows, columns).unwrap();
        let cells = layout.cells(&weights[..2 * rows * columns]).unwrap();
        let z = layout.drive(&x).unwrap();
        // (x₂, −x₁) is −i z, and a code of −128 has no negative in eight bits.
        let turned: Vec<Operand> = z.iter().map(|z| Operand { re: z.im, im: -z.re }).collect();
        let (straight, turned) = (column_sums(&cells, &z).unwrap(), column_sums(&cells, &turned).unwrap());
        for (straight, turned) in straight.iter().zip(turned) {
            prop_assert_eq!(straight.im, turned.re);
        }
    }
}

/// Setup: an array of N = 5 rows and M = 3 columns.
/// Target: the table of the physics notes: useful products and weights in each cell, converters in
/// each symbol, and from them products for each conversion.
/// Tolerance: none.
#[test]
fn counts_are_those_of_the_table() {
    let (n, m) = (5, 3);
    for (packing, useful, weights, dacs, adcs, per_dac, per_adc) in [
        (Packing::Single, 1, 1, n, m, m, n),
        (Packing::Tokens, 2, 1, 2 * n, 2 * m, m, n),
        (Packing::Rows, 2, 2, n, 2 * m, 2 * m, n),
        (Packing::Conjugate, 2, 2, 2 * n, m, m, 2 * n),
        (Packing::Complex, 4, 2, 2 * n, 2 * m, 2 * m, 2 * n),
    ] {
        let layout = Layout::new(packing, n, m).unwrap();
        assert_eq!(packing.useful_macs_per_cell(), useful, "{packing}");
        assert_eq!(packing.weights_per_cell(), weights, "{packing}");
        assert_eq!((layout.dacs_per_symbol(), layout.adcs_per_symbol()), (dacs, adcs), "{packing}");
        let macs = layout.useful_macs_per_symbol();
        assert_eq!(macs, layout.vectors() * layout.inputs() * layout.outputs(), "{packing}");
        assert_eq!((macs / dacs, macs % dacs), (per_dac, 0), "{packing}");
        assert_eq!((macs / adcs, macs % adcs), (per_adc, 0), "{packing}");
    }
}
