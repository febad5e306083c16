//! Tiles that take turns in too few banks: whether a run can end by a given time.
//!
//! Each symbol must find each tile of an array between its arrival and its departure, and loads
//! follow one by one. All else costs a symbol its own way and nothing more: arrays, vector unit and
//! memory serve any number at a time, and only some symbols of the run are looked at. That makes
//! every real schedule one of those looked at here, and of these it is enough to look at few:
//! * Symbols pass each tile in the order of their arrival, as soon as both are there. Of two that
//!   pass in another order, the earlier one has been there too.
//! * A tile is taken out of its bank just when a symbol has passed it, or as soon as the loader is
//!   free, and never before a symbol has passed: then the tile before it could as well have stayed.
//! * The banks are full before the first tile is taken out.
//!
//! So what is left to choose is which tile comes next, in whose place, and after which symbol. All
//! such orders are searched, except those that cannot meet a deadline any more, and but one of
//! those that differ by the names of like tiles. A search that takes too long proves nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

/// The most tiles that are searched for.
pub(super) const TILES_MAX: usize = 12;

/// The most states that are looked at for one deadline.
const STATES_MAX: usize = 1 << 15;

/// The tiles of one array, and what symbols need of them. All times in cycles.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turns {
    /// Tiles, those that a tile comes after before it.
    pub(super) tiles: Vec<Turn>,
    /// Between the starts of two loads, and from a load's start to its end.
    pub(super) load: u64,
    /// From a load's end to the first stream.
    pub(super) settle: u64,
    /// From the start of a symbol's stream to its sums.
    pub(super) stream: u64,
    /// Banks of the array.
    pub(super) banks: usize,
    /// When the first load can start.
    pub(super) begin: u64,
    /// For each symbol that is looked at: when it can have arrived; ascending.
    pub(super) arrive: Vec<u64>,
    /// For each such symbol: from its last result to the end of the run, its departure and those
    /// of all after it included.
    pub(super) leave: Vec<u64>,
}

/// One tile.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turn {
    /// From a symbol's arrival to its stream.
    pub(super) lag: u64,
    /// For each tile before this one: from the sums it gives to this one's stream, if this one
    /// needs them.
    pub(super) after: Vec<Option<u64>>,
    /// From its sums to the symbol's result.
    pub(super) rest: u64,
}

/// Not yet.
const NEVER: u64 = u64::MAX / 4;

/// How far symbols have come when the loader has ended a load.
#[derive(Clone)]
struct State {
    time: u64,
    /// The tile in each bank, since when it can be streamed, and how many symbols had passed it then.
    banks: Vec<(usize, u64, usize)>,
    /// For each tile and symbol: when it has passed.
    passed: Vec<u64>,
}

/// What was found out, by the question: experts of one shape ask the same.
static FOUND: Mutex<BTreeMap<(Turns, u64, u64), u64>> = Mutex::new(BTreeMap::new());

/// The most answers that are remembered.
const REMEMBERED: usize = 1024;

/// One way to go on: when to start a load, of which tile, into which bank.
type Choice = (u64, usize, usize);

