//! `litecore bench`: measure and compare.

use crate::args::Bench;
use crate::console::Console;
use crate::error::CliError;
use crate::table::{Table, si};
use crate::workload::{Workload, calibration_text, named_chip};
use litecore_bench::{Machine, compile, gemm, generation, growth, link, sim};
use litecore_hal::DeviceUri;
use litecore_model::checkpoint::Dtype;
use litecore_runtime::{Executor, IntegerExecutor, PhotonicExecutor};
use serde::Serialize;

const CHIP: &str = "ref-64-eo";
const REFERENCE: &str = "gemm crate 0.19, AVX-512 kernels where the machine has them, one thread";

#[derive(Debug, Serialize)]
struct KernelReport {
    machine: Machine,
    reference: &'static str,
    chip: &'static str,
    products: Vec<gemm::Row>,
    generation: Vec<generation::Row>,
}

#[derive(Debug, Serialize)]
struct ArrayReport {
    machine: Machine,
    reference: &'static str,
    chip: &'static str,
    #[serde(flatten)]
    speeds: sim::Speeds,
}

const PLAIN_PASS: &str = "checked: reading the same checkpoint, digests checked, and quantising each row \
    (keys: plain); raw: the same bytes of the file without any check; same threads";

#[derive(Debug, Serialize)]
struct CompileReport {
    machine: Machine,
    reference: &'static str,
    chip: &'static str,
    dtype: &'static str,
    #[serde(flatten)]
    speeds: compile::Speeds,
    growth: growth::Growth,
}

#[derive(Debug, Serialize)]
struct LinkReport {
    machine: Machine,
    links: Vec<link::LinkRow>,
}

pub(super) fn run(args: &Bench, console: &Console) -> Result<(), CliError> {
    match args {
        Bench::Kernels { seconds } => kernels(*seconds, console),
        Bench::Sim { seconds } => arrays(*seconds, console),
        Bench::Compile { megabytes, bf16 } => {
            compilation(*megabytes, if *bf16 { Dtype::Bf16 } else { Dtype::F32 }, console)
        }
        Bench::Link { seconds } => links(*seconds, console),
    }
}

fn check(seconds: f64) -> Result<(), CliError> {
    if (0.0..=600.0).contains(&seconds) {
        return Ok(());
    }
    Err(CliError::usage(format!("--seconds {seconds}: give 0 to 600")))
}

