//! Wrappers around a device that computes by hand.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers as well")]

use litecore_hal::conformance::Workload;
use litecore_hal::wrappers::{FaultPoint, FaultyDevice, Recorder, Replayer, Tracer};
use litecore_hal::{
    Capabilities, Device, DeviceError, FaultCode, ImageId, RunOutcome, RunRequest, SymbolTag,
    Telemetry,
};
use litecore_types::chip::builtin;
use litecore_types::program::VerifiedProgram;
use litecore_types::{Component, Cycles, EnergyLedger};
use std::sync::Arc;
use std::time::Duration;

/// Gives each input back, a third of it, and counts.
struct Thirds {
    capabilities: Capabilities,
    done: Telemetry,
}

fn thirds() -> Thirds {
    let chip = builtin("tiny-4").unwrap();
    let capabilities = Capabilities::of(&chip, "thirds-1".to_owned(), true);
    Thirds { capabilities, done: Telemetry::default() }
}

impl Device for Thirds {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }
    fn load(&mut self, _: Arc<VerifiedProgram>) -> Result<ImageId, DeviceError> {
        self.done.images += 1;
        Ok(ImageId(self.done.images - 1))
    }
    fn run(&mut self, request: &RunRequest<'_>) -> Result<RunOutcome, DeviceError> {
        if request.image.0 >= self.done.images {
            return Err(DeviceError::NoSuchImage { image: request.image });
        }
        if request.inputs.first() == Some(&666.0) {
            return Err(DeviceError::Fault { code: FaultCode::ThermalTrip });
        }
        self.done.runs += 1;
        let mut ledger = EnergyLedger::default();
        ledger.charge(Component::Laser, 1.0 / 3.0);
        ledger.charge(Component::HostLink, 1e-300);
        let energy = (request.tags.len() != 2).then_some(ledger);
        let outputs = request.inputs.iter().map(|x| x / 3.0).collect();
        Ok(RunOutcome { outputs, cycles: Cycles(40 + self.done.runs), energy })
    }
    fn telemetry(&mut self) -> Result<Telemetry, DeviceError> {
        Ok(Telemetry { temperature_c: Some(0.1 + 0.2), ..self.done.clone() })
    }
    fn park(&mut self) -> Result<(), DeviceError> {
        self.done.parked = true;
        Ok(())
    }
}

fn program() -> Arc<VerifiedProgram> {
    Workload::new(&builtin("tiny-4").unwrap(), 1, 2, 3).unwrap().program
}

/// A few calls, with all they answered.
fn use_it(device: &mut dyn Device) -> Vec<String> {
    let tags = [SymbolTag(1), SymbolTag(u64::MAX)];
    let image = device.load(program()).unwrap();
    let run = |device: &mut dyn Device, image, tags: &[_], inputs: &[f32]| {
        format!("{:?}", device.run(&RunRequest { image, tags, inputs }))
    };
    vec![
        run(device, image, &tags, &[1.0, -0.0, f32::MIN_POSITIVE]),
        run(device, image, &tags[..1], &[1e10]),
        run(device, image, &[], &[]),
        run(device, image, &tags, &[666.0]),
        run(device, ImageId(9), &tags, &[1.0]),
        format!("{:?}", device.telemetry()),
        format!("{:?}", device.park()),
        format!("{:?}", device.telemetry()),
    ]
}

fn record() -> (Vec<String>, String) {
    let mut recorder = Recorder::new(thirds(), Vec::new());
    let answers = use_it(&mut recorder);
    assert_eq!(recorder.lines_lost(), 0);
    (answers, String::from_utf8(recorder.into_parts().1).unwrap())
}

#[test]
fn a_record_replays_bit_for_bit() {
    let (answers, text) = record();
    let mut replayer: Replayer = text.parse().unwrap();
    assert_eq!(replayer.capabilities(), thirds().capabilities());
    assert_eq!(replayer.calls_left(), answers.len() + 1);
    assert_eq!(use_it(&mut replayer), answers);
    assert_eq!(replayer.calls_left(), 0);
    let error = replayer.park().unwrap_err();
    assert_eq!(error, DeviceError::NotRecorded { recorded: "nothing more", asked: "park" });
}

