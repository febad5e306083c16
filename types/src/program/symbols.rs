use std::fmt;
use std::ops::Range;

/// Which symbols of a run a step works on: from `from` up to, not including, `to`.
///
/// The numbers are positions in the run. A run may end before `to`, or before `from`: then the step
/// works on what is there, or is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Symbols {
    /// The first symbol.
    pub from: u64,
    /// The symbol after the last one.
    pub to: u64,
}

impl Symbols {
    /// All symbols of any run.
    pub const ALL: Self = Self { from: 0, to: u64::MAX };

    /// Those that a run of so many symbols has.
    pub fn in_run(self, symbols: u64) -> Range<u64> {
        self.from.min(symbols)..self.to.min(symbols)
    }

    /// How many a run of so many symbols has.
    pub fn count_in(self, symbols: u64) -> u64 {
        let range = self.in_run(symbols);
        range.end.saturating_sub(range.start)
    }

    /// Whether a step with this range is dropped from a run of so many symbols.
    ///
    /// A step on all symbols is part of every run, of an empty one too.
    pub fn dropped_in(self, symbols: u64) -> bool {
        self != Self::ALL && self.count_in(symbols) == 0
    }

    /// Whether a step with this range is carried out in every run in which one with `other` is.
    pub fn covers_runs_of(self, other: Self) -> bool {
        self.from <= other.from
    }
}

impl fmt::Display for Symbols {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.from, self.to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_cut_at_the_end_of_the_run() {
        let symbols = Symbols { from: 8, to: 16 };
        assert_eq!(symbols.in_run(20), 8..16);
        assert_eq!(symbols.in_run(10), 8..10);
        assert_eq!((symbols.count_in(8), symbols.count_in(3)), (0, 0));
        assert!(symbols.dropped_in(8) && !symbols.dropped_in(9));
        assert!(!Symbols::ALL.dropped_in(0));
        assert_eq!(Symbols::ALL.count_in(5), 5);
    }
}
