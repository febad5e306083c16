//! Memory goes with the tiles that are kept, and not with the symbols that pass them.

#![allow(unsafe_code, reason = "an allocator that counts")]

use litecore_hal::SymbolTag;
use litecore_sim::Terms;
use litecore_sim::array::ArrayModel;
use litecore_sim::packing::Packing;
use litecore_types::Seed;
use litecore_types::chip::{ChipDescription, Override, builtin_text};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    /// Bytes that this thread holds, and the most it has held.
    static HELD: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}

struct Counting;

fn count(change: isize) {
    // A thread that ends has no cell any more.
    _ = HELD.try_with(|held| {
        let (now, most) = held.get();
        held.set((now + change, most.max(now + change)));
    });
}

fn size(layout: Layout) -> isize {
    isize::try_from(layout.size()).unwrap_or(isize::MAX)
}

// SAFETY: every call goes to the system's allocator as it is; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(size(layout));
        // SAFETY: the caller's promises are those of the system's allocator.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-size(layout));
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// The most bytes that work needs beyond those held before, and what it gives.
fn most_while<T>(work: impl FnOnce() -> T) -> (isize, T) {
    let before = HELD.get().0;
    HELD.set((before, before));
    let result = work();
    (HELD.get().1 - before, result)
}

#[cfg(test)]
fn model(name: &str, changes: &[(&str, &str)]) -> ArrayModel {
    let changes: Vec<Override> = changes
        .iter()
        .map(|(path, value)| Override { path: (*path).to_owned(), value: (*value).to_owned() })
        .collect();
    let text = builtin_text(name).unwrap();
    let chip = ChipDescription::from_toml_with(text, name, &changes).unwrap();
    ArrayModel::new(&chip, Terms::all(), Seed(1), Packing::Conjugate).unwrap()
}

#[test]
fn symbols_take_no_memory() {
    // The last mixes neighbors, which keeps one symbol for each wavelength.
    let mixing = [("receiver.bandwidth_hz", "1.0e9"), ("array.wavelengths", "4")];
    for (name, changes) in [("ref-64-eo", &[][..]), ("ref-64-os", &[]), ("ref-64-eo", &mixing)] {
        let mut array = model(name, changes);
        let weights = vec![3; array.weights_per_tile()];
        let tile = array.load(0, &weights).unwrap();
        let mut needs = |symbols: usize| {
            let x = vec![5; symbols * array.inputs_per_symbol()];
            let tags: Vec<SymbolTag> = (0..symbols as u64).map(SymbolTag).collect();
            let mut codes = vec![0; symbols * array.outputs_per_symbol()];
            most_while(|| array.forward_into(&tile, &x, 1, &tags, 10, &mut codes)).0
        };
        let warm = needs(256);
        // 32 times the symbols: only what the first call left to be made.
        let many = needs(8192);
        assert!(many <= warm && many < 65_536, "{name}: {warm} and {many} bytes");
    }
}

#[test]
fn tiles_take_what_they_say() {
    let mut array = model("ref-64-eo", &[]);
    let weights = vec![3; array.weights_per_tile()];
    // The errors of the array itself come with the first.
    let first = array.load(0, &weights).unwrap();
    let before = HELD.get().0;
    let tiles: Vec<_> = (0..20).map(|_| array.load(0, &weights).unwrap()).collect();
    let each = (HELD.get().0 - before) as f64 / 20.0;
    let said = first.bytes() as f64;
    assert!((each / said - 1.0).abs() < 0.02, "{each} bytes, {said} said");
    assert_eq!(tiles.len(), 20);
}
