//! The integer meaning of a tile: fast paths against definitions, and the edges of every range.

mod support;

use litecore_kernels::codes::{self, NonFinite};
use litecore_kernels::{Isa, math};
use support::{assert_same_bits, codes as random_codes, values};

#[test]
fn tile_products_equal_their_definition_on_every_isa() {
    for (inputs, outputs) in
        [(1, 1), (0, 5), (3, 0), (128, 64), (127, 65), (2, 17), (5, 15), (130, 200), (1000, 3)]
    {
        for symbols in [0, 1, 2, 3, 4, 5, 9] {
            let w = random_codes(inputs * outputs, 1);
            let x = random_codes(symbols * inputs, 2);
            let mut expected = vec![i32::MIN; symbols * outputs];
            codes::tile_product_reference(&w, inputs, outputs, &x, &mut expected);
            for isa in Isa::available() {
                let mut acc = vec![i32::MIN; symbols * outputs];
                codes::tile_product_with(isa, &w, inputs, outputs, &x, &mut acc);
                assert_eq!(acc, expected, "{isa:?} {symbols}×{inputs}×{outputs}");
            }
        }
    }
}

#[test]
fn the_longest_sum_of_the_largest_products_is_exact() {
    let (inputs, outputs) = (1 << 16, 17);
    for (code, input, expected) in [(-128, -128, 1 << 30), (-128, 127, -128 * 127 * 65536)] {
        let (w, x) = (vec![code; inputs * outputs], vec![input; inputs]);
        for isa in Isa::available() {
            let mut acc = vec![0; outputs];
            codes::tile_product_with(isa, &w, inputs, outputs, &x, &mut acc);
            assert_eq!(acc, vec![expected; outputs], "{isa:?}");
        }
    }
}

#[test]
fn one_weight_meets_one_input() {
    let (inputs, outputs) = (13, 70);
    for (k, j) in [(0, 0), (3, 63), (12, 64), (7, 69)] {
        let mut w = vec![0; inputs * outputs];
        w[k * outputs + j] = -3;
        let x: Vec<i8> = (1..=13).collect();
        let mut acc = vec![1; outputs];
        codes::tile_product(&w, inputs, outputs, &x, &mut acc);
        let expected: Vec<i32> =
            (0..outputs).map(|o| if o == j { -3 * i32::from(x[k]) } else { 0 }).collect();
        assert_eq!(acc, expected);
    }
}

/// `acc / 2^shift` by exact f64 arithmetic, ties to even.
fn requantised(acc: i32, shift: u8, bits: u8) -> i32 {
    let scaled =
        (f64::from(acc) * f64::from_bits((1023 - u64::from(shift)) << 52)).round_ties_even();
    let half = f64::from_bits((1023 + u64::from(bits) - 1) << 52);
    #[allow(clippy::cast_possible_truncation, reason = "it is an integer in the range of i32")]
    let code = scaled.clamp(-half, half - 1.0) as i32;
    code
}

#[test]
fn requantising_equals_exact_division_rounded_to_even() {
    let mut sums: Vec<i32> = (-1100..=1100).collect();
    sums.extend((0..31).flat_map(|bit| [-1, 0, 1].map(|d| (1_i32 << bit).wrapping_add(d))));
    sums.extend((0..31).flat_map(|bit| [-1, 0, 1].map(|d| (-1_i32 << bit).wrapping_add(d))));
    sums.extend([i32::MIN, i32::MIN + 1, i32::MAX, i32::MAX - 1, 3 << 29, -3 << 29]);
    for shift in (0..=34).chain([63, 64, 200, 255]) {
        for bits in [1, 2, 8, 12, 31, 32] {
            let mut codes = vec![0; sums.len()];
            codes::requantise_all(&sums, shift, bits, &mut codes);
            for (&acc, &code) in sums.iter().zip(&codes) {
                let expected = requantised(acc, shift, bits);
                assert_eq!(code, expected, "{acc} >> {shift}, {bits} bits");
                assert_eq!(codes::requantise(acc, shift, bits), expected);
            }
        }
    }
}

#[test]
fn ties_go_to_even_and_overflow_saturates() {
    let read = |acc| codes::requantise(acc, 1, 8);
    assert_eq!([1, 3, 5, -1, -3, -5].map(read), [0, 2, 2, 0, -2, -2]);
    assert_eq!([255, 256, 1000, -256, -257, -1000].map(read), [127, 127, 127, -128, -128, -128]);
    assert_eq!(codes::requantise(300, 0, 0), 0, "no bits count as one");
    assert_eq!(codes::requantise(i32::MIN, 0, 77), i32::MIN, "too many bits count as 32");
}

#[test]
fn quantising_scales_the_largest_to_the_limit() {
    let x = [0.5, -1.0, 0.25, 0.0, 1.0 / 254.0, -0.011_811_024];
    let mut codes = [99; 6];
    let scale = codes::quantise(&x, 127, &mut codes).unwrap();
    assert_eq!(scale.to_bits(), (1.0_f32 / 127.0).to_bits());
    // 63.5 and 0.5 are ties and go to even, −1.5 as well.
    assert_eq!(codes, [64, -127, 32, 0, 0, -2]);
    let scale = codes::quantise(&x, 7, &mut codes).unwrap();
    assert_eq!(scale.to_bits(), (1.0_f32 / 7.0).to_bits());
    assert_eq!(codes, [4, -7, 2, 0, 0, 0]);
}

