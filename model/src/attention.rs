//! What the attention of imported models has beyond the plain form.

use serde::{Deserialize, Serialize};

use crate::config::{ConfigOffence, ModelConfig, check_range};

/// What attention has beyond one key and value head per query head, rotary positions and one
/// window. The default is nothing.
///
/// Order in which a token's projections are treated: product, bias, norm, clip, rotation.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct AttentionConfig {
    /// Heads of keys and values; each serves equally many consecutive query heads. As many as
    /// query heads if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_value_heads: Option<usize>,
    /// Whether queries, keys and values have a bias.
    #[serde(skip_serializing_if = "is_false")]
    pub input_biases: bool,
    /// Whether the output has a bias.
    #[serde(skip_serializing_if = "is_false")]
    pub output_bias: bool,
    /// The RMS norm of queries and keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query_key_norm: Option<QueryKeyNorm>,
    /// The largest magnitude of an element of queries, keys and values; larger ones are cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip: Option<f32>,
    /// How rotary frequencies are changed for long texts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rope_scaling: Option<RopeScaling>,
    /// Layers with a window of their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sliding: Option<SlidingLayers>,
}

/// Over which elements queries and keys are normed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QueryKeyNorm {
    /// Each head by itself; all heads share one gain.
    Head,
    /// All heads of a token together.
    Width,
}

/// A change of the rotary frequencies.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum RopeScaling {
    /// All frequencies are divided.
    Linear {
        /// By so much.
        factor: f32,
    },
    /// Low frequencies are divided, high ones stay, those between are blended.
    Llama3 {
        /// What low frequencies are divided by.
        factor: f32,
        /// Turns within the original context below which a frequency is low.
        low_frequency_factor: f32,
        /// Turns within the original context above which a frequency is high.
        high_frequency_factor: f32,
        /// The context before the change, in positions.
        original_context: usize,
    },
}

/// Layers that see another window than [`ModelConfig::attention_window`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlidingLayers {
    /// Positions a token of these layers attends to, itself included.
    pub window: usize,
    /// The layers, ascending.
    pub layers: Vec<usize>,
}

impl AttentionConfig {
    /// Whether there is nothing beyond the plain form.
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }
}

impl RopeScaling {
    /// The changed frequency. Units: radians per position, in and out.
    pub fn apply(&self, frequency: f64) -> f64 {
        match *self {
            Self::Linear { factor } => frequency / f64::from(factor),
            Self::Llama3 {
                factor,
                low_frequency_factor,
                high_frequency_factor,
                original_context,
            } => {
                let (low, high) =
                    (f64::from(low_frequency_factor), f64::from(high_frequency_factor));
                let turns = original_context as f64 * frequency / std::f64::consts::TAU;
                let divided = frequency / f64::from(factor);
                if turns < low {
                    divided
                } else if turns > high {
                    frequency
                } else {
                    let share = (turns - low) / (high - low);
                    (1.0 - share) * divided + share * frequency
                }
            }
        }
    }
}

impl ModelConfig {
    /// Heads of keys and values.
    pub fn key_value_heads(&self) -> usize {
        self.attention.key_value_heads.unwrap_or(self.heads)
    }

    /// Positions a token of a layer attends to, itself included.
    pub fn window_of(&self, layer: usize) -> usize {
        match &self.attention.sliding {
            Some(sliding) if sliding.layers.binary_search(&layer).is_ok() => sliding.window,
            _ => self.attention_window,
        }
    }

    pub(crate) fn check_attention(&self, offences: &mut Vec<ConfigOffence>) {
        let attention = &self.attention;
        if let Some(heads) = attention.key_value_heads
            && (heads == 0 || !self.heads.is_multiple_of(heads))
        {
            let queries = self.heads;
            offences.push(ConfigOffence::UnevenGroups { queries, keys: heads });
        }
        let mut positive = |field, value: f32| {
            if !(value > 0.0 && value.is_finite()) {
                offences.push(ConfigOffence::NotPositive { field, value });
            }
        };
        if let Some(clip) = attention.clip {
            positive("attention.clip", clip);
        }
        match attention.rope_scaling {
            None => {}
            Some(RopeScaling::Linear { factor }) => positive("rope_scaling.factor", factor),
            Some(RopeScaling::Llama3 {
                factor,
                low_frequency_factor,
                high_frequency_factor,
                original_context,
            }) => {
                positive("rope_scaling.factor", factor);
                positive("rope_scaling.low_frequency_factor", low_frequency_factor);
                // Nothing lies between equal bounds, and the blend would divide by zero.
                let band = high_frequency_factor - low_frequency_factor;
                positive("rope_scaling.high_frequency_factor - low_frequency_factor", band);
                check_range("rope_scaling.original_context", original_context, offences);
            }
        }
        if let Some(sliding) = &attention.sliding {
            check_range("attention.sliding.window", sliding.window, offences);
            self.check_layers("attention.sliding.layers", &sliding.layers, offences);
        }
    }

    /// A list of layers is ascending, not empty and within the model.
    pub(crate) fn check_layers(
        &self,
        field: &'static str,
        layers: &[usize],
        offences: &mut Vec<ConfigOffence>,
    ) {
        let ascending = layers.is_sorted_by(|a, b| a < b);
        if !ascending || layers.last().is_none_or(|last| *last >= self.layers) {
            offences.push(ConfigOffence::Layers { field, layers: self.layers });
        }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn is_false(value: &bool) -> bool {
    !value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llama3_divides_slow_turns_keeps_fast_ones_and_blends_between() {
        let scaling = RopeScaling::Llama3 {
            factor: 8.0,
            low_frequency_factor: 1.0,
            high_frequency_factor: 4.0,
            original_context: 1000,
        };
        // Frequencies that make half a turn, 5 turns and 2.5 turns in 1000 positions.
        let of_turns = |turns: f64| turns * std::f64::consts::TAU / 1000.0;
        let ratio = |turns| scaling.apply(of_turns(turns)) / of_turns(turns);
        assert!((ratio(0.5) - 0.125).abs() < 1e-15);
        assert!((ratio(5.0) - 1.0).abs() < 1e-15);
        assert!((ratio(2.5) - 0.5625).abs() < 1e-15, "half of 1/8, half of 1");
    }
}
