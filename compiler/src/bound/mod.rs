//! What no order of steps can beat.
//!
//! Two lower bounds on the time of a run, neither of which looks at the order of a program's steps,
//! its waits, or the bank that a tile sits in.
//!
//! *Of the work*: takes as given which transfers, operations and streams a program makes for which
//! symbols, and which loads serve which streams. It is the largest of
//! * the longest chain of steps of which each needs the result of the one before;
//! * for each unit and each set of its steps that have the latest heads: the earliest head, all the
//!   time that the unit is taken, and the shortest tail. A head is the longest chain before a step,
//!   a tail what must follow it;
//! * for each array with B banks and each result: of all the loads the result needs, only B can be
//!   over before the streams of the first one to be used up have ended. The others follow one by
//!   one. This is part of the heads of what comes after.
//!
//! *Of any work*: the same for every way to compute the same with each tile on the array where this
//! program has it, however often tiles are loaded: each
//! symbol needs every tile after its arrival, and only B of them can be there when it arrives. Where an
//! array has few tiles, all orders in which they can take turns are searched (`turns`): how often a
//! pass of the weights can start while symbols arrive is what decides runs of middling length.

mod tiles;
mod turns;

use litecore_types::Cycles;
use litecore_types::chip::ChipDescription;
use litecore_types::chip::timing::{Engine, StepTiming};
use litecore_types::program::{Action, Program, Step};
use serde::Serialize;
use std::collections::BTreeMap;

/// A lower bound on the cycles of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LowerBound {
    /// No order takes fewer.
    pub cycles: Cycles,
    /// The unit that makes it so; nothing where a chain of single steps does.
    pub engine: Option<Engine>,
}

/// The lower bounds of one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LowerBounds {
    /// For the work that the program does.
    pub of_the_work: LowerBound,
    /// For any program that computes the same on the same tiles of the same arrays.
    pub of_any_work: LowerBound,
}

/// Bounds one run of a program on `symbols` input vectors.
pub fn lower_bounds(program: &Program, chip: &ChipDescription, symbols: u64) -> LowerBounds {
    let timed = |step: &Step| chip.step_timing(program, step, symbols);
    let steps: Vec<&Step> = program.steps.iter().filter(|step| timed(step).is_some()).collect();
    let work = Flow::new(program, chip, &steps, symbols, false).bound(chip);
    let of_any_work = any_work(program, chip, symbols);
    // What bounds any work bounds this one.
    let of_the_work = if of_any_work.cycles > work.cycles { of_any_work } else { work };
    LowerBounds { of_the_work, of_any_work }
}

/// Steps by what they need, without their order.
struct Flow {
    timings: Vec<StepTiming>,
    /// The steps whose results a step needs.
    needs: Vec<Vec<usize>>,
    /// The longest chain before each step.
    heads: Vec<Cycles>,
    /// The longest chain after each step's units are free.
    tails: Vec<Cycles>,
    /// Whether the first tiles are taken to be there at the beginning.
    preloaded: bool,
}

/// Who wrote what a step reads, by buffer.
#[derive(Default)]
struct Writers(BTreeMap<u32, Vec<Written>>);

/// Symbols from and to, elements from and to, and who wrote them.
type Written = (u64, u64, usize, usize, usize);

impl Flow {
    fn new(
        program: &Program,
        chip: &ChipDescription,
        steps: &[&Step],
        symbols: u64,
        preloaded: bool,
    ) -> Self {
        let timing = |step: &&Step| {
            chip.step_timing(program, step, symbols).expect("dropped steps were left out")
        };
        let timings: Vec<StepTiming> = steps.iter().map(timing).collect();
        let needs = needs(program, steps, symbols);
        let mut flow = Self { heads: Vec::new(), tails: Vec::new(), timings, needs, preloaded };
        flow.set_heads(chip, steps);
        flow.set_tails();
        flow
    }

    fn end(&self, step: usize) -> Cycles {
        self.heads[step] + self.timings[step].duration()
    }

    /// When all that a step needs can be there.
    fn chain(&self, steps: &[&Step], step: usize) -> Cycles {
        let counts = |need: &&usize| {
            let action = &steps[**need].action;
            !self.preloaded || !matches!(action, Action::LoadBank { .. } | Action::Settle { .. })
        };
        let before = self.needs[step].iter().filter(counts).map(|need| self.end(*need));
        before.fold(self.heads[step], Cycles::max)
    }

