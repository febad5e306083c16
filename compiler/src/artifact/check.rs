//! Whether what a file says of itself is what its model needs.

use super::ArtifactProblem;
use super::repr::{ProgramRepr, RecordRepr, TensorRepr};
use crate::memory::BUFFER_ELEMENTS_MAX;
use crate::model::{ExpertPlace, layer_places};
use crate::schedule::STEPS_MAX;
use litecore_model::{ExpertKey, ModelConfig};
use std::collections::BTreeMap;

/// Checks that names and shapes are those of the model, by name.
pub(super) fn check_dense(
    config: &ModelConfig,
    dense: &[TensorRepr],
) -> Result<(), ArtifactProblem> {
    let mut needed: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    // One more than the file has shows what is missing; a model of any size costs no more.
    for spec in config.dense_specs().take(dense.len().saturating_add(1)) {
        needed.insert(spec.name, spec.shape);
    }
    let mut needed = needed.into_iter();
    let mut found = dense.iter().map(|tensor| (tensor.name.clone(), tensor.shape.clone()));
    loop {
        match (needed.next(), found.next()) {
            (None, None) => return Ok(()),
            (expected, found) if expected == found => {}
            (expected, found) => return Err(ArtifactProblem::DenseTensor { expected, found }),
        }
    }
}

/// Checks that there is a record for each expert of the model, in order, and for no other.
pub(super) fn check_experts(
    config: &ModelConfig,
    experts: &[RecordRepr],
) -> Result<(), ArtifactProblem> {
    let mut needed = (0..config.layers).flat_map(|layer| layer_places(config, layer));
    let mut found = experts.iter().map(RecordRepr::place);
    loop {
        match (needed.next(), found.next()) {
            (None, None) => return Ok(()),
            (expected, found) if expected == found => {}
            (expected, found) => return Err(ArtifactProblem::Expert { expected, found }),
        }
    }
}

/// Checks that a program claims the work of its expert, has a gain for each tile or none, and is of a
/// size that can be verified, with so many steps.
pub(super) fn check_program(
    config: &ModelConfig,
    place: ExpertPlace,
    program: &ProgramRepr,
    steps: usize,
) -> Result<(), ArtifactProblem> {
    // Every figure per multiply-accumulate divides by this.
    let tier = &config.tiers[usize::from(place.1.tier)];
    let expected = u64::try_from(config.expert_parameters(tier)).unwrap_or(u64::MAX);
    let found = program.useful_macs_per_symbol();
    if found != expected {
        return Err(ArtifactProblem::UsefulMacs { place, found, expected });
    }
    let ProgramRepr { buffers, tiles, gains, .. } = program;
    if !gains.is_empty() && gains.len() != tiles.len() {
        let (found, expected) = (gains.len(), tiles.len());
        return Err(ArtifactProblem::GainCount { place, found, expected });
    }
    let elements = buffers.iter().fold(0_usize, |sum, buffer| sum.saturating_add(buffer.len));
    let sizes = [("steps", steps, STEPS_MAX), ("buffer elements", elements, BUFFER_ELEMENTS_MAX)];
    match sizes.into_iter().find(|(_, found, limit)| found > limit) {
        Some((what, found, limit)) => Err(ArtifactProblem::TooLarge { place, what, found, limit }),
        None => Ok(()),
    }
}

impl RecordRepr {
    /// The expert it is about.
    pub(super) fn place(&self) -> ExpertPlace {
        let (tier, group, expert) = (self.tier, self.group, self.expert);
        (self.layer, ExpertKey { tier, group, expert })
    }
}
