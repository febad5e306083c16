//! One sequence being read or written: its position, its cache, its tier set and its seed.

use crate::attention::{LayerCache, Shape};
use crate::executor::{Executor, ExpertCall};
use crate::weights::{AlwaysOn, DenseLayer, Linear};
use crate::{DenseModel, RuntimeError};
use litecore_hal::SymbolTag;
use litecore_kernels::{math, s2};
use litecore_model::routing::{self, Route, RouteContext};
use litecore_model::{ByteTokenizer, ExpertKey, TierMask};
use litecore_types::Seed;
use std::collections::BTreeMap;

/// The experts one token took in one layer by routing. Experts that every token takes are not
/// listed, and layers without routing give no record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RouteRecord {
    /// Absolute position of the token.
    pub position: u64,
    /// The layer.
    pub layer: u32,
    /// The experts, by key.
    pub experts: Vec<ExpertKey>,
}

/// One sequence: feed it tokens, get logits.
///
/// The executor is an argument of [`Session::forward`], so it may change between calls.
#[derive(Debug)]
pub struct Session<'m> {
    model: &'m DenseModel,
    mask: TierMask,
    seed: Seed,
    stream: u32,
    position: u64,
    caches: Vec<LayerCache>,
    routes: Vec<RouteRecord>,
}

impl<'m> Session<'m> {
    /// A sequence at position zero.
    ///
    /// `stream` tells sequences of one run apart in symbol tags; `seed` breaks routing ties.
    pub fn new(model: &'m DenseModel, mask: TierMask, seed: Seed, stream: u32) -> Self {
        let caches = vec![LayerCache::default(); model.config.layers];
        Self { model, mask, seed, stream, position: 0, caches, routes: Vec::new() }
    }

