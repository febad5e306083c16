//! Which tile sits on which array, and in which order each array's tiles are loaded.

use super::waves::{Division, Plan};
use crate::graph::{Graph, TileRead};
use litecore_types::chip::ChipDescription;

/// One read of a tile, with its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placed {
    pub(super) read: TileRead,
    pub(super) node: usize,
    pub(super) phase: usize,
    pub(super) array: usize,
}

/// Deals the tiles of a graph to the arrays.
///
/// Slices of one phase go to the arrays in turn. Where a phase has fewer slices than there are
/// arrays, the tiles of a slice go to as many arrays as it can have. Reads of one tile stay together.
pub(super) fn place(graph: &Graph, chip: &ChipDescription) -> Vec<Placed> {
    let arrays = chip.array.arrays;
    let phases = graph.matrices().map(|(_, matrix)| matrix.phase + 1).max().unwrap_or(0);
    let mut placed = Vec::new();
    for phase in 0..phases {
        let of_phase = || graph.matrices().filter(|(_, matrix)| matrix.phase == phase);
        let mut slices: Vec<usize> =
            of_phase().flat_map(|(_, m)| m.reads.iter().map(|read| read.slice)).collect();
        slices.sort_unstable();
        slices.dedup();
        let arrays_per_slice = (arrays / slices.len().max(1)).max(1);
        for (node, matrix) in of_phase() {
            let mut position = 0;
            let mut last: Option<TileRead> = None;
            for &read in &matrix.reads {
                match last {
                    Some(before) if before.slice != read.slice => position = 0,
                    Some(before) if before.tile != read.tile => position += 1,
                    _ => {}
                }
                last = Some(read);
                let turn = slices.binary_search(&read.slice).unwrap_or(0);
                let array = (turn * arrays_per_slice + position % arrays_per_slice) % arrays;
                placed.push(Placed { read, node, phase, array });
            }
        }
    }
    placed
}

/// A tile that an array needs for a wave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Load {
    /// Reads of that tile, by their number: these and those after it, as long as the tile is the
    /// same.
    pub(super) first_read: usize,
    /// How many parts have passed the tile when its wave has.
    pub(super) until: usize,
}

/// The order in which one array needs its tiles from a wave on.
///
/// Each wave passes the phases in order, and every second wave passes the tiles of a phase
/// backwards, so that it begins with those that are still in the banks.
pub(super) fn load_order(
    placed: &[Placed],
    array: usize,
    division: &Division,
    plan: Plan,
    first_wave: usize,
) -> Vec<Load> {
    let phases = placed.iter().map(|p| p.phase + 1).max().unwrap_or(0);
    let mut tiles: Vec<Vec<usize>> = vec![Vec::new(); phases];
    for (index, p) in placed.iter().enumerate().filter(|(_, p)| p.array == array) {
        let of_phase = &mut tiles[p.phase];
        if of_phase.last().is_none_or(|&last: &usize| placed[last].read.tile != p.read.tile) {
            of_phase.push(index);
        }
    }
    let wave = |number: usize, phase: usize| -> Vec<Load> {
        let until = division.wave_ends[number];
        let load = |&first_read: &usize| Load { first_read, until };
        let mut loads: Vec<Load> = tiles[phase].iter().map(load).collect();
        if number % 2 == 1 {
            loads.reverse();
        }
        loads
    };
    let mut order = Vec::new();
    let mut ahead = 0;
    for number in first_wave..division.wave_ends.len() {
        if phases == 0 {
            break;
        }
        order.extend(wave(number, 0).into_iter().skip(ahead));
        ahead = 0;
        if plan.lead > 0 && number + 1 < division.wave_ends.len() {
            let next = wave(number + 1, 0);
            ahead = plan.lead.min(next.len());
            order.extend(&next[..ahead]);
        }
        for phase in 1..phases {
            order.extend(wave(number, phase));
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::MatrixWork;
    use litecore_types::chip::builtin;
    use litecore_types::program::{BufferId, TileId};

    fn graph(matrices: &[(usize, usize, usize)]) -> Graph {
        let mut graph = Graph::default();
        let (mut tile, mut slice) = (0, 0);
        for &(phase, slices, k_tiles) in matrices {
            let mut reads = Vec::new();
            for _ in 0..slices {
                for _ in 0..k_tiles {
                    reads.push(TileRead {
                        tile: TileId(tile),
                        slice,
                        from_offset: 0,
                        to_offset: 0,
                        shift: 0,
                        accumulate_shift: 0,
                    });
                    tile += 1;
                }
                slice += 1;
            }
            graph.push_matrix(MatrixWork { from: BufferId(0), to: BufferId(1), phase, reads });
        }
        graph
    }

    fn arrays(arrays: usize, matrices: &[(usize, usize, usize)]) -> Vec<usize> {
        let mut chip = builtin("tiny-4").expect("shipped");
        chip.array.arrays = arrays;
        place(&graph(matrices), &chip).iter().map(|placed| placed.array).collect()
    }

    #[test]
    fn slices_are_dealt_in_turn_and_a_lone_one_is_shared() {
        assert_eq!(arrays(2, &[(0, 3, 1)]), [0, 1, 0]);
        assert_eq!(arrays(2, &[(0, 1, 1), (0, 1, 1)]), [0, 1]);
        assert_eq!(arrays(2, &[(0, 1, 4)]), [0, 1, 0, 1]);
        assert_eq!(arrays(4, &[(0, 2, 3), (1, 1, 2)]), [0, 1, 0, 2, 3, 2, 0, 1]);
    }

    #[test]
    fn waves_turn_back_where_the_last_one_ended() {
        let chip = builtin("tiny-4").expect("shipped");
        let placed = place(&graph(&[(0, 2, 1), (0, 1, 1), (1, 2, 1)]), &chip);
        let division = Division { parts: Vec::new(), wave_ends: vec![2, 3] };
        let order = |lead| -> Vec<(usize, usize)> {
            let plan = Plan { hold: true, lead, ..Plan::even(8) };
            let order = load_order(&placed, 0, &division, plan, 0);
            order.iter().map(|load| (load.first_read, load.until)).collect()
        };
        let both = [(0, 2), (1, 2), (2, 2), (3, 2), (4, 2), (2, 3), (1, 3), (0, 3), (4, 3), (3, 3)];
        assert_eq!(order(0), both);
        let ahead =
            [(0, 2), (1, 2), (2, 2), (2, 3), (1, 3), (3, 2), (4, 2), (0, 3), (4, 3), (3, 3)];
        assert_eq!(order(2), ahead);
    }
}
