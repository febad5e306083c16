//! `litecore run`: continue a prompt.

use crate::args::Run;
use crate::commands::eval::{CostReport, device_name};
use crate::console::Console;
use crate::error::CliError;
use crate::workload::Workload;
use litecore_runtime::{RuntimeError, Sampling, Session, generate_tokens};
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
    /// The new tokens; left out where they are the bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens: Option<Vec<u32>>,
    tokens_per_s: f64,
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
    let compiled = workload.compiled_for(execution, console)?;
    let mut executor = workload.executor(execution, compiled.as_ref())?;
    let seed = workload.seed(execution);
    let mut session = Session::new(&workload.dense, mask, seed, 0);
    let sampling = args
        .temperature
        .map_or(Sampling::Greedy, |temperature| Sampling::Temperature { temperature, seed });
    let prompt = workload.tokenizer.encode(&args.prompt)?.tokens;
    console.stream(args.prompt.as_bytes());
    let mut stream = workload.tokenizer.stream();
    let (mut bytes, mut unreadable) = (Vec::new(), None);
    let start = Instant::now();
    let written = generate_tokens(
        &mut session,
        executor.as_mut(),
        &prompt,
        args.count,
        sampling,
        &mut |token, _| match stream.push(token) {
            Ok(more) => {
                console.stream(&more);
                bytes.extend(more);
            }
            Err(error) => unreadable = Some(error),
        },
    )?;
    let seconds = start.elapsed().as_secs_f64();
    if let Some(error) = unreadable {
        return Err(error.into());
    }
    let rest = stream.finish()?;
    console.stream(&rest);
    let own = !workload.tokenizer.is_bytes();
    if own {
        // What was shown while it grew may have been wrong about its last characters.
        bytes = workload.tokenizer.decode(&written.tokens)?.into_bytes();
    }
    let cost = CostReport::of(&executor.account(), executor.name());
    let report = RunReport {
        model: workload.name.clone(),
        executor: executor.name(),
        device: cost.is_some().then(|| device_name(execution)),
        prompt: args.prompt.clone(),
        text: String::from_utf8_lossy(&bytes).into_owned(),
        bytes_per_s: bytes.len() as f64 / seconds,
        bytes,
        tokens_per_s: written.tokens.len() as f64 / seconds,
        tokens: own.then_some(written.tokens),
        cost,
    };
    console.result(&report, "\n");
    let tokens = if own { format!(", {:.1} tokens/s", report.tokens_per_s) } else { String::new() };
    let speed = format!("{:.0} bytes/s{tokens} on this machine", report.bytes_per_s);
    console.say(&format!("\n{}: {speed}", report.executor));
    if let Some(cost) = &report.cost {
        console.say(&cost.text());
    }
    Ok(())
}
