//! What stands for the links that this driver was built without.
#![allow(dead_code, reason = "each is used where its feature is off")]

use super::{OpenError, OpenOptions};
use crate::{Deadline, DeviceUri, Link};

pub(super) fn connect_serial(
    uri: &DeviceUri,
    _options: &OpenOptions,
    _deadline: Deadline,
) -> Result<Box<dyn Link>, OpenError> {
    Err(OpenError::NotBuiltIn { uri: uri.clone(), feature: "serial" })
}

pub(super) fn connect_usb(
    uri: &DeviceUri,
    _options: &OpenOptions,
    _deadline: Deadline,
) -> Result<Box<dyn Link>, OpenError> {
    Err(OpenError::NotBuiltIn { uri: uri.clone(), feature: "usb" })
}

pub(super) fn connect_pcie(
    uri: &DeviceUri,
    _options: &OpenOptions,
    _deadline: Deadline,
) -> Result<Box<dyn Link>, OpenError> {
    Err(OpenError::NotBuiltIn { uri: uri.clone(), feature: "pcie" })
}
