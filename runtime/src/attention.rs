//! Causal attention over a sliding window, with the keys and values of past positions kept.

use litecore_kernels::{math, s2};
use std::ops::Range;

/// Keys and values of one layer for the positions that can still be attended to.
#[derive(Clone, Debug, Default)]
pub(crate) struct LayerCache {
    /// Shape: positions × (key and value heads · head width), oldest first.
    keys: Vec<f32>,
    values: Vec<f32>,
    /// Absolute position of the first row.
    first: u64,
}

/// The sizes attention needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) heads: usize,
    /// Heads of keys and values; each serves equally many consecutive heads.
    pub(crate) key_value_heads: usize,
    pub(crate) head_width: usize,
    pub(crate) window: usize,
}

impl Shape {
    /// Keys or values of one position.
    fn row(self) -> usize {
        self.key_value_heads * self.head_width
    }
}

impl LayerCache {
    /// Adds the keys and values of further positions.
    pub(crate) fn append(&mut self, keys: &[f32], values: &[f32]) {
        self.keys.extend_from_slice(keys);
        self.values.extend_from_slice(values);
    }

    /// Drops positions that no later one can attend to, now and then.
    pub(crate) fn trim(&mut self, shape: Shape) {
        let rows = self.keys.len() / shape.row();
        if rows >= 2 * shape.window {
            let dropped = rows - shape.window;
            self.keys.drain(..dropped * shape.row());
            self.values.drain(..dropped * shape.row());
            self.first += dropped as u64;
        }
    }

    /// Attends from `position` (its key already appended) with rotated `queries`.
    ///
    /// `scores` is scratch. Shape: `queries` and `out` are heads × head width.
    pub(crate) fn attend(
        &self,
        shape: Shape,
        position: u64,
        queries: &[f32],
        scores: &mut Vec<f32>,
        out: &mut [f32],
    ) {
        let rows = self.attended(shape, position);
        let (stride, width) = (shape.row(), shape.head_width);
        let scale = 1.0 / (width as f32).sqrt();
        scores.resize(rows.len(), 0.0);
        let shared_by = shape.heads / shape.key_value_heads;
        for head in 0..shape.heads {
            let span = head * width..(head + 1) * width;
            let first = rows.start * stride + head / shared_by * width;
            s2::dots(&queries[span.clone()], &self.keys[first..], stride, scores);
            for score in scores.iter_mut() {
                *score *= scale;
            }
            math::softmax_in_place(scores);
            s2::combine(scores, &self.values[first..], stride, &mut out[span]);
        }
    }

    /// The rows `position` attends to: itself and up to `window - 1` before it.
    fn attended(&self, shape: Shape, position: u64) -> Range<usize> {
        let oldest = (position + 1).saturating_sub(shape.window as u64).max(self.first);
        let row = |position: u64| usize::try_from(position - self.first).unwrap_or(usize::MAX);
        row(oldest)..row(position) + 1
    }
}
