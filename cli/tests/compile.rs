//! `litecore compile` as a user types it: passes, reports, and what bad input gets.

use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn litecore(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_litecore")).args(args).output().expect("the program starts")
}

fn json(args: &[&str]) -> Value {
    let output = litecore(&[&["--json"], args].concat());
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {message}");
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

#[test]
fn passes_are_listed_in_order_with_their_switches() {
    let list = json(&["compile", "--passes"]);
    let passes: Vec<(String, String)> = list["passes"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|pass| {
            assert!(pass["what"].as_str().is_some_and(|what| what.len() > 20));
            let word = |key: &str| pass[key].as_str().expect("a word").to_owned();
            (word("name"), word("switch"))
        })
        .collect();
    let pair = |name: &str, switch: &str| (name.to_owned(), switch.to_owned());
    assert_eq!(passes.len(), 13);
    assert!(passes.contains(&pair("quantise", "always")));
    assert!(passes.contains(&pair("gain", "on")));
    assert!(passes.contains(&pair("low-rank", "off")));
    let place = |name: &str| passes.iter().position(|(of, _)| of == name);
    assert!(place("equalise") < place("quantise") && place("tile") < place("emit"));
}

#[test]
fn a_report_says_what_the_machine_does_and_viewers_open_its_timeline() {
    let folder = tempfile::tempdir().expect("a folder");
    let (out, dir) = (folder.path().join("model"), folder.path().join("report"));
    let args = [
        "compile",
        "--out",
        text(&out),
        "--report",
        text(&dir),
        "--without",
        "gain",
        "--with",
        "equalise",
    ];
    let summary = json(&args);
    assert_eq!(summary["programs"], 72);
    let on = summary["passes"].as_array().expect("a list");
    assert!(!on.contains(&"gain".into()) && on.contains(&"equalise".into()) && on.len() == 8);

    let report: Value =
        serde_json::from_slice(&fs::read(dir.join("report.json")).expect("there")).expect("JSON");
    // The text asks each expert often: 64 inputs, of which one in four is held out.
    for layer in report["layers"].as_array().expect("layers") {
        let count = |key: &str| layer[key].as_u64().expect("a count");
        assert_eq!(count("held_out"), 16 * count("experts"));
        assert_eq!((count("experts_without_inputs"), count("experts_without_held_out")), (0, 0));
    }
    let total = report["total"].as_array().expect("runs");
    let tokens: Vec<u64> = total
        .iter()
        .map(|run| run["symbols"].as_u64().expect("a count") / run["runs"].as_u64().expect("72"))
        .collect();
    assert_eq!(tokens, [1, 8, 64, 512]);
    for run in total {
        let number = |value: &Value| value.as_f64().expect("a number");
        let cycles = number(&run["cycles"]);
        let path = run["critical_path"].as_object().expect("by unit");
        assert!((path.values().map(number).sum::<f64>() - cycles).abs() < 0.5);
        // No resource can need longer than the run took; waits and streams fill the arrays' time.
        for bound in run["roofline"].as_array().expect("bounds") {
            assert!(number(&bound["cycles"]) <= cycles, "{bound}");
        }
        let parts = run["energy_j_by_component"].as_object().expect("by component");
        let system = number(&run["energy_j"]["system"]);
        assert!((parts.values().map(number).sum::<f64>() / system - 1.0).abs() < 1e-9);
        assert!(number(&run["lower_bound"]["cycles"]) <= cycles);
        let named = run["lower_bound"]["cycles_by_resource"].as_object().expect("by unit");
        assert!(!named.is_empty());
        let use_of = &run["utilisation"];
        assert!(number(&use_of["while_streaming"]) <= number(&use_of["ceiling"]));
        assert!(number(&use_of["of_the_run"]) <= number(&use_of["while_streaming"]));
    }
    assert_eq!(report["layers"].as_array().map(Vec::len), Some(12));
    assert!(report["passes"].as_array().expect("a list").iter().any(|p| p["pass"] == "equalise"));

    let timeline: Value =
        serde_json::from_slice(&fs::read(dir.join("timeline-small.json")).expect("there"))
            .expect("JSON");
    let events = timeline["traceEvents"].as_array().expect("events");
    let slices: Vec<&Value> = events.iter().filter(|event| event["ph"] == "X").collect();
    assert!(slices.len() > 20);
    let mut ends = std::collections::BTreeMap::new();
    for slice in slices {
        let [track, start, cycles] =
            [&slice["tid"], &slice["args"]["start_cycle"], &slice["args"]["cycles"]]
                .map(|value| value.as_u64().expect("a count"));
        // Slices of one track follow each other.
        let end = ends.insert(track, start + cycles).unwrap_or(0);
        assert!(start >= end, "{slice}");
        let micro = slice["ts"].as_f64().expect("a time");
        assert!((micro * 2000.0 - start as f64).abs() < 1e-3, "2 GHz: {slice}");
    }
    let drawn = fs::read_to_string(dir.join("roofline.svg")).expect("there");
    assert!(drawn.contains("weight load") && drawn.contains("</svg>"));
    assert!(fs::read_to_string(dir.join("report.txt")).expect("there").contains("── passes"));
}

#[test]
fn a_compiled_model_keeps_its_answers_whatever_passes_made_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let words = folder.path().join("words.txt");
    fs::write(&words, "Q: What is shot noise?\nA: Shot noise is t").expect("written");
    let score = |choices: &[&str]| {
        let out = folder.path().join("model");
        json(&[&["compile", "--out", text(&out)], choices].concat());
        let measure = |executor: &str| {
            let args = ["eval", text(&out), "--text", text(&words), "--executor", executor];
            let report = json(&args);
            report["bits_per_byte"].as_f64().expect("a number")
        };
        let (reference, cpu) = (measure("reference"), measure("cpu"));
        assert_eq!(reference.to_bits(), cpu.to_bits(), "{choices:?}");
        cpu
    };
    let usual = score(&[]);
    for choices in [
        &["--with", "fold", "--with", "rotate"][..],
        &["--with", "low-rank", "--with", "tile-sparsity", "--error-budget", "1e-3"],
        &["--with", "equalise", "--without", "clip"],
        &["--target-snr", "40"],
    ] {
        let other = score(choices);
        assert!((other / usual - 1.0).abs() < 0.1, "{choices:?}: {other} bits per byte, {usual}");
    }
}

