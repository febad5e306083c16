//! Every packing on a bare array: exact when silent, paired when noisy, frozen for good.

use crate::single_tile::{PackedTile, chip_with};
use litecore_hal::SymbolTag;
use litecore_kernels::codes;
use litecore_sim::array::{ArrayError, ArrayModel};
use litecore_sim::dynamic::Draws;
use litecore_sim::packing::{Layout, Packing, column_sums};
use litecore_sim::{Term, Terms};
use litecore_types::Seed;
use litecore_types::chip::ChipDescription;

fn chip_for(packing: Packing, more: &[(&str, &str)]) -> ChipDescription {
    let readout = if packing.reads_quadrature() { "iq" } else { "i" };
    let mut changes = vec![("receiver.readout", readout)];
    changes.extend(more);
    chip_with("ref-64-eo", &changes)
}

/// Noise off and the converters' own rounding alone: the integer meaning, bit for bit (V12).
#[test]
fn a_silent_array_is_the_integer_meaning_in_every_packing() {
    // The second size's sums go beyond what single precision holds exactly.
    for (rows, columns) in [("12", "9"), ("1100", "4")] {
        for packing in Packing::ALL {
            let chip = chip_for(
                packing,
                &[("array.inputs", rows), ("array.outputs", columns), ("adc.bits", "16")],
            );
            let (n, m) = (chip.array.inputs, chip.array.outputs);
            let tile = PackedTile::random(chip, packing, 11);
            // The sums by the layout's own complex integers.
            let layout = Layout::new(packing, n, m).unwrap();
            let cells = layout.cells(&tile.weights).unwrap();
            let per_symbol = tile.x.len() / 11;
            let expected: Vec<i32> = tile
                .x
                .chunks(per_symbol)
                .flat_map(|x| {
                    let sums = column_sums(&cells, &layout.drive(x).unwrap()).unwrap();
                    layout.results(&sums).unwrap()
                })
                .map(|sum| i32::try_from(sum).unwrap())
                .collect();
            assert_eq!(tile.sums, expected, "{packing}");
            let read = |&sum: &i32| codes::requantise(sum, tile.shift, 16);
            let expected: Vec<i32> = expected.iter().map(read).collect();
            assert_eq!(tile.codes(Terms::none(), 7), expected, "{packing}");
        }
    }
}

#[test]
fn both_ways_to_draw_have_one_law() {
    for packing in [Packing::Conjugate, Packing::Rows] {
        let chip = chip_for(
            packing,
            &[("adc.bits", "16"), ("adc.enob", "9"), ("path.mismatch_ps", "700")],
        );
        let tile = PackedTile::random(chip, packing, 1000);
        let errors = |terms, draws| -> (f64, f64) {
            let codes = tile.codes_drawn(terms, 7, draws);
            let silent = tile.codes(terms, 7).len();
            let step = f64::from(1_u32 << tile.shift);
            let (mut second, mut fourth) = (0.0, 0.0);
            for (&code, &sum) in codes.iter().zip(&tile.sums) {
                let error = f64::from(code) * step - f64::from(sum);
                second += error * error / silent as f64;
                fourth += error * error * error * error / silent as f64;
            }
            (second, fourth / (second * second))
        };
        let (merged, merged_shape) = errors(Terms::all(), Draws::Merged);
        let (apart, apart_shape) = errors(Terms::all(), Draws::PerTerm);
        // 64000 samples and more: a variance is known to 0.6 %, a fourth moment to 4 %.
        assert!((merged / apart - 1.0).abs() < 0.025, "{packing}: {merged} {apart}");
        assert!((merged_shape / apart_shape - 1.0).abs() < 0.15, "{merged_shape} {apart_shape}");
        assert_ne!(
            tile.codes_drawn(Terms::all(), 7, Draws::Merged),
            tile.codes_drawn(Terms::all(), 7, Draws::PerTerm)
        );
    }
}

