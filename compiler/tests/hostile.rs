//! Programs made to hurt: whatever they say of themselves, the verifier refuses them, with every
//! violation, in bounded time and memory.

mod problem;

use litecore_compiler::{CompileOptions, compile_linear};
use litecore_types::chip::ChipDescription;
use litecore_types::program::{
    Action, Buffer, BufferId, ElementKind, Packing, Program, Step, StepIndex, Symbols, TableId,
    Tile, TileId, VerifiedProgram, Violation,
};
use problem::{chip, normals};
use proptest::prelude::*;

/// A linear layer of two K-tiles and two slices on two banks.
fn good() -> (ChipDescription, Program) {
    let chip = chip("tiny-4", &[("array.banks", "2")]);
    let options = CompileOptions { symbols_max: 8, ..CompileOptions::default() };
    let linear = compile_linear(&chip, "l", &normals(1, 8 * 16), 8, 16, &[], &options);
    (chip, Program::clone(&linear.expect("small").program))
}

fn violations(chip: &ChipDescription, program: Program) -> Vec<Violation> {
    VerifiedProgram::new(program, chip).expect_err("damaged")
}

/// Numbers at which sums and products leave their types, and small ones.
fn edges() -> impl Strategy<Value = u64> {
    let edge = prop::sample::select(vec![0, 1 << 31, 1 << 32, 1 << 61, 1 << 62, 1 << 63, u64::MAX]);
    prop_oneof![edge, 0_u64..9, any::<u64>()]
}

fn size(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn no_header_and_no_size_brings_the_verifier_down(
        sides in (edges(), edges()),
        (symbols_max, macs) in (edges(), edges()),
        buffer in (0_usize..3, edges(), edges()),
        range in (edges(), edges()),
        packing in prop::sample::select(Packing::ALL.to_vec()),
        which in any::<[bool; 5]>(),
    ) {
        let (chip, mut program) = good();
        if which[0] {
            (program.rows, program.columns) = (size(sides.0), size(sides.1));
        }
        if which[1] {
            (program.symbols_max, program.useful_macs_per_symbol) = (symbols_max, macs);
        }
        if which[2] {
            let (index, len, address) = buffer;
            (program.buffers[index].len, program.buffers[index].address) = (size(len), address);
        }
        if which[3] {
            program.steps[3].symbols = Symbols { from: range.0, to: range.1 };
        }
        if which[4] {
            program.tiles[1].packing = packing;
        }
        let wrong_shape = (program.rows, program.columns) != (4, 4);
        if let Err(violations) = VerifiedProgram::new(program, &chip) {
            let shape = |v: &Violation| matches!(v, Violation::WrongShape { .. });
            prop_assert_eq!(violations.iter().any(shape), wrong_shape);
            prop_assert!(violations.iter().all(|violation| !violation.to_string().is_empty()));
        } else {
            prop_assert!(!wrong_shape);
        }
    }
}

#[test]
fn a_wrong_shape_hides_nothing_else() {
    let (chip, mut program) = good();
    (program.rows, program.columns) = (1 << 63, 1 << 63);
    // The first stream waits for nothing.
    let stream = |step: &Step| matches!(step.action, Action::Stream { .. });
    let first = program.steps.iter().position(stream).expect("some stream");
    program.steps[first].after = [].into();
    let found = violations(&chip, program);
    assert!(found.iter().any(|v| matches!(v, Violation::WrongShape { .. })), "{found:?}");
    assert!(found.iter().any(|v| matches!(v, Violation::NotSettled { .. })), "{found:?}");
    assert!(found.iter().any(|v| matches!(v, Violation::Unordered { .. })), "{found:?}");
}

#[test]
fn constants_are_finite() {
    for (value, index) in [(f32::NAN, 3), (f32::INFINITY, 0), (f32::NEG_INFINITY, 7)] {
        let (chip, mut program) = good();
        program.tables[0][index] = value;
        let expected = Violation::NonFiniteConstant { table: TableId(0), index };
        assert_eq!(violations(&chip, program), [expected]);
    }
}

#[test]
fn every_buffer_that_overlaps_is_listed() {
    let (chip, mut program) = good();
    let spare = |address, len| Buffer { kind: ElementKind::Code, len, address };
    let first = u32::try_from(program.buffers.len()).expect("few");
    // Eight symbols: A takes 800 bytes, B and C lie in it without touching, D behind all of them.
    for (address, len) in [(40_000, 100), (40_080, 10), (40_240, 10), (40_800, 1)] {
        program.buffers.push(spare(address, len));
    }
    let pair = |second| Violation::Overlap { first: BufferId(first), second: BufferId(second) };
    assert_eq!(violations(&chip, program), [pair(first + 1), pair(first + 2)]);
}

