use crate::{Capabilities, Device, DeviceError, ImageId, RunOutcome, RunRequest, Telemetry};
use litecore_types::program::VerifiedProgram;
use std::sync::Arc;

/// A call at which a [`FaultyDevice`] fails, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultPoint {
    /// Which call: load, run, telemetry and park count together, from 0.
    pub call: u64,
    /// What the caller gets.
    pub error: DeviceError,
    /// Whether the device carries the call out all the same, as when only the answer is lost.
    pub carried_out: bool,
}

/// A device that fails where it is told to, for those who must cope with that.
pub struct FaultyDevice<D> {
    device: D,
    plan: Vec<FaultPoint>,
    calls: u64,
}

impl<D: Device> FaultyDevice<D> {
    /// `device`, failing at each point of `plan`.
    pub fn new(device: D, plan: Vec<FaultPoint>) -> Self {
        Self { device, plan, calls: 0 }
    }

    /// Calls so far.
    pub fn calls(&self) -> u64 {
        self.calls
    }

    fn call<T>(
        &mut self,
        call: impl FnOnce(&mut D) -> Result<T, DeviceError>,
    ) -> Result<T, DeviceError> {
        let number = self.calls;
        self.calls += 1;
        let Some(point) = self.plan.iter().find(|point| point.call == number) else {
            return call(&mut self.device);
        };
        if point.carried_out {
            let _unseen = call(&mut self.device);
        }
        Err(point.error.clone())
    }
}

impl<D: Device> Device for FaultyDevice<D> {
    fn capabilities(&self) -> &Capabilities {
        self.device.capabilities()
    }
    fn load(&mut self, program: Arc<VerifiedProgram>) -> Result<ImageId, DeviceError> {
        self.call(|device| device.load(program))
    }
    fn run(&mut self, request: &RunRequest<'_>) -> Result<RunOutcome, DeviceError> {
        self.call(|device| device.run(request))
    }
    fn telemetry(&mut self) -> Result<Telemetry, DeviceError> {
        self.call(D::telemetry)
    }
    fn park(&mut self) -> Result<(), DeviceError> {
        self.call(D::park)
    }
}
