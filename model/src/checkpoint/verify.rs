//! Checking a whole checkpoint.
//!
//! Checked: every shard for presence, size, digest and header; every tensor of the model for
//! presence in a shard of its tier, uniqueness, shape, type and finite values; the tokenizer, if
//! there is one. Not checked: tensors that are not part of the model, and tiers that need a newer reader.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::error::CheckpointError;
use super::manifest::Manifest;
use super::shard::Shard;
use super::source::Source;
use crate::tier::TierId;

/// The most offences one report lists: a manifest can claim more tensors than can be listed.
pub const OFFENCES_MAX: usize = 1000;

/// What a check of a whole checkpoint found.
#[derive(Debug)]
#[must_use]
pub struct Report {
    /// How many shards have the size, digest and header they should.
    pub good_shards: usize,
    /// How many tensors of the model are as they should be.
    pub good_tensors: usize,
    /// Everything wrong: shards and their tensors in the order of the manifest, then missing
    /// tensors. Tensors of a tier with a bad shard are not listed as missing. At most
    /// [`OFFENCES_MAX`].
    pub offences: Vec<CheckpointError>,
    /// Whether there were more offences than are listed.
    pub cut_off: bool,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.offences.is_empty()
    }

    /// Lists an offence, unless there are too many already. Says whether there was room.
    fn add(&mut self, offence: CheckpointError) -> bool {
        let room = self.offences.len() < OFFENCES_MAX;
        if room {
            self.offences.push(offence);
        } else {
            self.cut_off = true;
        }
        room
    }
}

/// Checks every shard and every tensor.
pub(super) fn verify(source: &Source, manifest: &Manifest) -> Report {
    let mut report =
        Report { good_shards: 0, good_tensors: 0, offences: Vec::new(), cut_off: false };
    // Where each tensor of the model was found first.
    let mut found: BTreeMap<String, PathBuf> = BTreeMap::new();
    let mut damaged_tiers: BTreeSet<Option<&TierId>> = BTreeSet::new();
    for entry in &manifest.shards {
        match Shard::load(source, entry) {
            Err(offence) => {
                damaged_tiers.insert(entry.tier.as_ref());
                report.add(offence);
            }
            Ok(shard) => {
                report.good_shards += 1;
                for name in shard.tensor_names() {
                    let spec = manifest.model.tensor_spec(&name);
                    let Some(spec) = spec.filter(|spec| manifest.belongs(spec, entry)) else {
                        continue;
                    };
                    let file = shard.file().to_owned();
                    if let Some(other) = found.get(&name) {
                        let (tensor, other) = (name, other.clone());
                        report.add(CheckpointError::DuplicateTensor { tensor, file, other });
                        continue;
                    }
                    found.insert(name, file);
                    match shard.tensor(&spec) {
                        Ok(_) => report.good_tensors += 1,
                        Err(offence) => {
                            report.add(offence);
                        }
                    }
                }
            }
        }
    }
    if manifest.tokenizer.is_some()
        && let Err(offence) = super::read::tokenizer(source, manifest)
    {
        report.add(offence);
    }
    list_missing(manifest, &found, &damaged_tiers, &mut report);
    report
}

/// Adds the tensors of the model that were not found, unless a bad shard may hold them.
///
/// Ends as soon as the report is full, so that it takes no longer than what was found allows,
/// however many tensors the configuration claims.
fn list_missing(
    manifest: &Manifest,
    found: &BTreeMap<String, PathBuf>,
    damaged_tiers: &BTreeSet<Option<&TierId>>,
    report: &mut Report,
) {
    let model = &manifest.model;
    let files = |tier: Option<&TierId>| -> Vec<String> {
        let shards = manifest.shards.iter().filter(|entry| entry.tier.as_ref() == tier);
        shards.map(|entry| entry.path.as_str().to_owned()).collect()
    };
    let mut missing = |tier: Option<&TierId>, name: String| {
        found.contains_key(&name)
            || report.add(CheckpointError::TensorMissing { tensor: name, files: files(tier) })
    };
    if !damaged_tiers.contains(&None) && !model.dense_specs().all(|spec| missing(None, spec.name)) {
        return;
    }
    for (index, tier) in (0..=u16::MAX).zip(&model.tiers) {
        let id = Some(&tier.id);
        if tier.is_usable()
            && !damaged_tiers.contains(&id)
            && !model.tier_specs(index).all(|spec| missing(id, spec.name))
        {
            return;
        }
    }
}
