//! What compiling costs as an expert grows.

use crate::rounds::processor_seconds;
use litecore_compiler::{CompileError, CompileOptions, ExpertWeights, compile_expert};
use litecore_kernels::normal::standard_normals;
use litecore_types::chip::ChipDescription;
use serde::Serialize;

/// Width of the smaller expert, and of its hidden vectors; of the larger, twice that.
const WIDTH: usize = 768;
/// Readings of each size; the cheapest counts.
const ROUNDS: u64 = 3;
/// Compilations of the larger expert in a reading, and a quarter of those of the smaller: where the system
/// counts processor time in ticks of some milliseconds, one alone would be three or four of them.
const COMPILATIONS: u64 = 6;

/// The cost of one expert, and of one with four times its weights.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Growth {
    /// Weights of the smaller.
    pub weights: u64,
    /// Processor seconds of the smaller; nothing where the system does not tell.
    pub small_processor_s: Option<f64>,
    /// Processor seconds of the larger.
    pub large_processor_s: Option<f64>,
    /// Cost of a weight in the larger over cost of a weight in the smaller: one where it is linear.
    pub per_weight: Option<f64>,
}

/// Compiles Gaussian experts of two sizes.
///
/// Errors: see [`CompileError`].
pub fn measure(chip: &ChipDescription) -> Result<Growth, CompileError> {
    let small_processor_s = seconds(chip, WIDTH, 4 * COMPILATIONS)?;
    let large_processor_s = seconds(chip, 2 * WIDTH, COMPILATIONS)?;
    Ok(Growth {
        weights: 3 * (WIDTH * WIDTH) as u64,
        small_processor_s,
        large_processor_s,
        per_weight: small_processor_s
            .zip(large_processor_s)
            .map(|(small, large)| large / small / 4.0),
    })
}

/// Processor seconds of one compilation, from readings of `count` of them.
fn seconds(chip: &ChipDescription, width: usize, count: u64) -> Result<Option<f64>, CompileError> {
    let matrix = |key| {
        let mut weights = vec![0.0; width * width];
        standard_normals(key, 0, &mut weights);
        weights
    };
    let (gate, up, down) = (matrix(0), matrix(1), matrix(2));
    let weights = ExpertWeights {
        name: "growth",
        gate: &gate,
        up: &up,
        down: &down,
        width,
        expert_width: width,
    };
    let mut least: Option<f64> = None;
    for round in 0..ROUNDS {
        let before = processor_seconds();
        for compilation in round * count..(round + 1) * count {
            // Another batch each time, so that none can use what another one found out.
            let batch = Some(60 + compilation);
            let options = CompileOptions { batch, ..CompileOptions::default() };
            compile_expert(chip, &weights, &[], &options)?;
        }
        let spent = before.zip(processor_seconds()).map(|(before, after)| after - before);
        let spent = spent.map(|spent| spent / count as f64);
        least = match (least, spent) {
            (Some(least), Some(spent)) => Some(least.min(spent)),
            (least, spent) => least.or(spent),
        };
    }
    Ok(least)
}
