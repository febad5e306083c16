//! What the audit says of the shipped chips.

use litecore_sim::audit::{Figure, Severity, audit};
use litecore_types::chip::{ChipDescription, Impairment, builtin, builtin_text};

/// Claim, ratio of the derived number to the claimed one.
const CONTRADICTIONS: [(&str, f64); 31] = [
    // 1024² cells · 64 wavelengths · 10 GHz = 6.7e17 against 670e12.
    ("cmacs_per_s", 1000.0),
    // 6.7e14 over 858 mm² = 0.78e12 against 100e12.
    ("cmacs_per_s_per_mm2", 0.0078),
    // 50 W / 6.7e14 = 75 fJ against 1 fJ.
    ("energy_j_per_cmac by power_w and cmacs_per_s", 75.0),
    // The parts below and 6.6 kW in memory: 22 kW, and over 6.7e17 32 fJ.
    ("energy_j_per_cmac", 32.0),
    ("power_w", 434.0),
    // 2 · 1024 · 64 converters: 10 mW each are 1.3 kW, 5 mW each 0.66 kW.
    ("receiver_power_w", 655.0),
    ("electronics_power_w", 131.0),
    ("modulator_power_w", 334.0),
    // Two rings of 1-10 mW in each of a million cells: 2-21 kW.
    ("hold_power_w", 2300.0),
    // 0.8 eV at 20 % is 6.4e-19 J, a factor of 780 below 0.5 fJ.
    ("photon_energy_j", 1.0 / 780.0),
    // 30.1 dB of splitting.
    ("path_loss_db", 1024.0),
    ("mvm_latency_s", 14.3),
    ("propagation_s_per_m", 14.0),
    ("weight_update_s", 4.1),
    ("weight_update_s over the management link", 2.0e6),
    // 6.2 THz hold 124 lines of 50 GHz.
    ("comb_lines", 124.0 / 256.0),
    ("wavelengths_per_ring_pair", 3.0 / 64.0),
    ("array.pitch_um by ring_spacing_um", 2.83),
    ("array.pitch_um by ring.radius_um", 2.56),
    // 2 M rings, a byte each, in 512 bytes.
    ("ring_register_bytes", 4096.0),
    // 26 cm² against 8.6 cm².
    ("die area by cell_pitch_um", 3.05),
    // 1 V cm over 10 um is 1000 V.
    ("drive_v", 500.0),
    ("waveguide_absorption_per_cm", 100.0),
    // 100 ns / (80 · 10 ps) = 125 against 0.00125.
    ("routing_overhead", 1.0e5),
    ("clock.symbol_rate_hz by host.bytes_per_s", 0.0125),
    // A field of 0.32 against a code of 1/127.
    ("modulator.extinction_db by dac.bits", 40.2),
    ("cell.hold_power_w by array.pitch_um", 110.0),
    // -10 dB against -30 dB.
    ("thermal_crosstalk_db", 99.0),
    // Intensity noise of -140 dB/Hz in 5 GHz: 43 dB against 50 dB.
    ("snr_db by laser.rin_db_per_hz", 0.2),
    // 37 dB of full scale.
    ("snr_db of full scale", 0.05),
    // -6 dB.
    ("snr_db", 2.5e-6),
];

#[test]
fn the_specified_card_contradicts_itself_in_these_places() {
    let audit = audit(&builtin("litecore-datacenter").expect("shipped"));
    for (claim, expected) in CONTRADICTIONS {
        let finding = audit.finding(claim).unwrap_or_else(|| panic!("no finding on {claim}"));
        assert_eq!(finding.severity, Severity::Contradiction, "{finding:?}");
        // Levels are stated to about two decibels, everything else to a fifth.
        let allowed = if finding.unit == "dB" { 0.6 } else { 0.2 };
        let off = (finding.ratio / expected - 1.0).abs();
        assert!(off < allowed, "{claim}: {} against {expected}", finding.ratio);
    }
}

