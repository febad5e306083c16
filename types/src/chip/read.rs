//! Reading a chip description: TOML in, a checked description or every offence out.

use super::sections::{
    Adc, Array, Cell, CellType, Clock, Dac, Host, Laser, Memory, OpticalPath, Readout, Receiver,
    Vector, Weights,
};
use super::{ChipDescription, Quantity, Range};
use std::fmt;
use toml::{Table, Value};

/// Replaces the value of one key before checking, as `--set path=value` does.
#[derive(Clone, Debug, PartialEq)]
pub struct Override {
    /// Section and key, e.g. `laser.power_w`.
    pub path: String,
    /// The new value as it would stand in the file.
    pub value: String,
}

/// One thing that is wrong with a chip description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChipIssue {
    /// The key's path, or the line for a syntax error.
    pub key: String,
    /// What is wrong and what was expected.
    pub problem: String,
}

/// Everything that is wrong with a chip description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChipError {
    /// The file, or the name of the text.
    pub origin: String,
    /// Every offence, in file-section order.
    pub issues: Vec<ChipIssue>,
}

impl fmt::Display for ChipError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "chip description {}: ", self.origin)?;
        if self.issues.len() > 1 {
            write!(f, "{} errors", self.issues.len())?;
        }
        for issue in &self.issues {
            if self.issues.len() > 1 {
                write!(f, "\n  ")?;
            }
            write!(f, "{}: {}", issue.key, issue.problem)?;
        }
        Ok(())
    }
}

impl std::error::Error for ChipError {}

pub(super) fn read(
    text: &str,
    origin: &str,
    overrides: &[Override],
) -> Result<ChipDescription, ChipError> {
    let fail = |issues| ChipError { origin: origin.to_owned(), issues };
    let mut root: Table = text.parse().map_err(|error: toml::de::Error| {
        let line = error
            .span()
            .map_or(0, |span| text.get(..span.start).unwrap_or(text).matches('\n').count() + 1);
        fail(vec![ChipIssue {
            key: format!("line {line}"),
            problem: format!("not valid TOML: {}", error.message()),
        }])
    })?;
    let mut issues = Vec::new();
    for change in overrides {
        apply(&mut root, change, &mut issues);
    }
    let chip = description(&mut root, &mut issues);
    if issues.is_empty() { Ok(chip) } else { Err(fail(issues)) }
}

fn apply(root: &mut Table, change: &Override, issues: &mut Vec<ChipIssue>) {
    let mut report = |problem: String| {
        issues.push(ChipIssue { key: change.path.clone(), problem });
    };
    let Some((section, key)) = change.path.split_once('.') else {
        return report("not a key: give section.key=value, e.g. laser.power_w=0.1".to_owned());
    };
    let Some(Value::Table(table)) = root.get_mut(section) else {
        return report(format!("there is no section [{section}]"));
    };
    // A bare word is a string, so that `--set receiver.readout=i` needs no quotes.
    let wrapped = format!("v = {}", change.value);
    let value = match wrapped.parse::<Table>() {
        Ok(mut parsed) => parsed.remove("v").unwrap_or(Value::Boolean(false)),
        Err(_) => Value::String(change.value.clone()),
    };
    match table.get_mut(key) {
        Some(Value::Table(quantity)) => {
            quantity.insert("value".to_owned(), value);
            quantity.insert("plus_minus".to_owned(), Value::Float(0.0));
            quantity.insert("source".to_owned(), Value::String("set by the user".to_owned()));
        }
        Some(plain) => *plain = value,
        None => report(format!("there is no such key in section [{section}]")),
    }
}

