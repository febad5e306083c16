//! Every expert of a checkpoint, compiled in parallel, with a result that does not depend on it.

use crate::artifact::{ArtifactWriter, Record};
use crate::report::LayerReport;
use crate::{CompileError, CompileOptions, CompiledExpert, ExpertWeights, compile_expert};
use litecore_model::checkpoint::{Checkpoint, Digest, Pass};
use litecore_model::names::{self, Part};
use litecore_model::{ByteTokenizer, ExpertKey, ModelConfig, Tensor, Tokenizer, TokenizerError};
use litecore_types::chip::ChipDescription;
use litecore_types::program::VerifiedProgram;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, mpsc};

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
    /// The text of the tokenizer's file; nothing where the tokens are bytes.
    pub tokenizer: Option<String>,
    /// All tensors outside the experts, by name.
    pub dense: BTreeMap<String, Tensor>,
    /// The expert programs, by layer and key.
    pub experts: BTreeMap<ExpertPlace, Arc<VerifiedProgram>>,
    /// What became of each expert.
    pub reports: BTreeMap<ExpertPlace, LayerReport>,
}

impl CompiledModel {
    /// What turns text into tokens and back.
    ///
    /// Errors: the tokenizer's file is none, or not of this model; or there is none for tokens that are
    /// no bytes.
    pub fn tokenizer(&self) -> Result<Tokenizer, TokenizerError> {
        let vocab = self.config.vocab;
        match &self.tokenizer {
            Some(text) => Tokenizer::from_json(text.as_bytes(), vocab),
            None if vocab <= ByteTokenizer::VOCAB => Ok(Tokenizer::Bytes),
            None => Err(TokenizerError::Absent { vocab }),
        }
    }
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

/// Weights of experts in the making at a time, for each thread: beyond it no other is begun.
const WEIGHTS_PER_THREAD: usize = 1 << 22;

/// Most experts in the making at a time, for each thread.
const EXPERTS_PER_THREAD: usize = 4;

/// What compiling a model asks for and tells.
pub struct ModelRequest<'a> {
    /// The chip.
    pub chip: &'a ChipDescription,
    /// The TOML text `chip` was read from; compiled models carry it.
    pub chip_text: &'a str,
    /// The model.
    pub checkpoint: &'a Checkpoint,
    /// Typical inputs of an expert, rows × width, or nothing.
    pub samples: &'a dyn Fn(u32, ExpertKey) -> Vec<f32>,
    /// How to compile.
    pub options: &'a CompileOptions,
}

/// Compiles every expert of a checkpoint for a chip, into memory.
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
    let tensors = checkpoint.pass();
    let mut dense = BTreeMap::new();
    let mut read_dense = || {
        for spec in config.dense_specs() {
            dense.insert(spec.name.clone(), dense_tensor(&tensors, config, &spec.name)?);
        }
        Ok(())
    };
    let mut experts = BTreeMap::new();
    let mut reports = BTreeMap::new();
    let request = ModelRequest { chip, chip_text, checkpoint, samples, options };
    compile_experts(&request, &tensors, progress, &mut read_dense, &mut |place, compiled, _| {
        experts.insert(place, Arc::new(compiled.program));
        reports.insert(place, compiled.report);
        Ok(())
    })?;
    finish(tensors, config)?;
    Ok(CompiledModel {
        chip: chip.clone(),
        chip_text: chip_text.to_owned(),
        config: config.clone(),
        checkpoint: checkpoint.digest(),
        tokenizer: tokenizer_text(checkpoint)?,
        dense,
        experts,
        reports,
    })
}

/// Compiles every expert of a checkpoint for a chip, into a file, in bounded memory.
///
/// In memory are a few experts for each thread and one dense tensor; no shard of a checkpoint in a
/// directory is ever in memory whole.
/// `observe` sees each expert before it is written, in layer and key order, and may stop it all. Where
/// this fails or is stopped, nothing is left: the target is what it was before.
/// Errors: see [`CompileError`]; of several experts at fault, the first in key order is reported.
pub fn compile_model_to(
    target: &Path,
    request: &ModelRequest<'_>,
    progress: &mut dyn FnMut(usize, usize),
    observe: &mut dyn FnMut(ExpertPlace, &CompiledExpert) -> ControlFlow<()>,
) -> Result<(), CompileError> {
    let (checkpoint, config) = (request.checkpoint, request.checkpoint.config());
    check_text(request.chip, request.chip_text, config)?;
    let mut writer =
        ArtifactWriter::create(target, request.chip_text, config, checkpoint.digest())?;
    if let Some(text) = tokenizer_text(checkpoint)? {
        writer.tokenizer(text);
    }
    let tensors = checkpoint.pass();
    let writer = RefCell::new(writer);
    let mut write_dense = || {
        let names: BTreeSet<String> = config.dense_specs().map(|spec| spec.name).collect();
        for name in names {
            writer.borrow_mut().dense(&name, &dense_tensor(&tensors, config, &name)?)?;
        }
        Ok(())
    };
    compile_experts(request, &tensors, progress, &mut write_dense, &mut |place, made, record| {
        if observe(place, &made).is_break() {
            return Err(CompileError::Stopped { model: config.name.clone() });
        }
        writer.borrow_mut().record(place, &record, &made.program)?;
        Ok(())
    })?;
    // Only now is it known that the tensors were those of the checkpoint.
    finish(tensors, config)?;
    writer.into_inner().finish()?;
    Ok(())
}

