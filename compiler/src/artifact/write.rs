//! Writing a compiled model: in one pass, all of it or nothing.

use super::report_repr::ReportRepr;
use super::repr::{ExpertRepr, Index, ProgramRepr, RecordRepr, StepRepr, TensorRepr};
use super::{ArtifactError, ArtifactProblem, END_MARK, LAYOUTS_MAX, MAGIC, VERSION};
use crate::gains::gains_of_steps;
use crate::model::{CompiledModel, ExpertPlace};
use crate::report::LayerReport;
use litecore_model::checkpoint::Digest;
use litecore_model::{ModelConfig, Tensor};
use litecore_types::program::{Program, Step};
use rustix::fs::{Advice, fadvise};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

/// A compiled model that is being written, expert by expert.
///
/// The bytes go to `.NAME.partial` beside the target, which [`Self::finish`] flushes and renames:
/// the target is the old file or the new one, whatever happens; without it, nothing is left. Two
/// writers exclude each other by that name.
/// Order: dense tensors by name, then experts by layer and key, as a reader demands it.
#[derive(Debug)]
pub struct ArtifactWriter {
    target: PathBuf,
    temporary: Temporary,
    encoder: Encoder<Outgoing>,
}

impl ArtifactWriter {
    /// Starts a file for a model and a chip, given as the TOML text it was read from.
    ///
    /// Errors: see [`ArtifactProblem`].
    pub fn create(
        target: &Path,
        chip_text: &str,
        config: &ModelConfig,
        checkpoint: Digest,
    ) -> Result<Self, ArtifactError> {
        let origin = target.display().to_string();
        let create = || -> Result<Self, ArtifactProblem> {
            let temporary = Temporary::beside(target)?;
            let file = temporary.file.try_clone().map_err(unwritable)?;
            let index = new_index(chip_text, config, checkpoint);
            let encoder = Encoder::new(Outgoing::new(file), index)?;
            Ok(Self { target: target.to_owned(), temporary, encoder })
        };
        create().map_err(|problem| problem.of(&origin))
    }

    /// Keeps the tokenizer, given as the text of its file, for the end of the file.
    pub fn tokenizer(&mut self, text: String) {
        self.encoder.index.tokenizer = Some(text);
    }

    /// Appends a tensor outside the experts.
    ///
    /// Errors: the operating system refuses.
    pub fn dense(&mut self, name: &str, tensor: &Tensor) -> Result<(), ArtifactError> {
        self.encoder.dense(name, tensor).map_err(|problem| self.named(problem))
    }

    /// Appends an expert.
    ///
    /// Errors: the operating system refuses.
    pub fn expert(
        &mut self,
        place: ExpertPlace,
        program: &Program,
        report: &LayerReport,
    ) -> Result<(), ArtifactError> {
        let record = Record::encode(program, report).map_err(|problem| self.named(problem))?;
        self.record(place, &record, program)
    }

    /// Appends an expert whose record was made before, in another thread perhaps.
    pub(crate) fn record(
        &mut self,
        place: ExpertPlace,
        record: &Record,
        program: &Program,
    ) -> Result<(), ArtifactError> {
        self.encoder.expert(place, record, program).map_err(|problem| self.named(problem))
    }

    /// Ends the file and puts it in its place.
    ///
    /// Errors: the operating system refuses; nothing is left then.
    pub fn finish(self) -> Result<(), ArtifactError> {
        let Self { target, temporary, encoder } = self;
        let finish = || -> Result<(), ArtifactProblem> {
            drop(encoder.finish()?);
            temporary.file.sync_all().map_err(unwritable)?;
            temporary.rename_to(&target).map_err(unwritable)
        };
        finish().map_err(|problem| problem.of(&target.display().to_string()))
    }

    fn named(&self, problem: ArtifactProblem) -> ArtifactError {
        problem.of(&self.target.display().to_string())
    }
}

impl CompiledModel {
    /// Writes the model to a file, replacing one that is there: all of it or nothing.
    ///
    /// Errors: see [`ArtifactProblem`].
    pub fn write(&self, path: &Path) -> Result<(), ArtifactError> {
        let mut writer =
            ArtifactWriter::create(path, &self.chip_text, &self.config, self.checkpoint)?;
        writer.encoder.index.tokenizer.clone_from(&self.tokenizer);
        for (name, tensor) in &self.dense {
            writer.dense(name, tensor)?;
        }
        for ((place, program), report) in self.experts.iter().zip(self.reports.values()) {
            writer.expert(*place, program, report)?;
        }
        writer.finish()
    }

