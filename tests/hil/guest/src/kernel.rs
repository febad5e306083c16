//! What a first process owes its kernel: file systems, modules, a decent end.

use rustix::mount::{MountFlags, mount};
use rustix::system::{RebootCommand, finit_module, reboot};
use std::ffi::CStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Mounts the kernel's file systems and loads every module of the archive, in its order.
///
/// Errors: a mount or a module that the kernel refuses; the message names it.
pub(crate) fn start() -> io::Result<()> {
    let nothing: Option<&CStr> = None;
    for (kind, at) in [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev")] {
        mount(kind, at, kind, MountFlags::empty(), nothing).map_err(|error| naming(at, error))?;
    }
    // Room for the arenas of a few cards.
    fs::write("/proc/sys/vm/nr_hugepages", "16")?;
    for path in fs::read_to_string("/modules/order")?.lines() {
        finit_module(File::open(path)?, c"", 0).map_err(|error| naming(path, error))?;
    }
    Ok(())
}

/// The cases to run, as the kernel was told.
pub(crate) fn cases() -> Vec<String> {
    let told = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let cases = told.split_whitespace().find_map(|word| word.strip_prefix("litecore.cases="));
    cases.unwrap_or("").split(',').filter(|case| !case.is_empty()).map(str::to_owned).collect()
}

/// Ends the machine; does not come back.
pub(crate) fn power_off() -> ! {
    rustix::fs::sync();
    let _ = reboot(RebootCommand::PowerOff);
    // The kernel takes the machine down when its first process ends.
    std::process::exit(1)
}

/// Waits until something is there; `what` is named when it does not come.
///
/// Errors: it does not come in time.
pub(crate) fn wait_for<T>(
    time: Duration,
    what: &str,
    mut look: impl FnMut() -> Option<T>,
) -> io::Result<T> {
    let until = Instant::now() + time;
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        if Instant::now() > until {
            let what = format!("{what} did not appear within {} ms", time.as_millis());
            return Err(io::Error::new(io::ErrorKind::NotFound, what));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Binds the PCI function at an address to `vfio-pci` and returns its folder under `/sys`.
///
/// The folder shows up before the function is ready after a hot-plug, so this tries for a while.
///
/// Errors: no such function; it is not ready in time.
pub(crate) fn bind_to_vfio(address: &str) -> io::Result<PathBuf> {
    let what = format!("a PCI function {address} under vfio-pci");
    let path = Path::new("/sys/bus/pci/devices").join(address);
    wait_for(Duration::from_secs(5), &what, || ready_for_vfio(&path).then(|| path.clone()))
}

/// The address of the PCI function with these numbers.
///
/// Errors: there is none.
pub(crate) fn pci_address(vendor: u16, device: u16) -> io::Result<String> {
    let entries = fs::read_dir("/sys/bus/pci/devices")?;
    let found = entries.flatten().find(|entry| {
        let is = |file: &str, number: u16| {
            let text = fs::read_to_string(entry.path().join(file)).unwrap_or_default();
            text.trim() == format!("{number:#06x}")
        };
        is("vendor", vendor) && is("device", device)
    });
    let none = || io::Error::other(format!("no PCI function {vendor:04x}:{device:04x}"));
    Ok(found.ok_or_else(none)?.file_name().to_string_lossy().into_owned())
}

fn ready_for_vfio(path: &Path) -> bool {
    let target =
        |link: &str| fs::read_link(path.join(link)).ok()?.file_name().map(ToOwned::to_owned);
    if target("driver").is_none_or(|driver| driver != "vfio-pci") {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // Whether these did anything is what the links below show.
        let _ = fs::write(path.join("driver_override"), "vfio-pci");
        let _ = fs::write("/sys/bus/pci/drivers_probe", name);
    }
    target("driver").is_some_and(|driver| driver == "vfio-pci")
        && target("iommu_group").is_some_and(|group| Path::new("/dev/vfio").join(group).exists())
}

fn naming(what: &str, error: rustix::io::Errno) -> io::Error {
    io::Error::other(format!("{what}: {error}"))
}
