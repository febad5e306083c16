//! The parameters of a model in one flat array, with the place of each tensor.

use std::collections::BTreeMap;
use std::ops::Range;

use litecore_kernels::normal::standard_normals;
use litecore_model::names::{self, Level, Part, Projection};
use litecore_model::{ModelConfig, Tensor};

use crate::corpus::{hash_bytes, mix};

/// Where each tensor lies in the flat array.
///
/// **Invariant:** tensors that are multiplied by the same vector lie side by side (q, k, v; the
/// three routers; gate and up), so that one product serves them all.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Layout {
    pub(crate) tensors: Vec<Placed>,
    pub(crate) embedding: Range<usize>,
    pub(crate) final_norm: Range<usize>,
    pub(crate) head: Range<usize>,
    pub(crate) layers: Vec<LayerLayout>,
    pub(crate) length: usize,
}

/// One tensor in the flat array.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Placed {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) range: Range<usize>,
    /// Standard deviation of the starting weights; zero means a gain, which starts at one and does
    /// not decay.
    pub(crate) spread: f32,
}

/// The tensors of one layer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LayerLayout {
    pub(crate) attention_norm: Range<usize>,
    pub(crate) qkv: Range<usize>,
    pub(crate) output: Range<usize>,
    pub(crate) expert_norm: Range<usize>,
    pub(crate) routers: Range<usize>,
    /// In key order.
    pub(crate) experts: Vec<ExpertLayout>,
}

/// The tensors of one expert.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ExpertLayout {
    pub(crate) inner: usize,
    pub(crate) gate_up: Range<usize>,
    pub(crate) down: Range<usize>,
}

impl Layout {
    pub(crate) fn new(config: &ModelConfig) -> Self {
        let mut tensors = Tensors { placed: Vec::new(), length: 0 };
        let width = config.width;
        // Small enough to be moved by training, large enough to tell the bytes apart.
        let embedding = tensors.matrix(names::EMBEDDING.to_owned(), config.vocab, width, 0.1);
        let layers = (0..config.layers).map(|layer| tensors.layer(config, layer)).collect();
        let final_norm = tensors.gain(names::FINAL_NORM.to_owned(), width);
        let head = tensors.matrix(names::HEAD.to_owned(), config.vocab, width, 0.5 / root(width));
        let Tensors { placed, length } = tensors;
        Self { tensors: placed, embedding, final_norm, head, layers, length }
    }

    /// The starting weights: normals whose key is the tensor's name and the seed.
    pub(crate) fn initial(&self, seed: u64) -> Vec<f32> {
        let mut values = vec![0.0; self.length];
        for tensor in &self.tensors {
            let values = &mut values[tensor.range.clone()];
            if tensor.spread > 0.0 {
                standard_normals(mix(hash_bytes(tensor.name.as_bytes()) ^ mix(seed)), 0, values);
                for value in values.iter_mut() {
                    *value *= tensor.spread;
                }
            } else {
                values.fill(1.0);
            }
        }
        values
    }

    /// The flat array as named tensors.
    pub(crate) fn named(&self, values: &[f32]) -> BTreeMap<String, Tensor> {
        let tensor = |placed: &Placed| {
            let data = values[placed.range.clone()].to_vec();
            (placed.name.clone(), Tensor { shape: placed.shape.clone(), data })
        };
        self.tensors.iter().map(tensor).collect()
    }

    /// The flat array of named tensors, or the name of the first that is missing or misshapen.
    pub(crate) fn flat(&self, tensors: &BTreeMap<String, Tensor>) -> Result<Vec<f32>, String> {
        let mut values = vec![0.0; self.length];
        for placed in &self.tensors {
            let found = tensors.get(&placed.name).filter(|tensor| tensor.shape == placed.shape);
            let found = found.filter(|tensor| tensor.data.len() == placed.range.len());
            let Some(tensor) = found else { return Err(placed.name.clone()) };
            values[placed.range.clone()].copy_from_slice(&tensor.data);
        }
        Ok(values)
    }
}

/// Rounds to the nearest bf16, ties to even, as checkpoints do.
pub(crate) fn round_to_bf16(value: f32) -> f32 {
    if value.is_nan() {
        // The carry would turn some of them into numbers.
        return value;
    }
    let bits = value.to_bits();
    let round = 0x7fff + ((bits >> 16) & 1);
    f32::from_bits(bits.wrapping_add(round) & 0xffff_0000)
}

struct Tensors {
    placed: Vec<Placed>,
    length: usize,
}

