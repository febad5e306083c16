use serde::Serialize;
use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub};

/// Periods of the card's one clock, which is the optical symbol clock (`clock.symbol_rate_hz`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Cycles(pub u64);

impl Cycles {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// The seconds these cycles take at `symbol_rate_hz`.
    pub fn seconds(self, symbol_rate_hz: f64) -> f64 {
        self.0 as f64 / symbol_rate_hz
    }

    /// The smallest whole number of cycles that is at least `seconds` long.
    ///
    /// Negative and non-finite durations cannot come out of a checked chip description; they
    /// saturate.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "saturation at 0 and u64::MAX is the documented meaning"
    )]
    pub fn at_least(seconds: f64, symbol_rate_hz: f64) -> Self {
        Self((seconds * symbol_rate_hz).ceil() as u64)
    }
}

impl Add for Cycles {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Cycles {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Cycles {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Sum for Cycles {
    fn sum<I: Iterator<Item = Self>>(items: I) -> Self {
        items.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Display for Cycles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_rounded_up_to_whole_cycles() {
        assert_eq!(Cycles::at_least(1.0e-9, 2.0e9), Cycles(2));
        assert_eq!(Cycles::at_least(1.1e-9, 2.0e9), Cycles(3));
        assert_eq!(Cycles::at_least(0.0, 2.0e9), Cycles(0));
        assert_eq!(Cycles::at_least(f64::NAN, 2.0e9), Cycles(0));
        assert_eq!(Cycles::at_least(f64::INFINITY, 2.0e9), Cycles(u64::MAX));
    }
}
