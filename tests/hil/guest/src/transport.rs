//! A card over a transport, through the kernel's own driver: the conformance suite.

use crate::report::{Failure, Report};
use litecore_hal::conformance::{Setup, measure, run_on_card};
use litecore_hal::{CardDevice, Device as _, DeviceUri, OpenOptions, fresh_session, open_card};
use litecore_types::chip::builtin;
use std::time::Duration;

/// An emulated processor, and an emulated card on a machine that others use too. *Assumed.*
const SLOW_WORLD: u32 = 3;

/// Opens the card at `uri`. One with faults is suspected sooner: what is late there is mostly lost.
pub(crate) fn open(uri: &DeviceUri, faulty: bool) -> Result<CardDevice, Failure> {
    let time_scale = if faulty { 1 } else { SLOW_WORLD };
    let options = OpenOptions { time_scale, ..OpenOptions::usual(fresh_session()) };
    Ok(open_card(uri, &options)?)
}

/// Holds the card at `uri` to the suite that every card is held to, and measures its link.
pub(crate) fn conforms(report: &mut Report, uri: &DeviceUri) -> Result<(), Failure> {
    let mut card = open(uri, false)?;
    let name = &card.capabilities().chip;
    let chip = builtin(name).ok_or_else(|| format!("it has a chip {name} that nobody knows"))?;
    let setup = Setup::new(&chip, false).map_err(|violations| format!("{violations:?}"))?;
    let reports = run_on_card(&mut card, &setup);
    let failed: Vec<String> = reports
        .iter()
        .filter_map(|case| Some(format!("{}: {}", case.name, case.failure.as_ref()?)))
        .collect();
    report.figure("cases", reports.len() as f64);
    for case in &reports {
        Report::note(&format!("{} in {} ms", case.name, case.took.as_millis()));
    }
    let figures = measure(&mut card, Duration::from_millis(200))?;
    report.figure("latency_p50_us", figures.small.p50.as_secs_f64() * 1e6);
    report.figure("latency_p99_us", figures.small.p99.as_secs_f64() * 1e6);
    report.figure("mb_per_s", figures.bytes_per_s / 1e6);
    if failed.is_empty() { Ok(()) } else { Err(failed.join("; ").into()) }
}
