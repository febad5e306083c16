//! Compilation against reading and quantising the same bytes in one pass.
//!
//! There are two such passes. The *raw* one takes the bytes of the file for granted: it reads them,
//! finds each row's largest weight, and writes the codes of all rows to memory; nothing else. It is
//! written to be fast: pieces stay in the caches, and the memory they are read to is used again. The
//! memory of the codes is new, as it is for a pass that is made once, and as the pages of the file are
//! that compilation writes. The *checked* pass, which keys call `plain`, reads the checkpoint as
//! everybody here must, digests and numbers checked. Neither cuts tiles, looks at samples or writes a
//! file. Compilation and both passes use the same threads.
//!
//! Compilation is held against both with the files in the system's cache, and against the raw one with
//! the files on the disk, where those of a model larger than memory are.

use crate::rounds::{interleaved, interleaved_with_rests, processor_seconds};
use litecore_compiler::{CompileError, CompileOptions, ModelRequest, compile_model_to};
use litecore_kernels::codes;
use litecore_kernels::normal::standard_normals;
use litecore_model::checkpoint::{Checkpoint, CheckpointError, Dtype, WriteError, write_dir};
use litecore_model::{
    AttentionConfig, ModelConfig, RoutingConfig, RoutingRule, Seed128, Tensor, TierConfig, TierId,
};
use litecore_types::chip::ChipDescription;
use rayon::prelude::*;
use rustix::fs::{Advice, fadvise, fstatfs};
use serde::Serialize;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::hint::black_box;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::ControlFlow;
use std::path::Path;

/// Width of the generated model and of its experts: 1.6 million weights in each.
const WIDTH: usize = 1024;
const EXPERT_WIDTH: usize = 512;
/// Seconds of each comparison, at least.
const SECONDS: f64 = 4.0;

/// How fast a generated model compiles.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Speeds {
    /// Weights of all experts.
    pub weights: u64,
    /// Bytes of the files that hold them.
    pub bytes: u64,
    /// Threads both passes used.
    pub threads: usize,
    /// Seconds to compile, writing included.
    pub compile_s: f64,
    /// Seconds of the plain pass, through the checkpoint's reader.
    pub plain_s: f64,
    /// Seconds of the raw pass, without any check.
    pub raw_s: f64,
    /// Bytes of weights compiled per second.
    pub bytes_per_s: f64,
    /// Bytes of weights read and quantised per second by the plain pass.
    pub plain_bytes_per_s: f64,
    /// The first over the second.
    pub ratio_to_plain: f64,
    /// Speed of compilation over that of the raw pass.
    pub ratio_to_raw: f64,
    /// What both take where the files are not in the system's cache; nothing where they are on no disk.
    pub from_disk: Option<FromDisk>,
    /// Processor seconds of one compilation, all threads; nothing where the system does not tell.
    pub compile_processor_s: Option<f64>,
    /// Processor seconds of one plain pass.
    pub plain_processor_s: Option<f64>,
    /// Processor seconds of one raw pass.
    pub raw_processor_s: Option<f64>,
    /// The second over the first: the ratio as it would be on a machine with nothing else to do.
    pub ratio_of_processor_time: Option<f64>,
    /// Likewise for the raw pass.
    pub ratio_of_processor_time_to_raw: Option<f64>,
}

/// Compilation and the raw pass over files that are not in the system's cache.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct FromDisk {
    /// Seconds to compile.
    pub compile_s: f64,
    /// Seconds of the raw pass.
    pub raw_s: f64,
    /// The second over the first.
    pub ratio_to_raw: f64,
}

/// Why the measurement could not be made.
#[derive(Debug)]
pub enum CompileBenchError {
    /// The checkpoint cannot be written.
    Write(WriteError),
    /// The checkpoint cannot be read.
    Checkpoint(CheckpointError),
    /// The model does not compile.
    Compile(CompileError),
    /// The files cannot be read plainly.
    Plain(io::Error),
}

