//! `litecore compile`: experts to verified programs.

mod report;

use crate::args::{Compile, CompileChoices};
use crate::calibration_inputs::calibration_inputs;
use crate::console::Console;
use crate::error::CliError;
use crate::table::{Table, percent, si};
use crate::workload::{NamedChip, calibration_text, named_chip, read_text};
use litecore_compiler::{
    CompileOptions, CompiledExpert, ExpertPlace, ModelRequest, Pass, PassSet, SampleSource, Switch,
    compile_model_to, predict,
};
use litecore_model::checkpoint::Checkpoint;
use litecore_runtime::DenseModel;
use litecore_sim::budget::{Budget, Source, Statistics};
use litecore_sim::{Term, Terms};
use litecore_types::Cycles;
use litecore_types::chip::ChipDescription;
use litecore_types::chip::timing::Engine;
use litecore_types::program::VerifiedProgram;
use report::{BATCHES, ReportWriter};
use serde::Serialize;
use std::fmt::Write;
use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

pub(crate) use report::ReportDocument;

#[derive(Debug, Serialize)]
struct CompileReport {
    model: String,
    chip: String,
    passes: Vec<Pass>,
    programs: usize,
    /// Experts that no token of the calibration text came to.
    programs_without_samples: usize,
    /// Programs that no reading brings to the SNR that was asked for.
    programs_below_target: usize,
    tiles: usize,
    steps: usize,
    weight_bytes: u64,
    /// Most tokens that each of the programs takes in one run: what the card's memory holds.
    symbols_max: u64,
    /// What the compiler predicts for the first program.
    predicted: Vec<PredictedRun>,
    out: String,
    /// The files of `--report`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    report: Vec<String>,
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
    if args.passes {
        list_passes(console);
        return Ok(());
    }
    let Some(out) = &args.out else { return Err(CliError::usage("--out PROG is missing")) };
    let chip = named_chip(&args.chip, &[])?;
    let options = options(&args.choices, &chip.chip)?;
    let text = match &args.calibration_text {
        Some(path) => read_text(path)?,
        None => calibration_text(),
    };
    if text.is_empty() {
        return Err(CliError::usage(
            "--calibration-text: the file is empty: give text like the model's",
        ));
    }
    // What cannot be written is said now, not after all the work.
    check_target(out)?;
    let _made = MadeDirectories::new([&args.text_dir, &args.report].into_iter().flatten())?;
    let (name, checkpoint) = open(args.checkpoint.as_deref())?;
    let dense = DenseModel::from_checkpoint(&checkpoint)?;
    let inputs = calibration_inputs(&checkpoint, &dense, text.as_bytes(), console)?;
    drop(dense);
    let samples = |layer, key| inputs.get(&(layer, key)).cloned().unwrap_or_default();

    let experts = checkpoint.config().layers * checkpoint.config().expert_rows();
    let progress = console.progress("compiling experts", experts);
    let mut summary = Summary { text_dir: args.text_dir.as_deref(), ..Summary::default() };
    let mut report = args
        .report
        .as_deref()
        .map(|dir| ReportWriter::new(dir, &name, &chip, checkpoint.config(), options.passes));
    let request = ModelRequest {
        chip: &chip.chip,
        chip_text: &chip.text,
        checkpoint: &checkpoint,
        samples: &samples,
        options: &options,
    };
    let mut failed = None;
    let mut observe = |place, expert: &CompiledExpert| {
        let noted = summary.note(place, expert, &chip);
        let noted = noted.and_then(|()| match &mut report {
            Some(report) => report.note(place, expert),
            None => Ok(()),
        });
        failed = noted.err();
        if failed.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let compiled = compile_model_to(out, &request, &mut |done, _| progress.set(done), &mut observe);
    drop(progress);
    if let Some(error) = failed {
        return Err(error);
    }
    compiled?;
    let files = report.map(ReportWriter::finish).transpose()?.unwrap_or_default();
    summary.print(&name, &chip, options.passes, out, &files, console);
    Ok(())
}

/// Checks that a file of this name can be made.
fn check_target(out: &Path) -> Result<(), CliError> {
    let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty());
    let (path, why) = match parent {
        _ if out.is_dir() => (out, "it is a directory: name the file to be made in it"),
        Some(parent) if !parent.is_dir() => (parent, "there is no such directory: make it first"),
        _ => return Ok(()),
    };
    Err(CliError::Write { path: path.to_owned(), source: io::Error::other(why) })
}

/// Directories that files will go to. Those that were made here and are empty in the end are removed.
struct MadeDirectories(Vec<PathBuf>);

