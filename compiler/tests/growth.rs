//! Compile cost grows with the weights, and no faster.

mod problem;

use litecore_compiler::{CompileOptions, compile_expert};
use problem::{SampleExpert, chip};
use std::time::Instant;

/// Processor seconds of this process, all threads; wall time where the system does not tell.
fn processor_seconds(since: Instant) -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").ok();
    let fields = stat.as_deref().and_then(|stat| stat.rsplit_once(')')).map(|(_, fields)| fields);
    let ticks: Option<f64> = fields.and_then(|fields| {
        // User and system time are the 14th and 15th field; the first two stand before the bracket.
        let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
        ticks.sum::<Result<f64, _>>().ok()
    });
    // A hundred ticks a second is what Linux tells user space on every machine.
    ticks.map_or_else(|| since.elapsed().as_secs_f64(), |ticks| ticks / 100.0)
}

/// The least of some compilations, none of which can use what another one found out.
fn seconds(width: usize, expert_width: usize) -> f64 {
    let chip = chip("ref-64-eo", &[]);
    let expert = SampleExpert::gaussian(3, width, expert_width);
    let since = Instant::now();
    let compile = |batch: u64| {
        let options = CompileOptions { batch: Some(batch), ..CompileOptions::default() };
        let before = processor_seconds(since);
        compile_expert(&chip, &expert.weights(), &[], &options).expect("fits");
        processor_seconds(since) - before
    };
    (60..63).map(compile).fold(f64::MAX, f64::min)
}

#[test]
fn four_times_the_weights_take_four_times_as_long() {
    // 1.8 and 7.1 million weights: 216 and 864 tiles, eight sample rows each.
    let (small, large) = (seconds(768, 768), seconds(1536, 1536));
    let ratio = large / small / 4.0;
    println!(
        "{small:.2} s and {large:.2} s of processor time: {ratio:.2} times as much per weight"
    );
    // Cost that grows with the weights to the power 1.3 would make it 1.5 times as much.
    assert!(ratio < 1.5, "{small} s, then {large} s: {ratio} times as much per weight");
}
