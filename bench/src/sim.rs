//! A noisy array against the plain product of the same size by the `gemm` crate.

#![allow(unsafe_code, reason = "the gemm crate takes pointers")]

use crate::gemm::{product, random};
use crate::rounds::interleaved;
use gemm::c32;
use litecore_hal::SymbolTag;
use litecore_sim::Terms;
use litecore_sim::array::{ArrayError, ArrayModel, LoadedTile};
use litecore_sim::packing::Packing;
use litecore_types::Seed;
use litecore_types::chip::{CellType, ChipDescription, Impairment, Quantity, Readout, Ring};
use serde::Serialize;
use std::hint::black_box;

/// One array and batch, both ways, in one thread.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ForwardRow {
    /// Rows and columns of cells.
    pub n: usize,
    /// Symbols in one call.
    pub batch: usize,
    /// Symbols through the noisy array per second.
    pub symbols_per_s: f64,
    /// Rows of the plain product per second.
    pub gemm_symbols_per_s: f64,
    /// The first over the second.
    pub ratio_to_gemm: f64,
}

/// What loading a tile takes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LoadRow {
    /// Rows and columns of cells.
    pub n: usize,
    /// What the cells are: those of the chip, with heat of their neighbors as well, or ring pairs
    /// with that heat.
    pub cells: &'static str,
    /// Seconds for one tile, all static errors and crosstalk folded in.
    pub seconds: f64,
    /// As many symbols pass the array in that time, in batches of 1024.
    pub symbols_equivalent: f64,
}

/// Speed of the array model with every impairment on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Speeds {
    /// Conjugate packing, in-phase read-out, against the real product batch × 2n × n.
    pub forward: Vec<ForwardRow>,
    /// Complex packing, both quadratures, against the complex product batch × n × n.
    pub forward_iq: Vec<ForwardRow>,
    /// Loading, in conjugate packing.
    pub load: Vec<LoadRow>,
}

const SIZES: [usize; 2] = [64, 256];
const BATCHES: [usize; 3] = [1, 64, 1024];
const LARGEST_BATCH: usize = 1024;

/// Measures arrays like `chip`'s of several sizes, each for about `seconds`.
///
/// Errors: of the array model.
pub fn compare(chip: &ChipDescription, seconds: f64) -> Result<Speeds, ArrayError> {
    let mut speeds = Speeds { forward: Vec::new(), forward_iq: Vec::new(), load: Vec::new() };
    for n in SIZES {
        let mut real = Bench::new(chip, n, Packing::Conjugate)?;
        let mut complex = Bench::new(chip, n, Packing::Complex)?;
        for batch in BATCHES {
            speeds.forward.push(real.forward(batch, seconds));
            speeds.forward_iq.push(complex.forward(batch, seconds));
        }
        speeds.load.push(real.load("as described", seconds));
        for (cells, chip) in
            [("heated", heated(chip.clone())), ("ring pairs, heated", ringed(chip))]
        {
            let mut bench = Bench::new(&chip, n, Packing::Conjugate)?;
            speeds.load.push(bench.load(cells, seconds));
        }
    }
    Ok(speeds)
}

/// The chip with heaters 23 µm apart, of whose crosstalk calibration leaves a fiftieth.
fn heated(mut chip: ChipDescription) -> ChipDescription {
    chip.array.pitch_um.value = 23.0;
    chip.cell.thermal_crosstalk = Impairment::set(0.0115);
    chip.cell.crosstalk_residual = Impairment::set(0.02);
    chip.cell.heating_phase_rad = Impairment::set(0.01);
    chip
}

/// The heated chip with ring pairs for cells.
fn ringed(chip: &ChipDescription) -> ChipDescription {
    let quantity = |value| Quantity { value, plus_minus: 0.0, source: "assumed".to_owned() };
    let mut chip = heated(chip.clone());
    chip.array.cell_type = CellType::RingPair;
    chip.ring = Some(Ring {
        self_coupling: quantity(0.9),
        round_trip: quantity(0.999),
        spectral_range_nm: quantity(20.0),
        radius_um: quantity(5.0),
        detuning_error_rad: Impairment::set(1e-3),
    });
    chip
}

/// One array with a tile, and enough random symbols.
struct Bench {
    n: usize,
    array: ArrayModel,
    packing: Packing,
    weights: Vec<i8>,
    tile: LoadedTile,
    x: Vec<i8>,
    tags: Vec<SymbolTag>,
    codes: Vec<i32>,
}

impl Bench {
    fn new(chip: &ChipDescription, n: usize, packing: Packing) -> Result<Self, ArrayError> {
        let mut chip = chip.clone();
        (chip.array.inputs, chip.array.outputs) = (n, n);
        if packing.reads_quadrature() {
            chip.receiver.readout = Readout::Iq;
        }
        let weights = match packing {
            Packing::Complex => complex_blocks(n, &codes(1, 2 * n * n)),
            _ => codes(1, 2 * n * n),
        };
        let mut array = ArrayModel::new(&chip, Terms::all(), Seed(1), packing)?;
        let tile = array.load(0, &weights)?;
        Ok(Self {
            n,
            array,
            packing,
            weights,
            tile,
            x: codes(2, LARGEST_BATCH * 2 * n),
            tags: (0..LARGEST_BATCH as u64).map(SymbolTag).collect(),
            codes: Vec::new(),
        })
    }

