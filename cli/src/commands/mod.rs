//! One file per command.

mod bench;
mod chip;
mod chip_check;
mod compile;
mod demo;
pub(crate) mod eval;
mod import;
mod model;
mod run;
mod sim;
mod train;

pub(crate) use demo::Trial;
pub(crate) use import::import_help;
pub(crate) use sim::{BudgetRow, Data, Samples, SimReport, terms_help};

use crate::args::Command;
use crate::console::Console;
use crate::error::CliError;

/// Carries out a command.
pub(crate) fn run(command: Command, console: &Console) -> Result<(), CliError> {
    match command {
        Command::Demo(args) => demo::run(&args, console),
        Command::Chip(args) => chip::run(args, console),
        Command::Model(args) => model::run(args, console),
        Command::Import(args) => import::run(&args, console),
        Command::Train(args) => train::run(&args, console),
        Command::Compile(args) => compile::run(&args, console),
        Command::Run(args) => run::run(&args, console),
        Command::Eval(args) => eval::run(&args, console),
        Command::Sim(args) => sim::run(&args, console),
        Command::Bench(args) => bench::run(&args, console),
    }
}
