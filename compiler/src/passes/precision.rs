//! More than eight bits where a target asks for it: code planes and repeated reads.
//!
//! What a product errs by, relative to its power, has four parts, each with its own remedy:
//!
//! ```text
//! weights   rounding of the weights to codes      a second plane of codes, up to 2^7 finer
//! inputs    rounding of the inputs to codes       none: the card has one code per input
//! reads     rounding and noise of every reading   R reads averaged
//! cells     what the cells hold instead of codes   none: it is the same in every read
//! ```
//!
//! Averaging rounded readings helps only as far as noise moves them from step to step. With noise
//! of σ steps the mean reading errs by `1/(2π²) · exp(−4π²σ²)` steps², the first harmonic of the
//! staircase, and no number of reads takes that away; the rest, `1/12 + σ²` less that, falls with R.

use super::noise::decibels;
use litecore_types::chip::ChipDescription;

/// The relative squared errors of a product, and how noisy a reading is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Parts {
    /// Rounding of the weights.
    pub(crate) weights: f64,
    /// Rounding of the inputs.
    pub(crate) inputs: f64,
    /// The squared converter steps of all readings.
    pub(crate) steps: f64,
    /// Cut-off sums.
    pub(crate) clipping: f64,
    /// Noise of a reading beyond rounding, squared.
    pub(crate) noise: f64,
    /// Static errors of the cells.
    pub(crate) cells: f64,
}

/// What the static errors of a chip's cells make of a product, relative to its power.
///
/// A cell that holds `w (1 + a + iφ)` errs by `a` of its product in phase and by `φ` of the one in
/// quadrature; both are as strong on average, and the errors of cells are independent.
pub(crate) fn cell_error(chip: &ChipDescription) -> f64 {
    let (amplitude, phase) = (chip.cell.amplitude_error.value(), chip.cell.phase_error_rad.value());
    amplitude * amplitude + phase * phase
}

/// How a matrix is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reads {
    /// Whether there is a second plane of codes.
    pub(crate) fine: bool,
    /// How often each tile is read; a power of two.
    pub(crate) repeats: u8,
}

impl Default for Reads {
    fn default() -> Self {
        Self { fine: false, repeats: 1 }
    }
}

/// Ways to read, cheapest first: by streams, then by tiles.
const WAYS: [Reads; 10] = [
    Reads { fine: false, repeats: 1 },
    Reads { fine: false, repeats: 2 },
    Reads { fine: true, repeats: 1 },
    Reads { fine: false, repeats: 4 },
    Reads { fine: true, repeats: 2 },
    Reads { fine: false, repeats: 8 },
    Reads { fine: true, repeats: 4 },
    Reads { fine: false, repeats: 16 },
    Reads { fine: true, repeats: 8 },
    Reads { fine: true, repeats: 16 },
];

impl Parts {
    /// The relative squared error when read like this, with a second plane so many times finer.
    pub(crate) fn error(&self, reads: Reads, finer: f64) -> f64 {
        // The reads of the finer plane err as much less.
        let weights = if reads.fine { self.weights / (finer * finer) } else { self.weights };
        let repeats = f64::from(reads.repeats);
        let rounding = self.steps / 12.0;
        let sigma_squared = if self.steps > 0.0 { self.noise / self.steps } else { 0.0 };
        let pi_squared = std::f64::consts::PI * std::f64::consts::PI;
        let stuck = (pxfm::f_exp(-4.0 * pi_squared * sigma_squared) / (2.0 * pi_squared)
            * self.steps)
            .min(rounding);
        let stuck = if self.noise > 0.0 { stuck } else { rounding };
        weights
            + self.inputs
            + self.cells
            + self.clipping
            + stuck
            + (rounding - stuck + self.noise) / repeats
    }

    /// The cheapest way to read that errs by `target` at most, relative; the best one where none
    /// does.
    pub(crate) fn choose(&self, target: f64, finer: f64) -> Reads {
        let enough = WAYS.into_iter().find(|way| self.error(*way, finer) <= target);
        let best = || {
            let error = |way: &Reads| self.error(*way, finer);
            WAYS.into_iter().min_by(|a, b| error(a).total_cmp(&error(b)))
        };
        enough.or_else(best).unwrap_or_default()
    }

