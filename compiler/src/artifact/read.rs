//! Reading a compiled model: every length checked before it is used, every program verified.

use super::repr::{ExpertRepr, Metadata, ProgramRepr, TensorRepr};
use super::{ArtifactError, ArtifactProblem, DIGEST_BYTES, HEADER_BYTES, MAGIC, VERSION};
use crate::memory::BUFFER_ELEMENTS_MAX;
use crate::model::{CompiledModel, ExpertPlace, layer_places};
use crate::report::LayerReport;
use crate::schedule::STEPS_MAX;
use litecore_model::checkpoint::Digest;
use litecore_model::{ExpertKey, ModelConfig, Tensor};
use litecore_types::chip::ChipDescription;
use litecore_types::program::{Tile, VerifiedProgram};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::sync::Arc;

impl CompiledModel {
    /// Reads a compiled model from a file.
    ///
    /// The digest is checked, every program is verified again, and tensors and experts must be
    /// exactly those of the model. Errors: see [`ArtifactProblem`].
    pub fn read(path: &Path) -> Result<Self, ArtifactError> {
        let origin = path.display().to_string();
        let bytes = read_file(path).map_err(|problem| problem.of(&origin))?;
        Self::from_bytes(&bytes, &origin)
    }

    /// Reads a compiled model from memory; `origin` names it in errors. See [`Self::read`].
    pub fn from_bytes(bytes: &[u8], origin: &str) -> Result<Self, ArtifactError> {
        decode(bytes).map_err(|problem| problem.of(origin))
    }
}

/// The lengths at the beginning of the file.
struct Header {
    metadata_bytes: u64,
    payload_bytes: u64,
}

impl Header {
    /// Reads the header of a file of `file_bytes`, whose first bytes are given.
    fn new(first: &[u8], file_bytes: u64) -> Result<Self, ArtifactProblem> {
        let magic = first.len().min(MAGIC.len());
        if first[..magic] != MAGIC[..magic] || first.is_empty() {
            return Err(ArtifactProblem::NotACompiledModel);
        }
        let mut cursor = Cursor { bytes: &first[magic..] };
        let cut_off = ArtifactProblem::Truncated {
            at: file_bytes,
            expected: (HEADER_BYTES + DIGEST_BYTES) as u64,
        };
        let Some(version) = cursor.u32() else { return Err(cut_off) };
        match version {
            0 => return Err(ArtifactProblem::NotACompiledModel),
            1..=VERSION => {}
            found => return Err(ArtifactProblem::VersionTooNew { found, supported: VERSION }),
        }
        let (Some(metadata_bytes), Some(payload_bytes)) = (cursor.u64(), cursor.u64()) else {
            return Err(cut_off);
        };
        let around = (HEADER_BYTES + DIGEST_BYTES) as u64;
        let expected = around.saturating_add(metadata_bytes).saturating_add(payload_bytes);
        if file_bytes < expected {
            return Err(ArtifactProblem::Truncated { at: file_bytes, expected });
        }
        if file_bytes > expected {
            return Err(ArtifactProblem::TrailingBytes { expected, found: file_bytes });
        }
        Ok(Self { metadata_bytes, payload_bytes })
    }
}

