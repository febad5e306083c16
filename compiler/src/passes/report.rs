//! What a pass changed, in figures.

use super::Pass;
use serde::{Deserialize, Serialize};

/// What one pass did to one layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PassReport {
    /// The pass.
    pub pass: Pass,
    /// The matrix it worked on; nothing where it works on the whole layer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matrix: Option<String>,
    /// Whether it changed anything.
    pub changed: bool,
    /// Figures that matter for it.
    pub figures: Vec<Figure>,
}

/// A figure before and after a pass.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// What it is, unit included.
    pub name: String,
    /// Before the pass; nothing where it has no meaning yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<f64>,
    /// After it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<f64>,
}

/// The figure that says what SNR a matrix is predicted to have.
pub(crate) const PREDICTED_SNR: &str = "predicted SNR, dB";
/// The figure that says what SNR it should have.
pub(crate) const WANTED_SNR: &str = "wanted SNR of this matrix, dB";

impl PassReport {
    /// Whether the pass did its best and a wanted SNR is still out of reach.
    pub fn misses_target(&self) -> bool {
        let after = |name| self.figures.iter().find(|figure| figure.name == name)?.after;
        after(PREDICTED_SNR).zip(after(WANTED_SNR)).is_some_and(|(found, wanted)| found < wanted)
    }

    pub(crate) fn new(pass: Pass, matrix: Option<&str>) -> Self {
        Self { pass, matrix: matrix.map(str::to_owned), changed: false, figures: Vec::new() }
    }

    pub(crate) fn changed(mut self, changed: bool) -> Self {
        self.changed = changed;
        self
    }

    /// Adds a figure; values that are not finite are left out.
    pub(crate) fn figure(mut self, name: &str, before: f64, after: f64) -> Self {
        let finite = |value: f64| value.is_finite().then_some(value);
        let (before, after) = (finite(before), finite(after));
        self.figures.push(Figure { name: name.to_owned(), before, after });
        self
    }
}
