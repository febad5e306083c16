//! Schedules: how near they come to what no order of steps can beat.

#[path = "problem/chips.rs"]
mod chips;
mod problem;

use litecore_compiler::{CompileOptions, compile_expert, compile_linear, lower_bounds, predict};
use litecore_types::chip::ChipDescription;
use litecore_types::chip::timing::Engine;
use litecore_types::program::{Action, VerifiedProgram};
use problem::{SampleExpert, chip, normals};
use proptest::prelude::*;

/// Cycles over the bound for any program, and over the bound for this one's work.
fn ratios(program: &VerifiedProgram, chip: &ChipDescription, symbols: u64) -> (f64, f64) {
    let cycles = predict(program, chip, symbols).cycles.0 as f64;
    let bounds = lower_bounds(program, chip, symbols);
    (cycles / bounds.of_any_work.cycles.0 as f64, cycles / bounds.of_the_work.cycles.0 as f64)
}

#[test]
fn an_expert_comes_near_what_nothing_can_beat() {
    // With two banks a pass of six tiles cannot both wait for all symbols and keep the link busy: see
    // docs/decisions/0008-card-timing.md.
    let two_banks = chip("ref-64-eo", &[]);
    let program = SampleExpert::gaussian(5, 128, 128).compile(&two_banks).program;
    for (symbols, most) in [(1, 1.02), (8, 1.05), (64, 1.1), (512, 1.1)] {
        let (any, work) = ratios(&program, &two_banks, symbols);
        assert!(any >= work && work >= 1.0, "{symbols} tokens: {any} {work}");
        assert!(any < most, "{symbols} tokens: {any} times what nothing can beat");
    }
    // With a bank for each tile nothing is in the way.
    let many_banks = chip("ref-64-eo", &[("array.banks", "8")]);
    let program = SampleExpert::gaussian(5, 128, 128).compile(&many_banks).program;
    for symbols in [1, 8, 64, 512] {
        let (any, work) = ratios(&program, &many_banks, symbols);
        assert!(any < 1.1 && work >= 1.0, "{symbols} tokens: {any} {work}");
    }
}

#[test]
fn the_bound_names_what_makes_it() {
    let chip = chip("ref-64-eo", &[("array.banks", "8")]);
    let program = SampleExpert::gaussian(5, 128, 128).compile(&chip).program;
    let bound = lower_bounds(&program, &chip, 512).of_any_work;
    // 512 vectors of 512 bytes at 16 a cycle; what comes before and after by hand: an issue of 2; the
    // link 2000; quantise 4 + 20; one tile 1 + 20; rescale 4 + 20, activate 4 + 20, quantise 4 + 20;
    // one tile 1 + 20; rescale 4 + 20; link 32 + 2000.
    assert_eq!(bound.engine, Some(Engine::HostIn));
    let chain = 24 + 21 + 24 + 24 + 24 + 21 + 24 + 2032;
    assert_eq!(bound.cycles.0, 2 + 16384 + 2000 + chain);
    // One token is bound by its way, not by a unit.
    let bound = lower_bounds(&program, &chip, 1).of_any_work;
    assert_eq!((bound.engine, bound.cycles.0), (None, 2 + 2032 + chain));
}

#[test]
fn the_bound_of_few_banks_names_their_loader() {
    let chip = chip("ref-64-eo", &[]);
    let program = SampleExpert::gaussian(5, 128, 128).compile(&chip).program;
    let bound = lower_bounds(&program, &chip, 64).of_any_work;
    assert_eq!(bound.engine, Some(Engine::Loader(0)));
    // By hand without turns, as above: the last of 64 vectors arrives at 2 + 2048 + 2000, and four
    // of six tiles follow one by one after its first stream, 256 cycles each. That tiles must have
    // been there for earlier vectors too makes it a tenth more.
    let without = 2 + 2048 + 2000 + 24 + 21 + 4 * 256 + 2 + 21 + 24 + 2032;
    assert!((8.0..12.0).contains(&(100.0 * (bound.cycles.0 as f64 / f64::from(without) - 1.0))));
}

#[test]
fn programs_have_few_steps() {
    let chip = chip("ref-64-eo", &[]);
    let program = SampleExpert::gaussian(5, 128, 128).compile(&chip).program;
    assert!(program.steps.len() < 1050, "{} steps", program.steps.len());
    // A run of one token looks at the first of them only.
    let reached = program.steps_in_reach(1).len();
    assert!(reached < 100, "{reached} steps for one token");
}

#[test]
fn large_layers_come_near_their_bound_too() {
    let chip = chip("ref-64-eo", &[]);
    for (width, expert_width) in [(512, 384), (1024, 512)] {
        let expert = SampleExpert::gaussian(9, width, expert_width);
        for batch in [1, 64, 512] {
            let options = CompileOptions { batch: Some(batch), ..CompileOptions::default() };
            let program =
                compile_expert(&chip, &expert.weights(), &[], &options).expect("fits").program;
            let (any, _) = ratios(&program, &chip, batch);
            assert!(any < 1.45, "{width} to {expert_width}, {batch} tokens: {any}");
        }
    }
}

