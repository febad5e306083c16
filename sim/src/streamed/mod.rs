//! Output-stationary arrays: both operands are light, and each output adds up over the symbols.
//!
//! N input lanes carry N vectors, M weight lanes carry the weights of M outputs, and the detector
//! where two of them meet beats one with the other, symbol by symbol, adds up the currents of N
//! symbols, and converts once. So a tile has the same integer meaning as in an array of cells; but a
//! block of N vectors takes N symbols, nothing is held or settled, and the weights are sent again
//! for each block.
//!
//! What errs is on lanes and detectors ([`crate::fold`]), and what is drawn is drawn for each sum
//! ([`noise`]). A vector's lane is its tag modulo the lanes, so that its result does not depend on
//! the batch it travels in.
//!
//! **Invariant:** with every term off a sum is the exact integer sum, in every packing.

pub(crate) mod noise;

use crate::array::{Form, LoadedTile, NoiseStream};
use crate::dynamic::Draws;
use crate::fold::{Origin, Planes, StreamedErrors, single};
use crate::noise::Normals;
use crate::optics::step_units;
use crate::packing::Packing;
use crate::{Term, Terms};
use litecore_hal::SymbolTag;
use litecore_kernels::codes;
use litecore_kernels::s2::{self, PackedMatrix};
use litecore_kernels::sample::{self, Reading, Spread};
use litecore_types::chip::ChipDescription;
use noise::{Strength, codes_per_lane, strengths};
use std::collections::BTreeMap;

/// Vectors that go through all passes together.
const VECTORS_AT_ONCE: usize = 64;

/// The arrays of an output-stationary chip in one packing.
pub(crate) struct Streamed {
    packing: Packing,
    rows: usize,
    columns: usize,
    adc_bits: u8,
    /// Full scale of inputs and weights, as light of one symbol: codes² that fill a lane.
    full: [f64; 2],
    noises: Vec<(Term, Strength)>,
    curves: [Vec<f32>; 2],
    arrays: BTreeMap<u16, StreamedErrors>,
    scratch: Scratch,
}

#[derive(Default)]
struct Scratch {
    strengths: Vec<f32>,
    sent: Vec<f32>,
    fields: Vec<f32>,
    exact: Vec<i32>,
    sums: Vec<f32>,
    noise: Vec<f32>,
    slopes: Vec<f32>,
    normals: Normals,
}

/// One row of normals for each vector: its name, and what its variance is made of.
struct Row {
    stream: NoiseStream,
    /// What no input changes, output by output.
    floor: Vec<f32>,
    /// What goes with the strength of the inputs, output by output.
    slope: Vec<f32>,
    /// What goes with its square.
    square: f32,
}

/// What is to be streamed through a tile, and how.
#[derive(Clone, Copy)]
pub(crate) struct Job<'a> {
    pub(crate) tile: &'a LoadedTile,
    pub(crate) x: &'a [i8],
    pub(crate) key: u64,
    pub(crate) tags: &'a [SymbolTag],
    pub(crate) shift: u8,
    pub(crate) draws: Draws,
}

impl Streamed {
    pub(crate) fn of(
        chip: &ChipDescription,
        terms: Terms,
        packing: Packing,
        curve: impl Fn(i32) -> Box<[f32; 256]>,
    ) -> Self {
        let [inputs, weights] = codes_per_lane(packing);
        let square = |limit: i32| f64::from(limit) * f64::from(limit);
        let limits = [chip.input_limit(), chip.weight_limit()];
        Self {
            packing,
            rows: chip.array.inputs,
            columns: chip.array.outputs,
            adc_bits: chip.adc.bits,
            full: [inputs * square(limits[0]), weights * square(limits[1])],
            noises: strengths(chip, terms, packing),
            curves: limits.map(|limit| curve(limit).to_vec()),
            arrays: BTreeMap::new(),
            scratch: Scratch::default(),
        }
    }

    /// Whether anything is drawn.
    pub(crate) fn draws(&self) -> bool {
        !self.noises.is_empty()
    }

    /// Forgets the errors of all arrays, so that they are drawn again.
    pub(crate) fn clear(&mut self) {
        self.arrays.clear();
    }

    /// Draws the errors of an array at its first use.
    pub(crate) fn errors_of(&mut self, origin: Origin<'_>) -> &StreamedErrors {
        let draw = || StreamedErrors::draw(origin, self.packing);
        self.arrays.entry(origin.array).or_insert_with(draw)
    }

    /// What a weight lane's errors make of a tile; nothing if no lane or detector errs.
    pub(crate) fn form(&mut self, origin: Origin<'_>, mut planes: Planes) -> Option<Form> {
        self.errors_of(origin);
        let errors = &self.arrays[&origin.array];
        if !errors.err() {
            return None;
        }
        let (rows, columns) = (self.rows, self.columns);
        errors.send_weights(&mut planes, columns, &self.curves[1]);
        // Real inputs × both quadratures: (re, im) · (w_re + i w_im).
        let mut tile = Vec::with_capacity(4 * rows * columns);
        for (re, im) in planes.re.chunks_exact(columns).zip(planes.im.chunks_exact(columns)) {
            tile.extend_from_slice(re);
            tile.extend_from_slice(im);
        }
        for (re, im) in planes.re.chunks_exact(columns).zip(planes.im.chunks_exact(columns)) {
            tile.extend(im.iter().map(|im| -im));
            tile.extend_from_slice(re);
        }
        Some(Form::Analog(PackedMatrix::from_columns(&tile, 2 * rows, 2 * columns)))
    }

