use crate::{SimDevice, SimOptions, Terms};
use litecore_hal::DeviceUri;
use litecore_types::chip::{BUILTIN_NAMES, ChipDescription, ChipError, builtin};
use std::fs;
use std::io;
use std::path::Path;

/// Why no simulator was opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The address is not one of the simulator.
    #[error("`{uri}` is not a simulator: this opens sim:CHIP only")]
    NotASimulator {
        /// The address.
        uri: DeviceUri,
    },
    /// No chip of this name is shipped, and no such file exists.
    #[error(
        "there is no chip `{chip}`: use one of {}, or the path of a chip description",
        BUILTIN_NAMES.join(", ")
    )]
    UnknownChip {
        /// What was asked for.
        chip: String,
    },
    /// The chip description cannot be read.
    #[error("cannot read the chip description {path}: {error}")]
    Read {
        /// Which file.
        path: String,
        /// What the system says.
        #[source]
        error: io::Error,
    },
    /// The chip description is wrong.
    #[error(transparent)]
    Chip(#[from] ChipError),
}

/// Opens the simulator that an address names: a shipped chip, or a chip description in a file.
///
/// Errors: [`OpenError`].
pub fn open(uri: &DeviceUri) -> Result<SimDevice, OpenError> {
    let DeviceUri::Sim { chip, seed, noise } = uri else {
        return Err(OpenError::NotASimulator { uri: uri.clone() });
    };
    let terms = if *noise { Terms::all() } else { Terms::none() };
    let options = SimOptions { seed: *seed, terms, record_timeline: false };
    Ok(SimDevice::new(find_chip(chip)?, options))
}

fn find_chip(name: &str) -> Result<ChipDescription, OpenError> {
    if let Some(chip) = builtin(name) {
        return Ok(chip);
    }
    let path = Path::new(name);
    // A plain word is a name; what looks like a path is one, and its absence is said as such.
    let is_path = path.components().count() > 1 || path.extension().is_some_and(|e| e == "toml");
    if !is_path && !path.exists() {
        return Err(OpenError::UnknownChip { chip: name.to_owned() });
    }
    let text = fs::read_to_string(path)
        .map_err(|error| OpenError::Read { path: name.to_owned(), error })?;
    Ok(ChipDescription::from_toml(&text, name)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use litecore_hal::Device;
    use litecore_types::Seed;

    fn open_text(uri: &str) -> Result<SimDevice, OpenError> {
        open(&uri.parse().unwrap())
    }

    #[test]
    fn a_shipped_chip_opens_by_name_with_seed_and_noise() {
        let device = open_text("sim:tiny-4?seed=9").unwrap();
        assert_eq!(device.capabilities().chip, "tiny-4");
        assert_eq!(device.capabilities().serial, "sim-9");
        assert!(device.capabilities().simulated);
        assert_eq!(device.options().terms, Terms::all());
        let device = open_text("sim:ref-64-eo?noise=off").unwrap();
        assert_eq!(device.options().terms, Terms::none());
        assert_eq!(device.options().seed, Seed(0));
    }

    #[test]
    fn a_chip_description_opens_by_path() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../chips/tiny-4.toml");
        let device = open_text(&format!("sim:{path}")).unwrap();
        assert_eq!(device.chip().name, "tiny-4");
    }

    #[test]
    fn each_failure_says_what_to_do() {
        let words = |uri| open_text(uri).err().unwrap().to_string();
        assert_eq!(
            words("sim:big-4096"),
            format!(
                "there is no chip `big-4096`: use one of {}, or the path of a chip description",
                BUILTIN_NAMES.join(", ")
            )
        );
        assert!(
            words("sim:no/such/chip.toml").starts_with("cannot read the chip description no/such")
        );
        let not_a_chip = concat!("sim:", env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        assert!(words(not_a_chip).contains("array"), "{}", words(not_a_chip));
        assert!(words("serial:/dev/ttyUSB0").contains("is not a simulator"));
    }
}
