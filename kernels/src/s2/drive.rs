//! The loops around a tile: blocks of K, blocks of rows, panels.
#![allow(unsafe_code, reason = "jobs of one product write disjoint parts of it from many threads")]

use std::ops::Range;

use super::pack::{PackedMatrix, SLACK, pack_left_columns};
use super::tile::{Kernel, Scalar, Tile};
use super::{BLOCK, PANEL};
use crate::Isa;

/// Rows packed at a time, so that the left side of a block stays in the second-level cache.
const ROW_BLOCK: usize = 96;

/// The left matrix of a product, as it lies in memory.
#[derive(Clone, Copy)]
pub(super) enum Left<'a> {
    /// rows × K.
    Rows(&'a [f32]),
    /// K × rows, as a transposed operand lies; the number is the matrix's full row count.
    Columns(&'a [f32], usize),
}

/// A product, or a part of one: some rows of the left side times some panels.
pub(super) struct Job<'a> {
    pub(super) left: Left<'a>,
    pub(super) right: &'a PackedMatrix,
    pub(super) rows: Range<usize>,
    pub(super) panels: Range<usize>,
    /// The whole result, rows × outputs.
    y: *mut f32,
    /// Whether the result is added to.
    accumulate: bool,
}

// SAFETY: a job's pointer is used only by `run`, and `parallel` gives every thread other rows or
// other panels of the result.
unsafe impl Send for Job<'_> {}

impl<'a> Job<'a> {
    /// `y = x · Wᵀ`.
    pub(super) fn product(x: &'a [f32], w: &'a PackedMatrix, y: &'a mut [f32]) -> Self {
        let rows = rows_of(x.len(), w, y.len());
        Self::new(Left::Rows(x), w, rows, y, false)
    }

    /// `y = aᵀ · Wᵀ` with `a` stored K × rows.
    pub(super) fn product_transposed(a: &'a [f32], w: &'a PackedMatrix, y: &'a mut [f32]) -> Self {
        let rows = rows_of(a.len(), w, y.len());
        Self::new(Left::Columns(a, rows), w, rows, y, false)
    }

    /// `dw = dw + dyᵀ · x` with `x` packed by columns.
    pub(super) fn gradient(
        dy: &'a [f32],
        outputs: usize,
        x: &'a PackedMatrix,
        dw: &'a mut [f32],
    ) -> Self {
        Self::new(Left::Columns(dy, outputs), x, outputs, dw, true)
    }

    fn new(
        left: Left<'a>,
        right: &'a PackedMatrix,
        rows: usize,
        y: &'a mut [f32],
        accumulate: bool,
    ) -> Self {
        assert_eq!(y.len(), rows * right.outputs(), "y must be rows × outputs");
        let length = match left {
            Left::Rows(x) | Left::Columns(x, _) => x.len(),
        };
        assert_eq!(length, rows * right.inputs(), "x must be rows × inputs");
        let panels = 0..right.outputs().div_ceil(PANEL);
        Self { left, right, rows: 0..rows, panels, y: y.as_mut_ptr(), accumulate }
    }

    /// The part of this job with these rows and panels.
    ///
    /// # Safety
    /// Parts that run at the same time must not share both a row and a panel.
    pub(super) unsafe fn part(&self, rows: Range<usize>, panels: Range<usize>) -> Self {
        debug_assert!(rows.end <= self.rows.end && panels.end <= self.panels.end);
        Self { rows, panels, ..*self }
    }

    /// Does the work on this family's instructions, or in scalar code where they do not exist.
    pub(super) fn run(self, isa: Isa) {
        if self.rows.is_empty() || self.panels.is_empty() {
            return;
        }
        if self.right.inputs() == 0 {
            // An empty K is one empty block: its sum is +0.
            self.clear();
            return;
        }
        // SAFETY: `new` checked all lengths, and `or_scalar` returns only detected families.
        unsafe {
            match isa.or_scalar() {
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 => super::x86::avx2(&self),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 => super::x86::avx512(&self),
                #[cfg(target_arch = "aarch64")]
                Isa::Neon => drive::<super::neon::Neon>(&self),
                _ => drive::<Scalar>(&self),
            }
        }
    }

