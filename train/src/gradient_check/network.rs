//! The whole network: forward, backward and everything between.

use litecore_model::{ModelConfig, TierMask};
use rayon::prelude::*;

use super::reference::{Reference, dot};
use super::{STEP, mask, normals, slope, tiny, wide};
use crate::config::BalanceConfig;
use crate::network::{Batch, Network};
use crate::packed::PackedWeights;
use crate::weights::{Layout, Placed};

const BALANCE: BalanceConfig = BalanceConfig { tier: 0.7, group: 0.5, expert: 0.3 };

/// One pass of the network, and the gradient it gave.
struct Pass<'a> {
    reference: Reference<'a>,
    values: Vec<f64>,
    gradient: Vec<f32>,
}

/// How a tensor's derivatives compare.
struct Compared {
    name: String,
    /// The largest error of a derivative, by one element or along a random direction.
    error: f64,
    /// The Euclidean length of the tensor's gradient.
    length: f64,
}

fn batch(length: usize, masks: Vec<TierMask>) -> Batch {
    let byte = |i: usize| u8::try_from(97 + (i * i * 7 + i / 3) % 23).unwrap();
    let tokens = masks.len() * length;
    Batch {
        inputs: (0..tokens).map(byte).collect(),
        targets: (1..=tokens).map(byte).collect(),
        masks,
    }
}

/// Every tensor's derivatives agree to 1e-4 of the length of the tensor's gradient. What is left is
/// the routing rule, which rounds logits to multiples of 2^-16; a wrong term is off by far more.
fn check(config: &ModelConfig, length: usize, tiers: &[&str]) {
    let layout = Layout::new(config);
    let mut values = layout.initial(5);
    // Larger weights than at the start of training, so that no path is nearly linear; gains that
    // are not one.
    for (i, value) in values.iter_mut().enumerate() {
        *value *= 1.5 + (i % 7) as f32 * 0.05;
    }
    let packed = PackedWeights::new(&layout, &values, config.width);
    let batch = batch(length, tiers.iter().map(|tiers| mask(config, tiers)).collect());
    let mut network = Network::new(config, length);
    network.forward(&layout, &values, &packed, &batch).unwrap();
    let routes = network.routes();
    let mut gradient = vec![f32::NAN; layout.length];
    let losses = network.backward(&layout, &values, &packed, &batch, &BALANCE, &mut gradient);

    let reference = Reference { config, layout: &layout, balance: &BALANCE, batch: &batch, routes };
    let pass = Pass { reference, values: wide(&values), gradient };
    let error = losses.cross_entropy + losses.balance - pass.reference.loss(&pass.values);
    assert!(error.abs() < 2e-5, "the loss is off by {error:e}");
    let compared: Vec<_> = layout.tensors.par_iter().map(|tensor| pass.compare(tensor)).collect();
    for Compared { name, error, length } in &compared {
        let limit = 1e-4 * length + 2e-7;
        assert!(error < &limit, "{name}: error {error:e}, the gradient is {length:e} long");
    }
    let moved = compared.iter().filter(|tensor| tensor.length > 1e-5).count();
    let total = compared.len();
    assert!(moved * 10 > total * 9, "only {moved} of {total} tensors had a gradient to check");
}

impl Pass<'_> {
    fn compare(&self, tensor: &Placed) -> Compared {
        let mut values = self.values.clone();
        let range = tensor.range.clone();
        let mut found = Vec::new();
        // A spread of elements; bytes that do not occur have no gradient.
        for index in range.clone().step_by((range.len() / 3).max(1)) {
            let slope = slope(&mut values, index, |values| self.reference.loss(values));
            found.push((slope, f64::from(self.gradient[index])));
        }
        // All elements at once.
        let gradient = wide(&self.gradient[range.clone()]);
        let direction = wide(&normals(range.start as u64, range.len()));
        let scale = 1.0 / dot(&direction, &direction).sqrt();
        let along = |step: f64| {
            let mut values = self.values.clone();
            let moved = values[range.clone()].iter_mut().zip(&direction);
            moved.for_each(|(value, d)| *value += step * scale * d);
            self.reference.loss(&values)
        };
        let slope = (along(STEP) - along(-STEP)) / (2.0 * STEP);
        found.push((slope, scale * dot(&gradient, &direction)));
        let error = found.iter().fold(0.0_f64, |most, (slope, g)| most.max((slope - g).abs()));
        Compared { name: tensor.name.clone(), error, length: dot(&gradient, &gradient).sqrt() }
    }
}

/// 70 bytes cross the attention's blocks of 64 queries.
#[test]
fn gradients_of_the_whole_network_equal_differences_of_the_reference() {
    check(&tiny(1), 70, &["all"]);
}

#[test]
fn gradients_hold_with_restricted_tiers_and_several_experts_per_group() {
    check(&tiny(2), 16, &["all", "small", "..=medium"]);
}
