//! What the Monte Carlo says.

use super::cost::Cost;
use super::experiment::{Findings, Level, Setup, TermResult};
use crate::table::{Table, si};
use litecore_sim::dynamic::Draws;
use litecore_types::EnergyTotals;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Measured and closed form may differ by this much, or by three standard errors, before it is
/// said; of one chip alone there is no standard error, and nothing is said.
const TOLERANCE_DB: f64 = 0.5;

/// One array measured, as JSON has it.
///
/// A ratio is left out (null) where nothing differs.
#[derive(Debug, Serialize)]
pub(crate) struct SimReport {
    pub(crate) chip: String,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    /// The first so many columns are realised, with all their rows and the light of the whole array.
    pub(crate) columns_measured: usize,
    pub(crate) packing: &'static str,
    pub(crate) readout: &'static str,
    #[serde(skip)]
    pub(crate) reads_quadrature: bool,
    pub(crate) data: String,
    pub(crate) terms: String,
    pub(crate) symbols: usize,
    pub(crate) instances: usize,
    pub(crate) seed: String,
    /// How noise is drawn: `merged` or `per-term`.
    pub(crate) draws: &'static str,
    /// Whether the symbols are fewer than usual because the array is large.
    pub(crate) symbols_shortened: bool,
    /// The converter's step is `2^shift` units of the exact sum.
    pub(crate) shift: u8,
    /// Mean-square sum over mean-square error.
    pub(crate) snr_rms_db: Option<f64>,
    /// One standard error of it.
    pub(crate) snr_rms_standard_error_db: Option<f64>,
    pub(crate) closed_form_snr_rms_db: Option<f64>,
    /// Square of the largest possible sum over mean-square error.
    pub(crate) snr_fs_db: Option<f64>,
    /// `(snr_rms_db - 1.76) / 6.02`.
    pub(crate) bits_rms: Option<f64>,
    /// Codes that an ideal card would not have given.
    pub(crate) codes_off: u64,
    pub(crate) budget: Vec<BudgetRow>,
    pub(crate) cycles: u64,
    /// Times the tile was loaded in those cycles.
    pub(crate) tile_loads: u64,
    pub(crate) useful_macs: u64,
    pub(crate) energy_j: EnergyTotals,
    pub(crate) energy_j_by_component: BTreeMap<&'static str, f64>,
    pub(crate) warnings: Vec<String>,
    pub(crate) plots: Vec<String>,
}

/// One part of the noise, alone.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct BudgetRow {
    pub(crate) term: &'static str,
    pub(crate) closed_form_db: Option<f64>,
    pub(crate) measured_db: Option<f64>,
    pub(crate) measured_standard_error_db: Option<f64>,
    /// Whether a converter can tell it from nothing.
    #[serde(skip)]
    pub(crate) resolved: bool,
}

impl SimReport {
    /// `warnings` are those known before anything was measured.
    pub(super) fn new(
        setup: &Setup,
        findings: &Findings,
        cost: &Cost,
        warnings: Vec<String>,
    ) -> Self {
        let chip = &setup.chip;
        let signal = findings.mean_square_sum;
        let budget: Vec<BudgetRow> =
            findings.parts.iter().map(|part| BudgetRow::new(part, signal)).collect();
        let snr_rms_db = ratio_db(signal, findings.total.mean_square());
        let limits = f64::from(chip.weight_limit()) * f64::from(chip.input_limit());
        let full_scale = setup.layout.inputs() as f64 * limits;
        let totals = cost.ledger.totals();
        let mut report = Self {
            chip: chip.name.clone(),
            rows: chip.array.inputs,
            columns: chip.array.outputs,
            columns_measured: setup.columns,
            packing: setup.layout.packing().name(),
            readout: if chip.receiver.readout.pairs() == 1 { "i" } else { "iq" },
            reads_quadrature: setup.layout.packing().reads_quadrature(),
            data: setup.data.to_string(),
            terms: setup.terms.to_string(),
            symbols: setup.symbols,
            instances: setup.instances,
            seed: setup.seed.to_string(),
            draws: match setup.draws {
                Draws::Merged => "merged",
                Draws::PerTerm => "per-term",
            },
            symbols_shortened: setup.symbols_shortened,
            shift: findings.shift,
            snr_rms_db,
            snr_rms_standard_error_db: standard_error_db(&findings.total),
            closed_form_snr_rms_db: ratio_db(
                signal,
                findings.closed_form_total_sigma * findings.closed_form_total_sigma,
            ),
            snr_fs_db: ratio_db(full_scale * full_scale, findings.total.mean_square()),
            bits_rms: snr_rms_db.map(|db| (db - 1.76) / 6.02),
            codes_off: findings.codes_off,
            budget,
            cycles: cost.cycles.0,
            tile_loads: cost.runs,
            useful_macs: cost.useful_macs,
            energy_j: totals,
            energy_j_by_component: cost
                .ledger
                .parts()
                .map(|(part, joules)| (part.name(), joules))
                .collect(),
            warnings,
            plots: Vec::new(),
        };
        let differences = report.differences();
        report.warnings.extend(differences);
        report
    }

    /// Every place where measured and closed form differ by more than chance and tolerance.
    fn differences(&self) -> Vec<String> {
        let total = self.total_row();
        std::iter::once(&total).chain(&self.budget).filter_map(BudgetRow::difference).collect()
    }

    /// Everything together, in the form of a part.
    pub(crate) fn total_row(&self) -> BudgetRow {
        BudgetRow {
            term: "total",
            closed_form_db: self.closed_form_snr_rms_db,
            measured_db: self.snr_rms_db,
            measured_standard_error_db: self.snr_rms_standard_error_db,
            resolved: true,
        }
    }

