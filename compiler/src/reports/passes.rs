//! What the passes did to many experts, in one line each.

use crate::passes::{Pass, PassReport};
use serde::Serialize;
use std::collections::BTreeMap;

/// One pass over many layers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PassSummary {
    /// The pass.
    pub pass: Pass,
    /// How often it ran.
    pub runs: usize,
    /// How often it changed something.
    pub changed: usize,
    /// Means of its figures over the runs that have them, by name: before and after.
    pub figures: BTreeMap<String, (Option<f64>, Option<f64>)>,
}

/// Sums up reports, in the order of the passes.
pub fn summarise_passes<'a>(reports: impl IntoIterator<Item = &'a PassReport>) -> Vec<PassSummary> {
    /// Runs, changes, and for each figure the sums and counts of before and after.
    #[derive(Default)]
    struct Sums {
        runs: usize,
        changed: usize,
        figures: BTreeMap<String, [(f64, usize); 2]>,
    }
    let mut passes: BTreeMap<Pass, Sums> = BTreeMap::new();
    for report in reports {
        let sums = passes.entry(report.pass).or_default();
        sums.runs += 1;
        sums.changed += usize::from(report.changed);
        for figure in &report.figures {
            let both = sums.figures.entry(figure.name.clone()).or_default();
            for ((sum, count), value) in both.iter_mut().zip([figure.before, figure.after]) {
                *sum += value.unwrap_or(0.0);
                *count += usize::from(value.is_some());
            }
        }
    }
    let mean = |(sum, count): (f64, usize)| (count > 0).then(|| sum / count as f64);
    passes
        .into_iter()
        .map(|(pass, Sums { runs, changed, figures })| {
            let figures = figures
                .into_iter()
                .map(|(name, [before, after])| (name, (mean(before), mean(after))));
            PassSummary { pass, runs, changed, figures: figures.collect() }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_averaged_over_the_runs_that_have_them() {
        let report = |changed, before, after| {
            PassReport::new(Pass::Clip, None).changed(changed).figure("rows", before, after)
        };
        let reports = [report(true, 1.0, 4.0), report(false, f64::NAN, 2.0)];
        let [summary] = &summarise_passes(&reports)[..] else { panic!("one pass") };
        assert_eq!((summary.runs, summary.changed), (2, 1));
        assert_eq!(summary.figures["rows"], (Some(1.0), Some(3.0)));
    }
}
