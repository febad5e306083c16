//! Experts of one shape share one schedule: it is laid out and verified once, and each gets its own
//! gains; codes, constants and gains are verified for each.
//!
//! When steps can start follows from shapes and the chip, never from weights or gains. So programs
//! that are equal but for their codes, tables and gains have the same steps but for the gains.

use crate::gains::{Gain, gains_of_reads, with_gains};
use crate::graph::{Graph, Node, TileRead, Work};
use crate::schedule::schedule;
use litecore_types::chip::ChipDescription;
use litecore_types::program::{
    Buffer, Packing, Program, VerifiedLayout, VerifiedProgram, Violation,
};
use std::sync::{Arc, Mutex, PoisonError};

/// Everything that the steps of a program depend on, gains apart.
#[derive(Debug, PartialEq)]
struct Shape {
    chip: ChipDescription,
    batch: Option<u64>,
    symbols_max: u64,
    buffers: Vec<Buffer>,
    packings: Vec<Packing>,
    nodes: Vec<Node>,
}

/// A shape, and the layout that was found and verified for it.
type LaidOut = (Shape, Arc<VerifiedLayout>);

/// The shapes that were met last.
static LATEST: Mutex<Latest> = Mutex::new(Latest::of(8, 1 << 19));

/// Shapes, the latest at the end, and how many of them may be kept.
#[derive(Debug)]
struct Latest {
    shapes: Vec<LaidOut>,
    /// Most shapes: a model has a few.
    count_max: usize,
    /// Most steps of all of them together, the latest shape apart.
    steps_max: usize,
}

impl Latest {
    const fn of(count_max: usize, steps_max: usize) -> Self {
        Self { shapes: Vec::new(), count_max, steps_max }
    }

    /// The layout of a shape, which is the latest now.
    fn find(&mut self, shape: &Shape) -> Option<Arc<VerifiedLayout>> {
        let found = self.shapes.iter().rposition(|(other, _)| other == shape)?;
        let entry = self.shapes.remove(found);
        let layout = Arc::clone(&entry.1);
        self.shapes.push(entry);
        Some(layout)
    }

    /// Keeps one more, and forgets the oldest for it where they become too many.
    fn keep(&mut self, shape: Shape, layout: Arc<VerifiedLayout>) {
        let steps = |of: &[LaidOut]| of.iter().map(|(_, of)| of.steps().len()).sum::<usize>();
        while self.shapes.len() >= self.count_max || steps(&self.shapes) > self.steps_max {
            self.shapes.remove(0);
        }
        self.shapes.push((shape, layout));
    }
}

/// Fills in the steps of a program that has everything else, and has it verified.
///
/// Errors: what the verifier finds.
pub(crate) fn lay_out(
    mut program: Program,
    graph: &Graph,
    chip: &ChipDescription,
    batch: Option<u64>,
) -> Result<VerifiedProgram, Vec<Violation>> {
    let Some(gains) = gains(graph, program.tiles.len()) else {
        schedule(&mut program, graph, chip, batch);
        return VerifiedProgram::new(program, chip);
    };
    let shape = Shape {
        chip: chip.clone(),
        batch,
        symbols_max: program.symbols_max,
        buffers: program.buffers.clone(),
        packings: program.tiles.iter().map(|tile| tile.packing).collect(),
        nodes: graph.nodes.iter().map(without_gains).collect(),
    };
    let known = LATEST.lock().unwrap_or_else(PoisonError::into_inner).find(&shape);
    if let Some(layout) = known {
        program.steps = with_gains(layout.steps(), &gains);
        return layout.verify(program);
    }
    schedule(&mut program, graph, chip, batch);
    let (verified, layout) = VerifiedLayout::new(program, chip)?;
    LATEST.lock().unwrap_or_else(PoisonError::into_inner).keep(shape, Arc::new(layout));
    Ok(verified)
}

/// The gain of each tile; nothing where two reads of one tile differ in it.
fn gains(graph: &Graph, tiles: usize) -> Option<Vec<Gain>> {
    let reads = graph.matrices().flat_map(|(_, matrix)| &matrix.reads).map(|read| {
        let TileRead { tile, shift, accumulate_shift, .. } = *read;
        (tile.0 as usize, Gain { shift, accumulate_shift })
    });
    gains_of_reads(reads, tiles)
}

