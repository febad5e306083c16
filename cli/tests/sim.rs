//! `litecore sim` as a user types it.

use serde_json::Value;
use std::fs;
use std::process::{Command, Output};

fn litecore(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_litecore")).args(args).output().expect("the program starts")
}

fn sim(args: &[&str]) -> Value {
    let output = litecore(&[&["sim", "--json"], args].concat());
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {message}");
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

#[track_caller]
fn refused(args: &[&str], words: &[&str]) {
    let output = litecore(&[&["sim"], args].concat());
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(!message.contains("panicked"), "{args:?}: {message}");
    assert_eq!(output.status.code(), Some(2), "{args:?}: {message}");
    for word in words {
        assert!(message.contains(word), "{args:?}: no `{word}` in: {message}");
    }
}

fn number(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or_else(|| panic!("no number `{key}` in {value}"))
}

fn part<'a>(report: &'a Value, term: &str) -> &'a Value {
    let parts = report["budget"].as_array().expect("a list");
    parts.iter().find(|part| part["term"] == term).unwrap_or_else(|| panic!("no {term}"))
}

#[track_caller]
fn close(a: f64, b: f64, within: f64) {
    assert!((a - b).abs() <= within, "{a} against {b}");
}

#[test]
fn the_report_has_its_keys_and_measures_what_it_predicts() {
    let report = sim(&["--chip", "ref-64-eo", "--seed", "5"]);
    let rms = number(&report, "snr_rms_db");
    close(rms, number(&report, "closed_form_snr_rms_db"), 0.3);
    assert!((25.0..40.0).contains(&rms), "{rms} dB");
    close(number(&report, "bits_rms"), (rms - 1.76) / 6.02, 1e-9);
    // The largest sum is sqrt(128) · 3 · (127/128)^½ deviations of uniform data: 30.5 dB above.
    close(number(&report, "snr_fs_db") - rms, 30.5, 0.3);
    for name in ["shot", "receiver", "adc", "cell_phase", "cell_amplitude"] {
        let part = part(&report, name);
        close(number(part, "measured_db"), number(part, "closed_form_db"), 0.5);
    }
    assert_eq!(report["warnings"], Value::Array(Vec::new()));
    // 2 · 64 · 64 useful products for each symbol.
    assert_eq!(report["useful_macs"], 4096 * 8192);
    assert!(number(&report, "cycles") > 4096.0);
    let joules = |key| number(&report["energy_j"], key);
    assert!(0.0 < joules("optics"));
    assert!(joules("optics") < joules("core") && joules("core") < joules("system"));
}

#[test]
fn shot_noise_follows_the_light_that_is_set() {
    // SNR = 4 η n t² s, so a tenth of the light is 10 dB less, and of the ratio nothing else.
    let full = sim(&["--terms", "shot"]);
    let tenth = sim(&["--terms", "shot", "--set", "laser.power_w=0.05"]);
    let shot = |report: &Value, key| number(part(report, "shot"), key);
    close(shot(&full, "closed_form_db") - shot(&tenth, "closed_form_db"), 10.0, 1e-6);
    // The same tiles, inputs and noise, ten times stronger in power.
    close(shot(&full, "measured_db") - shot(&tenth, "measured_db"), 10.0, 0.05);
}

#[test]
fn without_terms_every_packing_computes_the_integer_meaning() {
    for packing in ["single", "tokens", "rows", "conjugate", "complex"] {
        let report = sim(&["--terms", "none", "--packing", packing, "--symbols", "300"]);
        assert_eq!(report["codes_off"], 0, "{packing}");
        assert_eq!(report["budget"].as_array().map(Vec::len), Some(1), "{packing}");
        let quantisation = part(&report, "quantisation");
        close(number(quantisation, "measured_db"), number(&report, "snr_rms_db"), 1e-9);
        close(number(quantisation, "measured_db"), number(quantisation, "closed_form_db"), 0.4);
    }
    // A converter as wide as the sums loses nothing.
    let mut wide = vec!["--chip", "tiny-4", "--terms", "none"];
    for set in ["adc.bits=16", "weights.bits=4", "dac.bits=4", "dac.enob=4"] {
        wide.extend(["--set", set]);
    }
    let report = sim(&wide);
    assert!(report["snr_rms_db"].is_null(), "{report}");
}

