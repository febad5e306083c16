//! `litecore chip check` as a user types it.

use serde_json::Value;
use std::fs;
use std::process::{Command, Output};

fn check(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_litecore"))
        .args(["chip", "check"])
        .args(args)
        .output()
        .expect("the program starts")
}

fn json(args: &[&str]) -> Value {
    let output = check(&[args, &["--json"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

#[test]
fn the_specified_card_is_reported_with_its_contradictions() {
    let report = json(&["litecore-datacenter"]);
    assert_eq!(report["chip"], "litecore-datacenter");
    let photons = report["derived"]["launched_photons_per_cmac"].as_f64().expect("a number");
    assert!((photons - 14.9).abs() < 0.1, "{photons}");
    let findings = report["findings"].as_array().expect("a list");
    let rate = findings.iter().find(|f| f["claim"] == "cmacs_per_s").expect("found");
    assert_eq!(rate["severity"], "contradiction");
    assert!((rate["ratio"].as_f64().expect("a number") / 1000.0 - 1.0).abs() < 0.01, "{rate}");
    for key in ["claim", "unit", "explanation", "source"] {
        assert!(findings.iter().all(|finding| finding[key].is_string()), "{key}");
    }
    for key in ["derived", "ratio"] {
        assert!(findings.iter().all(|finding| finding[key].is_number()), "{key}");
    }
    // What is compared is compared either with what is stated or with a limit that says so.
    for finding in findings {
        let stated = finding["claimed"].is_number();
        assert!(!(stated && finding["limit"].is_number()), "{finding}");
        let compared = stated || finding["limit"].is_number();
        assert!(compared || finding["severity"] == "note", "{finding}");
    }
    let heat = findings.iter().find(|f| f["claim"] == "cell.hold_power_w by array.pitch_um");
    let heat = heat.expect("found");
    assert!(heat["claimed"].is_null() && heat["limit"] == 100.0, "{heat}");
    assert_ne!(heat["source"], "the description itself");
    // Findings, even contradictions, are a result and not a failure.
    let text = check(&["litecore-datacenter"]);
    assert!(text.status.success());
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains("cell.hold_power_w by array.pitch_um: limit 100 W/cm², "), "{text}");
    let order = ["photons per cMAC", "contradiction(s)", "contradiction  snr_db", "note  "];
    let places: Vec<usize> = order.iter().map(|w| text.find(w).expect("printed")).collect();
    assert!(places.is_sorted(), "{places:?}");
}

#[test]
fn the_default_chip_has_no_contradiction_until_it_is_changed() {
    let contradictions = |args: &[&str]| {
        let report = json(args);
        let findings = report["findings"].as_array().expect("a list").clone();
        findings.into_iter().filter(|f| f["severity"] == "contradiction").count()
    };
    assert_eq!(contradictions(&["ref-64-eo"]), 0);
    // 0.1 W in each of its cells.
    assert!(contradictions(&["ref-64-eo", "--set", "cell.hold_power_w=0.1"]) > 0);
}

#[test]
fn a_claim_of_ones_own_is_compared_and_a_bad_one_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("mine.toml");
    let text = include_str!("../../chips/ref-64-eo.toml");
    let path = file.to_str().expect("a plain path");
    let claim =
        |line: &str| fs::write(&file, format!("{text}\n[claims]\n{line}\n")).expect("written");

    claim("power_w = { value = 0.5, source = \"a leaflet\" }");
    let report = json(&[path]);
    let worst = &report["findings"][0];
    assert_eq!((&worst["claim"], &worst["source"]), (&"power_w".into(), &"a leaflet".into()));
    assert_eq!(worst["severity"], "contradiction");

    claim("power_kw = { value = 0.5, source = \"a leaflet\" }");
    let refused = check(&[path]);
    assert!(!refused.status.success());
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(message.contains("claims.power_kw: unknown claim"), "{message}");
}
