use super::ChipDescription;

/// The chips that ship with the project, default first.
pub const BUILTIN_NAMES: [&str; 8] = [
    "ref-64-eo",
    "ref-64-to",
    "ref-64-os",
    "litecore-edge",
    "litecore-datacenter",
    "litecore-enterprise",
    "litecore-wafer",
    "tiny-4",
];

/// The TOML text of a shipped chip.
pub fn builtin_text(name: &str) -> Option<&'static str> {
    match name {
        "ref-64-eo" => Some(include_str!("../../../chips/ref-64-eo.toml")),
        "ref-64-to" => Some(include_str!("../../../chips/ref-64-to.toml")),
        "ref-64-os" => Some(include_str!("../../../chips/ref-64-os.toml")),
        "litecore-edge" => Some(include_str!("../../../chips/litecore-edge.toml")),
        "litecore-datacenter" => Some(include_str!("../../../chips/litecore-datacenter.toml")),
        "litecore-enterprise" => Some(include_str!("../../../chips/litecore-enterprise.toml")),
        "litecore-wafer" => Some(include_str!("../../../chips/litecore-wafer.toml")),
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

    #[test]
    fn every_file_among_the_chips_ships() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../chips");
        let mut names: Vec<String> = std::fs::read_dir(folder)
            .expect("the folder")
            .map(|entry| entry.expect("an entry").path())
            .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
            .collect();
        names.sort_unstable();
        let mut shipped = BUILTIN_NAMES.to_vec();
        shipped.sort_unstable();
        assert_eq!(names, shipped);
    }

    #[test]
    fn the_claimed_chip_claims_and_the_buildable_ones_do_not() {
        let chip = |name| builtin(name).expect("shipped");
        assert!(chip("litecore-datacenter").claims.len() > 30);
        assert!(chip("ref-64-eo").claims.is_empty() && chip("ref-64-to").claims.is_empty());
    }
}
