//! What the configuration of each family means as a [`ModelConfig`].

use std::collections::BTreeSet;

use litecore_types::Seed;

use super::error::ImportError;
use super::fields::Fields;
use crate::attention::{AttentionConfig, QueryKeyNorm, RopeScaling, SlidingLayers};
use crate::config::{ModelConfig, RoutingConfig, RoutingRule};
use crate::tier::{TierConfig, TierId, TierMode};

/// The families that are imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Dense, the form of very many models.
    Llama,
    /// Dense, with a sliding window.
    Mistral,
    /// Dense, with biases.
    Qwen2,
    /// Dense, with normed queries and keys.
    Qwen3,
    /// Mixture of experts; weights always normalized.
    Mixtral,
    /// Mixture of experts with a shared one behind a gate.
    Qwen2Moe,
    /// Mixture of experts with normed queries and keys.
    Qwen3Moe,
    /// Mixture of experts with queries and keys normed over their full width.
    Olmoe,
}

/// The tier of routed experts.
pub(super) const EXPERTS: &str = "experts";
/// The tier of the shared expert.
pub(super) const SHARED: &str = "shared";
/// The tier of dense layers.
pub(super) const DENSE: &str = "dense";

impl Family {
    /// All families.
    pub const ALL: [Self; 8] = [
        Self::Llama,
        Self::Mistral,
        Self::Qwen2,
        Self::Qwen3,
        Self::Mixtral,
        Self::Qwen2Moe,
        Self::Qwen3Moe,
        Self::Olmoe,
    ];

