//! What the verifier can find, and how it says so.

use super::{BufferId, ElementKind, Packing, StepIndex, Symbols, TableId, TileId};
use std::fmt;

/// Why a program may not be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the message of each variant names its fields")]
pub enum Violation {
    WrongChip { compiled_for: String, chip: String },
    WrongShape { rows: usize, columns: usize, chip_rows: usize, chip_columns: usize },
    NoSymbols,
    EmptyBuffer { buffer: BufferId },
    NoSuchBuffer { step: StepIndex, buffer: BufferId },
    NoSuchTile { step: StepIndex, tile: TileId },
    NoSuchTable { step: StepIndex, table: TableId },
    NoSuchBank { step: StepIndex, array: u16, bank: u16 },
    NotEarlier { step: StepIndex, after: StepIndex },
    TileSize { tile: TileId, codes: usize, expected: usize },
    CodeRange { tile: TileId, code: i8, limit: i32 },
    NonFiniteConstant { table: TableId, index: usize },
    WrongKind { step: StepIndex, buffer: BufferId, kind: ElementKind, expected: ElementKind },
    WrongLength { step: StepIndex, buffer: BufferId, len: usize, expected: usize },
    Aliased { step: StepIndex, buffer: BufferId },
    RotationBlock { step: StepIndex, block: u32, len: usize },
    OffsetBeyondEnd { step: StepIndex, buffer: BufferId, offset: u32, len: usize },
    OutsideMemory { buffer: BufferId, end: u128, sram_bytes: u64 },
    Overlap { first: BufferId, second: BufferId },
    GainRange { step: StepIndex, shift: u8, lowest: u8, highest: u8 },
    TileNotLoaded { step: StepIndex, array: u16, bank: u16, tile: TileId },
    NotSettled { step: StepIndex, array: u16, bank: u16 },
    NotConnected { step: StepIndex, array: u16, bank: u16, connected: u16 },
    BankInUse { step: StepIndex, array: u16, bank: u16, by: StepIndex },
    Unordered { step: StepIndex, buffer: BufferId, conflicts_with: StepIndex },
    ReadBeforeWritten { step: StepIndex, buffer: BufferId, element: usize, symbol: u64 },
    AccumulatorOverflow { step: StepIndex, buffer: BufferId, bits: u32 },
    MoveCount { moves_in: usize, moves_out: usize },
    MovedTwice { step: StepIndex, symbol: u64 },
    NotMoved { inward: bool, symbol: u64 },
    EmptyRange { step: StepIndex, symbols: Symbols },
    NeedsQuadrature { tile: TileId, packing: Packing },
    DividedPair { step: StepIndex, from: u64 },
    BrokenPair { tile: TileId, row: usize, column: usize },
    TooManyRegions { buffer: BufferId, regions: usize, limit: usize },
    TooManyVisits { step: StepIndex, visits: usize, limit: usize },
    TooManyLanes { steps: usize, lanes: usize, limit: usize },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongChip { compiled_for, chip } => {
                write!(f, "compiled for chip {compiled_for}, not {chip}: compile again")
            }
            Self::WrongShape { rows, columns, chip_rows, chip_columns } => {
                write!(
                    f,
                    "made for {rows}x{columns} cells, the chip has {chip_rows}x{chip_columns}"
                )
            }
            Self::NoSymbols => write!(f, "symbols_max is zero"),
            Self::EmptyBuffer { buffer } => write!(f, "buffer {} has no elements", buffer.0),
            Self::NoSuchBuffer { step, buffer } => write!(f, "{step}: no buffer {}", buffer.0),
            Self::NoSuchTile { step, tile } => write!(f, "{step}: no tile {}", tile.0),
            Self::NoSuchTable { step, table } => write!(f, "{step}: no table {}", table.0),
            Self::NoSuchBank { step, array, bank } => {
                write!(f, "{step}: no bank {bank} of array {array}")
            }
            Self::NotEarlier { step, after } => {
                write!(f, "{step} waits for {after}, which is not an earlier step")
            }
            Self::TileSize { tile, codes, expected } => {
                write!(f, "tile {} has {codes} codes, the array needs {expected}", tile.0)
            }
            Self::CodeRange { tile, code, limit } => {
                write!(f, "tile {} has code {code}, the cells reach ±{limit}", tile.0)
            }
            Self::NonFiniteConstant { table, index } => {
                write!(f, "constant {index} of table {} is infinite or not a number", table.0)
            }
            Self::WrongKind { step, buffer, kind, expected } => {
                write!(f, "{step}: buffer {} is {kind:?}, must be {expected:?}", buffer.0)
            }
            Self::WrongLength { step, buffer, len, expected } => {
                write!(f, "{step}: buffer {} has {len} elements, must have {expected}", buffer.0)
            }
            Self::Aliased { step, buffer } => {
                write!(f, "{step}: buffer {} is read and written at once", buffer.0)
            }
            Self::RotationBlock { step, block, len } => write!(
                f,
                "{step}: blocks of {block} do not fill {len} elements, or are no power of two"
            ),
            Self::OffsetBeyondEnd { step, buffer, offset, len } => {
                write!(f, "{step}: offset {offset} is beyond the {len} of buffer {}", buffer.0)
            }
            Self::OutsideMemory { buffer, end, sram_bytes } => {
                write!(f, "buffer {} ends at byte {end} of {sram_bytes}", buffer.0)
            }
            Self::Overlap { first, second } => {
                write!(f, "buffers {} and {} overlap", first.0, second.0)
            }
            Self::GainRange { step, shift, lowest, highest } => {
                write!(f, "{step}: gain shift {shift}, the receiver offers {lowest} to {highest}")
            }
            Self::TileNotLoaded { step, array, bank, tile } => {
                write!(f, "{step}: bank {bank} of array {array} does not hold tile {}", tile.0)
            }
            Self::NotSettled { step, array, bank } => {
                write!(f, "{step}: bank {bank} of array {array} is used before it settled")
            }
            Self::NotConnected { step, array, bank, connected } => {
                write!(f, "{step}: bank {connected} of array {array} is connected, not {bank}")
            }
            Self::BankInUse { step, array, bank, by } => {
                write!(f, "{step}: loads bank {bank} of array {array} while {by} may still use it")
            }
            Self::Unordered { step, buffer, conflicts_with } => write!(
                f,
                "{step} does not wait for {conflicts_with}, which uses the same buffer {}",
                buffer.0
            ),
            Self::ReadBeforeWritten { step, buffer, element, symbol } => {
                let buffer = buffer.0;
                write!(
                    f,
                    "{step}: reads element {element} of buffer {buffer} unwritten, symbol {symbol}"
                )
            }
            Self::AccumulatorOverflow { step, buffer, bits } => {
                write!(f, "{step}: accumulators of buffer {} may need {bits} bits", buffer.0)
            }
            Self::MoveCount { moves_in, moves_out } => {
                write!(f, "{moves_in} moves in and {moves_out} out, must be some of each")
            }
            Self::MovedTwice { .. }
            | Self::NotMoved { .. }
            | Self::EmptyRange { .. }
            | Self::NeedsQuadrature { .. }
            | Self::DividedPair { .. }
            | Self::BrokenPair { .. }
            | Self::TooManyRegions { .. }
            | Self::TooManyVisits { .. }
            | Self::TooManyLanes { .. } => self.fmt_parts(f),
        }
    }
}

