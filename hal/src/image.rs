//! Programs as a card takes them: bytes.

use litecore_firmware_proto::image::{ImageBuffer, ImageHeader, ImageStep, ImageWriter, step};
use litecore_types::program::{Action, ElementKind, Packing, Program, Symbols};

/// The wire form of a program; the layout is in `litecore_firmware_proto::image`.
///
/// Lengths beyond 32 bits are written as `u32::MAX`, which no card accepts.
pub fn encode_image(program: &Program) -> Vec<u8> {
    let weights = program.tiles.iter().map(|tile| tile.codes.len() + 16).sum::<usize>();
    let tables = program.tables.iter().map(|table| table.len() * 4 + 16).sum::<usize>();
    let mut out = Vec::with_capacity(256 + weights + tables + program.steps.len() * 64);
    let header = ImageHeader {
        name: &program.name,
        chip: &program.chip,
        rows: short(program.rows),
        columns: short(program.columns),
        symbols_max: program.symbols_max,
        useful_macs: program.useful_macs_per_symbol,
        buffers: short(program.buffers.len()),
        tables: short(program.tables.len()),
        tiles: short(program.tiles.len()),
        steps: short(program.steps.len()),
    };
    let mut writer = ImageWriter::new(&header, |bytes: &[u8]| out.extend_from_slice(bytes));
    for buffer in &program.buffers {
        let kind = match buffer.kind {
            ElementKind::F32 => 0,
            ElementKind::Code => 1,
            ElementKind::Accumulator => 2,
        };
        writer.buffer(ImageBuffer { kind, len: buffer.len as u64, address: buffer.address });
    }
    for table in &program.tables {
        writer.table(table);
    }
    writer.packings(program.tiles.iter().map(|tile| match tile.packing {
        Packing::Conjugate => 0,
        Packing::Rows => 1,
        Packing::Tokens => 2,
        Packing::Complex => 3,
    }));
    for tile in &program.tiles {
        writer.tile(&tile.codes);
    }
    for step in &program.steps {
        let Symbols { from, to } = step.symbols;
        let record = ImageStep { symbols_from: from, symbols_to: to, ..record(step.action) };
        writer.step(&record, step.after.iter().map(|step| step.0));
    }
    out
}

fn short(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

fn record(action: Action) -> ImageStep {
    let plain = ImageStep::default();
    match action {
        Action::MoveIn { to } => ImageStep { kind: step::MOVE_IN, a: to.0, ..plain },
        Action::Quantise { from, to, scale } => {
            ImageStep { kind: step::QUANTISE, a: from.0, b: to.0, c: scale.0, ..plain }
        }
        Action::LoadBank { array, bank, tile } => {
            ImageStep { kind: step::LOAD_BANK, array, bank, a: tile.0, ..plain }
        }
        Action::Settle { array, bank } => ImageStep { kind: step::SETTLE, array, bank, ..plain },
        Action::Stream {
            array,
            bank,
            tile,
            from,
            from_offset,
            shift,
            to,
            to_offset,
            accumulate_shift,
            first,
        } => ImageStep {
            kind: step::STREAM,
            array,
            bank,
            shift,
            accumulate_shift,
            first: u32::from(first),
            a: tile.0,
            b: from.0,
            c: to.0,
            d: 0,
            from_offset,
            to_offset,
            ..plain
        },
        Action::Dequantise { from, scale, table, to } => {
            let (a, b, c, d) = (from.0, scale.0, table.0, to.0);
            ImageStep { kind: step::DEQUANTISE, a, b, c, d, ..plain }
        }
        Action::SwiGlu { gate, up, to } => {
            ImageStep { kind: step::SWIGLU, a: gate.0, b: up.0, c: to.0, ..plain }
        }
        Action::Rotate { from, table, block, to } => {
            ImageStep { kind: step::ROTATE, a: from.0, b: table.0, c: to.0, d: block, ..plain }
        }
        Action::MoveOut { from } => ImageStep { kind: step::MOVE_OUT, a: from.0, ..plain },
    }
}
