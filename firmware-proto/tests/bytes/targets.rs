//! The crate compiles for microcontrollers, which have neither system nor allocator.

use std::path::Path;
use std::process::Command;

/// A Cortex-M4 with a floating-point unit, and a RISC-V core without one.
const TARGETS: [&str; 2] = ["thumbv7em-none-eabihf", "riscv32imac-unknown-none-elf"];

#[test]
fn it_compiles_for_microcontrollers() {
    for target in TARGETS {
        if !is_installed(target) {
            eprintln!("skipped: {target} is not installed (rustup target add {target})");
            continue;
        }
        // A folder of its own, so that it does not wait for the one that runs this test.
        let status = Command::new(env!("CARGO"))
            .args(["check", "--quiet", "--offline", "--lib", "--target", target])
            .arg("--manifest-path")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"))
            .arg("--target-dir")
            .arg(Path::new(env!("CARGO_TARGET_TMPDIR")).join("microcontrollers"))
            .env_remove("RUSTFLAGS")
            .status()
            .expect("cargo runs");
        assert!(status.success(), "it does not compile for {target}");
        eprintln!("compiles for {target}");
    }
}

fn is_installed(target: &str) -> bool {
    let printed =
        Command::new("rustc").args(["--print", "target-libdir", "--target", target]).output();
    printed.is_ok_and(|output| {
        let folder = String::from_utf8_lossy(&output.stdout);
        output.status.success() && Path::new(folder.trim()).is_dir()
    })
}
