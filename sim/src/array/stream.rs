//! Streaming: symbols through a tile, noise and conversion.

use super::tile::{Form, LoadedTile};
use super::{ArrayModel, Scratch};
use crate::Term;
use crate::dynamic::{Draws, Dynamics, OutputNoise};
use crate::fold::{ArrayErrors, Origin, single};
use crate::noise::{SymbolCommons, term_key};
use crate::optics::step_units;
use crate::streamed::Job;
use litecore_hal::SymbolTag;
use litecore_kernels::cells::sin_cos;
use litecore_kernels::sample::{self, Reading, Spread};
use litecore_kernels::{codes, s2};

/// Symbols that go through all passes together.
const SYMBOLS_AT_ONCE: usize = 64;

impl ArrayModel {
    /// Streams symbols through a tile; `codes` is overwritten with the converter codes.
    ///
    /// Shape: `x` is tags × [`Self::inputs_per_symbol`], `codes` tags × [`Self::outputs_per_symbol`].
    /// The converter's step is `2^shift` units of the exact sum. `key` names the stream.
    /// Panics: if `x` does not fit the tags, or the tile is of another model's size.
    pub fn forward(
        &mut self,
        tile: &LoadedTile,
        x: &[i8],
        key: u64,
        tags: &[SymbolTag],
        shift: u8,
        codes: &mut Vec<i32>,
    ) {
        codes.resize(tags.len() * self.outputs_per_symbol(), 0);
        self.forward_into(tile, x, key, tags, shift, codes);
    }

    /// [`Self::forward`] into a slice of the right length.
    ///
    /// Panics: as [`Self::forward`], and if the slice has another length.
    pub fn forward_into(
        &mut self,
        tile: &LoadedTile,
        x: &[i8],
        key: u64,
        tags: &[SymbolTag],
        shift: u8,
        codes: &mut [i32],
    ) {
        let (inputs, outputs) = (self.inputs_per_symbol(), self.outputs_per_symbol());
        assert_eq!(x.len(), tags.len() * inputs, "one input vector per tag");
        assert_eq!(codes.len(), tags.len() * outputs, "one code per output and tag");
        let errs = match &self.streamed {
            Some(streamed) => streamed.draws(),
            None => self.dynamics.err(),
        };
        if let Form::Exact(weights) = &tile.form
            && !errs
        {
            let exact = &mut self.scratch.exact;
            exact.resize(codes.len(), 0);
            codes::tile_product(weights, inputs, outputs, x, exact);
            codes::requantise_all(exact, shift, self.chip.adc.bits, codes);
            return;
        }
        if let Some(streamed) = &mut self.streamed {
            let (chip, terms, seed, age_s, columns) =
                (&self.chip, self.terms, self.seed, self.age_s, self.columns);
            streamed.errors_of(Origin { chip, terms, seed, array: tile.array, age_s, columns });
            let draws = self.draws;
            streamed.forward(Job { tile, x, key, tags, shift, draws }, inputs, codes);
            return;
        }
        self.errors_of(tile.array);
        let scratch = &mut self.scratch;
        scratch.fields = floors(&self.dynamics, self.draws, tile, shift, &mut scratch.floors);
        // Blocks stay in the cache from pass to pass.
        let blocks = x
            .chunks(SYMBOLS_AT_ONCE * inputs)
            .zip(codes.chunks_mut(SYMBOLS_AT_ONCE * outputs))
            .zip(tags.chunks(SYMBOLS_AT_ONCE));
        for (first, ((x, codes), tags)) in (0..).step_by(SYMBOLS_AT_ONCE).zip(blocks) {
            self.sum(tile, x, tags.len());
            self.lag(first, outputs);
            self.read(tile, key, tags, shift, codes);
        }
    }

    /// Fills the sums with what the columns show, and the strengths with `Σ|z|²` of each symbol.
    fn sum(&mut self, tile: &LoadedTile, x: &[i8], symbols: usize) {
        let (inputs, outputs) = (self.inputs_per_symbol(), self.outputs_per_symbol());
        let scratch = &mut self.scratch;
        scratch.inputs.resize(x.len(), 0.0);
        scratch.strengths.resize(symbols, 0.0);
        scratch.sums.resize(symbols * outputs, 0.0);
        let Scratch { inputs: floats, strengths, .. } = scratch;
        let errors = self.arrays.get(&tile.array).and_then(ArrayErrors::transfer_errors);
        if let Some(errors) = errors {
            sample::drive_through(&self.curve, errors, x, floats, strengths);
        } else {
            sample::drive(x, inputs, floats, strengths);
        }
        match &tile.form {
            Form::Exact(weights) => {
                scratch.exact.resize(scratch.sums.len(), 0);
                codes::tile_product(weights, inputs, outputs, x, &mut scratch.exact);
                for (sum, &exact) in scratch.sums.iter_mut().zip(&scratch.exact) {
                    *sum = exact as f32;
                }
            }
            Form::Analog(packed) => {
                s2::product(&scratch.inputs, packed, &mut scratch.sums);
            }
        }
    }