impl Turns {
    /// A time that no run can end before, from `least`, which is one, to `most`.
    pub(super) fn bound(&self, least: u64, most: u64) -> u64 {
        if self.tiles.len() <= self.banks || self.tiles.len() > TILES_MAX || self.arrive.is_empty()
        {
            return least;
        }
        let question = (self.clone(), least, most);
        // What is remembered is whole whatever happened to another thread.
        let remembered = || FOUND.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bound) = remembered().get(&question) {
            return *bound;
        }
        let bound = self.search(least, most);
        let mut remembered = remembered();
        if remembered.len() < REMEMBERED {
            remembered.insert(question, bound);
        }
        bound
    }

    fn search(&self, least: u64, most: u64) -> u64 {
        let like = self.like();
        let (mut low, mut high) = (least, most.max(least));
        // To half a percent: each halving is a search.
        while high - low > (low >> 8).max(1) {
            let middle = low + (high - low) / 2;
            if self.cannot_end_before(middle, &like) {
                low = middle;
            } else {
                high = middle;
            }
        }
        low
    }

    /// When a run has ended at the latest that waits for its last symbol and then passes each tile.
    pub(super) fn one_pass(&self) -> u64 {
        let arrived = self.arrive.last().copied().unwrap_or(0);
        let loads = (self.load + self.settle + self.stream) * (self.tiles.len() + 1) as u64;
        let chain = self.tiles.iter().map(|turn| {
            turn.lag.max(turn.rest) + turn.after.iter().flatten().max().copied().unwrap_or(0)
        });
        let departing = self.leave.first().copied().unwrap_or(0);
        arrived + self.begin + loads + chain.sum::<u64>() + departing
    }

    /// Whether every order of loads ends at `end` or later; false also if that was not found out.
    fn cannot_end_before(&self, end: u64, like: &[usize]) -> bool {
        let mut deadlines = Vec::with_capacity(self.leave.len());
        for leave in &self.leave {
            // To end before is to end one cycle earlier.
            let Some(deadline) = (end - 1).checked_sub(*leave) else { return true };
            deadlines.push(deadline);
        }
        let mut search =
            Search { turns: self, like, deadlines, seen: BTreeSet::new(), left: STATES_MAX };
        let mut first_sets = BTreeSet::new();
        for set in 0_u32..1 << self.tiles.len() {
            let tiles = || (0..self.tiles.len()).filter(|tile| set >> tile & 1 == 1);
            if set.count_ones() as usize != self.banks
                || !first_sets.insert(tiles().map(|tile| like[tile]).collect::<Vec<_>>())
            {
                continue;
            }
            let there = self.begin + self.load + self.settle;
            let mut state = State {
                time: self.begin + self.load * self.banks as u64,
                banks: tiles().map(|tile| (tile, there, 0)).collect(),
                passed: vec![NEVER; self.tiles.len() * self.arrive.len()],
            };
            self.pass(&mut state);
            if search.can_meet_deadlines(&state) != Some(false) {
                return false;
            }
        }
        true
    }

    /// For each tile the first one that differs from it by its name alone.
    fn like(&self) -> Vec<usize> {
        let all = 0..self.tiles.len();
        let needs = |of: usize, tile: usize| self.tiles[of].after.get(tile).copied().flatten();
        let swapped = |a: usize, b: usize, tile: usize| match tile {
            _ if tile == a => b,
            _ if tile == b => a,
            _ => tile,
        };
        let same = |a: usize, b: usize| {
            let (x, y) = (&self.tiles[a], &self.tiles[b]);
            (x.lag, x.rest) == (y.lag, y.rest)
                && all.clone().all(|of| {
                    all.clone().all(|tile| {
                        needs(of, tile) == needs(swapped(a, b, of), swapped(a, b, tile))
                    })
                })
        };
        all.clone().map(|tile| (0..tile).find(|other| same(*other, tile)).unwrap_or(tile)).collect()
    }

    fn symbols(&self) -> usize {
        self.arrive.len()
    }

    /// When a symbol has passed a tile.
    fn at(&self, state: &State, tile: usize, symbol: usize) -> u64 {
        state.passed[tile * self.symbols() + symbol]
    }

    /// How many symbols have passed a tile or will, as it is there.
    fn count(&self, state: &State, tile: usize) -> usize {
        let of_tile = &state.passed[tile * self.symbols()..][..self.symbols()];
        of_tile.iter().take_while(|at| **at < NEVER).count()
    }

    /// Lets symbols pass the tiles that are there.
    fn pass(&self, state: &mut State) {
        for (tile, turn) in self.tiles.iter().enumerate() {
            let Some(&(_, there, _)) = state.banks.iter().find(|bank| bank.0 == tile) else {
                continue;
            };
            for symbol in self.count(state, tile)..self.symbols() {
                let mut ready = self.arrive[symbol] + turn.lag;
                for (before, lag) in turn.after.iter().enumerate() {
                    let Some(lag) = lag else { continue };
                    ready = ready.max(self.at(state, before, symbol) + lag);
                }
                if ready >= NEVER {
                    break;
                }
                state.passed[tile * self.symbols() + symbol] = ready.max(there) + self.stream;
            }
        }
    }

    /// The state after a load.
    fn load(&self, state: &State, (start, tile, bank): Choice) -> State {
        let mut next = state.clone();
        let gone = next.banks[bank].0;
        for symbol in 0..self.symbols() {
            if (start + 1..NEVER).contains(&self.at(&next, gone, symbol)) {
                next.passed[gone * self.symbols() + symbol] = NEVER;
                for (later, turn) in self.tiles.iter().enumerate() {
                    if turn.after.get(gone).is_some_and(Option::is_some) {
                        next.passed[later * self.symbols() + symbol] = NEVER;
                    }
                }
            }
        }
        next.time = start + self.load;
        let had_passed = self.count(&next, tile);
        next.banks[bank] = (tile, next.time + self.settle, had_passed);
        self.pass(&mut next);
        next
    }
}

