use litecore_hal::DeviceError;
use litecore_types::program::Violation;

/// Why a measurement has no result.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CalibrationError {
    /// No symbols were asked for.
    #[error("a measurement needs at least one symbol: ask for some hundreds")]
    NoSymbols,
    /// The description is of another chip than the device has.
    #[error(
        "the device has chip {device}, the description is of {described}: use the device's own"
    )]
    WrongChip {
        /// The chip in the device.
        device: String,
        /// The chip in the description.
        described: String,
    },
    /// The card has no such array.
    #[error("there is no array {array}: the card has {arrays}, counted from 0")]
    NoSuchArray {
        /// What was asked for.
        array: u16,
        /// How many there are.
        arrays: usize,
    },
    /// The measurement's program does not fit this chip.
    #[error(
        "the measurement does not fit the chip, {} violations, the first: {}",
        violations.len(),
        violations.first().map(ToString::to_string).unwrap_or_default()
    )]
    DoesNotFit {
        /// Every rule it breaks.
        violations: Vec<Violation>,
    },
    /// The device did not carry out a run.
    #[error("the measurement stopped: {0}")]
    Device(#[from] DeviceError),
    /// The device gave another number of outputs than the program has.
    #[error(
        "the device gave {given} outputs where the program has {expected}: its driver is at fault"
    )]
    OutputLength {
        /// Outputs given.
        given: usize,
        /// Outputs that the program has on the symbols of the run.
        expected: usize,
    },
    /// An output is not the image of a converter code.
    #[error(
        "output {output} of symbol {symbol} is {value}, which no converter code gives: the device or its driver is at fault"
    )]
    NotACode {
        /// The symbol, from 0.
        symbol: usize,
        /// The output, from 0.
        output: usize,
        /// What came.
        value: f32,
    },
}
