//! What a caller can choose about compilation, and which chips there is a lowering for.

use crate::CompileError;
use crate::passes::{Pass, PassSet};
use crate::samples::SampleRows;
use litecore_types::chip::{CellType, ChipDescription, Readout};

/// What a caller can choose about compilation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CompileOptions {
    /// Most symbols in one run; fewer if the card's memory does not hold them. Default: 4096.
    pub symbols_max: u64,
    /// Symbols of the runs that the schedule is made for. Default: none, runs of 1, 8, 64 and 512.
    pub batch: Option<u64>,
    /// Most sample rows that are looked at; more are thinned out evenly, and a large expert looks
    /// at fewer (see [`SAMPLE_WORK`]). Default: 512.
    pub sample_rows_max: usize,
    /// Which passes are on.
    pub passes: PassSet,
    /// What all approximations together may lose of a matrix: energy, relative. Default: 1e-3, 30 dB.
    pub error_budget: f64,
    /// Signal over error that each layer should reach, in decibels: what [`Pass::Split`] works
    /// towards. Default: none.
    pub target_snr_db: Option<f64>,
    /// Noise of one read beyond the converter's own, as a standard deviation in units of the exact
    /// sum: shot noise, amplifiers. What [`Pass::Equalise`], [`Pass::Fold`], [`Pass::Rotate`] and
    /// [`Pass::Split`] reckon with. Default: 0.
    pub read_noise: f64,
}

/// Weights times sample rows that an expert is looked at with, at most: beyond it the rows are
/// thinned out, down to what [`SAMPLE_SUMS_MIN`] asks for, so that compilation stays linear in the
/// weights, with a factor that is small unless tiles have few outputs.
pub const SAMPLE_WORK: usize = 1 << 23;

/// The fewest sums that the gain of a tile is chosen on, where there are as many samples: a row of
/// samples makes as many as the tile has outputs.
///
/// With 32, an expert of a million weights on tiles of 4 outputs lost 11 dB on inputs that it was not
/// compiled with. From 384 on gains of large experts are as good as with 6000, within 0.1 dB (Gaussian
/// experts of 1024 by 512 and 2048 by 1024 on `ref-64-eo`). The samples that gains were chosen on flatter
/// them: on an expert of 256 by 256 by 2.0 dB with 384 sums, 1.6 with 512, 0.4 with 1536. So reports speak
/// of others, which are held out.
pub const SAMPLE_SUMS_MIN: usize = 512;

/// The fewest sample rows to choose gains on, however many outputs a tile has: sums of one row depend on
/// each other.
const SAMPLE_ROWS_MIN: usize = 8;

impl Default for CompileOptions {
    fn default() -> Self {
        Self {
            symbols_max: 4096,
            batch: None,
            sample_rows_max: 512,
            passes: PassSet::default(),
            error_budget: 1e-3,
            target_snr_db: None,
            read_noise: 0.0,
        }
    }
}

impl CompileOptions {
    pub(crate) fn check(&self, layer: &str) -> Result<(), CompileError> {
        let layer = || layer.to_owned();
        let zero = |option| CompileError::ZeroOption { layer: layer(), option };
        match (self.symbols_max, self.sample_rows_max, self.batch) {
            (0, _, _) => return Err(zero("symbols_max")),
            (_, 0, _) => return Err(zero("sample_rows_max")),
            (_, _, Some(0)) => return Err(zero("batch")),
            _ => {}
        }
        let finite = [
            ("error_budget", self.error_budget, (0.0..=1.0).contains(&self.error_budget)),
            ("read_noise", self.read_noise, (0.0..=1e12).contains(&self.read_noise)),
            (
                "target_snr_db",
                self.target_snr_db.unwrap_or(0.0),
                self.target_snr_db.is_none_or(|db| (0.0..=200.0).contains(&db)),
            ),
        ];
        match finite.into_iter().find(|(_, _, fits)| !fits) {
            Some((option, value, _)) => {
                Err(CompileError::OptionRange { layer: layer(), option, value })
            }
            None => Ok(()),
        }
    }

    /// Sample rows to look at for a layer with this many weights, on tiles of so many outputs, of as
    /// many as there are.
    pub(crate) fn sample_rows(&self, available: usize, weights: usize, outputs: usize) -> usize {
        let affordable = SAMPLE_WORK / weights.max(1);
        let needed = SAMPLE_SUMS_MIN.div_ceil(outputs.max(1)).max(SAMPLE_ROWS_MIN);
        let needed = SampleRows::needed_to_see(needed);
        available.min(self.sample_rows_max).min(affordable.max(needed))
    }

    pub(crate) fn has(&self, pass: Pass) -> bool {
        self.passes.has(pass)
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
        for bad in [-1.0, 1.5, f64::NAN] {
            let options = CompileOptions { error_budget: bad, ..CompileOptions::default() };
            let error = options.check("l").expect_err("no budget");
            assert!(
                matches!(error, CompileError::OptionRange { option: "error_budget", .. }),
                "{error}"
            );
        }
        let options = CompileOptions { target_snr_db: Some(-3.0), ..CompileOptions::default() };
        assert!(options.check("l").is_err());
    }

    #[test]
    fn large_layers_look_at_fewer_samples() {
        let options = CompileOptions::default();
        assert_eq!(options.sample_rows(64, 49_152, 64), 64);
        assert_eq!(options.sample_rows(10_000, 4096, 64), 512);
        assert_eq!(options.sample_rows(64, 1 << 19, 64), 16);
        // 512 sums for each tile, from eight rows at least; of the others nothing is chosen.
        assert_eq!(options.sample_rows(64, 1 << 30, 64), 8 + 2);
        assert_eq!(options.sample_rows(200, 1 << 30, 4), 128 + 42);
        assert_eq!(options.sample_rows(64, 1 << 30, 4096), 8 + 2);
        assert_eq!(options.sample_rows(5, 1 << 30, 64), 5);
    }
}
