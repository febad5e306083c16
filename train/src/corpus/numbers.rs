//! Correct sums and correct unit conversions.

use super::draws::Draws;

/// Power ratio of a level in decibels: 10^(dB / 10).
pub(super) fn ratio_from_db(db: f64) -> f64 {
    pxfm::f_exp10(db / 10.0)
}

/// Level in decibels of a power ratio: 10 log10(ratio).
pub(super) fn db_from_ratio(ratio: f64) -> f64 {
    10.0 * pxfm::f_log10(ratio)
}

/// Square root; IEEE, so equal everywhere.
pub(super) fn root(value: f64) -> f64 {
    value.sqrt()
}

/// Writes a positive number with about three significant digits.
pub(super) fn short(value: f64) -> String {
    if value >= 100.0 {
        format!("{value:.0}")
    } else if value >= 10.0 {
        format!("{value:.1}")
    } else if value >= 1.0 {
        format!("{value:.2}")
    } else if value >= 0.1 {
        format!("{value:.3}")
    } else if value >= 0.01 {
        format!("{value:.4}")
    } else {
        format!("{value:.6}")
    }
}

/// One correct line of arithmetic, such as `37 + 48 = 85`.
pub(super) fn arithmetic(draws: &mut Draws) -> String {
    match draws.below(8) {
        0..=2 => {
            let (a, b) = (draws.below(100), draws.below(100));
            format!("{a} + {b} = {}", a + b)
        }
        3 | 4 => {
            let (a, b) = (draws.below(100), draws.below(100));
            let (high, low) = (a.max(b), a.min(b));
            format!("{high} - {low} = {}", high - low)
        }
        5 => {
            let (a, b) = (draws.between(2, 12), draws.between(2, 20));
            format!("{a} * {b} = {}", a * b)
        }
        6 => {
            let (a, b, c) = (draws.below(20), draws.below(20), draws.below(20));
            format!("{a} + {b} + {c} = {}", a + b + c)
        }
        _ => {
            let (a, b) = (draws.below(64), draws.below(64));
            let sign = match a.cmp(&b) {
                std::cmp::Ordering::Less => '<',
                std::cmp::Ordering::Equal => '=',
                std::cmp::Ordering::Greater => '>',
            };
            format!("{a} {sign} {b}")
        }
    }
}

/// One correct unit conversion, such as `3.0 dB = 1.995 in power`.
pub(super) fn conversion(draws: &mut Draws) -> String {
    match draws.below(9) {
        0 => {
            let db = draws.real(0, 30, 10);
            format!("{db:.1} dB = {} in power", short(ratio_from_db(db)))
        }
        1 => {
            let db = draws.real(0, 20, 10);
            format!("-{db:.1} dB = {} in power", short(ratio_from_db(-db)))
        }
        2 => {
            let dbm = draws.real(0, 20, 10);
            format!("{dbm:.1} dBm = {} mW", short(ratio_from_db(dbm)))
        }
        3 => {
            let fj = draws.between(1, 99_999);
            format!("{fj} fJ = {:.3} pJ", fj as f64 / 1000.0)
        }
        4 => {
            let ghz = draws.real(1, 40, 4);
            format!("{ghz:.2} GHz = {} ps per period", short(1000.0 / ghz))
        }
        5 => {
            let nm = draws.between(1200, 1650);
            format!("{nm} nm = {:.2} THz", 299_792.458 / nm as f64)
        }
        6 => {
            let degrees = draws.between(0, 720);
            let (whole, rest) = (degrees / 2, degrees % 2);
            let radians = degrees as f64 / 2.0 * std::f64::consts::PI / 180.0;
            format!("{whole}.{} degrees = {radians:.4} rad", rest * 5)
        }
        7 => {
            let kib = draws.between(1, 512);
            format!("{kib} KiB = {} bytes", kib * 1024)
        }
        _ => {
            let value = draws.between(16, 4095);
            format!("0x{value:03x} = {value}")
        }
    }
}
