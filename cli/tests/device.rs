//! `litecore emulate` and `litecore device` as a user types them, one against the other.

use litecore_firmware_proto::firmware::{FirmwareHeader, FirmwareVersion, SignatureScheme};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

fn litecore(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_litecore")).args(args).output().expect("the program starts")
}

/// The JSON object that a command prints, and its exit code.
fn json(args: &[&str]) -> (Value, Option<i32>) {
    let output = litecore(&[args, &["--json"]].concat());
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    let value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{words}"));
    (value, output.status.code())
}

/// A running `litecore emulate`; it is killed when a test fails.
struct Emulator {
    child: Child,
}

impl Emulator {
    fn start(listen: &str, more: &[&str]) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_litecore"))
            .args(["emulate", "--quiet", "--listen", listen])
            .args(more)
            .stdout(Stdio::null())
            .spawn()
            .expect("the program starts");
        let path = listen.split_once(':').expect("a face and a path").1;
        let until = Instant::now() + Duration::from_secs(20);
        while fs::symlink_metadata(path).is_err() {
            assert!(Instant::now() < until, "it does not listen");
            thread::sleep(Duration::from_millis(2));
        }
        Self { child }
    }

    /// Interrupts it, as Ctrl-C does, and gives its exit code.
    fn interrupt(mut self) -> Option<i32> {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-INT", &id]).status().expect("kill is there");
        assert!(sent.success());
        self.child.wait().expect("it ends").code()
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        // It has ended already where the test went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn at(folder: &tempfile::TempDir, face: &str) -> String {
    format!("{face}:{}", folder.path().join("card").display())
}

#[test]
fn an_emulated_card_conforms_and_takes_one_client_after_the_other() {
    for face in ["serial", "vfio-user"] {
        let folder = tempfile::tempdir().expect("a folder");
        let uri = at(&folder, face);
        let emulator = Emulator::start(&uri, &["--chip", "tiny-4", "--chip-seed", "9"]);
        let (report, code) = json(&["device", "test", "--device", &uri]);
        assert_eq!((code, &report["ok"]), (Some(0), &Value::Bool(true)), "{report:#}");
        assert_eq!((&report["chip"], &report["serial"]), (&"tiny-4".into(), &"sim-9".into()));
        let cases = report["cases"].as_array().expect("a list");
        assert!(cases.len() >= 18 && report["failed"] == 0);
        for key in ["latency_p50_s", "latency_p99_s", "bandwidth_bytes_per_s"] {
            assert!(report[key].as_f64().is_some_and(|figure| figure > 0.0), "{key}");
        }
        let (info, code) = json(&["device", "info", "--device", &uri]);
        assert_eq!((code, &info["link"]), (Some(0), &face.into()), "{info:#}");
        let boots = info["boots"].as_u64().expect("a number");
        let (reset, code) = json(&["device", "reset", "--device", &uri]);
        // A PCI function also starts over when its client leaves, as when the kernel lets it go.
        let starts = if face == "serial" { 1 } else { 2 };
        assert_eq!((code, reset["boots"].as_u64()), (Some(0), Some(boots + starts)), "{face}");
        assert_eq!(emulator.interrupt(), Some(0));
        assert!(fs::symlink_metadata(folder.path().join("card")).is_err(), "it cleans up");
    }
}

#[test]
fn the_model_writes_the_same_through_a_card_as_on_the_simulator() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = folder.path().join("model").display().to_string();
    let compiled = litecore(&["compile", "--chip", "ref-64-eo", "--out", &model, "--quiet"]);
    assert!(compiled.status.success());
    let bytes = |device: &str| {
        let (report, code) =
            json(&["run", &model, "--device", device, "--prompt", "Q: ", "-n", "12"]);
        assert_eq!(code, Some(0), "{report:#}");
        report["bytes"].as_array().expect("a list").clone()
    };
    let expected = bytes("sim:ref-64-eo?seed=3");
    assert_eq!(expected.len(), 12);
    for face in ["serial", "vfio-user"] {
        let uri = at(&folder, face);
        let emulator = Emulator::start(&uri, &["--chip", "ref-64-eo", "--chip-seed", "3"]);
        assert_eq!(bytes(&uri), expected, "{face}");
        assert_eq!(emulator.interrupt(), Some(0));
    }
}

