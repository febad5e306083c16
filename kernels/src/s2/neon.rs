//! The aarch64 family: NEON, which every such machine has.
#![allow(unsafe_code, reason = "vector instructions and raw pointers")]

use std::arch::aarch64::{
    float32x4_t, vaddq_f32, vdupq_n_f32, vfmaq_f32, vld1q_dup_f32, vld1q_f32, vst1q_f32,
};

use super::lanes::Lanes;
use super::tile::{Kernel, Tile, run};

impl Lanes for float32x4_t {
    const WIDTH: usize = 4;
    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: NEON exists on every aarch64 (so in all methods here).
        unsafe { vdupq_n_f32(0.0) }
    }
    #[inline(always)]
    unsafe fn broadcast(from: *const f32) -> Self {
        // SAFETY: `from` is valid for one element.
        unsafe { vld1q_dup_f32(from) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: `from` is valid for four elements.
        unsafe { vld1q_f32(from) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: `to` is valid for four elements.
        unsafe { vst1q_f32(to, self) }
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: NEON exists.
        unsafe { vaddq_f32(self, other) }
    }
    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        // SAFETY: NEON exists.
        unsafe { vfmaq_f32(addend, self, factor) }
    }
}

/// 32 registers of four lanes: up to six rows of half a panel, or fewer rows of whole panels.
pub(super) struct Neon;

impl Kernel for Neon {
    const ROWS: usize = 6;
    #[inline(always)]
    fn panels_at_once(rows: usize) -> usize {
        if rows == 1 { 2 } else { 1 }
    }
    #[inline(always)]
    unsafe fn tile(rows: usize, panels: usize, tile: &Tile) {
        // SAFETY: passed on to the caller.
        unsafe {
            match (rows, panels) {
                (1, 2) => run::<float32x4_t, 1, 8, 2>(tile),
                (1, _) => run::<float32x4_t, 1, 8, 1>(tile),
                (2, _) => run::<float32x4_t, 2, 8, 1>(tile),
                (3, _) => run::<float32x4_t, 3, 8, 1>(tile),
                (4, _) => run::<float32x4_t, 4, 4, 1>(tile),
                (5, _) => run::<float32x4_t, 5, 4, 1>(tile),
                _ => run::<float32x4_t, 6, 4, 1>(tile),
            }
        }
    }
}
