//! Reading a compiled model: every length checked before it is used, every program verified.

use super::check::{check_dense, check_experts, check_program};
use super::repr::{ExpertRepr, Index, RecordRepr, StepRepr, TensorRepr};
use super::source::Source;
use super::{
    ArtifactError, ArtifactProblem, DIGEST_BYTES, END_MARK, HEADER_BYTES, LAYOUTS_MAX, MAGIC,
    TRAILER_BYTES, VERSION,
};
use crate::model::{CompiledModel, ExpertPlace};
use crate::report::LayerReport;
use litecore_model::checkpoint::Digest;
use litecore_model::{ModelConfig, Tensor};
use litecore_types::chip::ChipDescription;
use litecore_types::program::{Step, VerifiedLayout, VerifiedProgram};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Most steps of a model that is in memory whole, from a file of so many bytes: 64 MiB, and 256 bytes for
/// each byte of the file.
///
/// Steps that many programs share stand in the file once, so its length alone says little of them. But a
/// tile takes about twenty bytes of a record even where it has two codes, and three steps for each read.
fn steps_max(bytes: u64) -> usize {
    let room = (64_u64 << 20).saturating_add(bytes.saturating_mul(256));
    usize::try_from(room).unwrap_or(usize::MAX) / size_of::<Step>()
}

/// A compiled model in a file, read expert by expert.
///
/// Opening reads the file once, in constant memory, to check its digest; memory is taken for the
/// index, and for what is asked for.
#[derive(Debug)]
pub struct ArtifactReader<'a> {
    origin: String,
    source: Source<'a>,
    chip: ChipDescription,
    index: Index,
    layouts: Vec<Layout>,
    /// Where each expert's record is in the index, and in the file.
    records: BTreeMap<ExpertPlace, (usize, u64)>,
}

/// Steps that some programs have, but for their gains.
#[derive(Debug)]
struct Layout {
    steps: Vec<Step>,
    /// What the verifier found, once there was a program to look at.
    verified: Option<Box<VerifiedLayout>>,
}

impl Layout {
    fn new(steps: Vec<StepRepr>) -> Self {
        let steps = steps.into_iter().map(StepRepr::into_step).collect();
        Self { steps, verified: None }
    }
}

impl ArtifactReader<'_> {
    /// Opens a file.
    ///
    /// Errors: see [`ArtifactProblem`].
    pub fn open(path: &Path) -> Result<Self, ArtifactError> {
        let origin = path.display().to_string();
        match Source::open(path).and_then(read_index) {
            Ok(opened) => Ok(Self::new(origin, opened)),
            Err(problem) => Err(problem.of(&origin)),
        }
    }
}

impl<'a> ArtifactReader<'a> {
    fn new(origin: String, opened: Opened<'a>) -> Self {
        let Opened { source, chip, index, layouts, records } = opened;
        Self { origin, source, chip, index, layouts, records }
    }

    /// The chip the programs are for.
    pub fn chip(&self) -> &ChipDescription {
        &self.chip
    }

    /// The model.
    pub fn config(&self) -> &ModelConfig {
        &self.index.model
    }