impl Violation {
    /// What is wrong with parts of a run and with packings.
    fn fmt_parts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MovedTwice { step, symbol } => {
                write!(f, "{step}: moves symbol {symbol} once more")
            }
            Self::NotMoved { inward, symbol } => {
                let way = if *inward { "in" } else { "out" };
                write!(f, "symbol {symbol} is never moved {way}")
            }
            Self::EmptyRange { step, symbols } => {
                write!(f, "{step}: no run has a symbol of {symbols}")
            }
            Self::NeedsQuadrature { tile, packing } => write!(
                f,
                "tile {} is packed as {}, which needs receiver.readout = iq",
                tile.0,
                packing.name()
            ),
            Self::DividedPair { step, from } => {
                write!(f, "{step}: begins at symbol {from}, in the middle of a pair")
            }
            Self::BrokenPair { tile, row, column } => write!(
                f,
                "tile {} is packed as complex, but the codes of row {row}, column {column} are \
                 not those of one complex weight",
                tile.0
            ),
            Self::TooManyRegions { buffer, regions, limit } => write!(
                f,
                "the steps cut buffer {} into {regions} regions, more than {limit} in all",
                buffer.0
            ),
            Self::TooManyVisits { step, visits, limit } => write!(
                f,
                "up to {step} the steps touch {visits} regions of buffers, more than {limit}: cut \
                 the buffers into fewer parts"
            ),
            Self::TooManyLanes { steps, lanes, limit } => write!(
                f,
                "{steps} steps in {lanes} lanes are more than {limit} together: use fewer arrays or steps"
            ),
            // The others are written above.
            _ => Ok(()),
        }
    }
}
