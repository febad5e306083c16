use crate::cells::{CellErrors, single};
use crate::noise::draw_symbol;
use crate::optics::Optics;
use crate::tile_cache::TileCache;
use crate::{Term, Terms};
use litecore_hal::{ImageId, SymbolTag};
use litecore_kernels::codes::{self, NonFinite};
use litecore_kernels::program::{Arithmetic, Converters, Fast, StreamCall};
use litecore_kernels::s2;
use litecore_types::Seed;
use litecore_types::chip::ChipDescription;
use std::collections::BTreeMap;

/// Bytes of effective tiles kept: at 64 × 64 cells, eight thousand tiles.
const TILE_BYTES_MAX: usize = 256 << 20;

/// The arrays of a card: what happens to codes on their way through light.
pub(crate) struct Arrays {
    chip: ChipDescription,
    terms: Terms,
    seed: Seed,
    /// Whether any cell may differ from what is programmed.
    cells_err: bool,
    sampler: Sampler,
    cells: BTreeMap<u16, CellErrors>,
    tiles: TileCache,
    digital: Fast,
    inputs: Vec<f32>,
    exact: Vec<i32>,
    sums: Vec<f32>,
    draws: Vec<f32>,
}

impl Arrays {
    pub(crate) fn new(chip: ChipDescription, terms: Terms, seed: Seed) -> Self {
        let err = |term, sigma: f64| terms.contains(term) && sigma > 0.0;
        Self {
            terms,
            seed,
            cells_err: err(Term::CellPhase, chip.cell.phase_error_rad.value)
                || err(Term::CellAmplitude, chip.cell.amplitude_error.value),
            sampler: Sampler::new(&chip, terms),
            cells: BTreeMap::new(),
            tiles: TileCache::new(TILE_BYTES_MAX),
            digital: Fast::new(Converters::of(&chip)),
            inputs: Vec::new(),
            exact: Vec::new(),
            sums: Vec::new(),
            draws: Vec::new(),
            chip,
        }
    }

    /// Keeps at most this many bytes of effective tiles from now on.
    #[cfg(test)]
    pub(crate) fn limit_tiles(&mut self, bytes_max: usize) {
        self.tiles = TileCache::new(bytes_max);
    }

    /// Clears the banks.
    pub(crate) fn clear(&mut self) {
        self.tiles.clear();
    }

    /// Fills `sums` with what the columns sum up, in units of the exact sum.
    fn sum(&mut self, image: ImageId, call: &StreamCall<'_>) {
        if self.cells_err {
            let (chip, terms, seed) = (&self.chip, self.terms, self.seed);
            let cells = self
                .cells
                .entry(call.array)
                .or_insert_with(|| CellErrors::draw(chip, terms, seed, call.array));
            let key = (image.0, call.tile.0, call.array);
            let tile = self.tiles.get(key, || cells.effective(call.weights));
            self.inputs.clear();
            self.inputs.extend(call.x.iter().map(|&code| f32::from(code)));
            s2::product(&self.inputs, tile, &mut self.sums);
        } else {
            self.exact.resize(self.sums.len(), 0);
            codes::tile_product(call.weights, call.inputs, call.outputs, call.x, &mut self.exact);
            for (sum, &exact) in self.sums.iter_mut().zip(&self.exact) {
                *sum = exact as f32;
            }
        }
    }
}

/// One run: the arrays, and the names of the symbols on their way.
pub(crate) struct Run<'a> {
    pub(crate) arrays: &'a mut Arrays,
    pub(crate) image: ImageId,
    pub(crate) tags: &'a [SymbolTag],
    pub(crate) stream_keys: &'a [u64],
}

