//! `litecore compile`: experts to verified programs.

use crate::args::Compile;
use crate::console::Console;
use crate::error::CliError;
use crate::table::{Table, percent, si};
use crate::workload::{Workload, calibration_text, named_chip, read_text};
use litecore_compiler::{CompiledModel, predict};
use litecore_types::Cycles;
use litecore_types::chip::timing::Engine;
use serde::Serialize;
use std::fs;

#[derive(Debug, Serialize)]
struct CompileReport {
    model: String,
    chip: String,
    programs: usize,
    tiles: usize,
    steps: usize,
    weight_bytes: u64,
    /// What the compiler predicts for the first program.
    predicted: Vec<PredictedRun>,
    out: String,
}

#[derive(Debug, Serialize)]
struct PredictedRun {
    tokens: u64,
    cycles: u64,
    /// The engine most of the longest path is spent on.
    waits_for: String,
    /// Cycles of the longest path on that engine, latency included.
    waits_cycles: u64,
}

pub(super) fn run(args: &Compile, console: &Console) -> Result<(), CliError> {
    let chip = named_chip(&args.chip, &[])?;
    let text = match &args.calibration_text {
        Some(path) => read_text(path)?,
        None => calibration_text(),
    };
    if let Some(path) = args.checkpoint.as_deref().filter(|path| path.is_file()) {
        return Err(CliError::AlreadyCompiled { path: path.to_owned() });
    }
    let workload = Workload::open(args.checkpoint.as_deref())?;
    let model = workload.compiled(&chip, text.as_bytes(), console)?;
    model.write(&args.out)?;
    if let Some(dir) = &args.text_dir {
        write_text(&model, dir)?;
    }
    let programs = || model.experts.values();
    let mut table =
        Table::new(["tokens in one run", "predicted time", "per token", "mostly waits for"]);
    let mut predicted = Vec::new();
    if let Some(program) = programs().next() {
        for tokens in [1_u64, 8, 64, 512].into_iter().filter(|t| *t <= program.symbols_max) {
            let prediction = predict(program, &model.chip, tokens);
            let path = prediction.critical_path(program);
            let longest = path.iter().max_by_key(|(_, cycles)| **cycles);
            let longest = longest.map_or((Engine::Vector, Cycles::ZERO), |(e, c)| (*e, *c));
            let waits_for = longest.0.to_string();
            let share = longest.1.0 as f64 / prediction.cycles.0.max(1) as f64;
            let seconds = prediction.cycles.seconds(model.chip.clock.symbol_rate_hz.value);
            table.row([
                tokens.to_string(),
                si(seconds, "s"),
                si(seconds / tokens as f64, "s"),
                format!("{waits_for}, {}", percent(share)),
            ]);
            predicted.push(PredictedRun {
                tokens,
                cycles: prediction.cycles.0,
                waits_for,
                waits_cycles: longest.1.0,
            });
        }
    }
    let report = CompileReport {
        model: workload.name.clone(),
        chip: model.chip.name.clone(),
        programs: model.experts.len(),
        tiles: programs().map(|program| program.tiles.len()).sum(),
        steps: programs().map(|program| program.steps.len()).sum(),
        weight_bytes: programs().map(|program| program.weight_bytes()).sum(),
        predicted,
        out: args.out.display().to_string(),
    };
    let text = format!(
        "{} programs for {}, all verified: {} tiles, {} steps, {}\none expert:\n{}written to {}\n",
        report.programs,
        report.chip,
        report.tiles,
        report.steps,
        si(report.weight_bytes as f64, "B of weight codes"),
        table.render(),
        report.out
    );
    console.result(&report, &text);
    Ok(())
}

fn write_text(model: &CompiledModel, dir: &std::path::Path) -> Result<(), CliError> {
    let failed = |source| CliError::Write { path: dir.to_owned(), source };
    fs::create_dir_all(dir).map_err(failed)?;
    for ((layer, key), program) in &model.experts {
        let path =
            dir.join(format!("layer{layer}-{}.{}.{}.program", key.tier, key.group, key.expert));
        fs::write(&path, program.to_string()).map_err(|source| CliError::Write { path, source })?;
    }
    Ok(())
}
