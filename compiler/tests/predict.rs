//! Predicted cycles and energy against sums done by hand.

mod problem;

use litecore_compiler::{CompileOptions, Prediction, StepSpan, compile_linear, predict};
use litecore_types::chip::timing::{Engine, PortUser};
use litecore_types::program::{Action, Program};
use litecore_types::{Component, Cycles};
use problem::{SampleExpert, chip, normals};

/// Runs of so many symbols in one part.
fn up_to(symbols_max: u64) -> CompileOptions {
    CompileOptions { symbols_max, ..CompileOptions::default() }
}

#[test]
fn one_tile_on_tiny_4_by_hand() {
    let chip = chip("tiny-4", &[]);
    let linear = compile_linear(&chip, "l", &normals(1, 32), 4, 8, &[], &up_to(8)).expect("small");
    // At 1 GHz, with 8 symbols; one step is issued each cycle:
    //   move in      8 * 32 B / 32 GB/s = 8, + 1000                    1 ..    9 .. 1009
    //   load         32 codes / 1 GB/s = 32                            2 ..   34
    //   settle       1, on the array                                  34 ..   35
    //   quantise     8 * 8 / 4 G/s = 16, + 10                       1009 .. 1025 .. 1035
    //   stream       8, + 10                                        1035 .. 1043 .. 1053
    //   dequantise   8 * 4 / 4 G/s = 8, + 10                        1053 .. 1061 .. 1071
    //   move out     8 * 16 B / 32 GB/s = 4, + 1000                 1071 .. 1075 .. 2075
    let prediction = predict(&linear.program, &chip, 8);
    assert_eq!(prediction.cycles, Cycles(2075));
    let busy: Vec<(Engine, u64)> =
        prediction.engine_busy.iter().map(|(engine, busy)| (*engine, busy.0)).collect();
    assert_eq!(
        busy,
        [
            (Engine::Command, 7),
            (Engine::HostIn, 8),
            (Engine::HostOut, 4),
            // 32 bytes, sixteen a cycle.
            (Engine::WeightMemory, 2),
            (Engine::Loader(0), 32),
            (Engine::Array(0), 9),
            // 8 symbols of four sums of eight bytes, 32 bytes a cycle.
            (Engine::Accumulator(0), 8),
            (Engine::Vector, 24),
            // 64 bytes a cycle: 256 in, 128 out, 8 * (32 + 8) and 8 * (16 + 16), 8 * 8.
            (Engine::MemoryPort(PortUser::HostIn), 4),
            (Engine::MemoryPort(PortUser::HostOut), 2),
            (Engine::MemoryPort(PortUser::Vector), 5 + 4),
            (Engine::MemoryPort(PortUser::Array(0)), 1),
        ]
    );
    let busiest = prediction.engine_busy.iter().max_by_key(|(_, busy)| **busy);
    assert_eq!(busiest, Some((&Engine::Loader(0), &Cycles(32))));
    let stream = prediction.spans[4];
    assert_eq!(
        (stream.start, stream.busy_end, stream.end),
        (Cycles(1035), Cycles(1043), Cycles(1053))
    );
}

#[test]
fn a_slow_memory_is_waited_for() {
    // 8 bytes a cycle at the ports and 4 at the accumulators: the vectors' 320 bytes take 40 cycles
    // instead of 16, the sums' 256 take 64 instead of 8, 256 bytes in take 32 instead of 8.
    let slow = [("memory.port_bytes_per_s", "8e9"), ("memory.accumulator_bytes_per_s", "4e9")];
    let chip = chip("tiny-4", &slow);
    let linear = compile_linear(&chip, "l", &normals(1, 32), 4, 8, &[], &up_to(8)).expect("small");
    let later = (32 - 8) + (40 - 16) + (64 - 8) + (32 - 8) + (16 - 4);
    assert_eq!(predict(&linear.program, &chip, 8).cycles, Cycles(2075 + later));
}

#[test]
fn one_tile_on_tiny_4_costs_what_its_events_cost() {
    let chip = chip("tiny-4", &[]);
    let linear = compile_linear(&chip, "l", &normals(1, 32), 4, 8, &[], &up_to(8)).expect("small");
    let energy = predict(&linear.program, &chip, 8).energy;
    let pico = |component| energy.joules(component) * 1e12;
    let close = |found: f64, expected: f64| (found / expected - 1.0).abs() < 1e-9;
    assert!(close(pico(Component::InputDac), 8.0 * 8.0 * 1.0));
    assert!(close(pico(Component::Adc), 8.0 * 4.0 * 1.28));
    assert!(close(pico(Component::WeightDac), 32.0 * 1.0));
    assert!(close(pico(Component::WeightFetch), 32.0 * 32.0));
    assert!(close(pico(Component::Command), 7.0 * 32.0));
    assert!(close(pico(Component::HostLink), 8.0 * (32.0 + 16.0) * 48.0));
    // Lasers for 2075 ns: (2 mW + 4 * 4 mW) / 0.2 = 90 mW.
    assert!(close(pico(Component::Laser), 0.09 * 2075.0e-9 * 1e12));
    assert!(close(pico(Component::WeightHold), 16.0 * 1e-6 * 2075.0e-9 * 1e12));
}

