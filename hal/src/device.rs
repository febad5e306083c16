use crate::DeviceError;
use litecore_types::chip::ChipDescription;
use litecore_types::program::VerifiedProgram;
use litecore_types::{Cycles, EnergyLedger};
use std::fmt;
use std::sync::Arc;

/// A card with one or more photonic arrays, or what stands in for one.
///
/// Order: [`Device::load`] a program once, then [`Device::run`] it any number of times. A failed
/// call leaves the loaded images as they were. One thread owns the device.
pub trait Device: Send {
    /// What the device says about itself; the same for as long as it is open.
    fn capabilities(&self) -> &Capabilities;

    /// Takes a program into the device and names it.
    ///
    /// Loading the same program again gives a new image. Images live as long as the device.
    ///
    /// Errors: [`DeviceError::WrongChip`], [`DeviceError::ProgramRefused`],
    /// [`DeviceError::Fault`].
    fn load(&mut self, program: Arc<VerifiedProgram>) -> Result<ImageId, DeviceError>;

    /// Runs an image on all symbols of the request.
    ///
    /// A request without symbols is carried out: it has no outputs and takes the cycles that the
    /// program takes on nothing.
    ///
    /// Errors: [`DeviceError`], all variants but the two of [`Device::load`].
    fn run(&mut self, request: &RunRequest<'_>) -> Result<RunOutcome, DeviceError>;

    /// What the device has done and how it is.
    ///
    /// Errors: [`DeviceError::Fault`] and failures of the link.
    fn telemetry(&mut self) -> Result<Telemetry, DeviceError>;

    /// Puts the device at rest: light off, weight banks cleared.
    ///
    /// Images stay loaded, and the next run wakes the device up.
    ///
    /// Errors: [`DeviceError::Fault`] and failures of the link.
    fn park(&mut self) -> Result<(), DeviceError>;
}

/// A loaded program, on the device that loaded it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ImageId(pub u64);

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "image {}", self.0)
    }
}

/// The name of one symbol, for recording, replay and, in a simulator, noise.
///
/// The same tag, program and seed give the same noise, whatever the batch the symbol travels in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SymbolTag(pub u64);

/// One run of an image.
#[derive(Clone, Copy, Debug)]
pub struct RunRequest<'a> {
    /// Which image.
    pub image: ImageId,
    /// One tag per symbol.
    pub tags: &'a [SymbolTag],
    /// The input vectors. Shape: `tags.len() × input_len`.
    pub inputs: &'a [f32],
}

/// What came of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct RunOutcome {
    /// The output vectors. Shape: `tags.len() × output_len`.
    pub outputs: Vec<f32>,
    /// From the first transfer to the last.
    pub cycles: Cycles,
    /// Where the energy went; `None` where the device cannot tell.
    pub energy: Option<EnergyLedger>,
}

/// What a device says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// The chip model; programs are compiled for it.
    pub chip: String,
    /// The chip instance; profiles belong to it.
    pub serial: String,
    /// Physical rows of one array.
    pub rows: usize,
    /// Physical columns of one array.
    pub columns: usize,
    /// Arrays on the card.
    pub arrays: usize,
    /// Weight banks of each array.
    pub banks: usize,
    /// Card memory.
    pub sram_bytes: u64,
    /// Whether no chip is behind it.
    pub simulated: bool,
}

impl Capabilities {
    /// The capabilities of a card with `chip`; `serial` names the instance.
    pub fn of(chip: &ChipDescription, serial: String, simulated: bool) -> Self {
        Self {
            chip: chip.name.clone(),
            serial,
            rows: chip.array.inputs,
            columns: chip.array.outputs,
            arrays: chip.array.arrays,
            banks: chip.array.banks,
            sram_bytes: chip.memory.sram_bytes,
            simulated,
        }
    }
}

/// What a device has done since it was opened, and how it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Telemetry {
    /// Images loaded.
    pub images: u64,
    /// Runs carried out.
    pub runs: u64,
    /// Symbols in those runs.
    pub symbols: u64,
    /// Cycles of those runs.
    pub cycles: Cycles,
    /// Temperature of the chip; `None` where the device cannot tell.
    pub temperature_c: Option<f64>,
    /// Whether the device is at rest.
    pub parked: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use litecore_types::chip::builtin;

    /// The least device there can be: holds images, returns zeros.
    struct Zeros {
        capabilities: Capabilities,
        images: Vec<Arc<VerifiedProgram>>,
        telemetry: Telemetry,
    }

    impl Device for Zeros {
        fn capabilities(&self) -> &Capabilities {
            &self.capabilities
        }
        fn load(&mut self, program: Arc<VerifiedProgram>) -> Result<ImageId, DeviceError> {
            self.images.push(program);
            self.telemetry.images += 1;
            Ok(ImageId(self.images.len() as u64 - 1))
        }
        fn run(&mut self, request: &RunRequest<'_>) -> Result<RunOutcome, DeviceError> {
            let image = request.image;
            let index = usize::try_from(image.0).unwrap_or(usize::MAX);
            let program = self.images.get(index).ok_or(DeviceError::NoSuchImage { image })?;
            let outputs = vec![0.0; request.tags.len() * program.output_len()];
            Ok(RunOutcome { outputs, cycles: Cycles::ZERO, energy: None })
        }
        fn telemetry(&mut self) -> Result<Telemetry, DeviceError> {
            Ok(self.telemetry.clone())
        }
        fn park(&mut self) -> Result<(), DeviceError> {
            self.telemetry.parked = true;
            Ok(())
        }
    }

    #[test]
    fn a_device_is_an_object_that_can_be_sent() {
        let chip = builtin("tiny-4").unwrap();
        let capabilities = Capabilities::of(&chip, "7".to_owned(), true);
        assert_eq!((capabilities.rows, capabilities.columns), (4, 4));
        assert_eq!((capabilities.arrays, capabilities.banks), (1, 1));
        assert_eq!(capabilities.sram_bytes, 65_536);
        let mut device: Box<dyn Device> =
            Box::new(Zeros { capabilities, images: Vec::new(), telemetry: Telemetry::default() });
        std::thread::spawn(move || {
            let request = RunRequest { image: ImageId(3), tags: &[], inputs: &[] };
            let error = device.run(&request).unwrap_err();
            assert_eq!(error, DeviceError::NoSuchImage { image: ImageId(3) });
            device.park().unwrap();
            assert!(device.telemetry().unwrap().parked);
        })
        .join()
        .unwrap();
    }
}
