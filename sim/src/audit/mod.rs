//! Audits a description: what follows from it, and where it contradicts itself or its makers' claims.
//!
//! [`audit`] derives every [`Figure`] from the description alone, with the uncertainty it inherits
//! from the description's own; nothing is simulated. Then it compares: each claim of the section
//! `[claims]` with the figure it is about, and parts of the description with one another. The
//! figures count the weights as stationary and the whole card as busy all the time, as the energy
//! ledger does.

mod card;
mod claimed;
mod figures;
mod finding;
mod internal;
mod words;

pub use figures::{Figure, Group};
pub use finding::{Finding, Severity};
pub use words::amount;

use card::Card;
use finding::Uncertain;
use litecore_types::chip::ChipDescription;

/// Levels and the ratios they stand for.
mod decibels {
    pub(super) use crate::optics::{decibels as of, power_ratio};
}

/// A figure with its number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Derived {
    /// Which figure.
    pub figure: Figure,
    /// The number, in the unit of the figure.
    pub value: f64,
    /// One standard uncertainty, from the uncertainties of the description.
    pub plus_minus: f64,
}

/// What follows from a description.
#[derive(Clone, Debug, PartialEq)]
pub struct Audit {
    /// Every figure, in the order of [`Figure::ALL`].
    pub derived: Vec<Derived>,
    /// Every finding, worst first.
    pub findings: Vec<Finding>,
}

impl Audit {
    /// The number of one figure.
    pub fn value(&self, figure: Figure) -> f64 {
        self.uncertain(figure).value
    }

    /// The finding about one claim.
    pub fn finding(&self, claim: &str) -> Option<&Finding> {
        self.findings.iter().find(|finding| finding.claim == claim)
    }

    fn uncertain(&self, figure: Figure) -> Uncertain {
        let found = self.derived.iter().find(|derived| derived.figure == figure);
        found.map_or(f64::NAN.into(), |derived| Uncertain {
            value: derived.value,
            plus_minus: derived.plus_minus,
        })
    }
}

/// Derives every figure of `chip` and compares it with what the description says and claims.
pub fn audit(chip: &ChipDescription) -> Audit {
    let card = Card::of(chip);
    let mut audit = Audit { derived: derive(chip, &card), findings: Vec::new() };
    let mut findings = claimed::findings(&card, &audit);
    findings.extend(internal::findings(&card, &audit));
    finding::sort(&mut findings);
    audit.findings = findings;
    audit
}

/// Every figure, and what it changes by when each uncertain quantity grows by its uncertainty, the
/// changes added in squares.
fn derive(chip: &ChipDescription, card: &Card<'_>) -> Vec<Derived> {
    let mut derived: Vec<Derived> = Figure::ALL
        .into_iter()
        .map(|figure| Derived { figure, value: figure.of(card), plus_minus: 0.0 })
        .collect();
    let mut changed = chip.clone();
    for index in 0..card::uncertain(&mut changed).len() {
        let quantity = &mut *card::uncertain(&mut changed)[index];
        if quantity.plus_minus == 0.0 {
            continue;
        }
        let before = quantity.value;
        quantity.value += quantity.plus_minus;
        let shifted = Card::of(&changed);
        for of in &mut derived {
            let change = of.figure.of(&shifted) - of.value;
            // Infinite figures stay what they are.
            if change.is_finite() {
                of.plus_minus += change * change;
            }
        }
        card::uncertain(&mut changed)[index].value = before;
    }
    for of in &mut derived {
        of.plus_minus = of.plus_minus.sqrt();
    }
    derived
}

#[cfg(test)]
mod tests {
    use super::*;
    use litecore_types::chip::builtin;

    #[test]
    fn uncertainty_is_inherited() {
        let chip = builtin("ref-64-eo").unwrap();
        let audit = audit(&chip);
        let relative = |figure| {
            let uncertain = audit.uncertain(figure);
            uncertain.plus_minus / uncertain.value
        };
        // 0.5 ± 0.05 W and the last digit of the wavelength.
        assert!((relative(Figure::LaunchedPhotonsPerCmac) - 0.1).abs() < 0.001);
        // 10.7 ± 1.5 dB.
        let loss = audit.uncertain(Figure::FullScaleLossDb);
        assert!((loss.plus_minus - 1.5).abs() < 1e-9, "{loss:?}");
        assert!(relative(Figure::CmacsPerS).abs() < 1e-12);
        assert!(relative(Figure::HoldPowerW) > 0.5);
    }

    #[test]
    fn the_default_chip_has_no_contradiction() {
        let audit = audit(&builtin("ref-64-eo").unwrap());
        for finding in &audit.findings {
            assert_ne!(finding.severity, Severity::Contradiction, "{finding:?}");
        }
        assert!(audit.value(Figure::SnrRmsDb) > 25.0);
    }
}
