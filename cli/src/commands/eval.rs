//! `litecore eval`: measure a model on a text.

use crate::args::{Eval, Execution};
use crate::console::Console;
use crate::error::CliError;
use crate::table::{db_or_exact, percent, si};
use crate::workload::{Workload, read_text};
use litecore_model::{ByteTokenizer, Tokenizer};
use litecore_runtime::{
    Account, Evaluation, Executor, ExecutorKind, IntegerExecutor, LayerFidelity, Measured, Session,
    Signal, evaluate_tokens,
};
use litecore_types::{Component, EnergyTotals};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Instant;

/// What a card was predicted to take, took, and used.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct CostReport {
    pub(crate) expert_runs: u64,
    pub(crate) symbols: u64,
    pub(crate) symbols_per_run: f64,
    pub(crate) useful_macs: u64,
    /// Cycles of transfers, latency included, as predicted; engines overlap.
    pub(crate) host_link_cycles: u64,
    /// Cycles the weight loaders worked, as predicted.
    pub(crate) loading_cycles: u64,
    /// Cycles the arrays streamed, as predicted.
    pub(crate) streaming_cycles: u64,
    pub(crate) cycles_predicted: u64,
    pub(crate) cycles_simulated: u64,
    /// Left out where the device cannot tell its energy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) energy_j: Option<EnergyTotals>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) energy_j_by_component: BTreeMap<&'static str, f64>,
}

impl CostReport {
    /// The report of an executor that ran on a card; nothing for one that did not.
    pub(crate) fn of(account: &Account, executor: &str) -> Option<Self> {
        (executor == ExecutorKind::Photonic.name()).then(|| Self {
            expert_runs: account.runs,
            symbols: account.symbols,
            symbols_per_run: account.symbols as f64 / account.runs.max(1) as f64,
            useful_macs: account.useful_macs,
            host_link_cycles: account.host_link.0,
            loading_cycles: account.loading.0,
            streaming_cycles: account.streaming.0,
            cycles_predicted: account.cycles_predicted.0,
            cycles_simulated: account.cycles.0,
            energy_j: account.energy_known.then(|| account.energy.totals()),
            energy_j_by_component: if account.energy_known {
                account.energy.parts().map(|(part, joules)| (part.key(), joules)).collect()
            } else {
                BTreeMap::new()
            },
        })
    }

    /// Joules of one component.
    pub(crate) fn joules(&self, component: Component) -> f64 {
        self.energy_j_by_component.get(component.key()).copied().unwrap_or(0.0)
    }

    /// The report for people.
    pub(crate) fn text(&self) -> String {
        let mut text = format!(
            "card: {} cycles simulated, {} predicted, {} expert runs of {:.1} tokens on average",
            self.cycles_simulated, self.cycles_predicted, self.expert_runs, self.symbols_per_run
        );
        if let Some(energy) = &self.energy_j {
            let per_mac = |joules: f64| si(joules / self.useful_macs.max(1) as f64, "J");
            _ = write!(
                text,
                "\nenergy per useful MAC: optics {}, core {}, system {}",
                per_mac(energy.optics_j),
                per_mac(energy.core_j),
                per_mac(energy.system_j)
            );
        }
        text
    }
}

/// How true the experts of a layer were, in decibels; left out where nothing differed.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct LayerReport {
    pub(crate) layer: u32,
    /// Against the model as trained.
    pub(crate) snr_rms_to_f32_db: Option<f64>,
    /// Against the integer meaning: noise alone.
    pub(crate) snr_rms_to_integer_db: Option<f64>,
    /// What the noise budget predicts for the latter; left out where nothing was predicted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) snr_rms_predicted_db: Option<f64>,
}

