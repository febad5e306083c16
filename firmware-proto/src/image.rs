//! The wire form of a program: what a host uploads and a card decodes and verifies.
//!
//! All little-endian, every part padded with zeros to a multiple of eight bytes, in this order:
//!
//! ```text
//! header   64 bytes, below
//! name     UTF-8                                chip     UTF-8
//! buffers  24 bytes each: kind (u32), zero (u32), len (u64), address (u64)
//! tables   each: count (u64), then count f32
//! packings one byte for each tile: 0 conjugate, 1 rows, 2 tokens, 3 complex
//! tiles    each: count (u64), then count i8
//! steps    each: 56 bytes, below, then the steps it waits for (u32 each)
//! ```
//!
//! Header: 0 magic "LCIM", 4 version (u16), 6 zero (u16), 8 rows (u32), 12 columns (u32),
//! 16 symbols max (u64), 24 useful multiply-accumulates per symbol (u64), 32 name length (u32),
//! 36 chip length (u32), 40 buffers (u32), 44 tables (u32), 48 tiles (u32), 52 steps (u32),
//! 56 zero. Reading checks lengths and numbers, not what a program may do: that is the verifier's.

use crate::fields::{bytes_at, put, u16_at, u32_at, u64_at};
use core::fmt;

/// The layout version that [`ImageWriter`] writes.
pub const IMAGE_VERSION: u16 = 1;
/// Bytes of the header.
pub const IMAGE_HEADER_BYTES: usize = 64;
/// Bytes of a buffer record.
pub const BUFFER_BYTES: usize = 24;
/// Bytes of a step record, without the steps it waits for.
pub const STEP_BYTES: usize = 56;

const MAGIC: [u8; 4] = *b"LCIM";

/// What an image's header says, with its texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageHeader<'a> {
    /// What the program computes, for reports.
    pub name: &'a str,
    /// The chip model it is for.
    pub chip: &'a str,
    /// Physical rows of an array.
    pub rows: u32,
    /// Physical columns of an array.
    pub columns: u32,
    /// Most symbols in one run.
    pub symbols_max: u64,
    /// Multiply-accumulates of the user's matrices per symbol.
    pub useful_macs: u64,
    /// How many buffers follow.
    pub buffers: u32,
    /// How many tables.
    pub tables: u32,
    /// How many tiles.
    pub tiles: u32,
    /// How many steps.
    pub steps: u32,
}

/// One buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageBuffer {
    /// 0 f32, 1 code, 2 accumulator.
    pub kind: u32,
    /// Elements per symbol.
    pub len: u64,
    /// First byte in card memory.
    pub address: u64,
}

/// One step. What the fields mean depends on the kind; those it does not use are zero.
///
/// Layout: 0 kind (u16), 2 array (u16), 4 bank (u16), 6 shift (u8), 7 accumulate shift (u8),
/// 8 first (u32), 12 a (u32), 16 b (u32), 20 c (u32), 24 d (u32), 28 from offset (u32), 32 to
/// offset (u32), 36 number of steps it waits for (u32), 40 first symbol (u64), 48 the symbol after the
/// last (u64; all ones for a step on all symbols).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImageStep {
    /// See [`step`].
    pub kind: u16,
    /// Which array.
    pub array: u16,
    /// Which bank of it.
    pub bank: u16,
    /// The ADC's step is `2^shift`.
    pub shift: u8,
    /// Left shift of a code before it is added.
    pub accumulate_shift: u8,
    /// Whether accumulators are set and not added to; 0 or 1.
    pub first: u32,
    /// First operand.
    pub a: u32,
    /// Second operand.
    pub b: u32,
    /// Third operand.
    pub c: u32,
    /// Fourth operand.
    pub d: u32,
    /// First code of the slice.
    pub from_offset: u32,
    /// First accumulator of the slice.
    pub to_offset: u32,
    /// First symbol of the run that the step works on.
    pub symbols_from: u64,
    /// The symbol after the last one.
    pub symbols_to: u64,
}

/// Numbers of the kinds of step, with the meaning of operands `a`, `b`, `c`, `d`.
pub mod step {
    /// a: to.
    pub const MOVE_IN: u16 = 1;
    /// a: from, b: to, c: scale.
    pub const QUANTISE: u16 = 2;
    /// a: tile; array and bank.
    pub const LOAD_BANK: u16 = 3;
    /// Array and bank.
    pub const SETTLE: u16 = 4;
    /// a: tile, b: from, c: to; all fields.
    pub const STREAM: u16 = 5;
    /// a: from, b: scale, c: table, d: to.
    pub const DEQUANTISE: u16 = 6;
    /// a: gate, b: up, c: to.
    pub const SWIGLU: u16 = 7;
    /// a: from.
    pub const MOVE_OUT: u16 = 8;
    /// a: from, b: table, c: to, d: elements rotated together.
    pub const ROTATE: u16 = 9;
}

