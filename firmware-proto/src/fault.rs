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
    /// The card is still at work on an earlier command.
    Busy,
    /// A frame arrived damaged.
    FrameDamaged,
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
    pub const LISTED: [(Self, u16); 19] = [
        (Self::ImageUnknown, 0x0001),
        (Self::InputLength, 0x0002),
        (Self::SymbolsTooMany, 0x0003),
        (Self::InputNotFinite, 0x0004),
        (Self::ProgramRefused, 0x0005),
        (Self::ProgramForOtherChip, 0x0006),
        (Self::MemoryFull, 0x0007),
        (Self::CommandUnknown, 0x0008),
        (Self::VersionUnsupported, 0x0009),
        (Self::Busy, 0x0101),
        (Self::FrameDamaged, 0x0102),
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
            listed => Self::LISTED.iter().find(|(code, _)| *code == listed).map_or(0, |(_, n)| *n),
        }
    }

    /// The code of a number; unknown numbers are kept.
    pub fn from_number(number: u16) -> Self {
        Self::LISTED
            .iter()
            .find(|(_, listed)| *listed == number)
            .map_or(Self::Unlisted(number), |(code, _)| *code)
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
            Self::Busy => "the card is busy",
            Self::FrameDamaged => "a frame arrived damaged",
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
