//! What the demo says at its end.

use super::measure::{Bench, Trial};
use crate::commands::eval::{CostReport, EvalReport};
use crate::error::CliError;
use crate::table::{Table, db_or_exact, percent, si};
use litecore_hal::Device;
use litecore_sim::Terms;
use litecore_sim::budget::{Budget, Statistics};
use litecore_types::Seed;
use litecore_types::chip::ChipDescription;
use serde::Serialize;
use std::fmt::Write;

/// Symbols of the probe; enough for a tenth of a decibel.
const PROBE_SYMBOLS: usize = 512;
const PROBE_SEED: Seed = Seed(1);

#[derive(Debug, Serialize)]
pub(super) struct DemoReport {
    model: String,
    parameters: u128,
    layers: usize,
    experts_per_layer: usize,
    chip: String,
    device: String,
    prompt: String,
    heldout_bytes: usize,
    bigram_bits_per_byte: f64,
    kinds: Vec<KindReport>,
    executors: Vec<ExecutorReport>,
    exact: Vec<Equality>,
    array: ArrayReport,
    cost: Vec<CostRow>,
    plots: Vec<String>,
}

/// The model on one kind of text, beside a byte bigram model.
#[derive(Debug, Serialize)]
pub(super) struct KindReport {
    pub(super) kind: String,
    pub(super) bytes: u64,
    pub(super) bits_per_byte: f64,
    pub(super) bigram_bits_per_byte: f64,
}

#[derive(Debug, Serialize)]
struct ExecutorReport {
    name: String,
    text: String,
    bytes_per_s: f64,
    evaluation: EvalReport,
}

/// Whether two executors gave the same bits.
#[derive(Debug, Serialize)]
struct Equality {
    left: String,
    right: String,
    bytes: bool,
    logits: bool,
    routes: bool,
}

/// One array, measured through the device seam with a random tile.
#[derive(Debug, Serialize)]
pub(super) struct ArrayReport {
    symbols: usize,
    snr_rms_db: f64,
    closed_form_db: f64,
    /// The closed form of each part alone.
    parts_db: Vec<(&'static str, f64)>,
}

/// What one way of using the card costs.
#[derive(Debug, Serialize)]
struct CostRow {
    what: &'static str,
    tokens_per_expert_run: f64,
    bytes: u64,
    cycles_predicted: u64,
    cycles_simulated: u64,
    seconds_per_byte: f64,
    optics_j_per_byte: f64,
    core_j_per_byte: f64,
    system_j_per_byte: f64,
    optics_j_per_mac: f64,
    core_j_per_mac: f64,
    system_j_per_mac: f64,
    /// Parts of the cycles, as predicted; they overlap.
    host_link_share: f64,
    loading_share: f64,
    streaming_share: f64,
}

impl ArrayReport {
    /// Probes a device and sets the closed form beside it.
    pub(super) fn probe(
        device: &mut dyn Device,
        chip: &ChipDescription,
        terms: Terms,
    ) -> Result<Self, CliError> {
        let probe = litecore_calibration::probe(device, chip, PROBE_SYMBOLS, PROBE_SEED)?;
        let budget = Budget::predict(chip, terms, &Statistics::uniform(chip, probe.shift));
        Ok(Self {
            symbols: PROBE_SYMBOLS,
            snr_rms_db: probe.snr_rms_db,
            closed_form_db: budget.total.snr_rms_db,
            parts_db: budget.parts.iter().map(|(of, part)| (of.name(), part.snr_rms_db)).collect(),
        })
    }
}

impl CostRow {
    fn new(what: &'static str, cost: &CostReport, bytes: u64, chip: &ChipDescription) -> Self {
        let energy = cost.energy_j.unwrap_or_default();
        let seconds = cost.cycles_simulated as f64 / chip.clock.symbol_rate_hz.value;
        let share = |cycles: u64| cycles as f64 / cost.cycles_predicted.max(1) as f64;
        let (bytes_f, macs) = (bytes.max(1) as f64, cost.useful_macs.max(1) as f64);
        Self {
            what,
            tokens_per_expert_run: cost.symbols_per_run,
            bytes,
            cycles_predicted: cost.cycles_predicted,
            cycles_simulated: cost.cycles_simulated,
            seconds_per_byte: seconds / bytes_f,
            optics_j_per_byte: energy.optics_j / bytes_f,
            core_j_per_byte: energy.core_j / bytes_f,
            system_j_per_byte: energy.system_j / bytes_f,
            optics_j_per_mac: energy.optics_j / macs,
            core_j_per_mac: energy.core_j / macs,
            system_j_per_mac: energy.system_j / macs,
            host_link_share: share(cost.host_link_cycles),
            loading_share: share(cost.loading_cycles),
            streaming_share: share(cost.streaming_cycles),
        }
    }
}

impl DemoReport {
    pub(super) fn new(
        bench: &Bench<'_>,
        trials: &[Trial],
        bigram_bits_per_byte: f64,
        kinds: Vec<KindReport>,
        array: ArrayReport,
        plots: Vec<String>,
        chip: &ChipDescription,
    ) -> Self {
        let config = bench.workload.config();
        let find = |name: &str| trials.iter().find(|trial| trial.name == name);
        let pairs = [("cpu", "reference"), ("photonic, noise off", "cpu"), ("photonic", "cpu")];
        let exact = pairs
            .into_iter()
            .filter_map(|(left, right)| Some(equality(find(left)?, find(right)?)))
            .collect();
        let mut cost = Vec::new();
        if let Some(trial) = find("photonic") {
            if let Some(report) = trial.writing.as_ref().filter(|_| trial.bytes_fed > 0) {
                cost.push(CostRow::new("writing", report, trial.bytes_fed, chip));
            }
            if let Some(report) = &trial.report.cost {
                cost.push(CostRow::new("reading", report, trial.report.bytes, chip));
            }
        }
        Self {
            model: bench.workload.name.clone(),
            parameters: config.parameter_counts().total,
            layers: config.layers,
            experts_per_layer: config.expert_rows(),
            chip: chip.name.clone(),
            device: bench.args.device.uri().to_string(),
            prompt: bench.args.prompt.clone(),
            heldout_bytes: bench.heldout.len(),
            bigram_bits_per_byte,
            kinds,
            executors: trials
                .iter()
                .map(|trial| ExecutorReport {
                    name: trial.name.clone(),
                    text: String::from_utf8_lossy(&trial.written.bytes).into_owned(),
                    bytes_per_s: trial.bytes_per_s,
                    evaluation: trial.report.clone(),
                })
                .collect(),
            exact,
            array,
            cost,
            plots,
        }
    }

