//! Where the schedule waits: every cycle in which an array streams nothing, by reason.

use crate::{Hold, Prediction};
use litecore_types::Cycles;
use litecore_types::chip::timing::Engine;
use litecore_types::program::{Action, Program};
use serde::Serialize;
use std::collections::BTreeMap;

/// Why an array stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitReason {
    /// Its next bank is being written, or fetched from the weight memory.
    WeightLoad,
    /// Its cells settle.
    Settle,
    /// The inputs are on their way from the host, or results on their way to it.
    Host,
    /// The vector unit quantises, rescales or activates.
    Vector,
    /// Its own stream's way through receiver and accumulators.
    Pipeline,
    /// Another array adds its part first, or takes what it needs.
    OtherArray,
    /// The command processor has not come to the step.
    Issue,
    /// Nothing is left to do for it: results are rescaled and sent.
    Done,
}

impl WaitReason {
    /// The name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::WeightLoad => "weights are loaded",
            Self::Settle => "cells settle",
            Self::Host => "vectors cross the host link",
            Self::Vector => "the vector unit works",
            Self::Pipeline => "codes pass the receiver",
            Self::OtherArray => "another array goes first",
            Self::Issue => "steps are issued",
            Self::Done => "nothing is left for it",
        }
    }
}

/// Cycles lost to one reason, over all arrays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Wait {
    /// Why.
    pub reason: WaitReason,
    /// How long; cycles of several arrays add up.
    pub cycles: u64,
}

/// The cycles in which a program's arrays stream nothing, by reason, the longest first.
///
/// Together with the cycles they stream they make up the run, once for each array that has a step.
/// `prediction` must be of `program`.
pub fn waits(program: &Program, prediction: &Prediction) -> Vec<Wait> {
    let mut lost: BTreeMap<WaitReason, u64> = BTreeMap::new();
    let mut add = |reason, cycles: Cycles| *lost.entry(reason).or_insert(0) += cycles.0;
    let mut free: BTreeMap<Engine, Cycles> = BTreeMap::new();
    for (position, span) in prediction.spans.iter().enumerate() {
        let Engine::Array(_) = span.engine else { continue };
        if span.dropped {
            continue;
        }
        let since = free.insert(span.engine, span.busy_end).unwrap_or(Cycles::ZERO);
        if matches!(program.steps[span.step.0 as usize].action, Action::Settle { .. }) {
            add(WaitReason::Settle, span.busy_end - span.start);
        }
        // Walk back through what this step was held by, as far as the array stood still.
        let (mut until, mut waiting) = (span.start, position);
        while until > since {
            let held_by = prediction.spans[waiting].held_by;
            let (reason, next) = match held_by {
                Hold::Issue => (WaitReason::Issue, None),
                Hold::Result(step) | Hold::Unit(_, step) | Hold::Lane(step) => {
                    let cause = step.0 as usize;
                    (reason(program, prediction, cause, span.engine), Some(cause))
                }
            };
            let start = next.map_or(Cycles::ZERO, |cause| prediction.spans[cause].start);
            let from = start.max(since).min(until);
            add(reason, until - from);
            until = from;
            match next {
                Some(cause) => waiting = cause,
                None => break,
            }
        }
    }
    for end in free.values() {
        add(WaitReason::Done, prediction.cycles - *end);
    }
    let mut waits: Vec<Wait> = lost
        .into_iter()
        .filter(|(_, cycles)| *cycles > 0)
        .map(|(reason, cycles)| Wait { reason, cycles })
        .collect();
    waits.sort_by(|a, b| b.cycles.cmp(&a.cycles).then(a.reason.cmp(&b.reason)));
    waits
}

fn reason(program: &Program, prediction: &Prediction, cause: usize, array: Engine) -> WaitReason {
    let span = &prediction.spans[cause];
    match (span.engine, &program.steps[span.step.0 as usize].action) {
        (Engine::Loader(_), _) => WaitReason::WeightLoad,
        (Engine::HostIn | Engine::HostOut, _) => WaitReason::Host,
        (Engine::Vector, _) => WaitReason::Vector,
        (engine, _) if engine != array => WaitReason::OtherArray,
        (_, Action::Settle { .. }) => WaitReason::Settle,
        _ => WaitReason::Pipeline,
    }
}
