//! The verifier: the only way to a program that a device may load.
//!
//! It knows nothing of the compiler. It checks, and lists every violation of:
//! 1. the chip: name, array shape, array and bank numbers, gain range, weight-code range, read-out;
//! 2. references: buffers, tiles, tables and steps exist, `after` names earlier steps only;
//!    constants are finite;
//! 3. operands: element kinds and lengths fit the action, no operand is its own result, and ranges
//!    of symbols hold something;
//! 4. memory: buffers hold something, lie inside the card's memory and do not overlap;
//! 5. banks: a stream finds its tile loaded, connected and settled, in a run of any length, and no
//!    load hits a bank in use;
//! 6. order: every read of a buffer waits for its writes, every write for earlier reads;
//! 7. data: every element that is read has been written, for the same symbol;
//! 8. width: no accumulator can overflow 32 bits, whatever the inputs;
//! 9. shape: every symbol is moved in once and moved out once.
//!
//! What is wrong in many places of one thing is listed once, with the first place: the codes of a
//! tile, the constants of a table, the elements of a buffer that one step touches. A buffer that
//! overlaps several is listed with the one of them that reaches furthest. 5 to 9 need references that
//! hold, so they are checked where 2 to 4 found nothing.
//!
//! It does not check that the program computes what its name says: that is the compiler's
//! differential test. A run that ends early drops the steps whose symbols it does not have; a step
//! that is carried out never needs one that is dropped, because data are tied to their symbols.
//!
//! Cost: proportional to the steps, times the lanes in use for the order, plus the regions that the
//! steps' operands are cut into by other steps for the data. Steps times lanes, the regions, and the visits
//! to them are bounded, so that no file, however made, takes a machine's time or memory.

mod banks;
mod buffers;
mod layout;
mod operands;

pub use layout::VerifiedLayout;

use super::{
    Action, BufferId, Finished, ORDER_MAX, Program, Step, StepIndex, Symbols, TableId, TileId,
    Violation,
};
use crate::chip::{ChipDescription, Readout};
use std::ops::Deref;
use std::sync::Arc;

/// A program that passed the verifier for one chip model. Only such a program can be loaded.
#[derive(Clone, Debug, PartialEq)]
pub struct VerifiedProgram {
    program: Program,
    /// For each step, the lowest first symbol of it and of all steps behind it: ascending.
    reach: Arc<[u64]>,
}

impl VerifiedProgram {
    /// Checks `program` against `chip`.
    ///
    /// Errors: every violation, in step order, ahead of anything a device would refuse.
    pub fn new(program: Program, chip: &ChipDescription) -> Result<Self, Vec<Violation>> {
        Self::with_terms(program, chip).map(|(verified, _)| verified)
    }

    /// Likewise, and how many readings an accumulator adds up at most.
    fn with_terms(program: Program, chip: &ChipDescription) -> Result<(Self, u64), Vec<Violation>> {
        let mut verifier = Verifier::new(&program, chip);
        verifier.run();
        let Verifier { violations, terms_max, .. } = verifier;
        if !violations.is_empty() {
            return Err(violations);
        }
        let mut reach: Vec<u64> = program.steps.iter().map(|step| step.symbols.from).collect();
        for index in (1..reach.len()).rev() {
            reach[index - 1] = reach[index - 1].min(reach[index]);
        }
        Ok((Self { program, reach: reach.into() }, terms_max))
    }

    /// The steps up to the last one that a run of so many symbols has work for. Some of them may
    /// have none.
    ///
    /// A program is laid out for its largest run; a short one need not look at all of it.
    pub fn steps_in_reach(&self, symbols: u64) -> &[Step] {
        &self.program.steps[..self.reach.partition_point(|&from| from < symbols)]
    }
}

impl Deref for VerifiedProgram {
    type Target = Program;
    fn deref(&self) -> &Program {
        &self.program
    }
}

struct Verifier<'a> {
    program: &'a Program,
    chip: &'a ChipDescription,
    violations: Vec<Violation>,
    finished: Finished,
    /// The most readings that any accumulator adds up.
    terms_max: u64,
}

impl<'a> Verifier<'a> {
    fn new(program: &'a Program, chip: &'a ChipDescription) -> Self {
        Self { program, chip, violations: Vec::new(), finished: Finished::default(), terms_max: 0 }
    }

