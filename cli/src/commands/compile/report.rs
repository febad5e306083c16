//! `litecore compile --report`: tables, JSON, a timeline and a roofline.

use super::run_limit;
use crate::error::CliError;
use crate::plots;
use crate::table::{Table, percent, si};
use crate::workload::NamedChip;
use litecore_compiler::{
    CompiledExpert, ExpertPlace, Pass, PassReport, PassSet, PassSummary, RunReport, SampleSource,
    report_run, summarise_passes, write_timeline,
};
use litecore_model::ModelConfig;
use litecore_types::chip::ChipDescription;
use litecore_types::{Component, EnergyTotals};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

/// Tokens in a run that reports are about.
pub(crate) const BATCHES: [u64; 4] = [1, 8, 64, 512];

/// Tokens in the run whose timeline is written.
const TIMELINE_TOKENS: u64 = 64;

/// Everything `report.json` says.
#[derive(Debug, Serialize)]
pub(crate) struct ReportDocument {
    pub(crate) model: String,
    pub(crate) chip: String,
    pub(crate) passes_on: Vec<Pass>,
    /// Most tokens that each of the programs takes in one run; longer runs are left out.
    pub(crate) symbols_max: Option<u64>,
    /// Every expert run once, for each number of tokens.
    pub(crate) total: Vec<RunReport>,
    pub(crate) layers: Vec<LayerSummary>,
    pub(crate) passes: Vec<PassSummary>,
}

/// The experts of one tier in one layer.
#[derive(Debug, Serialize)]
pub(crate) struct LayerSummary {
    pub(crate) layer: u32,
    pub(crate) tier: String,
    pub(crate) experts: usize,
    pub(crate) tiles: usize,
    pub(crate) weight_bytes: u64,
    /// Useful weights over what the tiles could hold.
    pub(crate) fill: f64,
    /// Signal over rounding error, errors averaged over the experts, on inputs that nothing was chosen on.
    pub(crate) snr_db: Option<f64>,
    /// The SNR of the expert with the most error.
    pub(crate) snr_db_of_the_worst: Option<f64>,
    /// How many of these inputs come from the calibration text, of all experts.
    pub(crate) held_out: usize,
    /// Experts that the text did not ask: their inputs are modelled as standard normals.
    pub(crate) experts_without_inputs: usize,
    /// Experts with fewer than four inputs: none is held out, and their SNR is of what gains were chosen on.
    pub(crate) experts_without_held_out: usize,
    /// Each of its experts run once, for each number of tokens.
    pub(crate) runs: Vec<RunReport>,
    #[serde(skip)]
    relative_errors: f64,
    #[serde(skip)]
    measured: usize,
}

/// Gathers what is reported while experts are compiled.
pub(super) struct ReportWriter<'a> {
    dir: PathBuf,
    chip: &'a ChipDescription,
    config: &'a ModelConfig,
    document: ReportDocument,
    layers: BTreeMap<(u32, u16), LayerSummary>,
    pass_reports: Vec<PassReport>,
    written: Vec<PathBuf>,
    timelines: Vec<u16>,
}

impl<'a> ReportWriter<'a> {
    pub(super) fn new(
        dir: &Path,
        model: &str,
        chip: &'a NamedChip,
        config: &'a ModelConfig,
        passes: PassSet,
    ) -> Self {
        let document = ReportDocument {
            model: model.to_owned(),
            chip: chip.chip.name.clone(),
            passes_on: passes.iter().collect(),
            symbols_max: None,
            total: Vec::new(),
            layers: Vec::new(),
            passes: Vec::new(),
        };
        Self {
            dir: dir.to_owned(),
            chip: &chip.chip,
            config,
            document,
            layers: BTreeMap::new(),
            pass_reports: Vec::new(),
            written: Vec::new(),
            timelines: Vec::new(),
        }
    }

