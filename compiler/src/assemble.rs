//! From lowered matrices to a verified program: one method per kind of step.
//!
//! A vector in card memory is owned: the method that takes it schedules its last readers and gives
//! its buffer back. So nothing can be read after its memory was used again.

use crate::layer::LoweredMatrix;
use crate::memory::BufferPool;
use crate::schedule::{Operand, STEPS_MAX, Schedule};
use crate::{CompileError, CompileOptions};
use litecore_types::chip::ChipDescription;
use litecore_types::program::{
    Action, BufferId, ElementKind, Packing, Program, StepIndex, TableId, VerifiedProgram,
};

/// A program in the making.
#[derive(Debug)]
pub(crate) struct Assembly<'a> {
    chip: &'a ChipDescription,
    name: &'a str,
    pool: BufferPool,
    schedule: Schedule,
    tables: Vec<Vec<f32>>,
}

/// F32 vectors in card memory, there once `ready` has finished.
#[derive(Debug)]
pub(crate) struct Floats {
    buffer: BufferId,
    len: usize,
    ready: StepIndex,
}

/// Codes in card memory with their scales, there once `ready` has finished.
#[derive(Debug)]
pub(crate) struct Codes {
    buffer: BufferId,
    scale: BufferId,
    ready: StepIndex,
}

#[allow(clippy::needless_pass_by_value, reason = "a vector that is taken has had its last reader")]
impl<'a> Assembly<'a> {
    /// An empty program for the layer `name`.
    pub(crate) fn new(chip: &'a ChipDescription, name: &'a str) -> Self {
        let schedule = Schedule::new(chip);
        Self { chip, name, pool: BufferPool::default(), schedule, tables: Vec::new() }
    }

    /// Fetches the input vectors from the host.
    pub(crate) fn move_in(&mut self, len: usize) -> Floats {
        let buffer = self.pool.take(ElementKind::F32, len);
        let ready = self.schedule.push(Action::MoveIn { to: buffer }, vec![]);
        Floats { buffer, len, ready }
    }

    /// Turns vectors into codes.
    pub(crate) fn quantise(&mut self, x: Floats) -> Codes {
        let buffer = self.pool.take(ElementKind::Code, x.len);
        let scale = self.pool.take(ElementKind::F32, 1);
        let action = Action::Quantise { from: x.buffer, to: buffer, scale };
        let ready = self.schedule.push(action, vec![x.ready]);
        self.pool.give(x.buffer);
        Codes { buffer, scale, ready }
    }

    /// Multiplies the codes by each matrix and scales the sums back to vectors.
    ///
    /// Errors: if the program gets too many steps.
    pub(crate) fn multiply<const N: usize>(
        &mut self,
        x: Codes,
        matrices: [LoweredMatrix; N],
    ) -> Result<[Floats; N], CompileError> {
        let tiles: usize = matrices.iter().flat_map(|m| &m.slices).map(|s| s.tiles.len()).sum();
        // Three steps per tile, and room for the few around them.
        let needed = self.schedule.len().saturating_add(tiles.saturating_mul(3)) + 16;
        if needed > STEPS_MAX {
            let (layer, what, limit) = (self.name.to_owned(), "steps", STEPS_MAX);
            return Err(CompileError::TooLarge { layer, what, needed, limit });
        }
        let mut operands = Vec::with_capacity(N);
        let mut scaling = Vec::with_capacity(N);
        for matrix in matrices {
            let to = self.pool.take(ElementKind::Accumulator, matrix.outputs);
            operands.push(Operand { slices: matrix.slices, from: x.buffer, to });
            scaling.push((to, matrix.outputs, matrix.table));
        }
        let streams = self.schedule.multiply(operands, x.ready);
        self.pool.give(x.buffer);
        let mut scaling = scaling.into_iter().zip(streams);
        let outputs = std::array::from_fn(|_| {
            let ((sums, len, table), streams) = scaling.next().expect("one entry per matrix");
            self.dequantise(sums, x.scale, len, table, streams)
        });
        self.pool.give(x.scale);
        Ok(outputs)
    }

    fn dequantise(
        &mut self,
        sums: BufferId,
        scale: BufferId,
        len: usize,
        table: Vec<f32>,
        streams: Vec<StepIndex>,
    ) -> Floats {
        let id = TableId(u32::try_from(self.tables.len()).expect("one table per matrix"));
        self.tables.push(table);
        let buffer = self.pool.take(ElementKind::F32, len);
        let action = Action::Dequantise { from: sums, scale, table: id, to: buffer };
        let ready = self.schedule.push(action, streams);
        self.pool.give(sums);
        Floats { buffer, len, ready }
    }

    /// `silu(gate) * up`.
    pub(crate) fn swiglu(&mut self, gate: Floats, up: Floats) -> Floats {
        let buffer = self.pool.take(ElementKind::F32, gate.len);
        let action = Action::SwiGlu { gate: gate.buffer, up: up.buffer, to: buffer };
        let ready = self.schedule.push(action, vec![gate.ready, up.ready]);
        self.pool.give(gate.buffer);
        self.pool.give(up.buffer);
        Floats { buffer, len: gate.len, ready }
    }

    /// Sends the result to the host, places the buffers, and has the program verified.
    ///
    /// Errors: too little memory; [`CompileError::PassBug`] if the verifier objects.
    pub(crate) fn finish(
        mut self,
        result: Floats,
        useful_macs_per_symbol: u64,
        options: &CompileOptions,
    ) -> Result<VerifiedProgram, CompileError> {
        self.schedule.push(Action::MoveOut { from: result.buffer }, vec![result.ready]);
        let (buffers, symbols_max) = self.pool.place(self.chip, self.name, options.symbols_max)?;
        let (tiles, steps) = self.schedule.finish();
        let program = Program {
            name: self.name.to_owned(),
            chip: self.chip.name.clone(),
            rows: self.chip.array.inputs,
            columns: self.chip.array.outputs,
            packing: Packing::Conjugate,
            symbols_max,
            useful_macs_per_symbol,
            buffers,
            tiles,
            tables: self.tables,
            steps,
        };
        VerifiedProgram::new(program, self.chip)
            .map_err(|violations| CompileError::PassBug { layer: self.name.to_owned(), violations })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use litecore_types::chip::builtin;

    #[test]
    fn a_program_the_verifier_refuses_is_a_bug_of_the_compiler() {
        let chip = builtin("tiny-4").expect("shipped");
        let mut assembly = Assembly::new(&chip, "forgetful");
        // A result that no step has made.
        let buffer = assembly.pool.take(ElementKind::F32, 4);
        let ready = assembly.schedule.push(Action::Settle { array: 0, bank: 0 }, vec![]);
        let result = Floats { buffer, len: 4, ready };
        let error =
            assembly.finish(result, 0, &CompileOptions::default()).expect_err("nothing moved in");
        assert!(
            matches!(&error, CompileError::PassBug { violations, .. } if violations.len() == 2),
            "{error}"
        );
        assert_eq!(
            error.to_string(),
            "layer `forgetful`: the compiler broke 2 of its own promises, first: 0 moves in and 1 \
             out, must be one of each: this is a bug, report it with the chip and the shape of the \
             layer"
        );
    }
}