    fn clear(&self) {
        if self.accumulate {
            return;
        }
        let outputs = self.right.outputs();
        let first = self.panels.start * PANEL;
        let count = outputs.min(self.panels.end * PANEL) - first;
        for row in self.rows.clone() {
            // SAFETY: the row and its columns are inside `y`, which `new` checked.
            unsafe { self.y.add(row * outputs + first).write_bytes(0, count) };
        }
    }
}

fn rows_of(left: usize, right: &PackedMatrix, y: usize) -> usize {
    if right.outputs() > 0 {
        y / right.outputs()
    } else {
        left.checked_div(right.inputs()).unwrap_or(0)
    }
}

/// Runs the job tile by tile.
///
/// # Safety
/// The instructions of `K` must exist, and no other thread may use this job's part of the result.
#[inline(always)]
pub(super) unsafe fn drive<K: Kernel>(job: &Job) {
    let inputs = job.right.inputs();
    let mut left = Vec::new();
    for k in (0..inputs).step_by(BLOCK) {
        let depth = BLOCK.min(inputs - k);
        for first in job.rows.clone().step_by(ROW_BLOCK) {
            let rows = ROW_BLOCK.min(job.rows.end - first);
            // SAFETY: the caller's promise; these rows and this block are inside the job.
            unsafe { row_block::<K>(job, k, depth, first, rows, &mut left) }
        }
    }
}

/// One block of K times one block of rows, over all panels of the job.
#[inline(always)]
unsafe fn row_block<K: Kernel>(
    job: &Job,
    k: usize,
    depth: usize,
    first: usize,
    rows: usize,
    packed: &mut Vec<f32>,
) {
    let (inputs, outputs) = (job.right.inputs(), job.right.outputs());
    // Tiles of equal height: one low tile at the end would be bound by latency.
    let tiles = rows.div_ceil(K::ROWS);
    let bounds = |tile: usize| tile * rows / tiles;
    // Rows are read where they lie: each is a stream of its own, and copying them costs more. Columns
    // would take a new cache line for every k.
    let left = match job.left {
        Left::Rows(x) => x[first * inputs + k..].as_ptr(),
        Left::Columns(x, stride) => {
            packed.resize(rows * depth + SLACK, 0.0);
            for tile in 0..tiles {
                let (start, end) = (bounds(tile), bounds(tile + 1));
                let from = &x[k * stride + first + start..];
                let to = &mut packed[start * depth..end * depth + SLACK];
                pack_left_columns(from, stride, end - start, depth, to);
            }
            packed.as_ptr()
        }
    };
    let at_once = if tiles == 1 { K::panels_at_once(rows) } else { 1 };
    let mut panel = job.panels.start;
    while panel < job.panels.end {
        let panels = if panel + at_once <= job.panels.end { at_once } else { 1 };
        let column = panel * PANEL;
        for tile in 0..tiles {
            let (start, end) = (bounds(tile), bounds(tile + 1));
            let (left_start, left_row, left_k) = match job.left {
                Left::Rows(_) => (start * inputs, inputs, 1),
                Left::Columns(..) => (start * depth, 1, end - start),
            };
            // SAFETY: the left side holds `rows × depth` at these strides, the panels
            // `inputs × PANEL` each, and row and column are inside `y`.
            unsafe {
                let tile = Tile {
                    depth,
                    left: left.add(left_start),
                    left_row,
                    left_k,
                    right: job.right.panel(panel).as_ptr().add(k * PANEL),
                    panel_stride: inputs * PANEL,
                    y: job.y.add((first + start) * outputs + column),
                    y_stride: outputs,
                    columns: (outputs - column).min(panels * PANEL),
                    add: job.accumulate || k > 0,
                };
                K::tile(end - start, panels, &tile);
            }
        }
        panel += panels;
    }
}