impl Arithmetic for Run<'_> {
    fn quantise(&mut self, x: &[f32], codes: &mut [i8]) -> Result<f32, NonFinite> {
        self.arrays.digital.quantise(x, codes)
    }

    fn stream(&mut self, call: &StreamCall<'_>, codes: &mut [i32]) {
        let arrays = &mut *self.arrays;
        if !arrays.cells_err && !arrays.sampler.is_noisy() {
            return arrays.digital.stream(call, codes);
        }
        arrays.sums.resize(codes.len(), 0.0);
        arrays.sum(self.image, call);
        let sampler = arrays.sampler;
        let key = self.stream_keys[call.step.0 as usize];
        let symbols =
            arrays.sums.chunks_exact(call.outputs).zip(codes.chunks_exact_mut(call.outputs));
        for ((sums, codes), &tag) in symbols.zip(self.tags) {
            if sampler.is_noisy() {
                let draws = draw_symbol(key, tag, call.outputs, &mut arrays.draws);
                sampler.sample_noisy(sums, draws, call.shift, codes);
            } else {
                sampler.sample(sums, call.shift, codes);
            }
        }
    }

    fn dequantise(&mut self, p: &[i32], scale: f32, table: &[f32], out: &mut [f32]) {
        self.arrays.digital.dequantise(p, scale, table, out);
    }

    fn swiglu(&mut self, gate: &[f32], up: &[f32], out: &mut [f32]) {
        self.arrays.digital.swiglu(gate, up, out);
    }
}

/// Receiver and converter of every column.
#[derive(Clone, Copy, Debug)]
struct Sampler {
    shot_sigma: f32,
    receiver_sigma: f32,
    adc_sigma: f32,
    lowest: f32,
    highest: f32,
}

impl Sampler {
    fn new(chip: &ChipDescription, terms: Terms) -> Self {
        let optics = Optics::of(chip);
        let if_on = |term, sigma: f64| if terms.contains(term) { single(sigma) } else { 0.0 };
        let half_range = (1_u32 << (chip.adc.bits - 1)) as f32;
        Self {
            shot_sigma: if_on(Term::Shot, optics.shot_sigma_units),
            receiver_sigma: if_on(Term::Receiver, optics.receiver_sigma_units),
            adc_sigma: if_on(Term::Adc, optics.adc_sigma_steps),
            lowest: -half_range,
            highest: half_range - 1.0,
        }
    }

    fn is_noisy(&self) -> bool {
        self.shot_sigma > 0.0 || self.receiver_sigma > 0.0 || self.adc_sigma > 0.0
    }

    /// `code = saturate(round_half_even(sum / 2^shift))`.
    fn sample(&self, sums: &[f32], shift: u8, codes: &mut [i32]) {
        let gain = reciprocal_step(shift);
        for (code, &sum) in codes.iter_mut().zip(sums) {
            *code = self.convert(sum * gain);
        }
    }

    /// The same with noise: of light and amplifier ahead of the gain, of the converter behind it.
    fn sample_noisy(&self, sums: &[f32], draws: &[f32], shift: u8, codes: &mut [i32]) {
        let gain = reciprocal_step(shift);
        let (shot, rest) = draws.split_at(sums.len());
        let (receiver, adc) = rest.split_at(sums.len());
        let noise = shot.iter().zip(receiver).zip(adc);
        for ((code, &sum), ((shot, receiver), adc)) in codes.iter_mut().zip(sums).zip(noise) {
            let current = sum + (self.shot_sigma * shot + self.receiver_sigma * receiver);
            *code = self.convert(current * gain + self.adc_sigma * adc);
        }
    }

    /// Saturates and rounds half to even: adding 1.5 · 2^23 leaves no bits behind the point, and
    /// the integer in the lowest bits.
    fn convert(&self, level: f32) -> i32 {
        const ROUNDER: f32 = 12_582_912.0;
        let saturated = level.max(self.lowest).min(self.highest);
        (saturated + ROUNDER).to_bits().cast_signed() - ROUNDER.to_bits().cast_signed()
    }
}

