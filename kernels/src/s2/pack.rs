//! Packing: weights into panels, columns of left sides into tiles.

use super::PANEL;
use super::transpose::interleave;
use crate::Isa;

/// A weight matrix in panels that no instruction set owns: `[ceil(outputs / 32)][inputs][32]`,
/// padded with zeros.
#[derive(Clone, Debug)]
pub struct PackedMatrix {
    panels: Vec<f32>,
    inputs: usize,
    outputs: usize,
}

impl PackedMatrix {
    /// Packs weights as checkpoints hold them, for `y = x · Wᵀ`.
    ///
    /// Shape: `weights` is outputs × inputs, row-major.
    /// Panics: if the length is another.
    pub fn from_rows(weights: &[f32], outputs: usize, inputs: usize) -> Self {
        let mut packed = Self::zeros(inputs, outputs);
        packed.refill_from_rows(weights);
        packed
    }

    /// Packs a right-hand matrix as it lies, for `y = x · B`.
    ///
    /// Shape: `weights` is inputs × outputs, row-major.
    /// Panics: if the length is another.
    pub fn from_columns(weights: &[f32], inputs: usize, outputs: usize) -> Self {
        let mut packed = Self::zeros(inputs, outputs);
        packed.refill_from_columns(weights);
        packed
    }

    /// Zero weights, to be replaced output by output.
    pub fn zeros(inputs: usize, outputs: usize) -> Self {
        Self { panels: vec![0.0; outputs.div_ceil(PANEL) * inputs * PANEL], inputs, outputs }
    }

    /// Replaces the weights of one output: a key of a growing attention window, say.
    ///
    /// Panics: if there is no such output, or the number of weights is not the inputs.
    pub fn set_output(&mut self, output: usize, weights: &[f32]) {
        assert!(output < self.outputs, "there is no output {output} of {}", self.outputs);
        assert_eq!(weights.len(), self.inputs, "one weight per input");
        let start = output / PANEL * self.inputs * PANEL + output % PANEL;
        let column = self.panels[start..].iter_mut().step_by(PANEL);
        for (to, &weight) in column.zip(weights) {
            *to = weight;
        }
    }

    /// Replaces the weights of one input.
    ///
    /// Panics: if there is no such input, or the number of weights is not the outputs.
    pub fn set_input(&mut self, input: usize, weights: &[f32]) {
        assert!(input < self.inputs, "there is no input {input} of {}", self.inputs);
        assert_eq!(weights.len(), self.outputs, "one weight per output");
        let panels = self.panels.chunks_exact_mut(self.inputs * PANEL);
        for (weights, panel) in weights.chunks(PANEL).zip(panels) {
            panel[input * PANEL..][..weights.len()].copy_from_slice(weights);
        }
    }

    /// Replaces the weights, given as to [`PackedMatrix::from_rows`], and keeps the memory.
    pub fn refill_from_rows(&mut self, weights: &[f32]) {
        self.refill_from_rows_with(Isa::detected(), weights);
    }

    /// Replaces the weights, given as to [`PackedMatrix::from_columns`], and keeps the memory.
    pub fn refill_from_columns(&mut self, weights: &[f32]) {
        let (inputs, outputs) = (self.inputs, self.outputs);
        assert_eq!(weights.len(), outputs * inputs, "weights must be inputs × outputs");
        if inputs == 0 {
            return;
        }
        for (p, panel) in self.panels.chunks_exact_mut(inputs * PANEL).enumerate() {
            let (panel, _) = panel.as_chunks_mut::<PANEL>();
            for (to, row) in panel.iter_mut().zip(weights.chunks_exact(outputs)) {
                let row = &row[p * PANEL..];
                match row.first_chunk::<PANEL>() {
                    Some(row) => *to = *row,
                    None => to[..row.len()].copy_from_slice(row),
                }
            }
        }
    }

    /// [`PackedMatrix::refill_from_rows`] on chosen instructions.
    fn refill_from_rows_with(&mut self, isa: Isa, weights: &[f32]) {
        let inputs = self.inputs;
        assert_eq!(weights.len(), self.outputs * inputs, "weights must be outputs × inputs");
        if inputs == 0 {
            return;
        }
        let panels = self.panels.chunks_exact_mut(inputs * PANEL);
        for (rows, panel) in weights.chunks(inputs * PANEL).zip(panels) {
            let count = rows.len() / inputs;
            let whole = count - count % 8;
            interleave(isa, rows, inputs, whole, inputs, panel, PANEL);
            // The padding beside a ragged group stays zero.
            for (j, row) in rows.chunks_exact(inputs).enumerate().skip(whole) {
                for (&value, to) in row.iter().zip(panel[j..].iter_mut().step_by(PANEL)) {
                    *to = value;
                }
            }
        }
    }

    /// The length of K.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// The number of outputs, without padding.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// The size in memory, with padding.
    ///
    /// Units: bytes.
    pub fn bytes(&self) -> usize {
        size_of_val(self.panels.as_slice())
    }

    /// One panel, `[inputs][32]`.
    pub(super) fn panel(&self, index: usize) -> &[f32] {
        &self.panels[index * self.inputs * PANEL..][..self.inputs * PANEL]
    }
}

/// Elements past the end of a packed left side that packing may overwrite.
pub(super) const SLACK: usize = 16;

/// Packs some columns of a K × rows left side as `[depth][rows]`; up to [`SLACK`] elements after
/// them may be overwritten.
pub(super) fn pack_left_columns(
    from: &[f32],
    stride: usize,
    rows: usize,
    depth: usize,
    to: &mut [f32],
) {
    for k in 0..depth {
        let (from, to) = (&from[k * stride..], &mut to[k * rows..]);
        match (from.first_chunk::<SLACK>(), to.first_chunk_mut::<SLACK>()) {
            // A copy of fixed length; what it writes too much, the next one overwrites.
            (Some(from), Some(to)) if rows <= SLACK => *to = *from,
            _ => to[..rows].copy_from_slice(&from[..rows]),
        }
    }
}