#[test]
fn figures_of_the_specified_card_are_those_of_a_slide_rule() {
    let audit = audit(&builtin("litecore-datacenter").expect("shipped"));
    for (figure, expected) in [
        (Figure::LaunchedPhotonsPerCmac, 14.9),
        (Figure::CmacsPerS, 6.7e17),
        (Figure::AdcPowerW, 1.3e3),
        (Figure::ReceiverPowerW, 1.3e3),
        (Figure::DacPowerW, 0.66e3),
        (Figure::FlightTimeS, 143e-12),
        (Figure::LinkSymbolRateOneWavelengthHz, 125e6),
        (Figure::WeightLoadS, 4.0e-6),
        (Figure::RinLimitDb, 43.0),
        (Figure::RowSplitDb, 30.1),
        (Figure::SmallestInputField, 0.32),
    ] {
        let value = audit.value(figure);
        assert!((value / expected - 1.0).abs() < 0.03, "{figure:?}: {value} against {expected}");
    }
}

#[test]
fn only_what_is_claimed_and_cannot_be_is_a_contradiction() {
    for name in ["ref-64-eo", "ref-64-to", "ref-64-os", "tiny-4"] {
        for finding in audit(&builtin(name).expect("shipped")).findings {
            assert_ne!(finding.severity, Severity::Contradiction, "{name}: {finding:?}");
        }
    }
    for name in ["litecore-edge", "litecore-enterprise", "litecore-wafer"] {
        let audit = audit(&builtin(name).expect("shipped"));
        for claim in ["snr_db", "energy_j_per_cmac", "path_loss_db", "mvm_latency_s"] {
            let finding = audit.finding(claim).expect("claimed");
            assert_eq!(finding.severity, Severity::Contradiction, "{name}: {finding:?}");
        }
    }
}

#[test]
fn a_claim_that_holds_is_a_note_and_a_changed_part_changes_the_verdict() {
    let mut chip = builtin("litecore-datacenter").expect("shipped");
    let verdict = |chip: &_, claim: &str| audit(chip).finding(claim).map(|found| found.severity);
    assert_eq!(verdict(&chip, "laser_power_w"), Some(Severity::Note));
    chip.laser.wall_plug_efficiency.value = 0.02;
    assert_eq!(verdict(&chip, "laser_power_w"), Some(Severity::Contradiction));
    chip.cell.hold_power_w.value = 1.0e-6;
    chip.cell.hold_power_w.plus_minus = 0.0;
    assert_eq!(verdict(&chip, "hold_power_w"), Some(Severity::Note));
    assert_eq!(verdict(&chip, "cell.hold_power_w by array.pitch_um"), None);
}

#[test]
fn findings_stand_worst_first() {
    let audit = audit(&builtin("litecore-datacenter").expect("shipped"));
    assert!(audit.findings.is_sorted_by_key(|finding| finding.severity));
    assert!(audit.findings.len() > CONTRADICTIONS.len());
}

/// What nobody states is no claim: limits of the audit say that they are.
#[test]
fn a_limit_of_the_audit_is_no_claim() {
    let audit = audit(&builtin("ref-64-to").expect("shipped"));
    for (claim, limit) in [
        ("cell.hold_power_w by array.pitch_um", 100.0),
        ("cell.thermal_crosstalk by array.pitch_um", 0.01),
        ("laser.power_w in one guide", 0.02),
    ] {
        let Some(finding) = audit.finding(claim) else { continue };
        assert_eq!((finding.claimed, finding.limit), (None, Some(limit)), "{finding:?}");
        assert!(!finding.source.contains("the description"), "{finding:?}");
    }
    let found = audit.findings.iter().filter(|finding| finding.limit.is_some()).count();
    assert!(found > 0, "{:?}", audit.findings);
    let rate = audit.finding("clock.symbol_rate_hz by host.bytes_per_s").expect("found");
    assert_eq!((rate.claimed, rate.limit), (Some(2.0e9), None));
}

