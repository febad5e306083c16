//! From lowered matrices to a verified program: one method per kind of work.
//!
//! A vector in card memory is owned: the method that takes it names its last readers and gives its
//! buffer back. So nothing can be read after its memory was used again.

use crate::graph::{Graph, MatrixWork, TileRead};
use crate::layer::{LoweredMatrix, LoweredSlice};
use crate::memory::BufferPool;
use crate::schedule::steps_max;
use crate::shape::lay_out;
use crate::slice::LoweredTile;
use crate::{CompileError, CompileOptions};
use litecore_types::chip::ChipDescription;
use litecore_types::program::{
    Action, BufferId, ElementKind, Packing, Program, TableId, Tile, TileId, VerifiedProgram,
};

/// A program in the making.
#[derive(Debug)]
pub(crate) struct Assembly<'a> {
    chip: &'a ChipDescription,
    name: &'a str,
    pool: BufferPool,
    graph: Graph,
    tiles: Vec<Tile>,
    tables: Vec<Vec<f32>>,
    slices: usize,
    phases: usize,
    reads: usize,
}

/// F32 vectors in card memory.
#[derive(Debug)]
pub(crate) struct Floats {
    buffer: BufferId,
    len: usize,
}

/// Codes in card memory with their scales.
#[derive(Debug)]
pub(crate) struct Codes {
    buffer: BufferId,
    scale: BufferId,
}

#[allow(clippy::needless_pass_by_value, reason = "a vector that is taken has had its last reader")]
impl<'a> Assembly<'a> {
    /// An empty program for the layer `name`.
    pub(crate) fn new(chip: &'a ChipDescription, name: &'a str) -> Self {
        Self {
            chip,
            name,
            pool: BufferPool::default(),
            graph: Graph::default(),
            tiles: Vec::new(),
            tables: Vec::new(),
            slices: 0,
            phases: 0,
            reads: 0,
        }
    }

    /// Fetches the input vectors from the host.
    pub(crate) fn move_in(&mut self, len: usize) -> Floats {
        let buffer = self.pool.take(ElementKind::F32, len);
        self.graph.push_step(Action::MoveIn { to: buffer });
        Floats { buffer, len }
    }

    /// Turns vectors into codes.
    pub(crate) fn quantise(&mut self, x: Floats) -> Codes {
        let buffer = self.pool.take(ElementKind::Code, x.len);
        let scale = self.pool.take(ElementKind::F32, 1);
        self.graph.push_step(Action::Quantise { from: x.buffer, to: buffer, scale });
        self.pool.give(x.buffer);
        Codes { buffer, scale }
    }

    /// Multiplies the codes by each matrix and scales the sums back to vectors.
    ///
    /// Errors: if the program gets too many steps.
    pub(crate) fn multiply<const N: usize>(
        &mut self,
        x: Codes,
        matrices: [LoweredMatrix; N],
    ) -> Result<[Floats; N], CompileError> {
        let reads: usize = matrices.iter().flat_map(|m| &m.slices).map(|s| s.tiles.len()).sum();
        self.reads = self.reads.saturating_add(reads);
        // Three steps for each read of a tile, and room for those around them.
        let needed = self.reads.saturating_mul(3).saturating_add(512);
        let limit = steps_max(self.chip);
        if needed > limit {
            let (layer, what) = (self.name.to_owned(), "steps");
            return Err(CompileError::TooLarge { layer, what, needed, limit });
        }
        let mut scaling = Vec::with_capacity(N);
        for matrix in matrices {
            let to = self.pool.take(ElementKind::Accumulator, matrix.outputs);
            let tile_inputs = matrix.grid.tile_inputs;
            let reads = self.place_tiles(matrix.slices, tile_inputs, matrix.packing);
            let phase = self.phases;
            self.graph.push_matrix(MatrixWork { from: x.buffer, to, phase, reads });
            scaling.push((to, matrix.outputs, matrix.table));
        }
        self.phases += 1;
        self.pool.give(x.buffer);
        let mut scaling = scaling.into_iter();
        let outputs = std::array::from_fn(|_| {
            let (sums, len, table) = scaling.next().expect("one entry per matrix");
            self.dequantise(sums, x.scale, len, table)
        });
        self.pool.give(x.scale);
        Ok(outputs)
    }

