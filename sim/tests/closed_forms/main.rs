//! The sim crate's own models against closed forms: what theory says, to a stated tolerance.
//!
//! Each test says its setup, its target, and why its tolerance is what it is. A statistical
//! tolerance is three standard deviations of the estimate, or the rounding of the target where
//! that is wider; all draws are seeded, so a test that passes always passes.

#[cfg(test)]
mod converters;
#[cfg(test)]
mod elements;
#[cfg(test)]
mod homodyne;
#[cfg(test)]
mod mesh;
#[cfg(test)]
mod packing;
#[cfg(test)]
mod thermal;

use litecore_kernels::normal::standard_normals;
use litecore_types::Seed;

/// Standard normals of a named stream.
#[cfg(test)]
fn normals(label: &str, index: u64, count: usize) -> Vec<f32> {
    let mut values = vec![0.0; count];
    standard_normals(Seed(17).key(label, index), 0, &mut values);
    values
}

#[cfg(test)]
fn decibels(ratio: f64) -> f64 {
    10.0 * pxfm::f_log10(ratio)
}

/// Fails unless `measured` is within `tolerance` of `expected`; prints both.
#[cfg(test)]
fn close(what: &str, measured: f64, expected: f64, tolerance: f64) {
    eprintln!("{what}: {measured:.6}, expected {expected:.6} ± {tolerance:.6}");
    let off = (measured - expected).abs();
    assert!(off <= tolerance, "{what}: {measured}, expected {expected} ± {tolerance}");
}
