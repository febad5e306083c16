//! The whole network over a batch: forward with a tape, and backward along it.

use std::ops::Range;

use litecore_kernels::s2::gradient_of_weights_parallel;
use litecore_model::routing::RoutingError;
use litecore_model::{ModelConfig, TierMask};
use rayon::prelude::*;

use crate::attention::Attention;
use crate::config::BalanceConfig;
use crate::experts::{self, ExpertBatch, Routes};
use crate::packed::{PackedLayer, PackedWeights};
use crate::router::Levels;
use crate::weights::{LayerLayout, Layout};
use crate::{loss, norm, router_loss};

/// A batch of equally long sequences.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    /// Input bytes, sequence by sequence.
    pub(crate) inputs: Vec<u8>,
    /// The byte after each of them.
    pub(crate) targets: Vec<u8>,
    /// The tiers of each sequence.
    pub(crate) masks: Vec<TierMask>,
}

/// The numbers of a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Losses {
    /// Mean next-byte cross-entropy, in nats.
    pub(crate) cross_entropy: f64,
    /// The load-balance penalty of all layers, in nats.
    pub(crate) balance: f64,
}

/// A network's shape and the memory for one batch.
pub(crate) struct Network {
    config: ModelConfig,
    levels: Levels,
    attention: Attention,
    /// Tokens per sequence: also the size of the chunks that threads share.
    length: usize,
    layers: Vec<LayerTape>,
    /// Residual stream after the last layer, and its norm, tokens × width.
    last: Vec<f32>,
    normed: Vec<f32>,
    /// Logits, then their gradients, tokens × vocab.
    logits: Vec<f32>,
    work: Gradients,
}

/// What the backward pass of one layer needs.
#[derive(Default)]
struct LayerTape {
    /// The input of the layer, tokens × width.
    x: Vec<f32>,
    /// Its norm.
    attention_input: Vec<f32>,
    /// Rotated queries and keys, and values, tokens × 3·inner.
    qkv: Vec<f32>,
    /// Attention probabilities, sequence by sequence.
    probabilities: Vec<f32>,
    /// What the heads put out, tokens × inner.
    mixed: Vec<f32>,
    /// The residual stream after attention, and its norm.
    middle: Vec<f32>,
    expert_input: Vec<f32>,
    /// Router logits, then probabilities, tokens × logits.
    router: Vec<f32>,
    routes: Routes,
    experts: Vec<ExpertBatch>,
}

/// Memory of the backward pass.
#[derive(Default)]
struct Gradients {
    /// Of the residual stream, tokens × width.
    stream: Vec<f32>,
    /// Of a norm's output.
    normed: Vec<f32>,
    /// Of the expert inputs by way of the routers, tokens × width.
    routed: Vec<f32>,
    router: Vec<f32>,
    weights: Vec<f32>,
    mixed: Vec<f32>,
    qkv: Vec<f32>,
}

impl Network {
    pub(crate) fn new(config: &ModelConfig, length: usize) -> Self {
        let levels = Levels::new(config);
        let attention = Attention::new(config.heads, config.head_width, length, config.rope_theta);
        let layers = (0..config.layers).map(|_| LayerTape::default()).collect();
        Self {
            config: config.clone(),
            levels,
            attention,
            length,
            layers,
            last: Vec::new(),
            normed: Vec::new(),
            logits: Vec::new(),
            work: Gradients::default(),
        }
    }

    /// Computes the logits of a batch and keeps the tape.
    pub(crate) fn forward(
        &mut self,
        layout: &Layout,
        values: &[f32],
        packed: &PackedWeights,
        batch: &Batch,
    ) -> Result<(), RoutingError> {
        let tokens = batch.inputs.len();
        let width = self.config.width;
        self.resize(tokens);
        let embedding = &values[layout.embedding.clone()];
        let first = self.layers.first_mut().map_or(&mut self.last, |layer| &mut layer.x);
        for (x, &byte) in first.chunks_exact_mut(width).zip(&batch.inputs) {
            x.copy_from_slice(&embedding[usize::from(byte) * width..][..width]);
        }
        for index in 0..self.layers.len() {
            let (before, after) = self.layers.split_at_mut(index + 1);
            let next = after.first_mut().map_or(&mut self.last, |layer| &mut layer.x);
            let stage = Stage {
                config: &self.config,
                levels: &self.levels,
                attention: &self.attention,
                length: self.length,
                values,
                layout: &layout.layers[index],
                packed: &packed.layers[index],
            };
            stage.forward(
                u32::try_from(index).unwrap_or(u32::MAX),
                &batch.masks,
                &mut before[index],
                next,
            )?;
        }
        let gain = &values[layout.final_norm.clone()];
        norm::forward(&self.last, gain, self.config.norm_epsilon, self.length, &mut self.normed);
        packed.head.apply_rows(self.length, &self.normed, &mut self.logits);
        Ok(())
    }

    /// The logits of the last forward pass, tokens × vocab.
    pub(crate) fn logits(&self) -> &[f32] {
        &self.logits
    }

