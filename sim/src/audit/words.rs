//! Numbers as they stand in an explanation.

/// `value` with three significant digits and an SI prefix; plain scientific where none fits.
pub fn amount(value: f64, unit: &str) -> String {
    const PREFIXES: [(f64, &str); 12] = [
        (1e15, "P"),
        (1e12, "T"),
        (1e9, "G"),
        (1e6, "M"),
        (1e3, "k"),
        (1.0, ""),
        (1e-3, "m"),
        (1e-6, "µ"),
        (1e-9, "n"),
        (1e-12, "p"),
        (1e-15, "f"),
        (1e-18, "a"),
    ];
    let prefix = PREFIXES.into_iter().find(|(scale, _)| value.abs() >= 0.9995 * scale);
    match prefix {
        _ if value == 0.0 => format!("0 {unit}").trim_end().to_owned(),
        Some((scale, prefix)) if value.abs() < 1e18 => {
            format!("{} {prefix}{unit}", digits(value / scale)).trim_end().to_owned()
        }
        _ => format!("{value:.2e} {unit}").trim_end().to_owned(),
    }
}

/// `value` with three significant digits, without a unit.
pub(super) fn digits(value: f64) -> String {
    let size = value.abs();
    if size >= 99.95 {
        format!("{value:.0}")
    } else if size >= 9.995 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_have_a_prefix() {
        for (value, unit, text) in [
            (1.34e3, "W", "1.34 kW"),
            (6.71e17, "cMAC/s", "671 PcMAC/s"),
            (0.0, "W", "0 W"),
            (-5.3, "dB", "-5.30 dB"),
            (2.2e-17, "J", "22.0 aJ"),
            (3.0e21, "Hz", "3.00e21 Hz"),
            (2.5, "", "2.50"),
        ] {
            assert_eq!(amount(value, unit), text);
        }
    }
}
