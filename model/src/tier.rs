//! Tiers: their ids, what one consists of, and sets of them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::config::ModelConfig;

/// The id of a tier: 1 to 32 characters of `a-z`, `0-9`, `_`, `.` and `-`.
///
/// `all` is reserved, because [`TierSet`] gives it a meaning. Ids are safe as part of a file name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TierId(String);

/// A text that is not a tier id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a tier id: use 1 to 32 characters of a-z, 0-9, `_`, `.`, `-`, and not `all`"
)]
pub struct InvalidTierId {
    /// What was written.
    pub text: String,
}

/// Where the experts of a tier live when nobody asked for them yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Placement {
    /// On the device.
    Hot,
    /// In the memory of the host.
    #[default]
    Warm,
    /// On a local disk.
    Cold,
    /// In an object store.
    Archive,
}

/// How tokens get to the experts of a tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TierMode {
    /// By routing.
    #[default]
    Routed,
    /// Every token takes every expert, with weight one.
    Always,
    /// Every token takes every expert, with the sigmoid of a row's product as weight.
    AlwaysGated,
}

/// What one tier consists of, the same in every layer that has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TierConfig {
    /// The name of the tier, unique within the model.
    pub id: TierId,
    /// How many groups the tier has in each layer.
    pub groups: usize,
    /// How many experts each group has.
    pub experts_per_group: usize,
    /// Hidden width of each expert, in elements.
    pub expert_width: usize,
    /// Where the experts live when nobody asked for them yet.
    #[serde(default)]
    pub placement: Placement,
    /// The most parameters the tier may have over all layers; unlimited if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget_parameters: Option<u64>,
    /// Abilities a reader needs to use the tier. A reader that lacks one leaves the tier out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requires: Vec<String>,
    /// How tokens get to the experts. Default: by routing.
    #[serde(default, skip_serializing_if = "TierMode::is_routed")]
    pub mode: TierMode,
    /// The layers that have the tier, ascending; all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers: Option<Vec<usize>>,
}

/// Which tiers a request may use, before a model is known.
///
/// Text form: `all`, `..=medium` (up to and including, in the model's order) or `small,medium`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum TierSet {
    /// Every usable tier.
    #[default]
    All,
    /// Exactly these, in any order.
    Only(Vec<TierId>),
    /// The tiers of the model from the first to this one, included.
    UpTo(TierId),
}

/// A text that is not a tier set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a tier set: write `all`, `..=medium` or `small,medium` ({source})")]
pub struct TierSetSyntax {
    /// What was written.
    pub text: String,
    /// Which part of it is not a tier id.
    pub source: InvalidTierId,
}

/// A tier asked for that the model does not have, or that needs a newer reader.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the model has no usable tier `{tier}`: choose from {}", list(known))]
pub struct UnknownTier {
    /// The tier asked for.
    pub tier: TierId,
    /// The usable tiers of the model, in its order.
    pub known: Vec<TierId>,
}

/// Which tiers of one model routing may use. Tiers that every token takes are no matter of choice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TierMask {
    /// One entry per tier of the model, in its order.
    allowed: Vec<bool>,
}

/// Abilities of this reader that a tier may require. None is defined yet.
const ABILITIES: [&str; 0] = [];

impl TierId {
    /// The id with this text.
    ///
    /// Errors: [`InvalidTierId`] unless the text is 1 to 32 of the allowed characters.
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidTierId> {
        let text = text.into();
        let allowed = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-');
        if (1..=32).contains(&text.len()) && text.bytes().all(allowed) && text != "all" {
            Ok(Self(text))
        } else {
            Err(InvalidTierId { text })
        }
    }

    /// The text of the id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TierId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TierId {
    type Err = InvalidTierId;

    fn from_str(text: &str) -> Result<Self, InvalidTierId> {
        Self::new(text)
    }
}

impl TryFrom<String> for TierId {
    type Error = InvalidTierId;

    fn try_from(text: String) -> Result<Self, InvalidTierId> {
        Self::new(text)
    }
}

impl From<TierId> for String {
    fn from(id: TierId) -> Self {
        id.0
    }
}

impl TierConfig {
    /// A tier without a budget or requirements, at the default placement.
    pub fn new(id: TierId, groups: usize, experts_per_group: usize, expert_width: usize) -> Self {
        let placement = Placement::default();
        Self {
            id,
            groups,
            experts_per_group,
            expert_width,
            placement,
            budget_parameters: None,
            requires: Vec::new(),
            mode: TierMode::Routed,
            layers: None,
        }
    }

