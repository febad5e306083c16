//! Boots the test machines and reports, case by case, what their first process says.
//!
//! `tests/hil/run` builds what this needs and calls it.

mod cards;
mod console;
mod image;
mod modules;
mod newc;
mod qemu;
mod report;
mod suite;

use cards::Card;
use console::Transcript;
use qemu::Machine;
use std::ffi::OsString;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;
use std::{env, fs, io, thread};
use suite::{BYTES, CHIP, PROMPT, SHARES, SYMBOLS_MAX, Share, TIERS};

/// A machine that is not done by then is switched off.
const LIMIT: Duration = Duration::from_secs(300);

const USAGE: &str = "usage: litecore-hil --cache DIR --guest FILE --litecore FILE [CASE…]
       litecore-hil --skip REASON
Call tests/hil/run, which builds what this needs.";

fn main() -> ExitCode {
    let mut given = Given::default();
    if given.read(env::args_os().skip(1)).is_none() {
        report::line(USAGE);
        return ExitCode::from(2);
    }
    if let Some(reason) = &given.skip {
        return report::skipped(&SHARES, reason);
    }
    match run(&given) {
        Ok(transcripts) => report::outcomes(&transcripts, &given.cases),
        Err(error) => {
            report::line(&format!("the machine suite cannot run: {error}"));
            ExitCode::FAILURE
        }
    }
}

#[derive(Debug, Default)]
struct Given {
    cache: PathBuf,
    guest: PathBuf,
    litecore: PathBuf,
    skip: Option<String>,
    /// Only these; all, if there are none.
    cases: Vec<String>,
}

impl Given {
    /// None where it is not what the usage says.
    fn read(&mut self, mut words: impl Iterator<Item = OsString>) -> Option<()> {
        while let Some(word) = words.next() {
            match word.to_str()? {
                "--cache" => self.cache = words.next()?.into(),
                "--guest" => self.guest = words.next()?.into(),
                "--litecore" => self.litecore = words.next()?.into(),
                "--skip" => self.skip = Some(words.next()?.to_string_lossy().into_owned()),
                case if SHARES.iter().any(|share| share.cases.contains(&case)) => {
                    self.cases.push(case.to_owned());
                }
                _ => return None,
            }
        }
        let whole = [&self.cache, &self.guest, &self.litecore];
        (self.skip.is_some() || whole.iter().all(|path| path.exists())).then_some(())
    }
}

fn run(given: &Given) -> io::Result<Vec<(Share, Transcript)>> {
    let folder = tempfile::tempdir()?;
    let model = folder.path().join("model");
    let expected = workload(&given.litecore, &model)?;
    let files: [(&str, &[u8]); 2] = [("model", &fs::read(&model)?), ("expected", &expected)];
    let initrd = folder.path().join("root.cpio");
    fs::write(&initrd, image::build(&given.cache.join("kernel"), &given.guest, &files)?)?;
    let mut machines = Vec::new();
    for (number, share) in SHARES.into_iter().enumerate() {
        let wanted =
            |case: &&&str| given.cases.is_empty() || given.cases.iter().any(|c| c == **case);
        let cases: Vec<&str> = share.cases.iter().filter(wanted).copied().collect();
        if cases.is_empty() {
            continue;
        }
        let cards = folder.path().join(format!("cards-{number}"));
        fs::create_dir(&cards)?;
        let (cache, initrd) = (given.cache.clone(), initrd.clone());
        machines.push(Machine { cache, initrd, cards, cases, share });
    }
    thread::scope(|scope| {
        let running: Vec<_> = machines
            .iter()
            .map(|machine| (machine.share, scope.spawn(|| run_share(given, machine))))
            .collect();
        let ended = running.into_iter().map(|(share, thread)| {
            let transcript = thread.join().unwrap_or_else(|panic| resume_unwind(panic));
            Ok((share, transcript?))
        });
        ended.collect()
    })
}

/// Starts a machine's cards and runs it.
fn run_share(given: &Given, machine: &Machine) -> io::Result<Transcript> {
    let mut cards = Vec::new();
    for plan in machine.share.cards {
        cards.push(Card::start(&given.litecore, CHIP, *plan, &machine.cards)?);
    }
    let mut transcript = console::run(machine, LIMIT)?;
    for card in &cards {
        transcript.log.extend(card.said());
    }
    Ok(transcript)
}

/// Compiles the embedded model, and says what it writes on the same card without any transport.
fn workload(litecore: &Path, model: &Path) -> io::Result<Vec<u8>> {
    let run = |args: &[&str]| {
        let output = Command::new(litecore).args(args).output()?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        let what = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(io::Error::other(format!("litecore {}: {what}", args.join(" "))))
    };
    let path = model.to_str().ok_or(io::ErrorKind::InvalidInput)?;
    run(&["compile", "--quiet", "--chip", CHIP.name, "--symbols-max", SYMBOLS_MAX, "--out", path])?;
    let device = format!("sim:{}?seed={}", CHIP.name, CHIP.seed);
    let count = BYTES.to_string();
    let said = run(&[
        "run", path, "--device", &device, "--tiers", TIERS, "--prompt", PROMPT, "-n", &count,
        "--json",
    ])?;
    let report: serde_json::Value = serde_json::from_slice(&said)?;
    let bytes = report["bytes"].as_array().ok_or(io::ErrorKind::InvalidData)?;
    let bytes: Vec<u8> =
        bytes.iter().filter_map(|byte| u8::try_from(byte.as_u64()?).ok()).collect();
    // Tiers, prompt, and what follows it, each but the last with a zero behind it.
    Ok([TIERS.as_bytes(), &[0], PROMPT.as_bytes(), &[0], &bytes].concat())
}
