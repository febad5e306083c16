//! The experts of one layer: tokens packed per expert, products, combination, and back.

use litecore_kernels::math::exp;
use litecore_kernels::s2::{combine, gradient_of_weights};
use litecore_model::ModelConfig;
use litecore_model::routing::Route;
use rayon::prelude::*;

use crate::packed::PackedExpert;
use crate::sums::lane_dot;
use crate::weights::ExpertLayout;

/// The routes of all tokens of a batch in one layer.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    /// All routes, token by token, in key order within a token.
    pub(crate) all: Vec<Route>,
    /// Where each token's routes start, and one more entry: the end.
    pub(crate) starts: Vec<usize>,
    /// For each route: the expert's row in the expert router, and its row in the expert's batch.
    places: Vec<(usize, usize)>,
}

impl Routes {
    /// Collects routes sequence by sequence and counts out each expert's rows.
    pub(crate) fn fill(&mut self, config: &ModelConfig, sequences: Vec<Vec<Vec<Route>>>) {
        self.all.clear();
        self.starts.clear();
        self.places.clear();
        let mut filled = vec![0; config.expert_rows()];
        for routes in sequences.into_iter().flatten() {
            self.starts.push(self.all.len());
            for route in routes {
                let expert = config.expert_row(route.key).expect("a route is of the model");
                self.places.push((expert, filled[expert]));
                filled[expert] += 1;
                self.all.push(route);
            }
        }
        self.starts.push(self.all.len());
    }

    /// The routes of one token, by their index.
    pub(crate) fn of(&self, token: usize) -> std::ops::Range<usize> {
        self.starts[token]..self.starts[token + 1]
    }

    /// The expert's row in the expert router.
    pub(crate) fn expert(&self, route: usize) -> usize {
        self.places[route].0
    }

    fn tokens(&self) -> usize {
        self.starts.len() - 1
    }
}

/// The tokens of one expert and what the expert computed for them.
#[derive(Debug, Default)]
pub(crate) struct ExpertBatch {
    /// Token and route of each row, tokens ascending.
    rows: Vec<(usize, usize)>,
    /// Inputs, rows × width.
    x: Vec<f32>,
    /// Gate then up, rows × 2·inner.
    gate_up: Vec<f32>,
    /// `1 + exp(−gate)`, rows × inner.
    damping: Vec<f32>,
    /// `silu(gate)·up`, rows × inner.
    hidden: Vec<f32>,
    /// Outputs, rows × width.
    output: Vec<f32>,
    /// Gradients, of the same shapes.
    dgate_up: Vec<f32>,
    dx: Vec<f32>,
}

/// Gives every expert its tokens.
pub(crate) fn pack(routes: &Routes, batches: &mut [ExpertBatch]) {
    for batch in batches.iter_mut() {
        batch.rows.clear();
    }
    for token in 0..routes.tokens() {
        for route in routes.of(token) {
            batches[routes.expert(route)].rows.push((token, route));
        }
    }
}

/// Runs every expert on its tokens.
///
/// Shape: `x` is tokens × width.
pub(crate) fn forward(x: &[f32], width: usize, weights: &[PackedExpert], to: &mut [ExpertBatch]) {
    to.par_iter_mut().zip(weights).for_each(|(batch, weights)| batch.forward(x, width, weights));
}

/// `y[token] = Σ weight·output` over the token's routes in key order.
pub(crate) fn combine_outputs(
    routes: &Routes,
    batches: &[ExpertBatch],
    width: usize,
    rows: usize,
    y: &mut [f32],
) {
    y.par_chunks_mut(rows * width).enumerate().for_each(|(chunk, y)| {
        let mut weights = Vec::new();
        let mut outputs = Vec::new();
        for (index, y) in y.chunks_exact_mut(width).enumerate() {
            weights.clear();
            outputs.clear();
            for route in routes.of(chunk * rows + index) {
                let (expert, row) = routes.places[route];
                weights.push(routes.all[route].weight);
                outputs.extend_from_slice(&batches[expert].output[row * width..][..width]);
            }
            combine(&weights, &outputs, width, y);
        }
    });
}

/// The way back through combination and experts.
pub(crate) struct Backward<'a> {
    pub(crate) routes: &'a Routes,
    pub(crate) weights: &'a [PackedExpert],
    pub(crate) layout: &'a [ExpertLayout],
    pub(crate) width: usize,
    /// Rows per chunk of tokens.
    pub(crate) rows: usize,
}

