//! Plain-text tables and numbers with units.

use std::fmt::Write;

/// A table whose first column is text and whose others are right-aligned.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
    /// Whether all columns are text.
    left: bool,
}

impl Table {
    pub(crate) fn new<S: Into<String>>(header: impl IntoIterator<Item = S>) -> Self {
        Self { rows: vec![header.into_iter().map(Into::into).collect()], left: false }
    }

    /// A table of text only: every column is left-aligned.
    pub(crate) fn left<S: Into<String>>(header: impl IntoIterator<Item = S>) -> Self {
        Self { left: true, ..Self::new(header) }
    }

    pub(crate) fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// The table with a rule under its header, each line indented by two spaces.
    pub(crate) fn render(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|c| c.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut out = String::new();
        for (index, row) in self.rows.iter().enumerate() {
            let mut line = String::from(" ");
            for (column, cell) in row.iter().enumerate() {
                let pad = " ".repeat(widths[column] - cell.chars().count());
                _ = if column == 0 {
                    write!(line, " {cell}{pad}")
                } else if self.left {
                    write!(line, "  {cell}{pad}")
                } else {
                    write!(line, "  {pad}{cell}")
                };
            }
            out.push_str(line.trim_end());
            out.push('\n');
            if index == 0 {
                let total: usize = widths.iter().sum::<usize>() + 2 * columns.saturating_sub(1);
                _ = writeln!(out, "  {}", "─".repeat(total));
            }
        }
        out
    }
}

/// `value` with three significant digits and an SI prefix, e.g. `12.3 pJ`.
pub(crate) fn si(value: f64, unit: &str) -> String {
    const PREFIXES: [(f64, &str); 10] = [
        (1e12, "T"),
        (1e9, "G"),
        (1e6, "M"),
        (1e3, "k"),
        (1.0, ""),
        (1e-3, "m"),
        (1e-6, "µ"),
        (1e-9, "n"),
        (1e-12, "p"),
        (1e-15, "f"),
    ];
    if value == 0.0 || !value.is_finite() {
        return format!("{value} {unit}");
    }
    // 999.6 rounds to the next prefix, so compare after rounding to three digits.
    let (scale, prefix) = PREFIXES
        .into_iter()
        .find(|(scale, _)| value.abs() >= 0.9995 * scale)
        .unwrap_or((1e-15, "f"));
    let scaled = value / scale;
    let decimals = if scaled.abs() >= 99.95 {
        0
    } else if scaled.abs() >= 9.995 {
        1
    } else {
        2
    };
    format!("{scaled:.decimals$} {prefix}{unit}").trim_end().to_owned()
}

/// A level in decibels, or `exact` where nothing differs.
pub(crate) fn db_or_exact(level: Option<f64>) -> String {
    level.map_or("exact".to_owned(), |db| format!("{db:.1} dB"))
}

/// A share in percent.
pub(crate) fn percent(part: f64) -> String {
    format!("{:.1} %", 100.0 * part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_and_a_prefix() {
        assert_eq!(si(1.234e-12, "J"), "1.23 pJ");
        assert_eq!(si(0.9996e-9, "s"), "1.00 ns");
        assert_eq!(si(45_600.0, "B/s"), "45.6 kB/s");
        assert_eq!(si(999.0, "W"), "999 W");
        assert_eq!(si(0.0, "W"), "0 W");
    }

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(["name", "x"]);
        table.row(["a", "1"]);
        table.row(["long", "22"]);
        assert_eq!(table.render(), "  name   x\n  ────────\n  a      1\n  long  22\n");
    }
}
