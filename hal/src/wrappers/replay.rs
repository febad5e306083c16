use super::record::{FIRST_LINE, program_sum, run_words};
use crate::{
    Capabilities, Device, DeviceError, FaultCode, ImageId, RunOutcome, RunRequest, Telemetry,
};
use litecore_types::program::VerifiedProgram;
use litecore_types::{Component, Cycles, EnergyLedger};
use std::collections::{BTreeMap, VecDeque};
use std::str::{FromStr, SplitWhitespace};
use std::sync::Arc;

/// Answers as a recorded device answered; the calls must be the recorded ones, in their order.
pub struct Replayer {
    capabilities: Capabilities,
    calls: VecDeque<Call>,
}

/// Why a text is no record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the record: expected {expected}")]
pub struct ReadRecordError {
    /// Line number, from 1.
    pub line: usize,
    /// What was expected there.
    pub expected: &'static str,
}

struct Call {
    name: &'static str,
    /// The request as the record names it.
    asked: String,
    answer: Result<Answer, DeviceError>,
}

enum Answer {
    Image(ImageId),
    Outcome(RunOutcome),
    Telemetry(Telemetry),
    Parked,
}

impl Replayer {
    /// Calls that are still to come.
    pub fn calls_left(&self) -> usize {
        self.calls.len()
    }

    fn next(&mut self, name: &'static str, asked: &str) -> Result<Answer, DeviceError> {
        let Some(call) = self.calls.front() else {
            return Err(DeviceError::NotRecorded { recorded: "nothing more", asked: name });
        };
        if call.asked != asked {
            let recorded = if call.name == name { "another request" } else { call.name };
            return Err(DeviceError::NotRecorded { recorded, asked: name });
        }
        let call = self.calls.pop_front();
        call.map_or(Ok(Answer::Parked), |call| call.answer)
    }
}

impl Device for Replayer {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn load(&mut self, program: Arc<VerifiedProgram>) -> Result<ImageId, DeviceError> {
        match self.next("load", &format!("load {:08x}", program_sum(&program)))? {
            Answer::Image(image) => Ok(image),
            _ => Err(DeviceError::NotRecorded { recorded: "another answer", asked: "load" }),
        }
    }

    fn run(&mut self, request: &RunRequest<'_>) -> Result<RunOutcome, DeviceError> {
        match self.next("run", &run_words(request))? {
            Answer::Outcome(outcome) => Ok(outcome),
            _ => Err(DeviceError::NotRecorded { recorded: "another answer", asked: "run" }),
        }
    }

    fn telemetry(&mut self) -> Result<Telemetry, DeviceError> {
        match self.next("telemetry", "telemetry")? {
            Answer::Telemetry(telemetry) => Ok(telemetry),
            _ => Err(DeviceError::NotRecorded { recorded: "another answer", asked: "telemetry" }),
        }
    }

    fn park(&mut self) -> Result<(), DeviceError> {
        self.next("park", "park").map(drop)
    }
}

impl FromStr for Replayer {
    type Err = ReadRecordError;

    fn from_str(text: &str) -> Result<Self, ReadRecordError> {
        let mut lines = (1..).zip(text.lines());
        let fail = |line, expected| ReadRecordError { line, expected };
        if lines.next().is_none_or(|(_, line)| line != FIRST_LINE) {
            return Err(fail(1, FIRST_LINE));
        }
        let (number, device) = lines.next().ok_or_else(|| fail(2, "a device line"))?;
        let capabilities = device_line(device).ok_or_else(|| fail(number, "a device line"))?;
        let calls = lines
            .map(|(number, line)| call(line).map_err(|expected| fail(number, expected)))
            .collect::<Result<_, _>>()?;
        Ok(Self { capabilities, calls })
    }
}

fn device_line(line: &str) -> Option<Capabilities> {
    let fields: BTreeMap<_, _> = line
        .strip_prefix("device ")?
        .split_whitespace()
        .filter_map(|w| w.split_once('='))
        .collect();
    let number = |key| fields.get(key).and_then(|text: &&str| text.parse::<u64>().ok());
    let count = |key| usize::try_from(number(key)?).ok();
    Some(Capabilities {
        chip: (*fields.get("chip")?).to_owned(),
        serial: (*fields.get("serial")?).to_owned(),
        rows: count("rows")?,
        columns: count("columns")?,
        arrays: count("arrays")?,
        banks: count("banks")?,
        sram_bytes: number("sram")?,
        simulated: number("simulated")? == 1,
    })
}

