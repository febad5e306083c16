//! Which experts a token goes to: a pure function of logits, mask, seed, layer and position.
//!
//! # Selection
//! Three levels: tiers of the model, groups of each selected tier, experts of each selected group.
//! At each level:
//! 1. Only members the mask allows take part (it masks tiers; groups and experts follow).
//! 2. Every logit becomes a fixed-point score: `round_ties_even(logit · 65536)`, saturated to
//!    `i32` (so an infinite logit is the largest or smallest score). Not-a-number is an error.
//! 3. The first `k` in this order are selected, or all if there are fewer: score descending, then
//!    [`tie_hash`] ascending, then index ascending.
//!
//! # Weights
//! All in `f32`. At each level, over *all members that take part* (not only the selected ones), in
//! ascending index order: `e_i = exp((score_i − score_max) / 65536)`, where the difference is taken
//! in integers, becomes the nearest `f32` and is divided exactly, and `exp` is correctly rounded;
//! `s` is the sum of the `e_i` from +0 in ascending order; `p_i = e_i / s`. The joint probability
//! of an expert is `(p_tier · p_group) · p_expert`. The weight is the joint probability divided by
//! the sum, from +0 in ascending key order, of those of all selected experts.
//!
//! # The flat rule
//! Models made elsewhere have one router over the experts of one group. The first `k` experts are
//! selected as above, with scores in steps of 2^-40 that saturate at the limits of `i64`, so that
//! every logit of magnitude 2^-17 or more counts exactly. Weights come from the logits themselves:
//! `e_i = exp(logit_i − logit_max)`, `p_i = e_i / s` over *all* experts, and where the rule says
//! so, the weight is `p_i` divided by the sum, from +0 in ascending order, of the selected ones.
//!
//! # Growth
//! Nothing about a tier enters the selection inside another one, and the hash knows a tier by its
//! index. So appending a tier to a model leaves hashes and selection inside the existing tiers as
//! they were.

use std::hash::Hasher;

use siphasher::sip::SipHasher24;

use crate::config::{ModelConfig, RoutingRule};
use crate::expert::ExpertKey;
use crate::names::Level;
use crate::tier::TierMask;

/// Where in the computation a routing decision is made, and under which seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteContext {
    /// The base seed: of the model, or of the request that overrides it.
    pub seed: u128,
    /// Which layer.
    pub layer: u32,
    /// Absolute position of the token in its sequence.
    pub position: u64,
}

/// One expert a token goes to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Route {
    /// Which expert.
    pub key: ExpertKey,
    /// Its share in the output; the weights of one decision sum to one, unless the flat rule says
    /// that they are not to be normalized.
    pub weight: f32,
}

/// Why no routing decision can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RoutingError {
    /// A router computed something that is not a number.
    #[error(
        "the {level:?} router gave not-a-number at index {index} (layer {layer}, position \
         {position}): the weights or the activations are damaged, verify the checkpoint"
    )]
    NotANumber {
        /// Which layer.
        layer: u32,
        /// Which position.
        position: u64,
        /// Which router.
        level: Level,
        /// Which of its outputs.
        index: usize,
    },
    /// A router gave a number of logits other than the configuration says.
    #[error("the {level:?} router gave {found} logits, the model has {expected}")]
    LogitCount {
        /// Which router.
        level: Level,
        /// How many outputs the configuration says it has.
        expected: usize,
        /// How many were given.
        found: usize,
    },
    /// The mask was made for a model with another number of tiers.
    #[error("the tier mask is for {found} tiers, the model has {expected}: resolve it again")]
    ForeignMask {
        /// How many tiers the model has.
        expected: usize,
        /// How many the mask is for.
        found: usize,
    },
    /// The mask allows no tier.
    #[error("no tier is allowed (layer {layer}, position {position}): allow at least one")]
    NoTier {
        /// Which layer.
        layer: u32,
        /// Which position.
        position: u64,
    },
}