    /// The experts, by layer and key.
    pub fn experts(&self) -> impl Iterator<Item = ExpertPlace> + '_ {
        self.records.keys().copied()
    }

    /// Reads one expert, or nothing if the model has no such expert.
    ///
    /// Errors: see [`ArtifactProblem`].
    pub fn expert(
        &mut self,
        place: ExpertPlace,
    ) -> Result<Option<(VerifiedProgram, LayerReport)>, ArtifactError> {
        let Some(&(position, at)) = self.records.get(&place) else { return Ok(None) };
        let record = self.index.experts[position];
        self.read_expert(record, at).map(Some).map_err(|problem| problem.of(&self.origin))
    }

    /// Reads all tensors outside the experts.
    ///
    /// Errors: see [`ArtifactProblem`].
    pub fn dense(&mut self) -> Result<BTreeMap<String, Tensor>, ArtifactError> {
        let mut at = HEADER_BYTES;
        let mut tensors = BTreeMap::new();
        for TensorRepr { name, shape } in &self.index.dense {
            let bytes = 4 * shape.iter().product::<usize>() as u64;
            let data = self.source.bytes(at, bytes).map_err(|problem| problem.of(&self.origin))?;
            at += bytes;
            let tensor = Tensor { shape: shape.clone(), data: floats(&data) };
            if let Some(index) = tensor.first_non_finite() {
                let problem = ArtifactProblem::NonFinite { tensor: name.clone(), index };
                return Err(problem.of(&self.origin));
            }
            tensors.insert(name.clone(), tensor);
        }
        Ok(tensors)
    }

    fn read_expert(
        &mut self,
        record: RecordRepr,
        at: u64,
    ) -> Result<(VerifiedProgram, LayerReport), ArtifactProblem> {
        let (chip, config, place) = (&self.chip, &self.index.model, record.place());
        let metadata = self.source.bytes(at, record.metadata)?;
        let ExpertRepr { program, report } = parse(&metadata)?;
        let layouts = self.layouts.len();
        let mut own;
        let layout = if let Some(layout) = record.layout {
            let missing = ArtifactProblem::NoSuchLayout { place, layout, layouts };
            self.layouts.get_mut(layout).ok_or(missing)?
        } else {
            let steps = self.source.bytes(at + record.metadata, record.steps)?;
            own = Layout::new(parse(&steps)?);
            &mut own
        };
        check_program(config, place, &program, layout.steps.len())?;
        let claimed = program.payload_bytes(chip);
        if claimed != u128::from(record.payload) {
            return Err(ArtifactProblem::PayloadLength { claimed, found: record.payload });
        }
        let payload = self.source.bytes(at + record.metadata + record.steps, record.payload)?;
        let program = program.into_program(&layout.steps, &payload, chip);
        let refused = |violations| ArtifactProblem::Refused { place, violations };
        let program = if let Some(verified) = &layout.verified {
            verified.verify(program).map_err(refused)?
        } else {
            let (program, verified) = VerifiedLayout::new(program, chip).map_err(refused)?;
            layout.verified = Some(Box::new(verified));
            program
        };
        let (inputs, outputs, width) = (program.input_len(), program.output_len(), config.width);
        if (inputs, outputs) != (width, width) {
            return Err(ArtifactProblem::ExpertWidth { place, inputs, outputs, width });
        }
        Ok((program, report.into_report()))
    }

    fn into_model(mut self) -> Result<CompiledModel, ArtifactError> {
        let dense = self.dense()?;
        let mut experts = BTreeMap::new();
        let mut reports = BTreeMap::new();
        let (mut steps, limit) = (0, steps_max(self.source.len()));
        for place in self.experts().collect::<Vec<_>>() {
            if let Some((program, report)) = self.expert(place)? {
                // In the file they stand once, so its length says nothing of them.
                steps += program.steps.len();
                if steps > limit {
                    let what = "steps, those of the experts before it counted,";
                    let problem = ArtifactProblem::TooLarge { place, what, found: steps, limit };
                    return Err(problem.of(&self.origin));
                }
                experts.insert(place, Arc::new(program));
                reports.insert(place, report);
            }
        }
        let Index { chip: chip_text, model: config, checkpoint, tokenizer, .. } = self.index;
        Ok(CompiledModel {
            chip: self.chip,
            chip_text,
            config,
            checkpoint,
            tokenizer,
            dense,
            experts,
            reports,
        })
    }
}

impl CompiledModel {
    /// Reads a compiled model from a file.
    ///
    /// The digest is checked, every program is verified again, and tensors and experts must be
    /// exactly those of the model. Errors: see [`ArtifactProblem`].
    pub fn read(path: &Path) -> Result<Self, ArtifactError> {
        ArtifactReader::open(path)?.into_model()
    }

    /// Reads a compiled model from memory; `origin` names it in errors. See [`Self::read`].
    pub fn from_bytes(bytes: &[u8], origin: &str) -> Result<Self, ArtifactError> {
        match read_index(Source::Memory(bytes)) {
            Ok(opened) => ArtifactReader::new(origin.to_owned(), opened).into_model(),
            Err(problem) => Err(problem.of(origin)),
        }
    }
}

/// An artifact whose index has been checked.
struct Opened<'a> {
    source: Source<'a>,
    chip: ChipDescription,
    index: Index,
    layouts: Vec<Layout>,
    records: BTreeMap<ExpertPlace, (usize, u64)>,
}

