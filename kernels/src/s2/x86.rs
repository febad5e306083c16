//! The x86-64 families: AVX2 with FMA, and AVX-512.
#![allow(unsafe_code, reason = "vector instructions and raw pointers")]

use std::arch::x86_64::{
    __m256, __m512, _mm256_add_ps, _mm256_broadcast_ss, _mm256_fmadd_ps, _mm256_loadu_ps,
    _mm256_setzero_ps, _mm256_storeu_ps, _mm512_add_ps, _mm512_fmadd_ps, _mm512_loadu_ps,
    _mm512_set1_ps, _mm512_setzero_ps, _mm512_storeu_ps,
};

use super::drive::{Job, drive};
use super::lanes::Lanes;
use super::tile::{Kernel, Tile, run};

impl Lanes for __m256 {
    const WIDTH: usize = 8;
    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: AVX exists, by the caller's promise (so in all methods here).
        unsafe { _mm256_setzero_ps() }
    }
    #[inline(always)]
    unsafe fn broadcast(from: *const f32) -> Self {
        // SAFETY: AVX exists and `from` is valid for one element.
        unsafe { _mm256_broadcast_ss(&*from) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: AVX exists and `from` is valid for eight elements.
        unsafe { _mm256_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: AVX exists and `to` is valid for eight elements.
        unsafe { _mm256_storeu_ps(to, self) }
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: AVX exists.
        unsafe { _mm256_add_ps(self, other) }
    }
    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        // SAFETY: FMA exists.
        unsafe { _mm256_fmadd_ps(self, factor, addend) }
    }
}

impl Lanes for __m512 {
    const WIDTH: usize = 16;
    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: AVX-512 F exists, by the caller's promise (so in all methods here).
        unsafe { _mm512_setzero_ps() }
    }
    #[inline(always)]
    unsafe fn broadcast(from: *const f32) -> Self {
        // SAFETY: AVX-512 F exists and `from` is valid for one element.
        unsafe { _mm512_set1_ps(*from) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: AVX-512 F exists and `from` is valid for sixteen elements.
        unsafe { _mm512_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: AVX-512 F exists and `to` is valid for sixteen elements.
        unsafe { _mm512_storeu_ps(to, self) }
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: AVX-512 F exists.
        unsafe { _mm512_add_ps(self, other) }
    }
    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        // SAFETY: AVX-512 F exists.
        unsafe { _mm512_fmadd_ps(self, factor, addend) }
    }
}

/// 16 registers: up to six rows of half a panel, or fewer rows of whole panels.
struct Avx2;

impl Kernel for Avx2 {
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
                (1, 2) => run::<__m256, 1, 4, 2>(tile),
                (1, _) => run::<__m256, 1, 4, 1>(tile),
                (2, _) => run::<__m256, 2, 4, 1>(tile),
                (3, _) => run::<__m256, 3, 4, 1>(tile),
                (4, _) => run::<__m256, 4, 2, 1>(tile),
                (5, _) => run::<__m256, 5, 2, 1>(tile),
                _ => run::<__m256, 6, 2, 1>(tile),
            }
        }
    }
}

/// 32 registers: up to twelve rows of a panel.
struct Avx512;

impl Kernel for Avx512 {
    const ROWS: usize = 12;
    #[inline(always)]
    fn panels_at_once(rows: usize) -> usize {
        match rows {
            1 | 2 => 4,
            3 => 2,
            _ => 1,
        }
    }
    #[inline(always)]
    unsafe fn tile(rows: usize, panels: usize, tile: &Tile) {
        // SAFETY: passed on to the caller.
        unsafe {
            match (rows, panels) {
                // Few outputs need half a panel; the chains of many rows still hide the latency.
                (8.., _) if tile.columns <= 16 => match rows {
                    8 => run::<__m512, 8, 1, 1>(tile),
                    9 => run::<__m512, 9, 1, 1>(tile),
                    10 => run::<__m512, 10, 1, 1>(tile),
                    11 => run::<__m512, 11, 1, 1>(tile),
                    _ => run::<__m512, 12, 1, 1>(tile),
                },
                (1, 4) => run::<__m512, 1, 2, 4>(tile),
                (1, _) => run::<__m512, 1, 2, 1>(tile),
                (2, 4) => run::<__m512, 2, 2, 4>(tile),
                (2, _) => run::<__m512, 2, 2, 1>(tile),
                (3, 2) => run::<__m512, 3, 2, 2>(tile),
                (3, _) => run::<__m512, 3, 2, 1>(tile),
                (4, _) => run::<__m512, 4, 2, 1>(tile),
                (5, _) => run::<__m512, 5, 2, 1>(tile),
                (6, _) => run::<__m512, 6, 2, 1>(tile),
                (7, _) => run::<__m512, 7, 2, 1>(tile),
                (8, _) => run::<__m512, 8, 2, 1>(tile),
                (9, _) => run::<__m512, 9, 2, 1>(tile),
                (10, _) => run::<__m512, 10, 2, 1>(tile),
                (11, _) => run::<__m512, 11, 2, 1>(tile),
                _ => run::<__m512, 12, 2, 1>(tile),
            }
        }
    }
}

/// Runs a job on AVX2 and FMA.
///
/// # Safety
/// As [`drive`]; AVX2 and FMA must exist.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn avx2(job: &Job) {
    // SAFETY: the caller's promise.
    unsafe { drive::<Avx2>(job) }
}

/// Runs a job on AVX-512.
///
/// # Safety
/// As [`drive`]; AVX-512 F, BW, DQ and VL must exist.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
pub(super) unsafe fn avx512(job: &Job) {
    // SAFETY: the caller's promise.
    unsafe { drive::<Avx512>(job) }
}
