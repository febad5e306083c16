use crate::{DeviceError, DeviceUri, LinkError};
use std::path::PathBuf;
use std::{fmt, io};

/// Why no card was opened. Each message ends with what to do.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The address is of the simulator, which is opened elsewhere.
    #[error("`{uri}` is the simulator and no card: open it with the simulator")]
    Simulator {
        /// The address.
        uri: DeviceUri,
    },
    /// This driver was built without the links of this kind.
    #[error("`{uri}`: this driver is built without {feature}: build it with --features {feature}")]
    NotBuiltIn {
        /// The address.
        uri: DeviceUri,
        /// The feature that brings it.
        feature: &'static str,
    },
    /// Nothing is there.
    #[error("there is no `{uri}`: {advice}")]
    Absent {
        /// The address.
        uri: DeviceUri,
        /// What to do.
        advice: Advice,
    },
    /// Somebody else has it.
    #[error("`{uri}` is in use by another process: end it, or wait until it is done")]
    Busy {
        /// The address.
        uri: DeviceUri,
    },
    /// The user lacks the right to open it.
    #[error("you may not open `{uri}`: {advice}")]
    NotPermitted {
        /// The address.
        uri: DeviceUri,
        /// What to do.
        advice: Advice,
    },
    /// Something is there that is no card.
    #[error("`{uri}` is not a card: {advice}")]
    WrongKind {
        /// The address.
        uri: DeviceUri,
        /// What to do.
        advice: Advice,
    },
    /// The function belongs to another driver of the system.
    #[error("`{uri}` is not lent to this program: {advice}")]
    NotBound {
        /// The address.
        uri: DeviceUri,
        /// What to do.
        advice: Advice,
    },
    /// The card's protocol is newer than this driver.
    #[error(
        "`{uri}` speaks protocol {} and newer, this driver {}: update this program",
        Version(*card), Version(*driver)
    )]
    TooNew {
        /// The address.
        uri: DeviceUri,
        /// The least version the card speaks.
        card: u16,
        /// The version this driver speaks.
        driver: u16,
    },
    /// The card's protocol is older than this driver.
    #[error(
        "`{uri}` speaks protocol {} and older, this driver {}: update the card's firmware with \
         `litecore device update`, from a program of the card's age",
        Version(*card), Version(*driver)
    )]
    TooOld {
        /// The address.
        uri: DeviceUri,
        /// The greatest version the card speaks.
        card: u16,
        /// The version this driver speaks.
        driver: u16,
    },
    /// Nothing was heard in time.
    #[error(
        "`{uri}` says nothing within {waited_ms} ms: check that a card is behind it and has power, \
         and that no other program uses it"
    )]
    Silent {
        /// The address.
        uri: DeviceUri,
        /// How long was waited.
        waited_ms: u64,
    },
    /// What was heard is not of this protocol.
    #[error("`{uri}` answers garbage ({what}): check {}", suspects(uri))]
    Garbage {
        /// The address.
        uri: DeviceUri,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The trace of the link cannot be written.
    #[error("cannot write the trace {}: {error}: choose another file", path.display())]
    Trace {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        error: io::ErrorKind,
    },
    /// The link failed.
    #[error(transparent)]
    Link(LinkError),
    /// The card refuses.
    #[error(transparent)]
    Card(DeviceError),
}

/// What to do about it, with the very commands where there are some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Advice {
    /// Look at what there is.
    List,
    /// Start an emulator there.
    StartEmulator {
        /// The socket it should listen on.
        socket: String,
    },
    /// Enter a group that owns the node.
    JoinGroup {
        /// The node.
        node: String,
        /// The group.
        group: String,
    },
    /// Let users open a USB device.
    UsbRule {
        /// Vendor number.
        vendor: u16,
        /// Product number.
        product: u16,
    },
    /// Let users open a function's node.
    VfioRule {
        /// The node.
        node: String,
    },
    /// Ask the owner of a file.
    AskOwner {
        /// The file.
        path: String,
    },
    /// Give the function to vfio-pci.
    BindVfio {
        /// Its address, `0000:01:00.0`.
        address: String,
        /// The driver that has it now, if one has.
        driver: Option<String>,
    },
    /// Switch the memory management unit on.
    EnableIommu,
    /// Give the address of a card instead.
    OtherThanCard {
        /// What it is.
        what: String,
    },
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::List => f.write_str("`litecore device list` shows what there is"),
            Self::StartEmulator { socket } => write!(
                f,
                "nobody listens; for an emulated card start `litecore emulate --chip CHIP --listen \
                 vfio-user:{socket}`"
            ),
            Self::JoinGroup { node, group } => write!(
                f,
                "{node} belongs to the group {group}: run `sudo usermod -aG {group} $USER`, then \
                 log in again"
            ),
            Self::UsbRule { vendor, product } => write!(
                f,
                "as root, write the line `SUBSYSTEM==\"usb\", ATTR{{idVendor}}==\"{vendor:04x}\", \
                 ATTR{{idProduct}}==\"{product:04x}\", MODE=\"0660\", TAG+=\"uaccess\"` to \
                 /etc/udev/rules.d/70-litecore.rules, run `udevadm control --reload && udevadm \
                 trigger`, and plug the card in again"
            ),
            Self::VfioRule { node } => write!(
                f,
                "as root, run `chown $USER {node}`, or for good write the line `SUBSYSTEM==\"vfio\", \
                 GROUP=\"vfio\", MODE=\"0660\"` to /etc/udev/rules.d/70-litecore.rules and enter \
                 the group vfio"
            ),
            Self::AskOwner { path } => {
                write!(f, "run as the user who owns {path}, or have them `chmod g+rw {path}`")
            }
            Self::BindVfio { address, driver } => {
                if let Some(driver) = driver {
                    write!(f, "the kernel's driver {driver} has it; ")?;
                }
                write!(
                    f,
                    "as root, run `modprobe vfio-pci && echo vfio-pci > \
                     /sys/bus/pci/devices/{address}/driver_override"
                )?;
                if driver.is_some() {
                    write!(f, " && echo {address} > /sys/bus/pci/devices/{address}/driver/unbind")?;
                }
                write!(f, " && echo {address} > /sys/bus/pci/drivers_probe`")
            }
            Self::EnableIommu => f.write_str(
                "the system runs without a memory management unit for devices: switch VT-d or \
                 AMD-Vi on in the firmware, and start the kernel with intel_iommu=on or \
                 amd_iommu=on",
            ),
            Self::OtherThanCard { what } => {
                write!(f, "it is {what}; `litecore device list` shows the cards there are")
            }
        }
    }
}

/// What may be wrong where garbage comes.
fn suspects(uri: &DeviceUri) -> &'static str {
    match uri {
        DeviceUri::Serial { .. } => {
            "that a card is at the other end, its line settings, and the cable"
        }
        DeviceUri::Usb { .. } | DeviceUri::Pcie { .. } => "that it is a card of this kind",
        DeviceUri::VfioUser { .. } | DeviceUri::Sim { .. } => {
            "that an emulated card listens there, of this program's version"
        }
    }
}

/// A protocol version as people write it.
struct Version(u16);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0 >> 8, self.0 & 0xff)
    }
}
