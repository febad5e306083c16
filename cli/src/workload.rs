//! Opening what a user names: a model, a chip, a text, an executor.

use crate::args::Execution;
use crate::calibration_inputs::calibration_inputs;
use crate::console::Console;
use crate::device::{self, OpenDevice};
use crate::error::CliError;
use litecore_compiler::{CompileOptions, CompiledModel, compile_model};
use litecore_hal::{Device, DeviceUri};
use litecore_model::checkpoint::Checkpoint;
use litecore_model::{ModelConfig, Tokenizer};
use litecore_runtime::{
    DenseModel, Executor, ExecutorKind, FloatExecutor, IntegerExecutor, PhotonicExecutor,
};
use litecore_sim::{SimDevice, SimOptions, Terms};
use litecore_train::corpus::{self, Kind};
use litecore_types::Seed;
use litecore_types::chip::{self, ChipDescription, Override};
use std::path::Path;

/// A model, from a checkpoint or already compiled.
#[derive(Debug)]
pub(crate) struct Workload {
    /// What to call it in reports.
    pub(crate) name: String,
    /// Everything but the experts.
    pub(crate) dense: DenseModel,
    /// Turns text into tokens and back.
    pub(crate) tokenizer: Tokenizer,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Checkpoint(Box<Checkpoint>),
    Compiled(Box<CompiledModel>),
}

/// A chip description and the text it was read from.
#[derive(Clone, Debug)]
pub(crate) struct NamedChip {
    pub(crate) chip: ChipDescription,
    pub(crate) text: String,
}

/// Bytes of each kind of text in the default calibration text.
const CALIBRATION_BYTES_PER_KIND: usize = 300;
const CALIBRATION_SEED: u64 = 0x6c69_7465_0003;

impl Workload {
    /// The model at `path`, or the embedded one.
    pub(crate) fn open(path: Option<&Path>) -> Result<Self, CliError> {
        match path {
            None => {
                let checkpoint = litecore_model::embedded::checkpoint()?;
                Self::from_checkpoint("embedded".to_owned(), checkpoint)
            }
            Some(path) if path.is_dir() => {
                let checkpoint = Checkpoint::open_dir(path)?;
                Self::from_checkpoint(path.display().to_string(), checkpoint)
            }
            Some(path) if path.is_file() => {
                let compiled = CompiledModel::read(path)?;
                let tokenizer = compiled.tokenizer().map_err(|problem| {
                    CliError::ProgramTokenizer { path: path.to_owned(), problem }
                })?;
                let dense = DenseModel::new(&compiled.config, &compiled.dense)?;
                let name = path.display().to_string();
                Ok(Self { name, dense, tokenizer, source: Source::Compiled(Box::new(compiled)) })
            }
            Some(path) => Err(CliError::NotAModel {
                path: path.to_owned(),
                why: "there is no such file or directory",
            }),
        }
    }

    fn from_checkpoint(name: String, checkpoint: Checkpoint) -> Result<Self, CliError> {
        let tokenizer = checkpoint.tokenizer()?;
        let dense = DenseModel::from_checkpoint(&checkpoint)?;
        Ok(Self { name, dense, tokenizer, source: Source::Checkpoint(Box::new(checkpoint)) })
    }

    pub(crate) fn config(&self) -> &ModelConfig {
        self.dense.config()
    }

    /// The experts as trained.
    pub(crate) fn float(&self) -> Result<FloatExecutor, CliError> {
        match &self.source {
            Source::Checkpoint(checkpoint) => Ok(FloatExecutor::from_checkpoint(checkpoint)?),
            Source::Compiled(_) => Err(CliError::NoFloatExperts),
        }
    }

    /// Whether the experts as trained are at hand.
    pub(crate) fn has_float(&self) -> bool {
        matches!(self.source, Source::Checkpoint(_))
    }

    /// The experts compiled for `chip`, with gains chosen on `text`.
    ///
    /// A model that is compiled already must be for this chip; `text` is then not used.
    pub(crate) fn compiled(
        &self,
        chip: &NamedChip,
        text: &[u8],
        console: &Console,
    ) -> Result<CompiledModel, CliError> {
        let checkpoint = match &self.source {
            Source::Compiled(model) if model.chip == chip.chip => return Ok((**model).clone()),
            Source::Compiled(model) => {
                let (program, device) = (model.chip.name.clone(), chip.chip.name.clone());
                let same_name = if program == device { " with other numbers" } else { "" };
                return Err(CliError::ChipMismatch { program, device, same_name });
            }
            Source::Checkpoint(checkpoint) => checkpoint,
        };
        let inputs = calibration_inputs(checkpoint, &self.dense, text, console)?;
        let samples = |layer, key| inputs.get(&(layer, key)).cloned().unwrap_or_default();
        let layers = 0..self.config().layers;
        let experts = layers.map(|layer| self.config().experts_in(layer).count()).sum();
        let progress = console.progress("compiling experts", experts);
        let compiled = compile_model(
            &chip.chip,
            &chip.text,
            checkpoint,
            &samples,
            &CompileOptions::default(),
            &mut |done, _| progress.set(done),
        )?;
        Ok(compiled)
    }