    /// Whether this reader has every ability the tier requires.
    pub fn is_usable(&self) -> bool {
        self.requires.iter().all(|ability| ABILITIES.contains(&ability.as_str()))
    }

    /// Whether tokens get to the experts by routing.
    pub fn is_routed(&self) -> bool {
        self.mode.is_routed()
    }

    /// Whether a layer has the tier.
    pub fn is_in(&self, layer: usize) -> bool {
        self.layers.as_ref().is_none_or(|layers| layers.binary_search(&layer).is_ok())
    }

    /// How many of a model's layers have the tier.
    pub fn layer_count(&self, layers: usize) -> usize {
        self.layers.as_ref().map_or(layers, Vec::len)
    }

    /// Whether the tier is routed and in every layer.
    pub fn is_plain(&self) -> bool {
        self.is_routed() && self.layers.is_none()
    }

    /// Experts of the tier in one layer; saturates at the largest number.
    pub fn experts(&self) -> usize {
        self.groups.saturating_mul(self.experts_per_group)
    }
}

impl TierMode {
    /// Whether tokens get to the experts by routing.
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
    pub fn is_routed(&self) -> bool {
        *self == Self::Routed
    }
}

impl TierSet {
    /// The mask of this set for one model.
    ///
    /// Tiers that need a newer reader are left out of `all` and of `..=`. Errors: [`UnknownTier`]
    /// if a named tier is not a usable tier of the model.
    pub fn resolve(&self, config: &ModelConfig) -> Result<TierMask, UnknownTier> {
        let mut mask = TierMask { allowed: vec![false; config.tiers.len()] };
        match self {
            Self::All => mask = TierMask::all(config),
            Self::Only(tiers) => {
                for tier in tiers {
                    mask.allowed[usable_index(config, tier)?] = true;
                }
            }
            Self::UpTo(tier) => {
                let last = usable_index(config, tier)?;
                for (index, tier) in config.tiers.iter().enumerate().take(last + 1) {
                    mask.allowed[index] = tier.is_usable();
                }
            }
        }
        Ok(mask)
    }
}

impl FromStr for TierSet {
    type Err = TierSetSyntax;

    fn from_str(text: &str) -> Result<Self, TierSetSyntax> {
        let syntax = |source| TierSetSyntax { text: text.to_owned(), source };
        if text == "all" {
            return Ok(Self::All);
        }
        if let Some(last) = text.strip_prefix("..=") {
            return last.parse().map(Self::UpTo).map_err(syntax);
        }
        let tiers = text.split(',').map(|tier| tier.trim().parse()).collect::<Result<_, _>>();
        tiers.map(Self::Only).map_err(syntax)
    }
}

impl fmt::Display for TierSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::UpTo(tier) => write!(f, "..={tier}"),
            Self::Only(tiers) => {
                let tiers: Vec<&str> = tiers.iter().map(TierId::as_str).collect();
                f.write_str(&tiers.join(","))
            }
        }
    }
}

impl TierMask {
    /// The mask that allows every usable tier of the model.
    pub fn all(config: &ModelConfig) -> Self {
        Self { allowed: config.tiers.iter().map(TierConfig::is_usable).collect() }
    }

    /// Whether routing may use the tier with this index. False beyond the last tier.
    pub fn allows(&self, tier: u16) -> bool {
        self.allowed.get(usize::from(tier)).copied().unwrap_or(false)
    }

    /// How many tiers the model has that the mask was made for, allowed or not.
    pub fn tiers(&self) -> usize {
        self.allowed.len()
    }

    /// How many tiers are allowed.
    pub fn allowed(&self) -> usize {
        self.allowed.iter().filter(|allowed| **allowed).count()
    }
}

fn usable_index(config: &ModelConfig, tier: &TierId) -> Result<usize, UnknownTier> {
    let usable = |entry: &TierConfig| entry.is_usable() && entry.id == *tier;
    config.tiers.iter().position(usable).ok_or_else(|| UnknownTier {
        tier: tier.clone(),
        known: config.tiers.iter().filter(|t| t.is_usable()).map(|t| t.id.clone()).collect(),
    })
}

fn list(tiers: &[TierId]) -> String {
    let tiers: Vec<&str> = tiers.iter().map(TierId::as_str).collect();
    if tiers.is_empty() { "none (no tier is usable)".to_owned() } else { tiers.join(", ") }
}