    /// Signal over error in decibels when read like this.
    pub(crate) fn snr_db(&self, reads: Reads, finer: f64) -> f64 {
        -decibels(self.error(reads, finer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTS: Parts = Parts {
        weights: 1e-4,
        inputs: 1e-5,
        steps: 1.2e-3,
        clipping: 0.0,
        noise: 3e-4,
        cells: 0.0,
    };

    const SILENT: Parts =
        Parts { weights: 0.0, inputs: 0.0, steps: 0.0, clipping: 0.0, noise: 0.0, cells: 0.0 };

    #[test]
    fn each_remedy_takes_its_part_away() {
        let once = PARTS.error(Reads::default(), 128.0);
        assert!((once - (1e-4 + 1e-5 + 1e-4 + 3e-4)).abs() < 1e-12);
        let fine = PARTS.error(Reads { fine: true, repeats: 1 }, 128.0);
        assert!((once - fine - 1e-4).abs() < 1e-7);
        let often = PARTS.error(Reads { fine: false, repeats: 16 }, 128.0);
        // Half a step of noise: exp(-pi^2) / (2 pi^2) of a step squared stays, 2.6e-6 of it.
        assert!((often - (1.1e-4 + 4e-4 / 16.0)).abs() < 1e-8, "{often}");
    }

    #[test]
    fn what_cells_err_by_no_reading_takes_away() {
        use litecore_types::chip::builtin;
        let chip = builtin("ref-64-eo").expect("shipped");
        // 5e-3 of amplitude and 5 mrad of phase: 43 dB.
        let cells = cell_error(&chip);
        assert!((cells - 5e-5).abs() < 1e-12, "{cells}");
        let parts = Parts { cells, ..PARTS };
        for way in WAYS {
            let more = parts.error(way, 128.0) - PARTS.error(way, 128.0);
            assert!((more - cells).abs() < 1e-12, "{way:?}: {more}");
        }
        // A target that ideal cells reach needs more reads.
        assert_eq!(PARTS.choose(3.5e-4, 128.0), Reads { fine: false, repeats: 2 });
        // Two reads leave 1.6e-4 and half of 4e-4, four a quarter.
        assert_eq!(parts.choose(3.5e-4, 128.0), Reads { fine: false, repeats: 4 });
    }

    #[test]
    fn without_noise_reading_again_reads_the_same() {
        let silent = Parts { noise: 0.0, ..PARTS };
        let often = silent.error(Reads { fine: false, repeats: 16 }, 128.0);
        assert_eq!(often.to_bits(), silent.error(Reads::default(), 128.0).to_bits());
    }

    #[test]
    fn the_cheapest_way_that_is_enough_is_taken() {
        assert_eq!(PARTS.choose(1e-3, 128.0), Reads::default());
        assert_eq!(PARTS.choose(3.5e-4, 128.0), Reads { fine: false, repeats: 2 });
        assert_eq!(PARTS.choose(5e-5, 128.0), Reads { fine: true, repeats: 16 });
        // Out of reach: the best there is.
        assert_eq!(PARTS.choose(1e-9, 128.0), Reads { fine: true, repeats: 16 });
    }

    #[test]
    fn what_noise_leaves_stuck_is_what_averaging_rounded_numbers_leaves() {
        use litecore_kernels::normal::standard_normals;
        // Values spread over a step, each read 4000 times with noise of a fifth of a step.
        let (values, reads, sigma) = (50_u16, 4000, 0.2_f64);
        let mut normals = vec![0.0; reads];
        let mut squared = 0.0;
        for index in 0..values {
            standard_normals(u64::from(index), 0, &mut normals);
            let value = (f64::from(index) + 0.5) / f64::from(values);
            let sum: f64 =
                normals.iter().map(|n| (value + sigma * f64::from(*n)).round_ties_even()).sum();
            let error = sum / reads as f64 - value;
            squared += error * error;
        }
        let found = squared / f64::from(values);
        let parts = Parts { steps: 1.0, noise: sigma * sigma, weights: 0.0, inputs: 0.0, ..SILENT };
        let all = parts.error(Reads { fine: false, repeats: 1 }, 128.0);
        let half = parts.error(Reads { fine: false, repeats: 2 }, 128.0);
        // What does not fall with the number of reads.
        let stuck = 2.0 * half - all;
        assert!((found / stuck - 1.0).abs() < 0.15, "{found} {stuck}");
    }
}