    /// What `model_type` says.
    pub fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Mistral => "mistral",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::Mixtral => "mixtral",
            Self::Qwen2Moe => "qwen2_moe",
            Self::Qwen3Moe => "qwen3_moe",
            Self::Olmoe => "olmoe",
        }
    }

    /// The family a configuration names.
    pub(super) fn of(fields: &Fields) -> Result<Self, ImportError> {
        let found = fields.text("model_type")?.unwrap_or("not given");
        Self::ALL.into_iter().find(|family| family.name() == found).ok_or_else(|| {
            let known = Self::ALL.map(Self::name).to_vec();
            ImportError::Architecture { file: fields.file(), found: found.to_owned(), known }
        })
    }

    fn is_mixture(self) -> bool {
        matches!(self, Self::Mixtral | Self::Qwen2Moe | Self::Qwen3Moe | Self::Olmoe)
    }

    /// The model a configuration describes, without its end tokens.
    pub(super) fn model(self, fields: &Fields, name: &str) -> Result<ModelConfig, ImportError> {
        refuse_what_is_not_done(fields)?;
        let layers = fields.count("num_hidden_layers")?;
        let heads = fields.count("num_attention_heads")?;
        let width = fields.count("hidden_size")?;
        let head_width = match fields.optional_count("head_dim")? {
            Some(width) => width,
            None if self == Self::Qwen3 => return Err(fields.wrong("head_dim", "a count")),
            None => width.checked_div(heads).unwrap_or(0),
        };
        let key_value_heads = match fields.optional_count("num_key_value_heads")? {
            // The library's own default differs from family to family.
            None if !fields.has("num_key_value_heads")
                && !matches!(self, Self::Llama | Self::Olmoe) =>
            {
                return Err(fields.wrong("num_key_value_heads", "a count"));
            }
            given => given.filter(|given| *given != heads),
        };
        let context = fields.count("max_position_embeddings")?;
        let (attention_window, sliding) = self.windows(fields, layers, context)?;
        let (rope_theta, rope_scaling) = self.rope(fields, context)?;
        let (input_biases, output_bias) = match self {
            Self::Qwen2 => (true, false),
            Self::Qwen2Moe => (fields.flag("qkv_bias", true)?, false),
            Self::Mistral | Self::Mixtral => (false, false),
            _ => [fields.flag("attention_bias", false)?; 2].into(),
        };
        let (tiers, routing) = self.experts(fields, layers)?;
        Ok(ModelConfig {
            name: name.to_owned(),
            vocab: fields.count("vocab_size")?,
            width,
            layers,
            heads,
            head_width,
            attention_window,
            rope_theta,
            norm_epsilon: fields.number("rms_norm_eps")?,
            attention: AttentionConfig {
                key_value_heads,
                input_biases,
                output_bias,
                query_key_norm: match self {
                    Self::Qwen3 | Self::Qwen3Moe => Some(QueryKeyNorm::Head),
                    Self::Olmoe => Some(QueryKeyNorm::Width),
                    _ => None,
                },
                clip: if self == Self::Olmoe { fields.optional_number("clip_qkv")? } else { None },
                rope_scaling,
                sliding,
            },
            tied_head: fields.flag("tie_word_embeddings", false)?,
            end_tokens: Vec::new(),
            routing,
            tiers,
        })
    }

    /// The window of most layers, and the layers with another one.
    fn windows(
        self,
        fields: &Fields,
        layers: usize,
        context: usize,
    ) -> Result<(usize, Option<SlidingLayers>), ImportError> {
        let wanted = match self {
            Self::Llama | Self::Olmoe => false,
            Self::Mistral | Self::Mixtral => true,
            _ => fields.flag("use_sliding_window", false)?,
        };
        // Without the field the library takes a window of its own, or none, as versions differ.
        if matches!(self, Self::Mistral | Self::Mixtral) && !fields.has("sliding_window") {
            return Err(fields.wrong("sliding_window", "a count, or null where all is looked at"));
        }
        let window = fields.optional_count("sliding_window")?.filter(|_| wanted);
        let Some(window) = window else { return Ok((context, None)) };
        if matches!(self, Self::Mistral | Self::Mixtral | Self::Qwen3Moe) {
            return Ok((window, None));
        }
        let sliding: Vec<usize> = match fields.texts("layer_types")? {
            Some(types) => {
                if types.len() != layers {
                    return Err(fields.wrong("layer_types", "one type for each layer"));
                }
                let mut sliding = Vec::new();
                for (layer, kind) in types.into_iter().enumerate() {
                    match kind {
                        "full_attention" => {}
                        "sliding_attention" => sliding.push(layer),
                        _ => {
                            let remedy = "layers with full_attention and sliding_attention are";
                            return Err(fields.unsupported("layer_types", remedy));
                        }
                    }
                }
                sliding
            }
            None if self == Self::Qwen2Moe => {
                return Err(fields.unsupported(
                    "layer_types",
                    "with use_sliding_window on, versions of the library differ in which layers \
                     slide: save the model again with the one it was trained with",
                ));
            }
            None => (fields.count("max_window_layers")?..layers).collect(),
        };
        let sliding = (!sliding.is_empty()).then_some(SlidingLayers { window, layers: sliding });
        Ok((context, sliding))
    }

    /// The base of the rotary frequencies, and how they are changed.
    fn rope(
        self,
        fields: &Fields,
        context: usize,
    ) -> Result<(f32, Option<RopeScaling>), ImportError> {
        let usual = if self == Self::Mixtral { 1e6 } else { 1e4 };
        let outer = fields.optional_number("rope_theta")?.unwrap_or(usual);
        refuse_partial_rotation(fields)?;
        // The newer name and the older one.
        let read = |name| fields.object(name)?.map(|rope| rope_object(&rope, context)).transpose();
        let (newer, older) = (read("rope_parameters")?, read("rope_scaling")?);
        if let (Some(newer), Some(older)) = (&newer, &older)
            && (newer.1 != older.1 || older.0.is_some_and(|theta| newer.0 != Some(theta)))
        {
            let remedy = "it contradicts rope_parameters: keep the one the model was trained with";
            return Err(fields.unsupported("rope_scaling", remedy));
        }
        let (theta, scaling) = newer.or(older).unwrap_or((None, None));
        Ok((theta.unwrap_or(outer), scaling))
    }

    /// The tokens that end a text, where no other file says so.
    ///
    /// Errors: there is nothing about it, and the library would take a token of its own.
    pub(super) fn end_tokens(self, fields: &Fields) -> Result<Vec<u32>, ImportError> {
        let has_own = matches!(self, Self::Llama | Self::Mistral | Self::Mixtral | Self::Olmoe);
        if has_own && !fields.has("eos_token_id") {
            return Err(fields.wrong("eos_token_id", "a token, or null where none ends a text"));
        }
        fields.tokens("eos_token_id")
    }

    /// The tiers and how tokens are spread over them.
    fn experts(
        self,
        fields: &Fields,
        layers: usize,
    ) -> Result<(Vec<TierConfig>, RoutingConfig), ImportError> {
        let mut routing = RoutingConfig {
            tiers_per_token: 1,
            groups_per_tier: 1,
            experts_per_group: 1,
            seed: Seed(0),
            rule: RoutingRule::Flat { normalized: true },
        };
        if !self.is_mixture() {
            let width = fields.count("intermediate_size")?;
            return Ok((vec![always(DENSE, width, TierMode::Always)], routing));
        }
        // Both names are in use, in one family even.
        let number =
            if fields.has("num_local_experts") { "num_local_experts" } else { "num_experts" };
        let experts = fields.count(number)?;
        routing.experts_per_group = fields.count("num_experts_per_tok")?;
        let normalized = self == Self::Mixtral || fields.flag("norm_topk_prob", false)?;
        routing.rule = RoutingRule::Flat { normalized };
        let width = match self {
            Self::Mixtral | Self::Olmoe => fields.count("intermediate_size")?,
            _ => fields.count("moe_intermediate_size")?,
        };
        let sparse = self.sparse_layers(fields, layers, experts)?;
        let some = |layers_of: &[usize]| (layers_of.len() != layers).then(|| layers_of.to_vec());
        let mut tiers = Vec::new();
        if sparse.is_empty() {
            routing.experts_per_group = 1;
        } else {
            let mut tier = TierConfig::new(tier_id(EXPERTS), 1, experts, width);
            tier.layers = some(&sparse);
            tiers.push(tier);
            if self == Self::Qwen2Moe {
                let width = fields.count("shared_expert_intermediate_size")?;
                let mut tier = always(SHARED, width, TierMode::AlwaysGated);
                tier.layers = some(&sparse);
                tiers.push(tier);
            }
        }
        if sparse.len() < layers {
            let dense: Vec<usize> =
                (0..layers).filter(|l| sparse.binary_search(l).is_err()).collect();
            let mut tier = always(DENSE, fields.count("intermediate_size")?, TierMode::Always);
            tier.layers = some(&dense);
            tiers.push(tier);
        }
        Ok((tiers, routing))
    }

    /// The layers with routed experts.
    fn sparse_layers(
        self,
        fields: &Fields,
        layers: usize,
        experts: usize,
    ) -> Result<Vec<usize>, ImportError> {
        if !matches!(self, Self::Qwen2Moe | Self::Qwen3Moe) {
            return Ok((0..layers).collect());
        }
        let step = fields.optional_count("decoder_sparse_step")?.unwrap_or(1);
        if step == 0 {
            return Err(fields.wrong("decoder_sparse_step", "a positive count"));
        }
        let dense: BTreeSet<usize> = fields.counts("mlp_only_layers")?.into_iter().collect();
        let is_sparse = |layer: &usize| {
            experts > 0 && (layer + 1).is_multiple_of(step) && !dense.contains(layer)
        };
        Ok((0..layers).filter(is_sparse).collect())
    }
}

