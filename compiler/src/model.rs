//! Every expert of a checkpoint, compiled in parallel, with a result that does not depend on it.

use crate::report::LayerReport;
use crate::{CompileError, CompileOptions, ExpertWeights, compile_expert};
use litecore_model::checkpoint::{Checkpoint, Digest};
use litecore_model::names::{self, Part};
use litecore_model::{ExpertKey, ModelConfig, Tensor};
use litecore_types::chip::ChipDescription;
use litecore_types::program::VerifiedProgram;
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The layer an expert is in, and which one it is there.
pub type ExpertPlace = (u32, ExpertKey);

/// A model compiled for one chip: programs for its experts, tensors for the rest.
#[derive(Clone, Debug, PartialEq)]
pub struct CompiledModel {
    /// The chip the programs are for.
    pub chip: ChipDescription,
    /// The TOML text the chip was read from.
    pub chip_text: String,
    /// The model.
    pub config: ModelConfig,
    /// Digest of the manifest of the checkpoint the model comes from.
    pub checkpoint: Digest,
    /// All tensors outside the experts, by name.
    pub dense: BTreeMap<String, Tensor>,
    /// The expert programs, by layer and key.
    pub experts: BTreeMap<ExpertPlace, Arc<VerifiedProgram>>,
    /// What became of each expert.
    pub reports: BTreeMap<ExpertPlace, LayerReport>,
}

/// Most bytes of weight codes of a compiled model, which is in memory whole.
const CODE_BYTES_MAX: usize = 4 << 30;

/// Checks that the codes of all experts, padding included, fit in memory.
fn check_size(chip: &ChipDescription, config: &ModelConfig) -> Result<(), CompileError> {
    let tile_bytes = chip.tile_inputs() * chip.tile_outputs();
    let tiles = |outputs: usize, inputs: usize| {
        outputs.div_ceil(chip.tile_outputs()) * inputs.div_ceil(chip.tile_inputs())
    };
    let of_tier = |tier: &litecore_model::TierConfig| {
        let expert =
            2 * tiles(tier.expert_width, config.width) + tiles(config.width, tier.expert_width);
        let experts = tier.experts().saturating_mul(tier.layer_count(config.layers));
        experts.saturating_mul(expert).saturating_mul(tile_bytes)
    };
    let needed = config.tiers.iter().map(of_tier).fold(0, usize::saturating_add);
    if needed <= CODE_BYTES_MAX {
        return Ok(());
    }
    let (layer, what) =
        (config.name.clone(), "bytes of weight codes for this chip, padding included");
    Err(CompileError::TooLarge { layer, what, needed, limit: CODE_BYTES_MAX })
}

/// Experts whose weights are in memory at a time, for each thread.
const EXPERTS_PER_THREAD: usize = 4;