    /// The model.
    pub fn model(&self) -> &'m DenseModel {
        self.model
    }

    /// How many tokens were fed so far.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Takes the routes recorded since the last call, in position and layer order.
    pub fn take_routes(&mut self) -> Vec<RouteRecord> {
        let mut routes = std::mem::take(&mut self.routes);
        routes.sort_unstable();
        routes
    }

    /// Feeds bytes to a model of bytes and gives the logits after each of them.
    ///
    /// Shape: `bytes.len() × 256`.
    /// Errors: the tokens are no bytes; otherwise as [`Session::forward_tokens`].
    pub fn forward(
        &mut self,
        bytes: &[u8],
        executor: &mut dyn Executor,
    ) -> Result<Vec<f32>, RuntimeError> {
        let tokens = bytes_as_tokens(self.model, bytes)?;
        self.forward_tokens(&tokens, executor)
    }

    /// Feeds tokens and gives the logits after each of them.
    ///
    /// Shape: `tokens.len() × vocab`.
    /// Errors: a token the model does not have; of routing or of the executor, and the session must
    /// then be dropped.
    pub fn forward_tokens(
        &mut self,
        tokens: &[u32],
        executor: &mut dyn Executor,
    ) -> Result<Vec<f32>, RuntimeError> {
        let model = self.model;
        let config = &model.config;
        let width = config.width;
        let mut x = Vec::with_capacity(tokens.len() * width);
        for &token in tokens {
            if token as usize >= config.vocab {
                return Err(RuntimeError::UnknownToken { token, vocab: config.vocab });
            }
            x.extend_from_slice(&model.embedding[token as usize * width..][..width]);
        }
        let mut normed = vec![0.0; x.len()];
        for (index, layer) in (0..).zip(&model.layers) {
            self.attention(index, layer, &mut x, &mut normed);
            self.experts(index, layer, &mut x, &mut normed, executor)?;
        }
        self.position += tokens.len() as u64;
        for (x, y) in x.chunks_exact(width).zip(normed.chunks_exact_mut(width)) {
            math::rms_norm(x, &model.final_norm, config.norm_epsilon, y);
        }
        let mut logits = vec![0.0; tokens.len() * config.vocab];
        product(&normed, &model.head, &mut logits);
        Ok(logits)
    }

    /// `x = x + output(attend(norm(x)))`, for every token.
    fn attention(&mut self, index: u32, layer: &DenseLayer, x: &mut [f32], normed: &mut [f32]) {
        let config = &self.model.config;
        let shape = Shape {
            heads: config.heads,
            key_value_heads: config.key_value_heads(),
            head_width: config.head_width,
            window: layer.window,
        };
        let (width, row) = (config.width, config.heads * config.head_width);
        let tokens = x.len() / width;
        norm_rows(x, &layer.attention_norm, config.norm_epsilon, normed);
        let mut queries = project(normed, &layer.query);
        let mut keys = project(normed, &layer.key);
        let mut values = project(normed, &layer.value);
        norm_in_place(&mut queries, &layer.query_gain, config.norm_epsilon);
        norm_in_place(&mut keys, &layer.key_gain, config.norm_epsilon);
        if let Some(clip) = config.attention.clip {
            for value in queries.iter_mut().chain(&mut keys).chain(&mut values) {
                *value = value.clamp(-clip, clip);
            }
        }
        let shared = config.key_value_heads() * config.head_width;
        let rows = queries.chunks_exact_mut(row).zip(keys.chunks_exact_mut(shared));
        for (position, (query, key)) in (self.position..).zip(rows) {
            let turn = self.model.rope.turn(position);
            for head in query.chunks_exact_mut(config.head_width) {
                turn.rotate(head);
            }
            for head in key.chunks_exact_mut(config.head_width) {
                turn.rotate(head);
            }
        }
        let cache = &mut self.caches[index as usize];
        cache.append(&keys, &values);
        let mut attended = vec![0.0; tokens * row];
        let mut scores = Vec::new();
        let rows = queries.chunks_exact(row).zip(attended.chunks_exact_mut(row));
        for (position, (query, out)) in (self.position..).zip(rows) {
            cache.attend(shape, position, query, &mut scores, out);
        }
        cache.trim(shape);
        for (x, y) in x.iter_mut().zip(project(&attended, &layer.output)) {
            *x += y;
        }
    }

    /// `x = x + Σ weight · expert(norm(x))` over each token's experts in key order. The weight of
    /// an expert that every token takes is one, or the sigmoid of its gate.
    fn experts(
        &mut self,
        index: u32,
        layer: &DenseLayer,
        x: &mut [f32],
        normed: &mut [f32],
        executor: &mut dyn Executor,
    ) -> Result<(), RuntimeError> {
        let config = &self.model.config;
        let width = config.width;
        norm_rows(x, &layer.expert_norm, config.norm_epsilon, normed);
        let tokens = x.len() / width;
        let mut by_expert = match &layer.routers {
            Some(routers) => self.route(index, routers, normed, tokens)?,
            None => BTreeMap::new(),
        };
        for AlwaysOn { key, gate } in &layer.always {
            let weight = |row: &[f32]| match gate.as_slice() {
                [] => 1.0,
                gate => math::sigmoid(s2::dot(row, gate)),
            };
            let members = normed.chunks_exact(width).map(weight).enumerate().collect();
            by_expert.insert(*key, members);
        }

        let mut sum = vec![0.0; x.len()];
        let (mut inputs, mut outputs, mut tags) = (Vec::new(), Vec::new(), Vec::new());
        for (key, members) in &by_expert {
            inputs.clear();
            tags.clear();
            for &(token, _) in members {
                inputs.extend_from_slice(&normed[token * width..][..width]);
                tags.push(self.tag(token));
            }
            let call = ExpertCall { layer: index, key: *key, tags: &tags, inputs: &inputs };
            executor.run(&call, &mut outputs)?;
            // Experts come in ascending key order, so each token's sum does too.
            for (&(token, weight), out) in members.iter().zip(outputs.chunks_exact(width)) {
                for (sum, &out) in sum[token * width..][..width].iter_mut().zip(out) {
                    *sum = weight.mul_add(out, *sum);
                }
            }
        }
        for (x, y) in x.iter_mut().zip(sum) {
            *x += y;
        }
        Ok(())
    }

    /// The tokens of each expert with their weights; records the routes.
    fn route(
        &mut self,
        index: u32,
        routers: &s2::PackedMatrix,
        normed: &[f32],
        tokens: usize,
    ) -> Result<BTreeMap<ExpertKey, Vec<(usize, f32)>>, RuntimeError> {
        let config = &self.model.config;
        let (tiers, groups) = (config.tier_rows(), config.group_rows());
        let rows = tiers + groups + config.expert_rows();
        let mut logits = vec![0.0; tokens * rows];
        product(normed, routers, &mut logits);
        let mut by_expert: BTreeMap<ExpertKey, Vec<(usize, f32)>> = BTreeMap::new();
        for (token, logits) in logits.chunks_exact(rows).enumerate() {
            let position = self.position + token as u64;
            let context = RouteContext { seed: self.seed.0, layer: index, position };
            let (tier_logits, rest) = logits.split_at(tiers);
            let (group_logits, expert_logits) = rest.split_at(groups);
            let routes = routing::select(
                config,
                &self.mask,
                &context,
                tier_logits,
                group_logits,
                expert_logits,
            )?;
            let experts = routes.iter().map(|route| route.key).collect();
            self.routes.push(RouteRecord { position, layer: index, experts });
            for Route { key, weight } in routes {
                by_expert.entry(key).or_default().push((token, weight));
            }
        }
        Ok(by_expert)
    }

    /// Names a token of this chunk for the device: the stream in the upper 24 bits (streams that
    /// differ by a multiple of 2^24 share names), then the position.
    fn tag(&self, token: usize) -> SymbolTag {
        SymbolTag(u64::from(self.stream) << 40 | (self.position + token as u64) & ((1 << 40) - 1))
    }
}