    /// Opens the device that an [`Execution`] names, where it needs one: to run on it, or to compile
    /// for its chip.
    pub(crate) fn device(&self, execution: &Execution) -> Result<Option<OpenDevice>, CliError> {
        let settings = &execution.device.link;
        let compiled = matches!(self.source, Source::Compiled(_));
        let photonic = execution.executor == ExecutorKind::Photonic;
        match &execution.device.device {
            _ if execution.executor == ExecutorKind::F32 => Ok(None),
            Some(uri) if photonic || !compiled => device::open(uri, settings).map(Some),
            None if !compiled => device::open(&execution.device.uri(), settings).map(Some),
            // The program brings its chip, and runs on that chip's simulator or on none.
            _ => Ok(None),
        }
    }

    /// The compiled experts an [`Execution`] needs; none for f32.
    pub(crate) fn compiled_for(
        &self,
        execution: &Execution,
        device: Option<&OpenDevice>,
        console: &Console,
    ) -> Result<Option<CompiledModel>, CliError> {
        if execution.executor == ExecutorKind::F32 {
            return Ok(None);
        }
        let description = device.and_then(|device| device.description.as_ref());
        let text = calibration_text();
        match (&self.source, description) {
            // No device is asked for, so the program's own chip is the one.
            (Source::Compiled(model), _) if execution.executor != ExecutorKind::Photonic => {
                Ok(Some((**model).clone()))
            }
            (_, Some(chip)) => self.compiled(chip, text.as_bytes(), console).map(Some),
            // A card whose chip is not shipped refuses programs for others by itself.
            (Source::Compiled(model), None) => Ok(Some((**model).clone())),
            (Source::Checkpoint(_), None) => Err(CliError::UnknownChip {
                chip: device.map(|device| device.chip.clone()).unwrap_or_default(),
            }),
        }
    }

    /// The executor an [`Execution`] asks for, on what [`Self::device`] and [`Self::compiled_for`]
    /// gave.
    pub(crate) fn executor(
        &self,
        execution: &Execution,
        compiled: Option<&CompiledModel>,
        device: Option<OpenDevice>,
    ) -> Result<Box<dyn Executor>, CliError> {
        let Some(compiled) = compiled else {
            return Ok(Box::new(self.float()?));
        };
        Ok(match execution.executor {
            ExecutorKind::Reference => Box::new(IntegerExecutor::reference(compiled)),
            ExecutorKind::Cpu => Box::new(IntegerExecutor::cpu(compiled)),
            _ => Box::new(PhotonicExecutor::new(
                compiled,
                device.map_or_else(|| own_simulator(compiled), |device| device.device),
            )?),
        })
    }

    /// The seed of a request: its own, or the model's.
    pub(crate) fn seed(&self, execution: &Execution) -> Seed {
        execution.seed.unwrap_or(self.config().routing.seed)
    }
}

/// The chip of a simulator.
pub(crate) fn chip_of(device: &DeviceUri) -> Result<NamedChip, CliError> {
    // Opening says what is wrong with an address, in the same words everywhere.
    litecore_sim::open(device)?;
    match device {
        DeviceUri::Sim { chip, .. } => named_chip(chip, &[]),
        other => Err(CliError::usage(format!("{other} cannot be opened"))),
    }
}

/// The simulator of the chip a model was compiled for, with all noise.
fn own_simulator(compiled: &CompiledModel) -> Box<dyn Device> {
    let options = SimOptions { seed: Seed(0), terms: Terms::all(), record_timeline: false };
    Box::new(SimDevice::new(compiled.chip.clone(), options))
}

/// A shipped chip by name, or a description by path.
pub(crate) fn named_chip(name: &str, overrides: &[Override]) -> Result<NamedChip, CliError> {
    let (text, origin) = match chip::builtin_text(name) {
        Some(text) => (text.to_owned(), format!("chips/{name}.toml")),
        None if Path::new(name).exists() => (read_text(Path::new(name))?, name.to_owned()),
        None => {
            let known = chip::BUILTIN_NAMES.join(", ");
            return Err(CliError::usage(format!(
                "there is no chip `{name}`: choose {known}, or give the path of a TOML file"
            )));
        }
    };
    let chip = ChipDescription::from_toml_with(&text, &origin, overrides)?;
    Ok(NamedChip { chip, text })
}

/// Text like the embedded model's training, for choosing analog gains.
pub(crate) fn calibration_text() -> String {
    let pieces = Kind::ALL.iter().map(|kind| {
        let mut text = corpus::generate(CALIBRATION_SEED, *kind, CALIBRATION_BYTES_PER_KIND);
        let end = (CALIBRATION_BYTES_PER_KIND..text.len()).find(|&i| text.is_char_boundary(i));
        text.truncate(end.unwrap_or(text.len()));
        text
    });
    pieces.collect::<Vec<_>>().join("\n\n")
}

/// A file's text.
///
/// Errors: it cannot be read, or it is not text.
pub(crate) fn read_text(path: &Path) -> Result<String, CliError> {
    let bytes =
        std::fs::read(path).map_err(|source| CliError::Read { path: path.to_owned(), source })?;
    String::from_utf8(bytes).map_err(|error| CliError::NotText {
        path: path.to_owned(),
        offset: error.utf8_error().valid_up_to(),
    })
}
