use core::fmt;

/// Bytes of a capability block.
pub const BLOCK_BYTES: usize = LENGTH as usize;

const LENGTH: u16 = 72;

/// The layout version that [`CapabilityBlock::encode`] writes.
pub const VERSION: u16 = 1;

const MAGIC: [u8; 4] = *b"LCCB";
const NAME_BYTES: usize = 32;

/// What a card says about itself in its first bytes.
///
/// Layout, little-endian, by byte position:
///
/// ```text
///  0 magic "LCCB"      16 dac bits     24 sram bytes (u64)
///  4 version (u16)     17 adc bits     32 name length
///  6 length (u16)      18 weight bits  33 zero
///  8 rows (u16)        19 zero         40 name, UTF-8, zero padded
/// 10 columns (u16)
/// 12 arrays (u16)
/// 14 banks (u16)
/// ```
///
/// A later layout keeps the first eight bytes. Bytes written as zero are ignored on reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CapabilityBlock {
    /// Physical rows of one array.
    pub rows: u16,
    /// Physical columns of one array.
    pub columns: u16,
    /// Arrays on the card.
    pub arrays: u16,
    /// Weight banks of each array.
    pub banks: u16,
    /// Width of an input code, sign included.
    pub dac_bits: u8,
    /// Width of an output code, sign included.
    pub adc_bits: u8,
    /// Width of a weight code, sign included.
    pub weight_bits: u8,
    /// Card memory.
    pub sram_bytes: u64,
    /// The chip model.
    pub chip: ChipName,
}

/// The name of a chip model: 1 to 32 bytes of UTF-8 without control characters.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ChipName {
    bytes: [u8; NAME_BYTES],
    len: u8,
}

/// Why a text is not a chip name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    /// There is nothing in it.
    Empty,
    /// It has this many bytes; 32 fit.
    TooLong(usize),
    /// It has a control character at this byte.
    Control(usize),
    /// It is not UTF-8 from this byte on.
    NotUtf8(usize),
}

impl ChipName {
    /// Checks a name.
    ///
    /// Errors: [`NameError`].
    pub fn new(name: &str) -> Result<Self, NameError> {
        if name.is_empty() {
            return Err(NameError::Empty);
        }
        if let Some((at, _)) = name.char_indices().find(|(_, c)| c.is_control()) {
            return Err(NameError::Control(at));
        }
        let too_long = NameError::TooLong(name.len());
        let mut bytes = [0; NAME_BYTES];
        bytes.get_mut(..name.len()).ok_or(too_long)?.copy_from_slice(name.as_bytes());
        Ok(Self { bytes, len: u8::try_from(name.len()).map_err(|_| too_long)? })
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..usize::from(self.len)).unwrap_or_default();
        core::str::from_utf8(bytes).unwrap_or_default()
    }
}

impl fmt::Debug for ChipName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for ChipName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.as_str(), f)
    }
}

/// Why bytes are not a capability block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MalformedBlock {
    /// There are fewer bytes than a block has.
    Short {
        /// How many there are.
        bytes: usize,
    },
    /// The first four bytes are not the magic: this is no such card, or the link lost its place.
    Magic([u8; 4]),
    /// The layout is of another version.
    Version(u16),
    /// The block says it has another length than its version has.
    Length(u16),
    /// The name is not a chip name.
    Name(NameError),
}

impl CapabilityBlock {
    /// The bytes that travel.
    pub fn encode(&self) -> [u8; BLOCK_BYTES] {
        let mut out = [0; BLOCK_BYTES];
        out[0..4].copy_from_slice(&MAGIC);
        out[4..6].copy_from_slice(&VERSION.to_le_bytes());
        out[6..8].copy_from_slice(&LENGTH.to_le_bytes());
        out[8..10].copy_from_slice(&self.rows.to_le_bytes());
        out[10..12].copy_from_slice(&self.columns.to_le_bytes());
        out[12..14].copy_from_slice(&self.arrays.to_le_bytes());
        out[14..16].copy_from_slice(&self.banks.to_le_bytes());
        out[16..19].copy_from_slice(&[self.dac_bits, self.adc_bits, self.weight_bits]);
        out[24..32].copy_from_slice(&self.sram_bytes.to_le_bytes());
        out[32] = self.chip.len;
        out[40..72].copy_from_slice(&self.chip.bytes);
        out
    }

