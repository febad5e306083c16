//! Which kernel modules to load, and in which order.
//!
//! Debian's kernel package carries no dependency list (it is made at installation), so the list is
//! read from the modules themselves: each names what it needs in its `.modinfo` section.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::{fs, io};

/// A module to load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Module {
    /// Its name, with underscores.
    pub(crate) name: String,
    /// The file's bytes.
    pub(crate) bytes: Vec<u8>,
}

/// The modules named and all they need, each behind what it needs.
///
/// What is wanted but not there is left out: it may be built into the kernel, and the test that
/// misses it will say so. What a module that is there depends on must be there.
///
/// Errors: unreadable files; a dependency that is absent.
pub(crate) fn in_load_order(folder: &Path, wanted: &[&str]) -> io::Result<Vec<Module>> {
    let mut files = BTreeMap::new();
    index(folder, &mut files)?;
    let mut order = Vec::new();
    let mut seen = BTreeSet::new();
    for name in wanted {
        let name = underscored(name);
        if files.contains_key(&name) {
            add(&name, &files, &mut seen, &mut order)?;
        }
    }
    Ok(order)
}

fn add(
    name: &str,
    files: &BTreeMap<String, PathBuf>,
    seen: &mut BTreeSet<String>,
    order: &mut Vec<Module>,
) -> io::Result<()> {
    if !seen.insert(name.to_owned()) {
        return Ok(());
    }
    let missing = || io::Error::new(io::ErrorKind::NotFound, format!("no kernel module {name}"));
    let bytes = fs::read(files.get(name).ok_or_else(missing)?)?;
    for dependency in dependencies(&bytes) {
        add(&dependency, files, seen, order)?;
    }
    order.push(Module { name: name.to_owned(), bytes });
    Ok(())
}

/// The names behind `depends=` in a module's bytes.
fn dependencies(module: &[u8]) -> Vec<String> {
    let key = b"\0depends=";
    let Some(at) = module.windows(key.len()).position(|window| window == key) else {
        return Vec::new();
    };
    let value = &module[at + key.len()..];
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    let names = String::from_utf8_lossy(&value[..end]);
    names.split(',').filter(|name| !name.is_empty()).map(underscored).collect()
}

/// The kernel takes `-` and `_` in module names for the same.
fn underscored(name: &str) -> String {
    name.replace('-', "_")
}

fn index(folder: &Path, files: &mut BTreeMap<String, PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            index(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "ko")
            && let Some(stem) = path.file_stem().and_then(|stem| stem.to_str())
        {
            files.insert(underscored(stem), path.clone());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_comes_behind_what_it_needs_and_once() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("deep")).unwrap();
        for (file, needs) in
            [("top-a.ko", "mid_b,low-c"), ("deep/mid-b.ko", "low-c"), ("low-c.ko", "")]
        {
            let text = format!("ELF\0license=GPL\0depends={needs}\0name=x\0");
            fs::write(folder.path().join(file), text).unwrap();
        }
        let names = |wanted: &[&str]| -> Vec<String> {
            let modules = in_load_order(folder.path(), wanted).unwrap();
            modules.into_iter().map(|module| module.name).collect()
        };
        assert_eq!(names(&["top_a", "low-c"]), ["low_c", "mid_b", "top_a"]);
        assert_eq!(names(&["mid-b", "built_in"]), ["low_c", "mid_b"]);
        fs::write(folder.path().join("odd.ko"), "\0depends=gone\0").unwrap();
        assert!(in_load_order(folder.path(), &["odd"]).is_err());
    }
}