fn norm_rows(x: &[f32], gain: &[f32], epsilon: f32, out: &mut [f32]) {
    let width = gain.len();
    for (x, y) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
        math::rms_norm(x, gain, epsilon, y);
    }
}

/// Norms in place: as many elements together as there are gains; none if there are none.
fn norm_in_place(x: &mut [f32], gain: &[f32], epsilon: f32) {
    if gain.is_empty() {
        return;
    }
    for x in x.chunks_exact_mut(gain.len()) {
        let inverse = math::rms_inverse(x, epsilon);
        for (x, gain) in x.iter_mut().zip(gain) {
            *x = (*x * inverse) * gain;
        }
    }
}

/// Every row through a matrix, and its bias.
fn project(x: &[f32], linear: &Linear) -> Vec<f32> {
    let outputs = linear.matrix.outputs();
    let mut out = vec![0.0; x.len() / linear.matrix.inputs().max(1) * outputs];
    product(x, &linear.matrix, &mut out);
    if !linear.bias.is_empty() {
        for row in out.chunks_exact_mut(outputs) {
            for (value, bias) in row.iter_mut().zip(&linear.bias) {
                *value += bias;
            }
        }
    }
    out
}

/// The tokens of bytes.
///
/// Errors: the model's tokens are no bytes.
pub(crate) fn bytes_as_tokens(model: &DenseModel, bytes: &[u8]) -> Result<Vec<u32>, RuntimeError> {
    let vocab = model.config.vocab;
    if vocab == ByteTokenizer::VOCAB {
        Ok(ByteTokenizer.encode(bytes))
    } else {
        Err(RuntimeError::Vocabulary { vocab })
    }
}

/// Many rows are worth several threads; the bits are the same.
fn product(x: &[f32], matrix: &s2::PackedMatrix, y: &mut [f32]) {
    const ROWS_FOR_THREADS: usize = 32;
    if x.len() / matrix.inputs().max(1) >= ROWS_FOR_THREADS {
        s2::product_parallel(x, matrix, y);
    } else {
        s2::product(x, matrix, y);
    }
}
