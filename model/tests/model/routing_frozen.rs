//! Routing decisions frozen in `golden/routing.json`, made by a second implementation
//! (`golden/routing.py`), bit for bit.

use litecore_model::names::Level;
use litecore_model::routing::{RouteContext, RoutingError, score, select, tie_hash};
use litecore_model::{ModelConfig, Seed128, TierId, TierSet};
use serde::Deserialize;

use crate::tiny;

#[derive(Deserialize)]
struct Case {
    name: String,
    tiers: Vec<(usize, usize)>,
    take: (usize, usize, usize),
    allowed: Vec<usize>,
    seed: String,
    layer: u32,
    position: u64,
    tier_logits: Vec<String>,
    group_logits: Vec<String>,
    expert_logits: Vec<String>,
    expected: Expected,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Expected {
    Routes(Vec<(u16, u16, u16, String)>),
    NotANumber(String, usize),
}

fn model(tiers: &[(usize, usize)], take: (usize, usize, usize)) -> ModelConfig {
    let mut config = tiny::config();
    let tier = |(index, &(groups, experts)): (usize, &(usize, usize))| {
        tiny::tier(&format!("t{index}"), groups, experts, 1)
    };
    config.tiers = tiers.iter().enumerate().map(tier).collect();
    config.routing.tiers_per_token = take.0;
    config.routing.groups_per_tier = take.1;
    config.routing.experts_per_group = take.2;
    config.validate().unwrap();
    config
}

fn parse(logits: &[String]) -> Vec<f32> {
    logits.iter().map(|logit| logit.parse().unwrap()).collect()
}

#[test]
fn decisions_are_frozen() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("../golden/routing.json")).unwrap();
    assert_eq!(cases.len(), 22);
    for case in cases {
        let config = model(&case.tiers, case.take);
        let allowed = case.allowed.iter().map(|&index| config.tiers[index].id.clone());
        let mask = TierSet::Only(allowed.collect()).resolve(&config).unwrap();
        let seed = case.seed.parse::<Seed128>().unwrap().0;
        let context = RouteContext { seed, layer: case.layer, position: case.position };
        let (tiers, groups, experts) =
            (parse(&case.tier_logits), parse(&case.group_logits), parse(&case.expert_logits));
        let found = select(&config, &mask, &context, &tiers, &groups, &experts);
        match case.expected {
            Expected::Routes(expected) => {
                let found = found.unwrap().into_iter().map(|route| {
                    let weight = format!("{:08x}", route.weight.to_bits());
                    (route.key.tier, route.key.group, route.key.expert, weight)
                });
                assert_eq!(found.collect::<Vec<_>>(), expected, "{}", case.name);
            }
            Expected::NotANumber(expected, at) => {
                let Err(RoutingError::NotANumber { layer, position, level, index }) = found else {
                    panic!("{}: {found:?}", case.name);
                };
                assert_eq!((layer, position), (case.layer, case.position));
                assert_eq!((format!("{level:?}"), index), (expected, at), "{}", case.name);
            }
        }
    }
}

#[test]
fn hashes_are_frozen() {
    // From golden/routing.py: tie_hash with this seed, layer 1, position 2.
    let context =
        RouteContext { seed: 0x0123_4567_89ab_cdef_fedc_ba98_7654_3210, layer: 1, position: 2 };
    assert_eq!(tie_hash(&context, Level::Tier, 0, 0, 3), FROZEN_TIER);
    assert_eq!(tie_hash(&context, Level::Group, 3, 0, 4), FROZEN_GROUP);
    assert_eq!(tie_hash(&context, Level::Expert, 3, 4, 5), FROZEN_EXPERT);
}

#[test]
fn scores_are_fixed_point() {
    let step = 1.0 / 65536.0;
    let cases = [
        (0.0, 0),
        (-0.0, 0),
        (1.0, 65536),
        (-1.0, -65536),
        (0.5 * step, 0),
        (1.5 * step, 2),
        (2.5 * step, 2),
        (-1.5 * step, -2),
        (f32::MIN_POSITIVE, 0),
        (32767.998, 2_147_483_520),
        (32768.0, i32::MAX),
        (-32768.0, i32::MIN),
        (-32769.0, i32::MIN),
        (f32::MAX, i32::MAX),
        (f32::INFINITY, i32::MAX),
        (f32::NEG_INFINITY, i32::MIN),
    ];
    for (logit, expected) in cases {
        assert_eq!(score(logit), Some(expected), "{logit}");
    }
    assert_eq!(score(f32::NAN), None);
}

#[test]
fn an_appended_tier_changes_nothing_inside_the_others() {
    // All logits equal, so that hashes decide everything inside the tiers.
    let before = model(&[(3, 5), (4, 4)], (2, 2, 2));
    let after = model(&[(3, 5), (4, 4), (2, 7)], (3, 2, 2));
    for position in 0..50 {
        let context = RouteContext { seed: 11, layer: 3, position };
        let keys = |config: &ModelConfig, tiers: usize| {
            let mask = TierSet::All.resolve(config).unwrap();
            let (groups, experts) = (config.group_rows(), config.expert_rows());
            let logits = [vec![0.0; tiers], vec![0.0; groups], vec![0.0; experts]];
            let routes =
                select(config, &mask, &context, &logits[0], &logits[1], &logits[2]).unwrap();
            let keys = routes.into_iter().map(|route| route.key);
            keys.filter(|key| key.tier < 2).collect::<Vec<_>>()
        };
        assert_eq!(keys(&before, 2), keys(&after, 3));
    }
}

#[test]
fn inputs_that_do_not_fit_are_refused() {
    let config = model(&[(2, 2), (2, 3)], (2, 1, 1));
    let mask = TierSet::All.resolve(&config).unwrap();
    let context = RouteContext { seed: 0, layer: 7, position: 9 };
    let route = |mask, tiers, groups, experts| {
        let logits = [vec![0.0; tiers], vec![0.0; groups], vec![0.0; experts]];
        select(&config, mask, &context, &logits[0], &logits[1], &logits[2]).unwrap_err()
    };
    let count = |level, expected, found| RoutingError::LogitCount { level, expected, found };
    assert_eq!(route(&mask, 1, 4, 10), count(Level::Tier, 2, 1));
    assert_eq!(route(&mask, 2, 5, 10), count(Level::Group, 4, 5));
    assert_eq!(route(&mask, 2, 4, 0), count(Level::Expert, 10, 0));
    let other = TierSet::All.resolve(&model(&[(1, 1)], (1, 1, 1))).unwrap();
    assert_eq!(route(&other, 2, 4, 10), RoutingError::ForeignMask { expected: 2, found: 1 });
    let none = TierSet::Only(Vec::<TierId>::new()).resolve(&config).unwrap();
    assert_eq!(route(&none, 2, 4, 10), RoutingError::NoTier { layer: 7, position: 9 });
}

const FROZEN_TIER: u64 = 0x937a_a182_30a3_d9c0;
const FROZEN_GROUP: u64 = 0xd7ed_01bf_9e04_b58b;
const FROZEN_EXPERT: u64 = 0x7a35_6d9d_7dd2_bd3e;
