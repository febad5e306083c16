//! The emulated card as a USB device, and two ways to plug it in from another process.

mod card;
mod descriptors;
mod ip;
mod redir;

pub use descriptors::{PRODUCT_ACM, PRODUCT_BULK, UsbKind, VENDOR};
pub use ip::UsbIpServer;
pub use redir::UsbRedirServer;
