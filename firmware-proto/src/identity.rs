//! The identity block: what a card says about itself, what it can do, and what was agreed on.
//!
//! It is a [`CapabilityBlock`] and behind it tagged values: tag (u16), length (u16), that many
//! bytes, zeros up to a multiple of four. Tag 0 or the end of the bytes ends them. Unknown tags are
//! skipped, but those with the highest bit set must be understood.

use crate::capability::{BLOCK_BYTES, CapabilityBlock, MalformedBlock};
use crate::fields::{put, u16_at, u32_at, u64_at};
use crate::firmware::FirmwareVersion;
use core::fmt;

/// Bytes of an [`IdentifyRequest`].
pub const IDENTIFY_REQUEST_BYTES: usize = 16;
/// Most bytes of a card's serial text.
pub const SERIAL_BYTES_MAX: usize = 64;
/// Most bytes of an identity block that this version writes.
pub const IDENTITY_BYTES: usize = BLOCK_BYTES + 116 + 4 + SERIAL_BYTES_MAX;

/// The tag bit of values that a reader must understand.
const MUST_UNDERSTAND: u16 = 1 << 15;

/// A run can return its energy ledger.
pub const FEATURE_ENERGY: u64 = 1 << 0;
/// Firmware can be updated over the link.
pub const FEATURE_FIRMWARE: u64 = 1 << 1;
/// [`crate::Opcode::Query`] is answered.
pub const FEATURE_QUERY: u64 = 1 << 2;

/// The payload of [`crate::Opcode::Identify`].
///
/// Layout, little-endian: 0 version min (u16), 2 version max (u16), 4 zero, 8 features (u64).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdentifyRequest {
    /// Least protocol version the host speaks.
    pub version_min: u16,
    /// Greatest protocol version the host speaks.
    pub version_max: u16,
    /// Features the host wants; the card accepts those of them that it offers.
    pub features: u64,
}

/// What a card says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity<'a> {
    /// The chip.
    pub capability: CapabilityBlock,
    /// Least protocol version the card speaks.
    pub version_min: u16,
    /// Greatest protocol version the card speaks.
    pub version_max: u16,
    /// The version agreed on; 0 in the register window.
    pub version: u16,
    /// `FEATURE_…` bits the card offers.
    pub features_offered: u64,
    /// Those of them that the session has; 0 in the register window.
    pub features_accepted: u64,
    /// Most bytes of one payload.
    pub payload_max: u64,
    /// Most bytes of one reply.
    pub reply_max: u64,
    /// Most commands in flight.
    pub in_flight_max: u32,
    /// Most images at one time.
    pub images_max: u32,
    /// Most bytes of all images together.
    pub image_bytes_max: u64,
    /// How often the card has started; images and sessions are gone when it rises.
    pub boot: u32,
    /// The chip instance.
    pub serial: &'a str,
    /// The firmware that runs.
    pub firmware: FirmwareVersion,
    /// The kind of board, for firmware.
    pub board: u32,
    /// The board's hardware revision.
    pub hardware: u16,
    /// Whether no chip is behind it.
    pub simulated: bool,
}

/// Why bytes are not an identity block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MalformedIdentity {
    /// Its first part is no capability block.
    Capability(MalformedBlock),
    /// The value of a tag is cut off, or shorter than the tag's meaning.
    Short {
        /// Which tag.
        tag: u16,
        /// Bytes it has.
        bytes: usize,
    },
    /// A value without which nothing works is not there.
    Missing {
        /// Its tag.
        tag: u16,
    },
    /// A value that must be understood is not.
    NotUnderstood {
        /// Its tag.
        tag: u16,
    },
    /// The serial text is not 1 to 64 bytes of UTF-8 without control characters.
    Serial,
}

