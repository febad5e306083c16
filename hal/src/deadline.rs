use std::time::{Duration, Instant};

/// The moment at which a call gives up. Every call that can wait takes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

impl Deadline {
    /// This long from now.
    pub fn after(time: Duration) -> Self {
        let now = Instant::now();
        // A century stands for "never" where the sum does not fit.
        let never = Duration::from_secs(3_155_760_000);
        Self(now.checked_add(time).or_else(|| now.checked_add(never)).unwrap_or(now))
    }

    /// Already there: look, and do not wait.
    pub fn now() -> Self {
        Self(Instant::now())
    }

    /// The earlier of the two.
    #[must_use]
    pub fn or_after(self, time: Duration) -> Self {
        self.min(Self::after(time))
    }

    /// What is left; zero where it has passed.
    pub fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// Whether it has passed.
    pub fn passed(self) -> bool {
        self.left().is_zero()
    }
}

/// How long each kind of work may take. [`Timeouts::scaled`] stretches them for slow worlds, such
/// as a card behind an emulated processor.
///
/// Source: *assumed*, generous against what the emulated card shows on each link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Finding a card, opening it and agreeing on a protocol version.
    pub open: Duration,
    /// A command without much work or data.
    pub command: Duration,
    /// A run of a program.
    pub run: Duration,
    /// Added to the above for every mebibyte that crosses the link.
    pub per_mebibyte: Duration,
    /// How long a silent card is waited for before the next rung of the recovery ladder; doubled
    /// on every rung.
    pub rung: Duration,
    /// A reset of the card's function or port.
    pub reset: Duration,
    /// How long a card that went away may take to come back.
    pub return_of_card: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            open: Duration::from_secs(5),
            command: Duration::from_secs(2),
            run: Duration::from_secs(30),
            per_mebibyte: Duration::from_secs(2),
            rung: Duration::from_millis(250),
            reset: Duration::from_secs(2),
            return_of_card: Duration::from_secs(5),
        }
    }
}

impl Timeouts {
    /// The same, `factor` times as long.
    #[must_use]
    pub fn scaled(self, factor: u32) -> Self {
        Self {
            open: self.open.saturating_mul(factor),
            command: self.command.saturating_mul(factor),
            run: self.run.saturating_mul(factor),
            per_mebibyte: self.per_mebibyte.saturating_mul(factor),
            rung: self.rung.saturating_mul(factor),
            reset: self.reset.saturating_mul(factor),
            return_of_card: self.return_of_card.saturating_mul(factor),
        }
    }

    /// The time of a command that moves `bytes`, on top of `work`.
    pub fn for_transfer(&self, work: Duration, bytes: u64) -> Duration {
        let mebibytes = u32::try_from(bytes >> 20).unwrap_or(u32::MAX);
        work.saturating_add(self.per_mebibyte.saturating_mul(mebibytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_counts_down_and_the_earlier_one_wins() {
        let hour = Duration::from_secs(3600);
        assert!(Deadline::now().passed());
        let far = Deadline::after(hour);
        assert!(far.left() > Duration::from_secs(3599) && !far.passed());
        assert!(far.or_after(Duration::from_secs(1)).left() <= Duration::from_secs(1));
        assert!(Deadline::after(Duration::MAX).left() > hour, "never is not now");
    }

    #[test]
    fn transfers_get_time_for_their_bytes_and_slow_worlds_more() {
        let timeouts = Timeouts::default();
        let second = Duration::from_secs(1);
        assert_eq!(timeouts.for_transfer(second, (1 << 20) - 1), second);
        assert_eq!(timeouts.for_transfer(second, 3 << 20), second * 7);
        assert_eq!(timeouts.scaled(10).run, timeouts.run * 10);
        assert_eq!(timeouts.scaled(10).for_transfer(second, 1 << 20), second * 21);
    }
}