/// What a term adds to silence is what it adds to all others.
#[test]
fn a_term_switched_shares_every_other_terms_draws() {
    let chip = chip_for(Packing::Conjugate, &[("adc.bits", "16"), ("adc.enob", "10.0")]);
    let tile = PackedTile::random(chip, Packing::Conjugate, 40);
    let drawn = |terms| tile.codes_drawn(terms, 7, Draws::PerTerm);
    let (all, none) = (drawn(Terms::all()), drawn(Terms::none()));
    let budget = tile.budget(Terms::all());
    for (source, part) in &budget.parts {
        let litecore_sim::budget::Source::Term(term) = *source else { continue };
        let (without, only) = (drawn(Terms::all().without(term)), drawn(Terms::only(term)));
        let steps = part.sigma_units / f64::from(1_u32 << tile.shift);
        for index in 0..all.len() {
            let (among, alone) = (all[index] - without[index], only[index] - none[index]);
            // Rounding four times is up to two steps; errors of size ε also meet in products ε².
            let slack = 3.0 + 0.2 * steps;
            assert!(
                f64::from((among - alone).abs()) <= slack,
                "{}: {among} and {alone}, {steps} steps",
                term.name()
            );
        }
        if steps > 3.0 {
            assert_ne!(only, none, "{} does nothing", term.name());
        }
    }
}

/// Some columns of an array are those of the whole: cells, rows, receivers, and what is drawn.
#[test]
fn the_first_columns_alone_are_those_of_the_whole_array() {
    const FEW: usize = 5;
    let changes =
        [("cell.dead_fraction", "0.05"), ("cell.stuck_fraction", "0.05"), ("adc.bits", "12")];
    let chip = chip_for(Packing::Conjugate, &changes);
    let columns = chip.array.outputs;
    let tile = PackedTile::random(chip.clone(), Packing::Conjugate, 70);
    for terms in [Terms::none(), Terms::only(Term::Dead).with(Term::Stuck), Terms::all()] {
        let first = |row: &[i32]| row[..FEW].to_vec();
        let whole: Vec<i32> = tile.codes(terms, 7).chunks(columns).flat_map(first).collect();
        let model = ArrayModel::new(&chip, terms, Seed(7), Packing::Conjugate).unwrap();
        let mut model = model.with_columns(FEW);
        assert_eq!((model.outputs_per_symbol(), model.is_exact(0)), (FEW, terms == Terms::none()));
        let weights: Vec<i8> =
            tile.weights.chunks(columns).flat_map(|row| row[..FEW].to_vec()).collect();
        let few = model.load(0, &weights).unwrap();
        let mut codes = Vec::new();
        model.forward(&few, &tile.x, Seed(7).key("stream", 0), &tile.tags, tile.shift, &mut codes);
        assert_eq!(codes, whole, "{terms}");
    }
}

#[test]
fn blocks_and_batches_change_nothing() {
    let tile = PackedTile::random(chip_for(Packing::Conjugate, &[]), Packing::Conjugate, 500);
    let together = tile.codes(Terms::all(), 3);
    let mut model = ArrayModel::new(&tile.chip, Terms::all(), Seed(3), tile.packing).unwrap();
    // Another tile on another array first: order is no matter either.
    model.load(5, &tile.weights).unwrap();
    let loaded = model.load(0, &tile.weights).unwrap();
    let key = Seed(3).key("stream", 0);
    let inputs = model.inputs_per_symbol();
    let mut apart = Vec::new();
    for (tags, x) in tile.tags.chunks(77).zip(tile.x.chunks(77 * inputs)) {
        let mut codes = Vec::new();
        model.forward(&loaded, x, key, tags, tile.shift, &mut codes);
        apart.extend(codes);
    }
    assert_eq!(apart, together);
    let mut other = Vec::new();
    let tags: Vec<SymbolTag> = (1000..1500).map(SymbolTag).collect();
    model.forward(&loaded, &tile.x, key, &tags, tile.shift, &mut other);
    assert_ne!(other, together);
}

/// V13: recorded on x86-64 with AVX-512; every machine, profile and thread count must show the same.
#[test]
fn every_packings_noise_is_frozen() {
    let digest = |packing, terms| {
        let mut more = vec![("array.wavelengths", "2"), ("receiver.bandwidth_hz", "1.5e9")];
        more.extend([("cell.dead_fraction", "0.01"), ("cell.stuck_fraction", "0.01")]);
        more.extend([("array.pitch_um", "23"), ("cell.thermal_crosstalk", "0.0115")]);
        more.extend([("cell.crosstalk_residual", "0.1"), ("cell.heating_phase_rad", "0.05")]);
        let tile = PackedTile::random(chip_for(packing, &more), packing, 40);
        let codes = tile.codes(terms, 7);
        Seed(0).key(&format!("{codes:?}"), 0)
    };
    let digests = Packing::ALL.map(|packing| digest(packing, Terms::all()));
    assert_eq!(digests, FROZEN, "{digests:#x?}");
    // What these digests were before the last terms came: a new term changes no other's draws.
    let before = LATER.into_iter().fold(Terms::all(), Terms::without);
    let digests = Packing::ALL.map(|packing| digest(packing, before));
    assert_eq!(digests, FROZEN_BEFORE, "{digests:#x?}");
}