/// `2^-shift`.
fn reciprocal_step(shift: u8) -> f32 {
    f32::from_bits((127 - u32::from(shift.min(126))) << 23)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::DYNAMIC;
    use crate::optics::{decibels, power_ratio};
    use litecore_kernels::math;
    use litecore_kernels::normal::{standard_normal, standard_normals};
    use litecore_types::chip::builtin;
    use litecore_types::program::{StepIndex, TileId};

    #[test]
    fn conversion_rounds_half_to_even_and_saturates() {
        let sampler = Sampler::new(&builtin("ref-64-eo").unwrap(), Terms::all());
        for (level, code) in [
            (0.5, 0),
            (1.5, 2),
            (2.5, 2),
            (-0.5, 0),
            (-1.5, -2),
            (126.6, 127),
            (1e9, 127),
            (-128.4, -128),
            (-1e9, -128),
        ] {
            assert_eq!(sampler.convert(level), code, "{level}");
        }
        let mut codes = [0; 3];
        sampler.sample(&[4096.0, -12288.0, 12289.0], 13, &mut codes);
        assert_eq!(codes, [0, -2, 2]);
    }

    #[test]
    fn conversion_equals_the_integer_meaning() {
        let mut chip = builtin("ref-64-eo").unwrap();
        for bits in [2, 8, 16] {
            chip.adc.bits = bits;
            let sampler = Sampler::new(&chip, Terms::none());
            for shift in 0..16 {
                for sum in (-300_000..300_000).step_by(977) {
                    let mut code = [0];
                    sampler.sample(&[sum as f32], shift, &mut code);
                    assert_eq!(code[0], codes::requantise(sum, shift, bits), "{sum} >> {shift}");
                }
            }
        }
    }

    #[test]
    fn each_sigma_stands_where_it_belongs() {
        let chip = builtin("ref-64-eo").unwrap();
        let sampler = Sampler {
            shot_sigma: 3.0,
            receiver_sigma: 5.0,
            adc_sigma: 7.0,
            ..Sampler::new(&chip, Terms::none())
        };
        let mut codes = [0; 2];
        // (100 + 3·4 + 5·(-2)) / 2 + 7·1, and (0 + 0 + 0) / 2 + 7·(-3).
        sampler.sample_noisy(&[100.0, 0.0], &[4.0, 0.0, -2.0, 0.0, 1.0, -3.0], 1, &mut codes);
        assert_eq!(codes, [58, -21]);
    }

    /// Mean square of `levels` over that of what the converter makes of them, in dB.
    fn converter_snr_db(sampler: &Sampler, levels: &[f32]) -> f64 {
        let mut draws = vec![0.0; DYNAMIC.len() * levels.len()];
        standard_normals(1, 0, &mut draws);
        let mut codes = vec![0; levels.len()];
        sampler.sample_noisy(levels, &draws, 0, &mut codes);
        let (mut signal, mut error) = (0.0, 0.0);
        for (&level, &code) in levels.iter().zip(&codes) {
            let level = f64::from(level);
            signal += level * level;
            error += (f64::from(code) - level) * (f64::from(code) - level);
        }
        decibels(signal / error)
    }

    #[test]
    fn a_converter_has_the_signal_to_noise_ratio_of_the_books() {
        let mut chip = builtin("ref-64-eo").unwrap();
        let close = |measured: f64, expected: f64| {
            assert!((measured - expected).abs() < 0.15, "{measured} dB against {expected}");
        };
        let mut normals = vec![0.0; 400_000];
        standard_normals(2, 0, &mut normals);
        // An ideal converter under a Gaussian, four deviations to the end of the range: rounding
        // gives 6.02 b - 7.27 dB, clipping 2 [(1 + 4²) Q(4) - 4 φ(4)] = 6.1e-6 of the power.
        for bits in [4, 6, 8] {
            chip.adc.bits = bits;
            let half_range = f32::from(1_u8 << (bits - 1));
            let levels: Vec<f32> = normals.iter().map(|normal| normal * half_range / 4.0).collect();
            let rounding = power_ratio(7.27 - 6.0206 * f64::from(bits));
            let measured = converter_snr_db(&Sampler::new(&chip, Terms::none()), &levels);
            close(measured, decibels(1.0 / (rounding + 6.1e-6)));
        }
        // A sine shows the effective bits: 6.02 e + 1.76 dB over the whole range. This one stays
        // off the ends of the range, where noise would be clipped away.
        chip.adc.bits = 8;
        let sine: Vec<f32> = (0..400_000)
            .map(|i| 100.3 * single(math::sin_cos(f64::from(i) * 0.618_034).0))
            .collect();
        let below_full_scale = decibels((100.3 / 128.0) * (100.3 / 128.0));
        for enob in [8.0, 7.5, 7.0, 6.0] {
            chip.adc.enob.value = enob;
            let sampler = Sampler::new(&chip, Terms::only(Term::Adc));
            let measured = converter_snr_db(&sampler, &sine);
            close(measured, 6.0206 * enob + 1.7609 + below_full_scale);
        }
    }

    /// Two symbols through a tile of the small chip, on a given array.
    fn two_symbols(arrays: &mut Arrays, tags: [u64; 2], array: u16) -> Vec<i32> {
        let weights: Vec<i8> = (0..32).map(|i: i8| i.wrapping_mul(53)).collect();
        let x: Vec<i8> = (0..16).map(|i: i8| i.wrapping_mul(37)).collect();
        let call = StreamCall {
            step: StepIndex(1),
            array,
            tile: TileId(0),
            weights: &weights,
            inputs: 8,
            outputs: 4,
            x: &x,
            shift: 5,
        };
        let mut codes = vec![0; 8];
        let tags = tags.map(SymbolTag);
        let mut run = Run { arrays, image: ImageId(0), tags: &tags, stream_keys: &[0, 0x4d] };
        run.stream(&call, &mut codes);
        codes
    }

    #[test]
    fn a_stream_equals_its_definition_in_double_precision() {
        let chip = builtin("tiny-4").unwrap();
        let optics = Optics::of(&chip);
        let mut arrays = Arrays::new(chip.clone(), Terms::all(), Seed(3));
        let codes = two_symbols(&mut arrays, [4, 1 << 60], 0);
        let cells = CellErrors::draw(&chip, Terms::all(), Seed(3), 0);
        let weights: Vec<i8> = (0..32).map(|i: i8| i.wrapping_mul(53)).collect();
        let x: Vec<f32> = (0..16).map(|i: i8| f32::from(i.wrapping_mul(37))).collect();
        let mut sums = [0.0; 8];
        s2::product(&x, &cells.effective(&weights), &mut sums);
        for (index, &code) in codes.iter().enumerate() {
            let (symbol, output) = (index / 4, index % 4);
            let key = [0x4d ^ SPREAD_4, 0x4d ^ SPREAD_2_60][symbol];
            let normal = |term: usize| f64::from(standard_normal(key, (4 * term + output) as u64));
            let current = f64::from(sums[index])
                + optics.shot_sigma_units * normal(0)
                + optics.receiver_sigma_units * normal(1);
            let level = current / 32.0 + optics.adc_sigma_steps * normal(2);
            let expected = level.clamp(-128.0, 127.0);
            assert!((f64::from(code) - expected).abs() < 0.501, "{code} against {expected}");
        }
    }

    // From an independent SplitMix64 written in another language.
    const SPREAD_4: u64 = 0x6e73_e372_e233_8aca;
    const SPREAD_2_60: u64 = 0x90b6_e949_a6dd_fcf7;

    #[test]
    fn tiles_that_were_let_go_come_back_the_same() {
        let chip = builtin("tiny-4").unwrap();
        let terms = Terms::only(Term::CellPhase).with(Term::CellAmplitude);
        let mut kept = Arrays::new(chip.clone(), terms, Seed(3));
        let mut dropped = Arrays::new(chip, terms, Seed(3));
        dropped.limit_tiles(0);
        for array in [0, 1, 0, 2, 1, 0] {
            let codes = two_symbols(&mut kept, [0, 1], array);
            assert_eq!(two_symbols(&mut dropped, [0, 1], array), codes);
        }
    }
}
