//! Experts: their keys, their order and their places in the router's output.

use serde::{Deserialize, Serialize};

use crate::config::ModelConfig;
use crate::tier::TierConfig;

/// Which expert within a layer.
///
/// Order: tier, then group, then expert, each ascending. This is the *key order* in which expert
/// outputs are combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ExpertKey {
    /// Index of the tier in the model's list of tiers.
    pub tier: u16,
    /// Index of the group within the tier.
    pub group: u16,
    /// Index of the expert within the group.
    pub expert: u16,
}

impl std::fmt::Display for ExpertKey {
    /// `tier.group.expert`, by index.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.tier, self.group, self.expert)
    }
}

impl ModelConfig {
    /// All experts that a layer may have, in key order.
    ///
    /// Counts beyond 65 536 (which [`ModelConfig::validate`] refuses) are cut off.
    pub fn experts(&self) -> impl Iterator<Item = ExpertKey> + '_ {
        self.experts_of(|_| true)
    }

    /// The experts of one layer in usable tiers, in key order.
    pub fn experts_in(&self, layer: usize) -> impl Iterator<Item = ExpertKey> + '_ {
        self.experts_of(move |tier| tier.is_usable() && tier.is_in(layer))
    }

    /// The experts of the tiers wanted, in key order.
    fn experts_of<'a>(
        &'a self,
        wanted: impl Fn(&TierConfig) -> bool + 'a,
    ) -> impl Iterator<Item = ExpertKey> + 'a {
        let tiers = (0..=u16::MAX).zip(&self.tiers).filter(move |(_, tier)| wanted(tier));
        tiers.flat_map(|(tier, entry)| {
            let (groups, experts) = (entry.groups, entry.experts_per_group);
            (0..=u16::MAX).take(groups).flat_map(move |group| {
                (0..=u16::MAX).take(experts).map(move |expert| ExpertKey { tier, group, expert })
            })
        })
    }

    /// Rows of the tier router: the routed tiers, or none under the flat rule.
    pub fn tier_rows(&self) -> usize {
        if self.routing.rule.is_levels() { self.routed().count() } else { 0 }
    }

    /// Rows of the group router: the groups of all routed tiers, or none under the flat rule.
    pub fn group_rows(&self) -> usize {
        let groups = self.routed().fold(0, |sum: usize, tier| sum.saturating_add(tier.groups));
        if self.routing.rule.is_levels() { groups } else { 0 }
    }

    /// Rows of the expert router: the experts of all routed tiers.
    pub fn expert_rows(&self) -> usize {
        self.routed().fold(0, |sum: usize, tier| sum.saturating_add(tier.experts()))
    }

    /// Whether a layer has routers.
    pub fn is_routed(&self, layer: usize) -> bool {
        self.routed().any(|tier| tier.is_in(layer))
    }

    /// The routed tiers; they come before all others.
    fn routed(&self) -> impl Iterator<Item = &TierConfig> {
        self.tiers.iter().filter(|tier| tier.is_routed())
    }

    /// The row of a group in the group router, or nothing if the model has no such group.
    pub fn group_row(&self, tier: u16, group: u16) -> Option<usize> {
        let (before, rest) = self.tiers.split_at_checked(usize::from(tier))?;
        if usize::from(group) >= rest.first()?.groups {
            return None;
        }
        let first = before.iter().try_fold(0_usize, |sum, tier| sum.checked_add(tier.groups))?;
        first.checked_add(usize::from(group))
    }

    /// The row of an expert in the expert router, or nothing if the model has no such expert.
    pub fn expert_row(&self, key: ExpertKey) -> Option<usize> {
        let (before, rest) = self.tiers.split_at_checked(usize::from(key.tier))?;
        let tier = rest.first().filter(|tier| tier.is_routed())?;
        let (group, expert) = (usize::from(key.group), usize::from(key.expert));
        if group >= tier.groups || expert >= tier.experts_per_group {
            return None;
        }
        let first = before.iter().try_fold(0_usize, |sum, tier| sum.checked_add(tier.experts()))?;
        first.checked_add(group.checked_mul(tier.experts_per_group)?)?.checked_add(expert)
    }
}
