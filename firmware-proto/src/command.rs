//! What a host asks of a card, and how the card answers: the same 64 bytes on every link.

use crate::FaultCode;
use crate::crc32c::crc32c;
use crate::fields::{bytes_at, put, u16_at, u32_at, u64_at};
use crate::listed::{number_of, value_of};
use core::fmt;

/// Bytes of a [`CommandHeader`] and of a [`CompletionHeader`].
pub const HEADER_BYTES: usize = 64;

/// The bytes a header's checksum covers: all before the ring word.
const COVERED: usize = 56;
const RING_WORD_AT: usize = 56;
const CHECKSUM_AT: usize = 60;

/// What a card is asked to do. The number is what travels.
///
/// **Invariant:** values come from [`Opcode::from_number`], so [`Opcode::Unlisted`] never holds a
/// listed number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Opcode {
    /// Says what the card is, and opens a session. Payload: an
    /// [`crate::identity::IdentifyRequest`]. Reply: an identity block.
    Identify,
    /// Reply: a [`crate::telemetry::TelemetryRecord`].
    Telemetry,
    /// Light off, weight banks cleared; images stay.
    Park,
    /// Reply: the payload, unchanged.
    Loopback,
    /// What became of the cookie in `argument`. Completion: `detail` is a [`CookieState`] number;
    /// reply: the 64 bytes of the completion, where there is one.
    Query,
    /// Puts the card back: `argument` is a [`ResetDepth`] number.
    Reset,
    /// Starts an upload of `argument` bytes; the completion's `image` names it.
    ImageBegin,
    /// The upload's bytes from `offset` on; completion: `argument` is the next offset.
    ImageData,
    /// Ends the upload; `argument` is the CRC-32C of the whole image. The card verifies it.
    ImageCommit,
    /// Forgets `image`, or an upload.
    ImageDrop,
    /// Runs `image` on `argument` symbols. Payload and reply: [`crate::payload`].
    Run,
    /// Starts or resumes a firmware upload of `argument` bytes. Payload: the firmware header.
    /// Completion: `argument` is the offset to go on from.
    FirmwareBegin,
    /// Firmware bytes from `offset` on; `argument` is their CRC-32C.
    FirmwareData,
    /// Checks length, digest and signature of what was uploaded.
    FirmwareVerify,
    /// The next restart tries the verified slot once.
    FirmwareActivate,
    /// Keeps the firmware that is on trial.
    FirmwareConfirm,
    /// Returns to the other slot at the next restart.
    FirmwareRollback,
    /// Reply: a [`crate::firmware::FirmwareStatus`].
    FirmwareStatus,
    /// A number this version does not know.
    Unlisted(u16),
}

impl Opcode {
    /// Every listed opcode with its number, ascending.
    pub const LISTED: [(Self, u16); 18] = [
        (Self::Identify, 0x0001),
        (Self::Telemetry, 0x0002),
        (Self::Park, 0x0003),
        (Self::Loopback, 0x0004),
        (Self::Query, 0x0005),
        (Self::Reset, 0x0006),
        (Self::ImageBegin, 0x0010),
        (Self::ImageData, 0x0011),
        (Self::ImageCommit, 0x0012),
        (Self::ImageDrop, 0x0013),
        (Self::Run, 0x0014),
        (Self::FirmwareBegin, 0x0020),
        (Self::FirmwareData, 0x0021),
        (Self::FirmwareVerify, 0x0022),
        (Self::FirmwareActivate, 0x0023),
        (Self::FirmwareConfirm, 0x0024),
        (Self::FirmwareRollback, 0x0025),
        (Self::FirmwareStatus, 0x0026),
    ];

    /// The number that travels.
    pub fn number(self) -> u16 {
        match self {
            Self::Unlisted(number) => number,
            listed => number_of(&Self::LISTED, &listed),
        }
    }

    /// The opcode of a number; unknown numbers are kept.
    pub fn from_number(number: u16) -> Self {
        value_of(&Self::LISTED, number).unwrap_or(Self::Unlisted(number))
    }

    /// Its name in traces and fault plans.
    pub fn name(self) -> &'static str {
        match self {
            Self::Identify => "identify",
            Self::Telemetry => "telemetry",
            Self::Park => "park",
            Self::Loopback => "loopback",
            Self::Query => "query",
            Self::Reset => "reset",
            Self::ImageBegin => "image_begin",
            Self::ImageData => "image_data",
            Self::ImageCommit => "image_commit",
            Self::ImageDrop => "image_drop",
            Self::Run => "run",
            Self::FirmwareBegin => "firmware_begin",
            Self::FirmwareData => "firmware_data",
            Self::FirmwareVerify => "firmware_verify",
            Self::FirmwareActivate => "firmware_activate",
            Self::FirmwareConfirm => "firmware_confirm",
            Self::FirmwareRollback => "firmware_rollback",
            Self::FirmwareStatus => "firmware_status",
            Self::Unlisted(_) => "unlisted",
        }
    }
}

