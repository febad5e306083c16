//! What noise an expert's outputs should have, from the noise budget and the data alone.
//!
//! The integer meaning is executed, and beside every value goes the variance that the chip's
//! impairments give it, to first order:
//!
//! ```text
//! quantise    v = R(v / scale²)                      R: two roundings, see `rounded`
//! stream      v = R((Σ_k w² v_k + σ²) / step²)       σ: the budget of this tile and symbol
//! dequantise  v = v · (scale · table)²
//! swiglu      v = (silu'(g) u)² v_g + silu(g)² v_u
//! ```
//!
//! Left out: clipping, noise of the scales, and correlations between the outputs of a tile.

use litecore_compiler::CompiledModel;
use litecore_kernels::codes;
use litecore_kernels::program::{Converters, Fast, Workspace, execute};
use litecore_model::ExpertKey;
use litecore_runtime::{Executor, ExpertCall, RuntimeError, Signal};
use litecore_sim::Terms;
use litecore_sim::budget::{Budget, Source, Statistics};
use litecore_types::chip::ChipDescription;
use litecore_types::program::{Action, BufferId, VerifiedProgram};
use std::collections::BTreeMap;
use std::f64::consts::PI;

/// Executes the integer meaning and predicts what noise light would add, layer by layer.
#[derive(Debug)]
pub struct NoisePredictor<'m> {
    model: &'m CompiledModel,
    terms: Terms,
    arithmetic: Fast,
    workspace: Workspace,
    layers: BTreeMap<u32, Signal>,
    /// The budget of each tile, by layer, expert and tile.
    tiles: BTreeMap<(u32, ExpertKey, u32), TileNoise>,
}

/// The noise variance of a tile's sums, in units of the exact sum, as a function of the data.
///
/// Every term is constant, or proportional to the mean square of the inputs or of the sums.
#[derive(Clone, Copy, Debug)]
struct TileNoise {
    constant: f64,
    per_input: f64,
    per_sum: f64,
}

impl<'m> NoisePredictor<'m> {
    /// Predicts for a chip with these impairments on.
    pub fn new(model: &'m CompiledModel, terms: Terms) -> Self {
        let arithmetic = Fast::new(Converters::of(&model.chip));
        let (layers, tiles) = (BTreeMap::new(), BTreeMap::new());
        Self { model, terms, arithmetic, workspace: Workspace::default(), layers, tiles }
    }

    /// Predicted signal and error of each layer so far.
    pub fn layers(&self) -> &BTreeMap<u32, Signal> {
        &self.layers
    }
}

impl Executor for NoisePredictor<'_> {
    fn name(&self) -> &'static str {
        "cpu"
    }

    fn run(&mut self, call: &ExpertCall<'_>, outputs: &mut Vec<f32>) -> Result<(), RuntimeError> {
        let &ExpertCall { layer, key, inputs, .. } = call;
        let program = self.model.experts.get(&(layer, key)).ok_or(RuntimeError::MissingExpert {
            executor: "cpu",
            layer,
            key,
        })?;
        outputs.clear();
        let mut out = Vec::new();
        let signal = self.layers.entry(layer).or_default();
        for input in inputs.chunks(program.input_len()) {
            execute(program, &mut self.arithmetic, input, &mut out, &mut self.workspace)
                .map_err(|source| RuntimeError::Execute { layer, key, source })?;
            let (chip, terms, tiles) = (&self.model.chip, self.terms, &mut self.tiles);
            let noise = |tile: u32, shift: u8| {
                let codes = &program.tiles[tile as usize].codes;
                *tiles
                    .entry((layer, key, tile))
                    .or_insert_with(|| TileNoise::new(chip, terms, codes, shift))
            };
            let variances = Propagation::new(program, chip, noise).run(input);
            for (&y, variance) in out.iter().zip(variances) {
                signal.signal += f64::from(y) * f64::from(y);
                signal.error += variance;
            }
            outputs.extend_from_slice(&out);
        }
        Ok(())
    }
}

/// One symbol on its way through a program, with the variance of every element.
struct Propagation<'a, N> {
    program: &'a VerifiedProgram,
    chip: &'a ChipDescription,
    /// The noise of a tile at a gain shift.
    noise: N,
    values: Vec<Vec<f64>>,
    variances: Vec<Vec<f64>>,
}

