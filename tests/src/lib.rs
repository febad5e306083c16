//! Suites that span crates: the house rules, the main path, and what a user can type.
//!
//! The tests are in `tests/tests/`, one file a suite. This library holds what several need.

pub mod original;

use litecore_compiler::{CompileOptions, CompiledModel, compile_model};
use litecore_model::TierMask;
use litecore_model::checkpoint::Checkpoint;
use litecore_runtime::{DenseModel, FloatExecutor, InputRecorder, Session};
use litecore_types::Seed;
use litecore_types::chip::{self, ChipDescription};

/// The embedded model, ready for every executor on `chip`.
#[derive(Debug)]
pub struct Fixture {
    /// The checkpoint itself.
    pub checkpoint: Checkpoint,
    /// Its dense part.
    pub dense: DenseModel,
    /// Its experts, compiled.
    pub compiled: CompiledModel,
    /// The chip they are compiled for.
    pub chip: ChipDescription,
}

impl Fixture {
    /// Compiles the embedded model for a shipped chip, gains chosen on a few lines of text.
    ///
    /// Panics: if any of it fails, which fails the test.
    pub fn embedded(chip_name: &str) -> Self {
        Self::embedded_on(chip::builtin_text(chip_name).expect("a shipped chip"))
    }

    /// The same for a chip of one's own, from the text of its description.
    ///
    /// Panics: if the description is wrong, and as [`Self::embedded`].
    pub fn embedded_on(text: &str) -> Self {
        let chip = ChipDescription::from_toml(text, "a test").expect("a valid chip");
        let checkpoint = litecore_model::embedded::checkpoint().expect("the embedded model");
        let dense = DenseModel::from_checkpoint(&checkpoint).expect("dense tensors");
        let mut float = FloatExecutor::from_checkpoint(&checkpoint).expect("experts");
        let mut recorder = InputRecorder::new(&mut float, 32);
        let mask = TierMask::all(dense.config());
        let mut session = Session::new(&dense, mask, Seed(0), 0);
        session.forward(CALIBRATION.as_bytes(), &mut recorder).expect("forward");
        let inputs = recorder.into_inputs();
        let compiled = compile_model(
            &chip,
            text,
            &checkpoint,
            &|layer, key| inputs.get(&(layer, key)).cloned().unwrap_or_default(),
            &CompileOptions::default(),
            &mut |_, _| {},
        )
        .expect("compiled");
        Self { checkpoint, dense, compiled, chip }
    }

    /// The experts as trained.
    ///
    /// Panics: if the embedded model is damaged.
    pub fn float(&self) -> FloatExecutor {
        FloatExecutor::from_checkpoint(&self.checkpoint).expect("experts")
    }
}

const CALIBRATION: &str = "Q: What does a balanced photodiode pair measure?\n\
    A: The interference of signal and local oscillator.\n\n\
    The array was calibrated at 25.3 C and the residual phase error fell to 5 mrad.\n\n\
    37 + 48 = 85\n[laser]\npower_w = 0.5\n";
