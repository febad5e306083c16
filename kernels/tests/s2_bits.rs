//! Every path of a product equals the scalar definition, bit for bit.

mod support;

use litecore_kernels::{Isa, s2};
use support::{assert_same_bits, digest, values};

/// Rows, inputs, outputs: whole and ragged in every direction, and empty ones.
fn shapes() -> Vec<(usize, usize, usize)> {
    let mut shapes = vec![(0, 5, 7), (4, 9, 0), (5, 0, 9), (1, 1, 1), (2, 256, 32), (97, 40, 65)];
    shapes.extend((1..=9).map(|rows| (rows, 257 + rows, 30 + rows)));
    shapes.extend((10..=14).map(|rows| (rows, 255, 1)));
    // Few outputs for many rows, and a panel that ends early.
    shapes.extend([(97, 300, 16), (25, 515, 9), (40, 260, 17), (33, 30, 41)]);
    shapes.extend([(1, 513, 300), (2, 700, 131), (3, 256, 97), (193, 7, 33), (25, 768, 160)]);
    shapes
}

/// The product as the definition gives it.
fn defined(x: &[f32], w: &[f32], rows: usize, inputs: usize, outputs: usize) -> Vec<f32> {
    let mut y = vec![f32::NAN; rows * outputs];
    s2::product_reference(x, w, inputs, outputs, &mut y);
    y
}

fn transposed(matrix: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    (0..rows * columns).map(|i| matrix[i % rows * columns + i / rows]).collect()
}

#[test]
fn every_isa_and_every_thread_count_equals_the_definition() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    for (rows, inputs, outputs) in shapes() {
        let (x, w) = (values(rows * inputs, 1), values(outputs * inputs, 2));
        let expected = defined(&x, &w, rows, inputs, outputs);
        let packed = s2::PackedMatrix::from_rows(&w, outputs, inputs);
        for isa in Isa::available() {
            let mut y = vec![f32::NAN; rows * outputs];
            s2::product_with(isa, &x, &packed, &mut y);
            assert_same_bits(&y, &expected, &format!("{isa:?} {rows}×{inputs}×{outputs}"));
        }
        let mut y = vec![f32::NAN; rows * outputs];
        pool.install(|| s2::product_parallel(&x, &packed, &mut y));
        assert_same_bits(&y, &expected, &format!("parallel {rows}×{inputs}×{outputs}"));
    }
}

#[test]
fn threads_that_do_split_the_work_give_the_defined_bits() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    for (rows, inputs, outputs) in [(130, 300, 70), (1, 1100, 1030)] {
        let (x, w) = (values(rows * inputs, 3), values(outputs * inputs, 4));
        let packed = s2::PackedMatrix::from_rows(&w, outputs, inputs);
        let mut y = vec![f32::NAN; rows * outputs];
        pool.install(|| s2::product_parallel(&x, &packed, &mut y));
        assert_same_bits(&y, &defined(&x, &w, rows, inputs, outputs), "parallel");
    }
}

#[test]
fn a_row_does_not_depend_on_the_batch_it_is_in() {
    let (rows, inputs, outputs) = (29, 600, 75);
    let (x, w) = (values(rows * inputs, 5), values(outputs * inputs, 6));
    let packed = s2::PackedMatrix::from_rows(&w, outputs, inputs);
    let mut batch = vec![0.0; rows * outputs];
    s2::product(&x, &packed, &mut batch);
    for (x, expected) in x.chunks(inputs).zip(batch.chunks(outputs)) {
        let mut alone = vec![f32::NAN; outputs];
        s2::product(x, &packed, &mut alone);
        assert_same_bits(&alone, expected, "one row");
    }
}

#[test]
fn the_written_order_is_the_one_of_the_rule() {
    // 2^24 swallows a one that comes after it, so each order of these sums has its own result.
    let big = 16_777_216.0;
    let mut x = vec![0.0; 513];
    x[0] = big;
    x[1] = 1.0;
    x[256] = 1.0;
    x[257] = 1.0;
    x[512] = 1.0;
    let ones = vec![1.0; 513];
    // (2^24 + 1 → 2^24) + (1 + 1) + 1 → 2^24 + 4, and in one chain every one would be lost.
    assert_eq!(s2::dot(&x, &ones).to_bits(), 16_777_220_f32.to_bits());
    let packed = s2::PackedMatrix::from_rows(&ones, 1, 513);
    let mut y = [0.0];
    s2::product(&x, &packed, &mut y);
    assert_eq!(y[0].to_bits(), 16_777_220_f32.to_bits());
}

