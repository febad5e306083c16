//! Which steps have finished before another starts: what the card guarantees, from `after` lists.
//!
//! A step starts when the steps in its `after` list have finished. Steps of one [`Lane`] finish in
//! program order. So whoever has waited for a step has also waited for all earlier steps of its
//! lane, and for whatever those had waited for. Being later on an engine orders starts, not ends.

use super::{Action, Step, StepIndex};
use std::collections::{BTreeMap, BTreeSet};

/// Steps that finish in program order: those of one kind on one unit of the card.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Transfers from the host.
    MoveIn,
    /// Transfers to the host.
    MoveOut,
    /// Everything the vector unit does.
    Vector,
    /// Loads of one array.
    Load(u16),
    /// Settles of one array.
    Settle(u16),
    /// Streams through one array.
    Stream(u16),
}

impl Lane {
    /// The lane of an action.
    pub fn of(action: &Action) -> Self {
        match *action {
            Action::MoveIn { .. } => Self::MoveIn,
            Action::MoveOut { .. } => Self::MoveOut,
            Action::LoadBank { array, .. } => Self::Load(array),
            Action::Settle { array, .. } => Self::Settle(array),
            Action::Stream { array, .. } => Self::Stream(array),
            Action::Quantise { .. }
            | Action::Dequantise { .. }
            | Action::SwiGlu { .. }
            | Action::Rotate { .. } => Self::Vector,
        }
    }
}

/// Most steps times lanes in use whose order is followed: it takes four bytes for each.
pub const ORDER_MAX: usize = 1 << 26;

/// For each step, what has finished once it has: one number for each lane.
///
/// Memory: four bytes for each step and lane in use.
#[derive(Clone, Debug, Default)]
pub struct Finished {
    lanes: BTreeMap<Lane, usize>,
    /// The lane of each step.
    lane_of: Vec<usize>,
    /// The last step of each lane.
    last: Vec<Option<usize>>,
    /// Steps in lane order that have finished once a step has; lanes run fastest. The number in a
    /// lane is one more than the last step of that lane.
    done: Vec<u32>,
}

impl Finished {
    /// How many lanes some steps use.
    pub(super) fn lanes_of(steps: &[Step]) -> usize {
        let lanes: BTreeSet<Lane> = steps.iter().map(|step| Lane::of(&step.action)).collect();
        lanes.len()
    }

    /// Follows the waits of a program. Steps that wait for later ones are taken not to.
    pub fn of(steps: &[Step]) -> Self {
        let mut finished = Self::for_lanes(steps.iter().map(|step| Lane::of(&step.action)));
        for step in steps {
            finished.push(Lane::of(&step.action), &step.after);
        }
        finished
    }

    /// No steps yet, of lanes that are known.
    pub fn for_lanes(lanes: impl Iterator<Item = Lane>) -> Self {
        let mut finished = Self::default();
        for lane in lanes {
            finished.lanes.insert(lane, 0);
        }
        for (number, place) in finished.lanes.values_mut().enumerate() {
            *place = number;
        }
        finished.last = vec![None; finished.lanes.len()];
        finished
    }

    /// Appends a step. Panics: if its lane was not announced.
    pub fn push(&mut self, lane: Lane, after: &[StepIndex]) {
        let width = self.lanes.len();
        let lane = self.lanes[&lane];
        let step = self.lane_of.len();
        let mut done = vec![0_u32; width];
        // The step of this lane before this one, and what it had waited for.
        let before = self.last[lane].replace(step);
        let waited = after.iter().map(|after| after.0 as usize).filter(|after| *after < step);
        for earlier in waited.chain(before) {
            for (mine, theirs) in done.iter_mut().zip(&self.done[earlier * width..][..width]) {
                *mine = (*mine).max(*theirs);
            }
        }
        done[lane] = u32::try_from(step + 1).unwrap_or(u32::MAX);
        self.lane_of.push(lane);
        self.done.extend(done);
    }

    /// Whether step `earlier` has finished once step `step` has.
    pub fn with(&self, step: StepIndex, earlier: StepIndex) -> bool {
        let lane = self.lane_of[earlier.0 as usize];
        self.done[step.0 as usize * self.lanes.len() + lane] > earlier.0
    }

