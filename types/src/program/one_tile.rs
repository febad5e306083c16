use super::{
    Action, Buffer, BufferId, ElementKind, Packing, Program, Step, StepIndex, TableId, Tile, TileId,
};
use crate::chip::ChipDescription;

/// The smallest program that computes: vectors in, quantised, through one tile of one array, and
/// the sums of converter codes out.
///
/// With inputs of scale one the outputs are the codes, as every constant is one.
#[derive(Clone, Debug)]
pub struct OneTile<'a> {
    /// What the program is called; noise follows it.
    pub name: String,
    /// What it is for.
    pub chip: &'a ChipDescription,
    /// Which array works.
    pub array: u16,
    /// How the tile lies in the cells.
    pub packing: Packing,
    /// Length of the vectors; the tile's inputs beyond are zero.
    pub inputs: usize,
    /// The converter's step is `2^shift` units of the exact sum.
    pub shift: u8,
}

impl OneTile<'_> {
    /// Length of the vectors that come out.
    pub fn outputs(&self) -> usize {
        self.packing.outputs(self.chip.array.outputs)
    }

    /// The most symbols that the card's memory holds; it may be none.
    pub fn symbols_in_memory(&self) -> u64 {
        let bytes: usize = self.buffers(1).iter().map(Buffer::bytes_per_symbol).sum();
        self.chip.memory.sram_bytes / bytes.max(1) as u64
    }

    /// The program for runs of at most so many symbols.
    ///
    /// Shape: `codes` is inputs × outputs of the packing on this chip.
    pub fn program(&self, codes: Vec<i8>, symbols: u64) -> Program {
        let (array, outputs) = (self.array, self.outputs());
        let [x, quantised, scale, sums, y] = [0, 1, 2, 3, 4].map(BufferId);
        let (tile, table) = (TileId(0), TableId(0));
        let stream = Action::Stream {
            array,
            bank: 0,
            tile,
            from: quantised,
            from_offset: 0,
            shift: self.shift,
            to: sums,
            to_offset: 0,
            accumulate_shift: 0,
            first: true,
        };
        let step = |action, after: &[u32]| {
            Step::new(action, after.iter().copied().map(StepIndex).collect::<Vec<_>>())
        };
        Program {
            name: self.name.clone(),
            chip: self.chip.name.clone(),
            rows: self.chip.array.inputs,
            columns: self.chip.array.outputs,
            symbols_max: symbols,
            useful_macs_per_symbol: (self.inputs * outputs) as u64,
            buffers: self.buffers(symbols),
            tiles: vec![Tile { packing: self.packing, codes }],
            tables: vec![vec![1.0; outputs]],
            steps: vec![
                step(Action::MoveIn { to: x }, &[]),
                step(Action::LoadBank { array, bank: 0, tile }, &[]),
                step(Action::Settle { array, bank: 0 }, &[1]),
                step(Action::Quantise { from: x, to: quantised, scale }, &[0]),
                step(stream, &[2, 3]),
                step(Action::Dequantise { from: sums, scale, table, to: y }, &[3, 4]),
                step(Action::MoveOut { from: y }, &[5]),
            ],
        }
    }

    fn buffers(&self, symbols: u64) -> Vec<Buffer> {
        let (inputs, outputs) = (self.inputs, self.outputs());
        let mut address = 0_u64;
        [
            (ElementKind::F32, inputs),
            (ElementKind::Code, inputs),
            (ElementKind::F32, 1),
            (ElementKind::Accumulator, outputs),
            (ElementKind::F32, outputs),
        ]
        .into_iter()
        .map(|(kind, len)| {
            let buffer = Buffer { kind, len, address };
            let bytes = (buffer.bytes_per_symbol() as u64).saturating_mul(symbols);
            address = address.saturating_add(bytes);
            buffer
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chip::{Override, builtin_text};
    use crate::program::VerifiedProgram;

    #[test]
    fn every_packing_passes_the_verifier_and_fills_the_memory() {
        let iq = Override { path: "receiver.readout".to_owned(), value: "iq".to_owned() };
        for name in ["tiny-4", "ref-64-eo"] {
            let text = builtin_text(name).unwrap();
            let set = std::slice::from_ref(&iq);
            let chip = ChipDescription::from_toml_with(text, name, set).unwrap();
            for packing in Packing::ALL {
                let inputs = packing.inputs(chip.array.inputs);
                let shift = chip.full_scale_shift_of(packing);
                let name = "one tile".to_owned();
                let one = OneTile { name, chip: &chip, array: 0, packing, inputs, shift };
                let codes = vec![0; inputs * one.outputs()];
                let most = one.symbols_in_memory();
                let program = one.program(codes.clone(), most);
                assert_eq!((program.input_len(), program.output_len()), (inputs, one.outputs()));
                assert_eq!(VerifiedProgram::new(program, &chip).err(), None, "{packing:?}");
                let program = one.program(codes, most + 1);
                assert!(VerifiedProgram::new(program, &chip).is_err(), "{packing:?}");
            }
        }
    }
}
