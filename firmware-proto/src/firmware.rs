//! Firmware images: the header in front of one, and what a card says about its two slots.

use crate::crc32c::crc32c;
use crate::fields::{bytes_at, put, u16_at, u32_at, u64_at};
use crate::update::{Slot, SlotState};
use core::fmt;

/// The layout version of a [`FirmwareHeader`].
pub const FIRMWARE_LAYOUT: u16 = 1;
/// Bytes of a [`FirmwareHeader`].
pub const FIRMWARE_HEADER_BYTES: usize = 256;
/// Bytes of a [`FirmwareStatus`].
pub const FIRMWARE_STATUS_BYTES: usize = 64;
/// Bytes that a signature covers: everything before it.
pub const SIGNED_BYTES: usize = 72;
/// Bytes of a signature.
pub const SIGNATURE_BYTES: usize = 64;
/// Most bytes of a header's label.
pub const LABEL_BYTES: usize = 32;

const MAGIC: [u8; 4] = *b"LCFW";
const CHECKSUM_AT: usize = 252;

/// A firmware version. Later ones are greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct FirmwareVersion {
    /// Changes that need a new driver.
    pub major: u16,
    /// Additions.
    pub minor: u16,
    /// Corrections.
    pub patch: u32,
}

/// How a firmware image is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SignatureScheme {
    /// Not at all.
    None,
    /// Ed25519 (RFC 8032) over the header's first [`SIGNED_BYTES`], which hold the digest.
    Ed25519,
    /// A number this version does not know.
    Unlisted(u16),
}

/// The first bytes of a firmware file; the body follows.
///
/// Layout, little-endian, by byte position; the rest is zero:
///
/// ```text
///  0 magic "LCFW"     12 hardware min (u16)   24 body length (u64)   66 key (u16)
///  4 layout (u16)     14 hardware max (u16)   32 SHA-256 of body     72 signature (64)
///  6 length (u16)     16 version              64 scheme (u16)       136 label (32, UTF-8)
///  8 board (u32)         (u16, u16, u32)                            252 CRC-32C of 0..252
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirmwareHeader {
    /// The kind of board it is for.
    pub board: u32,
    /// Least hardware revision it runs on.
    pub hardware_min: u16,
    /// Greatest hardware revision it runs on.
    pub hardware_max: u16,
    /// Its version.
    pub version: FirmwareVersion,
    /// Bytes of the body.
    pub body_len: u64,
    /// SHA-256 of the body.
    pub digest: [u8; 32],
    /// How it is signed.
    pub scheme: SignatureScheme,
    /// Which key signed it.
    pub key: u16,
    /// The signature; zeros where there is none.
    pub signature: [u8; SIGNATURE_BYTES],
    /// What people call it: UTF-8, zero padded.
    pub label: [u8; LABEL_BYTES],
}

/// Why bytes are not a firmware header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MalformedFirmware {
    /// There are fewer bytes than a header has.
    Short {
        /// How many there are.
        bytes: usize,
    },
    /// The first four bytes are not the magic.
    Magic([u8; 4]),
    /// The layout is of another version.
    Layout(u16),
    /// The header says it has another length than its layout has.
    Length(u16),
    /// The checksum does not fit.
    Checksum,
}

/// Why a card does not take a firmware image: the `detail` of
/// [`crate::FaultCode::FirmwareRefused`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FirmwareRefusal {
    /// It is for another kind of board.
    Board,
    /// It is for other hardware revisions.
    Hardware,
    /// It is older than what runs.
    Older,
    /// It is longer than a slot.
    TooLong,
    /// The signature is missing, of an unknown scheme or key, or wrong.
    Signature,
    /// The header is not one.
    Header,
    /// A number this version does not know.
    Unlisted(u32),
}

/// What a card says about its slots.
///
/// Layout, little-endian, by byte position:
///
/// ```text
/// 0 length (u16)   5 next slot (u8)      8 staged bytes (u64)         24 version of A (8)
/// 2 layout (u16)   6 state of A (u8)    16 time left of trial (u64,   32 version of B (8)
/// 4 running (u8)   7 state of B (u8)       ns)                        40 boot (u32), then zero
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirmwareStatus {
    /// The slot that runs.
    pub running: Slot,
    /// The slot that will run after the next restart.
    pub next: Slot,
    /// What is in slots A and B.
    pub states: [SlotState; 2],
    /// Bytes uploaded so far.
    pub staged: u64,
    /// Time left to confirm a trial; 0 where none is on.
    pub trial_left_ns: u64,
    /// The versions in slots A and B; zeros where there is none.
    pub versions: [FirmwareVersion; 2],
    /// How often the card has started.
    pub boot: u32,
}

