//! Firmware update: whether, how, and what if it fails.

use crate::card::FirmwareAsk;
use crate::{CardDevice, Device, DeviceError};
use litecore_firmware_proto::command::FLAG_ALLOW_OLDER;
use litecore_firmware_proto::crc32c::crc32c;
use litecore_firmware_proto::firmware::{
    FIRMWARE_HEADER_BYTES, FIRMWARE_STATUS_BYTES, FirmwareHeader, FirmwareRefusal, FirmwareStatus,
    FirmwareVersion, MalformedFirmware,
};
use litecore_firmware_proto::identity::FEATURE_FIRMWARE;
use litecore_firmware_proto::update::SlotState;
use litecore_firmware_proto::{FaultCode, Opcode};
use std::fmt;

/// What an update may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UpdatePolicy {
    /// Also where the card runs the same version, or a later one.
    pub force: bool,
}

/// What came of an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Updated {
    /// The card runs this version already; nothing was done.
    Current(FirmwareVersion),
    /// The card runs the new version, and keeps it.
    To {
        /// The version before.
        before: FirmwareVersion,
        /// The version now.
        now: FirmwareVersion,
        /// Bytes that an earlier, interrupted update had already brought.
        resumed_from: u64,
    },
}

/// Where an update stands, for progress reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateStep {
    /// This many of all bytes are on the card.
    Upload {
        /// Bytes there.
        done: u64,
        /// Bytes in all.
        of: u64,
    },
    /// The card checks digest and signature.
    Verify,
    /// The card starts over with the new firmware, on trial.
    Restart,
    /// The new firmware works and is kept.
    Confirm,
}

/// Why an update came to nothing. The card still runs firmware that was confirmed once.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum UpdateError {
    /// The file is no firmware.
    #[error("the file is no firmware ({0}): give a file that was made for this card")]
    NotFirmware(FileFault),
    /// The card has no means of being updated over its link.
    #[error("this card's firmware cannot be updated over the link: see its maker's manual")]
    NoUpdates,
    /// The firmware is for another kind of board.
    #[error(
        "the firmware is for board {file:#x}, this card is board {card:#x}: give the file for it"
    )]
    OtherBoard {
        /// The board in the file.
        file: u32,
        /// The card's board.
        card: u32,
    },
    /// The firmware is for other hardware revisions.
    #[error(
        "the firmware is for hardware revisions {least} to {greatest}, this card is revision \
         {card}: give the file for it"
    )]
    OtherHardware {
        /// Least revision in the file.
        least: u16,
        /// Greatest revision in the file.
        greatest: u16,
        /// The card's.
        card: u16,
    },
    /// The firmware is older than what runs.
    #[error(
        "the firmware is version {}, the card runs {}: older firmware is taken with --force only",
        Words(*file), Words(*card)
    )]
    Older {
        /// The version in the file.
        file: FirmwareVersion,
        /// The version that runs.
        card: FirmwareVersion,
    },
    /// The card refuses the file.
    #[error("the card refuses the firmware: {}", RefusalWords(*why))]
    Refused {
        /// Why.
        why: FirmwareRefusal,
    },
    /// The bytes on the card do not have the digest or signature that the header states.
    #[error("the firmware is damaged or its signature is wrong: fetch the file again")]
    Damaged,
    /// The new firmware did not come up, and the card has gone back to the old one.
    #[error(
        "version {} did not come up on the card, which has gone back to {}: report it, and stay \
         with the old version",
        Words(*tried), Words(*runs)
    )]
    FellBack {
        /// The version that was tried.
        tried: FirmwareVersion,
        /// The version that runs.
        runs: FirmwareVersion,
    },
    /// There is no confirmed firmware to go back to.
    #[error("there is no earlier firmware on the card to go back to: update it from a file")]
    NothingToReturnTo,
    /// The card or its link failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
}

/// What is wrong with a firmware file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileFault {
    /// Its header.
    Header(MalformedFirmware),
    /// It has another length than its header says.
    Length {
        /// Bytes of the body that the header states.
        stated: u64,
        /// Bytes that follow the header.
        found: u64,
    },
}

/// Bytes of one piece of an upload; see the same for images.
const PIECE_BYTES: usize = 64 << 10;
/// Pieces that may come damaged or out of place before an upload is given up.
const ASTRAY_MAX: u32 = 16;

