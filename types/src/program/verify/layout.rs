//! Programs of one layout: what follows from the layout is looked at once.
//!
//! References, memory, banks, order and data follow from buffers, steps, the packings of tiles and the
//! lengths of tables. Names, codes, constants and gains are each program's own, and so are the checks
//! of them: ranges, and the width of accumulators, which here is bounded from above.

use super::buffers::WIDEST;
use super::{VerifiedProgram, Verifier};
use crate::chip::ChipDescription;
use crate::program::{Action, Program, Step, Tile, Violation};
use std::sync::Arc;

/// The layout of a program that passed the verifier for one chip model.
#[derive(Clone, Debug)]
pub struct VerifiedLayout {
    chip: ChipDescription,
    /// The program, with neither codes nor constants.
    program: Program,
    table_lens: Vec<usize>,
    reach: Arc<[u64]>,
    /// The most readings that any accumulator adds up.
    terms_max: u64,
}

impl VerifiedLayout {
    /// Checks all of `program` against `chip`, and keeps its layout beside it.
    ///
    /// Errors: those of [`VerifiedProgram::new`].
    pub fn new(
        program: Program,
        chip: &ChipDescription,
    ) -> Result<(VerifiedProgram, Self), Vec<Violation>> {
        let (verified, terms_max) = VerifiedProgram::with_terms(program, chip)?;
        let without_codes = |tile: &Tile| Tile { packing: tile.packing, codes: Vec::new() };
        let program = Program {
            name: verified.name.clone(),
            chip: verified.chip.clone(),
            buffers: verified.buffers.clone(),
            tiles: verified.tiles.iter().map(without_codes).collect(),
            tables: Vec::new(),
            steps: verified.steps.clone(),
            ..*verified
        };
        let table_lens = verified.tables.iter().map(Vec::len).collect();
        let reach = Arc::clone(&verified.reach);
        let layout = Self { chip: chip.clone(), program, table_lens, reach, terms_max };
        Ok((verified, layout))
    }

    /// Its steps, with the gains of the program it was found in.
    pub fn steps(&self) -> &[Step] {
        &self.program.steps
    }

    /// Verifies a program for the same chip: only what is its own if it has this layout, all of it
    /// otherwise, and wherever something is wrong.
    ///
    /// Errors: those of [`VerifiedProgram::new`].
    pub fn verify(&self, program: Program) -> Result<VerifiedProgram, Vec<Violation>> {
        if self.is_of(&program) && self.holds(&program) {
            return Ok(VerifiedProgram { program, reach: Arc::clone(&self.reach) });
        }
        VerifiedProgram::new(program, &self.chip)
    }

    /// Whether a program differs in nothing but name, use, codes, constants and gains.
    fn is_of(&self, other: &Program) -> bool {
        let own = &self.program;
        own.chip == other.chip
            && (own.rows, own.columns) == (other.rows, other.columns)
            && own.symbols_max == other.symbols_max
            && own.buffers == other.buffers
            && own.tiles.len() == other.tiles.len()
            && own.tiles.iter().zip(&other.tiles).all(|(a, b)| a.packing == b.packing)
            && other.tables.iter().map(Vec::len).eq(self.table_lens.iter().copied())
            && own.steps.len() == other.steps.len()
            && own.steps.iter().zip(&other.steps).all(|(a, b)| a.is_like(b))
    }

    /// Whether the codes, constants and gains of a program of this layout are sound.
    fn holds(&self, program: &Program) -> bool {
        let mut verifier = Verifier::new(program, &self.chip);
        verifier.check_tiles();
        verifier.check_constants();
        verifier.violations.is_empty() && self.gains_hold(program)
    }

    fn gains_hold(&self, program: &Program) -> bool {
        let mut widest_shift = 0;
        for step in &program.steps {
            let Action::Stream { tile, shift, accumulate_shift, .. } = step.action else {
                continue;
            };
            if !self.chip.gain_shifts_of(program.tile(tile).packing).contains(&shift) {
                return false;
            }
            widest_shift = widest_shift.max(accumulate_shift);
        }
        // As if each reading were as large as it can be, and shifted as far as any: what this does not
        // admit may still fit, and the verifier that follows each sum finds out.
        let code_max = 1_u64 << (self.chip.adc.bits - 1);
        let largest = code_max.checked_mul(1 << widest_shift.min(40));
        largest.and_then(|code| code.checked_mul(self.terms_max)).is_some_and(|sum| sum <= WIDEST)
    }
}