    /// Heads, with what the banks add.
    fn set_heads(&mut self, chip: &ChipDescription, steps: &[&Step]) {
        let is_load = |step: usize| matches!(steps[step].action, Action::LoadBank { .. });
        let loads: Vec<usize> = (0..steps.len()).filter(|step| is_load(*step)).collect();
        let number_of: BTreeMap<usize, usize> =
            loads.iter().enumerate().map(|(number, step)| (*step, number)).collect();
        // Without the banks: when the streams of each load may have ended.
        self.heads = vec![chip.issue_cycles(); steps.len()];
        let mut load_of: Vec<Option<usize>> = vec![None; steps.len()];
        let mut used_up = vec![Cycles::ZERO; loads.len()];
        for step in 0..steps.len() {
            self.heads[step] = self.chain(steps, step);
            load_of[step] = match steps[step].action {
                Action::LoadBank { .. } => number_of.get(&step).copied(),
                Action::Settle { .. } | Action::Stream { .. } => {
                    self.needs[step].iter().find_map(|need| load_of[*need])
                }
                _ => None,
            };
            if let (Some(load), Action::Stream { .. }) = (load_of[step], steps[step].action) {
                used_up[load] = used_up[load].max(self.end(step));
            }
        }
        // With them: the loads that each step needs, and what follows from their number.
        let words = loads.len().div_ceil(64);
        let mut needed = vec![0_u64; words * steps.len()];
        for step in 0..steps.len() {
            let (before, own) = needed.split_at_mut(step * words);
            for need in &self.needs[step] {
                for (word, more) in own.iter_mut().zip(&before[need * words..][..words]) {
                    *word |= more;
                }
            }
            if let Some(number) = number_of.get(&step) {
                own[number / 64] |= 1 << (number % 64);
            }
            self.heads[step] = self.chain(steps, step);
            if matches!(steps[step].action, Action::Dequantise { .. }) {
                let own: Vec<usize> = (0..loads.len())
                    .filter(|number| own[number / 64] >> (number % 64) & 1 == 1)
                    .collect();
                let late = self.late_loads(chip, steps, &loads, &used_up, &own, step);
                self.heads[step] = self.heads[step].max(late);
            }
        }
    }

    /// The earliest start of a rescaling that needs these loads.
    fn late_loads(
        &self,
        chip: &ChipDescription,
        steps: &[&Step],
        loads: &[usize],
        used_up: &[Cycles],
        needed: &[usize],
        step: usize,
    ) -> Cycles {
        // From a load's end to the step: it must settle and pass at least the step's own streams.
        let streams = self.needs[step]
            .iter()
            .filter(|need| matches!(steps[**need].action, Action::Stream { .. }));
        let after = streams.map(|need| self.timings[*need].duration()).min().unwrap_or_default();
        let mut latest = Cycles::ZERO;
        let mut arrays: BTreeMap<Engine, Vec<usize>> = BTreeMap::new();
        for &number in needed {
            arrays.entry(self.timings[loads[number]].engine).or_default().push(number);
        }
        for numbers in arrays.values() {
            let mut freed: Vec<Cycles> = numbers.iter().map(|n| used_up[*n]).collect();
            freed.sort_unstable();
            let shortest = numbers.iter().map(|n| self.timings[loads[*n]].occupied()).min();
            let banks = chip.array.banks;
            for (ended, at) in freed.iter().enumerate() {
                // The load that has so many used up before it, and those that follow it.
                let left = numbers.len().saturating_sub(banks + ended);
                if left > 0 {
                    let loading = Cycles(shortest.unwrap_or_default().0 * left as u64);
                    latest = latest.max(*at + loading + after);
                }
            }
        }
        latest
    }

    /// The longest chain from the results of some steps to the start of each step that needs them,
    /// loads apart; nothing for steps that do not.
    fn chains_from(&self, steps: &[&Step], from: &[usize]) -> Vec<Option<u64>> {
        let mut chains: Vec<Option<u64>> = vec![None; steps.len()];
        for step in 0..steps.len() {
            let of_weights = |need: &usize| {
                matches!(steps[*need].action, Action::LoadBank { .. } | Action::Settle { .. })
            };
            let through = |need: &usize| {
                let before = chains[*need].map(|chain| chain + self.timings[*need].duration().0);
                before.max(from.contains(need).then_some(0))
            };
            let needs = self.needs[step].iter().filter(|need| !of_weights(need));
            chains[step] = needs.filter_map(through).max();
        }
        chains
    }