    fn run(&mut self) {
        self.check_header();
        self.check_tiles();
        self.check_constants();
        // The rest needs references that hold and buffers that a machine can hold.
        let before = self.violations.len();
        self.check_memory();
        for (step, index) in self.program.steps.iter().zip(0..) {
            self.check_references(StepIndex(index), step);
        }
        let (steps, lanes) = (self.program.steps.len(), Finished::lanes_of(&self.program.steps));
        if steps.saturating_mul(lanes) > ORDER_MAX {
            self.violations.push(Violation::TooManyLanes { steps, lanes, limit: ORDER_MAX });
        }
        if self.violations.len() == before {
            self.finished = Finished::of(&self.program.steps);
            self.check_moves();
            self.check_banks();
            self.check_buffers();
        }
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
        if moves_in == 0 || moves_out == 0 {
            self.violations.push(Violation::MoveCount { moves_in, moves_out });
        }
    }

    fn check_tiles(&mut self) {
        let (chip, limit) = (self.chip, self.chip.weight_limit());
        for (tile, index) in self.program.tiles.iter().zip(0..) {
            let packing = tile.packing;
            let expected = packing.inputs(chip.array.inputs) * packing.outputs(chip.array.outputs);
            if tile.codes.len() != expected {
                let codes = tile.codes.len();
                self.violations.push(Violation::TileSize { tile: TileId(index), codes, expected });
            }
            if packing.reads_quadrature() && chip.receiver.readout == Readout::I {
                self.violations.push(Violation::NeedsQuadrature { tile: TileId(index), packing });
            }
            if let Some((row, column)) = packing.broken_pair(&tile.codes, chip.array.outputs) {
                self.violations.push(Violation::BrokenPair { tile: TileId(index), row, column });
            }
            let beyond = |code: &&i8| i32::from(code.unsigned_abs()) > limit;
            // All of them at once, as vectors can; one by one only where there is one to be named.
            let largest = tile.codes.iter().fold(0, |most, code| code.unsigned_abs().max(most));
            if i32::from(largest) > limit
                && let Some(&code) = tile.codes.iter().find(beyond)
            {
                self.violations.push(Violation::CodeRange { tile: TileId(index), code, limit });
            }
        }
    }

    fn check_constants(&mut self) {
        for (table, id) in self.program.tables.iter().zip(0..) {
            if let Some(index) = table.iter().position(|constant| !constant.is_finite()) {
                self.violations.push(Violation::NonFiniteConstant { table: TableId(id), index });
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
            let end = start.saturating_add(len.saturating_mul(symbols));
            if end > u128::from(self.chip.memory.sram_bytes) {
                self.violations.push(Violation::OutsideMemory {
                    buffer: BufferId(index),
                    end,
                    sram_bytes: self.chip.memory.sram_bytes,
                });
            }
            if start < end {
                extents.push((start, end, index));
            }
        }
        extents.sort_unstable();
        // Of all buffers that start earlier, the one that ends last.
        let mut furthest: Option<(u128, u32)> = None;
        for (start, end, index) in extents {
            if let Some((_, first)) = furthest.filter(|(reach, _)| *reach > start) {
                let (first, second) = (BufferId(first), BufferId(index));
                self.violations.push(Violation::Overlap { first, second });
            }
            if furthest.is_none_or(|(reach, _)| end > reach) {
                furthest = Some((end, index));
            }
        }
    }

    /// Checks that vectors of one length are moved in, and moved out, once for each symbol.
    fn check_moves(&mut self) {
        for inward in [true, false] {
            let mut moves: Vec<(Symbols, StepIndex, BufferId)> = Vec::new();
            for (step, index) in self.program.steps.iter().zip(0..) {
                match step.action {
                    Action::MoveIn { to: buffer } if inward => {
                        moves.push((step.symbols, StepIndex(index), buffer));
                    }
                    Action::MoveOut { from: buffer } if !inward => {
                        moves.push((step.symbols, StepIndex(index), buffer));
                    }
                    _ => {}
                }
            }
            let Some(&(_, _, first)) = moves.first() else { continue };
            let expected = self.program.buffer(first).len;
            for &(_, step, buffer) in &moves {
                let len = self.program.buffer(buffer).len;
                if len != expected {
                    self.violations.push(Violation::WrongLength { step, buffer, len, expected });
                }
            }
            moves.sort_unstable();
            let mut covered = 0;
            for (symbols, step, _) in moves {
                if symbols.from < covered {
                    let symbol = symbols.from;
                    self.violations.push(Violation::MovedTwice { step, symbol });
                } else if symbols.from > covered {
                    self.violations.push(Violation::NotMoved { inward, symbol: covered });
                }
                covered = covered.max(symbols.to);
            }
            if covered < self.program.symbols_max {
                self.violations.push(Violation::NotMoved { inward, symbol: covered });
            }
        }
    }

    /// Whether `earlier` has finished before `step` starts.
    fn waits_for(&self, step: StepIndex, earlier: StepIndex) -> bool {
        self.finished.before(&self.program.steps[step.0 as usize].after, earlier)
    }
}
