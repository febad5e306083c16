//! `litecore run`: continue a prompt.

use crate::args::Run;
use crate::commands::eval::{CostReport, device_name};
use crate::console::Console;
use crate::error::CliError;
use crate::workload::Workload;
use litecore_runtime::{RuntimeError, Sampling, Session, generate};
use litecore_types::Seed;
use serde::Serialize;
use std::time::Instant;

#[derive(Debug, Serialize)]
struct RunReport {
    model: String,
    executor: &'static str,
    device: Option<String>,
    prompt: String,
    text: String,
    bytes: Vec<u8>,
    bytes_per_s: f64,
    #[serde(flatten)]
    cost: Option<CostReport>,
}

pub(super) fn run(args: &Run, console: &Console) -> Result<(), CliError> {
    if args.prompt.is_empty() {
        // Before anything slow.
        return Err(RuntimeError::EmptyPrompt.into());
    }
    let execution = &args.execution;
    if let Some(temperature) = args.temperature {
        Sampling::Temperature { temperature, seed: Seed(0) }.check()?;
    }
    let workload = Workload::open(execution.model.as_deref())?;
    let mask = execution.tiers.resolve(workload.config())?;
    let device = workload.device(execution)?;
    let compiled = workload.compiled_for(execution, device.as_ref(), console)?;
    let mut executor = workload.executor(execution, compiled.as_ref(), device)?;
    let seed = workload.seed(execution);
    let mut session = Session::new(&workload.dense, mask, seed, 0);
    let sampling = args
        .temperature
        .map_or(Sampling::Greedy, |temperature| Sampling::Temperature { temperature, seed });
    console.stream(args.prompt.as_bytes());
    let start = Instant::now();
    let written = generate(
        &mut session,
        executor.as_mut(),
        args.prompt.as_bytes(),
        args.count,
        sampling,
        &mut |byte, _| console.stream(&[byte]),
    )?;
    let seconds = start.elapsed().as_secs_f64();
    let cost = CostReport::of(&executor.account(), executor.name());
    let report = RunReport {
        model: workload.name.clone(),
        executor: executor.name(),
        device: cost.is_some().then(|| device_name(execution)),
        prompt: args.prompt.clone(),
        text: String::from_utf8_lossy(&written.bytes).into_owned(),
        bytes_per_s: written.bytes.len() as f64 / seconds,
        bytes: written.bytes,
        cost,
    };
    console.result(&report, "\n");
    console
        .say(&format!("\n{}: {:.0} bytes/s on this machine", report.executor, report.bytes_per_s));
    if let Some(cost) = &report.cost {
        console.say(&cost.text());
    }
    Ok(())
}
