//! Whatever passes are on: reference, fast path and simulator without noise agree bit for bit, and the
//! error against f64 is what quantisation and the error budget say.

use litecore_compiler::{
    CompileOptions, CompiledExpert, ExpertWeights, Pass, PassSet, Switch, compile_expert,
};
use litecore_hal::{Device, RunRequest, SymbolTag};
use litecore_kernels::normal::standard_normals;
use litecore_kernels::program::{Converters, Fast, Reference, Workspace, execute};
use litecore_sim::{SimDevice, SimOptions, Term, Terms};
use litecore_types::Seed;
use litecore_types::chip::{ChipDescription, Override, builtin_text};
use proptest::prelude::*;
use std::sync::Arc;

fn chip(name: &str, overrides: &[(&str, &str)]) -> ChipDescription {
    let overrides: Vec<Override> = overrides
        .iter()
        .map(|(path, value)| Override { path: (*path).into(), value: (*value).into() })
        .collect();
    let text = builtin_text(name).expect("shipped");
    ChipDescription::from_toml_with(text, name, &overrides).unwrap_or_else(|e| panic!("{e}"))
}

fn normals(key: u64, count: usize) -> Vec<f32> {
    let mut values = vec![0.0; count];
    standard_normals(key, 0, &mut values);
    values
}

/// An expert with weights that keep the power of its inputs, some rows louder than others.
struct Sample {
    key: u64,
    gate: Vec<f32>,
    up: Vec<f32>,
    down: Vec<f32>,
    width: usize,
    hidden: usize,
}

impl Sample {
    fn new(key: u64, width: usize, hidden: usize, loud: f32) -> Self {
        let matrix = |index: u64, outputs: usize, inputs: usize| -> Vec<f32> {
            let scale = 1.0 / (inputs as f32).sqrt();
            normals(key.wrapping_mul(3).wrapping_add(index), outputs * inputs)
                .into_iter()
                .map(|weight| weight * scale)
                .collect()
        };
        let mut up = matrix(1, hidden, width);
        for (row, weights) in up.chunks_exact_mut(width).enumerate() {
            let factor = if row % 7 == 3 { loud } else { 1.0 };
            for weight in weights {
                *weight *= factor;
            }
        }
        let (gate, down) = (matrix(0, hidden, width), matrix(2, width, hidden));
        Self { key, gate, up, down, width, hidden }
    }

    fn weights(&self) -> ExpertWeights<'_> {
        ExpertWeights {
            name: "layer 0 only.0.0",
            gate: &self.gate,
            up: &self.up,
            down: &self.down,
            width: self.width,
            expert_width: self.hidden,
        }
    }

    fn compile(&self, chip: &ChipDescription, options: &CompileOptions) -> CompiledExpert {
        compile_expert(chip, &self.weights(), &self.samples(), options)
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// Few enough that the compiler looks at all of them.
    fn samples(&self) -> Vec<f32> {
        normals(self.key ^ 0x4d, 120 * self.width)
    }

    /// Of each four of them the last: nothing is chosen on it.
    fn held_out(&self) -> Vec<f32> {
        self.samples_where(|row| row % 4 == 3)
    }

    /// The others, on which gains are chosen.
    fn seen(&self) -> Vec<f32> {
        self.samples_where(|row| row % 4 != 3)
    }

    fn samples_where(&self, is_wanted: fn(usize) -> bool) -> Vec<f32> {
        let samples = self.samples();
        let rows = samples.chunks_exact(self.width).enumerate();
        rows.filter(|(row, _)| is_wanted(*row)).flat_map(|(_, x)| x).copied().collect()
    }

    /// In f64, by the definition.
    fn exact(&self, x: &[f32]) -> Vec<f64> {
        let product = |weights: &[f32], x: &[f64]| -> Vec<f64> {
            let row = |row: &[f32]| row.iter().zip(x).map(|(w, x)| f64::from(*w) * x).sum();
            weights.chunks_exact(x.len()).map(row).collect()
        };
        let vector = |x: &[f32]| {
            let x: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
            let (gate, up) = (product(&self.gate, &x), product(&self.up, &x));
            let hidden: Vec<f64> =
                gate.iter().zip(&up).map(|(g, u)| g / (1.0 + pxfm::f_exp(-g)) * u).collect();
            product(&self.down, &hidden)
        };
        x.chunks_exact(self.width).flat_map(vector).collect()
    }

    /// SNR of what a compiled program makes of some inputs, on the fast path.
    fn measured_db(&self, compiled: &CompiledExpert, chip: &ChipDescription, x: &[f32]) -> f64 {
        let (mut y, mut space) = (Vec::new(), Workspace::default());
        let mut fast = Fast::new(Converters::of(chip));
        execute(&compiled.program, &mut fast, x, &mut y, &mut space).expect("finite");
        snr_db(&self.exact(x), &y)
    }
}

