//! Frames: what byte pipes carry. A header, up to a negotiated number of bytes, a checksum.
//!
//! On serial lines a frame is stuffed ([`crate::cobs`]) with a zero byte before and after it; on
//! USB bulk endpoints one transfer holds one or more frames as they are.

use crate::crc32c::Crc32c;
use crate::fields::{bytes_at, put, u16_at, u32_at};
use core::fmt;

/// The layout version in a frame's first byte.
pub const FRAME_VERSION: u8 = 1;
/// Bytes of a frame's header.
pub const FRAME_HEADER_BYTES: usize = 16;
/// Bytes of the checksum at a frame's end.
pub const FRAME_TRAILER_BYTES: usize = 4;
/// Least negotiable payload of one frame.
pub const MTU_MIN: usize = 64;
/// Most payload that one frame can have.
pub const MTU_MAX: usize = 32_768;
/// Frames in flight at most, in each direction.
pub const WINDOW: u16 = 16;
/// Bytes of a [`Hello`].
pub const HELLO_BYTES: usize = 24;

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FrameKind {
    /// Host to card: begin a connection. Payload: a [`Hello`].
    Hello,
    /// Card to host: the connection is open. Payload: a [`Hello`].
    HelloAck,
    /// The next bytes of the stream.
    Data,
    /// Nothing but what every header says.
    Ack,
    /// The sender knows no such connection; begin a new one.
    Reset,
}

impl FrameKind {
    /// The number that travels.
    pub const fn number(self) -> u8 {
        match self {
            Self::Hello => 1,
            Self::HelloAck => 2,
            Self::Data => 3,
            Self::Ack => 4,
            Self::Reset => 5,
        }
    }

    /// The kind of a number, if there is one.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Hello),
            2 => Some(Self::HelloAck),
            3 => Some(Self::Data),
            4 => Some(Self::Ack),
            5 => Some(Self::Reset),
            _ => None,
        }
    }
}

/// Asks the receiver to answer at once.
pub const FLAG_ANSWER: u8 = 1 << 0;

/// A frame's first 16 bytes.
///
/// Layout, little-endian, by byte position:
///
/// ```text
/// 0 version (u8)   2 seq (u16)    6 sack (u16)    12 len (u16)
/// 1 kind (u8)      4 ack (u16)    8 epoch (u32)   14 credit (u8)   15 flags (u8)
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// What it is for.
    pub kind: FrameKind,
    /// `FLAG_…` bits; unknown ones are ignored.
    pub flags: u8,
    /// Data: its place in the sequence. Others: the place of the next data frame.
    pub seq: u16,
    /// The sender has received every data frame before this one.
    pub ack: u16,
    /// Bit `i`: the sender has also received `ack + 1 + i`.
    pub sack: u16,
    /// The connection: chosen by the host in [`FrameKind::Hello`], by the card in all others.
    pub epoch: u32,
    /// The sender takes data frames before `ack + credit`.
    pub credit: u8,
    /// Bytes of payload.
    pub len: u16,
}

/// The payload of [`FrameKind::Hello`] and [`FrameKind::HelloAck`].
///
/// Layout, little-endian, by byte position; later versions append:
///
/// ```text
/// 0 version min (u16)   4 mtu (u16)   8 epoch (u32)   16 features (u32)
/// 2 version max (u16)   6 zero        12 boot (u32)   20 zero
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Least protocol version the sender speaks; from the card, the one chosen.
    pub version_min: u16,
    /// Greatest protocol version the sender speaks; from the card, the one chosen. The card
    /// answers with its own range where the two do not meet.
    pub version_max: u16,
    /// Most payload bytes the sender takes in one frame.
    pub mtu: u16,
    /// The host's epoch; from the card, the one it answers to.
    pub epoch: u32,
    /// From the card: how often it has started. From the host: 0.
    pub boot: u32,
    /// Features of the pipe; none is defined in this version.
    pub features: u32,
}

/// Why bytes are not a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// Fewer bytes than a frame has, or than its header says.
    Short {
        /// How many there are.
        bytes: usize,
    },
    /// The checksum does not fit.
    Checksum,
    /// The layout is of another version.
    Version(u8),
    /// The kind is not one of this version.
    Kind(u8),
    /// The header says another length.
    Length(u16),
}

