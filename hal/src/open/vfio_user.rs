use super::error::Advice;
use super::{OpenError, OpenOptions, errno_of, link_refused};
use crate::pci::{RingLink, RingOptions, VfioUserFunction};
use crate::{Deadline, DeviceUri, Link, LinkError};
use rustix::io::Errno;
use std::fs;
use std::os::unix::fs::FileTypeExt;

pub(super) fn connect_vfio_user(
    uri: &DeviceUri,
    options: &OpenOptions,
    deadline: Deadline,
) -> Result<Box<dyn Link>, OpenError> {
    let DeviceUri::VfioUser { socket } = uri else {
        return Err(OpenError::Simulator { uri: uri.clone() });
    };
    let emulator = || Advice::StartEmulator { socket: socket.clone() };
    if let Ok(node) = fs::metadata(socket)
        && !node.file_type().is_socket()
    {
        let advice = Advice::OtherThanCard { what: "a file and no socket".to_owned() };
        return Err(OpenError::WrongKind { uri: uri.clone(), advice });
    }
    let in_use = connections(socket) > 0;
    let opened = |error: LinkError| {
        let uri = uri.clone();
        match errno_of(&error).map(Errno::from_raw_os_error) {
            Some(Errno::NOENT | Errno::CONNREFUSED) => {
                OpenError::Absent { uri, advice: emulator() }
            }
            Some(Errno::ACCESS | Errno::PERM) => {
                OpenError::NotPermitted { uri, advice: Advice::AskOwner { path: socket.clone() } }
            }
            Some(Errno::AGAIN) => OpenError::Busy { uri },
            Some(Errno::PROTOTYPE) => {
                let advice = Advice::OtherThanCard { what: "a socket of another type".to_owned() };
                OpenError::WrongKind { uri, advice }
            }
            _ => match error {
                // A server has one client at a time and leaves the others waiting.
                LinkError::TimedOut { .. } if in_use => OpenError::Busy { uri },
                LinkError::Gone { .. } => {
                    OpenError::Garbage { uri, what: "it hangs up instead of speaking vfio-user" }
                }
                other => link_refused(&uri, other),
            },
        }
    };
    let function = VfioUserFunction::connect(socket, deadline).map_err(opened)?;
    let ring = RingOptions { time_scale: options.time_scale, ..options.ring };
    let link = RingLink::open(Box::new(function), ring, deadline).map_err(opened)?;
    Ok(Box::new(link))
}

/// How many connections a listening socket has, as far as the system tells.
fn connections(socket: &str) -> usize {
    /// The state of a connected socket in `/proc/net/unix`. Source: the kernel's `SS_CONNECTED`.
    const CONNECTED: &str = "03";
    let table = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let is_one = |line: &&str| {
        let mut fields = line.split_whitespace();
        fields.nth(5) == Some(CONNECTED) && fields.nth(1) == Some(socket)
    };
    table.lines().filter(is_one).count()
}