    /// Mixes into each symbol, from the `first` of a call on, some of the one before on its wavelength.
    fn lag(&mut self, first: usize, outputs: usize) {
        if self.dynamics.lag <= 0.0 {
            return;
        }
        let share = single(self.dynamics.lag);
        let wavelengths = self.chip.array.wavelengths.max(1);
        let Scratch { sums, before, .. } = &mut self.scratch;
        if first == 0 {
            before.clear();
            before.resize(wavelengths * outputs, 0.0);
        }
        for (symbol, now) in (first..).zip(sums.chunks_exact_mut(outputs)) {
            let before = &mut before[symbol % wavelengths * outputs..][..outputs];
            sample::lag(share, before, now);
            before.copy_from_slice(now);
        }
    }

    /// Noise, and conversion.
    fn read(
        &mut self,
        tile: &LoadedTile,
        key: u64,
        tags: &[SymbolTag],
        shift: u8,
        codes: &mut [i32],
    ) {
        let outputs = self.outputs_per_symbol();
        let dynamics = &self.dynamics;
        let scratch = &mut self.scratch;
        let half_range = (1_u32 << (self.chip.adc.bits - 1)) as f32;
        let range = [-half_range, half_range - 1.0];
        let codes_per_unit = single(1.0 / step_units(shift));
        let signs = self.arrays.get(&tile.array).map_or(&[][..], ArrayErrors::pair_signs);
        let rotates = self.packing.reads_quadrature();
        scratch.noise.resize(outputs, 0.0);
        if dynamics.draws() {
            SymbolCommons::draw(key, tags, &mut scratch.commons);
        } else {
            scratch.commons.clear();
        }
        let rows = scratch.sums.chunks_exact_mut(outputs).zip(codes.chunks_exact_mut(outputs));
        for (symbol, (((sums, codes), &tag), &strength)) in
            rows.zip(tags).zip(&scratch.strengths).enumerate()
        {
            scratch.noise.copy_from_slice(&tile.offsets);
            let mut gain = 1.0;
            if let Some(commons) = scratch.commons.get(symbol) {
                gain += single(dynamics.rin_sigma) * commons.intensity;
                if dynamics.rin_lo_units > 0.0 {
                    let common = single(dynamics.rin_lo_units) * commons.oscillator;
                    for (noise, sign) in scratch.noise.iter_mut().zip(signs) {
                        *noise += common * sign;
                    }
                }
                let mut leak = 0.0;
                if dynamics.phase_sigma > 0.0 {
                    let (sin, cos) = sin_cos(single(dynamics.phase_sigma) * commons.phase);
                    if rotates {
                        let (i, q) = sums.split_at_mut(outputs / 2);
                        sample::rotate(cos, sin, i, q);
                    } else {
                        gain *= cos;
                        leak = sin * sin;
                    }
                }
                for (index, (floor, &(stream, field))) in
                    scratch.floors.iter().zip(&scratch.fields).enumerate()
                {
                    // The leak of the unwanted quadrature is the last one's.
                    let leaks = dynamics.leaks_quadrature && index + 1 == scratch.fields.len();
                    let field = if leaks { field + leak } else { field };
                    let normals = scratch.normals.draw(stream.key(key), tag, outputs);
                    let spread = Spread { floor, slope: &tile.field, strength: strength * field };
                    sample::add_noise(spread, normals, &mut scratch.noise);
                }
            }
            let reading = Reading { gain, codes_per_unit, range };
            sample::read(reading, sums, &scratch.noise, codes);
        }
    }
}

/// Which of a symbol's rows of normals is meant.
#[derive(Clone, Copy)]
pub(crate) enum Stream {
    All,
    Of(Term),
}

impl Stream {
    pub(crate) fn key(self, key: u64) -> u64 {
        match self {
            Self::All => key,
            Self::Of(term) => term_key(key, term),
        }
    }
}

/// The variance of each output that no symbol changes, row by row of normals, and each row's share
/// of the field.
fn floors(
    dynamics: &Dynamics,
    draws: Draws,
    tile: &LoadedTile,
    shift: u8,
    floors: &mut Vec<Vec<f32>>,
) -> Vec<(Stream, f32)> {
    let step = step_units(shift);
    let variances = |noises: &[OutputNoise]| -> Vec<f32> {
        let variance = |&squares: &f32| {
            let squares = f64::from(squares);
            single(noises.iter().map(|noise| noise.variance(step, squares, 0.0)).sum())
        };
        tile.squares.iter().map(variance).collect()
    };
    let noises = &dynamics.per_output;
    let leaks = dynamics.leaks_quadrature && dynamics.phase_sigma > 0.0;
    floors.clear();
    match draws {
        Draws::Merged if noises.is_empty() && !leaks => Vec::new(),
        Draws::Merged => {
            floors.push(variances(noises));
            vec![(Stream::All, single(noises.iter().map(|noise| noise.field).sum()))]
        }
        Draws::PerTerm => {
            let mut rows: Vec<(Stream, f32)> = Vec::new();
            for noise in noises {
                floors.push(variances(std::slice::from_ref(noise)));
                rows.push((Stream::Of(noise.term), single(noise.field)));
            }
            // Always the last row, so that the leak finds it.
            floors.push(vec![0.0; tile.squares.len()]);
            rows.push((Stream::Of(Term::PhaseNoise), 0.0));
            rows
        }
    }
}