    /// Streams vectors and weights past each other.
    pub(crate) fn forward(&mut self, job: Job<'_>, inputs: usize, codes: &mut [i32]) {
        let outputs = self.outputs();
        let rows = self.rows_of_normals(&job);
        let blocks = job.x.chunks(VECTORS_AT_ONCE * inputs);
        let codes = codes.chunks_mut(VECTORS_AT_ONCE * outputs);
        for ((x, codes), tags) in blocks.zip(codes).zip(job.tags.chunks(VECTORS_AT_ONCE)) {
            let block = Job { x, tags, ..job };
            self.sum(block, inputs);
            self.read(block, &rows, codes);
        }
    }

    fn outputs(&self) -> usize {
        if self.packing.reads_quadrature() { 2 * self.columns } else { self.columns }
    }

    /// Fills the sums with what the detectors show, and the strengths with `Σ|z|²` of each vector.
    fn sum(&mut self, job: Job<'_>, inputs: usize) {
        let (outputs, width) = (self.outputs(), 2 * self.columns);
        let lanes = self.rows as u64;
        let scratch = &mut self.scratch;
        let vectors = job.tags.len();
        scratch.sums.resize(vectors * outputs, 0.0);
        scratch.sent.resize(vectors * inputs, 0.0);
        scratch.strengths.resize(vectors, 0.0);
        sample::drive(job.x, inputs, &mut scratch.sent, &mut scratch.strengths);
        match &job.tile.form {
            Form::Exact(weights) => {
                scratch.exact.resize(vectors * outputs, 0);
                codes::tile_product(weights, inputs, outputs, job.x, &mut scratch.exact);
                for (sum, &exact) in scratch.sums.iter_mut().zip(&scratch.exact) {
                    *sum = exact as f32;
                }
            }
            Form::Analog(packed) => {
                let errors = &self.arrays[&job.tile.array];
                let lane = |tag: &SymbolTag| {
                    usize::try_from(tag.0 % lanes).expect("below the number of lanes")
                };
                scratch.sent.resize(vectors * 2 * self.rows, 0.0);
                scratch.fields.resize(vectors * width, 0.0);
                let sent = scratch.sent.chunks_exact_mut(2 * self.rows);
                for ((x, sent), tag) in job.x.chunks_exact(inputs).zip(sent).zip(job.tags) {
                    errors.send_inputs(lane(tag), x, &self.curves[0], sent);
                }
                s2::product(&scratch.sent, packed, &mut scratch.fields);
                let sums = scratch.sums.chunks_exact_mut(outputs);
                for ((fields, sums), tag) in
                    scratch.fields.chunks_exact(width).zip(sums).zip(job.tags)
                {
                    errors.show(lane(tag), fields, sums);
                }
            }
        }
    }

    /// Noise, and conversion.
    fn read(&mut self, job: Job<'_>, rows: &[Row], codes: &mut [i32]) {
        let outputs = self.outputs();
        let scratch = &mut self.scratch;
        let half_range = (1_u32 << (self.adc_bits - 1)) as f32;
        let reading = Reading {
            gain: 1.0,
            codes_per_unit: single(1.0 / step_units(job.shift)),
            range: [-half_range, half_range - 1.0],
        };
        let vectors = scratch.sums.chunks_exact(outputs).zip(codes.chunks_exact_mut(outputs));
        for (((sums, codes), &tag), &strength) in vectors.zip(job.tags).zip(&scratch.strengths) {
            scratch.noise.clear();
            scratch.noise.resize(outputs, 0.0);
            for row in rows {
                let normals = scratch.normals.draw(row.stream.key(job.key), tag, outputs);
                scratch.slopes.clear();
                let square = row.square * strength;
                scratch.slopes.extend(row.slope.iter().map(|slope| slope + square));
                let spread = Spread { floor: &row.floor, slope: &scratch.slopes, strength };
                sample::add_noise(spread, normals, &mut scratch.noise);
            }
            sample::read(reading, sums, &scratch.noise, codes);
        }
    }

    /// The rows of normals of each vector: one for all terms, or one for each.
    fn rows_of_normals(&self, job: &Job<'_>) -> Vec<Row> {
        match job.draws {
            Draws::Merged if self.noises.is_empty() => Vec::new(),
            Draws::Merged => {
                let sum = |sum: Strength, (_, strength): &(Term, Strength)| sum.plus(strength);
                let all = self.noises.iter().fold(Strength::default(), sum);
                vec![self.row(NoiseStream::All, &all, job)]
            }
            Draws::PerTerm => {
                let row = |(term, strength): &(Term, Strength)| {
                    self.row(NoiseStream::Of(*term), strength, job)
                };
                self.noises.iter().map(row).collect()
            }
        }
    }

    /// A variance as a polynomial of the inputs' strength, output by output.
    fn row(&self, stream: NoiseStream, of: &Strength, job: &Job<'_>) -> Row {
        let step = step_units(job.shift);
        let [full_input, full_weight] = self.full;
        // The inputs that meet one output's weights: of two vectors, one.
        let meets = if self.packing == Packing::Tokens { 0.5 } else { 1.0 };
        let tile = job.tile;
        let columns = tile.squares.iter().zip(&tile.field);
        let (floor, slope) = columns
            .map(|(&squares, &field)| {
                // The tile's field is Σ|c|² / 2N.
                let field = f64::from(field);
                let light = 2.0 * self.rows as f64 * field / full_weight;
                let floor = of.absolute
                    + of.steps * step * step
                    + of.light * light
                    + of.light_squared * light * light
                    + of.weights * f64::from(squares);
                let slope = of.light / full_input
                    + of.light_squared * 2.0 * light / full_input
                    + of.inputs * meets
                    + of.field * field;
                (single(floor), single(slope))
            })
            .unzip();
        let square = single(of.light_squared / (full_input * full_input));
        Row { stream, floor, slope, square }
    }
}