#[test]
fn every_stream_that_makes_sums_too_wide_is_listed() {
    let (chip, mut program) = good();
    let mut expected = Vec::new();
    for (step, index) in program.steps.iter_mut().zip(0..) {
        if let Action::Stream { accumulate_shift, first, .. } = &mut step.action {
            *accumulate_shift = 24;
            // Later ones add to what is too wide already.
            if *first {
                expected.push(StepIndex(index));
            }
        }
    }
    assert_eq!(expected.len(), 2, "two slices, in one buffer");
    let found: Vec<StepIndex> = violations(&chip, program)
        .iter()
        .map(|violation| match violation {
            Violation::AccumulatorOverflow { step, bits: 33, .. } => *step,
            other => panic!("{other}"),
        })
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn every_user_of_a_bank_is_listed() {
    let (chip, mut program) = good();
    let position = |nth: usize, like: fn(&Action) -> bool| {
        let steps = program.steps.iter().enumerate();
        steps.filter(|(_, step)| like(&step.action)).nth(nth).expect("enough").0
    };
    let id = |position| StepIndex(u32::try_from(position).expect("few"));
    let settle = id(position(0, |action| matches!(action, Action::Settle { .. })));
    let stream = id(position(0, |action| matches!(action, Action::Stream { .. })));
    let load = position(2, |action| matches!(action, Action::LoadBank { .. }));
    program.steps[load].after = [].into();
    let found = violations(&chip, program);
    for user in [settle, stream] {
        let listed = |v: &Violation| matches!(v, Violation::BankInUse { by, .. } if *by == user);
        assert!(found.iter().any(listed), "{user}: {found:?}");
    }
}

/// Streams that cut two buffers into slivers, then steps that touch all of them.
fn slivers(streams: u32, readers: u32) -> (ChipDescription, Program) {
    let chip = chip("tiny-4", &[("memory.sram_bytes", "1099511627776")]);
    let (len, symbols_max) = (streams as usize, u64::from(streams));
    let mut address = 0;
    let mut buffers = Vec::new();
    for (kind, len) in [(ElementKind::F32, len), (ElementKind::Code, len), (ElementKind::F32, 1)] {
        let buffer = Buffer { kind, len, address };
        address += buffer.bytes_per_symbol() as u64 * symbols_max;
        buffers.push(buffer);
    }
    buffers.push(Buffer { kind: ElementKind::Accumulator, len, address });
    let mut steps = vec![
        Step::new(Action::MoveIn { to: BufferId(0) }, Vec::new()),
        Step::new(
            Action::Quantise { from: BufferId(0), to: BufferId(1), scale: BufferId(2) },
            vec![StepIndex(0)],
        ),
        Step::new(Action::LoadBank { array: 0, bank: 0, tile: TileId(0) }, Vec::new()),
        Step::new(Action::Settle { array: 0, bank: 0 }, vec![StepIndex(2)]),
    ];
    for index in 0..streams {
        let action = Action::Stream {
            array: 0,
            bank: 0,
            tile: TileId(0),
            from: BufferId(1),
            from_offset: index,
            shift: 8,
            to: BufferId(3),
            to_offset: index,
            accumulate_shift: 0,
            first: true,
        };
        let from = u64::from(index);
        let symbols = Symbols { from, to: from + 1 };
        let after = [StepIndex(1), StepIndex(3)].into();
        steps.push(Step { action, symbols, after });
    }
    for index in 0..readers {
        let action = Action::Dequantise {
            from: BufferId(3),
            scale: BufferId(2),
            table: TableId(0),
            to: BufferId(0),
        };
        steps.push(Step::new(action, vec![StepIndex(3 + streams + index)]));
    }
    steps.push(Step::new(
        Action::MoveOut { from: BufferId(0) },
        vec![StepIndex(3 + streams + readers)],
    ));
    let packing = Packing::Conjugate;
    let tile = Tile { packing, codes: vec![1; packing.inputs(4) * packing.outputs(4)] };
    let program = Program {
        name: "slivers".to_owned(),
        chip: chip.name.clone(),
        rows: 4,
        columns: 4,
        symbols_max,
        useful_macs_per_symbol: 1,
        buffers,
        tiles: vec![tile],
        tables: vec![vec![1.0; len]],
        steps,
    };
    (chip, program)
}

#[test]
fn a_program_that_keeps_the_verifier_busy_is_refused_by_a_count() {
    // Half a million regions in each buffer, which is allowed, and sixty reads of all of them.
    let (chip, program) = slivers(700, 60);
    let found = violations(&chip, program);
    let [Violation::TooManyVisits { step, visits, limit }] = &found[..] else {
        panic!("{} violations, the first: {}", found.len(), found[0])
    };
    // It stops where it is too much: far before the end.
    assert!(*visits > *limit && *visits < *limit + (1 << 20), "{visits}");
    assert!((704..764).contains(&step.0), "{step}");
    // A few reads are looked at: they lack what the streams never wrote.
    let (chip, program) = slivers(200, 3);
    let found = violations(&chip, program);
    let unwritten = |v: &Violation| matches!(v, Violation::ReadBeforeWritten { .. });
    assert!(found.iter().any(unwritten), "{found:?}");
}

#[test]
fn what_an_earlier_reader_of_the_lane_says_the_last_one_says_too() {
    // Three reads of one buffer on the vector unit, then a write that waits for the second.
    let (chip, mut program) = slivers(1, 3);
    let steps = u32::try_from(program.steps.len()).expect("few");
    let out = program.steps.pop().expect("the move out");
    let write = Action::Stream {
        array: 0,
        bank: 0,
        tile: TileId(0),
        from: BufferId(1),
        from_offset: 0,
        shift: 8,
        to: BufferId(3),
        to_offset: 0,
        accumulate_shift: 0,
        first: true,
    };
    program.steps.push(Step::new(write, vec![StepIndex(steps - 3)]));
    program.steps.push(Step::new(out.action, vec![StepIndex(steps - 2)]));
    let last = StepIndex(steps - 2);
    let unordered = |v: &Violation| matches!(v, Violation::Unordered { conflicts_with, .. } if *conflicts_with == last);
    let found = violations(&chip, program.clone());
    assert!(found.iter().any(unordered), "{found:?}");
    let write = program.steps.len() - 2;
    program.steps[write].after = [last].into();
    assert_eq!(VerifiedProgram::new(program, &chip).map(|_| ()), Ok(()));
}