#[test]
fn products_are_fused() {
    // (1 + ε)(1 − ε) − 1 is −ε² if rounded once, and 0 if the product is rounded before.
    let epsilon = f32::EPSILON;
    let x = [-1.0, 1.0 + epsilon];
    let w = [1.0, 1.0 - epsilon];
    for isa in Isa::available() {
        let mut y = [0.0];
        s2::product_with(isa, &x, &s2::PackedMatrix::from_rows(&w, 1, 2), &mut y);
        assert_eq!(y[0].to_bits(), (-epsilon * epsilon).to_bits(), "{isa:?}");
    }
}

#[test]
fn denormals_infinities_and_nans_come_through() {
    let (rows, inputs, outputs) = (7, 300, 37);
    let mut x = values(rows * inputs, 7);
    let mut w = values(outputs * inputs, 8);
    for value in &mut x[..inputs] {
        *value *= 1e-30;
    }
    for value in &mut w[..4 * inputs] {
        *value *= 1e-12;
    }
    x[inputs + 5] = f32::INFINITY;
    x[2 * inputs + 280] = f32::NAN;
    x[3 * inputs + 299] = f32::NEG_INFINITY;
    w[36 * inputs + 5] = 0.0;
    w[20 * inputs] = f32::MAX;
    let expected = defined(&x, &w, rows, inputs, outputs);
    assert!(expected[0].is_subnormal());
    assert!(expected[outputs].is_infinite());
    assert!(expected[2 * outputs].is_nan());
    assert!(expected[outputs + 36].is_nan(), "an infinity times zero");
    let packed = s2::PackedMatrix::from_rows(&w, outputs, inputs);
    for isa in Isa::available() {
        let mut y = vec![0.0; rows * outputs];
        s2::product_with(isa, &x, &packed, &mut y);
        assert_same_bits(&y, &expected, &format!("{isa:?}"));
    }
}

#[test]
fn frozen_product() {
    let (rows, inputs, outputs) = (11, 777, 50);
    let packed = s2::PackedMatrix::from_rows(&values(outputs * inputs, 10), outputs, inputs);
    let mut y = vec![0.0; rows * outputs];
    s2::product(&values(rows * inputs, 9), &packed, &mut y);
    assert_eq!(digest(&y), 0xabce_86cb_df44_0214, "{:#018x}", digest(&y));
}

#[test]
fn columns_pack_to_the_same_weights_as_rows() {
    for (inputs, outputs) in [(1, 1), (5, 70), (300, 33), (64, 64), (9, 31)] {
        let w = values(outputs * inputs, 11);
        let by_rows = s2::PackedMatrix::from_rows(&w, outputs, inputs);
        let by_columns =
            s2::PackedMatrix::from_columns(&transposed(&w, outputs, inputs), inputs, outputs);
        let mut by_outputs = s2::PackedMatrix::zeros(inputs, outputs);
        for (output, row) in w.chunks(inputs).enumerate() {
            by_outputs.set_output(output, row);
        }
        let x = values(2 * inputs, 12);
        let expected = defined(&x, &w, 2, inputs, outputs);
        for packed in [by_rows, by_columns, by_outputs] {
            assert_eq!((packed.inputs(), packed.outputs()), (inputs, outputs));
            assert_eq!(packed.bytes(), outputs.div_ceil(32) * 32 * inputs * 4);
            let mut y = vec![f32::NAN; 2 * outputs];
            s2::product(&x, &packed, &mut y);
            assert_same_bits(&y, &expected, "packing");
        }
    }
}

#[test]
fn refilling_replaces_every_weight() {
    let (inputs, outputs) = (40, 45);
    let (old, new) = (values(outputs * inputs, 13), values(outputs * inputs, 14));
    let x = values(inputs, 15);
    let expected = defined(&x, &new, 1, inputs, outputs);
    let mut y = vec![f32::NAN; outputs];
    let mut packed = s2::PackedMatrix::from_rows(&old, outputs, inputs);
    packed.refill_from_rows(&new);
    s2::product(&x, &packed, &mut y);
    assert_same_bits(&y, &expected, "rows");
    let mut packed = s2::PackedMatrix::from_rows(&old, outputs, inputs);
    packed.refill_from_columns(&transposed(&new, outputs, inputs));
    s2::product(&x, &packed, &mut y);
    assert_same_bits(&y, &expected, "columns");
}

#[test]
fn a_transposed_left_side_gives_the_same_product() {
    for (rows, inputs, outputs) in [(1, 5, 3), (13, 300, 40), (100, 20, 33), (4, 0, 3)] {
        let (x, w) = (values(rows * inputs, 16), values(outputs * inputs, 17));
        let packed = s2::PackedMatrix::from_rows(&w, outputs, inputs);
        let mut y = vec![f32::NAN; rows * outputs];
        s2::product_transposed_left(&transposed(&x, rows, inputs), &packed, &mut y);
        assert_same_bits(&y, &defined(&x, &w, rows, inputs, outputs), "transposed left");
    }
}

