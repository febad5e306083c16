//! Reading a chip description: TOML in, a checked description or every offence out.

use super::ChipDescription;
use super::layout::description;
use super::quantity::IDEAL;
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
    let Some(value) = one_value(&change.value) else {
        return report(format!("`{}` is not one value: give a number or a word", change.value));
    };
    let Some((section, key)) = change.path.split_once('.') else {
        return match root.get_mut(&change.path) {
            Some(plain @ Value::String(_)) => *plain = value,
            _ => report("not a key: give section.key=value, e.g. laser.power_w=0.1".to_owned()),
        };
    };
    if OPTIONAL.contains(&section) {
        root.entry(section).or_insert_with(|| Value::Table(Table::new()));
    }
    let Some(Value::Table(table)) = root.get_mut(section) else {
        return report(format!("there is no section [{section}]"));
    };
    let is_number = matches!(value, Value::Integer(_) | Value::Float(_));
    match table.get_mut(key) {
        Some(quantity) if quantity.as_str() == Some(IDEAL) && is_number => {
            *quantity = Value::Table(set_quantity(value));
        }
        Some(Value::Table(_)) if value.as_str() == Some(IDEAL) => {
            table.insert(key.to_owned(), value);
        }
        Some(Value::Table(quantity)) => *quantity = set_quantity(value),
        Some(plain) => *plain = value,
        // What a section that need not be there may have is checked when it is read.
        None if OPTIONAL.contains(&section) => {
            let plain = key == COUNT || !is_number;
            let value = if plain { value } else { Value::Table(set_quantity(value)) };
            table.insert(key.to_owned(), value);
        }
        None => report(format!("there is no such key in section [{section}]")),
    }
}

/// Sections that a description may do without; their keys can be set all the same.
const OPTIONAL: [&str; 3] = ["ring", "phase_change", "claims"];
/// The one key in them that is no quantity.
const COUNT: &str = "level_bits";

/// The one value that a text is. A bare word is a string, so that `--set receiver.readout=i` needs no
/// quotes; anything before or after a value makes it none.
fn one_value(text: &str) -> Option<Value> {
    let word = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    match text.parse::<Value>() {
        Ok(value) => Some(value),
        Err(_) if text.is_empty() => None,
        Err(_) => text.chars().all(word).then(|| Value::String(text.to_owned())),
    }
}

