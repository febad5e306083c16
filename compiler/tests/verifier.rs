//! Every violation the verifier knows, produced by damaging a good program.

mod problem;

use litecore_compiler::{CompileOptions, compile_expert, compile_linear};
use litecore_types::chip::ChipDescription;
use litecore_types::program::{
    Action, BufferId, ElementKind, Packing, Program, Step, StepIndex, Symbols, TableId, TileId,
    VerifiedLayout, VerifiedProgram, Violation,
};
use problem::{SampleExpert, chip, normals};

/// A linear layer of two K-tiles and two slices on two banks.
fn good() -> (ChipDescription, Program) {
    let chip = chip("tiny-4", &[("array.banks", "2")]);
    let options = CompileOptions { symbols_max: 8, ..CompileOptions::default() };
    let linear = compile_linear(&chip, "l", &normals(1, 8 * 16), 8, 16, &[], &options);
    let program = Program::clone(&linear.expect("small").program);
    (chip, program)
}

fn violations(chip: &ChipDescription, program: Program) -> Vec<Violation> {
    VerifiedProgram::new(program, chip).expect_err("damaged")
}

/// The violations after some damage to the good program.
fn after(damage: impl FnOnce(&mut Program)) -> Vec<Violation> {
    let (chip, mut program) = good();
    let (_, layout) = VerifiedLayout::new(program.clone(), &chip).expect("good");
    damage(&mut program);
    let found = violations(&chip, program.clone());
    // The way by a layout that is known finds the same, whatever the damage.
    assert_eq!(layout.verify(program), Err(found.clone()));
    found
}

/// The position of the `nth` step that is like this.
fn position(program: &Program, nth: usize, like: fn(&Action) -> bool) -> usize {
    let steps = program.steps.iter().enumerate();
    steps.filter(|(_, step)| like(&step.action)).nth(nth).expect("there are enough").0
}

fn is_stream(action: &Action) -> bool {
    matches!(action, Action::Stream { .. })
}

fn is_load(action: &Action) -> bool {
    matches!(action, Action::LoadBank { .. })
}

fn is_settle(action: &Action) -> bool {
    matches!(action, Action::Settle { .. })
}

fn is_quantise(action: &Action) -> bool {
    matches!(action, Action::Quantise { .. })
}

fn is_dequantise(action: &Action) -> bool {
    matches!(action, Action::Dequantise { .. })
}

macro_rules! assert_has {
    ($violations:expr, $pattern:pat $(if $guard:expr)?) => {{
        let violations = $violations;
        let found = violations.iter().any(|violation| matches!(violation, $pattern $(if $guard)?));
        assert!(found, "{violations:?}");
    }};
}

#[test]
fn the_undamaged_program_is_admitted() {
    let (chip, program) = good();
    assert_eq!(program.tiles.len(), 4);
    assert_eq!(VerifiedProgram::new(program, &chip).map(|_| ()), Ok(()));
}

#[test]
fn a_program_of_a_known_layout_is_admitted_with_its_own_codes_and_gains() {
    let (chip, program) = good();
    let (verified, layout) = VerifiedLayout::new(program.clone(), &chip).expect("good");
    assert_eq!(*verified, program);
    let mut other = program.clone();
    other.name = "other".to_owned();
    other.tiles[1].codes.fill(-3);
    other.tables[0].fill(0.5);
    for step in &mut other.steps {
        if let Action::Stream { shift, accumulate_shift, .. } = &mut step.action {
            (*shift, *accumulate_shift) = (*shift + 1, 2);
        }
    }
    let found = layout.verify(other.clone()).expect("sound");
    assert_eq!(Ok(&found), VerifiedProgram::new(other.clone(), &chip).as_ref());
    assert_eq!(*found, other);
    // Another layout is no fault: it is looked at as a whole.
    let mut longer = program.clone();
    longer.symbols_max = 7;
    assert!(layout.verify(longer).is_ok());
    // Codes of one tile, a constant, and gains that are out of range are found.
    let mut bad = program.clone();
    bad.tiles[2].codes[5] = i8::MIN;
    assert_has!(layout.verify(bad).expect_err("code"), Violation::CodeRange { .. });
    let mut bad = program.clone();
    bad.tables[0][1] = f32::NAN;
    assert_has!(layout.verify(bad).expect_err("constant"), Violation::NonFiniteConstant { .. });
    for gain in [(99, 0), (6, 60), (6, 27)] {
        let mut bad = program.clone();
        let stream = position(&bad, 3, is_stream);
        if let Action::Stream { shift, accumulate_shift, .. } = &mut bad.steps[stream].action {
            (*shift, *accumulate_shift) = gain;
        }
        let expected = VerifiedProgram::new(bad.clone(), &chip).map(|_| ());
        assert!(expected.is_err(), "{gain:?}");
        assert_eq!(layout.verify(bad).map(|_| ()), expected);
    }
}

