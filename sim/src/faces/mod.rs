//! What the emulated card looks like from outside: a serial port, a USB device, a PCI function.
//!
//! **Invariant:** a face carries bytes between a client and the card and decides nothing; what a
//! client sends, sound or not, ends at worst its own connection.

#[cfg(test)]
mod echo;
mod listen;
mod serial;
mod socket;
mod stop;
mod stream;
mod usb;
mod vfio_user;

pub use listen::{Listen, ListenError};
pub use serial::SerialPort;
pub use stop::{Clock, Stop, Stopper, stop_pair};
pub use usb::{PRODUCT_ACM, PRODUCT_BULK, UsbIpServer, UsbKind, UsbRedirServer, VENDOR};
pub use vfio_user::VfioUserServer;
