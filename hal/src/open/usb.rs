use super::error::Advice;
use super::{OpenError, OpenOptions, errno_of, link_refused};
use crate::pipe::{PipeLink, PipeOptions, UsbName, UsbPipe};
use crate::{Deadline, DeviceUri, Link};
use rustix::io::Errno;

/// Most payload of one frame on USB. *Assumed*: large transfers are what bulk endpoints are for,
/// and the bus repeats damaged packets by itself.
const MTU: u16 = 16_000;

pub(super) fn connect_usb(
    uri: &DeviceUri,
    options: &OpenOptions,
    deadline: Deadline,
) -> Result<Box<dyn Link>, OpenError> {
    let DeviceUri::Usb { vendor, product, serial } = uri else {
        return Err(OpenError::Simulator { uri: uri.clone() });
    };
    let (vendor, product) = (*vendor, *product);
    let name = UsbName { vendor, product, serial: serial.clone() };
    let pipe = UsbPipe::open(name).map_err(|error| {
        let uri = uri.clone();
        match errno_of(&error).map(Errno::from_raw_os_error) {
            Some(Errno::NODEV) => OpenError::Absent { uri, advice: Advice::List },
            Some(Errno::BUSY) => OpenError::Busy { uri },
            Some(Errno::ACCESS) => {
                OpenError::NotPermitted { uri, advice: Advice::UsbRule { vendor, product } }
            }
            Some(Errno::NXIO) => {
                let what = "a device without bulk endpoints".to_owned();
                OpenError::WrongKind { uri, advice: Advice::OtherThanCard { what } }
            }
            _ => OpenError::Link(error),
        }
    })?;
    let pipe_options = PipeOptions {
        time_scale: options.time_scale,
        mtu: MTU,
        ..PipeOptions::usual(options.session)
    };
    let link = PipeLink::open(Box::new(pipe), pipe_options, deadline);
    link.map(|link| Box::new(link) as Box<dyn Link>).map_err(|error| link_refused(uri, error))
}
