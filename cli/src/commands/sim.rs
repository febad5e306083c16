//! `litecore sim`: Monte Carlo on one array, next to the closed form.

mod cost;
mod experiment;
mod instance;
mod operands;
mod report;

pub(crate) use instance::Samples;
pub(crate) use operands::Data;
pub(crate) use report::{BudgetRow, SimReport};

use crate::args::Sim;
use crate::commands::chip::parse_override;
use crate::console::Console;
use crate::error::CliError;
use crate::plots::{self, TilePictures};
use crate::workload::named_chip;
use cost::Cost;
use experiment::Setup;
use litecore_sim::Term;
use litecore_sim::packing::Layout;
use litecore_types::chip::{ChipDescription, Dataflow, Override, Readout};
use std::fmt::Write;
use std::fs;

/// Fewest symbols for each chip of the model, where the user does not say.
const SYMBOLS_PER_INSTANCE: usize = 8;
/// Symbols of all chips together, where the user does not say.
const SYMBOLS: u64 = 4096;
/// Cells that symbols pass in all, where the user does not say: seconds of work.
const CELLS_PASSED: u64 = 1 << 28;
/// Cells of all chips together, where the user does not say; two chips at least, so that their
/// difference is known.
const CELLS: usize = 1 << 23;
/// Cells of one chip that are realised, where the user does not say: of larger arrays so many columns.
const CELLS_REALISED: usize = 1 << 21;
/// Outputs of all chips together over which static errors average out to a tenth of a decibel.
const OUTPUTS: usize = 8192;

/// Where a description says which quadratures are read.
const READOUT: &str = "receiver.readout";

pub(super) fn run(args: &Sim, console: &Console) -> Result<(), CliError> {
    let mut overrides =
        args.set.iter().map(|text| parse_override(text)).collect::<Result<Vec<_>, _>>()?;
    if let Some(age) = &args.age {
        if age.parse().is_ok_and(|seconds: f64| !(seconds.is_finite() && seconds >= 0.0)) {
            return Err(CliError::usage(format!(
                "--age {age}: cell.age_s.value is a finite number of seconds, zero or more"
            )));
        }
        overrides.push(Override { path: "cell.age_s".to_owned(), value: age.clone() });
    }
    let mut chip = named_chip(&args.chip, &overrides)?.chip;
    let packing = args.packing;
    let mut warnings = Vec::new();
    if packing.reads_quadrature() && chip.receiver.readout == Readout::I {
        if overrides.iter().any(|set| set.path == READOUT) {
            return Err(CliError::usage(format!(
                "--set {READOUT}=i: packing {packing} reads both quadratures; leave it out or set \
                 iq, or take --packing single or conjugate"
            )));
        }
        chip.receiver.readout = Readout::Iq;
        warnings.push(format!(
            "packing {packing} reads both quadratures: {READOUT} is iq here, not i as {} has it",
            chip.name
        ));
    }
    let columns = match args.columns {
        Some(columns) => wanted_columns(&chip, columns)?,
        None => default_columns(&chip),
    };
    let cells = (chip.array.inputs * columns).max(1);
    let (symbols, shortened) = match args.symbols {
        Some(symbols) => (symbols, false),
        None => default_symbols(cells),
    };
    let all_symbols = symbols;
    let symbols = usize::try_from(symbols).unwrap_or(usize::MAX);
    let enough = (OUTPUTS / columns).clamp(8, 1024).min((CELLS / cells).max(2));
    let instances = args
        .instances
        .and_then(|count| usize::try_from(count).ok())
        .unwrap_or_else(|| enough.min(symbols.div_ceil(SYMBOLS_PER_INSTANCE)))
        .min(symbols);
    if let Some(shift) = args.shift.filter(|shift| !chip.gain_shifts().contains(shift)) {
        return Err(CliError::usage(format!(
            "--shift {shift}: the receiver of {} has gains for shifts {} to {}",
            chip.name,
            chip.gain_shifts().start(),
            chip.gain_shifts().end()
        )));
    }
    if let Some(dir) = &args.out {
        fs::create_dir_all(dir).map_err(|source| CliError::Write { path: dir.clone(), source })?;
    }
    let whole = Layout::new(packing, chip.array.inputs, chip.array.outputs)?;
    let setup = Setup {
        layout: Layout::new(packing, chip.array.inputs, columns)?,
        columns,
        terms: args.terms,
        data: args.data,
        symbols,
        instances,
        shift: args.shift,
        seed: args.seed,
        draws: args.draws.draws(),
        symbols_shortened: shortened,
        chip,
    };
    let findings = setup.run(console)?;
    let cost = Cost::of(&setup.chip, &whole, all_symbols, findings.shift)?;
    let mut report = SimReport::new(&setup, &findings, &cost, warnings);
    if let Some(dir) = &args.out {
        let pictures = TilePictures {
            report: &report,
            samples: &findings.samples,
            predicted_sigma: findings.closed_form_total_sigma,
        };
        report.plots = plots::write_tile(dir, &pictures)?;
    }
    console.result(&report, &report.text());
    Ok(())
}

/// The columns the user asks for.
///
/// Errors: there are not so many, or the array has to be whole.
fn wanted_columns(chip: &ChipDescription, columns: u64) -> Result<usize, CliError> {
    let all = chip.array.outputs;
    let wanted = usize::try_from(columns).unwrap_or(usize::MAX);
    let whole = chip.array.dataflow == Dataflow::OutputStationary;
    if wanted > all || (whole && wanted < all) {
        let most = if whole { "is measured whole" } else { "has no more" };
        return Err(CliError::usage(format!(
            "--columns {columns}: an array of {} has {all} columns and {most}",
            chip.name
        )));
    }
    Ok(wanted)
}

/// All columns, or of a large array so many that one takes no more than a second.
fn default_columns(chip: &ChipDescription) -> usize {
    let all = chip.array.outputs;
    match chip.array.dataflow {
        Dataflow::WeightStationary => (CELLS_REALISED / chip.array.inputs.max(1)).clamp(1, all),
        Dataflow::OutputStationary => all,
    }
}

/// So many symbols that a result is precise, but no more than take seconds; and whether these are
/// fewer.
fn default_symbols(cells: usize) -> (u64, bool) {
    let symbols = (CELLS_PASSED / cells as u64).clamp(8 * SYMBOLS_PER_INSTANCE as u64, SYMBOLS);
    (symbols, symbols < SYMBOLS)
}

/// Columns of the list of terms: it is not wrapped again on a terminal of the usual width.
const HELP_WIDTH: usize = 80;

/// Every term with its meaning, for the help.
pub(crate) fn terms_help() -> String {
    let mut text = String::from("Terms (--terms):\n");
    let width = Term::ALL.iter().map(|term| term.name().len()).max().unwrap_or(0);
    for term in Term::ALL {
        let mut line = format!("  {:width$} ", term.name());
        for word in term.help().split(' ') {
            if line.chars().count() + 1 + word.chars().count() > HELP_WIDTH {
                _ = writeln!(text, "{line}");
                line = " ".repeat(width + 3);
            }
            _ = write!(line, " {word}");
        }
        _ = writeln!(text, "{line}");
    }
    text.push_str(
        "\nEach is one standard deviation or one fraction of the chip description; `ideal` there \
         switches it off as well.\nRounding to converter codes is no term: it is the meaning of a \
         program, and always there.\n",
    );
    text
}
