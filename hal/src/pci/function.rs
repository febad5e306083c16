/// An address that the card's memory accesses may not touch: nothing is mapped there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{len} bytes at bus address {address:#x} are not mapped for the card")]
pub struct DmaFault {
    /// First bus address of the access.
    pub address: u64,
    /// Bytes of the access.
    pub len: u64,
}

/// Host memory, as a card sees it through the I/O memory management unit.
pub trait Dma {
    /// Copies from host memory into `into`.
    ///
    /// Errors: [`DmaFault`]; `into` may then be partly written.
    fn read(&mut self, address: u64, into: &mut [u8]) -> Result<(), DmaFault>;

    /// Copies `from` into host memory.
    ///
    /// Order: everything written becomes visible to the host before the interrupt that follows.
    ///
    /// Errors: [`DmaFault`]; host memory may then be partly written.
    fn write(&mut self, address: u64, from: &[u8]) -> Result<(), DmaFault>;

    /// Copies within host memory, from one mapped range to another that does not overlap it.
    ///
    /// Errors: [`DmaFault`]; host memory may then be partly written.
    fn copy(&mut self, from: u64, to: u64, len: u64) -> Result<(), DmaFault> {
        let mut piece = [0_u8; 4096];
        let mut done = 0;
        while done < len {
            let bytes = usize::try_from((len - done).min(4096)).unwrap_or(4096);
            self.read(from.wrapping_add(done), &mut piece[..bytes])?;
            self.write(to.wrapping_add(done), &piece[..bytes])?;
            done += bytes as u64;
        }
        Ok(())
    }
}

/// The interrupt lines from a card to its host.
pub trait Irq {
    /// Raises one vector; does nothing where the host has not enabled it.
    fn raise(&mut self, vector: u16);
}

/// One PCI Express function, from its bus side: what an emulated card is to its host.
///
/// Time comes in as nanoseconds from any fixed origin and never runs backwards. Nothing here
/// blocks: work that takes time is finished by [`Function::advance`].
pub trait Function: Send {
    /// Reads configuration space; bytes beyond its end read as ones.
    fn config_read(&mut self, offset: u64, into: &mut [u8]);

    /// Writes configuration space; a function-level reset arrives here.
    fn config_write(&mut self, offset: u64, from: &[u8], now_ns: u64);

    /// Bytes of a base address region; zero where there is none.
    fn bar_len(&self, bar: u8) -> u64;

    /// Reads a register region. A function that is gone reads as ones.
    fn bar_read(&mut self, bar: u8, offset: u64, into: &mut [u8], now_ns: u64);

    /// Writes a register region; a doorbell may carry out commands before it returns.
    fn bar_write(
        &mut self,
        bar: u8,
        offset: u64,
        from: &[u8],
        now_ns: u64,
        dma: &mut dyn Dma,
        irq: &mut dyn Irq,
    );

    /// Does what is due at `now_ns`.
    fn advance(&mut self, now_ns: u64, dma: &mut dyn Dma, irq: &mut dyn Irq);

    /// When [`Function::advance`] has something to do next; `None` where nothing is pending.
    fn next_wakeup_ns(&self) -> Option<u64>;

    /// Resets the function as a function-level reset does.
    fn reset(&mut self, now_ns: u64);
}
