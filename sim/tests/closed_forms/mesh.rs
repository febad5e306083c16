use crate::{close, decibels};
use litecore_sim::mesh::{Mesh, MeshErrors, mesh_loss_db, stage_loss_at_par_db};
use litecore_sim::optics::Optics;
use litecore_types::Seed;
use litecore_types::chip::{ChipDescription, Impairment, builtin};

/// Root-mean-square of ‖ΔU‖ / √N over random meshes with random errors.
fn relative_error(guides: usize, meshes: u32, errors: MeshErrors) -> f64 {
    let squares: f64 = (0..u128::from(meshes))
        .map(|index| {
            let ideal = Mesh::random(guides, Seed(100 + index));
            let made = ideal.with_errors(errors, Seed(900 + index));
            let error = ideal.matrix().relative_error(&made.matrix()).unwrap();
            error * error
        })
        .sum();
    (squares / f64::from(meshes)).sqrt()
}

/// Setup: meshes of N guides with uniformly random phases; every splitter's angle, or every phase,
/// off by a Gaussian of deviation 0.003 rad. Output phases are no part of the mesh.
/// Target: ‖ΔU‖ / √N = √(2 (N − 1)) σ for splitters, √(N − 1) σ for phases.
/// Tolerance: 7 %. ‖ΔU‖² is a sum over N (N − 1) independent squares, and so has a relative
/// deviation of √(2 / N (N − 1)) at least; the number of meshes makes three deviations of the
/// root less than 5 % (printed values are within 4 %).
#[test]
fn errors_of_a_mesh_grow_with_the_root_of_its_size() {
    let sigma = 0.003;
    for (guides, meshes) in [(8, 160), (16, 60), (32, 24), (64, 8), (128, 4)] {
        let splitters = MeshErrors { splitter_rad: sigma, phase_rad: 0.0 };
        let phases = MeshErrors { splitter_rad: 0.0, phase_rad: sigma };
        let columns = guides as f64 - 1.0;
        for (what, errors, expected) in [
            ("splitters", splitters, (2.0 * columns).sqrt() * sigma),
            ("phases", phases, columns.sqrt() * sigma),
        ] {
            let measured = relative_error(guides, meshes, errors);
            close(&format!("N = {guides}, {what}: over form"), measured / expected, 1.0, 0.07);
        }
    }
}

/// Setup: N = 64, 0.3 dB for each interferometer of a mesh; a crossbar with 1.5 dB of coupling, 3 dB
/// in the modulator, 0.1 dB in each stage of its trees, 1 dB in the cell, 0.02 dB at each crossing,
/// 0.11 dB along the guides and 0.5 dB at the detector.
/// Target: 129 · 0.3 = 38.7 dB for the mesh; for the crossbar
/// 1.5 + 3 + 0.1 · 12 + 1 + 0.1 · 6 + 0.02 · 32 + 0.11 + 0.5 = 8.55 dB. Par at 18.06 / 128 dB.
/// Tolerance: rounding of f64.
#[test]
fn losses_of_crossbar_and_mesh_are_the_sums_of_their_stages() {
    close("mesh of 64", mesh_loss_db(64, 0.3), 38.7, 1e-12);
    let mut chip = builtin("ref-64-eo").unwrap();
    // All but the crossings, which a description counts by its rows.
    chip.path.insertion_loss_db.value = 1.5 + 3.0 + 0.1 * 12.0 + 1.0 + 0.1 * 6.0 + 0.11 + 0.5;
    chip.path.crossing_loss_db = Impairment::set(0.02);
    let crossbar = chip.path.excess_loss_db(64);
    close("crossbar of 64", crossbar, 8.55, 1e-12);
    // Twice the rows: 32 crossings more.
    close("crossbar of 128 rows", chip.path.excess_loss_db(128), 8.55 + 0.64, 1e-12);
    // What reaches the receivers: a field, so half the decibels of power show in amperes.
    let level = |chip: &ChipDescription| 2.0 * decibels(Optics::of(chip).amperes_per_unit);
    let mut lossless = chip.clone();
    lossless.path.insertion_loss_db.value = 0.0;
    lossless.path.crossing_loss_db = Impairment::Ideal;
    close("loss that receivers see", level(&lossless) - level(&chip), 8.55, 1e-9);
    close("loss at par", stage_loss_at_par_db(64), 0.141, 0.0005);
    // With the crossbar's combiner counted, 0.3 dB is too much for a mesh of 64 already.
    assert!(mesh_loss_db(64, 0.3) > crossbar + decibels(64.0));
}