impl std::fmt::Display for CompileBenchError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Write(error) => write!(f, "the generated checkpoint: {error}"),
            Self::Checkpoint(error) => write!(f, "the generated checkpoint: {error}"),
            Self::Compile(error) => write!(f, "the generated model: {error}"),
            Self::Plain(error) => write!(f, "the generated files: {error}"),
        }
    }
}

impl std::error::Error for CompileBenchError {}

/// A generated model with experts of a size like those of small open models.
pub fn generated_config(experts: usize) -> ModelConfig {
    let id = TierId::new("only").expect("a plain word");
    ModelConfig {
        name: "generated".to_owned(),
        vocab: 256,
        width: WIDTH,
        layers: 1,
        heads: 1,
        head_width: 64,
        attention_window: 256,
        rope_theta: 10_000.0,
        norm_epsilon: 1e-5,
        attention: AttentionConfig::default(),
        tied_head: false,
        end_tokens: Vec::new(),
        routing: RoutingConfig {
            tiers_per_token: 1,
            groups_per_tier: 1,
            experts_per_group: 1,
            seed: Seed128::default(),
            rule: RoutingRule::Levels,
        },
        tiers: vec![TierConfig::new(id, 1, experts, EXPERT_WIDTH)],
    }
}

/// Writes a checkpoint with about so many megabytes of Gaussian expert weights.
///
/// Errors: [`WriteError`].
pub fn generate(directory: &Path, megabytes: u64, dtype: Dtype) -> Result<ModelConfig, WriteError> {
    let per_expert = 3 * WIDTH * EXPERT_WIDTH * width_of(dtype);
    let bytes = usize::try_from(megabytes).unwrap_or(usize::MAX).saturating_mul(1 << 20);
    let config = generated_config(bytes.div_ceil(per_expert));
    let mut tensors = BTreeMap::new();
    for (spec, key) in config.tensor_specs().zip(0..) {
        let mut data = vec![0.0; spec.shape.iter().product()];
        standard_normals(key, 0, &mut data);
        tensors.insert(spec.name, Tensor { shape: spec.shape, data });
    }
    write_dir(directory, &config, &tensors, dtype, &BTreeMap::new())?;
    Ok(config)
}

/// Bytes of a weight.
fn width_of(dtype: Dtype) -> usize {
    match dtype {
        Dtype::F32 => 4,
        Dtype::Bf16 => 2,
    }
}

