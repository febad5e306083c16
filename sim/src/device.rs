use crate::Terms;
use crate::arrays::{Arrays, Run};
use crate::dynamic::Draws;
use crate::events::{self, Schedule, StepSpan};
use crate::noise::stream_keys;
use litecore_hal::{Capabilities, Device, DeviceError, ImageId, RunOutcome, RunRequest, Telemetry};
use litecore_kernels::program::{ExecuteError, Workspace, execute};
use litecore_types::chip::ChipDescription;
use litecore_types::program::VerifiedProgram;
use litecore_types::{Cycles, EnergyLedger, Seed};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a simulated card is like beyond its chip model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SimOptions {
    /// The chip instance: its cells, and the noise it makes.
    pub seed: Seed,
    /// Which impairments are on.
    pub terms: Terms,
    /// Whether to keep the timeline of the last run.
    pub record_timeline: bool,
}

/// A simulated card.
///
/// It is exact in cycles and joules, and noisy in codes as far as its [`Terms`] are on. Memory grows
/// with the images loaded and with the arrays used, by eight bytes a cell; effective tiles are kept
/// up to 256 MiB and made again when needed.
pub struct SimDevice {
    chip: ChipDescription,
    options: SimOptions,
    capabilities: Capabilities,
    arrays: Arrays,
    /// By number; `None` where one was unloaded.
    images: Vec<Option<Image>>,
    workspace: Workspace,
    last_timeline: Option<Vec<StepSpan>>,
    telemetry: Telemetry,
}

struct Image {
    program: Arc<VerifiedProgram>,
    stream_keys: Vec<u64>,
    /// Time and energy by number of symbols: they do not depend on data.
    costs: BTreeMap<u64, (Cycles, EnergyLedger)>,
}

impl SimDevice {
    /// A card with this chip model; the seed makes it an instance.
    pub fn new(chip: ChipDescription, options: SimOptions) -> Self {
        let serial = format!("sim-{}", options.seed.0);
        Self {
            capabilities: Capabilities::of(&chip, serial, true),
            arrays: Arrays::new(&chip, options.terms, options.seed),
            images: Vec::new(),
            workspace: Workspace::default(),
            last_timeline: None,
            telemetry: Telemetry::default(),
            chip,
            options,
        }
    }

    /// Chooses how noise is drawn; at first it is [`Draws::Merged`].
    #[must_use]
    pub fn with_draws(mut self, draws: Draws) -> Self {
        self.arrays = self.arrays.with_draws(draws);
        self
    }

    /// The chip model.
    pub fn chip(&self) -> &ChipDescription {
        &self.chip
    }

    /// The options it was made with.
    pub fn options(&self) -> SimOptions {
        self.options
    }

    /// Forgets an image; its number is not used again. `false` where there is none.
    pub fn unload(&mut self, image: ImageId) -> bool {
        let place = usize::try_from(image.0).ok().and_then(|index| self.images.get_mut(index));
        let unloaded = place.is_some_and(|place| place.take().is_some());
        self.telemetry.images -= u64::from(unloaded);
        unloaded
    }

    /// When each step of the last run started and ended, in step order; `None` before the first run
    /// and where [`SimOptions::record_timeline`] is off.
    pub fn last_timeline(&self) -> Option<&[StepSpan]> {
        self.last_timeline.as_deref()
    }
}

impl Device for SimDevice {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// A program may have been verified for another chip of the same name, so this verifies again.
    fn load(&mut self, program: Arc<VerifiedProgram>) -> Result<ImageId, DeviceError> {
        if program.chip != self.chip.name {
            return Err(DeviceError::WrongChip {
                compiled_for: program.chip.clone(),
                chip: self.chip.name.clone(),
            });
        }
        VerifiedProgram::new((**program).clone(), &self.chip)
            .map_err(|violations| DeviceError::ProgramRefused { violations })?;
        let image = ImageId(self.images.len() as u64);
        self.images.push(Some(Image {
            stream_keys: stream_keys(&program, self.options.seed),
            program,
            costs: BTreeMap::new(),
        }));
        self.telemetry.images += 1;
        Ok(image)
    }

    fn run(&mut self, request: &RunRequest<'_>) -> Result<RunOutcome, DeviceError> {
        let image = usize::try_from(request.image.0)
            .ok()
            .and_then(|index| self.images.get_mut(index)?.as_mut())
            .ok_or(DeviceError::NoSuchImage { image: request.image })?;
        let program = &image.program;
        let (given, symbols) = (request.inputs.len(), request.tags.len());
        let vector = program.input_len();
        if given != symbols.saturating_mul(vector) {
            return Err(DeviceError::InputLength { given, symbols, vector });
        }
        let mut outputs = Vec::new();
        let mut run = Run {
            arrays: &mut self.arrays,
            image: request.image,
            tags: request.tags,
            stream_keys: &image.stream_keys,
        };
        execute(program, &mut run, request.inputs, &mut outputs, &mut self.workspace).map_err(
            |error| match error {
                ExecuteError::InputLength { given, vector } => {
                    DeviceError::InputLength { given, symbols, vector }
                }
                ExecuteError::TooManySymbols { given, most } => {
                    DeviceError::TooManySymbols { given, most }
                }
                ExecuteError::NonFinite { symbol, .. } => DeviceError::NonFiniteInput { symbol },
            },
        )?;
        let symbols = symbols as u64;
        if self.options.record_timeline || !image.costs.contains_key(&symbols) {
            let Schedule { cycles, ledger, timeline, .. } =
                events::simulate(program, &self.chip, symbols);
            image.costs.insert(symbols, (cycles, ledger));
            self.last_timeline = self.options.record_timeline.then_some(timeline);
        }
        let (cycles, energy) = image.costs[&symbols].clone();
        self.telemetry.runs += 1;
        self.telemetry.symbols += symbols;
        self.telemetry.cycles += cycles;
        self.telemetry.parked = false;
        Ok(RunOutcome { outputs, cycles, energy: Some(energy) })
    }

    fn telemetry(&mut self) -> Result<Telemetry, DeviceError> {
        Ok(self.telemetry.clone())
    }

    fn park(&mut self) -> Result<(), DeviceError> {
        self.arrays.clear();
        self.telemetry.parked = true;
        Ok(())
    }
}
