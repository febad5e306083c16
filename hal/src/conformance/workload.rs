use crate::SymbolTag;
use litecore_types::Seed;
use litecore_types::chip::ChipDescription;
use litecore_types::program::{
    Action, Buffer, BufferId, ElementKind, Packing, Program, Step, StepIndex, TableId, Tile,
    TileId, VerifiedProgram, Violation,
};
use std::sync::Arc;

/// A program of a few tiles on one bank, inputs whose codes are exact, and what must come out.
///
/// The sum over tiles `t` of `round(x · w[t] / 2^shift)`, computed here from that definition and
/// from nothing else of this project.
#[derive(Clone, Debug)]
pub struct Workload {
    /// The program.
    pub program: Arc<VerifiedProgram>,
    /// Tags, one a symbol.
    pub tags: Vec<SymbolTag>,
    /// Input vectors, back to back.
    pub inputs: Vec<f32>,
    /// What a card without impairments gives.
    pub expected: Vec<f32>,
    /// Largest magnitude that an output could have.
    pub full_scale: f32,
}

const MOVED_IN: BufferId = BufferId(0);
const CODES: BufferId = BufferId(1);
const SCALE: BufferId = BufferId(2);
const SUMS: BufferId = BufferId(3);
const RESULT: BufferId = BufferId(4);

impl Workload {
    /// `tiles` tiles and `symbols` symbols for `chip`; the seed chooses codes and inputs.
    ///
    /// Errors: what the verifier says, where the chip has no room for it.
    pub fn new(
        chip: &ChipDescription,
        tiles: u32,
        symbols: usize,
        seed: u64,
    ) -> Result<Self, Vec<Violation>> {
        let (k, m) = (chip.tile_inputs(), chip.tile_outputs());
        let draw = |label: &str, at: usize, limit: i32| {
            let span = 2 * u64::from(limit.unsigned_abs()) + 1;
            let drawn = Seed(u128::from(seed)).key(label, at as u64) % span;
            i32::try_from(drawn).unwrap_or(0) - limit
        };
        let limit = chip.input_limit();
        let weight_limit = chip.weight_limit().min(127);
        let weights: Vec<Vec<i32>> = (0..tiles as usize)
            .map(|t| (0..k * m).map(|i| draw("weight", t * k * m + i, weight_limit)).collect())
            .collect();
        let mut x: Vec<i32> = (0..symbols * k).map(|i| draw("input", i, limit)).collect();
        for vector in x.chunks_exact_mut(k) {
            // One code at the limit in each vector makes its scale exactly one.
            vector[k - 1] = limit;
        }
        let shift = chip.full_scale_shift();
        let program = program(chip, &weights, shift);
        let product = |vector: &[i32], j: usize| -> f32 {
            let sum = weights.iter().map(|w| {
                let acc: i64 =
                    vector.iter().zip(w.chunks_exact(m)).map(|(x, w)| i64::from(x * w[j])).sum();
                rounded(acc, shift)
            });
            sum.sum::<i64>() as f32
        };
        let expected = x
            .chunks_exact(k)
            .flat_map(|vector| (0..m).map(move |j| (vector, j)))
            .map(|(vector, j)| product(vector, j))
            .collect();
        Ok(Self {
            program: Arc::new(VerifiedProgram::new(program, chip)?),
            tags: (0..symbols as u64).map(SymbolTag).collect(),
            inputs: x.into_iter().map(|code| code as f32).collect(),
            expected,
            full_scale: tiles as f32 * (1_u32 << (chip.adc.bits.min(24) - 1)) as f32,
        })
    }

    /// Length of one input vector.
    pub fn input_len(&self) -> usize {
        self.program.input_len()
    }

    /// Length of one output vector.
    pub fn output_len(&self) -> usize {
        self.program.output_len()
    }
}

/// To the nearest multiple of `2^shift`, ties to even, in units of it.
fn rounded(acc: i64, shift: u8) -> i64 {
    let unit = 1_i64 << shift;
    let (floor, rest) = (acc.div_euclid(unit), acc.rem_euclid(unit));
    floor + i64::from(2 * rest > unit || (2 * rest == unit && floor.rem_euclid(2) == 1))
}