/// One executor measured on one text.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct EvalReport {
    pub(crate) executor: String,
    pub(crate) bytes: u64,
    pub(crate) bits_per_byte: f64,
    /// Tokens that were predicted: of a model of bytes, the bytes.
    pub(crate) tokens: u64,
    pub(crate) bits_per_token: f64,
    /// How often the likeliest next token is that of f32.
    pub(crate) agreement_with_f32: Option<f64>,
    /// Routing decisions that are not those of f32, as a share of all.
    pub(crate) routes_that_differ: Option<f64>,
    /// Of expert outputs on the same inputs, against the model as trained.
    pub(crate) snr_rms_to_f32_db: Option<f64>,
    /// Likewise, against the integer meaning: noise alone.
    pub(crate) snr_rms_to_integer_db: Option<f64>,
    /// What the noise budget predicts for the latter; left out where nothing was predicted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) snr_rms_predicted_db: Option<f64>,
    pub(crate) layers: Vec<LayerReport>,
    pub(crate) seconds: f64,
    #[serde(flatten)]
    pub(crate) cost: Option<CostReport>,
}

impl EvalReport {
    /// Puts together what was measured; `truth` is what f32 made of the same text.
    pub(crate) fn new(
        executor: &dyn Executor,
        evaluation: &Evaluation,
        truth: Option<&Evaluation>,
        layers: &BTreeMap<u32, LayerFidelity>,
        seconds: f64,
    ) -> Self {
        let mut all = LayerFidelity::default();
        for layer in layers.values() {
            all.to_float.signal += layer.to_float.signal;
            all.to_float.error += layer.to_float.error;
            all.to_integer.signal += layer.to_integer.signal;
            all.to_integer.error += layer.to_integer.error;
        }
        let differing = |pairs: usize, equal: usize| (pairs - equal) as f64 / pairs.max(1) as f64;
        Self {
            executor: executor.name().to_owned(),
            bytes: evaluation.bytes,
            bits_per_byte: evaluation.bits_per_byte,
            tokens: evaluation.tokens,
            bits_per_token: evaluation.bits_per_token,
            agreement_with_f32: truth.map(|truth| {
                let equal = count_equal(&truth.predicted, &evaluation.predicted);
                1.0 - differing(evaluation.predicted.len(), equal)
            }),
            routes_that_differ: truth.map(|truth| {
                let equal = count_equal(&truth.routes, &evaluation.routes);
                differing(evaluation.routes.len(), equal)
            }),
            snr_rms_to_f32_db: all.to_float.snr_rms_db(),
            snr_rms_to_integer_db: all.to_integer.snr_rms_db(),
            snr_rms_predicted_db: None,
            layers: layers
                .iter()
                .map(|(&layer, fidelity)| LayerReport {
                    layer,
                    snr_rms_to_f32_db: fidelity.to_float.snr_rms_db(),
                    snr_rms_to_integer_db: fidelity.to_integer.snr_rms_db(),
                    snr_rms_predicted_db: None,
                })
                .collect(),
            seconds,
            cost: CostReport::of(&executor.account(), executor.name()),
        }
    }
}

impl EvalReport {
    /// Adds what the noise budget predicts for each layer's experts.
    pub(crate) fn predict(&mut self, layers: &BTreeMap<u32, Signal>) {
        let mut all = Signal::default();
        for report in &mut self.layers {
            if let Some(signal) = layers.get(&report.layer) {
                report.snr_rms_predicted_db = signal.snr_rms_db();
                all.signal += signal.signal;
                all.error += signal.error;
            }
        }
        self.snr_rms_predicted_db = all.snr_rms_db();
    }
}

/// The device of an execution, in words.
pub(crate) fn device_name(execution: &Execution) -> String {
    let own = execution.device.device.is_none() && execution.model.is_some();
    if own { "the default simulator".to_owned() } else { execution.device.uri().to_string() }
}

fn count_equal<T: PartialEq>(a: &[T], b: &[T]) -> usize {
    a.iter().zip(b).filter(|(a, b)| a == b).count()
}

#[derive(Debug, Serialize)]
struct Output {
    model: String,
    text: String,
    device: Option<String>,
    #[serde(flatten)]
    report: EvalReport,
}