impl MadeDirectories {
    fn new<'a>(directories: impl Iterator<Item = &'a PathBuf>) -> Result<Self, CliError> {
        let mut made = Self(Vec::new());
        for path in directories.filter(|path| !path.is_dir()) {
            let failed = |source| CliError::Write { path: path.clone(), source };
            fs::create_dir_all(path).map_err(failed)?;
            made.0.push(path.clone());
        }
        Ok(made)
    }
}

impl Drop for MadeDirectories {
    fn drop(&mut self) {
        for path in &self.0 {
            // One that holds something is not removed, which is meant.
            _ = fs::remove_dir(path);
        }
    }
}

/// A checkpoint directory, or the embedded model.
fn open(path: Option<&Path>) -> Result<(String, Checkpoint), CliError> {
    match path {
        None => Ok(("embedded".to_owned(), litecore_model::embedded::checkpoint()?)),
        Some(path) if path.is_dir() => {
            Ok((path.display().to_string(), Checkpoint::open_dir(path)?))
        }
        Some(path) if path.is_file() => Err(CliError::AlreadyCompiled { path: path.to_owned() }),
        Some(path) => Err(CliError::NotAModel {
            path: path.to_owned(),
            why: "there is no such file or directory",
        }),
    }
}

/// The compiler's options for what was chosen.
///
/// Errors: a pass that every program needs was switched off, or a number out of range.
fn options(choices: &CompileChoices, chip: &ChipDescription) -> Result<CompileOptions, CliError> {
    let mut passes = PassSet::default();
    for pass in &choices.with {
        passes = passes.with(*pass);
    }
    for pass in &choices.without {
        passes = passes.without(*pass).map_err(|error| CliError::usage(error.to_string()))?;
    }
    let approximates = [Pass::LowRank, Pass::TileSparsity].iter().any(|pass| passes.has(*pass));
    let budget = choices.error_budget.unwrap_or(CompileOptions::default().error_budget);
    if !(0.0..=1.0).contains(&budget) {
        return Err(CliError::usage(format!("--error-budget {budget}: give 0 to 1")));
    }
    if choices.error_budget.is_some() && !approximates {
        return Err(CliError::usage(
            "--error-budget: nothing spends it; add --with low-rank or --with tile-sparsity",
        ));
    }
    if choices.target_snr.is_some() && !passes.has(Pass::Split) {
        return Err(CliError::usage(
            "--target-snr needs the pass split: leave out --without split",
        ));
    }
    if let Some(db) = choices.target_snr.filter(|db| !(0.0..=200.0).contains(db)) {
        return Err(CliError::usage(format!("--target-snr {db}: give 0 to 200 decibels")));
    }
    Ok(CompileOptions {
        symbols_max: choices.symbols_max,
        passes,
        error_budget: budget,
        target_snr_db: choices.target_snr,
        read_noise: read_noise(chip),
        ..CompileOptions::default()
    })
}

/// Noise of one read that another read of the same sums would draw anew, the converter's own left out:
/// a standard deviation in units of the exact sum, from the noise budget.
fn read_noise(chip: &ChipDescription) -> f64 {
    let statistics = Statistics::uniform(chip, chip.full_scale_shift());
    let variance = |term| {
        let budget = Budget::predict(chip, Terms::only(term), &statistics);
        budget.part(Source::Term(term)).map_or(0.0, |part| part.sigma_units * part.sigma_units)
    };
    [Term::Shot, Term::Receiver, Term::Dark].into_iter().map(variance).sum::<f64>().sqrt()
}

#[derive(Debug, Serialize)]
struct PassList {
    passes: Vec<ListedPass>,
}

#[derive(Debug, Serialize)]
struct ListedPass {
    name: &'static str,
    switch: Switch,
    what: &'static str,
}

fn list_passes(console: &Console) {
    let mut table = Table::left(["pass", "default", "what it does"]);
    let passes = Pass::ALL.into_iter().map(|pass| {
        let switch = match pass.switch() {
            Switch::Always => "always",
            Switch::On => "on",
            Switch::Off => "off",
        };
        table.row([pass.name(), switch, pass.what()]);
        ListedPass { name: pass.name(), switch: pass.switch(), what: pass.what() }
    });
    let list = PassList { passes: passes.collect() };
    let text = format!(
        "in the order they run; --with PASS and --without PASS switch them\n{}",
        table.render()
    );
    console.result(&list, &text);
}

/// What is said of all programs together.
#[derive(Default)]
struct Summary<'a> {
    text_dir: Option<&'a Path>,
    programs: usize,
    without_samples: usize,
    below_target: usize,
    symbols_max: Option<u64>,
    tiles: usize,
    steps: usize,
    weight_bytes: u64,
    predicted: Vec<PredictedRun>,
    rows: Vec<[String; 4]>,
}

