use crate::dynamic::Draws;
use crate::{ParseTermsError, SimDevice, SimOptions, Terms};
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
    /// The address names terms that there are not.
    #[error(transparent)]
    Terms(#[from] ParseTermsError),
    /// The chip description is wrong.
    #[error(transparent)]
    Chip(#[from] ChipError),
}

/// Opens the simulator that an address names: a shipped chip, or a chip description in a file.
///
/// Errors: [`OpenError`].
pub fn open(uri: &DeviceUri) -> Result<SimDevice, OpenError> {
    let DeviceUri::Sim { chip, settings } = uri else {
        return Err(OpenError::NotASimulator { uri: uri.clone() });
    };
    let terms = match &settings.terms {
        _ if !settings.noise => Terms::none(),
        None => Terms::all(),
        Some(terms) => terms.parse()?,
    };
    let options = SimOptions { seed: settings.seed, terms, record_timeline: false };
    let draws = if settings.draws_per_term { Draws::PerTerm } else { Draws::Merged };
    let mut chip = find_chip(chip)?;
    if let Some(age_s) = settings.age_s {
        // Closed forms of the opened chip are then of this age as well.
        chip.cell.age_s.value = age_s as f64;
        "set by the user".clone_into(&mut chip.cell.age_s.source);
    }
    Ok(SimDevice::new(chip, options).with_draws(draws))
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
    use litecore_hal::{Device, RunRequest, SymbolTag};
    use litecore_types::Seed;
    use litecore_types::program::VerifiedProgram;
    use std::sync::Arc;

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
        let device = open_text("sim:ref-64-eo?terms=drift,adc&age=60").unwrap();
        assert_eq!(device.options().terms.to_string(), "adc,drift");
        assert!((device.chip().cell.age_s.value - 60.0).abs() < 1e-12);
    }

    /// What an address says shows in what the device computes.
    #[test]
    fn an_address_chooses_age_terms_and_draws() {
        let codes = |uri: &str| {
            let mut device = open_text(uri).unwrap();
            let program: litecore_types::program::Program =
                include_str!("../../compiler/tests/golden/linear-3x10.program").parse().unwrap();
            let program = VerifiedProgram::new(program, device.chip()).unwrap();
            let inputs: Vec<f32> = (0..8 * program.input_len()).map(|i| (i % 13) as f32).collect();
            let image = device.load(Arc::new(program)).unwrap();
            let tags: Vec<SymbolTag> = (0..8).map(SymbolTag).collect();
            device.run(&RunRequest { image, tags: &tags, inputs: &inputs }).unwrap().outputs
        };
        let silent = codes("sim:tiny-4?noise=off");
        assert_eq!(codes("sim:tiny-4?terms=none"), silent);
        assert_eq!(codes("sim:tiny-4?terms=drift&age=0"), silent);
        let all = codes("sim:tiny-4?seed=1");
        assert_ne!(all, silent);
        assert_eq!(codes("sim:tiny-4?seed=1&draws=merged&terms=all&age=600"), all);
        assert_ne!(codes("sim:tiny-4?seed=1&draws=per-term"), all);
        assert_ne!(codes("sim:tiny-4?seed=1&terms=shot"), all);
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
        assert!(words("sim:tiny-4?terms=rain").starts_with("`rain` is no noise term"));
        assert!(words("serial:/dev/ttyUSB0").contains("is not a simulator"));
    }
}
