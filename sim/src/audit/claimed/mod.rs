//! Claims against figures, and claims against one another.

mod build;
mod cost;
mod signal;

use super::card::Card;
use super::finding::{Bound, Finding, Uncertain, judge, ratio};
use super::{Audit, Figure};
use ClaimKey as Key;
use litecore_types::chip::{ClaimKey, Claims};

/// Every claim that can be compared, compared.
pub(super) fn findings(card: &Card<'_>, audit: &Audit) -> Vec<Finding> {
    let mut checks = Checks { card, audit, claims: &card.chip().claims, found: Vec::new() };
    if !checks.claims.is_empty() {
        checks.rate();
        checks.power();
        checks.energy();
        checks.light();
        checks.precision();
        checks.time();
        checks.wavelengths();
        checks.layout();
        checks.arithmetic();
    }
    checks.found
}

struct Checks<'a> {
    card: &'a Card<'a>,
    audit: &'a Audit,
    claims: &'a Claims,
    found: Vec<Finding>,
}

impl Checks<'_> {
    /// Compares a claimed number with a derived one, if it is claimed at all.
    fn check(
        &mut self,
        key: Key,
        unit: &'static str,
        derived: impl Into<Uncertain>,
        bound: Bound,
        explanation: String,
    ) {
        if let Some(value) = self.claims.value(key) {
            self.compare(
                key,
                key.name().to_owned(),
                unit,
                value,
                derived.into(),
                bound,
                explanation,
            );
        }
    }

    /// Compares two numbers under a name of their own; the source is that of `key`.
    #[allow(clippy::too_many_arguments, reason = "one finding has this many parts")]
    fn compare(
        &mut self,
        key: Key,
        claim: String,
        unit: &'static str,
        claimed: f64,
        derived: Uncertain,
        bound: Bound,
        explanation: String,
    ) {
        let Some(source) = self.claims.get(key).map(|claim| claim.source.clone()) else {
            return;
        };
        self.found.push(Finding {
            claim,
            unit,
            claimed: Some(claimed),
            limit: None,
            derived: derived.value,
            ratio: ratio(unit, derived.value, claimed),
            severity: judge(unit, claimed, derived, bound),
            explanation,
            source,
        });
    }

    fn value(&self, figure: Figure) -> f64 {
        self.audit.value(figure)
    }
}
