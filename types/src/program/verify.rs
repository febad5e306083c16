//! The verifier: the only way to a program that a device may load.
//!
//! It knows nothing of the compiler. It checks, and lists every violation of:
//! 1. the chip: name, array shape, array and bank numbers, gain range, weight-code range;
//! 2. references: buffers, tiles, tables and steps exist, `after` names earlier steps only;
//! 3. operands: element kinds and lengths fit the action, and no operand is its own result;
//! 4. memory: buffers hold something, lie inside the card's memory and do not overlap;
//! 5. banks: a stream finds its tile loaded, connected and settled, and no load hits a bank in
//!    use;
//! 6. order: every read of a buffer waits for its writes, every write for earlier reads;
//! 7. data: every element that is read has been written;
//! 8. width: no accumulator can overflow 32 bits, whatever the inputs;
//! 9. shape: exactly one move in and one move out.
//!
//! It does not check that the program computes what its name says: that is the compiler's
//! differential test.

use super::{Action, BufferId, ElementKind, Program, StepIndex, TileId, Violation};
use crate::chip::ChipDescription;
use std::collections::BTreeMap;
use std::ops::Deref;

/// A program that passed the verifier for one chip model. Only such a program can be loaded.
#[derive(Clone, Debug, PartialEq)]
pub struct VerifiedProgram(Program);

impl VerifiedProgram {
    /// Checks `program` against `chip`.
    ///
    /// Errors: every violation, in step order, ahead of anything a device would refuse.
    pub fn new(program: Program, chip: &ChipDescription) -> Result<Self, Vec<Violation>> {
        let violations = Verifier::new(&program, chip).run();
        if violations.is_empty() { Ok(Self(program)) } else { Err(violations) }
    }
}

impl Deref for VerifiedProgram {
    type Target = Program;
    fn deref(&self) -> &Program {
        &self.0
    }
}

/// What a step does to a range of a buffer.
struct Access {
    buffer: BufferId,
    from: usize,
    to: usize,
    write: bool,
}

struct Verifier<'a> {
    program: &'a Program,
    chip: &'a ChipDescription,
    violations: Vec<Violation>,
    /// `finished[i]` has bit `j` when step `j` has finished before step `i` starts.
    finished: Vec<Vec<u64>>,
}

impl<'a> Verifier<'a> {
    fn new(program: &'a Program, chip: &'a ChipDescription) -> Self {
        Self { program, chip, violations: Vec::new(), finished: Vec::new() }
    }

    fn run(mut self) -> Vec<Violation> {
        self.check_header();
        self.check_tiles();
        // The rest needs references that hold and buffers that a machine can hold.
        let before = self.violations.len();
        self.check_memory();
        for (step, index) in self.program.steps.iter().zip(0..) {
            self.check_references(StepIndex(index), step.action, &step.after);
        }
        if self.violations.len() == before {
            self.order_steps();
            self.check_banks();
            self.check_buffers();
            self.check_accumulators();
        }
        self.violations
    }

    fn check_header(&mut self) {
        let (program, chip) = (self.program, self.chip);
        if program.chip != chip.name {
            self.violations.push(Violation::WrongChip {
                compiled_for: program.chip.clone(),
                chip: chip.name.clone(),
            });
        }
        if (program.rows, program.columns) != (chip.array.inputs, chip.array.outputs) {
            self.violations.push(Violation::WrongShape {
                rows: program.rows,
                columns: program.columns,
                chip_rows: chip.array.inputs,
                chip_columns: chip.array.outputs,
            });
        }
        if program.symbols_max == 0 {
            self.violations.push(Violation::NoSymbols);
        }
        let count = |f: fn(&Action) -> bool| program.steps.iter().filter(|s| f(&s.action)).count();
        let moves_in = count(|action| matches!(action, Action::MoveIn { .. }));
        let moves_out = count(|action| matches!(action, Action::MoveOut { .. }));
        if (moves_in, moves_out) != (1, 1) {
            self.violations.push(Violation::MoveCount { moves_in, moves_out });
        }
    }

    fn check_tiles(&mut self) {
        let expected = self.chip.tile_inputs() * self.chip.tile_outputs();
        let limit = self.chip.weight_limit();
        for (tile, index) in self.program.tiles.iter().zip(0..) {
            if tile.codes.len() != expected {
                let codes = tile.codes.len();
                self.violations.push(Violation::TileSize { tile: TileId(index), codes, expected });
            }
            if let Some(&code) = tile.codes.iter().find(|c| i32::from(**c).abs() > limit) {
                self.violations.push(Violation::CodeRange { tile: TileId(index), code, limit });
            }
        }
    }

