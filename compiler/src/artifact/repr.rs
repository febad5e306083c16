//! Index and metadata as they stand in the file, apart from the types the crates work with.

use super::read::floats;
use super::report_repr::ReportRepr;
use crate::gains::{Gain, with_gains};
use litecore_model::ModelConfig;
use litecore_model::checkpoint::Digest;
use litecore_types::chip::ChipDescription;
use litecore_types::program::{
    Action, Buffer, BufferId, ElementKind, Packing, Program, Step, StepIndex, Symbols, TableId,
    Tile, TileId,
};
use serde::{Deserialize, Serialize};

/// What the file holds, and where: offsets follow from the lengths.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Index {
    pub(super) chip: String,
    pub(super) model: ModelConfig,
    pub(super) checkpoint: Digest,
    /// The text of the tokenizer's file; left out where the tokens are bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) tokenizer: Option<String>,
    pub(super) dense: Vec<TensorRepr>,
    /// Steps that several programs have but for their gains; at most [`super::LAYOUTS_MAX`] are written.
    pub(super) layouts: Vec<Vec<StepRepr>>,
    pub(super) experts: Vec<RecordRepr>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct TensorRepr {
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
}

/// Whose record it is, and how long.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct RecordRepr {
    pub(super) layer: u32,
    pub(super) tier: u16,
    pub(super) group: u16,
    pub(super) expert: u16,
    /// Which layout its steps are; nothing where they stand in the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) layout: Option<usize>,
    /// Bytes of metadata.
    pub(super) metadata: u64,
    /// Bytes of the steps that stand in the record.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) steps: u64,
    /// Bytes of tables and tiles.
    pub(super) payload: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(bytes: &u64) -> bool {
    *bytes == 0
}

/// The metadata of one expert.
#[derive(Serialize, Deserialize)]
pub(super) struct ExpertRepr {
    pub(super) program: ProgramRepr,
    pub(super) report: ReportRepr,
}

/// A program without its steps, and without its tables and tiles: only how many numbers each has.
#[derive(Serialize, Deserialize)]
pub(super) struct ProgramRepr {
    name: String,
    chip: String,
    rows: usize,
    columns: usize,
    symbols_max: u64,
    useful_macs_per_symbol: u64,
    pub(super) buffers: Vec<BufferRepr>,
    /// Length of each table.
    pub(super) tables: Vec<usize>,
    /// The packing of each tile that follows; its size is the packing's on the chip's arrays.
    pub(super) tiles: Vec<PackingRepr>,
    /// Shift and accumulators' shift of each tile; none where the layout holds them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) gains: Vec<(u8, u8)>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum PackingRepr {
    Conjugate,
    Rows,
    Tokens,
    Complex,
}

impl PackingRepr {
    fn new(packing: Packing) -> Self {
        match packing {
            Packing::Conjugate => Self::Conjugate,
            Packing::Rows => Self::Rows,
            Packing::Tokens => Self::Tokens,
            Packing::Complex => Self::Complex,
        }
    }

