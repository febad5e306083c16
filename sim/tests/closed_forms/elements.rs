use crate::{close, normals};
use litecore_hal::SymbolTag;
use litecore_sim::array::ArrayModel;
use litecore_sim::fidelity::ComplexMatrix;
use litecore_sim::packing::Packing;
use litecore_sim::{Term, Terms};
use litecore_types::Seed;
use litecore_types::chip::{ChipDescription, Impairment, Readout, builtin};

/// The default chip in another size, both quadratures read by converters of 16 bits, whose cells err by
/// as much in amplitude as in phase.
fn chip(size: usize, sigma: f64) -> ChipDescription {
    let mut chip = builtin("ref-64-eo").unwrap();
    (chip.array.inputs, chip.array.outputs) = (size, size);
    chip.receiver.readout = Readout::Iq;
    chip.adc.bits = 16;
    chip.cell.amplitude_error = Impairment::set(sigma / 2.0_f64.sqrt());
    chip.cell.phase_error_rad = Impairment::set(sigma / 2.0_f64.sqrt());
    chip
}

/// Setup: a tile of complex Gaussian weights on N × N cells, each off by an independent complex error of
/// relative deviation σ, loaded into the simulated array; one row lit after the other shows what the
/// cells hold.
/// Target: fidelity 1 / (1 + σ²), whatever N: 0.99997, 0.9996 and 0.9901 to their last digits.
/// Tolerance: 1 − F is the mean of |w|² |ε|² over N² cells, over that of |w|². Its relative
/// deviation is √(3 / N²), as the squares of |w|² |ε|² have mean 4: 2.7 % at N = 64. Three of them. That
/// an angle's cosine is no sine's concern, and `e^{-σ²/2}/(1 + σ²/2)` no `1/(1 + σ²)`, is 4e-5 at most.
#[test]
fn fidelity_of_independent_cells_does_not_depend_on_size() {
    let terms = Terms::only(Term::CellAmplitude).with(Term::CellPhase);
    for size in [64_usize, 256] {
        let weights: Vec<i8> = normals("fidelity weights", size as u64, 2 * size * size)
            .into_iter()
            .map(code)
            .collect();
        let mut lit = vec![0_i8; size * size];
        lit.iter_mut().step_by(size + 1).for_each(|x| *x = 127);
        let tags: Vec<SymbolTag> = (0..size as u64).map(SymbolTag).collect();
        let meant = ComplexMatrix::from_fn(size, size, |row, column| {
            let at = row * 2 * size + column;
            (f64::from(weights[at]), f64::from(weights[at + size]))
        });
        for (sigma, figure, rounding) in
            [(0.0055, 0.999_97, 5e-6), (0.02, 0.9996, 5e-5), (0.1, 0.9901, 5e-5)]
        {
            let seed = Seed(size as u128);
            let mut model =
                ArrayModel::new(&chip(size, sigma), terms, seed, Packing::Rows).unwrap();
            let tile = model.load(0, &weights).unwrap();
            let mut codes = Vec::new();
            model.forward(&tile, &lit, 0, &tags, 0, &mut codes);
            let made = ComplexMatrix::from_fn(size, size, |row, column| {
                let at = row * 2 * size + column;
                (f64::from(codes[at]) / 127.0, f64::from(codes[at + size]) / 127.0)
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

/// A Gaussian weight as a code: full scale at four deviations.
#[allow(clippy::cast_possible_truncation, reason = "clamped to a code")]
fn code(normal: f32) -> i8 {
    (normal * 32.0).round().clamp(-127.0, 127.0) as i8
}