#[test]
fn a_record_has_the_form_that_is_documented() {
    let (_, text) = record();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0], "litecore-record 1");
    assert!(lines[1].starts_with("device chip=tiny-4 serial=thirds-1 rows=4 columns=4 "));
    assert!(lines[2].starts_with("load ") && lines[2].ends_with(" ok 0"), "{}", lines[2]);
    // 1/3, -0 and the least normal number's third, as bits; two symbols have no energy here.
    assert!(lines[3].ends_with(" ok 41 - 3eaaaaab80000000002aaaab"), "{}", lines[3]);
    assert!(lines[4].contains(" ok 42 laser=3fd5555555555555,host_link="), "{}", lines[4]);
    assert!(lines[6].ends_with(" error fault 513"), "{}", lines[6]);
    assert!(lines[7].ends_with(" error no_such_image 9"), "{}", lines[7]);
    assert_eq!(lines[9], "park ok");
}

#[test]
fn a_replay_takes_no_other_call_than_the_recorded_one() {
    let (_, text) = record();
    let mut replayer: Replayer = text.parse().unwrap();
    let error = replayer.park().unwrap_err();
    assert_eq!(error, DeviceError::NotRecorded { recorded: "load", asked: "park" });
    let image = replayer.load(program()).unwrap();
    let tags = [SymbolTag(1), SymbolTag(2)];
    let other = RunRequest { image, tags: &tags, inputs: &[1.0, -0.0, f32::MIN_POSITIVE] };
    let error = replayer.run(&other).unwrap_err();
    assert_eq!(error, DeviceError::NotRecorded { recorded: "another request", asked: "run" });
}

#[test]
fn what_is_no_record_is_refused_with_its_line() {
    let (_, text) = record();
    for (from, to, line) in [
        ("litecore-record 1", "litecore-record 9", 1),
        ("device chip", "device chop", 2),
        ("load ", "lode ", 3),
        (" ok 0", " ok zero", 3),
        ("fault 513", "fault hot", 7),
        ("park ok", "park perhaps", 10),
    ] {
        let changed = text.replacen(from, to, 1);
        let error = changed.parse::<Replayer>().err().unwrap();
        assert_eq!(error.line, line, "{to}: {error}");
    }
}

#[test]
fn a_trace_can_be_read() {
    let mut ticks = 0_u64;
    let clock = Box::new(move || {
        ticks += 250;
        Duration::from_micros(ticks)
    });
    let mut tracer = Tracer::with_clock(thirds(), Vec::new(), clock);
    let image = tracer.load(program()).unwrap();
    let tags = [SymbolTag(0)];
    tracer.run(&RunRequest { image, tags: &tags, inputs: &[3.0, 6.0] }).unwrap();
    tracer.run(&RunRequest { image: ImageId(4), tags: &tags, inputs: &[] }).unwrap_err();
    tracer.park().unwrap();
    tracer.telemetry().unwrap();
    let text = String::from_utf8(tracer.into_parts().1).unwrap();
    let expected = "    0.000250  load       \"conformance\", 1 tiles, 32 weight bytes -> image 0  in 0.250 ms
    0.000750  run        image 0, 1 symbols -> 2 numbers, 41 cycles  in 0.250 ms
    0.001250  run        image 4, 1 symbols -> image 4 is not loaded on this device: load the program first (Reject)  in 0.250 ms
    0.001750  park       -> at rest  in 0.250 ms
    0.002250  telemetry  -> 1 images, 1 runs, 0 symbols, parked  in 0.250 ms
";
    assert_eq!(text, expected);
}

#[test]
fn a_faulty_device_fails_where_it_is_told_to_and_nowhere_else() {
    let lost = FaultPoint { call: 1, error: DeviceError::LinkLost, carried_out: false };
    let late = DeviceError::TimedOut { waited_ms: 7 };
    let unheard = FaultPoint { call: 2, error: late.clone(), carried_out: true };
    let mut device = FaultyDevice::new(thirds(), vec![lost, unheard]);
    let image = device.load(program()).unwrap();
    let request = RunRequest { image, tags: &[SymbolTag(0)], inputs: &[3.0] };
    assert_eq!(device.run(&request), Err(DeviceError::LinkLost));
    assert_eq!(device.run(&request), Err(late));
    assert_eq!(device.run(&request).unwrap().cycles, Cycles(42), "the run before was carried out");
    assert_eq!(device.calls(), 4);
}
