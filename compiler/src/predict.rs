//! How long a program takes and what it costs: the longest path through its steps.
//!
//! Every engine works through its steps in program order, one at a time. A step starts when its
//! engine is free and all steps it waits for have finished; it frees its engine after `busy` and
//! has finished `latency` later. This is a static sum over the program, no simulation.

use litecore_types::chip::ChipDescription;
use litecore_types::chip::timing::Engine;
use litecore_types::program::{StepIndex, VerifiedProgram};
use litecore_types::{Cycles, EnergyLedger};
use serde::Serialize;
use std::collections::BTreeMap;

/// How long one run of a program takes, and what it costs.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// Input vectors in the run.
    pub symbols: u64,
    /// From the start of the first step to the end of the last.
    pub cycles: Cycles,
    /// What the run costs, lasers and hold power included.
    pub energy: EnergyLedger,
    /// Cycles each engine is taken; engines without a step are left out.
    pub engine_busy: BTreeMap<Engine, Cycles>,
    /// When each step runs, in program order.
    pub spans: Vec<StepSpan>,
}

/// When one step runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepSpan {
    /// Which step.
    pub step: StepIndex,
    /// Where it runs.
    pub engine: Engine,
    /// When it starts.
    pub start: Cycles,
    /// When its engine is free again.
    pub busy_end: Cycles,
    /// When its result is there.
    pub end: Cycles,
}

/// An engine and the part of a run in which it is taken.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct EngineLoad {
    /// Which engine.
    pub engine: Engine,
    /// From 0 to 1.
    pub fraction: f64,
}

/// Predicts one run of a program on `symbols` input vectors.
///
/// A run takes at most [`symbols_max`](litecore_types::program::Program::symbols_max) of them;
/// beyond that the prediction is what a card with more memory would need.
pub fn predict(program: &VerifiedProgram, chip: &ChipDescription, symbols: u64) -> Prediction {
    let mut free: BTreeMap<Engine, Cycles> = BTreeMap::new();
    let mut engine_busy: BTreeMap<Engine, Cycles> = BTreeMap::new();
    let mut spans: Vec<StepSpan> = Vec::with_capacity(program.steps.len());
    let mut energy = EnergyLedger::default();
    let mut cycles = Cycles::ZERO;
    for (step, index) in program.steps.iter().zip(0..) {
        let timing = chip.step_timing(program, &step.action, symbols);
        let engine_free = free.get(&timing.engine).copied().unwrap_or(Cycles::ZERO);
        let inputs_ready = step.after.iter().map(|after| spans[after.0 as usize].end);
        let start = inputs_ready.fold(engine_free, Cycles::max);
        let busy_end = start + timing.busy;
        let end = busy_end + timing.latency;
        free.insert(timing.engine, busy_end);
        *engine_busy.entry(timing.engine).or_insert(Cycles::ZERO) += timing.busy;
        spans.push(StepSpan {
            step: StepIndex(index),
            engine: timing.engine,
            start,
            busy_end,
            end,
        });
        cycles = cycles.max(end);
        chip.charge_step(program, &step.action, symbols, &mut energy);
    }
    chip.charge_static(cycles, &mut energy);
    Prediction { symbols, cycles, energy, engine_busy, spans }
}

impl Prediction {
    /// The engine that is taken longest: no schedule of the same steps can be shorter.
    ///
    /// Nothing for a program without steps, which the verifier does not admit.
    pub fn limiting_engine(&self) -> Option<Engine> {
        let longest = self.engine_busy.values().max()?;
        self.engine_busy.iter().find(|(_, busy)| *busy == longest).map(|(engine, _)| *engine)
    }

    /// The cycles of the longest path by engine, latencies included: what the run waits for.
    ///
    /// They sum to [`Prediction::cycles`]. `program` is the one that was predicted.
    pub fn critical_path(&self, program: &VerifiedProgram) -> BTreeMap<Engine, Cycles> {
        let mut path = BTreeMap::new();
        let last = self.spans.iter().max_by_key(|span| span.end);
        let mut next = last.map(|span| (span, span.end));
        while let Some((span, until)) = next {
            *path.entry(span.engine).or_insert(Cycles::ZERO) += until - span.start;
            let step = &program.steps[span.step.0 as usize];
            let waited_for = step.after.iter().map(|after| &self.spans[after.0 as usize]);
            let finished = waited_for.map(|before| (before, before.end));
            let earlier = self.spans[..span.step.0 as usize].iter().rev();
            let freed = earlier
                .filter(|before| before.engine == span.engine)
                .map(|before| (before, before.busy_end));
            // A step that starts at zero waited for nothing.
            next = finished
                .chain(freed)
                .find(|(_, at)| span.start > Cycles::ZERO && *at == span.start);
        }
        path
    }

    /// The part of the run in which each engine is taken, in engine order.
    pub fn engine_loads(&self) -> Vec<EngineLoad> {
        let whole = self.cycles.0.max(1) as f64;
        let load = |(&engine, busy): (&Engine, &Cycles)| EngineLoad {
            engine,
            fraction: busy.0 as f64 / whole,
        };
        self.engine_busy.iter().map(load).collect()
    }
}
