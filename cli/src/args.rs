//! What can be typed.

use crate::commands::{Data, import_help, terms_help};
use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use litecore_compiler::{CompileOptions, Pass};
use litecore_hal::DeviceUri;
use litecore_model::TierSet;
use litecore_runtime::ExecutorKind;
use litecore_sim::Terms;
use litecore_sim::dynamic::Draws;
use litecore_sim::faces::Listen;
use litecore_sim::packing::Packing;
use litecore_types::Seed;
use std::path::PathBuf;

/// Compiles mixture-of-experts language models for coherent photonic arrays, runs them on a
/// simulated or real card next to the exact CPU result, and says what it cost.
#[derive(Debug, Parser)]
#[command(name = "litecore", version, max_term_width = 100)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) output: Output,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Output {
    /// Print one JSON object with stable keys instead of text.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// No progress and no commentary, only results and errors.
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// The main job end to end on the embedded model, with every executor side by side.
    Demo(Demo),
    /// Chip descriptions.
    #[command(subcommand)]
    Chip(Chip),
    /// Checkpoints.
    #[command(subcommand)]
    Model(Model),
    /// Read a model directory of the transformers library and write it as a checkpoint.
    #[command(after_help = import_help())]
    Import(Import),
    /// Train a model on text.
    Train(Train),
    /// Compile a model's experts to verified programs for a chip.
    Compile(Compile),
    /// Continue a prompt.
    Run(Run),
    /// Measure a model on a text: bits per byte, agreement with f32, SNR, cost.
    Eval(Eval),
    /// Monte Carlo on one array: measured SNR, total and per term, next to the closed form.
    #[command(after_help = terms_help())]
    Sim(Sim),
    /// Cards: find, name, test, update, reset.
    #[command(subcommand)]
    Device(DeviceCommand),
    /// Stand in for a card, with the simulator behind it, until interrupted.
    Emulate(Emulate),
    /// Measure and compare.
    #[command(subcommand)]
    Bench(Bench),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Demo {
    /// Where the plots go.
    #[arg(long, value_name = "DIR", default_value = "litecore-demo")]
    pub(crate) out: PathBuf,
    /// What the model continues.
    #[arg(long, value_name = "TEXT", default_value = DEMO_PROMPT)]
    pub(crate) prompt: String,
    /// How many bytes each executor writes.
    #[arg(short = 'n', long, value_name = "BYTES", default_value_t = 160)]
    pub(crate) count: usize,
    /// How many bytes of held-out text each executor is measured on, at least 2.
    #[arg(
        long, value_name = "BYTES", default_value_t = 6000,
        value_parser = clap::value_parser!(u64).range(2..)
    )]
    pub(crate) eval_bytes: u64,
    #[command(flatten)]
    pub(crate) device: Device,
}

const DEMO_PROMPT: &str = "Q: What is shot noise?\nA:";