    /// Replaces the logits of the last forward pass by their gradients; returns the mean
    /// cross-entropy in nats.
    pub(crate) fn cross_entropy(&mut self, targets: &[u8]) -> f64 {
        loss::cross_entropy(&mut self.logits, targets, self.config.vocab, self.length)
    }

    /// Gradient of cross-entropy plus balance, after a forward pass; `gradient` is overwritten.
    pub(crate) fn backward(
        &mut self,
        layout: &Layout,
        values: &[f32],
        packed: &PackedWeights,
        batch: &Batch,
        balance: &BalanceConfig,
        gradient: &mut [f32],
    ) -> Losses {
        gradient.fill(0.0);
        let cross_entropy = self.cross_entropy(&batch.targets);
        let (length, epsilon) = (self.length, self.config.norm_epsilon);
        let work = &mut self.work;
        packed.head.apply_transposed_rows(length, &self.logits, &mut work.normed);
        gradient_rows(
            &self.logits,
            &self.normed,
            self.config.vocab,
            &mut gradient[layout.head.clone()],
        );
        let gain = &values[layout.final_norm.clone()];
        let dgain = &mut gradient[layout.final_norm.clone()];
        work.stream.fill(0.0);
        norm::backward(&self.last, gain, epsilon, length, &work.normed, &mut work.stream, dgain);
        let mut penalty = 0.0;
        for index in (0..self.layers.len()).rev() {
            let stage = Stage {
                config: &self.config,
                levels: &self.levels,
                attention: &self.attention,
                length,
                values,
                layout: &layout.layers[index],
                packed: &packed.layers[index],
            };
            let tape = &mut self.layers[index];
            penalty += stage.backward_experts(&batch.masks, balance, tape, work, gradient);
            stage.backward_attention(tape, work, gradient);
        }
        let width = self.config.width;
        let embedding = &mut gradient[layout.embedding.clone()];
        for (from, &byte) in work.stream.chunks_exact(width).zip(&batch.inputs) {
            let to = &mut embedding[usize::from(byte) * width..][..width];
            to.iter_mut().zip(from).for_each(|(sum, value)| *sum += value);
        }
        Losses { cross_entropy, balance: penalty }
    }

    /// How often each expert of each layer was taken in the last forward pass, in key order.
    pub(crate) fn usage(&self) -> Vec<Vec<usize>> {
        self.layers
            .iter()
            .map(|layer| layer.experts.iter().map(ExpertBatch::len).collect())
            .collect()
    }

    /// The routes of each layer and token in the last forward pass.
    #[cfg(test)]
    pub(crate) fn routes(&self) -> Vec<Vec<Vec<litecore_model::routing::Route>>> {
        let of = |tape: &LayerTape| {
            let routes = &tape.routes;
            (1..routes.starts.len()).map(|t| routes.all[routes.of(t - 1)].to_vec()).collect()
        };
        self.layers.iter().map(of).collect()
    }

    fn resize(&mut self, tokens: usize) {
        let width = self.config.width;
        let inner = self.config.heads * self.config.head_width;
        let probabilities = tokens / self.length * self.attention.probabilities();
        for layer in &mut self.layers {
            layer.x.resize(tokens * width, 0.0);
            layer.attention_input.resize(tokens * width, 0.0);
            layer.qkv.resize(tokens * 3 * inner, 0.0);
            layer.probabilities.resize(probabilities, 0.0);
            layer.mixed.resize(tokens * inner, 0.0);
            layer.middle.resize(tokens * width, 0.0);
            layer.expert_input.resize(tokens * width, 0.0);
            layer.router.resize(tokens * self.levels.logits, 0.0);
            layer.experts.resize_with(self.config.expert_rows(), ExpertBatch::default);
        }
        self.last.resize(tokens * width, 0.0);
        self.normed.resize(tokens * width, 0.0);
        self.logits.resize(tokens * self.config.vocab, 0.0);
        self.work.stream.resize(tokens * width, 0.0);
        self.work.normed.resize(tokens * width, 0.0);
        self.work.routed.resize(tokens * width, 0.0);
        self.work.router.resize(tokens * self.levels.logits, 0.0);
        self.work.mixed.resize(tokens * inner, 0.0);
        self.work.qkv.resize(tokens * 3 * inner, 0.0);
    }
}

/// One layer with its weights.
struct Stage<'a> {
    config: &'a ModelConfig,
    levels: &'a Levels,
    attention: &'a Attention,
    length: usize,
    values: &'a [f32],
    layout: &'a LayerLayout,
    packed: &'a PackedLayer,
}

