//! Causal attention of one sequence, forward and backward.

use litecore_kernels::math::{Rope, Turn, softmax_in_place};
use litecore_kernels::s2::{PackedMatrix, gradient_of_weights, product};

use crate::sums::lane_dot;

/// Queries handled at a time: later keys are outside the causal triangle and are left out.
const BLOCK_ROWS: usize = 64;

/// The fixed numbers of attention over one sequence.
#[derive(Debug)]
pub(crate) struct Attention {
    heads: usize,
    head_width: usize,
    length: usize,
    scale: f32,
    /// The rotation of each position.
    turns: Vec<Turn>,
}

impl Attention {
    pub(crate) fn new(heads: usize, head_width: usize, length: usize, theta: f32) -> Self {
        let rope = Rope::new(head_width, theta);
        let turns = (0..length as u64).map(|position| rope.turn(position)).collect();
        let scale = 1.0 / (head_width as f32).sqrt();
        Self { heads, head_width, length, scale, turns }
    }

    /// Elements of the probabilities of one sequence, all heads.
    pub(crate) fn probabilities(&self) -> usize {
        self.heads * self.blocks().map(|(first, last)| (last - first) * last).sum::<usize>()
    }

    /// Turns queries and keys by their positions.
    ///
    /// Shape: `qkv` is length × `3·heads·head_width`, queries first, then keys, then values.
    pub(crate) fn rotate(&self, qkv: &mut [f32]) {
        let inner = self.heads * self.head_width;
        for (row, turn) in qkv.chunks_exact_mut(3 * inner).zip(&self.turns) {
            for head in row[..2 * inner].chunks_exact_mut(self.head_width) {
                turn.rotate(head);
            }
        }
    }

    /// Turns gradients of queries and keys back.
    fn rotate_back(&self, dqkv: &mut [f32]) {
        let inner = self.heads * self.head_width;
        for (row, turn) in dqkv.chunks_exact_mut(3 * inner).zip(&self.turns) {
            for head in row[..2 * inner].chunks_exact_mut(self.head_width) {
                turn.rotate_back(head);
            }
        }
    }

    /// Probabilities and outputs of one sequence.
    ///
    /// Shape: `qkv` as rotated; `probabilities` has [`Attention::probabilities`] elements;
    /// `output` is length × `heads·head_width`.
    pub(crate) fn forward(&self, qkv: &[f32], probabilities: &mut [f32], output: &mut [f32]) {
        let width = self.head_width;
        let mut part = HeadParts::new(self.length, width);
        let mut mixed = vec![0.0; BLOCK_ROWS * width];
        let mut rest = probabilities;
        for head in 0..self.heads {
            part.load(qkv, self.heads, head);
            for (first, last) in self.blocks() {
                let rows = last - first;
                let (block, later) = rest.split_at_mut(rows * last);
                rest = later;
                let keys = PackedMatrix::from_rows(&part.k[..last * width], last, width);
                product(&part.q[first * width..last * width], &keys, block);
                for (row, scores) in block.chunks_exact_mut(last).enumerate() {
                    let (seen, hidden) = scores.split_at_mut(first + row + 1);
                    for score in seen.iter_mut() {
                        *score *= self.scale;
                    }
                    softmax_in_place(seen);
                    hidden.fill(0.0);
                }
                let values = PackedMatrix::from_columns(&part.v[..last * width], last, width);
                let mixed = &mut mixed[..rows * width];
                product(block, &values, mixed);
                self.store(mixed, first, head, output);
            }
        }
    }