#[test]
fn wrong_chip() {
    assert_has!(after(|p| p.chip = "other".into()), Violation::WrongChip { compiled_for, .. } if compiled_for == "other");
}

#[test]
fn wrong_shape() {
    assert_has!(
        after(|p| p.columns = 5),
        Violation::WrongShape { columns: 5, chip_columns: 4, .. }
    );
}

#[test]
fn no_symbols() {
    assert_has!(after(|p| p.symbols_max = 0), Violation::NoSymbols);
}

#[test]
fn empty_buffer() {
    let damage = |p: &mut Program| p.buffers[2].len = 0;
    assert_has!(after(damage), Violation::EmptyBuffer { buffer: BufferId(2) });
}

#[test]
fn not_connected() {
    // The second bank's settle connects the first one once more.
    let damage = |p: &mut Program| {
        let step = position(p, 1, is_settle);
        if let Action::Settle { bank, .. } = &mut p.steps[step].action {
            assert_eq!(std::mem::take(bank), 1);
        }
    };
    assert_has!(after(damage), Violation::NotConnected { array: 0, bank: 1, connected: 0, .. });
}

#[test]
fn aliased() {
    let chip = chip("tiny-4", &[]);
    let mut program = Program::clone(&SampleExpert::gaussian(2, 8, 8).compile(&chip).program);
    let mut damaged = 0;
    for step in &mut program.steps {
        match &mut step.action {
            Action::SwiGlu { gate, to, .. } => *to = *gate,
            Action::Dequantise { scale, to, .. } => *to = *scale,
            Action::Quantise { from, scale, .. } => *scale = *from,
            _ => continue,
        }
        damaged += 1;
    }
    let found = violations(&chip, program);
    let aliased = found.iter().filter(|v| matches!(v, Violation::Aliased { .. })).count();
    assert!(damaged >= 6, "two quantise, three dequantise, one activation");
    assert_eq!(aliased, damaged, "{found:?}");
}

#[test]
fn no_such_buffer() {
    let damage = |p: &mut Program| {
        let step = position(p, 0, is_quantise);
        if let Action::Quantise { to, .. } = &mut p.steps[step].action {
            *to = BufferId(99);
        }
    };
    assert_has!(after(damage), Violation::NoSuchBuffer { buffer: BufferId(99), .. });
}

#[test]
fn no_such_tile() {
    let damage = |p: &mut Program| {
        let step = position(p, 1, is_load);
        if let Action::LoadBank { tile, .. } = &mut p.steps[step].action {
            *tile = TileId(4);
        }
    };
    assert_has!(after(damage), Violation::NoSuchTile { tile: TileId(4), .. });
}

#[test]
fn no_such_table() {
    let damage = |p: &mut Program| {
        let step = position(p, 0, is_dequantise);
        if let Action::Dequantise { table, .. } = &mut p.steps[step].action {
            *table = TableId(1);
        }
    };
    assert_has!(after(damage), Violation::NoSuchTable { table: TableId(1), .. });
}

#[test]
fn no_such_bank_and_no_such_array() {
    let damage = |p: &mut Program| {
        let step = position(p, 0, is_settle);
        if let Action::Settle { bank, .. } = &mut p.steps[step].action {
            *bank = 2;
        }
        let step = position(p, 1, is_load);
        if let Action::LoadBank { array, .. } = &mut p.steps[step].action {
            *array = 1;
        }
    };
    let found = after(damage);
    assert_has!(&found, Violation::NoSuchBank { array: 0, bank: 2, .. });
    assert_has!(&found, Violation::NoSuchBank { array: 1, bank: 1, .. });
}

#[test]
fn not_earlier() {
    let damage = |p: &mut Program| p.steps[1].after = [StepIndex(0), StepIndex(1)].into();
    assert_has!(after(damage), Violation::NotEarlier { step: StepIndex(1), after: StepIndex(1) });
}

