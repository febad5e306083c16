//! What a caller can choose about compilation, and which chips there is a lowering for.

use crate::CompileError;
use litecore_types::chip::{CellType, ChipDescription, Readout};

/// How the analog gain of each tile is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GainPolicy {
    /// The gain with the least squared error on the samples.
    #[default]
    FromSamples,
    /// Unity gain everywhere: nothing can clip, and most of the ADC's range is wasted.
    Unity,
}

/// What a caller can choose about compilation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompileOptions {
    /// Most symbols in one run; fewer if the card's memory does not hold them. Default: 4096.
    pub symbols_max: u64,
    /// Most sample rows that are looked at; more are thinned out evenly. Default: 512.
    pub sample_rows_max: usize,
    /// How the analog gain of each tile is chosen.
    pub gain: GainPolicy,
}

impl Default for CompileOptions {
    fn default() -> Self {
        Self { symbols_max: 4096, sample_rows_max: 512, gain: GainPolicy::FromSamples }
    }
}

impl CompileOptions {
    pub(crate) fn check(&self, layer: &str) -> Result<(), CompileError> {
        let zero = |option| CompileError::ZeroOption { layer: layer.to_owned(), option };
        match (self.symbols_max, self.sample_rows_max) {
            (0, _) => Err(zero("symbols_max")),
            (_, 0) => Err(zero("sample_rows_max")),
            _ => Ok(()),
        }
    }
}

/// Checks that there is a lowering for `chip`.
///
/// A description read from a file is within these ranges; one made in memory need not be.
pub(crate) fn check_chip(chip: &ChipDescription, layer: &str) -> Result<(), CompileError> {
    // A new cell type or read-out must be looked at here. Conjugate folding needs any cell that
    // holds a complex weight, and the in-phase output, which both read-outs have.
    match (chip.array.cell_type, chip.receiver.readout) {
        (
            CellType::Interferometer | CellType::RingPair | CellType::PhaseChange,
            Readout::I | Readout::Iq,
        ) => {}
    }
    let (dac, adc, weights) = (chip.dac.bits, chip.adc.bits, chip.weights.bits);
    let properties = [
        ("array.inputs", chip.array.inputs, 1, 4096, "1 to 4096"),
        ("array.outputs", chip.array.outputs, 1, 4096, "1 to 4096"),
        ("array.arrays", chip.array.arrays, 1, 1024, "1 to 1024"),
        ("array.banks", chip.array.banks, 1, 64, "1 to 64"),
        ("dac.bits", usize::from(dac), 2, 8, "2 to 8"),
        ("adc.bits", usize::from(adc), 2, 16, "2 to 16"),
        ("weights.bits", usize::from(weights), 2, 8, "2 to 8"),
    ];
    for (key, value, lowest, highest, covered) in properties {
        if !(lowest..=highest).contains(&value) {
            let (layer, chip) = (layer.to_owned(), chip.name.clone());
            return Err(CompileError::UnsupportedChip { layer, chip, key, value, covered });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use litecore_types::chip::builtin;

    #[test]
    fn a_chip_without_a_lowering_is_refused_by_its_key() {
        type Spoil = fn(&mut ChipDescription);
        let chip = builtin("tiny-4").expect("shipped");
        assert!(check_chip(&chip, "l").is_ok());
        let spoil: [(&str, Spoil); 5] = [
            ("array.banks", |chip| chip.array.banks = 0),
            ("array.arrays", |chip| chip.array.arrays = 70_000),
            ("dac.bits", |chip| chip.dac.bits = 0),
            ("adc.bits", |chip| chip.adc.bits = 24),
            ("weights.bits", |chip| chip.weights.bits = 12),
        ];
        for (expected, spoil) in spoil {
            let mut chip = chip.clone();
            spoil(&mut chip);
            let error = check_chip(&chip, "l").expect_err(expected);
            assert!(
                matches!(error, CompileError::UnsupportedChip { key, .. } if key == expected),
                "{error}"
            );
        }
    }

    #[test]
    fn options_of_zero_are_refused() {
        let none = CompileOptions { symbols_max: 0, ..CompileOptions::default() };
        let error = none.check("l").expect_err("no symbols");
        assert!(matches!(error, CompileError::ZeroOption { option: "symbols_max", .. }));
        let none = CompileOptions { sample_rows_max: 0, ..CompileOptions::default() };
        let error = none.check("l").expect_err("no samples");
        assert!(matches!(error, CompileError::ZeroOption { option: "sample_rows_max", .. }));
    }
}
