//! Functions on floats: frozen bits, closed forms and a second library.

mod support;

use litecore_kernels::{math, s2};
use support::{assert_same_bits, digest, values};

#[test]
fn the_exponential_is_correctly_rounded_where_it_is_hard() {
    // The exact value lies 4.5e-9 of a unit above the middle of two neighbors.
    assert_eq!(math::exp(f32::from_bits(0xbbf0_edf1)).to_bits(), 0x3f7e_1fe9);
    // And here 2.4e-9 of a unit above it.
    assert_eq!(math::exp(f32::from_bits(0xc169_12cd)).to_bits(), 0x34fd_331b);
    // Known constants.
    assert_eq!(math::exp(0.0).to_bits(), 1.0_f32.to_bits());
    assert_eq!(math::exp(1.0).to_bits(), std::f32::consts::E.to_bits());
    // The last finite one, the first infinite one, the last that is not zero, the first that is.
    assert_eq!(math::exp(88.722_83).to_bits(), 0x7f7f_ff84);
    assert!(math::exp(88.722_84).is_infinite());
    assert_eq!(math::exp(-103.972_07).to_bits(), 1);
    assert_eq!(math::exp(-103.972_084).to_bits(), 0);
    assert_eq!(math::exp(f32::NEG_INFINITY).to_bits(), 0);
    assert!(math::exp(f32::INFINITY).is_infinite());
    assert!(math::exp(f32::NAN).is_nan());
}

#[test]
fn the_exponential_agrees_with_another_library() {
    // A prime step over all bit patterns; exponential_all.rs takes every one.
    let inputs: Vec<f32> = (0..=u32::MAX).step_by(4_649).map(f32::from_bits).collect();
    let expected: Vec<f32> = inputs.iter().map(|&x| pxfm::f_expf(x)).collect();
    let mut actual = inputs.clone();
    math::exp_in_place(&mut actual);
    assert_same_bits(&actual, &expected, "exp over slices");
    let one_by_one: Vec<f32> = inputs.iter().map(|&x| math::exp(x)).collect();
    assert_same_bits(&one_by_one, &expected, "exp");
}

#[test]
fn slices_give_what_single_values_give() {
    let mut x = values(1003, 1);
    x.extend([0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 100.0, -100.0, 1e-40]);
    let mut out = vec![0.0; x.len()];
    math::silu_all(&x, &mut out);
    let expected: Vec<f32> = x.iter().map(|&x| x / (1.0 + pxfm::f_expf(-x))).collect();
    assert_same_bits(&out, &expected, "silu");
    assert_same_bits(&x.iter().map(|&x| math::silu(x)).collect::<Vec<_>>(), &expected, "silu");
    math::sigmoid_all(&x, &mut out);
    let expected: Vec<f32> = x.iter().map(|&x| 1.0 / (1.0 + pxfm::f_expf(-x))).collect();
    assert_same_bits(&out, &expected, "sigmoid");
    assert_same_bits(&x.iter().map(|&x| math::sigmoid(x)).collect::<Vec<_>>(), &expected, "one");
}

#[test]
fn frozen_functions() {
    let x = values(4096, 2);
    let of = |f: fn(f32) -> f32| digest(&x.iter().map(|&x| f(x)).collect::<Vec<_>>());
    let digests = [of(math::exp), of(|x| math::ln(x.abs())), of(math::tanh), of(math::silu)];
    let frozen = [
        0x8523_d974_69e2_a688,
        0xf4a0_4b1b_15d7_595b,
        0x47bf_d608_1b72_fe13,
        0x5967_71a6_545b_9b47,
    ];
    assert_eq!(digests, frozen, "{digests:#018x?}");
}

#[test]
fn logarithm_and_tangent_have_their_known_values() {
    assert_eq!(math::ln(2.0).to_bits(), std::f32::consts::LN_2.to_bits());
    assert_eq!(math::ln(10.0).to_bits(), std::f32::consts::LN_10.to_bits());
    assert_eq!(math::tanh(0.5).to_bits(), 0.462_117_16_f32.to_bits());
    assert_eq!(math::tanh(-30.0).to_bits(), (-1.0_f32).to_bits());
    let (sin, cos) = math::sin_cos(std::f64::consts::FRAC_PI_4);
    // The double nearest π/4 lies below it, so its cosine is the larger.
    assert_eq!(sin.to_bits(), 0x3fe6_a09e_667f_3bcc);
    assert_eq!(cos.to_bits(), 0x3fe6_a09e_667f_3bcd);
}