/// The experts a token goes to by routing, sorted by key.
///
/// Shape: `tier_logits` has one element per routed tier, `group_logits` one per group of all of them
/// (tier-major), `expert_logits` one per expert of all of them (tier-major, then group-major); the
/// first two are empty under the flat rule. At most
/// `tiers_per_token · groups_per_tier · experts_per_group` routes come out. Only logits of members
/// that take part are looked at. See the [module](self) for the exact meaning.
///
/// Errors: [`RoutingError`].
pub fn select(
    config: &ModelConfig,
    mask: &TierMask,
    context: &RouteContext,
    tier_logits: &[f32],
    group_logits: &[f32],
    expert_logits: &[f32],
) -> Result<Vec<Route>, RoutingError> {
    check_count(Level::Tier, config.tier_rows(), tier_logits.len())?;
    check_count(Level::Group, config.group_rows(), group_logits.len())?;
    check_count(Level::Expert, config.expert_rows(), expert_logits.len())?;
    if mask.tiers() != config.tiers.len() {
        return Err(RoutingError::ForeignMask {
            expected: config.tiers.len(),
            found: mask.tiers(),
        });
    }

    let routing = &config.routing;
    if let RoutingRule::Flat { normalized } = routing.rule {
        return select_flat(mask, context, expert_logits, routing.experts_per_group, normalized);
    }
    let tiers = Contest { context, level: Level::Tier, tier: 0, group: 0, first: 0 };
    let tiers = tiers.decide(tier_logits, |tier| mask.allows(tier), routing.tiers_per_token)?;
    if tiers.is_empty() {
        return Err(RoutingError::NoTier { layer: context.layer, position: context.position });
    }
    let mut routes = Vec::new();
    for Winner { index: tier, probability: of_tier } in tiers {
        // The counts were checked, so the ranges lie inside the slices.
        let before = &config.tiers[..usize::from(tier)];
        let entry = &config.tiers[usize::from(tier)];
        let first_group: usize = before.iter().map(|tier| tier.groups).sum();
        let first_expert: usize = before.iter().map(crate::TierConfig::experts).sum();
        let groups = Contest { context, level: Level::Group, tier, group: 0, first: first_group };
        let logits = &group_logits[first_group..first_group + entry.groups];
        for Winner { index: group, probability: of_group } in
            groups.decide(logits, |_| true, routing.groups_per_tier)?
        {
            let first = first_expert + usize::from(group) * entry.experts_per_group;
            let experts = Contest { context, level: Level::Expert, tier, group, first };
            let logits = &expert_logits[first..first + entry.experts_per_group];
            for Winner { index: expert, probability: of_expert } in
                experts.decide(logits, |_| true, routing.experts_per_group)?
            {
                let key = ExpertKey { tier, group, expert };
                routes.push(Route { key, weight: of_tier * of_group * of_expert });
            }
        }
    }
    normalise(&mut routes);
    Ok(routes)
}

/// [`select`] under the flat rule; the routed tier is the first.
fn select_flat(
    mask: &TierMask,
    context: &RouteContext,
    logits: &[f32],
    take: usize,
    normalized: bool,
) -> Result<Vec<Route>, RoutingError> {
    if !mask.allows(0) || logits.is_empty() {
        return Err(RoutingError::NoTier { layer: context.layer, position: context.position });
    }
    let contest = Contest { context, level: Level::Expert, tier: 0, group: 0, first: 0 };
    let mut members = contest.members(logits, |_| true, fine_score)?;
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0_f32;
    for (member, logit) in members.iter_mut().zip(logits) {
        // Equal infinities differ by zero, not by not-a-number.
        let below = if logit.to_bits() == largest.to_bits() { 0.0 } else { logit - largest };
        member.probability = pxfm::f_expf(below);
        sum += member.probability;
    }
    for member in &mut members {
        member.probability /= sum;
    }
    let winners = contest.best(members, take).into_iter().map(|winner| Route {
        key: ExpertKey { tier: 0, group: 0, expert: winner.index },
        weight: winner.probability,
    });
    let mut routes: Vec<Route> = winners.collect();
    if normalized {
        normalise(&mut routes);
    }
    Ok(routes)
}

/// The hash that decides between equal scores: `SipHash`-2-4, keyed by the seed's 16 little-endian
/// bytes, over little-endian `layer` (4 bytes), `position` (8), level (1: tier 0, group 1,
/// expert 2), `tier` (2), `group` (2) and `index` (2).
///
/// `tier` is zero at the tier level, `group` is zero at the tier and group levels; `index` is the
/// index of the member within its level.
pub fn tie_hash(context: &RouteContext, level: Level, tier: u16, group: u16, index: u16) -> u64 {
    let mut hasher = SipHasher24::new_with_key(&context.seed.to_le_bytes());
    hasher.write(&context.layer.to_le_bytes());
    hasher.write(&context.position.to_le_bytes());
    hasher.write(&[match level {
        Level::Tier => 0,
        Level::Group => 1,
        Level::Expert => 2,
    }]);
    hasher.write(&tier.to_le_bytes());
    hasher.write(&group.to_le_bytes());
    hasher.write(&index.to_le_bytes());
    hasher.finish()
}

