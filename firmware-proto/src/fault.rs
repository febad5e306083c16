use crate::listed::{number_of, value_of};
use core::fmt;

/// Why a card refused or ended a command. The number is what travels.
///
/// Numbers are in groups: `0x00..` the command is at fault, `0x01..` the exchange, `0x02..` the
/// optics, `0x03..` the card's electronics. A number that is not listed here is kept as it came,
/// so an old driver can still report a new card's fault.
///
/// **Invariant:** values come from [`FaultCode::from_number`], so [`FaultCode::Unlisted`] never
/// holds a listed number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultCode {
    /// No loaded program has this image number.
    ImageUnknown,
    /// The inputs are not symbols × input length.
    InputLength,
    /// More symbols than the program has room for.
    SymbolsTooMany,
    /// An input is a NaN or infinite and has no code.
    InputNotFinite,
    /// The program breaks a rule of this card.
    ProgramRefused,
    /// The program was compiled for another chip model.
    ProgramForOtherChip,
    /// The card's memory has no room for the program.
    MemoryFull,
    /// The card does not know the command.
    CommandUnknown,
    /// The card does not speak this version of the protocol.
    VersionUnsupported,
    /// A field or flag of the command makes no sense to this card; `detail` is its byte position.
    ArgumentInvalid,
    /// The reply would be longer than the host takes; `argument` is how long.
    ReplyTooLong,
    /// The payload is longer than the card takes; `argument` is how long it may be.
    PayloadTooLong,
    /// The upload is not where the command says; `argument` is the offset to go on from.
    OffsetUnexpected,
    /// The image's bytes are damaged or not an image.
    ImageDamaged,
    /// The firmware is not for this card; `detail` says why.
    FirmwareRefused,
    /// The firmware's bytes are damaged.
    FirmwareDamaged,
    /// The firmware slots are not in a state for this step.
    FirmwareOrder,
    /// The card is still at work on an earlier command.
    Busy,
    /// A frame arrived damaged.
    FrameDamaged,
    /// The session is not open: the card has restarted, or somebody else opened it.
    SessionUnknown,
    /// The cookie is older than the card remembers, so it was not carried out now.
    CookieStale,
    /// The command was carried out before, and its reply is no longer kept.
    ReplyForgotten,
    /// The card could not reach host memory at the address in the command.
    TransferFault,
    /// The chip is too hot and has switched its light off.
    ThermalTrip,
    /// The laser is off, unstable or out of its power range.
    LaserFault,
    /// The local oscillator has lost its phase lock.
    OscillatorUnlocked,
    /// The chip has drifted beyond what its calibration holds for.
    CalibrationStale,
    /// A converter failed its self-test.
    ConverterFault,
    /// The card's memory returned an uncorrectable error.
    MemoryFault,
    /// The firmware stopped responding and was restarted.
    Watchdog,
    /// The firmware found itself in a state that it holds to be impossible.
    FirmwareFault,
    /// A number this version does not know.
    Unlisted(u16),
}

impl FaultCode {
    /// Every listed code with its number, ascending.
    pub const LISTED: [(Self, u16); 31] = [
        (Self::ImageUnknown, 0x0001),
        (Self::InputLength, 0x0002),
        (Self::SymbolsTooMany, 0x0003),
        (Self::InputNotFinite, 0x0004),
        (Self::ProgramRefused, 0x0005),
        (Self::ProgramForOtherChip, 0x0006),
        (Self::MemoryFull, 0x0007),
        (Self::CommandUnknown, 0x0008),
        (Self::VersionUnsupported, 0x0009),
        (Self::ArgumentInvalid, 0x000a),
        (Self::ReplyTooLong, 0x000b),
        (Self::PayloadTooLong, 0x000c),
        (Self::OffsetUnexpected, 0x000d),
        (Self::ImageDamaged, 0x000e),
        (Self::FirmwareRefused, 0x000f),
        (Self::FirmwareDamaged, 0x0010),
        (Self::FirmwareOrder, 0x0011),
        (Self::Busy, 0x0101),
        (Self::FrameDamaged, 0x0102),
        (Self::SessionUnknown, 0x0103),
        (Self::CookieStale, 0x0104),
        (Self::ReplyForgotten, 0x0105),
        (Self::TransferFault, 0x0106),
        (Self::ThermalTrip, 0x0201),
        (Self::LaserFault, 0x0202),
        (Self::OscillatorUnlocked, 0x0203),
        (Self::CalibrationStale, 0x0204),
        (Self::ConverterFault, 0x0301),
        (Self::MemoryFault, 0x0302),
        (Self::Watchdog, 0x0303),
        (Self::FirmwareFault, 0x0304),
    ];

