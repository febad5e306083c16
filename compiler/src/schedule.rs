//! Steps in time: which array and bank takes which tile, and what each step must wait for.
//!
//! An array's banks take its tiles in turn, so that the next bank is written while one computes.
//! Accumulator slices are dealt to the arrays in turn; where there are fewer slices than arrays,
//! the K-tiles of a slice are dealt to as many arrays as it can have, and their streams wait for
//! each other because they add to the same accumulators.

use crate::layer::LoweredSlice;
use litecore_types::chip::ChipDescription;
use litecore_types::program::{Action, BufferId, Step, StepIndex, Tile, TileId};

/// The most steps in a program; the verifier's books grow with their square.
pub(crate) const STEPS_MAX: usize = 1 << 15;

/// Steps and tiles of a program in the making.
#[derive(Debug)]
pub(crate) struct Schedule {
    tile_inputs: usize,
    arrays: Vec<ArrayState>,
    tiles: Vec<Tile>,
    steps: Vec<Step>,
}

/// What has been scheduled on one array.
#[derive(Clone, Debug)]
struct ArrayState {
    next_bank: usize,
    /// The last stream through each bank.
    last_stream: Vec<Option<StepIndex>>,
}

/// A matrix to be multiplied, and the buffers it works on.
#[derive(Debug)]
pub(crate) struct Operand {
    pub(crate) slices: Vec<LoweredSlice>,
    pub(crate) from: BufferId,
    pub(crate) to: BufferId,
}

impl Schedule {
    pub(crate) fn new(chip: &ChipDescription) -> Self {
        let array = ArrayState { next_bank: 0, last_stream: vec![None; chip.array.banks] };
        Self {
            tile_inputs: chip.tile_inputs(),
            arrays: vec![array; chip.array.arrays],
            tiles: Vec::new(),
            steps: Vec::new(),
        }
    }

    /// How many steps there are.
    pub(crate) fn len(&self) -> usize {
        self.steps.len()
    }

    /// Appends a step that waits for `after`, in any order.
    pub(crate) fn push(&mut self, action: Action, mut after: Vec<StepIndex>) -> StepIndex {
        after.sort_unstable();
        after.dedup();
        self.steps.push(Step { action, after });
        step_index(self.steps.len() - 1)
    }

    /// Streams the codes that step `ready` makes through every tile of some matrices.
    ///
    /// Returns the streams of each matrix.
    pub(crate) fn multiply(
        &mut self,
        operands: Vec<Operand>,
        ready: StepIndex,
    ) -> Vec<Vec<StepIndex>> {
        let slices: usize = operands.iter().map(|operand| operand.slices.len()).sum();
        let arrays_per_slice = (self.arrays.len() / slices.max(1)).max(1);
        let mut streams = Vec::with_capacity(operands.len());
        let mut turn = 0;
        for Operand { slices, from, to } in operands {
            let mut of_operand = Vec::new();
            for slice in slices {
                of_operand.extend(self.slice(slice, from, to, turn, arrays_per_slice, ready));
                turn += 1;
            }
            streams.push(of_operand);
        }
        streams
    }

    fn slice(
        &mut self,
        slice: LoweredSlice,
        from: BufferId,
        to: BufferId,
        turn: usize,
        arrays_per_slice: usize,
        ready: StepIndex,
    ) -> Vec<StepIndex> {
        let mut streams: Vec<StepIndex> = Vec::with_capacity(slice.tiles.len());
        for (position, tile) in slice.tiles.into_iter().enumerate() {
            let member = turn * arrays_per_slice + position % arrays_per_slice;
            let array = member % self.arrays.len();
            let (bank, settled) = self.load(array, Tile { codes: tile.codes });
            let mut after = vec![settled, ready];
            if arrays_per_slice > 1 {
                after.extend(streams.last());
            }
            let action = Action::Stream {
                array: small(array),
                bank: small(bank),
                tile: TileId(index(self.tiles.len() - 1)),
                from,
                from_offset: index(tile.k_tile * self.tile_inputs),
                shift: tile.shift,
                to,
                to_offset: index(slice.first_output),
                accumulate_shift: tile.accumulate_shift,
                first: position == 0,
            };
            let stream = self.push(action, after);
            self.arrays[array].last_stream[bank] = Some(stream);
            streams.push(stream);
        }
        streams
    }

    /// Loads a tile into the next bank of an array, as soon as that bank is no longer in use.
    ///
    /// Returns the bank and the step after which it has settled.
    fn load(&mut self, array: usize, tile: Tile) -> (usize, StepIndex) {
        let state = &mut self.arrays[array];
        let bank = state.next_bank;
        state.next_bank = (bank + 1) % state.last_stream.len();
        let free = state.last_stream[bank].into_iter().collect();
        let id = TileId(index(self.tiles.len()));
        self.tiles.push(tile);
        let (array, bank_number) = (small(array), small(bank));
        let load = self.push(Action::LoadBank { array, bank: bank_number, tile: id }, free);
        (bank, self.push(Action::Settle { array, bank: bank_number }, vec![load]))
    }

    /// The tiles and steps, each step waiting for no more than it must.
    pub(crate) fn finish(mut self) -> (Vec<Tile>, Vec<Step>) {
        minimize_waits(&mut self.steps);
        (self.tiles, self.steps)
    }
}

