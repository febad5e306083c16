//! What everybody may rely on behind the device seam.

use crate::single_tile::{SingleTile, chip_with, run};
use litecore_hal::{Device, DeviceError, ImageId, RunRequest, SymbolTag};
use litecore_kernels::codes;
use litecore_sim::{SimDevice, SimOptions, Term, Terms};
use litecore_types::program::{VerifiedProgram, Violation};
use litecore_types::{Cycles, Seed};
use std::sync::Arc;

fn tags(first: u64, count: u64) -> Vec<SymbolTag> {
    (first..first + count).map(SymbolTag).collect()
}

#[test]
fn with_every_term_off_the_card_is_the_integer_meaning() {
    // The last chip's sums go beyond what single precision holds exactly.
    for (changes, shift) in [
        (vec![], 11),
        (vec![("array.inputs", "1024"), ("array.outputs", "8"), ("adc.bits", "16")], 10),
    ] {
        let chip = chip_with("ref-64-eo", &changes);
        let bits = chip.adc.bits;
        let tile = SingleTile::random(chip, shift, 20);
        let exact: Vec<i32> =
            tile.sums.iter().map(|&sum| codes::requantise(sum, shift, bits)).collect();
        assert_eq!(tile.codes(Terms::none(), 7), exact);
    }
}

#[test]
fn ideal_parts_change_nothing() {
    let ideal = |key| (key, "ideal");
    let changes: Vec<(&str, &str)> = IMPAIRMENTS.iter().copied().map(ideal).collect();
    let tile = SingleTile::random(chip_with("ref-64-eo", &changes), 11, 8);
    let terms = Terms::all().without(Term::Shot);
    assert_eq!(tile.codes(terms, 7), tile.codes(Terms::none(), 7));
}

/// Every key that takes the word `ideal` and that the default chip uses.
const IMPAIRMENTS: [&str; 35] = [
    "laser.rin_db_per_hz",
    "laser.linewidth_hz",
    "path.crossing_loss_db",
    "path.mismatch_ps",
    "path.splitter_imbalance_db",
    "path.wdm_crosstalk_db",
    "path.crossing_crosstalk_db",
    "path.polarization_extinction_db",
    "path.polarization_residual",
    "path.back_reflection_db",
    "modulator.iq_skew_s",
    "receiver.iq_skew_s",
    "modulator.extinction_db",
    "modulator.transfer_error",
    "modulator.iq_gain_error",
    "modulator.iq_phase_error_rad",
    "modulator.bandwidth_hz",
    "receiver.noise_a_per_rthz",
    "receiver.dark_current_a",
    "receiver.common_mode_rejection_db",
    "receiver.lo_phase_error_rad",
    "receiver.hybrid_gain_error",
    "receiver.hybrid_phase_error_rad",
    "receiver.bandwidth_hz",
    "receiver.jitter_s",
    "dac.enob",
    "adc.enob",
    "cell.phase_error_rad",
    "cell.amplitude_error",
    "cell.crosstalk_residual",
    "cell.heating_phase_rad",
    "cell.drift_rad",
    "cell.dead_fraction",
    "cell.stuck_fraction",
    "cell.settling_residual",
];

#[test]
fn a_symbol_meets_the_same_noise_in_every_batch() {
    let tile = SingleTile::random(chip_with("ref-64-eo", &[]), 11, 24);
    let together = tile.codes(Terms::all(), 7);
    let mut device = tile.device(Terms::all(), 7);
    let first = device.load(Arc::clone(&tile.program)).unwrap();
    let second = device.load(Arc::clone(&tile.program)).unwrap();
    assert_ne!(first, second);
    // Backwards, in pieces of uneven size, through either image, with a rest in between.
    let mut pieces = Vec::new();
    for (image, (start, end)) in [first, second, first].into_iter().zip([(17, 24), (1, 17), (0, 1)])
    {
        let x = &tile.x[start * 128..end * 128];
        let outcome = run(&mut device, image, &tags(start as u64, (end - start) as u64), x);
        pieces.splice(0..0, outcome.outputs);
        device.park().unwrap();
    }
    let together: Vec<f32> = together.iter().map(|&code| code as f32).collect();
    assert_eq!(pieces, together);
    // And other tags meet other noise.
    let outcome = run(&mut device, first, &tags(24, 24), &tile.x);
    assert_ne!(outcome.outputs, together);
}

#[test]
fn a_seed_is_a_chip() {
    let tile = SingleTile::random(chip_with("ref-64-eo", &[]), 11, 4);
    for term in [Term::Shot, Term::Adc, Term::Dac, Term::CellPhase, Term::CellAmplitude] {
        let terms = Terms::only(term);
        assert_ne!(tile.codes(terms, 1), tile.codes(terms, 2), "{}", term.name());
    }
    assert_eq!(tile.codes(Terms::none(), 1), tile.codes(Terms::none(), 2));
}

