//! Positions as rotations of the pairs of a head.

use super::sin_cos;
use crate::Isa;

/// Rotary position embedding: pairs `(i, i + half)` turned by `position · theta^(−2i / width)`.
#[derive(Clone, Debug)]
pub struct Rope {
    /// Radians per position, of each pair.
    frequencies: Vec<f64>,
}

/// The rotations of one position, to be used for many heads.
#[derive(Clone, Debug)]
pub struct Turn {
    cosines: Vec<f32>,
    sines: Vec<f32>,
}

impl Rope {
    /// The embedding for heads of a width; an odd last element is never turned.
    pub fn new(head_width: usize, theta: f32) -> Self {
        let width = head_width as f64;
        let frequency = |i: usize| pxfm::f_pow(f64::from(theta), -((2 * i) as f64) / width);
        Self { frequencies: (0..head_width / 2).map(frequency).collect() }
    }

    /// The embedding with each frequency changed.
    ///
    /// Units: radians per position, in and out.
    #[must_use]
    pub fn with_frequencies(mut self, change: impl Fn(f64) -> f64) -> Self {
        for frequency in &mut self.frequencies {
            *frequency = change(*frequency);
        }
        self
    }

    /// The rotations of a position: angles, sines and cosines in f64, each then rounded to f32.
    pub fn turn(&self, position: u64) -> Turn {
        let (sines, cosines) = self
            .frequencies
            .iter()
            .map(|&frequency| rounded(sin_cos(position as f64 * frequency)))
            .unzip();
        Turn { cosines, sines }
    }

    /// Turns one head at a position.
    ///
    /// Panics: if the head has another width.
    pub fn rotate(&self, position: u64, head: &mut [f32]) {
        self.turn(position).rotate(head);
    }
}

impl Turn {
    /// Turns one head: `(a·cos − b·sin, b·cos + a·sin)`, each step rounded once.
    ///
    /// Panics: if the head has another width.
    pub fn rotate(&self, head: &mut [f32]) {
        turn_pairs(Isa::detected(), &self.cosines, &self.sines, head, 1.0);
    }

    /// Turns one head back, as the gradient of [`Turn::rotate`] needs it.
    ///
    /// Panics: if the head has another width.
    pub fn rotate_back(&self, head: &mut [f32]) {
        turn_pairs(Isa::detected(), &self.cosines, &self.sines, head, -1.0);
    }
}

on_every_isa! {
    fn turn_pairs(cosines: &[f32], sines: &[f32], head: &mut [f32], sign: f32) = turn_pairs_body;
}

#[inline(always)]
fn turn_pairs_body(cosines: &[f32], sines: &[f32], head: &mut [f32], sign: f32) {
    let half = cosines.len();
    assert_eq!(head.len() / 2, half, "the head must have the width of the embedding");
    let (low, high) = head.split_at_mut(half);
    let turns = cosines.iter().zip(sines);
    for ((a, b), (&cos, &sin)) in low.iter_mut().zip(high).zip(turns) {
        let sin = sign * sin;
        (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
    }
}

#[allow(clippy::cast_possible_truncation, reason = "rounding to f32 is what the rotation defines")]
fn rounded((sin, cos): (f64, f64)) -> (f32, f32) {
    (sin as f32, cos as f32)
}