/// The name of one command: a session and a number that ascends from 1 within it.
///
/// A card carries each cookie out at most once. Sent again, it is answered from memory; once
/// forgotten, it is refused with [`FaultCode::CookieStale`] and not carried out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cookie(pub u64);

impl Cookie {
    /// Joins a session and a sequence number.
    pub const fn new(session: u32, sequence: u32) -> Self {
        Self((session as u64) << 32 | sequence as u64)
    }

    /// The session: the upper half. Session 0 is never opened.
    pub const fn session(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The number within the session: the lower half.
    #[expect(clippy::cast_possible_truncation, reason = "the lower half is what is asked for")]
    pub const fn sequence(self) -> u32 {
        self.0 as u32
    }
}

/// What [`Opcode::Query`] can find out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CookieState {
    /// Never seen: it was not carried out, and may be sent.
    Unknown,
    /// Carried out or refused; the reply to the query holds its completion.
    Finished,
    /// Too long ago: whether it was carried out is not known.
    Forgotten,
}

impl CookieState {
    /// The number in a completion's `detail`.
    pub const fn number(self) -> u32 {
        match self {
            Self::Unknown => 0,
            Self::Finished => 1,
            Self::Forgotten => 2,
        }
    }

    /// The state of a number, if there is one.
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            0 => Some(Self::Unknown),
            1 => Some(Self::Finished),
            2 => Some(Self::Forgotten),
            _ => None,
        }
    }
}

/// How much [`Opcode::Reset`] puts back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ResetDepth {
    /// Uploads that are under way are dropped. Images, session and cookies stay.
    Queue,
    /// The card restarts: images, uploads, session and cookies are gone, the boot count rises.
    Function,
}

impl ResetDepth {
    /// The number in a command's `argument`.
    pub const fn number(self) -> u64 {
        match self {
            Self::Queue => 1,
            Self::Function => 2,
        }
    }

    /// The depth of a number, if there is one.
    pub const fn from_number(number: u64) -> Option<Self> {
        match number {
            1 => Some(Self::Queue),
            2 => Some(Self::Function),
            _ => None,
        }
    }
}

/// [`Opcode::Identify`]: open the session of the cookie, forgetting the one before.
pub const FLAG_OPEN_SESSION: u16 = 1 << 0;
/// [`Opcode::Run`]: append the energy ledger to the reply.
pub const FLAG_ENERGY: u16 = 1 << 1;
/// [`Opcode::FirmwareBegin`]: take an older version too.
pub const FLAG_ALLOW_OLDER: u16 = 1 << 2;
/// Flag of [`Opcode::Identify`]: drop all images and uploads, whoever they belong to.
pub const FLAG_DROP_IMAGES: u16 = 1 << 3;
/// In a completion: answered from memory, not carried out again.
pub const FLAG_REPEATED: u16 = 1 << 15;

/// A command, without its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandHeader {
    /// Its name.
    pub cookie: Cookie,
    /// What to do.
    pub opcode: Opcode,
    /// `FLAG_…` bits; the card refuses those it does not know.
    pub flags: u16,
    /// The image or upload it concerns, else 0.
    pub image: u64,
    /// First byte of the payload within an upload, else 0.
    pub offset: u64,
    /// Bytes of payload.
    pub payload_len: u64,
    /// Most bytes of reply that the host takes.
    pub reply_capacity: u64,
    /// See the opcode.
    pub argument: u64,
}

/// A card's answer to one command, without its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompletionHeader {
    /// The command's name.
    pub cookie: Cookie,
    /// `None`: carried out; else why not.
    pub fault: Option<FaultCode>,
    /// `FLAG_…` bits.
    pub flags: u16,
    /// More about the outcome; see the opcode and the fault.
    pub detail: u32,
    /// The image or upload, as in the command or newly named.
    pub image: u64,
    /// Bytes of reply.
    pub reply_len: u64,
    /// Cycles of a run, else 0.
    pub cycles: u64,
    /// See the opcode and the fault.
    pub argument: u64,
}

/// Why 64 bytes are not a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// The checksum does not fit: the bytes were damaged, or the reader lost its place.
    Checksum {
        /// What the bytes say.
        stated: u32,
        /// What they add up to.
        computed: u32,
    },
}

impl CommandHeader {
    /// A command without payload, reply or operands.
    pub const fn new(cookie: Cookie, opcode: Opcode) -> Self {
        Self {
            cookie,
            opcode,
            flags: 0,
            image: 0,
            offset: 0,
            payload_len: 0,
            reply_capacity: 0,
            argument: 0,
        }
    }

