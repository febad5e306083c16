use serde::Serialize;

/// A physical number: its value and uncertainty in the unit its key names, and where it is from.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Quantity {
    /// The number, in the unit of the key.
    pub value: f64,
    /// One standard uncertainty, in the same unit.
    pub plus_minus: f64,
    /// A publication, a data sheet, a derivation, or the word *assumed*.
    pub source: String,
}

/// What values a key accepts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Range {
    /// Finite and greater than zero.
    Positive,
    /// Finite and at least zero.
    NonNegative,
    /// Between the two numbers, both included.
    Within(f64, f64),
}

impl Range {
    /// Whether `value` is allowed; NaN and infinities never are.
    pub fn contains(self, value: f64) -> bool {
        value.is_finite()
            && match self {
                Self::Positive => value > 0.0,
                Self::NonNegative => value >= 0.0,
                Self::Within(low, high) => low <= value && value <= high,
            }
    }

    /// The range in words, for messages.
    pub fn words(self) -> String {
        match self {
            Self::Positive => "a finite number greater than zero".to_owned(),
            Self::NonNegative => "a finite number, zero or more".to_owned(),
            Self::Within(low, high) => format!("a number from {low} to {high}"),
        }
    }
}
