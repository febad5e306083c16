//! A complex linear layer, `y = W x` over complex numbers, as a program.
//!
//! A complex number is a pair: the real part, and the imaginary part after it. On a chip that reads
//! both quadratures a cell holds a weight as it is, and all four real products that it makes count; on
//! others the layer is the real matrix that it also is, `a + ib` as `[[a, -b], [b, a]]`.

use crate::layer::Matrix;
use crate::linear::{CompiledLinear, compile_matrix};
use crate::passes::{Pass, PassSet};
use crate::{CompileError, CompileOptions};
use litecore_types::chip::ChipDescription;

/// Passes that leave the two rows of one complex output alike.
const PASSES: [Pass; 3] = [Pass::Split, Pass::Packing, Pass::Gain];

/// Compiles `y = W x` over complex numbers for a chip.
///
/// Shape: `weights` is outputs × inputs, row-major, in pairs of real and imaginary part; so are the
/// program's input and output vectors, and `samples`, rows × inputs. Gains are chosen on these, and on
/// independent standard normals where there are none. Passes that treat real and imaginary parts
/// differently (`clip`, `fold`, `rotate`, `low-rank`, `tile-sparsity`) are left out.
/// Errors: see [`CompileError`]; the layer is called `name` in them, and rows and columns are those of
/// complex weights.
pub fn compile_complex_linear(
    chip: &ChipDescription,
    name: &str,
    weights: &[f32],
    outputs: usize,
    inputs: usize,
    samples: &[f32],
    options: &CompileOptions,
) -> Result<CompiledLinear, CompileError> {
    let layer = || name.to_owned();
    if outputs == 0 || inputs == 0 {
        return Err(CompileError::EmptyLayer { layer: layer(), outputs, inputs });
    }
    let floats = outputs.checked_mul(inputs).and_then(|weights| weights.checked_mul(2));
    if floats != Some(weights.len()) {
        let (found, inputs) = (weights.len(), inputs.saturating_mul(2));
        return Err(CompileError::WeightCount { layer: layer(), outputs, inputs, found });
    }
    if let Some(position) = weights.iter().position(|weight| !weight.is_finite()) {
        let (row, column) = (position / (2 * inputs), position % (2 * inputs) / 2);
        return Err(CompileError::NonFiniteWeight { layer: layer(), row, column });
    }
    let passes = PASSES.into_iter().filter(|pass| options.has(*pass));
    let passes = passes.fold(PassSet::needed(), PassSet::with);
    let options = CompileOptions { passes, ..*options };
    let real = real_form(weights, inputs);
    let matrix = Matrix { name, weights: &real, outputs: 2 * outputs, inputs: 2 * inputs };
    compile_matrix(chip, matrix, samples, &options, true)
}

/// The real matrix that a complex one is, for pairs.
fn real_form(weights: &[f32], inputs: usize) -> Vec<f32> {
    let mut real = Vec::with_capacity(2 * weights.len());
    for row in weights.chunks_exact(2 * inputs) {
        real.extend(row.chunks_exact(2).flat_map(|weight| [weight[0], -weight[1]]));
        real.extend(row.chunks_exact(2).flat_map(|weight| [weight[1], weight[0]]));
    }
    real
}