#[test]
fn gradients_equal_their_definition_on_every_isa() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    for (rows, inputs, outputs) in
        [(1, 3, 2), (0, 3, 2), (300, 33, 17), (512, 40, 100), (255, 1, 13), (700, 64, 70)]
    {
        let (dy, x) = (values(rows * outputs, 18), values(rows * inputs, 19));
        let start = values(outputs * inputs, 20);
        let mut expected = start.clone();
        s2::gradient_of_weights_reference(&dy, &x, rows, &mut expected);
        for isa in Isa::available() {
            let mut dw = start.clone();
            s2::gradient_of_weights_with(isa, &dy, &x, rows, &mut dw);
            assert_same_bits(&dw, &expected, &format!("{isa:?} {rows}×{inputs}×{outputs}"));
        }
        let mut dw = start.clone();
        pool.install(|| s2::gradient_of_weights_parallel(&dy, &x, rows, &mut dw));
        assert_same_bits(&dw, &expected, "parallel");
    }
}

#[test]
fn a_gradient_may_be_added_up_in_blocks_of_rows() {
    let (rows, inputs, outputs) = (600, 35, 20);
    let (dy, x) = (values(rows * outputs, 21), values(rows * inputs, 22));
    let mut at_once = vec![0.0; outputs * inputs];
    s2::gradient_of_weights(&dy, &x, rows, &mut at_once);
    let mut in_pieces = vec![0.0; outputs * inputs];
    let pieces = dy.chunks(s2::BLOCK * outputs).zip(x.chunks(s2::BLOCK * inputs));
    for (dy, x) in pieces {
        s2::gradient_of_weights(dy, x, dy.len() / outputs, &mut in_pieces);
    }
    assert_same_bits(&in_pieces, &at_once, "pieces");
}

#[test]
fn dots_and_combinations_of_unpacked_rows_follow_the_rule() {
    for (count, width, stride) in [(0, 4, 4), (1, 1, 1), (5, 32, 40), (70, 300, 301), (300, 33, 64)]
    {
        let rows = values(count * stride, 23);
        let row = |i: usize| &rows[i * stride..][..width];
        let matrix: Vec<f32> = (0..count).flat_map(|i| row(i).to_vec()).collect();
        let x = values(width, 24);
        let mut scores = vec![f32::NAN; count];
        s2::dots(&x, &rows, stride, &mut scores);
        assert_same_bits(&scores, &defined(&x, &matrix, 1, width, count), "dots");
        let one_by_one: Vec<f32> = (0..count).map(|i| s2::dot(&x, row(i))).collect();
        assert_same_bits(&one_by_one, &scores, "dot");

        let weights = values(count, 25);
        let mut mixed = vec![f32::NAN; width];
        s2::combine(&weights, &rows, stride, &mut mixed);
        let columns = transposed(&matrix, count, width);
        assert_same_bits(&mixed, &defined(&weights, &columns, 1, count, width), "combine");
    }
}

#[test]
#[allow(unsafe_code, reason = "the oracle has an unsafe interface")]
fn another_library_that_happens_to_follow_the_rule_agrees() {
    // matrixmultiply's kernel with fused multiply-add also sums 256 elements of K at a time.
    if !Isa::Avx2.is_available() {
        return;
    }
    for (rows, inputs, outputs) in [(5, 100, 40), (33, 256, 64), (64, 1000, 96), (17, 513, 31)] {
        let (x, w) = (values(rows * inputs, 26), values(outputs * inputs, 27));
        let mut expected = vec![0.0; rows * outputs];
        let stride = |n: usize| isize::try_from(n).unwrap();
        // SAFETY: the strides describe x as rows × inputs, w as outputs × inputs, y as rows ×
        // outputs.
        unsafe {
            matrixmultiply::sgemm(
                rows,
                inputs,
                outputs,
                1.0,
                x.as_ptr(),
                stride(inputs),
                1,
                w.as_ptr(),
                1,
                stride(inputs),
                0.0,
                expected.as_mut_ptr(),
                stride(outputs),
                1,
            );
        }
        let mut y = vec![0.0; rows * outputs];
        s2::product(&x, &s2::PackedMatrix::from_rows(&w, outputs, inputs), &mut y);
        assert_same_bits(&y, &expected, &format!("oracle {rows}×{inputs}×{outputs}"));
    }
}
