//! Behaves like a card with photonic arrays: the same codes, cycles and joules, from one chip
//! description and one seed.
//!
//! * [`SimDevice`] stands behind the ordinary device seam.
//! * [`optics`] turns the chip description into noise in units of the exact sum.
//! * [`mod@array`] is the array of cells, and the array of lanes where both operands are streamed.
//! * [`events`] plays a program as discrete events.
//! * [`budget`] predicts in closed form what [`SimDevice`] shows by experiment.
//!
//! **Invariant:** every random number is a function of the seed, the [`Term`], and the name of what
//! it disturbs: a cell, or one output of one symbol in one stream. So a term can be switched without
//! touching the others, and neither the order nor the size of batches matters, nor which vectors share
//! an optical symbol. With [`Terms::none`] the device equals the integer meaning of the program, bit for bit.

pub mod array;
mod arrays;
pub mod audit;
pub mod budget;
pub mod card;
mod device;
pub mod dynamic;
pub mod events;
pub mod faces;
pub mod fidelity;
mod fold;
pub mod homodyne;
pub mod mesh;
mod noise;
mod open;
pub mod optics;
pub mod packing;
pub mod poisson;
mod streamed;
mod terms;
pub mod thermal;
mod tile_cache;
pub mod uniform;

pub use device::{SimDevice, SimOptions};
pub use open::{OpenError, open};
pub use terms::{ParseTermsError, Term, Terms};