#[test]
fn one_bank_takes_turns_and_two_overlap_by_hand() {
    // Three K-tiles of eight inputs, four symbols, links and vectors out of the way.
    let cycles = |banks: &str| {
        let fast = [("array.banks", banks), ("host.latency_s", "0"), ("vector.latency_s", "0")];
        let chip = chip("tiny-4", &fast);
        let weights = normals(2, 4 * 24);
        let linear = compile_linear(&chip, "l", &weights, 4, 24, &[], &up_to(4)).expect("small");
        let prediction = predict(&linear.program, &chip, 4);
        let spans = linear.program.steps.iter().zip(&prediction.spans);
        let streams = spans.filter(|(step, _)| matches!(step.action, Action::Stream { .. }));
        let ends: Vec<u64> = streams.map(|(_, span)| span.end.0).collect();
        (ends, prediction.cycles.0)
    };
    // Move in 4 * 96 / 32 = 12 from 1 on, quantise 4 * 24 / 4 = 24 to 37. Load from 2 to 34, settled
    // 35. One bank: stream 37 .. 41 .. 51; load 51 .. 83, settled 84; stream 84 .. 88 .. 98; load ..
    // 130, settled 131; stream 131 .. 135 .. 145. Dequantise 4 .. 149, move out 2 .. 151.
    assert_eq!(cycles("1"), (vec![51, 98, 145], 151));
    // Two banks: the second load runs 34 .. 66, settled 67; stream 67 .. 71 .. 81. The third waits
    // for the first stream (51) and the loader (66): 66 .. 98, settled 99; stream 99 .. 103 .. 113.
    assert_eq!(cycles("2"), (vec![51, 81, 113], 119));
}

#[test]
fn energy_per_token_falls_as_a_load_serves_more_of_them() {
    let chip = chip("ref-64-eo", &[]);
    let program = SampleExpert::gaussian(5, 128, 128).compile(&chip).program;
    let per_token =
        |symbols: u64, part| predict(&program, &chip, symbols).energy.joules(part) / symbols as f64;
    // Six tiles of 8192 codes at 32 pJ, for one token or for eight.
    let fetched = per_token(1, Component::WeightFetch);
    assert!((fetched / (6.0 * 8192.0 * 32.0e-12) - 1.0).abs() < 1e-9);
    assert!((per_token(8, Component::WeightFetch) * 8.0 / fetched - 1.0).abs() < 1e-9);
    assert!(per_token(512, Component::WeightFetch) < fetched / 32.0);
    // A token's conversions are its own.
    let converted = per_token(1, Component::Adc);
    assert!((per_token(512, Component::Adc) / converted - 1.0).abs() < 1e-9);
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
fn double_buffering_hides_streaming_behind_loading() {
    let chip = chip("ref-64-eo", &[]);
    let (outputs, inputs) = (512, 1024);
    let weights = normals(3, outputs * inputs);
    for symbols in [32, 128] {
        let options = CompileOptions { batch: Some(symbols), ..CompileOptions::default() };
        let linear =
            compile_linear(&chip, "l", &weights, outputs, inputs, &[], &options).expect("fits");
        assert_eq!(linear.program.tiles.len(), 64);
        let prediction = predict(&linear.program, &chip, symbols);
        let is_load = |span: &&StepSpan| matches!(span.engine, Engine::Loader(_)) && !span.dropped;
        let loads: Vec<&StepSpan> = prediction.spans.iter().filter(is_load).collect();
        assert_eq!(loads.len(), 64, "each tile once");
        let last = streams(&linear.program, &prediction).map(|span| span.end.0).max();
        // The first two are loaded while the inputs arrive. Loading the others takes 8192 codes at
        // 32 a cycle each; what is streamed meanwhile takes less, and costs little at the ends.
        let took = last.expect("streams") - loads[2].start.0;
        assert!((62 * 256..62 * 256 * 23 / 20).contains(&took), "{symbols} symbols: {took}");
    }
}

#[test]
fn more_arrays_shorten_a_run() {
    let run = |arrays: &str, outputs: usize| {
        let chip = chip("ref-64-eo", &[("array.arrays", arrays)]);
        let weights = normals(4, outputs * 1024);
        let options = CompileOptions { batch: Some(64), ..CompileOptions::default() };
        let linear =
            compile_linear(&chip, "l", &weights, outputs, 1024, &[], &options).expect("fits");
        let prediction = predict(&linear.program, &chip, 64);
        // Beyond the transfers of all inputs and all outputs.
        let link = [Engine::HostIn, Engine::HostOut].map(|e| prediction.engine_busy[&e].0);
        prediction.cycles.0.saturating_sub(link[0] + link[1] + 4000)
    };
    // Eight slices of eight tiles on four arrays: at most a third of the time.
    assert!(run("4", 512) * 3 < run("1", 512), "{} {}", run("4", 512), run("1", 512));
    // One slice on four arrays has a bank for each of its eight tiles.
    assert!(run("4", 64) * 2 < run("1", 64), "{} {}", run("4", 64), run("1", 64));
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
    assert!(prediction.cycles.0 < 4000 + 4 * 310, "{}", prediction.cycles);
    assert_eq!(prediction.engine_busy[&Engine::Loader(0)], Cycles(tiles * 256));
    let busy = &prediction.engine_busy;
    assert!(busy.values().all(|busy| *busy <= prediction.cycles), "{busy:?}");
}

#[test]
fn the_critical_path_accounts_for_every_cycle() {
    for symbols in [1, 8, 64, 512] {
        let chip = chip("ref-64-eo", &[]);
        let program = SampleExpert::gaussian(3, 128, 128).compile(&chip).program;
        let prediction = predict(&program, &chip, symbols);
        let path = prediction.critical_path();
        assert_eq!(path.values().copied().sum::<Cycles>(), prediction.cycles);
        // One token waits for two hops over the link, 2000 cycles each, and hides nothing in them.
        assert!(path[&Engine::HostIn] + path[&Engine::HostOut] >= Cycles(4000));
    }
}
