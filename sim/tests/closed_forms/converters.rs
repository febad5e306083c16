use crate::{close, decibels, normals};
use litecore_kernels::codes;
use std::f64::consts::{FRAC_PI_2, PI};

/// The card's converter, of 2^bits codes that span plus and minus full scale.
///
/// Its codes are whole steps, from -2^(bits-1) to one less than 2^(bits-1): their span is centered half a
/// step below zero, and so are the values it is given here.
struct Converter {
    bits: u8,
    full_scale: f64,
}

impl Converter {
    /// Fractions of a step that sums can have.
    const SHIFT: u8 = 16;

    fn step(&self) -> f64 {
        self.full_scale / f64::from(1_u32 << (self.bits - 1))
    }

    /// What the card reads of a value.
    #[allow(clippy::cast_possible_truncation, reason = "512 steps of 2^16 parts at most")]
    fn read(&self, value: f64) -> f64 {
        let steps = value / self.step() - 0.5;
        let sum = (steps * f64::from(1_u32 << Self::SHIFT)).round() as i32;
        (f64::from(codes::requantise(sum, Self::SHIFT, self.bits)) + 0.5) * self.step()
    }
}

/// Power of weighted values, and of the error that a converter makes of them.
fn powers(converter: &Converter, samples: impl Iterator<Item = (f64, f64)>) -> [f64; 2] {
    let (mut weights, mut signal, mut error) = (0.0, 0.0, 0.0);
    for (value, weight) in samples {
        let off = converter.read(value) - value;
        weights += weight;
        signal += weight * value * value;
        error += weight * off * off;
    }
    [signal / weights, error / weights]
}

/// A sine at even phases over a quarter turn.
fn sine(amplitude: f64, phases: u32) -> impl Iterator<Item = (f64, f64)> {
    let phase = move |i| FRAC_PI_2 * (f64::from(i) + 0.5) / f64::from(phases);
    (0..phases).map(move |i| (amplitude * pxfm::f_sincos(phase(i)).0, 1.0))
}

/// Setup: a sine of exactly full scale, at 1e5 phases.
/// Target: `6.02 b + 1.76 − 10 log10(1 + ε)` with `ε = 12/π² Σ_k J₀(2πk 2^(b−1)) / k²`, which is
/// `12 ζ(5/2) / π³ · 2^(−b/2) = 0.519 · 2^(−b/2)` but for higher orders: as its crest rests at the
/// outer edge of the last step, such a sine errs more than a uniform value does. 25.31, 37.61,
/// 49.78 and 61.90 dB at 4, 6, 8 and 10 bits.
/// Tolerance: 0.01 dB, for the higher orders of the Bessel function: 1 / (16 π 2^b) of ε at most.
#[test]
fn a_sine_of_full_scale_is_converted_a_little_worse_than_by_rule_of_thumb() {
    for bits in [4_u8, 6, 8, 10] {
        let [signal, error] = powers(&Converter { bits, full_scale: 1.0 }, sine(1.0, 100_000));
        let levels = f64::from(1_u32 << bits);
        let excess = 12.0 * 1.341_487_257 / (PI * PI * PI) / levels.sqrt();
        let form = decibels(1.5 * levels * levels / (1.0 + excess));
        close(&format!("sine, {bits} bits, dB"), decibels(signal / error), form, 0.01);
    }
}

/// Setup: sines whose amplitudes spread evenly over the outermost step, which takes the effect of
/// the crest away; their error against the power of a sine of full scale.
/// Target: 25.8 / 37.9 / 49.9 / 62.0 dB at 4 / 6 / 8 / 10 bits, which is 6.02 b + 1.76.
/// Tolerance: 0.1 dB: 0.05 for the rounding of the targets, and some for what is left of the crest.
#[test]
fn sines_are_converted_as_the_rule_of_thumb_says() {
    for (bits, expected) in [(4, 25.8), (6, 37.9), (8, 49.9), (10, 62.0)] {
        let converter = Converter { bits, full_scale: 1.0 };
        let amplitude = |i| 1.0 - converter.step() * (f64::from(i) + 0.5) / 32.0;
        let sines = (0..32).flat_map(|i| sine(amplitude(i), 20_000));
        let [_, error] = powers(&converter, sines);
        close(&format!("sines, {bits} bits, dB"), decibels(0.5 / error), expected, 0.1);
    }
}