/// Drops from each `after` list what other entries of it have waited for already.
fn minimize_waits(steps: &mut [Step]) {
    // Row `i` has bit `j` when step `j` has finished before step `i` starts.
    let mut finished: Vec<Vec<u64>> = Vec::with_capacity(steps.len());
    for (step, number) in steps.iter_mut().zip(0..) {
        let mut bits = vec![0_u64; number / 64 + 1];
        let mut kept = Vec::with_capacity(step.after.len());
        // From the latest: a step can only have been waited for by a later one.
        for &after in step.after.iter().rev() {
            let earlier = after.0 as usize;
            if bits[earlier / 64] >> (earlier % 64) & 1 == 1 {
                continue;
            }
            kept.push(after);
            bits[earlier / 64] |= 1 << (earlier % 64);
            for (word, more) in bits.iter_mut().zip(&finished[earlier]) {
                *word |= more;
            }
        }
        kept.reverse();
        step.after = kept;
        finished.push(bits);
    }
}

fn step_index(position: usize) -> StepIndex {
    StepIndex(index(position))
}

fn index(value: usize) -> u32 {
    u32::try_from(value).expect("layers are bounded by STEPS_MAX and BUFFER_ELEMENTS_MAX")
}

fn small(value: usize) -> u16 {
    u16::try_from(value).expect("arrays and banks were checked")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::LoweredTile;
    use litecore_types::chip::builtin;

    fn slice(first_output: usize, k_tiles: usize) -> LoweredSlice {
        let tile =
            |k_tile| LoweredTile { k_tile, codes: vec![1; 32], shift: 3, accumulate_shift: 0 };
        LoweredSlice { first_output, tiles: (0..k_tiles).map(tile).collect() }
    }

    fn schedule(arrays: usize, banks: usize, slices: Vec<LoweredSlice>) -> Vec<String> {
        let mut chip = builtin("tiny-4").expect("shipped");
        (chip.array.arrays, chip.array.banks) = (arrays, banks);
        let mut schedule = Schedule::new(&chip);
        let ready = schedule.push(Action::MoveIn { to: BufferId(0) }, vec![]);
        let operand = Operand { slices, from: BufferId(1), to: BufferId(2) };
        let streams = schedule.multiply(vec![operand], ready).remove(0);
        schedule.push(Action::MoveOut { from: BufferId(0) }, streams);
        let (_, steps) = schedule.finish();
        steps.iter().map(describe).collect()
    }

    fn describe(step: &Step) -> String {
        let what = match step.action {
            Action::LoadBank { array, bank, tile } => format!("load {array}.{bank} {}", tile.0),
            Action::Settle { array, bank } => format!("settle {array}.{bank}"),
            Action::Stream { array, bank, tile, from_offset, to_offset, first, .. } => {
                let mark = if first { "=" } else { "+" };
                format!("stream {array}.{bank} {} {from_offset}{mark}>{to_offset}", tile.0)
            }
            Action::MoveIn { .. } => "in".to_owned(),
            _ => "out".to_owned(),
        };
        let after: Vec<String> = step.after.iter().map(|after| after.0.to_string()).collect();
        format!("{what} [{}]", after.join(" "))
    }

    #[test]
    fn with_one_bank_each_load_waits_for_the_stream_before() {
        let steps = schedule(1, 1, vec![slice(0, 2)]);
        assert_eq!(
            steps,
            [
                "in []",
                "load 0.0 0 []",
                "settle 0.0 [1]",
                "stream 0.0 0 0=>0 [0 2]",
                "load 0.0 1 [3]",
                "settle 0.0 [4]",
                "stream 0.0 1 8+>0 [5]",
                "out [6]",
            ]
        );
    }

    #[test]
    fn with_two_banks_a_load_waits_for_the_stream_before_the_last() {
        let steps = schedule(1, 2, vec![slice(0, 3)]);
        assert_eq!(
            steps,
            [
                "in []",
                "load 0.0 0 []",
                "settle 0.0 [1]",
                "stream 0.0 0 0=>0 [0 2]",
                "load 0.1 1 []",
                "settle 0.1 [4]",
                "stream 0.1 1 8+>0 [0 5]",
                "load 0.0 2 [3]",
                "settle 0.0 [7]",
                "stream 0.0 2 16+>0 [8]",
                "out [6 9]",
            ]
        );
    }

    #[test]
    fn slices_are_dealt_to_arrays_in_turn() {
        let steps = schedule(2, 1, vec![slice(0, 1), slice(4, 1), slice(8, 1)]);
        let streams: Vec<&String> = steps.iter().filter(|s| s.starts_with("stream")).collect();
        assert_eq!(
            streams,
            ["stream 0.0 0 0=>0 [0 2]", "stream 1.0 1 0=>4 [0 5]", "stream 0.0 2 0=>8 [8]"]
        );
    }

    #[test]
    fn one_slice_on_two_arrays_loads_in_parallel_and_adds_in_order() {
        let steps = schedule(2, 1, vec![slice(0, 4)]);
        let streams: Vec<&String> = steps.iter().filter(|s| s.starts_with("stream")).collect();
        assert_eq!(
            streams,
            [
                "stream 0.0 0 0=>0 [0 2]",
                "stream 1.0 1 8+>0 [3 5]",
                "stream 0.0 2 16+>0 [6 8]",
                "stream 1.0 3 24+>0 [9 11]",
            ]
        );
        assert_eq!(steps.last().map(String::as_str), Some("out [12]"));
    }
}
