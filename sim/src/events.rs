//! Plays a program as discrete events: what the card does, and when.
//!
//! The command processor issues the steps one after the other. An issued step stands in line at
//! every unit it uses. It starts when it is the first in all those lines, the units are free, and
//! everything it waits for has finished. Steps of one lane finish in order. Time jumps from event to
//! event; an event is an issue, a unit coming free, or the work of a step being done.
//!
//! **Invariant:** durations and energies come from the chip description alone; data do not change
//! them.

use litecore_types::chip::ChipDescription;
use litecore_types::chip::timing::{Engine, StepTiming};
use litecore_types::program::{Lane, Step, StepIndex, VerifiedProgram};
use litecore_types::{Cycles, EnergyLedger};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

/// What running a program takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// Until the last step has finished.
    pub cycles: Cycles,
    /// Where the energy goes: charged step by step in program order, then what runs by time alone.
    pub ledger: EnergyLedger,
    /// When each step ran, in step order.
    pub timeline: Vec<StepSpan>,
    /// How long each unit was taken.
    pub busy: BTreeMap<Engine, Cycles>,
}

/// When a step held the unit that does its work, and when it had finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepSpan {
    /// Which step.
    pub step: StepIndex,
    /// Where it ran.
    pub engine: Engine,
    /// Whether the run has none of its symbols.
    pub dropped: bool,
    /// When it took the unit.
    pub start: Cycles,
    /// When it freed the unit.
    pub busy_end: Cycles,
    /// When its result was there.
    pub end: Cycles,
}

/// Plays `program` on `symbols` input vectors.
pub fn simulate(program: &VerifiedProgram, chip: &ChipDescription, symbols: u64) -> Schedule {
    let mut ledger = EnergyLedger::default();
    for step in &program.steps {
        chip.charge_step(program, step, symbols, &mut ledger);
    }
    let timing = |step: &Step| chip.step_timing(program, step, symbols);
    let mut card = Card::new(&program.steps, program.steps.iter().map(timing).collect());
    card.play(chip.issue_cycles());
    chip.charge_static(card.now, &mut ledger);
    Schedule { cycles: card.now, ledger, timeline: card.timeline(), busy: card.busy }
}

/// What happens at a point in time. Events of the same cycle commute, so their order is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Issued(usize),
    UnitFree(Engine),
    WorkDone(usize),
}

/// A unit and who stands in line at it.
#[derive(Default)]
struct Unit {
    taken: bool,
    line: VecDeque<usize>,
}

/// How far a step has come.
#[derive(Clone, Default)]
struct Progress {
    issued: bool,
    /// How many steps it still waits for.
    waiting: usize,
    /// Who waits for it.
    dependents: Vec<usize>,
    start: Cycles,
    done: bool,
    end: Option<Cycles>,
}

struct Card<'a> {
    steps: &'a [Step],
    /// Nothing for a dropped step.
    timings: Vec<Option<StepTiming>>,
    now: Cycles,
    events: BinaryHeap<Reverse<(Cycles, Event)>>,
    units: BTreeMap<Engine, Unit>,
    /// The steps of each lane that have not finished.
    lanes: BTreeMap<Lane, VecDeque<usize>>,
    progress: Vec<Progress>,
    busy: BTreeMap<Engine, Cycles>,
}

impl<'a> Card<'a> {
    fn new(steps: &'a [Step], timings: Vec<Option<StepTiming>>) -> Self {
        let mut card = Self {
            steps,
            timings,
            now: Cycles::ZERO,
            events: BinaryHeap::new(),
            units: BTreeMap::new(),
            lanes: BTreeMap::new(),
            progress: vec![Progress::default(); steps.len()],
            busy: BTreeMap::new(),
        };
        for (index, step) in steps.iter().enumerate() {
            for (unit, _) in card.timings[index].iter().flat_map(StepTiming::uses) {
                card.units.entry(unit).or_default().line.push_back(index);
            }
            card.lanes.entry(Lane::of(&step.action)).or_default().push_back(index);
            card.progress[index].waiting = step.after.len();
            for earlier in step.after.iter() {
                card.progress[earlier.0 as usize].dependents.push(index);
            }
        }
        card
    }