    fn set_tails(&mut self) {
        self.tails = self.timings.iter().map(|timing| timing.latency).collect();
        for step in (0..self.needs.len()).rev() {
            let from_start = self.timings[step].occupied() + self.tails[step];
            for need in &self.needs[step] {
                let tail = self.timings[*need].latency + from_start;
                self.tails[*need] = self.tails[*need].max(tail);
            }
        }
    }

    fn bound(&self, chip: &ChipDescription) -> LowerBound {
        let mut best = LowerBound { cycles: Cycles::ZERO, engine: None };
        let mut consider = |cycles: Cycles, engine| {
            if cycles > best.cycles {
                best = LowerBound { cycles, engine };
            }
        };
        let mut users: BTreeMap<Engine, Vec<(Cycles, Cycles, Cycles)>> = BTreeMap::new();
        for (step, timing) in self.timings.iter().enumerate() {
            let whole = timing.occupied();
            consider(self.heads[step] + whole + self.tails[step], None);
            for (unit, busy) in timing.uses() {
                let tail = (whole - busy) + self.tails[step];
                users.entry(unit).or_default().push((self.heads[step], busy, tail));
            }
        }
        let issue = chip.issue_cycles().0 * self.timings.len() as u64;
        consider(Cycles(issue), Some(Engine::Command));
        for (unit, mut steps) in users {
            steps.sort_unstable();
            let (mut taken, mut tail) = (Cycles::ZERO, Cycles(u64::MAX));
            for (head, busy, after) in steps.into_iter().rev() {
                taken += busy;
                tail = tail.min(after);
                consider(head + taken + tail, Some(unit));
            }
        }
        best
    }
}

/// For each step, the steps whose results it needs. Sums do not need each other.
fn needs(program: &Program, steps: &[&Step], symbols: u64) -> Vec<Vec<usize>> {
    let mut writers = Writers::default();
    let mut loads: BTreeMap<(u16, u16), usize> = BTreeMap::new();
    let mut settles: BTreeMap<(u16, u16), usize> = BTreeMap::new();
    let mut all = Vec::with_capacity(steps.len());
    for (index, step) in steps.iter().enumerate() {
        let range = step.symbols.in_run(symbols.max(1));
        let (from, to) = (range.start, range.end);
        let whole = |buffer: u32| (buffer, 0, program.buffers[buffer as usize].len);
        let mut needs = Vec::new();
        let mut read = |writers: &Writers, (buffer, first, end): (u32, usize, usize)| {
            let list = writers.0.get(&buffer).into_iter().flatten();
            let meets =
                list.filter(|(f, t, a, b, _)| *f < to && from < *t && *a < end && first < *b);
            needs.extend(meets.map(|(.., writer)| *writer));
        };
        let mut written = Vec::new();
        match step.action {
            Action::MoveIn { to } => written.push(whole(to.0)),
            Action::MoveOut { from } => read(&writers, whole(from.0)),
            Action::Quantise { from, to, scale } => {
                read(&writers, whole(from.0));
                written.extend([whole(to.0), whole(scale.0)]);
            }
            Action::LoadBank { array, bank, .. } => _ = loads.insert((array, bank), index),
            Action::Settle { array, bank } => {
                needs.extend(loads.get(&(array, bank)));
                settles.insert((array, bank), index);
            }
            Action::Stream {
                array, bank, tile, from, from_offset, to, to_offset, first, ..
            } => {
                let (inputs, outputs) = program.tile_shape(tile);
                let offset = from_offset as usize;
                read(&writers, (from.0, offset, offset + inputs));
                needs.extend(settles.get(&(array, bank)));
                let offset = to_offset as usize;
                let slice = (to.0, offset, offset + outputs);
                if first {
                    written.push(slice);
                } else {
                    writers.add(slice, (range.start, range.end), index);
                }
            }
            Action::Dequantise { from, scale, to, .. } => {
                read(&writers, whole(from.0));
                read(&writers, whole(scale.0));
                written.push(whole(to.0));
            }
            Action::Rotate { from, to, .. } => {
                read(&writers, whole(from.0));
                written.push(whole(to.0));
            }
            Action::SwiGlu { gate, up, to } => {
                read(&writers, whole(gate.0));
                read(&writers, whole(up.0));
                written.push(whole(to.0));
            }
        }
        for region in written {
            writers.replace(region, (from, to), index);
        }
        needs.sort_unstable();
        needs.dedup();
        all.push(needs);
    }
    all
}

