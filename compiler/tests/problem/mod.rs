//! Chips and layers for the tests.
#![allow(dead_code, reason = "each test file uses its part")]

use litecore_compiler::{CompileOptions, CompiledExpert, ExpertWeights, compile_expert};
use litecore_kernels::normal::standard_normals;
use litecore_types::chip::{ChipDescription, Override, builtin_text};

/// A shipped chip with some values replaced.
pub(crate) fn chip(name: &str, overrides: &[(&str, &str)]) -> ChipDescription {
    let overrides: Vec<Override> = overrides
        .iter()
        .map(|(path, value)| Override { path: (*path).into(), value: (*value).into() })
        .collect();
    let text = builtin_text(name).expect("shipped");
    ChipDescription::from_toml_with(text, name, &overrides)
        .unwrap_or_else(|error| panic!("{error}"))
}

/// Standard normals.
pub(crate) fn normals(key: u64, count: usize) -> Vec<f32> {
    let mut values = vec![0.0; count];
    standard_normals(key, 0, &mut values);
    values
}

/// The weights of an expert.
pub(crate) struct SampleExpert {
    pub(crate) gate: Vec<f32>,
    pub(crate) up: Vec<f32>,
    pub(crate) down: Vec<f32>,
    pub(crate) width: usize,
    pub(crate) hidden_width: usize,
}

impl SampleExpert {
    /// Gaussian weights that keep the power of Gaussian inputs.
    pub(crate) fn gaussian(key: u64, width: usize, expert_width: usize) -> Self {
        let matrix = |index, outputs: usize, inputs: usize| {
            let mut weights = normals(key * 3 + index, outputs * inputs);
            for weight in &mut weights {
                *weight /= (inputs as f32).sqrt();
            }
            weights
        };
        Self {
            gate: matrix(0, expert_width, width),
            up: matrix(1, expert_width, width),
            down: matrix(2, width, expert_width),
            width,
            hidden_width: expert_width,
        }
    }

    pub(crate) fn weights(&self) -> ExpertWeights<'_> {
        ExpertWeights {
            name: "layer 0 small.0.1",
            gate: &self.gate,
            up: &self.up,
            down: &self.down,
            width: self.width,
            expert_width: self.hidden_width,
        }
    }

    pub(crate) fn compile(&self, chip: &ChipDescription) -> CompiledExpert {
        compile_expert(chip, &self.weights(), &[], &CompileOptions::default())
            .unwrap_or_else(|error| panic!("{error}"))
    }
}
