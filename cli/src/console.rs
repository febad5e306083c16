//! What reaches the user: results on standard output, progress and errors on standard error.

use crate::error::CliError;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use std::cell::RefCell;
use std::io::{self, IsTerminal, Write};

/// The streams and how to use them.
#[derive(Debug)]
pub(crate) struct Console {
    json: bool,
    quiet: bool,
    /// The first thing that went wrong with standard output.
    broken: RefCell<Option<io::Error>>,
}

impl Console {
    pub(crate) fn new(json: bool, quiet: bool) -> Self {
        Self { json, quiet, broken: RefCell::new(None) }
    }

    /// Prints a result: `text` for people, `value` for programs.
    pub(crate) fn result(&self, value: &impl Serialize, text: &str) {
        let mut out = io::stdout().lock();
        let written = if self.json {
            serde_json::to_writer_pretty(&mut out, value)
                .map_err(io::Error::from)
                .and_then(|()| writeln!(out))
        } else {
            out.write_all(text.as_bytes())
        };
        self.note(written.and_then(|()| out.flush()));
    }

    /// Whether everything printed so far was really written.
    ///
    /// Errors: it was not. A closed pipe (`| head`) is no error: the reader has had enough.
    pub(crate) fn finish(&self) -> Result<(), CliError> {
        match self.broken.take() {
            Some(source) if source.kind() != io::ErrorKind::BrokenPipe => {
                Err(CliError::Write { path: "standard output".into(), source })
            }
            _ => Ok(()),
        }
    }

    fn note(&self, written: io::Result<()>) {
        if let Err(error) = written {
            self.broken.borrow_mut().get_or_insert(error);
        }
    }

    /// Prints raw bytes as they come, unless the result will be JSON.
    pub(crate) fn stream(&self, bytes: &[u8]) {
        if !self.json {
            let mut out = io::stdout().lock();
            self.note(out.write_all(bytes).and_then(|()| out.flush()));
        }
    }

    /// Says what is going on; silent with `--quiet` and `--json`.
    pub(crate) fn say(&self, line: &str) {
        if !self.quiet && !self.json {
            _ = writeln!(io::stderr(), "{line}");
        }
    }

    /// Whether progress bars can be seen.
    pub(crate) fn draws(&self) -> bool {
        !self.quiet && io::stderr().is_terminal()
    }

    /// A progress bar of `total` steps, visible on a terminal only.
    pub(crate) fn progress(&self, what: &str, total: usize) -> Progress {
        let target =
            if self.draws() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(total as u64), target);
        let template = "{prefix:>28} {wide_bar:.cyan/blue} {pos}/{len} {msg} {eta}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_prefix(what.to_owned());
        Progress { bar }
    }

    /// Prints an error, as one JSON object on standard output with `--json`.
    pub(crate) fn fail(&self, error: &CliError) {
        let message = with_causes(error);
        // What did not conform has said so, case by case, in its result.
        if self.json && !matches!(error, CliError::DoesNotConform { .. }) {
            let mut value = serde_json::json!({ "error": message, "exit_code": error.exit_code() });
            if let CliError::Damaged { offences } = error {
                value["ok"] = false.into();
                value["offences"] = offences.clone().into();
            }
            self.result(&value, "");
        }
        _ = writeln!(io::stderr(), "error: {message}");
    }
}

/// An error and what caused it, each cause once.
fn with_causes(error: &CliError) -> String {
    let mut message = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        let words = next.to_string();
        // Some messages already end with their cause's.
        if !message.contains(&words) {
            message.push_str(": ");
            message.push_str(&words);
        }
        cause = next.source();
    }
    message
}

/// A running piece of work.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    pub(crate) fn set(&self, done: usize) {
        self.bar.set_position(done as u64);
    }

    pub(crate) fn message(&self, text: impl Into<String>) {
        self.bar.set_message(text.into());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
