//! `litecore device update`: new firmware on a card.

use super::Named;
use crate::args::Card;
use crate::console::Console;
use crate::device;
use crate::error::CliError;
use litecore_hal::update::{UpdatePolicy, UpdateStep, Updated, update_firmware};
use litecore_hal::{Device as _, DeviceUri};
use serde::Serialize;
use std::fs;
use std::path::Path;

#[derive(Debug, Serialize)]
struct Report {
    #[serde(flatten)]
    named: Named,
    /// Whether the card runs other firmware than before.
    updated: bool,
    firmware_before: String,
    firmware: String,
    /// Bytes that an earlier, interrupted update had already brought.
    resumed_from_bytes: u64,
}

pub(super) fn run(
    args: &Card,
    firmware: &Path,
    force: bool,
    console: &Console,
) -> Result<(), CliError> {
    if matches!(args.uri, DeviceUri::Sim { .. }) {
        return Err(CliError::usage(format!("{} has no firmware: name a card", args.uri)));
    }
    let file = fs::read(firmware)
        .map_err(|source| CliError::Read { path: firmware.to_owned(), source })?;
    let mut card = device::card(&args.uri, &args.link)?;
    let progress = console.progress("firmware", file.len());
    let updated =
        update_firmware(&mut card, &file, UpdatePolicy { force }, &mut |step| match step {
            UpdateStep::Upload { done, .. } => {
                progress.set(usize::try_from(done).unwrap_or(usize::MAX));
            }
            UpdateStep::Verify => progress.message("verifying"),
            UpdateStep::Restart => progress.message("restarting"),
            UpdateStep::Confirm => progress.message("confirming"),
        })?;
    drop(progress);
    let named = Named::new(&args.uri, card.capabilities(), Some(&card));
    let (before, now, resumed_from_bytes) = match updated {
        Updated::Current(version) => (version, version, 0),
        Updated::To { before, now, resumed_from } => (before, now, resumed_from),
    };
    let report = Report {
        named,
        updated: matches!(updated, Updated::To { .. }),
        firmware_before: before.to_string(),
        firmware: now.to_string(),
        resumed_from_bytes,
    };
    let text = if report.updated {
        format!("{}  firmware {before} became {now} and is confirmed\n", report.named.line())
    } else {
        format!("{}  runs firmware {now} already: nothing was done\n", report.named.line())
    };
    console.result(&report, &text);
    Ok(())
}
