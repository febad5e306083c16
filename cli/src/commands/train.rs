//! `litecore train`: a model from text.

use crate::args::{Storage, Train};
use crate::console::Console;
use crate::error::CliError;
use crate::workload::read_text;
use litecore_model::checkpoint::{Digest, Dtype, write_dir};
use litecore_train::{EMBEDDED_RECIPE, StepReport, TrainConfig, TrainingText, corpus, train};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

/// Steps without `--config` and `--steps`: some minutes on two cores.
const STEPS_DEFAULT: u32 = 400;
/// One byte in this many, at the end of each file, is held out.
const HELDOUT_SHARE: usize = 20;

#[derive(Debug, Serialize)]
struct TrainReport {
    steps: u32,
    training_bytes: usize,
    heldout_bytes: usize,
    loss_bits_per_byte: f64,
    heldout_bits_per_byte: Option<f64>,
    digest: String,
    out: String,
    seconds: f64,
}

pub(super) fn run(args: &Train, console: &Console) -> Result<(), CliError> {
    if args.out.exists() {
        return Err(CliError::usage(format!(
            "{} exists: give a name that does not, nothing is overwritten",
            args.out.display()
        )));
    }
    // Better now than after hours of training.
    let parent = args.out.parent().filter(|parent| !parent.as_os_str().is_empty());
    tempfile::tempdir_in(parent.unwrap_or_else(|| Path::new(".")))
        .map_err(|source| CliError::Write { path: args.out.clone(), source })?;
    let config = recipe(args)?;
    let (training, heldout) = texts(args)?;
    let text = TrainingText { training: training.as_bytes(), heldout: heldout.as_bytes() };
    let progress = console.progress("training", config.steps as usize);
    let start = Instant::now();
    let mut last: Option<StepReport> = None;
    let mut heldout_bits = None;
    let mut said = Instant::now();
    let model = train(&config, &text, &mut |report| {
        heldout_bits = report.heldout_bits_per_byte.or(heldout_bits);
        let line = status(report, heldout_bits, start.elapsed());
        progress.set(report.step as usize);
        progress.message(line.clone());
        // Where no bar can be drawn, a line now and then.
        if !console.draws() && said.elapsed() > Duration::from_secs(30) {
            said = Instant::now();
            console.say(&format!("step {} of {}: {line}", report.step, report.steps));
        }
        last = Some(report.clone());
    })?;
    drop(progress);
    let provenance = BTreeMap::from([
        ("recipe".to_owned(), toml::to_string(&config).unwrap_or_default()),
        ("seed".to_owned(), config.seed.to_string()),
        ("training_text_bytes".to_owned(), training.len().to_string()),
        ("training_text_blake3".to_owned(), Digest::of(training.as_bytes()).to_string()),
        ("trained_by".to_owned(), concat!("litecore ", env!("CARGO_PKG_VERSION")).to_owned()),
    ]);
    let dtype = match args.dtype {
        Storage::F32 => Dtype::F32,
        Storage::Bf16 => Dtype::Bf16,
    };
    let digest = write_dir(&args.out, &model.config, &model.tensors, dtype, &provenance)?;
    let report = TrainReport {
        steps: config.steps,
        training_bytes: training.len(),
        heldout_bytes: heldout.len(),
        loss_bits_per_byte: last.map_or(f64::NAN, |report| bits(report.loss_nats)),
        heldout_bits_per_byte: heldout_bits,
        digest: digest.to_string(),
        out: args.out.display().to_string(),
        seconds: start.elapsed().as_secs_f64(),
    };
    let heldout = heldout_bits.map_or("not measured".to_owned(), |bits| format!("{bits:.3}"));
    let text = format!(
        "{} steps on {} bytes in {:.0} s: {:.3} bits per byte on the last batch, {heldout} on {} \
         held-out bytes\nwritten to {} (digest {})\n",
        report.steps,
        report.training_bytes,
        report.seconds,
        report.loss_bits_per_byte,
        report.heldout_bytes,
        report.out,
        report.digest
    );
    console.result(&report, &text);
    Ok(())
}

fn recipe(args: &Train) -> Result<TrainConfig, CliError> {
    let (text, path) = match &args.config {
        Some(path) => (read_text(path)?, path.clone()),
        None => (EMBEDDED_RECIPE.to_owned(), "train/recipes/embedded.toml".into()),
    };
    let mut config: TrainConfig =
        toml::from_str(&text).map_err(|source| CliError::TrainConfig { path, source })?;
    if args.config.is_none() && !args.embedded {
        "trained".clone_into(&mut config.model.name);
        config.steps = STEPS_DEFAULT;
        config.warmup = config.warmup.min(STEPS_DEFAULT / 10);
    }
    if let Some(steps) = args.steps {
        config.steps = steps;
        config.warmup = config.warmup.min(steps / 10).max(1);
    }
    if let Some(seed) = args.seed {
        config.seed = u64::try_from(seed.0).map_err(|_| {
            CliError::usage(format!("--seed {seed}: a training seed is below 2^64"))
        })?;
    }
    Ok(config)
}

/// The text to learn from and the text to judge by.
fn texts(args: &Train) -> Result<(String, String), CliError> {
    if args.embedded {
        return Ok((corpus::embedded_training_text(), corpus::embedded_heldout_text()));
    }
    let (mut training, mut heldout) = (String::new(), String::new());
    for path in &args.text {
        let text = read_text(path)?;
        let mut cut = text.len() - text.len() / HELDOUT_SHARE;
        while !text.is_char_boundary(cut) {
            cut += 1;
        }
        training.push_str(&text[..cut]);
        heldout.push_str(&text[cut..]);
    }
    Ok((training, heldout))
}

fn status(report: &StepReport, heldout: Option<f64>, elapsed: Duration) -> String {
    let rate = report.tokens as f64 / elapsed.as_secs_f64().max(1e-9);
    let heldout = heldout.map_or(String::new(), |bits| format!(", held out {bits:.3}"));
    format!("{:.3} bits/byte{heldout}, {rate:.0} bytes/s", bits(report.loss_nats))
}

fn bits(nats: f64) -> f64 {
    nats / std::f64::consts::LN_2
}