    /// The report for people.
    pub(super) fn text(&self) -> String {
        let mut out = format!(
            "\nmodel  {}: {:.2} M parameters, {} layers of {} experts\n\
             chip   {} ({}), simulated; the experts run on it, attention and routing on this host\n\
             prompt {:?}\n\n",
            self.model,
            self.parameters as f64 / 1e6,
            self.layers,
            self.experts_per_layer,
            self.chip,
            self.device,
            self.prompt
        );
        self.write_texts(&mut out);
        self.write_fidelity(&mut out);
        self.write_kinds(&mut out);
        self.write_cost(&mut out);
        _ = writeln!(
            out,
            "\nsimulated: the chip, its noise, cycles and joules (every constant with its source: \
             `litecore chip show {}`)\n\
             measured here: bits per byte, agreement, SNR, bytes/s\n\
             plots: {}",
            self.chip,
            self.plots.join(", ")
        );
        out
    }

    /// Equal texts are printed once.
    fn write_texts(&self, out: &mut String) {
        let mut shown: Vec<(&str, Vec<&str>)> = Vec::new();
        for executor in &self.executors {
            match shown.iter_mut().find(|(text, _)| *text == executor.text) {
                Some((_, names)) => names.push(&executor.name),
                None => shown.push((&executor.text, vec![&executor.name])),
            }
        }
        for (text, names) in shown {
            _ = writeln!(out, "── {} ──\n{}\n", names.join(" = "), text.trim_end());
        }
    }