impl Tensors {
    fn layer(&mut self, config: &ModelConfig, layer: usize) -> LayerLayout {
        let width = config.width;
        let inner = config.heads * config.head_width;
        // Outputs into the residual stream start smaller, so that depth does not raise its power.
        let calm = 1.0 / root(2 * config.layers);
        let attention_norm = self.gain(names::attention_norm(layer), width);
        let projection = |p| names::attention(layer, p);
        let q = self.matrix(projection(Projection::Query), inner, width, 1.0 / root(width));
        self.matrix(projection(Projection::Key), inner, width, 1.0 / root(width));
        let v = self.matrix(projection(Projection::Value), inner, width, 1.0 / root(width));
        let output = self.matrix(projection(Projection::Output), width, inner, calm / root(inner));
        let expert_norm = self.gain(names::expert_norm(layer), width);
        let rows = [config.tiers.len(), config.group_rows(), config.expert_rows()];
        let start = self.length;
        for (level, rows) in Level::ALL.into_iter().zip(rows) {
            self.matrix(names::router(layer, level), rows, width, 0.5 / root(width));
        }
        let routers = start..self.length;
        let experts = config.experts().map(|key| {
            let tier = &config.tiers[usize::from(key.tier)];
            let inner = tier.expert_width;
            let name = |part| names::expert(layer, &tier.id, key.group, key.expert, part);
            let gate = self.matrix(name(Part::Gate), inner, width, 1.0 / root(width));
            let up = self.matrix(name(Part::Up), inner, width, 1.0 / root(width));
            let down = self.matrix(name(Part::Down), width, inner, calm / root(inner));
            ExpertLayout { inner, gate_up: gate.start..up.end, down }
        });
        let experts = experts.collect();
        let qkv = q.start..v.end;
        LayerLayout { attention_norm, qkv, output, expert_norm, routers, experts }
    }

    fn gain(&mut self, name: String, width: usize) -> Range<usize> {
        self.place(name, vec![width], 0.0)
    }

    fn matrix(&mut self, name: String, rows: usize, columns: usize, spread: f32) -> Range<usize> {
        self.place(name, vec![rows, columns], spread)
    }

    fn place(&mut self, name: String, shape: Vec<usize>, spread: f32) -> Range<usize> {
        let range = self.length..self.length + shape.iter().product::<usize>();
        self.length = range.end;
        self.placed.push(Placed { name, shape, range: range.clone(), spread });
        range
    }
}

fn root(count: usize) -> f32 {
    (count as f32).sqrt()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use litecore_model::checkpoint::{Checkpoint, Dtype, encode};
    use litecore_model::{Tensor, names};

    use super::{Layout, round_to_bf16};
    use crate::gradient_check::tiny;

    /// Ties, carries into the exponent, subnormals, both zeros, and a spread of everything else.
    #[test]
    fn rounding_is_that_of_the_checkpoint_writer() {
        let config = tiny(1);
        let layout = Layout::new(&config);
        let mut tensors = layout.named(&layout.initial(1));
        let special = [
            0,
            0x8000_0000,
            1,
            0x8000,
            0x8001,
            0x1_8000,
            0x3f80_7fff,
            0x3f80_8000,
            0x3f80_8001,
            0x3f81_8000,
            0x3fff_8000,
            0x3fff_ffff,
            0x007f_ffff,
            0x0080_0000,
            0xbf80_8000,
            0x7f7f_0000,
            0x7f7f_7fff,
            0xff7f_7fff,
        ];
        let spread = (0_u32..)
            .map(|i| i.wrapping_mul(0x9e37_79b9))
            .filter(|bits| bits & 0x7f80_0000 < 0x7f00_0000);
        let Tensor { shape, .. } = &tensors[names::EMBEDDING];
        let count = shape.iter().product();
        let data: Vec<f32> =
            special.into_iter().chain(spread).take(count).map(f32::from_bits).collect();
        let tensor = Tensor { shape: shape.clone(), data: data.clone() };
        tensors.insert(names::EMBEDDING.to_owned(), tensor);

        let files = encode(&config, &tensors, Dtype::Bf16, &BTreeMap::new()).unwrap();
        let files: Vec<(&str, &[u8])> =
            files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
        let written = Checkpoint::from_bytes(&files).unwrap().tensor_f32(names::EMBEDDING).unwrap();
        for (value, written) in data.iter().zip(&written.data) {
            assert_eq!(round_to_bf16(*value).to_bits(), written.to_bits(), "{value:e}");
        }
        assert!(round_to_bf16(f32::from_bits(0x7fff_ffff)).is_nan());
    }

    /// The trainer's tensors are exactly those that a checkpoint of the model has.
    #[test]
    fn tensors_are_those_of_the_model() {
        let config = tiny(2);
        let layout = Layout::new(&config);
        let values = layout.initial(3);
        let tensors = layout.named(&values);
        let found: BTreeMap<_, _> =
            tensors.iter().map(|(name, t)| (name.clone(), t.shape.clone())).collect();
        let expected: BTreeMap<_, _> = config.tensor_specs().map(|s| (s.name, s.shape)).collect();
        assert_eq!(found, expected);
        assert_eq!(layout.length as u128, config.parameter_counts().total);
        assert_eq!(layout.flat(&tensors), Ok(values));
    }

    #[test]
    fn starting_weights_have_their_spread() {
        let layout = Layout::new(&tiny(1));
        let values = layout.initial(3);
        let embedding = &values[layout.embedding.clone()];
        let square =
            embedding.iter().map(|v| f64::from(v * v)).sum::<f64>() / embedding.len() as f64;
        assert!((square.sqrt() - 0.1).abs() < 0.005, "{}", square.sqrt());
        assert!(
            values[layout.final_norm.clone()]
                .iter()
                .all(|gain| gain.to_bits() == 1.0_f32.to_bits())
        );
        assert_ne!(values, layout.initial(4), "the seed must matter");
    }
}
