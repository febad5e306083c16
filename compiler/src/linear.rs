//! One linear layer, `y = W x`, as a program.

use crate::assemble::Assembly;
use crate::layer::{Inputs, Matrix};
use crate::options::check_chip;
use crate::passes::{Allowed, Limits, Pass, change_vector};
use crate::quantise::QuantisedRows;
use crate::report::{LayerReport, snr_db};
use crate::samples::{Samples, channel_power};
use crate::stage::{Stage, exact_product, multiply};
use crate::{CompileError, CompileOptions};
use litecore_types::chip::ChipDescription;
use litecore_types::program::VerifiedProgram;
use std::borrow::Cow;

/// A linear layer as a program, and what became of it.
#[derive(Clone, Debug)]
pub struct CompiledLinear {
    /// `y = W x` for every symbol.
    pub program: VerifiedProgram,
    /// Tiles, gains and quantisation noise.
    pub report: LayerReport,
}

/// Compiles `y = W x` for a chip.
///
/// Shape: `weights` is outputs × inputs, row-major. `samples` holds typical inputs, rows × inputs;
/// gains are chosen on them, and on independent standard normals where there are none.
/// Errors: see [`CompileError`]; the layer is called `name` in them.
pub fn compile_linear(
    chip: &ChipDescription,
    name: &str,
    weights: &[f32],
    outputs: usize,
    inputs: usize,
    samples: &[f32],
    options: &CompileOptions,
) -> Result<CompiledLinear, CompileError> {
    let matrix = Matrix { name, weights, outputs, inputs };
    compile_matrix(chip, matrix, samples, options, false)
}

/// Compiles one matrix; `complex` says that it is the real form of a complex one, with inputs and
/// outputs in pairs.
pub(crate) fn compile_matrix(
    chip: &ChipDescription,
    matrix: Matrix<'_>,
    samples: &[f32],
    options: &CompileOptions,
    complex: bool,
) -> Result<CompiledLinear, CompileError> {
    let Matrix { name, weights, inputs, .. } = matrix;
    check_chip(chip, name)?;
    options.check(name)?;
    matrix.check()?;
    let size = (weights.len(), chip.tile_outputs());
    let samples = Samples::choose(name, samples, inputs, size, options)?;
    let limits = Limits {
        weight: chip.weight_limit(),
        input: chip.input_limit(),
        read_noise: options.read_noise,
    };
    let allowed = Allowed { fold: options.has(Pass::Fold), rotate: options.has(Pass::Rotate) };
    let mut x = QuantisedRows::new(name, &samples.values, inputs, limits.input)?;
    let exact = exact_product(matrix, samples.rows.judged(&samples.values));
    let rows = samples.rows;
    let seen = rows.seen(&samples.values);
    let (change, mut passes) = change_vector(name, &[weights], seen, inputs, limits, allowed);
    let (mut changed_x, mut changed_weights) =
        (Cow::Borrowed(&samples.values[..]), Cow::Borrowed(weights));
    if let Some(change) = &change {
        changed_weights = Cow::Owned(change.of_weights(weights));
        changed_x = Cow::Owned(change.of_samples(&samples.values));
        x = QuantisedRows::new(name, &changed_x, inputs, limits.input)?;
    }
    let channel_power = &channel_power(rows.seen(&changed_x), inputs);
    let given = Inputs { codes: &x, channel_power, importance: None, complex, rows };
    let matrix = Matrix { weights: &changed_weights, ..matrix };
    let stage = Stage::lower(chip, options, matrix, given, None, &mut passes)?;
    let reports = stage.reports(&exact, rows);
    let snr_db = snr_db(&exact, rows.judged(stage.outcome()));

    let mut assembly = Assembly::new(chip, name);
    let mut x = assembly.move_in(inputs);
    if let Some(change) = change {
        x = assembly.rotate(x, change.factors, change.block);
    }
    let x = assembly.quantise(x);
    let [y] = multiply(&mut assembly, x, [stage])?;
    let program = assembly.finish(y, weights.len() as u64, options)?;
    let report = LayerReport::new(&program, &samples, snr_db, passes, reports);
    Ok(CompiledLinear { program, report })
}
