use crate::{Completion, DeviceError};
use litecore_firmware_proto::FaultCode;

/// What a refused upload or commit means.
pub(super) fn of_load(completion: &Completion, code: FaultCode) -> DeviceError {
    if code != FaultCode::ProgramRefused {
        return DeviceError::Fault { code };
    }
    // The card's own words, one violation a line; cut off words may end in half a letter.
    let text = String::from_utf8_lossy(&completion.reply);
    let first = text.lines().next().unwrap_or_default().trim();
    let first = if first.is_empty() { "not said" } else { first };
    DeviceError::RefusedByCard { violations: completion.header.detail, first: first.to_owned() }
}

/// What a refused run means, for symbols from `first` on.
pub(super) fn of_run(completion: &Completion, code: FaultCode, first: usize) -> DeviceError {
    match code {
        FaultCode::InputNotFinite => {
            let symbol = usize::try_from(completion.header.argument).unwrap_or(0);
            DeviceError::NonFiniteInput { symbol: first.saturating_add(symbol) }
        }
        code => DeviceError::Fault { code },
    }
}
