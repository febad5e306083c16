//! What a chip's makers claim, beside what its description says: the optional section `[claims]`.
//!
//! A claim is no input of any model. It is only ever compared with what follows from the rest of
//! the description.

use super::ChipIssue;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use toml::{Table, Value};

/// One claimed number.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Claim {
    /// The number, in the unit of its key.
    pub value: f64,
    /// Where it is claimed.
    pub source: String,
}

/// What can be claimed. The key in the file is the name in snake case, its unit included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ClaimKey {
    /// Complex multiply-accumulates per second of the whole card.
    CmacsPerS,
    /// The same, per square millimeter of the die.
    CmacsPerSPerMm2,
    /// Energy of one complex multiply-accumulate, everything but the weight fetch included.
    EnergyJPerCmac,
    /// Power of the whole card.
    PowerW,
    /// Electrical power of the signal lasers.
    LaserPowerW,
    /// Power of the input converters, drivers and modulators.
    ModulatorPowerW,
    /// Power of the photodiodes and their amplifiers.
    ReceiverPowerW,
    /// Power of the electronics that hold the output converters.
    ElectronicsPowerW,
    /// Power that holds the weights.
    HoldPowerW,
    /// Electrical energy behind one launched photon.
    PhotonEnergyJ,
    /// Signal-to-noise ratio of an output.
    SnrDb,
    /// Precision of an output in bits.
    EffectiveBits,
    /// Loss from laser to detector.
    PathLossDb,
    /// Time of one matrix-vector product.
    MvmLatencyS,
    /// Time light takes per meter of waveguide.
    PropagationSPerM,
    /// Time to write new weights into a whole array.
    WeightUpdateS,
    /// Rate of the serial link that also writes weights.
    ManagementBitsPerS,
    /// Bits on that link for one weight code, addressing included.
    ManagementBitsPerCode,
    /// Most wavelengths the source comb can have.
    CombLines,
    /// Distance between neighboring wavelengths.
    ChannelSpacingHz,
    /// Short end of the usable band.
    BandLowNm,
    /// Long end of the usable band.
    BandHighNm,
    /// Wavelengths that one ring pair weights.
    WavelengthsPerRingPair,
    /// Least distance between ring centers by the layout rules.
    RingSpacingUm,
    /// Bytes of registers that hold the ring settings.
    RingRegisterBytes,
    /// What a neighbor sees of a heater's drive, in decibels of power.
    ThermalCrosstalkDb,
    /// Cell pitch as stated elsewhere.
    CellPitchUm,
    /// Short side of the die.
    DieWidthMm,
    /// Long side of the die.
    DieHeightMm,
    /// Voltage times length of a phase shifter for half a turn.
    PhaseShifterVM,
    /// Voltage the drivers have.
    DriveV,
    /// Loss of the waveguide.
    WaveguideLossDbPerCm,
    /// The same loss as an absorption coefficient.
    WaveguideAbsorptionPerCm,
    /// Time of one routing decision.
    RoutingTimeS,
    /// Time of one layer.
    LayerTimeS,
    /// Layers per routing decision.
    Layers,
    /// Share of the time that goes into routing.
    RoutingOverhead,
}

impl ClaimKey {
    /// Every key, in the order of the enumeration.
    pub const ALL: [Self; 37] = [
        Self::CmacsPerS,
        Self::CmacsPerSPerMm2,
        Self::EnergyJPerCmac,
        Self::PowerW,
        Self::LaserPowerW,
        Self::ModulatorPowerW,
        Self::ReceiverPowerW,
        Self::ElectronicsPowerW,
        Self::HoldPowerW,
        Self::PhotonEnergyJ,
        Self::SnrDb,
        Self::EffectiveBits,
        Self::PathLossDb,
        Self::MvmLatencyS,
        Self::PropagationSPerM,
        Self::WeightUpdateS,
        Self::ManagementBitsPerS,
        Self::ManagementBitsPerCode,
        Self::CombLines,
        Self::ChannelSpacingHz,
        Self::BandLowNm,
        Self::BandHighNm,
        Self::WavelengthsPerRingPair,
        Self::RingSpacingUm,
        Self::RingRegisterBytes,
        Self::ThermalCrosstalkDb,
        Self::CellPitchUm,
        Self::DieWidthMm,
        Self::DieHeightMm,
        Self::PhaseShifterVM,
        Self::DriveV,
        Self::WaveguideLossDbPerCm,
        Self::WaveguideAbsorptionPerCm,
        Self::RoutingTimeS,
        Self::LayerTimeS,
        Self::Layers,
        Self::RoutingOverhead,
    ];