#[test]
fn packings_rank_as_their_light_does() {
    // Uniform data, the same light: 28.5, 22.5, 22.5, 25.5 dB in the reference case, so 6, 6 and
    // 3 dB below the plain real array.
    let shot = |packing| {
        let report = sim(&["--terms", "shot", "--packing", packing]);
        let part = part(&report, "shot").clone();
        close(number(&part, "measured_db"), number(&part, "closed_form_db"), 0.3);
        number(&part, "measured_db")
    };
    let single = shot("single");
    close(single - shot("tokens"), 6.0, 0.3);
    close(single - shot("rows"), 6.0, 0.3);
    close(single - shot("conjugate"), 3.0, 0.3);
}

#[test]
fn the_same_seed_gives_the_same_report_and_another_another() {
    let args = ["--symbols", "200", "--data", "gaussian:3", "--seed"];
    let run = |seed| sim(&[&args[..], &[seed]].concat());
    assert_eq!(run("1"), run("1"));
    assert_ne!(run("1")["snr_rms_db"], run("2")["snr_rms_db"]);
}

#[test]
fn noise_is_drawn_by_the_term_where_asked() {
    let run = |draws, terms| {
        let args = ["--symbols", "2000", "--instances", "8", "--draws", draws, "--terms", terms];
        sim(&args)
    };
    let (merged, apart) = (run("merged", "shot,receiver"), run("per-term", "shot,receiver"));
    assert_eq!((&merged["draws"], &apart["draws"]), (&"merged".into(), &"per-term".into()));
    assert_ne!(merged["snr_rms_db"], apart["snr_rms_db"]);
    close(number(&merged, "snr_rms_db"), number(&apart, "snr_rms_db"), 0.2);
    // A term alone has one draw; but apart it has a name of its own.
    assert_ne!(run("merged", "shot")["snr_rms_db"], run("per-term", "shot")["snr_rms_db"]);
    // The shot noise of both runs is the same: what the amplifier adds is all there is between them.
    let error = |report: &Value| pxfm::f_exp10(-number(report, "snr_rms_db") / 10.0);
    let (alone, both) = (run("per-term", "shot"), apart);
    let added = part(&both, "receiver");
    let expected = error(&alone) + pxfm::f_exp10(-number(added, "measured_db") / 10.0);
    close(10.0 * pxfm::f_log10(error(&both) / expected), 0.0, 0.1);
    refused(&["--draws", "together"], &["together", "merged", "per-term"]);
}

#[test]
fn a_large_array_takes_fewer_symbols_and_says_so() {
    let set = ["--set", "array.inputs=512", "--set", "array.outputs=1024", "--terms", "none"];
    let report = sim(&set);
    assert_eq!((&report["symbols"], &report["symbols_shortened"]), (&512.into(), &true.into()));
    let text = litecore(&[&["sim"], &set[..]].concat());
    assert!(String::from_utf8_lossy(&text.stdout).contains("say how many with --symbols"));
    let report = sim(&[&set[..], &["--symbols", "16"]].concat());
    assert_eq!((&report["symbols"], &report["symbols_shortened"]), (&16.into(), &false.into()));
    assert_eq!(sim(&["--terms", "none"])["symbols"], 4096);
}

/// Address space, in KiB, that a run of one thread may have. The program itself takes half of it.
const LIMIT_KIB: u64 = 256 * 1024;

#[test]
fn memory_does_not_grow_with_symbols() {
    // Held all at once, 256 bytes of sums and of codes and 128 of inputs for each symbol are 190 MB.
    let symbols = 300_000_u64;
    let script = format!("ulimit -v {LIMIT_KIB}; exec \"$0\" \"$@\"");
    let output = Command::new("sh")
        .args(["-c", &script, env!("CARGO_BIN_EXE_litecore"), "sim", "--json"])
        .args(["--symbols", &symbols.to_string(), "--instances", "1", "--terms", "shot"])
        .env("RAYON_NUM_THREADS", "1")
        .output()
        .expect("the program starts");
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{message}");
    let report: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!(report["symbols"], symbols);
    // 19 million sums, but one tile: as precise as a term of light alone can be.
    let shot = part(&report, "shot");
    close(number(shot, "measured_db"), number(shot, "closed_form_db"), 0.1);
}

