//! What each expert is asked on a calibration text, in the memory of one expert.

use crate::console::Console;
use crate::error::CliError;
use litecore_compiler::ExpertPlace;
use litecore_kernels::codes;
use litecore_kernels::s2::{self, PackedMatrix};
use litecore_model::TierMask;
use litecore_model::checkpoint::Checkpoint;
use litecore_model::names::{self, Part};
use litecore_runtime::{DenseModel, Executor, ExpertCall, InputRecorder, RuntimeError, Session};
use std::collections::BTreeMap;

/// Inputs kept per expert.
const ROWS: usize = 64;

/// Tokens read at a time: every expert that is asked is read once for so many.
const CHUNK: usize = 4096;

/// The inputs of each expert on `text`, rows × width, at most [`ROWS`] of them.
///
/// The text goes through the model layer by layer; an expert's weights are read when it is asked
/// and given back after it has answered, so that a model larger than memory can be read too.
pub(crate) fn calibration_inputs(
    checkpoint: &Checkpoint,
    dense: &DenseModel,
    text: &[u8],
    console: &Console,
) -> Result<BTreeMap<ExpertPlace, Vec<f32>>, CliError> {
    let tokens = checkpoint.tokenizer()?.encode(&String::from_utf8_lossy(text))?.tokens;
    let mut experts = OnDemand { checkpoint };
    let mut recorder = InputRecorder::new(&mut experts, ROWS);
    let mask = TierMask::all(dense.config());
    let progress = console.progress("reading calibration text", tokens.len());
    let mut session = Session::new(dense, mask, dense.config().routing.seed, 0);
    for (index, chunk) in tokens.chunks(CHUNK).enumerate() {
        session.forward_tokens(chunk, &mut recorder)?;
        progress.set(index * CHUNK);
    }
    // What is compiled next passes the tensors once, and needs none of them kept.
    checkpoint.release();
    Ok(recorder.into_inputs())
}

/// The experts as trained, each read from the checkpoint whenever it is asked.
struct OnDemand<'a> {
    checkpoint: &'a Checkpoint,
}

impl Executor for OnDemand<'_> {
    fn name(&self) -> &'static str {
        "f32"
    }

    fn run(&mut self, call: &ExpertCall<'_>, outputs: &mut Vec<f32>) -> Result<(), RuntimeError> {
        let &ExpertCall { layer, key, tags, inputs } = call;
        let config = self.checkpoint.config();
        let missing = RuntimeError::MissingExpert { executor: "f32", layer, key };
        let tier = config.tiers.get(usize::from(key.tier)).ok_or(missing)?;
        let (inner, width) = (tier.expert_width, config.width);
        let product = |part, x: &[f32], rows, columns, y: &mut [f32]| -> Result<(), RuntimeError> {
            let name = names::expert(layer as usize, &tier.id, key.group, key.expert, part);
            let weights = self.checkpoint.tensor_f32(&name)?;
            s2::product(x, &PackedMatrix::from_rows(&weights.data, rows, columns), y);
            Ok(())
        };
        let hidden = tags.len() * inner;
        let (mut gate, mut up) = (vec![0.0; hidden], vec![0.0; hidden]);
        product(Part::Gate, inputs, inner, width, &mut gate)?;
        product(Part::Up, inputs, inner, width, &mut up)?;
        let mut between = vec![0.0; hidden];
        codes::swiglu(&gate, &up, &mut between);
        outputs.clear();
        outputs.resize(tags.len() * width, 0.0);
        product(Part::Down, &between, width, inner, outputs)
    }
}
