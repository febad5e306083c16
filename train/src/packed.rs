//! The weights in panels, for products forward and backward; refilled after each step.

use litecore_kernels::s2::{PackedMatrix, product};
use rayon::prelude::*;

use crate::weights::{LayerLayout, Layout};

/// One matrix, packed twice: for `y = x · Wᵀ` and for `dx = dy · W`.
#[derive(Debug)]
pub(crate) struct Linear {
    forward: PackedMatrix,
    backward: PackedMatrix,
}

/// All matrices of one layer.
#[derive(Debug)]
pub(crate) struct PackedLayer {
    pub(crate) qkv: Linear,
    pub(crate) output: Linear,
    pub(crate) routers: Linear,
    pub(crate) experts: Vec<PackedExpert>,
}

/// The matrices of one expert; gate and up are one matrix.
#[derive(Debug)]
pub(crate) struct PackedExpert {
    pub(crate) gate_up: Linear,
    pub(crate) down: Linear,
}

/// All matrices of a model.
#[derive(Debug)]
pub(crate) struct PackedWeights {
    pub(crate) layers: Vec<PackedLayer>,
    pub(crate) head: Linear,
}

impl Linear {
    fn new(weights: &[f32], inputs: usize) -> Self {
        let outputs = weights.len() / inputs;
        Self {
            forward: PackedMatrix::from_rows(weights, outputs, inputs),
            backward: PackedMatrix::from_columns(weights, outputs, inputs),
        }
    }

    fn refill(&mut self, weights: &[f32]) {
        self.forward.refill_from_rows(weights);
        self.backward.refill_from_columns(weights);
    }

    /// The length of an input.
    pub(crate) fn inputs(&self) -> usize {
        self.forward.inputs()
    }

    /// `y = x · Wᵀ`, in this thread.
    pub(crate) fn apply(&self, x: &[f32], y: &mut [f32]) {
        product(x, &self.forward, y);
    }

    /// `dx = dy · W`, in this thread.
    pub(crate) fn apply_transposed(&self, dy: &[f32], dx: &mut [f32]) {
        product(dy, &self.backward, dx);
    }

    /// [`Linear::apply`] over chunks of rows on all threads.
    pub(crate) fn apply_rows(&self, rows: usize, x: &[f32], y: &mut [f32]) {
        let (inputs, outputs) = (self.forward.inputs(), self.forward.outputs());
        let chunks = y.par_chunks_mut(rows * outputs).zip(x.par_chunks(rows * inputs));
        chunks.for_each(|(y, x)| self.apply(x, y));
    }

    /// [`Linear::apply_transposed`] over chunks of rows on all threads.
    pub(crate) fn apply_transposed_rows(&self, rows: usize, dy: &[f32], dx: &mut [f32]) {
        let (inputs, outputs) = (self.forward.inputs(), self.forward.outputs());
        let chunks = dx.par_chunks_mut(rows * inputs).zip(dy.par_chunks(rows * outputs));
        chunks.for_each(|(dx, dy)| self.apply_transposed(dy, dx));
    }
}

impl PackedWeights {
    pub(crate) fn new(layout: &Layout, values: &[f32], width: usize) -> Self {
        Self {
            layers: layout.layers.iter().map(|l| PackedLayer::new(l, values, width)).collect(),
            head: Linear::new(&values[layout.head.clone()], width),
        }
    }

    /// Takes over changed weights and keeps the memory.
    pub(crate) fn refill(&mut self, layout: &Layout, values: &[f32]) {
        let mut jobs = vec![(&mut self.head, &layout.head)];
        for (layer, place) in self.layers.iter_mut().zip(&layout.layers) {
            jobs.push((&mut layer.qkv, &place.qkv));
            jobs.push((&mut layer.output, &place.output));
            jobs.push((&mut layer.routers, &place.routers));
            for (expert, place) in layer.experts.iter_mut().zip(&place.experts) {
                jobs.push((&mut expert.gate_up, &place.gate_up));
                jobs.push((&mut expert.down, &place.down));
            }
        }
        jobs.into_par_iter().for_each(|(linear, range)| linear.refill(&values[range.clone()]));
    }
}

impl PackedLayer {
    fn new(layout: &LayerLayout, values: &[f32], width: usize) -> Self {
        let experts = layout.experts.iter().map(|expert| PackedExpert {
            gate_up: Linear::new(&values[expert.gate_up.clone()], width),
            down: Linear::new(&values[expert.down.clone()], expert.inner),
        });
        Self {
            qkv: Linear::new(&values[layout.qkv.clone()], width),
            output: Linear::new(&values[layout.output.clone()], layout.output.len() / width),
            routers: Linear::new(&values[layout.routers.clone()], width),
            experts: experts.collect(),
        }
    }
}
