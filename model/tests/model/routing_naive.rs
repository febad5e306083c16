//! Routing against a naive implementation: everything sorted, every tie hashed, weights in `f64`.

use litecore_model::names::Level;
use litecore_model::routing::{Route, RouteContext, select};
use litecore_model::{ExpertKey, ModelConfig, TierSet};
use proptest::prelude::*;

use crate::tiny;

#[derive(Debug, Clone)]
struct Question {
    config: ModelConfig,
    allowed: Vec<bool>,
    context: RouteContext,
    tiers: Vec<f32>,
    groups: Vec<f32>,
    experts: Vec<f32>,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn select_agrees_with_the_naive_way(question in question()) {
        let found = ask(&question);
        let expected = naive(&question);
        let keys = |routes: &[Route]| routes.iter().map(|r| r.key).collect::<Vec<_>>();
        let naive_keys: Vec<ExpertKey> = expected.iter().map(|(key, _)| *key).collect();
        prop_assert_eq!(keys(&found), naive_keys);
        for (route, (_, weight)) in found.iter().zip(&expected) {
            prop_assert!((f64::from(route.weight) - weight).abs() <= 1e-6, "{route:?} {weight}");
        }
    }

    #[test]
    fn routes_are_few_sorted_allowed_and_sum_to_one(question in question()) {
        let found = ask(&question);
        let routing = question.config.routing;
        let most =
            routing.tiers_per_token * routing.groups_per_tier * routing.experts_per_group;
        prop_assert!(!found.is_empty() && found.len() <= most);
        prop_assert!(found.is_sorted_by(|a, b| a.key < b.key));
        prop_assert!(found.iter().all(|route| question.allowed[usize::from(route.key.tier)]));
        let sum: f64 = found.iter().map(|route| f64::from(route.weight)).sum();
        prop_assert!((sum - 1.0).abs() <= 1e-6, "{sum}");
    }
}

fn ask(question: &Question) -> Vec<Route> {
    let Question { config, allowed, context, tiers, groups, experts } = question;
    let ids = config.tiers.iter().zip(allowed).filter(|(_, allowed)| **allowed);
    let set = TierSet::Only(ids.map(|(tier, _)| tier.id.clone()).collect());
    let mask = set.resolve(config).unwrap();
    select(config, &mask, context, tiers, groups, experts).unwrap()
}

/// The same decision with a sort of `u128` keys at every level.
fn naive(question: &Question) -> Vec<(ExpertKey, f64)> {
    let Question { config, allowed, context, tiers, groups, experts } = question;
    let routing = config.routing;
    let mut routes = Vec::new();
    let everywhere: Vec<Option<f32>> =
        tiers.iter().zip(allowed).map(|(logit, allowed)| allowed.then_some(*logit)).collect();
    let (mut group_row, mut expert_row) = (0, 0);
    let chosen_tiers = level(context, (0, 0, 0), &everywhere, routing.tiers_per_token);
    for (t, tier) in (0_u16..).zip(&config.tiers) {
        let logits: Vec<_> = groups[group_row..][..tier.groups].iter().map(|l| Some(*l)).collect();
        let chosen_groups = level(context, (1, t, 0), &logits, routing.groups_per_tier);
        group_row += tier.groups;
        for g in (0_u16..).take(tier.groups) {
            let logits = &experts[expert_row..][..tier.experts_per_group];
            let logits: Vec<_> = logits.iter().map(|l| Some(*l)).collect();
            expert_row += tier.experts_per_group;
            for (e, p_expert) in level(context, (2, t, g), &logits, routing.experts_per_group) {
                let p_tier = chosen_tiers.iter().find(|(index, _)| *index == t);
                let p_group = chosen_groups.iter().find(|(index, _)| *index == g);
                if let (Some((_, p_tier)), Some((_, p_group))) = (p_tier, p_group) {
                    let key = ExpertKey { tier: t, group: g, expert: e };
                    routes.push((key, p_tier * p_group * p_expert));
                }
            }
        }
    }
    routes.sort_by_key(|(key, _)| *key);
    let sum: f64 = routes.iter().map(|(_, joint)| joint).sum();
    routes.into_iter().map(|(key, joint)| (key, joint / sum)).collect()
}

/// The chosen members of a level with their probabilities; `None` is masked.
fn level(
    context: &RouteContext,
    (level, tier, group): (u8, u16, u16),
    logits: &[Option<f32>],
    take: usize,
) -> Vec<(u16, f64)> {
    let scores: Vec<Option<i64>> = logits.iter().map(|logit| logit.map(score)).collect();
    let best = scores.iter().flatten().max().copied().unwrap_or(0);
    let exp = |score: i64| pxfm::f_exp((score - best) as f64 / 65536.0);
    let sum: f64 = scores.iter().flatten().map(|score| exp(*score)).sum();
    let mut order: Vec<(u128, u16, f64)> = Vec::new();
    for (index, score) in (0_u16..).zip(scores) {
        let Some(score) = score else { continue };
        let descending = u128::try_from(i64::from(i32::MAX) - score).unwrap();
        let hash = siphash(context, &message(context, level, tier, group, index));
        let key = descending << 80 | u128::from(hash) << 16 | u128::from(index);
        order.push((key, index, exp(score) / sum));
    }
    order.sort_by_key(|(key, ..)| *key);
    order.into_iter().take(take).map(|(_, index, probability)| (index, probability)).collect()
}

