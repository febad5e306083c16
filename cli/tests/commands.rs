//! The main path as a user types it.

use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;

fn json(args: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_litecore"))
        .arg("--json")
        .args(args)
        .output()
        .expect("the program starts");
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {message}");
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

#[test]
fn every_executor_continues_a_prompt_with_the_same_flags() {
    let run = |executor: &str, device: &str| {
        json(&[
            "run",
            "--prompt",
            "Q: ",
            "-n",
            "24",
            "--executor",
            executor,
            "--device",
            device,
            "--tiers",
            "..=medium",
            "--seed",
            "3",
        ])
    };
    let reference = run("reference", "sim:ref-64-eo");
    let cpu = run("cpu", "sim:ref-64-eo");
    let quiet = run("photonic", "sim:ref-64-eo?noise=off");
    assert_eq!(reference["bytes"], cpu["bytes"]);
    assert_eq!(quiet["bytes"], cpu["bytes"]);
    assert_eq!(quiet["cycles_predicted"], quiet["cycles_simulated"]);
    assert!(quiet["cycles_simulated"].as_u64().is_some_and(|cycles| cycles > 0));
    for executor in ["f32", "photonic"] {
        let written = run(executor, "sim:ref-64-eo");
        assert_eq!(written["bytes"].as_array().map(Vec::len), Some(24));
    }
}

#[test]
fn every_executor_evaluates_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("text.txt");
    let words = "The detector reads the field. 12 + 30 = 42\nQ: What is a ring?\n".repeat(4);
    fs::write(&file, words).expect("the file");
    let eval = |executor: &str, device: &str| {
        json(&["eval", "--text", text(&file), "--executor", executor, "--device", device])
    };
    let bits = |value: &Value| value["bits_per_byte"].as_f64().expect("a number");
    let float = eval("f32", "sim:ref-64-eo");
    let cpu = eval("cpu", "sim:ref-64-eo");
    let quiet = eval("photonic", "sim:ref-64-eo?noise=off");
    let noisy = eval("photonic", "sim:ref-64-eo?seed=5");
    assert_eq!(eval("reference", "sim:ref-64-eo")["bits_per_byte"], cpu["bits_per_byte"]);
    assert_eq!(quiet["bits_per_byte"], cpu["bits_per_byte"]);
    assert!(quiet["snr_rms_to_integer_db"].is_null(), "nothing differs with noise off");
    assert_ne!(noisy["bits_per_byte"], cpu["bits_per_byte"]);
    let snr = noisy["snr_rms_to_integer_db"].as_f64().expect("a level");
    assert!((15.0..40.0).contains(&snr), "{snr} dB");
    assert!((bits(&cpu) / bits(&float) - 1.0).abs() < 0.05);
    let energy = &noisy["energy_j"];
    let joules = |key: &str| energy[key].as_f64().expect("joules");
    assert!(0.0 < joules("optics"));
    assert!(joules("optics") < joules("core") && joules("core") < joules("system"));
    let parts: f64 = noisy["energy_j_by_component"]
        .as_object()
        .expect("components")
        .values()
        .filter_map(Value::as_f64)
        .sum();
    assert!((parts / joules("system") - 1.0).abs() < 1e-12);
}

#[test]
fn a_compiled_program_runs_without_its_checkpoint() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = folder.path().join("model.prog");
    let report = json(&["compile", "--chip", "ref-64-eo", "--out", text(&program)]);
    assert_eq!(report["programs"], 72);
    let run = |model: &[&str]| {
        let tail = ["--prompt", "The laser", "-n", "16", "--executor", "cpu"];
        json(&[&["run"], model, &tail].concat())["bytes"].clone()
    };
    assert_eq!(run(&[text(&program)]), run(&[]));
}

#[test]
fn a_model_can_be_trained_and_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let (source, out) = (folder.path().join("text.txt"), folder.path().join("model"));
    fs::write(&source, "abcdefgh ".repeat(400)).expect("the file");
    let config = folder.path().join("recipe.toml");
    fs::write(&config, TINY_RECIPE).expect("the file");
    let trained =
        json(&["train", "--text", text(&source), "--config", text(&config), "--out", text(&out)]);
    assert_eq!(trained["steps"], 60);
    assert_eq!(json(&["model", "verify", text(&out)])["ok"], true);
    let run = ["run", text(&out), "--prompt", "abcdefgh abc", "-n", "6", "--executor"];
    let written = json(&[&run[..], &["f32"]].concat());
    assert_eq!(written["text"], "defgh ");
    let written = json(&[&run[..], &["photonic"]].concat());
    assert_eq!(written["text"], "defgh ");
}

const TINY_RECIPE: &str = r#"
steps = 60
batch_sequences = 4
sequence_len = 48
learning_rate = 0.01
warmup = 6
weight_decay = 0.01
clip = 1.0
seed = 1
balance = { tier = 0.01, group = 0.01, expert = 0.01 }

[model]
name = "tiny"
width = 32
layers = 1
heads = 2
head_width = 16
attention_window = 64
routing = { tiers_per_token = 1, groups_per_tier = 1, experts_per_group = 1, seed = "7" }
tiers = [
  { id = "a", groups = 2, experts_per_group = 1, expert_width = 32 },
  { id = "b", groups = 1, experts_per_group = 2, expert_width = 32 },
]
"#;

#[test]
fn chips_and_models_describe_themselves() {
    let chips = json(&["chip", "list"]);
    assert_eq!(chips[0]["name"], "ref-64-eo");
    let chip = json(&["chip", "show", "ref-64-eo", "--set", "laser.power_w=0.25"]);
    assert_eq!(chip["laser"]["power_w"]["value"], 0.25);
    let model = json(&["model", "info"]);
    assert!(model["parameters_total"].as_u64().is_some_and(|count| count > 3_000_000));
}

#[test]
fn the_demo_ends_with_its_table_and_plots() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("plots");
    let demo = json(&["demo", "--out", text(&out), "-n", "16", "--eval-bytes", "400"]);
    let executors = demo["executors"].as_array().expect("executors");
    let names: Vec<_> = executors.iter().filter_map(|row| row["name"].as_str()).collect();
    assert_eq!(names, ["f32", "reference", "cpu", "photonic, noise off", "photonic"]);
    let bits = executors[0]["evaluation"]["bits_per_byte"].as_f64().expect("a number");
    let bigram = demo["bigram_bits_per_byte"].as_f64().expect("a number");
    assert!(bits < 0.7 * bigram, "{bits} against {bigram}");
    for equality in &demo["exact"].as_array().expect("comparisons")[..2] {
        for what in ["bytes", "logits", "routes"] {
            assert_eq!(equality[what], true, "{equality}");
        }
    }
    for plot in demo["plots"].as_array().expect("plots") {
        let drawing = fs::read_to_string(plot.as_str().expect("a path")).expect("a plot");
        assert!(drawing.starts_with("<svg") && drawing.len() > 2000);
    }
    for row in demo["cost"].as_array().expect("costs") {
        assert_eq!(row["cycles_predicted"], row["cycles_simulated"]);
    }
}
