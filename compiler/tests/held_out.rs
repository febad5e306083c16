//! Nothing is chosen on the samples that are held out, nor on those that are not looked at.

mod problem;

use litecore_compiler::{
    CompileError, CompileOptions, ExpertWeights, LayerReport, Pass, PassSet, Switch,
    compile_complex_linear, compile_expert, compile_linear,
};
use litecore_types::chip::ChipDescription;
use problem::{chip, normals};
use proptest::prelude::*;

/// What is compiled: an expert, or a layer of one kind.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Expert,
    Linear,
    Complex,
}

/// A layer of one kind.
#[derive(Clone, Copy, Debug)]
struct Layer {
    kind: Kind,
    width: usize,
    hidden: usize,
    key: u64,
    /// Matrices of rank one, which `low-rank` finds.
    is_thin: bool,
}

impl Layer {
    fn matrix(&self, index: u64, outputs: usize, inputs: usize) -> Vec<f32> {
        let key = self.key + index;
        if !self.is_thin {
            return normals(key, outputs * inputs);
        }
        let (left, right) = (normals(key, outputs), normals(key + 9, inputs));
        left.iter().flat_map(|left| right.iter().map(move |right| left * right)).collect()
    }

    /// The program in its text form, and the report.
    fn compile(
        &self,
        chip: &ChipDescription,
        samples: &[f32],
        options: &CompileOptions,
    ) -> Result<(String, LayerReport), CompileError> {
        let Self { kind, width, hidden, .. } = *self;
        let gate = self.matrix(0, hidden, width);
        if kind == Kind::Expert {
            let (up, down) = (self.matrix(1, hidden, width), self.matrix(2, width, hidden));
            let (name, expert_width) = ("l", hidden);
            let weights =
                ExpertWeights { name, gate: &gate, up: &up, down: &down, width, expert_width };
            let made = compile_expert(chip, &weights, samples, options)?;
            return Ok((made.program.to_string(), made.report));
        }
        let made = match kind {
            Kind::Complex => {
                compile_complex_linear(chip, "l", &gate, hidden, width / 2, samples, options)?
            }
            _ => compile_linear(chip, "l", &gate, hidden, width, samples, options)?,
        };
        Ok((made.program.to_string(), made.report))
    }
}

fn layers() -> impl Strategy<Value = Layer> {
    let kinds = prop::sample::select(vec![Kind::Expert, Kind::Linear, Kind::Complex]);
    (kinds, 1_usize..12, 1_usize..24, 0_u64..1 << 40, any::<bool>()).prop_map(
        |(kind, half, hidden, key, is_thin)| Layer { kind, width: 2 * half, hidden, key, is_thin },
    )
}

fn pass_sets() -> impl Strategy<Value = PassSet> {
    let passes = || Pass::ALL.into_iter().filter(|pass| pass.switch() != Switch::Always);
    prop::collection::vec(any::<bool>(), passes().count()).prop_map(move |on| {
        let chosen = passes().zip(on).filter(|(_, on)| *on);
        chosen.fold(PassSet::needed(), |set, (pass, _)| set.with(pass))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(150) })]

    #[test]
    fn what_is_held_out_changes_nothing_but_the_report(
        layer in layers(),
        passes in pass_sets(),
        (inputs, outputs, bits) in (2_usize..6, 2_usize..6, 5_u8..11),
        available in prop::sample::select(vec![1_usize, 2, 3, 4, 5, 8, 13, 40]),
        sample_rows_max in prop::sample::select(vec![1_usize, 3, 4, 6, 512]),
        target_snr_db in prop::option::of(10.0_f64..50.0),
        (error_budget, read_noise) in (0.0_f64..0.9, 0.0_f64..30.0),
        other in prop::sample::select(vec![0.0_f32, 1.0, 1000.0]),
    ) {
        let (inputs, outputs, bits) = (inputs.to_string(), outputs.to_string(), bits.to_string());
        let geometry = [("array.inputs", &inputs[..]), ("array.outputs", &outputs)];
        let adc = [("adc.bits", &bits[..]), ("adc.enob", "4")];
        let chip = chip("tiny-4", &[geometry, adc].concat());
        let options = CompileOptions {
            passes, sample_rows_max, target_snr_db, error_budget, read_noise,
            ..CompileOptions::default()
        };
        let samples = normals(layer.key + 77, available * layer.width);
        // Of the rows that are looked at, each fourth is held out.
        let rows = available.min(sample_rows_max);
        let seen: Vec<usize> =
            (0..rows).filter(|row| row % 4 != 3).map(|row| row * available / rows).collect();
        let mut others = samples.clone();
        for (row, x) in others.chunks_exact_mut(layer.width).enumerate() {
            if !seen.contains(&row) {
                for x in x {
                    *x = other * (3.0 - *x);
                }
            }
        }
        let compile = |samples: &[f32]| layer.compile(&chip, samples, &options);
        match (compile(&samples), compile(&others)) {
            (Ok((program, report)), Ok((same, other))) => {
                prop_assert_eq!(program, same);
                prop_assert_eq!(report.held_out, rows / 4);
                if rows < 4 {
                    prop_assert_eq!(report, other);
                }
            }
            // A chip that is too small is so for both.
            (found, other) => prop_assert_eq!(
                found.err().map(|error| error.to_string()),
                other.err().map(|error| error.to_string())
            ),
        }
    }
}
