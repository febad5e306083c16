//! The rules of the house: who may use whom, licenses, file sizes, names.

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The crates and what each may use, `types` first. Arrows only go down.
const EDGES: [(&str, &[&str]); 15] = [
    ("types", &[]),
    ("kernels", &["types"]),
    ("firmware-proto", &[]),
    ("hal", &["types", "firmware-proto"]),
    ("sim", &["types", "kernels", "firmware-proto", "hal"]),
    ("model", &["types"]),
    ("compiler", &["types", "kernels", "model"]),
    ("calibration", &["types", "kernels", "hal"]),
    ("runtime", &["types", "kernels", "hal", "model", "compiler", "calibration"]),
    ("train", &["types", "kernels", "model"]),
    ("cli", &["*"]),
    ("bench", &["*"]),
    ("tests", &["*"]),
    // Below `tests/hil`: the machine suite's host side calls the command line and no crate; its
    // guest is the machine's first process, and the simulator stays outside the machine.
    ("hil", &[]),
    ("hil-guest", &["types", "hal", "model", "compiler", "runtime"]),
];

/// Licenses a dependency may offer; one of a choice is enough.
const LICENSES: [&str; 10] = [
    "MIT",
    "MIT-0",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "CC0-1.0",
    "ISC",
    "Unicode-3.0",
    "Zlib",
];

/// Crates under a license that is permissive for whoever uses the crate unchanged, and asks for the
/// source of changes to its own files only. See docs/decisions/0005-dependencies.md.
const UNCHANGED_ONLY: [(&str, &str); 1] = [("serialport", "MPL-2.0")];

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .other_options(vec!["--locked".into()])
        .exec()
        .expect("cargo metadata")
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn crates_use_only_what_the_design_allows() {
    let metadata = metadata();
    let mut seen = BTreeSet::new();
    for package in metadata.workspace_packages() {
        let name = package.name.strip_prefix("litecore-").expect("the house's prefix");
        let (_, allowed) =
            EDGES.iter().find(|(n, _)| *n == name).unwrap_or_else(|| panic!("unlisted {name}"));
        seen.insert(name.to_owned());
        for dependency in &package.dependencies {
            let Some(used) = dependency.name.strip_prefix("litecore-") else { continue };
            let normal = dependency.kind == DependencyKind::Normal;
            assert!(normal, "{name} uses {used} in tests: put that test into the tests crate");
            assert!(
                allowed.contains(&"*") || allowed.contains(&used),
                "{name} may not use {used}: see docs/decisions/0001-house.md"
            );
        }
    }
    assert_eq!(seen.len(), EDGES.len(), "a crate of the design is missing: {seen:?}");
}

#[test]
fn only_permissive_licenses_come_in() {
    let metadata = metadata();
    let own: BTreeSet<_> = metadata.workspace_members.iter().collect();
    let mut checked = 0;
    for package in metadata.packages.iter().filter(|p| !own.contains(&p.id)) {
        let license = package.license.as_deref().unwrap_or("none");
        // "A OR B" and the older "A/B" are choices; "A AND B" needs both.
        let permissive = license.replace('/', " OR ").split(" OR ").any(|choice| {
            let choice = choice.trim_matches(|c: char| c == '(' || c == ')' || c == ' ');
            choice.split(" AND ").all(|part| {
                let part = part.trim_matches(|c: char| c == '(' || c == ')' || c == ' ');
                LICENSES.contains(&part)
            })
        });
        let permissive = permissive || UNCHANGED_ONLY.contains(&(package.name.as_str(), license));
        assert!(permissive, "{} {} is under {license}", package.name, package.version);
        checked += 1;
    }
    assert!(checked > 50, "only {checked} dependencies seen");
}

#[test]
fn sources_are_short_and_well_named() {
    let mut files = 0;
    for (name, _) in EDGES {
        for path in sources(&root().join(name)) {
            let text = fs::read_to_string(&path).expect("a source file");
            let lines = text.lines().count();
            assert!(lines <= 600, "{} has {lines} lines: split it", path.display());
            let stem = path.file_stem().and_then(|s| s.to_str()).unwrap_or("");
            for banned in ["util", "utils", "common", "helpers", "misc", "base"] {
                assert_ne!(stem, banned, "{}: say what it holds", path.display());
            }
            files += 1;
        }
    }
    assert!(files > 60, "only {files} files seen");
}

#[test]
fn no_path_of_a_machine_is_written_down() {
    // Written in two halves so that this file does not hold them.
    let banned = [["/wo", "rk/"].concat(), ["/home", "/"].concat(), ["/ro", "ot/"].concat()];
    for (name, _) in EDGES {
        for path in sources(&root().join(name)) {
            let text = fs::read_to_string(&path).expect("a source file");
            for word in &banned {
                assert!(!text.contains(word), "{} mentions {word}", path.display());
            }
        }
    }
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found
}
