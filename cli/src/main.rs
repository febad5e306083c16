//! The `litecore` command: arguments, progress, tables, plots.

mod args;
mod calibration_inputs;
mod commands;
mod console;
mod device;
mod error;
mod plots;
mod table;
mod workload;

use clap::Parser;
use console::Console;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args = match args::Args::try_parse() {
        Ok(args) => args,
        Err(usage) => return refuse(&usage),
    };
    let console = Console::new(args.output.json, args.output.quiet);
    let done = commands::run(args.command, &console).and_then(|()| console.finish());
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            console.fail(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

/// Help and version go out as clap words them; a usage error also as JSON where JSON was asked for.
fn refuse(usage: &clap::Error) -> ExitCode {
    let json = std::env::args_os().any(|arg| arg == "--json");
    if json && usage.use_stderr() {
        let problem = usage.render().to_string();
        let error = error::CliError::usage(problem.trim_start_matches("error: ").trim_end());
        Console::new(true, false).fail(&error);
        return ExitCode::from(error.exit_code());
    }
    // Clap's own exit codes: 0 for help and version, 2 for usage.
    usage.exit()
}
