//! On the embedded model's own weights and activations, light errs by what the budget says.

use litecore_compiler::{CompileOptions, compile_linear};
use litecore_hal::{Device, RunRequest, SymbolTag};
use litecore_kernels::codes;
use litecore_model::TierMask;
use litecore_model::names::{self, Part};
use litecore_runtime::{InputRecorder, Session};
use litecore_sim::budget::{Budget, Source, Statistics};
use litecore_sim::{SimDevice, SimOptions, Term, Terms};
use litecore_tests::Fixture;
use litecore_types::Seed;
use litecore_types::program::Action;
use std::sync::Arc;

const TEXT: &[u8] = b"The balanced receiver subtracts two photocurrents, so the laser's intensity \
    noise cancels to first order. Q: How many symbols fit? A: 512. 17 * 3 = 51. let x = gain(db);";

/// Mean square error of each tile of one expert's gate projection, in units of the exact sum:
/// measured, and what the budget says of its noise alone.
fn gate_projection(fixture: &Fixture, layer: u32, terms: Terms, chips: u128) -> Vec<(f64, f64)> {
    let config = fixture.dense.config();
    let key = config.experts().next().expect("an expert");
    let mut float = fixture.float();
    let mut recorder = InputRecorder::new(&mut float, 64);
    let mut session = Session::new(&fixture.dense, TierMask::all(config), Seed(0), 0);
    session.forward(TEXT, &mut recorder).expect("read");
    let inputs = recorder.into_inputs().remove(&(layer, key)).expect("inputs of that expert");
    let tier = &config.tiers[usize::from(key.tier)];
    let name = names::expert(layer as usize, &tier.id, key.group, key.expert, Part::Gate);
    let weights = fixture.checkpoint.tensor_f32(&name).expect("the gate").data;
    let (outputs, width) = (tier.expert_width, config.width);
    let options = CompileOptions::default();
    let program = compile_linear(&fixture.chip, &name, &weights, outputs, width, &inputs, &options)
        .expect("compiled")
        .program;

    let symbols = inputs.len() / width;
    let mut x = vec![0_i8; inputs.len()];
    let scales: Vec<f32> = inputs
        .chunks(width)
        .zip(x.chunks_mut(width))
        .map(|(x, out)| codes::quantise(x, fixture.chip.input_limit(), out).expect("finite"))
        .collect();
    let tags: Vec<SymbolTag> = (0..symbols as u64).map(SymbolTag).collect();
    let program = Arc::new(program);
    let noisy: Vec<Vec<f32>> = (0..chips)
        .map(|seed| {
            let options = SimOptions { seed: Seed(seed), terms, record_timeline: false };
            let mut device = SimDevice::new(fixture.chip.clone(), options);
            let image = device.load(Arc::clone(&program)).expect("loaded");
            let request = RunRequest { image, tags: &tags, inputs: &inputs };
            device.run(&request).expect("run").outputs
        })
        .collect();

    let table = &program.tables[0];
    let streams = program.steps.iter().filter_map(|step| match step.action {
        Action::Stream { tile, shift, to_offset, .. } => Some((tile, shift, to_offset as usize)),
        _ => None,
    });
    streams
        .map(|(tile, shift, first)| {
            let (rows, columns) = program.tile_shape(tile);
            assert_eq!(rows, width, "one tile takes the whole input");
            let tile = &program.tile(tile).codes;
            let mut sums = vec![0; symbols * columns];
            codes::tile_product(tile, rows, columns, &x, &mut sums);
            let step = f64::from(1_u32 << shift);
            let mut error = 0.0;
            for noisy in &noisy {
                for (symbol, sums) in sums.chunks(columns).enumerate() {
                    for (j, &sum) in sums.iter().enumerate() {
                        let unit = f64::from(scales[symbol]) * f64::from(table[first + j]) / step;
                        let found = f64::from(noisy[symbol * outputs + first + j]) / unit;
                        error += (found - f64::from(sum)) * (found - f64::from(sum));
                    }
                }
            }
            let statistics = Statistics::measured(tile, &x, &sums, shift);
            let budget = Budget::predict(&fixture.chip, terms, &statistics);
            let parts = budget.parts.iter().filter(|(of, _)| *of != Source::Quantisation);
            let noise: f64 = parts.map(|(_, part)| part.sigma_units * part.sigma_units).sum();
            (error / (noisy.len() * sums.len()) as f64, noise)
        })
        .collect()
}

#[test]
fn the_models_own_tiles_err_as_predicted() {
    let fixture = Fixture::embedded("ref-64-eo");
    let sets = Term::ALL.map(Terms::only).into_iter().chain([Terms::all()]);
    for layer in [0, 3] {
        // What rounding and clipping do without any noise is no matter of the budget.
        let silent = gate_projection(&fixture, layer, Terms::none(), 1);
        for terms in sets.clone() {
            let noisy = gate_projection(&fixture, layer, terms, 32);
            for ((error, noise), (rounding, _)) in noisy.into_iter().zip(&silent) {
                let difference = 10.0 * pxfm::f_log10((error - rounding) / noise);
                // A tile clips some sums, and 32 chips have 32 draws of each cell: half a decibel,
                // where the term stands out of the rounding at all.
                if noise > 0.2 * rounding {
                    assert!(difference.abs() < 0.5, "layer {layer}, {terms}: {difference:.2} dB");
                }
            }
        }
    }
}
