//! PCI functions: how to reach one, the memory it shares with its host, and the rings in it.

mod arena;
mod backend;
mod function;
mod in_process;
mod memory;
mod ring;
#[cfg(feature = "pcie")]
mod vfio;
mod vfio_user;

pub use arena::{Arena, ArenaSlice};
pub use backend::PciBackend;
pub use function::{Dma, DmaFault, Function, Irq};
pub use in_process::InProcessFunction;
pub use memory::{HUGE_PAGE, HostMemory};
pub use ring::{RingLink, RingOptions};
#[cfg(feature = "pcie")]
pub use vfio::VfioFunction;
pub use vfio_user::VfioUserFunction;

/// What a register of a function that is not there reads as.
pub const ALL_ONES: u32 = u32::MAX;
