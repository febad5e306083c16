use super::Arena;
use super::memory::HostMemory;
use crate::{Deadline, LinkError, LinkKind};
use std::sync::Arc;

/// How to reach one PCI function: registers, memory for its transfers, interrupts, reset.
///
/// Ours rather than a library's, because a function behind a socket, one in this process and one
/// behind the kernel all stand behind it.
pub trait PciBackend: Send {
    /// Which kind of link this makes.
    fn kind(&self) -> LinkKind;

    /// Where the function is, for messages.
    fn address(&self) -> &str;

    /// No call from now on waits beyond this, whatever its own deadline.
    fn limit(&mut self, deadline: Deadline);

    /// Reads configuration space.
    ///
    /// Errors: [`LinkError`].
    fn config_read(&mut self, offset: u16, into: &mut [u8]) -> Result<(), LinkError>;

    /// Writes configuration space.
    ///
    /// Errors: [`LinkError`].
    fn config_write(&mut self, offset: u16, from: &[u8]) -> Result<(), LinkError>;

    /// Reads a 32-bit register of region 0; [`super::ALL_ONES`] where nobody answers.
    ///
    /// Errors: [`LinkError`].
    fn read32(&mut self, offset: u64) -> Result<u32, LinkError>;

    /// Writes a 32-bit register of region 0.
    ///
    /// Order: what was written to memory before is visible to the card.
    ///
    /// Errors: [`LinkError`].
    fn write32(&mut self, offset: u64, value: u32) -> Result<(), LinkError>;

    /// Memory of the kind this backend can map for its card.
    ///
    /// Errors: [`LinkError`].
    fn memory(&self, len: usize) -> Result<HostMemory, LinkError>;

    /// Lets the card reach all of an arena, at the arena's bus address.
    ///
    /// The backend keeps the arena alive until it is unmapped or the function is closed for good.
    ///
    /// Errors: [`LinkError`].
    fn map(&mut self, arena: &Arc<Arena>) -> Result<(), LinkError>;

    /// Enables interrupt vector 0 and lets the card master the bus.
    ///
    /// Errors: [`LinkError`].
    fn enable(&mut self) -> Result<(), LinkError>;

    /// Waits for an interrupt and takes it; `false` when none came by `deadline`.
    ///
    /// Errors: [`LinkError`].
    fn wait_interrupt(&mut self, deadline: Deadline) -> Result<bool, LinkError>;

    /// Forbids the card to master the bus: when this returns, it touches no memory any more.
    ///
    /// Errors: [`LinkError`].
    fn silence(&mut self) -> Result<(), LinkError>;

    /// Resets the function, and only it; mappings stay, interrupts and bus mastering do not.
    ///
    /// Errors: [`LinkError`], by `deadline` even where the reset itself goes on for longer.
    fn reset(&mut self, deadline: Deadline) -> Result<(), LinkError>;

    /// Looks for the function again and opens it anew; mappings and interrupts are gone.
    ///
    /// Errors: [`LinkError`].
    fn reopen(&mut self, deadline: Deadline) -> Result<(), LinkError>;
}
