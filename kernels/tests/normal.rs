//! The normals: their distribution, their independence, and their frozen bits.

mod support;

use litecore_kernels::Isa;
use litecore_kernels::normal::{standard_normal, standard_normals, standard_normals_with};
use statrs::distribution::{ContinuousCDF, Normal};
use support::{assert_same_bits, digest};

fn normals(key: u64, first: u64, count: usize) -> Vec<f32> {
    let mut out = vec![f32::NAN; count];
    standard_normals(key, first, &mut out);
    out
}

#[test]
fn frozen_values() {
    const FROZEN: [[u32; 8]; 2] = [
        [
            0x3f83_cda3,
            0x39d9_91c6,
            0xbf16_4368,
            0x3e1c_94ad,
            0xbe16_07b7,
            0x3e7f_bf9c,
            0xc017_d033,
            0x3fc0_794b,
        ],
        [
            0xbf8f_af60,
            0x3ed8_9fe1,
            0x3f74_5dbb,
            0x3ead_623b,
            0x3fac_363a,
            0xbdf2_004f,
            0xbf99_ec5e,
            0x3eda_34b3,
        ],
    ];
    let first = [0, 0x1234_5678_9abc_def0].map(|key| normals(key, 0, 8));
    let bits = first.map(|values| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>());

    assert_eq!(bits, FROZEN, "{bits:#010x?}");
    let million = digest(&normals(42, 1, 1_000_000));
    assert_eq!(million, 0xede1_edbb_56e0_4212, "{million:#018x}");
}