    /// The report for people.
    pub(super) fn text(&self) -> String {
        let mut out = format!(
            "{}: one array of {} x {} cells, packing {}, read-out {}\n\
             {} data; {} symbols on {} chips of the model, seed {}; converter step 2^{} units of \
             the exact sum\n\n",
            self.chip,
            self.rows,
            self.columns,
            self.packing,
            self.readout,
            self.data,
            self.symbols,
            self.instances,
            self.seed,
            self.shift,
        );
        if self.columns_measured < self.columns {
            let line = format!(
                "of each chip the first {} columns are realised, with all their rows and the light \
                 of the whole array; say how many with --columns\n",
                self.columns_measured
            );
            out.insert_str(out.len() - 1, &line);
        }
        if self.symbols_shortened {
            out.insert_str(
                out.len() - 1,
                "the array is large: fewer symbols than the usual 4096, so that it takes seconds; \
                 say how many with --symbols\n",
            );
        }
        let mut table = Table::new(["SNR_rms", "closed form", "measured", "± (1 σ)"]);
        let mut row = |name: &str, part: &BudgetRow| {
            let error = match (part.measured_db, part.measured_standard_error_db) {
                (Some(_), Some(db)) => format!("{db:.2} dB"),
                _ => String::new(),
            };
            table.row([
                name.to_owned(),
                level(part.closed_form_db),
                if part.resolved { level(part.measured_db) } else { "too small".to_owned() },
                error,
            ]);
        };
        let (without, with): (Vec<_>, Vec<_>) =
            self.budget.iter().partition(|part| part.is_without_effect());
        for part in with {
            row(part.term, part);
        }
        row("total", &self.total_row());
        out.push_str(&table.render());
        out.push_str(
            "  each term alone, rounding to converter codes taken off; the total with everything\n",
        );
        if !without.is_empty() {
            let names: Vec<&str> = without.iter().map(|part| part.term).collect();
            _ = writeln!(out, "  ideal here, or of no account: {}", names.join(", "));
        }
        for warning in &self.warnings {
            _ = writeln!(out, "  warning: {warning}");
        }
        match (self.snr_rms_db, self.snr_fs_db, self.bits_rms) {
            (Some(rms), Some(full), Some(bits)) => {
                _ = writeln!(
                    out,
                    "\nSNR_rms {rms:.2} dB = {bits:.2} bits; SNR_FS {full:.2} dB (largest possible \
                     sum); {} codes differ from an ideal card's",
                    self.codes_off
                );
            }
            _ => out.push_str("\nevery code stands for its sum exactly\n"),
        }
        let per_mac = |joules: f64| si(joules / self.useful_macs.max(1) as f64, "J");
        _ = writeln!(
            out,
            "{} cycles from host to host with {} tile load(s), {} useful MAC\n\
             energy: optics {}, core {}, system {}; per useful MAC: {}, {}, {}",
            self.cycles,
            self.tile_loads,
            self.useful_macs,
            si(self.energy_j.optics_j, "J"),
            si(self.energy_j.core_j, "J"),
            si(self.energy_j.system_j, "J"),
            per_mac(self.energy_j.optics_j),
            per_mac(self.energy_j.core_j),
            per_mac(self.energy_j.system_j),
        );
        if !self.plots.is_empty() {
            _ = writeln!(out, "plots: {}", self.plots.join(", "));
        }
        out
    }
}

impl BudgetRow {
    fn new(part: &TermResult, signal: f64) -> Self {
        let sigma = part.closed_form_sigma;
        let measured_db = ratio_db(signal, part.measured.mean_square());
        Self {
            term: part.source.name(),
            closed_form_db: ratio_db(signal, sigma * sigma),
            // Less than the measurement can tell from nothing.
            measured_db: measured_db.filter(|db| part.resolved && *db < RESOLUTION_DB),
            measured_standard_error_db: standard_error_db(&part.measured),
            resolved: part.resolved,
        }
    }

    /// Whether it neither should do anything nor does.
    fn is_without_effect(&self) -> bool {
        self.resolved && self.closed_form_db.is_none() && self.measured_db.is_none()
    }

    /// The words for a difference that matters.
    fn difference(&self) -> Option<String> {
        let chance = 3.0 * self.measured_standard_error_db?;
        match (self.measured_db, self.closed_form_db) {
            (Some(measured), Some(closed)) => {
                let off = measured - closed;
                (off.abs() > TOLERANCE_DB.max(chance)).then(|| {
                    format!(
                        "{}: measured {measured:.1} dB, closed form {closed:.1} dB ({off:+.1} dB)",
                        self.term
                    )
                })
            }
            (Some(measured), None) => {
                Some(format!("{}: measured {measured:.1} dB, closed form none", self.term))
            }
            (None, Some(closed)) if self.resolved && closed < RESOLUTION_DB - 10.0 => {
                Some(format!("{}: nothing measured, closed form {closed:.1} dB", self.term))
            }
            _ => None,
        }
    }
}

/// Rounding of a 16-bit converter is 90 dB down; what is left of it after it is taken off, less.
const RESOLUTION_DB: f64 = 110.0;

fn ratio_db(signal: f64, error: f64) -> Option<f64> {
    (error > 0.0 && signal > 0.0).then(|| 10.0 * pxfm::f_log10(signal / error))
}

fn standard_error_db(level: &Level) -> Option<f64> {
    let mean = level.mean_square();
    let error = level.standard_error()?;
    (mean > 0.0).then(|| 10.0 * pxfm::f_log10(1.0 + error / mean))
}

fn level(db: Option<f64>) -> String {
    db.map_or("none".to_owned(), |db| format!("{db:.2} dB"))
}