impl Backward<'_> {
    /// Goes back from the gradient `dy` of the combined outputs.
    ///
    /// Shape: `dy` and `dx` are tokens × width, `dweights` has one element per route; both results
    /// are overwritten. `gradient` is that of all experts' weights, side by side, and is added to.
    pub(crate) fn run(
        &self,
        dy: &[f32],
        batches: &mut [ExpertBatch],
        gradient: &mut [f32],
        dweights: &mut Vec<f32>,
        dx: &mut [f32],
    ) {
        let parts = self.split(gradient);
        let shares: Vec<Vec<f32>> = batches
            .par_iter_mut()
            .zip(self.weights)
            .zip(parts)
            .map(|((batch, weights), (gate_up, down))| {
                batch.backward(self.routes, dy, self.width, weights, gate_up, down)
            })
            .collect();
        dweights.clear();
        dweights.resize(self.routes.all.len(), 0.0);
        for (batch, shares) in batches.iter().zip(shares) {
            for (&(_, route), share) in batch.rows.iter().zip(shares) {
                dweights[route] = share;
            }
        }
        self.gather(batches, dx);
    }

    /// The gradients of each expert's two matrices.
    fn split<'g>(&self, gradient: &'g mut [f32]) -> Vec<(&'g mut [f32], &'g mut [f32])> {
        let mut rest = gradient;
        let mut parts = Vec::with_capacity(self.layout.len());
        for place in self.layout {
            let (gate_up, later) = rest.split_at_mut(place.gate_up.len());
            let (down, later) = later.split_at_mut(place.down.len());
            rest = later;
            parts.push((gate_up, down));
        }
        parts
    }

    /// Sums what the experts of a token say about its input, in key order.
    fn gather(&self, batches: &[ExpertBatch], dx: &mut [f32]) {
        let (width, rows) = (self.width, self.rows);
        dx.par_chunks_mut(rows * width).enumerate().for_each(|(chunk, dx)| {
            for (index, dx) in dx.chunks_exact_mut(width).enumerate() {
                dx.fill(0.0);
                for route in self.routes.of(chunk * rows + index) {
                    let (expert, row) = self.routes.places[route];
                    let from = &batches[expert].dx[row * width..][..width];
                    dx.iter_mut().zip(from).for_each(|(sum, value)| *sum += value);
                }
            }
        });
    }
}

impl ExpertBatch {
    /// How many tokens the expert has.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    fn forward(&mut self, x: &[f32], width: usize, weights: &PackedExpert) {
        let rows = self.rows.len();
        let inner = weights.down.inputs();
        self.x.clear();
        for &(token, _) in &self.rows {
            self.x.extend_from_slice(&x[token * width..][..width]);
        }
        self.gate_up.resize(rows * 2 * inner, 0.0);
        self.damping.resize(rows * inner, 0.0);
        self.hidden.resize(rows * inner, 0.0);
        self.output.resize(rows * width, 0.0);
        weights.gate_up.apply(&self.x, &mut self.gate_up);
        let results = self.hidden.chunks_exact_mut(inner).zip(self.damping.chunks_exact_mut(inner));
        for (gate_up, (hidden, damping)) in self.gate_up.chunks_exact(2 * inner).zip(results) {
            let (gate, up) = gate_up.split_at(inner);
            for i in 0..inner {
                damping[i] = 1.0 + exp(-gate[i]);
            }
            // The steps of `codes::swiglu`; the backward pass needs the damping again.
            for i in 0..inner {
                hidden[i] = (gate[i] / damping[i]) * up[i];
            }
        }
        weights.down.apply(&self.hidden, &mut self.output);
    }

    /// Returns the gradient of each row's share in its token.
    fn backward(
        &mut self,
        routes: &Routes,
        dy: &[f32],
        width: usize,
        weights: &PackedExpert,
        gate_up: &mut [f32],
        down: &mut [f32],
    ) -> Vec<f32> {
        let rows = self.rows.len();
        let inner = weights.down.inputs();
        let mut shares = Vec::with_capacity(rows);
        // The outputs are no longer needed once their share is known: they become gradients.
        for (&(token, route), output) in self.rows.iter().zip(self.output.chunks_exact_mut(width)) {
            let dy = &dy[token * width..][..width];
            shares.push(lane_dot(dy, output));
            let weight = routes.all[route].weight;
            output.iter_mut().zip(dy).for_each(|(output, dy)| *output = weight * dy);
        }
        let doutput = &self.output;
        gradient_of_weights(doutput, &self.hidden, rows, down);
        // Likewise the hidden values.
        weights.down.apply_transposed(doutput, &mut self.hidden);
        self.dgate_up.resize(rows * 2 * inner, 0.0);
        let values = self.gate_up.chunks_exact(2 * inner).zip(self.damping.chunks_exact(inner));
        let gradients =
            self.hidden.chunks_exact(inner).zip(self.dgate_up.chunks_exact_mut(2 * inner));
        for ((gate_up, damping), (dhidden, gradient)) in values.zip(gradients) {
            let (dgate, dup) = gradient.split_at_mut(inner);
            let (gate, up) = gate_up.split_at(inner);
            for i in 0..inner {
                let open = 1.0 / damping[i];
                let silu = gate[i] * open;
                dup[i] = dhidden[i] * silu;
                // silu' = σ + x·σ·(1 − σ)
                dgate[i] = dhidden[i] * up[i] * (open + silu * (1.0 - open));
            }
        }
        gradient_of_weights(&self.dgate_up, &self.x, rows, gate_up);
        self.dx.resize(rows * width, 0.0);
        weights.gate_up.apply_transposed(&self.dgate_up, &mut self.dx);
        shares
    }
}
