//! Executes verified programs: the integer meaning, step by step.
//!
//! One interpreter serves every executor. What differs is the [`Arithmetic`]: [`Reference`] is
//! the scalar definition, [`Fast`] the same bits with vector instructions, and the simulator
//! brings its own, whose streams are noisy.
//!
//! **Invariant:** the interpreter holds no arithmetic of its own beyond `P += code << shift`.

mod arithmetic;

pub use arithmetic::{Arithmetic, Converters, Fast, Reference, StreamCall};

use litecore_types::program::{
    Action, BufferId, ElementKind, StepIndex, Symbols, Tile, VerifiedProgram,
};
use std::fmt;
use std::ops::Range;

/// Why a run could not be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecuteError {
    /// The inputs are not a whole number of input vectors.
    InputLength {
        /// Numbers given.
        given: usize,
        /// Length of one input vector.
        vector: usize,
    },
    /// More symbols than the program has memory for.
    TooManySymbols {
        /// Symbols given.
        given: usize,
        /// Most per run.
        most: u64,
    },
    /// A vector to quantise holds NaN or infinity.
    NonFinite {
        /// The symbol, from 0.
        symbol: usize,
        /// The step that met it.
        step: StepIndex,
    },
}

impl fmt::Display for ExecuteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InputLength { given, vector } => {
                write!(f, "{given} numbers are not whole input vectors of {vector}")
            }
            Self::TooManySymbols { given, most } => {
                write!(f, "{given} symbols in one run, the program takes at most {most}: split it")
            }
            Self::NonFinite { symbol, step } => {
                write!(f, "{step} met NaN or infinity in symbol {symbol}")
            }
        }
    }
}

impl std::error::Error for ExecuteError {}

/// Memory for one run, kept between runs so that decoding allocates nothing.
#[derive(Clone, Debug, Default)]
pub struct Workspace {
    floats: Vec<Vec<f32>>,
    codes: Vec<Vec<i8>>,
    sums: Vec<Vec<i32>>,
    slice: Vec<i8>,
    sampled: Vec<i32>,
}

/// Runs `program` on every input vector; `outputs` becomes `symbols × output_len`.
///
/// Errors: inputs of the wrong length, too many symbols, NaN or infinity on the way.
pub fn execute<A: Arithmetic>(
    program: &VerifiedProgram,
    arithmetic: &mut A,
    inputs: &[f32],
    outputs: &mut Vec<f32>,
    workspace: &mut Workspace,
) -> Result<(), ExecuteError> {
    let vector = program.input_len();
    if vector == 0 || !inputs.len().is_multiple_of(vector) {
        return Err(ExecuteError::InputLength { given: inputs.len(), vector });
    }
    let symbols = inputs.len() / vector;
    if symbols as u64 > program.symbols_max {
        return Err(ExecuteError::TooManySymbols { given: symbols, most: program.symbols_max });
    }
    workspace.prepare(program, symbols);
    outputs.clear();
    outputs.resize(symbols * program.output_len(), 0.0);
    for (step, index) in program.steps_in_reach(symbols as u64).iter().zip(0..) {
        let index = StepIndex(index);
        let part = part_of(step.symbols, symbols);
        if part.is_empty() {
            continue;
        }
        // The elements of a buffer that belong to these symbols.
        let of = |id: BufferId| {
            let len = program.buffer(id).len;
            part.start * len..part.end * len
        };
        match step.action {
            Action::MoveIn { to } => {
                let part = of(to);
                workspace.floats[at(to)][part.clone()].copy_from_slice(&inputs[part]);
            }
            Action::MoveOut { from } => {
                let part = of(from);
                outputs[part.clone()].copy_from_slice(&workspace.floats[at(from)][part]);
            }
            Action::LoadBank { .. } | Action::Settle { .. } => {}
            Action::Quantise { from, to, scale } => {
                let len = program.buffer(from).len;
                let mut scales = std::mem::take(&mut workspace.floats[at(scale)]);
                let vectors = workspace.floats[at(from)][of(from)].chunks_exact(len);
                let codes = workspace.codes[at(to)][of(to)].chunks_exact_mut(len);
                let of_symbols = vectors.zip(codes).zip(&mut scales[of(scale)]);
                for (symbol, ((x, codes), scale)) in part.clone().zip(of_symbols) {
                    *scale = arithmetic
                        .quantise(x, codes)
                        .map_err(|_| ExecuteError::NonFinite { symbol, step: index })?;
                }
                workspace.floats[at(scale)] = scales;
            }
            Action::Stream { .. } => {
                workspace.stream(program, index, &step.action, part, arithmetic);
            }
            Action::Dequantise { from, scale, table, to } => {
                let len = program.buffer(from).len;
                let mut out = std::mem::take(&mut workspace.floats[at(to)]);
                let sums = workspace.sums[at(from)][of(from)].chunks_exact(len);
                let scales = &workspace.floats[at(scale)][of(scale)];
                for ((p, &scale), out) in sums.zip(scales).zip(out[of(to)].chunks_exact_mut(len)) {
                    arithmetic.dequantise(p, scale, program.table(table), out);
                }
                workspace.floats[at(to)] = out;
            }
            Action::Rotate { from, table, block, to } => {
                let len = program.buffer(from).len;
                let mut out = std::mem::take(&mut workspace.floats[at(to)]);
                let vectors = workspace.floats[at(from)][of(from)].chunks_exact(len);
                for (x, out) in vectors.zip(out[of(to)].chunks_exact_mut(len)) {
                    arithmetic.rotate(x, program.table(table), block as usize, out);
                }
                workspace.floats[at(to)] = out;
            }
            Action::SwiGlu { gate, up, to } => {
                let mut out = std::mem::take(&mut workspace.floats[at(to)]);
                let (gate, up) =
                    (&workspace.floats[at(gate)][of(gate)], &workspace.floats[at(up)][of(up)]);
                arithmetic.swiglu(gate, up, &mut out[of(to)]);
                workspace.floats[at(to)] = out;
            }
        }
    }
    Ok(())
}

