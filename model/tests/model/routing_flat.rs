//! The flat rule against softmax and top-k written out plainly.

use litecore_model::names::Level;
use litecore_model::routing::{RouteContext, RoutingError, select, tie_hash};
use litecore_model::{ModelConfig, RoutingRule, TierMask};
use proptest::prelude::*;

use crate::tiny;

const CONTEXT: RouteContext = RouteContext { seed: 7, layer: 3, position: 11 };

fn model(experts: usize, take: usize, normalized: bool) -> ModelConfig {
    let mut config = tiny::config();
    config.tiers = vec![tiny::tier("experts", 1, experts, 1)];
    config.routing.tiers_per_token = 1;
    config.routing.experts_per_group = take;
    config.routing.rule = RoutingRule::Flat { normalized };
    config.validate().unwrap();
    config
}

fn routes(config: &ModelConfig, logits: &[f32]) -> Vec<(u16, f32)> {
    let routes = select(config, &TierMask::all(config), &CONTEXT, &[], &[], logits).unwrap();
    routes.iter().map(|route| (route.key.expert, route.weight)).collect()
}

proptest! {
    #[test]
    fn it_is_softmax_then_top_k(
        logits in prop::collection::vec(-30.0_f32..30.0, 1..40),
        take in 1_usize..40,
        normalized: bool,
    ) {
        let take = take.min(logits.len());
        let found = routes(&model(logits.len(), take, normalized), &logits);
        let mut order: Vec<usize> = (0..logits.len()).collect();
        order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
        let mut chosen = order[..take].to_vec();
        chosen.sort_unstable();
        // Distinct draws: an exact tie at the border is next to impossible.
        prop_assert_eq!(found.iter().map(|(e, _)| usize::from(*e)).collect::<Vec<_>>(), chosen.clone());
        let over: Vec<usize> = if normalized { chosen } else { (0..logits.len()).collect() };
        let exp = |logit: f32| pxfm::f_exp(f64::from(logit) - f64::from(logits[order[0]]));
        let sum: f64 = over.iter().map(|e| exp(logits[*e])).sum();
        for (expert, weight) in found {
            let truth = exp(logits[usize::from(expert)]) / sum;
            prop_assert!((f64::from(weight) - truth).abs() < 1e-5 * truth + 1e-12);
        }
    }
}

#[test]
fn logits_one_unit_apart_are_told_apart_and_ties_go_by_hash() {
    let near = [1.0_f32, 1.0_f32.next_up(), 1.0, 0.5];
    assert_eq!(routes(&model(4, 1, true), &near), [(1, 1.0)]);
    let small = [1e-3_f32, 1e-3_f32.next_down(), 1e-3_f32.next_up()];
    assert_eq!(routes(&model(3, 1, true), &small), [(2, 1.0)]);

    let tied = [2.0; 6];
    let first = (0..6).min_by_key(|e| tie_hash(&CONTEXT, Level::Expert, 0, 0, *e)).unwrap();
    assert_eq!(routes(&model(6, 1, true), &tied), [(first, 1.0)]);
    assert_eq!(routes(&model(6, 1, false), &tied), [(first, 1.0 / 6.0)]);
}

#[test]
fn infinities_are_ordered_and_not_a_number_is_an_error() {
    assert_eq!(routes(&model(3, 1, true), &[f32::INFINITY, 3.0, f32::NEG_INFINITY]), [(0, 1.0)]);
    let config = model(3, 1, true);
    let logits = [0.0, f32::NAN, 0.0];
    let error = select(&config, &TierMask::all(&config), &CONTEXT, &[], &[], &logits).unwrap_err();
    assert!(matches!(error, RoutingError::NotANumber { level: Level::Expert, index: 1, .. }));
    let error = select(&config, &TierMask::all(&config), &CONTEXT, &[0.0], &[], &logits);
    assert!(matches!(error, Err(RoutingError::LogitCount { level: Level::Tier, expected: 0, .. })));
}