impl<'a, N: FnMut(u32, u8) -> TileNoise> Propagation<'a, N> {
    fn new(program: &'a VerifiedProgram, chip: &'a ChipDescription, noise: N) -> Self {
        let zeros = || program.buffers.iter().map(|buffer| vec![0.0; buffer.len]).collect();
        Self { program, chip, noise, values: zeros(), variances: zeros() }
    }

    /// The variances of the outputs.
    fn run(mut self, input: &[f32]) -> Vec<f64> {
        // One vector is a run of one symbol.
        for step in self.program.steps.iter().filter(|step| !step.symbols.dropped_in(1)) {
            match step.action {
                Action::MoveIn { to } => {
                    self.values[at(to)] = input.iter().map(|&x| f64::from(x)).collect();
                    self.variances[at(to)].fill(0.0);
                }
                Action::MoveOut { from } => return self.variances[at(from)].clone(),
                Action::LoadBank { .. } | Action::Settle { .. } => {}
                Action::Quantise { from, to, scale } => self.quantise(from, to, scale),
                Action::Stream { .. } => self.stream(&step.action),
                Action::Dequantise { from, scale, table, to } => {
                    let scale = self.values[at(scale)][0];
                    for (j, &table) in self.program.table(table).iter().enumerate() {
                        let factor = scale * f64::from(table);
                        self.values[at(to)][j] = self.values[at(from)][j] * factor;
                        self.variances[at(to)][j] = self.variances[at(from)][j] * factor * factor;
                    }
                }
                Action::Rotate { from, table, block, to } => {
                    let table = self.program.table(table);
                    let x: Vec<f32> = self.values[at(from)].iter().map(|&x| single(x)).collect();
                    let mut y = vec![0.0; x.len()];
                    codes::rotate(&x, table, block as usize, &mut y);
                    self.values[at(to)] = y.into_iter().map(f64::from).collect();
                    let scaled: Vec<f64> = self.variances[at(from)]
                        .iter()
                        .zip(table)
                        .map(|(variance, factor)| {
                            variance * f64::from(*factor) * f64::from(*factor)
                        })
                        .collect();
                    let block = block as usize;
                    let blocks = scaled.chunks(block).zip(self.variances[at(to)].chunks_mut(block));
                    for (scaled, variances) in blocks {
                        variances.fill(scaled.iter().sum());
                    }
                }
                Action::SwiGlu { gate, up, to } => {
                    for j in 0..self.values[at(to)].len() {
                        let (g, u) = (self.values[at(gate)][j], self.values[at(up)][j]);
                        let sigmoid = 1.0 / (1.0 + pxfm::f_exp(-g));
                        let silu = g * sigmoid;
                        let slope = sigmoid * (1.0 + g * (1.0 - sigmoid)) * u;
                        self.variances[at(to)][j] = slope * slope * self.variances[at(gate)][j]
                            + silu * silu * self.variances[at(up)][j];
                        self.values[at(to)][j] = silu * u;
                    }
                }
            }
        }
        Vec::new()
    }

    fn quantise(&mut self, from: BufferId, to: BufferId, scale: BufferId) {
        let x: Vec<f32> = self.values[at(from)].iter().map(|&x| single(x)).collect();
        let mut x_codes = vec![0; x.len()];
        // What is not finite was refused before it came here.
        let found = codes::quantise(&x, self.chip.input_limit(), &mut x_codes).unwrap_or(0.0);
        let factor = if found > 0.0 { f64::from(found) } else { 1.0 };
        for (j, &code) in x_codes.iter().enumerate() {
            self.values[at(to)][j] = f64::from(code);
            let variance = self.variances[at(from)][j] / (factor * factor);
            self.variances[at(to)][j] = rounded(variance);
        }
        self.values[at(scale)][0] = f64::from(found);
    }