fn snr_db(exact: &[f64], found: &[f32]) -> f64 {
    let signal: f64 = exact.iter().map(|exact| exact * exact).sum();
    let error: f64 = exact
        .iter()
        .zip(found)
        .map(|(exact, found)| (f64::from(*found) - exact) * (f64::from(*found) - exact))
        .sum();
    10.0 * pxfm::f_log10(signal / error)
}

/// What the simulated card makes of some inputs.
fn light(compiled: &CompiledExpert, chip: &ChipDescription, x: &[f32], terms: Terms) -> Vec<f32> {
    let options = SimOptions { seed: Seed(5), terms, record_timeline: false };
    let mut device = SimDevice::new(chip.clone(), options);
    let program = Arc::new(compiled.program.clone());
    let tags: Vec<SymbolTag> = (0..(x.len() / program.input_len()) as u64).map(SymbolTag).collect();
    let image = device.load(program).expect("verified");
    device.run(&RunRequest { image, tags: &tags, inputs: x }).expect("finite").outputs
}

/// What all three make of some inputs; they must agree to the bit.
fn run(compiled: &CompiledExpert, chip: &ChipDescription, x: &[f32]) -> Vec<f32> {
    let (mut slow, mut fast) = (Vec::new(), Vec::new());
    let (converters, mut space) = (Converters::of(chip), Workspace::default());
    let program = &compiled.program;
    execute(program, &mut Reference::new(converters), x, &mut slow, &mut space).expect("finite");
    execute(program, &mut Fast::new(converters), x, &mut fast, &mut space).expect("finite");
    let silent = light(compiled, chip, x, Terms::none());
    assert_eq!(bits(&slow), bits(&fast), "reference and cpu differ");
    assert_eq!(bits(&slow), bits(&silent), "reference and silent light differ");
    slow
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Any combination of the passes that can be switched.
fn pass_sets() -> impl Strategy<Value = PassSet> {
    let switched: Vec<Pass> =
        Pass::ALL.into_iter().filter(|pass| pass.switch() != Switch::Always).collect();
    prop::collection::vec(any::<bool>(), switched.len()).prop_map(move |on| {
        let chosen = switched.iter().zip(on).filter(|(_, on)| *on).map(|(pass, _)| *pass);
        chosen.fold(PassSet::needed(), PassSet::with)
    })
}

fn chips() -> impl Strategy<Value = ChipDescription> {
    let geometry = (2_usize..7, 2_usize..7, 1_usize..3, 1_usize..3, 1_usize..3);
    let converters = (5_u8..=8, 6_u8..=10, 4_u8..=8, any::<bool>());
    (geometry, converters).prop_map(
        |((inputs, outputs, arrays, banks, wavelengths), (dac, adc, weights, both))| {
            let text = |value: usize| value.to_string();
            chip(
                "tiny-4",
                &[
                    ("array.inputs", &text(inputs)),
                    ("array.outputs", &text(outputs)),
                    ("array.arrays", &text(arrays)),
                    ("array.banks", &text(banks)),
                    ("array.wavelengths", &text(wavelengths)),
                    ("dac.bits", &text(dac.into())),
                    ("dac.enob", "ideal"),
                    ("adc.bits", &text(adc.into())),
                    ("adc.enob", "5"),
                    ("weights.bits", &text(weights.into())),
                    ("receiver.readout", if both { "iq" } else { "i" }),
                ],
            )
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_combination_of_passes_means_the_same_everywhere(
        passes in pass_sets(),
        chip in chips(),
        width in 1_usize..34,
        hidden in 1_usize..34,
        symbols in 1_usize..6,
        target in prop::option::of(20_u8..60),
        budget in prop::sample::select(vec![0.0, 1e-3, 0.3]),
        loud in prop::sample::select(vec![1.0_f32, 64.0]),
        key in 0_u64..1 << 40,
    ) {
        let options = CompileOptions {
            passes,
            target_snr_db: target.map(f64::from),
            error_budget: budget,
            ..CompileOptions::default()
        };
        let sample = Sample::new(key, width, hidden, loud);
        let compiled = sample.compile(&chip, &options);
        let x = normals(key ^ 9, symbols * width);
        let y = run(&compiled, &chip, &x);
        prop_assert_eq!(y.len(), x.len());
        prop_assert!(y.iter().all(|y| y.is_finite()));
    }

    #[test]
    fn against_f64_the_error_is_what_the_report_says(
        passes in pass_sets(),
        shape in prop::sample::select(vec![(128_usize, 128_usize), (96, 192), (64, 64)]),
        loud in prop::sample::select(vec![1.0_f32, 32.0]),
        key in 0_u64..1 << 40,
    ) {
        let chip = chip("ref-64-eo", &[]);
        let budget = 1e-3;
        let options = CompileOptions { passes, error_budget: budget, ..CompileOptions::default() };
        let sample = Sample::new(key, shape.0, shape.1, loud);
        let compiled = sample.compile(&chip, &options);
        // On the inputs the report is about: two ways to the same figure.
        prop_assert_eq!(compiled.report.held_out, 30);
        let found = sample.measured_db(&compiled, &chip, &sample.held_out());
        let reported = compiled.report.snr_db.expect("codes are not floats");
        prop_assert!((found - reported).abs() < 0.05, "{found:.2} dB, reported {reported:.2} dB");
        // At unity gain loud rows leave the quiet ones a bit or two; only the report is held to it.
        let least = if passes.has(Pass::Gain) { 24.0 } else { 0.0 };
        let seen = sample.measured_db(&compiled, &chip, &sample.seen());
        prop_assert!(seen > least, "{seen:.2} dB with {:?}", passes.iter().collect::<Vec<_>>());
    }
}

/// Gains are chosen by 90 vectors, and a vector not among them may saturate one: a random model of 64 by
/// 64 was found to lose 2 dB to one loud vector. The report is about 30 others, which may be loud or not.
/// So the difference is held as a distribution, on models that are always the same: no bias, and nearly all
/// of it within 1.25 dB, as 30 vectors tell.
#[test]
fn other_inputs_err_as_the_report_says() {
    let chip = chip("ref-64-eo", &[]);
    let gain = PassSet::needed().with(Pass::Gain);
    let rewriting = [Pass::Fold, Pass::Equalise, Pass::Rotate, Pass::LowRank, Pass::TileSparsity];
    let each = rewriting.map(|pass| gain.with(pass));
    for passes in [PassSet::needed(), gain, PassSet::default()].into_iter().chain(each) {
        for (width, hidden) in [(128, 128), (96, 192), (64, 64)] {
            let options =
                CompileOptions { passes, error_budget: 1e-3, ..CompileOptions::default() };
            let better_by = reported_better_by(&chip, &options, (width, hidden), 120);
            let [least, median, most] = [1, 20, 38].map(|rank| better_by[rank]);
            let all = format!("{width} by {hidden}: {least:.2}, {median:.2}, {most:.2} dB");
            assert!(median.abs() < 0.25, "{all}");
            assert!(least > -1.25 && most < 1.25, "{all}");
        }
    }
}

/// Large experts are compiled on few vectors, and on those that gains are chosen on these models err by
/// 0.7 of what they err by on others. The report is about vectors that nothing was chosen on.
#[test]
fn few_samples_do_not_flatter_the_report() {
    let chip = chip("ref-64-eo", &[]);
    let options = CompileOptions::default();
    let better_by = reported_better_by(&chip, &options, (256, 256), 10);
    // Two vectors of one model say little; what matters is that errors are right in the mean.
    let share = |better_by: &f64| pxfm::f_exp10(-better_by / 10.0);
    let mean = better_by.iter().map(share).sum::<f64>() / better_by.len() as f64;
    assert!((0.85..1.2).contains(&mean), "{mean:.2} of the errors are reported");
}

/// By how many decibels the SNR of the report is better than that of other inputs, for forty models, in
/// ascending order.
fn reported_better_by(
    chip: &ChipDescription,
    options: &CompileOptions,
    (width, hidden): (usize, usize),
    rows: usize,
) -> Vec<f64> {
    let of_model = |key: u64| {
        let sample = Sample::new(key * 7919, width, hidden, 1.0);
        let samples = &sample.samples()[..rows * width];
        let compiled = compile_expert(chip, &sample.weights(), samples, options);
        let compiled = compiled.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(compiled.report.held_out, rows / 4);
        let others = normals(key ^ 9, 120 * width);
        let reported = compiled.report.snr_db.expect("codes are not floats");
        reported - sample.measured_db(&compiled, chip, &others)
    };
    let mut better_by: Vec<f64> = (1..=40).map(of_model).collect();
    better_by.sort_by(f64::total_cmp);
    better_by
}

#[test]
fn a_target_is_met_by_noisy_light_where_one_read_misses_it() {
    // Converter noise alone, which the compiler reckons with: two effective bits are missing.
    let chip = chip("ref-64-eo", &[("adc.enob", "6")]);
    let sample = Sample::new(3, 128, 128, 1.0);
    let x = normals(4, 300 * 128);
    let exact = sample.exact(&x);
    let measure = |target_snr_db: Option<f64>| {
        let options = CompileOptions { target_snr_db, ..CompileOptions::default() };
        let compiled = sample.compile(&chip, &options);
        let reads = compiled.report.matrices.iter().map(|matrix| matrix.tiles.len()).sum::<usize>();
        (snr_db(&exact, &light(&compiled, &chip, &x, Terms::only(Term::Adc))), reads)
    };
    let (once, reads_once) = measure(None);
    let (often, reads_often) = measure(Some(30.0));
    assert!(once < 28.0, "{once:.2} dB");
    assert!(often > 29.0, "{often:.2} dB from {reads_often} reads instead of {reads_once}");
    assert!(reads_often >= 4 * reads_once);
}
