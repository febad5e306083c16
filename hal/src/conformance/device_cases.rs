use super::{Case, Check, Failure, Setup, Workload, must, must_be, must_refuse};
use crate::{Device, DeviceError, ImageId, Remedy, RunOutcome, RunRequest, SymbolTag};
use litecore_types::program::VerifiedProgram;
use std::sync::Arc;

pub(super) static CASES: [Case; 13] = [
    case("identity", "it is the chip it should be", identity),
    case("load_names", "every load gives an image of its own, of the same program too", load_names),
    case("run_one_tile", "one tile's outputs are what the program computes", run_one_tile),
    case("run_many_tiles", "a long program on many symbols gives what it computes", run_many_tiles),
    case("run_nothing", "a run without symbols has no outputs", run_nothing),
    case("batching", "symbols give the same in any batch", batching),
    case("energy", "where a run reports energy, no part of it is negative or not finite", energy),
    case("refuse_image", "an image it never gave out is refused", refuse_image),
    case("refuse_inputs", "inputs of another length are refused", refuse_inputs),
    case("refuse_symbols", "more symbols than the program takes are refused", refuse_symbols),
    case("refuse_nan", "inputs that are no numbers are refused, naming the symbol", refuse_nan),
    case("refuse_program", "programs for other chips and against the rules are refused", programs),
    case("park", "it parks, says so, and the next run wakes it", park),
];

const fn case(
    name: &'static str,
    about: &'static str,
    check: fn(&mut dyn Device, &Setup) -> Result<(), Failure>,
) -> Case {
    Case { name, about, check: Check::Device(check) }
}

fn identity(device: &mut dyn Device, setup: &Setup) -> Result<(), Failure> {
    let its = device.capabilities();
    let chip = &setup.chip;
    must_be("the same chip name", u64::from(its.chip == chip.name), 1)?;
    must_be("rows", its.rows as u64, chip.array.inputs as u64)?;
    must_be("columns", its.columns as u64, chip.array.outputs as u64)?;
    must_be("arrays", its.arrays as u64, chip.array.arrays as u64)?;
    must_be("banks", its.banks as u64, chip.array.banks as u64)?;
    must_be("card memory", its.sram_bytes, chip.memory.sram_bytes)?;
    must_be("an empty serial text", u64::from(its.serial.is_empty()), 0)
}

fn load_names(device: &mut dyn Device, setup: &Setup) -> Result<(), Failure> {
    let first = load(device, &setup.small)?;
    let second = load(device, &setup.small)?;
    must_be("two loads with the same name", u64::from(first == second), 0)?;
    for image in [second, first] {
        let outcome = run(device, image, &setup.small)?;
        check_outputs(&outcome.outputs, &setup.small, setup)?;
    }
    Ok(())
}

fn run_one_tile(device: &mut dyn Device, setup: &Setup) -> Result<(), Failure> {
    let image = load(device, &setup.small)?;
    let outcome = run(device, image, &setup.small)?;
    must_be("a run without cycles", u64::from(outcome.cycles.0 == 0), 0)?;
    check_outputs(&outcome.outputs, &setup.small, setup)
}

fn run_many_tiles(device: &mut dyn Device, setup: &Setup) -> Result<(), Failure> {
    let image = load(device, &setup.large)?;
    let outcome = run(device, image, &setup.large)?;
    check_outputs(&outcome.outputs, &setup.large, setup)
}

fn run_nothing(device: &mut dyn Device, setup: &Setup) -> Result<(), Failure> {
    let image = load(device, &setup.small)?;
    let outcome =
        must("running on nothing", device.run(&RunRequest { image, tags: &[], inputs: &[] }))?;
    must_be("outputs of nothing", outcome.outputs.len() as u64, 0)
}

fn batching(device: &mut dyn Device, setup: &Setup) -> Result<(), Failure> {
    let work = &setup.small;
    let image = load(device, work)?;
    let whole = run(device, image, work)?.outputs;
    let (inputs, outputs) = (work.input_len(), work.output_len());
    for (symbol, tag) in work.tags.iter().enumerate().rev() {
        let vector = &work.inputs[symbol * inputs..][..inputs];
        let request = RunRequest { image, tags: &[*tag], inputs: vector };
        let alone = must("running one symbol", device.run(&request))?.outputs;
        let among = &whole[symbol * outputs..][..outputs];
        if setup.exact || setup.repeatable {
            compare(&alone, among, 0.0)?;
        }
    }
    Ok(())
}

fn energy(device: &mut dyn Device, setup: &Setup) -> Result<(), Failure> {
    let image = load(device, &setup.small)?;
    let Some(ledger) = run(device, image, &setup.small)?.energy else { return Ok(()) };
    for (_, joules) in ledger.parts() {
        let sound = joules.is_finite() && joules >= 0.0;
        if !sound {
            return Err(Failure::Wrong {
                what: "a part of the energy",
                found: joules,
                expected: 0.0,
            });
        }
    }
    Ok(())
}

fn refuse_image(device: &mut dyn Device, setup: &Setup) -> Result<(), Failure> {
    let loaded = load(device, &setup.small)?;
    let image = ImageId(u64::MAX - 7);
    let request = RunRequest { image, tags: &[], inputs: &[] };
    must_refuse("an unknown image", device.run(&request), |error| {
        *error == DeviceError::NoSuchImage { image }
    })?;
    still_runs(device, loaded, setup)
}