    /// Takes note of an expert; the first of each tier leaves a timeline.
    pub(super) fn note(
        &mut self,
        (layer, key): ExpertPlace,
        expert: &CompiledExpert,
    ) -> Result<(), CliError> {
        let (program, report) = (&expert.program, &expert.report);
        let tier = self.config.tiers[usize::from(key.tier)].id.to_string();
        if !self.timelines.contains(&key.tier) {
            self.timelines.push(key.tier);
            let tokens = TIMELINE_TOKENS.min(program.symbols_max);
            let (_, prediction) = report_run(program, self.chip, tokens);
            let path = self.dir.join(format!("timeline-{tier}.json"));
            let chip = self.chip;
            self.write(path, |out| write_timeline(program, chip, &prediction, out))?;
        }
        let fewest = self.document.symbols_max.unwrap_or(u64::MAX).min(program.symbols_max);
        self.document.symbols_max = Some(fewest);
        let batches = BATCHES.into_iter().filter(|tokens| *tokens <= program.symbols_max);
        let runs: Vec<RunReport> =
            batches.map(|tokens| report_run(program, self.chip, tokens).0).collect();
        add_runs(&mut self.document.total, &runs);
        let summary = self.layers.entry((layer, key.tier)).or_insert_with(|| LayerSummary {
            layer,
            tier,
            experts: 0,
            tiles: 0,
            weight_bytes: 0,
            fill: 0.0,
            snr_db: None,
            snr_db_of_the_worst: None,
            held_out: 0,
            experts_without_inputs: 0,
            experts_without_held_out: 0,
            runs: Vec::new(),
            relative_errors: 0.0,
            measured: 0,
        });
        add_runs(&mut summary.runs, &runs);
        // A running mean: all experts of a tier have the same shape.
        summary.fill += (report.fill() - summary.fill) / (summary.experts + 1) as f64;
        summary.experts += 1;
        summary.tiles += program.tiles.len();
        summary.weight_bytes += program.weight_bytes();
        match report.samples {
            SampleSource::Caller { .. } if report.held_out == 0 => {
                summary.experts_without_held_out += 1;
            }
            SampleSource::Caller { .. } => summary.held_out += report.held_out,
            SampleSource::GaussianModel { .. } => summary.experts_without_inputs += 1,
        }
        if let Some(db) = report.snr_db {
            let worst = summary.snr_db_of_the_worst.map_or(db, |worst| worst.min(db));
            summary.snr_db_of_the_worst = Some(worst);
            summary.relative_errors += pxfm::f_exp10(-db / 10.0);
            summary.measured += 1;
            let mean = summary.relative_errors / summary.measured as f64;
            summary.snr_db = Some(-10.0 * pxfm::f_log10(mean));
        }
        self.pass_reports.extend(report.passes.iter().cloned());
        Ok(())
    }

    /// Writes the report; gives the paths of its files.
    pub(super) fn finish(mut self) -> Result<Vec<PathBuf>, CliError> {
        self.document.layers = std::mem::take(&mut self.layers).into_values().collect();
        self.document.passes = summarise_passes(&self.pass_reports);
        let json = serde_json::to_vec_pretty(&self.document).map_err(|error| CliError::Write {
            path: self.dir.join("report.json"),
            source: error.into(),
        })?;
        let text = text(&self.document);
        self.write(self.dir.join("report.json"), |out| out.write_all(&json))?;
        self.write(self.dir.join("report.txt"), |out| out.write_all(text.as_bytes()))?;
        let drawn = plots::write_roofline(&self.dir, &self.document, self.chip)?;
        self.written.extend(drawn.into_iter().map(PathBuf::from));
        Ok(self.written)
    }

    fn write(
        &mut self,
        path: PathBuf,
        content: impl FnOnce(&mut dyn std::io::Write) -> std::io::Result<()>,
    ) -> Result<(), CliError> {
        let write = || -> std::io::Result<()> {
            fs::create_dir_all(&self.dir)?;
            let mut out = BufWriter::new(File::create(&path)?);
            content(&mut out)?;
            out.flush()
        };
        write().map_err(|source| CliError::Write { path: path.clone(), source })?;
        self.written.push(path);
        Ok(())
    }
}

fn add_runs(sums: &mut Vec<RunReport>, runs: &[RunReport]) {
    for run in runs {
        match sums.iter_mut().find(|sum| per_run(sum) == per_run(run)) {
            Some(sum) => sum.add(run),
            None => sums.push(run.clone()),
        }
    }
}

/// Tokens in each of the runs that were added up.
fn per_run(report: &RunReport) -> u64 {
    report.symbols / report.runs.max(1)
}

/// The report for people.
fn text(document: &ReportDocument) -> String {
    let mut text = format!("{} on {}, every expert run once\n", document.model, document.chip);
    text.push_str(&document.symbols_max.map(run_limit).unwrap_or_default());
    for run in &document.total {
        _ = writeln!(text, "\n── {} tokens for each expert ──", per_run(run));
        text.push_str(&run_text(run));
    }
    text.push_str("\n── layers ──\n");
    // Where no error is found, or no signal, there is no ratio.
    let level = |db: Option<f64>| db.map_or("none".to_owned(), |db| format!("{db:.1} dB"));
    let mut table = Table::new([
        "layer and tier",
        "experts",
        "tiles",
        "fill",
        "SNR",
        "worst",
        "tokens",
        "time",
        "MAC per cell and symbol",
        "while streaming",
        "energy per MAC of the model",
        "tightest bound",
    ]);
    for layer in &document.layers {
        for run in &layer.runs {
            table.row([
                format!("{} {}", layer.layer, layer.tier),
                layer.experts.to_string(),
                layer.tiles.to_string(),
                percent(layer.fill),
                level(layer.snr_db),
                level(layer.snr_db_of_the_worst),
                per_run(run).to_string(),
                si(run.seconds, "s"),
                format!("{:.4}", run.utilisation.of_the_run),
                format!("{:.3}", run.utilisation.while_streaming),
                si(run.energy_j.system_j / run.useful_macs.max(1) as f64, "J"),
                run.roofline.first().map_or("none", |bound| bound.kind.name()).to_owned(),
            ]);
        }
    }
    text.push_str(&table.render());
    text.push_str(&held_out(&document.layers));
    text.push_str("\n── passes, means over all matrices they ran on ──\n");
    let mut table = Table::left(["pass", "ran", "changed", "figure", "before", "after"]);
    let number = |value: Option<f64>| value.map_or(String::new(), |value| format!("{value:.4}"));
    for pass in &document.passes {
        let mut head = [pass.pass.to_string(), pass.runs.to_string(), pass.changed.to_string()];
        for (name, (before, after)) in &pass.figures {
            let [a, b, c] = std::mem::take(&mut head);
            table.row([a, b, c, name.clone(), number(*before), number(*after)]);
        }
    }
    text.push_str(&table.render());
    text
}

