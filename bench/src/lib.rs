//! Measures and compares, and says what machine it was.
//!
//! Every speed is a ratio against a named reference, both measured in turns in one process: the
//! machine's mood then divides out. A figure is the median of its rounds.

pub mod compile;
pub mod expert_noise;
pub mod gemm;
pub mod generation;
pub mod growth;
pub mod link;
mod machine;
mod rounds;
pub mod sim;

pub use machine::Machine;
