//! What the suite's caller reads.

use crate::console::{Outcome, Transcript};
use crate::suite::Share;
use std::io::{self, Write as _};
use std::process::ExitCode;

/// Says that nothing was run, case by case, and why. Skipped is not passed: where everything must
/// run, `LITECORE_HIL_REQUIRED` in the environment makes it a failure.
pub(crate) fn skipped(shares: &[Share], reason: &str) -> ExitCode {
    let mut count = 0;
    for case in shares.iter().flat_map(|share| share.cases) {
        line(&format!("machine {case:22} skipped: {reason}"));
        count += 1;
    }
    line(&format!("machine suite: 0 passed, 0 failed, {count} skipped"));
    let required = std::env::var_os("LITECORE_HIL_REQUIRED").is_some_and(|value| !value.is_empty());
    if required { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Says how each case went; a case that nobody reported has failed.
pub(crate) fn outcomes(transcripts: &[(Share, Transcript)], wanted: &[String]) -> ExitCode {
    let (mut passed, mut failed) = (0, 0);
    for (share, transcript) in transcripts {
        let mut sound = true;
        for case in share.cases {
            if !wanted.is_empty() && !wanted.iter().any(|name| name == case) {
                continue;
            }
            match transcript.outcomes.get(*case) {
                Some(Outcome::Passed { ms }) => {
                    passed += 1;
                    line(&format!("machine {case:22} ok, {ms} ms{}", figures(transcript, case)));
                }
                Some(Outcome::Failed { why }) => {
                    (failed, sound) = (failed + 1, false);
                    line(&format!("machine {case:22} FAILED: {why}"));
                }
                None => {
                    (failed, sound) = (failed + 1, false);
                    line(&format!("machine {case:22} FAILED: it was not reached"));
                }
            }
        }
        if !sound || std::env::var_os("LITECORE_HIL_LOG").is_some() {
            line("what the machine and its cards said:");
            for said in &transcript.log {
                line(&format!("  {said}"));
            }
        }
        line(&format!("the machine ran for {:.1} s", transcript.wall.as_secs_f64()));
    }
    line(&format!("machine suite: {passed} passed, {failed} failed, 0 skipped"));
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn figures(transcript: &Transcript, case: &str) -> String {
    let of_case = transcript.figures.iter().filter(|(name, ..)| name == case);
    let words: Vec<String> = of_case.map(|(_, key, value)| format!(", {key} {value:.4}")).collect();
    words.concat()
}

/// One line on standard output.
pub(crate) fn line(text: &str) {
    // A reader that has gone needs no more lines.
    let _ = writeln!(io::stdout(), "{text}");
}
