//! Which of their tensors is which of ours.

use super::families::{DENSE, Family, SHARED};
use crate::config::ModelConfig;
use crate::names;

/// Their name of one of our tensors, or nothing for a name that no imported model has.
///
/// It reads the name, so that a configuration that claims billions of tensors takes no memory.
pub(super) fn source_name(family: Family, ours: &str) -> Option<String> {
    let Some(rest) = ours.strip_prefix("layers.") else {
        let theirs = match ours {
            names::EMBEDDING => "model.embed_tokens.weight",
            names::FINAL_NORM => "model.norm.weight",
            names::HEAD => HEAD,
            _ => return None,
        };
        return Some(theirs.to_owned());
    };
    let (layer, rest) = rest.split_once('.')?;
    let block = if family == Family::Mixtral { "block_sparse_moe" } else { "mlp" };
    let words: Vec<&str> = rest.split('.').collect();
    let theirs = match words.as_slice() {
        ["attn_norm", "gain"] => "input_layernorm.weight".to_owned(),
        ["moe_norm", "gain"] => "post_attention_layernorm.weight".to_owned(),
        ["attn", norm @ ("q_norm" | "k_norm"), "gain"] => format!("self_attn.{norm}.weight"),
        ["attn", letter, kind] => format!("self_attn.{letter}_proj.{kind}"),
        ["router", "expert", "weight"] => format!("{block}.gate.weight"),
        ["tier_gate", SHARED, "weight"] => format!("{block}.shared_expert_gate.weight"),
        ["tiers", tier, "groups", "0", "experts", expert, part, "weight"] => {
            let part = part_name(family, part)?;
            match *tier {
                DENSE => format!("{block}.{part}.weight"),
                SHARED => format!("{block}.shared_expert.{part}.weight"),
                _ => format!("{block}.experts.{expert}.{part}.weight"),
            }
        }
        _ => return None,
    };
    Some(format!("model.layers.{layer}.{theirs}"))
}

/// Whether a tensor may be there though nothing uses it: tables that follow from the
/// configuration, and a head that is the embedding.
pub(super) fn is_redundant(config: &ModelConfig, theirs: &str) -> bool {
    theirs.ends_with("rotary_emb.inv_freq") || (config.tied_head && theirs == HEAD)
}

/// Their name of the head.
const HEAD: &str = "lm_head.weight";

fn part_name(family: Family, part: &str) -> Option<&'static str> {
    Some(match (family, part) {
        (Family::Mixtral, "gate") => "w1",
        (Family::Mixtral, "up") => "w3",
        (Family::Mixtral, "down") => "w2",
        (_, "gate") => "gate_proj",
        (_, "up") => "up_proj",
        (_, "down") => "down_proj",
        _ => return None,
    })
}