/// Brings a card's firmware to the version in a file.
///
/// An interrupted update goes on where it was interrupted. The new firmware is tried once, must
/// answer, and is confirmed; else the card returns to what it ran before.
///
/// Errors: [`UpdateError`].
pub fn update_firmware(
    card: &mut CardDevice,
    file: &[u8],
    policy: UpdatePolicy,
    report: &mut dyn FnMut(UpdateStep),
) -> Result<Updated, UpdateError> {
    let header = FirmwareHeader::parse(file)
        .map_err(|error| UpdateError::NotFirmware(FileFault::Header(error)))?;
    let body = file.get(FIRMWARE_HEADER_BYTES..).unwrap_or_default();
    if body.len() as u64 != header.body_len {
        let (stated, found) = (header.body_len, body.len() as u64);
        return Err(UpdateError::NotFirmware(FileFault::Length { stated, found }));
    }
    check_fit(card, &header)?;
    let before = card.identity().firmware;
    let status = firmware_status(card)?;
    if is_running(&status, &header, SlotState::Trial) {
        // An earlier update was interrupted after the restart.
        try_and_confirm(card, &header, report)?;
        let now = header.version;
        return Ok(Updated::To { before, now, resumed_from: header.body_len });
    }
    if !policy.force {
        if before == header.version {
            return Ok(Updated::Current(before));
        }
        if header.version < before {
            return Err(UpdateError::Older { file: header.version, card: before });
        }
    }
    let resumed_from = upload(card, &header, body, policy, report)?;
    report(UpdateStep::Verify);
    firmware(card, &FirmwareAsk { patience_of_run: true, ..ask(Opcode::FirmwareVerify) })?;
    match firmware(card, &ask(Opcode::FirmwareActivate)) {
        Ok(_) => {
            report(UpdateStep::Restart);
            card.reset_function()?;
        }
        // A card that starts over just after it has activated the firmware tries it at once, and
        // the command, which comes again, is out of order.
        Err(UpdateError::Device(DeviceError::Fault { code: FaultCode::FirmwareOrder }))
            if is_running(&firmware_status(card)?, &header, SlotState::Trial) =>
        {
            report(UpdateStep::Restart);
        }
        Err(error) => return Err(error),
    }
    try_and_confirm(card, &header, report)?;
    Ok(Updated::To { before, now: header.version, resumed_from })
}

/// From a card that should run new firmware on trial to one that keeps it.
///
/// A card may start over at any time, and then has gone back; so what it runs is looked at before
/// and after, and no answer in between is taken for proof.
fn try_and_confirm(
    card: &mut CardDevice,
    header: &FirmwareHeader,
    report: &mut dyn FnMut(UpdateStep),
) -> Result<(), UpdateError> {
    let tried = firmware_status(card)?;
    if !is_running(&tried, header, SlotState::Trial) {
        return Err(fell_back(card, header));
    }
    // Firmware that cannot do this much is not to be kept.
    if card.loopback(&[0x5a; 64]).is_err() || card.telemetry().is_err() {
        card.reset_function()?;
        return Err(fell_back(card, header));
    }
    report(UpdateStep::Confirm);
    firmware(card, &ask(Opcode::FirmwareConfirm))?;
    let status = firmware_status(card)?;
    let kept = is_running(&status, header, SlotState::Confirmed);
    // The other slot may hold the same version.
    if kept && status.running == tried.running && card.identity().firmware == header.version {
        return Ok(());
    }
    Err(fell_back(card, header))
}

fn fell_back(card: &CardDevice, header: &FirmwareHeader) -> UpdateError {
    UpdateError::FellBack { tried: header.version, runs: card.identity().firmware }
}

/// Returns a card to the firmware it ran before the last update, and says which that is.
///
/// Errors: [`UpdateError::NothingToReturnTo`], and [`UpdateError::Device`].
pub fn roll_back_firmware(card: &mut CardDevice) -> Result<FirmwareVersion, UpdateError> {
    if card.identity().features & FEATURE_FIRMWARE == 0 {
        return Err(UpdateError::NoUpdates);
    }
    match firmware(card, &ask(Opcode::FirmwareRollback)) {
        Err(UpdateError::Device(DeviceError::Fault { code: FaultCode::FirmwareOrder })) => {
            return Err(UpdateError::NothingToReturnTo);
        }
        other => other?,
    };
    card.reset_function()?;
    Ok(card.identity().firmware)
}

/// What is in a card's firmware slots.
///
/// Errors: [`UpdateError::Device`].
pub fn firmware_status(card: &mut CardDevice) -> Result<FirmwareStatus, UpdateError> {
    let status =
        FirmwareAsk { reply_capacity: 2 * FIRMWARE_STATUS_BYTES, ..ask(Opcode::FirmwareStatus) };
    let (_, reply) = firmware(card, &status)?;
    let what = "no firmware status";
    FirmwareStatus::decode(&reply)
        .ok_or(UpdateError::Device(DeviceError::BadReply { command: "firmware_status", what }))
}

