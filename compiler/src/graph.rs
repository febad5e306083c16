//! What a program has to do for each symbol, before anything is said about when: a list of nodes in
//! an order in which one symbol could pass them, and which of them each must come after.

use litecore_types::program::{Action, BufferId, TileId};
use std::collections::BTreeMap;

/// Something to be done for each symbol.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) work: Work,
    /// Nodes that must be done for a symbol before this one: because it reads what they write, or
    /// writes where they read or wrote.
    pub(crate) needs: Vec<usize>,
}

/// What a node does.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Work {
    /// One step for each part of the symbols.
    Step(Action),
    /// Streams through tiles, in any order.
    Matrix(MatrixWork),
}

/// A product with one matrix.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct MatrixWork {
    pub(crate) from: BufferId,
    pub(crate) to: BufferId,
    /// Products with equal phases need not wait for each other.
    pub(crate) phase: usize,
    pub(crate) reads: Vec<TileRead>,
}

/// One pass of the symbols through one tile.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct TileRead {
    pub(crate) tile: TileId,
    /// The slice of accumulators it adds to, counted over the whole program.
    pub(crate) slice: usize,
    pub(crate) from_offset: u32,
    pub(crate) to_offset: u32,
    pub(crate) shift: u8,
    pub(crate) accumulate_shift: u8,
}

/// The nodes of a program.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    pub(crate) nodes: Vec<Node>,
    last_write: BTreeMap<BufferId, usize>,
    readers: BTreeMap<BufferId, Vec<usize>>,
}

impl Graph {
    /// Appends a step.
    pub(crate) fn push_step(&mut self, action: Action) {
        let (reads, writes) = buffers(&action);
        self.push(Work::Step(action), &reads, &writes);
    }

    /// Appends a product.
    pub(crate) fn push_matrix(&mut self, matrix: MatrixWork) {
        let (reads, writes) = (vec![matrix.from], vec![matrix.to]);
        self.push(Work::Matrix(matrix), &reads, &writes);
    }

    /// The products, by node.
    pub(crate) fn matrices(&self) -> impl Iterator<Item = (usize, &MatrixWork)> {
        self.nodes.iter().enumerate().filter_map(|(index, node)| match &node.work {
            Work::Matrix(matrix) => Some((index, matrix)),
            Work::Step(_) => None,
        })
    }

    fn push(&mut self, work: Work, reads: &[BufferId], writes: &[BufferId]) {
        let index = self.nodes.len();
        let mut needs: Vec<usize> = Vec::new();
        for buffer in reads.iter().chain(writes) {
            needs.extend(self.last_write.get(buffer));
        }
        for buffer in writes {
            needs.extend(self.readers.remove(buffer).into_iter().flatten());
            self.last_write.insert(*buffer, index);
        }
        for buffer in reads.iter().filter(|buffer| !writes.contains(buffer)) {
            self.readers.entry(*buffer).or_default().push(index);
        }
        needs.sort_unstable();
        needs.dedup();
        self.nodes.push(Node { work, needs });
    }
}

/// What an action reads and what it writes.
fn buffers(action: &Action) -> (Vec<BufferId>, Vec<BufferId>) {
    match *action {
        Action::MoveIn { to } => (vec![], vec![to]),
        Action::MoveOut { from } => (vec![from], vec![]),
        Action::Quantise { from, to, scale } => (vec![from], vec![to, scale]),
        Action::LoadBank { .. } | Action::Settle { .. } => (vec![], vec![]),
        Action::Dequantise { from, scale, to, .. } => (vec![from, scale], vec![to]),
        Action::SwiGlu { gate, up, to } => (vec![gate, up], vec![to]),
        Action::Rotate { from, to, .. } | Action::Stream { from, to, .. } => (vec![from], vec![to]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_comes_after_what_it_reads_and_what_it_overwrites() {
        let [a, b, c] = [0, 1, 2].map(BufferId);
        let mut graph = Graph::default();
        graph.push_step(Action::MoveIn { to: a });
        graph.push_step(Action::SwiGlu { gate: a, up: a, to: b });
        graph.push_step(Action::SwiGlu { gate: b, up: a, to: c });
        // `a` is written again: after its first writer and after both readers.
        graph.push_step(Action::SwiGlu { gate: c, up: c, to: a });
        graph.push_step(Action::MoveOut { from: a });
        let needs: Vec<&[usize]> = graph.nodes.iter().map(|node| &node.needs[..]).collect();
        assert_eq!(needs, [&[][..], &[0], &[0, 1], &[0, 1, 2], &[3]]);
    }
}
