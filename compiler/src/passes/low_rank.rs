//! A matrix as a product of two thin ones, where that takes fewer tiles.
//!
//! The range of `W diag(√power)` is found by subspace iteration from a fixed Gaussian start, in f64
//! and in a written order. Its basis is left as the iteration gives it, not turned to singular
//! vectors: mixed directions have even magnitudes, which is what the codes between the two factors
//! want.

use super::{Pass, PassReport};
use crate::tile::TileGrid;
use litecore_kernels::normal::standard_normals;
use litecore_types::Seed;
use rayon::prelude::*;

/// `W ≈ outer · inner`.
#[derive(Clone, Debug)]
pub(crate) struct Factors {
    pub(crate) rank: usize,
    /// What they lose of the matrix: energy, relative.
    pub(crate) lost: f64,
    /// rank × inputs.
    pub(crate) inner: Vec<f32>,
    /// outputs × rank.
    pub(crate) outer: Vec<f32>,
}

/// Rounds of subspace iteration: two bring the error within percents of the best.
const ROUNDS: usize = 2;

/// Factors of a matrix that take fewer tiles than it does and lose at most `budget` of its energy
/// on inputs with the mean squares `channel_power`; or nothing.
pub(crate) fn factor(
    name: &str,
    weights: &[f32],
    channel_power: &[f32],
    grid: TileGrid,
    budget: f64,
) -> (Option<Factors>, PassReport) {
    let inputs = channel_power.len();
    let outputs = weights.len() / inputs;
    let report = PassReport::new(Pass::LowRank, Some(name));
    let direct = grid.count();
    let tiles = |rank: usize| {
        TileGrid::new(rank, inputs, grid.tile_inputs, grid.tile_outputs).count()
            + TileGrid::new(outputs, rank, grid.tile_inputs, grid.tile_outputs).count()
    };
    let ranks = (1..).map(|step| step * grid.tile_outputs);
    let ranks: Vec<usize> =
        ranks.take_while(|rank| *rank < inputs.min(outputs) && tiles(*rank) < direct).collect();
    let unchanged = report.clone().figure("tiles", direct as f64, direct as f64);
    if ranks.is_empty() || weights.iter().chain(channel_power).any(|value| !value.is_finite()) {
        return (None, unchanged);
    }
    let weighted = Weighted::new(weights, channel_power);
    let whole: f64 = weighted.rows.iter().map(|value| value * value).sum();
    for rank in ranks {
        let basis = weighted.range(rank);
        let inner = weighted.times_transposed(&basis, rank);
        let lost = (whole - inner.iter().map(|value| value * value).sum::<f64>()).max(0.0);
        if lost <= budget * whole {
            let lost = if whole > 0.0 { lost / whole } else { 0.0 };
            let factors = weighted.factors(&basis, &inner, rank, lost);
            let report = report
                .changed(true)
                .figure("tiles", direct as f64, tiles(rank) as f64)
                .figure("rank", inputs.min(outputs) as f64, rank as f64)
                .figure("energy lost, relative", 0.0, lost);
            return (Some(factors), report);
        }
    }
    (None, unchanged)
}

/// `A = W diag(√power)`, outputs × inputs.
struct Weighted {
    inputs: usize,
    rows: Vec<f64>,
    /// `√power`, at least a millionth of the largest, so that it can be divided out.
    roots: Vec<f64>,
}

impl Weighted {
    fn new(weights: &[f32], power: &[f32]) -> Self {
        let largest = power.iter().copied().fold(0.0_f32, f32::max);
        let floor = if largest > 0.0 { f64::from(largest).sqrt() * 1e-6 } else { 1.0 };
        let roots: Vec<f64> = power.iter().map(|p| f64::from(*p).sqrt().max(floor)).collect();
        let scaled = |row: &[f32]| -> Vec<f64> {
            row.iter().zip(&roots).map(|(w, root)| f64::from(*w) * root).collect()
        };
        let rows = weights.chunks_exact(power.len()).flat_map(scaled).collect();
        Self { inputs: power.len(), rows, roots }
    }

    /// An orthonormal basis of the strongest directions, outputs × rank.
    fn range(&self, rank: usize) -> Vec<f64> {
        let mut start = vec![0.0_f32; rank * self.inputs];
        standard_normals(Seed(0).key("compiler.low_rank", 0), 0, &mut start);
        let mut inner: Vec<f64> = start.iter().map(|value| f64::from(*value)).collect();
        let mut basis = Vec::new();
        for _ in 0..=ROUNDS {
            basis = self.times(&inner, rank);
            orthonormalise(&mut basis, rank);
            inner = self.times_transposed(&basis, rank);
        }
        basis
    }

    /// `A · innerᵀ`, outputs × rank, for `inner` rank × inputs.
    fn times(&self, inner: &[f64], rank: usize) -> Vec<f64> {
        let mut out = vec![0.0; self.rows.len() / self.inputs * rank];
        out.par_chunks_exact_mut(rank).zip(self.rows.par_chunks_exact(self.inputs)).for_each(
            |(out, row)| {
                for (out, inner) in out.iter_mut().zip(inner.chunks_exact(self.inputs)) {
                    *out = row.iter().zip(inner).map(|(a, b)| a * b).sum();
                }
            },
        );
        out
    }

