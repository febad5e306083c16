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
    /// Whether it did its best and what was asked for is still out of reach.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub falls_short: bool,
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

impl PassReport {
    pub(crate) fn new(pass: Pass, matrix: Option<&str>) -> Self {
        let matrix = matrix.map(str::to_owned);
        Self { pass, matrix, changed: false, falls_short: false, figures: Vec::new() }
    }

    pub(crate) fn changed(mut self, changed: bool) -> Self {
        self.changed = changed;
        self
    }

    pub(crate) fn falls_short(mut self, falls_short: bool) -> Self {
        self.falls_short = falls_short;
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
