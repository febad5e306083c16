use crate::{ImageId, LinkError};
use litecore_firmware_proto::FaultCode;
use litecore_types::program::Violation;

/// Why a device did not do what it was asked; [`DeviceError::remedy`] says what to do about it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// The image number is not one that this device gave out.
    #[error("{image} is not loaded on this device: load the program first")]
    NoSuchImage {
        /// What was asked for.
        image: ImageId,
    },
    /// The inputs are not one vector per tag.
    #[error("{given} input numbers for {symbols} symbols of {vector}: give one vector per tag")]
    InputLength {
        /// Numbers given.
        given: usize,
        /// Tags given.
        symbols: usize,
        /// Length of the program's input vectors.
        vector: usize,
    },
    /// More symbols than the program has card memory for.
    #[error("{given} symbols in one run, the program takes at most {most}: split the run")]
    TooManySymbols {
        /// Symbols given.
        given: usize,
        /// Most per run.
        most: u64,
    },
    /// An input, or a value computed from it, is a NaN or infinite and has no code.
    #[error("symbol {symbol} of the run met a NaN or an infinity: check the inputs")]
    NonFiniteInput {
        /// The symbol, from 0.
        symbol: usize,
    },
    /// The program was compiled for another chip model.
    #[error("the program is for chip {compiled_for}, this device has {chip}: compile it again")]
    WrongChip {
        /// The chip in the program.
        compiled_for: String,
        /// The chip in the device.
        chip: String,
    },
    /// The program breaks rules of this device.
    #[error(
        "the device refuses the program, {} violations, the first: {}",
        violations.len(),
        violations.first().map(ToString::to_string).unwrap_or_default()
    )]
    ProgramRefused {
        /// Every rule it breaks.
        violations: Vec<Violation>,
    },
    /// The card found rules broken that it names in its own words.
    #[error("the card refuses the program, {violations} violations, the first: {first}")]
    RefusedByCard {
        /// How many rules it breaks.
        violations: u32,
        /// What the card says of the first.
        first: String,
    },
    /// The card reports a fault.
    #[error("the card reports: {code}; {}", what_to_do(*code))]
    Fault {
        /// Which one.
        code: FaultCode,
    },
    /// The card did not answer in time.
    #[error("the card did not answer within {waited_ms} ms")]
    TimedOut {
        /// How long was waited.
        waited_ms: u64,
    },
    /// The card is gone.
    #[error("the link to the card is lost: check cable and power, then open the device again")]
    LinkLost,
    /// The card did not come to itself again, whatever was tried.
    #[error(
        "the card does not recover, tried up to {tried}: power-cycle it, then open the device again"
    )]
    Dead {
        /// The last rung of the recovery ladder that was tried.
        tried: &'static str,
    },
    /// The card answers a command with what is no answer to it.
    #[error("the card's answer to {command} makes no sense ({what}): update driver and firmware")]
    BadReply {
        /// Which command.
        command: &'static str,
        /// What is wrong with the answer.
        what: &'static str,
    },
    /// The program does not fit the protocol: something in it has no number on the wire.
    #[error("the program cannot be sent to a card: {what}")]
    NotSendable {
        /// What does not fit.
        what: &'static str,
    },
    /// The link refuses for a reason of its own.
    #[error(transparent)]
    Link(LinkError),
    /// A replayed record does not go on with this call.
    #[error("the record goes on with {recorded}, not with this {asked}: replay what was recorded")]
    NotRecorded {
        /// What is recorded next.
        recorded: &'static str,
        /// What was asked for.
        asked: &'static str,
    },
}

impl From<LinkError> for DeviceError {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Gone { .. } => Self::LinkLost,
            LinkError::TimedOut { waited_ms, .. } => Self::TimedOut { waited_ms },
            other => Self::Link(other),
        }
    }
}

/// What a caller should do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Remedy {
    /// The same call may succeed when made again.
    Retry,
    /// Calibrate the device, then make the call again.
    Recalibrate,
    /// The request is at fault: it will never succeed on this device.
    Reject,
    /// Park the device and give it time; it may be used again later.
    Park,
    /// Use this device no more until somebody has looked at it.
    Stop,
}

impl DeviceError {
    /// What to do about it.
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::NoSuchImage { .. }
            | Self::InputLength { .. }
            | Self::TooManySymbols { .. }
            | Self::NonFiniteInput { .. }
            | Self::WrongChip { .. }
            | Self::ProgramRefused { .. }
            | Self::RefusedByCard { .. }
            | Self::NotSendable { .. }
            | Self::NotRecorded { .. } => Remedy::Reject,
            Self::TimedOut { .. } | Self::Link(LinkError::NoRoom { .. }) => Remedy::Retry,
            Self::LinkLost | Self::Dead { .. } | Self::BadReply { .. } | Self::Link(_) => {
                Remedy::Stop
            }
            Self::Fault { code } => remedy_of(*code),
        }
    }
}

