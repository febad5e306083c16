use litecore_calibration::CalibrationError;
use litecore_compiler::CompileError;
use litecore_hal::DeviceError;
use litecore_hal::update::UpdateError;
use litecore_model::UnknownTier;
use litecore_model::checkpoint::{CheckpointError, WriteError};
use litecore_runtime::RuntimeError;
use litecore_types::chip::ChipError;
use std::path::PathBuf;

/// Why a command failed. Its message is the last thing a user reads: what, where, what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    #[error("{problem}")]
    Usage { problem: String },
    #[error("cannot read {path}: {source}", path = path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("cannot write {path}: {source}", path = path.display())]
    Write { path: PathBuf, source: std::io::Error },
    #[error(
        "{path} is not text: the byte at offset {offset} is not UTF-8; give a text file",
        path = path.display()
    )]
    NotText { path: PathBuf, offset: usize },
    #[error(
        "{path} is neither a checkpoint directory nor a compiled program: {why}",
        path = path.display()
    )]
    NotAModel { path: PathBuf, why: &'static str },
    #[error(
        "a compiled program has no f32 experts: run the f32 executor on the checkpoint it was \
         compiled from"
    )]
    NoFloatExperts,
    #[error(
        "the program was compiled for chip {program}, the device is a {device}{same_name}: leave out \
         --device, or compile the model for this chip"
    )]
    ChipMismatch { program: String, device: String, same_name: &'static str },
    #[error("the checkpoint is damaged and must not be used:\n  {}", offences.join("\n  "))]
    Damaged { offences: Vec<String> },
    #[error("the tokenizer of {path}: {problem}", path = path.display())]
    ProgramTokenizer { path: PathBuf, problem: litecore_model::TokenizerError },
    #[error(transparent)]
    Tokenizer(#[from] litecore_model::TokenizerError),
    #[error(transparent)]
    Import(#[from] litecore_model::import::ImportError),
    #[error("{path} is a compiled program: give the checkpoint it came from", path = path.display())]
    AlreadyCompiled { path: PathBuf },
    #[error(transparent)]
    Chip(#[from] ChipError),
    #[error(transparent)]
    Tier(#[from] UnknownTier),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    CheckpointWrite(#[from] WriteError),
    #[error(transparent)]
    Compile(#[from] CompileError),
    #[error(transparent)]
    Artifact(#[from] litecore_compiler::ArtifactError),
    #[error(transparent)]
    CompileBench(#[from] litecore_bench::compile::CompileBenchError),
    #[error(transparent)]
    LinkBench(#[from] litecore_bench::link::LinkBenchError),
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    #[error(transparent)]
    Train(#[from] litecore_train::TrainError),
    #[error("{path}: {source}", path = path.display())]
    TrainConfig { path: PathBuf, source: toml::de::Error },
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error(transparent)]
    Open(#[from] litecore_sim::OpenError),
    #[error(transparent)]
    OpenCard(#[from] litecore_hal::OpenError),
    #[error(transparent)]
    Update(#[from] UpdateError),
    #[error(
        "the card has chip {chip}, which is not shipped: compile the model with `litecore compile \
         --chip FILE` from the chip's description, and give the program"
    )]
    UnknownChip { chip: String },
    #[error("cannot listen at {face}: {source}")]
    Listen { face: litecore_sim::faces::Listen, source: std::io::Error },
    #[error("the fault plan {path} is wrong: {why}", path = path.display())]
    FaultPlan { path: PathBuf, why: String },
    #[error("{failed} of {cases} cases do not hold on {uri}")]
    DoesNotConform { uri: litecore_hal::DeviceUri, failed: usize, cases: usize },
    #[error(transparent)]
    Calibration(#[from] CalibrationError),
    #[error(transparent)]
    Packing(#[from] litecore_sim::packing::PackingError),
    #[error(transparent)]
    Array(#[from] litecore_sim::array::ArrayError),
    #[error(
        "one tile does not fit the chip, {} violations, the first: {}",
        violations.len(),
        violations.first().map(ToString::to_string).unwrap_or_default()
    )]
    DoesNotFit { violations: Vec<litecore_types::program::Violation> },
    #[error("cannot draw {path}: {why}", path = path.display())]
    Plot { path: PathBuf, why: String },
}

impl CliError {
    pub(crate) fn usage(problem: impl Into<String>) -> Self {
        Self::Usage { problem: problem.into() }
    }

    /// 1 the job failed, 2 usage, 3 device.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage { .. }
            | Self::AlreadyCompiled { .. }
            | Self::Tier(_)
            | Self::NoFloatExperts
            | Self::Array(_)
            | Self::Runtime(RuntimeError::EmptyPrompt | RuntimeError::Temperature { .. }) => 2,
            // The device was not asked.
            Self::Update(UpdateError::NotFirmware(_)) => 1,
            Self::Device(_)
            | Self::Open(_)
            | Self::OpenCard(_)
            | Self::Update(_)
            | Self::UnknownChip { .. }
            | Self::DoesNotConform { .. }
            | Self::Calibration(_)
            | Self::ChipMismatch { .. }
            | Self::Runtime(RuntimeError::Device { .. } | RuntimeError::Load { .. }) => 3,
            _ => 1,
        }
    }
}
