//! Which keys a chip description has, and what each accepts.

use super::claims::Claims;
use super::document::{Section, shown};
use super::guide::EFFECTIVE_INDEX;
use super::read::ChipIssue;
use super::sections::{
    Adc, Array, Cell, CellType, Clock, Command, Dac, Dataflow, Host, Laser, Memory, Modulator,
    OpticalPath, PhaseChange, Readout, Receiver, Ring, Vector, Weights,
};
use super::{ChipDescription, Range};
use Range::{NonNegative, Positive, Within};
use toml::Table;

/// What an error relative to the whole may be.
const FRACTION: Range = Range::Within(1e-9, 1.0);
/// What an error in phase may be: beyond half a turn it is no phase.
const ANGLE: Range = Range::Within(1e-9, std::f64::consts::PI);
/// What stray light over the light meant may be, in decibels.
const RATIO_DB: Range = Range::Within(-200.0, -1e-3);

pub(super) fn description(root: &mut Table, issues: &mut Vec<ChipIssue>) -> ChipDescription {
    let claims = Claims::take(root, issues);
    let mut top = Section::root(root, issues);
    let name = top.name("name");
    let summary = top.text("summary");
    let array = top.section("array", array);
    let clock =
        top.section("clock", |s| Clock { symbol_rate_hz: s.quantity("symbol_rate_hz", Positive) });
    let laser = top.section("laser", laser);
    let path = top.section("path", path);
    let modulator = top.section("modulator", modulator);
    let receiver = top.section("receiver", receiver);
    let dac = top.section("dac", |s| Dac {
        bits: s.small("bits", 2, 8),
        enob: s.impairment("enob", Within(1.0, 8.0)),
        energy_j: s.quantity("energy_j", NonNegative),
        modulator_energy_j: s.quantity("modulator_energy_j", NonNegative),
    });
    let adc = top.section("adc", |s| Adc {
        bits: s.small("bits", 2, 16),
        enob: s.impairment("enob", Within(1.0, 16.0)),
        energy_j: s.quantity("energy_j", NonNegative),
    });
    check_converters(&dac, &adc, &mut top);
    // Where a number is wrong by itself, what it does with others says no more.
    if top.is_sound() {
        check_pitch(&array, &laser, &mut top);
        check_times(&clock, &modulator, &receiver, &mut top);
    }
    let cell = top.section("cell", cell);
    let kind = array.cell_type;
    check_dataflow(&array, &mut top);
    let ring = top.section_if(
        kind == CellType::RingPair,
        "array.cell_type = \"ring_pair\"",
        "ring",
        |s| Ring {
            self_coupling: s.quantity("self_coupling", Within(0.01, 0.9999)),
            round_trip: s.quantity("round_trip", Within(0.01, 1.0)),
            spectral_range_nm: s.quantity("spectral_range_nm", Positive),
            radius_um: s.quantity("radius_um", Positive),
            detuning_error_rad: s.impairment("detuning_error_rad", ANGLE),
        },
    );
    let phase_change = top.section_if(
        kind == CellType::PhaseChange,
        "array.cell_type = \"phase_change\"",
        "phase_change",
        |s| PhaseChange {
            level_bits: s.small("level_bits", 1, 12),
            write_error: s.impairment("write_error", FRACTION),
            drift_per_decade: s.impairment("drift_per_decade", FRACTION),
            endurance_writes: s.quantity("endurance_writes", Positive),
        },
    );
    let weights = top.section("weights", weights);
    let memory = top.section("memory", memory);
    let command = top.section("command", |s| Command {
        issue_s: s.quantity("issue_s", NonNegative),
        energy_j: s.quantity("energy_j", NonNegative),
    });
    let vector = top.section("vector", |s| Vector {
        elements_per_s: s.quantity("elements_per_s", Positive),
        latency_s: s.quantity("latency_s", NonNegative),
        energy_j_per_element: s.quantity("energy_j_per_element", NonNegative),
    });
    let host = top.section("host", |s| Host {
        bytes_per_s: s.quantity("bytes_per_s", Positive),
        latency_s: s.quantity("latency_s", NonNegative),
        energy_j_per_byte: s.quantity("energy_j_per_byte", NonNegative),
    });
    top.finish();
    ChipDescription {
        name,
        summary,
        array,
        clock,
        laser,
        path,
        modulator,
        receiver,
        dac,
        adc,
        cell,
        ring,
        phase_change,
        weights,
        memory,
        command,
        vector,
        host,
        claims,
    }
}

