//! The figures that follow from a description alone, each with its formula.

use super::card::Card;
use super::decibels;

/// What a figure is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Loss and photons.
    Light,
    /// Signal over noise.
    Precision,
    /// Power by part, at full utilization.
    Power,
    /// Energy per operation, at full utilization.
    Energy,
    /// Operations and bytes per second.
    Rate,
    /// Durations.
    Time,
    /// Lengths, areas and what is spread over them.
    Geometry,
}

macro_rules! figures {
    ($($(#[doc = $doc:literal])+ $name:ident, $key:literal, $label:literal, $unit:literal, $group:ident, |$card:ident| $formula:expr;)+) => {
        /// A figure that follows from a description alone.
        ///
        /// Symbols: N rows, M columns, A arrays, K wavelengths, f symbol rate, `P_L` signal light per
        /// wavelength, `P_LO` oscillator light per output, p balanced pairs per output, `t²` the
        /// transmission that excess loss leaves, η electrons per photon, W wall-plug efficiency.
        ///
        /// Where both operands are streamed, N and M are their lanes: two beams share the laser, no
        /// combiner and no oscillator is there, and weights are converted like inputs.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Figure {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Figure {
            /// Every figure, in the order of reports.
            pub const ALL: [Self; [$($key),+].len()] = [$(Self::$name),+];

            /// The key in machine-readable reports, its unit included.
            pub fn key(self) -> &'static str {
                match self { $(Self::$name => $key,)+ }
            }

            /// What it is, in a few words.
            pub fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)+ }
            }

            /// The unit; empty for a bare number.
            pub fn unit(self) -> &'static str {
                match self { $(Self::$name => $unit,)+ }
            }

            /// What it is about.
            pub fn group(self) -> Group {
                match self { $(Self::$name => Group::$group,)+ }
            }

            pub(super) fn of(self, card: &Card<'_>) -> f64 {
                match self { $(Self::$name => { let $card = card; $formula })+ }
            }
        }
    };
}