struct Search<'a> {
    turns: &'a Turns,
    like: &'a [usize],
    deadlines: Vec<u64>,
    /// States from which no way leads on.
    seen: BTreeSet<Vec<u64>>,
    left: usize,
}

impl Search<'_> {
    /// Whether some way from here meets all deadlines; nothing if that takes too long to find out.
    fn can_meet_deadlines(&mut self, state: &State) -> Option<bool> {
        self.left = self.left.checked_sub(1)?;
        if let Some(known) = self.known(state) {
            return Some(known);
        }
        if !self.seen.insert(self.key(state)) {
            return Some(false);
        }
        for choice in self.choices(state) {
            let next = self.turns.load(state, choice);
            if self.can_meet_deadlines(&next)? {
                return Some(true);
            }
        }
        Some(false)
    }

    /// Whether it is plain already that all symbols are in time, or that one is too late.
    fn known(&self, state: &State) -> Option<bool> {
        let turns = self.turns;
        let mut done = true;
        let mut held = 0_u32;
        for (tile, ..) in &state.banks {
            held |= 1 << tile;
        }
        let until = |loads: u32| state.time + turns.load * u64::from(loads) + turns.settle;
        for (symbol, deadline) in self.deadlines.iter().enumerate() {
            let mut missing = 0_u32;
            for (tile, turn) in turns.tiles.iter().enumerate() {
                let at = turns.at(state, tile, symbol);
                if at >= NEVER {
                    missing |= 1 << tile;
                } else if at + turn.rest > *deadline {
                    return Some(false);
                }
            }
            if missing == 0 {
                continue;
            }
            done = false;
            // The last of the loads it lacks, and for each tile those it must come after.
            let mut least_rest = u64::MAX;
            for (tile, turn) in turns.tiles.iter().enumerate() {
                if missing >> tile & 1 == 0 {
                    continue;
                }
                let (mut before, mut lag) = (0_u32, u64::MAX);
                for (other, needed) in turn.after.iter().enumerate() {
                    if let Some(needed) = needed
                        && (missing & !held) >> other & 1 == 1
                    {
                        before += 1;
                        lag = lag.min(*needed);
                    }
                }
                if before > 0
                    && until(before) + turns.stream + lag + turns.stream + turn.rest > *deadline
                {
                    return Some(false);
                }
                least_rest = least_rest.min(turn.rest);
            }
            let loads = (missing & !held).count_ones();
            if loads > 0 && until(loads) + turns.stream + least_rest > *deadline {
                return Some(false);
            }
        }
        done.then_some(true)
    }

    /// All of a state that its future depends on, the same for like tiles that have changed places.
    fn key(&self, state: &State) -> Vec<u64> {
        let turns = self.turns;
        let symbols = turns.symbols();
        // What has passed so long ago that nothing waits for it any more.
        let lags = turns.tiles.iter().flat_map(|turn| turn.after.iter().flatten());
        let longest = lags.copied().max().unwrap_or(0);
        let row = |tile: usize| {
            let bank = state.banks.iter().find(|bank| bank.0 == tile);
            let mut row = vec![
                self.like[tile] as u64,
                bank.map_or(0, |(_, there, _)| *there.max(&state.time)),
                bank.map_or(0, |(_, _, had_passed)| *had_passed as u64 + 1),
            ];
            let times = &state.passed[tile * symbols..][..symbols];
            row.extend(times.iter().map(|at| if at + longest > state.time { *at } else { 0 }));
            row
        };
        let mut rows: Vec<Vec<u64>> = (0..turns.tiles.len()).map(row).collect();
        rows.sort_unstable();
        let mut key = rows.concat();
        key.push(state.time);
        key
    }

    /// The ways to go on, the earliest loads first.
    fn choices(&self, state: &State) -> Vec<Choice> {
        let turns = self.turns;
        let symbols = turns.symbols();
        let is_held = |tile: usize| state.banks.iter().any(|bank| bank.0 == tile);
        let row = |tile: usize| &state.passed[tile * symbols..][..symbols];
        let mut choices = Vec::new();
        for tile in 0..turns.tiles.len() {
            let is_like = |other: usize| {
                self.like[other] == self.like[tile] && !is_held(other) && row(other) == row(tile)
            };
            if is_held(tile) || row(tile)[symbols - 1] < NEVER || (0..tile).any(is_like) {
                continue;
            }
            for (bank, &(gone, _, had_passed)) in state.banks.iter().enumerate() {
                let passed = &row(gone)[..turns.count(state, gone)];
                let mut starts: Vec<u64> =
                    passed.iter().skip(had_passed).map(|at| (*at).max(state.time)).collect();
                starts.dedup();
                choices.extend(starts.into_iter().map(|start| (start, tile, bank)));
            }
        }
        choices.sort_unstable();
        choices
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn independent(tiles: usize, banks: usize, arrive: &[u64], leave: &[u64]) -> Turns {
        let turn = |tile: usize| Turn { lag: 0, after: vec![None; tile], rest: 5 };
        Turns {
            tiles: (0..tiles).map(turn).collect(),
            load: 100,
            settle: 2,
            stream: 10,
            banks,
            begin: 0,
            arrive: arrive.to_vec(),
            leave: leave.to_vec(),
        }
    }

    /// The bound is found to within half a percent, from below.
    fn assert_just_below(found: u64, exact: u64) {
        assert!(found <= exact && exact - found <= 1 + exact / 128, "{found} of {exact}");
    }

    #[test]
    fn tiles_in_one_bank_follow_one_another() {
        // Load, settle, stream, three times; then what is left.
        let turns = independent(3, 1, &[0], &[50]);
        assert_just_below(turns.bound(1, 5000), 3 * 112 + 5 + 50);
        // With two banks a load starts when the loader is free, but for the first of three, which a
        // symbol must have passed: load, load, (the first was passed at 112), load, settle, stream.
        let turns = independent(3, 2, &[0], &[50]);
        assert_just_below(turns.bound(1, 5000), 3 * 100 + 12 + 5 + 50);
    }

    #[test]
    fn a_late_symbol_needs_another_pass_or_lets_the_first_one_wait() {
        // Two tiles in one bank. The first symbol is done at 224; the second, at 400, finds the
        // second tile and needs the first again: passed at 410, load, settle, stream: 522.
        let turns = independent(2, 1, &[0, 400], &[60, 50]);
        assert_just_below(turns.bound(1, 5000), 522 + 5 + 50);
        // In a line: the second tile must come after the first. Now both are loaded again, and the
        // first of them while nobody waits: streamed from 400 on.
        let mut turns = independent(2, 1, &[0, 400], &[60, 50]);
        turns.tiles[1].after = vec![Some(30)];
        // 410, load and settle to 512, the chain's 30 are over, stream: 522.
        assert_just_below(turns.bound(1, 5000), 522 + 5 + 50);
        // If the first must leave early it cannot wait for the second one.
        let turns = independent(2, 1, &[0, 120], &[300, 50]);
        // Waiting: both pass tile one by 130, tile two by 242: 242 + 305 for the first.
        // Not waiting: 224 + 305 for the first; the second, 224 + 112 + 55.
        assert_just_below(turns.bound(1, 5000), 224 + 305);
    }

    #[test]
    fn nothing_is_claimed_where_all_tiles_have_banks() {
        assert_eq!(independent(2, 2, &[0], &[50]).bound(7, 5000), 7);
    }

    #[test]
    fn like_tiles_are_those_that_differ_by_name_alone() {
        let mut turns = independent(4, 1, &[0], &[0]);
        assert_eq!(turns.like(), [0, 0, 0, 0]);
        turns.tiles[3].after = vec![Some(1), Some(1), None];
        assert_eq!(turns.like(), [0, 0, 2, 3]);
        turns.tiles[1].rest = 6;
        assert_eq!(turns.like(), [0, 1, 2, 3]);
    }
}
