use crate::{close, normals};
use litecore_sim::homodyne::Homodyne;
use litecore_types::Seed;

const SHOTS: u32 = 20_000;

fn vector(label: &str, index: u64, count: usize) -> Vec<f64> {
    normals(label, index, count).into_iter().map(f64::from).collect()
}

/// Standard deviation of readings about the exact product, and their mean error.
fn spread(output: &Homodyne, read: impl Fn(u64) -> f64) -> (f64, f64) {
    let (mut sum, mut squares) = (0.0, 0.0);
    for shot in 0..u64::from(SHOTS) {
        let error = read(shot) - output.exact();
        sum += error;
        squares += error * error;
    }
    let shots = f64::from(SHOTS);
    ((squares / shots).sqrt(), sum / shots)
}

/// Setup: Gaussian operands, K symbols, n detected photons for each product, 2e4 shots of Poisson
/// counts.
/// Target: no bias, and σ = ‖A‖ ‖x‖ / √(K n).
/// Tolerance: 2 % of σ. The estimate's own deviation is 1 / √(2 · 2e4) = 0.5 %, so that this is
/// four of them; three for the bias, which are 3 / √2e4 = 2.1 % of σ.
#[test]
fn homodyne_reaches_the_standard_quantum_limit() {
    for (index, symbols) in (0..).zip([64, 256, 1024]) {
        let (weights, x) = (vector("weights", index, symbols), vector("x", index, symbols));
        let norm = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>().sqrt();
        for photons in [1.0, 4.0, 0.4] {
            let output = Homodyne::new(&weights, &x, photons).unwrap();
            let seed = Seed(5).branch(&format!("{photons} photons"), index);
            let limit = norm(&weights) * norm(&x) / (symbols as f64 * photons).sqrt();
            let (sigma, bias) = spread(&output, |shot| output.read(seed, shot));
            let what = format!("K = {symbols}, n = {photons}");
            close(&format!("{what}: σ over its limit"), sigma / limit, 1.0, 0.02);
            close(&format!("{what}: bias over σ"), bias / limit, 0.0, 0.0212);
            close(&format!("{what}: σ in closed form"), output.sigma() / limit, 1.0, 1e-12);
        }
    }
}

/// Setup: as above, with each symbol's counts drawn apart, of means from 0 to 20 photons.
/// Target and tolerance: the same, as sums of independent Poisson counts are Poisson counts.
#[test]
fn counting_symbol_by_symbol_gives_the_same_limit() {
    for photons in [0.4, 4.0] {
        let (weights, x) = (vector("weights", 0, 64), vector("x", 0, 64));
        let output = Homodyne::new(&weights, &x, photons).unwrap();
        let (sigma, bias) = spread(&output, |shot| output.read_by_symbol(Seed(6), shot));
        close(&format!("n = {photons}: σ over its limit"), sigma / output.sigma(), 1.0, 0.02);
        close(&format!("n = {photons}: bias over σ"), bias / output.sigma(), 0.0, 0.0212);
    }
}
