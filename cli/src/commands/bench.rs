//! `litecore bench`: measure and compare.

use crate::args::Bench;
use crate::console::Console;
use crate::error::CliError;
use crate::table::{Table, si};
use crate::workload::{Workload, calibration_text, named_chip};
use litecore_bench::{Machine, gemm, generation};
use litecore_hal::DeviceUri;
use litecore_runtime::{Executor, IntegerExecutor, PhotonicExecutor};
use litecore_types::Seed;
use serde::Serialize;

const CHIP: &str = "ref-64-eo";

#[derive(Debug, Serialize)]
struct KernelReport {
    machine: Machine,
    reference: &'static str,
    chip: &'static str,
    products: Vec<gemm::Row>,
    generation: Vec<generation::Row>,
}

pub(super) fn run(args: &Bench, console: &Console) -> Result<(), CliError> {
    match args {
        Bench::Kernels { seconds } => kernels(*seconds, console),
    }
}

fn kernels(seconds: f64, console: &Console) -> Result<(), CliError> {
    if !(seconds.is_finite() && (0.0..=600.0).contains(&seconds)) {
        return Err(CliError::usage(format!("--seconds {seconds}: give 0 to 600")));
    }
    let workload = Workload::open(None)?;
    let chip = named_chip(CHIP, &[])?;
    let compiled = workload.compiled(&chip, calibration_text().as_bytes(), console)?;
    let uri = DeviceUri::Sim { chip: CHIP.to_owned(), seed: Seed(0), noise: true };
    let device = Box::new(litecore_sim::open(&uri)?);
    let mut executors: [Box<dyn Executor>; 4] = [
        Box::new(workload.float()?),
        Box::new(IntegerExecutor::reference(&compiled)),
        Box::new(IntegerExecutor::cpu(&compiled)),
        Box::new(PhotonicExecutor::new(&compiled, device)?),
    ];
    console.say("measuring matrix products");
    let products = gemm::compare(seconds);
    let mut rows = Vec::new();
    for executor in &mut executors {
        console.say(&format!("measuring {}", executor.name()));
        rows.push(generation::measure(&workload.dense, executor.as_mut(), seconds)?);
    }
    let report = KernelReport {
        machine: Machine::here(),
        reference: "gemm crate 0.19, AVX-512 kernels where the machine has them, one thread",
        chip: CHIP,
        products,
        generation: rows,
    };
    let mut products = Table::new(["m x k x n", "S2(256), packed", "gemm crate", "ratio"]);
    for row in &report.products {
        products.row([
            format!("{} x {} x {}", row.m, row.k, row.n),
            si(row.macs_per_s, "MAC/s"),
            si(row.gemm_macs_per_s, "MAC/s"),
            format!("{:.2}", row.ratio_to_gemm),
        ]);
    }
    let mut rows = Table::new(["executor", "bytes/s", "its products by gemm alone", "ratio"]);
    for row in &report.generation {
        rows.row([
            row.executor.clone(),
            format!("{:.0}", row.bytes_per_s),
            format!("{:.0} bytes/s", row.gemm_bytes_per_s),
            format!("{:.2}", row.ratio_to_gemm),
        ]);
    }
    let text = format!(
        "{}, {} instructions; one thread; reference: {}\n\nmatrix products\n{}\n\
         writing with the embedded model ({} for the compiled executors)\n{}",
        report.machine.processor,
        report.machine.instructions,
        report.reference,
        products.render(),
        report.chip,
        rows.render()
    );
    console.result(&report, &text);
    Ok(())
}
