//! One linear layer, `y = W x`, as a program.

use crate::assemble::Assembly;
use crate::layer::{Matrix, lower};
use crate::options::check_chip;
use crate::quantise::QuantisedRows;
use crate::report::{LayerReport, MatrixReport};
use crate::samples::Samples;
use crate::{CompileError, CompileOptions};
use litecore_kernels::s2::{self, PackedMatrix};
use litecore_types::chip::ChipDescription;
use litecore_types::program::VerifiedProgram;

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
    check_chip(chip, name)?;
    options.check(name)?;
    let matrix = Matrix { name, weights, outputs, inputs };
    matrix.check()?;
    let samples = Samples::choose(name, samples, inputs, options)?;
    let x = QuantisedRows::new(name, &samples.values, inputs, chip.input_limit())?;
    let lowered = lower(chip, options, matrix, &x)?;
    let exact = exact_product(matrix, &samples.values);
    let report = MatrixReport::new(&lowered, &exact);
    let snr_db = report.snr_db;

    let mut assembly = Assembly::new(chip, name);
    let x = assembly.move_in(inputs);
    let x = assembly.quantise(x);
    let [y] = assembly.multiply(x, [lowered])?;
    let program = assembly.finish(y, weights.len() as u64, options)?;
    let report = LayerReport::new(&program, samples.source, snr_db, vec![report]);
    Ok(CompiledLinear { program, report })
}

/// What f32 makes of some rows: rows × outputs, in the order of rule S2.
pub(crate) fn exact_product(matrix: Matrix<'_>, x: &[f32]) -> Vec<f32> {
    let packed = PackedMatrix::from_rows(matrix.weights, matrix.outputs, matrix.inputs);
    let mut y = vec![0.0; x.len() / matrix.inputs * matrix.outputs];
    s2::product(x, &packed, &mut y);
    y
}