/// Compiles every expert of a checkpoint for a chip.
///
/// `chip_text` is the TOML text `chip` was read from; compiled models carry it. `samples` gives
/// typical inputs of an expert, rows × width, or nothing. `progress` is told how many experts are
/// done, and how many there are. Tiers that need a newer reader are left out.
/// Errors: see [`CompileError`]; of several experts at fault, the first in key order is reported.
pub fn compile_model(
    chip: &ChipDescription,
    chip_text: &str,
    checkpoint: &Checkpoint,
    samples: &dyn Fn(u32, ExpertKey) -> Vec<f32>,
    options: &CompileOptions,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<CompiledModel, CompileError> {
    let config = checkpoint.config();
    check_text(chip, chip_text, config)?;
    check_size(chip, config)?;
    let mut dense = BTreeMap::new();
    for spec in config.dense_specs() {
        let tensor = checkpoint.tensor_f32(&spec.name).map_err(|source| CompileError::Tensor {
            layer: config.name.clone(),
            tensor: spec.name.clone(),
            source: Box::new(source),
        })?;
        dense.insert(spec.name, tensor);
    }
    let places = expert_places(config);
    let mut experts = BTreeMap::new();
    let mut reports = BTreeMap::new();
    progress(0, places.len());
    for batch in places.chunks(EXPERTS_PER_THREAD * rayon::current_num_threads().max(1)) {
        // Samples and weights are read here, so that neither source need be shared by threads.
        let sources: Vec<ExpertSource> = batch
            .iter()
            .map(|&place| ExpertSource::read(checkpoint, place, samples(place.0, place.1)))
            .collect::<Result<_, _>>()?;
        let compiled: Vec<_> =
            sources.par_iter().map(|source| source.compile(chip, options)).collect();
        for (&place, compiled) in batch.iter().zip(compiled) {
            let compiled = compiled?;
            experts.insert(place, Arc::new(compiled.program));
            reports.insert(place, compiled.report);
        }
        progress(experts.len(), places.len());
    }
    Ok(CompiledModel {
        chip: chip.clone(),
        chip_text: chip_text.to_owned(),
        config: config.clone(),
        checkpoint: checkpoint.digest(),
        dense,
        experts,
        reports,
    })
}

/// Every expert of the usable tiers, by layer and key, ascending.
pub(crate) fn expert_places(config: &ModelConfig) -> Vec<ExpertPlace> {
    (0..config.layers).flat_map(|layer| layer_places(config, layer)).collect()
}

/// The experts of the usable tiers in one layer, in key order.
pub(crate) fn layer_places(
    config: &ModelConfig,
    layer: usize,
) -> impl Iterator<Item = ExpertPlace> + '_ {
    let index = layer;
    let layer = u32::try_from(layer).unwrap_or(u32::MAX);
    // Tiers are left out before their experts are counted: an unusable one may claim any number.
    let here = move |tier: &litecore_model::TierConfig| tier.is_usable() && tier.is_in(index);
    let usable = (0..=u16::MAX).zip(&config.tiers).filter(move |(_, tier)| here(tier));
    usable.flat_map(move |(tier, entry)| {
        let (groups, experts) = (entry.groups, entry.experts_per_group);
        (0..=u16::MAX).take(groups).flat_map(move |group| {
            let key = move |expert| (layer, ExpertKey { tier, group, expert });
            (0..=u16::MAX).take(experts).map(key)
        })
    })
}

fn check_text(
    chip: &ChipDescription,
    text: &str,
    config: &ModelConfig,
) -> Result<(), CompileError> {
    let model = config.name.clone();
    match ChipDescription::from_toml(text, &chip.name) {
        Err(source) => Err(CompileError::ChipText { model, source }),
        Ok(described) if described != *chip => {
            Err(CompileError::ChipTextMismatch { model, chip: chip.name.clone() })
        }
        Ok(_) => Ok(()),
    }
}

/// The weights and samples of one expert.
struct ExpertSource {
    name: String,
    width: usize,
    expert_width: usize,
    gate: Tensor,
    up: Tensor,
    down: Tensor,
    samples: Vec<f32>,
}

impl ExpertSource {
    fn read(
        checkpoint: &Checkpoint,
        (layer, key): ExpertPlace,
        samples: Vec<f32>,
    ) -> Result<Self, CompileError> {
        let config = checkpoint.config();
        let tier = &config.tiers[usize::from(key.tier)];
        let name = format!("layer {layer} {}.{}.{}", tier.id, key.group, key.expert);
        let tensor = |part| {
            let tensor = names::expert(layer as usize, &tier.id, key.group, key.expert, part);
            checkpoint.tensor_f32(&tensor).map_err(|source| CompileError::Tensor {
                layer: name.clone(),
                tensor,
                source: Box::new(source),
            })
        };
        Ok(Self {
            gate: tensor(Part::Gate)?,
            up: tensor(Part::Up)?,
            down: tensor(Part::Down)?,
            width: config.width,
            expert_width: tier.expert_width,
            name,
            samples,
        })
    }

    fn compile(
        &self,
        chip: &ChipDescription,
        options: &CompileOptions,
    ) -> Result<crate::CompiledExpert, CompileError> {
        let weights = ExpertWeights {
            name: &self.name,
            gate: &self.gate.data,
            up: &self.up.data,
            down: &self.down.data,
            width: self.width,
            expert_width: self.expert_width,
        };
        compile_expert(chip, &weights, &self.samples, options)
    }
}