    fn play(&mut self, issue: Cycles) {
        if !self.steps.is_empty() {
            self.events.push(Reverse((issue, Event::Issued(0))));
        }
        while let Some(Reverse((time, event))) = self.events.pop() {
            assert!(time >= self.now, "an event in the past");
            self.now = time;
            match event {
                Event::Issued(step) => {
                    self.progress[step].issued = true;
                    *self.busy.entry(Engine::Command).or_default() += issue;
                    if step + 1 < self.steps.len() {
                        self.events.push(Reverse((time + issue, Event::Issued(step + 1))));
                    }
                    self.try_start(step);
                }
                Event::UnitFree(unit) => {
                    let state = self.units.get_mut(&unit).expect("it was taken");
                    state.taken = false;
                    if let Some(&next) = state.line.front() {
                        self.try_start(next);
                    }
                }
                Event::WorkDone(step) => self.done(step),
            }
        }
        let all = self.progress.iter().all(|step| step.end.is_some());
        assert!(all, "a step waits for a later one");
    }

    /// Starts a step if nothing keeps it, and lets those behind it in line step forward.
    fn try_start(&mut self, step: usize) {
        let progress = &self.progress[step];
        if !progress.issued || progress.waiting > 0 || progress.done {
            return;
        }
        let Some(timing) = self.timings[step] else {
            self.events.push(Reverse((self.now, Event::WorkDone(step))));
            return;
        };
        let first = |unit: Engine| {
            self.units.get(&unit).is_some_and(|u| !u.taken && u.line.front() == Some(&step))
        };
        if !timing.uses().all(|(unit, _)| first(unit)) {
            return;
        }
        self.progress[step].start = self.now;
        for (unit, taken) in timing.uses() {
            let state = self.units.get_mut(&unit).expect("its line was looked at");
            state.taken = true;
            state.line.pop_front();
            *self.busy.entry(unit).or_default() += taken;
            self.events.push(Reverse((self.now + taken, Event::UnitFree(unit))));
        }
        self.events.push(Reverse((self.now + timing.duration(), Event::WorkDone(step))));
    }

    /// The work of a step is done; it has finished once all before it in its lane have.
    fn done(&mut self, step: usize) {
        self.progress[step].done = true;
        let lane = Lane::of(&self.steps[step].action);
        let mut finished = Vec::new();
        let line = self.lanes.get_mut(&lane).expect("the step is in it");
        while let Some(&head) = line.front().filter(|&&head| self.progress[head].done) {
            line.pop_front();
            self.progress[head].end = Some(self.now);
            finished.push(head);
        }
        for step in finished {
            for dependent in std::mem::take(&mut self.progress[step].dependents) {
                self.progress[dependent].waiting -= 1;
                self.try_start(dependent);
            }
        }
    }

