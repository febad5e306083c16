use crate::{
    Capabilities, CardDevice, Deadline, Device, DeviceError, ImageId, RunOutcome, RunRequest,
    SymbolTag, Telemetry,
};
use litecore_types::program::VerifiedProgram;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

/// A device on a thread of its own, so that no call lasts longer than its budget, even where the
/// kernel holds the device's thread up: a serial port that drains on closing, a USB device that
/// has died.
///
/// Costs a copy of the inputs and two changes of thread a call. When it goes, it waits for as long as
/// its budget that the device is closed.
pub struct OwnedDevice {
    capabilities: Capabilities,
    /// Taken when it goes.
    calls: Option<Sender<Call>>,
    /// Never sent to: it ends when the owner has closed the device.
    closed: Receiver<()>,
    budget: Duration,
    /// The device's own deadline, where it has one: the budget then counts from there.
    promise: Promise,
    /// A call that ran out of its budget; the device is busy until it has ended.
    late: Option<Receiver<()>>,
}

/// When a device that is at work will have answered, by its own reckoning.
#[derive(Clone, Debug, Default)]
pub(crate) struct Promise {
    /// Nanoseconds since a moment of this process; 0 where nothing was promised yet.
    at: Arc<AtomicU64>,
}

impl Promise {
    /// Promises an answer by `deadline`, whatever was promised before.
    pub(crate) fn give(&self, deadline: Deadline) {
        let at = origin().elapsed().saturating_add(deadline.left());
        self.at.store(u64::try_from(at.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How long from now; zero where the time is over.
    fn left(&self) -> Duration {
        let at = Duration::from_nanos(self.at.load(Ordering::Relaxed));
        at.saturating_sub(origin().elapsed())
    }
}

fn origin() -> Instant {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    *ORIGIN.get_or_init(Instant::now)
}

/// What a card may be late, beyond its own deadlines, before its owner is taken to be held up. Source:
/// *assumed*, long against what a busy machine lets a thread wait.
const GRACE: Duration = Duration::from_secs(1);

enum Call {
    Load(Arc<VerifiedProgram>, Answer<ImageId>),
    Run(ImageId, Vec<SymbolTag>, Vec<f32>, Answer<RunOutcome>),
    Telemetry(Answer<Telemetry>),
    Park(Answer<()>),
}

struct Answer<T> {
    result: Sender<Result<T, DeviceError>>,
    /// Dropped when the call has ended.
    ended: Sender<()>,
}

impl OwnedDevice {
    /// Moves `device` to a thread of its own; no call lasts longer than `budget`, which is more
    /// than the device's own deadlines.
    ///
    /// Errors: the system's, where it has no thread to give.
    pub fn new<D: Device + 'static>(device: D, budget: Duration) -> io::Result<Self> {
        Self::with_promise(device, budget, Promise::default())
    }

    /// Moves a card to a thread of its own; no call lasts longer than the card's own deadlines and
    /// one second.
    ///
    /// Errors: the system's, where it has no thread to give.
    pub fn of_card(card: CardDevice) -> io::Result<Self> {
        let promise = card.promise();
        Self::with_promise(card, GRACE, promise)
    }

    fn with_promise<D: Device + 'static>(
        mut device: D,
        budget: Duration,
        promise: Promise,
    ) -> io::Result<Self> {
        let capabilities = device.capabilities().clone();
        let (calls, queue) = mpsc::channel();
        let (closing, closed) = mpsc::channel();
        thread::Builder::new().name("card-owner".to_owned()).spawn(move || {
            for call in queue {
                carry_out(&mut device, call);
            }
            drop(device);
            drop(closing);
        })?;
        Ok(Self { capabilities, calls: Some(calls), closed, budget, promise, late: None })
    }

    fn call<T>(&mut self, make: impl FnOnce(Answer<T>) -> Call) -> Result<T, DeviceError> {
        let began = Instant::now();
        if let Some(ended) = self.late.take()
            && ended.recv_timeout(self.budget) == Err(RecvTimeoutError::Timeout)
        {
            self.late = Some(ended);
            return Err(timed_out(began));
        }
        let (result, answer) = mpsc::channel();
        let (ended, end) = mpsc::channel();
        let calls = self.calls.as_ref().ok_or(DeviceError::LinkLost)?;
        calls.send(make(Answer { result, ended })).map_err(|_| DeviceError::LinkLost)?;
        let mut wait = self.budget;
        loop {
            match answer.recv_timeout(wait) {
                Ok(result) => return result,
                Err(RecvTimeoutError::Disconnected) => return Err(DeviceError::LinkLost),
                Err(RecvTimeoutError::Timeout) => {}
            }
            // The device may have promised an answer since, for each part of its work anew.
            let left = self.promise.left();
            if left.is_zero() {
                self.late = Some(end);
                return Err(timed_out(began));
            }
            wait = left.saturating_add(self.budget);
        }
    }
}

fn timed_out(began: Instant) -> DeviceError {
    let waited_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    DeviceError::TimedOut { waited_ms }
}

impl Drop for OwnedDevice {
    fn drop(&mut self) {
        self.calls = None;
        // The next user of the same card finds it free, unless its owner is held up.
        let _ = self.closed.recv_timeout(self.budget);
    }
}

fn carry_out(device: &mut dyn Device, call: Call) {
    // Whoever asked may have given up; then nobody hears the answer.
    match call {
        Call::Load(program, answer) => answer.give(device.load(program)),
        Call::Run(image, tags, inputs, answer) => {
            answer.give(device.run(&RunRequest { image, tags: &tags, inputs: &inputs }));
        }
        Call::Telemetry(answer) => answer.give(device.telemetry()),
        Call::Park(answer) => answer.give(device.park()),
    }
}

impl<T> Answer<T> {
    fn give(self, result: Result<T, DeviceError>) {
        let _ = self.result.send(result);
        drop(self.ended);
    }
}

impl Device for OwnedDevice {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }
    fn load(&mut self, program: Arc<VerifiedProgram>) -> Result<ImageId, DeviceError> {
        self.call(|answer| Call::Load(program, answer))
    }
    fn run(&mut self, request: &RunRequest<'_>) -> Result<RunOutcome, DeviceError> {
        let (tags, inputs) = (request.tags.to_vec(), request.inputs.to_vec());
        self.call(|answer| Call::Run(request.image, tags, inputs, answer))
    }
    fn telemetry(&mut self) -> Result<Telemetry, DeviceError> {
        self.call(Call::Telemetry)
    }
    fn park(&mut self) -> Result<(), DeviceError> {
        self.call(Call::Park)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use litecore_types::Cycles;
    use litecore_types::chip::builtin;
    use std::time::Instant;

    /// Parks as long as it is told to, the first time only.
    struct Slow {
        capabilities: Capabilities,
        first: Duration,
        /// What is held while the device is open.
        #[expect(dead_code, reason = "dropped with the device")]
        held: Arc<()>,
    }

    impl Device for Slow {
        fn capabilities(&self) -> &Capabilities {
            &self.capabilities
        }
        fn load(&mut self, _: Arc<VerifiedProgram>) -> Result<ImageId, DeviceError> {
            Ok(ImageId(0))
        }
        fn run(&mut self, request: &RunRequest<'_>) -> Result<RunOutcome, DeviceError> {
            let outputs = request.inputs.iter().rev().copied().collect();
            Ok(RunOutcome { outputs, cycles: Cycles(request.tags[0].0), energy: None })
        }
        fn telemetry(&mut self) -> Result<Telemetry, DeviceError> {
            Err(DeviceError::LinkLost)
        }
        fn park(&mut self) -> Result<(), DeviceError> {
            thread::sleep(std::mem::take(&mut self.first));
            Ok(())
        }
    }

    fn owned(first_ms: u64, budget_ms: u64) -> OwnedDevice {
        let chip = builtin("tiny-4").unwrap();
        let capabilities = Capabilities::of(&chip, "slow".to_owned(), true);
        let (first, held) = (Duration::from_millis(first_ms), Arc::new(()));
        let device = Slow { capabilities, first, held };
        OwnedDevice::new(device, Duration::from_millis(budget_ms)).unwrap()
    }

    #[test]
    fn calls_and_answers_cross_the_threads() {
        let mut device = owned(0, 1000);
        assert_eq!(device.capabilities().serial, "slow");
        let request =
            RunRequest { image: ImageId(0), tags: &[SymbolTag(9)], inputs: &[1.0, 2.0, 3.0] };
        let outcome = device.run(&request).unwrap();
        assert_eq!((outcome.outputs, outcome.cycles), (vec![3.0, 2.0, 1.0], Cycles(9)));
        assert_eq!(device.telemetry(), Err(DeviceError::LinkLost));
    }

    #[test]
    fn a_device_that_hangs_holds_nobody_up_and_is_used_again_when_it_has_come_to() {
        let mut device = owned(300, 40);
        let began = Instant::now();
        let waited = |result| match result {
            Err(DeviceError::TimedOut { waited_ms }) => (40..120).contains(&waited_ms),
            _ => false,
        };
        assert!(waited(device.park()));
        assert!(waited(device.park()), "still at it");
        assert!(began.elapsed() < Duration::from_millis(250), "{:?}", began.elapsed());
        thread::sleep(Duration::from_millis(300));
        assert_eq!(device.park(), Ok(()));
    }

    #[test]
    fn a_device_that_promises_an_answer_later_gets_the_time() {
        let chip = builtin("tiny-4").unwrap();
        let capabilities = Capabilities::of(&chip, "slow".to_owned(), true);
        let (first, held) = (Duration::from_millis(150), Arc::new(()));
        let device = Slow { capabilities, first, held };
        let promise = Promise::default();
        promise.give(Deadline::after(Duration::from_millis(400)));
        let mut device =
            OwnedDevice::with_promise(device, Duration::from_millis(20), promise).unwrap();
        assert_eq!(device.park(), Ok(()), "150 ms, past the budget, before the promise");
    }

    #[test]
    fn a_device_is_closed_when_its_owner_has_gone() {
        let chip = builtin("tiny-4").unwrap();
        let capabilities = Capabilities::of(&chip, "slow".to_owned(), true);
        let (first, held) = (Duration::ZERO, Arc::new(()));
        let open = Arc::downgrade(&held);
        let device = Slow { capabilities, first, held };
        let mut device = OwnedDevice::new(device, Duration::from_secs(5)).unwrap();
        assert_eq!(device.park(), Ok(()));
        assert!(open.upgrade().is_some());
        drop(device);
        assert!(open.upgrade().is_none(), "closed before the next user comes");
    }
}