/// No converter has more effective bits than bits.
fn check_converters(dac: &Dac, adc: &Adc, top: &mut Section<'_>) {
    for (key, effective, bits) in
        [("dac.enob", dac.effective_bits(), dac.bits), ("adc.enob", adc.effective_bits(), adc.bits)]
    {
        if effective > f64::from(bits) {
            top.report(
                key,
                format!(
                    "is {effective}, more than the converter's {bits} bits; expected at most these"
                ),
            );
        }
    }
}

/// No two cells lie closer than a wavelength in the guide: their light would be one.
fn check_pitch(array: &Array, laser: &Laser, top: &mut Section<'_>) {
    let guided_um = laser.wavelength_nm.value * 1e-3 / EFFECTIVE_INDEX;
    let pitch_um = array.pitch_um.value;
    if pitch_um < guided_um {
        top.report(
            "array.pitch_um.value",
            format!(
                "is {}; expected {guided_um:.2} or more, the wavelength of {} nm in a guide",
                shown(pitch_um),
                laser.wavelength_nm.value
            ),
        );
    }
}

/// An instant that is uncertain by half a symbol and more belongs to no symbol.
fn check_times(clock: &Clock, modulator: &Modulator, receiver: &Receiver, top: &mut Section<'_>) {
    let half_s = 0.5 / clock.symbol_rate_hz.value;
    for (key, time) in [
        ("modulator.iq_skew_s", &modulator.iq_skew_s),
        ("receiver.iq_skew_s", &receiver.iq_skew_s),
        ("receiver.jitter_s", &receiver.jitter_s),
    ] {
        if let Some(time) = time.quantity().filter(|time| time.value >= half_s) {
            let (is, half) = (shown(time.value), shown(half_s));
            top.report(
                &format!("{key}.value"),
                format!("is {is}; expected less than {half}, half a symbol"),
            );
        }
    }
}

/// What streams both operands has nothing to hold.
fn check_dataflow(array: &Array, top: &mut Section<'_>) {
    if array.dataflow == Dataflow::OutputStationary && array.cell_type != CellType::Interferometer {
        top.report(
            "array.cell_type",
            "an output_stationary array holds no weights in rings or films; expected interferometer",
        );
    }
}

fn array(s: &mut Section<'_>) -> Array {
    Array {
        inputs: s.count("inputs", 1, 4096),
        outputs: s.count("outputs", 1, 4096),
        arrays: s.count("arrays", 1, 1024),
        banks: s.count("banks", 1, 64),
        wavelengths: s.count("wavelengths", 1, 1024),
        dataflow: s.choice(
            "dataflow",
            &[
                ("weight_stationary", Dataflow::WeightStationary),
                ("output_stationary", Dataflow::OutputStationary),
            ],
        ),
        cell_type: s.choice(
            "cell_type",
            &[
                ("interferometer", CellType::Interferometer),
                ("ring_pair", CellType::RingPair),
                ("phase_change", CellType::PhaseChange),
            ],
        ),
        pitch_um: s.quantity("pitch_um", Positive),
    }
}

fn laser(s: &mut Section<'_>) -> Laser {
    Laser {
        power_w: s.quantity("power_w", Positive),
        wall_plug_efficiency: s.quantity("wall_plug_efficiency", Within(1e-6, 1.0)),
        wavelength_nm: s.quantity("wavelength_nm", Within(200.0, 20_000.0)),
        rin_db_per_hz: s.impairment("rin_db_per_hz", Within(-250.0, -50.0)),
        linewidth_hz: s.impairment("linewidth_hz", Positive),
    }
}

fn path(s: &mut Section<'_>) -> OpticalPath {
    OpticalPath {
        insertion_loss_db: s.quantity("insertion_loss_db", NonNegative),
        crossing_loss_db: s.impairment("crossing_loss_db", Positive),
        mismatch_ps: s.impairment("mismatch_ps", Positive),
        splitter_imbalance_db: s.impairment("splitter_imbalance_db", Positive),
        wdm_crosstalk_db: s.impairment("wdm_crosstalk_db", RATIO_DB),
        crossing_crosstalk_db: s.impairment("crossing_crosstalk_db", RATIO_DB),
        polarization_extinction_db: s.impairment("polarization_extinction_db", Within(5.0, 200.0)),
        polarization_residual: s.impairment("polarization_residual", FRACTION),
        back_reflection_db: s.impairment("back_reflection_db", RATIO_DB),
        reflection_length_m: s.quantity("reflection_length_m", Positive),
    }
}

