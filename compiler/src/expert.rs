//! One expert, `y = down · (silu(gate · x) * (up · x))`, as a program.

use crate::assemble::Assembly;
use crate::layer::{Matrix, lower};
use crate::linear::exact_product;
use crate::options::check_chip;
use crate::quantise::QuantisedRows;
use crate::report::{LayerReport, MatrixReport, snr_db};
use crate::samples::Samples;
use crate::{CompileError, CompileOptions};
use litecore_kernels::codes;
use litecore_types::chip::ChipDescription;
use litecore_types::program::VerifiedProgram;

/// The three matrices of an expert, row-major as in the checkpoint.
#[derive(Clone, Copy, Debug)]
pub struct ExpertWeights<'a> {
    /// What reports and errors call it.
    pub name: &'a str,
    /// Shape: `expert_width` × `width`.
    pub gate: &'a [f32],
    /// Shape: `expert_width` × `width`.
    pub up: &'a [f32],
    /// Shape: `width` × `expert_width`.
    pub down: &'a [f32],
    /// Width of the vectors it takes and gives.
    pub width: usize,
    /// Width of its hidden vectors.
    pub expert_width: usize,
}

/// An expert as a program, and what became of it.
#[derive(Clone, Debug)]
pub struct CompiledExpert {
    /// The expert's function for every symbol.
    pub program: VerifiedProgram,
    /// Tiles, gains and quantisation noise.
    pub report: LayerReport,
}

/// Compiles an expert for a chip.
///
/// Shape: `samples` holds typical inputs, rows × width; gains are chosen on them, and on
/// independent standard normals where there are none. The gains of `down` are chosen on what the
/// quantised `gate` and `up` make of the samples.
/// Errors: see [`CompileError`]; the matrices are called `NAME gate`, `NAME up`, `NAME down`.
pub fn compile_expert(
    chip: &ChipDescription,
    weights: &ExpertWeights<'_>,
    samples: &[f32],
    options: &CompileOptions,
) -> Result<CompiledExpert, CompileError> {
    let ExpertWeights { name, width, expert_width, .. } = *weights;
    check_chip(chip, name)?;
    options.check(name)?;
    let names = ["gate", "up", "down"].map(|part| format!("{name} {part}"));
    let [gate_name, up_name, down_name] = &names;
    let matrix = |name, weights, outputs, inputs| Matrix { name, weights, outputs, inputs };
    let gate = matrix(gate_name, weights.gate, expert_width, width);
    let up = matrix(up_name, weights.up, expert_width, width);
    let down = matrix(down_name, weights.down, width, expert_width);
    for matrix in [gate, up, down] {
        matrix.check()?;
    }

    let samples = Samples::choose(name, samples, width, options)?;
    let x = QuantisedRows::new(name, &samples.values, width, chip.input_limit())?;
    let lowered_gate = lower(chip, options, gate, &x)?;
    let lowered_up = lower(chip, options, up, &x)?;
    let mut hidden = vec![0.0; lowered_gate.outcome.len()];
    codes::swiglu(&lowered_gate.outcome, &lowered_up.outcome, &mut hidden);
    let h = QuantisedRows::new(down_name, &hidden, expert_width, chip.input_limit())?;
    let lowered_down = lower(chip, options, down, &h)?;

    let exact_gate = exact_product(gate, &samples.values);
    let exact_up = exact_product(up, &samples.values);
    let reports = vec![
        MatrixReport::new(&lowered_gate, &exact_gate),
        MatrixReport::new(&lowered_up, &exact_up),
        MatrixReport::new(&lowered_down, &exact_product(down, &hidden)),
    ];
    let mut exact_hidden = vec![0.0; hidden.len()];
    codes::swiglu(&exact_gate, &exact_up, &mut exact_hidden);
    let snr_db = snr_db(&exact_product(down, &exact_hidden), &lowered_down.outcome);

    let mut assembly = Assembly::new(chip, name);
    let x = assembly.move_in(width);
    let x = assembly.quantise(x);
    let [gate, up] = assembly.multiply(x, [lowered_gate, lowered_up])?;
    let hidden = assembly.swiglu(gate, up);
    let hidden = assembly.quantise(hidden);
    let [y] = assembly.multiply(hidden, [lowered_down])?;
    let macs = (weights.gate.len() + weights.up.len() + weights.down.len()) as u64;
    let program = assembly.finish(y, macs, options)?;
    let report = LayerReport::new(&program, samples.source, snr_db, reports);
    Ok(CompiledExpert { program, report })
}