    fn write_fidelity(&self, out: &mut String) {
        let mut table = Table::new([
            "executor",
            "bits/byte",
            "next byte = f32",
            "routes differ",
            "SNR_rms to f32",
            "to integers",
            "predicted",
            "bytes/s here",
        ]);
        let bigram = format!("{:.3}", self.bigram_bits_per_byte);
        table.row(["byte bigram", &bigram, "", "", "", "", "", ""]);
        for executor in &self.executors {
            let report = &executor.evaluation;
            let compared = report.agreement_with_f32.is_some();
            let level = |db| if compared { db_or_exact(db) } else { String::new() };
            table.row([
                executor.name.clone(),
                format!("{:.3}", report.bits_per_byte),
                report.agreement_with_f32.map_or(String::new(), percent),
                report.routes_that_differ.map_or(String::new(), percent),
                level(report.snr_rms_to_f32_db),
                level(report.snr_rms_to_integer_db),
                report.snr_rms_predicted_db.map_or(String::new(), |db| format!("{db:.1} dB")),
                format!("{:.0}", executor.bytes_per_s),
            ]);
        }
        _ = writeln!(out, "on {} bytes of held-out text:\n{}", self.heldout_bytes, table.render());
        for equality in &self.exact {
            let word = |same: bool| if same { "same" } else { "different" };
            _ = writeln!(
                out,
                "  {} and {}: {} bytes, {} logits, {} routes",
                equality.left,
                equality.right,
                word(equality.bytes),
                word(equality.logits),
                word(equality.routes)
            );
        }
        let parts: Vec<String> =
            self.array.parts_db.iter().map(|(name, db)| format!("{name} {db:.1}")).collect();
        // Seven to a line: a line of all of them is wider than any terminal.
        let lines: Vec<String> = parts.chunks(7).map(|line| line.join(", ")).collect();
        _ = writeln!(
            out,
            "  one array on {} random symbols: SNR_rms {:.1} dB measured, {:.1} dB from the closed \
             form\n  (its parts in dB: {})\n",
            self.array.symbols,
            self.array.snr_rms_db,
            self.array.closed_form_db,
            lines.join(",\n   ")
        );
    }

    /// What the model knows, and what it does not.
    fn write_kinds(&self, out: &mut String) {
        let mut table = Table::new(["f32 on held-out text, by kind", "bits/byte", "byte bigram"]);
        for kind in &self.kinds {
            table.row([
                kind.kind.clone(),
                format!("{:.3}", kind.bits_per_byte),
                format!("{:.3}", kind.bigram_bits_per_byte),
            ]);
        }
        out.push_str(&table.render());
        out.push_str(
            "  All kinds but the last are generated from templates the model was trained on, with \
             other words and numbers;\n  the last is prose nobody showed it. It is a small model of a \
             small world.\n\n",
        );
    }

    fn write_cost(&self, out: &mut String) {
        let header = self.cost.iter().map(|row| row.what);
        let mut table = Table::new(std::iter::once("on the card").chain(header));
        let mut line = |name: &str, cell: &dyn Fn(&CostRow) -> String| {
            let cells = self.cost.iter().map(cell);
            table.row(std::iter::once(name.to_owned()).chain(cells));
        };
        line("tokens in one expert run", &|row| format!("{:.1}", row.tokens_per_expert_run));
        line("cycles predicted", &|row| row.cycles_predicted.to_string());
        line("cycles simulated", &|row| row.cycles_simulated.to_string());
        line("time per byte", &|row| si(row.seconds_per_byte, "s"));
        line("energy per byte: optics", &|row| si(row.optics_j_per_byte, "J"));
        line("                 core", &|row| si(row.core_j_per_byte, "J"));
        line("                 system", &|row| si(row.system_j_per_byte, "J"));
        line("energy per useful MAC: optics", &|row| si(row.optics_j_per_mac, "J"));
        line("                       core", &|row| si(row.core_j_per_mac, "J"));
        line("                       system", &|row| si(row.system_j_per_mac, "J"));
        line("of a run, on the host link", &|row| percent(row.host_link_share));
        line("          loading weights", &|row| percent(row.loading_share));
        line("          streaming light", &|row| percent(row.streaming_share));
        out.push_str(&table.render());
        out.push_str(
            "  optics: lasers at the wall plug, on for the whole run; core: and converters, drivers, \
             hold, digital;\n  system: and weight fetch, memory, host link. Each number includes the \
             one before it.\n",
        );
    }
}

fn equality(left: &Trial, right: &Trial) -> Equality {
    let bits =
        |trial: &Trial| -> Vec<u32> { trial.logits.iter().map(|logit| logit.to_bits()).collect() };
    Equality {
        left: left.name.clone(),
        right: right.name.clone(),
        bytes: left.written.bytes == right.written.bytes,
        logits: bits(left) == bits(right),
        routes: left.written.routes == right.written.routes
            && left.evaluation.routes == right.evaluation.routes,
    }
}