impl Writers {
    fn add(&mut self, region: (u32, usize, usize), symbols: (u64, u64), writer: usize) {
        let (buffer, first, end) = region;
        self.0.entry(buffer).or_default().push((symbols.0, symbols.1, first, end, writer));
    }

    /// A writer that makes those before it forgotten, where it covers them; where it does not, they
    /// are kept too, which can only make a chain of program order longer for a read that meets both.
    fn replace(&mut self, region: (u32, usize, usize), symbols: (u64, u64), writer: usize) {
        let (buffer, first, end) = region;
        let list = self.0.entry(buffer).or_default();
        list.retain(|(from, to, a, b, _)| {
            !(symbols.0 <= *from && *to <= symbols.1 && first <= *a && *b <= end)
        });
        self.add(region, symbols, writer);
    }
}

/// The bound for any program on the same tiles of the same arrays.
fn any_work(program: &Program, chip: &ChipDescription, symbols: u64) -> LowerBound {
    // The way of the first symbol: every symbol goes the same.
    let steps: Vec<&Step> = program.steps.iter().filter(|step| step.symbols.from == 0).collect();
    let one = Flow::new(program, chip, &steps, 1, false);
    let mut best = LowerBound { cycles: Cycles::ZERO, engine: None };
    let mut consider = |cycles: Cycles, engine| {
        if cycles > best.cycles {
            best = LowerBound { cycles, engine };
        }
    };
    let mut units: BTreeMap<Engine, Load> = BTreeMap::new();
    let mut loads = 0;
    for (index, step) in steps.iter().enumerate() {
        consider(one.heads[index] + one.timings[index].occupied() + one.tails[index], None);
        // A tile settles once; that it does so again is a matter of order.
        match step.action {
            Action::LoadBank { .. } => loads += 1,
            Action::Settle { .. } if loads == 0 => continue,
            Action::Settle { .. } => loads -= 1,
            _ => {}
        }
        let whole = Step::new(step.action, Vec::new());
        let Some(timing) = chip.step_timing(program, &whole, symbols) else { continue };
        for (unit, busy) in timing.uses() {
            let load = units.entry(unit).or_insert(Load {
                head: Cycles(u64::MAX),
                busy: Cycles::ZERO,
                tail: Cycles(u64::MAX),
            });
            load.head = load.head.min(one.heads[index]);
            load.busy += busy;
            load.tail = load.tail.min(one.tails[index]);
        }
    }
    for (unit, load) in &units {
        consider(load.head + load.busy + load.tail, Some(*unit));
    }
    // The last symbol to arrive has before it what any symbol has from its arrival on.
    let preloaded = Flow::new(program, chip, &steps, 1, true);
    let arrived = (0..steps.len())
        .filter(|index| matches!(steps[*index].action, Action::MoveIn { .. }))
        .map(|index| preloaded.heads[index] + preloaded.timings[index].occupied())
        .max();
    if let (Some(load), Some(arrived)) = (units.get(&Engine::HostIn), arrived) {
        // Loads are no part of a symbol's way, however long they take.
        let on_the_way = (0..steps.len()).filter(|step| {
            !matches!(steps[*step].action, Action::LoadBank { .. } | Action::Settle { .. })
        });
        let whole = on_the_way.map(|step| preloaded.end(step)).max().unwrap_or_default();
        consider(load.head + load.busy + (whole - arrived), Some(Engine::HostIn));
    }
    // Tiles that take turns: no run need take longer than one pass of them after the last arrival.
    for (loader, turns) in tiles::turns(program, chip, &steps, &one, symbols) {
        let least = best.cycles.0;
        let bound = turns.bound(least, turns.one_pass());
        if bound > least {
            best = LowerBound { cycles: Cycles(bound), engine: Some(loader) };
        }
    }
    best
}

/// What all symbols ask of a unit.
struct Load {
    head: Cycles,
    busy: Cycles,
    tail: Cycles,
}