/// Why bytes are not an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MalformedImage {
    /// The first four bytes are not the magic.
    Magic([u8; 4]),
    /// The layout is of another version.
    Version(u16),
    /// The bytes end within this part.
    Short(ImagePart),
    /// This many bytes lie behind the image.
    Long(usize),
    /// The name or the chip is not UTF-8.
    Text(ImagePart),
}

/// The parts of an image, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ImagePart {
    /// The first 64 bytes.
    Header,
    /// The program's name.
    Name,
    /// The chip's name.
    Chip,
    /// The buffers.
    Buffers,
    /// The tables.
    Tables,
    /// The tiles' packings.
    Packings,
    /// The tiles.
    Tiles,
    /// The steps.
    Steps,
}

/// An image over the bytes that hold it. Every length in it has been checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Image<'a> {
    header: ImageHeader<'a>,
    buffers: &'a [u8],
    tables: &'a [u8],
    packings: &'a [u8],
    tiles: &'a [u8],
    steps: &'a [u8],
}

impl<'a> Image<'a> {
    /// Finds the parts; takes time with the number of parts and not with their lengths.
    ///
    /// Errors: [`MalformedImage`], the first in byte order.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, MalformedImage> {
        let start =
            bytes.get(..IMAGE_HEADER_BYTES).ok_or(MalformedImage::Short(ImagePart::Header))?;
        if bytes_at(start, 0) != MAGIC {
            return Err(MalformedImage::Magic(bytes_at(start, 0)));
        }
        if u16_at(start, 4) != IMAGE_VERSION {
            return Err(MalformedImage::Version(u16_at(start, 4)));
        }
        let mut rest = bytes.get(IMAGE_HEADER_BYTES..).unwrap_or_default();
        let name = take_text(&mut rest, u32_at(start, 32), ImagePart::Name)?;
        let chip = take_text(&mut rest, u32_at(start, 36), ImagePart::Chip)?;
        let header = ImageHeader {
            name,
            chip,
            rows: u32_at(start, 8),
            columns: u32_at(start, 12),
            symbols_max: u64_at(start, 16),
            useful_macs: u64_at(start, 24),
            buffers: u32_at(start, 40),
            tables: u32_at(start, 44),
            tiles: u32_at(start, 48),
            steps: u32_at(start, 52),
        };
        let buffers = u64::from(header.buffers).saturating_mul(BUFFER_BYTES as u64);
        let buffers = take(&mut rest, buffers, ImagePart::Buffers)?;
        let tables = take_counted(&mut rest, header.tables, 4, ImagePart::Tables)?;
        let packings = take(&mut rest, u64::from(header.tiles), ImagePart::Packings)?;
        let tiles = take_counted(&mut rest, header.tiles, 1, ImagePart::Tiles)?;
        let steps = rest;
        for _ in 0..header.steps {
            let record = take(&mut rest, STEP_BYTES as u64, ImagePart::Steps)?;
            let after = u64::from(u32_at(record, 36)).saturating_mul(4);
            take(&mut rest, after, ImagePart::Steps)?;
        }
        if !rest.is_empty() {
            return Err(MalformedImage::Long(rest.len()));
        }
        Ok(Self { header, buffers, tables, packings, tiles, steps })
    }

    /// The header.
    pub fn header(&self) -> &ImageHeader<'a> {
        &self.header
    }

    /// The buffers, in order.
    pub fn buffers(&self) -> impl ExactSizeIterator<Item = ImageBuffer> + Clone + 'a {
        self.buffers.as_chunks::<BUFFER_BYTES>().0.iter().map(|record| ImageBuffer {
            kind: u32_at(record, 0),
            len: u64_at(record, 8),
            address: u64_at(record, 16),
        })
    }

    /// The tables' bytes, in order; see [`crate::payload::f32s`].
    pub fn tables(&self) -> impl Iterator<Item = &'a [u8]> + Clone + use<'a> {
        let mut rest = self.tables;
        (0..self.header.tables).map(move |_| counted(&mut rest, 4))
    }

    /// The tiles, in order: the number of the packing, and the codes, two's complement.
    pub fn tiles(&self) -> impl Iterator<Item = (u8, &'a [u8])> + Clone + use<'a> {
        let mut rest = self.tiles;
        self.packings.iter().map(move |&packing| (packing, counted(&mut rest, 1)))
    }

    /// The steps, in order, each with the numbers of those it waits for.
    pub fn steps(&self) -> impl Iterator<Item = (ImageStep, StepNumbers<'a>)> + Clone + use<'a> {
        let mut rest = self.steps;
        (0..self.header.steps).map(move |_| {
            let record = take(&mut rest, STEP_BYTES as u64, ImagePart::Steps).unwrap_or_default();
            let len = u64::from(u32_at(record, 36)) * 4;
            let after = take(&mut rest, len, ImagePart::Steps).unwrap_or_default();
            (step_of(record), StepNumbers { words: after.as_chunks::<4>().0 })
        })
    }
}

/// The numbers of the steps that a step waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepNumbers<'a> {
    words: &'a [[u8; 4]],
}

