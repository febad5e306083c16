use crate::{
    Capabilities, Device, DeviceError, ImageId, RunOutcome, RunRequest, SymbolTag, Telemetry,
};
use litecore_types::program::VerifiedProgram;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

/// A device on a thread of its own, so that no call lasts longer than its budget, even where the
/// kernel holds the device's thread up: a serial port that drains on closing, a USB device that
/// has died.
///
/// Costs a copy of the inputs and two changes of thread a call; use it for slow links.
pub struct OwnedDevice {
    capabilities: Capabilities,
    calls: Sender<Call>,
    budget: Duration,
    /// A call that ran out of its budget; the device is busy until it has ended.
    late: Option<Receiver<()>>,
}

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
    pub fn new<D: Device + 'static>(mut device: D, budget: Duration) -> io::Result<Self> {
        let capabilities = device.capabilities().clone();
        let (calls, queue) = mpsc::channel();
        thread::Builder::new().name("card-owner".to_owned()).spawn(move || {
            for call in queue {
                carry_out(&mut device, call);
            }
        })?;
        Ok(Self { capabilities, calls, budget, late: None })
    }

    fn call<T>(&mut self, make: impl FnOnce(Answer<T>) -> Call) -> Result<T, DeviceError> {
        let timed_out = || DeviceError::TimedOut {
            waited_ms: u64::try_from(self.budget.as_millis()).unwrap_or(u64::MAX),
        };
        if let Some(ended) = self.late.take()
            && ended.recv_timeout(self.budget) == Err(RecvTimeoutError::Timeout)
        {
            let error = timed_out();
            self.late = Some(ended);
            return Err(error);
        }
        let (result, answer) = mpsc::channel();
        let (ended, end) = mpsc::channel();
        self.calls.send(make(Answer { result, ended })).map_err(|_| DeviceError::LinkLost)?;
        match answer.recv_timeout(self.budget) {
            Ok(result) => result,
            Err(RecvTimeoutError::Timeout) => {
                let error = timed_out();
                self.late = Some(end);
                Err(error)
            }
            Err(RecvTimeoutError::Disconnected) => Err(DeviceError::LinkLost),
        }
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
        let device = Slow { capabilities, first: Duration::from_millis(first_ms) };
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
        assert_eq!(device.park(), Err(DeviceError::TimedOut { waited_ms: 40 }));
        assert_eq!(device.park(), Err(DeviceError::TimedOut { waited_ms: 40 }), "still at it");
        assert!(began.elapsed() < Duration::from_millis(250), "{:?}", began.elapsed());
        thread::sleep(Duration::from_millis(300));
        assert_eq!(device.park(), Ok(()));
    }
}