/// The remedy in words.
fn what_to_do(code: FaultCode) -> &'static str {
    match code {
        FaultCode::ImageUnknown => "load the program again",
        FaultCode::InputLength | FaultCode::InputNotFinite => "check the inputs",
        FaultCode::SymbolsTooMany | FaultCode::PayloadTooLong => "split the run",
        FaultCode::ProgramRefused | FaultCode::ProgramForOtherChip => {
            "compile the program for this card's chip"
        }
        FaultCode::MemoryFull => "load fewer or smaller programs, or reset the card",
        FaultCode::CommandUnknown | FaultCode::VersionUnsupported => "update the card's firmware",
        FaultCode::ArgumentInvalid | FaultCode::ReplyTooLong | FaultCode::OffsetUnexpected => {
            "update driver and firmware, which do not understand each other"
        }
        FaultCode::ImageDamaged => "load the program again, and check the cable",
        FaultCode::FirmwareRefused => "give the firmware that was made for this card",
        FaultCode::FirmwareDamaged => "fetch the firmware's file again",
        FaultCode::FirmwareOrder => "reset the card, then begin again",
        FaultCode::Busy | FaultCode::CookieStale | FaultCode::ReplyForgotten => "try again",
        FaultCode::FrameDamaged | FaultCode::TransferFault => {
            "try again, and if it stays so reset the card"
        }
        FaultCode::SessionUnknown => "end other programs that use the card, then try again",
        FaultCode::ThermalTrip => "park the card, let it cool, then try again",
        FaultCode::OscillatorUnlocked | FaultCode::CalibrationStale => {
            "calibrate the card, then try again"
        }
        FaultCode::LaserFault
        | FaultCode::ConverterFault
        | FaultCode::MemoryFault
        | FaultCode::Watchdog
        | FaultCode::FirmwareFault => {
            "stop using the card, and reset it; if it stays so, have it looked at"
        }
        FaultCode::Unlisted(_) => {
            "stop using the card; a newer version of this program may know the fault"
        }
    }
}

fn remedy_of(code: FaultCode) -> Remedy {
    match code {
        FaultCode::ImageUnknown
        | FaultCode::InputLength
        | FaultCode::SymbolsTooMany
        | FaultCode::InputNotFinite
        | FaultCode::ProgramRefused
        | FaultCode::ProgramForOtherChip
        | FaultCode::MemoryFull
        | FaultCode::CommandUnknown
        | FaultCode::VersionUnsupported
        | FaultCode::ArgumentInvalid
        | FaultCode::ReplyTooLong
        | FaultCode::PayloadTooLong
        | FaultCode::OffsetUnexpected
        | FaultCode::ImageDamaged
        | FaultCode::FirmwareRefused
        | FaultCode::FirmwareDamaged
        | FaultCode::FirmwareOrder => Remedy::Reject,
        FaultCode::Busy
        | FaultCode::FrameDamaged
        | FaultCode::SessionUnknown
        | FaultCode::CookieStale
        | FaultCode::ReplyForgotten
        | FaultCode::TransferFault => Remedy::Retry,
        FaultCode::OscillatorUnlocked | FaultCode::CalibrationStale => Remedy::Recalibrate,
        FaultCode::ThermalTrip => Remedy::Park,
        FaultCode::LaserFault
        | FaultCode::ConverterFault
        | FaultCode::MemoryFault
        | FaultCode::Watchdog
        | FaultCode::FirmwareFault
        | FaultCode::Unlisted(_) => Remedy::Stop,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_of_the_request_are_rejected_and_unknown_ones_stop() {
        for (code, number) in FaultCode::LISTED {
            let remedy = DeviceError::Fault { code }.remedy();
            assert_eq!(remedy == Remedy::Reject, number < 0x100, "{code}");
        }
        let fault = |number| DeviceError::Fault { code: FaultCode::from_number(number) };
        assert_eq!(fault(0x0101).remedy(), Remedy::Retry);
        assert_eq!(fault(0x0204).remedy(), Remedy::Recalibrate);
        assert_eq!(fault(0x0201).remedy(), Remedy::Park);
        assert_eq!(fault(0xffff).remedy(), Remedy::Stop);
    }

    #[test]
    fn every_fault_says_what_to_do() {
        let fault = |code| DeviceError::Fault { code };
        for (code, _) in FaultCode::LISTED {
            let words = fault(code).to_string();
            let (what, to_do) = words.split_once("; ").unwrap();
            assert_eq!(what, format!("the card reports: {code}"));
            let verb = match fault(code).remedy() {
                Remedy::Retry => "try again",
                Remedy::Recalibrate => "calibrate",
                Remedy::Park => "park",
                Remedy::Stop => "stop using the card",
                Remedy::Reject => "",
            };
            assert!(to_do.contains(verb) && to_do.len() > 8, "{words}");
        }
        let newer = fault(FaultCode::from_number(0x0999)).to_string();
        assert!(newer.contains("a newer version of this program"), "{newer}");
    }

    #[test]
    fn messages_say_what_where_and_what_to_do() {
        let error = DeviceError::TooManySymbols { given: 300, most: 256 };
        assert_eq!(
            error.to_string(),
            "300 symbols in one run, the program takes at most 256: split the run"
        );
        let violations = vec![
            Violation::WrongShape { rows: 4, columns: 4, chip_rows: 64, chip_columns: 64 },
            Violation::NoSymbols,
        ];
        let error = DeviceError::ProgramRefused { violations };
        assert_eq!(
            error.to_string(),
            "the device refuses the program, 2 violations, the first: made for 4x4 cells, \
             the chip has 64x64"
        );
        assert_eq!(error.remedy(), Remedy::Reject);
        assert_eq!(DeviceError::LinkLost.remedy(), Remedy::Stop);
        assert_eq!(DeviceError::TimedOut { waited_ms: 5 }.remedy(), Remedy::Retry);
    }
}
