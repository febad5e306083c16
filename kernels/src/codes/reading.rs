//! What a converter reads of sums, what that leaves, and how readings add up.

use crate::Isa;

/// What the converter reads: `acc / 2^shift`, ties to even, saturated to `adc_bits` bits.
///
/// The range is `−2^(b−1) ..= 2^(b−1) − 1`; a bit count outside 1 ..= 32 counts as the nearer of the
/// two.
pub fn requantise(acc: i32, shift: u8, adc_bits: u8) -> i32 {
    Converter::new(shift, adc_bits).read(acc)
}

/// [`requantise`] of every element.
///
/// Panics: if the lengths differ.
pub fn requantise_all(acc: &[i32], shift: u8, adc_bits: u8, out: &mut [i32]) {
    assert_eq!(acc.len(), out.len(), "one code per sum");
    requantise_on(Isa::detected(), acc, Converter::new(shift, adc_bits), out);
}

on_every_isa! { fn requantise_on(acc: &[i32], converter: Converter, out: &mut [i32]) = requantise_body; }

#[inline(always)]
fn requantise_body(acc: &[i32], converter: Converter, out: &mut [i32]) {
    for (&acc, out) in acc.iter().zip(out) {
        *out = converter.read(acc);
    }
}

/// The constants of a conversion.
#[derive(Clone, Copy)]
struct Converter {
    shift: u32,
    half: i32,
    lowest: i32,
    highest: i32,
}

impl Converter {
    #[inline(always)]
    fn new(shift: u8, adc_bits: u8) -> Self {
        let lowest = i32::MIN >> (32 - u32::from(adc_bits).clamp(1, 32));
        let shift = u32::from(shift);
        // Without a shift nothing is left over, and one is more than nothing.
        let half = 1 << shift.saturating_sub(1).min(30);
        Self { shift, half, lowest, highest: !lowest }
    }

    #[inline(always)]
    fn read(self, acc: i32) -> i32 {
        // From 2^32 on every sum is at most one half, and the tie goes to zero.
        let shift = self.shift.min(31);
        let floor = acc >> shift;
        let rest = acc & !(-1 << shift);
        let rounded = floor.wrapping_add(i32::from(rest > self.half.wrapping_sub(floor & 1)));
        let rounded = if self.shift > 31 { 0 } else { rounded };
        rounded.max(self.lowest).min(self.highest)
    }
}

/// `sums[k] += (reading[k] << shift) · times`, modulo 2^32.
///
/// Panics: if the lengths differ.
pub fn add_readings(reading: &[i32], shift: u8, times: i32, sums: &mut [i32]) {
    assert_eq!(reading.len(), sums.len(), "one sum per reading");
    add_on(Isa::detected(), reading, shift, times, sums);
}

on_every_isa! { fn add_on(reading: &[i32], shift: u8, times: i32, sums: &mut [i32]) = add_body; }

#[inline(always)]
fn add_body(reading: &[i32], shift: u8, times: i32, sums: &mut [i32]) {
    // From 2^32 on nothing of a reading is left.
    let factor = if shift < 32 { times.wrapping_shl(shift.into()) } else { 0 };
    for (reading, sum) in reading.iter().zip(sums) {
        *sum = sum.wrapping_add(reading.wrapping_mul(factor));
    }
}

/// What rounding costs: per output, the squared differences of `reading << shift` and the sums, each times
/// its symbol's weight, added in the order of the symbols.
///
/// Shape: `sums` and `reading` are symbols × outputs, with one weight for each symbol. Sums are below 2^30
/// and `reading << shift` within an i32, as wherever a chip reads a tile.
/// Panics: if the lengths do not fit together.
pub fn rounding_errors(
    sums: &[i32],
    reading: &[i32],
    symbol_weights: &[f64],
    outputs: usize,
    shift: u8,
) -> Vec<f64> {
    assert_eq!(sums.len(), reading.len(), "one code per sum");
    let (isa, mut errors) = (Isa::detected(), vec![0.0; outputs]);
    let symbols = of_symbols(sums, symbol_weights, outputs);
    for ((sums, weight), reading) in symbols.zip(reading.chunks_exact(outputs.max(1))) {
        rounding_on(isa, sums, reading, weight, shift.min(31), &mut errors);
    }
    errors
}

/// What lies beyond a converter's range.
#[derive(Clone, Debug, PartialEq)]
pub struct CutOff {
    /// Per output: squared parts of the sums, a quarter enlarged, that lie beyond it, each times its
    /// symbol's weight, added in the order of the symbols.
    pub beyond: Vec<f64>,
    /// How many sums lie beyond it as they are.
    pub clipped: u32,
}

/// What a converter with this shift and width cuts off of some sums, and would of larger ones.
///
/// Shape, and panics: as for [`rounding_errors`].
pub fn cut_off_errors(
    sums: &[i32],
    symbol_weights: &[f64],
    outputs: usize,
    shift: u8,
    adc_bits: u8,
) -> CutOff {
    // The sums that the converter still rounds to its last codes.
    let half_range = 1_i64 << (adc_bits.clamp(1, 32) - 1);
    let half_step = 1_i64 << shift.min(31) >> 1;
    let bounded =
        |bound: i64| i32::try_from(bound).unwrap_or(if bound < 0 { i32::MIN } else { i32::MAX });
    let lowest = bounded(-(half_range << shift.min(31)) - half_step);
    let highest = bounded(((half_range - 1) << shift.min(31)) + half_step);
    let (isa, mut beyond, mut clipped) = (Isa::detected(), vec![0.0; outputs], 0);
    for (sums, weight) in of_symbols(sums, symbol_weights, outputs) {
        clipped += cut_off_on(isa, sums, weight, lowest, highest, &mut beyond);
    }
    CutOff { beyond, clipped }
}

/// The sums of each symbol, and its weight.
fn of_symbols<'a>(
    sums: &'a [i32],
    weights: &'a [f64],
    outputs: usize,
) -> impl Iterator<Item = (&'a [i32], f64)> {
    assert_eq!(sums.len(), weights.len() * outputs, "sums must be symbols × outputs");
    sums.chunks_exact(outputs.max(1)).zip(weights.iter().copied())
}

on_every_isa! {
    fn rounding_on(
        sums: &[i32],
        reading: &[i32],
        weight: f64,
        shift: u8,
        errors: &mut [f64],
    ) = rounding_body;
}
on_every_isa! {
    fn cut_off_on(
        sums: &[i32],
        weight: f64,
        lowest: i32,
        highest: i32,
        beyond: &mut [f64],
    ) -> u32 = cut_off_body;
}

#[inline(always)]
fn rounding_body(sums: &[i32], reading: &[i32], weight: f64, shift: u8, errors: &mut [f64]) {
    for ((&sum, &code), error) in sums.iter().zip(reading).zip(errors) {
        let difference = f64::from(code.wrapping_shl(shift.into()).wrapping_sub(sum));
        *error += weight * difference * difference;
    }
}

#[inline(always)]
fn cut_off_body(sums: &[i32], weight: f64, lowest: i32, highest: i32, beyond: &mut [f64]) -> u32 {
    let mut clipped = 0_u32;
    for (&sum, beyond) in sums.iter().zip(beyond) {
        let larger = sum.wrapping_add(sum >> 2);
        let kept = larger.max(lowest).min(highest);
        let cut_off = f64::from(larger.wrapping_sub(kept));
        *beyond += weight * cut_off * cut_off;
        clipped = clipped.wrapping_add(u32::from(sum > highest) + u32::from(sum < lowest));
    }
    clipped
}