#[test]
fn quantising_is_elementwise_as_written() {
    let x = values(1000, 3);
    let mut codes = vec![0; x.len()];
    let scale = codes::quantise(&x, 127, &mut codes).unwrap();
    let largest = x.iter().fold(0.0_f32, |m, x| m.max(x.abs()));
    assert_eq!(scale.to_bits(), (largest / 127.0).to_bits());
    let inverse = 127.0 / largest;
    for (&x, &code) in x.iter().zip(&codes) {
        let expected = (x * inverse).round_ties_even().clamp(-127.0, 127.0);
        assert_eq!(f32::from(code).to_bits(), (expected + 0.0).to_bits(), "{x}");
    }
}

#[test]
fn nothing_to_scale_gives_zero() {
    let mut codes = [5; 3];
    for x in [[0.0; 3], [0.0, -0.0, 1e-40], [1e-37, 0.0, -1e-37]] {
        let scale = codes::quantise(&x, 127, &mut codes).unwrap();
        assert_eq!((scale.to_bits(), codes), (0, [0; 3]));
    }
    assert_eq!(codes::quantise(&[], 127, &mut []).map(f32::to_bits), Ok(0));
}

#[test]
fn the_largest_float_can_be_quantised() {
    let mut codes = [0; 2];
    let scale = codes::quantise(&[f32::MAX, -f32::MAX / 2.0], 127, &mut codes).unwrap();
    assert!(scale.is_finite());
    assert_eq!(codes, [127, -64]);
}

#[test]
fn what_is_not_finite_is_named() {
    let mut codes = [7; 4];
    let nan = codes::quantise(&[1.0, 2.0, f32::NAN, f32::INFINITY], 127, &mut codes);
    assert_eq!(nan, Err(NonFinite { index: 2 }));
    let infinite = codes::quantise(&[1.0, f32::NEG_INFINITY, 0.0, 0.0], 127, &mut codes);
    assert_eq!(infinite, Err(NonFinite { index: 1 }));
    assert_eq!(codes, [7; 4], "nothing was written");
    assert!(NonFinite { index: 2 }.to_string().contains('2'));
}

#[test]
fn swiglu_is_the_gate_times_the_other() {
    let (gate, up) = (values(100, 4), values(100, 5));
    let mut out = vec![0.0; 100];
    codes::swiglu(&gate, &up, &mut out);
    let expected: Vec<f32> = gate.iter().zip(&up).map(|(&g, &u)| math::silu(g) * u).collect();
    assert_same_bits(&out, &expected, "swiglu");
}

#[test]
fn dequantising_multiplies_in_the_written_order() {
    let sums: Vec<i32> = (0..100).map(|i| i * 21_474_836 - 1_000_000_000).collect();
    let scales = values(100, 6);
    let mut out = vec![0.0; 100];
    codes::dequantise(&sums, 0.003, &scales, &mut out);
    let expected: Vec<f32> =
        sums.iter().zip(&scales).map(|(&p, &w)| (p as f32 * 0.003) * w).collect();
    assert_same_bits(&out, &expected, "dequantise");
}

#[test]
fn sums_over_rows_are_those_of_their_definitions() {
    // 523 elements: whole blocks of 256, of eight, and a rest.
    let value = |at: usize| f32::from(u8::try_from(at * 37 % 251).expect("a byte")) / 16.0 - 7.0;
    let x: Vec<f32> = (0..523).map(value).collect();
    let power: Vec<f32> = (0..523).map(|at| value(at + 9).abs()).collect();
    // Multiples of 1/256 below 2^16: every sum of squares is exact, in whatever order.
    let squares: f64 = x.iter().map(|x| f64::from(x * x)).sum();
    assert_eq!(f64::from(codes::sum_of_squares(&x)).to_bits(), squares.to_bits());

    // Thirds are not exact, so that another order would give another sum.
    let thirds: Vec<f32> = x.iter().map(|x| x / 3.0).collect();
    let mut sums = [0.0_f32; 64];
    for (at, x) in thirds.iter().enumerate() {
        sums[at % 64] += x * x;
    }
    for half in [32, 16, 8, 4, 2, 1] {
        for at in 0..half {
            sums[at] += sums[at + half];
        }
    }
    assert_eq!(codes::sum_of_squares(&thirds).to_bits(), sums[0].to_bits());

    let (limit, level) = (7, 3.5);
    let of_each = x.iter().zip(&power).map(|(x, power)| {
        let code = (f64::from(*x) * 2.0).round_ties_even().clamp(-7.0, 7.0);
        let error = f64::from(*x) - code / 2.0;
        error * error * f64::from(*power)
    });
    let expected: f64 = of_each.sum();
    let found = codes::squared_code_error(&x, &power, limit, level);
    assert!((found / expected - 1.0).abs() < 1e-5, "{found} {expected}");

    let codes: Vec<i8> = (i8::MIN..=i8::MAX).cycle().take(70_000).collect();
    let squares = codes.iter().map(|code| i64::from(*code).pow(2)).sum::<i64>();
    assert_eq!(codes::sum_of_squared_codes(&codes), squares);
}