impl FirmwareVersion {
    /// A version.
    pub const fn new(major: u16, minor: u16, patch: u32) -> Self {
        Self { major, minor, patch }
    }

    /// Eight bytes: major, minor (u16), patch (u32).
    pub fn encode(self) -> [u8; 8] {
        let mut out = [0; 8];
        put(&mut out, 0, &self.major.to_le_bytes());
        put(&mut out, 2, &self.minor.to_le_bytes());
        put(&mut out, 4, &self.patch.to_le_bytes());
        out
    }

    /// Reads eight bytes; missing ones are zero.
    pub fn decode(bytes: &[u8]) -> Self {
        Self { major: u16_at(bytes, 0), minor: u16_at(bytes, 2), patch: u32_at(bytes, 4) }
    }
}

impl SignatureScheme {
    /// The number that travels.
    pub const fn number(self) -> u16 {
        match self {
            Self::None => 0,
            Self::Ed25519 => 1,
            Self::Unlisted(number) => number,
        }
    }

    /// The scheme of a number; unknown numbers are kept.
    pub const fn from_number(number: u16) -> Self {
        match number {
            0 => Self::None,
            1 => Self::Ed25519,
            other => Self::Unlisted(other),
        }
    }
}

impl FirmwareRefusal {
    /// The number that travels.
    pub const fn number(self) -> u32 {
        match self {
            Self::Board => 1,
            Self::Hardware => 2,
            Self::Older => 3,
            Self::TooLong => 4,
            Self::Signature => 5,
            Self::Header => 6,
            Self::Unlisted(number) => number,
        }
    }

    /// The reason of a number; unknown numbers are kept.
    pub const fn from_number(number: u32) -> Self {
        match number {
            1 => Self::Board,
            2 => Self::Hardware,
            3 => Self::Older,
            4 => Self::TooLong,
            5 => Self::Signature,
            6 => Self::Header,
            other => Self::Unlisted(other),
        }
    }
}

impl FirmwareHeader {
    /// The bytes that travel.
    pub fn encode(&self) -> [u8; FIRMWARE_HEADER_BYTES] {
        let mut out = [0; FIRMWARE_HEADER_BYTES];
        put(&mut out, 0, &MAGIC);
        put(&mut out, 4, &FIRMWARE_LAYOUT.to_le_bytes());
        #[expect(clippy::cast_possible_truncation, reason = "256")]
        put(&mut out, 6, &(FIRMWARE_HEADER_BYTES as u16).to_le_bytes());
        put(&mut out, 8, &self.board.to_le_bytes());
        put(&mut out, 12, &self.hardware_min.to_le_bytes());
        put(&mut out, 14, &self.hardware_max.to_le_bytes());
        put(&mut out, 16, &self.version.encode());
        put(&mut out, 24, &self.body_len.to_le_bytes());
        put(&mut out, 32, &self.digest);
        put(&mut out, 64, &self.scheme.number().to_le_bytes());
        put(&mut out, 66, &self.key.to_le_bytes());
        put(&mut out, SIGNED_BYTES, &self.signature);
        put(&mut out, 136, &self.label);
        let sum = crc32c(&bytes_at::<CHECKSUM_AT>(&out, 0));
        put(&mut out, CHECKSUM_AT, &sum.to_le_bytes());
        out
    }

