//! What the kernel's own drivers refuse, and what the driver makes of it.

use crate::report::{Failure, Report};
use crate::transport::open;
use litecore_hal::{Advice, DeviceUri, OpenError, OpenOptions, fresh_session, open_card};
use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use std::thread;

/// Somebody who is not the superuser.
const ORDINARY: u32 = 1000;

/// Opens the card at `uri` as somebody without rights, and while another has it.
pub(crate) fn are_told_apart(uri: &DeviceUri) -> Result<(), Failure> {
    let refused = thread::scope(|scope| scope.spawn(|| open_as(ORDINARY, uri)).join());
    match refused.map_err(|_| "the thread without rights panicked")?? {
        Err(OpenError::NotPermitted { advice, .. }) if fits(uri, &advice) => {
            Report::note(&format!("without rights: {advice}"));
        }
        other => return Err(format!("without rights: {}", outcome(&other)).into()),
    }
    let held = open(uri, false)?;
    match open_once(uri) {
        Err(error @ OpenError::Busy { .. }) => Report::note(&error.to_string()),
        other => return Err(format!("while another has it: {}", outcome(&other)).into()),
    }
    drop(held);
    open(uri, false).map(drop)
}

/// A user's identity belongs to the thread: the machine's other threads keep their rights.
fn open_as(user: u32, uri: &DeviceUri) -> Result<Result<(), OpenError>, rustix::io::Errno> {
    let (user, group) = (Uid::from_raw(user), Gid::from_raw(user));
    set_thread_groups(&[])?;
    set_thread_res_gid(group, group, group)?;
    set_thread_res_uid(user, user, user)?;
    Ok(open_once(uri))
}

fn open_once(uri: &DeviceUri) -> Result<(), OpenError> {
    open_card(uri, &OpenOptions::usual(fresh_session())).map(drop)
}

/// Whether the advice is for this kind of device.
fn fits(uri: &DeviceUri, advice: &Advice) -> bool {
    match uri {
        DeviceUri::Pcie { .. } => matches!(advice, Advice::VfioRule { .. }),
        DeviceUri::Usb { .. } => matches!(advice, Advice::UsbRule { .. }),
        // The machine's ports belong to its superuser, and no group has them.
        DeviceUri::Serial { .. } => matches!(advice, Advice::AskOwner { .. }),
        _ => false,
    }
}

fn outcome(result: &Result<(), OpenError>) -> String {
    match result {
        Ok(()) => "it opened".to_owned(),
        Err(error) => error.to_string(),
    }
}
