//! One tile on a simulated card: random codes in, converter codes out, nothing in between.

use litecore_hal::{Device, ImageId, RunOutcome, RunRequest, SymbolTag};
use litecore_kernels::codes;
use litecore_sim::array::ArrayModel;
use litecore_sim::budget::{Budget, Statistics};
use litecore_sim::dynamic::Draws;
use litecore_sim::{SimDevice, SimOptions, Terms, packing};
use litecore_types::Seed;
use litecore_types::chip::{ChipDescription, Override, builtin_text};
use litecore_types::program::{OneTile, Packing, VerifiedProgram};
use std::sync::Arc;

/// A shipped chip, or the default one with another kind of cell, with some values replaced.
pub(crate) fn chip_with(name: &str, changes: &[(&str, &str)]) -> ChipDescription {
    let of_kind = |section: &str| format!("{}\n{section}", builtin_text("ref-64-eo").unwrap());
    let text = match name {
        "interferometer" => of_kind(""),
        "ring_pair" => of_kind(RINGS),
        "phase_change" => of_kind(FILM),
        shipped => builtin_text(shipped).unwrap().to_owned(),
    };

    let changes: Vec<Override> = changes
        .iter()
        .map(|(path, value)| Override { path: (*path).to_owned(), value: (*value).to_owned() })
        .collect();
    ChipDescription::from_toml_with(&text, name, &changes).unwrap()
}

const RINGS: &str = r#"
[ring]
self_coupling = { value = 0.9, plus_minus = 0, source = "assumed" }
round_trip = { value = 0.999, plus_minus = 0, source = "assumed" }
spectral_range_nm = { value = 20, plus_minus = 0, source = "assumed" }
radius_um = { value = 5, plus_minus = 0, source = "assumed" }
detuning_error_rad = { value = 1e-3, plus_minus = 0, source = "assumed" }
"#;

const FILM: &str = r#"
[phase_change]
level_bits = 4
write_error = { value = 0.01, plus_minus = 0, source = "assumed" }
drift_per_decade = { value = 0.01, plus_minus = 0, source = "assumed" }
endurance_writes = { value = 5e5, plus_minus = 0, source = "assumed" }
"#;

/// Random codes, uniform over ±127.
pub(crate) fn random_codes(label: &str, count: usize) -> Vec<i8> {
    (0..count as u64)
        .map(|index| u8::try_from(Seed(11).key(label, index) % 255).unwrap())
        .map(|code| code.wrapping_sub(127).cast_signed())
        .collect()
}

/// A tile, inputs for it, and what comes out of it when nothing disturbs.
pub(crate) struct SingleTile {
    pub(crate) chip: ChipDescription,
    pub(crate) program: Arc<VerifiedProgram>,
    pub(crate) weights: Vec<i8>,
    pub(crate) shift: u8,
    pub(crate) symbols: usize,
    pub(crate) x: Vec<i8>,
    pub(crate) sums: Vec<i32>,
}

impl SingleTile {
    /// Uniform random codes; every vector holds one code of 127, so that its scale is one.
    pub(crate) fn random(chip: ChipDescription, shift: u8, symbols: usize) -> Self {
        let (inputs, outputs) = (chip.tile_inputs(), chip.tile_outputs());
        let weights = random_codes("weights", inputs * outputs);
        let mut x = random_codes("inputs", symbols * inputs);
        for vector in x.chunks_exact_mut(inputs) {
            vector[inputs - 1] = 127;
        }
        let mut sums = vec![0; symbols * outputs];
        codes::tile_product_reference(&weights, inputs, outputs, &x, &mut sums);
        let program = Arc::new(one_stream(&chip, &weights, shift, symbols));
        Self { chip, program, weights, shift, symbols, x, sums }
    }

    /// The converter codes of a new device, tags counting from zero.
    pub(crate) fn codes(&self, terms: Terms, seed: u128) -> Vec<i32> {
        let mut device = self.device(terms, seed);
        let image = device.load(Arc::clone(&self.program)).unwrap();
        let tags: Vec<SymbolTag> = (0..self.symbols as u64).map(SymbolTag).collect();
        integers(&run(&mut device, image, &tags, &self.x).outputs)
    }

    pub(crate) fn device(&self, terms: Terms, seed: u128) -> SimDevice {
        let options = SimOptions { seed: Seed(seed), terms, record_timeline: false };
        SimDevice::new(self.chip.clone(), options)
    }

    /// Mean-square sum over mean-square error of codes, in dB.
    pub(crate) fn snr_rms_db(&self, codes: &[i32]) -> f64 {
        snr_rms_db(&self.sums, codes, self.shift)
    }
}