fn score(logit: f32) -> i64 {
    let scaled = (f64::from(logit) * 65536.0).clamp(f64::from(i32::MIN), f64::from(i32::MAX));
    let down = scaled.floor();
    // Ties to even, written out.
    let up = match (scaled - down).total_cmp(&0.5) {
        std::cmp::Ordering::Less => 0.0,
        std::cmp::Ordering::Greater => 1.0,
        std::cmp::Ordering::Equal => (down / 2.0).fract().abs() * 2.0,
    };
    format!("{:.0}", down + up).parse().unwrap()
}

fn message(context: &RouteContext, level: u8, tier: u16, group: u16, index: u16) -> Vec<u8> {
    let mut bytes = context.layer.to_le_bytes().to_vec();
    bytes.extend(context.position.to_le_bytes());
    bytes.push(level);
    for number in [tier, group, index] {
        bytes.extend(number.to_le_bytes());
    }
    bytes
}

/// `SipHash`-2-4 as its authors define it (Aumasson and Bernstein, section 2).
fn siphash(context: &RouteContext, bytes: &[u8]) -> u64 {
    fn round(v: &mut [u64; 4]) {
        v[0] = v[0].wrapping_add(v[1]);
        v[1] = v[1].rotate_left(13) ^ v[0];
        v[0] = v[0].rotate_left(32);
        v[2] = v[2].wrapping_add(v[3]);
        v[3] = v[3].rotate_left(16) ^ v[2];
        v[0] = v[0].wrapping_add(v[3]);
        v[3] = v[3].rotate_left(21) ^ v[0];
        v[2] = v[2].wrapping_add(v[1]);
        v[1] = v[1].rotate_left(17) ^ v[2];
        v[2] = v[2].rotate_left(32);
    }
    let key = context.seed.to_le_bytes();
    let word = |bytes: &[u8]| {
        let mut word = [0; 8];
        word[..bytes.len()].copy_from_slice(bytes);
        u64::from_le_bytes(word)
    };
    let (k0, k1) = (word(&key[..8]), word(&key[8..]));
    let initial = *b"somepseudorandomlygeneratedbytes";
    let start = |i: usize| u64::from_be_bytes(initial[8 * i..8 * i + 8].try_into().unwrap());
    let mut v = [k0 ^ start(0), k1 ^ start(1), k0 ^ start(2), k1 ^ start(3)];
    let mut padded = bytes.to_vec();
    padded.resize((bytes.len() / 8 + 1) * 8, 0);
    *padded.last_mut().unwrap() = u8::try_from(bytes.len() % 256).unwrap();
    for chunk in padded.chunks(8) {
        let m = word(chunk);
        v[3] ^= m;
        round(&mut v);
        round(&mut v);
        v[0] ^= m;
    }
    v[2] ^= 0xff;
    (0..4).for_each(|_| round(&mut v));
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

#[test]
fn the_hash_is_the_published_one() {
    // Appendix A of the paper: the key is 00 to 0f, the message 00 to 0e.
    let seed = u128::from_le_bytes(std::array::from_fn(|i| u8::try_from(i).unwrap()));
    let context = RouteContext { seed, layer: 0x0302_0100, position: 0x0b0a_0908_0706_0504 };
    let message: Vec<u8> = (0..15).collect();
    assert_eq!(siphash(&context, &message), 0xa129_ca61_49be_45e5);
    // The crate hashes 19 bytes; with them the two implementations agree.
    let bytes = self::message(&context, 2, 0x0e0d, 0x100f, 0x1211);
    let found = litecore_model::routing::tie_hash(&context, Level::Expert, 0x0e0d, 0x100f, 0x1211);
    assert_eq!(found, siphash(&context, &bytes));
}

/// Logits among which ties and extremes are common.
fn logit() -> impl Strategy<Value = f32> {
    prop_oneof![
        6 => (-4_i8..4).prop_map(|step| f32::from(step) / 2.0),
        6 => -12.0_f32..12.0,
        2 => (-9_i8..9).prop_map(|half| f32::from(half) * 0.5 / 65536.0),
        1 => prop_oneof![Just(f32::INFINITY), Just(f32::NEG_INFINITY), Just(f32::MAX), Just(0.0)],
        1 => -40000.0_f32..40000.0,
    ]
}

fn question() -> impl Strategy<Value = Question> {
    let tiers = prop::collection::vec((1_usize..5, 1_usize..6), 1..6);
    (tiers, any::<(u128, u32, u64)>()).prop_flat_map(|(tiers, (seed, layer, position))| {
        let groups: usize = tiers.iter().map(|(groups, _)| groups).sum();
        let experts: usize = tiers.iter().map(|(groups, experts)| groups * experts).sum();
        let most_groups = tiers.iter().map(|(groups, _)| *groups).max().unwrap_or(1);
        let most_experts = tiers.iter().map(|(_, experts)| *experts).max().unwrap_or(1);
        let logits = |count: usize| prop::collection::vec(logit(), count);
        let take = (1..=tiers.len(), 1..=most_groups, 1..=most_experts);
        let allowed = prop::collection::vec(any::<bool>(), tiers.len());
        let allowed = allowed.prop_filter("a tier", |allowed| allowed.contains(&true));
        let logits = (logits(tiers.len()), logits(groups), logits(experts));
        (Just(tiers), take, allowed, logits).prop_map(
            move |(shape, take, allowed, (tiers, groups, experts))| {
                let mut config = tiny::config();
                let tier = |(t, (groups, experts)): (usize, (usize, usize))| {
                    tiny::tier(&format!("t{t}"), groups, experts, 1)
                };
                config.tiers = shape.into_iter().enumerate().map(tier).collect();
                config.routing.tiers_per_token = take.0;
                config.routing.groups_per_tier = take.1;
                config.routing.experts_per_group = take.2;
                let context = RouteContext { seed, layer, position };
                Question { config, allowed, context, tiers, groups, experts }
            },
        )
    })
}