#[test]
fn tile_size() {
    let damage = |p: &mut Program| p.tiles[2].codes.truncate(31);
    assert_has!(after(damage), Violation::TileSize { tile: TileId(2), codes: 31, expected: 32 });
}

#[test]
fn code_range() {
    let damage = |p: &mut Program| p.tiles[3].codes[7] = -128;
    assert_has!(after(damage), Violation::CodeRange { tile: TileId(3), code: -128, limit: 127 });
}

#[test]
fn wrong_kind() {
    let damage = |p: &mut Program| p.buffers[1].kind = ElementKind::F32;
    assert_has!(
        after(damage),
        Violation::WrongKind { buffer: BufferId(1), expected: ElementKind::Code, .. }
    );
}

#[test]
fn wrong_length_of_a_buffer_and_of_a_table() {
    let damage = |p: &mut Program| p.buffers[1].len = 15;
    assert_has!(
        after(damage),
        Violation::WrongLength { buffer: BufferId(1), len: 15, expected: 16, .. }
    );
    let damage = |p: &mut Program| p.tables[0].truncate(7);
    assert_has!(after(damage), Violation::WrongLength { len: 8, expected: 7, .. });
}

#[test]
fn offset_beyond_end() {
    let damage = |p: &mut Program| {
        let step = position(p, 0, is_stream);
        if let Action::Stream { from_offset, .. } = &mut p.steps[step].action {
            *from_offset = 16;
        }
    };
    assert_has!(after(damage), Violation::OffsetBeyondEnd { offset: 16, len: 16, .. });
}

#[test]
fn outside_memory() {
    let damage = |p: &mut Program| p.buffers[0].address = 65_536;
    assert_has!(
        after(damage),
        Violation::OutsideMemory { buffer: BufferId(0), sram_bytes: 65_536, .. }
    );
}

#[test]
fn overlap() {
    let damage = |p: &mut Program| p.buffers[1].address = p.buffers[0].address + 4;
    assert_has!(after(damage), Violation::Overlap { first: BufferId(0), second: BufferId(1) });
}

#[test]
fn gain_range() {
    let damage = |p: &mut Program| {
        let step = position(p, 0, is_stream);
        if let Action::Stream { shift, .. } = &mut p.steps[step].action {
            *shift = 11;
        }
    };
    assert_has!(after(damage), Violation::GainRange { shift: 11, lowest: 5, highest: 10, .. });
}

#[test]
fn tile_not_loaded() {
    let damage = |p: &mut Program| {
        let step = position(p, 1, is_stream);
        if let Action::Stream { tile, .. } = &mut p.steps[step].action {
            *tile = TileId(0);
        }
    };
    assert_has!(after(damage), Violation::TileNotLoaded { bank: 1, tile: TileId(0), .. });
}

#[test]
fn not_settled() {
    let damage = |p: &mut Program| {
        let settle = position(p, 0, is_settle);
        let stream = position(p, 0, is_stream);
        let load = StepIndex(u32::try_from(position(p, 0, is_load)).expect("few"));
        let instead = |after: &StepIndex| if after.0 as usize == settle { load } else { *after };
        let mut after: Vec<StepIndex> = p.steps[stream].after.iter().map(instead).collect();
        after.sort_unstable();
        p.steps[stream].after = after.into();
    };
    assert_has!(after(damage), Violation::NotSettled { array: 0, bank: 0, .. });
}

#[test]
fn a_settle_that_does_not_wait_for_its_load_settles_nothing() {
    let damage = |p: &mut Program| {
        let settle = position(p, 0, is_settle);
        p.steps[settle].after = [].into();
    };
    assert_has!(after(damage), Violation::NotSettled { array: 0, bank: 0, .. });
}

#[test]
fn bank_in_use() {
    let damage = |p: &mut Program| {
        let load = position(p, 2, is_load);
        p.steps[load].after = [].into();
    };
    assert_has!(after(damage), Violation::BankInUse { array: 0, bank: 0, .. });
}

#[test]
fn unordered() {
    // The first stream no longer waits for its codes.
    let damage = |p: &mut Program| {
        let quantise = position(p, 0, is_quantise);
        let stream = position(p, 0, is_stream);
        let others = p.steps[stream].after.iter().filter(|after| after.0 as usize != quantise);
        p.steps[stream].after = others.copied().collect();
    };
    assert_has!(after(damage), Violation::Unordered { buffer: BufferId(1), .. });
}

