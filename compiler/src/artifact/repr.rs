//! The metadata as it stands in the file, apart from the types the crates work with.

use super::report_repr::ReportRepr;
use litecore_model::ModelConfig;
use litecore_model::checkpoint::Digest;
use litecore_types::program::{
    Action, Buffer, BufferId, ElementKind, Packing, Program, Step, StepIndex, TableId, Tile, TileId,
};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
pub(super) struct Metadata {
    pub(super) chip: String,
    pub(super) model: ModelConfig,
    pub(super) checkpoint: Digest,
    pub(super) dense: Vec<TensorRepr>,
    pub(super) experts: Vec<ExpertRepr>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct TensorRepr {
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct ExpertRepr {
    pub(super) layer: u32,
    pub(super) tier: u16,
    pub(super) group: u16,
    pub(super) expert: u16,
    pub(super) program: ProgramRepr,
    pub(super) report: ReportRepr,
}

/// A program without its tables and tiles: only how many numbers each has.
#[derive(Serialize, Deserialize)]
pub(super) struct ProgramRepr {
    name: String,
    chip: String,
    rows: usize,
    columns: usize,
    packing: PackingRepr,
    symbols_max: u64,
    useful_macs_per_symbol: u64,
    pub(super) buffers: Vec<BufferRepr>,
    /// Length of each table.
    pub(super) tables: Vec<usize>,
    /// How many tiles follow, each as large as the chip's arrays.
    pub(super) tiles: usize,
    pub(super) steps: Vec<StepRepr>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum PackingRepr {
    Conjugate,
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

#[derive(Serialize, Deserialize)]
pub(super) struct StepRepr {
    #[serde(flatten)]
    action: ActionRepr,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    after: Vec<u32>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
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

    pub(super) fn new(program: &Program) -> Self {
        let Packing::Conjugate = program.packing;
        Self {
            name: program.name.clone(),
            chip: program.chip.clone(),
            rows: program.rows,
            columns: program.columns,
            packing: PackingRepr::Conjugate,
            symbols_max: program.symbols_max,
            useful_macs_per_symbol: program.useful_macs_per_symbol,
            buffers: program.buffers.iter().map(BufferRepr::new).collect(),
            tables: program.tables.iter().map(Vec::len).collect(),
            tiles: program.tiles.len(),
            steps: program.steps.iter().map(StepRepr::new).collect(),
        }
    }

    /// The program, once its tables and tiles have been read.
    pub(super) fn into_program(self, tables: Vec<Vec<f32>>, tiles: Vec<Tile>) -> Program {
        let PackingRepr::Conjugate = self.packing;
        Program {
            name: self.name,
            chip: self.chip,
            rows: self.rows,
            columns: self.columns,
            packing: Packing::Conjugate,
            symbols_max: self.symbols_max,
            useful_macs_per_symbol: self.useful_macs_per_symbol,
            buffers: self.buffers.into_iter().map(BufferRepr::into_buffer).collect(),
            tiles,
            tables,
            steps: self.steps.into_iter().map(StepRepr::into_step).collect(),
        }
    }
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
    fn new(step: &Step) -> Self {
        let after = step.after.iter().map(|after| after.0).collect();
        Self { action: ActionRepr::new(step.action), after }
    }

    fn into_step(self) -> Step {
        let after = self.after.into_iter().map(StepIndex).collect();
        Step { action: self.action.into_action(), after }
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
            Self::SwiGlu { gate, up, to } => {
                Action::SwiGlu { gate: buffer(gate), up: buffer(up), to: buffer(to) }
            }
            Self::MoveOut { from } => Action::MoveOut { from: buffer(from) },
        }
    }
}