fn modulator(s: &mut Section<'_>) -> Modulator {
    Modulator {
        extinction_db: s.impairment("extinction_db", Positive),
        transfer_error: s.impairment("transfer_error", FRACTION),
        iq_gain_error: s.impairment("iq_gain_error", FRACTION),
        iq_phase_error_rad: s.impairment("iq_phase_error_rad", ANGLE),
        iq_skew_s: s.impairment("iq_skew_s", Positive),
        bandwidth_hz: s.impairment("bandwidth_hz", Positive),
    }
}

fn receiver(s: &mut Section<'_>) -> Receiver {
    Receiver {
        readout: s.choice("readout", &[("i", Readout::I), ("iq", Readout::Iq)]),
        quantum_efficiency: s.quantity("quantum_efficiency", Within(1e-6, 1.0)),
        lo_power_w: s.quantity("lo_power_w", Positive),
        noise_a_per_rthz: s.impairment("noise_a_per_rthz", Positive),
        dark_current_a: s.impairment("dark_current_a", Positive),
        common_mode_rejection_db: s.impairment("common_mode_rejection_db", Positive),
        lo_phase_error_rad: s.impairment("lo_phase_error_rad", ANGLE),
        hybrid_gain_error: s.impairment("hybrid_gain_error", FRACTION),
        hybrid_phase_error_rad: s.impairment("hybrid_phase_error_rad", ANGLE),
        iq_skew_s: s.impairment("iq_skew_s", Positive),
        bandwidth_hz: s.impairment("bandwidth_hz", Positive),
        jitter_s: s.impairment("jitter_s", Positive),
        gain_log2_max: s.small("gain_log2_max", 0, 16),
        pipeline_s: s.quantity("pipeline_s", NonNegative),
        energy_j: s.quantity("energy_j", NonNegative),
    }
}

fn cell(s: &mut Section<'_>) -> Cell {
    Cell {
        phase_error_rad: s.impairment("phase_error_rad", ANGLE),
        amplitude_error: s.impairment("amplitude_error", FRACTION),
        thermal_crosstalk: s.impairment("thermal_crosstalk", FRACTION),
        thermal_decay_per_um: s.quantity("thermal_decay_per_um", Positive),
        crosstalk_residual: s.impairment("crosstalk_residual", FRACTION),
        heating_phase_rad: s.impairment("heating_phase_rad", Positive),
        drift_rad: s.impairment("drift_rad", ANGLE),
        drift_time_s: s.quantity("drift_time_s", Positive),
        age_s: s.quantity("age_s", NonNegative),
        dead_fraction: s.impairment("dead_fraction", FRACTION),
        stuck_fraction: s.impairment("stuck_fraction", FRACTION),
        settling_s: s.quantity("settling_s", NonNegative),
        settling_residual: s.impairment("settling_residual", FRACTION),
        hold_power_w: s.quantity("hold_power_w", NonNegative),
    }
}

fn weights(s: &mut Section<'_>) -> Weights {
    Weights {
        bits: s.small("bits", 2, 8),
        load_bytes_per_s: s.quantity("load_bytes_per_s", Positive),
        fetch_bytes_per_s: s.quantity("fetch_bytes_per_s", Positive),
        dac_energy_j: s.quantity("dac_energy_j", NonNegative),
        fetch_energy_j_per_byte: s.quantity("fetch_energy_j_per_byte", NonNegative),
    }
}

fn memory(s: &mut Section<'_>) -> Memory {
    Memory {
        sram_bytes: s.count("sram_bytes", 1024, 1 << 40) as u64,
        port_bytes_per_s: s.quantity("port_bytes_per_s", Positive),
        accumulator_bytes_per_s: s.quantity("accumulator_bytes_per_s", Positive),
        sram_energy_j_per_byte: s.quantity("sram_energy_j_per_byte", NonNegative),
    }
}