impl Iterator for StepNumbers<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let (word, rest) = self.words.split_first()?;
        self.words = rest;
        Some(u32::from_le_bytes(*word))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.words.len(), Some(self.words.len()))
    }
}

impl ExactSizeIterator for StepNumbers<'_> {}

/// Writes an image part by part, in order, to anything that takes bytes.
///
/// Order: as many buffers and tables, the packings, tiles and steps as the header says, in this order.
pub struct ImageWriter<F> {
    sink: F,
}

impl<F: FnMut(&[u8])> ImageWriter<F> {
    /// Writes the header and texts.
    pub fn new(header: &ImageHeader<'_>, sink: F) -> Self {
        let mut out = [0; IMAGE_HEADER_BYTES];
        let len = |text: &str| u32::try_from(text.len()).unwrap_or(u32::MAX);
        put(&mut out, 0, &MAGIC);
        put(&mut out, 4, &IMAGE_VERSION.to_le_bytes());
        put(&mut out, 8, &header.rows.to_le_bytes());
        put(&mut out, 12, &header.columns.to_le_bytes());
        put(&mut out, 16, &header.symbols_max.to_le_bytes());
        put(&mut out, 24, &header.useful_macs.to_le_bytes());
        put(&mut out, 32, &len(header.name).to_le_bytes());
        put(&mut out, 36, &len(header.chip).to_le_bytes());
        put(&mut out, 40, &header.buffers.to_le_bytes());
        put(&mut out, 44, &header.tables.to_le_bytes());
        put(&mut out, 48, &header.tiles.to_le_bytes());
        put(&mut out, 52, &header.steps.to_le_bytes());
        let mut writer = Self { sink };
        (writer.sink)(&out);
        for text in [header.name, header.chip] {
            (writer.sink)(text.as_bytes());
            writer.pad(text.len());
        }
        writer
    }

    /// Writes one buffer.
    pub fn buffer(&mut self, buffer: ImageBuffer) {
        let mut out = [0; BUFFER_BYTES];
        put(&mut out, 0, &buffer.kind.to_le_bytes());
        put(&mut out, 8, &buffer.len.to_le_bytes());
        put(&mut out, 16, &buffer.address.to_le_bytes());
        (self.sink)(&out);
    }

    /// Writes one table.
    pub fn table(&mut self, numbers: &[f32]) {
        (self.sink)(&(numbers.len() as u64).to_le_bytes());
        for number in numbers {
            (self.sink)(&number.to_le_bytes());
        }
        self.pad(numbers.len() * 4);
    }

    /// Writes the packings of all tiles.
    pub fn packings(&mut self, packings: impl ExactSizeIterator<Item = u8>) {
        let len = packings.len();
        for packing in packings {
            (self.sink)(&[packing]);
        }
        self.pad(len);
    }

    /// Writes one tile.
    pub fn tile(&mut self, codes: &[i8]) {
        (self.sink)(&(codes.len() as u64).to_le_bytes());
        for piece in codes.chunks(64) {
            let mut out = [0; 64];
            for (byte, code) in out.iter_mut().zip(piece) {
                *byte = code.cast_unsigned();
            }
            (self.sink)(out.get(..piece.len()).unwrap_or_default());
        }
        self.pad(codes.len());
    }

