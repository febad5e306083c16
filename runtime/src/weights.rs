//! The dense part of a model, packed for products.

use crate::RuntimeError;
use litecore_kernels::math::Rope;
use litecore_kernels::s2::PackedMatrix;
use litecore_model::checkpoint::Checkpoint;
use litecore_model::names::{self, Level, Projection};
use litecore_model::{ModelConfig, Tensor};
use std::collections::BTreeMap;

/// Tokens are bytes.
const BYTES: usize = 256;

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
    pub(crate) query: PackedMatrix,
    pub(crate) key: PackedMatrix,
    pub(crate) value: PackedMatrix,
    pub(crate) output: PackedMatrix,
    pub(crate) expert_norm: Vec<f32>,
    /// Tier, group and expert logits in one product: rows of one router follow another.
    pub(crate) routers: PackedMatrix,
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
        if config.vocab != BYTES {
            return Err(RuntimeError::Vocabulary { vocab: config.vocab });
        }
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
        }
        // Every name below is in the list that was just checked.
        let data = |name: &str| tensors.get(name).map_or(&[][..], |tensor| &tensor.data);
        let pack = |name: &str, outputs: usize, inputs: usize| {
            PackedMatrix::from_rows(data(name), outputs, inputs)
        };
        let (width, inner) = (config.width, config.heads * config.head_width);
        let router_rows = config.tiers.len() + config.group_rows() + config.expert_rows();
        let layers = (0..config.layers)
            .map(|layer| {
                let project = |projection, outputs, inputs| {
                    pack(&names::attention(layer, projection), outputs, inputs)
                };
                let routers: Vec<f32> = [Level::Tier, Level::Group, Level::Expert]
                    .into_iter()
                    .flat_map(|level| data(&names::router(layer, level)).iter().copied())
                    .collect();
                DenseLayer {
                    attention_norm: data(&names::attention_norm(layer)).to_vec(),
                    query: project(Projection::Query, inner, width),
                    key: project(Projection::Key, inner, width),
                    value: project(Projection::Value, inner, width),
                    output: project(Projection::Output, width, inner),
                    expert_norm: data(&names::expert_norm(layer)).to_vec(),
                    routers: PackedMatrix::from_rows(&routers, router_rows, width),
                }
            })
            .collect();
        Ok(Self {
            embedding: data(names::EMBEDDING).to_vec(),
            layers,
            final_norm: data(names::FINAL_NORM).to_vec(),
            head: pack(names::HEAD, config.vocab, width),
            rope: Rope::new(config.head_width, config.rope_theta),
            config: config.clone(),
        })
    }

    /// The model's configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }
}
