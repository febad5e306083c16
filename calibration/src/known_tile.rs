use litecore_kernels::codes;
use litecore_types::Seed;
use litecore_types::chip::ChipDescription;
use litecore_types::program::{OneTile, Packing};

/// Random codes, uniform over ±limit.
pub(crate) fn random_codes(seed: Seed, label: &str, limit: i32, count: usize) -> Vec<i8> {
    let span = u64::from(limit.unsigned_abs()) * 2 + 1;
    (0..count as u64)
        .map(|index| {
            // The upper 32 bits scaled to the span: unequal by 2^-24 at most.
            let draw = ((seed.key(label, index) >> 32) * span) >> 32;
            i8::try_from(i64::try_from(draw).unwrap_or(0) - i64::from(limit)).unwrap_or(0)
        })
        .collect()
}

/// A tile of known codes, known inputs, and the exact sums they give.
pub(crate) struct KnownTile {
    pub(crate) weights: Vec<i8>,
    /// Shape: symbols × inputs.
    pub(crate) x: Vec<i8>,
    /// Shape: symbols × outputs.
    pub(crate) sums: Vec<i32>,
    /// The gain shift at which an ideal card errs least on these sums.
    pub(crate) shift: u8,
}

impl KnownTile {
    pub(crate) fn random(chip: &ChipDescription, symbols: usize, seed: Seed) -> Self {
        let (inputs, outputs) = (chip.tile_inputs(), chip.tile_outputs());
        let weights = random_codes(seed, "weights", chip.weight_limit(), inputs * outputs);
        let mut x = random_codes(seed, "inputs", chip.input_limit(), symbols * inputs);
        for vector in x.chunks_exact_mut(inputs) {
            // A full code in each vector makes its scale one, and the card's codes these codes.
            vector[inputs - 1] = i8::try_from(chip.input_limit()).unwrap_or(i8::MAX);
        }
        let mut sums = vec![0; symbols * outputs];
        codes::tile_product(&weights, inputs, outputs, &x, &mut sums);
        let shift = best_shift(chip, &sums);
        Self { weights, x, sums, shift }
    }
}

fn best_shift(chip: &ChipDescription, sums: &[i32]) -> u8 {
    let error = |shift: u8| -> f64 {
        sums.iter()
            .map(|&sum| {
                let code = codes::requantise(sum, shift, chip.adc.bits);
                let error = f64::from(code) * step_units(shift) - f64::from(sum);
                error * error
            })
            .sum()
    };
    chip.gain_shifts()
        .map(|shift| (shift, error(shift)))
        .min_by(|(_, a), (_, b)| a.total_cmp(b))
        .map_or(chip.full_scale_shift(), |(shift, _)| shift)
}

/// `2^shift`, the converter's step in units of the exact sum.
pub(crate) fn step_units(shift: u8) -> f64 {
    (1_u64 << shift.min(63)) as f64
}

/// The program that streams whole vectors through a tile and hands out the converter's codes.
pub(crate) fn one_tile(chip: &ChipDescription, array: u16, shift: u8) -> OneTile<'_> {
    OneTile {
        name: format!("probe of array {array}"),
        chip,
        array,
        packing: Packing::Conjugate,
        inputs: chip.tile_inputs(),
        shift,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use litecore_types::chip::builtin;

    #[test]
    fn codes_cover_their_range_evenly() {
        let codes = random_codes(Seed(1), "weights", 3, 70_000);
        for value in -3..=3 {
            let count = codes.iter().filter(|code| **code == value).count();
            assert!((9_500..10_500).contains(&count), "{value}: {count}");
        }
        assert!(codes.iter().all(|code| code.abs() <= 3));
    }

    #[test]
    fn the_gain_suits_the_sums() {
        // Deviation of the sums: sqrt(128) · 127² / 3 = 61e3, so 4.3 of them at shift 11.
        let chip = builtin("ref-64-eo").unwrap();
        assert_eq!(KnownTile::random(&chip, 100, Seed(1)).shift, 11);
    }
}
