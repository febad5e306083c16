//! A uniform converter on values: what theory says of converters is said of this one.
//!
//! The card's own converter rounds integer sums and lives in `litecore_kernels::codes`; it is
//! mid-tread, and this one mid-rise. They differ by half a step in where the codes lie.

use thiserror::Error;

/// A converter of 2^b equal steps between plus and minus full scale, with no code at zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MidRise {
    step: f64,
    lowest: i32,
}

/// A converter that cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
pub enum MidRiseError {
    /// The number of bits is none or too large.
    #[error("a converter of {bits} bits cannot be made: give 1 to 30 bits")]
    Bits {
        /// What was given.
        bits: u8,
    },
    /// The range is empty or has no end.
    #[error("a full scale of {full_scale} spans no range: give a positive finite number")]
    FullScale {
        /// What was given.
        full_scale: f64,
    },
}

impl MidRise {
    /// The converter of `bits` bits over `−full_scale ..= full_scale`.
    pub fn new(bits: u8, full_scale: f64) -> Result<Self, MidRiseError> {
        if !(1..=30).contains(&bits) {
            return Err(MidRiseError::Bits { bits });
        }
        if !(full_scale > 0.0 && full_scale.is_finite()) {
            return Err(MidRiseError::FullScale { full_scale });
        }
        let half_range = 1 << (bits - 1);
        Ok(Self { step: full_scale / f64::from(half_range), lowest: -half_range })
    }

    /// The width of a step.
    pub fn step(&self) -> f64 {
        self.step
    }

    /// The code of a value: the number of its step, counted from zero upwards, saturated.
    ///
    /// A NaN has code zero.
    #[allow(clippy::cast_possible_truncation, reason = "the cast saturates, and so does the code")]
    pub fn code(&self, value: f64) -> i32 {
        ((value / self.step).floor() as i32).clamp(self.lowest, !self.lowest)
    }

    /// The middle of a code's step.
    pub fn value(&self, code: i32) -> f64 {
        (f64::from(code) + 0.5) * self.step
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::float_cmp, reason = "the values are dyadic and exact")]
    fn codes_and_values_of_two_bits_are_those_of_the_drawing() {
        // Steps of ½ from −1 to 1.
        let converter = MidRise::new(2, 1.0).unwrap();
        assert_eq!(converter.step(), 0.5);
        let values = [-7.0, -1.0, -0.6, -0.5, -0.1, 0.0, 0.49, 0.5, 1.0, 9.0, f64::NAN];
        assert_eq!(
            values.map(|value| converter.code(value)),
            [-2, -2, -2, -1, -1, 0, 0, 1, 1, 1, 0]
        );
        assert_eq!([-2, -1, 0, 1].map(|code| converter.value(code)), [-0.75, -0.25, 0.25, 0.75]);
        // One bit has only the sign.
        let sign = MidRise::new(1, 4.0).unwrap();
        assert_eq!([-3.0, 3.0].map(|value| sign.value(sign.code(value))), [-2.0, 2.0]);
    }

    #[test]
    fn a_converter_that_makes_no_sense_is_refused_by_name() {
        assert_eq!(MidRise::new(0, 1.0), Err(MidRiseError::Bits { bits: 0 }));
        assert_eq!(MidRise::new(31, 1.0), Err(MidRiseError::Bits { bits: 31 }));
        assert_eq!(MidRise::new(8, 0.0), Err(MidRiseError::FullScale { full_scale: 0.0 }));
        assert!(MidRise::new(8, f64::NAN).is_err() && MidRise::new(8, f64::INFINITY).is_err());
    }
}
