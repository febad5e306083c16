use crate::CalibrationError;
use crate::fit::Fit;
use crate::known_tile::{KnownTile, one_tile, step_units};
use litecore_hal::{Device, RunRequest, SymbolTag};
use litecore_kernels::codes;
use litecore_types::Seed;
use litecore_types::chip::ChipDescription;
use litecore_types::program::VerifiedProgram;
use serde::Serialize;
use std::sync::Arc;

/// How well one array computes a known tile.
///
/// Errors are taken against the exact integer sum, so rounding to converter codes counts as error.
/// Signal-to-noise ratios are mean squares over mean squares; one without any error is infinite.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Probe {
    /// The chip model.
    pub chip: String,
    /// The chip instance.
    pub serial: String,
    /// Which array was measured.
    pub array: u16,
    /// Symbols measured.
    pub symbols: u64,
    /// What the codes were drawn from.
    pub seed: Seed,
    /// The gain: the converter's step is `2^shift` units of the exact sum.
    pub shift: u8,
    /// Mean-square sum over mean-square error, all outputs together.
    pub snr_rms_db: f64,
    /// The same for an ideal card, which errs by rounding and saturation alone.
    pub ideal_snr_rms_db: f64,
    /// Square of the largest possible sum over mean-square error. Large, as sums of random codes
    /// use little of the range: compare chips by `snr_rms_db`.
    pub snr_full_scale_db: f64,
    /// Root-mean-square error in units of the exact sum.
    pub error_rms_units: f64,
    /// Codes that are not those of an ideal card; zero if the device computes exactly.
    pub codes_off: u64,
    /// Each output, in column order.
    pub outputs: Vec<OutputProbe>,
}

/// How well one output computes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct OutputProbe {
    /// Slope of the measured sums over the exact ones; one is right.
    pub gain: f64,
    /// What is measured where the exact sum is zero, in units of the exact sum.
    pub offset_units: f64,
    /// Mean-square sum over mean-square error.
    pub snr_rms_db: f64,
    /// The same after gain and offset have been corrected for.
    pub corrected_snr_rms_db: f64,
}

/// Measures array 0 of a device; see [`probe_array`].
pub fn probe(
    device: &mut dyn Device,
    chip: &ChipDescription,
    symbols: usize,
    seed: Seed,
) -> Result<Probe, CalibrationError> {
    probe_array(device, chip, 0, symbols, seed)
}

/// Runs a tile of random codes on random inputs and compares with the exact sums.
///
/// The tile is an ordinary program. Symbols beyond what the card's memory holds go in further runs.
///
/// Errors: [`CalibrationError`].
pub fn probe_array(
    device: &mut dyn Device,
    chip: &ChipDescription,
    array: u16,
    symbols: usize,
    seed: Seed,
) -> Result<Probe, CalibrationError> {
    let capabilities = device.capabilities().clone();
    if symbols == 0 {
        return Err(CalibrationError::NoSymbols);
    }
    if capabilities.chip != chip.name {
        let described = chip.name.clone();
        return Err(CalibrationError::WrongChip { device: capabilities.chip, described });
    }
    if usize::from(array) >= chip.array.arrays {
        return Err(CalibrationError::NoSuchArray { array, arrays: chip.array.arrays });
    }
    let tile = KnownTile::random(chip, symbols, seed);
    let values = run(device, chip, array, &tile, seed)?;

    let (columns, step) = (chip.tile_outputs(), step_units(tile.shift));
    let mut outputs = vec![Fit::default(); columns];
    let (mut all, mut ideal, mut codes_off) = (Fit::default(), Fit::default(), 0);
    for (index, (&value, &sum)) in values.iter().zip(&tile.sums).enumerate() {
        let (symbol, output) = (index / columns, index % columns);
        let exact = f64::from(sum);
        let code = f64::from(value);
        if !is_code(code, chip) {
            return Err(CalibrationError::NotACode { symbol, output, value });
        }
        let ideal_code = f64::from(codes::requantise(sum, tile.shift, chip.adc.bits));
        outputs[output].add(exact, code * step);
        all.add(exact, code * step);
        ideal.add(exact, ideal_code * step);
        codes_off += u64::from((code - ideal_code).abs() > 0.5);
    }
    let limits = f64::from(chip.weight_limit()) * f64::from(chip.input_limit());
    Ok(Probe {
        chip: capabilities.chip,
        serial: capabilities.serial,
        array,
        symbols: symbols as u64,
        seed,
        shift: tile.shift,
        snr_rms_db: all.snr_rms_db(),
        ideal_snr_rms_db: ideal.snr_rms_db(),
        snr_full_scale_db: all.snr_full_scale_db(chip.tile_inputs() as f64 * limits),
        error_rms_units: all.mean_square_error().sqrt(),
        codes_off,
        outputs: outputs.iter().map(report).collect(),
    })
}