    /// The key in the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::CmacsPerS => "cmacs_per_s",
            Self::CmacsPerSPerMm2 => "cmacs_per_s_per_mm2",
            Self::EnergyJPerCmac => "energy_j_per_cmac",
            Self::PowerW => "power_w",
            Self::LaserPowerW => "laser_power_w",
            Self::ModulatorPowerW => "modulator_power_w",
            Self::ReceiverPowerW => "receiver_power_w",
            Self::ElectronicsPowerW => "electronics_power_w",
            Self::HoldPowerW => "hold_power_w",
            Self::PhotonEnergyJ => "photon_energy_j",
            Self::SnrDb => "snr_db",
            Self::EffectiveBits => "effective_bits",
            Self::PathLossDb => "path_loss_db",
            Self::MvmLatencyS => "mvm_latency_s",
            Self::PropagationSPerM => "propagation_s_per_m",
            Self::WeightUpdateS => "weight_update_s",
            Self::ManagementBitsPerS => "management_bits_per_s",
            Self::ManagementBitsPerCode => "management_bits_per_code",
            Self::CombLines => "comb_lines",
            Self::ChannelSpacingHz => "channel_spacing_hz",
            Self::BandLowNm => "band_low_nm",
            Self::BandHighNm => "band_high_nm",
            Self::WavelengthsPerRingPair => "wavelengths_per_ring_pair",
            Self::RingSpacingUm => "ring_spacing_um",
            Self::RingRegisterBytes => "ring_register_bytes",
            Self::ThermalCrosstalkDb => "thermal_crosstalk_db",
            Self::CellPitchUm => "cell_pitch_um",
            Self::DieWidthMm => "die_width_mm",
            Self::DieHeightMm => "die_height_mm",
            Self::PhaseShifterVM => "phase_shifter_v_m",
            Self::DriveV => "drive_v",
            Self::WaveguideLossDbPerCm => "waveguide_loss_db_per_cm",
            Self::WaveguideAbsorptionPerCm => "waveguide_absorption_per_cm",
            Self::RoutingTimeS => "routing_time_s",
            Self::LayerTimeS => "layer_time_s",
            Self::Layers => "layers",
            Self::RoutingOverhead => "routing_overhead",
        }
    }

    /// The key of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|key| key.name() == name)
    }

    /// Whether a negative number makes sense: only for a level.
    fn may_be_negative(self) -> bool {
        matches!(self, Self::SnrDb | Self::ThermalCrosstalkDb)
    }
}

impl fmt::Display for ClaimKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The claims of one chip; most chips have none.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Claims(BTreeMap<ClaimKey, Claim>);

impl Claims {
    /// The claim of a key.
    pub fn get(&self, key: ClaimKey) -> Option<&Claim> {
        self.0.get(&key)
    }

    /// The claimed number of a key.
    pub fn value(&self, key: ClaimKey) -> Option<f64> {
        self.get(key).map(|claim| claim.value)
    }

    /// How many claims there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is claimed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes the section `[claims]` out of a description, if it has one.
    ///
    /// Errors: every unknown key, bad number and missing source goes into `issues`.
    pub(super) fn take(root: &mut Table, issues: &mut Vec<ChipIssue>) -> Self {
        let mut claims = BTreeMap::new();
        match root.remove("claims") {
            None => {}
            Some(Value::Table(section)) => {
                for (name, value) in section {
                    match read_claim(&name, value) {
                        Ok((key, claim)) => drop(claims.insert(key, claim)),
                        Err(problem) => {
                            issues.push(ChipIssue { key: format!("claims.{name}"), problem });
                        }
                    }
                }
            }
            Some(other) => issues.push(ChipIssue {
                key: "claims".to_owned(),
                problem: format!("is a {}; expected a section", other.type_str()),
            }),
        }
        Self(claims)
    }
}

