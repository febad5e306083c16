//! One slice of a matrix's outputs: which tiles are read, how often, with which gain.
//!
//! **Invariant:** `table[j] = scale_w[j] * 2^lowest / (2^fine_bits if there are two planes) /
//! repeats` is exact, where `lowest` is the smallest step in the slice of output `j`; a tile's
//! `accumulate_shift` is its step above `lowest`. A tile's step is its shift, and `fine_bits` more
//! for the coarse one of two planes.

use crate::CompileError;
use crate::gain::{WeightedSums, at_shift, choose_shift};
use crate::layer::{Lowering, square, square_wide};
use crate::passes::{Pass, Reads};
use crate::quantise::{QuantisedMatrix, SliceCodes};
use crate::tile::is_zero;
use litecore_kernels::codes;
use litecore_types::chip::ChipDescription;

/// The tiles that add up to one slice of the outputs.
#[derive(Debug)]
pub(crate) struct LoweredSlice {
    pub(crate) first_output: usize,
    /// Never empty; K ascending; planes and repeated reads of one K follow each other.
    pub(crate) tiles: Vec<LoweredTile>,
}

/// One read of one tile, with its gain.
#[derive(Debug)]
pub(crate) struct LoweredTile {
    pub(crate) k_tile: usize,
    pub(crate) codes: Vec<i8>,
    pub(crate) shift: u8,
    pub(crate) accumulate_shift: u8,
}

/// A slice with its part of the table and of the outcome.
pub(crate) struct SliceOutcome {
    pub(crate) slice: LoweredSlice,
    pub(crate) table: Vec<f32>,
    /// rows × outputs of the slice.
    pub(crate) outcome: Vec<f32>,
    pub(crate) readings: ReadingSums,
}

/// Squared errors of readings, in units of the outputs.
#[derive(Clone, Copy, Default)]
pub(crate) struct ReadingSums {
    /// Of rounding and cutting off.
    pub(crate) error: f64,
    /// The same at unity gain.
    pub(crate) unity: f64,
    /// Squared converter steps.
    pub(crate) steps: f64,
    /// Squared units of the exact sum.
    pub(crate) units: f64,
    /// Sums that saturate, and all sums.
    pub(crate) clipped: usize,
    pub(crate) sums: usize,
}

impl ReadingSums {
    pub(crate) fn add(&mut self, other: &Self) {
        self.error += other.error;
        self.unity += other.unity;
        self.steps += other.steps;
        self.units += other.units;
        self.clipped += other.clipped;
        self.sums += other.sums;
    }
}

/// Which of a matrix's planes of codes a tile holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plane {
    /// There is one.
    Only,
    /// The upper of two.
    Coarse,
    /// The lower of two.
    Fine,
}

impl Plane {
    /// How far a reading is shifted before it is added to those of the finest plane.
    fn bits(self, fine_bits: u8) -> u8 {
        if self == Self::Coarse { fine_bits } else { 0 }
    }

    /// The square of what a unit of its sums counts, in units of the coarse codes.
    fn squared_unit(self, fine_bits: u8) -> f64 {
        let unit = if self == Self::Fine { 1.0 / f64::from(1_u32 << fine_bits) } else { 1.0 };
        unit * unit
    }
}

/// One read, before the slice's smallest step is known.
struct PlannedRead {
    k_tile: usize,
    codes: Vec<i8>,
    shift: u8,
    /// The shift, and the plane's own.
    step: u8,
    reading: Vec<i32>,
}

/// The reads of a slice in the making.
pub(crate) struct SlicePlan<'a> {
    lowering: &'a Lowering<'a>,
    output_weights: Vec<f64>,
    fine_bits: u8,
    reads: Vec<PlannedRead>,
    sums: ReadingSums,
}

