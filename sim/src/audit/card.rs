//! A description as the audit reads it: plain numbers, whole card, full utilization.

use super::decibels;
use crate::Terms;
use crate::budget::{Budget, Source, Statistics};
use crate::fold;
use litecore_types::chip::guide::GROUP_INDEX;
use litecore_types::chip::{ChipDescription, Dataflow, Readout};

/// One lithography field, 26 mm by 33 mm.
pub(super) const RETICLE_MM2: f64 = 26.0 * 33.0;
/// Speed of light in meters per second, exact in the SI.
pub(super) const LIGHT_SPEED_M_PER_S: f64 = 299_792_458.0;
/// Energy of a photon times its vacuum wavelength in joule meters, `h c`.
const PLANCK_LIGHT_J_M: f64 = 1.986_445_857e-25;

/// What precision a chip reaches on uniform data.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reach {
    pub(super) snr_rms_db: f64,
    pub(super) snr_fs_db: f64,
    /// The parts of the noise with their SNR, strongest noise first.
    pub(super) parts: Vec<(&'static str, f64)>,
}

/// One description and what the audit asks of it.
#[derive(Debug)]
pub(super) struct Card<'a> {
    chip: &'a ChipDescription,
    reach: Reach,
}

impl<'a> Card<'a> {
    pub(super) fn of(chip: &'a ChipDescription) -> Self {
        Self { chip, reach: reach(chip) }
    }

