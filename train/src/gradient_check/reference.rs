//! A second, plain definition of the loss in f64, for tests: one token at a time, no packing, no
//! panels. Only which experts a token takes is given from outside.

use std::ops::Range;

use litecore_model::routing::Route;
use litecore_model::{ModelConfig, TierMask};

use crate::config::BalanceConfig;
use crate::network::Batch;
use crate::router::Levels;
use crate::weights::Layout;

pub(crate) struct Reference<'a> {
    pub(crate) config: &'a ModelConfig,
    pub(crate) layout: &'a Layout,
    pub(crate) balance: &'a BalanceConfig,
    pub(crate) batch: &'a Batch,
    /// Routes of each layer and token; the weights are not used.
    pub(crate) routes: Vec<Vec<Vec<Route>>>,
}

impl Reference<'_> {
    /// Mean cross-entropy plus penalties, in nats.
    pub(crate) fn loss(&self, values: &[f64]) -> f64 {
        let (config, layout) = (self.config, self.layout);
        let width = config.width;
        let embedding = &values[layout.embedding.clone()];
        let tokens = &self.batch.inputs;
        let mut x: Vec<Vec<f64>> = tokens
            .iter()
            .map(|&byte| embedding[usize::from(byte) * width..][..width].to_vec())
            .collect();
        let mut penalty = 0.0;
        for layer in 0..config.layers {
            self.attention(values, layer, &mut x);
            penalty += self.experts(values, layer, &mut x);
        }
        let mut surprise = 0.0;
        for (x, &target) in x.iter().zip(&self.batch.targets) {
            let normed = self.norm(x, &values[layout.final_norm.clone()]);
            let p = softmax(&times(&values[layout.head.clone()], &normed));
            surprise -= pxfm::f_log(p[usize::from(target)]);
        }
        surprise / tokens.len() as f64 + penalty
    }

    fn norm(&self, x: &[f64], gain: &[f64]) -> Vec<f64> {
        norm(x, gain, f64::from(self.config.norm_epsilon))
    }

    fn attention(&self, values: &[f64], layer: usize, x: &mut [Vec<f64>]) {
        let place = &self.layout.layers[layer];
        let length = x.len() / self.batch.masks.len();
        for sequence in x.chunks_mut(length) {
            let project = |x: &Vec<f64>| {
                let normed = self.norm(x, &values[place.attention_norm.clone()]);
                times(&values[place.qkv.clone()], &normed)
            };
            let qkv: Vec<Vec<f64>> = sequence.iter().map(project).collect();
            let theta = f64::from(self.config.rope_theta);
            let mixed = attend(qkv, self.config.heads, self.config.head_width, theta);
            for (x, mixed) in sequence.iter_mut().zip(&mixed) {
                let out = times(&values[place.output.clone()], mixed);
                x.iter_mut().zip(out).for_each(|(x, out)| *x += out);
            }
        }
    }

    /// Returns the penalty of the layer.
    fn experts(&self, values: &[f64], layer: usize, x: &mut [Vec<f64>]) -> f64 {
        let place = &self.layout.layers[layer];
        let levels = Levels::new(self.config);
        let length = x.len() / self.batch.masks.len();
        let mut probabilities = Vec::new();
        for (token, x) in x.iter_mut().enumerate() {
            let normed = self.norm(x, &values[place.expert_norm.clone()]);
            let logits = times(&values[place.routers.clone()], &normed);
            let mask = &self.batch.masks[token / length];
            let p = level_probabilities(&levels, &logits, |tier| mask.allows(tier));
            let routes = &self.routes[layer][token];
            let weights = route_weights(&levels, &p, routes);
            for (route, share) in routes.iter().zip(weights) {
                let expert = self.config.expert_row(route.key).expect("a route is of the model");
                let weights = &place.experts[expert];
                let gate_up = times(&values[weights.gate_up.clone()], &normed);
                let (gate, up) = gate_up.split_at(weights.inner);
                let hidden: Vec<f64> =
                    gate.iter().zip(up).map(|(g, u)| g / (1.0 + pxfm::f_exp(-g)) * u).collect();
                let out = times(&values[weights.down.clone()], &hidden);
                x.iter_mut().zip(out).for_each(|(x, out)| *x += share * out);
            }
            probabilities.push(p);
        }
        penalty(&levels, self.balance, &self.batch.masks, &self.routes[layer], &probabilities)
    }
}

/// RMS norm times gain.
pub(super) fn norm(x: &[f64], gain: &[f64], epsilon: f64) -> Vec<f64> {
    let mean = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
    let inverse = 1.0 / (mean + epsilon).sqrt();
    x.iter().zip(gain).map(|(x, gain)| x * inverse * gain).collect()
}

