use super::{Account, Executor, ExpertCall};
use crate::RuntimeError;
use litecore_compiler::{CompiledModel, Prediction, predict};
use litecore_hal::{Device, ImageId, RunRequest};
use litecore_model::ExpertKey;
use litecore_types::Cycles;
use litecore_types::chip::ChipDescription;
use litecore_types::chip::timing::Engine;
use litecore_types::program::VerifiedProgram;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Compiled experts on a device: a card, or the simulator.
pub struct PhotonicExecutor {
    device: Box<dyn Device>,
    chip: ChipDescription,
    experts: BTreeMap<(u32, ExpertKey), LoadedExpert>,
    account: Account,
}

struct LoadedExpert {
    program: Arc<VerifiedProgram>,
    image: ImageId,
    /// The compiler's prediction by number of symbols.
    predicted: BTreeMap<usize, Predicted>,
}

/// What the compiler says of one run.
#[derive(Clone, Copy)]
struct Predicted {
    cycles: Cycles,
    host_link: Cycles,
    loading: Cycles,
    streaming: Cycles,
}

impl Predicted {
    fn new(program: &VerifiedProgram, chip: &ChipDescription, symbols: usize) -> Self {
        let prediction = predict(program, chip, symbols as u64);
        let busy = |wanted: fn(Engine) -> bool| -> Cycles {
            let spans = prediction.spans.iter().filter(|span| wanted(span.engine));
            spans.map(|span| span.busy_end - span.start).sum()
        };
        Self {
            cycles: prediction.cycles,
            host_link: transferring(&prediction),
            loading: busy(|engine| matches!(engine, Engine::Loader(_))),
            streaming: busy(|engine| matches!(engine, Engine::Array(_))),
        }
    }
}

/// Cycles in which something is on its way over the host link, in either direction.
fn transferring(prediction: &Prediction) -> Cycles {
    let moves = prediction.spans.iter();
    let moves = moves.filter(|span| matches!(span.engine, Engine::HostIn | Engine::HostOut));
    let mut ways: Vec<(Cycles, Cycles)> = moves.map(|span| (span.start, span.end)).collect();
    ways.sort_unstable();
    let (mut covered, mut until) = (Cycles::ZERO, Cycles::ZERO);
    for (start, end) in ways {
        covered += end - start.max(until);
        until = until.max(end);
    }
    covered
}

impl PhotonicExecutor {
    /// Loads every expert of `model` into the device's memory.
    ///
    /// Errors: the device refuses a program, or fails.
    pub fn new(model: &CompiledModel, mut device: Box<dyn Device>) -> Result<Self, RuntimeError> {
        let mut experts = BTreeMap::new();
        for (&key, program) in &model.experts {
            let image = device
                .load(Arc::clone(program))
                .map_err(|source| RuntimeError::Load { program: program.name.clone(), source })?;
            let program = Arc::clone(program);
            experts.insert(key, LoadedExpert { program, image, predicted: BTreeMap::new() });
        }
        let account = Account { energy_known: true, ..Account::default() };
        Ok(Self { device, chip: model.chip.clone(), experts, account })
    }
}

/// Numbers per run: whole input vectors, as many as the program has memory for.
pub(super) fn chunk_len(program: &VerifiedProgram) -> usize {
    let symbols = usize::try_from(program.symbols_max).unwrap_or(usize::MAX);
    program.input_len().saturating_mul(symbols).max(1)
}

impl Executor for PhotonicExecutor {
    fn name(&self) -> &'static str {
        "photonic"
    }

    fn run(&mut self, call: &ExpertCall<'_>, outputs: &mut Vec<f32>) -> Result<(), RuntimeError> {
        let &ExpertCall { layer, key, tags, inputs } = call;
        let expert = self.experts.get_mut(&(layer, key)).ok_or(RuntimeError::MissingExpert {
            executor: "photonic",
            layer,
            key,
        })?;
        let len = chunk_len(&expert.program);
        outputs.clear();
        for (inputs, tags) in inputs.chunks(len).zip(tags.chunks(len / expert.program.input_len()))
        {
            let request = RunRequest { image: expert.image, tags, inputs };
            let outcome = self.device.run(&request).map_err(|source| RuntimeError::Device {
                layer,
                key,
                source,
            })?;
            outputs.extend_from_slice(&outcome.outputs);
            let predicted = expert
                .predicted
                .entry(tags.len())
                .or_insert_with(|| Predicted::new(&expert.program, &self.chip, tags.len()));
            let account = &mut self.account;
            account.runs += 1;
            account.symbols += tags.len() as u64;
            let macs = expert.program.useful_macs_per_symbol.saturating_mul(tags.len() as u64);
            account.useful_macs = account.useful_macs.saturating_add(macs);
            account.cycles += outcome.cycles;
            account.cycles_predicted += predicted.cycles;
            account.host_link += predicted.host_link;
            account.loading += predicted.loading;
            account.streaming += predicted.streaming;
            match &outcome.energy {
                Some(energy) => account.energy.add(energy),
                None => account.energy_known = false,
            }
        }
        Ok(())
    }

    fn account(&self) -> Account {
        self.account.clone()
    }
}