    pub(super) fn chip(&self) -> &'a ChipDescription {
        self.chip
    }

    pub(super) fn reach(&self) -> &Reach {
        &self.reach
    }

    pub(super) fn rows(&self) -> f64 {
        self.chip.array.inputs as f64
    }

    pub(super) fn columns(&self) -> f64 {
        self.chip.array.outputs as f64
    }

    pub(super) fn wavelengths(&self) -> f64 {
        self.chip.array.wavelengths as f64
    }

    /// Cells on the card.
    pub(super) fn cells(&self) -> f64 {
        self.chip.array.arrays as f64 * self.rows() * self.columns()
    }

    /// Wavelengths on the card, each in each array counted.
    pub(super) fn waves(&self) -> f64 {
        self.chip.array.arrays as f64 * self.wavelengths()
    }

    pub(super) fn rate(&self) -> f64 {
        self.chip.clock.symbol_rate_hz.value
    }

    /// Whether both operands are streamed, and nothing is held.
    pub(super) fn streams(&self) -> bool {
        self.chip.array.dataflow == Dataflow::OutputStationary
    }

    fn pairs(&self) -> f64 {
        self.chip.receiver.readout.pairs() as f64
    }

    /// Conversions per second on the input side.
    pub(super) fn drives_per_s(&self) -> f64 {
        self.waves() * 2.0 * self.rows() * self.rate()
    }

    /// Conversions per second of weights that are streamed.
    pub(super) fn weight_drives_per_s(&self) -> f64 {
        if self.streams() { self.waves() * 2.0 * self.columns() * self.rate() } else { 0.0 }
    }

    /// Samples per second on the output side.
    pub(super) fn samples_per_s(&self) -> f64 {
        self.waves() * self.pairs() * self.columns() * self.rate()
    }

    pub(super) fn cmacs_per_s(&self) -> f64 {
        self.cells() * self.wavelengths() * self.rate()
    }

    pub(super) fn useful_macs_per_s(&self) -> f64 {
        2.0 * self.cmacs_per_s()
    }

    // Light.

    pub(super) fn excess_loss_db(&self) -> f64 {
        self.chip.path.excess_loss_db(self.chip.array.inputs)
    }

    /// Beams that share the laser: the inputs', and the weights' where they are light as well.
    pub(super) fn beams(&self) -> f64 {
        if self.streams() { 2.0 } else { 1.0 }
    }

    /// Rows whose light one column combines.
    pub(super) fn combined(&self) -> f64 {
        if self.streams() { 1.0 } else { self.rows() }
    }

    /// What of the light of full drive, all aligned, uniform data bring to a detector.
    pub(super) fn uniform_share(&self) -> f64 {
        if self.streams() { 1.0 / 3.0 } else { 1.0 / (9.0 * self.rows()) }
    }

    pub(super) fn transmission(&self) -> f64 {
        decibels::power_ratio(-self.excess_loss_db())
    }

    pub(super) fn photons_per_cmac(&self) -> f64 {
        self.signal_w() / (self.rate() * self.rows() * self.columns() * self.photon_j())
    }

    /// Energy of one photon.
    pub(super) fn photon_j(&self) -> f64 {
        PLANCK_LIGHT_J_M / (self.chip.laser.wavelength_nm.value * 1e-9)
    }

    pub(super) fn efficiency(&self) -> f64 {
        self.chip.receiver.quantum_efficiency.value
    }

    pub(super) fn shot_snr_rms_db(&self) -> f64 {
        let detected = self.efficiency() * self.photons_per_cmac() * self.transmission();
        if self.streams() {
            // A third of the light of full drive, and half of the field's power in one quadrature;
            // a hybrid halves the light of each.
            return decibels::of(detected / 6.0 / self.pairs());
        }
        let kappa = match self.chip.receiver.readout {
            Readout::I => 4.0,
            Readout::Iq => 2.0,
        };
        decibels::of(kappa * detected / 18.0)
    }

    pub(super) fn rin_limit_db(&self) -> f64 {
        let rin = self.chip.laser.rin_db_per_hz.quantity();
        rin.map_or(f64::INFINITY, |rin| -rin.value - decibels::of(self.rate() / 2.0))
    }

    pub(super) fn smallest_input_field(&self) -> f64 {
        let extinction = self.chip.modulator.extinction_db.quantity();
        extinction.map_or(0.0, |ratio| decibels::power_ratio(-ratio.value / 2.0))
    }

    /// All light of one array before it is divided.
    pub(super) fn feed_w(&self) -> f64 {
        self.wavelengths() * self.signal_w()
    }

    /// Light in the guide of one row.
    pub(super) fn row_w(&self) -> f64 {
        self.feed_w() / (self.beams() * self.rows())
    }

    /// Largest light in one cell: where it is of rings, what gathers in the first at resonance, where
    /// the bus brings `(1 - r²) / (1 - r² a)²` times its light into the ring.
    pub(super) fn cell_w(&self) -> f64 {
        let gathered = self.chip.ring.as_ref().map_or(1.0, |ring| {
            let stays = ring.self_coupling.value * ring.self_coupling.value;
            let left = 1.0 - stays * ring.round_trip.value;
            (1.0 - stays) / (left * left)
        });
        self.row_w() / self.columns() * gathered
    }

    // Watts and joules.

    pub(super) fn signal_w(&self) -> f64 {
        self.chip.laser.power_w.value
    }

    pub(super) fn oscillator_w(&self) -> f64 {
        if self.streams() { 0.0 } else { self.chip.receiver.lo_power_w.value }
    }

    pub(super) fn wall_plug(&self) -> f64 {
        self.chip.laser.wall_plug_efficiency.value
    }

    pub(super) fn dac_j(&self) -> f64 {
        self.chip.dac.energy_j.value
    }

    pub(super) fn modulator_j(&self) -> f64 {
        self.chip.dac.modulator_energy_j.value
    }

    pub(super) fn receiver_j(&self) -> f64 {
        self.chip.receiver.energy_j.value
    }

    pub(super) fn adc_j(&self) -> f64 {
        self.chip.adc.energy_j.value
    }

    pub(super) fn hold_w(&self) -> f64 {
        if self.streams() { 0.0 } else { self.chip.cell.hold_power_w.value }
    }

    /// Electrical power behind all the light.
    pub(super) fn optics_w(&self) -> f64 {
        let light = self.signal_w() + self.columns() * self.oscillator_w();
        self.waves() * light / self.wall_plug()
    }

    /// Buffers and accumulators: a byte per drive, four per sample read and written back.
    pub(super) fn digital_w(&self) -> f64 {
        let bytes_per_s =
            self.drives_per_s() + self.weight_drives_per_s() + 8.0 * self.samples_per_s();
        bytes_per_s * self.chip.memory.sram_energy_j_per_byte.value
            + self.samples_per_s() * self.chip.vector.energy_j_per_element.value
    }

    /// Power of the converters of all operands that are streamed.
    pub(super) fn dac_w(&self) -> f64 {
        self.drives_per_s() * self.dac_j()
            + self.weight_drives_per_s() * self.chip.weights.dac_energy_j.value
    }

    /// Power of the modulators of all operands that are streamed.
    pub(super) fn modulator_w(&self) -> f64 {
        (self.drives_per_s() + self.weight_drives_per_s()) * self.modulator_j()
    }

    pub(super) fn core_w(&self) -> f64 {
        self.optics_w()
            + self.dac_w()
            + self.modulator_w()
            + self.samples_per_s() * (self.receiver_j() + self.adc_j())
            + self.digital_w()
            + self.cells() * self.hold_w()
    }

    pub(super) fn weight_j(&self) -> f64 {
        let weights = &self.chip.weights;
        if self.streams() {
            return 2.0
                * (weights.fetch_energy_j_per_byte.value
                    + self.chip.memory.sram_energy_j_per_byte.value);
        }
        2.0 * (weights.fetch_energy_j_per_byte.value + weights.dac_energy_j.value)
    }

    // Bytes and seconds.

    pub(super) fn input_bytes(&self) -> f64 {
        f64::from(self.chip.dac.bits) / 8.0
    }

    pub(super) fn output_bytes(&self) -> f64 {
        f64::from(self.chip.adc.bits) / 8.0
    }

    /// Symbols per second that the host link feeds on one wavelength of one array, in the busier
    /// direction.
    pub(super) fn link_symbol_rate_hz(&self) -> f64 {
        let into = 2.0 * self.rows() * self.input_bytes();
        let out = self.pairs() * self.columns() * self.output_bytes();
        self.chip.host.bytes_per_s.value / into.max(out)
    }

    pub(super) fn weight_load_s(&self) -> f64 {
        2.0 * self.rows() * self.columns() / self.chip.weights.load_bytes_per_s.value
    }

    pub(super) fn settling_s(&self) -> f64 {
        if self.streams() { 0.0 } else { self.chip.cell.settling_s.value }
    }

    /// How often each cell is written where tiles follow one another without end.
    pub(super) fn cell_writes_per_s(&self) -> f64 {
        (self.weight_load_s() + self.settling_s()).recip()
    }

    /// From the first symbol of a vector to its last.
    pub(super) fn vector_s(&self) -> f64 {
        if self.streams() { self.rows() / self.rate() } else { self.rate().recip() }
    }

    pub(super) fn pipeline_s(&self) -> f64 {
        self.chip.receiver.pipeline_s.value
    }

    pub(super) fn flight_s(&self) -> f64 {
        let side_m = self.rows().max(self.columns()) * self.pitch_mm() * 1e-3;
        GROUP_INDEX * side_m / LIGHT_SPEED_M_PER_S
    }

    // Geometry.

    pub(super) fn pitch_mm(&self) -> f64 {
        self.chip.array.pitch_um.value * 1e-3
    }

    pub(super) fn array_mm2(&self) -> f64 {
        self.rows() * self.columns() * self.pitch_mm() * self.pitch_mm()
    }

    pub(super) fn neighbor_crosstalk(&self) -> f64 {
        fold::neighbor_share(self.chip)
    }
}

/// The budget at the largest gain that still holds four standard deviations of uniform data.
fn reach(chip: &ChipDescription) -> Reach {
    let half_range = |shift: u8| (1_u64 << (shift + chip.adc.bits - 1).min(62)) as f64;
    let shifts = chip.gain_shifts();
    let sigma = Statistics::uniform(chip, 0).mean_square_sum.sqrt();
    let shift = shifts.clone().find(|shift| half_range(*shift) >= 4.0 * sigma);
    let statistics = Statistics::uniform(chip, shift.unwrap_or(*shifts.end()));
    let budget = Budget::predict(chip, Terms::all(), &statistics);
    let mut parts: Vec<(&'static str, f64)> = budget
        .parts
        .iter()
        .map(|(source, part)| (Source::name(*source), part.snr_rms_db))
        .collect();
    parts.sort_by(|a, b| a.1.total_cmp(&b.1));
    let snr_rms_db = budget.total.snr_rms_db;
    let snr_fs_db = snr_rms_db + decibels::of(18.0 * chip.array.inputs as f64);
    Reach { snr_rms_db, snr_fs_db, parts }
}