/// What the heads put out at each position.
///
/// Shape: each position has queries, keys and values of all heads, not yet rotated.
pub(super) fn attend(
    mut qkv: Vec<Vec<f64>>,
    heads: usize,
    width: usize,
    theta: f64,
) -> Vec<Vec<f64>> {
    for (position, row) in qkv.iter_mut().enumerate() {
        for head in row[..2 * heads * width].chunks_mut(width) {
            turn(position, theta, head);
        }
    }
    let part = |t: usize, which: usize, head: usize| -> &[f64] {
        &qkv[t][(which * heads + head) * width..][..width]
    };
    let at = |position: usize| {
        let mut mixed = vec![0.0; heads * width];
        for (head, mixed) in mixed.chunks_mut(width).enumerate() {
            let score = |t| dot(part(position, 0, head), part(t, 1, head)) / (width as f64).sqrt();
            let scores: Vec<f64> = (0..=position).map(score).collect();
            for (t, p) in softmax(&scores).into_iter().enumerate() {
                mixed.iter_mut().zip(part(t, 2, head)).for_each(|(sum, v)| *sum += p * v);
            }
        }
        mixed
    };
    (0..qkv.len()).map(at).collect()
}

fn turn(position: usize, theta: f64, head: &mut [f64]) {
    let half = head.len() / 2;
    for pair in 0..half {
        let frequency = pxfm::f_pow(theta, -2.0 * pair as f64 / head.len() as f64);
        let (sin, cos) = pxfm::f_sincos(position as f64 * frequency);
        let (a, b) = (head[pair], head[pair + half]);
        head[pair] = a * cos - b * sin;
        head[pair + half] = b * cos + a * sin;
    }
}

/// The balance penalty of one layer: probabilities of each token, and where it went.
pub(super) fn penalty(
    levels: &Levels,
    balance: &BalanceConfig,
    masks: &[TierMask],
    routes: &[Vec<Route>],
    probabilities: &[Vec<f64>],
) -> f64 {
    let length = probabilities.len() / masks.len();
    let divergence = |range: &Range<usize>, counts: &dyn Fn(usize) -> bool| {
        let mut mean = vec![0.0; range.len()];
        let chosen: Vec<usize> = (0..probabilities.len()).filter(|&t| counts(t)).collect();
        for &token in &chosen {
            let p = &probabilities[token][range.clone()];
            mean.iter_mut().zip(p).for_each(|(mean, p)| *mean += p / chosen.len() as f64);
        }
        let members = mean.len() as f64;
        mean.iter().filter(|&&u| u > 0.0).map(|u| u * pxfm::f_log(u * members)).sum::<f64>()
    };
    let full = |token: usize| masks[token / length].allowed() == masks[token / length].tiers();
    let mut penalty = f64::from(balance.tier) * divergence(&levels.tiers, &full);
    for (tier, groups) in levels.groups.iter().enumerate() {
        let here = |token: usize| routes[token].iter().any(|r| usize::from(r.key.tier) == tier);
        penalty += f64::from(balance.group) * divergence(groups, &here);
        for (group, experts) in levels.experts[tier].iter().enumerate() {
            let here = |token: usize| {
                let mut keys = routes[token].iter().map(|r| r.key);
                keys.any(|k| usize::from(k.tier) == tier && usize::from(k.group) == group)
            };
            penalty += f64::from(balance.expert) * divergence(experts, &here);
        }
    }
    penalty
}

/// Logits of one token turned into probabilities, level by level.
pub(super) fn level_probabilities(
    levels: &Levels,
    logits: &[f64],
    allows: impl Fn(u16) -> bool,
) -> Vec<f64> {
    let mut p = logits.to_vec();
    for (tier, logit) in (0_u16..).zip(&mut p[levels.tiers.clone()]) {
        if !allows(tier) {
            *logit = f64::NEG_INFINITY;
        }
    }
    let below = levels.groups.iter().chain(levels.experts.iter().flatten());
    for range in std::iter::once(&levels.tiers).chain(below) {
        let softened = softmax(&p[range.clone()]);
        p[range.clone()].copy_from_slice(&softened);
    }
    p
}

/// The shares of the routes of one token: joint probabilities over their sum.
pub(super) fn route_weights(levels: &Levels, p: &[f64], routes: &[Route]) -> Vec<f64> {
    let joint: Vec<f64> = routes.iter().map(|route| joint(levels, p, route)).collect();
    let sum: f64 = joint.iter().sum();
    joint.iter().map(|joint| joint / sum).collect()
}

fn joint(levels: &Levels, p: &[f64], route: &Route) -> f64 {
    let (tier, group) = (usize::from(route.key.tier), usize::from(route.key.group));
    let of_tier = p[levels.tiers.start + tier];
    let of_group = p[levels.groups[tier].start + group];
    of_tier * of_group * p[levels.experts[tier][group].start + usize::from(route.key.expert)]
}

/// Row-major matrix times vector.
fn times(matrix: &[f64], x: &[f64]) -> Vec<f64> {
    matrix.chunks_exact(x.len()).map(|row| dot(row, x)).collect()
}

pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn softmax(scores: &[f64]) -> Vec<f64> {
    let largest = scores.iter().fold(f64::NEG_INFINITY, |a, &b| a.max(b));
    let e: Vec<f64> = scores.iter().map(|score| pxfm::f_exp(score - largest)).collect();
    let sum: f64 = e.iter().sum();
    e.iter().map(|e| e / sum).collect()
}
