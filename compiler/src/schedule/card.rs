//! Plays the card forward and writes down each step when it would start.
//!
//! Steps between host, memory and vector unit go to the node furthest down that has its operands.
//! An array streams what is ready through a tile it holds. A loader follows the plan's order, and
//! takes a bank whose tile has done its wave.

use super::loads::{Load, Placed, load_order, place};
use super::waves::{Division, Plan};
use crate::graph::{Graph, Work};
use litecore_types::Cycles;
use litecore_types::chip::ChipDescription;
use litecore_types::chip::timing::Engine;
use litecore_types::program::{Action, Finished, Lane, Program, Step, StepIndex, Symbols, TileId};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

/// Settling that takes no longer than this is done for every part that arrives; a longer one waits
/// for the whole wave.
const QUICK_SETTLE: Cycles = Cycles(64);

pub(super) struct Card<'a> {
    program: &'a Program,
    graph: &'a Graph,
    chip: &'a ChipDescription,
    plan: Plan,
    division: Division,
    placed: Vec<Placed>,
    now: Cycles,
    events: BinaryHeap<Reverse<Cycles>>,
    /// When each unit is free.
    free: BTreeMap<Engine, Cycles>,
    steps: Vec<Step>,
    /// When each step has finished.
    ends: Vec<Cycles>,
    finished: Finished,
    /// Parts of nodes that are not done yet.
    remaining: usize,
    nodes: Vec<NodeState>,
    /// For each read of a tile: how many parts have passed.
    passed: Vec<usize>,
    /// For each slice and part: how many reads have added, and the last stream that did.
    slices: Vec<Vec<SlicePart>>,
    arrays: Vec<ArrayState>,
}

/// How far a node has come.
struct NodeState {
    /// The next part to be done, for a step.
    next: usize,
    /// Reads left for each part, for a product.
    left: Vec<usize>,
    /// When each part is done, if it is known.
    done: Vec<Option<Cycles>>,
    /// The steps that do each part.
    by: Vec<Vec<StepIndex>>,
}

#[derive(Clone, Copy, Default)]
struct SlicePart {
    streams: u32,
    last: Option<(StepIndex, usize, Cycles)>,
}

struct ArrayState {
    order: Vec<Load>,
    next: usize,
    loaded: usize,
    connected: Option<usize>,
    banks: Vec<Bank>,
}

#[derive(Clone, Default)]
struct Bank {
    holds: Option<Held>,
    /// Whether the cells have followed this bank since its load.
    settled: Option<StepIndex>,
    /// The last stream through it, and when it ends.
    last_stream: Option<(StepIndex, Cycles)>,
}

/// A tile in a bank.
#[derive(Clone)]
struct Held {
    /// Its reads.
    reads: std::ops::Range<usize>,
    until: usize,
    load: StepIndex,
    /// When it is there.
    ready: Cycles,
    /// The number of the load, for age.
    age: usize,
}

impl<'a> Card<'a> {
    pub(super) fn new(
        program: &'a Program,
        graph: &'a Graph,
        chip: &'a ChipDescription,
        plan: Plan,
    ) -> Self {
        let mut division = plan.divide(program.symbols_max);
        if let [only] = &mut division.parts[..] {
            *only = Symbols::ALL;
        }
        let placed = place(graph, chip);
        let parts = division.parts.len();
        let node = |work: &Work| {
            let reads = match work {
                Work::Step(_) => 0,
                Work::Matrix(matrix) => matrix.reads.len(),
            };
            let (done, by) = (vec![None; parts], vec![Vec::new(); parts]);
            NodeState { next: 0, left: vec![reads; parts], done, by }
        };
        let array = |array| ArrayState {
            order: load_order(&placed, array, &division, plan, 0),
            next: 0,
            loaded: 0,
            connected: None,
            banks: vec![Bank::default(); chip.array.banks],
        };
        let arrays: Vec<ArrayState> = (0..chip.array.arrays).map(array).collect();
        let slices = placed.iter().map(|placed| placed.read.slice + 1).max().unwrap_or(0);
        let lanes = [Lane::MoveIn, Lane::MoveOut, Lane::Vector].into_iter();
        let used = (0..).zip(&arrays).filter(|(_, state)| !state.order.is_empty());
        let of_arrays = used.flat_map(|(a, _)| [Lane::Load(a), Lane::Settle(a), Lane::Stream(a)]);
        Self {
            finished: Finished::for_lanes(lanes.chain(of_arrays)),
            nodes: graph.nodes.iter().map(|n| node(&n.work)).collect(),
            passed: vec![0; placed.len()],
            slices: vec![vec![SlicePart::default(); parts]; slices],
            program,
            graph,
            chip,
            plan,
            division,
            placed,
            now: Cycles::ZERO,
            events: BinaryHeap::new(),
            free: BTreeMap::new(),
            steps: Vec::new(),
            ends: Vec::new(),
            remaining: graph.nodes.len() * parts,
            arrays,
        }
    }