#[test]
fn programs_for_short_runs_are_smaller_and_compute_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    let (words, out) = (folder.path().join("words.txt"), folder.path().join("model"));
    fs::write(&words, "Q: What is shot noise?").expect("written");
    let compiled = |choices: &[&str]| {
        let report = json(&[&["compile", "--out", text(&out)], choices].concat());
        let args = ["eval", text(&out), "--text", text(&words), "--executor", "reference"];
        let bits = json(&args)["bits_per_byte"].as_f64().expect("a number");
        let bytes = fs::metadata(&out).expect("it was written").len();
        (report["steps"].as_u64().expect("a number"), bytes, bits.to_bits())
    };
    let (steps, bytes, bits) = compiled(&[]);
    let (short_steps, short_bytes, short_bits) = compiled(&["--symbols-max", "8"]);
    assert!(short_steps * 10 < steps, "{short_steps} of {steps} steps");
    assert!(short_bytes < bytes, "{short_bytes} of {bytes} bytes");
    assert_eq!(short_bits, bits);
}

#[test]
fn bad_choices_are_refused_before_anything_is_read() {
    let refused = |args: &[&str], words: &[&str]| {
        let output = litecore(args);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {message}");
        for word in words {
            assert!(message.contains(word), "no `{word}` in: {message}");
        }
    };
    refused(&["compile"], &["--out"]);
    refused(&["compile", "--out", "x", "--with", "magic"], &["magic", "--passes"]);
    refused(&["compile", "--out", "x", "--without", "quantise"], &["quantise", "every program"]);
    refused(&["compile", "--out", "x", "--error-budget", "7"], &["--error-budget", "0 to 1"]);
    refused(&["compile", "--out", "x", "--target-snr", "900"], &["--target-snr"]);
    refused(&["compile", "--out", "x", "--symbols-max", "0"], &["--symbols-max"]);
}