#[test]
fn firmware_is_updated_once_and_older_firmware_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let uri = at(&folder, "serial");
    let emulator = Emulator::start(&uri, &["--chip", "tiny-4"]);
    let update = |version: (u16, u16, u32)| {
        let file = folder.path().join("firmware");
        fs::write(&file, firmware(version)).expect("written");
        let file = file.display().to_string();
        json(&["device", "update", "--device", &uri, "--firmware", &file])
    };
    let (report, code) = update((1, 2, 0));
    assert_eq!((code, &report["updated"]), (Some(0), &Value::Bool(true)), "{report:#}");
    assert_eq!(report["firmware_before"], "1.0.0");
    assert_eq!(report["firmware"], "1.2.0");
    let (again, code) = update((1, 2, 0));
    assert_eq!((code, &again["updated"]), (Some(0), &Value::Bool(false)));
    let (older, code) = update((1, 1, 0));
    assert_eq!(code, Some(3));
    assert!(older["error"].as_str().expect("words").contains("--force"), "{older:#}");
    // What is wrong with a file is not the device's fault.
    let other = folder.path().join("other").display().to_string();
    fs::write(&other, "text").expect("written");
    let (report, code) = json(&["device", "update", "--device", &uri, "--firmware", &other]);
    assert_eq!(code, Some(1), "{report:#}");
    assert!(report["error"].as_str().expect("words").contains("is no firmware"), "{report:#}");
    assert_eq!(emulator.interrupt(), Some(0));
}

/// An image of the three bytes `abc`.
fn firmware((major, minor, patch): (u16, u16, u32)) -> Vec<u8> {
    // Source: FIPS 180-2, appendix B.1.
    let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let byte = |at: usize| u8::from_str_radix(&digest[2 * at..2 * at + 2], 16).expect("hex");
    let header = FirmwareHeader {
        board: 0x4c43_0001,
        hardware_min: 1,
        hardware_max: 1,
        version: FirmwareVersion::new(major, minor, patch),
        body_len: 3,
        digest: std::array::from_fn(byte),
        scheme: SignatureScheme::None,
        key: 0,
        signature: [0; 64],
        label: [0; 32],
    };
    [&header.encode()[..], b"abc"].concat()
}

#[test]
fn failures_of_devices_say_what_to_do_and_exit_with_3() {
    let folder = tempfile::tempdir().expect("a folder");
    let absent = folder.path().join("nothing").display().to_string();
    for (uri, words) in [
        (format!("serial:{absent}"), "there is no `serial:"),
        (format!("vfio-user:{absent}"), "litecore emulate"),
        ("usb:1209:4242".to_owned(), "litecore device list"),
        ("pcie:ffff:ff:1f.7".to_owned(), "litecore device list"),
    ] {
        let (report, code) = json(&["device", "info", "--device", &uri]);
        assert_eq!(code, Some(3), "{uri}: {report:#}");
        let error = report["error"].as_str().expect("words");
        assert!(error.contains(words), "{uri}: {error}");
    }
    let file = folder.path().join("file");
    fs::write(&file, "text").expect("written");
    let (report, code) =
        json(&["device", "info", "--device", &format!("serial:{}", file.display())]);
    assert_eq!(code, Some(3));
    assert!(report["error"].as_str().expect("words").contains("not a card"), "{report:#}");
    let (report, code) = json(&["device", "reset", "--device", "sim:tiny-4"]);
    assert_eq!(code, Some(2), "{report:#}");
}

#[test]
fn a_simulator_is_tested_like_a_card_but_for_its_link() {
    let (report, code) = json(&["device", "test", "--device", "sim:tiny-4?noise=off"]);
    assert_eq!((code, &report["ok"]), (Some(0), &Value::Bool(true)), "{report:#}");
    assert!(report.get("latency_p50_s").is_none() && report.get("link").is_none());
    let (list, code) = json(&["device", "list"]);
    assert_eq!(code, Some(0));
    assert!(list.is_array());
}

#[test]
fn what_cannot_be_emulated_is_said_before_anything_is_left_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let faults = folder.path().join("faults.json");
    fs::write(&faults, r#"{"rules": [{"when": "never", "do": "reset"}]}"#).expect("written");
    let free = at(&folder, "serial");
    let taken = format!("serial:{}", faults.display());
    let missing = format!("vfio-user:{}", folder.path().join("no/such/folder").display());
    for (listen, more, words) in [
        (&free, vec!["--chip", "no-such"], "there is no chip `no-such`"),
        (&free, vec!["--faults", faults.to_str().expect("UTF-8")], "faults.json is wrong"),
        (&taken, vec![], "a file is there"),
        (&missing, vec![], "cannot listen at vfio-user:"),
    ] {
        let output = litecore(&[&["emulate", "--listen", listen], &more[..]].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(words), "{said}");
    }
    assert!(!Path::new(&folder.path().join("card")).exists());
    let first = Emulator::start(&at(&folder, "vfio-user"), &["--chip", "tiny-4"]);
    let output = litecore(&["emulate", "--chip", "tiny-4", "--listen", &at(&folder, "vfio-user")]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("another process serves there"), "{said}");
    assert_eq!(first.interrupt(), Some(0));
}