fn set_quantity(value: Value) -> Table {
    let source = Value::String("set by the user".to_owned());
    [("value", value), ("plus_minus", Value::Float(0.0)), ("source", source)]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
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
    fn numbers_that_can_only_be_slips_are_refused() {
        for (key, value) in [
            ("symbol_rate_hz", "1e300"),
            ("symbol_rate_hz", "1e-300"),
            ("load_bytes_per_s", "1e-300"),
            ("fetch_energy_j_per_byte", "1e300"),
            ("insertion_loss_db", "1e308"),
            ("settling_s", "1e9"),
        ] {
            let line =
                format!("{key} = {{ value = {value}, plus_minus = 0, source = \"assumed\" }}");
            let issues = issues_after(|t| with(t, key, &line));
            assert_eq!(issues.len(), 1, "{key}: {issues:?}");
            assert!(issues[0].1.contains("in the unit of the key"), "{issues:?}");
        }
    }

    #[test]
    fn a_name_is_one_word() {
        for name in ["my chip", "a\\nb", "x/y"] {
            let issues = issues_after(|t| with(t, "name", &format!("name = \"{name}\"")));
            assert_eq!(issues[0].0, "name", "{issues:?}");
        }
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
        for (path, value) in [("adc.enob", "9"), ("dac.bits", "6")] {
            let change = Override { path: path.to_owned(), value: value.to_owned() };
            let text = builtin_text("tiny-4").expect("shipped");
            let error = ChipDescription::from_toml_with(text, "t", &[change]).expect_err("refused");
            assert_eq!(error.issues.len(), 1, "{error}");
            assert!(error.issues[0].key.contains("enob"), "{error}");
        }
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

    #[test]
    fn an_override_is_one_value_and_nothing_besides() {
        let text = builtin_text("tiny-4").expect("shipped");
        for value in ["1\n[claims]", "1 # one", "1, 2", "1 2", "", "{", "\"a\" b = 1"] {
            let change = Override { path: "laser.power_w".into(), value: value.into() };
            let error = ChipDescription::from_toml_with(text, "t", &[change]).expect_err(value);
            assert_eq!(error.issues[0].key, "laser.power_w", "{value}: {error}");
        }
    }

    #[test]
    fn an_override_reaches_sections_that_are_not_there() {
        let text = builtin_text("tiny-4").expect("shipped");
        let set = |path: &str, value: &str| Override { path: path.into(), value: value.into() };
        let read = |changes: &[Override]| ChipDescription::from_toml_with(text, "test", changes);
        let rings = [
            set("array.cell_type", "ring_pair"),
            set("ring.self_coupling", "0.9"),
            set("ring.round_trip", "0.999"),
            set("ring.spectral_range_nm", "20"),
            set("ring.radius_um", "5"),
            set("ring.detuning_error_rad", "ideal"),
        ];
        let ring = read(&rings).expect("complete").ring.expect("there are rings");
        assert!(
            (ring.self_coupling.value - 0.9).abs() < 1e-15 && ring.detuning_error_rad.is_ideal()
        );
        // One key is missing, one is unknown, and a plain cell has no rings.
        assert_eq!(
            read(&rings[..5]).expect_err("missing").issues[0].key,
            "ring.detuning_error_rad"
        );
        let unknown = [&rings[..], &[set("ring.radius_mm", "1")]].concat();
        assert_eq!(read(&unknown).expect_err("unknown").issues[0].key, "ring.radius_mm");
        assert_eq!(read(&rings[1..2]).expect_err("no rings").issues[0].key, "ring");
        let film = [
            set("array.cell_type", "phase_change"),
            set("phase_change.level_bits", "4"),
            set("phase_change.write_error", "0.01"),
            set("phase_change.drift_per_decade", "0.01"),
            set("phase_change.endurance_writes", "5e5"),
        ];
        let film = read(&film).expect("complete").phase_change.expect("there is a film");
        assert_eq!(film.level_bits, 4);
        let claims = read(&[set("claims.power_w", "50")]).expect("a claim").claims;
        assert_eq!(claims.value(super::super::ClaimKey::PowerW), Some(50.0));
        let error = read(&[set("claims.power", "50")]).expect_err("unknown");
        assert_eq!(error.issues[0].key, "claims.power");
        assert_eq!(read(&[set("name", "mine")]).expect("named").name, "mine");
    }

    #[test]
    fn what_cannot_be_built_or_timed_is_refused() {
        let text = builtin_text("tiny-4").expect("shipped");
        for (path, value, words) in [
            ("array.pitch_um", "0.001", "expected 0.65 or more"),
            ("receiver.jitter_s", "1", "half a symbol"),
            ("receiver.iq_skew_s", "1", "half a symbol"),
            ("modulator.iq_skew_s", "5e-10", "half a symbol"),
        ] {
            let change = Override { path: path.into(), value: value.into() };
            let error = ChipDescription::from_toml_with(text, "t", &[change]).expect_err(path);
            assert_eq!(error.issues.len(), 1, "{error}");
            assert_eq!(error.issues[0].key, format!("{path}.value"), "{error}");
            assert!(error.issues[0].problem.contains(words), "{error}");
        }
    }

    #[test]
    fn ideal_is_a_word_and_not_a_zero() {
        let chip = |change: &dyn Fn(&str) -> String| {
            let text = change(builtin_text("tiny-4").expect("shipped"));
            ChipDescription::from_toml(&text, "test")
        };
        let ideal = chip(&|t| with(t, "linewidth_hz", "linewidth_hz = \"ideal\"")).expect("valid");
        assert!(ideal.laser.linewidth_hz.is_ideal());
        assert!(ideal.laser.linewidth_hz.value().abs() < f64::MIN_POSITIVE);
        let line = "linewidth_hz = { value = 0, plus_minus = 0, source = \"assumed\" }";
        let issues = issues_after(|t| with(t, "linewidth_hz", line));
        assert_eq!(issues[0].0, "laser.linewidth_hz.value");
        assert_eq!(
            issues[0].1,
            "is 0; expected a finite number greater than zero, or the word \"ideal\""
        );
        // Only what can be an impairment can be without it.
        let issues = issues_after(|t| with(t, "power_w", "power_w = \"ideal\""));
        assert_eq!(issues[0].0, "laser.power_w");
        assert!(!issues[0].1.contains("or the word"), "{issues:?}");
    }

    #[test]
    fn an_override_makes_a_part_ideal_and_impaired_again() {
        let text = builtin_text("tiny-4").expect("shipped");
        let set = |path: &str, value: &str| Override { path: path.into(), value: value.into() };
        let chip = |changes: &[Override]| ChipDescription::from_toml_with(text, "test", changes);
        let ideal = set("cell.phase_error_rad", "ideal");
        assert!(chip(std::slice::from_ref(&ideal)).expect("valid").cell.phase_error_rad.is_ideal());
        let again = chip(&[ideal, set("cell.phase_error_rad", "0.25")]).expect("valid");
        assert_eq!(again.cell.phase_error_rad, super::super::Impairment::set(0.25));
        let error = chip(&[set("cell.phase_error_rad", "0")]).expect_err("refused");
        assert!(error.issues[0].problem.ends_with("or the word \"ideal\""), "{error}");
        let error = chip(&[set("clock.symbol_rate_hz", "ideal")]).expect_err("refused");
        assert_eq!(error.issues[0].key, "clock.symbol_rate_hz");
    }

    #[test]
    fn a_cell_type_brings_its_own_section() {
        let text = builtin_text("tiny-4").expect("shipped");
        let rings = Override { path: "array.cell_type".into(), value: "ring_pair".into() };
        let error = ChipDescription::from_toml_with(text, "test", &[rings]).expect_err("no rings");
        assert!(error.issues.iter().all(|issue| issue.key.starts_with("ring.")), "{error}");
        let issues = issues_after(|t| format!("{t}\n[ring]\nself_coupling = 1\n"));
        assert_eq!(issues.len(), 1);
        assert_eq!(issues[0].0, "ring");
        assert!(issues[0].1.contains("ring_pair"), "{issues:?}");
    }
}