fn at(id: BufferId) -> usize {
    id.0 as usize
}

/// The symbols of a step that a run of so many symbols has.
fn part_of(step: Symbols, symbols: usize) -> Range<usize> {
    let range = step.in_run(symbols as u64);
    let position = |symbol| usize::try_from(symbol).unwrap_or(usize::MAX).min(symbols);
    position(range.start)..position(range.end)
}

impl Workspace {
    fn prepare(&mut self, program: &VerifiedProgram, symbols: usize) {
        let count = program.buffers.len();
        self.floats.resize_with(count, Vec::new);
        self.codes.resize_with(count, Vec::new);
        self.sums.resize_with(count, Vec::new);
        for (index, buffer) in program.buffers.iter().enumerate() {
            let len = buffer.len * symbols;
            match buffer.kind {
                ElementKind::F32 => self.floats[index].resize(len, 0.0),
                ElementKind::Code => self.codes[index].resize(len, 0),
                ElementKind::Accumulator => self.sums[index].resize(len, 0),
            }
        }
    }

    fn stream<A: Arithmetic>(
        &mut self,
        program: &VerifiedProgram,
        step: StepIndex,
        action: &Action,
        part: Range<usize>,
        arithmetic: &mut A,
    ) {
        let &Action::Stream {
            array,
            tile,
            from,
            from_offset,
            shift,
            to,
            to_offset,
            accumulate_shift,
            first,
            ..
        } = action
        else {
            return;
        };
        let (inputs, outputs) = program.tile_shape(tile);
        let symbols = part.len();
        let from_len = program.buffer(from).len;
        let source = &self.codes[at(from)][part.start * from_len..part.end * from_len];
        let offset = from_offset as usize;
        let used = inputs.min(from_len - offset);
        // A tile that takes whole vectors needs no copy.
        let x = if used == inputs && inputs == from_len {
            source
        } else {
            self.slice.clear();
            self.slice.resize(symbols * inputs, 0);
            for (row, x) in self.slice.chunks_exact_mut(inputs).zip(source.chunks_exact(from_len)) {
                row[..used].copy_from_slice(&x[offset..offset + used]);
            }
            &self.slice
        };
        self.sampled.resize(symbols * outputs, 0);
        let Tile { packing, codes: weights } = program.tile(tile);
        let call = StreamCall {
            step,
            first_symbol: part.start,
            array,
            tile,
            packing: *packing,
            weights,
            inputs,
            outputs,
            x,
            shift,
        };
        arithmetic.stream(&call, &mut self.sampled);

        let to_len = program.buffer(to).len;
        let start = to_offset as usize;
        let end = to_len.min(start + outputs);
        let sums = self.sums[at(to)][part.start * to_len..].chunks_exact_mut(to_len);
        for (sums, codes) in sums.zip(self.sampled.chunks_exact(outputs)) {
            for (sum, code) in sums[start..end].iter_mut().zip(codes) {
                let term = code << accumulate_shift;
                *sum = if first { term } else { *sum + term };
            }
        }
    }
}