    /// The orders in which arrays take their tiles.
    pub(super) fn orders(&self) -> Vec<Vec<Load>> {
        self.arrays.iter().map(|array| array.order.clone()).collect()
    }

    /// The same with other orders up to the knee of the plan.
    pub(super) fn with_orders(mut self, orders: &[Vec<Load>]) -> Self {
        let (division, knee) = (&self.division, self.plan.knee);
        let of_wave = |end: usize| division.parts[end - 1].to;
        let late = division.wave_ends.iter().filter(|end| of_wave(**end) <= knee).count();
        for (number, (array, order)) in self.arrays.iter_mut().zip(orders).enumerate() {
            let late = load_order(&self.placed, number, division, self.plan, late);
            array.order = order.iter().copied().chain(late).collect();
        }
        self
    }

    /// The steps, or nothing if the plan gets stuck.
    pub(super) fn play(mut self) -> Option<Vec<Step>> {
        loop {
            while self.start_something() {}
            if self.remaining == 0 {
                self.close_settles();
                return Some(self.steps);
            }
            // The next moment at which something has changed.
            loop {
                let Reverse(time) = self.events.pop()?;
                if time > self.now {
                    self.now = time;
                    break;
                }
            }
        }
    }

    /// A bank that was connected ahead of time and left again settled for nothing: that is part of
    /// the runs in which its load is.
    fn close_settles(&mut self) {
        let mut loads: BTreeMap<(u16, u16), Symbols> = BTreeMap::new();
        for step in &mut self.steps {
            match step.action {
                Action::LoadBank { array, bank, .. } => {
                    loads.insert((array, bank), step.symbols);
                }
                Action::Settle { array, bank } if step.symbols == NOT_YET => {
                    step.symbols = loads.get(&(array, bank)).copied().unwrap_or(Symbols::ALL);
                }
                _ => {}
            }
        }
    }

    fn start_something(&mut self) -> bool {
        let mut started = false;
        for engine in [Engine::HostIn, Engine::HostOut, Engine::Vector] {
            started |= self.start_node(engine);
        }
        for array in 0..self.arrays.len() {
            started |= self.start_load(array);
            started |= self.start_stream(array);
        }
        started
    }

    /// Whether a unit is free now.
    fn is_free(&self, engine: Engine) -> bool {
        self.free.get(&engine).is_none_or(|free| *free <= self.now)
    }

    /// Appends a step that starts now, or when it has been issued; returns when it has finished.
    fn emit(&mut self, action: Action, symbols: Symbols, mut after: Vec<StepIndex>) -> Cycles {
        after.sort_unstable();
        after.dedup();
        let after = self.finished.needed(&after);
        self.finished.push(Lane::of(&action), &after);
        let mut step = Step { action, symbols, after: after.into() };
        let issued = Cycles(self.chip.issue_cycles().0 * (self.steps.len() as u64 + 1));
        if symbols == NOT_YET {
            step.symbols = Symbols::ALL;
        }
        let timing = self.chip.step_timing(self.program, &step, self.program.symbols_max);
        step.symbols = symbols;
        self.steps.push(step);
        let Some(timing) = timing else { unreachable!("parts lie within a full run") };
        let units = timing.uses().filter_map(|(unit, _)| self.free.get(&unit).copied());
        let start = units.fold(self.now.max(issued), Cycles::max);
        for (unit, busy) in timing.uses() {
            self.free.insert(unit, start + busy);
            self.events.push(Reverse(start + busy));
        }
        let end = start + timing.duration();
        self.events.push(Reverse(end));
        self.ends.push(end);
        end
    }

