use crate::{
    Buffer, Completion, Deadline, Link, LinkCounters, LinkError, LinkInfo, ResetLevel, Unfinished,
};
use litecore_firmware_proto::CommandHeader;
use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant};

/// Writes one line for each command that goes over a link, each completion that comes back, each
/// silence and each reset.
///
/// ```text
///     0.000112  submit     5e550001:2 image_commit, image 3, argument 0x3c09b11e
///     0.000331  complete   5e550001:2 image_commit -> done  after 0.219 ms
///     0.000340  submit     5e550001:3 run, image 3, argument 0x8, 320 bytes
///     0.250461  silent     1 in flight
///     0.251002  reset      new epoch -> 1 unfinished  in 0.541 ms
/// ```
///
/// Times are seconds. A trace that cannot be written does not stop the link;
/// [`TracedLink::lines_lost`] tells.
pub struct TracedLink<W> {
    link: Box<dyn Link>,
    out: W,
    clock: Box<dyn FnMut() -> Duration + Send>,
    /// What is under way by cookie: the command's name, and when it was submitted.
    flight: BTreeMap<u64, (&'static str, Duration)>,
    lines_lost: u64,
}

impl<W: Write + Send> TracedLink<W> {
    /// Traces `link` into `out`, with the time since now.
    pub fn new(link: Box<dyn Link>, out: W) -> Self {
        let started = Instant::now();
        Self::with_clock(link, out, Box::new(move || started.elapsed()))
    }

    /// The same with another clock, which gives the time since any origin.
    pub fn with_clock(
        link: Box<dyn Link>,
        out: W,
        clock: Box<dyn FnMut() -> Duration + Send>,
    ) -> Self {
        Self { link, out, clock, flight: BTreeMap::new(), lines_lost: 0 }
    }

    /// Lines that could not be written.
    pub fn lines_lost(&self) -> u64 {
        self.lines_lost
    }

    /// The link again, and the trace.
    pub fn into_parts(self) -> (Box<dyn Link>, W) {
        (self.link, self.out)
    }

    fn line(&mut self, at: Duration, name: &str, what: &str) {
        let line = format!("{:12.6}  {name:<10} {what}\n", at.as_secs_f64());
        if self.out.write_all(line.as_bytes()).is_err() {
            self.lines_lost += 1;
        }
    }

    fn completed(&mut self, at: Duration, completion: &Completion) {
        let header = &completion.header;
        let (name, since) = self.flight.remove(&header.cookie.0).unwrap_or(("unknown", at));
        let came = match header.fault {
            None => "done".to_owned(),
            Some(fault) => format!("{fault} ({:#06x})", fault.number()),
        };
        let bytes = match header.reply_len {
            0 => String::new(),
            len => format!(", {len} bytes"),
        };
        let after = milliseconds(at.saturating_sub(since));
        let what = format!("{} {name} -> {came}{bytes}  after {after} ms", header.cookie);
        self.line(at, "complete", &what);
    }
}

fn milliseconds(time: Duration) -> String {
    format!("{:.3}", time.as_secs_f64() * 1e3)
}

impl<W: Write + Send> Link for TracedLink<W> {
    fn info(&self) -> &LinkInfo {
        self.link.info()
    }

    fn buffer(&mut self, capacity: usize) -> Result<Buffer, LinkError> {
        self.link.buffer(capacity)
    }

    fn submit(
        &mut self,
        command: &CommandHeader,
        payload: Buffer,
        reply: Buffer,
    ) -> Result<(), LinkError> {
        let at = (self.clock)();
        let mut words = vec![format!("{} {}", command.cookie, command.opcode.name())];
        let numbers =
            [("image", command.image), ("offset", command.offset), ("bytes", command.payload_len)];
        let told = numbers.into_iter().filter(|(_, number)| *number != 0);
        words.extend(told.map(|(key, number)| format!("{key} {number}")));
        if command.argument != 0 {
            words.push(format!("argument {:#x}", command.argument));
        }
        let mut what = words.join(", ");
        let result = self.link.submit(command, payload, reply);
        match &result {
            Ok(()) => {
                self.flight.insert(command.cookie.0, (command.opcode.name(), at));
            }
            Err(error) => what = format!("{what} -> {error}"),
        }
        self.line(at, "submit", &what);
        result
    }

    fn poll(&mut self, deadline: Deadline) -> Result<Option<Completion>, LinkError> {
        let result = self.link.poll(deadline);
        let at = (self.clock)();
        match &result {
            Ok(Some(completion)) => self.completed(at, completion),
            Ok(None) if self.flight.is_empty() => {}
            Ok(None) => self.line(at, "silent", &format!("{} in flight", self.flight.len())),
            Err(error) => self.line(at, "failed", &error.to_string()),
        }
        result
    }

    fn reset(
        &mut self,
        level: ResetLevel,
        deadline: Deadline,
    ) -> Result<Vec<Unfinished>, LinkError> {
        let before = (self.clock)();
        let result = self.link.reset(level, deadline);
        let at = (self.clock)();
        let came = match &result {
            Ok(unfinished) => {
                self.flight.clear();
                format!("{} unfinished", unfinished.len())
            }
            Err(error) => error.to_string(),
        };
        let took = milliseconds(at.saturating_sub(before));
        self.line(at, "reset", &format!("{level} -> {came}  in {took} ms"));
        result
    }

    fn counters(&self) -> LinkCounters {
        self.link.counters()
    }
}