fn check_fit(card: &CardDevice, header: &FirmwareHeader) -> Result<(), UpdateError> {
    let its = card.identity();
    if its.features & FEATURE_FIRMWARE == 0 {
        return Err(UpdateError::NoUpdates);
    }
    if header.board != its.board {
        return Err(UpdateError::OtherBoard { file: header.board, card: its.board });
    }
    let (least, greatest) = (header.hardware_min, header.hardware_max);
    if !(least..=greatest).contains(&its.hardware) {
        return Err(UpdateError::OtherHardware { least, greatest, card: its.hardware });
    }
    Ok(())
}

/// Brings the body to the card, from where an earlier attempt ended; says where that was.
fn upload(
    card: &mut CardDevice,
    header: &FirmwareHeader,
    body: &[u8],
    policy: UpdatePolicy,
    report: &mut dyn FnMut(UpdateStep),
) -> Result<u64, UpdateError> {
    let of = body.len() as u64;
    let begin = FirmwareAsk {
        argument: of,
        flags: if policy.force { FLAG_ALLOW_OLDER } else { 0 },
        payload: &header.encode(),
        ..ask(Opcode::FirmwareBegin)
    };
    let (mut at, _) = firmware(card, &begin)?;
    let resumed_from = at;
    let mut astray = 0;
    while at < of {
        report(UpdateStep::Upload { done: at, of });
        let rest = usize::try_from(at).ok().and_then(|at| body.get(at..)).unwrap_or_default();
        let piece = rest.get(..card.transfer_max().min(PIECE_BYTES)).unwrap_or(rest);
        let data = FirmwareAsk {
            offset: at,
            argument: u64::from(crc32c(piece)),
            payload: piece,
            ..ask(Opcode::FirmwareData)
        };
        match firmware(card, &data) {
            Ok(_) => at += piece.len() as u64,
            Err(UpdateError::Device(DeviceError::Fault {
                code: FaultCode::FrameDamaged | FaultCode::OffsetUnexpected,
            })) if astray < ASTRAY_MAX => {
                // The card knows best what it has.
                astray += 1;
                at = firmware_status(card)?.staged.min(of);
            }
            Err(error) => return Err(error),
        }
    }
    report(UpdateStep::Upload { done: of, of });
    Ok(resumed_from)
}

/// Whether a card runs what is in a file, in this state.
fn is_running(status: &FirmwareStatus, header: &FirmwareHeader, state: SlotState) -> bool {
    let slot = usize::from(status.running.number());
    status.states.get(slot) == Some(&state) && status.versions.get(slot) == Some(&header.version)
}

fn ask(opcode: Opcode) -> FirmwareAsk<'static> {
    FirmwareAsk::new(opcode)
}

/// Carries out one step: what the completion's argument says, and the reply.
fn firmware(card: &mut CardDevice, ask: &FirmwareAsk<'_>) -> Result<(u64, Vec<u8>), UpdateError> {
    let completion = card.firmware_command(ask)?;
    match completion.header.fault {
        None => Ok((completion.header.argument, completion.reply.to_vec())),
        Some(FaultCode::FirmwareRefused) => {
            let why = FirmwareRefusal::from_number(completion.header.detail);
            Err(UpdateError::Refused { why })
        }
        Some(FaultCode::FirmwareDamaged) => Err(UpdateError::Damaged),
        Some(code) => Err(UpdateError::Device(DeviceError::Fault { code })),
    }
}

struct Words(FirmwareVersion);

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FirmwareVersion { major, minor, patch } = self.0;
        write!(f, "{major}.{minor}.{patch}")
    }
}

struct RefusalWords(FirmwareRefusal);

impl fmt::Display for RefusalWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            FirmwareRefusal::Board => f.write_str("it is for another board"),
            FirmwareRefusal::Hardware => f.write_str("it is for another hardware revision"),
            FirmwareRefusal::Older => f.write_str("it is older than what runs; see --force"),
            FirmwareRefusal::TooLong => f.write_str("it is longer than a slot"),
            FirmwareRefusal::Signature => {
                f.write_str("it is not signed with a key that the card trusts")
            }
            FirmwareRefusal::Header => f.write_str("its header is not one"),
            FirmwareRefusal::Unlisted(number) => {
                write!(f, "for reason {number}, which this program does not know: update it")
            }
        }
    }
}

impl fmt::Display for FileFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(error) => error.fmt(f),
            Self::Length { stated, found } => {
                write!(f, "its header states {stated} bytes, {found} follow")
            }
        }
    }
}