/// The fixed-point score of a logit (Q16, ties to even, saturated), or nothing for not-a-number.
#[allow(clippy::cast_possible_truncation, reason = "a float becomes an integer by saturation")]
pub fn score(logit: f32) -> Option<i32> {
    // The product is exact: a power of two, and overflow is the infinity that saturates anyway.
    (!logit.is_nan()).then(|| (logit * 65536.0).round_ties_even() as i32)
}

/// The score of a logit in steps of 2^-40 (ties to even, saturated), or nothing for not-a-number.
#[allow(clippy::cast_possible_truncation, reason = "a float becomes an integer by saturation")]
fn fine_score(logit: f32) -> Option<i64> {
    (!logit.is_nan()).then(|| (f64::from(logit) * 1_099_511_627_776.0).round_ties_even() as i64)
}

/// One decision among the members of one level.
struct Contest<'a> {
    context: &'a RouteContext,
    level: Level,
    tier: u16,
    group: u16,
    /// Where the members' logits start in the output of the router, for errors.
    first: usize,
}

/// A member of a level that takes part.
struct Member {
    index: u16,
    score: i64,
    probability: f32,
}

/// A member that was selected.
struct Winner {
    index: u16,
    probability: f32,
}

impl Contest<'_> {
    /// The `take` best members, by ascending index.
    fn decide(
        &self,
        logits: &[f32],
        takes_part: impl Fn(u16) -> bool,
        take: usize,
    ) -> Result<Vec<Winner>, RoutingError> {
        let coarse = |logit| score(logit).map(i64::from);
        let mut members = self.members(logits, takes_part, coarse)?;
        fill_probabilities(&mut members);
        Ok(self.best(members, take))
    }

    /// The members that take part, without probabilities.
    fn members(
        &self,
        logits: &[f32],
        takes_part: impl Fn(u16) -> bool,
        score: impl Fn(f32) -> Option<i64>,
    ) -> Result<Vec<Member>, RoutingError> {
        let mut members = Vec::with_capacity(logits.len());
        for (index, &logit) in (0..=u16::MAX).zip(logits) {
            if takes_part(index) {
                let score = score(logit).ok_or_else(|| self.not_a_number(index))?;
                members.push(Member { index, score, probability: 0.0 });
            }
        }
        Ok(members)
    }

    /// The `take` members of the best scores, by ascending index.
    fn best(&self, mut members: Vec<Member>, take: usize) -> Vec<Winner> {
        // Hashes are needed for ties only, which are rare.
        let hash = |member: &Member| {
            tie_hash(self.context, self.level, self.tier, self.group, member.index)
        };
        members.sort_unstable_by(|a, b| {
            let by_score = b.score.cmp(&a.score);
            by_score.then_with(|| hash(a).cmp(&hash(b))).then(a.index.cmp(&b.index))
        });
        members.truncate(take);
        members.sort_unstable_by_key(|member| member.index);
        members.iter().map(|m| Winner { index: m.index, probability: m.probability }).collect()
    }

    fn not_a_number(&self, index: u16) -> RoutingError {
        RoutingError::NotANumber {
            layer: self.context.layer,
            position: self.context.position,
            level: self.level,
            index: self.first + usize::from(index),
        }
    }
}

/// Softmax over the scores, in ascending index order.
fn fill_probabilities(members: &mut [Member]) {
    let Some(best) = members.iter().map(|member| member.score).max() else { return };
    let mut sum = 0.0_f32;
    for member in members.iter_mut() {
        let difference = member.score - best;
        member.probability = pxfm::f_expf(difference as f32 / 65536.0);
        sum += member.probability;
    }
    for member in members {
        member.probability /= sum;
    }
}

/// Divides the joint probabilities by their sum. The best of each level has at least the mean
/// probability there, so the sum is positive.
fn normalise(routes: &mut [Route]) {
    let mut sum = 0.0_f32;
    for route in routes.iter() {
        sum += route.weight;
    }
    for route in routes {
        route.weight /= sum;
    }
}

fn check_count(level: Level, expected: usize, found: usize) -> Result<(), RoutingError> {
    if expected == found {
        Ok(())
    } else {
        Err(RoutingError::LogitCount { level, expected, found })
    }
}
