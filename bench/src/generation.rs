//! Bytes per second while writing, against the model's matrix products alone.

use crate::gemm::{product, random};
use crate::rounds::interleaved;
use litecore_model::{ModelConfig, TierMask};
use litecore_runtime::{DenseModel, Executor, RuntimeError, Sampling, Session, generate};
use serde::Serialize;
use std::hint::black_box;

/// One executor's writing speed, in one thread.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// The executor.
    pub executor: String,
    /// Bytes written per second.
    pub bytes_per_s: f64,
    /// Bytes per second if a byte cost its matrix products by the `gemm` crate and nothing else.
    pub gemm_bytes_per_s: f64,
    /// The first over the second.
    pub ratio_to_gemm: f64,
}

/// Bytes written per round.
const BYTES: usize = 64;
const PROMPT: &[u8] = b"The ";

/// Measures one executor for about `seconds`.
///
/// Errors: of the executor.
pub fn measure(
    model: &DenseModel,
    executor: &mut dyn Executor,
    seconds: f64,
) -> Result<Row, RuntimeError> {
    let mut plain = PlainProducts::new(model.config());
    let mut failure = None;
    let name = executor.name().to_owned();
    let mut write = || {
        let config = model.config();
        let mut session = Session::new(model, TierMask::all(config), config.routing.seed, 0);
        let written =
            generate(&mut session, executor, PROMPT, BYTES, Sampling::Greedy, &mut |_, _| ());
        match written {
            Ok(written) => _ = black_box(written),
            Err(error) => failure = Some(error),
        }
    };
    let (own, other) = interleaved(seconds, &mut write, &mut || plain.run(BYTES));
    match failure {
        Some(error) => Err(error),
        None => Ok(Row {
            executor: name,
            bytes_per_s: BYTES as f64 / own,
            gemm_bytes_per_s: BYTES as f64 / other,
            ratio_to_gemm: other / own,
        }),
    }
}

/// The matrices one byte goes through, multiplied by the `gemm` crate.
struct PlainProducts {
    /// Weights with inputs and outputs, in order of use.
    matrices: Vec<(Vec<f32>, usize, usize)>,
    x: Vec<f32>,
    y: Vec<f32>,
}

impl PlainProducts {
    fn new(config: &ModelConfig) -> Self {
        let (width, inner) = (config.width, config.heads * config.head_width);
        let routers = config.tiers.len() + config.group_rows() + config.expert_rows();
        let expert = config.tiers.iter().map(|tier| tier.expert_width).max().unwrap_or(0);
        let experts = config.routing.tiers_per_token
            * config.routing.groups_per_tier
            * config.routing.experts_per_group;
        let mut shapes = Vec::new();
        for _ in 0..config.layers {
            shapes.extend([(width, inner); 3]);
            shapes.extend([(inner, width), (width, routers)]);
            for _ in 0..experts {
                shapes.extend([(width, expert), (width, expert), (expert, width)]);
            }
        }
        shapes.push((width, config.vocab));
        let matrices: Vec<_> =
            (0..).zip(shapes).map(|(key, (k, n))| (random(key, k * n), k, n)).collect();
        let longest = matrices.iter().map(|(_, k, n)| (*k).max(*n)).max().unwrap_or(0);
        Self { matrices, x: random(0, longest), y: vec![0.0; longest] }
    }

    fn run(&mut self, bytes: usize) {
        for _ in 0..bytes {
            for (w, k, n) in &self.matrices {
                product(black_box(&self.x[..*k]), w, black_box(&mut self.y[..*n]), 1, *k, *n);
            }
        }
    }
}