pub(super) fn run(args: &Eval, console: &Console) -> Result<(), CliError> {
    let text = read_text(&args.text)?;
    let most = args.bytes.map_or(text.len(), |most| usize::try_from(most).unwrap_or(usize::MAX));
    let execution = &args.execution;
    let workload = Workload::open(execution.model.as_deref())?;
    let mask = execution.tiers.resolve(workload.config())?;
    let (tokens, bytes) = tokens_of(&workload.tokenizer, &text, most.min(text.len()))?;
    let compiled = workload.compiled_for(execution, console)?;
    let mut executor = workload.executor(execution, compiled.as_ref())?;
    let score = |executor: &mut dyn Executor, what: &str| {
        let progress = console.progress(what, tokens.len());
        let mut session = Session::new(&workload.dense, mask.clone(), workload.seed(execution), 0);
        evaluate_tokens(&mut session, executor, &tokens, bytes, &mut |done| progress.set(done))
    };

    let start = Instant::now();
    let (evaluation, truth, layers, seconds);
    if let Some(compiled) = &compiled {
        let mut float = if workload.has_float() { Some(workload.float()?) } else { None };
        let mut integer = IntegerExecutor::cpu(compiled);
        let truth_of_experts = float.as_mut().map(|float| float as &mut dyn Executor);
        let mut measured = Measured::new(executor.as_mut(), truth_of_experts, &mut integer);
        evaluation = score(&mut measured, "evaluating")?;
        layers = measured.layers().clone();
        seconds = start.elapsed().as_secs_f64();
        truth = match &mut float {
            Some(float) => Some(score(float, "evaluating f32")?),
            None => None,
        };
    } else {
        evaluation = score(executor.as_mut(), "evaluating")?;
        layers = BTreeMap::new();
        seconds = start.elapsed().as_secs_f64();
        truth = None;
    }
    let report = EvalReport::new(executor.as_ref(), &evaluation, truth.as_ref(), &layers, seconds);
    let text = describe(&report);
    let output = Output {
        model: workload.name.clone(),
        text: args.text.display().to_string(),
        device: report.cost.is_some().then(|| device_name(execution)),
        report,
    };
    console.result(&output, &text);
    Ok(())
}

/// The first bytes of a text as tokens, and how many bytes are in those after the first.
fn tokens_of(tokenizer: &Tokenizer, text: &str, most: usize) -> Result<(Vec<u32>, u64), CliError> {
    if tokenizer.is_bytes() {
        // A character may be cut in two: to such a model it is no unit.
        let bytes = &text.as_bytes()[..most];
        return Ok((ByteTokenizer.encode(bytes), bytes.len().saturating_sub(1) as u64));
    }
    let end = (0..=most).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    let encoding = tokenizer.encode(&text[..end])?;
    Ok((encoding.tokens, end.saturating_sub(encoding.unpredicted_bytes) as u64))
}

fn describe(report: &EvalReport) -> String {
    let mut text = format!(
        "{} on {} bytes: {:.3} bits per byte",
        report.executor, report.bytes, report.bits_per_byte
    );
    if report.tokens == report.bytes {
        text.push('\n');
    } else {
        let (tokens, bits) = (report.tokens, report.bits_per_token);
        _ = writeln!(text, "; {tokens} tokens: {bits:.3} bits per token");
    }
    if let (Some(agreement), Some(routes)) = (report.agreement_with_f32, report.routes_that_differ)
    {
        _ = writeln!(
            text,
            "next token agrees with f32 {}, routes that differ {}",
            percent(agreement),
            percent(routes)
        );
    }
    let compared = report.agreement_with_f32.is_some();
    let levels = |to_float: Option<f64>, to_integer: Option<f64>| {
        let integer = format!("{} against the integer meaning", db_or_exact(to_integer));
        if compared { format!("{} against f32, {integer}", db_or_exact(to_float)) } else { integer }
    };
    if !report.layers.is_empty() {
        let all = levels(report.snr_rms_to_f32_db, report.snr_rms_to_integer_db);
        _ = writeln!(text, "SNR_rms of expert outputs: {all}");
        for layer in &report.layers {
            let levels = levels(layer.snr_rms_to_f32_db, layer.snr_rms_to_integer_db);
            _ = writeln!(text, "  layer {}: {levels}", layer.layer);
        }
    }
    if let Some(cost) = &report.cost {
        _ = writeln!(text, "{}", cost.text());
    }
    text
}
