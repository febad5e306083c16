//! Measures a device through the seam that everybody uses, and says how good it is.
//!
//! **Invariant:** what this crate knows of a device it learnt by running ordinary programs on it.
//! It never asks what stands behind the seam.

mod error;
mod fit;
mod known_tile;
mod probe;

pub use error::CalibrationError;
pub use probe::{OutputProbe, Probe, probe, probe_array};