    /// Gradients of the projections' outputs, before the rotation.
    ///
    /// Shape: `dqkv` as `qkv`, overwritten; `doutput` as `output`.
    pub(crate) fn backward(
        &self,
        qkv: &[f32],
        probabilities: &[f32],
        doutput: &[f32],
        dqkv: &mut [f32],
    ) {
        let width = self.head_width;
        let mut part = HeadParts::new(self.length, width);
        let mut gradient = HeadParts::new(self.length, width);
        let mut dmixed = vec![0.0; self.length * width];
        let mut dscores = vec![0.0; BLOCK_ROWS * self.length];
        let mut rest = probabilities;
        for head in 0..self.heads {
            part.load(qkv, self.heads, head);
            gradient.clear();
            gather(doutput, self.heads * width, head * width, width, &mut dmixed);
            for (first, last) in self.blocks() {
                let rows = last - first;
                let (block, later) = rest.split_at(rows * last);
                rest = later;
                let here = first * width..last * width;
                let seen = ..last * width;
                let dscores = &mut dscores[..rows * last];
                let values = PackedMatrix::from_rows(&part.v[seen], last, width);
                product(&dmixed[here.clone()], &values, dscores);
                self.through_softmax(block, last, dscores);
                gradient_of_weights(block, &dmixed[here.clone()], rows, &mut gradient.v[seen]);
                gradient_of_weights(dscores, &part.q[here.clone()], rows, &mut gradient.k[seen]);
                let keys = PackedMatrix::from_columns(&part.k[seen], last, width);
                product(dscores, &keys, &mut gradient.q[here]);
            }
            gradient.store(dqkv, self.heads, head);
        }
        self.rotate_back(dqkv);
    }

    /// Turns gradients of probabilities into gradients of dot products:
    /// `ds_j = p_j·(dp_j − Σ p·dp)·scale`.
    fn through_softmax(&self, probabilities: &[f32], columns: usize, gradient: &mut [f32]) {
        let rows = probabilities.chunks_exact(columns).zip(gradient.chunks_exact_mut(columns));
        for (p, d) in rows {
            let mean = lane_dot(p, d);
            for (d, p) in d.iter_mut().zip(p) {
                *d = p * (*d - mean) * self.scale;
            }
        }
    }

    fn blocks(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let length = self.length;
        (0..length).step_by(BLOCK_ROWS).map(move |first| (first, length.min(first + BLOCK_ROWS)))
    }

    fn store(&self, rows: &[f32], first: usize, head: usize, output: &mut [f32]) {
        let (inner, width) = (self.heads * self.head_width, self.head_width);
        let output = &mut output[first * inner..];
        for (to, from) in output.chunks_exact_mut(inner).zip(rows.chunks_exact(width)) {
            to[head * width..][..width].copy_from_slice(from);
        }
    }
}

/// Queries, keys and values of one head, each length × `head_width`.
struct HeadParts {
    width: usize,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
}

impl HeadParts {
    fn new(length: usize, width: usize) -> Self {
        let zeros = || vec![0.0; length * width];
        Self { width, q: zeros(), k: zeros(), v: zeros() }
    }

    fn clear(&mut self) {
        // Queries are overwritten.
        self.k.fill(0.0);
        self.v.fill(0.0);
    }

    fn load(&mut self, qkv: &[f32], heads: usize, head: usize) {
        let (inner, width) = (heads * self.width, self.width);
        gather(qkv, 3 * inner, head * width, width, &mut self.q);
        gather(qkv, 3 * inner, inner + head * width, width, &mut self.k);
        gather(qkv, 3 * inner, 2 * inner + head * width, width, &mut self.v);
    }

    fn store(&self, qkv: &mut [f32], heads: usize, head: usize) {
        let (inner, width) = (heads * self.width, self.width);
        for (part, from) in [&self.q, &self.k, &self.v].into_iter().enumerate() {
            let first = part * inner + head * width;
            for (to, from) in qkv.chunks_exact_mut(3 * inner).zip(from.chunks_exact(width)) {
                to[first..first + width].copy_from_slice(from);
            }
        }
    }
}

/// Copies some columns of every row.
fn gather(from: &[f32], stride: usize, first: usize, width: usize, to: &mut [f32]) {
    for (to, from) in to.chunks_exact_mut(width).zip(from.chunks_exact(stride)) {
        to.copy_from_slice(&from[first..first + width]);
    }
}
