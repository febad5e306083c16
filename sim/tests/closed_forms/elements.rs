use crate::{close, normals};
use litecore_sim::fidelity::ComplexMatrix;

/// Setup: a complex Gaussian matrix of N × N, each element off by an independent complex Gaussian
/// factor of relative deviation σ, as in a crossbar whose cells are calibrated one by one.
/// Target: fidelity 1 / (1 + σ²), whatever N: 0.99997, 0.9996 and 0.9901 to their last digits.
/// Tolerance: 1 − F is the mean of |w|² |ε|² over N² cells, over that of |w|². Its relative
/// deviation is √(3 / N²), as the squares of |w|² |ε|² have mean 4: 2.7 % at N = 64. Three of them.
#[test]
fn fidelity_of_independent_cells_does_not_depend_on_size() {
    for size in [64_usize, 256] {
        let weights = normals("fidelity weights", size as u64, 2 * size * size);
        let draws = normals("fidelity errors", size as u64, 2 * size * size);
        let complex = |values: &[f32], row: usize, column: usize| {
            let index = 2 * (row * size + column);
            (f64::from(values[index]), f64::from(values[index + 1]))
        };
        let meant =
            ComplexMatrix::from_fn(size, size, |row, column| complex(&weights, row, column));
        for (sigma, figure, rounding) in
            [(0.0055, 0.999_97, 5e-6), (0.02, 0.9996, 5e-5), (0.1, 0.9901, 5e-5)]
        {
            let made = ComplexMatrix::from_fn(size, size, |row, column| {
                let (re, im) = complex(&weights, row, column);
                let (p, q) = complex(&draws, row, column);
                let part = sigma / 2.0_f64.sqrt();
                (re + part * (re * p - im * q), im + part * (re * q + im * p))
            });
            let fidelity = meant.fidelity(&made).unwrap();
            let expected = 1.0 / (1.0 + sigma * sigma);
            let tolerance = 3.0 * 3.0_f64.sqrt() / size as f64 * (1.0 - expected);
            let what = format!("N = {size}, σ = {sigma}: fidelity");
            close(&what, fidelity, expected, tolerance);
            close(&what, fidelity, figure, tolerance + rounding);
        }
    }
}