fn without_gains(node: &Node) -> Node {
    let mut node = node.clone();
    if let Work::Matrix(matrix) = &mut node.work {
        for TileRead { shift, accumulate_shift, .. } in &mut matrix.reads {
            (*shift, *accumulate_shift) = (0, 0);
        }
    }
    node
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::MatrixWork;
    use litecore_types::chip::builtin;
    use litecore_types::program::{Action, BufferId, ElementKind, Tile, TileId};

    /// Two tiles, one after the other into one slice, with these gains.
    fn graph(gains: [(u8, u8); 2]) -> Graph {
        let read = |(tile, (shift, accumulate_shift))| TileRead {
            tile: TileId(tile),
            slice: 0,
            from_offset: 8 * tile,
            to_offset: 0,
            shift,
            accumulate_shift,
        };
        let [x, codes, scale, sums, y] = [0, 1, 2, 3, 4].map(BufferId);
        let mut graph = Graph::default();
        graph.push_step(Action::MoveIn { to: x });
        graph.push_step(Action::Quantise { from: x, to: codes, scale });
        let reads = (0..).zip(gains).map(read).collect();
        graph.push_matrix(MatrixWork { from: codes, to: sums, phase: 0, reads });
        let table = litecore_types::program::TableId(0);
        graph.push_step(Action::Dequantise { from: sums, scale, table, to: y });
        graph.push_step(Action::MoveOut { from: y });
        graph
    }

    fn program(chip: &ChipDescription) -> Program {
        let buffer = |kind, len, address| Buffer { kind, len, address };
        Program {
            name: "l".to_owned(),
            chip: chip.name.clone(),
            rows: chip.array.inputs,
            columns: chip.array.outputs,
            symbols_max: 24,
            useful_macs_per_symbol: 64,
            buffers: vec![
                buffer(ElementKind::F32, 16, 0),
                buffer(ElementKind::Code, 16, 4096),
                buffer(ElementKind::F32, 1, 8192),
                buffer(ElementKind::Accumulator, 4, 12_288),
                buffer(ElementKind::F32, 4, 16_384),
            ],
            tiles: vec![Tile { packing: Packing::Conjugate, codes: vec![1; 32] }; 2],
            tables: vec![vec![1.0; 4]],
            steps: Vec::new(),
        }
    }

    #[test]
    fn a_second_program_of_a_shape_gets_the_steps_it_would_have_got_alone() {
        let chip = builtin("tiny-4").expect("shipped");
        for gains in [[(7, 1), (6, 0)], [(9, 2), (7, 0)], [(7, 1), (6, 0)]] {
            let mut alone = program(&chip);
            let shared = lay_out(program(&chip), &graph(gains), &chip, None).expect("sound");
            schedule(&mut alone, &graph(gains), &chip, None);
            assert!(alone.steps.len() > 6);
            assert_eq!(shared.steps, alone.steps);
        }
    }

    #[test]
    fn the_shapes_that_were_met_last_are_kept_within_their_bounds() {
        let chip = builtin("tiny-4").expect("shipped");
        let graph = graph([(7, 1), (6, 0)]);
        let shape = |batch| Shape {
            chip: chip.clone(),
            batch: Some(batch),
            symbols_max: 24,
            buffers: Vec::new(),
            packings: Vec::new(),
            nodes: Vec::new(),
        };
        let mut program = program(&chip);
        schedule(&mut program, &graph, &chip, None);
        let steps = program.steps.len();
        let layout = Arc::new(VerifiedLayout::new(program, &chip).expect("sound").1);
        let mut latest = Latest::of(3, usize::MAX);
        (0..3).for_each(|batch| latest.keep(shape(batch), Arc::clone(&layout)));
        // What is asked for again is not the oldest any more.
        assert!(latest.find(&shape(0)).is_some());
        latest.keep(shape(3), Arc::clone(&layout));
        let found = [0, 1, 2, 3].map(|batch| latest.find(&shape(batch)).is_some());
        assert_eq!(found, [true, false, true, true]);

        let mut latest = Latest::of(8, 2 * steps);
        (0..5).for_each(|batch| latest.keep(shape(batch), Arc::clone(&layout)));
        assert_eq!(latest.shapes.len(), 3);
        assert!(latest.find(&shape(1)).is_none() && latest.find(&shape(2)).is_some());
    }
}
