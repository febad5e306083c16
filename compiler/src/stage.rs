//! A matrix on its way to the card: as it is, or as the two thin ones that approximate it.

use crate::CompileError;
use crate::assemble::{Assembly, Codes, Floats};
use crate::layer::{Inputs, LoweredMatrix, Matrix, lower};
use crate::options::CompileOptions;
use crate::passes::{Pass, PassReport, drop_tiles, factor};
use crate::quantise::QuantisedRows;
use crate::report::MatrixReport;
use crate::samples::channel_power;
use crate::tile::TileGrid;
use litecore_kernels::s2::{self, PackedMatrix};
use litecore_types::chip::ChipDescription;
use std::borrow::Cow;

/// One matrix, or an inner and an outer one: `y = outer · (inner · x)`.
#[derive(Debug)]
pub(crate) struct Stage {
    /// The matrix that takes the inputs.
    pub(crate) inner: LoweredMatrix,
    /// The matrix that takes what `inner` makes, where there are two.
    pub(crate) outer: Option<LoweredMatrix>,
}

impl Stage {
    /// Lowers a checked matrix; `passes` learns what became of it.
    pub(crate) fn lower(
        chip: &ChipDescription,
        options: &CompileOptions,
        matrix: Matrix<'_>,
        inputs: Inputs<'_>,
        passes: &mut Vec<PassReport>,
    ) -> Result<Self, CompileError> {
        let (name, power) = (matrix.name, inputs.channel_power);
        let grid =
            TileGrid::new(matrix.outputs, matrix.inputs, chip.tile_inputs(), chip.tile_outputs());
        if options.has(Pass::LowRank) {
            let (factors, report) = factor(name, matrix.weights, power, grid, options.error_budget);
            passes.push(report);
            if let Some(factors) = factors {
                let names = ["inner", "outer"].map(|part| format!("{name} {part}"));
                let rank = factors.rank;
                let inner = Matrix {
                    name: &names[0],
                    weights: &factors.inner,
                    outputs: rank,
                    inputs: matrix.inputs,
                };
                // The outputs of the inner matrix are not the layer's.
                let plain = Inputs { importance: None, ..inputs };
                let inner = sparse_or_full(chip, options, inner, plain, passes)?;
                let limit = chip.input_limit();
                let middle = QuantisedRows::new(&names[1], &inner.outcome, rank, limit)?;
                let power = channel_power(&inner.outcome, rank);
                let importance = inputs.importance;
                let complex = false;
                let between = Inputs { codes: &middle, channel_power: &power, importance, complex };
                let outer = Matrix {
                    name: &names[1],
                    weights: &factors.outer,
                    outputs: matrix.outputs,
                    inputs: rank,
                };
                let outer = sparse_or_full(chip, options, outer, between, passes)?;
                return Ok(Self { inner, outer: Some(outer) });
            }
        }
        let inner = sparse_or_full(chip, options, matrix, inputs, passes)?;
        Ok(Self { inner, outer: None })
    }

    /// What the program computes on the samples: rows × outputs.
    pub(crate) fn outcome(&self) -> &[f32] {
        &self.outer.as_ref().unwrap_or(&self.inner).outcome
    }

    /// Reports on its matrices; `exact` is what f32 makes of the same inputs.
    pub(crate) fn reports(&self, exact: &[f32]) -> Vec<MatrixReport> {
        match &self.outer {
            None => vec![MatrixReport::new(&self.inner, Some(exact))],
            Some(outer) => {
                vec![MatrixReport::new(&self.inner, None), MatrixReport::new(outer, Some(exact))]
            }
        }
    }
}

/// Lowers one matrix, its weakest tiles emptied where that is asked for.
fn sparse_or_full(
    chip: &ChipDescription,
    options: &CompileOptions,
    matrix: Matrix<'_>,
    inputs: Inputs<'_>,
    passes: &mut Vec<PassReport>,
) -> Result<LoweredMatrix, CompileError> {
    let mut weights = Cow::Borrowed(matrix.weights);
    if options.has(Pass::TileSparsity) {
        let grid =
            TileGrid::new(matrix.outputs, matrix.inputs, chip.tile_inputs(), chip.tile_outputs());
        let power = inputs.channel_power;
        let budget = options.error_budget;
        passes.push(drop_tiles(matrix.name, weights.to_mut(), power, grid, budget));
    }
    let mut lowered = lower(chip, options, Matrix { weights: &weights, ..matrix }, inputs)?;
    passes.append(&mut lowered.passes);
    Ok(lowered)
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

/// A matrix ready for exact products of some rows, in the order of rule S2.
#[derive(Debug)]
pub(crate) struct Exact {
    packed: PackedMatrix,
    inputs: usize,
    outputs: usize,
}

impl Exact {
    pub(crate) fn new(matrix: Matrix<'_>) -> Self {
        let Matrix { weights, outputs, inputs, .. } = matrix;
        Self { packed: PackedMatrix::from_rows(weights, outputs, inputs), inputs, outputs }
    }

    /// What f32 makes of some rows: rows × outputs.
    pub(crate) fn product(&self, x: &[f32]) -> Vec<f32> {
        let mut y = vec![0.0; x.len() / self.inputs * self.outputs];
        s2::product(x, &self.packed, &mut y);
        y
    }
}