/// Move in, quantise, then each tile in turn on bank 0, dequantise, move out.
fn program(chip: &ChipDescription, weights: &[Vec<i32>], shift: u8) -> Program {
    let (k, m) = (chip.tile_inputs(), chip.tile_outputs());
    let kinds = [
        (ElementKind::F32, k),
        (ElementKind::Code, k),
        (ElementKind::F32, 1),
        (ElementKind::Accumulator, m),
        (ElementKind::F32, m),
    ];
    let per_symbol: usize = kinds.iter().map(|(kind, len)| kind.bytes() * len).sum();
    // Half of the card's memory, so that two programs could share it.
    let symbols_max = (chip.memory.sram_bytes / 2 / per_symbol as u64).clamp(1, 1 << 16);
    let mut address = 0;
    let buffers = kinds.map(|(kind, len)| {
        let buffer = Buffer { kind, len, address };
        address += buffer.bytes_per_symbol() as u64 * symbols_max;
        buffer
    });
    let mut steps = vec![
        Step::new(Action::MoveIn { to: MOVED_IN }, Vec::new()),
        Step::new(Action::Quantise { from: MOVED_IN, to: CODES, scale: SCALE }, vec![StepIndex(0)]),
    ];
    let mut streamed = StepIndex(1);
    for tile in (0..).map(TileId).take(weights.len()) {
        let next = u32::try_from(steps.len()).unwrap_or(u32::MAX);
        let after = vec![streamed];
        steps.push(Step::new(Action::LoadBank { array: 0, bank: 0, tile }, after));
        steps.push(Step::new(Action::Settle { array: 0, bank: 0 }, vec![StepIndex(next)]));
        let action = Action::Stream {
            array: 0,
            bank: 0,
            tile,
            from: CODES,
            from_offset: 0,
            shift,
            to: SUMS,
            to_offset: 0,
            accumulate_shift: 0,
            first: tile == TileId(0),
        };
        steps.push(Step::new(action, vec![StepIndex(next + 1)]));
        streamed = StepIndex(next + 2);
    }
    let scaled = Action::Dequantise { from: SUMS, scale: SCALE, table: TableId(0), to: RESULT };
    steps.push(Step::new(scaled, vec![streamed]));
    let last = StepIndex(u32::try_from(steps.len() - 1).unwrap_or(u32::MAX));
    steps.push(Step::new(Action::MoveOut { from: RESULT }, vec![last]));
    let code = |w: &i32| i8::try_from(*w).unwrap_or(0);
    Program {
        name: "conformance".to_owned(),
        chip: chip.name.clone(),
        rows: chip.array.inputs,
        columns: chip.array.outputs,
        symbols_max,
        useful_macs_per_symbol: (weights.len() * k * m) as u64,
        buffers: buffers.to_vec(),
        tiles: weights
            .iter()
            .map(|w| Tile { packing: Packing::Conjugate, codes: w.iter().map(code).collect() })
            .collect(),
        tables: vec![vec![1.0; m]],
        steps,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use litecore_types::chip::{BUILTIN_NAMES, Dataflow, builtin};

    #[test]
    fn every_chip_with_tiles_has_room_for_it() {
        for name in BUILTIN_NAMES {
            let chip = builtin(name).unwrap();
            if chip.array.dataflow == Dataflow::WeightStationary && chip.tile_inputs() <= 256 {
                let load = Workload::new(&chip, 3, 5, 1).unwrap();
                assert_eq!(load.expected.len(), 5 * chip.tile_outputs(), "{name}");
                assert!(load.program.symbols_max >= 5, "{name}");
            }
        }
    }

    #[test]
    fn halves_go_to_the_even_neighbor() {
        let cases = [(6, 2), (7, 2), (5, 1), (2, 0), (-2, 0), (-6, -2), (-5, -1), (-7, -2), (8, 2)];
        for (acc, expected) in cases {
            assert_eq!(rounded(acc, 2), expected, "{acc}/4");
        }
    }
}
