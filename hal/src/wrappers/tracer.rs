use crate::{Capabilities, Device, DeviceError, ImageId, RunOutcome, RunRequest, Telemetry};
use litecore_types::program::VerifiedProgram;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Writes one line for each call to a device and what came of it.
///
/// ```text
///     0.000112  load       "layer 0 small.0.1", 2 tiles, 384 weight bytes -> image 0  in 0.104 ms
///     0.000331  run        image 0, 8 symbols -> 96 numbers, 412 cycles  in 0.198 ms
///     0.000340  park       -> card fault: retry  in 0.009 ms
/// ```
///
/// A trace that cannot be written does not stop the device; [`Tracer::lines_lost`] tells.
pub struct Tracer<D, W> {
    device: D,
    out: W,
    clock: Box<dyn FnMut() -> Duration + Send>,
    lines_lost: u64,
}

impl<D: Device, W: Write + Send> Tracer<D, W> {
    /// Traces `device` into `out`, with the time since now.
    pub fn new(device: D, out: W) -> Self {
        let started = Instant::now();
        Self::with_clock(device, out, Box::new(move || started.elapsed()))
    }

    /// The same with another clock, which gives the time since any origin.
    pub fn with_clock(device: D, out: W, clock: Box<dyn FnMut() -> Duration + Send>) -> Self {
        Self { device, out, clock, lines_lost: 0 }
    }

    /// Lines that could not be written.
    pub fn lines_lost(&self) -> u64 {
        self.lines_lost
    }

    /// The device again, and the trace.
    pub fn into_parts(self) -> (D, W) {
        (self.device, self.out)
    }

    fn traced<T>(
        &mut self,
        name: &str,
        what: &str,
        call: impl FnOnce(&mut D) -> Result<T, DeviceError>,
        came: impl FnOnce(&T) -> String,
    ) -> Result<T, DeviceError> {
        let before = (self.clock)();
        let result = call(&mut self.device);
        let took = (self.clock)().saturating_sub(before);
        let came = match &result {
            Ok(value) => came(value),
            Err(error) => format!("{error} ({:?})", error.remedy()),
        };
        let what = if what.is_empty() { String::new() } else { format!("{what} ") };
        let line = format!(
            "{:12.6}  {name:<10} {what}-> {came}  in {:.3} ms\n",
            before.as_secs_f64(),
            took.as_secs_f64() * 1e3
        );
        if self.out.write_all(line.as_bytes()).is_err() {
            self.lines_lost += 1;
        }
        result
    }
}

impl<D: Device, W: Write + Send> Device for Tracer<D, W> {
    fn capabilities(&self) -> &Capabilities {
        self.device.capabilities()
    }

    fn load(&mut self, program: Arc<VerifiedProgram>) -> Result<ImageId, DeviceError> {
        let what = format!(
            "{:?}, {} tiles, {} weight bytes",
            program.name,
            program.tiles.len(),
            program.weight_bytes()
        );
        self.traced("load", &what, |d| d.load(program), ToString::to_string)
    }

    fn run(&mut self, request: &RunRequest<'_>) -> Result<RunOutcome, DeviceError> {
        let what = format!("{}, {} symbols", request.image, request.tags.len());
        self.traced(
            "run",
            &what,
            |d| d.run(request),
            |outcome| format!("{} numbers, {} cycles", outcome.outputs.len(), outcome.cycles.0),
        )
    }

    fn telemetry(&mut self) -> Result<Telemetry, DeviceError> {
        self.traced("telemetry", "", D::telemetry, |t| {
            let parked = if t.parked { ", parked" } else { "" };
            format!("{} images, {} runs, {} symbols{parked}", t.images, t.runs, t.symbols)
        })
    }

    fn park(&mut self) -> Result<(), DeviceError> {
        self.traced("park", "", D::park, |()| "at rest".to_owned())
    }
}