fn snr_rms_db(sums: &[i32], codes: &[i32], shift: u8) -> f64 {
    let step = f64::from(1_u32 << shift);
    let (mut signal, mut error) = (0.0, 0.0);
    for (&sum, &code) in sums.iter().zip(codes) {
        let (sum, code) = (f64::from(sum), f64::from(code));
        signal += sum * sum;
        error += (code * step - sum) * (code * step - sum);
    }
    decibels(signal / error)
}

/// Runs codes through an image.
pub(crate) fn run(
    device: &mut SimDevice,
    image: ImageId,
    tags: &[SymbolTag],
    x: &[i8],
) -> RunOutcome {
    let inputs: Vec<f32> = x.iter().map(|&code| f32::from(code)).collect();
    device.run(&RunRequest { image, tags, inputs: &inputs }).unwrap()
}

pub(crate) fn decibels(ratio: f64) -> f64 {
    10.0 * pxfm::f_log10(ratio)
}

#[allow(clippy::cast_possible_truncation, reason = "converter codes are small integers")]
fn integers(outputs: &[f32]) -> Vec<i32> {
    outputs.iter().map(|&output| output as i32).collect()
}

/// A program that streams whole vectors through one tile and hands out the codes.
fn one_stream(
    chip: &ChipDescription,
    weights: &[i8],
    shift: u8,
    symbols: usize,
) -> VerifiedProgram {
    let name = "one stream".to_owned();
    let (packing, inputs) = (Packing::Conjugate, chip.tile_inputs());
    let one = OneTile { name, chip, array: 0, packing, inputs, shift };
    VerifiedProgram::new(one.program(weights.to_vec(), symbols as u64), chip).unwrap()
}

/// A tile in any packing on a bare array, without a card around it.
pub(crate) struct PackedTile {
    pub(crate) chip: ChipDescription,
    pub(crate) packing: packing::Packing,
    pub(crate) weights: Vec<i8>,
    pub(crate) x: Vec<i8>,
    pub(crate) sums: Vec<i32>,
    pub(crate) tags: Vec<SymbolTag>,
    pub(crate) shift: u8,
}

impl PackedTile {
    /// Uniform random codes; the converter's range is eight deviations of their sums.
    pub(crate) fn random(chip: ChipDescription, packing: packing::Packing, symbols: usize) -> Self {
        let model = ArrayModel::new(&chip, Terms::none(), Seed(0), packing).unwrap();
        let mut weights = random_codes("weights", model.weights_per_tile());
        if packing == packing::Packing::Complex {
            let (rows, columns) = (chip.array.inputs, chip.array.outputs);
            let (upper, lower) = weights.split_at_mut(2 * rows * columns);
            for (upper, lower) in upper.chunks(2 * columns).zip(lower.chunks_mut(2 * columns)) {
                for column in 0..columns {
                    lower[column] = -upper[column + columns];
                    lower[column + columns] = upper[column];
                }
            }
        }
        let x = random_codes("inputs", symbols * model.inputs_per_symbol());
        let sums = model.sums(&weights, &x).unwrap();
        let rms = Statistics::measured(&[], &[], &sums, 0).mean_square_sum.sqrt();
        let half_range = f64::from(1_u32 << (chip.adc.bits - 1));
        let shift = (0..24).find(|&shift| half_range * f64::from(1_u32 << shift) > 8.0 * rms);
        let tags = (0..symbols as u64).map(SymbolTag).collect();
        Self { chip, packing, weights, x, sums, tags, shift: shift.unwrap() }
    }

    /// Converter codes of a new array.
    pub(crate) fn codes(&self, terms: Terms, seed: u128) -> Vec<i32> {
        self.codes_drawn(terms, seed, Draws::Merged)
    }

    pub(crate) fn codes_drawn(&self, terms: Terms, seed: u128, draws: Draws) -> Vec<i32> {
        let model = ArrayModel::new(&self.chip, terms, Seed(seed), self.packing).unwrap();
        let mut model = model.with_draws(draws);
        let tile = model.load(0, &self.weights).unwrap();
        let mut codes = Vec::new();
        let key = Seed(seed).key("stream", 0);
        model.forward(&tile, &self.x, key, &self.tags, self.shift, &mut codes);
        codes
    }

    pub(crate) fn statistics(&self) -> Statistics {
        Statistics::measured(&self.weights, &self.x, &self.sums, self.shift)
    }

    pub(crate) fn budget(&self, terms: Terms) -> Budget {
        Budget::predict_packed(&self.chip, self.packing, terms, &self.statistics())
    }

    /// Mean-square sum over mean-square error, in dB.
    pub(crate) fn snr_rms_db(&self, terms: Terms, seed: u128) -> f64 {
        snr_rms_db(&self.sums, &self.codes(terms, seed), self.shift)
    }
}
