//! Trees of splitters and combiners that share light unevenly.

/// Levels of a binary tree with this many leaves.
pub(super) fn levels(leaves: usize) -> u32 {
    leaves.next_power_of_two().trailing_zeros()
}

/// Normals that one tree takes: one for each splitter.
pub(super) fn nodes(leaves: usize) -> usize {
    leaves.next_power_of_two() - 1
}

/// The sum over a leaf's way of plus or minus each splitter's normal.
///
/// At each splitter, `+` goes to the upper arm and `-` to the lower one.
pub(super) fn along(nodes: &[f32], leaf: usize, levels: u32) -> f64 {
    let mut sum = 0.0;
    for level in 0..levels {
        let node = (1 << level) - 1 + (leaf >> (levels - level));
        let lower = (leaf >> (levels - 1 - level)) & 1 == 1;
        sum += if lower { -f64::from(nodes[node]) } else { f64::from(nodes[node]) };
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_splitter_parts_its_leaves_in_two_halves() {
        assert_eq!([1, 2, 5, 64].map(levels), [0, 1, 3, 6]);
        assert_eq!([1, 2, 5, 64].map(nodes), [0, 1, 7, 63]);
        // Root 1, its arms 10 and 100.
        let tree = [1.0, 10.0, 100.0];
        let sums: Vec<f64> = (0..4).map(|leaf| along(&tree, leaf, 2)).collect();
        assert_eq!(format!("{sums:?}"), "[11.0, -9.0, 99.0, -101.0]");
    }
}
