//! `litecore chip check`: what follows from a chip description, and what it contradicts.

use crate::console::Console;
use crate::error::CliError;
use crate::table::Table;
use crate::workload::named_chip;
use litecore_sim::audit::{Audit, Derived, Figure, Finding, Group, Severity, amount, audit};
use litecore_types::chip::{ChipDescription, Override};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Width of the explanations, in characters.
const WIDTH: usize = 96;

#[derive(Debug, Serialize)]
struct Report<'a> {
    chip: &'a str,
    derived: BTreeMap<&'static str, f64>,
    derived_plus_minus: BTreeMap<&'static str, f64>,
    findings: Vec<Listed<'a>>,
}

#[derive(Debug, Serialize)]
struct Listed<'a> {
    claim: &'a str,
    unit: &'a str,
    claimed: Option<f64>,
    limit: Option<f64>,
    derived: f64,
    ratio: f64,
    severity: &'static str,
    explanation: &'a str,
    source: &'a str,
}

impl<'a> From<&'a Finding> for Listed<'a> {
    fn from(finding: &'a Finding) -> Self {
        Self {
            claim: &finding.claim,
            unit: finding.unit,
            claimed: finding.claimed,
            limit: finding.limit,
            derived: finding.derived,
            ratio: finding.ratio,
            severity: finding.severity.name(),
            explanation: &finding.explanation,
            source: &finding.source,
        }
    }
}

pub(super) fn run(chip: &str, overrides: &[Override], console: &Console) -> Result<(), CliError> {
    let named = named_chip(chip, overrides)?;
    let audit = audit(&named.chip);
    let by_key = |number: fn(&Derived) -> f64| {
        audit.derived.iter().map(|derived| (derived.figure.key(), number(derived))).collect()
    };
    let report = Report {
        chip: &named.chip.name,
        derived: by_key(|derived| derived.value),
        derived_plus_minus: by_key(|derived| derived.plus_minus),
        findings: audit.findings.iter().map(Listed::from).collect(),
    };
    console.result(&report, &describe(&named.chip, &audit));
    Ok(())
}

fn describe(chip: &ChipDescription, audit: &Audit) -> String {
    let mut text = format!("{}: {}\n\n{}", chip.name, chip.summary, figures(audit).render());
    let count = |severity| audit.findings.iter().filter(|f| f.severity == severity).count();
    _ = writeln!(
        text,
        "\n{} contradiction(s), {} warning(s), {} note(s)",
        count(Severity::Contradiction),
        count(Severity::Warning),
        count(Severity::Note),
    );
    for finding in &audit.findings {
        text.push('\n');
        text.push_str(&paragraph(finding));
    }
    text
}

fn figures(audit: &Audit) -> Table {
    let mut table = Table::new(["follows from the description", "value", "±"]);
    for (group, title) in [
        (Group::Light, "light"),
        (Group::Precision, "precision"),
        (Group::Power, "power, fully used"),
        (Group::Energy, "energy, fully used"),
        (Group::Rate, "rates"),
        (Group::Time, "times"),
        (Group::Geometry, "geometry"),
    ] {
        table.row([title]);
        let of_group = |derived: &&Derived| derived.figure.group() == group;
        for derived in audit.derived.iter().filter(of_group) {
            table.row(row(derived));
        }
    }
    table
}

fn row(derived: &Derived) -> [String; 3] {
    let unit = derived.figure.unit();
    let uncertainty =
        if derived.plus_minus > 0.0 { number(derived.plus_minus, unit) } else { String::new() };
    let value = if derived.figure == Figure::RinLimitDb && derived.value.is_infinite() {
        "no limit".to_owned()
    } else {
        number(derived.value, unit)
    };
    [format!("  {}", derived.figure.label()), value, uncertainty]
}

/// A number as people read it: levels, lengths and bare numbers without prefixes.
fn number(value: f64, unit: &str) -> String {
    match unit {
        "W" | "J" | "s" | "s/m" | "Hz" | "B/s" | "B" | "V" | "cMAC/s" | "MAC/s" | "cMAC/s/mm²" => {
            amount(value, unit)
        }
        _ => {
            let size = value.abs();
            let digits = if size != 0.0 && !(1e-2..1e6).contains(&size) {
                format!("{value:.2e}")
            } else if size >= 99.95 {
                format!("{value:.0}")
            } else if size >= 9.995 {
                format!("{value:.1}")
            } else if size == 0.0 {
                "0".to_owned()
            } else if size >= 0.0995 {
                format!("{value:.2}")
            } else {
                format!("{value:.4}")
            };
            format!("{digits} {unit}").trim_end().to_owned()
        }
    }
}

fn paragraph(finding: &Finding) -> String {
    let beside = match (finding.claimed, finding.limit) {
        (Some(claimed), _) => format!("{} stated, ", number(claimed, finding.unit)),
        (None, Some(limit)) => format!("limit {}, ", number(limit, finding.unit)),
        (None, None) => String::new(),
    };
    let mut text = format!(
        "{}  {}: {beside}{} follows",
        finding.severity.name(),
        finding.claim,
        number(finding.derived, finding.unit),
    );
    if finding.severity != Severity::Note {
        _ = write!(text, " ({})", factor(finding));
    }
    text.push('\n');
    for line in wrapped(&finding.explanation) {
        _ = writeln!(text, "    {line}");
    }
    _ = writeln!(text, "    [{}]", finding.source);
    text
}

/// How far off, in words.
fn factor(finding: &Finding) -> String {
    if let ("dB", Some(reference)) = (finding.unit, finding.reference()) {
        return format!("{:+.1} dB", finding.derived - reference);
    }
    let ratio = finding.ratio;
    if ratio >= 1.0 {
        format!("x {}", number(ratio, ""))
    } else {
        format!("1/{}", number(ratio.recip(), ""))
    }
}

fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.len() - 1;
        let used = lines[last].chars().count();
        if used > 0 && used + 1 + word.chars().count() > WIDTH - 4 {
            lines.push(word.to_owned());
        } else {
            if used > 0 {
                lines[last].push(' ');
            }
            lines[last].push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_between_words_only() {
        let text = "word ".repeat(60);
        let lines = wrapped(&text);
        assert!(lines.iter().all(|line| line.chars().count() <= WIDTH - 4), "{lines:?}");
        assert_eq!(lines.join(" "), text.trim_end());
        assert_eq!(wrapped("").len(), 1);
    }

    #[test]
    fn numbers_are_as_short_as_their_size_allows() {
        for (value, unit, text) in [
            (6.5, "dB", "6.50 dB"),
            (-5.3, "dB", "-5.30 dB"),
            (476_250.0, "", "476250"),
            (2.0e6, "", "2.00e6"),
            (1.3e3, "W", "1.30 kW"),
            (0.0, "", "0"),
            (0.012, "", "0.0120"),
        ] {
            assert_eq!(number(value, unit), text);
        }
    }
}