#[derive(Debug, Subcommand)]
pub(crate) enum Chip {
    /// The chips that ship with the program.
    List,
    /// One chip: geometry, optics, converters, and what follows from them.
    Show {
        /// A shipped chip's name or a TOML file.
        #[arg(value_name = "CHIP")]
        chip: String,
        /// Print the description itself, to start one's own from.
        #[arg(long, conflicts_with = "set")]
        toml: bool,
        /// Replace a value before it is checked, e.g. `--set laser.power_w=0.1`.
        #[arg(long = "set", value_name = "PATH=VALUE")]
        set: Vec<String>,
    },
    /// What follows from a chip's description, and what contradicts it or its makers' claims.
    ///
    /// Derives loss, photons, reachable precision, power by part, energy per operation, rates,
    /// times and geometry, each with the uncertainty it inherits, and compares them with the
    /// section `[claims]` and with one another. A report: findings do not make it fail.
    Check {
        /// A shipped chip's name or a TOML file.
        #[arg(value_name = "CHIP")]
        chip: String,
        /// Replace a value before it is checked, e.g. `--set laser.power_w=0.1`.
        #[arg(long = "set", value_name = "PATH=VALUE")]
        set: Vec<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Model {
    /// Configuration, tiers, experts and parameters.
    Info {
        /// A checkpoint directory; left out, the embedded model.
        #[arg(value_name = "CKPT")]
        checkpoint: Option<PathBuf>,
    },
    /// Check every digest, shape and number of a checkpoint.
    Verify {
        /// A checkpoint directory; left out, the embedded model.
        #[arg(value_name = "CKPT")]
        checkpoint: Option<PathBuf>,
    },
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Import {
    /// The directory with config.json, tokenizer.json and the safetensors files.
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,
    /// Where the checkpoint goes; must not exist.
    #[arg(long, value_name = "CKPT")]
    pub(crate) out: PathBuf,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Train {
    /// Files to learn from; the last twentieth of each is held out.
    #[arg(long, value_name = "FILE", num_args = 1.., required_unless_present = "embedded")]
    pub(crate) text: Vec<PathBuf>,
    /// Train the embedded model again, on the text it was made from.
    #[arg(long, conflicts_with = "text")]
    pub(crate) embedded: bool,
    /// Model and training settings (TOML); left out, a small model and a short training.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Overrides the number of steps.
    #[arg(long, value_name = "N")]
    pub(crate) steps: Option<u32>,
    /// Overrides the seed.
    #[arg(long)]
    pub(crate) seed: Option<Seed>,
    /// Where the checkpoint goes; must not exist.
    #[arg(long, value_name = "CKPT")]
    pub(crate) out: PathBuf,
    /// How weights are stored.
    #[arg(long, value_enum, default_value_t = Storage::Bf16)]
    pub(crate) dtype: Storage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Storage {
    F32,
    Bf16,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Compile {
    /// A checkpoint directory; left out, the embedded model.
    #[arg(value_name = "CKPT")]
    pub(crate) checkpoint: Option<PathBuf>,
    /// A shipped chip's name or a TOML file.
    #[arg(long, value_name = "CHIP", default_value = "ref-64-eo")]
    pub(crate) chip: String,
    /// Text that analog gains are chosen on; left out, text like the embedded model's training.
    #[arg(long, value_name = "FILE")]
    pub(crate) calibration_text: Option<PathBuf>,
    /// Where the compiled model goes.
    #[arg(long, value_name = "PROG", required_unless_present = "passes")]
    pub(crate) out: Option<PathBuf>,
    /// Also write every program in its text form into this directory.
    #[arg(long, value_name = "DIR")]
    pub(crate) text_dir: Option<PathBuf>,
    /// Write utilisation, time, energy, waits, bounds and passes as tables and JSON, a timeline for
    /// trace viewers and a roofline into this directory.
    #[arg(long, value_name = "DIR")]
    pub(crate) report: Option<PathBuf>,
    /// List the passes, then stop.
    #[arg(long, conflicts_with_all = ["checkpoint", "calibration_text", "out", "text_dir", "report"])]
    pub(crate) passes: bool,
    #[command(flatten)]
    pub(crate) choices: CompileChoices,
}

/// Which passes run, and what they may do.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct CompileChoices {
    /// Switch a pass on; may be repeated. `--passes` lists them.
    #[arg(long = "with", value_name = "PASS")]
    pub(crate) with: Vec<Pass>,
    /// Switch a pass off; may be repeated.
    #[arg(long = "without", value_name = "PASS")]
    pub(crate) without: Vec<Pass>,
    /// What low-rank and tile-sparsity together may lose of a matrix: energy, relative; left out,
    /// 0.001. Needs one of them switched on.
    #[arg(long, value_name = "SHARE")]
    pub(crate) error_budget: Option<f64>,
    /// Signal over error, in decibels, that each expert should reach: tiles are read several times and
    /// weights sliced into two planes where that takes it. Reckoned with rounding, shot, receiver,
    /// dark, converter and cell errors; what other terms add, no reading takes away.
    #[arg(long, value_name = "DB")]
    pub(crate) target_snr: Option<f64>,
    /// Most symbols in one run; a longer run goes to the card in parts. A program for short runs has
    /// fewer steps, so it is smaller, which a slow link feels.
    #[arg(long, value_name = "N", default_value_t = CompileOptions::default().symbols_max,
        value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) symbols_max: u64,
}

/// How a card is spoken to.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct LinkSettings {
    /// Wait this many times as long for a card: for emulated processors and slow machines.
    #[arg(long, value_name = "FACTOR", default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) time_scale: u32,
    /// Symbols per second of a serial port.
    #[arg(long, value_name = "BAUD", default_value_t = 3_000_000)]
    pub(crate) baud: u32,
    /// Write what goes over the card's link to this file, a line for each command and completion.
    #[arg(long = "link-trace", value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,
}

/// The device a photonic executor runs on.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Device {
    /// `sim:CHIP`, where CHIP is a shipped name or a TOML file, with options behind it: `?seed=N`,
    /// `&noise=off`, `&terms=NAME,…` (see `litecore sim --help`), `&draws=per-term` for paired
    /// comparisons, `&age=SECONDS` since calibration (else the chip's `cell.age_s`). Or a card:
    /// serial:PORT, usb:VID:PID:SERIAL, pcie:ADDRESS, vfio-user:SOCKET; left out, `sim:ref-64-eo`,
    /// or the simulator of a compiled program's own chip.
    #[arg(long, value_name = "URI")]
    pub(crate) device: Option<DeviceUri>,
    #[command(flatten)]
    pub(crate) link: LinkSettings,
}

impl Device {
    /// The address given, or the default one.
    pub(crate) fn uri(&self) -> DeviceUri {
        self.device.clone().unwrap_or_else(|| DeviceUri::Sim {
            chip: "ref-64-eo".to_owned(),
            settings: Box::default(),
        })
    }
}

/// What every command that runs a model takes.
#[derive(Debug, ClapArgs)]
pub(crate) struct Execution {
    /// A checkpoint directory or a compiled program; left out, the embedded model.
    #[arg(value_name = "MODEL")]
    pub(crate) model: Option<PathBuf>,
    /// f32, reference, cpu or photonic.
    #[arg(long, value_name = "NAME", default_value = "photonic")]
    pub(crate) executor: ExecutorKind,
    #[command(flatten)]
    pub(crate) device: Device,
    /// Which tiers may be used: all, ..=medium, or small,medium.
    #[arg(long, value_name = "SET", default_value = "all")]
    pub(crate) tiers: TierSet,
    /// Breaks routing ties and seeds sampling; left out, the model's own.
    #[arg(long)]
    pub(crate) seed: Option<Seed>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) execution: Execution,
    /// What the model continues.
    #[arg(long, value_name = "TEXT")]
    pub(crate) prompt: String,
    /// How many tokens to write at most; the tokens of the embedded model are bytes.
    #[arg(short = 'n', long, value_name = "TOKENS", default_value_t = 128)]
    pub(crate) count: usize,
    /// Draw from the softmax at this temperature instead of taking the likeliest token.
    #[arg(long, value_name = "T")]
    pub(crate) temperature: Option<f32>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Eval {
    #[command(flatten)]
    pub(crate) execution: Execution,
    /// The text to measure on.
    #[arg(long, value_name = "FILE")]
    pub(crate) text: PathBuf,
    /// Stop after this many bytes, at least 2.
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(2..))]
    pub(crate) bytes: Option<u64>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Sim {
    /// A shipped chip's name or a TOML file.
    #[arg(long, value_name = "CHIP", default_value = "ref-64-eo")]
    pub(crate) chip: String,
    /// Replace a value of the description, e.g. `--set laser.power_w=0.1`; may be repeated.
    #[arg(long = "set", value_name = "PATH=VALUE")]
    pub(crate) set: Vec<String>,
    /// Impairments that are on: all, none, or names with commas between them; listed below.
    #[arg(long, value_name = "TERMS", default_value = "all")]
    pub(crate) terms: Terms,
    /// How real numbers are laid onto cells: single, tokens, rows, conjugate or complex.
    #[arg(long, value_name = "PACKING", default_value = "conjugate")]
    pub(crate) packing: Packing,
    /// What weights and inputs are drawn from: uniform, or gaussian:SIGMAS with the largest code at
    /// so many standard deviations.
    #[arg(long, value_name = "DATA", default_value = "uniform")]
    pub(crate) data: Data,
    /// Symbols in all, 1 to 10000000; left out, 4096, or fewer where cells are so many that it would
    /// take minutes.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=SYMBOLS_MAX))]
    pub(crate) symbols: Option<u64>,
    /// Columns of each chip that are realised, the first so many, with all their rows and the light of
    /// the whole array; left out, all, or fewer where an array has more than two million cells.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) columns: Option<u64>,
    /// Chips of the model the symbols are spread over, 1 to 100000 and no more than symbols, each with
    /// cells and a tile of its own; left out, enough that static errors average out.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub(crate) instances: Option<u64>,
    /// Seconds since calibration and writing, for drift and aging: sets `cell.age_s`; left out, the
    /// chip's own, which for shipped chips is one `cell.drift_time_s`.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) age: Option<String>,
    /// How noise is drawn. merged: one number for each output, of the size of all terms together.
    /// per-term: one for each term, so that two runs of one seed that differ in one term share the
    /// draws of all others, and their difference is that term's; about twice as slow.
    #[arg(long, value_name = "DRAWS", value_enum, default_value_t = DrawsArg::Merged)]
    pub(crate) draws: DrawsArg,
    /// The gain: the converter's step is 2^SHIFT units of the exact sum. Which shifts there are
    /// depends on the chip's sizes, bits and receiver; one that there is not is refused with the
    /// range. Left out, the gain of least error on an ideal chip.
    #[arg(long, value_name = "SHIFT")]
    pub(crate) shift: Option<u8>,
    /// The root of all chance.
    #[arg(long, default_value = "0")]
    pub(crate) seed: Seed,
    /// Draws the error histogram, the constellation and the noise budget into this directory.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
}

const SYMBOLS_MAX: u64 = 10_000_000;

/// [`litecore_sim::dynamic::Draws`] on a command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum DrawsArg {
    /// One number for all terms.
    Merged,
    /// One number for each term.
    PerTerm,
}