    /// Reads a block; bytes behind it are left alone.
    ///
    /// Errors: [`MalformedBlock`], the first in byte order.
    pub fn parse(bytes: &[u8]) -> Result<Self, MalformedBlock> {
        let short = MalformedBlock::Short { bytes: bytes.len() };
        let block: &[u8; BLOCK_BYTES] = bytes.first_chunk().ok_or(short)?;
        let magic = field(block, 0);
        if magic != MAGIC {
            return Err(MalformedBlock::Magic(magic));
        }
        let u16_at = |at| u16::from_le_bytes(field(block, at));
        if u16_at(4) != VERSION {
            return Err(MalformedBlock::Version(u16_at(4)));
        }
        if u16_at(6) != LENGTH {
            return Err(MalformedBlock::Length(u16_at(6)));
        }
        let name: [u8; NAME_BYTES] = field(block, 40);
        let len = usize::from(block[32]);
        let name = name.get(..len).ok_or(MalformedBlock::Name(NameError::TooLong(len)))?;
        let name = core::str::from_utf8(name)
            .map_err(|error| MalformedBlock::Name(NameError::NotUtf8(error.valid_up_to())))?;
        Ok(Self {
            rows: u16_at(8),
            columns: u16_at(10),
            arrays: u16_at(12),
            banks: u16_at(14),
            dac_bits: block[16],
            adc_bits: block[17],
            weight_bits: block[18],
            sram_bytes: u64::from_le_bytes(field(block, 24)),
            chip: ChipName::new(name).map_err(MalformedBlock::Name)?,
        })
    }
}

/// The `N` bytes at a position; positions are written above and lie inside the block.
fn field<const N: usize>(block: &[u8; BLOCK_BYTES], at: usize) -> [u8; N] {
    core::array::from_fn(|i| block.get(at + i).copied().unwrap_or(0))
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "the chip name is empty"),
            Self::TooLong(bytes) => {
                write!(f, "the chip name has {bytes} bytes, {NAME_BYTES} fit: shorten it")
            }
            Self::Control(at) => write!(f, "the chip name has a control character at byte {at}"),
            Self::NotUtf8(at) => write!(f, "the chip name is not UTF-8 from byte {at} on"),
        }
    }
}

impl core::error::Error for NameError {}

