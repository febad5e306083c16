//! The embedded model over a transport: it must write what it writes on the same card without one.

use crate::report::{Failure, Report};
use crate::transport;
use litecore_compiler::CompiledModel;
use litecore_hal::{
    Capabilities, CardDevice, Device, DeviceError, DeviceUri, ImageId, RunOutcome, RunRequest,
    Telemetry,
};
use litecore_model::TierSet;
use litecore_runtime::{DenseModel, PhotonicExecutor, Sampling, Session, generate};
use litecore_types::program::VerifiedProgram;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// The compiled model and what it writes, as the host has put them into the archive.
pub(crate) struct Workload {
    compiled: CompiledModel,
    dense: DenseModel,
    tiers: TierSet,
    prompt: Vec<u8>,
    expected: Vec<u8>,
}

impl Workload {
    /// Reads both; one machine does so once.
    ///
    /// Errors: a file is missing or is not what it should be.
    pub(crate) fn read() -> Result<Self, Failure> {
        let compiled = CompiledModel::read(Path::new("/model"))?;
        let dense = DenseModel::new(&compiled.config, &compiled.dense)?;
        let expected = fs::read("/expected")?;
        let mut parts = expected.splitn(3, |byte| *byte == 0);
        let mut part = || parts.next().ok_or("the host has not said what to expect");
        let tiers = str::from_utf8(part()?)?.parse()?;
        let (prompt, expected) = (part()?.to_vec(), part()?.to_vec());
        Ok(Self { compiled, dense, tiers, prompt, expected })
    }
}

/// Generates a few bytes on the card at `uri` and compares them with those the host has computed.
/// On a card with faults, `faulty`, something must also have gone wrong on the way.
pub(crate) fn writes_the_same(
    report: &mut Report,
    workload: &Workload,
    uri: &DeviceUri,
    faulty: bool,
) -> Result<(), Failure> {
    let Workload { compiled, dense, tiers, prompt, expected } = workload;
    let card = Arc::new(Mutex::new(transport::open(uri, faulty)?));
    let lazy = LoadsWhenNeeded::new(Arc::clone(&card));
    let mut executor = PhotonicExecutor::new(compiled, Box::new(lazy))?;
    let mask = tiers.resolve(&compiled.config)?;
    let mut session = Session::new(dense, mask, compiled.config.routing.seed, 0);
    let begun = Instant::now();
    let written = generate(
        &mut session,
        &mut executor,
        prompt,
        expected.len(),
        Sampling::Greedy,
        &mut |_, _| {},
    )?;
    report.figure("bytes_per_s", expected.len() as f64 / begun.elapsed().as_secs_f64());
    if written.bytes != *expected {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (found, right) = (text(&written.bytes), text(expected));
        return Err(format!("it writes {found:?} and not {right:?}").into());
    }
    if faulty {
        let troubles = troubles(&locked(&card));
        report.figure("troubles", troubles as f64);
        if troubles == 0 {
            return Err("nothing went wrong, though the card has faults".into());
        }
    }
    Ok(())
}

/// How often the link or the card had to be helped.
fn troubles(card: &CardDevice) -> u64 {
    let (link, recovery) = (card.link_counters(), card.recovery());
    link.strays
        + link.resent
        + link.damaged
        + link.interrupts_lost
        + link.resets
        + recovery.resent
        + recovery.restarts
}

fn locked(card: &Mutex<CardDevice>) -> MutexGuard<'_, CardDevice> {
    // One thread uses it, so nobody else can have panicked with it.
    card.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Loads a program when it is first run: a few tokens touch few experts, and loading them all over
/// a slow line takes minutes.
struct LoadsWhenNeeded {
    card: Arc<Mutex<CardDevice>>,
    capabilities: Capabilities,
    programs: Vec<Arc<VerifiedProgram>>,
    loaded: BTreeMap<ImageId, ImageId>,
}

impl LoadsWhenNeeded {
    fn new(card: Arc<Mutex<CardDevice>>) -> Self {
        let capabilities = locked(&card).capabilities().clone();
        Self { card, capabilities, programs: Vec::new(), loaded: BTreeMap::new() }
    }
}

impl Device for LoadsWhenNeeded {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn load(&mut self, program: Arc<VerifiedProgram>) -> Result<ImageId, DeviceError> {
        self.programs.push(program);
        Ok(ImageId(self.programs.len() as u64 - 1))
    }

    fn run(&mut self, request: &RunRequest<'_>) -> Result<RunOutcome, DeviceError> {
        let unknown = DeviceError::NoSuchImage { image: request.image };
        let image = if let Some(image) = self.loaded.get(&request.image) {
            *image
        } else {
            let index = usize::try_from(request.image.0).unwrap_or(usize::MAX);
            let program = self.programs.get(index).ok_or(unknown)?;
            let image = locked(&self.card).load(Arc::clone(program))?;
            self.loaded.insert(request.image, image);
            image
        };
        locked(&self.card).run(&RunRequest { image, ..*request })
    }

    fn telemetry(&mut self) -> Result<Telemetry, DeviceError> {
        locked(&self.card).telemetry()
    }

    fn park(&mut self) -> Result<(), DeviceError> {
        locked(&self.card).park()
    }
}
