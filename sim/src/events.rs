//! Plays a program as discrete events: what the card does, and when.
//!
//! Every engine works through its own steps in program order. The step at the head of an engine's
//! queue starts as soon as the engine is free and everything it waits for has finished. Time jumps
//! from event to event; an event is an engine coming free or a step being finished.
//!
//! **Invariant:** durations and energies come from the chip description alone; data do not change
//! them.

use litecore_types::chip::ChipDescription;
use litecore_types::chip::timing::{Engine, StepTiming};
use litecore_types::program::{StepIndex, VerifiedProgram};
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
}

/// When a step held its engine, and when it had finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepSpan {
    /// Which step.
    pub step: StepIndex,
    /// Where it ran.
    pub engine: Engine,
    /// When it took the engine.
    pub start: Cycles,
    /// When it freed the engine.
    pub busy_end: Cycles,
    /// When its result was there.
    pub end: Cycles,
}

impl Schedule {
    /// How long each engine was busy.
    pub fn busy(&self) -> BTreeMap<Engine, Cycles> {
        let mut busy: BTreeMap<Engine, Cycles> = BTreeMap::new();
        for span in &self.timeline {
            *busy.entry(span.engine).or_default() += span.busy_end - span.start;
        }
        busy
    }
}

/// Plays `program` on `symbols` input vectors.
pub fn simulate(program: &VerifiedProgram, chip: &ChipDescription, symbols: u64) -> Schedule {
    let mut ledger = EnergyLedger::default();
    for step in &program.steps {
        chip.charge_step(program, &step.action, symbols, &mut ledger);
    }
    let timings: Vec<StepTiming> =
        program.steps.iter().map(|step| chip.step_timing(program, &step.action, symbols)).collect();
    let mut card = Card::new(program, &timings);
    card.play();
    chip.charge_static(card.now, &mut ledger);
    Schedule { cycles: card.now, ledger, timeline: card.timeline() }
}

/// What happens at a point in time. Events of the same cycle commute, so their order is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    EngineFree(Engine),
    Finished(usize),
}

#[derive(Default)]
struct EngineState {
    busy: bool,
    queue: VecDeque<usize>,
}

struct Card<'a> {
    timings: &'a [StepTiming],
    now: Cycles,
    events: BinaryHeap<Reverse<(Cycles, Event)>>,
    engines: BTreeMap<Engine, EngineState>,
    /// How many steps each step still waits for.
    waiting: Vec<usize>,
    /// Who waits for each step.
    dependents: Vec<Vec<usize>>,
    starts: Vec<Option<Cycles>>,
}

impl<'a> Card<'a> {
    fn new(program: &VerifiedProgram, timings: &'a [StepTiming]) -> Self {
        let steps = program.steps.len();
        let mut card = Self {
            timings,
            now: Cycles::ZERO,
            events: BinaryHeap::new(),
            engines: BTreeMap::new(),
            waiting: vec![0; steps],
            dependents: vec![Vec::new(); steps],
            starts: vec![None; steps],
        };
        for (index, (step, timing)) in program.steps.iter().zip(timings).enumerate() {
            card.engines.entry(timing.engine).or_default().queue.push_back(index);
            card.waiting[index] = step.after.len();
            for earlier in &step.after {
                card.dependents[earlier.0 as usize].push(index);
            }
        }
        card
    }

    fn play(&mut self) {
        let engines: Vec<Engine> = self.engines.keys().copied().collect();
        for engine in engines {
            self.start_next(engine);
        }
        while let Some(Reverse((time, event))) = self.events.pop() {
            assert!(time >= self.now, "an event in the past");
            self.now = time;
            match event {
                Event::EngineFree(engine) => {
                    if let Some(state) = self.engines.get_mut(&engine) {
                        state.busy = false;
                    }
                    self.start_next(engine);
                }
                Event::Finished(step) => {
                    for dependent in std::mem::take(&mut self.dependents[step]) {
                        self.waiting[dependent] -= 1;
                        if self.waiting[dependent] == 0 {
                            self.start_next(self.timings[dependent].engine);
                        }
                    }
                }
            }
        }
        assert!(self.starts.iter().all(Option::is_some), "a step waits for a later one");
    }