fn read_index(mut source: Source<'_>) -> Result<Opened<'_>, ArtifactProblem> {
    check_header(&mut source)?;
    let content = source.len() - DIGEST_BYTES - END_MARK.len() as u64;
    check_digest(&mut source, content)?;
    let length = source.bytes(content - 8, 8)?;
    let length = u64::from_le_bytes(length.try_into().expect("eight bytes were read"));
    let available = content - 8 - HEADER_BYTES;
    if length > available {
        let (claimed, found) = (u128::from(length), available);
        return Err(ArtifactProblem::PayloadLength { claimed, found });
    }
    let bytes = source.bytes(content - 8 - length, length)?;
    let mut index: Index = parse(&bytes)?;
    let chip = ChipDescription::from_toml(&index.chip, "chip description of a compiled model")
        .map_err(|source| ArtifactProblem::Chip { source })?;
    index.model.validate().map_err(|source| ArtifactProblem::Config { source })?;
    check_dense(&index.model, &index.dense)?;
    check_experts(&index.model, &index.experts)?;
    let records = locate(&index, available - length)?;
    if index.layouts.len() > LAYOUTS_MAX {
        let (found, limit) = (index.layouts.len(), LAYOUTS_MAX);
        return Err(ArtifactProblem::TooManyLayouts { found, limit });
    }
    let layouts = std::mem::take(&mut index.layouts).into_iter().map(Layout::new).collect();
    Ok(Opened { source, chip, index, layouts, records })
}

fn parse<'de, T: serde::Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, ArtifactProblem> {
    serde_json::from_slice(bytes).map_err(|source| ArtifactProblem::Metadata {
        line: source.line(),
        column: source.column(),
        source,
    })
}

/// Where each record is, once all lengths are known to fill the `found` bytes that there are.
fn locate(
    index: &Index,
    found: u64,
) -> Result<BTreeMap<ExpertPlace, (usize, u64)>, ArtifactProblem> {
    let dense = index.dense.iter().map(|tensor| {
        let elements = tensor.shape.iter().map(|length| *length as u128);
        elements.fold(4, u128::saturating_mul)
    });
    let dense = dense.fold(0, u128::saturating_add);
    let record = |record: &RecordRepr| {
        [record.metadata, record.steps, record.payload].into_iter().map(u128::from).sum::<u128>()
    };
    let claimed = index.experts.iter().map(record).fold(dense, u128::saturating_add);
    if claimed != u128::from(found) {
        return Err(ArtifactProblem::PayloadLength { claimed, found });
    }
    // From here on every length is known to be in the file.
    let mut at = HEADER_BYTES + u64::try_from(dense).unwrap_or(u64::MAX);
    let mut records = BTreeMap::new();
    for (position, record) in index.experts.iter().enumerate() {
        records.insert(record.place(), (position, at));
        at += record.metadata + record.steps + record.payload;
    }
    Ok(records)
}

fn check_header(source: &mut Source<'_>) -> Result<(), ArtifactProblem> {
    let len = source.len();
    let first = source.bytes(0, len.min(HEADER_BYTES))?;
    let magic = first.len().min(MAGIC.len());
    if first[..magic] != MAGIC[..magic] || first.is_empty() {
        return Err(ArtifactProblem::NotACompiledModel);
    }
    let least = HEADER_BYTES + TRAILER_BYTES;
    if let Some(version) = first[magic..].first_chunk() {
        match u32::from_le_bytes(*version) {
            0 => return Err(ArtifactProblem::NotACompiledModel),
            VERSION => {}
            found if found < VERSION => {
                return Err(ArtifactProblem::VersionTooOld { found, supported: VERSION });
            }
            found => return Err(ArtifactProblem::VersionTooNew { found, supported: VERSION }),
        }
    }
    let end = END_MARK.len() as u64;
    if len < least || source.bytes(len - end, end)? != END_MARK {
        return Err(ArtifactProblem::Truncated { at: len });
    }
    Ok(())
}

fn check_digest(source: &mut Source<'_>, content: u64) -> Result<(), ArtifactProblem> {
    let found = source.digest(content)?;
    let stored = source.bytes(content, DIGEST_BYTES)?;
    if *found.as_bytes() == stored[..] {
        return Ok(());
    }
    let stored = blake3::Hash::from_slice(&stored).expect("a digest was read");
    let digest =
        |hash: blake3::Hash| -> Digest { hash.to_hex().parse().expect("64 hexadecimal digits") };
    Err(ArtifactProblem::DigestMismatch { expected: digest(stored), found: digest(found) })
}

/// Little-endian floats.
pub(super) fn floats(bytes: &[u8]) -> Vec<f32> {
    let (words, _) = bytes.as_chunks::<4>();
    words.iter().map(|word| f32::from_le_bytes(*word)).collect()
}
