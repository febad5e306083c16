//! The machine's first root file system: the guest's program, its kernel modules, its data.

use crate::modules;
use crate::newc::Archive;
use std::path::Path;
use std::{fs, io};

/// What the guest drives its devices with; what these need comes along.
const MODULES: [&str; 8] = [
    "vfio-pci",
    "vfio_iommu_type1",
    "xhci-pci",
    "ftdi_sio",
    "cdc-acm",
    "vhci-hcd",
    "virtio_pci",
    "virtio_console",
];

/// The archive with the guest's program and `files`, each a name in the root folder and contents.
///
/// Errors: the kernel's modules or the program cannot be read.
pub(crate) fn build(kernel: &Path, guest: &Path, files: &[(&str, &[u8])]) -> io::Result<Vec<u8>> {
    let mut archive = Archive::default();
    for folder in ["dev", "proc", "sys", "tmp", "modules"] {
        archive.folder(folder);
    }
    archive.character_device("dev/console", 5, 1);
    archive.program("init", &fs::read(guest)?);
    let mut order = Vec::new();
    for module in modules::in_load_order(&kernel.join("lib/modules"), &MODULES)? {
        let path = format!("modules/{}.ko", module.name);
        archive.file(&path, &module.bytes);
        order.push(format!("/{path}"));
    }
    archive.file("modules/order", order.join("\n").as_bytes());
    for (name, contents) in files {
        archive.file(name, contents);
    }
    Ok(archive.finish())
}