    /// Gives tiles their numbers; a tile that is read twice in a row stays one.
    fn place_tiles(
        &mut self,
        slices: Vec<LoweredSlice>,
        tile_inputs: usize,
        packing: Packing,
    ) -> Vec<TileRead> {
        let mut reads = Vec::new();
        for slice in slices {
            let mut last: Option<(usize, TileId)> = None;
            for tile in slice.tiles {
                let LoweredTile { k_tile, codes, shift, accumulate_shift } = tile;
                let again =
                    last.filter(|(k, id)| *k == k_tile && self.tiles[id.0 as usize].codes == codes);
                let id = if let Some((_, id)) = again {
                    id
                } else {
                    self.tiles.push(Tile { packing, codes });
                    TileId(index(self.tiles.len() - 1))
                };
                last = Some((k_tile, id));
                reads.push(TileRead {
                    tile: id,
                    slice: self.slices,
                    from_offset: index(k_tile * tile_inputs),
                    to_offset: index(slice.first_output),
                    shift,
                    accumulate_shift,
                });
            }
            self.slices += 1;
        }
        reads
    }

    fn dequantise(
        &mut self,
        sums: BufferId,
        scale: BufferId,
        len: usize,
        table: Vec<f32>,
    ) -> Floats {
        let id = TableId(index(self.tables.len()));
        self.tables.push(table);
        let buffer = self.pool.take(ElementKind::F32, len);
        self.graph.push_step(Action::Dequantise { from: sums, scale, table: id, to: buffer });
        self.pool.give(sums);
        Floats { buffer, len }
    }

    /// Scales a vector by constants and rotates it in blocks.
    pub(crate) fn rotate(&mut self, x: Floats, table: Vec<f32>, block: u32) -> Floats {
        let id = TableId(index(self.tables.len()));
        self.tables.push(table);
        let buffer = self.pool.take(ElementKind::F32, x.len);
        self.graph.push_step(Action::Rotate { from: x.buffer, table: id, block, to: buffer });
        self.pool.give(x.buffer);
        Floats { buffer, len: x.len }
    }

    /// `silu(gate) * up`.
    pub(crate) fn swiglu(&mut self, gate: Floats, up: Floats) -> Floats {
        let buffer = self.pool.take(ElementKind::F32, gate.len);
        let action = Action::SwiGlu { gate: gate.buffer, up: up.buffer, to: buffer };
        self.graph.push_step(action);
        self.pool.give(gate.buffer);
        self.pool.give(up.buffer);
        Floats { buffer, len: gate.len }
    }

    /// Sends the result to the host, places the buffers, puts the steps in order, and has the
    /// program verified.
    ///
    /// Errors: too little memory; [`CompileError::PassBug`] if the verifier objects.
    pub(crate) fn finish(
        mut self,
        result: Floats,
        useful_macs_per_symbol: u64,
        options: &CompileOptions,
    ) -> Result<VerifiedProgram, CompileError> {
        self.graph.push_step(Action::MoveOut { from: result.buffer });
        let (buffers, symbols_max) = self.pool.place(self.chip, self.name, options.symbols_max)?;
        let program = Program {
            name: self.name.to_owned(),
            chip: self.chip.name.clone(),
            rows: self.chip.array.inputs,
            columns: self.chip.array.outputs,
            symbols_max,
            useful_macs_per_symbol,
            buffers,
            tiles: self.tiles,
            tables: self.tables,
            steps: Vec::new(),
        };
        lay_out(program, &self.graph, self.chip, options.batch)
            .map_err(|violations| CompileError::PassBug { layer: self.name.to_owned(), violations })
    }
}

fn index(value: usize) -> u32 {
    u32::try_from(value).expect("layers are bounded by STEPS_MAX and BUFFER_ELEMENTS_MAX")
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
        let result = Floats { buffer, len: 4 };
        let options = CompileOptions { symbols_max: 8, ..CompileOptions::default() };
        let error = assembly.finish(result, 0, &options).expect_err("nothing moved in");
        assert!(
            matches!(&error, CompileError::PassBug { violations, .. } if violations.len() == 2),
            "{error}"
        );
        assert_eq!(
            error.to_string(),
            "layer `forgetful`: the compiler broke 2 of its own promises, first: 0 moves in and 1 \
             out, must be some of each: this is a bug, report it with the chip and the shape of the \
             layer"
        );
    }
}
