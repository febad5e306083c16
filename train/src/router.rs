//! Routers: which experts each token takes, and the gradient of that choice's weights.

use std::ops::Range;

use litecore_kernels::math::softmax_in_place;
use litecore_model::routing::{Route, RouteContext, RoutingError, select};
use litecore_model::{ModelConfig, TierMask};
use rayon::prelude::*;

use crate::experts::Routes;

/// Where the members of each level lie among a token's logits: tiers, then all groups, then all
/// experts.
#[derive(Debug, Clone)]
pub(crate) struct Levels {
    /// Logits per token.
    pub(crate) logits: usize,
    /// All tiers.
    pub(crate) tiers: Range<usize>,
    /// The groups of each tier.
    pub(crate) groups: Vec<Range<usize>>,
    /// The experts of each group, tier-major.
    pub(crate) experts: Vec<Vec<Range<usize>>>,
    /// Where the logits of groups and of experts start.
    splits: (usize, usize),
}

impl Levels {
    pub(crate) fn new(config: &ModelConfig) -> Self {
        let tiers = 0..config.tiers.len();
        let mut next = tiers.end;
        let mut take = |count: usize| {
            next += count;
            next - count..next
        };
        let groups: Vec<_> = config.tiers.iter().map(|tier| take(tier.groups)).collect();
        let experts = config.tiers.iter();
        let experts: Vec<Vec<_>> = experts
            .map(|tier| (0..tier.groups).map(|_| take(tier.experts_per_group)).collect())
            .collect();
        let splits = (tiers.end, tiers.end + config.group_rows());
        Self { logits: next, tiers, groups, experts, splits }
    }

    /// Routes of all sequences. `masks` has one entry per sequence.
    pub(crate) fn route(
        &self,
        config: &ModelConfig,
        layer: u32,
        masks: &[TierMask],
        logits: &[f32],
    ) -> Result<Vec<Vec<Vec<Route>>>, RoutingError> {
        let length = logits.len() / masks.len();
        let chunks = logits.par_chunks(length).zip(masks);
        let seed = config.routing.seed.0;
        let sequence = |(logits, mask): (&[f32], &TierMask)| {
            let tokens = logits.chunks_exact(self.logits).zip(0_u64..);
            let token = |(logits, position): (&[f32], u64)| {
                let (tiers, rest) = logits.split_at(self.splits.0);
                let (groups, experts) = rest.split_at(self.splits.1 - self.splits.0);
                let context = RouteContext { seed, layer, position };
                select(config, mask, &context, tiers, groups, experts)
            };
            tokens.map(token).collect::<Result<Vec<_>, _>>()
        };
        chunks.map(sequence).collect()
    }

    /// Turns the logits of each token into probabilities, level by level; masked tiers get zero.
    pub(crate) fn probabilities(&self, masks: &[TierMask], logits: &mut [f32]) {
        let length = logits.len() / masks.len();
        logits.par_chunks_mut(length).zip(masks).for_each(|(logits, mask)| {
            for row in logits.chunks_exact_mut(self.logits) {
                for (tier, logit) in (0_u16..).zip(&mut row[self.tiers.clone()]) {
                    if !mask.allows(tier) {
                        *logit = f32::NEG_INFINITY;
                    }
                }
                softmax_in_place(&mut row[self.tiers.clone()]);
                for range in self.groups.iter().chain(self.experts.iter().flatten()) {
                    softmax_in_place(&mut row[range.clone()]);
                }
            }
        });
    }

    /// Gradients of the logits from those of the route weights.
    ///
    /// With `w_i` the weights of a token and `g_i = w_i·(dw_i − Σ w_j·dw_j)` the gradients of the
    /// logarithms of the joint probabilities, each level passes through its softmax:
    /// `dz_m = Σ_{i under m} g_i − p_m·Σ_{i under m's parent} g_i`.
    ///
    /// Shape: `probabilities` and `dlogits` are tokens × logits; `dlogits` is overwritten.
    pub(crate) fn backward(
        &self,
        routes: &Routes,
        dweights: &[f32],
        probabilities: &[f32],
        rows: usize,
        dlogits: &mut [f32],
    ) {
        let size = rows * self.logits;
        let chunks = dlogits.par_chunks_mut(size).zip(probabilities.par_chunks(size)).enumerate();
        chunks.for_each(|(chunk, (dlogits, probabilities))| {
            let each = dlogits.chunks_exact_mut(self.logits);
            for (index, (d, p)) in each.zip(probabilities.chunks_exact(self.logits)).enumerate() {
                d.fill(0.0);
                self.backward_token(routes, routes.of(chunk * rows + index), dweights, p, d);
            }
        });
    }

    fn backward_token(
        &self,
        routes: &Routes,
        range: Range<usize>,
        dweights: &[f32],
        probabilities: &[f32],
        dlogits: &mut [f32],
    ) {
        let mean: f32 = range.clone().map(|i| routes.all[i].weight * dweights[i]).sum();
        for i in range {
            let Route { key, weight } = routes.all[i];
            let g = weight * (dweights[i] - mean);
            let (tier, group) = (usize::from(key.tier), usize::from(key.group));
            let groups = &self.groups[tier];
            let experts = &self.experts[tier][group];
            pass(&self.tiers, tier, g, probabilities, dlogits);
            pass(groups, group, g, probabilities, dlogits);
            pass(experts, usize::from(key.expert), g, probabilities, dlogits);
        }
    }
}

/// Adds the gradient of `g · ln softmax(logits)[chosen]`.
fn pass(range: &Range<usize>, chosen: usize, g: f32, probabilities: &[f32], dlogits: &mut [f32]) {
    let members = dlogits[range.clone()].iter_mut().zip(&probabilities[range.clone()]);
    for (index, (d, p)) in members.enumerate() {
        let own = if index == chosen { 1.0 } else { 0.0 };
        *d += g * (own - p);
    }
}