    /// Writes one step and the steps it waits for.
    pub fn step(&mut self, step: &ImageStep, after: impl ExactSizeIterator<Item = u32>) {
        let mut out = [0; STEP_BYTES];
        let count = u32::try_from(after.len()).unwrap_or(u32::MAX);
        put(&mut out, 0, &step.kind.to_le_bytes());
        put(&mut out, 2, &step.array.to_le_bytes());
        put(&mut out, 4, &step.bank.to_le_bytes());
        put(&mut out, 6, &[step.shift, step.accumulate_shift]);
        put(&mut out, 8, &step.first.to_le_bytes());
        put(&mut out, 12, &step.a.to_le_bytes());
        put(&mut out, 16, &step.b.to_le_bytes());
        put(&mut out, 20, &step.c.to_le_bytes());
        put(&mut out, 24, &step.d.to_le_bytes());
        put(&mut out, 28, &step.from_offset.to_le_bytes());
        put(&mut out, 32, &step.to_offset.to_le_bytes());
        put(&mut out, 36, &count.to_le_bytes());
        put(&mut out, 40, &step.symbols_from.to_le_bytes());
        put(&mut out, 48, &step.symbols_to.to_le_bytes());
        (self.sink)(&out);
        let len = after.len() * 4;
        for number in after {
            (self.sink)(&number.to_le_bytes());
        }
        self.pad(len);
    }

    fn pad(&mut self, len: usize) {
        let zeros = len.next_multiple_of(8) - len;
        (self.sink)([0; 8].get(..zeros).unwrap_or_default());
    }
}

fn step_of(record: &[u8]) -> ImageStep {
    let [shift, accumulate_shift] = bytes_at(record, 6);
    ImageStep {
        kind: u16_at(record, 0),
        array: u16_at(record, 2),
        bank: u16_at(record, 4),
        shift,
        accumulate_shift,
        first: u32_at(record, 8),
        a: u32_at(record, 12),
        b: u32_at(record, 16),
        c: u32_at(record, 20),
        d: u32_at(record, 24),
        from_offset: u32_at(record, 28),
        to_offset: u32_at(record, 32),
        symbols_from: u64_at(record, 40),
        symbols_to: u64_at(record, 48),
    }
}

/// The next `len` bytes; the zeros behind them are skipped with them.
fn take<'a>(rest: &mut &'a [u8], len: u64, part: ImagePart) -> Result<&'a [u8], MalformedImage> {
    let short = MalformedImage::Short(part);
    let len = usize::try_from(len).map_err(|_| short)?;
    let padded = len.checked_next_multiple_of(8).ok_or(short)?;
    let (taken, behind) = rest.split_at_checked(padded).ok_or(short)?;
    *rest = behind;
    taken.get(..len).ok_or(short)
}

fn take_text<'a>(
    rest: &mut &'a [u8],
    len: u32,
    part: ImagePart,
) -> Result<&'a str, MalformedImage> {
    let bytes = take(rest, u64::from(len), part)?;
    core::str::from_utf8(bytes).map_err(|_| MalformedImage::Text(part))
}

/// The next `parts` parts of counted elements, as they lie.
fn take_counted<'a>(
    rest: &mut &'a [u8],
    parts: u32,
    element: u64,
    part: ImagePart,
) -> Result<&'a [u8], MalformedImage> {
    let start = *rest;
    for _ in 0..parts {
        let count = u64_at(take(rest, 8, part)?, 0);
        take(rest, count.checked_mul(element).ok_or(MalformedImage::Short(part))?, part)?;
    }
    start.get(..start.len() - rest.len()).ok_or(MalformedImage::Short(part))
}

/// One part of counted elements whose lengths were checked.
fn counted<'a>(rest: &mut &'a [u8], element: u64) -> &'a [u8] {
    let count = take(rest, 8, ImagePart::Tables).map_or(0, |count| u64_at(count, 0));
    take(rest, count.saturating_mul(element), ImagePart::Tables).unwrap_or_default()
}

impl fmt::Display for ImagePart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Header => "header",
            Self::Name => "name",
            Self::Chip => "chip",
            Self::Buffers => "buffers",
            Self::Tables => "tables",
            Self::Packings => "packings",
            Self::Tiles => "tiles",
            Self::Steps => "steps",
        })
    }
}

impl fmt::Display for MalformedImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic(found) => write!(f, "starts with {found:02x?} and not with an image"),
            Self::Version(version) => write!(
                f,
                "image of version {version}, this end reads version {IMAGE_VERSION}: update it"
            ),
            Self::Short(part) => write!(f, "the image ends within its {part}: upload it again"),
            Self::Long(bytes) => write!(f, "{bytes} bytes lie behind the image: upload it again"),
            Self::Text(part) => write!(f, "the image's {part} is not UTF-8"),
        }
    }
}

impl core::error::Error for MalformedImage {}