    /// The number that travels.
    pub fn number(self) -> u16 {
        match self {
            Self::Unlisted(number) => number,
            listed => number_of(&Self::LISTED, &listed),
        }
    }

    /// The code of a number; unknown numbers are kept.
    pub fn from_number(number: u16) -> Self {
        value_of(&Self::LISTED, number).unwrap_or(Self::Unlisted(number))
    }
}

impl fmt::Display for FaultCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = match self {
            Self::ImageUnknown => "no such image is loaded",
            Self::InputLength => "the inputs have the wrong length",
            Self::SymbolsTooMany => "more symbols than the program has room for",
            Self::InputNotFinite => "an input is not finite",
            Self::ProgramRefused => "the program breaks a rule of this card",
            Self::ProgramForOtherChip => "the program is for another chip model",
            Self::MemoryFull => "the card's memory is full",
            Self::CommandUnknown => "the card does not know this command",
            Self::VersionUnsupported => "the card does not speak this protocol version",
            Self::ArgumentInvalid => "a field of the command makes no sense to this card",
            Self::ReplyTooLong => "the reply is longer than the room given for it",
            Self::PayloadTooLong => "the payload is longer than the card takes",
            Self::OffsetUnexpected => "the upload stands at another offset",
            Self::ImageDamaged => "the image's bytes are damaged",
            Self::FirmwareRefused => "the firmware is not for this card",
            Self::FirmwareDamaged => "the firmware's bytes are damaged",
            Self::FirmwareOrder => "the firmware slots are not in a state for this step",
            Self::Busy => "the card is busy",
            Self::FrameDamaged => "a frame arrived damaged",
            Self::SessionUnknown => "the card has no such session: it restarted, open a new one",
            Self::CookieStale => "the command is older than the card remembers",
            Self::ReplyForgotten => "the command was carried out and its reply is gone",
            Self::TransferFault => "the card could not reach host memory",
            Self::ThermalTrip => "the chip is too hot and switched its light off",
            Self::LaserFault => "the laser is off or out of range",
            Self::OscillatorUnlocked => "the local oscillator lost its phase lock",
            Self::CalibrationStale => "the chip drifted beyond its calibration",
            Self::ConverterFault => "a converter failed its self-test",
            Self::MemoryFault => "the card's memory returned an uncorrectable error",
            Self::Watchdog => "the firmware stopped responding and was restarted",
            Self::FirmwareFault => "the firmware is in an impossible state",
            Self::Unlisted(_) => "a fault that this version of the driver does not know",
        };
        write!(f, "{words} (fault {:#06x})", self.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn every_number_comes_back() {
        let mut listed = 0;
        for number in 0..=u16::MAX {
            let code = FaultCode::from_number(number);
            assert_eq!(code.number(), number);
            listed += usize::from(!matches!(code, FaultCode::Unlisted(_)));
        }
        assert_eq!(listed, FaultCode::LISTED.len(), "a number is listed twice");
    }

    #[test]
    fn listed_numbers_ascend_and_none_is_zero() {
        let mut before = 0;
        for (code, number) in FaultCode::LISTED {
            assert!(number > before, "{code:?}");
            before = number;
        }
    }

    #[test]
    fn numbers_are_frozen() {
        assert_eq!(FaultCode::ImageUnknown.number(), 1);
        assert_eq!(FaultCode::ProgramRefused.number(), 5);
        assert_eq!(FaultCode::Busy.number(), 0x101);
        assert_eq!(FaultCode::ThermalTrip.number(), 0x201);
        assert_eq!(FaultCode::FirmwareFault.number(), 0x304);
        assert_eq!(FaultCode::from_number(0x202), FaultCode::LaserFault);
        assert_eq!(FaultCode::from_number(0xbeef), FaultCode::Unlisted(0xbeef));
    }

    #[test]
    fn messages_bear_the_number() {
        assert!(FaultCode::ThermalTrip.to_string().ends_with("(fault 0x0201)"));
        assert!(FaultCode::Unlisted(0xbeef).to_string().ends_with("(fault 0xbeef)"));
    }
}
