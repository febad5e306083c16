//! Judging weights on a text.

use std::collections::BTreeMap;

use litecore_kernels::math::{exp, ln};
use litecore_model::routing::RoutingError;
use litecore_model::{ModelConfig, Tensor, TierMask};

use crate::config::{InvalidTrainConfig, model_offences};
use crate::network::{Batch, Network};
use crate::packed::PackedWeights;
use crate::trainer::TrainError;
use crate::weights::Layout;

/// Windows judged at a time.
const WINDOWS: usize = 16;

/// A model ready to be judged.
pub(crate) struct Evaluator<'a> {
    config: &'a ModelConfig,
    layout: &'a Layout,
    values: &'a [f32],
    packed: PackedWeights,
}

/// The logits of a byte sequence under a model, by the trainer's forward pass.
///
/// Row `t` judges the byte after `bytes[..=t]`; the first byte is at position 0. The runtime's
/// `f32` executor gives the same bits for the same tensors, tiers and routing seed: this is the
/// other side of that comparison. The tensors are taken as they are; round them first to compare
/// with a bf16 checkpoint.
///
/// Shape: bytes × vocab, row-major.
///
/// Errors: [`TrainError::Config`] for a model that is not one of this trainer,
/// [`TrainError::SequenceLength`] for no bytes or more than the attention window (a token of this
/// trainer sees everything before it), [`TrainError::Tensor`] for tensors that do not fit the
/// configuration, [`TrainError::Routing`], also where the mask is of another model.
pub fn logits(
    config: &ModelConfig,
    tensors: &BTreeMap<String, Tensor>,
    mask: &TierMask,
    bytes: &[u8],
) -> Result<Vec<f32>, TrainError> {
    let offences = model_offences(config);
    if !offences.is_empty() {
        return Err(InvalidTrainConfig { offences }.into());
    }
    let maximum = config.attention_window;
    if bytes.is_empty() || bytes.len() > maximum {
        return Err(TrainError::SequenceLength { bytes: bytes.len(), maximum });
    }
    let layout = Layout::new(config);
    let values = layout.flat(tensors).map_err(|tensor| TrainError::Tensor { tensor })?;
    let packed = PackedWeights::new(&layout, &values, config.width);
    let mut network = Network::new(config, bytes.len());
    let batch = Batch { inputs: bytes.to_vec(), targets: Vec::new(), masks: vec![mask.clone()] };
    let routing = |source| TrainError::Routing { step: 0, source };
    network.forward(&layout, &values, &packed, &batch).map_err(routing)?;
    Ok(network.logits().to_vec())
}

impl<'a> Evaluator<'a> {
    pub(crate) fn new(config: &'a ModelConfig, layout: &'a Layout, values: &'a [f32]) -> Self {
        let packed = PackedWeights::new(layout, values, config.width);
        Self { config, layout, values, packed }
    }

    /// Mean surprise of all bytes but the first, in bits. The text is cut into windows of `length`;
    /// each window starts without memory.
    pub(crate) fn bits_per_byte(
        &self,
        text: &[u8],
        mask: &TierMask,
        length: usize,
    ) -> Result<f64, RoutingError> {
        let judged = text.len().saturating_sub(1);
        let mut nats = 0.0;
        let mut start = 0;
        while start < judged {
            let (windows, length) = match (judged - start) / length {
                0 => (1, judged - start),
                whole => (whole.min(WINDOWS), length),
            };
            let end = start + windows * length;
            let batch = Batch {
                inputs: text[start..end].to_vec(),
                targets: text[start + 1..=end].to_vec(),
                masks: vec![mask.clone(); windows],
            };
            let mut network = Network::new(self.config, length);
            network.forward(self.layout, self.values, &self.packed, &batch)?;
            nats += surprise(network.logits(), self.config.vocab, &batch.targets);
            start = end;
        }
        let bits = nats / std::f64::consts::LN_2;
        Ok(if judged == 0 { 0.0 } else { bits / judged as f64 })
    }
}

/// Sum of `−ln softmax(row)[target]`, in nats, rows ascending.
fn surprise(logits: &[f32], vocab: usize, targets: &[u8]) -> f64 {
    let rows = logits.chunks_exact(vocab).zip(targets);
    rows.fold(0.0, |total, (row, &target)| {
        let largest = row.iter().fold(f32::NEG_INFINITY, |a, &b| if b > a { b } else { a });
        let sum = row.iter().fold(0.0, |sum, &logit| sum + exp(logit - largest));
        total + f64::from(ln(sum)) - f64::from(row[usize::from(target)] - largest)
    })
}
