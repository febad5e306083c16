//! Banks: what each holds, which one the cells follow, and who is still using it.

use super::Verifier;
use crate::program::{Action, StepIndex, Symbols, TileId, Violation};
use std::collections::BTreeMap;

/// What is known of a bank at some point of the program.
#[derive(Default)]
struct Bank {
    tile: Option<TileId>,
    load: Option<(StepIndex, Symbols)>,
    settle: Option<(StepIndex, Symbols)>,
    /// The last stream since the load: earlier ones end earlier, they share a lane.
    last_stream: Option<StepIndex>,
    /// The last settle since the load.
    last_settle: Option<StepIndex>,
}

impl Verifier<'_> {
    pub(super) fn check_banks(&mut self) {
        let mut banks: BTreeMap<(u16, u16), Bank> = BTreeMap::new();
        // An array keeps the order of its settles and streams, so program order tells which bank
        // its cells follow.
        let mut connected: BTreeMap<u16, u16> = BTreeMap::new();
        for (step, index) in self.program.steps.iter().zip(0..) {
            let index = StepIndex(index);
            match step.action {
                Action::LoadBank { array, bank, tile } => {
                    let state = banks.entry((array, bank)).or_default();
                    for by in [state.last_stream, state.last_settle].into_iter().flatten() {
                        if !self.waits_for(index, by) {
                            let step = index;
                            self.violations.push(Violation::BankInUse { step, array, bank, by });
                        }
                    }
                    let load = Some((index, step.symbols));
                    *state = Bank { tile: Some(tile), load, ..Bank::default() };
                }
                Action::Settle { array, bank } => {
                    let state = banks.entry((array, bank)).or_default();
                    if state.load.is_some_and(|(load, symbols)| {
                        symbols.covers_runs_of(step.symbols) && self.waits_for(index, load)
                    }) {
                        state.settle = Some((index, step.symbols));
                    } else {
                        // Whatever was settled before is not what the cells follow now.
                        state.settle = None;
                    }
                    state.last_settle = Some(index);
                    connected.insert(array, bank);
                }
                Action::Stream { array, bank, tile, .. } => {
                    let state = banks.entry((array, bank)).or_default();
                    let settled = state.settle.is_some_and(|(settle, symbols)| {
                        symbols.covers_runs_of(step.symbols) && self.waits_for(index, settle)
                    });
                    if state.tile != Some(tile) {
                        self.violations.push(Violation::TileNotLoaded {
                            step: index,
                            array,
                            bank,
                            tile,
                        });
                    } else if let Some(&other) = connected.get(&array).filter(|b| **b != bank) {
                        let (step, connected) = (index, other);
                        self.violations.push(Violation::NotConnected {
                            step,
                            array,
                            bank,
                            connected,
                        });
                    } else if !settled {
                        self.violations.push(Violation::NotSettled { step: index, array, bank });
                    }
                    state.last_stream = Some(index);
                }
                _ => {}
            }
        }
    }
}
