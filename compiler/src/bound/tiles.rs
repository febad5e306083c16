//! What the turns of tiles in banks are about, for the tiles of a program.

use super::Flow;
use super::turns::{TILES_MAX, Turn, Turns};
use litecore_types::chip::ChipDescription;
use litecore_types::chip::timing::Engine;
use litecore_types::program::{Action, Program, Step, Symbols, TileId};
use std::collections::BTreeMap;

/// How many symbols of a run are looked at: more make the bound tighter by little, and dear.
const SYMBOLS_MAX: u64 = 7;

/// For each array with more tiles than banks, by its loader: how its tiles take turns.
///
/// `steps` are those of the first symbol and `flow` is of them, in a run of one.
pub(super) fn turns(
    program: &Program,
    chip: &ChipDescription,
    steps: &[&Step],
    flow: &Flow,
    symbols: u64,
) -> Vec<(Engine, Turns)> {
    let alone = |action: Action, count: u64| {
        let step = Step { action, symbols: Symbols { from: 0, to: count }, after: [].into() };
        chip.step_timing(program, &step, symbols)
    };
    let find = |like: fn(&Action) -> bool| (0..steps.len()).find(|step| like(&steps[*step].action));
    let arrival = find(|action| matches!(action, Action::MoveIn { .. }));
    let departure = find(|action| matches!(action, Action::MoveOut { .. }));
    let (Some(arrival), Some(departure)) = (arrival, departure) else { return Vec::new() };
    let moved = |step: usize, count: u64| {
        alone(steps[step].action, count).map_or(0, |timing| timing.duration().0)
    };
    let begin = chip.issue_cycles().0;
    let mut arrays: BTreeMap<u16, Vec<TileId>> = BTreeMap::new();
    for step in steps {
        if let Action::Stream { array, tile, .. } = step.action {
            let tiles = arrays.entry(array).or_default();
            if !tiles.contains(&tile) {
                tiles.push(tile);
            }
        }
    }
    arrays.retain(|_, tiles| (chip.array.banks + 1..=TILES_MAX).contains(&tiles.len()));
    let from_arrival = flow.chains_from(steps, &[arrival]);
    let mut all = Vec::new();
    for (array, tiles) in arrays {
        let streams_of = |tile: TileId| -> Vec<usize> {
            let is_of = |step: &usize| {
                matches!(steps[*step].action, Action::Stream { array: a, tile: t, .. }
                    if (a, t) == (array, tile))
            };
            (0..steps.len()).filter(is_of).collect()
        };
        let streams: Vec<Vec<usize>> = tiles.iter().map(|tile| streams_of(*tile)).collect();
        // Of a tile that is read several times the least that one of its reads needs.
        let least = |chains: &[Option<u64>], streams: &[usize]| {
            let needed: Option<Vec<u64>> = streams.iter().map(|step| chains[*step]).collect();
            needed.and_then(|needed| needed.into_iter().min())
        };
        let turn = |tile: usize| {
            let after = (0..tile).map(|before| {
                let chains = streams[before].iter().map(|step| flow.chains_from(steps, &[*step]));
                let lags: Option<Vec<u64>> =
                    chains.map(|chains| least(&chains, &streams[tile])).collect();
                lags.and_then(|lags| lags.into_iter().min())
            });
            let rests =
                streams[tile].iter().map(|step| flow.chains_from(steps, &[*step])[departure]);
            Turn {
                lag: least(&from_arrival, &streams[tile]).unwrap_or(0),
                after: after.collect(),
                rest: rests.map(|rest| rest.unwrap_or(0)).min().unwrap_or(0),
            }
        };
        let durations = |like: fn(&Action) -> bool| {
            let of_array = (0..steps.len()).filter(move |step| {
                let action = &steps[*step].action;
                like(action) && array_of(action) == Some(array)
            });
            of_array.map(|step| &flow.timings[step])
        };
        let load = durations(|action| matches!(action, Action::LoadBank { .. }));
        let settle = durations(|action| matches!(action, Action::Settle { .. }));
        let stream = durations(|action| matches!(action, Action::Stream { .. }));
        let load = load.map(|timing| timing.occupied().0).min().unwrap_or(0);
        // A symbol arrives so much after the one before it.
        let between = moved(arrival, symbols) - moved(arrival, symbols.saturating_sub(1));
        let pass = load * tiles.len() as u64;
        let looked_at = looked_at(symbols, (pass + pass / 2) / between.max(1) + 1);
        let arrive = looked_at.iter().map(|n| begin + moved(arrival, *n)).collect();
        let leave = looked_at.iter().map(|n| moved(departure, symbols - n + 1)).collect();
        let turns = Turns {
            tiles: (0..tiles.len()).map(turn).collect(),
            load,
            settle: settle.map(|timing| timing.duration().0).min().unwrap_or(0),
            stream: stream.map(|timing| timing.duration().0).min().unwrap_or(0),
            banks: chip.array.banks,
            begin,
            arrive,
            leave,
        };
        all.push((Engine::Loader(array), turns));
    }
    all
}

/// Which symbols of a run are looked at, counted from one: as many as arrive in one and a half
/// passes of the weights, the last ones, evenly spaced.
fn looked_at(symbols: u64, window: u64) -> Vec<u64> {
    let span = window.min(symbols).saturating_sub(1);
    let gaps = (SYMBOLS_MAX - 1).min(span);
    let mut looked_at: Vec<u64> =
        (0..=gaps).map(|gap| symbols - span + gap * span / gaps.max(1)).collect();
    looked_at.dedup();
    looked_at
}

fn array_of(action: &Action) -> Option<u16> {
    match *action {
        Action::LoadBank { array, .. }
        | Action::Settle { array, .. }
        | Action::Stream { array, .. } => Some(array),
        _ => None,
    }
}
