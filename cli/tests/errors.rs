//! What a user gets for bad input: one clear message, the right exit code, never a panic.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn litecore(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_litecore")).args(args).output().expect("the program starts")
}

/// Runs, and checks that it failed as it should; gives the message.
fn refused(args: &[&str], code: i32) -> String {
    let output = litecore(args);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!message.contains("panicked"), "{args:?}: {message}");
    assert_eq!(output.status.code(), Some(code), "{args:?}: {message}");
    message
}

#[track_caller]
fn says(message: &str, words: &[&str]) {
    for word in words {
        assert!(message.contains(word), "no `{word}` in: {message}");
    }
}

/// A copy of the embedded checkpoint on disk.
fn checkpoint(folder: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/embedded");
    let target = folder.join("checkpoint");
    fs::create_dir(&target).expect("a new folder");
    for entry in fs::read_dir(source).expect("the embedded model").flatten() {
        fs::copy(entry.path(), target.join(entry.file_name())).expect("a copy");
    }
    target
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

#[test]
fn a_corrupted_shard_is_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let checkpoint = checkpoint(folder.path());
    let shard = checkpoint.join("tier-medium.safetensors");
    let mut bytes = fs::read(&shard).expect("the shard");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&shard, bytes).expect("the damage");
    for args in [
        &["run", text(&checkpoint), "--prompt", "Q:", "--executor", "f32"][..],
        &["compile", text(&checkpoint), "--out", "unused.prog"],
        &["model", "verify", text(&checkpoint)],
    ] {
        let output = litecore(args);
        let all = [output.stdout, output.stderr].concat();
        let all = String::from_utf8_lossy(&all);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {all}");
        says(&all, &["tier-medium.safetensors"]);
    }
    assert!(!Path::new("unused.prog").exists());
}

#[test]
fn a_truncated_manifest_is_refused_with_its_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let checkpoint = checkpoint(folder.path());
    let manifest = checkpoint.join("manifest.json");
    let bytes = fs::read(&manifest).expect("the manifest");
    fs::write(&manifest, &bytes[..bytes.len() / 2]).expect("the damage");
    let message = refused(&["model", "info", text(&checkpoint)], 1);
    says(&message, &["manifest.json", "line"]);
    let message = refused(&["run", text(&checkpoint), "--prompt", "Q:"], 1);
    says(&message, &["manifest.json", "line"]);
}

#[test]
fn an_unknown_tier_is_refused_with_those_there_are() {
    let message = refused(&["run", "--prompt", "Q:", "--tiers", "huge"], 2);
    says(&message, &["huge", "small", "medium", "large"]);
    refused(&["run", "--prompt", "Q:", "--tiers", "no such set!"], 2);
}

#[test]
fn a_chip_file_with_a_bad_number_is_refused_by_key() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("chip.toml");
    let good =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../chips/ref-64-eo.toml"))
            .expect("a shipped chip");
    let without: String = good
        .lines()
        .filter(|line| !line.starts_with("power_w"))
        .fold(String::new(), |all, line| all + line + "\n");
    fs::write(&file, without).expect("the file");
    let message = refused(&["chip", "show", text(&file)], 1);
    says(&message, &["laser.power_w", "missing"]);

    let negative = good.replace("power_w = { value = 0.5", "power_w = { value = -0.5");
    assert_ne!(negative, good);
    fs::write(&file, negative).expect("the file");
    let message = refused(&["chip", "show", text(&file)], 1);
    says(&message, &["laser.power_w.value", "-0.5", "greater than zero"]);
    let uri = format!("sim:{}", text(&file));
    let message = refused(&["run", "--prompt", "Q:", "--device", &uri], 3);
    says(&message, &["laser.power_w.value"]);
}

#[test]
fn an_empty_prompt_is_refused() {
    says(&refused(&["run", "--prompt", ""], 2), &["prompt is empty"]);
    says(&refused(&["demo", "--prompt", ""], 2), &["prompt is empty"]);
}

#[test]
fn a_file_that_is_not_text_is_refused_with_the_offset() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("picture.png");
    fs::write(&file, b"text, then \xff\xfe").expect("the file");
    let out = folder.path().join("out");
    for args in [
        &["eval", "--text", text(&file)][..],
        &["train", "--text", text(&file), "--out", text(&out)],
        &["compile", "--calibration-text", text(&file), "--out", text(&out)],
    ] {
        says(&refused(args, 1), &["picture.png", "not text", "offset 11"]);
        assert!(!out.exists());
    }
    let short = folder.path().join("short.txt");
    fs::write(&short, "x").expect("the file");
    says(&refused(&["eval", "--text", text(&short), "--executor", "f32"], 1), &["at least 2"]);
}

#[test]
fn unknown_things_are_refused_with_a_choice() {
    says(&refused(&["run", "--prompt", "x", "--executor", "gpu"], 2), &["gpu", "photonic"]);
    says(&refused(&["run", "--prompt", "x", "--device", "sim:nothing"], 3), &["nothing"]);
    says(&refused(&["run", "--prompt", "x", "--device", "tape:0"], 2), &["tape"]);
    says(&refused(&["run", "--prompt", "x", "--device", "pcie:0000:01:00.0"], 3), &["pcie"]);
    says(&refused(&["run", "no-such-model", "--prompt", "x"], 1), &["no-such-model"]);
    says(&refused(&["chip", "show", "nothing"], 2), &["nothing", "ref-64-eo"]);
    says(&refused(&["chip", "show", "tiny-4", "--set", "laser.power_w"], 2), &["path=value"]);
    says(&refused(&["chip", "show", "tiny-4", "--set", "laser.color=red"], 1), &["laser.color"]);
    says(
        &refused(&["run", "--prompt", "x", "--temperature=-1", "--executor", "f32"], 2),
        &["temperature"],
    );
}

#[test]
fn a_file_that_is_no_program_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("notes.txt");
    fs::write(&file, "not a program").expect("the file");
    says(&refused(&["run", text(&file), "--prompt", "x"], 1), &["notes.txt"]);
}

#[test]
fn nothing_is_overwritten() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("text.txt");
    fs::write(&source, "some text ".repeat(100)).expect("the file");
    let message = refused(&["train", "--text", text(&source), "--out", text(folder.path())], 2);
    says(&message, &["exists"]);
}

#[test]
fn an_error_is_json_with_json() {
    let output = litecore(&["--json", "run", "--prompt", ""]);
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(value["exit_code"], 2);
    assert!(value["error"].as_str().is_some_and(|text| text.contains("prompt is empty")));
}