/// Takes an expert that is done, and its record for a file.
type Sink<'a> = dyn FnMut(ExpertPlace, CompiledExpert, Record) -> Result<(), CompileError> + 'a;

/// Compiles every expert and hands them on in layer and key order, after `first` was done: while the
/// first experts are in the making.
///
/// An expert begins when there is room for one more; those that are done wait for their turn.
fn compile_experts(
    request: &ModelRequest<'_>,
    tensors: &Pass<'_>,
    progress: &mut dyn FnMut(usize, usize),
    first: &mut dyn FnMut() -> Result<(), CompileError>,
    sink: &mut Sink<'_>,
) -> Result<(), CompileError> {
    let &ModelRequest { chip, checkpoint, samples, options, .. } = request;
    let config = checkpoint.config();
    let threads = rayon::current_num_threads().max(1);
    let places = || (0..config.layers).flat_map(|layer| layer_places(config, layer));
    let total = places().count();
    let mut places = places();
    let weights_of = |place: ExpertPlace| {
        let tier = &config.tiers[usize::from(place.1.tier)];
        usize::try_from(config.expert_parameters(tier)).unwrap_or(usize::MAX)
    };
    let compile = |place: ExpertPlace, samples: Vec<f32>| {
        let source = ExpertSource::read(tensors, config, place, samples)?;
        let compiled = source.compile(chip, options)?;
        tensors.give_back(source.into_tensors());
        let record = Record::new(&compiled.program, &compiled.report)?;
        Ok((place, compiled, record))
    };
    let (compile, (give, take)) = (&compile, mpsc::channel());
    progress(0, total);
    // Within this scope, the sink stays on this thread and needs to be no other's.
    rayon::in_place_scope(|scope| {
        let mut ready = BTreeMap::new();
        let (mut started, mut weights) = (0, 0_usize);
        let mut following = places.next();
        let mut first = Some(first);
        for done in 0..total {
            while let Some(place) = following {
                let room = started - done < EXPERTS_PER_THREAD * threads
                    && weights < WEIGHTS_PER_THREAD * threads;
                if !room {
                    break;
                }
                // Samples are asked for here, so that their source need not be shared by threads.
                let (samples, give, turn) = (samples(place.0, place.1), give.clone(), started);
                // Nobody takes it where another expert was at fault.
                scope.spawn(move |_| _ = give.send((turn, compile(place, samples))));
                started += 1;
                weights = weights.saturating_add(weights_of(place));
                following = places.next();
            }
            if let Some(first) = first.take() {
                first()?;
            }
            let compiled: Result<_, CompileError> = loop {
                match ready.remove(&done) {
                    Some(compiled) => break compiled,
                    None => _ = next(&take).map(|(turn, compiled)| ready.insert(turn, compiled)),
                }
            };
            let (place, compiled, record) = compiled?;
            sink(place, compiled, record)?;
            weights -= weights_of(place);
            progress(done + 1, total);
        }
        // Where there is no expert at all.
        first.map_or(Ok(()), |first| first())
    })
}

/// The next result. A thread of the pool works on while it waits, as it may be the only one.
fn next<T>(results: &mpsc::Receiver<T>) -> Option<T> {
    if rayon::current_thread_index().is_none() {
        return results.recv().ok();
    }
    let result = results.try_recv().ok();
    if result.is_none() {
        rayon::yield_now();
    }
    result
}

/// The text of the tokenizer's file, where the model has a vocabulary of its own.
fn tokenizer_text(checkpoint: &Checkpoint) -> Result<Option<String>, CompileError> {
    checkpoint.tokenizer_text().map_err(|source| CompileError::Tokenizer {
        model: checkpoint.config().name.clone(),
        source: Box::new(source),
    })
}

/// A tensor outside the experts.
fn dense_tensor(
    tensors: &Pass<'_>,
    config: &ModelConfig,
    name: &str,
) -> Result<Tensor, CompileError> {
    tensors.tensor_f32(name).map_err(|source| CompileError::Tensor {
        layer: config.name.clone(),
        tensor: name.to_owned(),
        source: Box::new(source),
    })
}

/// Checks the digests of all that was read.
fn finish(tensors: Pass<'_>, config: &ModelConfig) -> Result<(), CompileError> {
    tensors.finish().map_err(|source| CompileError::Checkpoint {
        model: config.name.clone(),
        source: Box::new(source),
    })
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
        tensors: &Pass<'_>,
        config: &ModelConfig,
        (layer, key): ExpertPlace,
        samples: Vec<f32>,
    ) -> Result<Self, CompileError> {
        let tier = &config.tiers[usize::from(key.tier)];
        let name = format!("layer {layer} {}.{}.{}", tier.id, key.group, key.expert);
        let tensor = |part| {
            let tensor = names::expert(layer as usize, &tier.id, key.group, key.expert, part);
            tensors.tensor_f32(&tensor).map_err(|source| CompileError::Tensor {
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

    fn into_tensors(self) -> [Tensor; 3] {
        [self.gate, self.up, self.down]
    }

    fn compile(
        &self,
        chip: &ChipDescription,
        options: &CompileOptions,
    ) -> Result<CompiledExpert, CompileError> {
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