fn call(line: &str) -> Result<Call, &'static str> {
    let mut words = line.split_whitespace();
    let (name, operands) = match words.next() {
        Some("load") => ("load", 1),
        Some("run") => ("run", 3),
        Some("telemetry") => ("telemetry", 0),
        Some("park") => ("park", 0),
        _ => return Err("load, run, telemetry or park"),
    };
    let mut asked = name.to_owned();
    for _ in 0..operands {
        asked.push(' ');
        asked.push_str(words.next().ok_or("the request")?);
    }
    let answer = match words.next() {
        Some("ok") => Ok(answer(name, &mut words).ok_or("an answer to this call")?),
        Some("error") => Err(error(&mut words).ok_or("a known error")?),
        _ => return Err("ok or error"),
    };
    Ok(Call { name, asked, answer })
}

fn answer(name: &str, words: &mut SplitWhitespace<'_>) -> Option<Answer> {
    Some(match name {
        "load" => Answer::Image(ImageId(number(words)?)),
        "run" => {
            let cycles = Cycles(number(words)?);
            let energy = ledger(words.next()?)?;
            let outputs = floats(words.next().unwrap_or(""))?;
            Answer::Outcome(RunOutcome { outputs, cycles, energy })
        }
        "telemetry" => Answer::Telemetry(Telemetry {
            images: number(words)?,
            runs: number(words)?,
            symbols: number(words)?,
            cycles: Cycles(number(words)?),
            temperature_c: match words.next()? {
                "-" => None,
                bits => Some(f64::from_bits(u64::from_str_radix(bits, 16).ok()?)),
            },
            parked: number::<u8>(words)? == 1,
        }),
        _ => Answer::Parked,
    })
}

#[expect(clippy::option_option, reason = "no ledger is an answer, an unreadable one is none")]
fn ledger(text: &str) -> Option<Option<EnergyLedger>> {
    if text == "-" {
        return Some(None);
    }
    let mut ledger = EnergyLedger::default();
    for part in text.split(',').filter(|part| *part != "none") {
        let (key, bits) = part.split_once('=')?;
        let component = Component::ALL.into_iter().find(|component| component.key() == key)?;
        ledger.charge(component, f64::from_bits(u64::from_str_radix(bits, 16).ok()?));
    }
    Some(Some(ledger))
}

fn floats(text: &str) -> Option<Vec<f32>> {
    let bytes = text.as_bytes();
    let (words, rest) = bytes.as_chunks::<8>();
    let float = |word: &[u8; 8]| {
        let bits = u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok()?;
        Some(f32::from_bits(bits))
    };
    rest.is_empty().then(|| words.iter().map(float).collect()).flatten()
}

fn error(words: &mut SplitWhitespace<'_>) -> Option<DeviceError> {
    Some(match words.next()? {
        "no_such_image" => DeviceError::NoSuchImage { image: ImageId(number(words)?) },
        "input_length" => DeviceError::InputLength {
            given: number(words)?,
            symbols: number(words)?,
            vector: number(words)?,
        },
        "too_many_symbols" => {
            DeviceError::TooManySymbols { given: number(words)?, most: number(words)? }
        }
        "non_finite" => DeviceError::NonFiniteInput { symbol: number(words)? },
        "wrong_chip" => DeviceError::WrongChip {
            compiled_for: words.next()?.to_owned(),
            chip: words.next()?.to_owned(),
        },
        "refused" => DeviceError::ProgramRefused { violations: Vec::new() },
        "fault" => DeviceError::Fault { code: FaultCode::from_number(number(words)?) },
        "timed_out" => DeviceError::TimedOut { waited_ms: number(words)? },
        "link_lost" => DeviceError::LinkLost,
        _ => return None,
    })
}

fn number<T: FromStr>(words: &mut SplitWhitespace<'_>) -> Option<T> {
    words.next()?.parse().ok()
}