figures! {
    /// `insertion + N/2 · crossing`: what is lost beside the ideal splits and the combiner.
    ExcessLossDb, "excess_loss_db", "excess loss", "dB", Light, |c| c.excess_loss_db();
    /// `10 log N`: one laser feeds N rows; `10 log 2N` where it feeds as many beams of weights.
    InputSplitDb, "input_split_db", "1:N split", "dB", Light, |c| decibels::of(c.rows() * c.beams());
    /// `10 log M`: one row feeds M columns.
    RowSplitDb, "row_split_db", "1:M split", "dB", Light, |c| decibels::of(c.columns());
    /// `10 log N`: what the combiner loses of one row's light alone; nothing where there is none.
    CombinerDb, "combiner_db", "N:1 combiner, one row lit", "dB", Light,
        |c| decibels::of(c.combined());
    /// `excess + 10 log M`: laser to one detector, every field aligned and at full scale;
    /// `excess + 10 log N M` where two lanes meet in it.
    FullScaleLossDb, "full_scale_loss_db", "laser to detector, all aligned", "dB", Light,
        |c| c.excess_loss_db() + decibels::of(c.columns() * c.rows() / c.combined());
    /// `excess + 10 log(N² M)`: laser to one detector through one cell alone; `10 log 2NM` for one
    /// beam.
    OneCellLossDb, "one_cell_loss_db", "laser to detector, one cell lit", "dB", Light,
        |c| c.excess_loss_db() + decibels::of(c.rows() * c.columns() * c.combined() * c.beams());
    /// `P_L / (f N M ħω)`.
    LaunchedPhotonsPerCmac, "launched_photons_per_cmac", "photons per cMAC, launched", "", Light,
        |c| c.photons_per_cmac();
    /// `η t² P_L / (f N M ħω)`: photoelectrons, every field aligned and at full scale.
    DetectedPhotonsPerCmac, "detected_photons_per_cmac", "photons per cMAC, detected, all aligned", "",
        Light, |c| c.photons_per_cmac() * c.transmission() * c.efficiency();
    /// The same times `1/(9 N)`: independent uniform data, most of it lost in the combiner; times
    /// 1/3 where there is none.
    DetectedPhotonsPerCmacUniform, "detected_photons_per_cmac_uniform",
        "photons per cMAC, detected, uniform data", "", Light,
        |c| c.photons_per_cmac() * c.transmission() * c.efficiency() * c.uniform_share();
    /// `10 log(κ η n t² / 18)`, κ = 4 for one quadrature and 2 for both: shot noise alone, uniform
    /// data; `10 log(η n t² / 6p)` where both operands are streamed.
    ShotSnrRmsDb, "shot_snr_rms_db", "SNR rms by shot noise alone", "dB", Precision,
        |c| c.shot_snr_rms_db();
    /// Every term of the budget, uniform data, the largest gain that holds four standard deviations.
    SnrRmsDb, "snr_rms_db", "SNR rms, uniform data", "dB", Precision, |c| c.reach().snr_rms_db;
    /// The same noise against a full-scale output: `SNR_rms · 18 N`.
    SnrFsDb, "snr_fs_db", "SNR of full scale", "dB", Precision, |c| c.reach().snr_fs_db;
    /// `(SNR_rms - 1.76 dB) / 6.02 dB`; negative where the noise is above the signal.
    BitsRms, "bits_rms", "bits relative to a typical output", "bit", Precision,
        |c| (c.reach().snr_rms_db - 1.76) / 6.02;
    /// `-RIN - 10 log(f/2)`: what intensity noise of the laser allows; infinite without any.
    RinLimitDb, "rin_limit_db", "SNR allowed by laser intensity noise", "dB", Precision,
        |c| c.rin_limit_db();
    /// `A K P_L / W`.
    SignalLaserPowerW, "signal_laser_power_w", "signal lasers", "W", Power,
        |c| c.waves() * c.signal_w() / c.wall_plug();
    /// `A K M P_LO / W`.
    OscillatorPowerW, "oscillator_power_w", "local oscillators", "W", Power,
        |c| c.waves() * c.columns() * c.oscillator_w() / c.wall_plug();
    /// `A K 2N f E_DAC`: both quadratures of every row; and of every weight lane.
    DacPowerW, "dac_power_w", "input converters", "W", Power, |c| c.dac_w();
    /// `A K 2N f E_mod`; with weight lanes `A K 2 (N + M) f E_mod`.
    ModulatorPowerW, "modulator_power_w", "modulators and drivers", "W", Power,
        |c| c.modulator_w();
    /// `A K p M f E_amp`.
    ReceiverPowerW, "receiver_power_w", "receiver amplifiers", "W", Power,
        |c| c.samples_per_s() * c.receiver_j();
    /// `A K p M f E_ADC`.
    AdcPowerW, "adc_power_w", "output converters", "W", Power, |c| c.samples_per_s() * c.adc_j();
    /// `A K f (2N + 8 p M) E_SRAM + A K p M f E_op`: a byte per drive, four per sample read and
    /// written back, one addition per sample.
    DigitalPowerW, "digital_power_w", "memory and accumulators", "W", Power, |c| c.digital_w();
    /// `A N M P_cell`.
    HoldPowerW, "hold_power_w", "holding the weights", "W", Power, |c| c.cells() * c.hold_w();
    /// The sum of the eight above.
    CorePowerW, "core_power_w", "core", "W", Power, |c| c.core_w();
    /// `A K P_L / (W · cMAC/s)` and the oscillators: light alone.
    OpticsEnergyPerCmacJ, "optics_energy_per_cmac_j", "optics, per cMAC", "J", Energy,
        |c| c.optics_w() / c.cmacs_per_s();
    /// `P_cell / (K f)`.
    HoldEnergyPerCmacJ, "hold_energy_per_cmac_j", "hold, per cMAC", "J", Energy,
        |c| c.cells() * c.hold_w() / c.cmacs_per_s();
    /// Core power over cMAC per second: without weight fetch.
    CoreEnergyPerCmacJ, "core_energy_per_cmac_j", "core, per cMAC", "J", Energy,
        |c| c.core_w() / c.cmacs_per_s();
    /// Half of it: two useful real products per cMAC in conjugate folding.
    CoreEnergyPerUsefulMacJ, "core_energy_per_useful_mac_j", "core, per useful real MAC", "J", Energy,
        |c| c.core_w() / c.useful_macs_per_s();
    /// Fetching and converting two codes: what a cell costs for each weight load.
    WeightEnergyPerCellJ, "weight_energy_per_cell_j", "weight fetch, per cell and load", "J", Energy,
        |c| c.weight_j();
    /// `A N M K f`.
    CmacsPerS, "cmacs_per_s", "peak complex MACs", "cMAC/s", Rate, |c| c.cmacs_per_s();
    /// `2 A N M K f`: unstructured real matrices.
    UsefulMacsPerS, "useful_macs_per_s", "peak useful real MACs", "MAC/s", Rate,
        |c| c.useful_macs_per_s();
    /// `A K 2N f b/8`, b input bits.
    InputBytesPerS, "input_bytes_per_s", "inputs the arrays need", "B/s", Rate,
        |c| c.drives_per_s() * c.input_bytes();
    /// `A K p M f b/8`, b output bits.
    OutputBytesPerS, "output_bytes_per_s", "outputs the arrays give", "B/s", Rate,
        |c| c.samples_per_s() * c.output_bytes();
    /// Link rate over the bytes of one symbol on all wavelengths, in the busier direction.
    LinkSymbolRateHz, "link_symbol_rate_hz", "symbols the host link can feed", "Hz", Rate,
        |c| c.link_symbol_rate_hz() / c.waves();
    /// The same with one wavelength of one array.
    LinkSymbolRateOneWavelengthHz, "link_symbol_rate_one_wavelength_hz",
        "the same, one wavelength", "Hz", Rate, |c| c.link_symbol_rate_hz();
    /// `2 N M` bytes over the load rate.
    WeightLoadS, "weight_load_s", "loading one array", "s", Time, |c| c.weight_load_s();
    /// Loading and settling.
    WeightUpdateS, "weight_update_s", "loading and settling", "s", Time,
        |c| c.weight_load_s() + c.settling_s();
    /// `K f` times that: symbols that must follow before computing takes as long as loading.
    BreakEvenSymbols, "break_even_symbols", "symbols per load to break even", "", Time,
        |c| (c.weight_load_s() + c.settling_s()) * c.rate() * c.wavelengths();
    /// `n_g L / c` over the array's longer side, group index 4.2.
    FlightTimeS, "flight_time_s", "light across the array", "s", Time, |c| c.flight_s();
    /// One symbol, or N where they are added up, and the longer of flight and the stated pipeline.
    MvmLatencyS, "mvm_latency_s", "one matrix-vector product", "s", Time,
        |c| c.vector_s() + c.flight_s().max(c.pipeline_s());
    /// `M · pitch`.
    ArrayWidthMm, "array_width_mm", "array width", "mm", Geometry, |c| c.columns() * c.pitch_mm();
    /// `N · pitch`.
    ArrayHeightMm, "array_height_mm", "array height", "mm", Geometry, |c| c.rows() * c.pitch_mm();
    /// `N M · pitch²` over a lithography field of 26 mm × 33 mm.
    ReticlesPerArray, "reticles_per_array", "share of a 26 mm x 33 mm field", "", Geometry,
        |c| c.array_mm2() / super::card::RETICLE_MM2;
    /// Held power of a cell over its area.
    HoldWPerCm2, "hold_w_per_cm2", "hold power over the array", "W/cm²", Geometry,
        |c| c.hold_w() / (c.pitch_mm() * c.pitch_mm() * 0.01);
    /// Drive that the nearest cell sees as phase: the fraction at 23 µm carried to the pitch, by its
    /// decay beyond and by the published near field below.
    NeighborCrosstalk, "neighbor_crosstalk", "a drive seen by the next cell", "", Geometry,
        |c| c.neighbor_crosstalk();
    /// `K P_L / N`: one row's guide before any loss; half of it where weights are light as well.
    RowLightW, "row_light_w", "light in one row's guide", "W", Light, |c| c.row_w();
    /// The same over M; in a ring at resonance `(1 - r²) / (1 - r² a)²` times as much.
    CellLightW, "cell_light_w", "light in one cell", "W", Light, |c| c.cell_w();
    /// One over loading and settling: tile after tile without end.
    CellWritesPerS, "cell_writes_per_s", "writes of each cell, at most", "Hz", Rate,
        |c| c.cell_writes_per_s();
    /// `10^(-ER/20)`: what leaks of a full drive, as a field.
    SmallestInputField, "smallest_input_field", "field that leaks past a modulator", "", Light,
        |c| c.smallest_input_field();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::card::Card;
    use litecore_types::chip::{ChipDescription, Impairment, Readout, builtin};

    fn figure(chip: &ChipDescription, figure: Figure) -> f64 {
        figure.of(&Card::of(chip))
    }

    #[track_caller]
    fn close(chip: &ChipDescription, which: Figure, expected: f64, relative: f64) {
        let value = figure(chip, which);
        let off = (value - expected).abs();
        assert!(off <= relative * expected.abs(), "{which:?}: {value} against {expected}");
    }

    /// 20 mW per wavelength into 1024 x 1024 cells at 10 GHz, both quadratures.
    fn large() -> ChipDescription {
        let mut chip = builtin("ref-64-eo").unwrap();
        (chip.array.inputs, chip.array.outputs) = (1024, 1024);
        chip.laser.power_w.value = 0.020;
        chip.clock.symbol_rate_hz.value = 10.0e9;
        chip.path.insertion_loss_db.value = 6.3;
        chip.path.crossing_loss_db = Impairment::Ideal;
        chip.receiver.readout = Readout::Iq;
        chip.array.pitch_um.value = 10.0;
        chip
    }

    #[test]
    fn a_large_array_at_twenty_milliwatts_is_below_its_noise() {
        let chip = large();
        close(&chip, Figure::LaunchedPhotonsPerCmac, 14.9, 0.003);
        // 2 · 0.8 · 14.88 · 0.2344 / 18 = 0.310.
        close(&chip, Figure::ShotSnrRmsDb, -5.09, 0.005);
        // All terms together are a little worse; full scale is 10 log(18 · 1024) = 42.7 dB above.
        let (rms, full_scale) = (figure(&chip, Figure::SnrRmsDb), figure(&chip, Figure::SnrFsDb));
        assert!((-7.0..-5.1).contains(&rms), "{rms}");
        assert!((35.6..37.6).contains(&full_scale), "{full_scale}");
        close(&chip, Figure::RowSplitDb, 30.1, 0.001);
        close(&chip, Figure::FullScaleLossDb, 36.4, 0.001);
        close(&chip, Figure::OneCellLossDb, 96.6, 0.001);
        // 10.24 mm of silicon.
        close(&chip, Figure::FlightTimeS, 143e-12, 0.01);
        close(&chip, Figure::ReticlesPerArray, 104.86 / 858.0, 1e-3);
    }

    #[test]
    fn rates_count_every_cell_wavelength_and_array() {
        let mut chip = large();
        chip.array.wavelengths = 64;
        close(&chip, Figure::CmacsPerS, 6.71e17, 1e-3);
        close(&chip, Figure::UsefulMacsPerS, 1.342e18, 1e-3);
        // 1024 · 2 · 8 bit · 10 GHz on each wavelength.
        close(&chip, Figure::InputBytesPerS, 64.0 * 1.638e14 / 8.0, 1e-3);
        close(&chip, Figure::OutputBytesPerS, 64.0 * 1.638e14 / 8.0, 1e-3);
        chip.host.bytes_per_s.value = 256.0e9;
        close(&chip, Figure::LinkSymbolRateOneWavelengthHz, 125.0e6, 1e-9);
        close(&chip, Figure::LinkSymbolRateHz, 125.0e6 / 64.0, 1e-9);
        // 2 M codes over 512 GB/s.
        chip.weights.load_bytes_per_s.value = 512.0e9;
        close(&chip, Figure::WeightLoadS, 4.096e-6, 1e-3);
    }

    /// The near-term column for 64 x 64 cells at 10 GHz: 97 fJ per cMAC in converters, memory and
    /// oscillators, one picojoule converters, 0.3 pJ amplifier, one ADC per column.
    #[test]
    fn the_near_term_array_of_64_costs_what_the_slide_rule_says() {
        let mut chip = builtin("ref-64-eo").unwrap();
        chip.clock.symbol_rate_hz.value = 10.0e9;
        chip.receiver.lo_power_w.value = 1.0e-3;
        chip.vector.energy_j_per_element.value = 0.0;
        // Four bytes of 0.5 pJ per row, where the ledger counts ten.
        chip.memory.sram_energy_j_per_byte.value = 0.2e-12;
        // 2 · 1.05 pJ, 1.58 pJ, 2 pJ and 5 mW / 10 GHz, each over 64, and 0.1 fJ to hold.
        let by_hand: f64 = (2.1e-12 + 1.58e-12 + 2.0e-12 + 0.5e-12) / 64.0 + 1.0e-16;
        assert!((by_hand / 97.0e-15 - 1.0).abs() < 0.01);
        let laser = figure(&chip, Figure::SignalLaserPowerW) / figure(&chip, Figure::CmacsPerS);
        let rest = figure(&chip, Figure::CoreEnergyPerCmacJ) - laser;
        assert!((rest / by_hand - 1.0).abs() < 1e-9, "{rest} against {by_hand}");
        let halved = figure(&chip, Figure::CoreEnergyPerUsefulMacJ);
        close(&chip, Figure::CoreEnergyPerCmacJ, 2.0 * halved, 1e-12);
    }

    /// Two beams of 0.5 W / 2 over 64 lanes each and 64 detectors for each lane, 8.64 dB of loss.
    #[test]
    fn streamed_operands_share_the_laser_and_lose_nothing_in_a_combiner() {
        let chip = builtin("ref-64-os").unwrap();
        close(&chip, Figure::CombinerDb, 0.0, 1e-12);
        close(&chip, Figure::InputSplitDb, 21.07, 1e-3);
        close(&chip, Figure::FullScaleLossDb, 8.64 + 36.12, 1e-3);
        close(&chip, Figure::OneCellLossDb, 8.64 + 39.13, 1e-3);
        close(&chip, Figure::DetectedPhotonsPerCmacUniform, 4.763e5 * 0.8 * 0.13677 / 3.0, 1e-3);
        // Half of what the two beams bring: n/2 photons of signal for each of noise.
        close(&chip, Figure::ShotSnrRmsDb, 39.39, 1e-3);
        close(&chip, Figure::OscillatorPowerW, 0.0, 1e-12);
        // 256 drives of 1 pJ in each of 2e9 symbols.
        close(&chip, Figure::DacPowerW, 0.512, 1e-9);
        // 64 symbols of 0.5 ns, and the pipeline.
        close(&chip, Figure::MvmLatencyS, 42.0e-9, 1e-9);
        // The total is what all terms of the budget leave of it.
        assert!((28.0..36.0).contains(&figure(&chip, Figure::SnrRmsDb)));
    }

    #[test]
    fn parts_of_the_power_sum_to_the_core() {
        for name in ["ref-64-eo", "ref-64-os", "tiny-4"] {
            let chip = builtin(name).unwrap();
            let sum: f64 = Figure::ALL
                .into_iter()
                .filter(|f| f.group() == Group::Power && *f != Figure::CorePowerW)
                .map(|f| figure(&chip, f))
                .sum();
            close(&chip, Figure::CorePowerW, sum, 1e-12);
        }
    }

    #[test]
    fn a_leaking_modulator_and_a_hot_neighbor() {
        let mut chip = builtin("ref-64-eo").unwrap();
        chip.modulator.extinction_db = Impairment::set(10.0);
        close(&chip, Figure::SmallestInputField, 0.316, 0.001);
        chip.modulator.extinction_db = Impairment::Ideal;
        assert!(figure(&chip, Figure::SmallestInputField).abs() < f64::MIN_POSITIVE);
        chip.cell.thermal_crosstalk = Impairment::set(0.0115);
        chip.cell.thermal_decay_per_um.value = 0.1275;
        chip.array.pitch_um.value = 30.0;
        close(&chip, Figure::NeighborCrosstalk, 0.0047, 0.01);
        chip.laser.rin_db_per_hz = Impairment::set(-140.0);
        chip.clock.symbol_rate_hz.value = 10.0e9;
        close(&chip, Figure::RinLimitDb, 43.01, 1e-3);
    }

    #[test]
    fn every_figure_has_its_own_key_and_a_finite_value() {
        let chip = builtin("tiny-4").unwrap();
        let mut keys: Vec<&str> = Figure::ALL.into_iter().map(Figure::key).collect();
        for figure_ in Figure::ALL {
            assert!(figure(&chip, figure_).is_finite(), "{figure_:?}");
        }
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), Figure::ALL.len());
    }
}
