//! What the error budget of a matrix is spent on: two thin matrices in its place, tiles left out, or
//! one after the other.

use crate::options::CompileOptions;
use crate::passes::{Factors, Pass, PassReport, column_powers, drop_tiles, factor};
use crate::tile::TileGrid;
use std::borrow::Cow;

/// A matrix within its error budget.
#[derive(Debug)]
pub(crate) enum Approximation<'a> {
    /// One matrix, maybe without some of its tiles.
    One(Cow<'a, [f32]>),
    /// Two, the inner one maybe without some of its tiles.
    Two(Factors),
}

/// Approximates a matrix by the passes that are on; all of them together lose at most the error budget
/// of its energy on inputs with the mean squares `channel_power`.
///
/// What the factors leave of the budget goes to the inner one's tiles. The columns of the outer one
/// are orthogonal, so a lost tile costs its energy times that of the columns it feeds, and adds to what
/// the factors lost, which is orthogonal to all of them. The outer one keeps its tiles: its inputs
/// depend on each other, and their mean squares would not bound what is lost.
pub(crate) fn approximate<'a>(
    options: &CompileOptions,
    name: &str,
    weights: &'a [f32],
    channel_power: &[f32],
    grid: TileGrid,
    passes: &mut Vec<PassReport>,
) -> Approximation<'a> {
    let (inputs, budget) = (channel_power.len(), options.error_budget);
    let spend = |name: &str, weights: &mut [f32], row_power: &[f64], budget: f64| {
        let rows = row_power.len();
        let grid = TileGrid::new(rows, inputs, grid.tile_inputs, grid.tile_outputs);
        drop_tiles(name, weights, channel_power, row_power, grid, budget)
    };
    if options.has(Pass::LowRank) {
        let (factors, report) = factor(name, weights, channel_power, grid, budget);
        passes.push(report);
        if let Some(mut factors) = factors {
            let kept = 1.0 - factors.lost;
            if options.has(Pass::TileSparsity) && kept > 0.0 {
                let left = (budget - factors.lost).max(0.0) / kept;
                let row_power = column_powers(&factors.outer, factors.rank);
                let name = format!("{name} inner");
                passes.push(spend(&name, &mut factors.inner, &row_power, left));
            }
            return Approximation::Two(factors);
        }
    }
    let mut weights = Cow::Borrowed(weights);
    if options.has(Pass::TileSparsity) {
        let alike = vec![1.0; weights.len() / inputs];
        passes.push(spend(name, weights.to_mut(), &alike, budget));
    }
    Approximation::One(weights)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passes::PassSet;
    use litecore_kernels::normal::standard_normals;

    const OUTPUTS: usize = 40;
    const INPUTS: usize = 48;

    fn normals(key: u64, count: usize) -> Vec<f32> {
        let mut values = vec![0.0; count];
        standard_normals(key, 0, &mut values);
        values
    }

    /// A matrix of directions that get weaker and weaker.
    fn decaying(key: u64) -> Vec<f32> {
        let mut weights = vec![0.0; OUTPUTS * INPUTS];
        let mut strength = 1.0;
        for direction in 0..24 {
            let left = normals(1000 * key + 2 * direction, OUTPUTS);
            let right = normals(1000 * key + 2 * direction + 1, INPUTS);
            for (row, left) in weights.chunks_exact_mut(INPUTS).zip(&left) {
                for (weight, right) in row.iter_mut().zip(&right) {
                    *weight += strength * left * right;
                }
            }
            strength *= 0.75;
        }
        weights
    }

    /// Inputs that get quieter along the vector.
    fn power() -> Vec<f32> {
        std::iter::successors(Some(1.0), |power| Some(0.9 * power)).take(INPUTS).collect()
    }

    fn product(factors: &Factors) -> Vec<f32> {
        let row = |outer: &[f32]| {
            let mut sums = vec![0.0; INPUTS];
            for (outer, inner) in outer.iter().zip(factors.inner.chunks_exact(INPUTS)) {
                for (sum, inner) in sums.iter_mut().zip(inner) {
                    *sum += outer * inner;
                }
            }
            sums
        };
        factors.outer.chunks_exact(factors.rank).flat_map(row).collect()
    }

    /// Energy of the difference at the output, over that of the output.
    fn lost(weights: &[f32], found: &[f32]) -> f64 {
        let (mut whole, mut lost) = (0.0, 0.0);
        for (row, found) in weights.chunks_exact(INPUTS).zip(found.chunks_exact(INPUTS)) {
            for ((weight, found), power) in row.iter().zip(found).zip(power()) {
                let (weight, found) = (f64::from(*weight), f64::from(*found));
                whole += weight * weight * f64::from(power);
                lost += (weight - found) * (weight - found) * f64::from(power);
            }
        }
        lost / whole
    }

    fn grid() -> TileGrid {
        TileGrid::new(OUTPUTS, INPUTS, 8, 4)
    }

    #[test]
    fn all_passes_together_stay_within_one_budget() {
        let mut overspent = 0;
        for (key, budget) in [(1, 0.3), (2, 0.1), (3, 0.03), (4, 0.01)] {
            let weights = decaying(key);
            for with in
                [&[Pass::LowRank][..], &[Pass::TileSparsity], &[Pass::LowRank, Pass::TileSparsity]]
            {
                let passes = with.iter().fold(PassSet::needed(), |set, pass| set.with(*pass));
                let options =
                    CompileOptions { passes, error_budget: budget, ..CompileOptions::default() };
                let mut reports = Vec::new();
                let found = approximate(&options, "m", &weights, &power(), grid(), &mut reports);
                let found = match &found {
                    Approximation::One(weights) => weights.to_vec(),
                    Approximation::Two(factors) => product(factors),
                };
                let lost = lost(&weights, &found);
                assert!(lost <= budget, "{with:?}: {lost} of {budget}");
                // All of them had something to do, and used most of what they were given.
                assert!(reports.iter().all(|report| report.changed), "{with:?}, {budget}");
                assert!(with.len() < 2 || lost > 0.5 * budget, "{with:?}: {lost} of {budget}");
            }
            // A whole budget for the factors, and one for the tiles of each, is too much.
            let (factors, _) = factor("m", &weights, &power(), grid(), budget);
            let mut factors = factors.expect("few directions matter");
            let inner = TileGrid::new(factors.rank, INPUTS, 8, 4);
            let rows = column_powers(&factors.outer, factors.rank);
            drop_tiles("m", &mut factors.inner, &power(), &rows, inner, budget);
            let of_row = |row: &[f32]| row.iter().zip(power()).map(|(w, p)| w * w * p).sum();
            let middle: Vec<f32> = factors.inner.chunks_exact(INPUTS).map(of_row).collect();
            let outer = TileGrid::new(OUTPUTS, factors.rank, 8, 4);
            drop_tiles("m", &mut factors.outer, &middle, &[1.0; OUTPUTS], outer, budget);
            overspent += usize::from(lost(&weights, &product(&factors)) > budget);
        }
        assert!(overspent > 0, "the matrices would not show it");
    }

    #[test]
    fn rows_that_feed_strong_columns_count_for_more() {
        // Two rows of equal weights, in tiles of their own; the first feeds a column ten times as
        // strong, so the second goes.
        let mut weights = [1.0, 1.0, 1.0, 1.0];
        let grid = TileGrid::new(2, 2, 2, 1);
        drop_tiles("m", &mut weights, &[1.0; 2], &[100.0, 1.0], grid, 0.02);
        assert_eq!(weights.to_vec(), [1.0, 1.0, 0.0, 0.0]);
        let mut weights = [1.0, 1.0, 1.0, 1.0];
        drop_tiles("m", &mut weights, &[1.0; 2], &[1.0, 100.0], grid, 0.02);
        assert_eq!(weights.to_vec(), [0.0, 0.0, 1.0, 1.0]);
    }
}