    fn forward(&mut self, batch: usize, seconds: f64) -> ForwardRow {
        let n = self.n;
        // Enough repetitions that a round takes some tenths of a millisecond.
        let repeats = (4_000_000 / (batch * 2 * n * n)).max(1);
        let mut gemm = Plain::new(self.packing, n, batch);
        let (x, tags) = (&self.x[..batch * 2 * n], &self.tags[..batch]);
        let (array, tile, codes) = (&mut self.array, &self.tile, &mut self.codes);
        let (own, other) = interleaved(
            seconds,
            &mut || {
                for key in 0..repeats as u64 {
                    array.forward(tile, black_box(x), key, tags, 10, black_box(codes));
                }
            },
            &mut || {
                for _ in 0..repeats {
                    gemm.run();
                }
            },
        );
        let symbols = (repeats * batch) as f64;
        ForwardRow {
            n,
            batch,
            symbols_per_s: symbols / own,
            gemm_symbols_per_s: symbols / other,
            ratio_to_gemm: other / own,
        }
    }

    fn load(&mut self, cells: &'static str, seconds: f64) -> LoadRow {
        // The array is borrowed by both sides in turns.
        let array = std::cell::RefCell::new(&mut self.array);
        let (tile, x, codes) = (&self.tile, &self.x, &mut self.codes);
        let weights = &self.weights;
        let (load, forward) = interleaved(
            seconds,
            &mut || _ = black_box(array.borrow_mut().load(0, black_box(weights))),
            &mut || array.borrow_mut().forward(tile, black_box(x), 1, &self.tags, 10, codes),
        );
        let symbol = forward / LARGEST_BATCH as f64;
        LoadRow { n: self.n, cells, seconds: load, symbols_equivalent: load / symbol }
    }
}

/// The plain product of a packing's useful size.
enum Plain {
    Real { x: Vec<f32>, w: Vec<f32>, y: Vec<f32>, n: usize, batch: usize },
    Complex { x: Vec<c32>, w: Vec<c32>, y: Vec<c32>, n: usize, batch: usize },
}

impl Plain {
    fn new(packing: Packing, n: usize, batch: usize) -> Self {
        if packing == Packing::Complex {
            let (x, w) = (complex(3, batch * n), complex(4, n * n));
            Self::Complex { x, w, y: complex(5, batch * n), n, batch }
        } else {
            let (x, w) = (random(3, batch * 2 * n), random(4, 2 * n * n));
            Self::Real { x, w, y: vec![0.0; batch * n], n, batch }
        }
    }

    fn run(&mut self) {
        match self {
            Self::Real { x, w, y, n, batch } => {
                product(black_box(x), w, black_box(y), *batch, 2 * *n, *n);
            }
            Self::Complex { x, w, y, n, batch } => {
                complex_product(black_box(x), w, black_box(y), *batch, *n, *n);
            }
        }
    }
}

/// `y = x · w` in complex single precision by the `gemm` crate, all row-major, in one thread.
fn complex_product(x: &[c32], w: &[c32], y: &mut [c32], m: usize, k: usize, n: usize) {
    assert!(x.len() == m * k && w.len() == k * n && y.len() == m * n, "shapes must fit");
    let stride = |len: usize| isize::try_from(len).unwrap_or(isize::MAX);
    let (zero, one) = (c32::new(0.0, 0.0), c32::new(1.0, 0.0));
    // SAFETY: the three slices hold exactly the matrices that the sizes and strides describe, and
    // `y` overlaps neither of the others, being borrowed mutably.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            y.as_mut_ptr(),
            1,
            stride(n),
            false,
            x.as_ptr(),
            1,
            stride(k),
            w.as_ptr(),
            1,
            stride(n),
            zero,
            one,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

fn complex(key: u64, len: usize) -> Vec<c32> {
    random(key, 2 * len).chunks_exact(2).map(|part| c32::new(part[0], part[1])).collect()
}

/// Random codes of magnitude 127 at most.
#[allow(clippy::cast_possible_truncation, reason = "clamped to a code")]
fn codes(key: u64, len: usize) -> Vec<i8> {
    random(key, len).into_iter().map(|x| (42.0 * x).clamp(-127.0, 127.0) as i8).collect()
}

/// The real matrix `[[A, B], [-B, A]]` of a complex one.
fn complex_blocks(n: usize, parts: &[i8]) -> Vec<i8> {
    let (a, b) = parts.split_at(n * n);
    let rows = |left: &[i8], right: &[i8], sign: i8| -> Vec<i8> {
        let pairs = left.chunks_exact(n).zip(right.chunks_exact(n));
        pairs
            .flat_map(|(left, right)| {
                left.iter().map(move |x| sign * x).chain(right.iter().copied())
            })
            .collect()
    };
    [rows(a, b, 1), rows(b, a, -1)].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_complex_product_is_one() {
        let (m, k, n) = (2, 5, 3);
        let (x, w) = (complex(1, m * k), complex(2, k * n));
        let mut y = complex(3, m * n);
        complex_product(&x, &w, &mut y, m, k, n);
        for row in 0..m {
            for column in 0..n {
                let terms = (0..k).map(|i| x[row * k + i] * w[i * n + column]);
                let expected = terms.fold(c32::new(0.0, 0.0), |sum, term| sum + term);
                let off = y[row * n + column] - expected;
                assert!(off.re.abs() < 1e-5 && off.im.abs() < 1e-5, "{off}");
            }
        }
    }

    #[test]
    fn complex_weights_are_blocks() {
        assert_eq!(complex_blocks(1, &[3, 4]), [3, 4, -4, 3]);
        let blocks = complex_blocks(2, &[1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(blocks, [1, 2, 5, 6, 3, 4, 7, 8, -5, -6, 1, 2, -7, -8, 3, 4]);
    }
}