impl FrameHeader {
    /// The bytes that travel.
    pub fn encode(&self) -> [u8; FRAME_HEADER_BYTES] {
        let mut out = [0; FRAME_HEADER_BYTES];
        out[0] = FRAME_VERSION;
        out[1] = self.kind.number();
        put(&mut out, 2, &self.seq.to_le_bytes());
        put(&mut out, 4, &self.ack.to_le_bytes());
        put(&mut out, 6, &self.sack.to_le_bytes());
        put(&mut out, 8, &self.epoch.to_le_bytes());
        put(&mut out, 12, &self.len.to_le_bytes());
        out[14] = self.credit;
        out[15] = self.flags;
        out
    }

    /// Reads a header, without its checksum.
    ///
    /// Errors: [`FrameError::Version`], [`FrameError::Kind`].
    pub fn decode(bytes: &[u8; FRAME_HEADER_BYTES]) -> Result<Self, FrameError> {
        if bytes[0] != FRAME_VERSION {
            return Err(FrameError::Version(bytes[0]));
        }
        Ok(Self {
            kind: FrameKind::from_number(bytes[1]).ok_or(FrameError::Kind(bytes[1]))?,
            seq: u16_at(bytes, 2),
            ack: u16_at(bytes, 4),
            sack: u16_at(bytes, 6),
            epoch: u32_at(bytes, 8),
            len: u16_at(bytes, 12),
            credit: bytes[14],
            flags: bytes[15],
        })
    }
}

/// Completes a frame in place: its payload lies behind room for the header, and has room for the
/// checksum behind it. Says how long the frame is; `None` if there is no such room.
pub fn seal(frame: &mut [u8], header: &FrameHeader) -> Option<usize> {
    let end = FRAME_HEADER_BYTES + usize::from(header.len);
    let frame = frame.get_mut(..end + FRAME_TRAILER_BYTES)?;
    put(frame, 0, &header.encode());
    let sum = Crc32c::new().with(frame.get(..end)?).value();
    put(frame, end, &sum.to_le_bytes());
    Some(frame.len())
}

/// Reads the frame at the start of `bytes`: its header and payload. What lies behind it is left
/// alone; its length is the header's, plus header and checksum.
///
/// Errors: [`FrameError`]; the checksum is looked at before the version and kind.
pub fn open(bytes: &[u8]) -> Result<(FrameHeader, &[u8]), FrameError> {
    let short = FrameError::Short { bytes: bytes.len() };
    if bytes.len() < FRAME_HEADER_BYTES + FRAME_TRAILER_BYTES {
        return Err(short);
    }
    let end = FRAME_HEADER_BYTES + usize::from(u16_at(bytes, 12));
    let covered = bytes.get(..end).ok_or(short)?;
    let stated = bytes.get(end..end + FRAME_TRAILER_BYTES).ok_or(short)?;
    if Crc32c::new().with(covered).value() != u32_at(stated, 0) {
        return Err(FrameError::Checksum);
    }
    let header = FrameHeader::decode(&bytes_at(bytes, 0))?;
    Ok((header, covered.get(FRAME_HEADER_BYTES..).unwrap_or_default()))
}

impl Hello {
    /// The bytes that travel.
    pub fn encode(&self) -> [u8; HELLO_BYTES] {
        let mut out = [0; HELLO_BYTES];
        put(&mut out, 0, &self.version_min.to_le_bytes());
        put(&mut out, 2, &self.version_max.to_le_bytes());
        put(&mut out, 4, &self.mtu.to_le_bytes());
        put(&mut out, 8, &self.epoch.to_le_bytes());
        put(&mut out, 12, &self.boot.to_le_bytes());
        put(&mut out, 16, &self.features.to_le_bytes());
        out
    }

    /// Reads a hello; bytes behind it are ignored. `None` if it is short.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        (bytes.len() >= HELLO_BYTES).then(|| Self {
            version_min: u16_at(bytes, 0),
            version_max: u16_at(bytes, 2),
            mtu: u16_at(bytes, 4),
            epoch: u32_at(bytes, 8),
            boot: u32_at(bytes, 12),
            features: u32_at(bytes, 16),
        })
    }
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short { bytes } => write!(f, "a frame ends after {bytes} bytes"),
            Self::Checksum => write!(f, "a frame's checksum does not fit"),
            Self::Version(version) => write!(
                f,
                "a frame of version {version}, this end speaks version {FRAME_VERSION}: update \
                 the driver or the firmware"
            ),
            Self::Kind(kind) => write!(f, "a frame of unknown kind {kind}"),
            Self::Length(len) => write!(f, "a frame's header says {len} bytes, others came"),
        }
    }
}

impl core::error::Error for FrameError {}