fn report(fit: &Fit) -> OutputProbe {
    let (gain, offset_units) = fit.gain_and_offset();
    OutputProbe {
        gain,
        offset_units,
        snr_rms_db: fit.snr_rms_db(),
        corrected_snr_rms_db: fit.corrected_snr_rms_db(),
    }
}

fn is_code(value: f64, chip: &ChipDescription) -> bool {
    let half_range = step_units(chip.adc.bits - 1);
    (-half_range..half_range).contains(&value) && (value - value.round_ties_even()).abs() < 1e-3
}

/// The codes the device gives for every symbol of the tile.
fn run(
    device: &mut dyn Device,
    chip: &ChipDescription,
    array: u16,
    tile: &KnownTile,
    seed: Seed,
) -> Result<Vec<f32>, CalibrationError> {
    let (inputs, columns) = (chip.tile_inputs(), chip.tile_outputs());
    let symbols = tile.x.len() / inputs;
    let one = one_tile(chip, array, tile.shift);
    let in_memory = usize::try_from(one.symbols_in_memory()).unwrap_or(usize::MAX);
    let per_run = symbols.min(in_memory.max(1));
    let program = one.program(tile.weights.clone(), per_run as u64);
    let program = VerifiedProgram::new(program, chip)
        .map_err(|violations| CalibrationError::DoesNotFit { violations })?;
    let image = device.load(Arc::new(program))?;
    let x: Vec<f32> = tile.x.iter().map(|&code| f32::from(code)).collect();
    // Tags from the seed: another seed is another measurement, also of the noise.
    let tags: Vec<SymbolTag> =
        (0..symbols as u64).map(|symbol| SymbolTag(seed.key("symbol", symbol))).collect();
    let mut values = Vec::with_capacity(symbols * columns);
    for (x, tags) in x.chunks(per_run * inputs).zip(tags.chunks(per_run)) {
        let outcome = device.run(&RunRequest { image, tags, inputs: x })?;
        let (given, expected) = (outcome.outputs.len(), tags.len() * columns);
        if given != expected {
            return Err(CalibrationError::OutputLength { given, expected });
        }
        values.extend(outcome.outputs);
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use litecore_hal::{Capabilities, DeviceError, FaultCode, ImageId, RunOutcome, Telemetry};
    use litecore_kernels::codes::NonFinite;
    use litecore_kernels::program::{
        Arithmetic, Converters, Reference, StreamCall, Workspace, execute,
    };
    use litecore_types::Cycles;
    use litecore_types::chip::builtin;

    /// A device of exact arithmetic whose columns have a known gain and offset.
    struct Skewed {
        capabilities: Capabilities,
        arithmetic: SkewedArithmetic,
        program: Option<Arc<VerifiedProgram>>,
        runs: Vec<usize>,
        spoil: fn(&mut Vec<f32>),
        fails: bool,
    }

    struct SkewedArithmetic {
        exact: Reference,
        adc_bits: u8,
        gain: f64,
        offset: f64,
    }

    impl SkewedArithmetic {
        /// Column j has gain `1 + j·gain` and offset `j·offset`.
        fn skew(&self, column: usize, sum: i32) -> i32 {
            let column = column as f64;
            #[allow(clippy::cast_possible_truncation, reason = "far inside the range")]
            let skewed = ((1.0 + column * self.gain) * f64::from(sum) + column * self.offset)
                .round_ties_even() as i32;
            skewed
        }
    }

    impl Arithmetic for SkewedArithmetic {
        fn quantise(&mut self, x: &[f32], codes: &mut [i8]) -> Result<f32, NonFinite> {
            self.exact.quantise(x, codes)
        }
        fn stream(&mut self, call: &StreamCall<'_>, out: &mut [i32]) {
            let mut sums = vec![0; out.len()];
            codes::tile_product_reference(
                call.weights,
                call.inputs,
                call.outputs,
                call.x,
                &mut sums,
            );
            for (index, (out, sum)) in out.iter_mut().zip(sums).enumerate() {
                let skewed = self.skew(index % call.outputs, sum);
                *out = codes::requantise(skewed, call.shift, self.adc_bits);
            }
        }
        fn dequantise(&mut self, p: &[i32], scale: f32, table: &[f32], out: &mut [f32]) {
            self.exact.dequantise(p, scale, table, out);
        }
        fn swiglu(&mut self, gate: &[f32], up: &[f32], out: &mut [f32]) {
            self.exact.swiglu(gate, up, out);
        }
        fn rotate(&mut self, x: &[f32], table: &[f32], block: usize, out: &mut [f32]) {
            self.exact.rotate(x, table, block, out);
        }
    }

    impl Device for Skewed {
        fn capabilities(&self) -> &Capabilities {
            &self.capabilities
        }
        fn load(&mut self, program: Arc<VerifiedProgram>) -> Result<ImageId, DeviceError> {
            self.program = Some(program);
            Ok(ImageId(3))
        }
        fn run(&mut self, request: &RunRequest<'_>) -> Result<RunOutcome, DeviceError> {
            if self.fails {
                return Err(DeviceError::Fault { code: FaultCode::ThermalTrip });
            }
            self.runs.push(request.tags.len());
            let program = self.program.as_ref().unwrap();
            let mut outputs = Vec::new();
            let inputs = request.inputs;
            let workspace = &mut Workspace::default();
            execute(program, &mut self.arithmetic, inputs, &mut outputs, workspace).unwrap();
            (self.spoil)(&mut outputs);
            Ok(RunOutcome { outputs, cycles: Cycles::ZERO, energy: None })
        }
        fn telemetry(&mut self) -> Result<Telemetry, DeviceError> {
            Ok(Telemetry::default())
        }
        fn park(&mut self) -> Result<(), DeviceError> {
            Ok(())
        }
    }

    fn skewed(chip: &ChipDescription, gain: f64, offset: f64) -> Skewed {
        Skewed {
            capabilities: Capabilities::of(chip, "fake-1".to_owned(), true),
            arithmetic: SkewedArithmetic {
                exact: Reference::new(Converters::of(chip)),
                adc_bits: chip.adc.bits,
                gain,
                offset,
            },
            program: None,
            runs: Vec::new(),
            spoil: |_| {},
            fails: false,
        }
    }

    #[test]
    fn an_exact_device_has_no_code_off_and_the_noise_of_rounding() {
        let chip = builtin("ref-64-eo").unwrap();
        let mut device = skewed(&chip, 0.0, 0.0);
        let found = probe(&mut device, &chip, 400, Seed(5)).unwrap();
        assert_eq!((found.codes_off, found.symbols, found.shift), (0, 400, 11));
        assert_eq!((found.chip.as_str(), found.serial.as_str()), ("ref-64-eo", "fake-1"));
        assert!((found.snr_rms_db - found.ideal_snr_rms_db).abs() < 1e-12);
        // 20 log10(61.3e3 / 2048) + 10.79 dB, less what clipping at 4.2 deviations costs.
        assert!((found.snr_rms_db - 40.3).abs() < 0.25, "{}", found.snr_rms_db);
        // The largest sum is sqrt(128) · 3 · (127/128) deviations: 30.5 dB above.
        let above = found.snr_full_scale_db - found.snr_rms_db;
        assert!((above - 30.5).abs() < 0.2, "{above}");
        assert!((found.error_rms_units / (2048.0 / 12.0_f64.sqrt()) - 1.0).abs() < 0.05);
    }

    #[test]
    fn gain_and_offset_of_each_output_are_found() {
        let chip = builtin("ref-64-eo").unwrap();
        let mut device = skewed(&chip, 0.001, 100.0);
        let found = probe(&mut device, &chip, 2000, Seed(5)).unwrap();
        assert_eq!(found.outputs.len(), 64);
        for (column, output) in found.outputs.iter().enumerate() {
            let column = column as f64;
            // Clipping takes up to half a part in a thousand, more where the gain is higher.
            let gain = 1.0 + 0.001 * column;
            assert!((output.gain - gain).abs() < 0.003, "{column}: gain {}", output.gain);
            let offset = 100.0 * column;
            assert!((output.offset_units - offset).abs() < 120.0, "{}", output.offset_units);
            assert!(output.corrected_snr_rms_db > 37.0, "{}", output.corrected_snr_rms_db);
        }
        // The last column errs by 6.3 % and 6300 units of some 61e3: 24 and 19.8 dB, 18.4 together.
        assert!(
            (found.outputs[63].snr_rms_db - 18.4).abs() < 0.6,
            "{}",
            found.outputs[63].snr_rms_db
        );
        assert!(found.snr_rms_db < found.ideal_snr_rms_db - 10.0);
        assert!(found.codes_off > 0);
    }

    #[test]
    fn symbols_beyond_the_memory_go_in_further_runs() {
        let mut chip = builtin("tiny-4").unwrap();
        chip.memory.sram_bytes = 1024;
        // 32 + 8 + 4 + 16 + 16 bytes a symbol: 13 fit.
        let mut device = skewed(&chip, 0.0, 0.0);
        let found = probe(&mut device, &chip, 30, Seed(1)).unwrap();
        assert_eq!(device.runs, [13, 13, 4]);
        assert_eq!((found.symbols, found.codes_off), (30, 0));
    }

    #[test]
    fn each_failure_is_named() {
        let chip = builtin("tiny-4").unwrap();
        let mut device = skewed(&chip, 0.0, 0.0);
        let mut fail = |change: fn(&mut Skewed), array, symbols| {
            change(&mut device);
            probe_array(&mut device, &chip, array, symbols, Seed(1)).unwrap_err()
        };
        assert_eq!(fail(|_| {}, 0, 0), CalibrationError::NoSymbols);
        let error = fail(|_| {}, 1, 9);
        assert_eq!(error, CalibrationError::NoSuchArray { array: 1, arrays: 1 });
        assert_eq!(error.to_string(), "there is no array 1: the card has 1, counted from 0");
        let error = fail(|device| device.spoil = |outputs| _ = outputs.pop(), 0, 9);
        assert_eq!(error, CalibrationError::OutputLength { given: 35, expected: 36 });
        let error = fail(|device| device.spoil = |outputs| outputs[7] = 0.5, 0, 9);
        assert_eq!(error, CalibrationError::NotACode { symbol: 1, output: 3, value: 0.5 });
        let error = fail(|device| device.spoil = |outputs| outputs[7] = f32::NAN, 0, 9);
        assert!(matches!(error, CalibrationError::NotACode { symbol: 1, output: 3, .. }));
        let error = fail(|device| device.fails = true, 0, 9);
        let fault = DeviceError::Fault { code: FaultCode::ThermalTrip };
        assert_eq!(error, CalibrationError::Device(fault));
        let other = builtin("ref-64-eo").unwrap();
        let error = probe(&mut device, &other, 9, Seed(1)).unwrap_err();
        assert!(matches!(error, CalibrationError::WrongChip { .. }));
        let mut cramped = chip.clone();
        cramped.memory.sram_bytes = 64;
        let error = probe(&mut device, &cramped, 9, Seed(1)).unwrap_err();
        assert!(matches!(error, CalibrationError::DoesNotFit { .. }), "{error}");
    }
}
