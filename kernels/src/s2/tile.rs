//! The inner loop: a few rows times one or more panels over one block of K.
#![allow(unsafe_code, reason = "the innermost loop works on registers and raw pointers")]
#![allow(clippy::needless_range_loop, reason = "constant places keep the sums in registers")]

use super::PANEL;
use super::lanes::Lanes;

/// One family's tiles.
///
/// # Safety
/// [`Kernel::tile`] may be called only where the family's instructions are known to exist.
pub(super) trait Kernel {
    /// The most rows of a tile.
    const ROWS: usize;
    /// How many panels a tile of so many rows takes at once, so that it is not bound by the latency
    /// of one chain.
    fn panels_at_once(rows: usize) -> usize;
    /// Runs a tile of `rows` rows and `panels` panels, which is one or what
    /// [`Kernel::panels_at_once`] says.
    unsafe fn tile(rows: usize, panels: usize, tile: &Tile);
}

/// Where a tile reads and writes.
pub(super) struct Tile {
    /// Elements of K, one block or less.
    pub(super) depth: usize,
    /// The left side at the first row and the block's first k.
    pub(super) left: *const f32,
    /// From one row of the left side to the next, in elements.
    pub(super) left_row: usize,
    /// From one k of the left side to the next, in elements.
    pub(super) left_k: usize,
    /// The first panel at the block's first k, `[depth][PANEL]`.
    pub(super) right: *const f32,
    /// From one panel to the next, in elements.
    pub(super) panel_stride: usize,
    /// The first output of the first row.
    pub(super) y: *mut f32,
    /// From one row of outputs to the next, in elements.
    pub(super) y_stride: usize,
    /// Outputs of each row from `y` on that exist; padding beyond is not written.
    pub(super) columns: usize,
    /// Whether the sums are added to `y` or overwrite it.
    pub(super) add: bool,
}

/// The sums of a tile on their way from registers to memory: `[rows][panels][PANEL]`.
type Sums<const R: usize, const P: usize> = [[[f32; PANEL]; P]; R];

/// Runs a tile with `R` rows, `V` vectors side by side and `P` panels in registers.
///
/// # Safety
/// The instructions of `L` must exist; `left` must hold `R` rows of `depth` elements at its strides,
/// each of the `P` panels `depth × PANEL`, and `y` `R` rows of `columns` elements that nobody else
/// uses meanwhile.
#[inline(always)]
pub(super) unsafe fn run<L: Lanes, const R: usize, const V: usize, const P: usize>(tile: &Tile) {
    let group = V * L::WIDTH;
    let mut first = 0;
    while first < PANEL && first < tile.columns {
        let mut sums = [[[0.0; PANEL]; P]; R];
        // SAFETY: the caller's promise; `first + group` never passes PANEL.
        unsafe {
            block_sums::<L, R, V, P>(tile, first, &mut sums);
            write::<L, R, V, P>(tile, first, &sums);
        }
        first += group;
    }
}

/// The chains of the rule over one block, from `+0`.
#[inline(always)]
unsafe fn block_sums<L: Lanes, const R: usize, const V: usize, const P: usize>(
    tile: &Tile,
    first: usize,
    to: &mut Sums<R, P>,
) {
    // SAFETY: the caller's promise; the pointers advance by a k once per element of K.
    unsafe {
        let mut sums = [[[L::zero(); V]; P]; R];
        let left: [*const f32; R] =
            std::array::from_fn(|r| tile.left.wrapping_add(r * tile.left_row));
        let mut at = 0;
        let mut right = tile.right.add(first);
        for _ in 0..tile.depth {
            let mut b = [[L::zero(); V]; P];
            for p in 0..P {
                for v in 0..V {
                    b[p][v] = L::load(right.wrapping_add(p * tile.panel_stride + v * L::WIDTH));
                }
            }
            for r in 0..R {
                let a = L::broadcast(left[r].add(at));
                for p in 0..P {
                    for v in 0..V {
                        sums[r][p][v] = a.mul_add(b[p][v], sums[r][p][v]);
                    }
                }
            }
            at += tile.left_k;
            right = right.wrapping_add(PANEL);
        }
        // Only constant places of `sums` are used, so it stays in registers; what follows picks
        // places at run time and reads the copy.
        for r in 0..R {
            for p in 0..P {
                for v in 0..V {
                    sums[r][p][v].store(to[r][p].as_mut_ptr().add(v * L::WIDTH));
                }
            }
        }
    }
}

/// Stores the block's sums, or adds them to what is there.
#[inline(always)]
unsafe fn write<L: Lanes, const R: usize, const V: usize, const P: usize>(
    tile: &Tile,
    first: usize,
    sums: &Sums<R, P>,
) {
    let group = V * L::WIDTH;
    for (r, row) in sums.iter().enumerate() {
        for (p, sums) in row.iter().enumerate() {
            let column = p * PANEL + first;
            let count = tile.columns.saturating_sub(column).min(group);
            // SAFETY: row `r` has `count` columns from `column` on, by the caller's promise.
            unsafe {
                let to = tile.y.wrapping_add(r * tile.y_stride + column);
                if count == group {
                    for v in 0..V {
                        let sum = L::load(sums.as_ptr().add(v * L::WIDTH));
                        let to = to.add(v * L::WIDTH);
                        let total = if tile.add { L::load(to).add(sum) } else { sum };
                        total.store(to);
                    }
                } else {
                    for (lane, &sum) in sums[..count].iter().enumerate() {
                        let to = to.add(lane);
                        *to = if tile.add { *to + sum } else { sum };
                    }
                }
            }
        }
    }
}

/// The scalar family: one lane, one row.
pub(super) struct Scalar;

impl Lanes for f32 {
    const WIDTH: usize = 1;
    #[inline(always)]
    unsafe fn zero() -> Self {
        0.0
    }
    #[inline(always)]
    unsafe fn broadcast(from: *const f32) -> Self {
        // SAFETY: the caller's promise.
        unsafe { *from }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller's promise.
        unsafe { *from }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { *to = self }
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        self + other
    }
    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        f32::mul_add(self, factor, addend)
    }
}

impl Kernel for Scalar {
    const ROWS: usize = 1;
    fn panels_at_once(_rows: usize) -> usize {
        1
    }
    #[inline(always)]
    unsafe fn tile(_rows: usize, _panels: usize, tile: &Tile) {
        // SAFETY: passed on to the caller; no special instructions.
        unsafe { run::<f32, 1, 8, 1>(tile) }
    }
}