#[test]
fn the_noise_is_frozen() {
    let tile = SingleTile::random(chip_with("ref-64-eo", &[]), 11, 32);
    let codes = tile.codes(Terms::all(), 7);
    assert_eq!(codes[..8], FIRST_CODES);
    let digest = |codes: &[i32]| Seed(0).key(&format!("{codes:?}"), 0);
    assert_eq!(digest(&codes), ALL_CODES, "{:#x}", digest(&codes));
    // What it was before the last terms came: a new term changes no other's draws.
    let before =
        [Term::Skew, Term::ReceiverSkew, Term::Crossing, Term::Polarization, Term::Reflection]
            .into_iter()
            .fold(Terms::all(), Terms::without);
    let codes = tile.codes(before, 7);
    assert_eq!(digest(&codes), CODES_BEFORE, "{:#x}", digest(&codes));
}

/// Recorded on x86-64 with AVX-512; other machines must show the same.
const FIRST_CODES: [i32; 8] = [8, 1, -24, 28, 21, 36, -12, 21];
const ALL_CODES: u64 = 0xcfba_d424_ae9e_d1f4;
const CODES_BEFORE: u64 = 0x4860_5dd5_e514_b943;

#[test]
fn each_mistake_of_a_caller_is_named() {
    let tile = SingleTile::random(chip_with("ref-64-eo", &[]), 11, 2);
    let mut device = tile.device(Terms::all(), 7);
    let image = device.load(Arc::clone(&tile.program)).unwrap();
    let mut fail = |image, symbols: u64, inputs: &[f32]| {
        device.run(&RunRequest { image, tags: &tags(0, symbols), inputs }).unwrap_err()
    };
    let unknown = ImageId(u64::MAX);
    assert_eq!(fail(unknown, 0, &[]), DeviceError::NoSuchImage { image: unknown });
    assert_eq!(
        fail(image, 2, &[0.0; 255]),
        DeviceError::InputLength { given: 255, symbols: 2, vector: 128 }
    );
    assert_eq!(fail(image, 3, &[0.0; 384]), DeviceError::TooManySymbols { given: 3, most: 2 });
    let mut inputs = [1.0; 256];
    inputs[200] = f32::NAN;
    assert_eq!(fail(image, 2, &inputs), DeviceError::NonFiniteInput { symbol: 1 });
    assert_eq!(device.telemetry().unwrap().runs, 0);
}

#[test]
fn a_program_for_another_card_is_refused() {
    let tile = SingleTile::random(chip_with("ref-64-eo", &[]), 11, 2);
    let options = SimOptions { seed: Seed(0), terms: Terms::all(), record_timeline: false };
    let mut other = SimDevice::new(chip_with("tiny-4", &[]), options);
    assert_eq!(
        other.load(Arc::clone(&tile.program)),
        Err(DeviceError::WrongChip {
            compiled_for: "ref-64-eo".to_owned(),
            chip: "tiny-4".to_owned()
        })
    );
    // The same name, but another size: verified for one is not verified for the other.
    let mut smaller = SimDevice::new(chip_with("ref-64-eo", &[("array.inputs", "32")]), options);
    let Err(DeviceError::ProgramRefused { violations }) = smaller.load(Arc::clone(&tile.program))
    else {
        panic!("a program for 64 rows was taken by a chip of 32");
    };
    let shape = Violation::WrongShape { rows: 64, columns: 64, chip_rows: 32, chip_columns: 64 };
    assert!(violations.contains(&shape));
}

#[test]
fn telemetry_counts_and_a_run_without_symbols_is_carried_out() {
    let tile = SingleTile::random(chip_with("ref-64-eo", &[]), 11, 4);
    let options = SimOptions { seed: Seed(7), terms: Terms::all(), record_timeline: true };
    let mut device = SimDevice::new(tile.chip.clone(), options);
    assert!(device.last_timeline().is_none());
    let image = device.load(Arc::clone(&tile.program)).unwrap();
    let empty = run(&mut device, image, &[], &[]);
    assert!(empty.outputs.is_empty());
    let outcome = run(&mut device, image, &tags(0, 4), &tile.x);
    // 2 GHz: an issue of 2; 2000 in and 64 bytes at 16 a cycle, vectors of 128 at 32 a cycle and 20 deep, four
    // symbols and 20, vectors of 64, and 64 bytes out.
    let expected = 2 + (128 + 2000) + (16 + 20) + (4 + 20) + (8 + 20) + (64 + 2000);
    assert_eq!(outcome.cycles, Cycles(expected));
    assert_eq!(device.last_timeline().unwrap().len(), 7);
    assert!(outcome.energy.unwrap().totals().system_j > 0.0);
    let telemetry = device.telemetry().unwrap();
    assert_eq!((telemetry.images, telemetry.runs, telemetry.symbols), (1, 2, 4));
    assert_eq!(telemetry.cycles, empty.cycles + outcome.cycles);
    assert!(!telemetry.parked);
    device.park().unwrap();
    assert!(device.telemetry().unwrap().parked);
}

#[test]
fn a_verified_program_is_shared_and_not_copied() {
    let tile = SingleTile::random(chip_with("tiny-4", &[]), 8, 1);
    let program: Arc<VerifiedProgram> = Arc::clone(&tile.program);
    let before = Arc::strong_count(&program);
    let mut device = tile.device(Terms::all(), 0);
    device.load(Arc::clone(&program)).unwrap();
    assert_eq!(Arc::strong_count(&program), before + 1);
}
