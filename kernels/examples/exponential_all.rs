//! Compares the exponential with another implementation, for every f32.
#![allow(clippy::print_stdout, reason = "printing is what it is for")]

use litecore_kernels::math;

fn main() {
    let mut wrong = 0_u64;
    let mut expected = vec![0.0_f32; 1 << 16];
    let mut actual = expected.clone();
    for high in 0..=u16::MAX {
        for (low, value) in (0_u32..).zip(&mut expected) {
            *value = f32::from_bits(u32::from(high) << 16 | low);
        }
        actual.copy_from_slice(&expected);
        math::exp_in_place(&mut actual);
        for (expected, actual) in expected.iter_mut().zip(&actual) {
            let x = *expected;
            *expected = pxfm::f_expf(x);
            if actual.to_bits() != expected.to_bits() && !(actual.is_nan() && expected.is_nan()) {
                wrong += 1;
                println!("exp({:#010x}) is {actual:e} here, {expected:e} there", x.to_bits());
            }
        }
    }
    println!("{wrong} of 2^32 differ");
}
