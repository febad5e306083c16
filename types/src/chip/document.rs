//! The tables of a chip description, read key by key; every offence is noted, none ends the reading.

use super::quantity::IDEAL;
use super::read::ChipIssue;
use super::{Impairment, Quantity, Range};
use toml::{Table, Value};

/// One table being read. Keys are taken out as they are read, so what is left is unknown.
pub(super) struct Section<'a> {
    path: &'a str,
    table: &'a mut Table,
    known: Vec<&'static str>,
    issues: &'a mut Vec<ChipIssue>,
}

impl<'a> Section<'a> {
    /// The table at the root of a document.
    pub(super) fn root(table: &'a mut Table, issues: &'a mut Vec<ChipIssue>) -> Self {
        Self { path: "", table, known: Vec::new(), issues }
    }
}

impl Section<'_> {
    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    pub(super) fn report(&mut self, key: &str, problem: impl Into<String>) {
        let key = self.path_of(key);
        self.issues.push(ChipIssue { key, problem: problem.into() });
    }

    /// Whether nothing was reported so far, here or elsewhere.
    pub(super) fn is_sound(&self) -> bool {
        self.issues.is_empty()
    }

    fn take(&mut self, key: &'static str, expected: &str) -> Option<Value> {
        self.known.push(key);
        let value = self.table.remove(key);
        if value.is_none() {
            self.report(key, format!("missing; expected {expected}"));
        }
        value
    }

    pub(super) fn section<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Section<'_>) -> T,
    ) -> T {
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

    /// A section that is there exactly if `wanted`; `because` says which key decides.
    pub(super) fn section_if<T>(
        &mut self,
        wanted: bool,
        because: &str,
        key: &'static str,
        read: impl FnOnce(&mut Section<'_>) -> T,
    ) -> Option<T> {
        if wanted {
            return Some(self.section(key, read));
        }
        self.known.push(key);
        if self.table.remove(key).is_some() {
            self.report(key, format!("unknown section here: only for {because}"));
        }
        None
    }

    pub(super) fn finish(&mut self) {
        let unknown: Vec<String> = self.table.keys().cloned().collect();
        for key in unknown {
            let known = self.known.join(", ");
            self.report(&key, format!("unknown key; this section has {known}"));
        }
    }

    pub(super) fn text(&mut self, key: &'static str) -> String {
        match self.take(key, "a text") {
            Some(Value::String(text)) if !text.is_empty() => text,
            Some(_) => {
                self.report(key, "expected a non-empty text");
                String::new()
            }
            None => String::new(),
        }
    }

    /// A name that can stand in an address, a file name and the text form of a program.
    pub(super) fn name(&mut self, key: &'static str) -> String {
        let name = self.text(key);
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if !name.is_empty() && !name.chars().all(plain) {
            self.report(key, "expected letters, digits, '.', '_' and '-' only");
        }
        name
    }

    pub(super) fn choice<T: Copy>(&mut self, key: &'static str, choices: &[(&str, T)]) -> T {
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

    pub(super) fn count(&mut self, key: &'static str, low: usize, high: usize) -> usize {
        let expected = format!("a whole number from {low} to {high}");
        if let Some(value) = self.take(key, &expected) {
            match value.as_integer().map(usize::try_from) {
                Some(Ok(number)) if (low..=high).contains(&number) => return number,
                _ => self.report(key, format!("is {value}; expected {expected}")),
            }
        }
        low
    }

    pub(super) fn small(&mut self, key: &'static str, low: u8, high: u8) -> u8 {
        u8::try_from(self.count(key, usize::from(low), usize::from(high))).unwrap_or(low)
    }

    /// A quantity, or the word for none. No range of an impairment has a zero in it.
    pub(super) fn impairment(&mut self, key: &'static str, range: Range) -> Impairment {
        if self.table.get(key).and_then(Value::as_str) == Some(IDEAL) {
            self.known.push(key);
            self.table.remove(key);
            return Impairment::Ideal;
        }
        let before = self.issues.len();
        let quantity = self.quantity(key, range);
        for issue in &mut self.issues[before..] {
            if !issue.key.ends_with(".source") && !issue.key.ends_with(".plus_minus") {
                issue.problem.push_str(", or the word \"ideal\"");
            }
        }
        Impairment::Of(quantity)
    }

    pub(super) fn quantity(&mut self, key: &'static str, range: Range) -> Quantity {
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
                    let is = shown(number);
                    section.report(&path, format!("is {is}; expected {}", allowed.words()));
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
        if let Some((low, high)) = reason(key).filter(|(low, high)| value < *low || value > *high) {
            let path = format!("{key}.value");
            self.report(
                &path,
                format!(
                    "is {}; expected {} to {}, in the unit of the key",
                    shown(value),
                    shown(low),
                    shown(high)
                ),
            );
        }
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

/// The values beyond which a number can only be a slip, by the unit at the end of its key.
///
/// They keep durations and energies within what counters hold; ranges of single keys are tighter.
fn reason(key: &str) -> Option<(f64, f64)> {
    const LIMITS: [(&str, (f64, f64)); 14] = [
        ("_time_s", (0.0, 1e12)), // of drift, which no counter holds
        ("age_s", (0.0, 1e12)),   // the same
        ("_db_per_hz", (-300.0, 0.0)),
        ("_per_s", (1.0, 1e24)),
        ("_per_byte", (0.0, 1.0)),
        ("_per_element", (0.0, 1.0)),
        ("_per_rthz", (0.0, 1.0)),
        ("_hz", (1.0, 1e15)),
        ("_s", (0.0, 1e3)),
        ("_j", (0.0, 1.0)),
        ("_w", (0.0, 1e6)),
        ("_db", (-300.0, 300.0)),
        ("_um", (1e-3, 1e6)),
        ("_m", (1e-9, 1e3)),
    ];
    LIMITS.into_iter().find(|(unit, _)| key.ends_with(unit)).map(|(_, limits)| limits)
}

/// A number as one would type it: scientific only where it is far from one.
pub(super) fn shown(number: f64) -> String {
    let size = number.abs();
    if number == 0.0 || !number.is_finite() || (1e-4..1e7).contains(&size) {
        format!("{number}")
    } else {
        format!("{number:e}")
    }
}