/// Measures on a fresh checkpoint in `folder`, which must be empty, with weights of a type.
///
/// Errors: see [`CompileBenchError`].
pub fn compare(
    chip: &ChipDescription,
    chip_text: &str,
    folder: &Path,
    megabytes: u64,
    dtype: Dtype,
) -> Result<Speeds, CompileBenchError> {
    let directory = folder.join("checkpoint");
    let config = generate(&directory, megabytes, dtype).map_err(CompileBenchError::Write)?;
    let shard = directory.join("tier-only.safetensors");
    let target = folder.join("compiled");
    let (mut compiling, mut passing, mut raw) =
        (Spent::default(), Spent::default(), Spent::default());
    let failure = RefCell::new(None);
    let failed = |error| _ = failure.borrow_mut().get_or_insert(error);
    let compile_once =
        || compile_once(chip, chip_text, &directory, &target).unwrap_or_else(&failed);
    let raw_once = || match raw_pass(&shard, dtype) {
        Ok(sum) => _ = black_box(sum),
        Err(error) => failed(CompileBenchError::Plain(error)),
    };
    let plain_once = || match plain_pass(&directory) {
        Ok(sum) => _ = black_box(sum),
        Err(error) => failed(CompileBenchError::Checkpoint(error)),
    };
    // To free the memory of an older result is no part of compiling.
    let remove = || _ = fs::remove_file(&target);
    let (compile_s, raw_s) = interleaved_with_rests(
        SECONDS,
        &mut || compiling.time(compile_once),
        &mut || remove(),
        &mut || raw.time(raw_once),
    );
    let (plain_s, _) = interleaved(SECONDS / 2.0, &mut || passing.time(plain_once), &mut || {});
    let mut forget = || {
        remove();
        forget_cached(&directory).unwrap_or_else(|error| failed(CompileBenchError::Plain(error)));
    };
    let from_disk = is_on_disk(&shard).then(|| {
        let (mut compile, mut raw) = (|| compile_once(), || raw_once());
        let (compile_s, raw_s) =
            interleaved_with_rests(SECONDS, &mut compile, &mut forget, &mut raw);
        FromDisk { compile_s, raw_s, ratio_to_raw: raw_s / compile_s }
    });
    if let Some(error) = failure.into_inner() {
        return Err(error);
    }
    let raw_processor_s = raw.median();
    let (compile_processor_s, plain_processor_s) = (compiling.median(), passing.median());
    let weights = config.tiers[0].experts() as u64 * (3 * WIDTH * EXPERT_WIDTH) as u64;
    let bytes = width_of(dtype) as u64 * weights;
    Ok(Speeds {
        weights,
        bytes,
        threads: rayon::current_num_threads(),
        compile_s,
        plain_s,
        raw_s,
        bytes_per_s: bytes as f64 / compile_s,
        plain_bytes_per_s: bytes as f64 / plain_s,
        ratio_to_plain: plain_s / compile_s,
        ratio_to_raw: raw_s / compile_s,
        from_disk,
        compile_processor_s,
        plain_processor_s,
        raw_processor_s,
        ratio_of_processor_time: compile_processor_s
            .zip(plain_processor_s)
            .map(|(compile, plain)| plain / compile),
        ratio_of_processor_time_to_raw: compile_processor_s
            .zip(raw_processor_s)
            .map(|(compile, raw)| raw / compile),
    })
}

/// Whether a file has another place than memory.
fn is_on_disk(file: &Path) -> bool {
    const TMPFS: u64 = 0x0102_1994;
    const RAMFS: u64 = 0x8584_58f6;
    let kind = File::open(file).ok().and_then(|file| fstatfs(file).ok()).map(|of| of.f_type);
    #[allow(clippy::cast_sign_loss, reason = "a magic number, whatever its type")]
    kind.is_some_and(|kind| ![TMPFS, RAMFS].contains(&(kind as u64 & 0xffff_ffff)))
}

/// Has the system give back the memory that holds the files of a directory.
fn forget_cached(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let file = File::open(entry?.path())?;
        // Only what is on the disk can go.
        file.sync_all()?;
        fadvise(&file, 0, None, Advice::DontNeed)?;
    }
    Ok(())
}

/// Processor time of pieces of work.
#[derive(Default)]
struct Spent {
    seconds: Vec<f64>,
}

impl Spent {
    fn time<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let before = processor_seconds();
        let result = work();
        let spent = before.zip(processor_seconds()).map(|(before, after)| after - before);
        self.seconds.extend(spent);
        result
    }

    fn median(&mut self) -> Option<f64> {
        self.seconds.sort_unstable_by(f64::total_cmp);
        self.seconds.get(self.seconds.len() / 2).copied()
    }
}

fn compile_once(
    chip: &ChipDescription,
    chip_text: &str,
    directory: &Path,
    target: &Path,
) -> Result<(), CompileBenchError> {
    // Opened anew, so that reading and checking are part of it.
    let checkpoint = Checkpoint::open_dir(directory).map_err(CompileBenchError::Checkpoint)?;
    let request = ModelRequest {
        chip,
        chip_text,
        checkpoint: &checkpoint,
        samples: &|_, _| Vec::new(),
        options: &CompileOptions::default(),
    };
    compile_model_to(target, &request, &mut |_, _| {}, &mut |_, _| ControlFlow::Continue(()))
        .map_err(CompileBenchError::Compile)
}