#[test]
fn blocks_of_symbols_meet_as_one_row_does() {
    // Eight blocks of a slow receiver, and chips of one block each: the same law.
    let run = |instances| {
        let slow = ["--terms", "isi", "--set", "receiver.bandwidth_hz=1e9"];
        let args = [&slow[..], &["--symbols", "100000", "--instances", instances]].concat();
        number(part(&sim(&args), "isi"), "measured_db")
    };
    close(run("1"), run("100"), 0.05);
}

#[test]
fn packings_take_what_their_bytes_take() {
    // A slow link, so that bytes are all the time there is; of 64 rows and 32 columns, so that ways in
    // and out differ. Bytes of a symbol, in and out: 4 for each real number.
    let [rows, columns, symbols] = [64_u32, 32, 1000];
    let numbers = |packing| match packing {
        "single" => rows + columns,
        "rows" => rows + 2 * columns,
        "conjugate" => 2 * rows + columns,
        // Complex, and two vectors of tokens.
        _ => 2 * (rows + columns),
    };
    let fixed = ["--terms", "none", "--set", "host.bytes_per_s=1e8"];
    let fixed = [&fixed[..], &["--set", "array.outputs=32", "--symbols", "1000"]].concat();
    let conversions = |report: &Value, key: &str| number(&report["energy_j_by_component"], key);
    for chip in ["ref-64-eo", "ref-64-os"] {
        let run = |packing| sim(&[&fixed[..], &["--chip", chip, "--packing", packing]].concat());
        let conjugate = run("conjugate");
        for packing in ["single", "tokens", "rows", "conjugate", "complex"] {
            let report = run(packing);
            let ratio = |value: fn(&Value) -> f64| value(&report) / value(&conjugate);
            let bytes = f64::from(numbers(packing)) / f64::from(numbers("conjugate"));
            close(ratio(|report| number(report, "cycles")), bytes, 0.01);
            let link = "host link";
            close(conversions(&report, link) / conversions(&conjugate, link), bytes, 1e-9);
            // Each input of a row is converted.
            let halves = |key| conversions(&report, key) / conversions(&conjugate, key);
            let drives = if matches!(packing, "single" | "rows") { 0.5 } else { 1.0 };
            close(halves("input DAC"), drives, 1e-9);
            // Of the other dataflow the weights are sent again for every 64 symbols.
            let tile = if chip == "ref-64-os" { f64::from(16 * 2 * rows * columns) } else { 0.0 };
            let inputs = f64::from(2 * rows * symbols);
            let sent = if packing == "single" { 0.5 * tile } else { tile };
            let modulators = (drives * inputs + sent) / (inputs + tile);
            close(halves("modulator"), modulators, 1e-9);
            let parts = report["energy_j_by_component"].as_object().expect("parts").values();
            let sum: f64 = parts.map(|joules| joules.as_f64().expect("joules")).sum();
            close(sum / number(&report["energy_j"], "system"), 1.0, 1e-9);
        }
    }
    assert_eq!(sim(&fixed)["useful_macs"], 2 * rows * columns * symbols);
}

#[test]
fn a_read_out_that_is_asked_for_is_never_changed() {
    for packing in ["tokens", "rows", "complex"] {
        let args = ["-q", "--packing", packing, "--symbols", "8", "--terms", "none"];
        let asked = [&args[..], &["--set", "receiver.readout=i"]].concat();
        refused(&asked, &["receiver.readout=i", packing, "both quadratures"]);
        let report = sim(&args);
        assert_eq!(report["readout"], "iq");
        let warnings = report["warnings"].to_string();
        assert!(warnings.contains(packing) && warnings.contains("receiver.readout"), "{warnings}");
        let asked = sim(&[&args[..], &["--set", "receiver.readout=iq"]].concat());
        assert_eq!(asked["warnings"], Value::Array(Vec::new()));
    }
    let real = ["--packing", "single", "--set", "receiver.readout=i", "--symbols", "8"];
    assert_eq!(sim(&real)["readout"], "i");
}