impl Summary<'_> {
    fn note(
        &mut self,
        place: ExpertPlace,
        expert: &CompiledExpert,
        chip: &NamedChip,
    ) -> Result<(), CliError> {
        let program = &expert.program;
        if self.programs == 0 {
            self.predict(program, chip);
        }
        self.programs += 1;
        let modeled = matches!(expert.report.samples, SampleSource::GaussianModel { .. });
        self.without_samples += usize::from(modeled);
        self.below_target += usize::from(expert.report.misses_target());
        let fewest = self.symbols_max.map_or(program.symbols_max, |n| n.min(program.symbols_max));
        self.symbols_max = Some(fewest);
        self.tiles += program.tiles.len();
        self.steps += program.steps.len();
        self.weight_bytes += program.weight_bytes();
        self.text_dir.map_or(Ok(()), |dir| write_text(place, program, dir))
    }

    fn predict(&mut self, program: &VerifiedProgram, chip: &NamedChip) {
        for tokens in BATCHES.into_iter().filter(|tokens| *tokens <= program.symbols_max) {
            let prediction = predict(program, &chip.chip, tokens);
            let path = prediction.critical_path();
            let longest = path.iter().max_by_key(|(_, cycles)| **cycles);
            let longest = longest.map_or((Engine::Vector, Cycles::ZERO), |(e, c)| (*e, *c));
            let waits_for = longest.0.to_string();
            let share = longest.1.0 as f64 / prediction.cycles.0.max(1) as f64;
            let seconds = prediction.cycles.seconds(chip.chip.clock.symbol_rate_hz.value);
            self.rows.push([
                tokens.to_string(),
                si(seconds, "s"),
                si(seconds / tokens as f64, "s"),
                format!("{waits_for}, {}", percent(share)),
            ]);
            self.predicted.push(PredictedRun {
                tokens,
                cycles: prediction.cycles.0,
                waits_for,
                waits_cycles: longest.1.0,
            });
        }
    }

    fn print(
        self,
        model: &str,
        chip: &NamedChip,
        passes: PassSet,
        out: &Path,
        report: &[PathBuf],
        console: &Console,
    ) {
        let header = ["tokens in one run", "predicted time", "per token", "mostly waits for"];
        let mut table = Table::new(header);
        for row in self.rows {
            table.row(row);
        }
        let report = CompileReport {
            model: model.to_owned(),
            chip: chip.chip.name.clone(),
            passes: passes.iter().collect(),
            programs: self.programs,
            programs_without_samples: self.without_samples,
            programs_below_target: self.below_target,
            symbols_max: self.symbols_max.unwrap_or(0),
            tiles: self.tiles,
            steps: self.steps,
            weight_bytes: self.weight_bytes,
            predicted: self.predicted,
            out: out.display().to_string(),
            report: report.iter().map(|path| path.display().to_string()).collect(),
        };
        let mut text = format!(
            "{} programs for {}, all verified: {} tiles, {} steps, {}\none expert:\n{}{}{}written to {}\n",
            report.programs,
            report.chip,
            report.tiles,
            report.steps,
            si(report.weight_bytes as f64, "B of weight codes"),
            table.render(),
            run_limit(report.symbols_max),
            match report.programs_without_samples {
                0 => String::new(),
                n => format!(
                    "{n} of {} experts were not asked by the calibration text: their gains rest on \
                     normal inputs\n",
                    report.programs
                ),
            },
            report.out
        );
        if report.programs_below_target > 0 {
            _ = writeln!(
                text,
                "{} of {} programs miss the SNR that was asked for, and are read as well as they can be; \
                 `--report DIR` says by how much",
                report.programs_below_target, report.programs
            );
        }
        if !report.report.is_empty() {
            _ = writeln!(text, "report: {}", report.report.join(", "));
        }
        console.result(&report, &text);
    }
}

/// How long a run can be, for people.
fn run_limit(symbols_max: u64) -> String {
    let why =
        if symbols_max < CompileOptions::default().symbols_max { ": card memory" } else { "" };
    format!("at most {symbols_max} tokens in one run{why}\n")
}

fn write_text(
    (layer, key): ExpertPlace,
    program: &VerifiedProgram,
    dir: &Path,
) -> Result<(), CliError> {
    let failed = |source| CliError::Write { path: dir.to_owned(), source };
    fs::create_dir_all(dir).map_err(failed)?;
    let path = dir.join(format!("layer{layer}-{}.{}.{}.program", key.tier, key.group, key.expert));
    fs::write(&path, program.to_string()).map_err(|source| CliError::Write { path, source })
}