    /// The bytes that travel; the layout is in `docs/protocol.md`.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        put(&mut out, 0, &self.cookie.0.to_le_bytes());
        put(&mut out, 8, &self.opcode.number().to_le_bytes());
        put(&mut out, 10, &self.flags.to_le_bytes());
        put(&mut out, 16, &self.image.to_le_bytes());
        put(&mut out, 24, &self.offset.to_le_bytes());
        put(&mut out, 32, &self.payload_len.to_le_bytes());
        put(&mut out, 40, &self.reply_capacity.to_le_bytes());
        put(&mut out, 48, &self.argument.to_le_bytes());
        seal(&mut out);
        out
    }

    /// Reads a header. Bytes that are zero in this version are ignored.
    ///
    /// Errors: [`HeaderError`].
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, HeaderError> {
        check(bytes)?;
        Ok(Self {
            cookie: Cookie(u64_at(bytes, 0)),
            opcode: Opcode::from_number(u16_at(bytes, 8)),
            flags: u16_at(bytes, 10),
            image: u64_at(bytes, 16),
            offset: u64_at(bytes, 24),
            payload_len: u64_at(bytes, 32),
            reply_capacity: u64_at(bytes, 40),
            argument: u64_at(bytes, 48),
        })
    }
}

impl CompletionHeader {
    /// Success, with nothing more to say.
    pub const fn done(command: &CommandHeader) -> Self {
        Self {
            cookie: command.cookie,
            fault: None,
            flags: 0,
            detail: 0,
            image: command.image,
            reply_len: 0,
            cycles: 0,
            argument: 0,
        }
    }

    /// A refusal.
    pub const fn refused(command: &CommandHeader, fault: FaultCode) -> Self {
        Self { fault: Some(fault), ..Self::done(command) }
    }

    /// The bytes that travel, with the ring word zero; the layout is in `docs/protocol.md`.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        put(&mut out, 0, &self.cookie.0.to_le_bytes());
        put(&mut out, 8, &self.fault.map_or(0, FaultCode::number).to_le_bytes());
        put(&mut out, 10, &self.flags.to_le_bytes());
        put(&mut out, 12, &self.detail.to_le_bytes());
        put(&mut out, 16, &self.image.to_le_bytes());
        put(&mut out, 24, &self.reply_len.to_le_bytes());
        put(&mut out, 32, &self.cycles.to_le_bytes());
        put(&mut out, 40, &self.argument.to_le_bytes());
        seal(&mut out);
        out
    }

    /// Reads a header. The ring word, and bytes that are zero in this version, are ignored.
    ///
    /// Errors: [`HeaderError`].
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, HeaderError> {
        check(bytes)?;
        let status = u16_at(bytes, 8);
        Ok(Self {
            cookie: Cookie(u64_at(bytes, 0)),
            fault: (status != 0).then(|| FaultCode::from_number(status)),
            flags: u16_at(bytes, 10),
            detail: u32_at(bytes, 12),
            image: u64_at(bytes, 16),
            reply_len: u64_at(bytes, 24),
            cycles: u64_at(bytes, 32),
            argument: u64_at(bytes, 40),
        })
    }
}

/// The last eight bytes of an encoded header as they go into a ring: the ring word and the
/// checksum. See [`crate::ring`].
pub(crate) fn ring_tail(bytes: &[u8; HEADER_BYTES], word: u32) -> u64 {
    u64::from(word) | u64::from(u32_at(bytes, CHECKSUM_AT)) << 32
}

/// The ring word of an entry.
pub(crate) fn ring_word(bytes: &[u8; HEADER_BYTES]) -> u32 {
    u32_at(bytes, RING_WORD_AT)
}

fn seal(bytes: &mut [u8; HEADER_BYTES]) {
    let sum = crc32c(&bytes_at::<COVERED>(bytes, 0));
    put(bytes, CHECKSUM_AT, &sum.to_le_bytes());
}

fn check(bytes: &[u8; HEADER_BYTES]) -> Result<(), HeaderError> {
    let stated = u32_at(bytes, CHECKSUM_AT);
    let computed = crc32c(&bytes_at::<COVERED>(bytes, 0));
    if stated == computed { Ok(()) } else { Err(HeaderError::Checksum { stated, computed }) }
}

impl fmt::Display for Opcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unlisted(number) => write!(f, "opcode {number:#06x}"),
            listed => f.write_str(listed.name()),
        }
    }
}

impl fmt::Display for Cookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}:{}", self.session(), self.sequence())
    }
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Checksum { stated, computed } = self;
        write!(
            f,
            "the header's checksum is {stated:#010x} and its bytes add up to {computed:#010x}: \
             the link lost its place, open it again"
        )
    }
}

impl core::error::Error for HeaderError {}
