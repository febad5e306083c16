//! Into what the symbols of a run are divided: waves that share a pass of the weights, and parts of
//! waves that go from unit to unit.

use litecore_types::program::Symbols;

/// A way to divide symbols and to order loads; which one is best is tried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Symbols in the first wave.
    pub(crate) first_wave: u64,
    /// Symbols in the waves after it, to begin with.
    pub(crate) wave: u64,
    /// Up to which symbol waves are of that size; one ends there.
    pub(crate) knee: u64,
    /// Symbols in the waves from there on, to begin with.
    pub(crate) late_wave: u64,
    /// Whether each phase keeps a bank until the next wave, instead of leaving all to the next
    /// phase: fewer loads, but none that hides behind a stream of the same phase.
    pub(crate) hold: bool,
    /// How many tiles of the next wave are loaded ahead of this wave's later phases.
    pub(crate) lead: usize,
}

/// The division of the symbols of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Division {
    /// What one step works on at most, ascending.
    pub(crate) parts: Vec<Symbols>,
    /// For each wave, how many parts have passed when it has.
    pub(crate) wave_ends: Vec<usize>,
}

/// Parts begin at multiples of this many symbols: it divides into pairs, and steps get no shorter
/// than their issue.
pub(super) const GRAIN: u64 = 8;

/// The most parts of one wave.
const PARTS_MAX: u64 = 8;

/// Once so many parts have passed, the next ones grow with what has passed: what a run waits for its
/// last part is then a small share of it, and a long program does not need many steps.
const EQUAL_PARTS: u64 = 14;

/// Likewise for waves.
const EQUAL_WAVES: u64 = 12;

/// The symbol up to which waves are tried out finely: runs that long live from how their few passes
/// of the weights meet.
pub(crate) const KNEE: u64 = 64;

impl Plan {
    /// Waves of one size.
    pub(crate) fn even(wave: u64) -> Self {
        Self { first_wave: wave, wave, knee: 0, late_wave: wave, hold: false, lead: 0 }
    }

    /// Divides runs of up to `symbols_max` symbols.
    pub(crate) fn divide(&self, symbols_max: u64) -> Division {
        let mut division = Division { parts: Vec::new(), wave_ends: Vec::new() };
        let mut from = 0;
        while from < symbols_max {
            let wave = match from {
                0 => self.first_wave,
                _ if from < self.knee => self.wave,
                _ => self.late_wave.max(from / EQUAL_WAVES),
            };
            let most = if from < self.knee { self.knee.min(symbols_max) } else { symbols_max };
            let size = wave.next_multiple_of(GRAIN).min(most - from);
            let part = size.div_ceil(PARTS_MAX).max(from / EQUAL_PARTS).next_multiple_of(GRAIN);
            let end = from + size;
            while from < end {
                let to = end.min(from + part);
                division.parts.push(Symbols { from, to });
                from = to;
            }
            division.wave_ends.push(division.parts.len());
        }
        division
    }

    /// The most symbols that the vector unit takes in one step from a symbol on, where more are there.
    pub(super) fn vector_part(from: u64) -> u64 {
        GRAIN.max(from / EQUAL_PARTS)
    }

    /// Likewise for what leaves: nothing waits for its parts.
    pub(super) fn leaving_part(from: u64) -> u64 {
        KNEE.max(from / 8)
    }
}

/// The plans worth trying where waves are of one size, a safe one first.
pub(crate) fn plans(symbols_max: u64, reads: usize, small: bool) -> Vec<Plan> {
    let mut plans = vec![Plan::even(symbols_max)];
    let sizes: &[u64] = if small {
        &[8, 16, 24, 32, 40, 48, 64, 96, 128, 256]
    } else if reads < 4000 {
        &[128, 256, 512]
    } else {
        &[]
    };
    for &wave in sizes.iter().filter(|size| **size < symbols_max) {
        let even = Plan::even(wave);
        plans.push(even);
        if small {
            for lead in 0..3 {
                plans.push(Plan { hold: true, lead, ..even });
                plans.push(Plan { hold: true, lead, first_wave: (wave / 2).max(8), ..even });
            }
        }
    }
    plans
}

/// Ways to divide what comes after the first symbols of a plan.
pub(super) fn late_plans(early: Plan, knee: u64) -> Vec<Plan> {
    let sizes = [24, 32, 48, 64, 96].into_iter();
    sizes.map(|late_wave| Plan { knee, late_wave, ..early }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waves_grow_and_parts_stay_few() {
        let plan = Plan { first_wave: 16, ..Plan::even(24) };
        let division = plan.divide(41);
        let parts: Vec<(u64, u64)> = division.parts.iter().map(|p| (p.from, p.to)).collect();
        assert_eq!(parts, [(0, 8), (8, 16), (16, 24), (24, 32), (32, 40), (40, 41)]);
        assert_eq!(division.wave_ends, [2, 5, 6]);
        let division = plan.divide(1 << 20);
        assert!(division.parts.len() < 1200, "{}", division.parts.len());
        assert!(division.parts.windows(2).all(|pair| pair[0].to == pair[1].from));
        assert_eq!(division.parts.last().map(|part| part.to), Some(1 << 20));
    }
}
