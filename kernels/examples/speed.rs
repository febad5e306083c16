//! Prints how fast the kernels are on this machine, beside the `gemm` crate, in a few seconds.
#![allow(clippy::print_stdout, reason = "printing is what it is for")]

use std::hint::black_box;
use std::time::Instant;

use litecore_kernels::{Isa, codes, math, normal, s2};

fn main() {
    println!("{:?}", Isa::available());
    products();
    packing();
    vectors();
    tiles();
}

/// The least seconds of one call, over many short rounds.
fn seconds(mut call: impl FnMut()) -> f64 {
    call();
    let once = Instant::now();
    call();
    let calls = (5e-3 / once.elapsed().as_secs_f64().max(1e-9)).clamp(1.0, 1e6).round();
    let mut best = f64::INFINITY;
    for _ in 0..15 {
        let start = Instant::now();
        let mut done = 0.0;
        while done < calls {
            call();
            done += 1.0;
        }
        best = best.min(start.elapsed().as_secs_f64() / calls);
    }
    best
}

/// Normals of variance one.
fn values(count: usize, key: u64) -> Vec<f32> {
    let mut values = vec![0.0; count];
    normal::standard_normals(key, 0, &mut values);
    values
}

fn products() {
    for (rows, inputs, outputs) in [
        (512, 512, 512),
        (64, 1024, 2816),
        (16, 1024, 2816),
        (256, 128, 128),
        (1, 1024, 2816),
        (1, 128, 128),
        (2, 1024, 2816),
        (3, 1024, 2816),
    ] {
        let (x, w) = (values(rows * inputs, 1), values(outputs * inputs, 2));
        let packed = s2::PackedMatrix::from_rows(&w, outputs, inputs);
        let mut y = vec![0.0; rows * outputs];
        let flops = 2.0 * (rows * inputs * outputs) as f64;
        print!("product {rows}×{inputs}×{outputs}, GFLOP/s:");
        for isa in Isa::available().into_iter().filter(|&isa| isa != Isa::Scalar) {
            let time = seconds(|| s2::product_with(isa, black_box(&x), &packed, &mut y));
            print!(" {isa:?} {:.1}", flops / time / 1e9);
        }
        let time = seconds(|| s2::product_parallel(black_box(&x), &packed, &mut y));
        print!(" parallel {:.1}", flops / time / 1e9);
        let time = seconds(|| gemm(&x, &w, rows, inputs, outputs, &mut y));
        println!(" gemm {:.1}", flops / time / 1e9);
    }
    let (rows, inputs, outputs) = (512, 128, 256);
    let (dy, x) = (values(rows * outputs, 1), values(rows * inputs, 2));
    let mut dw = vec![0.0; outputs * inputs];
    let time = seconds(|| s2::gradient_of_weights(black_box(&dy), &x, rows, &mut dw));
    let flops = 2.0 * (rows * inputs * outputs) as f64;
    println!("gradient {rows}×{inputs}×{outputs}, GFLOP/s: {:.1}", flops / time / 1e9);
}

#[allow(unsafe_code, reason = "the crate compared with has an unsafe interface")]
fn gemm(x: &[f32], w: &[f32], rows: usize, inputs: usize, outputs: usize, y: &mut [f32]) {
    let stride = |n: usize| isize::try_from(n).expect("a slice's length fits");
    // SAFETY: the strides describe x as rows × inputs, w as outputs × inputs, y as rows × outputs.
    unsafe {
        gemm::gemm(
            rows,
            outputs,
            inputs,
            y.as_mut_ptr(),
            1,
            stride(outputs),
            false,
            x.as_ptr(),
            1,
            stride(inputs),
            w.as_ptr(),
            stride(inputs),
            1,
            0.0_f32,
            1.0_f32,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

fn packing() {
    let (inputs, outputs) = (1024, 1024);
    let w = values(outputs * inputs, 2);
    let mut packed = s2::PackedMatrix::from_rows(&w, outputs, inputs);
    let count = w.len() as f64;
    let rows = seconds(|| packed.refill_from_rows(black_box(&w))) / count * 1e9;
    let columns = seconds(|| packed.refill_from_columns(black_box(&w))) / count * 1e9;
    println!("packing, ns per weight: from rows {rows:.2}, from columns {columns:.2}");
}

fn vectors() {
    let count = 4096;
    let x = values(count, 3);
    let mut out = vec![0.0; count];
    let each = |time: f64| time / count as f64 * 1e9;
    for isa in Isa::available() {
        let time = seconds(|| normal::standard_normals_with(isa, 7, 0, black_box(&mut out)));
        println!("normal on {isa:?}, ns: {:.2}", each(time));
    }
    let silu = each(seconds(|| math::silu_all(black_box(&x), &mut out)));
    let softmax = each(seconds(|| math::softmax_in_place(black_box(&mut out))));
    let mut quantised = vec![0_i8; count];
    let quantise = each(seconds(|| {
        black_box(codes::quantise(black_box(&x), 127, &mut quantised).is_ok());
    }));
    let sums = vec![12345; count];
    let mut read = vec![0; count];
    let requantise = each(seconds(|| codes::requantise_all(black_box(&sums), 7, 8, &mut read)));
    println!(
        "ns per element: silu {silu:.2}, softmax {softmax:.2}, quantise {quantise:.2}, \
         requantise {requantise:.2}"
    );
    let (keys, width, positions) = (values(256 * 128, 4), 32, 256);
    let mut scores = vec![0.0; positions];
    let dots = seconds(|| s2::dots(black_box(&x[..width]), &keys, 128, &mut scores));
    let mut mixed = vec![0.0; width];
    let combine = seconds(|| s2::combine(black_box(&scores), &keys, 128, &mut mixed));
    let macs = (width * positions) as f64;
    println!(
        "attention, GMAC/s: dots {:.1}, combine {:.1}",
        macs / dots / 1e9,
        macs / combine / 1e9
    );
}

fn tiles() {
    for (inputs, outputs) in [(128, 64), (512, 512)] {
        for symbols in [1, 8, 64] {
            let codes_of = |count: usize, key| {
                let mut codes = vec![0_i8; count];
                codes::quantise(&values(count, key), 127, &mut codes).expect("normals are finite");
                codes
            };
            let (w, x) = (codes_of(inputs * outputs, 5), codes_of(symbols * inputs, 6));
            let mut acc = vec![0; symbols * outputs];
            let time =
                seconds(|| codes::tile_product(black_box(&w), inputs, outputs, &x, &mut acc));
            let macs = (inputs * outputs * symbols) as f64;
            println!(
                "tile {inputs}×{outputs}, {symbols} symbols, GMAC/s: {:.1}",
                macs / time / 1e9
            );
        }
    }
}
