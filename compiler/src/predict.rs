//! How long a program takes and what it costs: the longest path through its steps.
//!
//! A step starts when it has been issued, its units are free and all steps it waits for have
//! finished; it frees each unit after a time of its own, and has finished when the longest of them
//! and its latency have passed and the step before it in its lane has finished. This is a static sum
//! over the program, no simulation.

use litecore_types::chip::ChipDescription;
use litecore_types::chip::timing::Engine;
use litecore_types::program::{Lane, Program, StepIndex, VerifiedProgram};
use litecore_types::{Cycles, EnergyLedger};
use std::collections::BTreeMap;

/// How long one run of a program takes, and what it costs.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// Input vectors in the run.
    pub symbols: u64,
    /// From the first issue to the end of the last step.
    pub cycles: Cycles,
    /// What the run costs, lasers and hold power included.
    pub energy: EnergyLedger,
    /// Cycles each unit is taken; units without a step are left out.
    pub engine_busy: BTreeMap<Engine, Cycles>,
    /// When each step runs, in program order.
    pub spans: Vec<StepSpan>,
}

/// When one step runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepSpan {
    /// Which step.
    pub step: StepIndex,
    /// The unit that does its work.
    pub engine: Engine,
    /// Whether the run has none of its symbols: then it takes no unit and no time of its own.
    pub dropped: bool,
    /// When it starts.
    pub start: Cycles,
    /// When its unit is free again.
    pub busy_end: Cycles,
    /// When its result is there.
    pub end: Cycles,
    /// What it started after: the last of all it waited for.
    pub held_by: Hold,
}

/// What a step waits for longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Its own issue.
    Issue,
    /// A step whose result it needs.
    Result(StepIndex),
    /// A step that takes a unit it needs.
    Unit(Engine, StepIndex),
    /// The step before it in its lane, which ends later than its own work does.
    Lane(StepIndex),
}

/// Predicts one run of a program on `symbols` input vectors.
///
/// A run takes at most [`symbols_max`](litecore_types::program::Program::symbols_max) of them.
pub fn predict(program: &VerifiedProgram, chip: &ChipDescription, symbols: u64) -> Prediction {
    let mut prediction = time(program, chip, symbols);
    for step in &program.steps {
        chip.charge_step(program, step, symbols, &mut prediction.energy);
    }
    chip.charge_static(prediction.cycles, &mut prediction.energy);
    prediction
}

/// [`predict`] without the energy, for a program that need not be verified yet.
pub(crate) fn time(program: &Program, chip: &ChipDescription, symbols: u64) -> Prediction {
    let issue = chip.issue_cycles();
    let mut free: BTreeMap<Engine, (Cycles, StepIndex)> = BTreeMap::new();
    let mut lanes: BTreeMap<Lane, (Cycles, StepIndex)> = BTreeMap::new();
    let mut engine_busy: BTreeMap<Engine, Cycles> = BTreeMap::new();
    let mut spans: Vec<StepSpan> = Vec::with_capacity(program.steps.len());
    let mut issued = Cycles::ZERO;
    for (step, index) in program.steps.iter().zip(0..) {
        let index = StepIndex(index);
        issued += issue;
        *engine_busy.entry(Engine::Command).or_default() += issue;
        let mut start = (issued, Hold::Issue);
        for &after in step.after.iter() {
            let end = spans[after.0 as usize].end;
            if end > start.0 {
                start = (end, Hold::Result(after));
            }
        }
        let lane = lanes.entry(Lane::of(&step.action)).or_insert((Cycles::ZERO, index));
        let timing = chip.step_timing(program, step, symbols);
        let (busy_end, end) = match &timing {
            None => (start.0, start.0),
            Some(timing) => {
                for (unit, _) in timing.uses() {
                    if let Some(&(at, by)) = free.get(&unit).filter(|(at, _)| *at > start.0) {
                        start = (at, Hold::Unit(unit, by));
                    }
                }
                for (unit, busy) in timing.uses() {
                    free.insert(unit, (start.0 + busy, index));
                    *engine_busy.entry(unit).or_default() += busy;
                }
                (start.0 + timing.busy, start.0 + timing.duration())
            }
        };
        if end < lane.0 {
            start.1 = Hold::Lane(lane.1);
        }
        let end = end.max(lane.0);
        *lane = (end, index);
        let dropped = timing.is_none();
        spans.push(StepSpan {
            step: index,
            engine: Engine::of(&step.action),
            dropped,
            start: if dropped { end } else { start.0 },
            busy_end: if dropped { end } else { busy_end },
            end,
            held_by: start.1,
        });
    }
    let cycles = spans.iter().map(|span| span.end).max().unwrap_or_default();
    Prediction { symbols, cycles, energy: EnergyLedger::default(), engine_busy, spans }
}

impl Prediction {
    /// The cycles of the longest path by unit, latencies included: what the run waits for.
    ///
    /// They sum to [`Prediction::cycles`].
    pub fn critical_path(&self) -> BTreeMap<Engine, Cycles> {
        let mut path = BTreeMap::new();
        let mut until = self.cycles;
        let mut next = self.spans.iter().find(|span| span.end == until);
        while let Some(span) = next {
            let from = match span.held_by {
                Hold::Lane(_) => until,
                _ => span.start,
            };
            *path.entry(span.engine).or_insert(Cycles::ZERO) += until - from;
            until = from;
            next = match span.held_by {
                Hold::Issue => None,
                Hold::Result(step) | Hold::Unit(_, step) | Hold::Lane(step) => {
                    Some(&self.spans[step.0 as usize])
                }
            };
        }
        if until > Cycles::ZERO {
            *path.entry(Engine::Command).or_insert(Cycles::ZERO) += until;
        }
        path
    }
}