/// Which inputs the SNR of the layers is of.
fn held_out(layers: &[LayerSummary]) -> String {
    let sum = |of: fn(&LayerSummary) -> usize| layers.iter().map(of).sum::<usize>();
    let vectors = sum(|layer| layer.held_out);
    let (modelled, flattered) =
        (sum(|layer| layer.experts_without_inputs), sum(|layer| layer.experts_without_held_out));
    let mut text = "SNR: without noise, errors averaged over the experts, and of the worst one; on input vectors \
        that nothing was chosen on.\n"
        .to_owned();
    if vectors > 0 {
        _ = writeln!(text, "  {vectors} of them come from the calibration text.");
    }
    if modelled > 0 {
        let experts = experts(modelled);
        _ = writeln!(
            text,
            "  {experts} not asked by the calibration text: theirs are standard normals."
        );
    }
    if flattered > 0 {
        let experts = experts(flattered);
        _ = writeln!(
            text,
            "  {experts} asked fewer than four times: gains were chosen on the same vectors, which flatters."
        );
    }
    text
}

fn experts(count: usize) -> String {
    if count == 1 { "1 expert was".to_owned() } else { format!("{count} experts were") }
}

fn run_text(run: &RunReport) -> String {
    let mut text = String::new();
    let macs = run.useful_macs.max(1) as f64;
    let use_of = &run.utilisation;
    _ = writeln!(
        text,
        "{} in {} runs; real MACs that are run per cell and symbol: {:.3} while streaming, {:.4} over \
         the run, {:.0} at most",
        si(run.seconds, "s"),
        run.runs,
        use_of.while_streaming,
        use_of.of_the_run,
        use_of.ceiling
    );
    let EnergyTotals { optics_j, core_j, system_j } = run.energy_j;
    _ = writeln!(
        text,
        "energy per MAC of the original model: optics {}, core {}, system {}",
        si(optics_j / macs, "J"),
        si(core_j / macs, "J"),
        si(system_j / macs, "J")
    );
    let bound = &run.lower_bound;
    let any = &run.lower_bound_of_any_work;
    let over = |bound: u64| run.cycles as f64 / bound.max(1) as f64;
    _ = writeln!(
        text,
        "lower bound of the same work: {} cycles, by the {}; the schedule takes {:.3} times as long\n\
         of any work on the same tiles and arrays: {} cycles, by the {}; {:.3} times",
        bound.cycles,
        bound.resource(),
        over(bound.cycles),
        any.cycles,
        any.resource(),
        over(any.cycles)
    );
    let share = |cycles: f64| percent(cycles / run.cycles.max(1) as f64);
    let mut table = Table::new(["bound", "at least", "of the run", "roof"]);
    for bound in &run.roofline {
        let seconds = run.seconds * bound.cycles / run.cycles.max(1) as f64;
        let roof = si(bound.useful_macs_per_s, "MAC/s");
        table.row([bound.kind.name().to_owned(), si(seconds, "s"), share(bound.cycles), roof]);
    }
    text.push_str(&table.render());
    let mut table = Table::new(["arrays stand still while", "cycles of all arrays"]);
    for wait in &run.waits {
        table.row([wait.reason.name().to_owned(), wait.cycles.to_string()]);
    }
    text.push_str(&table.render());
    let mut table = Table::new(["longest path through", "cycles", "share"]);
    for (engine, cycles) in &run.critical_path {
        table.row([engine.clone(), cycles.to_string(), share(*cycles as f64)]);
    }
    text.push_str(&table.render());
    let mut table = Table::new(["component", "energy", "per MAC of the original model"]);
    for part in Component::ALL {
        let joules = run.energy_j_by_component.get(part.key()).copied().unwrap_or(0.0);
        table.row([part.name().to_owned(), si(joules, "J"), si(joules / macs, "J")]);
    }
    text.push_str(&table.render());
    text
}
