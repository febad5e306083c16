//! Predicted cycles and energy against sums done by hand.

mod problem;

use litecore_compiler::{CompileOptions, Prediction, StepSpan, compile_linear, predict};
use litecore_types::chip::timing::Engine;
use litecore_types::program::{Action, Program};
use litecore_types::{Component, Cycles};
use problem::{SampleExpert, chip, normals};

#[test]
fn one_tile_on_tiny_4_by_hand() {
    let chip = chip("tiny-4", &[]);
    let options = CompileOptions::default();
    let linear = compile_linear(&chip, "l", &normals(1, 32), 4, 8, &[], &options).expect("small");
    // At 1 GHz, with 16 symbols:
    //   move in      16 * 32 B / 32 GB/s = 16, + 1000                  0 ..   16 .. 1016
    //   load         32 codes / 1 GB/s = 32                            0 ..   32
    //   settle       1, on the array                                 32 ..   33
    //   quantise     16 * 8 / 4 G/s = 32, + 10                      1016 .. 1048 .. 1058
    //   stream       16, + 10                                       1058 .. 1074 .. 1084
    //   dequantise   16 * 4 / 4 G/s = 16, + 10                      1084 .. 1100 .. 1110
    //   move out     16 * 16 B / 32 GB/s = 8, + 1000                1110 .. 1118 .. 2118
    let prediction = predict(&linear.program, &chip, 16);
    assert_eq!(prediction.cycles, Cycles(2118));
    let busy: Vec<(Engine, u64)> =
        prediction.engine_busy.iter().map(|(engine, busy)| (*engine, busy.0)).collect();
    assert_eq!(
        busy,
        [
            (Engine::HostLink, 24),
            (Engine::Loader(0), 32),
            (Engine::Array(0), 17),
            (Engine::Vector, 48)
        ]
    );
    assert_eq!(prediction.limiting_engine(), Some(Engine::Vector));
    let stream = prediction.spans[4];
    assert_eq!(
        (stream.start, stream.busy_end, stream.end),
        (Cycles(1058), Cycles(1074), Cycles(1084))
    );
}

#[test]
fn one_tile_on_tiny_4_costs_what_its_events_cost() {
    let chip = chip("tiny-4", &[]);
    let options = CompileOptions::default();
    let linear = compile_linear(&chip, "l", &normals(1, 32), 4, 8, &[], &options).expect("small");
    let energy = predict(&linear.program, &chip, 16).energy;
    let pico = |component| energy.joules(component) * 1e12;
    let close = |found: f64, expected: f64| (found / expected - 1.0).abs() < 1e-9;
    assert!(close(pico(Component::InputDac), 16.0 * 8.0 * 1.0));
    assert!(close(pico(Component::Adc), 16.0 * 4.0 * 1.28));
    assert!(close(pico(Component::WeightDac), 32.0 * 1.0));
    assert!(close(pico(Component::WeightFetch), 32.0 * 32.0));
    assert!(close(pico(Component::HostLink), 16.0 * (32.0 + 16.0) * 48.0));
    // Lasers for 2118 ns: (2 mW + 4 * 4 mW) / 0.2 = 90 mW.
    assert!(close(pico(Component::Laser), 0.09 * 2118.0e-9 * 1e12));
    assert!(close(pico(Component::WeightHold), 16.0 * 1e-6 * 2118.0e-9 * 1e12));
}

#[test]
fn one_bank_takes_turns_and_two_overlap_by_hand() {
    // Three K-tiles of eight inputs, four symbols, links and vectors out of the way.
    let cycles = |banks: &str| {
        let fast = [("array.banks", banks), ("host.latency_s", "0"), ("vector.latency_s", "0")];
        let chip = chip("tiny-4", &fast);
        let options = CompileOptions::default();
        let weights = normals(2, 4 * 24);
        let linear = compile_linear(&chip, "l", &weights, 4, 24, &[], &options).expect("small");
        let prediction = predict(&linear.program, &chip, 4);
        let spans = linear.program.steps.iter().zip(&prediction.spans);
        let streams = spans.filter(|(step, _)| matches!(step.action, Action::Stream { .. }));
        let ends: Vec<u64> = streams.map(|(_, span)| span.end.0).collect();
        (ends, prediction.cycles.0)
    };
    // Move in 4 * 96 / 32 = 12, quantise 4 * 24 / 4 = 24 to 36. Load 32, settle 33.
    // One bank: stream 36 .. 40 .. 50; load 50 .. 82, settled 83; stream 83 .. 87 .. 97; load .. 129,
    // settled 130; stream 130 .. 134 .. 144. Dequantise 4 .. 148, move out 4 * 16 / 32 = 2 .. 150.
    assert_eq!(cycles("1"), (vec![50, 97, 144], 150));
    // Two banks: the second load runs 32 .. 64, settled 65; stream 65 .. 69 .. 79. The third waits
    // for the first stream (50) and the loader (64): 64 .. 96, settled 97; stream 97 .. 101 .. 111.
    assert_eq!(cycles("2"), (vec![50, 79, 111], 117));
}

