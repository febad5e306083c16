//! Card memory: which buffers there are, which are used again, where they lie.
//!
//! A buffer whose last reader is known is given back and may be taken again for data of the same
//! kind and length; the order of steps that this needs follows from the data, and the verifier
//! checks it.

use crate::CompileError;
use litecore_types::chip::ChipDescription;
use litecore_types::program::{Buffer, BufferId, ElementKind};

/// Buffers start at multiples of this many bytes, as memories and their controllers like it.
const ALIGNMENT: u64 = 64;

/// The most buffer elements per symbol in a program: far above any layer that fits a card, and
/// small enough that the verifier's books about them fit a host.
pub(crate) const BUFFER_ELEMENTS_MAX: usize = 1 << 24;

/// Buffers without addresses yet.
#[derive(Debug, Default)]
pub(crate) struct BufferPool {
    buffers: Vec<(ElementKind, usize)>,
    free: Vec<BufferId>,
}

impl BufferPool {
    /// A buffer for `len` elements per symbol: one given back earlier, or a new one.
    pub(crate) fn take(&mut self, kind: ElementKind, len: usize) -> BufferId {
        let fits = |id: &BufferId| self.buffers[id.0 as usize] == (kind, len);
        if let Some(position) = self.free.iter().position(fits) {
            return self.free.remove(position);
        }
        self.buffers.push((kind, len));
        BufferId(u32::try_from(self.buffers.len() - 1).expect("a layer needs a dozen buffers"))
    }

    /// Gives a buffer back whose every reader has been scheduled.
    pub(crate) fn give(&mut self, id: BufferId) {
        self.free.push(id);
        // The lowest number first: the same layer then always gets the same buffers.
        self.free.sort_unstable();
    }

    /// Places the buffers for as many symbols as fit, at most `symbols_max`.
    ///
    /// Errors: if not even one symbol fits.
    pub(crate) fn place(
        self,
        chip: &ChipDescription,
        layer: &str,
        symbols_max: u64,
    ) -> Result<(Vec<Buffer>, u64), CompileError> {
        let sram_bytes = chip.memory.sram_bytes;
        let needed = self.buffers.iter().fold(0_usize, |sum, (_, len)| sum.saturating_add(*len));
        if needed > BUFFER_ELEMENTS_MAX {
            let (layer, what, limit) = (layer.to_owned(), "buffer elements", BUFFER_ELEMENTS_MAX);
            return Err(CompileError::TooLarge { layer, what, needed, limit });
        }
        if self.end(1) > sram_bytes {
            return Err(CompileError::OutOfMemory {
                layer: layer.to_owned(),
                chip: chip.name.clone(),
                needed_bytes: self.end(1),
                sram_bytes,
            });
        }
        let (mut fits, mut too_many) = (1, symbols_max.saturating_add(1));
        while too_many - fits > 1 {
            let middle = fits + (too_many - fits) / 2;
            if self.end(middle) <= sram_bytes { fits = middle } else { too_many = middle }
        }
        let mut address = 0;
        let mut buffers = Vec::with_capacity(self.buffers.len());
        for &(kind, len) in &self.buffers {
            let buffer = Buffer { kind, len, address };
            address = next_address(address, &buffer, fits);
            buffers.push(buffer);
        }
        Ok((buffers, fits))
    }

    /// The first byte after all buffers with room for `symbols`; saturates.
    fn end(&self, symbols: u64) -> u64 {
        self.buffers.iter().fold(0, |address, &(kind, len)| {
            next_address(address, &Buffer { kind, len, address }, symbols)
        })
    }
}

/// Where the buffer after this one starts; saturates.
fn next_address(address: u64, buffer: &Buffer, symbols: u64) -> u64 {
    let bytes = (buffer.bytes_per_symbol() as u64).saturating_mul(symbols);
    address.saturating_add(bytes).checked_next_multiple_of(ALIGNMENT).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use litecore_types::chip::builtin;

    #[test]
    fn a_buffer_given_back_is_taken_again_only_for_its_like() {
        let mut pool = BufferPool::default();
        let a = pool.take(ElementKind::F32, 8);
        let b = pool.take(ElementKind::F32, 8);
        pool.give(b);
        pool.give(a);
        assert_eq!(pool.take(ElementKind::Accumulator, 8), BufferId(2));
        assert_eq!(pool.take(ElementKind::F32, 4), BufferId(3));
        assert_eq!(pool.take(ElementKind::F32, 8), a);
        assert_eq!(pool.take(ElementKind::F32, 8), b);
    }

    #[test]
    fn as_many_symbols_are_placed_as_fit() {
        let mut chip = builtin("tiny-4").expect("shipped");
        chip.memory.sram_bytes = 1024;
        let mut pool = BufferPool::default();
        pool.take(ElementKind::F32, 3);
        pool.take(ElementKind::Code, 5);
        // 36 symbols: 432 bytes, padded to 448, and 180; 37: 444 -> 448 and 185; the rest:
        // 58: 696 -> 704 and 290 -> 994; 59: 708 -> 768 and 295 is beyond 1024.
        let (buffers, symbols) = pool.place(&chip, "l", 4096).expect("fits");
        assert_eq!(symbols, 58);
        assert_eq!((buffers[0].address, buffers[1].address), (0, 704));
        let mut pool = BufferPool::default();
        pool.take(ElementKind::F32, 3);
        assert_eq!(pool.place(&chip, "l", 4).expect("fits").1, 4);
    }

    #[test]
    fn no_room_for_one_symbol_is_an_error_with_a_remedy() {
        let mut chip = builtin("tiny-4").expect("shipped");
        chip.memory.sram_bytes = 1024;
        let mut pool = BufferPool::default();
        pool.take(ElementKind::F32, 300);
        let error = pool.place(&chip, "wide", 4096).expect_err("1200 bytes");
        assert!(matches!(error, CompileError::OutOfMemory { needed_bytes: 1216, .. }), "{error}");
        assert!(error.to_string().ends_with("split the layer, or raise memory.sram_bytes"));
        let mut pool = BufferPool::default();
        pool.take(ElementKind::F32, BUFFER_ELEMENTS_MAX + 1);
        let error = pool.place(&chip, "wide", 4096).expect_err("beyond any card");
        assert!(matches!(error, CompileError::TooLarge { .. }), "{error}");
    }
}