    /// Whether step `earlier` has finished before a step starts that waits for `after`.
    pub fn before(&self, after: &[StepIndex], earlier: StepIndex) -> bool {
        after.iter().any(|after| self.with(*after, earlier))
    }

    /// What has finished before a step starts that waits for `after`, to be asked often.
    pub(super) fn waits<'a>(&'a self, after: &'a [StepIndex]) -> Waits<'a> {
        let mut done = Vec::new();
        if after.len() > LOOKED_THROUGH {
            done = vec![0; self.lanes.len()];
            for step in after {
                let of_step = &self.done[step.0 as usize * done.len()..][..done.len()];
                for (mine, theirs) in done.iter_mut().zip(of_step) {
                    *mine = (*mine).max(*theirs);
                }
            }
        }
        Waits { finished: self, after, done }
    }

    /// Which of the lanes in use a step is in, counted from zero.
    pub(super) fn lane_number(&self, step: StepIndex) -> u32 {
        u32::try_from(self.lane_of[step.0 as usize]).unwrap_or(u32::MAX)
    }

    /// The steps of an ascending list that the others of it do not make sure of.
    pub fn needed(&self, after: &[StepIndex]) -> Vec<StepIndex> {
        let mut kept: Vec<StepIndex> = Vec::with_capacity(after.len());
        // From the latest: a step can only have been waited for by a later one.
        for &step in after.iter().rev() {
            if !self.before(&kept, step) {
                kept.push(step);
            }
        }
        kept.reverse();
        kept
    }
}

/// Lists of steps up to this long are looked through every time.
const LOOKED_THROUGH: usize = 4;

/// What has finished before a step starts.
#[derive(Debug)]
pub(super) struct Waits<'a> {
    finished: &'a Finished,
    after: &'a [StepIndex],
    /// Steps in lane order that have finished; nothing where the list is short.
    done: Vec<u32>,
}

impl Waits<'_> {
    /// Whether step `earlier` has finished by then.
    pub(super) fn reach(&self, earlier: StepIndex) -> bool {
        if self.after.len() <= LOOKED_THROUGH {
            return self.finished.before(self.after, earlier);
        }
        self.done[self.finished.lane_of[earlier.0 as usize]] > earlier.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::BufferId;

    const OUT: Action = Action::MoveOut { from: BufferId(0) };
    const IN: Action = Action::MoveIn { to: BufferId(0) };
    const VECTOR: Action = Action::SwiGlu { gate: BufferId(0), up: BufferId(0), to: BufferId(0) };

    fn step(action: Action, after: &[u32]) -> Step {
        Step::new(action, after.iter().copied().map(StepIndex).collect::<Vec<_>>())
    }

    #[test]
    fn a_wait_reaches_through_waits_and_down_lanes() {
        let steps = [
            step(IN, &[]),      // 0
            step(IN, &[]),      // 1
            step(VECTOR, &[0]), // 2
            step(VECTOR, &[]),  // 3: later in the lane of 2, so it ends after 2 and after 0
            step(OUT, &[3]),    // 4
            step(OUT, &[]),     // 5
        ];
        let finished = Finished::of(&steps);
        let sure = |step: u32, of: u32| finished.before(&steps[step as usize].after, StepIndex(of));
        assert!(sure(4, 3) && sure(4, 2) && sure(4, 0));
        assert!(!sure(4, 1), "the second transfer need not have ended");
        assert!(!sure(5, 4) && !sure(3, 2), "a lane orders ends, not starts");
        assert!(finished.with(StepIndex(5), StepIndex(4)));
        // A long list reaches no further than a short one that says the same.
        for after in [&[0_u32][..], &[1], &[0, 2], &[1, 3]] {
            let short: Vec<_> = after.iter().copied().map(StepIndex).collect();
            let long = short.repeat(LOOKED_THROUGH + 1);
            for earlier in (0..6).map(StepIndex) {
                let expected = finished.before(&short, earlier);
                assert_eq!(finished.waits(&long).reach(earlier), expected);
                assert_eq!(finished.waits(&short).reach(earlier), expected);
            }
        }
        assert_eq!(finished.needed(&[0, 2, 3].map(StepIndex)), [StepIndex(3)]);
        assert_eq!(finished.needed(&[0, 1].map(StepIndex)), [StepIndex(1)]);
        assert_eq!(finished.needed(&[1, 2].map(StepIndex)), [StepIndex(1), StepIndex(2)]);
    }
}