impl fmt::Display for MalformedBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short { bytes } => {
                write!(f, "a capability block has {BLOCK_BYTES} bytes, {bytes} came: read again")
            }
            Self::Magic(found) => {
                write!(f, "starts with {found:02x?} and not with a capability block: wrong device?")
            }
            Self::Version(version) => write!(
                f,
                "capability block of version {version}, this driver reads version {VERSION}: \
                 update the driver or the firmware"
            ),
            Self::Length(length) => {
                write!(
                    f,
                    "capability block says {length} bytes, version {VERSION} has {BLOCK_BYTES}"
                )
            }
            Self::Name(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for MalformedBlock {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::string::{String, ToString};

    fn example() -> CapabilityBlock {
        CapabilityBlock {
            rows: 64,
            columns: 0x0140,
            arrays: 2,
            banks: 3,
            dac_bits: 8,
            adc_bits: 10,
            weight_bits: 7,
            sram_bytes: 0x0102_0304_0506_0708,
            chip: ChipName::new("ref-64-eo").unwrap(),
        }
    }

    #[test]
    fn the_bytes_are_frozen() {
        let mut expected = [0_u8; 72];
        expected[..19].copy_from_slice(&[
            b'L', b'C', b'C', b'B', 1, 0, 72, 0, 64, 0, 0x40, 1, 2, 0, 3, 0, 8, 10, 7,
        ]);
        expected[24..33].copy_from_slice(&[8, 7, 6, 5, 4, 3, 2, 1, 9]);
        expected[40..49].copy_from_slice(b"ref-64-eo");
        assert_eq!(example().encode(), expected);
        assert_eq!(CapabilityBlock::parse(&expected), Ok(example()));
    }

    #[test]
    fn each_offence_is_named() {
        let damaged = |at: usize, value: u8| {
            let mut bytes = example().encode();
            bytes[at] = value;
            CapabilityBlock::parse(&bytes).unwrap_err()
        };
        assert_eq!(damaged(0, b'X'), MalformedBlock::Magic(*b"XCCB"));
        assert_eq!(damaged(4, 2), MalformedBlock::Version(2));
        assert_eq!(damaged(6, 71), MalformedBlock::Length(71));
        assert_eq!(damaged(32, 0), MalformedBlock::Name(NameError::Empty));
        assert_eq!(damaged(32, 33), MalformedBlock::Name(NameError::TooLong(33)));
        assert_eq!(damaged(42, 0xff), MalformedBlock::Name(NameError::NotUtf8(2)));
        assert_eq!(damaged(43, 7), MalformedBlock::Name(NameError::Control(3)));
        let short = CapabilityBlock::parse(&example().encode()[..71]);
        assert_eq!(short, Err(MalformedBlock::Short { bytes: 71 }));
        assert!(short.unwrap_err().to_string().contains("72 bytes, 71 came"));
    }

    #[test]
    fn reserved_bytes_and_bytes_behind_are_ignored() {
        let mut bytes = [0xaa; 80];
        bytes[..72].copy_from_slice(&example().encode());
        for at in [19, 20, 23, 33, 39] {
            bytes[at] = 0x55;
        }
        assert_eq!(CapabilityBlock::parse(&bytes), Ok(example()));
    }

    #[test]
    fn names_are_checked() {
        assert_eq!(ChipName::new(""), Err(NameError::Empty));
        let fits = "x".repeat(32);
        assert_eq!(ChipName::new(&fits).unwrap().as_str(), fits);
        assert_eq!(ChipName::new(&"x".repeat(33)), Err(NameError::TooLong(33)));
        assert_eq!(ChipName::new("a\nb"), Err(NameError::Control(1)));
    }

    proptest! {
        #[test]
        fn every_block_comes_back(
            numbers: (u16, u16, u16, u16, u8, u8, u8, u64),
            name in "[a-zäöü0-9_.-]{1,16}",
        ) {
            let (rows, columns, arrays, banks, dac_bits, adc_bits, weight_bits, sram_bytes) = numbers;
            let chip = ChipName::new(&name).unwrap();
            let block = CapabilityBlock {
                rows, columns, arrays, banks, dac_bits, adc_bits, weight_bits, sram_bytes, chip,
            };
            prop_assert_eq!(CapabilityBlock::parse(&block.encode()), Ok(block));
        }

        #[test]
        fn no_bytes_make_it_panic(mut bytes: std::vec::Vec<u8>, sound_start: bool) {
            if sound_start {
                let start = example().encode();
                for (byte, sound) in bytes.iter_mut().zip(&start[..8]) {
                    *byte = *sound;
                }
                bytes.resize(bytes.len().max(BLOCK_BYTES), 0);
            }
            if let Ok(block) = CapabilityBlock::parse(&bytes) {
                prop_assert_eq!(CapabilityBlock::parse(&block.encode()), Ok(block));
            }
        }

        #[test]
        fn no_text_makes_a_name_panic(text: String) {
            if let Ok(name) = ChipName::new(&text) {
                prop_assert_eq!(name.as_str(), text);
            }
        }
    }
}