/// Setup: a Gaussian with full scale at a = 4 deviations, integrated on a grid of 1e-4 deviations.
/// Target: the values inside the range alone give 16.8 / 28.9 / 40.9 dB at 4 / 6 / 8 bits, which is
/// 6.02 b − 7.27. Those beyond it, read as c = a − Δ/2, add
/// `2 [(1 + c²) Q(a) + (a − 2c) φ(a)]` = 6.6e-6 at 8 bits, which makes 40.55 dB of 40.9.
/// Tolerance: 0.1 dB for the rounded targets; 0.01 dB for the form with clipping, where the error
/// inside is not quite that of uniform values.
#[test]
fn a_gaussian_is_converted_as_the_rule_of_thumb_says_but_for_clipping() {
    // Density and upper tail of the normal law at 4.
    let (density, tail) = (1.338_302_258e-4, 3.167_124_183e-5);
    for (bits, expected) in [(4, 16.8), (6, 28.9), (8, 40.9)] {
        let converter = Converter { bits, full_scale: 4.0 };
        let grid = |reach: i32| {
            let values = (-reach..reach).map(|i| (f64::from(i) + 0.5) * 1e-4);
            values.map(|value| (value, pxfm::f_exp(-0.5 * value * value)))
        };
        let [signal, error] = powers(&converter, grid(40_000));
        close(
            &format!("Gaussian inside, {bits} bits, dB"),
            decibels(signal / error),
            expected,
            0.1,
        );

        let [signal, error] = powers(&converter, grid(80_000));
        let step = converter.step();
        let last = 4.0 - step / 2.0;
        let clipped = 2.0 * ((1.0 + last * last) * tail + (4.0 - 2.0 * last) * density);
        let form = decibels(1.0 / (step * step / 12.0 * (1.0 - 2.0 * tail) + clipped));
        close(&format!("Gaussian, {bits} bits, dB"), decibels(signal / error), form, 0.01);
    }
}

/// Gaussian matrices times Gaussian vectors, in double precision and in the card's integers.
struct Product {
    inputs: usize,
    outputs: usize,
    /// Symbols × outputs.
    exact: Vec<f64>,
    /// The exact sums of codes.
    sums: Vec<i32>,
    /// What a code of each row of weights, and of each vector, stands for.
    weight_scales: Vec<f64>,
    x_scales: Vec<f64>,
}

impl Product {
    /// As many outputs as inputs; codes of ±127, with one scale for each row and each vector.
    fn gaussian(inputs: usize, symbols: usize) -> Self {
        let outputs = inputs;
        let weights = normals("sqnr weights", inputs as u64, outputs * inputs);
        let x = normals("sqnr inputs", inputs as u64, symbols * inputs);
        let quantised = |values: &[f32]| -> (Vec<i8>, Vec<f64>) {
            let mut all = vec![0; values.len()];
            let vectors = values.chunks_exact(inputs).zip(all.chunks_exact_mut(inputs));
            let scale = |(vector, codes): (&[f32], &mut [i8])| {
                f64::from(codes::quantise(vector, 127, codes).unwrap())
            };
            let scales = vectors.map(scale).collect();
            (all, scales)
        };
        let (weight_codes, weight_scales) = quantised(&weights);
        let (x_codes, x_scales) = quantised(&x);
        let tile: Vec<i8> = (0..inputs * outputs)
            .map(|index| weight_codes[index % outputs * inputs + index / outputs])
            .collect();
        let mut sums = vec![0; symbols * outputs];
        codes::tile_product(&tile, inputs, outputs, &x_codes, &mut sums);
        let dot = |w: &[f32], x: &[f32]| {
            w.iter().zip(x).map(|(&w, &x)| f64::from(w) * f64::from(x)).sum::<f64>()
        };
        let exact = x
            .chunks_exact(inputs)
            .flat_map(|x| weights.chunks_exact(inputs).map(move |w| dot(w, x)))
            .collect();
        Self { inputs, outputs, exact, sums, weight_scales, x_scales }
    }

    /// Powers of the outputs of each vector and of their errors, with sums read at this shift by
    /// 8 bits, or not rounded at all.
    fn powers(&self, shift: Option<u8>) -> Vec<[f64; 2]> {
        let read = |sum: i32| match shift {
            Some(shift) => i64::from(codes::requantise(sum, shift, 8)) << shift,
            None => i64::from(sum),
        };
        let vectors = self.sums.chunks_exact(self.outputs).zip(&self.x_scales);
        vectors
            .zip(self.exact.chunks_exact(self.outputs))
            .map(|((sums, x_scale), exact)| {
                let (mut signal, mut error) = (0.0, 0.0);
                for ((&sum, w_scale), exact) in sums.iter().zip(&self.weight_scales).zip(exact) {
                    let off = read(sum) as f64 * w_scale * x_scale - exact;
                    signal += exact * exact;
                    error += off * off;
                }
                [signal, error]
            })
            .collect()
    }

    /// Over all vectors.
    fn sqnr_db(&self, shift: Option<u8>) -> f64 {
        let add = |sum: [f64; 2], one: &[f64; 2]| [sum[0] + one[0], sum[1] + one[1]];
        let [signal, error] = self.powers(shift).iter().fold([0.0; 2], add);
        decibels(signal / error)
    }

