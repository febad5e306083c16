//! The sections of a chip description. Field names are the TOML keys; the unit is in the name.

use super::Quantity;
use serde::Serialize;

/// `[array]`: geometry.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Array {
    /// Physical rows: complex inputs.
    pub inputs: usize,
    /// Physical columns: complex outputs.
    pub outputs: usize,
    /// Arrays on the card.
    pub arrays: usize,
    /// Weight banks per array; a second one is written while the first computes.
    pub banks: usize,
    /// What a cell is made of.
    pub cell_type: CellType,
    /// Distance between neighbouring cells.
    pub pitch_um: Quantity,
}

/// What a cell is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CellType {
    /// Mach–Zehnder interferometer for the amplitude, phase shifter for the phase.
    Interferometer,
}

/// `[clock]`
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Clock {
    /// Symbols per second; also the card's one clock, in which every duration is counted.
    pub symbol_rate_hz: Quantity,
}

/// `[laser]`
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Laser {
    /// Signal light launched into one array, before any loss.
    pub power_w: Quantity,
    /// Light out over electricity in.
    pub wall_plug_efficiency: Quantity,
    /// Vacuum wavelength.
    pub wavelength_nm: Quantity,
}

/// `[path]`
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OpticalPath {
    /// Excess loss from laser to detector; the ideal splits and the combiner are not in it.
    pub insertion_loss_db: Quantity,
}

/// Which quadratures a receiver sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Readout {
    /// One balanced pair, all the light in the in-phase quadrature.
    I,
}

/// `[receiver]`
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Receiver {
    /// Which quadratures are read.
    pub readout: Readout,
    /// Electrons per photon.
    pub quantum_efficiency: Quantity,
    /// Local-oscillator power at one output.
    pub lo_power_w: Quantity,
    /// Input-referred current noise of the amplifier.
    pub noise_a_per_rthz: Quantity,
    /// Largest analog gain, as a power of two over unity.
    pub gain_log2_max: u8,
    /// From the last symbol at the modulators to its code in the accumulator.
    pub pipeline_s: Quantity,
    /// Amplifier energy per sample.
    pub energy_j: Quantity,
}

/// `[dac]`: input converters and the modulators behind them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Dac {
    /// Code width, sign included.
    pub bits: u8,
    /// Energy per conversion.
    pub energy_j: Quantity,
    /// Modulator and driver energy per drive.
    pub modulator_energy_j: Quantity,
}

/// `[adc]`
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Adc {
    /// Code width, sign included.
    pub bits: u8,
    /// Effective number of bits, by the sine-wave definition `(SNDR - 1.76 dB) / 6.02 dB`.
    pub enob: Quantity,
    /// Energy per sample.
    pub energy_j: Quantity,
}

/// `[cell]`: what calibration leaves of a cell's static errors, and what holding it costs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cell {
    /// Standard deviation of the static phase error of one cell.
    pub phase_error_rad: Quantity,
    /// Standard deviation of the static relative amplitude error of one cell.
    pub amplitude_error: Quantity,
    /// From the last drive of a bank until its weights are within their stated error.
    pub settling_s: Quantity,
    /// Power to hold one cell's weight.
    pub hold_power_w: Quantity,
}

/// `[weights]`: how weights reach the cells.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Weights {
    /// Weight code width, sign included; two codes make one complex cell.
    pub bits: u8,
    /// Rate at which weight codes reach the cell drivers, one byte per code.
    pub load_bytes_per_s: Quantity,
    /// Energy per programmed code.
    pub dac_energy_j: Quantity,
    /// Energy per byte fetched from where the weights are kept.
    pub fetch_energy_j_per_byte: Quantity,
}

/// `[memory]`
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Memory {
    /// On-card memory for activations and accumulators.
    pub sram_bytes: u64,
    /// Energy per byte read or written.
    pub sram_energy_j_per_byte: Quantity,
}

/// `[vector]`: the digital unit that quantises, rescales and applies activations.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Vector {
    /// Elements processed per second.
    pub elements_per_s: Quantity,
    /// From the last element in to the last element out.
    pub latency_s: Quantity,
    /// Energy per element.
    pub energy_j_per_element: Quantity,
}

/// `[host]`
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Host {
    /// Link rate, each direction.
    pub bytes_per_s: Quantity,
    /// One-way latency of a transfer.
    pub latency_s: Quantity,
    /// Energy per byte.
    pub energy_j_per_byte: Quantity,
}
