//! The nouns every part of `LiteCore` shares: cycles, seeds, energies, chip descriptions, programs.
//!
//! Each type carries its unit and its invariant. Nothing here reads a file, a clock or an entropy
//! pool.
//!
//! **Invariant:** every physical number of the project comes out of a [`chip::ChipDescription`],
//! and every duration and energy is derived from it in [`chip::timing`] and [`chip::energy`] only.

pub mod chip;
mod cycles;
mod energy;
pub mod program;
mod seed;

pub use cycles::Cycles;
pub use energy::{Component, EnergyLedger, EnergyTotals, Share};
pub use seed::{ParseSeedError, Seed};
