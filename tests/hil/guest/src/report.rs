//! What the guest tells the host, one line each, behind a mark that kernel messages do not have.
//!
//! ```text
//! @hil start NAME          a case begins
//! @hil pass NAME MS        it held
//! @hil fail NAME MS TEXT   it did not
//! @hil figure NAME KEY VALUE
//! @hil note TEXT
//! ```

use std::error::Error;
use std::io::{self, Write as _};
use std::time::Instant;

/// Why a case did not hold.
pub(crate) type Failure = Box<dyn Error>;

/// The console.
#[derive(Debug)]
pub(crate) struct Report {
    case: String,
}

impl Report {
    pub(crate) fn new() -> Self {
        Self { case: String::new() }
    }

    /// Runs one case and says how it went.
    pub(crate) fn case(&mut self, name: &str, run: impl FnOnce(&mut Self) -> Result<(), Failure>) {
        name.clone_into(&mut self.case);
        line(&format!("start {name}"));
        let begun = Instant::now();
        let outcome = run(self);
        let ms = begun.elapsed().as_millis();
        match outcome {
            Ok(()) => line(&format!("pass {name} {ms}")),
            Err(failure) => line(&format!("fail {name} {ms} {}", one_line(&failure.to_string()))),
        }
    }

    /// A number of the running case, for the table; the key ends in its unit.
    pub(crate) fn figure(&mut self, key: &str, value: f64) {
        line(&format!("figure {} {key} {value}", self.case));
    }

    /// Words for whoever reads the log.
    pub(crate) fn note(text: &str) {
        line(&format!("note {}", one_line(text)));
    }
}

fn line(text: &str) {
    let mut console = io::stdout().lock();
    // A console that cannot be written to has nobody to be told.
    let _ = writeln!(console, "@hil {text}").and_then(|()| console.flush());
}

fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}
