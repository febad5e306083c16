//! A matrix on its way to the card: as it is, or as the two thin ones that approximate it.

use crate::CompileError;
use crate::approximate::{Approximation, approximate};
use crate::assemble::{Assembly, Codes, Floats};
use crate::layer::{Inputs, LoweredMatrix, Matrix, WithReport, lower};
use crate::options::CompileOptions;
use crate::passes::PassReport;
use crate::quantise::{QuantisedRows, Quantiser};
use crate::report::MatrixReport;
use crate::samples::{SampleRows, channel_power};
use crate::tile::TileGrid;
use litecore_kernels::s2::{self, PackedMatrix};
use litecore_types::chip::ChipDescription;

/// One matrix, or an inner and an outer one: `y = outer · (inner · x)`.
#[derive(Debug)]
pub(crate) struct Stage {
    /// The matrix that takes the inputs.
    pub(crate) inner: LoweredMatrix,
    /// The matrix that takes what `inner` makes, where there are two.
    pub(crate) outer: Option<LoweredMatrix>,
}

impl Stage {
    /// Lowers a checked matrix; `passes` learns what became of it. `ready` holds its codes where they
    /// were made before, which is for matrices that no approximation replaces.
    pub(crate) fn lower(
        chip: &ChipDescription,
        options: &CompileOptions,
        matrix: Matrix<'_>,
        inputs: Inputs<'_>,
        ready: Option<WithReport>,
        passes: &mut Vec<PassReport>,
    ) -> Result<Self, CompileError> {
        let (name, power) = (matrix.name, inputs.channel_power);
        let grid =
            TileGrid::new(matrix.outputs, matrix.inputs, chip.tile_inputs(), chip.tile_outputs());
        let lower = |matrix, inputs, ready, passes: &mut Vec<PassReport>| {
            let mut lowered = lower(chip, options, matrix, inputs, ready)?;
            passes.append(&mut lowered.passes);
            Ok::<_, CompileError>(lowered)
        };
        match approximate(options, name, matrix.weights, power, grid, passes) {
            Approximation::One(weights) => {
                let inner = lower(Matrix { weights: &weights, ..matrix }, inputs, ready, passes)?;
                Ok(Self { inner, outer: None })
            }
            Approximation::Two(factors) => {
                let names = ["inner", "outer"].map(|part| format!("{name} {part}"));
                let rank = factors.rank;
                let inner = Matrix {
                    name: &names[0],
                    weights: &factors.inner,
                    outputs: rank,
                    inputs: matrix.inputs,
                };
                // The outputs of the inner matrix are not the layer's.
                let inner = lower(inner, Inputs { importance: None, ..inputs }, None, passes)?;
                let limit = chip.input_limit();
                let middle = QuantisedRows::new(&names[1], &inner.outcome, rank, limit)?;
                let power = channel_power(inputs.rows.seen(&inner.outcome), rank);
                let Inputs { importance, rows, .. } = inputs;
                let (codes, channel_power, complex) = (&middle, &power[..], false);
                let between = Inputs { codes, channel_power, importance, complex, rows };
                let outer = Matrix {
                    name: &names[1],
                    weights: &factors.outer,
                    outputs: matrix.outputs,
                    inputs: rank,
                };
                let outer = lower(outer, between, None, passes)?;
                Ok(Self { inner, outer: Some(outer) })
            }
        }
    }

    /// What the program computes on the samples: rows × outputs.
    pub(crate) fn outcome(&self) -> &[f32] {
        &self.outer.as_ref().unwrap_or(&self.inner).outcome
    }

    /// Reports on its matrices; `exact` is what f32 makes of the inputs they are judged by.
    pub(crate) fn reports(&self, exact: &[f32], rows: SampleRows) -> Vec<MatrixReport> {
        let exact = Some((exact, rows));
        match &self.outer {
            None => vec![MatrixReport::new(&self.inner, exact)],
            Some(outer) => {
                vec![MatrixReport::new(&self.inner, None), MatrixReport::new(outer, exact)]
            }
        }
    }
}

/// Multiplies codes by the matrices of some stages, one after the other within each stage.
///
/// Errors: if the program gets too many steps.
pub(crate) fn multiply<const N: usize>(
    assembly: &mut Assembly<'_>,
    x: Codes,
    stages: [Stage; N],
) -> Result<[Floats; N], CompileError> {
    let mut outers = Vec::with_capacity(N);
    let inners = stages.map(|Stage { inner, outer }| {
        outers.push(outer);
        inner
    });
    let mut outers = outers.into_iter();
    let mut results = Vec::with_capacity(N);
    for made in assembly.multiply(x, inners)? {
        results.push(match outers.next().flatten() {
            None => made,
            Some(outer) => {
                let codes = assembly.quantise(made);
                let [y] = assembly.multiply(codes, [outer])?;
                y
            }
        });
    }
    let mut results = results.into_iter();
    Ok(std::array::from_fn(|_| results.next().expect("one result per stage")))
}

/// What f32 makes of some rows, rows × outputs, in the order of rule S2.
///
/// There are few rows and many weights. So the rows are packed, and the weights stream past them as
/// they lie: a product of two numbers does not ask which came first.
pub(crate) fn exact_product(matrix: Matrix<'_>, x: &[f32]) -> Vec<f32> {
    let Matrix { weights, outputs, inputs, .. } = matrix;
    let rows = x.len() / inputs;
    let packed = PackedMatrix::from_rows(x, rows, inputs);
    let mut turned = vec![0.0; outputs * rows];
    s2::product(weights, &packed, &mut turned);
    turned_back(&turned, rows, outputs)
}

/// [`exact_product`], and the codes of the matrix, in one pass over the weights.
///
/// Errors: the first weight that is not finite.
pub(crate) fn exact_product_and_codes(
    matrix: Matrix<'_>,
    x: &[f32],
    quantiser: Quantiser<'_>,
) -> Result<(Vec<f32>, WithReport), CompileError> {
    let Matrix { outputs, inputs, .. } = matrix;
    let rows = x.len() / inputs;
    let packed = PackedMatrix::from_rows(x, rows, inputs);
    let mut turned = vec![0.0; outputs * rows];
    let multiply = |weights: &[f32], part: &mut [f32]| s2::product(weights, &packed, part);
    let codes = quantiser.quantise_beside(matrix, false, &mut turned, rows, multiply)?;
    Ok((turned_back(&turned, rows, outputs), codes))
}

/// From outputs × rows to rows × outputs.
fn turned_back(turned: &[f32], rows: usize, outputs: usize) -> Vec<f32> {
    let mut y = vec![0.0; rows * outputs];
    for (row, y) in y.chunks_exact_mut(outputs).enumerate() {
        for (y, of_output) in y.iter_mut().zip(turned.chunks_exact(rows)) {
            *y = of_output[row];
        }
    }
    y
}