impl IdentifyRequest {
    /// The bytes that travel.
    pub fn encode(&self) -> [u8; IDENTIFY_REQUEST_BYTES] {
        let mut out = [0; IDENTIFY_REQUEST_BYTES];
        put(&mut out, 0, &self.version_min.to_le_bytes());
        put(&mut out, 2, &self.version_max.to_le_bytes());
        put(&mut out, 8, &self.features.to_le_bytes());
        out
    }

    /// Reads a request; bytes behind it are ignored. `None` if it is short.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        (bytes.len() >= IDENTIFY_REQUEST_BYTES).then(|| Self {
            version_min: u16_at(bytes, 0),
            version_max: u16_at(bytes, 2),
            features: u64_at(bytes, 8),
        })
    }

    /// The version for a card that speaks `min..=max`: the greatest that both speak.
    pub fn agree(&self, min: u16, max: u16) -> Option<u16> {
        let greatest = self.version_max.min(max);
        (greatest >= self.version_min.max(min)).then_some(greatest)
    }
}

const VERSIONS: u16 = 1;
const FEATURES: u16 = 2;
const PAYLOAD_MAX: u16 = 3;
const REPLY_MAX: u16 = 4;
const IN_FLIGHT_MAX: u16 = 5;
const IMAGES_MAX: u16 = 6;
const IMAGE_BYTES_MAX: u16 = 7;
const BOOT: u16 = 8;
const SERIAL: u16 = 9;
const FIRMWARE: u16 = 10;
const BOARD: u16 = 11;
const SIMULATED: u16 = 12;

impl<'a> Identity<'a> {
    /// Writes the block and says how long it is; `None` if `out` is shorter, or the serial text
    /// longer than [`SERIAL_BYTES_MAX`].
    pub fn encode(&self, out: &mut [u8]) -> Option<usize> {
        if self.serial.len() > SERIAL_BYTES_MAX {
            return None;
        }
        out.get_mut(..BLOCK_BYTES)?.copy_from_slice(&self.capability.encode());
        let mut writer = Writer { out, at: BLOCK_BYTES };
        let mut versions = [0; 8];
        put(&mut versions, 0, &self.version_min.to_le_bytes());
        put(&mut versions, 2, &self.version_max.to_le_bytes());
        put(&mut versions, 4, &self.version.to_le_bytes());
        writer.put(VERSIONS, &versions)?;
        let mut features = [0; 16];
        put(&mut features, 0, &self.features_offered.to_le_bytes());
        put(&mut features, 8, &self.features_accepted.to_le_bytes());
        writer.put(FEATURES, &features)?;
        writer.put(PAYLOAD_MAX, &self.payload_max.to_le_bytes())?;
        writer.put(REPLY_MAX, &self.reply_max.to_le_bytes())?;
        writer.put(IN_FLIGHT_MAX, &self.in_flight_max.to_le_bytes())?;
        writer.put(IMAGES_MAX, &self.images_max.to_le_bytes())?;
        writer.put(IMAGE_BYTES_MAX, &self.image_bytes_max.to_le_bytes())?;
        writer.put(BOOT, &self.boot.to_le_bytes())?;
        writer.put(SERIAL, self.serial.as_bytes())?;
        writer.put(FIRMWARE, &self.firmware.encode())?;
        let mut board = [0; 8];
        put(&mut board, 0, &self.board.to_le_bytes());
        put(&mut board, 4, &self.hardware.to_le_bytes());
        writer.put(BOARD, &board)?;
        writer.put(SIMULATED, &u32::from(self.simulated).to_le_bytes())?;
        Some(writer.at)
    }