    /// Reads a header; bytes behind it are left alone.
    ///
    /// Errors: [`MalformedFirmware`], the first in byte order.
    pub fn parse(bytes: &[u8]) -> Result<Self, MalformedFirmware> {
        let short = MalformedFirmware::Short { bytes: bytes.len() };
        let header: &[u8; FIRMWARE_HEADER_BYTES] = bytes.first_chunk().ok_or(short)?;
        if bytes_at(header, 0) != MAGIC {
            return Err(MalformedFirmware::Magic(bytes_at(header, 0)));
        }
        if u16_at(header, 4) != FIRMWARE_LAYOUT {
            return Err(MalformedFirmware::Layout(u16_at(header, 4)));
        }
        if usize::from(u16_at(header, 6)) != FIRMWARE_HEADER_BYTES {
            return Err(MalformedFirmware::Length(u16_at(header, 6)));
        }
        if crc32c(&bytes_at::<CHECKSUM_AT>(header, 0)) != u32_at(header, CHECKSUM_AT) {
            return Err(MalformedFirmware::Checksum);
        }
        Ok(Self {
            board: u32_at(header, 8),
            hardware_min: u16_at(header, 12),
            hardware_max: u16_at(header, 14),
            version: FirmwareVersion::decode(&bytes_at::<8>(header, 16)),
            body_len: u64_at(header, 24),
            digest: bytes_at(header, 32),
            scheme: SignatureScheme::from_number(u16_at(header, 64)),
            key: u16_at(header, 66),
            signature: bytes_at(header, SIGNED_BYTES),
            label: bytes_at(header, 136),
        })
    }

    /// The label as text, up to its first zero; empty if it is not UTF-8.
    pub fn label(&self) -> &str {
        let len = self.label.iter().position(|byte| *byte == 0).unwrap_or(LABEL_BYTES);
        core::str::from_utf8(self.label.get(..len).unwrap_or_default()).unwrap_or_default()
    }
}

impl FirmwareStatus {
    /// The bytes that travel.
    pub fn encode(&self) -> [u8; FIRMWARE_STATUS_BYTES] {
        let mut out = [0; FIRMWARE_STATUS_BYTES];
        #[expect(clippy::cast_possible_truncation, reason = "64")]
        put(&mut out, 0, &(FIRMWARE_STATUS_BYTES as u16).to_le_bytes());
        put(&mut out, 2, &1_u16.to_le_bytes());
        let [a, b] = self.states;
        put(&mut out, 4, &[self.running.number(), self.next.number(), a.number(), b.number()]);
        put(&mut out, 8, &self.staged.to_le_bytes());
        put(&mut out, 16, &self.trial_left_ns.to_le_bytes());
        let [a, b] = self.versions;
        put(&mut out, 24, &a.encode());
        put(&mut out, 32, &b.encode());
        put(&mut out, 40, &self.boot.to_le_bytes());
        out
    }

    /// Reads a record; `None` if it is short or names a slot or state there is not.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() < FIRMWARE_STATUS_BYTES
            || usize::from(u16_at(bytes, 0)) < FIRMWARE_STATUS_BYTES
        {
            return None;
        }
        let [running, next, a, b] = bytes_at(bytes, 4);
        Some(Self {
            running: Slot::from_number(running)?,
            next: Slot::from_number(next)?,
            states: [SlotState::from_number(a)?, SlotState::from_number(b)?],
            staged: u64_at(bytes, 8),
            trial_left_ns: u64_at(bytes, 16),
            versions: [
                FirmwareVersion::decode(&bytes_at::<8>(bytes, 24)),
                FirmwareVersion::decode(&bytes_at::<8>(bytes, 32)),
            ],
            boot: u32_at(bytes, 40),
        })
    }
}

impl fmt::Display for FirmwareVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl fmt::Display for FirmwareRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Board => write!(f, "it is for another kind of board"),
            Self::Hardware => write!(f, "it is for other hardware revisions"),
            Self::Older => write!(f, "it is older than what runs: allow older versions to go back"),
            Self::TooLong => write!(f, "it is longer than a slot of the card"),
            Self::Signature => write!(f, "its signature does not satisfy the card"),
            Self::Header => write!(f, "its header is not a firmware header"),
            Self::Unlisted(number) => {
                write!(f, "a reason this driver does not know ({number}): update the driver")
            }
        }
    }
}

impl fmt::Display for MalformedFirmware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short { bytes } => {
                write!(f, "a firmware header has {FIRMWARE_HEADER_BYTES} bytes, {bytes} are there")
            }
            Self::Magic(found) => {
                write!(f, "starts with {found:02x?} and not with a firmware header: wrong file?")
            }
            Self::Layout(layout) => {
                write!(f, "firmware header of layout {layout}, this end reads {FIRMWARE_LAYOUT}")
            }
            Self::Length(length) => write!(f, "the firmware header says it has {length} bytes"),
            Self::Checksum => {
                write!(f, "the firmware header's checksum does not fit: get the file again")
            }
        }
    }
}

impl core::error::Error for MalformedFirmware {}
