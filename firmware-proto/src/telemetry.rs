//! The telemetry record: what a card has done and how it is.

use crate::FaultCode;
use crate::fields::{put, u16_at, u32_at, u64_at};

/// Bytes of the record that this version writes.
pub const TELEMETRY_BYTES: usize = 96;

const PARKED: u32 = 1 << 0;
const TEMPERATURE: u32 = 1 << 1;
const TOO_HOT: u32 = 1 << 2;
const LASER_FAULT: u32 = 1 << 3;

/// What a card has done since it started, and how it is.
///
/// Layout, little-endian, by byte position; later versions append, readers ignore what they do not
/// know:
///
/// ```text
///  0 length (u16)    16 runs (u64)      48 uptime, ns (u64)     72 repeats (u64)
///  2 version (u16)   24 symbols (u64)   56 boot (u32)           80 zero
///  4 flags (u32)     32 cycles (u64)    60 last fault (u16)
///  8 images (u64)    40 temperature, degrees Celsius (f64)      64 commands (u64)
/// ```
///
/// Flags: 0 parked, 1 the temperature is meant, 2 the light is off because of heat, 3 the laser has
/// failed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TelemetryRecord {
    /// Images loaded at present.
    pub images: u64,
    /// Runs carried out.
    pub runs: u64,
    /// Symbols in those runs.
    pub symbols: u64,
    /// Cycles of those runs.
    pub cycles: u64,
    /// Temperature of the chip; `None` where the card cannot tell.
    pub temperature_c: Option<f64>,
    /// Time since the card started.
    pub uptime_ns: u64,
    /// How often the card has started.
    pub boot: u32,
    /// The last fault since the start.
    pub last_fault: Option<FaultCode>,
    /// Commands carried out or refused.
    pub commands: u64,
    /// Commands answered from memory.
    pub repeats: u64,
    /// Whether the card is at rest.
    pub parked: bool,
    /// Whether the light is off because of heat.
    pub too_hot: bool,
    /// Whether the laser has failed.
    pub laser_fault: bool,
}

impl TelemetryRecord {
    /// The bytes that travel.
    pub fn encode(&self) -> [u8; TELEMETRY_BYTES] {
        let flag = |on, bit| if on { bit } else { 0 };
        let flags = flag(self.parked, PARKED)
            | flag(self.temperature_c.is_some(), TEMPERATURE)
            | flag(self.too_hot, TOO_HOT)
            | flag(self.laser_fault, LASER_FAULT);
        let mut out = [0; TELEMETRY_BYTES];
        #[expect(clippy::cast_possible_truncation, reason = "96")]
        put(&mut out, 0, &(TELEMETRY_BYTES as u16).to_le_bytes());
        put(&mut out, 2, &1_u16.to_le_bytes());
        put(&mut out, 4, &flags.to_le_bytes());
        put(&mut out, 8, &self.images.to_le_bytes());
        put(&mut out, 16, &self.runs.to_le_bytes());
        put(&mut out, 24, &self.symbols.to_le_bytes());
        put(&mut out, 32, &self.cycles.to_le_bytes());
        put(&mut out, 40, &self.temperature_c.unwrap_or(0.0).to_le_bytes());
        put(&mut out, 48, &self.uptime_ns.to_le_bytes());
        put(&mut out, 56, &self.boot.to_le_bytes());
        put(&mut out, 60, &self.last_fault.map_or(0, FaultCode::number).to_le_bytes());
        put(&mut out, 64, &self.commands.to_le_bytes());
        put(&mut out, 72, &self.repeats.to_le_bytes());
        out
    }

    /// Reads a record; `None` if it is shorter than this version's.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let stated = usize::from(u16_at(bytes, 0));
        if bytes.len() < TELEMETRY_BYTES || stated < TELEMETRY_BYTES {
            return None;
        }
        let flags = u32_at(bytes, 4);
        let fault = u16_at(bytes, 60);
        Some(Self {
            images: u64_at(bytes, 8),
            runs: u64_at(bytes, 16),
            symbols: u64_at(bytes, 24),
            cycles: u64_at(bytes, 32),
            temperature_c: (flags & TEMPERATURE != 0).then(|| f64::from_bits(u64_at(bytes, 40))),
            uptime_ns: u64_at(bytes, 48),
            boot: u32_at(bytes, 56),
            last_fault: (fault != 0).then(|| FaultCode::from_number(fault)),
            commands: u64_at(bytes, 64),
            repeats: u64_at(bytes, 72),
            parked: flags & PARKED != 0,
            too_hot: flags & TOO_HOT != 0,
            laser_fault: flags & LASER_FAULT != 0,
        })
    }
}