    /// Reads a block.
    ///
    /// Errors: [`MalformedIdentity`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, MalformedIdentity> {
        let capability = CapabilityBlock::parse(bytes).map_err(MalformedIdentity::Capability)?;
        let tags = Tags { rest: bytes.get(BLOCK_BYTES..).unwrap_or_default() };
        for tag in tags.clone() {
            let (tag, _) = tag?;
            if tag & MUST_UNDERSTAND != 0 {
                return Err(MalformedIdentity::NotUnderstood { tag });
            }
        }
        let find = |tag, least: usize| match tags.clone().flatten().find(|(found, _)| *found == tag)
        {
            None => Err(MalformedIdentity::Missing { tag }),
            Some((_, value)) if value.len() < least => {
                Err(MalformedIdentity::Short { tag, bytes: value.len() })
            }
            Some((_, value)) => Ok(value),
        };
        let (versions, features) = (find(VERSIONS, 6)?, find(FEATURES, 16)?);
        let board = find(BOARD, 6)?;
        let serial = core::str::from_utf8(find(SERIAL, 1)?)
            .ok()
            .filter(|text| text.len() <= SERIAL_BYTES_MAX && !text.chars().any(char::is_control))
            .ok_or(MalformedIdentity::Serial)?;
        Ok(Self {
            capability,
            version_min: u16_at(versions, 0),
            version_max: u16_at(versions, 2),
            version: u16_at(versions, 4),
            features_offered: u64_at(features, 0),
            features_accepted: u64_at(features, 8),
            payload_max: u64_at(find(PAYLOAD_MAX, 8)?, 0),
            reply_max: u64_at(find(REPLY_MAX, 8)?, 0),
            in_flight_max: u32_at(find(IN_FLIGHT_MAX, 4)?, 0),
            images_max: u32_at(find(IMAGES_MAX, 4)?, 0),
            image_bytes_max: u64_at(find(IMAGE_BYTES_MAX, 8)?, 0),
            boot: u32_at(find(BOOT, 4)?, 0),
            serial,
            firmware: FirmwareVersion::decode(find(FIRMWARE, 8)?),
            board: u32_at(board, 0),
            hardware: u16_at(board, 4),
            // A card that does not say is a real one.
            simulated: find(SIMULATED, 4).is_ok_and(|value| u32_at(value, 0) != 0),
        })
    }
}

struct Writer<'a> {
    out: &'a mut [u8],
    at: usize,
}

impl Writer<'_> {
    fn put(&mut self, tag: u16, value: &[u8]) -> Option<()> {
        let padded = value.len().next_multiple_of(4);
        let target = self.out.get_mut(self.at..self.at + 4 + padded)?;
        target.fill(0);
        put(target, 0, &tag.to_le_bytes());
        put(target, 2, &u16::try_from(value.len()).ok()?.to_le_bytes());
        put(target, 4, value);
        self.at += 4 + padded;
        Some(())
    }
}

/// The tagged values, one after the other; the first offence ends them.
#[derive(Clone)]
struct Tags<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Tags<'a> {
    type Item = Result<(u16, &'a [u8]), MalformedIdentity>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = core::mem::take(&mut self.rest);
        if rest.len() < 4 || u16_at(rest, 0) == 0 {
            return None;
        }
        let (tag, len) = (u16_at(rest, 0), usize::from(u16_at(rest, 2)));
        let Some(value) = rest.get(4..4 + len) else {
            return Some(Err(MalformedIdentity::Short { tag, bytes: rest.len() - 4 }));
        };
        self.rest = rest.get(4 + len.next_multiple_of(4)..).unwrap_or_default();
        Some(Ok((tag, value)))
    }
}

impl fmt::Display for MalformedIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Capability(error) => error.fmt(f),
            Self::Short { tag, bytes } => {
                write!(f, "identity value {tag} ends after {bytes} bytes: read again")
            }
            Self::Missing { tag } => {
                write!(f, "the identity lacks value {tag}: update the firmware")
            }
            Self::NotUnderstood { tag } => {
                write!(f, "identity value {tag:#06x} must be understood: update the driver")
            }
            Self::Serial => write!(f, "the card's serial text is not 1 to 64 bytes of plain UTF-8"),
        }
    }
}

impl core::error::Error for MalformedIdentity {}
