//! One run of a program in figures.

use super::bounds::{Bound, bounds};
use super::waits::{Wait, waits};
use crate::{LowerBound, Prediction, lower_bounds, predict};
use litecore_types::chip::ChipDescription;
use litecore_types::program::{Action, Program, Symbols, VerifiedProgram};
use litecore_types::{Component, EnergyTotals};
use serde::Serialize;
use std::collections::BTreeMap;

/// One run of a program in figures, or several one after the other.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunReport {
    /// Runs that are added up here.
    pub runs: u64,
    /// Input vectors in them.
    pub symbols: u64,
    /// How long it takes.
    pub cycles: u64,
    /// The same in seconds.
    pub seconds: f64,
    /// Multiply-accumulates of the model's own matrices.
    pub useful_macs: u64,
    /// Multiply-accumulates of the matrices as they are run: of the factors where there are some, and
    /// without the tiles that are left out. Repeated reads count once, padding not at all.
    pub macs_run: u64,
    /// How well cells are used.
    pub utilisation: Utilisation,
    /// Cycles of the longest path by engine, latencies included; they sum to `cycles`.
    pub critical_path: BTreeMap<String, u64>,
    /// Cycles in which arrays stream nothing, by reason.
    pub waits: Vec<Wait>,
    /// What each resource needs at the least, the tightest first.
    pub roofline: Vec<Bound>,
    /// What no schedule of the same work can beat, and the unit that makes it so.
    pub lower_bound: BoundReport,
    /// What no schedule of any program on the same tiles of the same arrays can beat.
    pub lower_bound_of_any_work: BoundReport,
    /// Joules by component.
    pub energy_j_by_component: BTreeMap<&'static str, f64>,
    /// Joules in the three headline numbers.
    pub energy_j: EnergyTotals,
}

/// A lower bound on the time of some runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BoundReport {
    /// No schedule takes fewer.
    pub cycles: u64,
    /// Cycles of the bound by the unit that makes it so; a chain of single steps where none does.
    pub cycles_by_resource: BTreeMap<String, u64>,
}

impl BoundReport {
    fn new(bound: LowerBound) -> Self {
        let resource = bound.engine.map_or("chain of steps".to_owned(), |unit| unit.to_string());
        let cycles = bound.cycles.0;
        Self { cycles, cycles_by_resource: BTreeMap::from([(resource, cycles)]) }
    }

    fn add(&mut self, other: &Self) {
        self.cycles += other.cycles;
        for (resource, cycles) in &other.cycles_by_resource {
            *self.cycles_by_resource.entry(resource.clone()).or_insert(0) += cycles;
        }
    }

    /// The resource that bounds most of the time.
    pub fn resource(&self) -> &str {
        let longest = self.cycles_by_resource.iter().max_by_key(|(_, cycles)| **cycles);
        longest.map_or("nothing", |(resource, _)| resource)
    }
}

/// Real multiply-accumulates of the matrices that are run, per cell and symbol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Utilisation {
    /// While light streams: padding of tiles is what is lost.
    pub while_streaming: f64,
    /// Over the whole run, all arrays and wavelengths: waits are lost too.
    pub of_the_run: f64,
    /// The most that the packings of its tiles allow: two of real weights, four of complex ones.
    pub ceiling: f64,
}

/// A cell takes part in four real products, but holds two weights: of unstructured real matrices no
/// packing makes more than two products count. Of complex weights all four do.
fn ceiling(program: &Program) -> f64 {
    let most = program.tiles.iter().map(|tile| 2 * tile.packing.copies()).max();
    most.unwrap_or(2) as f64
}

/// The figures of one run of `symbols` input vectors, and the prediction they come from.
pub fn report_run(
    program: &VerifiedProgram,
    chip: &ChipDescription,
    symbols: u64,
) -> (RunReport, Prediction) {
    let prediction = predict(program, chip, symbols);
    let useful_macs = program.useful_macs_per_symbol.saturating_mul(symbols);
    let macs_run = macs_run(program, symbols);
    let cells = (chip.array.inputs * chip.array.outputs) as f64;
    let slots: f64 = prediction
        .spans
        .iter()
        .filter(|span| {
            let step = &program.steps[span.step.0 as usize];
            !span.dropped && matches!(step.action, Action::Stream { .. })
        })
        .map(|span| (span.busy_end - span.start).0 as f64)
        .sum();
    let lanes = chip.array.wavelengths as f64 * cells;
    let per = |cell_symbols: f64| macs_run as f64 / cell_symbols.max(1.0);
    let whole = chip.array.arrays as f64 * prediction.cycles.0 as f64;
    let critical_path = prediction
        .critical_path()
        .into_iter()
        .map(|(engine, cycles)| (engine.to_string(), cycles.0))
        .collect();
    let lower = lower_bounds(program, chip, symbols);
    let report = RunReport {
        runs: 1,
        symbols,
        cycles: prediction.cycles.0,
        seconds: prediction.cycles.seconds(chip.clock.symbol_rate_hz.value),
        useful_macs,
        macs_run,
        utilisation: Utilisation {
            while_streaming: per(slots * lanes),
            of_the_run: per(whole * lanes),
            ceiling: ceiling(program),
        },
        critical_path,
        waits: waits(program, &prediction),
        roofline: bounds(program, chip, symbols, &prediction.engine_busy),
        lower_bound: BoundReport::new(lower.of_the_work),
        lower_bound_of_any_work: BoundReport::new(lower.of_any_work),
        energy_j_by_component: energy(&prediction),
        energy_j: prediction.energy.totals(),
    };
    (report, prediction)
}