#[test]
fn tiles_that_stay_are_not_loaded_again() {
    let chip = chip("ref-64-eo", &[("array.banks", "8")]);
    let program = SampleExpert::gaussian(5, 128, 128).compile(&chip).program;
    let loads = program.steps.iter().filter(|s| matches!(s.action, Action::LoadBank { .. }));
    assert_eq!(loads.count(), 6, "one for each tile, however many parts there are");
    assert!(program.steps.iter().filter(|s| s.symbols.from > 0).count() > 100);
}

#[test]
fn a_heater_settles_once_for_all_parts_of_a_wave() {
    // Settling takes 50 us: all else together takes less.
    let chip = chip("ref-64-to", &[]);
    let program = SampleExpert::gaussian(5, 128, 128).compile(&chip).program;
    let cycles = predict(&program, &chip, 64).cycles.0;
    assert!((600_000..612_000).contains(&cycles), "six tiles of 100000 cycles: {cycles}");
}

#[test]
fn a_long_load_is_no_part_of_the_way_of_the_last_symbol() {
    // It was counted, and the bound of this layer lay above a schedule of it.
    let shape = [("array.outputs", "3"), ("array.arrays", "2"), ("array.banks", "1")];
    let slow = [("weights.load_bytes_per_s", "1e8"), ("cell.settling_s", "1e-7")];
    let fast =
        [("host.latency_s", "1e-9"), ("host.bytes_per_s", "1e10"), ("vector.latency_s", "1e-9")];
    let chip = chip("tiny-4", &[&shape[..], &slow, &fast].concat());
    let options = CompileOptions { symbols_max: 64, ..CompileOptions::default() };
    let compiled = compile_linear(&chip, "l", &normals(5, 14), 1, 14, &[], &options);
    let program = compiled.expect("small").program;
    let bound = lower_bounds(&program, &chip, 64).of_any_work.cycles;
    let found = predict(&program, &chip, 64).cycles;
    assert!(bound <= found, "{bound:?} {found:?}");
    assert!(10 * bound.0 > 7 * found.0, "{bound:?} {found:?}");
}

fn chips() -> impl Strategy<Value = ChipDescription> {
    chips::settings().prop_map(|values| {
        let values: Vec<(&str, &str)> = values.iter().map(|(k, v)| (*k, v.as_str())).collect();
        chip("tiny-4", &values)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn no_schedule_beats_its_bounds(
        chip in chips(),
        width in 1_usize..24,
        expert_width in 1_usize..24,
        symbols_max in 1_u64..200,
        batch in proptest::option::of(1_u64..200),
        share in 0.0_f64..1.0,
    ) {
        let expert = SampleExpert::gaussian(3, width, expert_width);
        let options = CompileOptions { symbols_max, batch, ..CompileOptions::default() };
        let compiled = compile_expert(&chip, &expert.weights(), &[], &options);
        let program = match compiled {
            Ok(compiled) => compiled.program,
            Err(error) => return Err(TestCaseError::fail(error.to_string())),
        };
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small")]
        let some = (share * program.symbols_max as f64) as u64;
        for symbols in [1, some.max(1), program.symbols_max] {
            let prediction = predict(&program, &chip, symbols);
            let bounds = lower_bounds(&program, &chip, symbols);
            prop_assert!(bounds.of_the_work.cycles <= prediction.cycles, "{symbols}: {bounds:?}");
            prop_assert!(bounds.of_any_work.cycles <= prediction.cycles, "{symbols}: {bounds:?}");
            let path = prediction.critical_path();
            prop_assert_eq!(path.values().map(|c| c.0).sum::<u64>(), prediction.cycles.0);
        }
    }

    #[test]
    fn no_schedule_of_one_layer_beats_the_bounds_of_another(
        chip in chips(),
        outputs in 1_usize..24,
        inputs in 1_usize..24,
        batches in (1_u64..64, 1_u64..64),
    ) {
        // The bound for any program is one: of whatever plan it is taken, it holds for all.
        let weights = normals(5, outputs * inputs);
        let program = |batch| {
            let options = CompileOptions { symbols_max: 64, batch, ..CompileOptions::default() };
            compile_linear(&chip, "l", &weights, outputs, inputs, &[], &options).map(|c| c.program)
        };
        let plans = [program(None), program(Some(batches.0)), program(Some(batches.1))];
        for bounded in plans.iter().flatten() {
            for run in plans.iter().flatten() {
                for symbols in [1, 7, run.symbols_max] {
                    let bound = lower_bounds(bounded, &chip, symbols).of_any_work.cycles;
                    prop_assert!(bound <= predict(run, &chip, symbols).cycles);
                }
            }
        }
    }
}
