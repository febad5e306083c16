//! `litecore model`: what a checkpoint holds, and whether it is whole.

use crate::args::Model;
use crate::console::Console;
use crate::error::CliError;
use crate::table::Table;
use litecore_model::checkpoint::Checkpoint;
use litecore_model::{ModelConfig, TierMode};
use serde::Serialize;
use std::path::Path;

#[derive(Debug, Serialize)]
struct Info<'a> {
    digest: String,
    parameters_total: u128,
    parameters_active_bound: u128,
    config: &'a ModelConfig,
}

#[derive(Debug, Serialize)]
struct Verified {
    digest: String,
    ok: bool,
    offences: Vec<String>,
}

pub(super) fn run(args: Model, console: &Console) -> Result<(), CliError> {
    match args {
        Model::Info { checkpoint } => {
            info(&open(checkpoint.as_deref())?, console);
            Ok(())
        }
        Model::Verify { checkpoint } => verify(&open(checkpoint.as_deref())?, console),
    }
}

/// The checkpoint at `path`, or the embedded one.
pub(super) fn open(path: Option<&Path>) -> Result<Checkpoint, CliError> {
    Ok(match path {
        None => litecore_model::embedded::checkpoint()?,
        Some(path) => Checkpoint::open_dir(path)?,
    })
}

fn info(checkpoint: &Checkpoint, console: &Console) {
    let config = checkpoint.config();
    let counts = config.parameter_counts();
    let header =
        ["tier", "taken", "layers", "groups", "experts each", "expert width", "parameters"];
    let mut tiers = Table::new(header);
    for tier in &config.tiers {
        tiers.row([
            tier.id.to_string(),
            match tier.mode {
                TierMode::Routed => "by routing".to_owned(),
                TierMode::Always => "always".to_owned(),
                TierMode::AlwaysGated => "always, gated".to_owned(),
            },
            tier.layer_count(config.layers).to_string(),
            tier.groups.to_string(),
            tier.experts_per_group.to_string(),
            tier.expert_width.to_string(),
            config.tier_parameters(tier).to_string(),
        ]);
    }
    let routing = &config.routing;
    let text = format!(
        "{}: {} layers of width {}, {} heads of {}, window {}, vocabulary {}\n\
         {} parameters in all; a token touches at most {} inside the layers: {} expert(s) a layer\n\
         a token takes {} tier(s), {} group(s) in each, {} expert(s) in each group; seed {}\n\n{}\n\
         digest {}\n",
        config.name,
        config.layers,
        config.width,
        config.heads,
        config.head_width,
        config.attention_window,
        config.vocab,
        counts.total,
        counts.active_bound,
        counts.experts_per_token,
        routing.tiers_per_token,
        routing.groups_per_tier,
        routing.experts_per_group,
        routing.seed,
        tiers.render(),
        checkpoint.digest(),
    );
    let info = Info {
        digest: checkpoint.digest().to_string(),
        parameters_total: counts.total,
        parameters_active_bound: counts.active_bound,
        config,
    };
    console.result(&info, &text);
}

fn verify(checkpoint: &Checkpoint, console: &Console) -> Result<(), CliError> {
    let report = checkpoint.verify();
    let offences: Vec<String> = report.offences.iter().map(ToString::to_string).collect();
    if !report.is_clean() {
        return Err(CliError::Damaged { offences });
    }
    let verified = Verified { digest: checkpoint.digest().to_string(), ok: true, offences };
    console.result(&verified, &format!("whole and unchanged; digest {}\n", verified.digest));
    Ok(())
}
