//! The machine's first root file system: the guest's program, its kernel modules, its data.

use crate::modules;
use crate::newc::Archive;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
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

/// The archive with the guest's program, its libraries and `files`, each a name in the root folder and
/// contents.
///
/// Errors: the kernel's modules, the program or a library of it cannot be read.
pub(crate) fn build(kernel: &Path, guest: &Path, files: &[(&str, &[u8])]) -> io::Result<Vec<u8>> {
    let libraries = libraries(guest)?;
    let mut folders = BTreeSet::from(["dev", "proc", "sys", "tmp", "modules"].map(PathBuf::from));
    for library in &libraries {
        let above = library.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty());
        folders.extend(above.map(Path::to_path_buf));
    }
    let mut archive = Archive::default();
    for folder in &folders {
        archive.folder(&folder.to_string_lossy());
    }
    archive.character_device("dev/console", 5, 1);
    archive.program("init", &fs::read(guest)?);
    for library in &libraries {
        archive.program(&library.to_string_lossy(), &fs::read(Path::new("/").join(library))?);
    }
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

/// Where the shared libraries of a program lie, its loader among them, each as a path from the root
/// folder; none of a static program.
fn libraries(program: &Path) -> io::Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(program).env_remove("LD_LIBRARY_PATH").output();
    let failed =
        |what: &str| io::Error::other(format!("ldd {}: {}", program.display(), what.trim()));
    let output = output.map_err(|error| failed(&error.to_string()))?;
    let [said, complaint] =
        [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    if output.status.success() {
        return needed(&said).map_err(failed);
    }
    let is_static = said.contains(STATIC) || complaint.contains(STATIC);
    if is_static { Ok(Vec::new()) } else { Err(failed(&complaint)) }
}

/// What `ldd` says of a program without libraries.
const STATIC: &str = "not a dynamic executable";

/// The paths in what `ldd` says, or the line that has none where there should be one.
fn needed(said: &str) -> Result<Vec<PathBuf>, &str> {
    let missing = said.lines().find(|line| line.contains("not found"));
    missing.map_or_else(|| Ok(said.lines().filter_map(library).collect()), Err)
}

/// The path in one line of `ldd`: `NAME => PATH (ADDRESS)`, or `PATH (ADDRESS)` of the loader.
fn library(line: &str) -> Option<PathBuf> {
    let path = line.split_whitespace().find(|word| word.starts_with('/'))?;
    Some(PathBuf::from(path.trim_start_matches('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_found_in_what_ldd_says() {
        let said = "\tlinux-vdso.so.1 (0x00007ffc)\n\
                    \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f01)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007f02)\n";
        let found = needed(said).expect("all there");
        let expected = ["lib/x86_64-linux-gnu/libc.so.6", "lib64/ld-linux-x86-64.so.2"];
        assert_eq!(found, expected.map(PathBuf::from));
        let lacking = "\tlibodd.so.1 => not found\n";
        assert_eq!(needed(&[said, lacking].concat()), Err("\tlibodd.so.1 => not found"));
    }
}
