//! The first and only process of a test machine: brings the kernel up, runs the cases it is told
//! to, switches the machine off.
//!
//! It talks to the host over the console in lines; see `report.rs`.

mod devices;
mod edu;
mod kernel;
mod model;
mod refusals;
mod report;
mod transport;

use litecore_hal::DeviceUri;
use model::Workload;
use report::{Failure, Report};

fn main() {
    let mut report = Report::new();
    if std::process::id() != 1 {
        Report::note("this program is the first process of a test machine: see tests/hil/run");
        return;
    }
    if let Err(error) = kernel::start() {
        Report::note(&format!("the kernel did not come up: {error}"));
    }
    let mut workload = None;
    for case in kernel::cases() {
        report.case(&case, |report| run(report, &case, &mut workload));
    }
    kernel::power_off();
}

/// Runs the case with this name: the transport, then what is done over it.
fn run(report: &mut Report, case: &str, workload: &mut Option<Workload>) -> Result<(), Failure> {
    if case == "pcie-edu" {
        return edu::run(report);
    }
    let (card, work) = case.rsplit_once('-').ok_or("a case is a card and some work")?;
    let uri: DeviceUri = devices::uri_of(card)?.parse()?;
    match work {
        "refusals" => refusals::are_told_apart(&uri),
        "suite" => transport::conforms(report, &uri),
        "model" => {
            let faulty = card.ends_with("-faults") || card.ends_with("-unplug");
            let workload = match workload {
                Some(workload) => workload,
                None => workload.insert(Workload::read()?),
            };
            model::writes_the_same(report, workload, &uri, faulty)
        }
        _ => Err("no such case".into()),
    }
}
