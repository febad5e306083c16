//! Buffers: who reads and writes which elements for which symbols, in what order, how wide.

use super::Verifier;
use crate::program::regions::{Area, Regions};
use crate::program::{Action, BufferId, Step, StepIndex, Violation};

/// The most regions all buffers of a program may be cut into.
const REGIONS_MAX: usize = 1 << 22;

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
    /// Readers since then.
    readers: Vec<StepIndex>,
    /// The largest magnitude its accumulators may hold.
    worst: u64,
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
        let mut reported = vec![false; buffers.len()];
        for (step, index) in steps.iter().zip(0..) {
            let index = StepIndex(index);
            let accesses = self.accesses(step);
            for access in &accesses {
                self.check_access(index, access, &mut buffers[access.buffer.0 as usize]);
            }
            for access in &accesses {
                let buffer = &mut buffers[access.buffer.0 as usize];
                for region in buffer.of(&access.area) {
                    let history = buffer.state(region);
                    if access.write {
                        history.last_write = Some(index);
                        history.readers.clear();
                    } else {
                        history.readers.push(index);
                    }
                }
                if access.write {
                    self.check_width(index, step, access, buffer, &mut reported);
                }
            }
        }
    }

    fn check_access(&mut self, index: StepIndex, access: &Access, regions: &mut Regions<History>) {
        let buffer = access.buffer;
        let mut unordered = None;
        let mut unwritten = None;
        for region in regions.of(&access.area) {
            let history = regions.state(region);
            let conflict = |earlier: &StepIndex| {
                !self.waits_for(index, *earlier) && !self.pipelined(index, *earlier)
            };
            // What a write waited for, later writers and readers wait for with it.
            let mut conflicts: Vec<StepIndex> =
                history.last_write.iter().copied().filter(conflict).collect();
            if access.write {
                conflicts.extend(history.readers.iter().copied().filter(conflict));
            }
            unordered = unordered.into_iter().chain(conflicts).min();
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
        reported: &mut [bool],
    ) {
        let Action::Stream { accumulate_shift, first, .. } = step.action else { return };
        let code_max = 1_u64 << (self.chip.adc.bits - 1);
        let added = if accumulate_shift < 40 { code_max << accumulate_shift } else { 1 << 48 };
        let buffer = access.buffer;
        for region in regions.of(&access.area) {
            let sum = &mut regions.state(region).worst;
            *sum = if first { added } else { sum.saturating_add(added) };
            if *sum > i32::MAX as u64 && !std::mem::replace(&mut reported[buffer.0 as usize], true)
            {
                let bits = 65 - sum.leading_zeros();
                self.violations.push(Violation::AccumulatorOverflow { step: index, buffer, bits });
            }
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
                let (inputs, outputs) = self.program.tile_shape(tile);
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
