//! Tiles that hardly matter become zero, and tiles of zeros are not run.

use super::{Pass, PassReport};
use crate::tile::TileGrid;

/// Empties tiles, least energy first, while the energy lost stays within `budget` of the whole.
///
/// A weight's energy is its square times the mean square of the input it meets, times what its output
/// is worth behind the matrix. `weights` is outputs × inputs, row-major, cut as `grid` says.
pub(crate) fn drop_tiles(
    name: &str,
    weights: &mut [f32],
    channel_power: &[f32],
    row_power: &[f64],
    grid: TileGrid,
    budget: f64,
) -> PassReport {
    let inputs = channel_power.len();
    let mut energies = vec![0.0_f64; grid.k_tiles * grid.m_tiles];
    for ((j, row), worth) in weights.chunks_exact(inputs).enumerate().zip(row_power) {
        let of_row = &mut energies[j / grid.tile_outputs * grid.k_tiles..][..grid.k_tiles];
        let tiles = row.chunks(grid.tile_inputs).zip(channel_power.chunks(grid.tile_inputs));
        for (energy, (weights, powers)) in of_row.iter_mut().zip(tiles) {
            let square = |(w, p): (&f32, &f32)| f64::from(*w) * f64::from(*w) * f64::from(*p);
            *energy += weights.iter().zip(powers).map(square).sum::<f64>() * worth;
        }
    }
    let whole: f64 = energies.iter().sum();
    let needed = energies.iter().filter(|energy| **energy > 0.0).count();
    let mut order: Vec<usize> = (0..energies.len()).filter(|tile| energies[*tile] > 0.0).collect();
    order.sort_by(|a, b| energies[*a].total_cmp(&energies[*b]).then(a.cmp(b)));
    let mut lost = 0.0;
    let mut dropped = 0;
    for tile in order {
        if lost + energies[tile] > budget * whole {
            break;
        }
        lost += energies[tile];
        dropped += 1;
        let (m_tile, k_tile) = (tile / grid.k_tiles, tile % grid.k_tiles);
        for row in weights
            .chunks_exact_mut(inputs)
            .skip(m_tile * grid.tile_outputs)
            .take(grid.tile_outputs)
        {
            let start = k_tile * grid.tile_inputs;
            let end = inputs.min(start + grid.tile_inputs);
            row[start..end].fill(0.0);
        }
    }
    PassReport::new(Pass::TileSparsity, Some(name))
        .changed(dropped > 0)
        .figure("tiles that hold anything", needed as f64, (needed - dropped) as f64)
        .figure("energy lost, relative", 0.0, if whole > 0.0 { lost / whole } else { 0.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_weakest_tiles_go_until_the_budget_is_spent() {
        // Two by two tiles of one output and two inputs: energies 2, 8, 50, 0.5.
        let mut weights = [1.0, 1.0, 2.0, 2.0, 5.0, 5.0, 0.5, 0.5];
        let grid = TileGrid::new(2, 4, 2, 1);
        let report = drop_tiles("m", &mut weights, &[1.0; 4], &[1.0; 2], grid, 0.05);
        // 0.5 + 2 of 60.5 fit five percent, 8 more do not.
        assert_eq!(weights.to_vec(), [0.0, 0.0, 2.0, 2.0, 5.0, 5.0, 0.0, 0.0]);
        assert_eq!(report.figures[0].before, Some(4.0));
        assert_eq!(report.figures[0].after, Some(2.0));
        let lost = report.figures[1].after.expect("a share");
        assert!((lost - 2.5 / 60.5).abs() < 1e-12);
    }

    #[test]
    fn without_a_budget_nothing_goes() {
        let mut weights = [1.0, 1.0, 2.0, 2.0];
        let grid = TileGrid::new(2, 2, 2, 1);
        let report = drop_tiles("m", &mut weights, &[1.0; 2], &[1.0; 2], grid, 0.0);
        assert!(!report.changed);
        assert_eq!(weights.to_vec(), [1.0, 1.0, 2.0, 2.0]);
        // Inputs that never come make their weights worth nothing, but not a division by zero.
        let report = drop_tiles("m", &mut weights, &[0.0; 2], &[1.0; 2], grid, 0.1);
        assert!(!report.changed && report.figures[1].after == Some(0.0));
    }
}
