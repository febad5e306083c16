//! The compiler: linear layers and experts in, verified photonic programs out.
//!
//! Weights become 8-bit codes with one scale per output row, activations codes with one scale per
//! vector; matrices are folded onto complex cells two inputs per row and cut into tiles; every
//! tile's analog gain is chosen from data; tiles are scheduled so that the next bank is written
//! while one computes; and the result passes the verifier, or it is not a program. What a program
//! takes is predicted by adding up the chip's durations along the longest path.
//!
//! **Invariant:** compilation is a pure function of its arguments: the same weights, samples, chip
//! and options give the same program on every machine and at any number of threads.

mod approximate;
mod artifact;
mod assemble;
mod bound;
mod complex;
mod error;
mod expert;
mod gain;
mod gains;
mod graph;
mod layer;
mod linear;
mod memory;
mod model;
mod options;
mod passes;
mod predict;
mod quantise;
mod report;
mod reports;
mod samples;
mod schedule;
mod shape;
mod slice;
mod stage;
mod tile;

pub use artifact::{ArtifactError, ArtifactProblem, ArtifactReader, ArtifactWriter};
pub use bound::{LowerBound, LowerBounds, lower_bounds};
pub use complex::compile_complex_linear;
pub use error::CompileError;
pub use expert::{CompiledExpert, ExpertWeights, compile_expert};
pub use linear::{CompiledLinear, compile_linear};
pub use model::{CompiledModel, ExpertPlace, ModelRequest, compile_model, compile_model_to};
pub use options::{CompileOptions, SAMPLE_SUMS_MIN, SAMPLE_WORK};
pub use passes::{Figure, NeededPass, Pass, PassReport, PassSet, Switch, UnknownPass};
pub use predict::{Hold, Prediction, StepSpan, predict};
pub use report::{LayerReport, MatrixReport, TileReport};
pub use reports::{
    Bound, BoundKind, BoundReport, PassSummary, RunReport, Utilisation, Wait, WaitReason, bounds,
    report_run, summarise_passes, waits, write_timeline,
};
pub use samples::SampleSource;
