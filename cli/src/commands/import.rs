//! `litecore import`: a model of another library as a checkpoint.

use crate::args::Import;
use crate::console::Console;
use crate::error::CliError;
use crate::table::si;
use litecore_model::import::{Family, import_dir};
use serde::Serialize;

#[derive(Debug, Serialize)]
struct ImportReport {
    model: String,
    family: &'static str,
    layers: usize,
    parameters_total: u128,
    parameters_active_bound: u128,
    tensors: usize,
    tensor_bytes: u64,
    shards: usize,
    digest: String,
    out: String,
}

/// The families, for the command's help.
pub(crate) fn import_help() -> String {
    format!("Families: {}.", Family::ALL.map(Family::name).join(", "))
}

pub(super) fn run(args: &Import, console: &Console) -> Result<(), CliError> {
    // Counted in units of 64 KiB, so that models of any size fit every machine's counter.
    let units = |bytes: u64| usize::try_from(bytes >> 16).unwrap_or(usize::MAX);
    let mut progress = None;
    let imported = import_dir(&args.directory, &args.out, &mut |done, total| {
        let bar =
            progress.get_or_insert_with(|| console.progress("importing, 64 KiB", units(total)));
        bar.set(units(done));
    })?;
    drop(progress);
    let counts = imported.config.parameter_counts();
    let report = ImportReport {
        model: imported.config.name.clone(),
        family: imported.family.name(),
        layers: imported.config.layers,
        parameters_total: counts.total,
        parameters_active_bound: counts.active_bound,
        tensors: imported.tensors,
        tensor_bytes: imported.bytes,
        shards: imported.shards,
        digest: imported.digest.to_string(),
        out: args.out.display().to_string(),
    };
    let text = format!(
        "{}, {}: {} layers, {} parameters, {} in {} tensors, {} shard(s)\n\
         digest {}\nwritten to {}\n",
        report.model,
        report.family,
        report.layers,
        report.parameters_total,
        si(report.tensor_bytes as f64, "B"),
        report.tensors,
        report.shards,
        report.digest,
        report.out,
    );
    console.result(&report, &text);
    Ok(())
}