fn description(root: &mut Table, issues: &mut Vec<ChipIssue>) -> ChipDescription {
    use Range::{NonNegative, Positive, Within};
    let mut top = Section { path: "", table: root, known: Vec::new(), issues };
    let name = top.text("name");
    let summary = top.text("summary");
    let array = top.section("array", |s| Array {
        inputs: s.count("inputs", 1, 4096),
        outputs: s.count("outputs", 1, 4096),
        arrays: s.count("arrays", 1, 1024),
        banks: s.count("banks", 1, 64),
        cell_type: s.choice("cell_type", &[("interferometer", CellType::Interferometer)]),
        pitch_um: s.quantity("pitch_um", Positive),
    });
    let clock =
        top.section("clock", |s| Clock { symbol_rate_hz: s.quantity("symbol_rate_hz", Positive) });
    let laser = top.section("laser", |s| Laser {
        power_w: s.quantity("power_w", Positive),
        wall_plug_efficiency: s.quantity("wall_plug_efficiency", Within(1e-6, 1.0)),
        wavelength_nm: s.quantity("wavelength_nm", Within(200.0, 20_000.0)),
    });
    let path = top.section("path", |s| OpticalPath {
        insertion_loss_db: s.quantity("insertion_loss_db", NonNegative),
    });
    let receiver = top.section("receiver", |s| Receiver {
        readout: s.choice("readout", &[("i", Readout::I)]),
        quantum_efficiency: s.quantity("quantum_efficiency", Within(1e-6, 1.0)),
        lo_power_w: s.quantity("lo_power_w", Positive),
        noise_a_per_rthz: s.quantity("noise_a_per_rthz", NonNegative),
        gain_log2_max: s.small("gain_log2_max", 0, 16),
        pipeline_s: s.quantity("pipeline_s", NonNegative),
        energy_j: s.quantity("energy_j", NonNegative),
    });
    let dac = top.section("dac", |s| Dac {
        bits: s.small("bits", 2, 8),
        energy_j: s.quantity("energy_j", NonNegative),
        modulator_energy_j: s.quantity("modulator_energy_j", NonNegative),
    });
    let adc = top.section("adc", |s| Adc {
        bits: s.small("bits", 2, 16),
        enob: s.quantity("enob", Within(1.0, 16.0)),
        energy_j: s.quantity("energy_j", NonNegative),
    });
    if adc.enob.value > f64::from(adc.bits) {
        top.report("adc.enob", "is larger than adc.bits; a converter has at most its width");
    }
    let cell = top.section("cell", |s| Cell {
        phase_error_rad: s.quantity("phase_error_rad", NonNegative),
        amplitude_error: s.quantity("amplitude_error", Within(0.0, 1.0)),
        settling_s: s.quantity("settling_s", NonNegative),
        hold_power_w: s.quantity("hold_power_w", NonNegative),
    });
    let weights = top.section("weights", |s| Weights {
        bits: s.small("bits", 2, 8),
        load_bytes_per_s: s.quantity("load_bytes_per_s", Positive),
        dac_energy_j: s.quantity("dac_energy_j", NonNegative),
        fetch_energy_j_per_byte: s.quantity("fetch_energy_j_per_byte", NonNegative),
    });
    let memory = top.section("memory", |s| Memory {
        sram_bytes: s.count("sram_bytes", 1024, 1 << 40) as u64,
        sram_energy_j_per_byte: s.quantity("sram_energy_j_per_byte", NonNegative),
    });
    let vector = top.section("vector", |s| Vector {
        elements_per_s: s.quantity("elements_per_s", Positive),
        latency_s: s.quantity("latency_s", NonNegative),
        energy_j_per_element: s.quantity("energy_j_per_element", NonNegative),
    });
    let host = top.section("host", |s| Host {
        bytes_per_s: s.quantity("bytes_per_s", Positive),
        latency_s: s.quantity("latency_s", NonNegative),
        energy_j_per_byte: s.quantity("energy_j_per_byte", NonNegative),
    });
    top.finish();
    ChipDescription {
        name,
        summary,
        array,
        clock,
        laser,
        path,
        receiver,
        dac,
        adc,
        cell,
        weights,
        memory,
        vector,
        host,
    }
}

/// One table being read. Keys are taken out as they are read, so what is left is unknown.
struct Section<'a> {
    path: &'a str,
    table: &'a mut Table,
    known: Vec<&'static str>,
    issues: &'a mut Vec<ChipIssue>,
}

