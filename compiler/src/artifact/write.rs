//! Writing a compiled model: all of it or nothing.

use super::report_repr::ReportRepr;
use super::repr::{ExpertRepr, Metadata, ProgramRepr, TensorRepr};
use super::{ArtifactError, ArtifactProblem, MAGIC, VERSION};
use crate::model::CompiledModel;
use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

impl CompiledModel {
    /// Writes the model to a file, replacing one that is there.
    ///
    /// The bytes go to `.NAME.partial` beside it, which is flushed and then renamed: the target is
    /// the old file or the new one, whatever happens. Two writers exclude each other by that name.
    /// Errors: see [`ArtifactProblem`].
    pub fn write(&self, path: &Path) -> Result<(), ArtifactError> {
        self.write_beside(path).map_err(|problem| problem.of(&path.display().to_string()))
    }

    /// The bytes of the file [`Self::write`] writes.
    ///
    /// Errors: [`ArtifactProblem::Unencodable`]; memory does not refuse.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ArtifactError> {
        let mut bytes = Vec::new();
        self.encode(&mut bytes).map_err(|problem| problem.of("compiled model in memory"))?;
        Ok(bytes)
    }

    fn write_beside(&self, path: &Path) -> Result<(), ArtifactProblem> {
        let unwritable = |source| ArtifactProblem::Unwritable { source };
        let temporary = Temporary::beside(path)?;
        let mut out = BufWriter::new(temporary.file.try_clone().map_err(unwritable)?);
        self.encode(&mut out)?;
        out.flush().map_err(unwritable)?;
        drop(out);
        temporary.file.sync_all().map_err(unwritable)?;
        temporary.rename_to(path).map_err(unwritable)
    }

    fn encode(&self, out: &mut dyn Write) -> Result<(), ArtifactProblem> {
        let metadata = serde_json::to_vec(&self.metadata())
            .map_err(|source| ArtifactProblem::Unencodable { source })?;
        self.encode_parts(&metadata, out).map_err(|source| ArtifactProblem::Unwritable { source })
    }

    fn encode_parts(&self, metadata: &[u8], out: &mut dyn Write) -> io::Result<()> {
        let mut out = Hashed { out, hasher: blake3::Hasher::new() };
        out.write_all(&MAGIC)?;
        out.write_all(&VERSION.to_le_bytes())?;
        out.write_all(&(metadata.len() as u64).to_le_bytes())?;
        out.write_all(&self.payload_bytes().to_le_bytes())?;
        out.write_all(metadata)?;
        for tensor in self.dense.values() {
            write_floats(&tensor.data, &mut out)?;
        }
        for program in self.experts.values() {
            for table in &program.tables {
                write_floats(table, &mut out)?;
            }
            for tile in &program.tiles {
                let bytes: Vec<u8> = tile.codes.iter().map(|code| code.cast_unsigned()).collect();
                out.write_all(&bytes)?;
            }
        }
        let Hashed { out, hasher } = out;
        out.write_all(hasher.finalize().as_bytes())
    }

    fn payload_bytes(&self) -> u64 {
        let dense: u64 = self.dense.values().map(|tensor| 4 * tensor.data.len() as u64).sum();
        let experts: u64 = self
            .experts
            .values()
            .map(|program| {
                let constants: usize = program.tables.iter().map(Vec::len).sum();
                4 * constants as u64 + program.weight_bytes()
            })
            .sum();
        dense + experts
    }

    fn metadata(&self) -> Metadata {
        let dense = self
            .dense
            .iter()
            .map(|(name, tensor)| TensorRepr { name: name.clone(), shape: tensor.shape.clone() });
        let experts = self.experts.iter().zip(self.reports.values()).map(
            |((&(layer, key), program), report)| ExpertRepr {
                layer,
                tier: key.tier,
                group: key.group,
                expert: key.expert,
                program: ProgramRepr::new(program),
                report: ReportRepr::new(report),
            },
        );
        Metadata {
            chip: self.chip_text.clone(),
            model: self.config.clone(),
            checkpoint: self.checkpoint,
            dense: dense.collect(),
            experts: experts.collect(),
        }
    }
}

fn write_floats(values: &[f32], out: &mut dyn Write) -> io::Result<()> {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    out.write_all(&bytes)
}

/// Passes bytes on and hashes them.
struct Hashed<'a> {
    out: &'a mut dyn Write,
    hasher: blake3::Hasher,
}

impl Write for Hashed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// A file beside the target that vanishes unless it is renamed.
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