#[test]
fn a_buffer_used_again_too_early_is_unordered() {
    // An expert as wide as its hidden vectors writes these where its inputs were.
    let chip = chip("tiny-4", &[]);
    let mut program = Program::clone(&SampleExpert::gaussian(2, 8, 8).compile(&chip).program);
    let first_write =
        |step: &Step| matches!(step.action, Action::Dequantise { to, .. } if to == BufferId(0));
    let step = program.steps.iter().position(first_write).expect("the inputs' buffer is reused");
    program.steps[step].after = [].into();
    assert_has!(violations(&chip, program), Violation::Unordered { buffer: BufferId(0), .. });
}

#[test]
fn read_before_written() {
    // The last slice is never written when its first stream adds instead of setting.
    let damage = |p: &mut Program| {
        let stream = position(p, 2, is_stream);
        if let Action::Stream { first, .. } = &mut p.steps[stream].action {
            *first = false;
        }
    };
    assert_has!(after(damage), Violation::ReadBeforeWritten { element: 4, .. });
}

#[test]
fn accumulator_overflow() {
    let damage = |p: &mut Program| {
        let stream = position(p, 0, is_stream);
        if let Action::Stream { accumulate_shift, .. } = &mut p.steps[stream].action {
            *accumulate_shift = 24;
        }
    };
    assert_has!(after(damage), Violation::AccumulatorOverflow { bits: 33, .. });
}

#[test]
fn move_count() {
    let damage = |p: &mut Program| _ = p.steps.pop();
    assert_has!(after(damage), Violation::MoveCount { moves_in: 1, moves_out: 0 });
}

#[test]
fn moved_twice_and_never_moved() {
    let damage = |p: &mut Program| {
        let again = p.steps[0].clone();
        let last = StepIndex(u32::try_from(p.steps.len() - 1).expect("few"));
        p.steps.push(Step::new(again.action, vec![last]));
    };
    assert_has!(after(damage), Violation::MovedTwice { symbol: 0, .. });
    let damage = |p: &mut Program| p.steps[0].symbols = Symbols { from: 0, to: 7 };
    let found = after(damage);
    assert_has!(&found, Violation::NotMoved { inward: true, symbol: 7 });
    // The last symbol is not there to be quantised either.
    assert_has!(&found, Violation::ReadBeforeWritten { buffer: BufferId(0), symbol: 7, .. });
}

#[test]
fn empty_range() {
    let damage = |p: &mut Program| p.steps[1].symbols = Symbols { from: 8, to: 9 };
    assert_has!(after(damage), Violation::EmptyRange { symbols: Symbols { from: 8, .. }, .. });
    let damage = |p: &mut Program| p.steps[1].symbols = Symbols { from: 3, to: 3 };
    assert_has!(after(damage), Violation::EmptyRange { symbols: Symbols { from: 3, .. }, .. });
}

#[test]
fn a_load_that_a_short_run_drops_serves_no_stream_of_it() {
    // The stream goes from the first symbol on, its load only from the second.
    for like in [is_load, is_settle] {
        let damage = |p: &mut Program| {
            let step = position(p, 0, like);
            p.steps[step].symbols = Symbols { from: 1, to: 8 };
        };
        assert_has!(after(damage), Violation::NotSettled { array: 0, .. });
    }
}

#[test]
fn packings_that_read_both_quadratures_need_them() {
    let damage = |p: &mut Program| p.tiles[1].packing = Packing::Rows;
    assert_has!(
        after(damage),
        Violation::NeedsQuadrature { tile: TileId(1), packing: Packing::Rows }
    );
}

#[test]
fn complex_tiles_hold_complex_weights() {
    let damage = |p: &mut Program| {
        p.tiles[1].packing = Packing::Complex;
        // Four rows and columns of cells: two codes in each, each of them twice.
        p.tiles[1].codes = vec![0; 64];
        p.tiles[1].codes[8 * 2 + 5] = 3;
    };
    assert_has!(after(damage), Violation::BrokenPair { tile: TileId(1), row: 1, column: 2 });
}

#[test]
fn pairs_are_not_divided() {
    let damage = |p: &mut Program| {
        for tile in &mut p.tiles {
            tile.packing = Packing::Tokens;
        }
        let stream = position(p, 0, is_stream);
        p.steps[stream].symbols = Symbols { from: 1, to: 8 };
    };
    assert_has!(after(damage), Violation::DividedPair { from: 1, .. });
}

