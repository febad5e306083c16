use litecore_firmware_proto::image::{Image, ImageStep, MalformedImage, step};
use litecore_firmware_proto::payload::f32s;
use litecore_types::program::{
    Action, Buffer, BufferId, ElementKind, Packing, Program, Step, StepIndex, Symbols, TableId,
    Tile, TileId,
};

/// Why an image is not a program; what a program may do is the verifier's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes are not an image.
    #[error(transparent)]
    Malformed(#[from] MalformedImage),
    /// There is no such packing.
    #[error("packing {0} is unknown: update the firmware")]
    Packing(u8),
    /// There is no such kind of element.
    #[error("buffer {buffer} has elements of unknown kind {kind}")]
    Element {
        /// Which buffer.
        buffer: u32,
        /// The kind's number.
        kind: u32,
    },
    /// There is no such kind of step, or a flag of it is neither 0 nor 1.
    #[error("step {step} is of unknown kind {kind}: update the firmware")]
    Step {
        /// Which step.
        step: u32,
        /// The kind's number.
        kind: u16,
    },
    /// More steps than the card can verify.
    #[error("{steps} steps, the card takes {most}: split the program")]
    TooManySteps {
        /// How many there are.
        steps: u32,
        /// How many there may be.
        most: u32,
    },
}

/// The program in an image's bytes, unverified.
///
/// Errors: [`DecodeError`].
pub fn decode_image(bytes: &[u8], steps_max: u32) -> Result<Program, DecodeError> {
    let image = Image::parse(bytes)?;
    let header = image.header();
    if header.steps > steps_max {
        return Err(DecodeError::TooManySteps { steps: header.steps, most: steps_max });
    }
    let buffers = image.buffers().zip(0..).map(|(buffer, index)| {
        let kind = match buffer.kind {
            0 => ElementKind::F32,
            1 => ElementKind::Code,
            2 => ElementKind::Accumulator,
            kind => return Err(DecodeError::Element { buffer: index, kind }),
        };
        let len = usize::try_from(buffer.len).unwrap_or(usize::MAX);
        Ok(Buffer { kind, len, address: buffer.address })
    });
    let steps = image.steps().zip(0..).map(|((record, after), index)| {
        let unknown = DecodeError::Step { step: index, kind: record.kind };
        Ok(Step {
            action: action(&record).ok_or(unknown)?,
            symbols: Symbols { from: record.symbols_from, to: record.symbols_to },
            after: after.map(StepIndex).collect(),
        })
    });
    Ok(Program {
        name: header.name.to_owned(),
        chip: header.chip.to_owned(),
        rows: header.rows as usize,
        columns: header.columns as usize,
        symbols_max: header.symbols_max,
        useful_macs_per_symbol: header.useful_macs,
        buffers: buffers.collect::<Result<_, DecodeError>>()?,
        tiles: image.tiles().map(tile).collect::<Result<_, DecodeError>>()?,
        tables: image.tables().map(|bytes| f32s(bytes).collect()).collect(),
        steps: steps.collect::<Result<_, DecodeError>>()?,
    })
}

fn tile((packing, bytes): (u8, &[u8])) -> Result<Tile, DecodeError> {
    let packing = match packing {
        0 => Packing::Conjugate,
        1 => Packing::Rows,
        2 => Packing::Tokens,
        3 => Packing::Complex,
        packing => return Err(DecodeError::Packing(packing)),
    };
    Ok(Tile { packing, codes: bytes.iter().map(|byte| byte.cast_signed()).collect() })
}

fn action(record: &ImageStep) -> Option<Action> {
    let ImageStep { array, bank, shift, accumulate_shift, a, b, c, d, .. } = *record;
    Some(match record.kind {
        step::MOVE_IN => Action::MoveIn { to: BufferId(a) },
        step::QUANTISE => {
            Action::Quantise { from: BufferId(a), to: BufferId(b), scale: BufferId(c) }
        }
        step::LOAD_BANK => Action::LoadBank { array, bank, tile: TileId(a) },
        step::SETTLE => Action::Settle { array, bank },
        step::STREAM => Action::Stream {
            array,
            bank,
            tile: TileId(a),
            from: BufferId(b),
            from_offset: record.from_offset,
            shift,
            to: BufferId(c),
            to_offset: record.to_offset,
            accumulate_shift,
            first: match record.first {
                0 => false,
                1 => true,
                _ => return None,
            },
        },
        step::DEQUANTISE => Action::Dequantise {
            from: BufferId(a),
            scale: BufferId(b),
            table: TableId(c),
            to: BufferId(d),
        },
        step::SWIGLU => Action::SwiGlu { gate: BufferId(a), up: BufferId(b), to: BufferId(c) },
        step::ROTATE => {
            Action::Rotate { from: BufferId(a), table: TableId(b), to: BufferId(c), block: d }
        }
        step::MOVE_OUT => Action::MoveOut { from: BufferId(a) },
        _ => return None,
    })
}
