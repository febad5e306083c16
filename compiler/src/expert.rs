//! One expert, `y = down · (silu(gate · x) * (up · x))`, as a program.

use crate::assemble::Assembly;
use crate::layer::{Inputs, Matrix, WithReport, packing_of};
use crate::options::check_chip;
use crate::passes::{
    Allowed, HiddenSamples, Limits, Pass, VectorChange, change_vector, column_powers, equalise,
    grid,
};
use crate::quantise::{QuantisedRows, Quantiser};
use crate::report::{LayerReport, snr_db};
use crate::samples::{Samples, channel_power};
use crate::stage::{Stage, exact_product, exact_product_and_codes, multiply};
use crate::{CompileError, CompileOptions};
use litecore_kernels::codes;
use litecore_types::chip::ChipDescription;
use litecore_types::program::VerifiedProgram;
use std::borrow::Cow;

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
/// quantised `gate` and `up` make of the samples. Of each four samples that are looked at, the last is
/// held out: nothing is chosen on it, and the report's SNR is that of these.
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
    let macs = (weights.gate.len() + weights.up.len() + weights.down.len()) as u64;
    let count = usize::try_from(macs).unwrap_or(usize::MAX);

    let samples = Samples::choose(name, samples, width, (count, chip.tile_outputs()), options)?;
    let limits = Limits {
        weight: chip.weight_limit(),
        input: chip.input_limit(),
        read_noise: options.read_noise,
    };
    let allowed = Allowed { fold: options.has(Pass::Fold), rotate: options.has(Pass::Rotate) };
    // The samples must be numbers before anything is made of them.
    let x = QuantisedRows::new(name, &samples.values, width, limits.input)?;
    let multiplied =
        |matrix, x: &[f32], power: &[f32]| product_and_codes(matrix, x, chip, power, options);
    let rows = samples.rows;
    let power = channel_power(rows.seen(&samples.values), width);
    let (exact_gate, gate_codes) = multiplied(gate, &samples.values, &power)?;
    let (mut exact_up, up_codes) = multiplied(up, &samples.values, &power)?;
    let mut exact_hidden = vec![0.0; exact_gate.len()];
    codes::swiglu(&exact_gate, &exact_up, &mut exact_hidden);

    let mut passes = Vec::new();
    let (mut gate_weights, mut up_weights, mut down_weights) =
        (Cow::Borrowed(weights.gate), Cow::Borrowed(weights.up), Cow::Borrowed(weights.down));
    if options.has(Pass::Equalise) {
        let hidden = HiddenSamples { rows, hidden: &mut exact_hidden, raised: &mut exact_up };
        passes.push(equalise(&mut up_weights, &mut down_weights, hidden, expert_width, limits));
    }
    let takers = [&gate_weights[..], &up_weights];
    let seen = rows.seen(&samples.values);
    let (change_x, reports) = change_vector(name, &takers, seen, width, limits, allowed);
    passes.extend(reports);
    let (changed_x, x) = match &change_x {
        None => (Cow::Borrowed(&samples.values[..]), x),
        Some(change) => {
            gate_weights = Cow::Owned(change.of_weights(&gate_weights));
            up_weights = Cow::Owned(change.of_weights(&up_weights));
            let values = change.of_samples(&samples.values);
            let x = QuantisedRows::new(name, &values, width, limits.input)?;
            (Cow::Owned(values), x)
        }
    };
    let only_rotate = Allowed { fold: false, ..allowed };
    let takers = [&down_weights[..]];
    let seen = rows.seen(&exact_hidden);
    let (change_h, reports) =
        change_vector(down_name, &takers, seen, expert_width, limits, only_rotate);
    passes.extend(reports);
    let plain_down = Matrix { weights: &down_weights, ..down };
    let turned_down = change_h.as_ref().map(|change| change.of_weights(&down_weights));
    let gate = Matrix { weights: &gate_weights, ..gate };
    let up = Matrix { weights: &up_weights, ..up };
    let down = Matrix { weights: turned_down.as_deref().unwrap_or(&down_weights), ..down };

    let power = channel_power(rows.seen(&changed_x), width);
    let seen = [rows.seen(&exact_gate), rows.seen(&exact_up)];
    let [of_gate, of_up] = importance(seen, &down_weights, expert_width);
    let importance = Some(&of_gate[..]);
    let given = Inputs { codes: &x, channel_power: &power, importance, complex: false, rows };
    let lowered_gate = Stage::lower(chip, options, gate, given, gate_codes, &mut passes)?;
    let given = Inputs { importance: Some(&of_up), ..given };
    let lowered_up = Stage::lower(chip, options, up, given, up_codes, &mut passes)?;
    let mut hidden = vec![0.0; exact_hidden.len()];
    codes::swiglu(lowered_gate.outcome(), lowered_up.outcome(), &mut hidden);
    let changed_h = match &change_h {
        None => Cow::Borrowed(&hidden[..]),
        Some(change) => Cow::Owned(change.of_samples(&hidden)),
    };
    let h = QuantisedRows::new(down_name, &changed_h, expert_width, limits.input)?;
    let hidden_power = channel_power(rows.seen(&changed_h), expert_width);
    // What f32 makes of both kinds of hidden vectors, in one pass over the weights.
    let both = [rows.judged(&hidden), rows.judged(&exact_hidden)].concat();
    let (both, down_codes) = multiplied(plain_down, &both, &hidden_power)?;
    let (importance, complex) = (None, false);
    let between = Inputs { codes: &h, channel_power: &hidden_power, importance, complex, rows };
    let lowered_down = Stage::lower(chip, options, down, between, down_codes, &mut passes)?;
    let (exact_down, exact) = both.split_at(both.len() / 2);

    let mut reports = lowered_gate.reports(rows.judged(&exact_gate), rows);
    reports.extend(lowered_up.reports(rows.judged(&exact_up), rows));
    reports.extend(lowered_down.reports(exact_down, rows));
    let snr_db = snr_db(exact, rows.judged(lowered_down.outcome()));

    let (gate_and_up, down) = ([lowered_gate, lowered_up], lowered_down);
    let stages = Stages { name, width, change_x, gate_and_up, change_h, down };
    let program = stages.program(chip, macs, options)?;
    let report = LayerReport::new(&program, &samples, snr_db, passes, reports);
    Ok(CompiledExpert { program, report })
}

