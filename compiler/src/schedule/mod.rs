//! Steps in time: which array and bank takes which tile when, and in which order units serve steps.
//!
//! A [`Plan`] says how symbols are divided into waves and in which order tiles are loaded. From it
//! [`card::Card`] plays the card forward and writes down each step when it would start, so that the
//! order of a program is the order in which its steps can start. Which plan is best is tried out:
//! all are laid out, timed by the rules of the card, and compared. Where banks are few, the order of
//! the first loads is looked for on top of that ([`search`]).

mod card;
mod loads;
mod search;
mod waves;

use crate::graph::{Graph, MatrixWork, Node, TileRead, Work};
use crate::predict::time;
use litecore_model::checkpoint::Digest;
use litecore_types::chip::ChipDescription;
use litecore_types::program::{ORDER_MAX, Program, Step};
use loads::Load;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use waves::Plan;

/// The most steps in a program.
pub(crate) const STEPS_MAX: usize = 1 << 19;

/// The most steps in a program for a chip: the order of them all, in all lanes, must be followed.
pub(crate) fn steps_max(chip: &ChipDescription) -> usize {
    // Loads, settles and streams of each array; moves in and out; the vector unit.
    let lanes = chip.array.arrays.saturating_mul(3).saturating_add(3);
    STEPS_MAX.min(ORDER_MAX / lanes)
}

/// Runs that a schedule is made for, where the caller does not say.
const BATCHES: [u64; 4] = [1, 8, 64, 512];

/// The layouts that were found best, by what they were tried on.
///
/// Trying is a function of its key and nothing else, and a model has many experts of one shape.
static BEST: Mutex<BTreeMap<Digest, Layout>> = Mutex::new(BTreeMap::new());

/// The most layouts that are remembered.
const REMEMBERED: usize = 4096;

/// Layouts whose slowdowns differ by less are as good as each other; the fewest steps then decide.
const AS_GOOD: f64 = 0.005;

/// A plan, and the order of loads up to its knee where that was looked for.
#[derive(Clone, Debug)]
struct Layout {
    plan: Plan,
    orders: Vec<Vec<Load>>,
}

impl Layout {
    fn of(plan: Plan) -> Self {
        Self { plan, orders: Vec::new() }
    }

    /// The steps, or nothing if it gets stuck.
    fn steps(&self, program: &Program, graph: &Graph, chip: &ChipDescription) -> Option<Vec<Step>> {
        let card = card::Card::new(program, graph, chip, self.plan);
        if self.orders.is_empty() { card.play() } else { card.with_orders(&self.orders).play() }
    }
}

/// Fills in the steps of a program that has everything else.
pub(crate) fn schedule(
    program: &mut Program,
    graph: &Graph,
    chip: &ChipDescription,
    batch: Option<u64>,
) {
    let key = key(program, graph, chip, batch);
    let known = lock().get(&key).cloned();
    if let Some(steps) = known.and_then(|layout| layout.steps(program, graph, chip)) {
        program.steps = steps;
        return;
    }
    let batches: Vec<u64> = match batch {
        Some(batch) => vec![batch.min(program.symbols_max)],
        None => BATCHES.into_iter().filter(|batch| *batch <= program.symbols_max).collect(),
    };
    let mut tried: Vec<Trial> = Vec::new();
    let mut layouts: Vec<Layout> =
        plans(program.symbols_max, graph, chip).into_iter().map(Layout::of).collect();
    layouts.extend(search::early_layouts(program, graph, chip, &batches));
    for layout in layouts {
        let Some(steps) = layout.steps(program, graph, chip) else { continue };
        // The first plan has the fewest steps.
        if steps.len() > steps_max(chip) && !tried.is_empty() {
            continue;
        }
        let count = steps.len();
        program.steps = steps;
        let cycles = |batch: &u64| time(program, chip, *batch).cycles.0;
        let cycles = batches.iter().map(cycles).collect();
        tried.push(Trial { layout, cycles, steps: count });
    }
    let best = choose(&tried);
    program.steps = best.steps(program, graph, chip).expect("it was laid out before");
    let mut remembered = lock();
    if remembered.len() < REMEMBERED {
        remembered.insert(key, best);
    }
}

/// A layout, how long runs of each batch take, and of how many steps.
struct Trial {
    layout: Layout,
    cycles: Vec<u64>,
    steps: usize,
}

/// The layout that is nowhere much slower than the best at that batch; of those as good, the one
/// with the fewest steps.
fn choose(tried: &[Trial]) -> Layout {
    let batches = tried.first().map_or(0, |trial| trial.cycles.len());
    let of = |batch: usize| tried.iter().map(move |trial| trial.cycles[batch]);
    let best: Vec<u64> = (0..batches).map(|batch| of(batch).min().unwrap_or(1)).collect();
    let slowdown = |trial: &Trial| {
        let ratios = trial.cycles.iter().zip(&best).map(|(cycles, best)| (*cycles, (*best).max(1)));
        ratios.map(|(cycles, best)| cycles as f64 / best as f64).fold(0.0, f64::max)
    };
    let least = tried.iter().map(slowdown).fold(f64::MAX, f64::min);
    let as_good = tried.iter().filter(|trial| slowdown(trial) <= least + AS_GOOD);
    let chosen = as_good.min_by_key(|trial| trial.steps);
    chosen.expect("one wave, phase after phase, never gets stuck").layout.clone()
}

fn plans(symbols_max: u64, graph: &Graph, chip: &ChipDescription) -> Vec<Plan> {
    waves::plans(symbols_max, reads(graph), is_small(graph, chip))
}

fn reads(graph: &Graph) -> usize {
    graph.matrices().map(|(_, matrix)| matrix.reads.len()).sum()
}

/// Whether there are few tiles: beyond this a pass of the weights takes longer than all transfers
/// around it.
fn is_small(graph: &Graph, chip: &ChipDescription) -> bool {
    reads(graph) <= 16 * chip.array.arrays.min(16)
}

/// Everything that the choice of a plan depends on.
fn key(program: &Program, graph: &Graph, chip: &ChipDescription, batch: Option<u64>) -> Digest {
    let node = |node: &Node| match &node.work {
        Work::Step(action) => format!("{action:?}"),
        Work::Matrix(MatrixWork { from, to, phase, reads }) => {
            let packing = |read: &TileRead| program.tile(read.tile).packing;
            let reads: Vec<_> = reads.iter().map(|r| (r.tile, r.slice, packing(r))).collect();
            format!("{phase} {from:?} {to:?} {reads:?}")
        }
    };
    let nodes: Vec<String> = graph.nodes.iter().map(node).collect();
    let (most, buffers) = (program.symbols_max, &program.buffers);
    let text = format!("{chip:?} {most} {batch:?} {buffers:?} {nodes:?}");
    Digest::of(text.as_bytes())
}

/// What is remembered is whole whatever happened to another thread.
fn lock() -> MutexGuard<'static, BTreeMap<Digest, Layout>> {
    BEST.lock().unwrap_or_else(PoisonError::into_inner)
}
