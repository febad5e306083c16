//! One executor's turn in the demo: write a text, then be measured on held-out text.

use crate::args::Demo;
use crate::commands::eval::{CostReport, EvalReport};
use crate::console::Console;
use crate::error::CliError;
use crate::workload::Workload;
use litecore_bench::expert_noise::NoisePredictor;
use litecore_compiler::CompiledModel;
use litecore_model::TierMask;
use litecore_runtime::{
    Evaluation, Executor, FloatExecutor, Generated, IntegerExecutor, Measured, Sampling, Session,
    evaluate, generate,
};
use litecore_sim::Terms;
use std::collections::BTreeMap;
use std::time::Instant;

/// What every turn shares.
pub(super) struct Bench<'a> {
    pub(super) workload: &'a Workload,
    pub(super) compiled: &'a CompiledModel,
    pub(super) heldout: &'a [u8],
    pub(super) args: &'a Demo,
    pub(super) console: &'a Console,
}

/// What one turn gave.
pub(crate) struct Trial {
    /// The executor, in words.
    pub(crate) name: String,
    /// The continuation of the prompt.
    pub(crate) written: Generated,
    /// The logits each byte was chosen from. Shape: bytes × vocab.
    pub(crate) logits: Vec<f32>,
    /// Bytes per second while writing, on this machine.
    pub(crate) bytes_per_s: f64,
    /// What writing cost on the card, the prompt not counted: one token in each expert run.
    pub(crate) writing: Option<CostReport>,
    /// Bytes that were fed while writing: all but the last.
    pub(crate) bytes_fed: u64,
    /// The held-out text, many tokens in each expert run.
    pub(crate) evaluation: Evaluation,
    /// The evaluation in numbers.
    pub(crate) report: EvalReport,
}

/// An executor, made anew for each part so that accounts do not mix.
type Make<'a> = &'a mut dyn FnMut() -> Result<Box<dyn Executor>, CliError>;

impl Bench<'_> {
    /// Gives an executor its turn; `truth` is the f32 executor and its own turn, `terms` are the
    /// impairments its noise is predicted from.
    pub(super) fn trial(
        &self,
        name: &str,
        make: Make<'_>,
        terms: Terms,
        truth: Option<(&mut FloatExecutor, &Trial)>,
    ) -> Result<Trial, CliError> {
        let mut writer = make()?;
        let progress = self.console.progress(&format!("{name}: writing"), self.args.count);
        let (mut logits, mut done) = (Vec::new(), 0);
        let mut first_byte_at = Instant::now();
        let written = generate(
            &mut self.session(),
            writer.as_mut(),
            self.args.prompt.as_bytes(),
            self.args.count,
            Sampling::Greedy,
            &mut |_, row| {
                if done == 0 {
                    first_byte_at = Instant::now();
                }
                done += 1;
                logits.extend_from_slice(row);
                progress.set(done);
            },
        )?;
        // The first byte comes out of reading the prompt.
        let bytes_fed = written.bytes.len().saturating_sub(1) as u64;
        let bytes_per_s = bytes_fed as f64 / first_byte_at.elapsed().as_secs_f64();
        let account = writer.account().since(&written.account_after_prompt);
        let writing = CostReport::of(&account, writer.name());
        drop(progress);

        let mut reader = make()?;
        let progress = self.console.progress(&format!("{name}: reading"), self.heldout.len());
        let mut on_progress = |done| progress.set(done);
        let start = Instant::now();
        let (mut layers, mut predicted) = (BTreeMap::new(), BTreeMap::new());
        let (truth_evaluation, evaluation) = match truth {
            None => (None, self.read(self.heldout, reader.as_mut(), &mut on_progress)?),
            Some((float, trial)) => {
                // Both execute the integer meaning; one knows what noise to expect of it.
                let mut plain = IntegerExecutor::cpu(self.compiled);
                let mut predictor = NoisePredictor::new(self.compiled, terms);
                let silent = terms == Terms::none();
                let integer: &mut dyn Executor = if silent { &mut plain } else { &mut predictor };
                let mut measured = Measured::new(reader.as_mut(), Some(float), integer);
                let evaluation = self.read(self.heldout, &mut measured, &mut on_progress)?;
                layers = measured.layers().clone();
                predicted = predictor.layers().clone();
                (Some(&trial.evaluation), evaluation)
            }
        };
        let seconds = start.elapsed().as_secs_f64();
        let mut report =
            EvalReport::new(reader.as_ref(), &evaluation, truth_evaluation, &layers, seconds);
        report.predict(&predicted);
        let name = name.to_owned();
        Ok(Trial { name, written, logits, bytes_per_s, writing, bytes_fed, evaluation, report })
    }

    fn session(&self) -> Session<'_> {
        let config = self.workload.config();
        Session::new(&self.workload.dense, TierMask::all(config), config.routing.seed, 0)
    }

    /// What an executor makes of a text.
    pub(super) fn read(
        &self,
        text: &[u8],
        executor: &mut dyn Executor,
        on_progress: &mut dyn FnMut(usize),
    ) -> Result<Evaluation, CliError> {
        Ok(evaluate(&mut self.session(), executor, text, on_progress)?)
    }
}
