//! The sections of a chip description. Field names are the TOML keys; the unit is in the name.

use super::{Impairment, Quantity};
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
    /// Wavelengths that pass the same cells at once: each carries its own symbols, with its own
    /// laser, modulators and receivers.
    pub wavelengths: usize,
    /// Which operands stay and which are streamed.
    pub dataflow: Dataflow,
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
    /// Two rings on one bus, programmed together: each sets amplitude and phase at once.
    RingPair,
    /// A phase-change film for the amplitude in a few levels, and a phase shifter.
    PhaseChange,
}

/// Which operands stay and which are streamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Dataflow {
    /// Weights are held in cells, inputs are streamed through them.
    WeightStationary,
    /// Both operands are streamed; each output's receiver integrates over the inner dimension.
    OutputStationary,
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
    /// Signal light launched into one array on one wavelength, before any loss.
    pub power_w: Quantity,
    /// Light out over electricity in.
    pub wall_plug_efficiency: Quantity,
    /// Vacuum wavelength.
    pub wavelength_nm: Quantity,
    /// Relative intensity noise, below the receiver's bandwidth.
    pub rin_db_per_hz: Impairment,
    /// Lorentzian linewidth.
    pub linewidth_hz: Impairment,
}

/// `[path]`
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OpticalPath {
    /// Excess loss from laser to detector; the ideal splits, the combiner and the crossings are
    /// not in it.
    pub insertion_loss_db: Quantity,
    /// Loss of one waveguide crossing; light meets half as many as there are rows.
    pub crossing_loss_db: Impairment,
    /// Difference in delay between the signal's and the local oscillator's way, as an absolute
    /// time; with the linewidth it makes phase noise.
    pub mismatch_ps: Impairment,
    /// Standard deviation of one splitter's power ratio between its two arms, static, as far as
    /// calibration leaves it.
    pub splitter_imbalance_db: Impairment,
    /// Light of one wavelength in the receiver of its neighbor, over that in its own; of account
    /// only with several wavelengths.
    pub wdm_crosstalk_db: Impairment,
    /// Light of the crossed guide that one crossing lets in, over that guide's light, static, as far
    /// as calibration leaves it; light meets half as many crossings as there are rows.
    pub crossing_crosstalk_db: Impairment,
    /// Light in the polarization of the oscillator over light across it, as a ratio of powers,
    /// static: what lies across does not beat, and each cell's way has an angle of its own.
    pub polarization_extinction_db: Impairment,
    /// Fraction of the cells' differences in polarization that calibration leaves; the light itself
    /// is lost all the same.
    pub polarization_residual: Impairment,
    /// Light that comes a second time, after two reflections, over what comes at once: a coherent
    /// field of static phase for each cell, as far as calibration leaves it. The phase is of one
    /// wavelength.
    pub back_reflection_db: Impairment,
    /// Length of the round trip between two reflections, which says how far the phase of what comes a
    /// second time turns with the wavelength; lengths differ by as much as they are.
    pub reflection_length_m: Quantity,
}

impl OpticalPath {
    /// All excess loss on the way through an array of so many rows: insertion and crossings.
    pub fn excess_loss_db(&self, rows: usize) -> f64 {
        self.insertion_loss_db.value + rows as f64 / 2.0 * self.crossing_loss_db.value()
    }
}

/// `[modulator]`: what pre-distortion and calibration leave of the input modulators' errors.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Modulator {
    /// Power of a full-scale drive over what leaks in the quadrature of a drive, whatever the code.
    pub extinction_db: Impairment,
    /// Standard deviation of a drive's relative error in half-wave voltage, static per row and
    /// quadrature: the sine law is undone with a voltage that is wrong by this.
    pub transfer_error: Impairment,
    /// Standard deviation of the relative gain difference of a row's two quadratures, static.
    pub iq_gain_error: Impairment,
    /// Standard deviation of the angle by which a row's two quadratures miss 90°, static.
    pub iq_phase_error_rad: Impairment,
    /// Standard deviation of the time between a row's two quadratures, static, as far as calibration
    /// leaves it.
    pub iq_skew_s: Impairment,
    /// Half-power bandwidth of driver and modulator; a slow one mixes neighboring symbols.
    pub bandwidth_hz: Impairment,
}

/// Which quadratures a receiver sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Readout {
    /// One balanced pair, all the light in the in-phase quadrature.
    I,
    /// A 90° hybrid and two balanced pairs, half the light in each.
    Iq,
}