    fn packing(self) -> Packing {
        match self {
            Self::Conjugate => Packing::Conjugate,
            Self::Rows => Packing::Rows,
            Self::Tokens => Packing::Tokens,
            Self::Complex => Packing::Complex,
        }
    }
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum KindRepr {
    F32,
    Code,
    Accumulator,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
pub(super) struct BufferRepr {
    kind: KindRepr,
    pub(super) len: usize,
    address: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StepRepr {
    #[serde(flatten)]
    action: ActionRepr,
    /// First symbol, and the one after the last; all where there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    symbols: Option<(u64, u64)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    after: Vec<u32>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
enum ActionRepr {
    MoveIn {
        to: u32,
    },
    Quantise {
        from: u32,
        to: u32,
        scale: u32,
    },
    LoadBank {
        array: u16,
        bank: u16,
        tile: u32,
    },
    Settle {
        array: u16,
        bank: u16,
    },
    Stream {
        array: u16,
        bank: u16,
        tile: u32,
        from: u32,
        from_offset: u32,
        shift: u8,
        to: u32,
        to_offset: u32,
        accumulate_shift: u8,
        first: bool,
    },
    Dequantise {
        from: u32,
        scale: u32,
        table: u32,
        to: u32,
    },
    Rotate {
        from: u32,
        table: u32,
        block: u32,
        to: u32,
    },
    #[serde(rename = "swiglu")]
    SwiGlu {
        gate: u32,
        up: u32,
        to: u32,
    },
    MoveOut {
        from: u32,
    },
}

impl ProgramRepr {
    /// What the program says it is useful for.
    pub(super) fn useful_macs_per_symbol(&self) -> u64 {
        self.useful_macs_per_symbol
    }

    /// What is a program's own, with its gains where they are not in its layout.
    pub(super) fn new(program: &Program, gains: Option<&[Gain]>) -> Self {
        let pair = |gain: &Gain| (gain.shift, gain.accumulate_shift);
        Self {
            name: program.name.clone(),
            chip: program.chip.clone(),
            rows: program.rows,
            columns: program.columns,
            symbols_max: program.symbols_max,
            useful_macs_per_symbol: program.useful_macs_per_symbol,
            buffers: program.buffers.iter().map(BufferRepr::new).collect(),
            tables: program.tables.iter().map(Vec::len).collect(),
            tiles: program.tiles.iter().map(|tile| PackingRepr::new(tile.packing)).collect(),
            gains: gains.into_iter().flatten().map(pair).collect(),
        }
    }

    /// Bytes of the tables and tiles it speaks of.
    pub(super) fn payload_bytes(&self, chip: &ChipDescription) -> u128 {
        let constants = self.tables.iter().map(|length| *length as u128);
        let constants = constants.fold(0, u128::saturating_add).saturating_mul(4);
        let tiles = self.tiles.iter().map(|packing| tile_bytes(chip, packing.packing()) as u128);
        constants.saturating_add(tiles.sum())
    }

    /// The program with its steps, tables and tiles.
    ///
    /// Panics: if the payload is not as long as [`Self::payload_bytes`] says.
    pub(super) fn into_program(
        self,
        layout: &[Step],
        payload: &[u8],
        chip: &ChipDescription,
    ) -> Program {
        let mut rest = payload;
        let mut take = |bytes: usize| {
            let (taken, after) = rest.split_at(bytes);
            rest = after;
            taken
        };
        let tables = self.tables.iter().map(|length| floats(take(4 * length))).collect();
        let codes = |bytes: &[u8]| bytes.iter().map(|byte| byte.cast_signed()).collect();
        let tile = |packing: &PackingRepr| {
            let packing = packing.packing();
            Tile { packing, codes: codes(take(tile_bytes(chip, packing))) }
        };
        let tiles = self.tiles.iter().map(tile).collect();
        let gain = |(shift, accumulate_shift): &(u8, u8)| {
            let (shift, accumulate_shift) = (*shift, *accumulate_shift);
            Gain { shift, accumulate_shift }
        };
        let steps = with_gains(layout, &self.gains.iter().map(gain).collect::<Vec<_>>());
        Program {
            name: self.name,
            chip: self.chip,
            rows: self.rows,
            columns: self.columns,
            symbols_max: self.symbols_max,
            useful_macs_per_symbol: self.useful_macs_per_symbol,
            buffers: self.buffers.into_iter().map(BufferRepr::into_buffer).collect(),
            tiles,
            tables,
            steps,
        }
    }
}

fn tile_bytes(chip: &ChipDescription, packing: Packing) -> usize {
    packing.inputs(chip.array.inputs) * packing.outputs(chip.array.outputs)
}

impl BufferRepr {
    fn new(buffer: &Buffer) -> Self {
        let kind = match buffer.kind {
            ElementKind::F32 => KindRepr::F32,
            ElementKind::Code => KindRepr::Code,
            ElementKind::Accumulator => KindRepr::Accumulator,
        };
        Self { kind, len: buffer.len, address: buffer.address }
    }

    fn into_buffer(self) -> Buffer {
        let kind = match self.kind {
            KindRepr::F32 => ElementKind::F32,
            KindRepr::Code => ElementKind::Code,
            KindRepr::Accumulator => ElementKind::Accumulator,
        };
        Buffer { kind, len: self.len, address: self.address }
    }
}

impl StepRepr {
    pub(super) fn new(step: &Step) -> Self {
        let after = step.after.iter().map(|after| after.0).collect();
        let Symbols { from, to } = step.symbols;
        let symbols = (step.symbols != Symbols::ALL).then_some((from, to));
        Self { action: ActionRepr::new(step.action), symbols, after }
    }

    pub(super) fn into_step(self) -> Step {
        let after = self.after.into_iter().map(StepIndex).collect();
        let symbols = self.symbols.map_or(Symbols::ALL, |(from, to)| Symbols { from, to });
        Step { action: self.action.into_action(), symbols, after }
    }
}

impl ActionRepr {
    fn new(action: Action) -> Self {
        match action {
            Action::MoveIn { to } => Self::MoveIn { to: to.0 },
            Action::Quantise { from, to, scale } => {
                Self::Quantise { from: from.0, to: to.0, scale: scale.0 }
            }
            Action::LoadBank { array, bank, tile } => Self::LoadBank { array, bank, tile: tile.0 },
            Action::Settle { array, bank } => Self::Settle { array, bank },
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
            } => Self::Stream {
                array,
                bank,
                tile: tile.0,
                from: from.0,
                from_offset,
                shift,
                to: to.0,
                to_offset,
                accumulate_shift,
                first,
            },
            Action::Dequantise { from, scale, table, to } => {
                Self::Dequantise { from: from.0, scale: scale.0, table: table.0, to: to.0 }
            }
            Action::Rotate { from, table, block, to } => {
                Self::Rotate { from: from.0, table: table.0, block, to: to.0 }
            }
            Action::SwiGlu { gate, up, to } => Self::SwiGlu { gate: gate.0, up: up.0, to: to.0 },
            Action::MoveOut { from } => Self::MoveOut { from: from.0 },
        }
    }

    fn into_action(self) -> Action {
        let buffer = BufferId;
        match self {
            Self::MoveIn { to } => Action::MoveIn { to: buffer(to) },
            Self::Quantise { from, to, scale } => {
                Action::Quantise { from: buffer(from), to: buffer(to), scale: buffer(scale) }
            }
            Self::LoadBank { array, bank, tile } => {
                Action::LoadBank { array, bank, tile: TileId(tile) }
            }
            Self::Settle { array, bank } => Action::Settle { array, bank },
            Self::Stream {
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
            } => Action::Stream {
                array,
                bank,
                tile: TileId(tile),
                from: buffer(from),
                from_offset,
                shift,
                to: buffer(to),
                to_offset,
                accumulate_shift,
                first,
            },
            Self::Dequantise { from, scale, table, to } => Action::Dequantise {
                from: buffer(from),
                scale: buffer(scale),
                table: TableId(table),
                to: buffer(to),
            },
            Self::Rotate { from, table, block, to } => {
                Action::Rotate { from: buffer(from), table: TableId(table), block, to: buffer(to) }
            }
            Self::SwiGlu { gate, up, to } => {
                Action::SwiGlu { gate: buffer(gate), up: buffer(up), to: buffer(to) }
            }
            Self::MoveOut { from } => Action::MoveOut { from: buffer(from) },
        }
    }
}