    fn check_memory(&mut self) {
        let symbols = u128::from(self.program.symbols_max);
        let mut extents: Vec<(u128, u128, u32)> = Vec::new();
        for (buffer, index) in self.program.buffers.iter().zip(0..) {
            if buffer.len == 0 {
                self.violations.push(Violation::EmptyBuffer { buffer: BufferId(index) });
            }
            let start = u128::from(buffer.address);
            let len = buffer.len as u128 * buffer.kind.bytes() as u128;
            let end = start + len.saturating_mul(symbols);
            if end > u128::from(self.chip.memory.sram_bytes) {
                self.violations.push(Violation::OutsideMemory {
                    buffer: BufferId(index),
                    end,
                    sram_bytes: self.chip.memory.sram_bytes,
                });
            }
            extents.push((start, end, index));
        }
        extents.sort_unstable();
        for pair in extents.windows(2) {
            if pair[0].1 > pair[1].0 {
                self.violations.push(Violation::Overlap {
                    first: BufferId(pair[0].2),
                    second: BufferId(pair[1].2),
                });
            }
        }
    }

    fn check_references(&mut self, step: StepIndex, action: Action, after: &[StepIndex]) {
        for &earlier in after {
            if earlier >= step {
                self.violations.push(Violation::NotEarlier { step, after: earlier });
            }
        }
        match action {
            Action::MoveIn { to } => _ = self.expect(step, to, ElementKind::F32, None),
            Action::MoveOut { from } => _ = self.expect(step, from, ElementKind::F32, None),
            Action::Quantise { from, to, scale } => {
                let len = self.expect(step, from, ElementKind::F32, None);
                self.expect(step, to, ElementKind::Code, len);
                self.expect(step, scale, ElementKind::F32, Some(1));
                self.expect_distinct(step, scale, &[from]);
            }
            Action::LoadBank { array, bank, tile } => {
                self.expect_bank(step, array, bank);
                self.expect_tile(step, tile);
            }
            Action::Settle { array, bank } => self.expect_bank(step, array, bank),
            Action::Stream {
                array, bank, tile, from, from_offset, shift, to, to_offset, ..
            } => {
                self.expect_bank(step, array, bank);
                self.expect_tile(step, tile);
                let range = self.chip.gain_shifts();
                if !range.contains(&shift) {
                    let (lowest, highest) = (*range.start(), *range.end());
                    self.violations.push(Violation::GainRange { step, shift, lowest, highest });
                }
                let from_len = self.expect(step, from, ElementKind::Code, None);
                let to_len = self.expect(step, to, ElementKind::Accumulator, None);
                for (buffer, offset, len) in
                    [(from, from_offset, from_len), (to, to_offset, to_len)]
                {
                    if let Some(len) = len.filter(|len| offset as usize >= *len) {
                        self.violations.push(Violation::OffsetBeyondEnd {
                            step,
                            buffer,
                            offset,
                            len,
                        });
                    }
                }
            }
            Action::Dequantise { from, scale, table, to } => {
                let len = self.expect(step, from, ElementKind::Accumulator, None);
                self.expect(step, to, ElementKind::F32, len);
                self.expect(step, scale, ElementKind::F32, Some(1));
                self.expect_distinct(step, to, &[scale]);
                match self.program.tables.get(table.0 as usize) {
                    None => self.violations.push(Violation::NoSuchTable { step, table }),
                    Some(constants) => {
                        if let Some(len) = len.filter(|len| *len != constants.len()) {
                            self.violations.push(Violation::WrongLength {
                                step,
                                buffer: from,
                                len,
                                expected: constants.len(),
                            });
                        }
                    }
                }
            }
            Action::SwiGlu { gate, up, to } => {
                let len = self.expect(step, to, ElementKind::F32, None);
                self.expect(step, gate, ElementKind::F32, len);
                self.expect(step, up, ElementKind::F32, len);
                self.expect_distinct(step, to, &[gate, up]);
            }
        }
    }

    fn expect_distinct(&mut self, step: StepIndex, result: BufferId, operands: &[BufferId]) {
        if operands.contains(&result) {
            self.violations.push(Violation::Aliased { step, buffer: result });
        }
    }

