//! The same products over rayon's threads: parts of the result, never parts of K.
#![allow(unsafe_code, reason = "threads write disjoint parts of one result")]

use rayon::prelude::*;

use super::drive::Job;
use super::{PANEL, PackedMatrix, gradient_shape};
use crate::Isa;

/// Below so many multiplications a second thread costs more than it brings.
const SMALL: usize = 1 << 18;

/// [`super::product`] on all threads of the current rayon pool; the same bits.
pub fn product_parallel(x: &[f32], w: &PackedMatrix, y: &mut [f32]) {
    run(&Job::product(x, w, y));
}

/// [`super::gradient_of_weights`] on all threads of the current rayon pool; the same bits.
pub fn gradient_of_weights_parallel(dy: &[f32], x: &[f32], rows: usize, dw: &mut [f32]) {
    let Some((outputs, inputs)) = gradient_shape(dy, x, rows, dw) else { return };
    let right = PackedMatrix::from_columns(x, rows, inputs);
    run(&Job::gradient(dy, outputs, &right, dw));
}

fn run(job: &Job) {
    let isa = Isa::detected();
    let (rows, panels) = (job.rows.len(), job.panels.len());
    let work = rows.saturating_mul(panels * PANEL).saturating_mul(job.right.inputs());
    let threads = rayon::current_num_threads();
    if work < SMALL || threads == 1 {
        // SAFETY: the only part there is.
        unsafe { job.part(0..rows, 0..panels) }.run(isa);
        return;
    }
    // A few parts per thread even out threads that start late; panels are split first, so that
    // each thread reads its own weights.
    let wanted = 4 * threads;
    let panel_parts = panels.min(wanted);
    let row_parts = wanted.div_ceil(panel_parts).min(rows.div_ceil(24));
    let parts: Vec<Job> = (0..panel_parts * row_parts)
        .map(|part| {
            let (p, r) = (part / row_parts, part % row_parts);
            let panel_range = p * panels / panel_parts..(p + 1) * panels / panel_parts;
            let row_range = r * rows / row_parts..(r + 1) * rows / row_parts;
            // SAFETY: the ranges of two parts differ in the rows or in the panels.
            unsafe { job.part(row_range, panel_range) }
        })
        .collect();
    parts.into_par_iter().for_each(|part| part.run(isa));
}