#[test]
fn the_other_dataflow_is_measured_like_any_chip() {
    let report = sim(&["--chip", "ref-64-os"]);
    close(number(&report, "snr_rms_db"), number(&report, "closed_form_snr_rms_db"), 0.3);
    assert_eq!(report["warnings"], Value::Array(Vec::new()));
    let packings = ["single", "tokens", "rows", "conjugate", "complex"];
    for packing in packings {
        let args = ["--chip", "ref-64-os", "--packing", packing, "--symbols", "200"];
        let report = sim(&[&args[..], &["--terms", "none"]].concat());
        assert_eq!(report["codes_off"], 0, "{packing}");
    }
    let output = litecore(&["sim", "--chip", "ref-64-os", "--set", "array.cell_type=ring_pair"]);
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(message.contains("array.cell_type: an output_stationary array"), "{message}");
}

#[test]
fn pictures_are_drawn_where_asked() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("new").join("pictures");
    let out = out.to_str().expect("a plain path");
    let report = sim(&["--chip", "tiny-4", "--symbols", "100", "--out", out]);
    let plots = report["plots"].as_array().expect("a list");
    assert_eq!(plots.len(), 3);
    for plot in plots {
        let text = fs::read_to_string(plot.as_str().expect("a path")).expect("a picture");
        assert!(text.starts_with("<svg") && text.trim_end().ends_with("</svg>"));
    }
}

#[test]
fn help_lists_every_term_with_its_meaning() {
    let help = litecore(&["sim", "--help"]);
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    let flat = help.split_whitespace().collect::<Vec<_>>().join(" ");
    for range in ["1 to 10000000", "1 to 100000 ", "shifts there are depends on the chip"] {
        assert!(flat.contains(range), "no `{range}` in: {help}");
    }
    for term in litecore_sim::Term::ALL {
        let name = term.name();
        let line = help.lines().find(|line| line.trim_start().starts_with(&format!("{name} ")));
        let line = line.unwrap_or_else(|| panic!("no {name} in: {help}"));
        let words = ["static", "dynamic", "deterministic"];
        assert!(words.iter().any(|word| line.contains(word)), "{line}");
        assert!(flat.contains(&format!(" {name} {} ", term.help())), "{name} in: {help}");
    }
}

#[test]
fn what_drifts_is_as_old_as_asked() {
    let drift = |args: &[&str]| {
        let report = sim(&[&["--terms", "drift", "--set", "cell.drift_rad=0.02"], args].concat());
        let part = part(&report, "drift").clone();
        close(number(&part, "measured_db"), number(&part, "closed_form_db"), 0.5);
        number(&part, "measured_db")
    };
    // One time of the drift where nothing is said: 1 - e^-2 of what it comes to.
    let usual = drift(&[]);
    close(usual, drift(&["--age", "600"]), 1e-9);
    close(drift(&["--age", "60000"]), usual + 10.0 * pxfm::f_log10(0.8647), 0.3);
    // A tenth of that time: 1 - e^-0.25, as a step of the walk is a sixteenth.
    close(drift(&["--age", "75"]), usual + 10.0 * pxfm::f_log10(0.8647 / 0.2212), 0.3);
    // A slower drift is less old by the same seconds.
    let slower = drift(&["--set", "cell.drift_time_s=4800"]);
    close(slower, drift(&["--age", "75"]), 0.01);
    let none = sim(&["--terms", "drift", "--age", "0"]);
    assert_eq!(none["codes_off"], 0);
    refused(&["--age=-1"], &["cell.age_s.value", "zero or more"]);
}

#[test]
fn bad_flags_are_refused_with_what_to_do() {
    refused(&["--terms", "shot,rain"], &["rain", "cell_phase", "crosstalk"]);
    refused(&["--terms", ""], &["all, none"]);
    refused(&["--packing", "pairs"], &["pairs", "conjugate"]);
    refused(&["--data", "gaussian:0"], &["gaussian:0", "gaussian:3"]);
    refused(&["--data", "gaussian:nan"], &["uniform"]);
    refused(&["--data", "normal"], &["normal", "uniform"]);
    refused(&["--symbols", "0"], &["0", "1.."]);
    refused(&["--instances", "0"], &["0", "1.."]);
    refused(&["--seed", "x"], &["seed"]);
    refused(&["--shift", "40"], &["--shift 40", "shifts"]);
    refused(&["--chip", "nothing"], &["nothing", "ref-64-eo"]);
    refused(&["--set", "laser.power_w"], &["path=value"]);
}
