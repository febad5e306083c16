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
use litecore_types::chip::{ChipDescription, Quantity};

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
/// changes added in squares. A change is the mean of those upwards and downwards, as far as there are
/// both: converters, for one, lose more by half a bit than they win.
fn derive(chip: &ChipDescription, card: &Card<'_>) -> Vec<Derived> {
    let mut derived: Vec<Derived> = Figure::ALL
        .into_iter()
        .map(|figure| Derived { figure, value: figure.of(card), plus_minus: 0.0 })
        .collect();
    let mut changed = chip.clone();
    let figures_at = |changed: &mut ChipDescription, index: usize, value: f64| -> Vec<f64> {
        changed.quantities_mut()[index].value = value;
        let shifted = Card::of(changed);
        Figure::ALL.into_iter().map(|figure| figure.of(&shifted)).collect()
    };
    for index in 0..changed.quantities_mut().len() {
        let Quantity { value, plus_minus, .. } = *changed.quantities_mut()[index];
        if plus_minus == 0.0 {
            continue;
        }
        let above = figures_at(&mut changed, index, value + plus_minus);
        // Nothing that is positive is ever zero or less.
        let below = (value < 0.0 || plus_minus < value)
            .then(|| figures_at(&mut changed, index, value - plus_minus));
        changed.quantities_mut()[index].value = value;
        for (place, of) in derived.iter_mut().enumerate() {
            let up = above[place] - of.value;
            let down = below.as_ref().map_or(f64::NAN, |below| of.value - below[place]);
            // Infinite figures stay what they are, and so does what a change makes no sense of.
            let change = match (up.is_finite(), down.is_finite()) {
                (true, true) => f64::midpoint(up, down),
                (true, false) => up,
                (false, true) => down,
                (false, false) => 0.0,
            };
            of.plus_minus += change * change;
        }
    }
    for of in &mut derived {
        of.plus_minus = of.plus_minus.sqrt();
    }
    derived
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Terms;
    use crate::budget::{Budget, Part, Source, Statistics};
    use litecore_types::chip::{Impairment, builtin};

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
        // 10.06 ± 1.5 dB, and 32 crossings of 0.02 ± 0.01 dB each.
        let loss = audit.uncertain(Figure::FullScaleLossDb);
        assert!((loss.plus_minus - (1.5_f64 * 1.5 + 0.32 * 0.32).sqrt()).abs() < 1e-9, "{loss:?}");
        assert!(relative(Figure::CmacsPerS).abs() < 1e-12);
        assert!(relative(Figure::HoldPowerW) > 0.5);
    }

    /// Impairments are quantities too: a converter's 7.0 ± 0.3 bits alone are nearly a decibel.
    #[test]
    fn uncertainty_of_impairments_is_inherited() {
        let mut chip = builtin("ref-64-eo").unwrap();
        for quantity in chip.quantities_mut() {
            quantity.plus_minus = 0.0;
        }
        assert!(audit(&chip).uncertain(Figure::SnrRmsDb).plus_minus.abs() < 1e-12);
        let Impairment::Of(enob) = &mut chip.adc.enob else { panic!("not ideal") };
        enob.plus_minus = 0.3;
        let found = audit(&chip).uncertain(Figure::SnrRmsDb).plus_minus;
        // The converter's noise has 4 - 1 parts of rounding; 0.3 bits change the 4 to 2.639 and 6.063.
        let statistics = Statistics::uniform(&chip, 11);
        let budget = Budget::predict(&chip, Terms::all(), &statistics);
        let square = |part: Part| part.sigma_units * part.sigma_units;
        let rounding = square(budget.part(Source::Quantisation).unwrap());
        let others = square(budget.total) - 3.0 * rounding;
        let level = |excess: f64| 10.0 * pxfm::f_log10(others + excess * rounding);
        let expected = (level(5.063) - level(1.639)) / 2.0;
        assert!((found / expected - 1.0).abs() < 1e-3, "{found} against {expected}");
        assert!((0.7..1.2).contains(&found), "{found}");
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
