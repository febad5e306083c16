//! One comparison of a claimed number with the number that follows, and how bad it is.

use super::decibels;

/// How bad a finding is, worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Both cannot be true: a factor of more than two, uncertainty already granted.
    Contradiction,
    /// Off by more than the uncertainty, or possible only at a price.
    Warning,
    /// Worth knowing; nothing is wrong.
    Note,
}

impl Severity {
    /// The word in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Contradiction => "contradiction",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// A claimed number beside the number that follows from the description.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// What was compared: a key of `[claims]`, a path of the description, or two of them.
    pub claim: String,
    /// Unit of both numbers; empty for a bare number.
    pub unit: &'static str,
    /// The number as claimed, or as the description has it; none where nobody states one.
    pub claimed: Option<f64>,
    /// Where nothing is claimed, what this audit takes as the limit, if there is one.
    pub limit: Option<f64>,
    /// The number that follows.
    pub derived: f64,
    /// Derived over claimed or over the limit, as powers where the unit is the decibel; above one is
    /// more. One where there is neither.
    pub ratio: f64,
    /// How bad it is.
    pub severity: Severity,
    /// Why the derived number is what it is, in one or two sentences.
    pub explanation: String,
    /// Where the claim is from, or the limit.
    pub source: String,
}

impl Finding {
    /// What the derived number is compared with, if with anything.
    pub fn reference(&self) -> Option<f64> {
        self.claimed.or(self.limit)
    }
}

/// In which direction a claim can be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bound {
    /// Broken if the derived number is larger: costs, losses, times.
    AtMost,
    /// Broken if the derived number is smaller: rates, precision.
    AtLeast,
    /// Broken either way: plain arithmetic.
    Equal,
    /// Broken if the derived number is larger at all: there is no room to give.
    Fits,
}

/// A derived number and its standard uncertainty.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Uncertain {
    pub(super) value: f64,
    pub(super) plus_minus: f64,
}

impl From<f64> for Uncertain {
    fn from(value: f64) -> Self {
        Self { value, plus_minus: 0.0 }
    }
}

/// A factor up to which two numbers count as the same.
const SAME: f64 = 1.1;
/// A factor from which two numbers contradict each other; 3 dB.
const CONTRADICTORY: f64 = 2.0;

/// How bad it is that `claimed` stands beside `derived`, one standard uncertainty granted in the
/// claim's favor.
pub(super) fn judge(unit: &str, claimed: f64, derived: Uncertain, bound: Bound) -> Severity {
    let over = |shift: f64| ratio(unit, derived.value + shift, claimed).max(0.0);
    let (least, most) = (over(-derived.plus_minus), over(derived.plus_minus));
    let off = match bound {
        Bound::AtMost | Bound::Fits => least,
        Bound::AtLeast => most.recip(),
        Bound::Equal => least.max(most.recip()),
    };
    if off > CONTRADICTORY || (bound == Bound::Fits && off > SAME) {
        Severity::Contradiction
    } else if off > SAME {
        Severity::Warning
    } else {
        Severity::Note
    }
}

/// Derived over claimed; levels in decibels are compared as powers.
pub(super) fn ratio(unit: &str, derived: f64, claimed: f64) -> f64 {
    if unit == "dB" { decibels::power_ratio(derived - claimed) } else { derived / claimed }
}

/// Worst first: by severity, then by how far off, then by name.
pub(super) fn sort(findings: &mut [Finding]) {
    let off = |finding: &Finding| decibels::of(finding.ratio).abs();
    findings.sort_by(|a, b| {
        a.severity
            .cmp(&b.severity)
            .then(off(b).total_cmp(&off(a)))
            .then_with(|| a.claim.cmp(&b.claim))
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use Bound::{AtLeast, AtMost, Equal, Fits};
    use Severity::{Contradiction, Note, Warning};

    #[test]
    fn a_bound_is_broken_in_its_own_direction_only() {
        for (bound, derived, severity) in [
            (AtMost, 2.1, Contradiction),
            (AtMost, 1.5, Warning),
            (AtMost, 1.05, Note),
            (AtMost, 0.01, Note),
            (AtLeast, 0.4, Contradiction),
            (AtLeast, 0.8, Warning),
            (AtLeast, 40.0, Note),
            (Equal, 0.4, Contradiction),
            (Equal, 2.5, Contradiction),
            (Equal, 1.0, Note),
            (Fits, 1.5, Contradiction),
            (Fits, 0.5, Note),
        ] {
            let verdict = judge("W", 1.0, derived.into(), bound);
            assert_eq!(verdict, severity, "{bound:?} {derived}");
        }
    }

    #[test]
    fn three_decibels_are_a_factor_of_two() {
        assert_eq!(judge("dB", 50.0, 46.9.into(), AtLeast), Contradiction);
        assert_eq!(judge("dB", 50.0, 47.1.into(), AtLeast), Warning);
        assert_eq!(judge("dB", 6.5, 36.6.into(), AtMost), Contradiction);
        assert!((ratio("dB", 36.6, 6.5) - 1023.3).abs() < 1.0);
    }

    #[test]
    fn uncertainty_is_granted_to_the_claim() {
        let derived = Uncertain { value: 3.0, plus_minus: 1.5 };
        assert_eq!(judge("W", 1.0, derived, AtMost), Warning);
        let derived = Uncertain { value: 3.0, plus_minus: 4.0 };
        assert_eq!(judge("W", 1.0, derived, AtMost), Note);
    }
}
