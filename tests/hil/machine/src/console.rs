//! One run of a machine: reads what its guest says, and watches the time.

use crate::qemu::Machine;
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::Child;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// What lines of the guest begin with; kernel messages do not.
const MARK: &str = "@hil ";

/// How a case went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Passed { ms: u64 },
    Failed { why: String },
}

/// What a machine said until it was switched off.
#[derive(Clone, Debug, Default)]
pub(crate) struct Transcript {
    /// By case.
    pub(crate) outcomes: BTreeMap<String, Outcome>,
    /// Numbers by case, in the order they came.
    pub(crate) figures: Vec<(String, String, f64)>,
    /// Everything, for whoever looks for the cause of a failure.
    pub(crate) log: Vec<String>,
    /// From the start of QEMU to its end.
    pub(crate) wall: Duration,
}

/// Runs a machine to its end, or to `limit`.
///
/// Errors: QEMU does not start.
pub(crate) fn run(machine: &Machine, limit: Duration) -> std::io::Result<Transcript> {
    let begun = Instant::now();
    let mut child = machine.command().spawn()?;
    let lines = lines_of(&mut child);
    let mut transcript = Transcript::default();
    let mut running = None;
    loop {
        let left = limit.saturating_sub(begun.elapsed());
        let line = match lines.recv_timeout(left) {
            Ok(line) => line,
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                transcript.log.push(format!("switched off after {} s", limit.as_secs()));
                // It may have ended by itself just now.
                let _ = child.kill();
                break;
            }
        };
        // A kernel message may have come on the same line first.
        let said = line.find(MARK).map(|at| line[at + MARK.len()..].to_owned());
        transcript.log.push(format!("{:7.3} {line}", begun.elapsed().as_secs_f64()));
        let Some(said) = said else { continue };
        let (kind, rest) = said.split_once(' ').unwrap_or((&said, ""));
        if kind == "start" {
            running = Some(rest.to_owned());
        }
        transcript.note(kind, rest);
        if matches!(kind, "pass" | "fail") {
            running = None;
        }
    }
    let ended = child.wait()?;
    transcript.wall = begun.elapsed();
    if let Some(case) = running {
        let why = format!("the machine ended during this case ({ended})");
        transcript.outcomes.insert(case, Outcome::Failed { why });
    }
    Ok(transcript)
}

impl Transcript {
    fn note(&mut self, kind: &str, rest: &str) {
        let mut words = rest.splitn(3, ' ');
        let mut word = || words.next().unwrap_or("").to_owned();
        match kind {
            "pass" => {
                let (case, ms) = (word(), word().parse().unwrap_or(0));
                self.outcomes.insert(case, Outcome::Passed { ms });
            }
            "fail" => {
                let (case, _ms, why) = (word(), word(), word());
                self.outcomes.insert(case, Outcome::Failed { why });
            }
            "figure" => {
                let (case, key, value) = (word(), word(), word());
                if let Ok(value) = value.parse() {
                    self.figures.push((case, key, value));
                }
            }
            _ => {}
        }
    }
}

/// What a child says, line by line, on both its outputs.
fn lines_of(child: &mut Child) -> mpsc::Receiver<String> {
    let (send, receive) = mpsc::channel();
    let said = child.stdout.take().expect("QEMU is started with a pipe");
    let complained = child.stderr.take().expect("QEMU is started with a pipe");
    for stream in [Box::new(said) as Box<dyn std::io::Read + Send>, Box::new(complained)] {
        let send = send.clone();
        thread::spawn(move || {
            for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).trim_end().to_owned();
                if send.send(line).is_err() {
                    break;
                }
            }
        });
    }
    receive
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_outcomes_and_figures() {
        let mut transcript = Transcript::default();
        transcript.note("pass", "pcie 120");
        transcript.note("fail", "usb 7 no device, none at all");
        transcript.note("figure", "pcie latency_p50_us 71.5");
        transcript.note("figure", "pcie odd x");
        transcript.note("note", "anything");
        assert_eq!(transcript.outcomes["pcie"], Outcome::Passed { ms: 120 });
        let why = "no device, none at all".to_owned();
        assert_eq!(transcript.outcomes["usb"], Outcome::Failed { why });
        let figure = ("pcie".to_owned(), "latency_p50_us".to_owned(), 71.5);
        assert_eq!(transcript.figures, [figure]);
    }
}