/// When the streams of a program run.
fn streams<'a>(
    program: &'a Program,
    prediction: &'a Prediction,
) -> impl Iterator<Item = &'a StepSpan> + Clone {
    prediction
        .spans
        .iter()
        .filter(|span| matches!(program.steps[span.step.0 as usize].action, Action::Stream { .. }))
}

#[test]
fn double_buffering_hides_loading_behind_streaming() {
    let chip = chip("ref-64-eo", &[]);
    let (outputs, inputs) = (512, 1024);
    let weights = normals(3, outputs * inputs);
    let options = CompileOptions::default();
    let linear =
        compile_linear(&chip, "l", &weights, outputs, inputs, &[], &options).expect("fits");
    let tiles = 64;
    assert_eq!(linear.program.tiles.len(), tiles);
    for symbols in [32, 128, 256, 400] {
        assert!(symbols <= linear.program.symbols_max);
        let prediction = predict(&linear.program, &chip, symbols);
        let streams = streams(&linear.program, &prediction);
        let first = streams.clone().map(|span| span.start.0).min().expect("streams");
        let last = streams.map(|span| span.end.0).max().expect("streams");
        // Loading takes 8192 codes at 32 a cycle; the bound is the longer of loading and streaming.
        let bound = (tiles as u64 * symbols.max(256)) as f64;
        let ratio = (last - first) as f64 / bound;
        assert!(ratio < 1.12, "{symbols} symbols: {ratio}");
        // While the inputs arrive two tiles are loaded already, and their loading is not counted.
        assert!(ratio > 0.95, "{symbols} symbols: {ratio}");
    }
}

#[test]
fn more_arrays_shorten_the_array_phase() {
    let span = |arrays: &str, outputs: usize| {
        let chip = chip("ref-64-eo", &[("array.arrays", arrays)]);
        let weights = normals(4, outputs * 1024);
        let options = CompileOptions::default();
        let linear =
            compile_linear(&chip, "l", &weights, outputs, 1024, &[], &options).expect("fits");
        let prediction = predict(&linear.program, &chip, 64);
        let streams = streams(&linear.program, &prediction);
        let first = streams.clone().map(|span| span.start.0).min().expect("streams");
        streams.map(|span| span.end.0).max().expect("streams") - first
    };
    // Eight slices on four arrays: a quarter of the loading.
    assert!(span("4", 512) * 3 < span("1", 512));
    // One slice on four arrays: loading is shared, streams still follow each other.
    assert!(span("4", 64) * 2 < span("1", 64));
}

#[test]
fn an_expert_runs_its_loads_ahead_of_its_data() {
    let chip = chip("ref-64-eo", &[]);
    let compiled = SampleExpert::gaussian(5, 128, 128).compile(&chip);
    let prediction = predict(&compiled.program, &chip, 1);
    let tiles = compiled.program.tiles.len() as u64;
    assert_eq!(tiles, 6);
    // Both links take 2000 cycles; loading six tiles one after the other takes 6 * 256. The first
    // two are loaded while the vector arrives, so that at most four remain between the links.
    assert!(prediction.cycles.0 < 4000 + 4 * 300, "{}", prediction.cycles);
    assert_eq!(prediction.engine_busy[&Engine::Loader(0)], Cycles(tiles * 256));
    let loads = prediction.engine_loads();
    assert!(loads.iter().all(|load| (0.0..=1.0).contains(&load.fraction)), "{loads:?}");
}

#[test]
fn the_critical_path_accounts_for_every_cycle() {
    for symbols in [1, 8, 64, 512] {
        let chip = chip("ref-64-eo", &[]);
        let program = SampleExpert::gaussian(3, 128, 128).compile(&chip).program;
        let prediction = predict(&program, &chip, symbols);
        let path = prediction.critical_path(&program);
        assert_eq!(path.values().copied().sum::<Cycles>(), prediction.cycles);
        // One token waits for two hops over the link, 2000 cycles each, and hides nothing in them.
        assert!(path[&Engine::HostLink] >= Cycles(4000));
    }
}