impl Section<'_> {
    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn report(&mut self, key: &str, problem: impl Into<String>) {
        let key = self.path_of(key);
        self.issues.push(ChipIssue { key, problem: problem.into() });
    }

    fn take(&mut self, key: &'static str, expected: &str) -> Option<Value> {
        self.known.push(key);
        let value = self.table.remove(key);
        if value.is_none() {
            self.report(key, format!("missing; expected {expected}"));
        }
        value
    }

    fn section<T>(&mut self, key: &'static str, read: impl FnOnce(&mut Section<'_>) -> T) -> T {
        self.known.push(key);
        let mut table = match self.table.remove(key) {
            Some(Value::Table(table)) => table,
            Some(other) => {
                self.report(key, format!("is a {}; expected a section", other.type_str()));
                Table::new()
            }
            None => Table::new(),
        };
        let mut section =
            Section { path: key, table: &mut table, known: Vec::new(), issues: self.issues };
        let out = read(&mut section);
        section.finish();
        out
    }

    fn finish(&mut self) {
        let unknown: Vec<String> = self.table.keys().cloned().collect();
        for key in unknown {
            let known = self.known.join(", ");
            self.report(&key, format!("unknown key; this section has {known}"));
        }
    }

    fn text(&mut self, key: &'static str) -> String {
        match self.take(key, "a text") {
            Some(Value::String(text)) if !text.is_empty() => text,
            Some(_) => {
                self.report(key, "expected a non-empty text");
                String::new()
            }
            None => String::new(),
        }
    }

    fn choice<T: Copy>(&mut self, key: &'static str, choices: &[(&str, T)]) -> T {
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        let expected = format!("one of: {}", words.join(", "));
        if let Some(value) = self.take(key, &expected) {
            let text = value.as_str().unwrap_or("");
            if let Some((_, choice)) = choices.iter().find(|(word, _)| *word == text) {
                return *choice;
            }
            self.report(key, format!("is {value}; expected {expected}"));
        }
        choices[0].1
    }

    fn count(&mut self, key: &'static str, low: usize, high: usize) -> usize {
        let expected = format!("a whole number from {low} to {high}");
        if let Some(value) = self.take(key, &expected) {
            match value.as_integer().map(usize::try_from) {
                Some(Ok(number)) if (low..=high).contains(&number) => return number,
                _ => self.report(key, format!("is {value}; expected {expected}")),
            }
        }
        low
    }

    fn small(&mut self, key: &'static str, low: u8, high: u8) -> u8 {
        u8::try_from(self.count(key, usize::from(low), usize::from(high))).unwrap_or(low)
    }

    fn quantity(&mut self, key: &'static str, range: Range) -> Quantity {
        let expected = format!(
            "{{ value = {}, plus_minus = its uncertainty in the same unit, source = \"…\" }}",
            range.words()
        );
        let nothing = || Quantity { value: 1.0, plus_minus: 0.0, source: String::new() };
        let mut table = match self.take(key, &expected) {
            Some(Value::Table(table)) => table,
            Some(other) => {
                self.report(key, format!("is a bare {other}; expected {expected}"));
                return nothing();
            }
            None => return nothing(),
        };
        let mut number = |section: &mut Self, part: &str, allowed: Range| {
            let value = table.remove(part);
            let found = match &value {
                Some(Value::Float(number)) => Some(*number),
                Some(Value::Integer(number)) => Some(*number as f64),
                _ => None,
            };
            match (found, value) {
                (Some(number), _) if allowed.contains(number) => number,
                (Some(number), _) => {
                    let path = format!("{key}.{part}");
                    section.report(&path, format!("is {number}; expected {}", allowed.words()));
                    1.0
                }
                (None, given) => {
                    let is = given.map_or("missing".to_owned(), |v| format!("is {v}"));
                    let path = format!("{key}.{part}");
                    section.report(&path, format!("{is}; expected {}", allowed.words()));
                    1.0
                }
            }
        };
        let value = number(self, "value", range);
        let plus_minus = number(self, "plus_minus", Range::NonNegative);
        let source = match table.remove("source") {
            Some(Value::String(source)) if !source.trim().is_empty() => source,
            _ => {
                self.report(
                    &format!("{key}.source"),
                    "missing; say where the number is from, or \"assumed\"",
                );
                String::new()
            }
        };
        let unknown: Vec<String> = table.keys().cloned().collect();
        for extra in unknown {
            self.report(
                &format!("{key}.{extra}"),
                "unknown key; a quantity has value, plus_minus, source",
            );
        }
        Quantity { value, plus_minus, source }
    }
}

#[cfg(test)]
mod tests {
    use super::super::builtin_text;
    use super::*;

    fn issues_after(change: impl Fn(&str) -> String) -> Vec<(String, String)> {
        let text = change(builtin_text("tiny-4").expect("shipped"));
        match ChipDescription::from_toml(&text, "test") {
            Ok(_) => Vec::new(),
            Err(error) => error.issues.into_iter().map(|i| (i.key, i.problem)).collect(),
        }
    }