/// Silicon absorbs by power: 20 mW in a guide, a milliwatt in a ring.
#[test]
fn light_that_silicon_does_not_carry_is_found() {
    let mut chip = builtin("ref-64-eo").expect("shipped");
    // 0.5 W over 64 rows, 7.8 mW each, from 25 guides.
    let of = |chip: &ChipDescription| audit(chip);
    let feeds = of(&chip).finding("laser.power_w in one guide").expect("found").clone();
    assert_eq!((feeds.severity, feeds.limit), (Severity::Note, Some(0.02)));
    assert!(feeds.explanation.contains("at least 25 of them"), "{feeds:?}");
    assert!((of(&chip).value(Figure::RowLightW) - 0.5 / 64.0).abs() < 1e-15);
    assert!(of(&chip).finding("laser.power_w by array.inputs").is_none());
    chip.array.wavelengths = 8;
    let row = of(&chip).finding("laser.power_w by array.inputs").expect("found").clone();
    assert_eq!(row.severity, Severity::Contradiction, "{row:?}");
    assert!((row.derived - 4.0 / 64.0).abs() < 1e-12, "{row:?}");

    let mut rings = builtin("litecore-edge").expect("shipped");
    assert!(of(&rings).finding("laser.power_w in one ring").is_none());
    let ring = rings.ring.as_mut().expect("there are rings");
    (ring.self_coupling.value, ring.round_trip.value) = (0.9, 1.0);
    rings.laser.power_w.value = 2.0;
    rings.array.wavelengths = 1;
    let (rows, columns) = (rings.array.inputs as f64, rings.array.outputs as f64);
    // (1 - 0.81) / (1 - 0.81)² is 5.26 times the light of the bus.
    let expected = 2.0 / rows / columns / 0.19;
    let found = of(&rings).value(Figure::CellLightW);
    assert!((found / expected - 1.0).abs() < 1e-9, "{found} {expected}");
    rings.laser.power_w.value = 3.0e-3 * 0.19 * rows * columns;
    let ring = of(&rings).finding("laser.power_w in one ring").expect("found").clone();
    assert!((ring.derived - 3.0e-3).abs() < 1e-12 && ring.limit == Some(1.0e-3), "{ring:?}");
}

/// 5e5 writes, and 129 ns from one tile to the next.
#[test]
fn films_wear_out_when_they_are_written_without_end() {
    let film = "[phase_change]\nlevel_bits = 4\nwrite_error = \"ideal\"\ndrift_per_decade = \"ideal\"\n\
                endurance_writes = { value = 5e5, plus_minus = 0, source = \"assumed\" }\n";
    let text = builtin_text("ref-64-eo").expect("shipped");
    let text = text.replace("\"interferometer\"", "\"phase_change\"");
    let mut chip = ChipDescription::from_toml(&format!("{text}\n{film}"), "a test").expect("valid");
    let name = "phase_change.endurance_writes by weights.load_bytes_per_s";
    let wear = audit(&chip).finding(name).expect("found").clone();
    assert_eq!(wear.severity, Severity::Warning);
    assert!((wear.derived / (5.0e5 * 129.0e-9) - 1.0).abs() < 1e-9, "{wear:?}");
    assert!((audit(&chip).value(Figure::CellWritesPerS) * 129.0e-9 - 1.0).abs() < 1e-9);
    chip.phase_change.as_mut().expect("a film").endurance_writes.value = 1.0e16;
    assert!(audit(&chip).finding(name).is_none());
}

/// Audit and simulator take one law of heat: 10 um apart, a tenth of a drive.
#[test]
fn the_crosstalk_of_near_cells_is_that_of_the_published_fit() {
    let mut chip = builtin("ref-64-eo").expect("shipped");
    chip.cell.thermal_crosstalk = Impairment::set(0.0116);
    for (pitch_um, percent) in [(10.0, 10.0), (20.0, 1.6), (30.0, 0.47), (50.0, 0.037)] {
        chip.array.pitch_um.value = pitch_um;
        let found = 100.0 * audit(&chip).value(Figure::NeighborCrosstalk);
        assert!((found / percent - 1.0).abs() < 0.05, "{found} % at {pitch_um} um");
    }
}