impl Readout {
    /// Balanced pairs, and so converters, per output.
    pub fn pairs(self) -> usize {
        match self {
            Self::I => 1,
            Self::Iq => 2,
        }
    }
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
    /// Input-referred current noise of the amplifier, per sample.
    pub noise_a_per_rthz: Impairment,
    /// Dark current of one photodiode; a pair has two.
    pub dark_current_a: Impairment,
    /// Power of the local oscillator's intensity noise over what the pair's imbalance lets through.
    pub common_mode_rejection_db: Impairment,
    /// Standard deviation of one output's static phase error of the local oscillator.
    pub lo_phase_error_rad: Impairment,
    /// Standard deviation of the relative gain difference of an output's two quadratures, static;
    /// of account only with read-out `iq`.
    pub hybrid_gain_error: Impairment,
    /// Standard deviation of the angle by which an output's two quadratures miss 90°, static; of
    /// account only with read-out `iq`.
    pub hybrid_phase_error_rad: Impairment,
    /// Standard deviation of the time between an output's two quadratures, static, as far as
    /// calibration leaves it; of account only with read-out `iq`.
    pub iq_skew_s: Impairment,
    /// Half-power bandwidth of diode and amplifier; a slow one mixes neighboring symbols.
    pub bandwidth_hz: Impairment,
    /// Standard deviation of the sampling instant, per sample.
    pub jitter_s: Impairment,
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
    /// Effective number of bits, by the sine-wave definition `(SNDR - 1.76 dB) / 6.02 dB`; an ideal
    /// converter has all its bits.
    pub enob: Impairment,
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
    /// Effective number of bits, by the sine-wave definition `(SNDR - 1.76 dB) / 6.02 dB`; an ideal
    /// converter has all its bits.
    pub enob: Impairment,
    /// Energy per sample.
    pub energy_j: Quantity,
}

impl Dac {
    /// The effective number of bits; all of them for an ideal converter.
    pub fn effective_bits(&self) -> f64 {
        self.enob.quantity().map_or(f64::from(self.bits), |enob| enob.value)
    }
}

impl Adc {
    /// The effective number of bits; all of them for an ideal converter.
    pub fn effective_bits(&self) -> f64 {
        self.enob.quantity().map_or(f64::from(self.bits), |enob| enob.value)
    }
}

/// `[cell]`: what calibration leaves of a cell's static errors, and what holding it costs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cell {
    /// Standard deviation of the static phase error of one cell.
    pub phase_error_rad: Impairment,
    /// Standard deviation of the static relative amplitude error of one cell.
    pub amplitude_error: Impairment,
    /// Phase that a drive shows in a cell 23 µm away, as a fraction of the drive.
    pub thermal_crosstalk: Impairment,
    /// Exponential decay of that fraction over distance, beyond 23 µm.
    pub thermal_decay_per_um: Quantity,
    /// Fraction of the thermal crosstalk that calibration leaves.
    pub crosstalk_residual: Impairment,
    /// Phase common to all cells when every cell of the array is driven at a full turn, as far as
    /// calibration leaves it; it follows the mean drive of the tile.
    pub heating_phase_rad: Impairment,
    /// Standard deviation of a cell's phase long after calibration, a random walk with restoring
    /// force (Ornstein and Uhlenbeck).
    pub drift_rad: Impairment,
    /// Time in which the drift forgets.
    pub drift_time_s: Quantity,
    /// Time since calibration and writing: what has drifted and faded until then is what the chip
    /// shows.
    pub age_s: Quantity,
    /// Fraction of cells that let no light through, whatever is programmed.
    pub dead_fraction: Impairment,
    /// Fraction of cells that hold one random weight, whatever is programmed.
    pub stuck_fraction: Impairment,
    /// From the last drive of a bank until its weights are within their stated error.
    pub settling_s: Quantity,
    /// Fraction of the way from the weight held before that is left then: `e^(-t/τ)` of a phase shifter.
    pub settling_residual: Impairment,
    /// Power to hold one cell's weight.
    pub hold_power_w: Quantity,
}

/// `[ring]`: the two rings of a cell, where the cells are ring pairs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ring {
    /// Field that stays on the bus at a coupler, as a fraction.
    pub self_coupling: Quantity,
    /// Field that is left after one turn in a ring, as a fraction.
    pub round_trip: Quantity,
    /// Free spectral range.
    pub spectral_range_nm: Quantity,
    /// Radius of a ring.
    pub radius_um: Quantity,
    /// Standard deviation of one ring's static error in round-trip phase.
    pub detuning_error_rad: Impairment,
}

/// `[phase_change]`: the film of a cell, where the cells are of phase-change material.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PhaseChange {
    /// Bits of amplitude that the film holds, in levels evenly spaced from none to full.
    pub level_bits: u8,
    /// Standard deviation of one cell's amplitude after writing, over full scale.
    pub write_error: Impairment,
    /// Relative loss of amplitude for each tenfold time since writing, from one second on.
    pub drift_per_decade: Impairment,
    /// Writes until a cell is worn out.
    pub endurance_writes: Quantity,
}

/// `[weights]`: how weights reach the cells.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Weights {
    /// Weight code width, sign included; two codes make one complex cell.
    pub bits: u8,
    /// Rate at which weight codes reach the cell drivers, one byte per code.
    pub load_bytes_per_s: Quantity,
    /// Rate of the channel from where the weights are kept, shared by the loaders of all arrays. Its
    /// latency is hidden: a program says long before which tile comes next.
    pub fetch_bytes_per_s: Quantity,
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
    /// Rate of one port, reads and writes together; the host link has a port for each direction,
    /// the vector unit has one, and each array has one for its inputs.
    pub port_bytes_per_s: Quantity,
    /// Rate of the memory that holds the partial sums of one array, reads and writes together.
    pub accumulator_bytes_per_s: Quantity,
    /// Energy per byte read or written.
    pub sram_energy_j_per_byte: Quantity,
}

/// `[command]`: the processor that reads a program's steps and hands them out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Command {
    /// Time for each step.
    pub issue_s: Quantity,
    /// Energy for each step.
    pub energy_j: Quantity,
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
