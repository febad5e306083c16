//! `litecore device test`: the conformance suite on one device, and its link's figures.

use super::Named;
use crate::args::Card;
use crate::console::Console;
use crate::device;
use crate::error::CliError;
use crate::table::{Table, si};
use crate::workload::named_chip;
use litecore_hal::conformance::{
    CaseReport, LinkFigures, Setup, measure, run_on_card, run_on_device,
};
use litecore_hal::{CardDevice, Device as _, DeviceUri, LinkCounters};
use litecore_types::chip::BUILTIN_NAMES;
use serde::Serialize;
use std::fmt::Write as _;
use std::time::Duration;

/// How long the link is measured.
const MEASURED: Duration = Duration::from_secs(1);

#[derive(Debug, Serialize)]
struct Report {
    #[serde(flatten)]
    named: Named,
    ok: bool,
    passed: usize,
    failed: usize,
    cases: Vec<CaseOutcome>,
    #[serde(flatten)]
    link_figures: Option<Figures>,
}

#[derive(Debug, Serialize)]
struct CaseOutcome {
    case: &'static str,
    ok: bool,
    /// Why it does not hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
    seconds: f64,
}

#[derive(Debug, Serialize)]
struct Figures {
    /// Of 64 bytes there and back.
    latency_p50_s: f64,
    latency_p99_s: f64,
    round_trips: usize,
    /// There and back, of transfers of the size below.
    bandwidth_bytes_per_s: f64,
    transfer_bytes: usize,
    commands: u64,
    resent: u64,
    damaged: u64,
    interrupts_lost: u64,
    resets: u64,
}

pub(super) fn run(args: &Card, exact: bool, console: &Console) -> Result<(), CliError> {
    let report = match &args.uri {
        uri @ DeviceUri::Sim { chip, settings } => {
            let mut device = litecore_sim::open(uri)?;
            let setup = setup(chip, exact || !settings.noise)?;
            let cases = run_on_device(&mut device, &setup);
            Report::new(Named::new(uri, device.capabilities(), None), &cases, None)
        }
        uri => {
            let mut card = device::card(uri, &args.link)?;
            let chip = card.capabilities().chip.clone();
            if !BUILTIN_NAMES.contains(&chip.as_str()) {
                return Err(CliError::UnknownChip { chip });
            }
            let setup = setup(&chip, exact)?;
            let cases = run_on_card(&mut card, &setup);
            // A card that failed cases may not stand being measured, and that is no news then.
            let failed = cases.iter().any(|case| case.failure.is_some());
            let figures = match measure(&mut card, MEASURED) {
                Ok(figures) => Some(Figures::new(&figures, &card)),
                Err(_) if failed => None,
                Err(error) => return Err(error.into()),
            };
            Report::new(Named::new(uri, card.capabilities(), Some(&card)), &cases, figures)
        }
    };
    console.result(&report, &report.text());
    if report.ok {
        return Ok(());
    }
    let (failed, cases) = (report.failed, report.cases.len());
    Err(CliError::DoesNotConform { uri: args.uri.clone(), failed, cases })
}

fn setup(chip: &str, exact: bool) -> Result<Setup, CliError> {
    let chip = named_chip(chip, &[])?.chip;
    Setup::new(&chip, exact).map_err(|violations| CliError::DoesNotFit { violations })
}

impl Report {
    fn new(named: Named, cases: &[CaseReport], link_figures: Option<Figures>) -> Self {
        let cases: Vec<CaseOutcome> = cases
            .iter()
            .map(|case| CaseOutcome {
                case: case.name,
                ok: case.failure.is_none(),
                failure: case.failure.as_ref().map(ToString::to_string),
                seconds: case.took.as_secs_f64(),
            })
            .collect();
        let passed = cases.iter().filter(|case| case.ok).count();
        let failed = cases.len() - passed;
        Self { named, ok: failed == 0, passed, failed, cases, link_figures }
    }

    fn text(&self) -> String {
        let mut text = self.named.line();
        let mut table = Table::new(["case", "time", ""]);
        for case in &self.cases {
            let outcome = case.failure.as_deref().unwrap_or("ok");
            table.row([case.case, &si(case.seconds, "s"), outcome]);
        }
        text.push_str(&table.render());
        _ = writeln!(text, "{} cases hold, {} do not", self.passed, self.failed);
        if let Some(figures) = &self.link_figures {
            _ = writeln!(
                text,
                "64 bytes there and back: half in {}, 99 of 100 in {}",
                si(figures.latency_p50_s, "s"),
                si(figures.latency_p99_s, "s")
            );
            _ = writeln!(
                text,
                "{} bytes there and back: {}",
                figures.transfer_bytes,
                si(figures.bandwidth_bytes_per_s, "B/s")
            );
            _ = writeln!(
                text,
                "{} commands; {} frames sent again, {} damaged, {} interrupts lost, {} resets",
                figures.commands,
                figures.resent,
                figures.damaged,
                figures.interrupts_lost,
                figures.resets
            );
        }
        text
    }
}

impl Figures {
    fn new(figures: &LinkFigures, card: &CardDevice) -> Self {
        let LinkCounters { submitted, resent, damaged, interrupts_lost, resets, .. } =
            card.link_counters();
        Self {
            latency_p50_s: figures.small.p50.as_secs_f64(),
            latency_p99_s: figures.small.p99.as_secs_f64(),
            round_trips: figures.small.count,
            bandwidth_bytes_per_s: figures.bytes_per_s,
            transfer_bytes: figures.largest_bytes,
            commands: submitted,
            resent,
            damaged,
            interrupts_lost,
            resets,
        }
    }
}
