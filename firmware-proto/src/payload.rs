//! What goes with a run: tags and inputs to the card, outputs and the energy ledger back.
//!
//! * Payload: `symbols` tags (u64), then `symbols × input_len` inputs (f32).
//! * Reply: `symbols × output_len` outputs (f32), zeros up to a multiple of eight, then, if the
//!   command has [`crate::command::FLAG_ENERGY`], the ledger: per entry component (u32), zero
//!   (u32), joules (f64). The completion's `argument` is the number of entries.
//!
//! All little-endian. Nothing is aligned beyond what that gives.

use crate::fields::{put, u32_at, u64_at};

/// Bytes of one ledger entry.
pub const ENERGY_ENTRY_BYTES: usize = 16;

/// Bytes of a run's payload; `None` if no machine could hold them.
pub fn run_payload_bytes(symbols: usize, input_len: usize) -> Option<usize> {
    symbols.checked_mul(8)?.checked_add(symbols.checked_mul(input_len)?.checked_mul(4)?)
}

/// Bytes of a run's reply; `None` if no machine could hold them.
pub fn run_reply_bytes(symbols: usize, output_len: usize, energy_entries: usize) -> Option<usize> {
    let outputs = symbols.checked_mul(output_len)?.checked_mul(4)?;
    let ledger = energy_entries.checked_mul(ENERGY_ENTRY_BYTES)?;
    outputs.checked_next_multiple_of(8)?.checked_add(ledger)
}

/// Writes numbers and says how many bytes they took; `None` if `out` is shorter.
pub fn write_u64s(numbers: impl ExactSizeIterator<Item = u64>, out: &mut [u8]) -> Option<usize> {
    let len = numbers.len().checked_mul(8)?;
    let (words, _) = out.get_mut(..len)?.as_chunks_mut::<8>();
    for (word, number) in words.iter_mut().zip(numbers) {
        *word = number.to_le_bytes();
    }
    Some(len)
}

/// Writes numbers and says how many bytes they took; `None` if `out` is shorter.
pub fn write_f32s(numbers: &[f32], out: &mut [u8]) -> Option<usize> {
    let len = numbers.len().checked_mul(4)?;
    let (words, _) = out.get_mut(..len)?.as_chunks_mut::<4>();
    for (word, number) in words.iter_mut().zip(numbers) {
        *word = number.to_le_bytes();
    }
    Some(len)
}

/// Reads all whole numbers in `bytes`; a rest of less than eight bytes is left out.
pub fn u64s(bytes: &[u8]) -> impl ExactSizeIterator<Item = u64> + Clone + '_ {
    bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word))
}

/// Reads all whole numbers in `bytes`; a rest of less than four bytes is left out.
pub fn f32s(bytes: &[u8]) -> impl ExactSizeIterator<Item = f32> + Clone + '_ {
    bytes.as_chunks::<4>().0.iter().map(|word| f32::from_le_bytes(*word))
}

/// A run's payload, cut into its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunPayload<'a> {
    /// The tags' bytes; see [`u64s`].
    pub tags: &'a [u8],
    /// The inputs' bytes; see [`f32s`].
    pub inputs: &'a [u8],
}

impl<'a> RunPayload<'a> {
    /// Cuts a payload; `None` unless it has exactly `symbols` tags and `symbols × input_len`
    /// inputs.
    pub fn parse(bytes: &'a [u8], symbols: u64, input_len: usize) -> Option<Self> {
        let symbols = usize::try_from(symbols).ok()?;
        if run_payload_bytes(symbols, input_len)? != bytes.len() {
            return None;
        }
        let (tags, inputs) = bytes.split_at_checked(symbols.checked_mul(8)?)?;
        Some(Self { tags, inputs })
    }
}

/// A run's reply, cut into its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunReply<'a> {
    /// The outputs' bytes; see [`f32s`].
    pub outputs: &'a [u8],
    energy: &'a [u8],
}

impl<'a> RunReply<'a> {
    /// Cuts a reply; `None` unless it has exactly `symbols × output_len` outputs and
    /// `energy_entries` entries.
    pub fn parse(
        bytes: &'a [u8],
        symbols: usize,
        output_len: usize,
        energy_entries: u64,
    ) -> Option<Self> {
        let entries = usize::try_from(energy_entries).ok()?;
        if run_reply_bytes(symbols, output_len, entries)? != bytes.len() {
            return None;
        }
        let outputs = symbols.checked_mul(output_len)?.checked_mul(4)?;
        Some(Self {
            outputs: bytes.get(..outputs)?,
            energy: bytes.get(outputs.checked_next_multiple_of(8)?..)?,
        })
    }

    /// The ledger: component numbers (see [`component`]) and joules.
    pub fn energy(&self) -> impl ExactSizeIterator<Item = (u32, f64)> + Clone + 'a {
        let (entries, _) = self.energy.as_chunks::<ENERGY_ENTRY_BYTES>();
        entries.iter().map(|entry| (u32_at(entry, 0), f64::from_bits(u64_at(entry, 8))))
    }
}

/// One ledger entry's bytes.
pub fn energy_entry(component: u32, joules: f64) -> [u8; ENERGY_ENTRY_BYTES] {
    let mut out = [0; ENERGY_ENTRY_BYTES];
    put(&mut out, 0, &component.to_le_bytes());
    put(&mut out, 8, &joules.to_le_bytes());
    out
}

/// Numbers of the components of an energy ledger.
pub mod component {
    /// Lasers.
    pub const LASER: u32 = 1;
    /// Input digital-to-analog converters.
    pub const INPUT_DAC: u32 = 2;
    /// Input modulators and their drivers.
    pub const MODULATOR: u32 = 3;
    /// Transimpedance amplifiers.
    pub const RECEIVER: u32 = 4;
    /// Output analog-to-digital converters.
    pub const ADC: u32 = 5;
    /// Weight digital-to-analog converters.
    pub const WEIGHT_DAC: u32 = 6;
    /// Holding the weights.
    pub const WEIGHT_HOLD: u32 = 7;
    /// Accumulators and the vector unit.
    pub const DIGITAL: u32 = 8;
    /// On-chip memory.
    pub const SRAM: u32 = 9;
    /// Fetching weights.
    pub const WEIGHT_FETCH: u32 = 10;
    /// The link to the host.
    pub const HOST_LINK: u32 = 11;
    /// Reading the steps of a program.
    pub const COMMAND: u32 = 12;
}