impl Stage<'_> {
    fn forward(
        &self,
        layer: u32,
        masks: &[TierMask],
        tape: &mut LayerTape,
        next: &mut [f32],
    ) -> Result<(), RoutingError> {
        let (length, width, epsilon) = (self.length, self.config.width, self.config.norm_epsilon);
        let inner = self.config.heads * self.config.head_width;
        let gain = &self.values[self.layout.attention_norm.clone()];
        norm::forward(&tape.x, gain, epsilon, length, &mut tape.attention_input);
        self.packed.qkv.apply_rows(length, &tape.attention_input, &mut tape.qkv);
        let sequences = (
            tape.qkv.par_chunks_mut(length * 3 * inner),
            tape.probabilities.par_chunks_mut(self.attention.probabilities()),
            tape.mixed.par_chunks_mut(length * inner),
        );
        sequences.into_par_iter().for_each(|(qkv, probabilities, mixed)| {
            self.attention.rotate(qkv);
            self.attention.forward(qkv, probabilities, mixed);
        });
        self.packed.output.apply_rows(length, &tape.mixed, &mut tape.middle);
        add(&tape.x, &mut tape.middle);

        let gain = &self.values[self.layout.expert_norm.clone()];
        norm::forward(&tape.middle, gain, epsilon, length, &mut tape.expert_input);
        self.packed.routers.apply_rows(length, &tape.expert_input, &mut tape.router);
        let routes = self.levels.route(self.config, layer, masks, &tape.router)?;
        tape.routes.fill(self.config, routes);
        experts::pack(&tape.routes, &mut tape.experts);
        experts::forward(&tape.expert_input, width, &self.packed.experts, &mut tape.experts);
        experts::combine_outputs(&tape.routes, &tape.experts, width, length, next);
        add(&tape.middle, next);
        Ok(())
    }

    /// Back through the expert half of the layer; returns the balance penalty.
    fn backward_experts(
        &self,
        masks: &[TierMask],
        balance: &BalanceConfig,
        tape: &mut LayerTape,
        work: &mut Gradients,
        gradient: &mut [f32],
    ) -> f64 {
        let length = self.length;
        let back = experts::Backward {
            routes: &tape.routes,
            weights: &self.packed.experts,
            layout: &self.layout.experts,
            width: self.config.width,
            rows: length,
        };
        let range = self.expert_range();
        let (stream, dx) = (&work.stream, &mut work.normed);
        back.run(stream, &mut tape.experts, &mut gradient[range], &mut work.weights, dx);
        self.levels.probabilities(masks, &mut tape.router);
        let (routes, router) = (&tape.routes, &tape.router);
        self.levels.backward(routes, &work.weights, router, length, &mut work.router);
        let penalty =
            router_loss::add_penalty(self.levels, balance, masks, routes, router, &mut work.router);
        self.packed.routers.apply_transposed_rows(length, &work.router, &mut work.routed);
        add(&work.routed, &mut work.normed);
        let routers = &mut gradient[self.layout.routers.clone()];
        gradient_rows(&work.router, &tape.expert_input, self.levels.logits, routers);
        self.through_norm(&self.layout.expert_norm, &tape.middle, work, gradient);
        penalty
    }

    /// Back through the attention half of the layer.
    fn backward_attention(&self, tape: &LayerTape, work: &mut Gradients, gradient: &mut [f32]) {
        let length = self.length;
        let inner = self.config.heads * self.config.head_width;
        self.packed.output.apply_transposed_rows(length, &work.stream, &mut work.mixed);
        let output = &mut gradient[self.layout.output.clone()];
        gradient_rows(&work.stream, &tape.mixed, self.config.width, output);
        let sequences = (
            tape.qkv.par_chunks(length * 3 * inner),
            tape.probabilities.par_chunks(self.attention.probabilities()),
            work.mixed.par_chunks(length * inner),
            work.qkv.par_chunks_mut(length * 3 * inner),
        );
        sequences.into_par_iter().for_each(|(qkv, probabilities, dmixed, dqkv)| {
            self.attention.backward(qkv, probabilities, dmixed, dqkv);
        });
        self.packed.qkv.apply_transposed_rows(length, &work.qkv, &mut work.normed);
        let qkv = &mut gradient[self.layout.qkv.clone()];
        gradient_rows(&work.qkv, &tape.attention_input, 3 * inner, qkv);
        self.through_norm(&self.layout.attention_norm, &tape.x, work, gradient);
    }

    fn through_norm(
        &self,
        place: &Range<usize>,
        x: &[f32],
        work: &mut Gradients,
        gradient: &mut [f32],
    ) {
        let (gain, dgain) = (&self.values[place.clone()], &mut gradient[place.clone()]);
        let epsilon = self.config.norm_epsilon;
        norm::backward(x, gain, epsilon, self.length, &work.normed, &mut work.stream, dgain);
    }

    fn expert_range(&self) -> Range<usize> {
        let experts = &self.layout.experts;
        let start = experts.first().map_or(0, |expert| expert.gate_up.start);
        start..experts.last().map_or(start, |expert| expert.down.end)
    }
}

/// Weight gradients `dW = dyᵀ · x` on all threads: each takes some outputs.
///
/// Shape: `dy` is tokens × outputs; `dw` is outputs × inputs and starts at zero.
fn gradient_rows(dy: &[f32], x: &[f32], outputs: usize, dw: &mut [f32]) {
    gradient_of_weights_parallel(dy, x, dy.len() / outputs, dw);
}

/// Adds elementwise.
fn add(from: &[f32], to: &mut [f32]) {
    const CHUNK: usize = 1 << 14;
    to.par_chunks_mut(CHUNK).zip(from.par_chunks(CHUNK)).for_each(|(to, from)| {
        to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
    });
}
