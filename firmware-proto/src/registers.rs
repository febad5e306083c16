//! Register window of a PCI Express card: BAR 0, 4 KiB, little-endian, 32-bit accesses at multiples of
//! four; 64-bit registers are two 32-bit registers, low half first.
//!
//! A read of all ones means that nobody answered: read [`ALIVE`] too before calling the card gone.

/// Bytes of BAR 0.
pub const BAR0_BYTES: u64 = 0x1000;
/// The BAR with the MSI-X table (at 0) and pending bits (at [`MSIX_PENDING_AT`]).
pub const MSIX_BAR: u8 = 2;
/// Bytes of that BAR.
pub const MSIX_BAR_BYTES: u64 = 0x1000;
/// Where the pending bits begin.
pub const MSIX_PENDING_AT: u32 = 0x800;
/// MSI-X vectors.
pub const VECTORS: u16 = 2;
/// The vector raised when completions were written.
pub const VECTOR_COMPLETION: u16 = 0;
/// The vector raised when an [`event`] bit was set.
pub const VECTOR_EVENT: u16 = 1;

/// PCI vendor number of the emulated card: the one that pid.codes lends to open hardware.
pub const PCI_VENDOR: u16 = 0x1209;
/// PCI device number; *assumed*, not yet assigned to the project.
pub const PCI_DEVICE: u16 = 0x4c43;
/// Class code: processing accelerator (base class 12h, PCI Code and ID Assignment, revision 1.11).
pub const PCI_CLASS: u32 = 0x12_00_00;

/// Read: [`MAGIC_VALUE`].
pub const MAGIC: u64 = 0x000;
/// "LCRD" in byte order.
pub const MAGIC_VALUE: u32 = u32::from_le_bytes(*b"LCRD");
/// Read: greatest protocol version, major in the upper half, minor in the lower.
pub const VERSION: u64 = 0x004;
/// Read: the complement of [`MAGIC_VALUE`].
pub const ALIVE: u64 = 0x008;
/// Read: the complement of [`MAGIC_VALUE`], so all ones in both is no card.
pub const ALIVE_VALUE: u32 = !MAGIC_VALUE;
/// Read: how often the card has started; it rises by one with every function reset.
pub const BOOT: u64 = 0x00c;
/// Read: [`status`] bits.
pub const STATUS: u64 = 0x010;
/// Read and write: [`control`] bits.
pub const CONTROL: u64 = 0x014;
/// Read: number of the fault that stopped the queue or kept it from starting, 0 if none; enabling
/// clears it.
pub const FAULT: u64 = 0x018;
/// Read: most entries of a ring.
pub const ENTRIES_MAX: u64 = 0x01c;
/// Read and write while disabled: entries of each ring.
pub const ENTRIES: u64 = 0x020;
/// Read and write while disabled, 64 bits: bus address of the submission ring, a multiple of 128.
pub const SUBMISSION_BASE: u64 = 0x028;
/// Read and write while disabled, 64 bits: bus address of the completion ring, a multiple of 64.
pub const COMPLETION_BASE: u64 = 0x030;
/// Write: the submission ring's tail, a freely running index. Reads as the last value written.
pub const DOORBELL: u64 = 0x040;
/// Read: index of the next descriptor the card will fetch. For diagnosis only.
pub const HEAD: u64 = 0x044;
/// Read and write: [`event`] bits that may raise [`VECTOR_EVENT`]; all 0 after a reset.
pub const EVENT_MASK: u64 = 0x050;
/// Read: [`event`] bits that are set. Write: clears the bits that are written as 1.
pub const EVENT: u64 = 0x054;
/// Read and write: completions in the low half and microseconds in the upper half that the card
/// may wait before it raises [`VECTOR_COMPLETION`]; 0 is at once. A card may raise sooner.
pub const COALESCE: u64 = 0x058;
/// Read and write, no effect.
pub const SCRATCH: u64 = 0x060;
/// Read: bytes of the identity block in the window.
pub const IDENTITY_LEN: u64 = 0x064;
/// First byte of the identity block, as [`crate::Opcode::Identify`] would return it.
pub const IDENTITY: u64 = 0x800;
/// Room for the identity block.
pub const IDENTITY_BYTES_MAX: usize = 0x800;

/// Bits of [`STATUS`].
pub mod status {
    /// The card has started and takes commands.
    pub const READY: u32 = 1 << 0;
    /// The queue is enabled.
    pub const ENABLED: u32 = 1 << 1;
    /// No transfer is under way, and none begins until the queue is enabled and the doorbell rung.
    pub const QUIET: u32 = 1 << 2;
    /// The queue has stopped at a fault (see [`super::FAULT`]); reset the queue.
    pub const STOPPED: u32 = 1 << 3;
    /// The chip has switched its light off because of heat.
    pub const THERMAL: u32 = 1 << 4;
    /// Firmware on trial waits to be confirmed.
    pub const TRIAL: u32 = 1 << 5;
}

/// Bits of [`CONTROL`].
pub mod control {
    /// 0 to 1: takes base addresses and entries, sets head and tail to 0, and listens to the
    /// doorbell. 1 to 0: as [`RESET_QUEUE`].
    pub const ENABLE: u32 = 1 << 0;
    /// Stops all transfers, forgets what was not carried out, disables the queue; reads as 0.
    /// Images, uploads, session and cookies stay.
    /// Afterwards [`super::status::QUIET`] says that host memory is no longer touched.
    pub const RESET_QUEUE: u32 = 1 << 1;
    /// As a function-level reset; reads as 0.
    pub const RESET_FUNCTION: u32 = 1 << 2;
}

/// Bits of [`EVENT`].
pub mod event {
    /// The queue stopped at a fault.
    pub const STOPPED: u32 = 1 << 0;
    /// The chip got too hot.
    pub const THERMAL: u32 = 1 << 1;
    /// The laser failed.
    pub const LASER: u32 = 1 << 2;
    /// The card restarted by itself.
    pub const RESTARTED: u32 = 1 << 3;
}

/// PCI configuration space of the card; the offsets that a host needs.
pub mod config {
    /// Bytes of configuration space.
    pub const BYTES: usize = 4096;
    /// Where the MSI-X capability begins.
    pub const MSIX_AT: usize = 0x40;
    /// Where the PCI Express capability begins.
    pub const PCIE_AT: usize = 0x50;
    /// Device Control register; bit 15 initiates a function-level reset.
    pub const DEVICE_CONTROL_AT: usize = PCIE_AT + 8;
    /// Initiate Function Level Reset.
    pub const INITIATE_FLR: u16 = 1 << 15;
}