    fn stream(&mut self, action: &Action) {
        let &Action::Stream {
            tile,
            from,
            from_offset,
            shift,
            to,
            to_offset,
            accumulate_shift,
            first,
            ..
        } = action
        else {
            return;
        };
        let (inputs, columns) = self.program.tile_shape(tile);
        let codes = &self.program.tile(tile).codes;
        let (x, dx) = (
            &self.values[at(from)][from_offset as usize..],
            &self.variances[at(from)][from_offset as usize..],
        );
        let used = x.len().min(inputs);
        let (mut sums, mut errors) = (vec![0.0; columns], vec![0.0; columns]);
        let rows = codes.chunks_exact(columns).zip(x.iter().zip(dx)).take(used);
        for (weights, (&x, &dx)) in rows {
            for ((sum, error), &weight) in sums.iter_mut().zip(&mut errors).zip(weights) {
                let weight = f64::from(weight);
                *sum += weight * x;
                *error += weight * weight * dx;
            }
        }
        let mean_square = |values: &[f64], count: usize| {
            values.iter().map(|value| value * value).sum::<f64>() / count as f64
        };
        let of_inputs = mean_square(&x[..used], inputs);
        let of_sums = mean_square(&sums, columns);
        let tile_noise = (self.noise)(tile.0, shift);
        let noise =
            tile_noise.constant + tile_noise.per_input * of_inputs + tile_noise.per_sum * of_sums;
        let step = f64::from(1_u32 << shift.min(31));
        let gain = f64::from(1_u32 << accumulate_shift.min(31));
        let start = to_offset as usize;
        let end = self.values[at(to)].len().min(start + columns);
        for j in start..end {
            let code = (sums[j - start] / step).round_ties_even() * gain;
            let variance = rounded((errors[j - start] + noise) / (step * step)) * gain * gain;
            let (value, total) = (&mut self.values[at(to)][j], &mut self.variances[at(to)][j]);
            *value = if first { code } else { *value + code };
            *total = if first { variance } else { *total + variance };
        }
    }
}

fn at(id: BufferId) -> usize {
    id.0 as usize
}

impl TileNoise {
    /// Asks the budget at three points; the rest is a straight line.
    fn new(chip: &ChipDescription, terms: Terms, codes: &[i8], shift: u8) -> Self {
        // Mean squares of the size they have, so that no digits are lost.
        const INPUT: f64 = 1e3;
        const SUM: f64 = 1e8;
        let weights = codes.iter().map(|&code| f64::from(code) * f64::from(code));
        let mean_square_weight = weights.sum::<f64>() / codes.len().max(1) as f64;
        let variance = |mean_square_input: f64, mean_square_sum: f64| {
            let statistics =
                Statistics { mean_square_sum, mean_square_weight, mean_square_input, shift };
            let budget = Budget::predict(chip, terms, &statistics);
            let parts = budget.parts.iter().filter(|(of, _)| *of != Source::Quantisation);
            parts.map(|(_, part)| part.sigma_units * part.sigma_units).sum::<f64>()
        };
        let constant = variance(0.0, 0.0);
        Self {
            constant,
            per_input: (variance(INPUT, 0.0) - constant) / INPUT,
            per_sum: (variance(0.0, SUM) - constant) / SUM,
        }
    }
}

/// The mean square difference of two roundings whose arguments differ by a normal of variance `v`,
/// everything in rounding steps, for arguments spread over many steps.
///
/// For a difference d with fraction f it is `d² + f (1 - f)`; the Fourier series of the second part
/// gives `v + 1/6 - Σ_m exp(-2 π² m² v) / (π² m²)`.
fn rounded(v: f64) -> f64 {
    let series: f64 = (1..=12_u8)
        .map(|m| {
            let m2 = f64::from(m) * f64::from(m);
            pxfm::f_exp(-2.0 * PI * PI * m2 * v) / (PI * PI * m2)
        })
        .sum();
    if v > 0.0 { v + (1.0 / 6.0 - series).max(0.0) } else { 0.0 }
}

#[allow(clippy::cast_possible_truncation, reason = "rounding to single precision is meant")]
fn single(x: f64) -> f32 {
    x as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_roundings_differ_by_the_closed_form() {
        for sigma in [0.2_f64, 0.5, 2.0] {
            let mut sum = 0.0;
            let draws = 200_000;
            for i in 0..draws {
                let n = f64::from(litecore_kernels::normal::standard_normal(3, i)) * sigma;
                // Arguments evenly over one step.
                let x = (i % 1000) as f64 / 1000.0;
                let d = (x + n).round() - x.round();
                sum += d * d;
            }
            let measured = sum / draws as f64;
            let expected = rounded(sigma * sigma);
            // Three standard errors of the mean of squares.
            assert!((measured / expected - 1.0).abs() < 0.02, "{sigma}: {measured} {expected}");
        }
        assert!(rounded(0.0).abs() < f64::EPSILON);
    }
}