/// Reads every expert tensor of a checkpoint on all threads and turns each row into codes.
///
/// Returns a sum of the scales, so that nothing is left out.
fn plain_pass(directory: &Path) -> Result<f64, CheckpointError> {
    let checkpoint = Checkpoint::open_dir(directory)?;
    let config = checkpoint.config();
    let names: Vec<String> =
        config.tensor_specs().filter(|spec| spec.tier.is_some()).map(|spec| spec.name).collect();
    // The way compilation reads: in pieces that are digested while they are in the nearest caches.
    let tensors = checkpoint.pass();
    let sums: Vec<f64> = names
        .par_iter()
        .map(|name| {
            let tensor = tensors.tensor_f32(name)?;
            let inputs = tensor.shape.last().copied().unwrap_or(1);
            let mut codes = vec![0_i8; tensor.data.len()];
            let mut sum = 0.0;
            for (row, codes) in tensor.data.chunks(inputs).zip(codes.chunks_mut(inputs)) {
                sum += f64::from(codes::quantise(row, 127, codes).unwrap_or(0.0));
            }
            black_box(&codes);
            tensors.give_back([tensor]);
            Ok(sum)
        })
        .collect::<Result<_, CheckpointError>>()?;
    tensors.finish()?;
    Ok(sums.iter().sum())
}

/// Reads a file of weights piece by piece on all threads and turns each row into codes.
///
/// Returns a sum of the codes, so that nothing is left out. The few bytes of header count as
/// weights; where they are no numbers their row is passed over.
fn raw_pass(file: &Path, dtype: Dtype) -> io::Result<i64> {
    /// Weights of a piece: a quarter of a megabyte in f32.
    const PIECE: usize = 64 * WIDTH;
    /// A request this large is never served from memory that was given back before, and costs nothing
    /// where it is not touched.
    const NEW_MEMORY: usize = 64 << 20;
    let len = File::open(file)?.metadata()?.len();
    let width = width_of(dtype);
    let halves = if dtype == Dtype::F32 { 0 } else { width * PIECE };
    let weights = usize::try_from(len).unwrap_or(usize::MAX) / width;
    let mut codes = vec![0_i8; weights.max(NEW_MEMORY)];
    let pieces = codes[..weights].par_chunks_mut(PIECE).enumerate();
    let room = || (File::open(file), vec![0_u8; halves], vec![0.0_f32; PIECE]);
    let sums: Vec<i64> = pieces
        .map_init(room, |(file, bytes, weights), (piece, codes)| {
            let file = file.as_mut().map_err(|error| io::Error::from(error.kind()))?;
            file.seek(SeekFrom::Start((width * piece * PIECE) as u64))?;
            let weights = &mut weights[..codes.len()];
            if dtype == Dtype::F32 {
                // To where they are used; on a machine of the other byte order they would turn there.
                file.read_exact(bytemuck::cast_slice_mut(weights))?;
                for weight in weights.iter_mut() {
                    *weight = f32::from_bits(u32::from_le(weight.to_bits()));
                }
            } else {
                let bytes = &mut bytes[..width * codes.len()];
                file.read_exact(bytes)?;
                let (halves, _) = bytes.as_chunks::<2>();
                for (weight, half) in weights.iter_mut().zip(halves) {
                    *weight = f32::from_bits(u32::from(u16::from_le_bytes(*half)) << 16);
                }
            }
            let mut sum = 0.0;
            for (row, codes) in weights.chunks(WIDTH).zip(codes.chunks_mut(WIDTH)) {
                sum += f64::from(codes::quantise(row, 127, codes).unwrap_or(0.0));
            }
            black_box(sum);
            Ok(i64::from(codes[0]))
        })
        .collect::<io::Result<_>>()?;
    black_box(&codes);
    Ok(sums.iter().sum())
}