fn read_claim(name: &str, value: Value) -> Result<(ClaimKey, Claim), String> {
    const FORM: &str = "{ value = a number, source = \"where it is claimed\" }";
    let key = ClaimKey::from_name(name).ok_or_else(|| {
        let known = ClaimKey::ALL.map(ClaimKey::name).join(", ");
        format!("unknown claim; what can be claimed is {known}")
    })?;
    let Value::Table(mut table) = value else {
        return Err(format!("is {value}; expected {FORM}"));
    };
    let number = match table.remove("value") {
        Some(Value::Float(number)) => number,
        Some(Value::Integer(number)) => number as f64,
        other => {
            let is = other.map_or("missing".to_owned(), |value| value.to_string());
            return Err(format!("its value is {is}; expected {FORM}"));
        }
    };
    if !number.is_finite() || (number <= 0.0 && !key.may_be_negative()) {
        return Err(format!("its value is {number}; expected a finite number greater than zero"));
    }
    let source = match table.remove("source") {
        Some(Value::String(source)) if !source.trim().is_empty() => source,
        _ => return Err("its source is missing; say where it is claimed".to_owned()),
    };
    // `--set claims.x=…` gives every number an uncertainty; a claim has none.
    drop(table.remove("plus_minus"));
    match table.keys().next() {
        Some(extra) => Err(format!("has an unknown key `{extra}`; expected {FORM}")),
        None => Ok((key, Claim { value: number, source })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Claims, Vec<(String, String)>) {
        let mut root: Table = text.parse().expect("valid TOML");
        let mut issues = Vec::new();
        let claims = Claims::take(&mut root, &mut issues);
        assert!(!root.contains_key("claims"), "the section is taken");
        (claims, issues.into_iter().map(|issue| (issue.key, issue.problem)).collect())
    }

    #[test]
    fn a_chip_without_claims_has_none() {
        let (claims, issues) = read("name = \"x\"");
        assert!(claims.is_empty() && issues.is_empty());
    }

    #[test]
    fn claims_are_read_with_their_sources() {
        let (claims, issues) = read(
            "[claims]\npower_w = { value = 50, source = \"§10\" }\n\
             thermal_crosstalk_db = { value = -30.0, source = \"§11\" }",
        );
        assert_eq!(issues, []);
        assert_eq!(claims.len(), 2);
        assert_eq!(claims.value(ClaimKey::PowerW), Some(50.0));
        let crosstalk = claims.get(ClaimKey::ThermalCrosstalkDb).expect("read");
        assert_eq!((crosstalk.value, crosstalk.source.as_str()), (-30.0, "§11"));
        assert_eq!(claims.get(ClaimKey::SnrDb), None);
    }

    #[test]
    fn what_is_wrong_with_a_claim_is_said_with_its_path() {
        for (line, key, words) in [
            ("power = { value = 1, source = \"x\" }", "claims.power", "unknown claim"),
            ("power_w = 50", "claims.power_w", "is 50; expected {"),
            ("power_w = { source = \"x\" }", "claims.power_w", "its value is missing"),
            ("power_w = { value = nan, source = \"x\" }", "claims.power_w", "its value is NaN"),
            ("power_w = { value = -5, source = \"x\" }", "claims.power_w", "its value is -5"),
            ("power_w = { value = 5 }", "claims.power_w", "its source is missing"),
            ("power_w = { value = 5, source = \"x\", w = 1 }", "claims.power_w", "has an unknown"),
        ] {
            let (claims, issues) = read(&format!("[claims]\n{line}"));
            assert!(claims.is_empty(), "{line}");
            assert_eq!(issues.len(), 1, "{line}");
            assert_eq!(issues[0].0, key);
            assert!(issues[0].1.starts_with(words), "{line}: {}", issues[0].1);
        }
        assert_eq!(read("claims = 3").1[0].0, "claims");
    }

    #[test]
    fn every_key_is_listed_once_under_its_own_name() {
        for (index, key) in ClaimKey::ALL.into_iter().enumerate() {
            assert_eq!(ClaimKey::from_name(key.name()), Some(key));
            assert_eq!(key as usize, index);
        }
    }
}