/// An expert's matrices, lowered, and how its vectors are changed before they become codes.
struct Stages<'a> {
    name: &'a str,
    width: usize,
    change_x: Option<VectorChange>,
    gate_and_up: [Stage; 2],
    change_h: Option<VectorChange>,
    down: Stage,
}

impl Stages<'_> {
    fn program(
        self,
        chip: &ChipDescription,
        macs: u64,
        options: &CompileOptions,
    ) -> Result<VerifiedProgram, CompileError> {
        let mut assembly = Assembly::new(chip, self.name);
        let mut x = assembly.move_in(self.width);
        if let Some(change) = self.change_x {
            x = assembly.rotate(x, change.factors, change.block);
        }
        let x = assembly.quantise(x);
        let [gate, up] = multiply(&mut assembly, x, self.gate_and_up)?;
        let mut hidden = assembly.swiglu(gate, up);
        if let Some(change) = self.change_h {
            hidden = assembly.rotate(hidden, change.factors, change.block);
        }
        let hidden = assembly.quantise(hidden);
        let [y] = multiply(&mut assembly, hidden, [self.down])?;
        assembly.finish(y, macs, options)
    }
}

/// What f32 makes of some rows; and the codes of the matrix, made in the same pass over its weights,
/// unless a pass may rewrite those before.
fn product_and_codes(
    matrix: Matrix<'_>,
    x: &[f32],
    chip: &ChipDescription,
    power: &[f32],
    options: &CompileOptions,
) -> Result<(Vec<f32>, Option<WithReport>), CompileError> {
    let rewriting = [Pass::Equalise, Pass::Fold, Pass::Rotate, Pass::LowRank, Pass::TileSparsity];
    if rewriting.into_iter().any(|pass| options.has(pass)) {
        return Ok((exact_product(matrix, x), None));
    }
    let (packing, _) = packing_of(chip, options, matrix, false);
    let quantiser = Quantiser {
        limit: chip.weight_limit(),
        clip: options.has(Pass::Clip).then_some(power),
        grid: grid(chip, matrix.outputs, matrix.inputs, packing),
    };
    let (product, codes) = exact_product_and_codes(matrix, x, quantiser)?;
    Ok((product, Some(codes)))
}

/// What a squared error of each output of `gate` and of `up` costs at the expert's output, to first
/// order: through `SwiGLU` at the samples, and through the column of `down` behind it.
fn importance([gate, up]: [&[f32]; 2], down: &[f32], expert_width: usize) -> [Vec<f64>; 2] {
    let mut of_gate = vec![0.0; expert_width];
    let mut of_up = vec![0.0; expert_width];
    let rows = gate.chunks_exact(expert_width).zip(up.chunks_exact(expert_width));
    for (gate, up) in rows {
        let sums = of_gate.iter_mut().zip(&mut of_up);
        for ((&gate, &up), (of_gate, of_up)) in gate.iter().zip(up).zip(sums) {
            let (gate, up) = (f64::from(gate), f64::from(up));
            let sigmoid = 1.0 / (1.0 + pxfm::f_exp(-gate));
            let slope = sigmoid * (1.0 + gate * (1.0 - sigmoid)) * up;
            *of_gate += slope * slope;
            *of_up += gate * sigmoid * gate * sigmoid;
        }
    }
    let powers = column_powers(down, expert_width);
    for of in [&mut of_gate, &mut of_up] {
        // What no sample reaches keeps a little weight: others may.
        let least = 1e-3 * of.iter().sum::<f64>() / expert_width as f64;
        for (importance, power) in of.iter_mut().zip(&powers) {
            *importance = (*importance + least) * power;
        }
    }
    [of_gate, of_up]
}