#[test]
fn a_model_that_does_not_compile_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("model");
    // A card without room for one symbol.
    let chip = folder.path().join("small.toml");
    let toml = litecore(&["chip", "show", "tiny-4", "--toml"]).stdout;
    let toml = String::from_utf8(toml).expect("text");
    let bytes = toml.lines().find(|line| line.starts_with("sram_bytes")).expect("a size");
    fs::write(&chip, toml.replace(bytes, "sram_bytes = 1024")).expect("written");
    let output = litecore(&["compile", "--chip", text(&chip), "--out", text(&out)]);
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    for word in ["layer 0", "card memory", "raise memory.sram_bytes"] {
        assert!(message.contains(word), "no `{word}` in: {message}");
    }
    let left: Vec<_> = fs::read_dir(folder.path()).expect("there").flatten().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn passes_are_listed_as_json_wherever_it_is_asked_for() {
    let before = json(&["compile", "--passes"]);
    let output = litecore(&["compile", "--passes", "--json"]);
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{message}");
    let after: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!(before, after);
    // What would be passed over in silence is refused.
    let output = litecore(&["compile", "--passes", "--out", "x"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

#[test]
fn places_that_cannot_be_written_are_found_before_the_work_and_leave_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    fs::write(&file, "in the way").expect("written");
    let out = folder.path().join("model");
    let refused = |args: &[&str], words: &[&str]| {
        // The progress of reading calibration text would be on the standard error.
        let output = litecore(&[&["compile"], args].concat());
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {message}");
        for word in words {
            assert!(message.contains(word), "no `{word}` in: {message}");
        }
        let left = fs::read_dir(folder.path()).expect("there").count();
        assert_eq!(left, 1, "{args:?}: only the file that was there");
    };
    refused(&["--out", text(folder.path())], &["is a directory: name the file"]);
    let nowhere = folder.path().join("nosuch").join("model");
    refused(&["--out", text(&nowhere)], &["nosuch", "no such directory: make it first"]);
    let below = file.join("below");
    refused(&["--out", text(&out), "--report", text(&below)], &["cannot write", text(&below)]);
    // The directory that could be made is taken back.
    let texts = folder.path().join("texts");
    refused(
        &["--out", text(&out), "--text-dir", text(&texts), "--report", text(&below)],
        &["cannot write", text(&below)],
    );

    // What shows only later stops the work, and there is no program.
    fs::create_dir_all(texts.join("layer0-0.0.0.program")).expect("made");
    let output = litecore(&["compile", "--out", text(&out), "--text-dir", text(&texts)]);
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("cannot write") && message.contains("layer0-0.0.0"), "{message}");
    assert!(!out.exists());
}

#[test]
fn an_empty_calibration_text_is_refused_and_a_short_one_tells_whom_it_missed() {
    let folder = tempfile::tempdir().expect("a folder");
    let words = folder.path().join("words.txt");
    let out = folder.path().join("model");
    fs::write(&words, "").expect("written");
    let args = ["compile", "--out", text(&out), "--calibration-text", text(&words)];
    let output = litecore(&args);
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.contains("the file is empty") && !out.exists(), "{message}");

    // A card whose memory holds a few dozen tokens.
    let chip = folder.path().join("small.toml");
    let toml = litecore(&["chip", "show", "ref-64-eo", "--toml"]).stdout;
    let toml = String::from_utf8(toml).expect("text");
    let bytes = toml.lines().find(|line| line.starts_with("sram_bytes")).expect("a size");
    fs::write(&chip, toml.replace(bytes, "sram_bytes = 100000")).expect("written");
    // One token comes to a few of the 72 experts.
    fs::write(&words, "a").expect("written");
    let dir = folder.path().join("report");
    let args = [&args[..], &["--chip", text(&chip), "--report", text(&dir)]].concat();
    let summary = json(&args);
    let missed = summary["programs_without_samples"].as_u64().expect("a count");
    assert!((36..72).contains(&missed), "{missed}");
    let most = summary["symbols_max"].as_u64().expect("a count");
    assert!((8..64).contains(&most), "{most}");
    let listed: Vec<_> =
        summary["predicted"].as_array().expect("runs").iter().map(|run| &run["tokens"]).collect();
    assert_eq!(listed, [1, 8]);
    let limit = format!("at most {most} tokens in one run: card memory");
    let report = fs::read_to_string(dir.join("report.txt")).expect("there");
    assert!(report.contains(&limit), "{report}");
    // Every expert is one of those the text asked often, seldom, or never.
    let document: Value =
        serde_json::from_slice(&fs::read(dir.join("report.json")).expect("there")).expect("JSON");
    let sum = |key: &str| -> u64 {
        let layers = document["layers"].as_array().expect("layers");
        layers.iter().map(|layer| layer[key].as_u64().expect("a count")).sum()
    };
    assert_eq!(sum("experts_without_inputs"), missed);
    let seldom = sum("experts_without_held_out");
    assert_eq!(sum("held_out") == 0, seldom + missed == 72, "{seldom} seldom, {missed} never");
    assert!(report.contains(&format!("{missed} experts were not asked by the cal")), "{report}");
    for layer in document["layers"].as_array().expect("layers") {
        let level = |key: &str| layer[key].as_f64().expect("a level");
        assert!(level("snr_db_of_the_worst") <= level("snr_db"), "{layer}");
        assert!((10.0..60.0).contains(&level("snr_db")), "{layer}");
    }
    let output = litecore(&args);
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(shown.contains(&limit), "{shown}");
    assert!(shown.contains(&format!("{missed} of 72 experts were not asked")), "{shown}");
}

#[test]
fn a_target_out_of_reach_is_said_and_choices_that_do_nothing_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("model.prog");
    let words = folder.path().join("words.txt");
    fs::write(&words, "a few words").expect("written");
    let args = ["compile", "--out", text(&out), "--calibration-text", text(&words), "--target-snr"];
    for (target, expected) in [("5", 0), ("200", 72)] {
        let summary = json(&[&args[..], &[target]].concat());
        assert_eq!(summary["programs_below_target"], expected, "{target} dB");
    }
    let output = litecore(&[&args[..], &["200"]].concat());
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(shown.contains("72 of 72 programs miss the SNR"), "{shown}");
    fs::remove_file(&out).expect("it was written");
    let plain = ["compile", "--out", text(&out)];
    let idle: [&[&str]; 2] =
        [&["--target-snr", "30", "--without", "split"], &["--error-budget", "0.01"]];
    for (choices, why) in idle.into_iter().zip(["needs the pass split", "nothing spends it"]) {
        let output = litecore(&[&plain[..], choices].concat());
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert!(message.contains(why) && !out.exists(), "{message}");
    }
}