fn kernels(seconds: f64, console: &Console) -> Result<(), CliError> {
    check(seconds)?;
    let workload = Workload::open(None)?;
    let chip = named_chip(CHIP, &[])?;
    let compiled = workload.compiled(&chip, calibration_text().as_bytes(), console)?;
    let uri = DeviceUri::Sim { chip: CHIP.to_owned(), settings: Box::default() };
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
        reference: REFERENCE,
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

fn arrays(seconds: f64, console: &Console) -> Result<(), CliError> {
    check(seconds)?;
    let chip = named_chip(CHIP, &[])?;
    console.say("measuring arrays with every impairment on");
    let speeds = sim::compare(&chip.chip, seconds)?;
    let report = ArrayReport { machine: Machine::here(), reference: REFERENCE, chip: CHIP, speeds };
    let forward = |rows: &[sim::ForwardRow]| {
        let mut table = Table::new(["n x n cells", "batch", "noisy array", "gemm crate", "ratio"]);
        for row in rows {
            table.row([
                format!("{} x {}", row.n, row.n),
                row.batch.to_string(),
                si(row.symbols_per_s, "symbols/s"),
                si(row.gemm_symbols_per_s, "symbols/s"),
                format!("{:.2}", row.ratio_to_gemm),
            ]);
        }
        table.render()
    };
    let mut load = Table::new(["n x n cells", "cells", "load one tile", "as long as"]);
    for row in &report.speeds.load {
        load.row([
            format!("{} x {}", row.n, row.n),
            row.cells.to_owned(),
            si(row.seconds, "s"),
            format!("{:.0} symbols", row.symbols_equivalent),
        ]);
    }
    let text = format!(
        "{}, {} instructions; one thread; {} with n x n cells, every term on; reference: {}\n\n\
         conjugate packing, in-phase read-out, against the real product batch x 2n x n\n{}\n\
         complex packing, both quadratures, against the complex product batch x n x n\n{}\n\
         loading, all static errors and crosstalk folded in\n{}",
        report.machine.processor,
        report.machine.instructions,
        report.chip,
        report.reference,
        forward(&report.speeds.forward),
        forward(&report.speeds.forward_iq),
        load.render()
    );
    console.result(&report, &text);
    Ok(())
}

fn compilation(megabytes: u64, dtype: Dtype, console: &Console) -> Result<(), CliError> {
    let chip = named_chip(CHIP, &[])?;
    let failed = |source| CliError::Write { path: std::env::temp_dir(), source };
    let folder = tempfile::tempdir().map_err(failed)?;
    console.say("generating a model");
    let speeds = compile::compare(&chip.chip, &chip.text, folder.path(), megabytes, dtype)?;
    console.say("compiling experts of two sizes");
    let growth = growth::measure(&chip.chip).map_err(compile::CompileBenchError::Compile)?;
    let machine = Machine::here();
    let dtype = if dtype == Dtype::Bf16 { "bf16" } else { "f32" };
    let (reference, chip) = (PLAIN_PASS, CHIP);
    let report = CompileReport { machine, reference, chip, dtype, speeds, growth };
    let speeds = &report.speeds;
    let mut table =
        Table::left(["work", "files in the cache", "of processors", "speed", "files on the disk"]);
    let processor = |seconds: Option<f64>| seconds.map_or_else(|| "–".to_owned(), |s| si(s, "s"));
    let rate = |seconds: f64| si(speeds.bytes as f64 / seconds, "B/s");
    let mut row = |what: &str, cached: f64, spent: Option<f64>, from_disk: Option<f64>| {
        let from_disk = processor(from_disk);
        table.row([what.to_owned(), si(cached, "s"), processor(spent), rate(cached), from_disk]);
    };
    let from_disk = speeds.from_disk;
    let (compiled, raw) = (from_disk.map(|of| of.compile_s), from_disk.map(|of| of.raw_s));
    row("compile, file to file", speeds.compile_s, speeds.compile_processor_s, compiled);
    row("checked pass (plain)", speeds.plain_s, speeds.plain_processor_s, None);
    row("raw pass", speeds.raw_s, speeds.raw_processor_s, raw);
    let text = format!(
        "{}, {} instructions, {} threads; {} of weights ({}) for {}\n{}\
         speed of compiling over the checked pass {:.2}, over the raw pass {:.2}, from the disk {}\n\
         of processor time over the checked pass {}, over the raw pass {}\n\
         four times the weights in an expert: {} times the processor time for each\n\
         {}\n",
        report.machine.processor,
        report.machine.instructions,
        speeds.threads,
        si(speeds.bytes as f64, "B"),
        report.dtype,
        report.chip,
        table.render(),
        speeds.ratio_to_plain,
        speeds.ratio_to_raw,
        ratio(from_disk.map(|of| of.ratio_to_raw)),
        ratio(speeds.ratio_of_processor_time),
        ratio(speeds.ratio_of_processor_time_to_raw),
        ratio(report.growth.per_weight),
        report.reference
    );
    console.result(&report, &text);
    Ok(())
}

fn links(seconds: f64, console: &Console) -> Result<(), CliError> {
    check(seconds)?;
    // The card behind the links does little, so the smallest chip will do.
    let chip = named_chip("tiny-4", &[])?;
    let failed = |source| CliError::Write { path: std::env::temp_dir(), source };
    let folder = tempfile::tempdir().map_err(failed)?;
    console.say("measuring links");
    let links = link::compare(&chip.chip, folder.path(), seconds)?;
    let report = LinkReport { machine: Machine::here(), links };
    let mut table =
        Table::left(["link", "transfer", "time", "reference", "time", "speed", "by the fastest"]);
    for row in &report.links {
        table.row([
            row.what.to_owned(),
            si(row.bytes as f64, "B"),
            si(row.seconds, "s"),
            row.reference.to_owned(),
            si(row.reference_seconds, "s"),
            format!("{:.2}", row.speed_ratio),
            format!("{:.2}", row.fastest_ratio),
        ]);
    }
    let errors: u64 = report.links.iter().map(|row| row.errors).sum();
    let text = format!(
        "{}; medians of rounds in turns; {errors} frames were damaged or sent again\n{}",
        report.machine.processor,
        table.render()
    );
    console.result(&report, &text);
    Ok(())
}

fn ratio(value: Option<f64>) -> String {
    value.map_or("unknown".to_owned(), |value| format!("{value:.2}"))
}