fn refuse_inputs(device: &mut dyn Device, setup: &Setup) -> Result<(), Failure> {
    let image = load(device, &setup.small)?;
    let vector = setup.small.input_len();
    let inputs = vec![1.0; 2 * vector - 1];
    let request = RunRequest { image, tags: &[SymbolTag(0), SymbolTag(1)], inputs: &inputs };
    must_refuse("inputs of another length", device.run(&request), |error| {
        *error == DeviceError::InputLength { given: 2 * vector - 1, symbols: 2, vector }
    })?;
    still_runs(device, image, setup)
}

fn refuse_symbols(device: &mut dyn Device, setup: &Setup) -> Result<(), Failure> {
    let image = load(device, &setup.small)?;
    let most = setup.small.program.symbols_max;
    let given = usize::try_from(most).unwrap_or(usize::MAX - 1) + 1;
    let tags: Vec<_> = (0..given as u64).map(SymbolTag).collect();
    let inputs = vec![1.0; given * setup.small.input_len()];
    let request = RunRequest { image, tags: &tags, inputs: &inputs };
    must_refuse("more symbols than the program takes", device.run(&request), |error| {
        *error == DeviceError::TooManySymbols { given, most }
    })?;
    still_runs(device, image, setup)
}

fn refuse_nan(device: &mut dyn Device, setup: &Setup) -> Result<(), Failure> {
    let image = load(device, &setup.small)?;
    for poison in [f32::NAN, f32::INFINITY] {
        let mut inputs = setup.small.inputs.clone();
        let symbol = setup.small.tags.len() - 2;
        inputs[symbol * setup.small.input_len() + 1] = poison;
        let request = RunRequest { image, tags: &setup.small.tags, inputs: &inputs };
        must_refuse("a NaN or an infinity", device.run(&request), |error| {
            *error == DeviceError::NonFiniteInput { symbol }
        })?;
    }
    still_runs(device, image, setup)
}

fn programs(device: &mut dyn Device, setup: &Setup) -> Result<(), Failure> {
    let loaded = load(device, &setup.small)?;
    let mut other = setup.chip.clone();
    other.name.push_str("-of-another-make");
    let foreign = verified(&setup.small, &other, |_| {});
    must_refuse("a program for another chip", foreign.and_then(|p| device.load(p)), |error| {
        error.remedy() == Remedy::Reject
    })?;
    // Sound for a chip of the same name with more memory, but not for this one.
    let mut larger = setup.chip.clone();
    larger.memory.sram_bytes = larger.memory.sram_bytes.saturating_mul(4);
    let beyond = setup.chip.memory.sram_bytes;
    let unfit = verified(&setup.small, &larger, |program| {
        if let Some(buffer) = program.buffers.last_mut() {
            buffer.address = beyond;
        }
    });
    must_refuse(
        "a program beyond the card's memory",
        unfit.and_then(|p| device.load(p)),
        |error| error.remedy() == Remedy::Reject,
    )?;
    still_runs(device, loaded, setup)
}

fn park(device: &mut dyn Device, setup: &Setup) -> Result<(), Failure> {
    let image = load(device, &setup.small)?;
    let before = must("asking how it is", device.telemetry())?;
    must("parking", device.park())?;
    must("parking twice", device.park())?;
    let parked = must("asking how it is", device.telemetry())?;
    must_be("parked", u64::from(parked.parked), 1)?;
    still_runs(device, image, setup)?;
    let after = must("asking how it is", device.telemetry())?;
    must_be("parked after a run", u64::from(after.parked), 0)?;
    must_be("runs since", after.runs - before.runs, 1)?;
    must_be("symbols since", after.symbols - before.symbols, setup.small.tags.len() as u64)
}

/// The same program for another chip, changed.
fn verified(
    work: &Workload,
    chip: &litecore_types::chip::ChipDescription,
    change: impl FnOnce(&mut litecore_types::program::Program),
) -> Result<Arc<VerifiedProgram>, DeviceError> {
    let mut program = (**work.program).clone();
    program.chip.clone_from(&chip.name);
    change(&mut program);
    VerifiedProgram::new(program, chip)
        .map(Arc::new)
        .map_err(|violations| DeviceError::ProgramRefused { violations })
}

fn load(device: &mut dyn Device, work: &Workload) -> Result<ImageId, Failure> {
    must("loading a program", device.load(Arc::clone(&work.program)))
}

fn run(device: &mut dyn Device, image: ImageId, work: &Workload) -> Result<RunOutcome, Failure> {
    must("running", device.run(&RunRequest { image, tags: &work.tags, inputs: &work.inputs }))
}

fn still_runs(device: &mut dyn Device, image: ImageId, setup: &Setup) -> Result<(), Failure> {
    check_outputs(&run(device, image, &setup.small)?.outputs, &setup.small, setup)
}

fn check_outputs(outputs: &[f32], work: &Workload, setup: &Setup) -> Result<(), Failure> {
    // *Assumed*: a card whose errors are beyond an eighth of its range is broken, not noisy.
    let tolerance = if setup.exact { 0.0 } else { work.full_scale / 8.0 };
    compare(outputs, &work.expected, tolerance)
}

fn compare(outputs: &[f32], expected: &[f32], tolerance: f32) -> Result<(), Failure> {
    must_be("the number of outputs", outputs.len() as u64, expected.len() as u64)?;
    for (index, (&found, &expected)) in outputs.iter().zip(expected).enumerate() {
        // A NaN is within no distance of anything.
        let is_near = (found - expected).abs() <= tolerance;
        if !is_near {
            return Err(Failure::Output { index, found, expected, tolerance });
        }
    }
    Ok(())
}