    /// Checks that a buffer exists with this kind and length; gives its length.
    fn expect(
        &mut self,
        step: StepIndex,
        id: BufferId,
        expected: ElementKind,
        expected_len: Option<usize>,
    ) -> Option<usize> {
        let Some(buffer) = self.program.buffers.get(id.0 as usize) else {
            self.violations.push(Violation::NoSuchBuffer { step, buffer: id });
            return None;
        };
        let (kind, len) = (buffer.kind, buffer.len);
        if kind != expected {
            self.violations.push(Violation::WrongKind { step, buffer: id, kind, expected });
        }
        if let Some(expected) = expected_len.filter(|expected| *expected != len) {
            self.violations.push(Violation::WrongLength { step, buffer: id, len, expected });
        }
        Some(len)
    }

    fn expect_bank(&mut self, step: StepIndex, array: u16, bank: u16) {
        if usize::from(array) >= self.chip.array.arrays
            || usize::from(bank) >= self.chip.array.banks
        {
            self.violations.push(Violation::NoSuchBank { step, array, bank });
        }
    }

    fn expect_tile(&mut self, step: StepIndex, tile: TileId) {
        if tile.0 as usize >= self.program.tiles.len() {
            self.violations.push(Violation::NoSuchTile { step, tile });
        }
    }

    /// Fills `finished`: the steps in `after` and, transitively, all that they waited for.
    ///
    /// Being later on the same engine orders starts, not ends, so it counts for nothing here.
    fn order_steps(&mut self) {
        let words = self.program.steps.len().div_ceil(64);
        for step in &self.program.steps {
            let mut bits = vec![0_u64; words];
            for after in &step.after {
                let index = after.0 as usize;
                for (word, earlier) in bits.iter_mut().zip(&self.finished[index]) {
                    *word |= earlier;
                }
                bits[index / 64] |= 1 << (index % 64);
            }
            self.finished.push(bits);
        }
    }

    fn waits_for(&self, step: StepIndex, earlier: StepIndex) -> bool {
        let index = earlier.0 as usize;
        self.finished[step.0 as usize][index / 64] >> (index % 64) & 1 == 1
    }

    fn check_banks(&mut self) {
        #[derive(Default)]
        struct Bank {
            tile: Option<TileId>,
            load: Option<StepIndex>,
            settle: Option<StepIndex>,
            streams: Vec<StepIndex>,
        }
        let mut banks: BTreeMap<(u16, u16), Bank> = BTreeMap::new();
        // An array keeps the order of its settles and streams, so program order tells which bank
        // its cells follow.
        let mut connected: BTreeMap<u16, u16> = BTreeMap::new();
        for (step, index) in self.program.steps.iter().zip(0..) {
            let index = StepIndex(index);
            match step.action {
                Action::LoadBank { array, bank, tile } => {
                    let state = banks.entry((array, bank)).or_default();
                    for &by in &state.streams {
                        if !self.waits_for(index, by) {
                            self.violations.push(Violation::BankInUse {
                                step: index,
                                array,
                                bank,
                                by,
                            });
                        }
                    }
                    *state = Bank { tile: Some(tile), load: Some(index), ..Bank::default() };
                }
                Action::Settle { array, bank } => {
                    let state = banks.entry((array, bank)).or_default();
                    if state.load.is_some_and(|load| self.waits_for(index, load)) {
                        state.settle = Some(index);
                    }
                    connected.insert(array, bank);
                }
                Action::Stream { array, bank, tile, .. } => {
                    let state = banks.entry((array, bank)).or_default();
                    if state.tile != Some(tile) {
                        self.violations.push(Violation::TileNotLoaded {
                            step: index,
                            array,
                            bank,
                            tile,
                        });
                    } else if !state.settle.is_some_and(|settle| self.waits_for(index, settle)) {
                        self.violations.push(Violation::NotSettled { step: index, array, bank });
                    } else if let Some(&other) = connected.get(&array).filter(|b| **b != bank) {
                        let (step, connected) = (index, other);
                        self.violations.push(Violation::NotConnected {
                            step,
                            array,
                            bank,
                            connected,
                        });
                    }
                    state.streams.push(index);
                }
                _ => {}
            }
        }
    }

