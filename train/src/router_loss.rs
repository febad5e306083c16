//! The load-balance penalty of the routers.
//!
//! At each level and below each parent, let `u` be the mean probability of the members over the
//! tokens that came to that parent. The penalty is `α · KL(u ‖ uniform)`, summed over parents and
//! layers; tokens with a restricted tier set do not count at the tier level.

use std::ops::Range;

use litecore_kernels::math::ln;
use litecore_model::TierMask;

use crate::config::BalanceConfig;
use crate::experts::Routes;
use crate::router::Levels;

/// Adds the gradients of one layer's penalty to `dlogits` and returns the penalty in nats.
///
/// Shape: `probabilities` and `dlogits` are tokens × logits. Order: tokens ascending, in f32 for
/// gradients and f64 for the means.
pub(crate) fn add_penalty(
    levels: &Levels,
    balance: &BalanceConfig,
    masks: &[TierMask],
    routes: &Routes,
    probabilities: &[f32],
    dlogits: &mut [f32],
) -> f64 {
    let tokens = probabilities.len() / levels.logits;
    let length = tokens / masks.len();
    let mut contests = Contests::new(levels, balance);
    for token in 0..tokens {
        let mask = &masks[token / length];
        let row = &probabilities[token * levels.logits..][..levels.logits];
        contests.each(routes, token, mask, |contest| contest.count(row));
    }
    let penalty = contests.all.iter_mut().map(Contest::settle).fold(0.0, |sum, kl| sum + kl);
    for token in 0..tokens {
        let mask = &masks[token / length];
        let row = &probabilities[token * levels.logits..][..levels.logits];
        let gradient = &mut dlogits[token * levels.logits..][..levels.logits];
        contests.each(routes, token, mask, |contest| contest.add_gradient(row, gradient));
    }
    penalty
}

/// One parent and its members.
struct Contest {
    range: Range<usize>,
    alpha: f64,
    tokens: usize,
    sums: Vec<f64>,
    /// The derivative of the penalty by each member's probability in one token.
    slopes: Vec<f32>,
}

impl Contest {
    fn new(range: &Range<usize>, alpha: f32) -> Self {
        let sums = vec![0.0; range.len()];
        let slopes = vec![0.0; range.len()];
        Self { range: range.clone(), alpha: f64::from(alpha), tokens: 0, sums, slopes }
    }

    fn count(&mut self, row: &[f32]) {
        self.tokens += 1;
        for (sum, &p) in self.sums.iter_mut().zip(&row[self.range.clone()]) {
            *sum += f64::from(p);
        }
    }

    /// Fixes the slopes and returns the penalty: `d KL / d u_m = ln(u_m·n) + 1`.
    #[allow(clippy::cast_possible_truncation, reason = "slopes are used in f32")]
    fn settle(&mut self) -> f64 {
        if self.tokens == 0 {
            return 0.0;
        }
        let members = self.sums.len() as f64;
        let mut penalty = 0.0;
        for (slope, sum) in self.slopes.iter_mut().zip(&self.sums) {
            let share = sum / self.tokens as f64;
            let log = f64::from(ln((share * members).max(1e-12) as f32));
            penalty += share * log;
            *slope = (self.alpha * (log + 1.0) / self.tokens as f64) as f32;
        }
        self.alpha * penalty
    }

    fn add_gradient(&self, row: &[f32], gradient: &mut [f32]) {
        let row = &row[self.range.clone()];
        let mean: f32 = row.iter().zip(&self.slopes).map(|(p, slope)| p * slope).sum();
        let members = gradient[self.range.clone()].iter_mut().zip(row).zip(&self.slopes);
        for ((gradient, p), slope) in members {
            *gradient += p * (slope - mean);
        }
    }
}

/// All contests of one layer: of the tiers, of each tier's groups, of each group's experts.
struct Contests {
    all: Vec<Contest>,
    /// The contest of each tier's groups.
    groups: Vec<usize>,
    /// The contest of each group's experts.
    experts: Vec<Vec<usize>>,
}

impl Contests {
    fn new(levels: &Levels, balance: &BalanceConfig) -> Self {
        let mut all = vec![Contest::new(&levels.tiers, balance.tier)];
        let mut add = |range: &Range<usize>, alpha: f32| {
            all.push(Contest::new(range, alpha));
            all.len() - 1
        };
        let groups = levels.groups.iter().map(|range| add(range, balance.group)).collect();
        let experts = levels.experts.iter();
        let experts = experts
            .map(|tier| tier.iter().map(|range| add(range, balance.expert)).collect())
            .collect();
        Self { all, groups, experts }
    }

    /// Visits the contests that a token took part in, each once, in a fixed order.
    fn each(
        &mut self,
        routes: &Routes,
        token: usize,
        mask: &TierMask,
        mut visit: impl FnMut(&mut Contest),
    ) {
        if mask.allowed() == mask.tiers() {
            visit(&mut self.all[0]);
        }
        let mut before = None;
        for route in &routes.all[routes.of(token)] {
            let (tier, group) = (usize::from(route.key.tier), usize::from(route.key.group));
            if before.is_none_or(|(last, _)| last != tier) {
                visit(&mut self.all[self.groups[tier]]);
            }
            if before != Some((tier, group)) {
                visit(&mut self.all[self.experts[tier][group]]);
            }
            before = Some((tier, group));
        }
    }
}