    /// Of single vectors: the values that all but one in fifty lie between.
    fn sqnr_of_one_vector_db(&self, shift: u8) -> [f64; 2] {
        let ratios = self.powers(Some(shift)).into_iter();
        let mut ratios: Vec<f64> = ratios.map(|[signal, error]| decibels(signal / error)).collect();
        ratios.sort_by(f64::total_cmp);
        let outside = ratios.len() / 100;
        [ratios[outside], ratios[ratios.len() - 1 - outside]]
    }

    /// The outputs' power, which is about N, over that of uniform errors of both operands and, with
    /// a shift, of the converter: `N (s_w² + s_x²) / 12 + 4^shift s_w² s_x² / 12`.
    fn form_db(&self, shift: Option<u8>) -> f64 {
        let mean = |values: &[f64]| values.iter().map(|s| s * s).sum::<f64>() / values.len() as f64;
        let (w, x) = (mean(&self.weight_scales), mean(&self.x_scales));
        let step = shift.map_or(0.0, |shift| f64::from(1_u32 << shift));
        decibels(12.0 * mean(&self.exact) / (self.inputs as f64 * (w + x) + step * step * w * x))
    }

    /// The shift at which 8 bits span N / G. A sum is N · 2^14 at most, taking 128 for 127, and
    /// 2^7 steps on each side reach it at a shift of log2 N + 7.
    fn shift(&self, gain: u32) -> u8 {
        u8::try_from(self.inputs.ilog2() + 7 - gain.ilog2()).unwrap()
    }
}

/// Setup: N × N Gaussian weights, Gaussian vectors, codes of ±127 by absmax of each row and vector,
/// an 8-bit converter of range N / G, in the integers that the card computes with.
/// Target: the form of uniform errors; without a converter it is 39 … 42 dB.
/// Tolerance: 0.1 dB, where a step is less than 1.6 deviations of the sum and the range more than
/// five; beyond those the errors are not uniform. Statistics make 0.03 dB.
#[test]
fn operands_and_converter_err_as_uniform_errors_do() {
    for (inputs, symbols, gains) in [(64, 2000, 0..4), (128, 1000, 0..5), (1024, 100, 1..7)] {
        let product = Product::gaussian(inputs, symbols);
        let operands = product.sqnr_db(None);
        close(&format!("N = {inputs}, operands, dB"), operands, product.form_db(None), 0.1);
        close(&format!("N = {inputs}, operands, dB"), operands, 40.5, 1.5);
        for gain in gains.map(|doublings| 1 << doublings) {
            let shift = Some(product.shift(gain));
            let what = format!("N = {inputs}, G = {gain}, dB");
            close(&what, product.sqnr_db(shift), product.form_db(shift), 0.1);
        }
    }
}

/// Setup: as above.
/// Target: the table of the physics notes.
/// Tolerance: what one vector in fifty exceeds. The table's figures scatter about the form by 1 dB
/// and by far more where the converter clips, as figures of one vector do: its absmax, and with it
/// the part of the range that its outputs use, is its own. 0.15 dB more is for the range, which is
/// N · 2^14 here and N · 127² there. Figures that a mean of many vectors must meet within 0.5 dB
/// are marked.
#[test]
fn analog_gain_brings_back_what_the_converter_loses() {
    /// Gain, figure in dB, and whether a mean must meet it.
    type Row = (u32, f64, bool);
    const MEAN: bool = true;
    const ONE: bool = false;
    let table: [(usize, usize, &[Row]); 3] = [
        (
            64,
            2000,
            &[
                (1, 19.1, ONE),
                (2, 23.0, ONE),
                (4, 30.3, MEAN),
                (8, 35.1, MEAN),
                (16, 39.0, ONE),
                (32, 13.4, ONE),
            ],
        ),
        (
            128,
            1000,
            &[(1, 13.6, MEAN), (2, 18.9, ONE), (4, 25.4, MEAN), (8, 30.8, MEAN), (16, 35.2, ONE)],
        ),
        (1024, 100, &[(1, 2.9, ONE), (32, 30.5, MEAN)]),
    ];
    for (inputs, symbols, rows) in table {
        let product = Product::gaussian(inputs, symbols);
        for &(gain, figure, mean) in rows {
            let shift = product.shift(gain);
            let [low, high] = product.sqnr_of_one_vector_db(shift);
            let what = format!("N = {inputs}, G = {gain}");
            eprintln!("{what}: one vector gives {low:.2} to {high:.2} dB, the table {figure} dB");
            assert!((low - 0.15..=high + 0.15).contains(&figure), "{what}");
            if mean {
                close(&format!("{what}, dB"), product.sqnr_db(Some(shift)), figure, 0.5);
            }
        }
    }
}