    /// Replaces the value part of the line that begins with `key =`.
    fn with(text: &str, key: &str, line: &str) -> String {
        let mut found = false;
        let lines: Vec<String> = text
            .lines()
            .map(|l| {
                if l.starts_with(&format!("{key} =")) {
                    found = true;
                    line.to_owned()
                } else {
                    l.to_owned()
                }
            })
            .collect();
        assert!(found, "no line for {key}");
        lines.join("\n")
    }

    #[test]
    fn a_missing_number_is_named_with_what_was_expected() {
        let issues = issues_after(|t| with(t, "power_w", ""));
        assert_eq!(issues.len(), 1);
        assert_eq!(issues[0].0, "laser.power_w");
        assert!(issues[0].1.starts_with("missing; expected { value = a finite number greater"));
    }

    #[test]
    fn negative_and_nan_numbers_are_refused() {
        for (value, words) in [("-0.5", "is -0.5"), ("nan", "is NaN"), ("inf", "is inf")] {
            let line =
                format!("power_w = {{ value = {value}, plus_minus = 0, source = \"assumed\" }}");
            let issues = issues_after(|t| with(t, "power_w", &line));
            assert_eq!(issues.len(), 1, "{issues:?}");
            assert_eq!(issues[0].0, "laser.power_w.value");
            assert!(issues[0].1.starts_with(words), "{issues:?}");
        }
    }

    #[test]
    fn a_wrong_unit_is_an_unknown_key_and_a_missing_one() {
        let line = "power_mw = { value = 500, plus_minus = 0, source = \"assumed\" }";
        let keys: Vec<String> =
            issues_after(|t| with(t, "power_w", line)).into_iter().map(|i| i.0).collect();
        assert_eq!(keys, ["laser.power_w", "laser.power_mw"]);
    }

    #[test]
    fn a_missing_source_is_refused() {
        let issues =
            issues_after(|t| with(t, "power_w", "power_w = { value = 1, plus_minus = 0 }"));
        assert_eq!(issues[0].0, "laser.power_w.source");
    }

    #[test]
    fn a_bare_number_is_refused() {
        let issues = issues_after(|t| with(t, "power_w", "power_w = 0.5"));
        assert_eq!(issues[0].0, "laser.power_w");
        assert!(issues[0].1.starts_with("is a bare 0.5"));
    }

    #[test]
    fn impossible_geometry_and_converters_are_refused() {
        let issues = issues_after(|t| with(t, "inputs", "inputs = 0"));
        assert_eq!(issues[0].0, "array.inputs");
        let line = "enob = { value = 9, plus_minus = 0, source = \"assumed\" }";
        let issues = issues_after(|t| with(t, "enob", line));
        assert_eq!(issues[0].0, "adc.enob");
    }

    #[test]
    fn every_offence_is_listed_at_once() {
        let issues = issues_after(|_| "name = \"x\"".to_owned());
        assert!(issues.len() > 30, "{}", issues.len());
    }

    #[test]
    fn broken_toml_names_its_line() {
        let issues = issues_after(|t| format!("{t}\n[laser"));
        assert!(issues[0].0.starts_with("line "), "{issues:?}");
        assert!(issues[0].1.starts_with("not valid TOML"), "{issues:?}");
    }

    #[test]
    fn an_override_reaches_quantities_counts_and_choices() {
        let text = builtin_text("tiny-4").expect("shipped");
        let set = |path: &str, value: &str| Override { path: path.into(), value: value.into() };
        let overrides =
            [set("laser.power_w", "0.25"), set("array.inputs", "8"), set("receiver.readout", "i")];
        let chip = ChipDescription::from_toml_with(text, "test", &overrides).expect("valid");
        assert!((chip.laser.power_w.value - 0.25).abs() < 1e-15);
        assert_eq!(chip.laser.power_w.source, "set by the user");
        assert_eq!(chip.array.inputs, 8);
        for (path, value) in [("laser.power", "1"), ("lasers.power_w", "1"), ("x", "1")] {
            let error = ChipDescription::from_toml_with(text, "test", &[set(path, value)])
                .expect_err("refused");
            assert_eq!(error.issues[0].key, path);
        }
        let error = ChipDescription::from_toml_with(text, "t", &[set("laser.power_w", "lots")])
            .expect_err("refused");
        assert_eq!(error.issues[0].key, "laser.power_w.value");
    }
}
