//! The order of loads for the first symbols, looked for step by step.
//!
//! With fewer banks than tiles a run of some dozens of symbols has time for two or three passes of the
//! weights, and it matters which tile stays for which symbols: waves that pass one after the other
//! load a tile twice that could have stayed for both. So the best orders of whole waves are changed,
//! a load at a time: it is brought forward, or two loads of one tile become one that stays.

use super::card::Card;
use super::loads::Load;
use super::waves::{self, GRAIN, KNEE, Plan};
use super::{Layout, is_small, reads};
use crate::graph::Graph;
use crate::predict::time;
use litecore_types::chip::ChipDescription;
use litecore_types::program::Program;

/// Plans whose orders are changed.
const STARTS: usize = 4;

/// Orders that are tried for one plan at the most.
const ORDERS_MAX: usize = 200;

/// How far a load is brought forward.
const FORWARD_MAX: usize = 4;

/// What a run of one or a few symbols may lose by an order that is better for many.
const SHORT_RUN_LOSS: f64 = 1.01;

/// Layouts with an order of their own up to [`KNEE`], for runs in `batches`.
///
/// None where every tile has a bank, where there are many tiles, for other batches, or where no run can
/// be longer.
pub(super) fn early_layouts(
    program: &mut Program,
    graph: &Graph,
    chip: &ChipDescription,
    batches: &[u64],
) -> Vec<Layout> {
    let banks = chip.array.banks * chip.array.arrays;
    let symbols_max = program.symbols_max;
    let early: Vec<u64> = batches.iter().copied().filter(|batch| *batch <= KNEE).collect();
    let Some(longest) = early.last() else { return Vec::new() };
    let knee = longest.next_multiple_of(GRAIN).min(symbols_max);
    if !is_small(graph, chip) || reads(graph) <= banks || knee < KNEE / 4 || symbols_max <= knee {
        return Vec::new();
    }
    program.symbols_max = knee;
    let mut search = Search { program, graph, chip, batches: &early };
    let mut starts: Vec<(Vec<u64>, Plan)> = Vec::new();
    let mut plans = waves::plans(knee, reads(graph), true);
    plans.push(Plan { first_wave: 16, ..Plan::even(24) });
    for plan in plans {
        let plan = Plan { knee, ..plan };
        if let Some(cycles) = search.cycles(&Layout::of(plan)) {
            starts.push((cycles, plan));
        }
    }
    // The best one with each first wave.
    starts.sort_by_key(|(cycles, plan)| (plan.first_wave, cycles.last().copied()));
    starts.dedup_by_key(|(_, plan)| plan.first_wave);
    starts.sort_by_key(|(cycles, _)| cycles.last().copied());
    starts.truncate(STARTS);
    let found: Vec<Layout> = starts.into_iter().map(|start| search.improve(start)).collect();
    program.symbols_max = symbols_max;
    let late = |layout: &Layout| {
        let orders = layout.orders.clone();
        let plans = waves::late_plans(layout.plan, knee).into_iter();
        plans.map(move |plan| Layout { plan, orders: orders.clone() })
    };
    found.iter().flat_map(late).collect()
}

struct Search<'a> {
    program: &'a mut Program,
    graph: &'a Graph,
    chip: &'a ChipDescription,
    batches: &'a [u64],
}

impl Search<'_> {
    /// How long runs of each batch take; nothing if the layout gets stuck.
    fn cycles(&mut self, layout: &Layout) -> Option<Vec<u64>> {
        self.program.steps = layout.steps(self.program, self.graph, self.chip)?;
        let cycles = |batch: &u64| time(self.program, self.chip, *batch).cycles.0;
        Some(self.batches.iter().map(cycles).collect())
    }

    /// Changes the order of a plan's loads as long as that makes the longest batch shorter.
    fn improve(&mut self, (mut cycles, plan): (Vec<u64>, Plan)) -> Layout {
        let allowed: Vec<f64> = cycles.iter().map(|of| *of as f64 * SHORT_RUN_LOSS).collect();
        let orders = Card::new(self.program, self.graph, self.chip, plan).orders();
        let mut layout = Layout { plan, orders };
        let mut left = ORDERS_MAX;
        loop {
            let before = cycles.last().copied();
            for array in 0..layout.orders.len() {
                for order in changed(&layout.orders[array]) {
                    let Some(still_left) = left.checked_sub(1) else { return layout };
                    left = still_left;
                    let mut changed = layout.clone();
                    changed.orders[array] = order;
                    let Some(found) = self.cycles(&changed) else { continue };
                    let fits = found.iter().zip(&allowed).all(|(of, most)| *of as f64 <= *most);
                    if fits && found.last() < cycles.last() {
                        (cycles, layout) = (found, changed);
                        break;
                    }
                }
            }
            if cycles.last().copied() == before {
                return layout;
            }
        }
    }
}

/// Orders that differ by one load.
fn changed(order: &[Load]) -> Vec<Vec<Load>> {
    let mut changed = Vec::new();
    for first in 0..order.len() {
        let same = |other: &usize| order[*other].first_read == order[first].first_read;
        if let Some(again) = (first + 1..order.len()).find(same) {
            for place in first..again {
                let mut order = order.to_vec();
                let stays = order.remove(again);
                order.remove(first);
                order.insert(place, stays);
                changed.push(order);
            }
        }
        for later in first + 1..order.len().min(first + FORWARD_MAX) {
            let mut order = order.to_vec();
            let load = order.remove(later);
            order.insert(first, load);
            changed.push(order);
        }
    }
    changed
}