    /// The bytes of the file [`Self::write`] writes.
    ///
    /// Errors: [`ArtifactProblem::Unencodable`]; memory does not refuse.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ArtifactError> {
        let encode = || -> Result<Vec<u8>, ArtifactProblem> {
            let mut index = new_index(&self.chip_text, &self.config, self.checkpoint);
            index.tokenizer.clone_from(&self.tokenizer);
            let mut encoder = Encoder::new(Vec::new(), index)?;
            for (name, tensor) in &self.dense {
                encoder.dense(name, tensor)?;
            }
            for ((place, program), report) in self.experts.iter().zip(self.reports.values()) {
                encoder.expert(*place, &Record::encode(program, report)?, program)?;
            }
            encoder.finish()
        };
        encode().map_err(|problem| problem.of("compiled model in memory"))
    }
}

/// The part of an expert's record that takes work to put into bytes.
#[derive(Debug)]
pub(crate) struct Record {
    metadata: Vec<u8>,
    /// Whether the gains are in it, not in the layout.
    has_gains: bool,
}

impl Record {
    /// The record of an expert in a file that has no name yet.
    pub(crate) fn new(program: &Program, report: &LayerReport) -> Result<Self, ArtifactError> {
        Self::encode(program, report).map_err(|problem| problem.of("compiled model"))
    }

    fn encode(program: &Program, report: &LayerReport) -> Result<Self, ArtifactProblem> {
        let gains = gains_of_steps(&program.steps, program.tiles.len());
        let has_gains = gains.is_some();
        let program = ProgramRepr::new(program, gains.as_deref());
        let metadata = encode(&ExpertRepr { program, report: ReportRepr::new(report) })?;
        Ok(Self { metadata, has_gains })
    }
}

fn new_index(chip_text: &str, config: &ModelConfig, checkpoint: Digest) -> Index {
    Index {
        chip: chip_text.to_owned(),
        model: config.clone(),
        checkpoint,
        tokenizer: None,
        dense: Vec::new(),
        layouts: Vec::new(),
        experts: Vec::new(),
    }
}

/// The bytes of a file in the making.
#[derive(Debug)]
struct Encoder<W> {
    out: Hashed<W>,
    index: Index,
    /// The steps of each layout that was met, in the order of the index.
    layouts: Vec<Vec<Step>>,
}

impl<W: Write> Encoder<W> {
    fn new(out: W, index: Index) -> Result<Self, ArtifactProblem> {
        let mut out = Hashed::new(out);
        out.write_all(&MAGIC).map_err(unwritable)?;
        out.write_all(&VERSION.to_le_bytes()).map_err(unwritable)?;
        Ok(Self { out, index, layouts: Vec::new() })
    }

    fn dense(&mut self, name: &str, tensor: &Tensor) -> Result<(), ArtifactProblem> {
        write_floats(&tensor.data, &mut self.out).map_err(unwritable)?;
        self.index.dense.push(TensorRepr { name: name.to_owned(), shape: tensor.shape.clone() });
        Ok(())
    }

    fn expert(
        &mut self,
        (layer, key): ExpertPlace,
        record: &Record,
        program: &Program,
    ) -> Result<(), ArtifactProblem> {
        self.out.write_all(&record.metadata).map_err(unwritable)?;
        let layout = self.layout(program, record.has_gains);
        let mut steps = Vec::new();
        if layout.is_none() {
            steps = encode(&program.steps.iter().map(StepRepr::new).collect::<Vec<_>>())?;
            self.out.write_all(&steps).map_err(unwritable)?;
        }
        let mut payload = 0;
        for table in &program.tables {
            write_floats(table, &mut self.out).map_err(unwritable)?;
            payload += 4 * table.len() as u64;
        }
        for tile in &program.tiles {
            let bytes = tile.codes.iter().map(|code| code.cast_unsigned());
            self.out.take(bytes).map_err(unwritable)?;
            payload += tile.codes.len() as u64;
        }
        let (tier, group, expert) = (key.tier, key.group, key.expert);
        let (metadata, steps) = (record.metadata.len() as u64, steps.len() as u64);
        let record = RecordRepr { layer, tier, group, expert, layout, metadata, steps, payload };
        self.index.experts.push(record);
        Ok(())
    }

    /// The place of a program's steps among the layouts, with their gains or without; nothing where they
    /// are none of them, and no more are kept.
    fn layout(&mut self, program: &Program, without_gains: bool) -> Option<usize> {
        let is_alike = |a: &Step, b: &Step| if without_gains { a.is_like(b) } else { a == b };
        let is_its_own = |layout: &Vec<Step>| {
            let pairs = || layout.iter().zip(&program.steps);
            layout.len() == program.steps.len() && pairs().all(|(a, b)| is_alike(a, b))
        };
        let known = self.layouts.iter().position(is_its_own);
        if known.is_some() || self.layouts.len() >= LAYOUTS_MAX {
            return known;
        }
        let plain = |step: &Step| if without_gains { step.without_gain() } else { step.clone() };
        self.layouts.push(program.steps.iter().map(plain).collect());
        Some(self.layouts.len() - 1)
    }