/// Reads a whole file, but only after its header agrees with its length.
fn read_file(path: &Path) -> Result<Vec<u8>, ArtifactProblem> {
    let unreadable = |source| ArtifactProblem::Unreadable { source };
    let mut file = File::open(path).map_err(unreadable)?;
    let file_bytes = file.metadata().map_err(unreadable)?.len();
    let mut bytes = Vec::new();
    file.by_ref().take(HEADER_BYTES as u64).read_to_end(&mut bytes).map_err(unreadable)?;
    Header::new(&bytes, file_bytes)?;
    let capacity = usize::try_from(file_bytes)
        .map_err(|_| unreadable(std::io::Error::from(ErrorKind::FileTooLarge)))?;
    bytes.reserve_exact(capacity - bytes.len());
    file.take(file_bytes).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

fn decode(bytes: &[u8]) -> Result<CompiledModel, ArtifactProblem> {
    let header = Header::new(&bytes[..bytes.len().min(HEADER_BYTES)], bytes.len() as u64)?;
    let (content, stored) = bytes.split_at(bytes.len() - DIGEST_BYTES);
    check_digest(content, stored)?;
    let (metadata, payload) = content[HEADER_BYTES..]
        .split_at(usize::try_from(header.metadata_bytes).unwrap_or(usize::MAX));
    let Metadata { chip: chip_text, model: config, checkpoint, dense, experts } =
        serde_json::from_slice(metadata).map_err(|source| ArtifactProblem::Metadata {
            line: source.line(),
            column: source.column(),
            source,
        })?;
    let chip = ChipDescription::from_toml(&chip_text, "chip description of a compiled model")
        .map_err(|source| ArtifactProblem::Chip { source })?;
    config.validate().map_err(|source| ArtifactProblem::Config { source })?;
    check_dense(&config, &dense)?;
    check_experts(&config, &experts)?;
    let claimed = claimed_bytes(&chip, &dense, &experts);
    if claimed != u128::from(header.payload_bytes) {
        return Err(ArtifactProblem::PayloadLength { claimed, found: header.payload_bytes });
    }

    // From here on every length is known to be in the payload.
    let mut payload = Cursor { bytes: payload };
    let dense = read_dense(dense, &mut payload)?;
    let mut programs = BTreeMap::new();
    let mut reports = BTreeMap::new();
    for expert in experts {
        let (place, program, report) = read_expert(expert, &chip, config.width, &mut payload)?;
        programs.insert(place, Arc::new(program));
        reports.insert(place, report);
    }
    Ok(CompiledModel { chip, chip_text, config, checkpoint, dense, experts: programs, reports })
}

fn check_digest(content: &[u8], stored: &[u8]) -> Result<(), ArtifactProblem> {
    let found = Digest::of(content);
    if found.as_bytes() == stored {
        return Ok(());
    }
    let stored = blake3::Hash::from_slice(stored).expect("a digest was split off");
    let expected = stored.to_hex().parse().expect("64 hexadecimal digits");
    Err(ArtifactProblem::DigestMismatch { expected, found })
}

/// Checks that names and shapes are those of the model, by name.
fn check_dense(config: &ModelConfig, dense: &[TensorRepr]) -> Result<(), ArtifactProblem> {
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

/// Checks that the experts are those of the model, in order, and of a size that can be verified.
fn check_experts(config: &ModelConfig, experts: &[ExpertRepr]) -> Result<(), ArtifactProblem> {
    let mut needed = (0..config.layers).flat_map(|layer| layer_places(config, layer));
    let mut found = experts.iter();
    loop {
        let expert = found.next();
        match (needed.next(), expert.map(ExpertRepr::place)) {
            (None, None) => return Ok(()),
            (expected, found) if expected == found => {}
            (expected, found) => return Err(ArtifactProblem::Expert { expected, found }),
        }
        let Some(expert) = expert else { return Ok(()) };
        // Every figure per multiply-accumulate divides by this.
        let tier = &config.tiers[usize::from(expert.tier)];
        let expected = u64::try_from(config.expert_parameters(tier)).unwrap_or(u64::MAX);
        let found = expert.program.useful_macs_per_symbol();
        if found != expected {
            return Err(ArtifactProblem::UsefulMacs { place: expert.place(), found, expected });
        }
        let ProgramRepr { buffers, steps, .. } = &expert.program;
        let elements = buffers.iter().fold(0_usize, |sum, buffer| sum.saturating_add(buffer.len));
        for (what, found, limit) in
            [("steps", steps.len(), STEPS_MAX), ("buffer elements", elements, BUFFER_ELEMENTS_MAX)]
        {
            if found > limit {
                return Err(ArtifactProblem::TooLarge {
                    place: expert.place(),
                    what,
                    found,
                    limit,
                });
            }
        }
    }
}

/// Bytes of payload that the metadata speaks of.
fn claimed_bytes(chip: &ChipDescription, dense: &[TensorRepr], experts: &[ExpertRepr]) -> u128 {
    let floats = |count: u128| count.saturating_mul(4);
    let tile_bytes = tile_bytes(chip) as u128;
    let dense = dense.iter().map(|tensor| {
        let elements = tensor.shape.iter().map(|length| *length as u128);
        floats(elements.fold(1, u128::saturating_mul))
    });
    let experts = experts.iter().map(|expert| {
        let constants = expert.program.tables.iter().map(|length| *length as u128);
        let tiles = (expert.program.tiles as u128).saturating_mul(tile_bytes);
        floats(constants.fold(0, u128::saturating_add)).saturating_add(tiles)
    });
    dense.chain(experts).fold(0, u128::saturating_add)
}

fn tile_bytes(chip: &ChipDescription) -> usize {
    chip.tile_inputs() * chip.tile_outputs()
}

fn read_dense(
    dense: Vec<TensorRepr>,
    payload: &mut Cursor<'_>,
) -> Result<BTreeMap<String, Tensor>, ArtifactProblem> {
    let mut tensors = BTreeMap::new();
    for TensorRepr { name, shape } in dense {
        let data = payload.floats(shape.iter().product());
        let tensor = Tensor { shape, data };
        if let Some(index) = tensor.first_non_finite() {
            return Err(ArtifactProblem::NonFinite { tensor: name, index });
        }
        tensors.insert(name, tensor);
    }
    Ok(tensors)
}

fn read_expert(
    expert: ExpertRepr,
    chip: &ChipDescription,
    width: usize,
    payload: &mut Cursor<'_>,
) -> Result<(ExpertPlace, VerifiedProgram, LayerReport), ArtifactProblem> {
    let place = expert.place();
    let tables = expert.program.tables.iter().map(|length| payload.floats(*length)).collect();
    let codes = || Tile { codes: payload.codes(tile_bytes(chip)) };
    let tiles = std::iter::repeat_with(codes).take(expert.program.tiles).collect();
    let program = expert.program.into_program(tables, tiles);
    let program = VerifiedProgram::new(program, chip)
        .map_err(|violations| ArtifactProblem::Refused { place, violations })?;
    let (inputs, outputs) = (program.input_len(), program.output_len());
    if (inputs, outputs) != (width, width) {
        return Err(ArtifactProblem::ExpertWidth { place, inputs, outputs, width });
    }
    Ok((place, program, expert.report.into_report()))
}

impl ExpertRepr {
    fn place(&self) -> ExpertPlace {
        let (tier, group, expert) = (self.tier, self.group, self.expert);
        (self.layer, ExpertKey { tier, group, expert })
    }
}

/// Takes numbers off the front of some bytes.
struct Cursor<'a> {
    bytes: &'a [u8],
}

impl Cursor<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.bytes.split_first_chunk()?;
        self.bytes = rest;
        Some(*taken)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// Panics: if there are fewer; the metadata was held against the payload's length.
    fn floats(&mut self, count: usize) -> Vec<f32> {
        let (taken, rest) = self.bytes.split_at(4 * count);
        self.bytes = rest;
        let float =
            |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().expect("chunks of four bytes"));
        taken.chunks_exact(4).map(float).collect()
    }

    /// Panics: if there are fewer; the metadata was held against the payload's length.
    fn codes(&mut self, count: usize) -> Vec<i8> {
        let (taken, rest) = self.bytes.split_at(count);
        self.bytes = rest;
        taken.iter().map(|byte| byte.cast_signed()).collect()
    }
}