    /// `basisᵀ · A`, rank × inputs, for `basis` outputs × rank.
    fn times_transposed(&self, basis: &[f64], rank: usize) -> Vec<f64> {
        let mut out = vec![0.0; rank * self.inputs];
        out.par_chunks_exact_mut(self.inputs).enumerate().for_each(|(r, out)| {
            for (row, basis) in self.rows.chunks_exact(self.inputs).zip(basis.chunks_exact(rank)) {
                for (out, value) in out.iter_mut().zip(row) {
                    *out += basis[r] * value;
                }
            }
        });
        out
    }

    /// The factors in f32, inputs' powers divided out, with even magnitudes between the two.
    #[allow(clippy::cast_possible_truncation, reason = "weights were f32")]
    fn factors(&self, basis: &[f64], inner: &[f64], rank: usize, lost: f64) -> Factors {
        // Row r of `inner` has the power of intermediate element r; a power of two evens it out.
        let power = |row: &[f64]| row.iter().map(|value| value * value).sum::<f64>();
        let even: Vec<f64> = inner
            .chunks_exact(self.inputs)
            .map(|row| {
                let level = 0.5 * pxfm::f_log2(power(row).max(f64::MIN_POSITIVE));
                super::equalise::power_of_two(level.round_ties_even().clamp(-60.0, 60.0) as i32)
            })
            .collect();
        let inner = inner.chunks_exact(self.inputs).zip(&even).flat_map(|(row, even)| {
            row.iter().zip(&self.roots).map(move |(value, root)| (value / root / even) as f32)
        });
        let outer = basis
            .chunks_exact(rank)
            .flat_map(|row| row.iter().zip(&even).map(|(value, even)| (value * even) as f32));
        Factors { rank, lost, inner: inner.collect(), outer: outer.collect() }
    }
}

/// Gram and Schmidt, twice, column by column; a column that vanishes becomes zero.
fn orthonormalise(basis: &mut [f64], rank: usize) {
    let rows = basis.len() / rank;
    let mut columns: Vec<Vec<f64>> =
        (0..rank).map(|r| (0..rows).map(|row| basis[row * rank + r]).collect()).collect();
    for r in 0..rank {
        let (done, rest) = columns.split_at_mut(r);
        let column = &mut rest[0];
        let before: f64 = column.iter().map(|value| value * value).sum();
        for _ in 0..2 {
            for earlier in done.iter() {
                let along: f64 = earlier.iter().zip(column.iter()).map(|(a, b)| a * b).sum();
                for (value, earlier) in column.iter_mut().zip(earlier) {
                    *value -= along * earlier;
                }
            }
        }
        let power: f64 = column.iter().map(|value| value * value).sum();
        let scale = if power > 1e-24 * before { 1.0 / power.sqrt() } else { 0.0 };
        for value in column.iter_mut() {
            *value *= scale;
        }
    }
    for (r, column) in columns.iter().enumerate() {
        for (row, value) in column.iter().enumerate() {
            basis[row * rank + r] = *value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normals(key: u64, count: usize) -> Vec<f32> {
        let mut values = vec![0.0; count];
        standard_normals(key, 0, &mut values);
        values
    }

    /// `outer · inner` of a known rank.
    fn of_rank(rank: usize, outputs: usize, inputs: usize) -> Vec<f32> {
        let (outer, inner) = (normals(1, outputs * rank), normals(2, rank * inputs));
        let mut weights = vec![0.0; outputs * inputs];
        for j in 0..outputs {
            for k in 0..inputs {
                weights[j * inputs + k] =
                    (0..rank).map(|r| outer[j * rank + r] * inner[r * inputs + k]).sum();
            }
        }
        weights
    }

    #[test]
    fn a_matrix_of_low_rank_is_found_out_and_rebuilt() {
        let (outputs, inputs) = (40, 48);
        let weights = of_rank(6, outputs, inputs);
        let grid = TileGrid::new(outputs, inputs, 4, 4);
        let power = vec![1.0; inputs];
        let (factors, report) = factor("m", &weights, &power, grid, 1e-9);
        let factors = factors.expect("rank 8 is enough");
        assert_eq!(factors.rank, 8);
        assert_eq!((report.figures[0].before, report.figures[0].after), (Some(120.0), Some(44.0)));
        for j in 0..outputs {
            for k in 0..inputs {
                let found: f32 =
                    (0..8).map(|r| factors.outer[j * 8 + r] * factors.inner[r * inputs + k]).sum();
                assert!((found - weights[j * inputs + k]).abs() < 1e-4);
            }
        }
    }

    #[test]
    fn a_full_matrix_is_left_alone() {
        let weights = normals(3, 40 * 48);
        let grid = TileGrid::new(40, 48, 4, 4);
        let (factors, report) = factor("m", &weights, &[1.0; 48], grid, 1e-3);
        assert!(factors.is_none() && !report.changed);
    }

    #[test]
    fn inputs_that_never_come_do_not_count() {
        let (outputs, inputs) = (40, 48);
        let mut weights = of_rank(3, outputs, inputs);
        let mut power = vec![1.0; inputs];
        for row in weights.chunks_exact_mut(inputs) {
            row[40..].copy_from_slice(&normals(9, 8));
        }
        for (index, row) in weights.chunks_exact_mut(inputs).enumerate() {
            row[40..].copy_from_slice(&normals(10 + index as u64, 8));
        }
        power[40..].fill(0.0);
        let grid = TileGrid::new(outputs, inputs, 4, 4);
        let (factors, _) = factor("m", &weights, &power, grid, 1e-6);
        assert_eq!(factors.expect("rank 4").rank, 4);
    }
}
