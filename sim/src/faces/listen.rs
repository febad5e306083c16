use super::UsbKind;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// As what, and where, an emulated card waits for its driver.
///
/// ```text
/// serial:PATH         vfio-user:SOCKET        usbip:ADDRESS:PORT or usbip:SOCKET
/// usb-redir:SOCKET    usb-redir-acm:SOCKET
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// A serial port: a pseudo-terminal that this path leads to.
    Serial(PathBuf),
    /// A PCI function: a vfio-user server on this socket.
    VfioUser(PathBuf),
    /// A USB device that QEMU plugs in from this socket: with endpoints of its own kind, or as a
    /// modem, of which the guest's system makes a serial port.
    UsbRedir(PathBuf, UsbKind),
    /// A USB device that a kernel imports over TCP.
    UsbIp(SocketAddr),
    /// The same over a socket in the file system.
    UsbIpSocket(PathBuf),
}

/// Why a text does not say where to listen. Each message says what to write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListenError {
    /// Not one of the ways.
    #[error(
        "`{text}` names no way to listen: write serial:PATH, vfio-user:SOCKET, usb-redir:SOCKET \
         or usbip:ADDRESS:PORT"
    )]
    Kind {
        /// What was given.
        text: String,
    },
    /// Nothing follows the colon.
    #[error("nothing follows `{kind}:`: write {kind}:{expected}")]
    Nothing {
        /// The way.
        kind: &'static str,
        /// What should follow.
        expected: &'static str,
    },
    /// The address is neither an address and a port nor a path.
    #[error(
        "`{given}` is no address: write usbip:127.0.0.1:3240, or usbip:./SOCKET for a socket in the \
         file system"
    )]
    Address {
        /// What was given.
        given: String,
    },
}

impl FromStr for Listen {
    type Err = ListenError;

    fn from_str(text: &str) -> Result<Self, ListenError> {
        let unknown = || ListenError::Kind { text: text.to_owned() };
        let (kind, rest) = text.split_once(':').ok_or_else(unknown)?;
        let path = |kind, expected| match rest {
            "" => Err(ListenError::Nothing { kind, expected }),
            path => Ok(PathBuf::from(path)),
        };
        match kind {
            "serial" => path("serial", "PATH").map(Self::Serial),
            "vfio-user" => path("vfio-user", "SOCKET").map(Self::VfioUser),
            "usb-redir" => {
                path("usb-redir", "SOCKET").map(|path| Self::UsbRedir(path, UsbKind::Bulk))
            }
            "usb-redir-acm" => {
                path("usb-redir-acm", "SOCKET").map(|path| Self::UsbRedir(path, UsbKind::Acm))
            }
            "usbip" if rest.contains('/') => Ok(Self::UsbIpSocket(PathBuf::from(rest))),
            "usbip" if rest.is_empty() => {
                Err(ListenError::Nothing { kind: "usbip", expected: "ADDRESS:PORT" })
            }
            "usbip" => {
                let wrong = |_| ListenError::Address { given: rest.to_owned() };
                rest.parse().map(Self::UsbIp).map_err(wrong)
            }
            _ => Err(unknown()),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Serial(path) => write!(f, "serial:{}", path.display()),
            Self::VfioUser(path) => write!(f, "vfio-user:{}", path.display()),
            Self::UsbRedir(path, UsbKind::Bulk) => write!(f, "usb-redir:{}", path.display()),
            Self::UsbRedir(path, UsbKind::Acm) => write!(f, "usb-redir-acm:{}", path.display()),
            Self::UsbIp(address) => write!(f, "usbip:{address}"),
            Self::UsbIpSocket(path) => write!(f, "usbip:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_is_read_and_written() {
        for (text, expected) in [
            ("serial:/tmp/card", Listen::Serial("/tmp/card".into())),
            ("vfio-user:c.sock", Listen::VfioUser("c.sock".into())),
            ("usb-redir:/tmp/a:b", Listen::UsbRedir("/tmp/a:b".into(), UsbKind::Bulk)),
            ("usb-redir-acm:a", Listen::UsbRedir("a".into(), UsbKind::Acm)),
            ("usbip:127.0.0.1:3240", Listen::UsbIp(([127, 0, 0, 1], 3240).into())),
            ("usbip:[::1]:0", Listen::UsbIp("[::1]:0".parse().unwrap())),
            ("usbip:./c.sock", Listen::UsbIpSocket("./c.sock".into())),
        ] {
            assert_eq!(text.parse(), Ok(expected.clone()));
            assert_eq!(expected.to_string(), text);
        }
    }

    #[test]
    fn each_mistake_says_what_to_write() {
        for (text, words) in [
            ("card.sock", "names no way to listen: write serial:PATH"),
            ("pcie:0000:01:00.0", "names no way to listen"),
            ("serial:", "nothing follows `serial:`: write serial:PATH"),
            ("usbip:", "write usbip:ADDRESS:PORT"),
            ("usbip:localhost", "`localhost` is no address: write usbip:127.0.0.1:3240"),
            ("usbip:127.0.0.1:99999", "is no address"),
        ] {
            let error = text.parse::<Listen>().unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
