//! `litecore demo`: the main job end to end on the embedded model.

mod measure;
mod report;

use crate::args::Demo;
use crate::console::Console;
use crate::error::CliError;
use crate::plots;
use crate::workload::{Workload, calibration_text, chip_of};
use litecore_hal::{DeviceUri, SimSettings};
use litecore_runtime::{Executor, IntegerExecutor, PhotonicExecutor, RuntimeError};
use litecore_sim::Terms;
use litecore_train::bigram::Bigram;
use litecore_train::corpus::{self, Kind};
pub(crate) use measure::Trial;

use measure::Bench;
use report::{ArrayReport, DemoReport, KindReport};
use std::fs;

pub(super) fn run(args: &Demo, console: &Console) -> Result<(), CliError> {
    if args.prompt.is_empty() {
        return Err(RuntimeError::EmptyPrompt.into());
    }
    let uri = &args.device.uri();
    let workload = Workload::open(None)?;
    let chip = chip_of(uri)?;
    fs::create_dir_all(&args.out)
        .map_err(|source| CliError::Write { path: args.out.clone(), source })?;
    let compiled = workload.compiled(&chip, calibration_text().as_bytes(), console)?;

    console.say("a byte bigram model, for comparison");
    let heldout = corpus::embedded_heldout_text();
    let most = usize::try_from(args.eval_bytes).unwrap_or(usize::MAX);
    let heldout = &heldout.as_bytes()[..most.min(heldout.len())];
    let bigram = Bigram::new(corpus::embedded_training_text().as_bytes());
    let bigram_bits_per_byte = bigram.bits_per_byte(heldout);

    let bench = Bench { workload: &workload, compiled: &compiled, heldout, args, console };
    let photonic = |uri: &DeviceUri| -> Result<PhotonicExecutor, CliError> {
        let device = Box::new(litecore_sim::open(uri)?);
        Ok(PhotonicExecutor::new(&compiled, device)?)
    };
    let mut trials: Vec<Trial> = Vec::new();
    let mut float = workload.float()?;
    let silent = Terms::none();
    let truth = bench.trial("f32", &mut || Ok(Box::new(workload.float()?)), silent, None)?;
    trials.push(truth);
    let mut others: Vec<(&str, Terms, Make<'_>)> = vec![
        ("reference", silent, Box::new(|| Ok(Box::new(IntegerExecutor::reference(&compiled))))),
        ("cpu", silent, Box::new(|| Ok(Box::new(IntegerExecutor::cpu(&compiled))))),
    ];
    if let Some(quiet) = without_noise(uri) {
        let make = move || Ok(Box::new(photonic(&quiet)?) as Box<dyn Executor>);
        others.push(("photonic, noise off", silent, Box::new(make)));
    }
    let mut device = litecore_sim::open(uri)?;
    let terms = device.options().terms;
    others.push(("photonic", terms, Box::new(|| Ok(Box::new(photonic(uri)?)))));
    for (name, terms, make) in &mut others {
        let trial = bench.trial(name, make, *terms, Some((&mut float, &trials[0])))?;
        trials.push(trial);
    }
    let kinds = by_kind(&bench, &mut float, &bigram)?;
    let array = ArrayReport::probe(&mut device, &chip.chip, terms)?;
    let plots = plots::write_all(&args.out, &trials, workload.config(), &chip.chip)?;
    let report =
        DemoReport::new(&bench, &trials, bigram_bits_per_byte, kinds, array, plots, &chip.chip);
    console.result(&report, &report.text());
    Ok(())
}

/// Makes an executor anew.
type Make<'a> = Box<dyn FnMut() -> Result<Box<dyn Executor>, CliError> + 'a>;

/// Bytes of each kind of held-out text.
const BYTES_PER_KIND: usize = 1000;

/// What the model as trained makes of each kind of text, and of prose it has never seen.
fn by_kind(
    bench: &Bench<'_>,
    float: &mut dyn Executor,
    bigram: &Bigram,
) -> Result<Vec<KindReport>, CliError> {
    let generated = Kind::ALL
        .iter()
        .map(|kind| (kind.name().to_owned(), corpus::heldout_of(*kind, BYTES_PER_KIND)));
    let unseen = ("a handbook chapter, unseen".to_owned(), corpus::heldout_handbook());
    generated
        .chain([unseen])
        .map(|(kind, text)| {
            let text = &text.as_bytes()[..text.len().min(2 * BYTES_PER_KIND)];
            let evaluation = bench.read(text, float, &mut |_| ())?;
            Ok(KindReport {
                kind,
                bytes: evaluation.bytes,
                bits_per_byte: evaluation.bits_per_byte,
                bigram_bits_per_byte: bigram.bits_per_byte(text),
            })
        })
        .collect()
}

/// The same simulator with every impairment off; nothing for a real device.
fn without_noise(uri: &DeviceUri) -> Option<DeviceUri> {
    match uri {
        DeviceUri::Sim { chip, settings } => {
            let settings = SimSettings { noise: false, terms: None, ..(**settings).clone() };
            Some(DeviceUri::Sim { chip: chip.clone(), settings: Box::new(settings) })
        }
        _ => None,
    }
}