    /// Starts the head of the engine's queue, if the engine is free and the step ready.
    fn start_next(&mut self, engine: Engine) {
        let Some(state) = self.engines.get_mut(&engine) else { return };
        if state.busy {
            return;
        }
        let Some(&step) = state.queue.front().filter(|&&step| self.waiting[step] == 0) else {
            return;
        };
        state.queue.pop_front();
        state.busy = true;
        let timing = self.timings[step];
        let free = self.now + timing.busy;
        self.starts[step] = Some(self.now);
        self.events.push(Reverse((free, Event::EngineFree(engine))));
        self.events.push(Reverse((free + timing.latency, Event::Finished(step))));
    }

    fn timeline(&self) -> Vec<StepSpan> {
        (0..)
            .zip(self.timings)
            .zip(&self.starts)
            .map(|((index, timing), start)| {
                let start = start.unwrap_or_default();
                let busy_end = start + timing.busy;
                StepSpan {
                    step: StepIndex(index),
                    engine: timing.engine,
                    start,
                    busy_end,
                    end: busy_end + timing.latency,
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
            "program \"two tiles\" chip=tiny-4 rows=4 columns=4 packing=conjugate symbols_max=4 useful_macs=64
             buffer 0 f32 len=8 address=0
             buffer 1 code len=8 address=128
             buffer 2 f32 len=1 address=160
             buffer 3 accumulator len=8 address=176
             buffer 4 f32 len=8 address=304
             table 0 [1 1 1 1 1 1 1 1]
             tile 0 {tile}
             tile 1 {tile}
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
        // 1 GHz. Link: 128 bytes at 32 a cycle, 1000 away. Load: 32 codes at one a cycle. Settle: 1.
        // Vector: 32 elements at four a cycle, 10 deep. Stream: one symbol a cycle, 10 deep.
        let schedule = schedule(&builtin("tiny-4").unwrap(), &two_tiles(0), 4);
        assert_eq!(
            spans(&schedule),
            [
                (0, 4, 1004),       // move in
                (0, 32, 32),        // load
                (32, 33, 33),       // settle
                (1004, 1012, 1022), // quantise
                (1022, 1026, 1036), // stream
                (1036, 1068, 1068), // load, once the stream is done with the bank
                (1068, 1069, 1069), // settle
                (1069, 1073, 1083), // stream
                (1083, 1091, 1101), // dequantise
                (1101, 1105, 2105), // move out
            ]
        );
        assert_eq!(schedule.cycles, Cycles(2105));
        let busy = schedule.busy();
        assert_eq!(busy[&Engine::HostLink], Cycles(8));
        assert_eq!(busy[&Engine::Loader(0)], Cycles(64));
        assert_eq!(busy[&Engine::Array(0)], Cycles(10));
        assert_eq!(busy[&Engine::Vector], Cycles(16));
    }

    #[test]
    fn a_second_bank_hides_its_load() {
        let banks = Override { path: "array.banks".to_owned(), value: "2".to_owned() };
        let text = builtin_text("tiny-4").unwrap();
        let chip = ChipDescription::from_toml_with(text, "test", &[banks]).unwrap();
        let schedule = schedule(&chip, &two_tiles(1), 4);
        let spans = spans(&schedule);
        // The load is hidden; settling is not, because it is the same cells that change.
        assert_eq!(spans[5..7], [(32, 64, 64), (1026, 1027, 1027)]);
        // The second stream waits for the array alone, not for the first one's pipeline.
        assert_eq!(spans[7], (1027, 1031, 1041));
        assert_eq!(spans[8].0, 1041);
        assert_eq!(schedule.cycles, Cycles(1041 + 8 + 10 + 4 + 1000));
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
        // By time: 2105 ns of a 2 mW laser and four 4 mW oscillators at 20 %, and of 16 cells.
        close(joules(Component::Laser), 2105.0e-9 * (2.0e-3 + 16.0e-3) / 0.2);
        close(joules(Component::WeightHold), 2105.0e-9 * 16.0 * 1.0e-6);
        let parts: f64 = schedule.ledger.parts().map(|(_, joules)| joules).sum();
        close(schedule.ledger.totals().system_j, parts);
    }

    #[test]
    fn no_symbols_take_the_time_of_an_empty_pipeline() {
        let schedule = schedule(&builtin("tiny-4").unwrap(), &two_tiles(0), 0);
        // 1000 in, 10, 10, a load of 32 and a settle of 1, 10, 10, 1000 out.
        assert_eq!(schedule.cycles, Cycles(1000 + 10 + 10 + 32 + 1 + 10 + 10 + 1000));
    }
}
