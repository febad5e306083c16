//! Machine text: bench logs, CSV tables and chip snippets in TOML.

use std::fmt::Write as _;

use super::draws::Draws;

const CHIPS: &[&str] = &["ref-64-eo", "ref-64-to", "tiny-4", "litecore-datacenter"];
const SOURCES: &[&str] =
    &["laser", "stage", "adc", "dac", "heater", "link", "detector", "firmware"];

fn time_text(seconds_total: u64, millis: u64) -> String {
    let (hours, minutes, seconds) =
        (seconds_total / 3600 % 24, seconds_total / 60 % 60, seconds_total % 60);
    format!("{hours:02}:{minutes:02}:{seconds:02}.{millis:03}")
}

/// The heading of a bench log: date, chip and serial number.
pub(super) fn log_heading(draws: &mut Draws) -> String {
    format!(
        "[log] 20{}-{:02}-{:02} chip {} #{:04}",
        draws.between(26, 39),
        draws.between(1, 12),
        draws.between(1, 28),
        draws.pick(CHIPS),
        draws.between(1, 9999)
    )
}

/// One line of a bench log; the clock only moves forward within a log.
pub(super) fn log_line(draws: &mut Draws, clock: &mut u64) -> String {
    *clock += draws.between(1, 45);
    let time = time_text(*clock, draws.below(1000));
    let body = match draws.below(7) {
        0 => format!("INFO {} temperature {:.2} C", draws.pick(SOURCES), draws.real(18, 40, 100)),
        1 => format!(
            "INFO laser power {:.1} mW current {:.1} mA",
            draws.real(5, 500, 10),
            draws.real(40, 300, 10)
        ),
        2 => format!(
            "READ ch {:02} code {:+} sigma {:.2}",
            draws.below(64),
            draws.below(255).cast_signed() - 127,
            draws.real(0, 3, 100)
        ),
        3 => format!(
            "CAL row {:02} phase {:.3} rad residual {:.1} mrad",
            draws.below(64),
            draws.real(0, 6, 1000),
            draws.real(0, 30, 10)
        ),
        4 => format!(
            "WARN {} {} retry {}",
            draws.pick(SOURCES),
            draws.pick(&["timeout", "drift", "saturated", "unlocked", "crc mismatch"]),
            draws.between(1, 5)
        ),
        5 => format!(
            "LOAD bank {} tile {} in {:.1} us",
            draws.below(2),
            draws.below(1024),
            draws.real(1, 150, 10)
        ),
        _ => format!(
            "RUN symbols {} cycles {} snr {:.1} dB",
            draws.between(1, 4096),
            draws.between(100, 99999),
            draws.real(15, 45, 10)
        ),
    };
    format!("{time} {body}")
}

/// The heading of a CSV table: a title line and the column names, and the kind of its rows.
pub(super) fn table_heading(draws: &mut Draws) -> (String, u64) {
    let kind = draws.below(4);
    let names = match kind {
        0 => "row,column,phase_rad,amplitude,residual_mrad",
        1 => "symbols,cycles,energy_pj,snr_db",
        2 => "step,loss,learning_rate,tokens",
        _ => "expert,tier,group,tokens,share_percent",
    };
    (format!("table {:03}.csv\n{names}", draws.below(1000)), kind)
}

/// One row of a CSV table of the given kind; `index` counts the rows.
pub(super) fn table_row(draws: &mut Draws, kind: u64, index: u64) -> String {
    match kind {
        0 => format!(
            "{index},{},{:.3},{:.3},{:.1}",
            draws.below(64),
            draws.real(0, 6, 1000),
            draws.real(0, 1, 1000),
            draws.real(0, 30, 10)
        ),
        1 => {
            let symbols = 1_u64 << index.min(12);
            format!(
                "{symbols},{},{:.1},{:.1}",
                symbols * 10 + draws.between(5, 60),
                symbols as f64 * draws.real(20, 80, 10),
                draws.real(20, 40, 10)
            )
        }
        2 => format!(
            "{},{:.4},{:.6},{}",
            index * 100,
            5.5 / (1.0 + index as f64) + draws.real(0, 1, 1000) / 4.0,
            draws.real(1, 30, 100) / 10_000.0,
            index * 409_600
        ),
        _ => {
            let tokens = draws.between(10, 4096);
            format!(
                "{},{},{},{tokens},{:.2}",
                draws.below(4),
                draws.pick(&["small", "medium", "large"]),
                draws.below(2),
                tokens as f64 / 40.96
            )
        }
    }
}

/// A snippet of a chip description in TOML, with units in the keys.
pub(super) fn chip_snippet(draws: &mut Draws) -> String {
    let mut text = String::new();
    let side = draws.pick(&["4", "8", "16", "32", "64", "128"]);
    let _ = writeln!(
        text,
        "[chip]\nname = \"{}-{}\"",
        draws.pick(&["ref", "lab", "test", "demo", "array"]),
        draws.between(1, 999)
    );
    let _ = writeln!(
        text,
        "rows = {side}\ncolumns = {side}\nsymbol_rate_ghz = {:.2}",
        draws.real(1, 10, 4)
    );
    for _ in 0..draws.between(1, 4) {
        match draws.below(6) {
            0 => {
                let _ = writeln!(
                    text,
                    "\n[laser]\npower_mw = {}\nlinewidth_khz = {}\nrin_db_per_hz = -{}",
                    draws.between(5, 600),
                    draws.between(1, 500),
                    draws.between(140, 165)
                );
            }
            1 => {
                let _ = writeln!(
                    text,
                    "\n[adc]\nbits = {}\nenob = {:.1}\nenergy_fj = {}",
                    draws.between(6, 12),
                    draws.real(5, 9, 10),
                    draws.between(50, 6400)
                );
            }
            2 => {
                let _ = writeln!(
                    text,
                    "\n[modulator]\nv_pi_v = {:.2}\nextinction_db = {}\nloss_db = {:.2}",
                    draws.real(1, 6, 100),
                    draws.between(10, 30),
                    draws.real(0, 5, 100)
                );
            }
            3 => {
                let _ = writeln!(
                    text,
                    "\n[heater]\npower_pi_mw = {:.1}\ntime_constant_us = {:.1}\npitch_um = {}",
                    draws.real(1, 25, 10),
                    draws.real(2, 150, 10),
                    draws.between(10, 80)
                );
            }
            4 => {
                let _ = writeln!(
                    text,
                    "\n[detector]\nresponsivity_a_per_w = {:.2}\ndark_na = {}\nbandwidth_ghz = {}",
                    draws.real(0, 1, 100),
                    draws.between(1, 60),
                    draws.between(5, 60)
                );
            }
            _ => {
                let _ = writeln!(
                    text,
                    "\n[drift]\nsigma_mrad = {:.1}\ntime_s = {}\nseed = 0x{:08x}",
                    draws.real(1, 20, 10),
                    draws.between(60, 3600),
                    draws.next() >> 32
                );
            }
        }
    }
    text.truncate(text.trim_end().len());
    text
}
