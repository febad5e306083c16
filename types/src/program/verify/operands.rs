//! References and operands: what one step names, looked at by itself.

use super::Verifier;
use crate::program::{Action, BufferId, ElementKind, Step, StepIndex, TableId, TileId, Violation};

impl Verifier<'_> {
    pub(super) fn check_references(&mut self, step: StepIndex, of: &Step) {
        for &earlier in of.after.iter() {
            if earlier >= step {
                self.violations.push(Violation::NotEarlier { step, after: earlier });
            }
        }
        if of.symbols.from >= of.symbols.to || of.symbols.from >= self.program.symbols_max.max(1) {
            self.violations.push(Violation::EmptyRange { step, symbols: of.symbols });
        }
        match of.action {
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
            Action::Stream { .. } => self.check_stream(step, of),
            Action::Dequantise { from, scale, table, to } => {
                let len = self.expect(step, from, ElementKind::Accumulator, None);
                self.expect(step, to, ElementKind::F32, len);
                self.expect(step, scale, ElementKind::F32, Some(1));
                self.expect_distinct(step, to, &[scale]);
                self.check_table(step, table, from, len);
            }
            Action::Rotate { from, table, block, to } => {
                let len = self.expect(step, from, ElementKind::F32, None);
                self.expect(step, to, ElementKind::F32, len);
                self.expect_distinct(step, to, &[from]);
                self.check_table(step, table, from, len);
                let fits =
                    |len: usize| block.is_power_of_two() && len.is_multiple_of(block as usize);
                if let Some(len) = len.filter(|len| !fits(*len)) {
                    self.violations.push(Violation::RotationBlock { step, block, len });
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

    /// Checks that a table exists with one constant for each element of a buffer.
    fn check_table(
        &mut self,
        step: StepIndex,
        table: TableId,
        buffer: BufferId,
        len: Option<usize>,
    ) {
        let Some(constants) = self.program.tables.get(table.0 as usize) else {
            self.violations.push(Violation::NoSuchTable { step, table });
            return;
        };
        let expected = constants.len();
        if let Some(len) = len.filter(|len| *len != expected) {
            self.violations.push(Violation::WrongLength { step, buffer, len, expected });
        }
    }

    fn check_stream(&mut self, step: StepIndex, of: &Step) {
        let Action::Stream { array, bank, tile, from, from_offset, shift, to, to_offset, .. } =
            of.action
        else {
            return;
        };
        self.expect_bank(step, array, bank);
        self.expect_tile(step, tile);
        if let Some(packing) = self.program.tiles.get(tile.0 as usize).map(|tile| tile.packing) {
            let range = self.chip.gain_shifts_of(packing);
            if !range.contains(&shift) {
                let (lowest, highest) = (*range.start(), *range.end());
                self.violations.push(Violation::GainRange { step, shift, lowest, highest });
            }
            if !of.symbols.from.is_multiple_of(packing.vectors()) {
                let from = of.symbols.from;
                self.violations.push(Violation::DividedPair { step, from });
            }
        }
        let from_len = self.expect(step, from, ElementKind::Code, None);
        let to_len = self.expect(step, to, ElementKind::Accumulator, None);
        for (buffer, offset, len) in [(from, from_offset, from_len), (to, to_offset, to_len)] {
            if let Some(len) = len.filter(|len| offset as usize >= *len) {
                self.violations.push(Violation::OffsetBeyondEnd { step, buffer, offset, len });
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
}