/// The definition once more, in f64 with other functions: the radius and the angle of a hash.
fn by_other_functions(key: u64, counter: u64) -> f64 {
    let scramble = |word: u64| {
        let z = (word ^ (word >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        let z = (z ^ (z >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        z ^ (z >> 33)
    };
    let weyl = 0x9e37_79b9_7f4a_7c15_u64;
    let start = scramble(key ^ u64::from_be_bytes(*b"litecore"));
    let middle = scramble(start.wrapping_add(weyl));
    let z = (counter / 2).wrapping_mul(weyl).wrapping_add(start);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9) ^ middle;
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let z = z ^ (z >> 31);
    let u = ((z >> 32) as f64 + 0.5) / 4_294_967_296.0;
    let turn = (z & 0xffff_ffff) as f64 / 4_294_967_296.0;
    let radius = (-2.0 * pxfm::f_log(u)).sqrt();
    let (sin, cos) = pxfm::f_sincos(turn * std::f64::consts::TAU);
    radius * if counter.is_multiple_of(2) { cos } else { sin }
}

#[test]
fn values_are_those_of_an_independent_evaluation() {
    for key in [0, 1, u64::MAX, 0xdead_beef] {
        for (i, x) in normals(key, 1_000_003, 20_000).into_iter().enumerate() {
            let expected = by_other_functions(key, 1_000_003 + i as u64);
            let error = (f64::from(x) - expected).abs();
            assert!(error < 3e-6, "key {key}, {i}: {x} is not {expected}");
        }
    }
}

#[test]
fn every_isa_and_every_cut_gives_the_same_values() {
    let whole = normals(9, 5, 1000);
    for isa in Isa::available() {
        let mut out = vec![f32::NAN; 1000];
        standard_normals_with(isa, 9, 5, &mut out);
        assert_same_bits(&out, &whole, &format!("{isa:?}"));
    }
    let one_by_one: Vec<f32> = (0..1000).map(|i| standard_normal(9, 5 + i)).collect();
    assert_same_bits(&one_by_one, &whole, "one by one");
    let mut pieces = vec![f32::NAN; 1000];
    let mut first = 5;
    for (piece, length) in [1, 2, 3, 127, 128, 129, 130, 200, 280].into_iter().enumerate() {
        let start = usize::try_from(first - 5).unwrap();
        standard_normals(9, first, &mut pieces[start..start + length]);
        first += length as u64;
        assert!(piece < 9);
    }
    assert_eq!(first, 1005);
    assert_same_bits(&pieces, &whole, "pieces");
}

#[test]
fn counters_wrap_after_the_last_one() {
    let around = normals(3, u64::MAX - 200, 500);
    let expected: Vec<f32> =
        (0..500).map(|i| standard_normal(3, (u64::MAX - 200).wrapping_add(i))).collect();
    assert_same_bits(&around, &expected, "around the end");
    assert_same_bits(&around[201..], &normals(3, 0, 299), "after the end");
}

/// Mean, variance, third and fourth moment.
fn moments(values: &[f32]) -> [f64; 4] {
    let mut sums = [0.0; 4];
    for &x in values {
        let x = f64::from(x);
        for (sum, power) in sums.iter_mut().zip([x, x * x, x * x * x, x * x * x * x]) {
            *sum += power;
        }
    }
    sums.map(|sum| sum / values.len() as f64)
}

#[test]
fn moments_are_those_of_the_normal() {
    let count = 2_000_000;
    for key in [1, 2] {
        // The variances of the estimates are Var x^k = E x^2k − (E x^k)².
        let expected = [0.0, 1.0, 0.0, 3.0];
        let variances = [1.0, 2.0, 15.0, 96.0];
        let actual = moments(&normals(key, 0, count));
        for k in 0..4 {
            let error = (variances[k] / count as f64).sqrt();
            let off = (actual[k] - expected[k]).abs() / error;
            assert!(off < 4.0, "key {key}, moment {}: {} is {off} σ off", k + 1, actual[k]);
        }
    }
}

#[test]
fn the_distribution_is_normal_by_kolmogorov_and_smirnov() {
    let count = 1_000_000;
    let normal = Normal::standard();
    for (key, step) in [(5, 1), (6, 2), (6, 3)] {
        // Steps of two see the cosines alone.
        let mut values: Vec<f32> =
            normals(key, step - 1, 2 * count).into_iter().step_by(2).collect();
        values.sort_by(f32::total_cmp);
        let mut distance = 0.0_f64;
        for (i, &x) in values.iter().enumerate() {
            let p = normal.cdf(f64::from(x));
            let (below, above) = (i as f64 / count as f64, (i + 1) as f64 / count as f64);
            distance = distance.max(p - below).max(above - p);
        }
        // Passed by 99.9% of true samples.
        assert!(distance * (count as f64).sqrt() < 1.95, "key {key}: {distance}");
    }
}

#[test]
fn tails_have_their_share() {
    let count = 16_000_000_u64;
    // P(x > t), from tables.
    let tails = [(3.0, 1.349_898_031_630_094_6e-3), (4.0, 3.167_124_183_311_992e-5)];
    let mut above = [0_u64; 2];
    let mut below = [0_u64; 2];
    let mut block = vec![0.0; 1 << 16];
    for first in (0..count).step_by(block.len()) {
        standard_normals(77, first, &mut block);
        for &x in &block {
            for (i, (limit, _)) in tails.into_iter().enumerate() {
                above[i] += u64::from(x > limit);
                below[i] += u64::from(x < -limit);
            }
        }
    }
    let drawn = count.div_ceil(block.len() as u64) as f64 * block.len() as f64;
    for (i, (limit, share)) in tails.into_iter().enumerate() {
        for found in [above[i], below[i]] {
            let expected = drawn * share;
            let off = (found as f64 - expected).abs() / expected.sqrt();
            assert!(off < 4.0, "beyond {limit}: {found}, not {expected}");
        }
    }
}

#[test]
fn the_largest_values_are_beyond_six() {
    // The hash whose upper half is zero is too rare to wait for; six sigma comes once in 5e8, so
    // the bound on what can come is tested from above.
    let largest = normals(123, 0, 4_000_000).iter().fold(0.0_f32, |m, x| m.max(x.abs()));
    assert!((4.7..6.77).contains(&largest), "{largest}");
}

/// The correlation of two series, in standard errors.
fn correlation(a: &[f32], b: &[f32]) -> f64 {
    let sum: f64 = a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
    sum / (a.len() as f64).sqrt()
}

fn squares(values: &[f32]) -> Vec<f32> {
    // (x² − 1) / √2 has mean zero and variance one.
    values.iter().map(|&x| (x * x - 1.0) * std::f32::consts::FRAC_1_SQRT_2).collect()
}

#[test]
fn neighboring_counters_are_independent() {
    let values = normals(31, 0, 1_000_100);
    let squared = squares(&values);
    for lag in [1, 2, 3, 4, 16, 64, 100] {
        let pairs = 0..1_000_000;
        let off = correlation(&values[pairs.clone()], &values[lag..][pairs.clone()]);
        assert!(off.abs() < 4.0, "lag {lag}: {off}");
        let off = correlation(&squared[pairs.clone()], &squared[lag..][pairs]);
        assert!(off.abs() < 4.0, "squares, lag {lag}: {off}");
    }
}

#[test]
fn neighboring_keys_are_independent() {
    let base = normals(1000, 0, 500_000);
    let squared = squares(&base);
    for other in [1001, 1002, 1000 + (1 << 40), 1000 + (1 << 63), 2000, u64::MAX - 1000] {
        let values = normals(other, 0, 500_000);
        let off = correlation(&base, &values);
        assert!(off.abs() < 4.0, "key {other}: {off}");
        let off = correlation(&squared, &squares(&values));
        assert!(off.abs() < 4.0, "squares, key {other}: {off}");
    }
    // The same counter over many keys is a sample too.
    let across: Vec<f32> = (0..200_000).map(|key| standard_normal(key, 7)).collect();
    let [mean, variance, ..] = moments(&across);
    assert!(mean.abs() * 200_000_f64.sqrt() < 4.0, "{mean}");
    assert!((variance - 1.0).abs() * 100_000_f64.sqrt() < 4.0, "{variance}");
    let off = correlation(&across[..199_999], &across[1..]);
    assert!(off.abs() < 4.0, "{off}");
}
