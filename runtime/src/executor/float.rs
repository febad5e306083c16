use super::{Executor, ExpertCall};
use crate::RuntimeError;
use litecore_kernels::codes;
use litecore_kernels::s2::{self, PackedMatrix};
use litecore_model::ExpertKey;
use litecore_model::checkpoint::Checkpoint;
use litecore_model::names::{self, Part};
use std::collections::BTreeMap;

/// The experts as trained, in single precision by the rule S2(256).
#[derive(Debug)]
pub struct FloatExecutor {
    experts: BTreeMap<(u32, ExpertKey), FloatExpert>,
    gate: Vec<f32>,
    up: Vec<f32>,
    product: Vec<f32>,
}

#[derive(Debug)]
struct FloatExpert {
    gate: PackedMatrix,
    up: PackedMatrix,
    down: PackedMatrix,
}

impl FloatExecutor {
    /// Packs every expert of a checkpoint.
    ///
    /// Errors: whatever is wrong with the checkpoint.
    pub fn from_checkpoint(checkpoint: &Checkpoint) -> Result<Self, RuntimeError> {
        let config = checkpoint.config();
        let mut experts = BTreeMap::new();
        for (layer, number) in (0..config.layers).zip(0..) {
            for key in config.experts_in(layer) {
                let tier = &config.tiers[usize::from(key.tier)];
                let pack = |part, outputs, inputs| -> Result<_, RuntimeError> {
                    let name = names::expert(layer, &tier.id, key.group, key.expert, part);
                    let tensor = checkpoint.tensor_f32(&name)?;
                    Ok(PackedMatrix::from_rows(&tensor.data, outputs, inputs))
                };
                let (inner, width) = (tier.expert_width, config.width);
                let expert = FloatExpert {
                    gate: pack(Part::Gate, inner, width)?,
                    up: pack(Part::Up, inner, width)?,
                    down: pack(Part::Down, width, inner)?,
                };
                experts.insert((number, key), expert);
            }
        }
        Ok(Self { experts, gate: Vec::new(), up: Vec::new(), product: Vec::new() })
    }
}

impl Executor for FloatExecutor {
    fn name(&self) -> &'static str {
        "f32"
    }

    fn run(&mut self, call: &ExpertCall<'_>, outputs: &mut Vec<f32>) -> Result<(), RuntimeError> {
        let expert =
            self.experts.get(&(call.layer, call.key)).ok_or(RuntimeError::MissingExpert {
                executor: "f32",
                layer: call.layer,
                key: call.key,
            })?;
        let tokens = call.tags.len();
        let inner = tokens * expert.gate.outputs();
        for buffer in [&mut self.gate, &mut self.up, &mut self.product] {
            buffer.resize(inner, 0.0);
        }
        outputs.resize(tokens * expert.down.outputs(), 0.0);
        s2::product(call.inputs, &expert.gate, &mut self.gate);
        s2::product(call.inputs, &expert.up, &mut self.up);
        codes::swiglu(&self.gate, &self.up, &mut self.product);
        s2::product(&self.product, &expert.down, outputs);
        Ok(())
    }
}