#[test]
fn parts_that_do_not_meet_need_not_wait_and_parts_that_do_must() {
    let (chip, mut program) = good();
    // The quantisation in two halves; the streams still wait for the first only.
    let quantise = position(&program, 0, is_quantise);
    let stream = position(&program, 0, is_stream);
    assert!(quantise < stream);
    program.steps[quantise].symbols = Symbols { from: 0, to: 4 };
    let mut rest = program.steps[quantise].clone();
    rest.symbols = Symbols { from: 4, to: 8 };
    program.steps.insert(quantise + 1, rest);
    let moved = |step: &StepIndex| StepIndex(step.0 + u32::from(step.0 as usize > quantise));
    for step in &mut program.steps[quantise + 2..] {
        step.after = step.after.iter().map(moved).collect();
    }
    let found = violations(&chip, program.clone());
    let quantise = StepIndex(u32::try_from(quantise).expect("few"));
    let second = StepIndex(quantise.0 + 1);
    let unordered = |v: &Violation| matches!(v, Violation::Unordered { conflicts_with, .. } if *conflicts_with == second);
    assert!(found.iter().any(unordered), "{found:?}");
    // Waiting for the second is waiting for the first: they share a lane.
    let instead = |wait: &StepIndex| if *wait == quantise { second } else { *wait };
    for step in &mut program.steps {
        step.after = step.after.iter().map(instead).collect();
    }
    assert_eq!(VerifiedProgram::new(program, &chip).map(|_| ()), Ok(()));
}

#[test]
fn every_wait_of_a_schedule_is_needed() {
    // Dropping any one wait of any step must be found: the scheduler names no more than it must.
    let chip = chip("tiny-4", &[("array.banks", "2"), ("array.arrays", "2")]);
    let expert = SampleExpert::gaussian(7, 12, 8);
    let options = CompileOptions { symbols_max: 24, ..CompileOptions::default() };
    let compiled = compile_expert(&chip, &expert.weights(), &[], &options).expect("small");
    let program = Program::clone(&compiled.program);
    let mut dropped = 0;
    for step in 0..program.steps.len() {
        for wait in 0..program.steps[step].after.len() {
            let mut damaged = program.clone();
            let mut after = program.steps[step].after.to_vec();
            after.remove(wait);
            damaged.steps[step].after = after.into();
            let found = VerifiedProgram::new(damaged, &chip);
            // Cells may be connected ahead of time, in vain; such a settle could wait for nothing.
            if is_settle(&program.steps[step].action) && found.is_ok() {
                continue;
            }
            assert!(found.is_err(), "step {step} need not wait for its {wait}th");
            dropped += 1;
        }
    }
    assert!(dropped > 30, "{dropped}");
}

#[test]
fn too_many_regions() {
    let damage = |p: &mut Program| {
        // Four thousand streams, each at an offset and a range of its own.
        let stream = position(p, 0, is_stream);
        let again = p.steps[stream].clone();
        p.symbols_max = 4096;
        p.buffers[1].len = 4096;
        p.buffers[0].len = 4096;
        for index in 0..4096_u32 {
            let mut step = again.clone();
            step.symbols = Symbols { from: u64::from(index), to: u64::MAX };
            if let Action::Stream { from_offset, .. } = &mut step.action {
                *from_offset = index;
            }
            p.steps.push(step);
        }
    };
    let chip = chip("tiny-4", &[("array.banks", "2"), ("memory.sram_bytes", "1099511627776")]);
    let (_, mut program) = good();
    damage(&mut program);
    let mut address = 0;
    for buffer in &mut program.buffers {
        buffer.address = address;
        address += buffer.bytes_per_symbol() as u64 * program.symbols_max;
    }
    assert_has!(violations(&chip, program), Violation::TooManyRegions { buffer: BufferId(1), .. });
}

#[test]
fn too_many_lanes() {
    // Loads on a thousand arrays, each in a lane of its own: what has finished is one number for each.
    let chip = chip("tiny-4", &[("array.banks", "2"), ("array.arrays", "1024")]);
    let (_, mut program) = good();
    let load = |array: u16| {
        let action = Action::LoadBank { array, bank: 1, tile: TileId(0) };
        Step::new(action, Vec::new())
    };
    program.steps.extend((0..70_000_u32).map(|at| load((at % 1024) as u16)));
    assert_has!(violations(&chip, program), Violation::TooManyLanes { lanes: 1024.., .. });
}