#[test]
fn softmax_is_the_written_sequence() {
    for length in [0, 1, 5, 300] {
        let scores = values(length, 3);
        let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut expected: Vec<f32> = scores.iter().map(|x| pxfm::f_expf(x - largest)).collect();
        let mut sum = 0.0;
        for weight in &expected {
            sum += weight;
        }
        for weight in &mut expected {
            *weight /= sum;
        }
        let mut row = scores.clone();
        math::softmax_in_place(&mut row);
        assert_same_bits(&row, &expected, "softmax");
    }
}

#[test]
fn softmax_of_equal_scores_is_uniform_and_of_a_far_one_is_zero() {
    let mut row = [3.5; 4];
    math::softmax_in_place(&mut row);
    assert_same_bits(&row, &[0.25; 4], "equal");
    let mut row = [1e30, 0.0, f32::NEG_INFINITY];
    math::softmax_in_place(&mut row);
    assert_same_bits(&row, &[1.0, 0.0, 0.0], "far");
    let mut row = [f32::NAN, 0.0];
    math::softmax_in_place(&mut row);
    assert!(row[1].is_nan());
}

#[test]
fn rms_norm_is_the_written_sequence() {
    let (x, gain) = (values(300, 4), values(300, 5));
    let mut y = vec![0.0; 300];
    math::rms_norm(&x, &gain, 1e-5, &mut y);
    let mut square = [0.0];
    s2::product_reference(&x, &x, 300, 1, &mut square);
    let inverse = 1.0 / (square[0] / 300.0 + 1e-5).sqrt();
    let expected: Vec<f32> = x.iter().zip(&gain).map(|(&x, &g)| (x * inverse) * g).collect();
    assert_same_bits(&y, &expected, "rms_norm");
}

#[test]
fn rms_norm_of_a_constant_row_is_its_gain() {
    let mut y = [0.0; 4];
    math::rms_norm(&[-3.0; 4], &[1.0, 2.0, 3.0, 4.0], 0.0, &mut y);
    assert_same_bits(&y, &[-1.0, -2.0, -3.0, -4.0], "constant");
}

#[test]
fn rope_turns_the_first_pair_by_the_position() {
    let rope = math::Rope::new(8, 10_000.0);
    let mut head = [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
    rope.rotate(1, &mut head);
    // cos 1 and sin 1.
    assert_same_bits(&head, &[0.540_302_3, 0., 0., 0., 0.841_470_96, 0., 0., 0.], "position 1");
    let mut head = [0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 2.0, 0.0];
    rope.rotate(50, &mut head);
    // Pair 2 turns by theta^(−4/8) = 1/100 per position: cos ½ − 2 sin ½, 2 cos ½ + sin ½.
    assert!((head[2] + 0.081_268_52).abs() < 1e-6, "{}", head[2]);
    assert!((head[6] - 2.234_590_7).abs() < 1e-6, "{}", head[6]);
}

#[test]
fn rope_scores_depend_on_the_distance_alone() {
    let rope = math::Rope::new(32, 10_000.0);
    let (query, key) = (values(32, 6), values(32, 7));
    let score = |q: u64, k: u64| {
        let (mut query, mut key) = (query.clone(), key.clone());
        rope.rotate(q, &mut query);
        rope.rotate(k, &mut key);
        s2::dot(&query, &key)
    };
    let norm = s2::dot(&query, &query).sqrt() * s2::dot(&key, &key).sqrt();
    for start in [0, 17, 1000, 1 << 20] {
        assert!((score(start + 9, start) - score(9, 0)).abs() < 1e-5 * norm, "from {start}");
    }
    assert!((score(9, 0) - score(8, 0)).abs() > 1e-4 * norm, "the distance matters");
}

#[test]
fn a_turn_back_undoes_a_turn() {
    let turn = math::Rope::new(16, 500.0).turn(77);
    let head = values(16, 8);
    let mut turned = head.clone();
    turn.rotate(&mut turned);
    assert!(turned.iter().zip(&head).any(|(a, b)| (a - b).abs() > 1e-3));
    turn.rotate_back(&mut turned);
    for (a, b) in turned.iter().zip(&head) {
        assert!((a - b).abs() < 1e-5, "{a} {b}");
    }
}

#[test]
fn frozen_rotations() {
    let rope = math::Rope::new(32, 10_000.0);
    let mut heads = values(32 * 8, 9);
    for (head, position) in heads.chunks_mut(32).zip([0, 1, 2, 255, 256, 4096, 1 << 24, 1 << 40]) {
        rope.rotate(position, head);
    }
    assert_eq!(digest(&heads), 0x9ffe_2972_30ae_cb58, "{:#018x}", digest(&heads));
}