impl<'a> SlicePlan<'a> {
    /// Lowers one slice of the outputs, of which `slice` has the codes.
    pub(crate) fn lower(
        lowering: &'a Lowering<'a>,
        codes: &QuantisedMatrix,
        (m_tile, slice): (usize, SliceCodes),
        reads: Reads,
    ) -> Result<SliceOutcome, CompileError> {
        let grid = lowering.grid;
        let first_output = m_tile * grid.tile_outputs;
        let end = codes.scales.len().min(first_output + grid.tile_outputs);
        let mut output_weights = vec![0.0; grid.tile_outputs];
        for (weight, scale) in output_weights.iter_mut().zip(&codes.scales[first_output..end]) {
            *weight = square(*scale);
        }
        if let Some(importance) = lowering.inputs.importance {
            for (weight, importance) in
                output_weights.iter_mut().zip(&importance[first_output..end])
            {
                *weight *= importance;
            }
        }
        let fine_bits = codes.fine_bits;
        let mut plan = Self {
            lowering,
            output_weights,
            fine_bits,
            reads: Vec::new(),
            sums: ReadingSums::default(),
        };
        let mut fine = slice.fine.into_iter();
        for (k_tile, coarse) in slice.coarse.into_iter().enumerate() {
            plan.read_tile(k_tile, coarse, fine.next());
        }
        if plan.reads.is_empty() {
            // The slice's accumulators must be written, if only with zeros.
            let tile = vec![0; grid.tile_inputs * grid.tile_outputs];
            let shifts = lowering.chip.gain_shifts_of(lowering.packing);
            plan.read(0, tile, shifts, Plane::Only);
        }
        plan.finish(codes, first_output..end, reads)
    }

    /// Plans the planes of one tile; those that are all zero are left out.
    fn read_tile(&mut self, k_tile: usize, coarse: Vec<i8>, fine: Option<Vec<i8>>) {
        let shifts = self.lowering.chip.gain_shifts_of(self.lowering.packing);
        let mut finest = *shifts.start();
        let plane = if fine.is_some() { Plane::Coarse } else { Plane::Only };
        if !is_zero(&coarse) {
            let shift = self.read(k_tile, coarse, shifts.clone(), plane);
            // Reading the fine plane more than sixteen times finer would cost width and gain nothing.
            finest = finest.max((shift + self.fine_bits).saturating_sub(4)).min(*shifts.end());
        }
        if let Some(fine) = fine.filter(|fine| !is_zero(fine)) {
            self.read(k_tile, fine, finest..=*shifts.end(), Plane::Fine);
        }
    }

    /// Plans one read and returns its shift.
    fn read(
        &mut self,
        k_tile: usize,
        codes: Vec<i8>,
        shifts: std::ops::RangeInclusive<u8>,
        plane: Plane,
    ) -> u8 {
        let Lowering { chip, options, grid, inputs, packing, .. } = *self.lowering;
        let mut sums = vec![0; inputs.codes.rows * grid.tile_outputs];
        let x = &self.lowering.x[k_tile];
        codes::tile_product(&codes, grid.tile_inputs, grid.tile_outputs, x, &mut sums);
        let seen = inputs.rows.seen(&sums).len();
        let weighted = WeightedSums {
            sums: &sums[..seen],
            symbol_weights: &self.lowering.symbol_weights,
            output_weights: &self.output_weights,
        };
        let mut choice = if options.has(Pass::Gain) {
            choose_shift(weighted, shifts, chip.adc.bits)
        } else {
            at_shift(weighted, chip.full_scale_shift_of(packing), chip.adc.bits)
        };
        let units = self.lowering.symbol_weights.iter().sum::<f64>()
            * self.output_weights.iter().sum::<f64>();
        let counts = plane.squared_unit(self.fine_bits);
        let step = square_wide(f64::from(1_u32 << choice.shift));
        self.sums.add(&ReadingSums {
            error: choice.squared_error * counts,
            unity: choice.unity_error * counts,
            steps: units * step * counts,
            units: units * counts,
            clipped: choice.clipped,
            sums: seen,
        });
        let shift = choice.shift;
        choice.reading.resize(sums.len(), 0);
        let held_out = &mut choice.reading[seen..];
        codes::requantise_all(&sums[seen..], shift, chip.adc.bits, held_out);
        self.reads.push(PlannedRead {
            k_tile,
            codes,
            shift,
            step: shift + plane.bits(self.fine_bits),
            reading: choice.reading,
        });
        shift
    }