    fn last_step(&self) -> StepIndex {
        step_index(self.steps.len() - 1)
    }

    /// Whether all that a node needs is done for a part.
    fn is_ready(&self, node: usize, part: usize) -> bool {
        let needs = &self.graph.nodes[node].needs;
        needs.iter().all(|need| self.nodes[*need].done[part].is_some_and(|at| at <= self.now))
    }

    /// The steps that do what a node needs for a part.
    fn needed_steps(&self, node: usize, part: usize) -> impl Iterator<Item = StepIndex> + '_ {
        let needs = self.graph.nodes[node].needs.iter();
        needs.flat_map(move |need| self.nodes[*need].by[part].iter().copied())
    }

    /// Starts the step furthest down that can start on a unit.
    fn start_node(&mut self, engine: Engine) -> bool {
        if !self.is_free(engine) {
            return false;
        }
        for (index, node) in self.graph.nodes.iter().enumerate().rev() {
            let Work::Step(action) = node.work else { continue };
            let part = self.nodes[index].next;
            if Engine::of(&action) != engine
                || part >= self.division.parts.len()
                || !self.is_ready(index, part)
            {
                continue;
            }
            let parts = part..self.merged_until(index, part, engine);
            let symbols = Symbols {
                from: self.division.parts[part].from,
                to: self.division.parts[parts.end - 1].to,
            };
            let after = parts.clone().flat_map(|part| self.needed_steps(index, part)).collect();
            let end = self.emit(action, symbols, after);
            let step = self.last_step();
            let state = &mut self.nodes[index];
            state.next = parts.end;
            for part in parts {
                state.done[part] = Some(end);
                state.by[part] = vec![step];
                self.remaining -= 1;
            }
            return true;
        }
        false
    }

    /// Up to which part one step does the work of a node, from a part on that is ready.
    fn merged_until(&self, node: usize, part: usize, engine: Engine) -> usize {
        let parts = &self.division.parts;
        let from = parts[part].from;
        let most = match engine {
            Engine::HostIn => return part + 1,
            Engine::HostOut => Plan::leaving_part(from),
            _ => Plan::vector_part(from),
        };
        let mut end = part + 1;
        while end < parts.len() && parts[end].to - from <= most && self.is_ready(node, end) {
            end += 1;
        }
        end
    }

    /// Starts the next load of an array, if there is a bank for it.
    fn start_load(&mut self, array: usize) -> bool {
        let number = small(array);
        while let Some(&load) = self.arrays[array].order.get(self.arrays[array].next) {
            let tile = self.placed[load.first_read].read.tile;
            let reads = self.reads_of(array, load.first_read);
            if reads.clone().all(|read| self.passed[read] >= load.until) {
                self.arrays[array].next += 1;
                continue;
            }
            // A tile that is still there need not be loaded again.
            let holds = |bank: &&mut Bank| {
                bank.holds.as_ref().is_some_and(|held| held.reads.start == load.first_read)
            };
            if let Some(bank) = self.arrays[array].banks.iter_mut().find(holds) {
                if let Some(held) = &mut bank.holds {
                    held.until = held.until.max(load.until);
                }
                self.arrays[array].next += 1;
                continue;
            }
            if !self.is_free(Engine::Loader(number)) || !self.is_free(Engine::WeightMemory) {
                return false;
            }
            let Some(bank) = self.victim(array, self.placed[load.first_read].phase) else {
                return false;
            };
            let state = &self.arrays[array].banks[bank];
            let after = state.last_stream.iter().map(|(step, _)| *step).collect();
            let action = Action::LoadBank { array: number, bank: small(bank), tile };
            // The range is filled in by the streams.
            let ready = self.emit(action, NOT_YET, after);
            let load_step = self.last_step();
            let state = &mut self.arrays[array];
            let (until, age) = (load.until, state.loaded);
            state.banks[bank] = Bank {
                holds: Some(Held { reads, until, load: load_step, ready, age }),
                ..Bank::default()
            };
            state.loaded += 1;
            state.next += 1;
            return true;
        }
        false
    }

    /// All reads of a tile from the first one on.
    fn reads_of(&self, array: usize, first: usize) -> std::ops::Range<usize> {
        let tile: TileId = self.placed[first].read.tile;
        let same = |p: &&Placed| p.array == array && p.read.tile == tile;
        first..first + self.placed[first..].iter().take_while(same).count()
    }

    /// The bank to load for a phase: an empty one, or one whose tile has done its wave.
    fn victim(&self, array: usize, phase: usize) -> Option<usize> {
        let banks = &self.arrays[array].banks;
        if let Some(empty) = banks.iter().position(|bank| bank.holds.is_none()) {
            return Some(empty);
        }
        let phase_of = |held: &Held| self.placed[held.reads.start].phase;
        let own = |bank: &Bank| bank.holds.as_ref().is_some_and(|held| phase_of(held) == phase);
        let must_be_own = self.plan.hold && banks.iter().any(own);
        let free = banks.iter().enumerate().filter(|(_, bank)| {
            let Some(held) = &bank.holds else { return true };
            let passed = held.reads.clone().all(|read| self.passed[read] >= held.until);
            let ended = bank.last_stream.is_none_or(|(_, end)| end <= self.now);
            passed && ended && held.ready <= self.now && (!must_be_own || own(bank))
        });
        free.min_by_key(|(_, bank)| bank.holds.as_ref().map(|held| held.age)).map(|(bank, _)| bank)
    }

    /// Streams what is ready through a tile that is there: furthest down first.
    fn start_stream(&mut self, array: usize) -> bool {
        if !self.is_free(Engine::Array(small(array))) {
            return false;
        }
        let settle =
            Cycles::at_least(self.chip.cell.settling_s.value, self.chip.clock.symbol_rate_hz.value);
        let state = &self.arrays[array];
        let mut best: Option<(Preference, usize, usize, usize)> = None;
        for (bank, of_bank) in state.banks.iter().enumerate() {
            let Some(held) = of_bank.holds.as_ref().filter(|held| held.ready <= self.now) else {
                continue;
            };
            // Reads of one tile take turns, so that none falls behind.
            let Some(read) = held.reads.clone().min_by_key(|&read| self.passed[read]) else {
                continue;
            };
            let end = self.ready_until(array, read);
            if end == self.passed[read] {
                continue;
            }
            let connected = state.connected == Some(bank) && of_bank.settled.is_some();
            let whole = end >= held.until || end == self.division.parts.len();
            if !connected && settle > QUICK_SETTLE && !whole {
                continue;
            }
            let key = (self.placed[read].phase, connected, Reverse(held.age));
            if best.as_ref().is_none_or(|(other, ..)| key > *other) {
                best = Some((key, bank, read, end));
            }
        }
        let Some((_, bank, read, end)) = best else { return self.settle_ahead(array) };
        self.stream(array, bank, read, end);
        true
    }

    /// Connects the tile that is needed next, while there is nothing to stream.
    fn settle_ahead(&mut self, array: usize) -> bool {
        let state = &self.arrays[array];
        let passed = |bank: &Bank| {
            bank.holds
                .as_ref()
                .is_none_or(|held| held.reads.clone().all(|read| self.passed[read] >= held.until))
        };
        if !state.connected.is_none_or(|bank| passed(&state.banks[bank])) {
            return false;
        }
        let fresh = state.banks.iter().enumerate().filter_map(|(bank, of_bank)| {
            let held = of_bank.holds.as_ref()?;
            let new = of_bank.settled.is_none() && held.ready <= self.now && !passed(of_bank);
            new.then_some((held.age, bank, held.load))
        });
        let Some((_, bank, load)) = fresh.min() else { return false };
        self.settle(array, bank, load);
        true
    }

    fn settle(&mut self, array: usize, bank: usize, load: StepIndex) -> StepIndex {
        let action = Action::Settle { array: small(array), bank: small(bank) };
        self.emit(action, NOT_YET, vec![load]);
        let step = self.last_step();
        self.arrays[array].connected = Some(bank);
        self.arrays[array].banks[bank].settled = Some(step);
        step
    }

    /// Up to which part a read can stream now: operands there, accumulators free.
    fn ready_until(&self, array: usize, read: usize) -> usize {
        let Placed { read: tile, node, .. } = self.placed[read];
        let first = self.passed[read];
        let slice = &self.slices[tile.slice];
        let is_first = |part: usize| slice[part].streams == 0;
        let mut end = first;
        while end < self.division.parts.len()
            && is_first(end) == is_first(first)
            && self.is_ready(node, end)
            && slice[end].last.is_none_or(|(_, other, at)| other == array || at <= self.now)
        {
            end += 1;
        }
        end
    }

    fn stream(&mut self, array: usize, bank: usize, read: usize, end: usize) {
        let number = small(array);
        let Placed { read: tile, node, .. } = self.placed[read];
        let Work::Matrix(matrix) = &self.graph.nodes[node].work else { return };
        let parts = self.passed[read]..end;
        let symbols = Symbols {
            from: self.division.parts[parts.start].from,
            to: self.division.parts[parts.end - 1].to,
        };
        let Some(load) = self.arrays[array].banks[bank].holds.as_ref().map(|held| held.load) else {
            return;
        };
        let of_bank = &self.arrays[array].banks[bank];
        let settle = match of_bank.settled {
            Some(settle) if self.arrays[array].connected == Some(bank) => settle,
            _ => self.settle(array, bank, load),
        };
        let mut after = vec![settle];
        for part in parts.clone() {
            after.extend(self.needed_steps(node, part));
            let last = self.slices[tile.slice][part].last;
            after.extend(last.filter(|(_, other, _)| *other != array).map(|(step, ..)| step));
        }
        let first = self.slices[tile.slice][parts.start].streams == 0;
        let action = Action::Stream {
            array: number,
            bank: small(bank),
            tile: tile.tile,
            from: matrix.from,
            from_offset: tile.from_offset,
            shift: tile.shift,
            to: matrix.to,
            to_offset: tile.to_offset,
            accumulate_shift: tile.accumulate_shift,
            first,
        };
        let ends = self.emit(action, symbols, after);
        let step = self.last_step();
        for made_for in [load, settle] {
            widen(&mut self.steps[made_for.0 as usize].symbols, symbols);
        }
        self.arrays[array].banks[bank].last_stream = Some((step, ends));
        self.passed[read] = end;
        for part in parts {
            let of_slice = &mut self.slices[tile.slice][part];
            of_slice.streams += 1;
            of_slice.last = Some((step, array, ends));
            let of_node = &mut self.nodes[node];
            of_node.left[part] -= 1;
            // Streams through one array end in order: the last one stands for those before it.
            of_node.by[part].retain(|other| {
                Lane::of(&self.steps[other.0 as usize].action) != Lane::Stream(number)
            });
            of_node.by[part].push(step);
            if of_node.left[part] == 0 {
                let ends_of = |step: &StepIndex| self.ends[step.0 as usize];
                of_node.done[part] = of_node.by[part].iter().map(ends_of).max();
                self.remaining -= 1;
            }
        }
    }
}

/// Which stream goes first: a later phase, the bank that is connected, the older load.
type Preference = (usize, bool, Reverse<usize>);

/// The range of a load or settle before its streams are known.
const NOT_YET: Symbols = Symbols { from: u64::MAX, to: 0 };

/// Makes a range reach over another one.
fn widen(range: &mut Symbols, other: Symbols) {
    range.from = range.from.min(other.from);
    range.to = range.to.max(other.to);
}

fn step_index(position: usize) -> StepIndex {
    StepIndex(u32::try_from(position).expect("layers are bounded by STEPS_MAX"))
}

fn small(value: usize) -> u16 {
    u16::try_from(value).expect("arrays and banks were checked")
}
