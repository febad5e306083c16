//! RMS norm.

use super::reference::{dot, norm};
use super::{assert_slopes, normals, wide};

const WIDTH: usize = 24;
const ROWS: usize = 5;
const EPSILON: f32 = 0.25;

/// The loss whose gradient is asked for: the norm's output, weighted.
fn loss(x: &[f64], gain: &[f64], weights: &[f32]) -> f64 {
    let rows = x.chunks_exact(WIDTH).zip(weights.chunks_exact(WIDTH));
    rows.map(|(x, weights)| dot(&norm(x, gain, f64::from(EPSILON)), &wide(weights))).sum()
}

#[test]
fn norm_gradients_equal_differences() {
    let (x, dy) = (normals(1, ROWS * WIDTH), normals(2, ROWS * WIDTH));
    let gain: Vec<f32> = normals(3, WIDTH).iter().map(|g| 1.0 + 0.3 * g).collect();
    let mut dx = vec![0.0; x.len()];
    let mut dgain = vec![0.0; WIDTH];
    // Chunks of two rows, the last one is shorter.
    crate::norm::backward(&x, &gain, EPSILON, 2, &dy, &mut dx, &mut dgain);
    assert_slopes(&dx, &x, 1, |x| loss(x, &wide(&gain), &dy));
    assert_slopes(&dgain, &gain, 1, |gain| loss(&wide(&x), gain, &dy));
}

#[test]
fn norm_gradients_are_added_to_what_is_there() {
    let (x, dy, gain) = (normals(4, WIDTH), normals(5, WIDTH), vec![1.0; WIDTH]);
    let run = |start: f32| {
        let mut dx = vec![start; WIDTH];
        let mut dgain = vec![start; WIDTH];
        crate::norm::backward(&x, &gain, EPSILON, 1, &dy, &mut dx, &mut dgain);
        (dx, dgain)
    };
    let (alone, on_top) = (run(0.0), run(3.0));
    for (alone, on_top) in [(alone.0, on_top.0), (alone.1, on_top.1)] {
        for (alone, on_top) in alone.iter().zip(on_top) {
            assert!((alone + 3.0 - on_top).abs() < 1e-5);
        }
    }
}
