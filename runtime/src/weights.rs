//! The dense part of a model, packed for products.

use crate::RuntimeError;
use litecore_kernels::math::Rope;
use litecore_kernels::s2::PackedMatrix;
use litecore_model::checkpoint::Checkpoint;
use litecore_model::names::{self, Projection};
use litecore_model::{ExpertKey, ModelConfig, Tensor};
use std::collections::BTreeMap;

/// Everything of a model but its experts: embedding, attention, norms, routers, head.
#[derive(Debug)]
pub struct DenseModel {
    pub(crate) config: ModelConfig,
    pub(crate) embedding: Vec<f32>,
    pub(crate) layers: Vec<DenseLayer>,
    pub(crate) final_norm: Vec<f32>,
    pub(crate) head: PackedMatrix,
    pub(crate) rope: Rope,
}

#[derive(Debug)]
pub(crate) struct DenseLayer {
    pub(crate) attention_norm: Vec<f32>,
    pub(crate) query: Linear,
    pub(crate) key: Linear,
    pub(crate) value: Linear,
    pub(crate) output: Linear,
    /// Gains of queries and of keys; empty where these are not normed.
    pub(crate) query_gain: Vec<f32>,
    pub(crate) key_gain: Vec<f32>,
    pub(crate) window: usize,
    pub(crate) expert_norm: Vec<f32>,
    /// All routers in one product: rows of one follow another. Nothing where nothing is routed.
    pub(crate) routers: Option<PackedMatrix>,
    /// The experts that every token takes, in key order.
    pub(crate) always: Vec<AlwaysOn>,
}

/// A matrix and its bias.
#[derive(Debug)]
pub(crate) struct Linear {
    pub(crate) matrix: PackedMatrix,
    /// Empty where there is none.
    pub(crate) bias: Vec<f32>,
}

/// An expert that every token takes.
#[derive(Debug)]
pub(crate) struct AlwaysOn {
    pub(crate) key: ExpertKey,
    /// The row whose product with a token gives the gate; empty for a weight of one.
    pub(crate) gate: Vec<f32>,
}

impl DenseModel {
    /// Packs the dense tensors of a checkpoint.
    ///
    /// Errors: whatever is wrong with the checkpoint, or a missing or misshapen tensor.
    pub fn from_checkpoint(checkpoint: &Checkpoint) -> Result<Self, RuntimeError> {
        let config = checkpoint.config();
        let mut tensors = BTreeMap::new();
        for spec in config.dense_specs() {
            tensors.insert(spec.name.clone(), checkpoint.tensor_f32(&spec.name)?);
        }
        Self::new(config, &tensors)
    }

    /// Packs dense tensors by name.
    ///
    /// Errors: an invalid configuration, a missing or misshapen tensor.
    pub fn new(
        config: &ModelConfig,
        tensors: &BTreeMap<String, Tensor>,
    ) -> Result<Self, RuntimeError> {
        config.validate()?;
        let mut known = BTreeMap::new();
        for spec in config.dense_specs() {
            let tensor = tensors
                .get(&spec.name)
                .ok_or_else(|| RuntimeError::MissingTensor { name: spec.name.clone() })?;
            if tensor.shape != spec.shape || !tensor.is_consistent() {
                return Err(RuntimeError::TensorShape {
                    name: spec.name,
                    found: tensor.shape.clone(),
                    expected: spec.shape,
                });
            }
            known.insert(spec.name, tensor.data.as_slice());
        }
        // What the configuration does not ask for is empty here, given or not.
        let data = |name: &str| known.get(name).copied().unwrap_or_default();
        let pack = |name: &str, outputs: usize, inputs: usize| {
            PackedMatrix::from_rows(data(name), outputs, inputs)
        };
        let (width, inner) = (config.width, config.heads * config.head_width);
        let shared = config.key_value_heads() * config.head_width;
        let layer = |layer| {
            let project = |projection, outputs, inputs| Linear {
                matrix: pack(&names::attention(layer, projection), outputs, inputs),
                bias: data(&names::attention_bias(layer, projection)).to_vec(),
            };
            let gain = |projection| data(&names::attention_gain(layer, projection)).to_vec();
            let routers = config.is_routed(layer).then(|| {
                let (mut rows, mut weights) = (0, Vec::new());
                for (level, more) in config.router_rows() {
                    rows += more;
                    weights.extend_from_slice(data(&names::router(layer, level)));
                }
                PackedMatrix::from_rows(&weights, rows, width)
            });
            let always = config.experts_in(layer).filter_map(|key| {
                let tier = &config.tiers[usize::from(key.tier)];
                let gate = data(&names::tier_gate(layer, &tier.id)).to_vec();
                (!tier.is_routed()).then_some(AlwaysOn { key, gate })
            });
            DenseLayer {
                attention_norm: data(&names::attention_norm(layer)).to_vec(),
                query: project(Projection::Query, inner, width),
                key: project(Projection::Key, shared, width),
                value: project(Projection::Value, shared, width),
                output: project(Projection::Output, width, inner),
                query_gain: gain(Projection::Query),
                key_gain: gain(Projection::Key),
                window: config.window_of(layer),
                expert_norm: data(&names::expert_norm(layer)).to_vec(),
                routers,
                always: always.collect(),
            }
        };
        let rope = Rope::new(config.head_width, config.rope_theta);
        let head = if config.tied_head { names::EMBEDDING } else { names::HEAD };
        Ok(Self {
            embedding: data(names::EMBEDDING).to_vec(),
            layers: (0..config.layers).map(layer).collect(),
            final_norm: data(names::FINAL_NORM).to_vec(),
            head: pack(head, config.vocab, width),
            rope: match config.attention.rope_scaling {
                Some(scaling) => rope.with_frequencies(|frequency| scaling.apply(frequency)),
                None => rope,
            },
            config: config.clone(),
        })
    }

    /// The model's configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }
}