const LATER: [Term; 5] =
    [Term::Skew, Term::ReceiverSkew, Term::Crossing, Term::Polarization, Term::Reflection];

const FROZEN: [u64; 5] = [
    0xb771_6ade_ebeb_61f9,
    0xddea_6f65_4b36_79b2,
    0x89c1_20de_0739_36ab,
    0x2eae_6db3_ae2e_9bdd,
    0x6736_7e4f_d6a0_c9e3,
];

const FROZEN_BEFORE: [u64; 5] = [
    0x02c0_4676_4fe3_11c5,
    0x2991_68d9_1424_ef59,
    0xb45a_2e2d_75f9_d7f6,
    0x04c0_7642_6532_ab9f,
    0xa10a_8013_f065_3cee,
];

/// The same for the kinds of cells that the default chip has not; 40 × 40 of them, so that both ways to
/// program rings occur.
#[test]
fn noise_of_other_cells_is_frozen() {
    let digests =
        [("ring_pair", "40"), ("ring_pair", "16"), ("phase_change", "40")].map(|(kind, size)| {
            let changes = [
                ("array.cell_type", kind),
                ("array.inputs", size),
                ("array.outputs", size),
                ("adc.bits", "12"),
            ];
            let tile = PackedTile::random(chip_with(kind, &changes), Packing::Conjugate, 40);
            let codes = tile.codes(Terms::all(), 7);
            Seed(0).key(&format!("{codes:?}"), 0)
        });
    assert_eq!(digests, FROZEN_KINDS, "{digests:#x?}");
}

const FROZEN_KINDS: [u64; 3] =
    [0x83d0_1f97_0a45_590f, 0x8bd7_9e79_e99f_a32b, 0x7db4_810f_c9ce_d863];

#[test]
fn drift_has_the_correlation_of_its_time() {
    let chip = chip_for(Packing::Conjugate, &[("cell.drift_rad", "0.02"), ("adc.bits", "16")]);
    let tile = PackedTile::random(chip, Packing::Conjugate, 100);
    let error_at = |times: f64| -> Vec<f64> {
        let terms = Terms::only(Term::Drift);
        let mut model = ArrayModel::new(&tile.chip, terms, Seed(1), tile.packing).unwrap();
        model.set_age(times * tile.chip.cell.drift_time_s.value);
        let loaded = model.load(0, &tile.weights).unwrap();
        let mut codes = Vec::new();
        model.forward(&loaded, &tile.x, 0, &tile.tags, tile.shift, &mut codes);
        let step = f64::from(1_u32 << tile.shift);
        codes.iter().zip(&tile.sums).map(|(&c, &s)| f64::from(c) * step - f64::from(s)).collect()
    };
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let (now, soon) = (error_at(4.0), error_at(4.5));
    let correlation = dot(&now, &soon) / (dot(&now, &now) * dot(&soon, &soon)).sqrt();
    // e^-0.5, from 4096 cells.
    assert!((correlation - 0.6065).abs() < 0.05, "{correlation}");
    let fresh = error_at(0.0);
    // Nothing but rounding at calibration.
    assert!(dot(&fresh, &fresh) < 0.01 * dot(&now, &now));
}

#[test]
fn what_does_not_go_together_is_refused_by_name() {
    let chip = chip_for(Packing::Single, &[]);
    let new = |chip: &ChipDescription, packing| {
        ArrayModel::new(chip, Terms::none(), Seed(0), packing).err()
    };
    let packing = Packing::Tokens;
    assert_eq!(new(&chip, packing), Some(ArrayError::NeedsQuadrature { packing }));
    let chip = chip_for(Packing::Complex, &[("array.inputs", "1"), ("array.outputs", "1")]);
    let mut model = ArrayModel::new(&chip, Terms::none(), Seed(0), Packing::Complex).unwrap();
    assert!(model.load(0, &[3, 4, -4, 3]).is_ok());
    assert_eq!(
        model.load(0, &[3, 4, 4, 3]).unwrap_err(),
        ArrayError::NotComplex { row: 0, column: 0 }
    );
    assert_eq!(
        model.load(0, &[3]).unwrap_err(),
        ArrayError::WeightsLength { expected: 4, found: 1 }
    );
}