/// Products that a run needs: each input of a sum once, however often it is read.
fn macs_run(program: &Program, symbols: u64) -> u64 {
    // For each slice of accumulators, what its sums hold so far, and for which symbols.
    let mut slices: BTreeMap<_, BTreeMap<_, Vec<Symbols>>> = BTreeMap::new();
    let mut macs = 0_u64;
    for step in &program.steps {
        let Action::Stream { tile, from, from_offset, to, to_offset, first, .. } = step.action
        else {
            continue;
        };
        let held = slices.entry((to, to_offset)).or_default();
        if first {
            for known in held.values_mut() {
                *known = known.iter().flat_map(|known| without(*known, step.symbols)).collect();
            }
        }
        let known = held.entry((from, from_offset)).or_default();
        let mut new = vec![step.symbols];
        for known in known.iter() {
            new = new.into_iter().flat_map(|new| without(new, *known)).collect();
        }
        let vectors: u64 = new.iter().map(|new| new.count_in(symbols)).sum();
        known.extend(new);
        let (inputs, outputs) = program.tile_shape(tile);
        let taken = inputs.min(program.buffer(from).len.saturating_sub(from_offset as usize));
        let made = outputs.min(program.buffer(to).len.saturating_sub(to_offset as usize));
        macs = macs.saturating_add(((taken * made) as u64).saturating_mul(vectors));
    }
    macs
}

/// The symbols of `all` that are not in `part`.
fn without(all: Symbols, part: Symbols) -> impl Iterator<Item = Symbols> {
    let before = Symbols { from: all.from, to: all.to.min(part.from) };
    let behind = Symbols { from: all.from.max(part.to), to: all.to };
    [before, behind].into_iter().filter(|rest| rest.from < rest.to)
}

fn energy(prediction: &Prediction) -> BTreeMap<&'static str, f64> {
    let parts = Component::ALL.into_iter();
    parts.map(|part| (part.key(), prediction.energy.joules(part))).collect()
}

impl RunReport {
    /// Adds another run after this one: figures sum, and shares follow from the sums.
    pub fn add(&mut self, other: &Self) {
        let streaming = |report: &Self| {
            report.macs_run as f64 / report.utilisation.while_streaming.max(f64::MIN_POSITIVE)
        };
        let running = |report: &Self| {
            report.macs_run as f64 / report.utilisation.of_the_run.max(f64::MIN_POSITIVE)
        };
        let (streamed, ran) = (streaming(self) + streaming(other), running(self) + running(other));
        self.runs += other.runs;
        self.symbols += other.symbols;
        self.cycles += other.cycles;
        self.seconds += other.seconds;
        self.useful_macs = self.useful_macs.saturating_add(other.useful_macs);
        self.macs_run = self.macs_run.saturating_add(other.macs_run);
        self.utilisation.while_streaming = self.macs_run as f64 / streamed;
        self.utilisation.of_the_run = self.macs_run as f64 / ran;
        for (engine, cycles) in &other.critical_path {
            *self.critical_path.entry(engine.clone()).or_insert(0) += cycles;
        }
        for wait in &other.waits {
            match self.waits.iter_mut().find(|known| known.reason == wait.reason) {
                Some(known) => known.cycles += wait.cycles,
                None => self.waits.push(*wait),
            }
        }
        self.waits.sort_by(|a, b| b.cycles.cmp(&a.cycles).then(a.reason.cmp(&b.reason)));
        for bound in &mut self.roofline {
            let more = other.roofline.iter().find(|more| more.kind == bound.kind);
            bound.cycles += more.map_or(0.0, |more| more.cycles);
            let rate = self.cycles as f64 / self.seconds.max(f64::MIN_POSITIVE);
            bound.useful_macs_per_s = self.useful_macs as f64 * rate / bound.cycles.max(1.0);
        }
        self.roofline.sort_by(|a, b| b.cycles.total_cmp(&a.cycles).then(a.kind.cmp(&b.kind)));
        self.lower_bound.add(&other.lower_bound);
        self.lower_bound_of_any_work.add(&other.lower_bound_of_any_work);
        for (part, joules) in &other.energy_j_by_component {
            *self.energy_j_by_component.entry(part).or_insert(0.0) += joules;
        }
        self.energy_j.optics_j += other.energy_j.optics_j;
        self.energy_j.core_j += other.energy_j.core_j;
        self.energy_j.system_j += other.energy_j.system_j;
    }
}
