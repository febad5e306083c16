//! Every violation the verifier knows, produced by damaging a good program.

mod problem;

use litecore_compiler::{CompileOptions, compile_linear};
use litecore_types::chip::ChipDescription;
use litecore_types::program::{
    Action, BufferId, ElementKind, Program, Step, StepIndex, TableId, TileId, VerifiedProgram,
    Violation,
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
    damage(&mut program);
    violations(&chip, program)
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
    let (chip, mut program) = good();
    // The settle of the second bank goes ahead of the first bank's stream.
    let (stream, settle) = (position(&program, 0, is_stream), position(&program, 1, is_settle));
    let moved = program.steps[settle].clone();
    let Action::Settle { array, bank } = moved.action else { panic!("a settle") };
    program.steps[stream + 1].after.clear();
    let load = position(&program, 1, is_load);
    program.steps.swap(load, stream);
    let number = |index: usize| StepIndex(u32::try_from(index).expect("few steps"));
    for step in &mut program.steps {
        for after in &mut step.after {
            if *after == number(load) {
                *after = number(stream);
            } else if *after == number(stream) {
                *after = number(load);
            }
        }
        step.after.sort_unstable();
    }
    program.steps.swap(settle, load);
    for step in &mut program.steps {
        for after in &mut step.after {
            if *after == number(settle) {
                *after = number(load);
            } else if *after == number(load) {
                *after = number(settle);
            }
        }
        step.after.sort_unstable();
    }
    assert_has!(
        violations(&chip, program),
        Violation::NotConnected { array: a, connected: c, .. } if *a == array && *c == bank
    );
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
    let damage = |p: &mut Program| p.steps[1].after.push(StepIndex(1));
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
        for after in &mut p.steps[stream].after {
            if after.0 as usize == settle {
                *after = load;
            }
        }
        p.steps[stream].after.sort_unstable();
    };
    assert_has!(after(damage), Violation::NotSettled { array: 0, bank: 0, .. });
}

#[test]
fn a_settle_that_does_not_wait_for_its_load_settles_nothing() {
    let damage = |p: &mut Program| {
        let settle = position(p, 0, is_settle);
        p.steps[settle].after.clear();
    };
    assert_has!(after(damage), Violation::NotSettled { array: 0, bank: 0, .. });
}

#[test]
fn bank_in_use() {
    let damage = |p: &mut Program| {
        let load = position(p, 2, is_load);
        p.steps[load].after.clear();
    };
    assert_has!(after(damage), Violation::BankInUse { array: 0, bank: 0, .. });
}

#[test]
fn unordered() {
    // The first stream no longer waits for its codes.
    let damage = |p: &mut Program| {
        let quantise = position(p, 0, is_quantise);
        let stream = position(p, 0, is_stream);
        p.steps[stream].after.retain(|after| after.0 as usize != quantise);
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
    program.steps[step].after.clear();
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
    let damage = |p: &mut Program| {
        let again = p.steps[0].clone();
        let last = StepIndex(u32::try_from(p.steps.len() - 1).expect("few"));
        p.steps.push(Step { action: again.action, after: vec![last] });
    };
    assert_has!(after(damage), Violation::MoveCount { moves_in: 2, moves_out: 1 });
}
