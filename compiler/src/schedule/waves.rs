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
const GRAIN: u64 = 8;

/// The most parts of one wave.
const PARTS_MAX: u64 = 8;

/// Once so many waves have passed, the next ones grow with what has passed: the last wave is then
/// a small share of any run, and a long program does not need many steps.
const EQUAL_WAVES: u64 = 12;

impl Plan {
    /// Divides runs of up to `symbols_max` symbols.
    pub(crate) fn divide(&self, symbols_max: u64) -> Division {
        let mut division = Division { parts: Vec::new(), wave_ends: Vec::new() };
        let (mut from, mut wave) = (0, self.first_wave);
        while from < symbols_max {
            let size = wave.next_multiple_of(GRAIN).min(symbols_max - from);
            let part = size.div_ceil(PARTS_MAX).next_multiple_of(GRAIN);
            let end = from + size;
            while from < end {
                let to = end.min(from + part);
                division.parts.push(Symbols { from, to });
                from = to;
            }
            division.wave_ends.push(division.parts.len());
            wave = self.wave.max(from / EQUAL_WAVES);
        }
        division
    }
}

/// The plans worth trying, a safe one first.
pub(crate) fn plans(symbols_max: u64, reads: usize, small: bool) -> Vec<Plan> {
    let whole = Plan { first_wave: symbols_max, wave: symbols_max, hold: false, lead: 0 };
    let mut plans = vec![whole];
    let sizes: &[u64] = if small {
        &[8, 16, 24, 32, 40, 48, 64, 96, 128, 256]
    } else if reads < 4000 {
        &[128, 256, 512]
    } else {
        &[]
    };
    for &wave in sizes.iter().filter(|size| **size < symbols_max) {
        plans.push(Plan { first_wave: wave, wave, hold: false, lead: 0 });
        if small {
            for lead in 0..3 {
                plans.push(Plan { first_wave: wave, wave, hold: true, lead });
                plans.push(Plan { first_wave: (wave / 2).max(8), wave, hold: true, lead });
            }
        }
    }
    plans
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waves_grow_and_parts_stay_few() {
        let plan = Plan { first_wave: 16, wave: 24, hold: false, lead: 0 };
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
