//! `litecore chip`: chip descriptions, listed and shown.

use super::chip_check;
use crate::args::Chip;
use crate::console::Console;
use crate::error::CliError;
use crate::table::{Table, si};
use crate::workload::named_chip;
use litecore_sim::Term;
use litecore_types::chip::{BUILTIN_NAMES, ChipDescription, Override, builtin};
use serde::Serialize;
use std::fmt::Write;

#[derive(Debug, Serialize)]
struct Listed {
    name: String,
    summary: String,
}

pub(super) fn run(args: Chip, console: &Console) -> Result<(), CliError> {
    match args {
        Chip::List => {
            let chips: Vec<Listed> = BUILTIN_NAMES
                .iter()
                .filter_map(|name| builtin(name))
                .map(|chip| Listed { name: chip.name, summary: chip.summary })
                .collect();
            let mut table = Table::new(["chip", ""]);
            let mut text = String::new();
            for chip in &chips {
                _ = writeln!(text, "  {:19}  {}", chip.name, chip.summary);
                table.row([chip.name.as_str(), chip.summary.as_str()]);
            }
            console.result(&chips, &text);
        }
        Chip::Show { chip, toml, set } => {
            let overrides = parse_overrides(&set)?;
            let named = named_chip(&chip, &overrides)?;
            if toml {
                console.result(&named.chip, &named.text);
            } else {
                console.result(&named.chip, &describe(&named.chip));
            }
        }
        Chip::Check { chip, set } => chip_check::run(&chip, &parse_overrides(&set)?, console)?,
    }
    Ok(())
}

fn parse_overrides(set: &[String]) -> Result<Vec<Override>, CliError> {
    set.iter().map(|text| parse_override(text)).collect()
}

/// Splits `path=value`.
pub(crate) fn parse_override(text: &str) -> Result<Override, CliError> {
    let (path, value) = text.split_once('=').ok_or_else(|| {
        CliError::usage(format!("--set {text}: write path=value, e.g. laser.power_w=0.1"))
    })?;
    Ok(Override { path: path.trim().to_owned(), value: value.trim().to_owned() })
}

fn describe(chip: &ChipDescription) -> String {
    let rate = chip.clock.symbol_rate_hz.value;
    let cells = (chip.array.inputs * chip.array.outputs) as f64;
    let mut table = Table::left(["key", "value", "±", "sets", "source"]);
    let mut meanings = String::new();
    let description = serde_json::to_value(chip).unwrap_or_default();
    for (section, keys) in description.as_object().into_iter().flatten() {
        for (key, value) in keys.as_object().into_iter().flatten() {
            let name = format!("{section}.{key}");
            let set: Vec<&str> = Term::ALL
                .into_iter()
                .filter(|term| term.is_set_by(&name))
                .map(Term::name)
                .collect();
            let set = set.join(", ");
            match (value["value"].as_f64(), value["plus_minus"].as_f64()) {
                (Some(number), Some(plus_minus)) => table.row([
                    name,
                    plain(number),
                    plain(plus_minus),
                    set,
                    value["source"].as_str().unwrap_or_default().to_owned(),
                ]),
                _ => table.row([
                    name,
                    value.to_string().replace('"', ""),
                    String::new(),
                    set,
                    String::new(),
                ]),
            }
        }
    }
    for term in Term::ALL {
        _ = writeln!(meanings, "    {:15} {}", term.name(), term.meaning());
    }
    let load = (2.0 * cells) / chip.weights.load_bytes_per_s.value;
    format!(
        "{}: {}\n\n{}\n  units are in the keys; ± is one standard uncertainty; what a key sets:\n{}  \
         a real tile is {} inputs x {} outputs; peak {} per array\n  \
         a tile takes {} to load, as long as {:.0} symbols; gain shifts {} to {}\n  \
         (`litecore chip show {} --toml` prints the file, `litecore chip check {}` what follows)\n",
        chip.name,
        chip.summary,
        table.render(),
        meanings,
        chip.tile_inputs(),
        chip.tile_outputs(),
        si(2.0 * cells * rate * chip.array.wavelengths as f64, "useful MAC/s"),
        si(load, "s"),
        (load * rate).ceil(),
        chip.gain_shifts().start(),
        chip.gain_shifts().end(),
        chip.name,
        chip.name,
    )
}

/// A number as one would type it: scientific only where it is far from one.
fn plain(number: f64) -> String {
    let size = number.abs();
    if number == 0.0 || (1e-3..1e6).contains(&size) {
        format!("{number}")
    } else {
        format!("{number:e}")
    }
}