impl DrawsArg {
    pub(crate) fn draws(self) -> Draws {
        match self {
            Self::Merged => Draws::Merged,
            Self::PerTerm => Draws::PerTerm,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum DeviceCommand {
    /// The cards, and what may be cards, that this system knows of; nothing is opened.
    List,
    /// What a card says about itself.
    Info {
        #[command(flatten)]
        card: Card,
    },
    /// Hold a card to the conformance suite, and measure its link.
    Test {
        #[command(flatten)]
        card: Card,
        /// The card's impairments are off, or corrected: outputs must be exact.
        #[arg(long)]
        exact: bool,
    },
    /// Put new firmware on a card: staged, verified, activated, confirmed; resumed where an
    /// earlier update was interrupted.
    Update {
        #[command(flatten)]
        card: Card,
        /// The firmware image.
        #[arg(long, value_name = "FILE")]
        firmware: PathBuf,
        /// Also put older firmware on, or the same again.
        #[arg(long)]
        force: bool,
    },
    /// Bring a card back to its state after power-up.
    Reset {
        #[command(flatten)]
        card: Card,
    },
}

/// Which card.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Card {
    /// serial:PORT, usb:VID:PID:SERIAL, pcie:0000:01:00.0 or vfio-user:SOCKET.
    #[arg(long = "device", value_name = "URI")]
    pub(crate) uri: DeviceUri,
    #[command(flatten)]
    pub(crate) link: LinkSettings,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Emulate {
    /// A shipped chip's name or a TOML file.
    #[arg(long, value_name = "CHIP", default_value = "ref-64-eo")]
    pub(crate) chip: String,
    /// As what and where: serial:PATH, vfio-user:SOCKET, usb-redir:SOCKET, usb-redir-acm:SOCKET,
    /// usbip:ADDRESS:PORT or usbip:SOCKET.
    #[arg(long, value_name = "FACE")]
    pub(crate) listen: Listen,
    /// The chip instance and its noise.
    #[arg(long, default_value = "0")]
    pub(crate) chip_seed: Seed,
    /// Take all impairments away, static ones included.
    #[arg(long)]
    pub(crate) noise_off: bool,
    /// Most bytes of one payload or reply, at least 1024: a card with little memory.
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1024..))]
    pub(crate) transfer_max: Option<u64>,
    /// What a USB device calls itself; left out, the chip instance.
    #[arg(long, value_name = "TEXT")]
    pub(crate) usb_serial: Option<String>,
    /// What goes wrong, and when (JSON).
    #[arg(long, value_name = "FILE")]
    pub(crate) faults: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// Deterministic products against the best Rust GEMM crate, and bytes per second by executor.
    Kernels {
        /// Seconds spent on each measurement.
        #[arg(long, value_name = "SECONDS", default_value_t = 0.5)]
        seconds: f64,
    },
    /// A noisy array against the best Rust GEMM crate's plain product of the same size.
    Sim {
        /// Seconds spent on each measurement.
        #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
        seconds: f64,
    },
    /// Compiling a generated model against reading and quantising the same bytes in one plain pass.
    Compile {
        /// Megabytes of weights to generate: more than the caches of processors hold, unless told.
        #[arg(long, value_name = "MB", default_value_t = 512,
            value_parser = clap::value_parser!(u64).range(1..=4096))]
        megabytes: u64,
        /// Weights in bf16, as published models have them; left out, f32.
        #[arg(long)]
        bf16: bool,
    },
    /// Links to an emulated card against the same without one: in this process, over a socket, over
    /// a serial line.
    Link {
        /// Seconds spent on each link and its reference.
        #[arg(long, value_name = "SECONDS", default_value_t = 2.0)]
        seconds: f64,
    },
}
