use super::error::Advice;
use super::{OpenError, OpenOptions, errno_of, link_refused};
use crate::pipe::{PipeLink, PipeOptions, SerialPipe};
use crate::{Deadline, DeviceUri, Link, LinkError};
use rustix::io::Errno;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

pub(super) fn connect_serial(
    uri: &DeviceUri,
    options: &OpenOptions,
    deadline: Deadline,
) -> Result<Box<dyn Link>, OpenError> {
    let DeviceUri::Serial { port } = uri else {
        return Err(OpenError::Simulator { uri: uri.clone() });
    };
    let kind = |what: &str| OpenError::WrongKind {
        uri: uri.clone(),
        advice: Advice::OtherThanCard { what: what.to_owned() },
    };
    match fs::metadata(port) {
        Ok(node) if !node.file_type().is_char_device() => {
            return Err(kind("a file and no serial port"));
        }
        // Opening says better what is wrong.
        _ => {}
    }
    let pipe = SerialPipe::open(port, options.baud).map_err(|error| {
        let errno = errno_of(&error).map(Errno::from_raw_os_error);
        let uri = uri.clone();
        match errno {
            Some(Errno::NOENT | Errno::NXIO | Errno::NODEV) => {
                OpenError::Absent { uri, advice: Advice::List }
            }
            Some(Errno::BUSY | Errno::AGAIN) => OpenError::Busy { uri },
            Some(Errno::ACCESS | Errno::PERM) => {
                OpenError::NotPermitted { advice: permission(port), uri }
            }
            Some(Errno::NOTTY) => kind("no terminal line"),
            _ => OpenError::Link(error),
        }
    })?;
    let pipe_options =
        PipeOptions { time_scale: options.time_scale, ..PipeOptions::usual(options.session) };
    let link = PipeLink::open(Box::new(pipe), pipe_options, deadline);
    link.map(|link| Box::new(link) as Box<dyn Link>).map_err(|error| match error {
        LinkError::Gone { .. } => OpenError::Absent { uri: uri.clone(), advice: Advice::List },
        other => link_refused(uri, other),
    })
}

/// Who may open a node: its group, if its mode gives the group anything.
fn permission(port: &str) -> Advice {
    let group = fs::metadata(port).ok().filter(|node| node.mode() & 0o060 == 0o060);
    match group.and_then(|node| group_name(node.gid(), Path::new("/etc/group"))) {
        Some(group) => Advice::JoinGroup { node: port.to_owned(), group },
        None => Advice::AskOwner { path: port.to_owned() },
    }
}

fn group_name(id: u32, groups: &Path) -> Option<String> {
    let text = fs::read_to_string(groups).ok()?;
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == id.to_string()).then(|| name.to_owned())
    })
}