/// The most layers: they are listed one by one, and a number no model has would take all memory.
const LAYERS_MAX: usize = 1 << 16;

/// Refuses what no family here does, and what would otherwise be passed over in silence.
fn refuse_what_is_not_done(fields: &Fields) -> Result<(), ImportError> {
    let activation = fields.text("hidden_act")?.unwrap_or("silu");
    if !matches!(activation, "silu" | "swish") {
        return Err(fields.unsupported("hidden_act", "silu is, which every family here uses"));
    }
    if fields.get("quantization_config").is_some() {
        let remedy = "save the model in float32, bfloat16 or float16 first";
        return Err(fields.unsupported("quantization_config", remedy));
    }
    if fields.flag("mlp_bias", false)? {
        return Err(fields.unsupported("mlp_bias", "only experts without biases are"));
    }
    if fields.count("num_hidden_layers")? > LAYERS_MAX {
        return Err(fields.wrong("num_hidden_layers", "at most 65536 layers"));
    }
    Ok(())
}

/// Refuses heads of which only a part is rotated.
fn refuse_partial_rotation(fields: &Fields) -> Result<(), ImportError> {
    let share = fields.optional_number("partial_rotary_factor")?;
    if share.is_some_and(|share| share.to_bits() != 1.0_f32.to_bits()) {
        let remedy = "only models that rotate whole heads are";
        return Err(fields.unsupported("partial_rotary_factor", remedy));
    }
    Ok(())
}

/// What an object about rotary frequencies says: their base, and how they are changed.
fn rope_object(
    rope: &Fields,
    context: usize,
) -> Result<(Option<f32>, Option<RopeScaling>), ImportError> {
    refuse_partial_rotation(rope)?;
    let theta = rope.optional_number("rope_theta")?;
    let field = if rope.get("rope_type").is_some() { "rope_type" } else { "type" };
    if let Some(older) = rope.text("type")?
        && rope.text(field)? != Some(older)
    {
        return Err(rope.unsupported("type", "it contradicts rope_type: keep one of them"));
    }
    let scaling = match rope.text(field)? {
        None if rope.get("factor").is_some() => return Err(rope.wrong("rope_type", "a text")),
        None | Some("default") => None,
        Some("linear") => Some(RopeScaling::Linear { factor: rope.number("factor")? }),
        Some("llama3") => Some(RopeScaling::Llama3 {
            factor: rope.number("factor")?,
            low_frequency_factor: rope.number("low_freq_factor")?,
            high_frequency_factor: rope.number("high_freq_factor")?,
            original_context: rope
                .optional_count("original_max_position_embeddings")?
                .unwrap_or(context),
        }),
        Some(_) => return Err(rope.unsupported(field, "default, linear and llama3 are")),
    };
    Ok((theta, scaling))
}

/// A tier of one expert that every token takes.
fn always(id: &str, width: usize, mode: TierMode) -> TierConfig {
    let mut tier = TierConfig::new(tier_id(id), 1, 1, width);
    tier.mode = mode;
    tier
}

fn tier_id(id: &str) -> TierId {
    TierId::new(id).expect("the names above are tier ids")
}
