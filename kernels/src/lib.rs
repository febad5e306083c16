//! The numeric kernels: products, vector functions, tile integers and random normals.
//!
//! **Invariant:** every function gives the same bits on every machine, at any vector width and any
//! number of threads. Sums have one written order ([`s2`]), integers are exact ([`codes`]), and
//! functions beyond IEEE arithmetic are correctly rounded or built from IEEE operations alone
//! ([`math`], [`normal`]). The one exception is the payload of a NaN, which IEEE leaves open.

#![allow(clippy::inline_always, reason = "a body must be inlined to be compiled for each family")]
#![allow(clippy::missing_panics_doc, reason = "a line `Panics:` of the text says it")]

#[macro_use]
mod isa;

pub mod cells;
pub mod codes;
pub mod math;
pub mod normal;
pub mod program;
pub mod s2;
pub mod sample;

pub use isa::Isa;