#[test]
fn a_known_magnitude_gives_the_same_codes() {
    let x = [0.5, -2.0, 1.25];
    let (mut whole, mut known) = ([0; 3], [0; 3]);
    let scale = codes::quantise(&x, 127, &mut whole).expect("finite");
    let same = codes::quantise_within(&x, 2.0, 127, &mut known).expect("finite");
    assert_eq!((whole, scale.to_bits()), (known, same.to_bits()));
    assert_eq!(whole, [32, -127, 79]);
}

#[test]
fn errors_of_readings_weigh_symbols_and_what_is_cut_off_counts() {
    // Four bits at shift 2 reach from -32 to 28, and round what lies up to 2 beyond.
    let sums = [5, -40, 30, 24, 31, -34];
    let mut reading = [0; 6];
    codes::requantise_all(&sums, 2, 4, &mut reading);
    assert_eq!(reading, [1, -8, 7, 6, 7, -8]);
    let rounding = codes::rounding_errors(&sums, &reading, &[1.0, 0.5], 3, 2);
    // Per output, first symbol plus half the second: 1 + 0, 64 + 4.5, 4 + 2.
    assert_eq!(rounding, [1.0, 68.5, 6.0]);
    let cut_off = codes::cut_off_errors(&sums, &[1.0, 0.5], 3, 2, 4);
    // A quarter more, rounded down: 6, -50, 37, 30, 38, -43; the range is -34 to 30.
    assert_eq!(cut_off.beyond, [0.0, 256.0 + 32.0, 49.0 + 40.5]);
    assert_eq!(cut_off.clipped, 2);
}

#[test]
fn readings_add_up_shifted_and_as_often_as_they_were_read() {
    // Longer than any vector.
    let reading: Vec<i32> = (-20..20).collect();
    for (shift, times) in [(0, 1), (3, 1), (7, 4), (31, 1), (32, 5), (255, 1)] {
        let mut sums: Vec<i32> = (100..140).collect();
        codes::add_readings(&reading, shift, times, &mut sums);
        for (at, (sum, reading)) in (100_i64..).zip(sums.iter().zip(&reading)) {
            let shifted = i64::from(*reading).checked_shl(shift.into()).unwrap_or(0);
            let expected = at + shifted.wrapping_mul(times.into());
            #[allow(clippy::cast_possible_truncation, reason = "modulo 2^32 is meant")]
            let expected = expected as i32;
            assert_eq!(*sum, expected, "{reading} << {shift}, {times} times");
        }
    }
}

#[test]
fn squares_are_added_place_by_place() {
    // Longer than any vector, so that whole vectors and the rest are there.
    let x: Vec<f32> = (0..37_u8).map(|at| f32::from(at) - 18.0).collect();
    let mut sums = vec![0.25; x.len()];
    codes::add_squares(&x, &mut sums);
    codes::add_squares(&x, &mut sums);
    for (x, sum) in x.iter().zip(&sums) {
        assert_eq!(sum.to_bits(), (2.0 * x * x + 0.25).to_bits());
    }
}

#[test]
fn a_block_is_turned_code_by_code_and_nothing_beside_it_is_touched() {
    // Whole blocks of sixteen rows of 64 and of 32, of eight rows of 64, and rests both ways.
    let shapes =
        [(0, 3), (1, 1), (8, 64), (16, 32), (16, 130), (21, 29), (29, 97), (64, 128), (70, 200)];
    let isas = Isa::available();
    for ((rows, len), isa) in
        shapes.iter().flat_map(|shape| isas.iter().map(move |isa| (*shape, *isa)))
    {
        let (stride, width) = (len + 3, rows + 2);
        let codes: Vec<i8> =
            (0..rows * stride).map(|at| i8::try_from(at * 73 % 121).expect("small") - 60).collect();
        let mut out = vec![99; len * width];
        codes::turn_with(isa, &codes, stride, (rows, len), &mut out, width);
        for (at, found) in out.into_iter().enumerate() {
            let (k, j) = (at / width, at % width);
            let expected = if j < rows { codes[j * stride + k] } else { 99 };
            assert_eq!(found, expected, "{isa:?}: {rows} {len} {at}");
        }
    }
}

#[test]
#[should_panic(expected = "the block lies in `codes`")]
fn a_block_that_only_seems_to_lie_in_the_matrix_is_refused() {
    // Fifteen times this stride wraps around to one.
    let stride = usize::MAX / 15 * 14 + 1;
    codes::turn(&[0; 65], stride, (16, 64), &mut [0; 1024], 16);
}

#[test]
fn beyond_a_lower_level_codes_saturate() {
    let mut codes = [0; 4];
    let scale = codes::quantise_within(&[0.5, -0.25, 9.0, -3.0], 0.5, 127, &mut codes);
    assert_eq!((scale, codes), (Ok(0.5 / 127.0), [127, -64, 127, -127]));
}
