use crate::{Capabilities, DeviceError};
use litecore_firmware_proto::PROTOCOL_VERSION;
use litecore_firmware_proto::firmware::FirmwareVersion;
use litecore_firmware_proto::identity::{
    FEATURE_ENERGY, FEATURE_FIRMWARE, FEATURE_QUERY, Identity, MalformedIdentity,
};

/// What a card says about itself, and what was agreed on with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CardIdentity {
    /// Chip model, instance and shape.
    pub capabilities: Capabilities,
    /// The protocol version agreed on; major in the upper byte.
    pub version: u16,
    /// `FEATURE_…` bits agreed on; see `litecore_firmware_proto::identity`.
    pub features: u64,
    /// Most bytes of one payload.
    pub payload_max: usize,
    /// Most bytes of one reply.
    pub reply_max: usize,
    /// Most images at one time.
    pub images_max: u32,
    /// Most bytes of all images together.
    pub image_bytes_max: u64,
    /// How often the card has started; images are gone when it changes.
    pub boot: u32,
    /// The firmware that runs.
    pub firmware: FirmwareVersion,
    /// The kind of board.
    pub board: u32,
    /// The board's hardware revision.
    pub hardware: u16,
}

/// The features that this driver makes use of.
pub(super) const WANTED: u64 = FEATURE_ENERGY | FEATURE_FIRMWARE | FEATURE_QUERY;

impl CardIdentity {
    /// Reads an identity block.
    ///
    /// Errors: [`DeviceError::BadReply`].
    pub(super) fn read(bytes: &[u8]) -> Result<Self, DeviceError> {
        let bad = |what| DeviceError::BadReply { command: "identify", what };
        let identity = Identity::parse(bytes).map_err(|error| {
            bad(match error {
                MalformedIdentity::Capability(_) => "no capability block",
                MalformedIdentity::Short { .. } => "a value that is cut off",
                MalformedIdentity::Missing { .. } => "a value is missing",
                MalformedIdentity::NotUnderstood { .. } => "a value of a newer protocol",
                MalformedIdentity::Serial => "a serial text that is none",
            })
        })?;
        let block = identity.capability;
        let bytes_of = |most: u64| usize::try_from(most).unwrap_or(usize::MAX);
        let capabilities = Capabilities {
            chip: block.chip.as_str().to_owned(),
            serial: identity.serial.to_owned(),
            rows: usize::from(block.rows),
            columns: usize::from(block.columns),
            arrays: usize::from(block.arrays),
            banks: usize::from(block.banks),
            sram_bytes: block.sram_bytes,
            simulated: identity.simulated,
        };
        if identity.payload_max < 64 || identity.reply_max < 64 {
            return Err(bad("transfers too short for any program"));
        }
        if identity.features_accepted & !WANTED != 0 {
            return Err(bad("features that nobody asked for"));
        }
        if identity.version != 0 && identity.version >> 8 != PROTOCOL_VERSION >> 8 {
            return Err(bad("another protocol version than agreed"));
        }
        Ok(Self {
            capabilities,
            version: identity.version,
            features: identity.features_accepted,
            payload_max: bytes_of(identity.payload_max),
            reply_max: bytes_of(identity.reply_max),
            images_max: identity.images_max,
            image_bytes_max: identity.image_bytes_max,
            boot: identity.boot,
            firmware: identity.firmware,
            board: identity.board,
            hardware: identity.hardware,
        })
    }
}