    fn finish(
        self,
        codes: &QuantisedMatrix,
        outputs: std::ops::Range<usize>,
        reads: Reads,
    ) -> Result<SliceOutcome, CompileError> {
        let Lowering { chip, grid, inputs, matrix, .. } = *self.lowering;
        let lowest = self.reads.iter().map(|read| read.step).min().unwrap_or(0);
        let tile_outputs = grid.tile_outputs;
        let width = outputs.len();
        let table = table(matrix.name, codes, outputs.clone(), lowest, reads)?;
        check_accumulators(chip, matrix.name, outputs.start, &self.reads, lowest, reads.repeats)?;
        let mut outcome = vec![0.0; inputs.codes.rows * width];
        let mut sums = vec![0_i32; width];
        for (row, out) in outcome.chunks_exact_mut(width).enumerate() {
            sums.fill(0);
            for read in &self.reads {
                let reading = &read.reading[row * tile_outputs..][..width];
                let shift = read.step - lowest;
                codes::add_readings(reading, shift, reads.repeats.into(), &mut sums);
            }
            codes::dequantise(&sums, inputs.codes.scales[row], &table, out);
        }
        let mut tiles = Vec::with_capacity(self.reads.len() * usize::from(reads.repeats));
        for read in self.reads {
            for _ in 1..reads.repeats {
                tiles.push(read.tile(read.codes.clone(), lowest));
            }
            let PlannedRead { k_tile, shift, step, .. } = read;
            let accumulate_shift = step - lowest;
            tiles.push(LoweredTile { k_tile, codes: read.codes, shift, accumulate_shift });
        }
        let slice = LoweredSlice { first_output: outputs.start, tiles };
        Ok(SliceOutcome { slice, table, outcome, readings: self.sums })
    }
}

impl PlannedRead {
    fn tile(&self, codes: Vec<i8>, lowest: u8) -> LoweredTile {
        let accumulate_shift = self.step - lowest;
        LoweredTile { k_tile: self.k_tile, codes, shift: self.shift, accumulate_shift }
    }
}

/// Checks that no inputs whatever can overflow the card's accumulators.
fn check_accumulators(
    chip: &ChipDescription,
    name: &str,
    output: usize,
    reads: &[PlannedRead],
    lowest: u8,
    repeats: u8,
) -> Result<(), CompileError> {
    let code_max = u128::from(repeats) << (chip.adc.bits - 1);
    let worst: u128 = reads.iter().map(|read| code_max << (read.step - lowest)).sum();
    if worst <= i32::MAX.unsigned_abs().into() {
        return Ok(());
    }
    Err(CompileError::AccumulatorOverflow {
        layer: name.to_owned(),
        output,
        k_tiles: reads.len() * usize::from(repeats),
        bits: 129 - worst.leading_zeros(),
    })
}

/// Dequantisation factors of one slice.
fn table(
    name: &str,
    matrix: &QuantisedMatrix,
    outputs: std::ops::Range<usize>,
    lowest: u8,
    reads: Reads,
) -> Result<Vec<f32>, CompileError> {
    let planes = if reads.fine { matrix.fine_bits } else { 0 };
    // Exact: powers of two up to 2^38.
    let step = (1_u64 << lowest) as f32 / (1_u64 << planes) as f32 / f32::from(reads.repeats);
    outputs
        .map(|row| {
            let factor = matrix.scales[row] * step;
            if factor.is_finite() {
                Ok(factor)
            } else {
                Err(CompileError::ScaleOverflow { layer: name.to_owned(), row })
            }
        })
        .collect()
}
