use crate::{Capabilities, Device, DeviceError, ImageId, RunOutcome, RunRequest, Telemetry};
use litecore_firmware_proto::crc32c::Crc32c;
use litecore_types::program::VerifiedProgram;
use std::fmt::{self, Write as _};
use std::io::Write;
use std::sync::Arc;

/// The first line of a record.
pub(super) const FIRST_LINE: &str = "litecore-record 1";

/// Writes down what a device is asked and what it answers, bit for bit, for a
/// [`super::Replayer`] to answer again.
///
/// Requests are kept as checksums, answers in full. Text, one call a line:
///
/// ```text
/// litecore-record 1
/// device chip=tiny-4 serial=sim-7 rows=4 columns=4 arrays=1 banks=1 sram=65536 simulated=1
/// load 7f3a2b10 ok 0
/// run 0 8 c0ffee11 ok 412 laser=3f50624dd2f1a9fc,adc=… 3f800000bf800000
/// park ok
/// telemetry ok 1 1 8 412 - 1
/// run 0 8 c0ffee11 error fault 257
/// ```
pub struct Recorder<D, W> {
    device: D,
    out: W,
    lines_lost: u64,
}

impl<D: Device, W: Write + Send> Recorder<D, W> {
    /// Records `device` into `out`.
    pub fn new(device: D, out: W) -> Self {
        let mut recorder = Self { device, out, lines_lost: 0 };
        let first = format!("{FIRST_LINE}\n{}", DeviceLine(recorder.device.capabilities()));
        recorder.write(&first);
        recorder
    }

    /// Lines that could not be written; a record with lost lines is of no use.
    pub fn lines_lost(&self) -> u64 {
        self.lines_lost
    }

    /// The device again, and the record.
    pub fn into_parts(self) -> (D, W) {
        (self.device, self.out)
    }

    fn write(&mut self, line: &str) {
        if writeln!(self.out, "{line}").is_err() {
            self.lines_lost += 1;
        }
    }

    fn recorded<T>(
        &mut self,
        asked: &str,
        result: Result<T, DeviceError>,
        answer: impl FnOnce(&T) -> String,
    ) -> Result<T, DeviceError> {
        let came = match &result {
            Ok(value) => format!("ok{}", answer(value)),
            Err(error) => format!("error {}", error_words(error)),
        };
        self.write(&format!("{asked} {came}"));
        result
    }
}

impl<D: Device, W: Write + Send> Device for Recorder<D, W> {
    fn capabilities(&self) -> &Capabilities {
        self.device.capabilities()
    }

    fn load(&mut self, program: Arc<VerifiedProgram>) -> Result<ImageId, DeviceError> {
        let asked = format!("load {:08x}", program_sum(&program));
        let result = self.device.load(program);
        self.recorded(&asked, result, |image| format!(" {}", image.0))
    }

    fn run(&mut self, request: &RunRequest<'_>) -> Result<RunOutcome, DeviceError> {
        let asked = run_words(request);
        let result = self.device.run(request);
        self.recorded(&asked, result, outcome_words)
    }

    fn telemetry(&mut self) -> Result<Telemetry, DeviceError> {
        let result = self.device.telemetry();
        self.recorded("telemetry", result, |t| {
            let temperature =
                t.temperature_c.map_or("-".to_owned(), |c| format!("{:016x}", c.to_bits()));
            let parked = u8::from(t.parked);
            let Telemetry { images, runs, symbols, cycles, .. } = t;
            format!(" {images} {runs} {symbols} {} {temperature} {parked}", cycles.0)
        })
    }

    fn park(&mut self) -> Result<(), DeviceError> {
        let result = self.device.park();
        self.recorded("park", result, |()| String::new())
    }
}

/// The checksum by which a record names a program.
pub fn record_of(program: &VerifiedProgram) -> u32 {
    program_sum(program)
}

pub(super) fn program_sum(program: &VerifiedProgram) -> u32 {
    struct Sum(Crc32c);
    impl fmt::Write for Sum {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0 = self.0.with(text.as_bytes());
            Ok(())
        }
    }
    let mut sum = Sum(Crc32c::new());
    // Writing into a checksum cannot fail.
    let _ = write!(sum, "{}", **program);
    sum.0.value()
}

/// A run request as a record names it.
pub(super) fn run_words(request: &RunRequest<'_>) -> String {
    let tags = request.tags.iter().fold(Crc32c::new(), |sum, tag| sum.with(&tag.0.to_le_bytes()));
    let sum = request.inputs.iter().fold(tags, |sum, x| sum.with(&x.to_le_bytes()));
    format!("run {} {} {:08x}", request.image.0, request.tags.len(), sum.value())
}

fn outcome_words(outcome: &RunOutcome) -> String {
    let mut words = format!(" {} ", outcome.cycles.0);
    match &outcome.energy {
        None => words.push('-'),
        Some(ledger) => {
            let parts: Vec<_> = ledger
                .parts()
                .map(|(part, joules)| format!("{}={:016x}", part.key(), joules.to_bits()))
                .collect();
            words.push_str(if parts.is_empty() { "none" } else { "" });
            words.push_str(&parts.join(","));
        }
    }
    words.push(' ');
    for x in &outcome.outputs {
        // Writing to a string cannot fail.
        let _ = write!(words, "{:08x}", x.to_bits());
    }
    words
}

/// An error as a record keeps it. What a replay cannot give back in full it gives back as the
/// nearest thing: a refused program without its violations, a failed link as a lost one.
fn error_words(error: &DeviceError) -> String {
    match error {
        DeviceError::NoSuchImage { image } => format!("no_such_image {}", image.0),
        DeviceError::InputLength { given, symbols, vector } => {
            format!("input_length {given} {symbols} {vector}")
        }
        DeviceError::TooManySymbols { given, most } => format!("too_many_symbols {given} {most}"),
        DeviceError::NonFiniteInput { symbol } => format!("non_finite {symbol}"),
        DeviceError::WrongChip { compiled_for, chip } => {
            format!("wrong_chip {compiled_for} {chip}")
        }
        DeviceError::ProgramRefused { .. }
        | DeviceError::RefusedByCard { .. }
        | DeviceError::NotSendable { .. } => "refused".to_owned(),
        DeviceError::Fault { code } => format!("fault {}", code.number()),
        DeviceError::TimedOut { waited_ms } => format!("timed_out {waited_ms}"),
        DeviceError::LinkLost
        | DeviceError::Dead { .. }
        | DeviceError::BadReply { .. }
        | DeviceError::Link(_)
        | DeviceError::NotRecorded { .. } => "link_lost".to_owned(),
    }
}

struct DeviceLine<'a>(&'a Capabilities);

impl fmt::Display for DeviceLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Capabilities { chip, serial, rows, columns, arrays, banks, sram_bytes, simulated } =
            self.0;
        write!(
            f,
            "device chip={chip} serial={serial} rows={rows} columns={columns} arrays={arrays} \
             banks={banks} sram={sram_bytes} simulated={}",
            u8::from(*simulated)
        )
    }
}
