//! Sums whose order is ours to choose: in gradients, where no other crate repeats them.

/// Lanes that run side by side.
const LANES: usize = 16;

/// The dot product of two equally long vectors.
///
/// Order: element `i` goes to lane `i mod 16`, products rounded and added ascending; then the lanes
/// are added in halves: 8 to 8, 4 to 4, 2 to 2, 1 to 1; then the rest that fills no group of lanes,
/// ascending.
pub(crate) fn lane_dot(a: &[f32], b: &[f32]) -> f32 {
    debug_assert_eq!(a.len(), b.len(), "both vectors must have the same length");
    let (a_groups, a_rest) = a.as_chunks::<LANES>();
    let (b_groups, b_rest) = b.as_chunks::<LANES>();
    let mut lanes = [0.0_f32; LANES];
    for (a, b) in a_groups.iter().zip(b_groups) {
        for lane in 0..LANES {
            lanes[lane] += a[lane] * b[lane];
        }
    }
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
        width /= 2;
    }
    a_rest.iter().zip(b_rest).fold(lanes[0], |sum, (a, b)| sum + a * b)
}

#[cfg(test)]
mod tests {
    use super::lane_dot;

    #[test]
    fn the_order_is_the_written_one() {
        // The products of lane 0 are 1 and 2^-24, those of lane 8 are 2^-24 and 0. Added within
        // lanes first, both small ones are lost; any other order keeps their sum.
        let tiny = 1.0 / 16_777_216.0;
        let mut a = [0.0; 34];
        (a[0], a[16], a[8]) = (1.0, tiny, tiny);
        assert_eq!(lane_dot(&a, &[1.0; 34]).to_bits(), 1.0_f32.to_bits());
        // In one lane, the small ones are added first and kept.
        (a[0], a[8], a[16], a[32]) = (tiny, 0.0, tiny, 1.0);
        assert_eq!(lane_dot(&a, &[1.0; 34]).to_bits(), (1.0 + 2.0 * tiny).to_bits());
    }

    #[test]
    fn integers_are_exact_at_every_length() {
        for length in 0..70_u8 {
            let a: Vec<f32> = (0..length).map(f32::from).collect();
            let b: Vec<f32> = (0..length).map(|i| f32::from(i % 5) - 2.0).collect();
            let exact: i32 = (0..i32::from(length)).map(|i| i * (i % 5 - 2)).sum();
            assert!((f64::from(lane_dot(&a, &b)) - f64::from(exact)).abs() < 1e-9, "{length}");
        }
    }
}
