//! What a tile needs of one family's vector register.
#![allow(unsafe_code, reason = "vector instructions must be known to exist")]

/// A register of f32 lanes.
///
/// # Safety
/// Every method may be called only where the family's instructions are known to exist, and pointers
/// must be valid for [`Lanes::WIDTH`] elements.
pub(super) trait Lanes: Copy {
    /// How many lanes there are.
    const WIDTH: usize;
    /// All lanes `+0`.
    unsafe fn zero() -> Self;
    /// All lanes the value at `from`.
    unsafe fn broadcast(from: *const f32) -> Self;
    /// The next lanes from memory, at any alignment.
    unsafe fn load(from: *const f32) -> Self;
    /// Writes the lanes to memory, at any alignment.
    unsafe fn store(self, to: *mut f32);
    /// `self + other`.
    unsafe fn add(self, other: Self) -> Self;
    /// `self · factor + addend`, rounded once.
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self;
}