    fn timeline(&self) -> Vec<StepSpan> {
        let spans = (0..).zip(&self.progress).zip(&self.timings).zip(self.steps);
        spans
            .map(|(((index, progress), timing), step)| {
                let end = progress.end.unwrap_or_default();
                let (start, busy) = match timing {
                    Some(timing) => (progress.start, timing.busy),
                    None => (end, Cycles::ZERO),
                };
                StepSpan {
                    step: StepIndex(index),
                    engine: Engine::of(&step.action),
                    dropped: timing.is_none(),
                    start,
                    busy_end: start + busy,
                    end,
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use litecore_types::chip::timing::PortUser;
    use litecore_types::chip::{Override, builtin_text};
    use litecore_types::program::Program;
    use litecore_types::{Component, chip::builtin};

    /// Two tiles, one after the other, on four symbols.
    fn two_tiles(second_bank: u16) -> String {
        let tile = [
            "[1 2 3 4", "5 6 7 8", "1 1 1 1", "0 0 0 0", "9 9 9 9", "2 2 2 2", "3 3 3 3",
            "4 4 4 4]",
        ]
        .join("; ");
        // With a bank of its own the second load need not wait for the first stream.
        let wait = if second_bank == 0 { " after=4" } else { "" };
        format!(
            "program \"two tiles\" chip=tiny-4 rows=4 columns=4 symbols_max=4 useful_macs=64
             buffer 0 f32 len=8 address=0
             buffer 1 code len=8 address=128
             buffer 2 f32 len=1 address=160
             buffer 3 accumulator len=8 address=176
             buffer 4 f32 len=8 address=304
             table 0 [1 1 1 1 1 1 1 1]
             tile 0 conjugate {tile}
             tile 1 conjugate {tile}
             step 0 move_in to=0
             step 1 load_bank array=0 bank=0 tile=0
             step 2 settle array=0 bank=0 after=1
             step 3 quantise from=0 to=1 scale=2 after=0
             step 4 stream array=0 bank=0 tile=0 from=1 from_offset=0 shift=10 to=3 to_offset=0 accumulate_shift=0 first=1 after=2,3
             step 5 load_bank array=0 bank={second_bank} tile=1{wait}
             step 6 settle array=0 bank={second_bank} after=5
             step 7 stream array=0 bank={second_bank} tile=1 from=1 from_offset=0 shift=10 to=3 to_offset=4 accumulate_shift=0 first=1 after=3,6
             step 8 dequantise from=3 scale=2 table=0 to=4 after=4,7
             step 9 move_out from=4 after=8
"
        )
    }

    fn schedule(chip: &ChipDescription, text: &str, symbols: u64) -> Schedule {
        let program: Program = text.parse().unwrap();
        simulate(&VerifiedProgram::new(program, chip).unwrap(), chip, symbols)
    }

    fn spans(schedule: &Schedule) -> Vec<(u64, u64, u64)> {
        schedule.timeline.iter().map(|s| (s.start.0, s.busy_end.0, s.end.0)).collect()
    }

    #[test]
    fn one_bank_cycle_by_cycle() {
        // 1 GHz. Issue: one step a cycle. Link: 128 bytes at 32 a cycle, 1000 away. Load: 32 codes at
        // one a cycle. Settle: 1. Vector: 32 elements at four a cycle, 10 deep. Stream: one symbol a
        // cycle, 10 deep.
        let schedule = schedule(&builtin("tiny-4").unwrap(), &two_tiles(0), 4);
        assert_eq!(
            spans(&schedule),
            [
                (1, 5, 1005),       // move in
                (2, 34, 34),        // load
                (34, 35, 35),       // settle
                (1005, 1013, 1023), // quantise
                (1023, 1027, 1037), // stream
                (1037, 1069, 1069), // load, once the stream is done with the bank
                (1069, 1070, 1070), // settle
                (1070, 1074, 1084), // stream
                (1084, 1092, 1102), // dequantise
                (1102, 1106, 2106), // move out
            ]
        );
        assert_eq!(schedule.cycles, Cycles(2106));
        let busy = |unit| schedule.busy[&unit].0;
        assert_eq!(busy(Engine::Command), 10);
        assert_eq!((busy(Engine::HostIn), busy(Engine::HostOut)), (4, 4));
        assert_eq!(busy(Engine::Loader(0)), 64);
        // Two tiles of 32 codes at sixteen a cycle.
        assert_eq!(busy(Engine::WeightMemory), 4);
        assert_eq!(busy(Engine::Array(0)), 10);
        // Two streams of four symbols, four sums each, eight bytes a sum, 32 bytes a cycle.
        assert_eq!(busy(Engine::Accumulator(0)), 8);
        assert_eq!(busy(Engine::Vector), 16);
        // 32 elements from four bytes to one, and back to four: 160 and 256 bytes, 64 a cycle.
        assert_eq!(busy(Engine::MemoryPort(PortUser::Vector)), 3 + 4);
    }

    #[test]
    fn a_second_bank_hides_its_load() {
        let banks = Override { path: "array.banks".to_owned(), value: "2".to_owned() };
        let text = builtin_text("tiny-4").unwrap();
        let chip = ChipDescription::from_toml_with(text, "test", &[banks]).unwrap();
        let schedule = schedule(&chip, &two_tiles(1), 4);
        let spans = spans(&schedule);
        // The load is hidden; settling is not, because it is the same cells that change.
        assert_eq!(spans[5..7], [(34, 66, 66), (1027, 1028, 1028)]);
        // The second stream waits for the array alone, not for the first one's pipeline.
        assert_eq!(spans[7], (1028, 1032, 1042));
        assert_eq!(spans[8].0, 1042);
        assert_eq!(schedule.cycles, Cycles(1042 + 8 + 10 + 4 + 1000));
    }

    #[test]
    fn joules_are_counted_event_by_event() {
        let schedule = schedule(&builtin("tiny-4").unwrap(), &two_tiles(0), 4);
        let joules = |component| schedule.ledger.joules(component);
        let close = |measured: f64, expected: f64| {
            assert!((measured / expected - 1.0).abs() < 1e-12, "{measured} against {expected}");
        };
        // Two streams of four symbols: two drives a row, one sample a column.
        close(joules(Component::InputDac), 2.0 * 4.0 * 8.0 * 1.0e-12);
        close(joules(Component::Modulator), 2.0 * 4.0 * 8.0 * 50.0e-15);
        close(joules(Component::Adc), 2.0 * 4.0 * 4.0 * 1.28e-12);
        close(joules(Component::Receiver), 2.0 * 4.0 * 4.0 * 0.3e-12);
        close(joules(Component::WeightDac), 64.0 * 1.0e-12);
        close(joules(Component::WeightFetch), 64.0 * 32.0e-12);
        close(joules(Component::HostLink), 256.0 * 48.0e-12);
        close(joules(Component::Command), 10.0 * 32.0e-12);
        // By time: 2106 ns of a 2 mW laser and four 4 mW oscillators at 20 %, and of 16 cells.
        close(joules(Component::Laser), 2106.0e-9 * (2.0e-3 + 16.0e-3) / 0.2);
        close(joules(Component::WeightHold), 2106.0e-9 * 16.0 * 1.0e-6);
        let parts: f64 = schedule.ledger.parts().map(|(_, joules)| joules).sum();
        close(schedule.ledger.totals().system_j, parts);
    }

    #[test]
    fn no_symbols_take_the_time_of_an_empty_pipeline() {
        let schedule = schedule(&builtin("tiny-4").unwrap(), &two_tiles(0), 0);
        // An issue, 1000 in, 10, 10, a load of 32 and a settle of 1, 10, 10, 1000 out.
        assert_eq!(schedule.cycles, Cycles(1 + 1000 + 10 + 10 + 32 + 1 + 10 + 10 + 1000));
    }

    /// Two symbols go their own ways through one tile.
    const TWO_PARTS: &str = "program \"two parts\" chip=tiny-4 rows=4 columns=4 symbols_max=2 useful_macs=32
        buffer 0 f32 len=8 address=0
        buffer 1 code len=8 address=64
        buffer 2 f32 len=1 address=80
        buffer 3 accumulator len=4 address=88
        buffer 4 f32 len=4 address=120
        table 0 [1 1 1 1]
        tile 0 conjugate [1 2 3 4; 5 6 7 8; 1 1 1 1; 0 0 0 0; 9 9 9 9; 2 2 2 2; 3 3 3 3; 4 4 4 4]
        step 0 move_in to=0 symbols=0..1
        step 1 move_in to=0 symbols=1..2
        step 2 load_bank array=0 bank=0 tile=0
        step 3 quantise from=0 to=1 scale=2 symbols=0..1 after=0
        step 4 settle array=0 bank=0 after=2
        step 5 stream array=0 bank=0 tile=0 from=1 from_offset=0 shift=10 to=3 to_offset=0 accumulate_shift=0 first=1 symbols=0..1 after=3,4
        step 6 quantise from=0 to=1 scale=2 symbols=1..2 after=1
        step 7 stream array=0 bank=0 tile=0 from=1 from_offset=0 shift=10 to=3 to_offset=0 accumulate_shift=0 first=1 symbols=1..2 after=4,6
        step 8 dequantise from=3 scale=2 table=0 to=4 symbols=0..1 after=5
        step 9 move_out from=4 symbols=0..1 after=8
        step 10 dequantise from=3 scale=2 table=0 to=4 symbols=1..2 after=7
        step 11 move_out from=4 symbols=1..2 after=10
";

    #[test]
    fn parts_overlap_cycle_by_cycle() {
        let chip = builtin("tiny-4").unwrap();
        let both = schedule(&chip, TWO_PARTS, 2);
        assert_eq!(
            spans(&both),
            [
                (1, 2, 1002),       // one vector in
                (2, 3, 1003),       // the other
                (3, 35, 35),        // load
                (1002, 1004, 1014), // quantise the first
                (35, 36, 36),       // settle
                (1014, 1015, 1025), // stream it
                (1004, 1006, 1016), // quantise the second, once the unit is free
                (1016, 1017, 1027), // stream it
                (1025, 1026, 1036), // rescale the first
                (1036, 1037, 2037), // send it
                (1027, 1028, 1038), // rescale the second
                (1038, 1039, 2039), // send it
            ]
        );
        // A run of one symbol drops what is for the second: issued, it is over when what it waits
        // for is.
        let one = schedule(&chip, TWO_PARTS, 1);
        assert_eq!(one.cycles, Cycles(2037));
        let dropped: Vec<u32> =
            one.timeline.iter().filter(|span| span.dropped).map(|span| span.step.0).collect();
        assert_eq!(dropped, [1, 6, 7, 10, 11]);
        let joules = |schedule: &Schedule, part| schedule.ledger.joules(part);
        let of = |part| (joules(&both, part) / joules(&one, part) * 1e9).round();
        assert_eq!((of(Component::Adc), of(Component::Command)), (2e9, 1e9));
    }
}