    fn accesses(&self, action: Action) -> Vec<Access> {
        let whole = |buffer: BufferId, write| Access {
            buffer,
            from: 0,
            to: self.program.buffer(buffer).len,
            write,
        };
        match action {
            Action::MoveIn { to } => vec![whole(to, true)],
            Action::MoveOut { from } => vec![whole(from, false)],
            Action::Quantise { from, to, scale } => {
                vec![whole(from, false), whole(to, true), whole(scale, true)]
            }
            Action::LoadBank { .. } | Action::Settle { .. } => Vec::new(),
            Action::Stream { from, from_offset, to, to_offset, first, .. } => {
                let slice = |buffer: BufferId, offset: u32, len: usize, write| Access {
                    buffer,
                    from: offset as usize,
                    to: self.program.buffer(buffer).len.min(offset as usize + len),
                    write,
                };
                let mut list = vec![
                    slice(from, from_offset, self.chip.tile_inputs(), false),
                    slice(to, to_offset, self.chip.tile_outputs(), true),
                ];
                if !first {
                    list.push(slice(to, to_offset, self.chip.tile_outputs(), false));
                }
                list
            }
            Action::Dequantise { from, scale, to, .. } => {
                vec![whole(from, false), whole(scale, false), whole(to, true)]
            }
            Action::SwiGlu { gate, up, to } => {
                vec![whole(gate, false), whole(up, false), whole(to, true)]
            }
        }
    }

    fn check_buffers(&mut self) {
        let mut written: Vec<Vec<bool>> =
            self.program.buffers.iter().map(|b| vec![false; b.len]).collect();
        let mut history: Vec<Vec<(StepIndex, Access)>> =
            self.program.buffers.iter().map(|_| Vec::new()).collect();
        for (step, index) in self.program.steps.iter().zip(0..) {
            let index = StepIndex(index);
            let accesses = self.accesses(step.action);
            for access in &accesses {
                let id = access.buffer.0 as usize;
                if !access.write
                    && let Some(hole) = written[id][access.from..access.to].iter().position(|w| !w)
                {
                    self.violations.push(Violation::ReadBeforeWritten {
                        step: index,
                        buffer: access.buffer,
                        element: access.from + hole,
                    });
                }
                for (earlier, other) in &history[id] {
                    let overlap = access.from < other.to && other.from < access.to;
                    if (access.write || other.write)
                        && overlap
                        && !self.waits_for(index, *earlier)
                        && !self.pipelined(index, *earlier)
                    {
                        self.violations.push(Violation::Unordered {
                            step: index,
                            buffer: access.buffer,
                            conflicts_with: *earlier,
                        });
                        break;
                    }
                }
            }
            for access in accesses {
                let id = access.buffer.0 as usize;
                if access.write {
                    written[id][access.from..access.to].fill(true);
                }
                history[id].push((index, access));
            }
        }
    }

    /// Streams through one array leave its pipeline in the order they entered, so they may add to
    /// the same accumulators without waiting for each other.
    fn pipelined(&self, step: StepIndex, earlier: StepIndex) -> bool {
        let array_of = |index: StepIndex| match self.program.steps[index.0 as usize].action {
            Action::Stream { array, to, .. } => Some((array, to)),
            _ => None,
        };
        array_of(step).is_some() && array_of(step) == array_of(earlier)
    }

    fn check_accumulators(&mut self) {
        let code_max = 1_u64 << (self.chip.adc.bits - 1);
        let mut worst: Vec<Vec<u64>> =
            self.program.buffers.iter().map(|b| vec![0; b.len]).collect();
        let mut reported: Vec<bool> = vec![false; self.program.buffers.len()];
        for (step, index) in self.program.steps.iter().zip(0..) {
            let Action::Stream { to, to_offset, accumulate_shift, first, .. } = step.action else {
                continue;
            };
            let id = to.0 as usize;
            let end = self.program.buffer(to).len.min(to_offset as usize + self.program.columns);
            let added = if accumulate_shift < 40 { code_max << accumulate_shift } else { 1 << 48 };
            for sum in &mut worst[id][to_offset as usize..end] {
                *sum = if first { added } else { sum.saturating_add(added) };
                if *sum > i32::MAX as u64 && !reported[id] {
                    reported[id] = true;
                    self.violations.push(Violation::AccumulatorOverflow {
                        step: StepIndex(index),
                        buffer: to,
                        bits: 65 - sum.leading_zeros(),
                    });
                }
            }
        }
    }
}
