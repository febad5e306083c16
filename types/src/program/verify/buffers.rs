//! Buffers: who reads and writes which elements for which symbols, in what order, how wide.

use super::Verifier;
use crate::program::order::Waits;
use crate::program::regions::{Area, Regions};
use crate::program::{Action, BufferId, Step, StepIndex, Violation};

/// The most regions all buffers of a program may be cut into.
const REGIONS_MAX: usize = 1 << 22;

/// The most regions all accesses of a program may touch, one counted as often as it is touched.
///
/// Thirty-two for each of half a million steps; programs of whole experts take a few.
const VISITS_MAX: usize = 1 << 24;

/// The largest sum that an accumulator holds.
pub(super) const WIDEST: u64 = i32::MAX as u64;

/// What a step does to a part of a buffer.
struct Access {
    buffer: BufferId,
    area: Area,
    write: bool,
}

/// What has been done to a region so far.
#[derive(Clone, Default)]
struct History {
    last_write: Option<StepIndex>,
    /// The last reader of each lane since then, by lane: earlier ones of a lane end earlier.
    readers: Vec<(u32, StepIndex)>,
    /// The largest magnitude its accumulators may hold.
    worst: u64,
    /// The readings that were added up to it.
    terms: u64,
}

impl Verifier<'_> {
    pub(super) fn check_buffers(&mut self) {
        let steps = &self.program.steps;
        let mut areas: Vec<Vec<Area>> = self.program.buffers.iter().map(|_| Vec::new()).collect();
        for step in steps {
            for access in self.accesses(step) {
                areas[access.buffer.0 as usize].push(access.area);
            }
        }
        let mut buffers = Vec::with_capacity(areas.len());
        let mut room = REGIONS_MAX;
        for (areas, index) in areas.iter().zip(0..) {
            match Regions::<History>::new(areas, self.program.symbols_max, room) {
                Ok(regions) => {
                    room -= regions.len();
                    buffers.push(regions);
                }
                Err(regions) => {
                    let (buffer, limit) = (BufferId(index), REGIONS_MAX);
                    self.violations.push(Violation::TooManyRegions { buffer, regions, limit });
                    return;
                }
            }
        }
        let mut visits = 0_usize;
        for (step, index) in steps.iter().zip(0..) {
            let step_index = StepIndex(index);
            for access in self.accesses(step) {
                let regions = buffers[access.buffer.0 as usize].count(&access.area);
                visits = visits.saturating_add(regions);
            }
            if visits > VISITS_MAX {
                let limit = VISITS_MAX;
                self.violations.push(Violation::TooManyVisits { step: step_index, visits, limit });
                return;
            }
        }
        let finished = std::mem::take(&mut self.finished);
        for (step, index) in steps.iter().zip(0..) {
            let index = StepIndex(index);
            let accesses = self.accesses(step);
            let waits = finished.waits(&step.after);
            let lane = finished.lane_number(index);
            for access in &accesses {
                let regions = &mut buffers[access.buffer.0 as usize];
                self.check_access(index, access, regions, &waits);
            }
            for access in &accesses {
                let buffer = &mut buffers[access.buffer.0 as usize];
                for region in buffer.of(&access.area) {
                    let history = buffer.state(region);
                    if access.write {
                        history.last_write = Some(index);
                        history.readers.clear();
                    } else {
                        match history.readers.binary_search_by_key(&lane, |reader| reader.0) {
                            Ok(place) => history.readers[place].1 = index,
                            Err(place) => history.readers.insert(place, (lane, index)),
                        }
                    }
                }
                if access.write {
                    self.check_width(index, step, access, buffer);
                }
            }
        }
        self.finished = finished;
    }

    fn check_access(
        &mut self,
        index: StepIndex,
        access: &Access,
        regions: &mut Regions<History>,
        waits: &Waits<'_>,
    ) {
        let buffer = access.buffer;
        let mut unordered = None;
        let mut unwritten = None;
        for region in regions.of(&access.area) {
            let history = regions.state(region);
            let conflict =
                |earlier: &StepIndex| !waits.reach(*earlier) && !self.pipelined(index, *earlier);
            // What a write waited for, later writers and readers wait for with it.
            let written = history.last_write.filter(conflict);
            let readers = if access.write { &history.readers[..] } else { &[] };
            let read = readers.iter().map(|reader| reader.1).filter(conflict).min();
            unordered = unordered.into_iter().chain(written).chain(read).min();
            if !access.write && history.last_write.is_none() && unwritten.is_none() {
                unwritten = Some(regions.corner(region));
            }
        }
        if let Some((element, symbol)) = unwritten {
            let step = index;
            self.violations.push(Violation::ReadBeforeWritten { step, buffer, element, symbol });
        }
        if let Some(conflicts_with) = unordered {
            self.violations.push(Violation::Unordered { step: index, buffer, conflicts_with });
        }
    }

    /// Streams through one array leave its pipeline in the order they entered, so they may add to
    /// the same accumulators without waiting for each other.
    fn pipelined(&self, step: StepIndex, earlier: StepIndex) -> bool {
        let array_of = |index: StepIndex| match self.program.steps[index.0 as usize].action {
            Action::Stream { array, to, .. } => Some((array, to)),
            _ => None,
        };
        array_of(step).is_some() && array_of(step) == array_of(earlier)
    }

    fn check_width(
        &mut self,
        index: StepIndex,
        step: &Step,
        access: &Access,
        regions: &mut Regions<History>,
    ) {
        let Action::Stream { accumulate_shift, first, .. } = step.action else { return };
        let code_max = 1_u64 << (self.chip.adc.bits - 1);
        let added = if accumulate_shift < 40 { code_max << accumulate_shift } else { 1 << 48 };
        let buffer = access.buffer;
        let mut over = 0;
        for region in regions.of(&access.area) {
            let History { worst: sum, terms, .. } = regions.state(region);
            *terms = if first { 1 } else { *terms + 1 };
            self.terms_max = self.terms_max.max(*terms);
            // What is added to sums that overflow already is not the fault of this step.
            let before = if first { 0 } else { *sum };
            *sum = before.saturating_add(added);
            if *sum > WIDEST && before <= WIDEST {
                over = over.max(*sum);
            }
        }
        if over > 0 {
            let bits = 65 - over.leading_zeros();
            self.violations.push(Violation::AccumulatorOverflow { step: index, buffer, bits });
        }
    }

    fn accesses(&self, step: &Step) -> Vec<Access> {
        let symbols = step.symbols;
        let part = |buffer: BufferId, offset: u32, len: usize, write| {
            let first = offset as usize;
            let end = self.program.buffer(buffer).len.min(first.saturating_add(len));
            Access { buffer, area: Area { first, end, symbols }, write }
        };
        let whole = |buffer: BufferId, write| part(buffer, 0, usize::MAX, write);
        match step.action {
            Action::MoveIn { to } => vec![whole(to, true)],
            Action::MoveOut { from } => vec![whole(from, false)],
            Action::Quantise { from, to, scale } => {
                vec![whole(from, false), whole(to, true), whole(scale, true)]
            }
            Action::LoadBank { .. } | Action::Settle { .. } => Vec::new(),
            Action::Stream { tile, from, from_offset, to, to_offset, first, .. } => {
                // By the chip, not by what the program says of it: that may be anything.
                let packing = self.program.tile(tile).packing;
                let array = &self.chip.array;
                let (inputs, outputs) =
                    (packing.inputs(array.inputs), packing.outputs(array.outputs));
                let mut list = vec![part(from, from_offset, inputs, false)];
                if !first {
                    list.push(part(to, to_offset, outputs, false));
                }
                list.push(part(to, to_offset, outputs, true));
                list
            }
            Action::Dequantise { from, scale, to, .. } => {
                vec![whole(from, false), whole(scale, false), whole(to, true)]
            }
            Action::Rotate { from, to, .. } => vec![whole(from, false), whole(to, true)],
            Action::SwiGlu { gate, up, to } => {
                vec![whole(gate, false), whole(up, false), whole(to, true)]
            }
        }
    }
}
