//! Route weights and the load-balance penalty.

use litecore_model::routing::Route;
use litecore_model::{ExpertKey, ModelConfig, TierMask};

use super::reference::{dot, level_probabilities, penalty, route_weights};
use super::{assert_slopes, mask, normals, tiny, wide};
use crate::config::BalanceConfig;
use crate::experts::Routes;
use crate::router::Levels;
use crate::router_loss::add_penalty;

const BALANCE: BalanceConfig = BalanceConfig { tier: 0.7, group: 0.5, expert: 0.3 };
/// Tokens per sequence.
const LENGTH: usize = 4;

/// Routed tokens of sequences with different tier sets.
struct Case {
    levels: Levels,
    masks: Vec<TierMask>,
    logits: Vec<f32>,
    /// The routes of each token.
    tokens: Vec<Vec<Route>>,
    routes: Routes,
    probabilities: Vec<f32>,
}

impl Case {
    fn new(config: &ModelConfig, key: u64) -> Self {
        let levels = Levels::new(config);
        let masks: Vec<_> = ["all", "small", "..=medium"].map(|t| mask(config, t)).into();
        let logits = normals(key, masks.len() * LENGTH * levels.logits);
        let sequences = levels.route(config, 1, &masks, &logits).unwrap();
        let tokens = sequences.concat();
        let mut routes = Routes::default();
        routes.fill(config, sequences);
        let mut probabilities = logits.clone();
        levels.probabilities(&masks, &mut probabilities);
        Self { levels, masks, logits, tokens, routes, probabilities }
    }

    /// Probabilities of every token in f64.
    fn reference(&self, logits: &[f64]) -> Vec<Vec<f64>> {
        let tokens = logits.chunks_exact(self.levels.logits).enumerate();
        let token = |(token, logits): (usize, &[f64])| {
            let mask = &self.masks[token / LENGTH];
            level_probabilities(&self.levels, logits, |tier| mask.allows(tier))
        };
        tokens.map(token).collect()
    }

    /// The route weights of all tokens, in order.
    fn weights(&self, logits: &[f64]) -> Vec<f64> {
        let tokens = self.reference(logits).into_iter().zip(&self.tokens);
        tokens.flat_map(|(p, routes)| route_weights(&self.levels, &p, routes)).collect()
    }
}

#[test]
fn route_weights_equal_the_reference() {
    for experts_per_group in [1, 2] {
        let case = Case::new(&tiny(experts_per_group), 7);
        for (route, expected) in case.routes.all.iter().zip(case.weights(&wide(&case.logits))) {
            // The routing rule rounds logits to multiples of 2^-16.
            assert!((f64::from(route.weight) - expected).abs() < 2e-5);
        }
    }
}

#[test]
fn router_gradients_equal_differences() {
    for experts_per_group in [1, 2] {
        let mut case = Case::new(&tiny(experts_per_group), 7);
        // The exact weights, not those of logits rounded to multiples of 2^-16.
        let exact = case.weights(&wide(&case.logits));
        #[allow(clippy::cast_possible_truncation, reason = "weights are used in f32")]
        for (route, weight) in case.routes.all.iter_mut().zip(exact) {
            route.weight = weight as f32;
        }
        let dweights = normals(8, case.routes.all.len());
        let mut dlogits = vec![f32::NAN; case.logits.len()];
        let (routes, p) = (&case.routes, &case.probabilities);
        // Chunks of five tokens, the last one is shorter.
        case.levels.backward(routes, &dweights, p, 5, &mut dlogits);
        assert_slopes(&dlogits, &case.logits, 1, |z| dot(&case.weights(z), &wide(&dweights)));
    }
}

#[test]
fn balance_gradients_equal_differences() {
    for experts_per_group in [1, 2] {
        let case = Case::new(&tiny(experts_per_group), 9);
        let mut dlogits = vec![0.0; case.logits.len()];
        let (levels, masks, routes) = (&case.levels, &case.masks, &case.routes);
        let p = &case.probabilities;
        let found = add_penalty(levels, &BALANCE, masks, routes, p, &mut dlogits);
        let expected =
            |z: &[f64]| penalty(levels, &BALANCE, masks, &case.tokens, &case.reference(z));
        let error = found - expected(&wide(&case.logits));
        assert!(error.abs() < 1e-6, "the penalty is off by {error:e}");
        assert_slopes(&dlogits, &case.logits, 1, expected);
    }
}

/// Even shares cost nothing; everything in one of `n` members costs `ln n`.
#[test]
fn the_penalty_of_even_and_of_one_sided_shares() {
    let config = tiny(1);
    let levels = Levels::new(&config);
    let masks = [TierMask::all(&config)];
    let key = ExpertKey { tier: 2, group: 1, expert: 0 };
    let mut routes = Routes::default();
    routes.fill(&config, vec![vec![vec![Route { key, weight: 1.0 }]]]);
    let cost = |logits: &mut [f32]| {
        levels.probabilities(&masks, logits);
        add_penalty(&levels, &BALANCE, &masks, &routes, logits, &mut vec![0.0; logits.len()])
    };
    let even = cost(&mut vec![0.25; levels.logits]);
    assert!(even.abs() < 1e-7, "{even}");

    let mut logits = vec![0.0; levels.logits];
    for (range, member) in [(&levels.tiers, 2), (&levels.groups[2], 1), (&levels.experts[2][1], 0)]
    {
        logits[range.start + member] = 60.0;
    }
    // Three tiers, three groups in this tier, three experts in this group.
    let expected = (0.7 + 0.5 + 0.3) * pxfm::f_log(3.0);
    let one_sided = cost(&mut logits);
    assert!((one_sided - expected).abs() < 1e-6, "{one_sided}, not {expected}");
}
