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
        None => report(format!("there is no such key in section [{section}]")),
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