    fn finish(mut self) -> Result<W, ArtifactProblem> {
        let steps = |layout: &Vec<Step>| layout.iter().map(StepRepr::new).collect();
        self.index.layouts = self.layouts.iter().map(steps).collect();
        let index = encode(&self.index)?;
        self.out.write_all(&index).map_err(unwritable)?;
        self.out.write_all(&(index.len() as u64).to_le_bytes()).map_err(unwritable)?;
        let (mut out, digest) = self.out.finish().map_err(unwritable)?;
        out.write_all(digest.as_bytes()).map_err(unwritable)?;
        out.write_all(&END_MARK).map_err(unwritable)?;
        Ok(out)
    }
}

fn encode(value: &impl serde::Serialize) -> Result<Vec<u8>, ArtifactProblem> {
    serde_json::to_vec(value).map_err(|source| ArtifactProblem::Unencodable { source })
}

fn unwritable(source: io::Error) -> ArtifactProblem {
    ArtifactProblem::Unwritable { source }
}

fn write_floats(values: &[f32], out: &mut impl Write) -> io::Result<()> {
    // In pieces, so that a large tensor is not there twice.
    for piece in values.chunks(1 << 14) {
        let bytes: Vec<u8> = piece.iter().flat_map(|value| value.to_le_bytes()).collect();
        out.write_all(&bytes)?;
    }
    Ok(())
}

/// Hashes bytes and passes them on, in pieces large enough for both.
#[derive(Debug)]
struct Hashed<W> {
    out: W,
    hasher: blake3::Hasher,
    waiting: Vec<u8>,
}

/// Bytes of a piece.
const PIECE: usize = 1 << 18;

impl<W: Write> Hashed<W> {
    fn new(out: W) -> Self {
        Self { out, hasher: blake3::Hasher::new(), waiting: Vec::with_capacity(PIECE) }
    }

    /// Takes some bytes.
    fn take(&mut self, bytes: impl ExactSizeIterator<Item = u8>) -> io::Result<()> {
        self.waiting.extend(bytes);
        if self.waiting.len() < PIECE { Ok(()) } else { self.pass_on() }
    }

    fn pass_on(&mut self) -> io::Result<()> {
        self.hasher.update(&self.waiting);
        self.out.write_all(&self.waiting)?;
        self.waiting.clear();
        Ok(())
    }

    /// What it writes to, and the digest of all that was taken.
    fn finish(mut self) -> io::Result<(W, blake3::Hash)> {
        self.pass_on()?;
        Ok((self.out, self.hasher.finalize()))
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.take(bytes.iter().copied())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.pass_on()?;
        self.out.flush()
    }
}

/// A file whose bytes are on their way to the disk while others are still being made, so that there
/// is little to wait for in the end.
#[derive(Debug)]
struct Outgoing {
    file: File,
    written: u64,
    begun: u64,
}

/// Bytes that leave together.
const DEPARTURE: u64 = 1 << 21;

impl Outgoing {
    fn new(file: File) -> Self {
        Self { file, written: 0, begun: 0 }
    }
}

impl Write for Outgoing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.written += written as u64;
        if self.written - self.begun >= DEPARTURE {
            // "Not needed" makes the system begin to write what is not written yet, without waiting for
            // the disk. It may also let go of the pages, which it cannot while they are being written:
            // on Linux they stay. It is advice: where it is not taken, the end takes longer.
            let len = NonZeroU64::new(self.written - self.begun);
            _ = fadvise(&self.file, self.begun, len, Advice::DontNeed);
            self.begun = self.written;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A file beside the target that vanishes unless it is renamed.
#[derive(Debug)]
struct Temporary {
    path: PathBuf,
    file: File,
}

impl Temporary {
    fn beside(target: &Path) -> Result<Self, ArtifactProblem> {
        let name = target.file_name().ok_or(ArtifactProblem::Unnamed)?;
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(".partial");
        let path = target.with_file_name(hidden);
        match File::create_new(&path) {
            Ok(file) => Ok(Self { path, file }),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                Err(ArtifactProblem::Locked { temporary: path })
            }
            Err(source) => Err(ArtifactProblem::Unwritable { source }),
        }
    }

    fn rename_to(&self, target: &Path) -> io::Result<()> {
        fs::rename(&self.path, target)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // After a rename there is nothing of this name; a failure here changes nothing.
        _ = fs::remove_file(&self.path);
    }
}
