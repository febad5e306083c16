use serde::{Serialize, Serializer};

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

/// How strong an impairment is: a quantity that is never zero, or the word `"ideal"`.
#[derive(Clone, Debug, PartialEq)]
pub enum Impairment {
    /// The part is perfect in this respect.
    Ideal,
    /// The part has this impairment.
    Of(Quantity),
}

impl Impairment {
    /// An impairment of this value that somebody set by hand.
    pub fn set(value: f64) -> Self {
        Self::Of(Quantity { value, plus_minus: 0.0, source: "set by the user".to_owned() })
    }

    /// The value in the unit of the key; zero where the part is ideal.
    ///
    /// For keys in dB, where zero is no word for nothing, ask [`Self::quantity`].
    pub fn value(&self) -> f64 {
        self.quantity().map_or(0.0, |quantity| quantity.value)
    }

    /// The quantity, if the part is not ideal.
    pub fn quantity(&self) -> Option<&Quantity> {
        match self {
            Self::Ideal => None,
            Self::Of(quantity) => Some(quantity),
        }
    }

    /// Whether the part is perfect in this respect.
    pub fn is_ideal(&self) -> bool {
        matches!(self, Self::Ideal)
    }
}

impl Serialize for Impairment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Ideal => serializer.serialize_str(IDEAL),
            Self::Of(quantity) => quantity.serialize(serializer),
        }
    }
}

/// The word for an impairment that a part does not have.
pub(super) const IDEAL: &str = "ideal";

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
