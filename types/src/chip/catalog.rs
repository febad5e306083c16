use super::ChipDescription;

/// The chips that ship with the project, default first.
pub const BUILTIN_NAMES: [&str; 2] = ["ref-64-eo", "tiny-4"];

/// The TOML text of a shipped chip.
pub fn builtin_text(name: &str) -> Option<&'static str> {
    match name {
        "ref-64-eo" => Some(include_str!("../../../chips/ref-64-eo.toml")),
        "tiny-4" => Some(include_str!("../../../chips/tiny-4.toml")),
        _ => None,
    }
}

/// A shipped chip by name.
///
/// Panics: never; that every shipped file is valid is a test.
pub fn builtin(name: &str) -> Option<ChipDescription> {
    let text = builtin_text(name)?;
    ChipDescription::from_toml(text, &format!("chips/{name}.toml")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_chip_is_valid_and_bears_its_name() {
        for name in BUILTIN_NAMES {
            let text = builtin_text(name).expect("listed");
            let chip = ChipDescription::from_toml(text, name).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(chip.name, name);
        }
    }
}
