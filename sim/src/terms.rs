use std::fmt;
use std::str::FromStr;

/// One impairment of the array.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Term {
    /// Shot noise of the local oscillator.
    Shot,
    /// Noise of the receiver's amplifier.
    Receiver,
    /// Shot noise of the diodes' dark current.
    Dark,
    /// Intensity noise of the laser on signal and oscillator together.
    Rin,
    /// Intensity noise of the oscillator through the imbalance of each pair.
    RinLo,
    /// Phase noise of the laser over the mismatch of the two ways.
    PhaseNoise,
    /// What the input converters lack of their stated width.
    Dac,
    /// What the output converter lacks of its stated width. The rounding to its codes is no
    /// impairment but the meaning of a program, and always there.
    Adc,
    /// Uncertain instant of sampling.
    Jitter,
    /// Light of the neighboring wavelengths.
    Wdm,
    /// The symbol before, through limited bandwidth.
    Isi,
    /// Static phase error of each cell.
    CellPhase,
    /// Static relative amplitude error of each cell.
    CellAmplitude,
    /// Phase of each cell, gone astray since calibration.
    Drift,
    /// Heat of each cell in its neighbors.
    Crosstalk,
    /// Heat of all cells together.
    Heating,
    /// Uneven splitters and combiners on the way to each cell and from it.
    Splitter,
    /// Gain and angle between the quadratures of each input modulator.
    Imbalance,
    /// Light that leaks through a modulator at any code.
    Extinction,
    /// Half-wave voltages that differ from those that pre-distortion assumes.
    Transfer,
    /// Static phase of each output's local oscillator.
    LoPhase,
    /// Gain and angle between the quadratures of each output.
    Hybrid,
    /// Cells that let no light through.
    Dead,
    /// Cells that hold a weight of their own.
    Stuck,
    /// Resonances off their place, which turn amplitude and phase at once, and weights that rings
    /// cannot reach.
    Ring,
    /// Rounding of amplitudes to the levels of a phase-change film.
    Levels,
    /// Scatter of the amplitude that a phase-change film takes when written.
    Write,
    /// Amplitude that a phase-change film has lost since it was written.
    Aging,
    /// Time between the quadratures of each input modulator.
    Skew,
    /// Time between the quadratures of each output.
    ReceiverSkew,
    /// Light of crossed guides.
    Crossing,
    /// Light that lies across the oscillator's polarization.
    Polarization,
    /// Light that comes a second time, after two reflections.
    Reflection,
    /// What is left of the weights held before.
    Settling,
}

impl Term {
    /// Every term: the dynamic ones, then those that are static or partly so.
    pub const ALL: [Self; 34] = [
        Self::Shot,
        Self::Receiver,
        Self::Dark,
        Self::Rin,
        Self::RinLo,
        Self::PhaseNoise,
        Self::Dac,
        Self::Adc,
        Self::Jitter,
        Self::Wdm,
        Self::Isi,
        Self::CellPhase,
        Self::CellAmplitude,
        Self::Drift,
        Self::Crosstalk,
        Self::Heating,
        Self::Splitter,
        Self::Imbalance,
        Self::Extinction,
        Self::Transfer,
        Self::LoPhase,
        Self::Hybrid,
        Self::Dead,
        Self::Stuck,
        Self::Ring,
        Self::Levels,
        Self::Write,
        Self::Aging,
        Self::Skew,
        Self::ReceiverSkew,
        Self::Crossing,
        Self::Polarization,
        Self::Reflection,
        Self::Settling,
    ];

    /// The name in options and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Shot => "shot",
            Self::Receiver => "receiver",
            Self::Dark => "dark",
            Self::Rin => "rin",
            Self::RinLo => "rin_lo",
            Self::PhaseNoise => "phase_noise",
            Self::Dac => "dac",
            Self::Adc => "adc",
            Self::Jitter => "jitter",
            Self::Wdm => "wdm",
            Self::Isi => "isi",
            Self::CellPhase => "cell_phase",
            Self::CellAmplitude => "cell_amplitude",
            Self::Drift => "drift",
            Self::Crosstalk => "crosstalk",
            Self::Heating => "heating",
            Self::Splitter => "splitter",
            Self::Imbalance => "imbalance",
            Self::Extinction => "extinction",
            Self::Transfer => "transfer",
            Self::LoPhase => "lo_phase",
            Self::Hybrid => "hybrid",
            Self::Dead => "dead",
            Self::Stuck => "stuck",
            Self::Ring => "ring",
            Self::Levels => "levels",
            Self::Write => "write",
            Self::Aging => "aging",
            Self::Skew => "skew",
            Self::ReceiverSkew => "receiver_skew",
            Self::Crossing => "crossing",
            Self::Polarization => "polarization",
            Self::Reflection => "reflection",
            Self::Settling => "settling",
        }
    }

    /// What its strength means: static or for each symbol, absolute or relative, for each cell or
    /// output, and the keys of the chip description that set it.
    #[allow(clippy::too_many_lines, reason = "a line or two for each term")]
    pub fn help(self) -> &'static str {
        match self {
            Self::Shot => {
                "dynamic, per output and symbol; absolute: set by receiver.lo_power_w and \
                 laser.power_w"
            }
            Self::Receiver => "dynamic, per output and symbol; absolute: receiver.noise_a_per_rthz",
            Self::Dark => "dynamic, per output and symbol; absolute: receiver.dark_current_a",
            Self::Rin => {
                "dynamic, per symbol, common to all outputs; relative: laser.rin_db_per_hz"
            }
            Self::RinLo => {
                "dynamic, per symbol, of one size on all outputs; absolute: \
                 laser.rin_db_per_hz over receiver.common_mode_rejection_db"
            }
            Self::PhaseNoise => {
                "dynamic, per symbol, one angle for all outputs; relative: laser.linewidth_hz \
                 and path.mismatch_ps"
            }
            Self::Dac => "dynamic, per input and symbol; absolute, in input codes: dac.enob",
            Self::Adc => "dynamic, per output and symbol; absolute, in output codes: adc.enob",
            Self::Jitter => {
                "dynamic, per output and symbol; relative to the output's usual size: \
                 receiver.jitter_s"
            }
            Self::Wdm => {
                "dynamic, per output and symbol; relative to the field: \
                 path.wdm_crosstalk_db, of account with several array.wavelengths"
            }
            Self::Isi => {
                "deterministic, per output and symbol; relative: modulator.bandwidth_hz and \
                 receiver.bandwidth_hz"
            }
            Self::CellPhase => "static, per cell; absolute: cell.phase_error_rad",
            Self::CellAmplitude => "static, per cell; relative: cell.amplitude_error",
            Self::Drift => {
                "static during a run, per cell, and per ring of ring pairs; absolute, in phase or round \
                 trip: cell.drift_rad and cell.drift_time_s, at cell.age_s (--age) since calibration"
            }
            Self::Crosstalk => {
                "static per tile, per cell; relative to the drives: cell.thermal_crosstalk \
                 and cell.crosstalk_residual; turns the cell, or detunes its rings"
            }
            Self::Heating => {
                "static per tile, common to all cells; relative to the mean drive: \
                 cell.heating_phase_rad; turns the cells, or detunes their rings"
            }
            Self::Splitter => "static, per splitter; relative: path.splitter_imbalance_db",
            Self::Imbalance => {
                "static, per row; relative: modulator.iq_gain_error and \
                 modulator.iq_phase_error_rad"
            }
            Self::Extinction => {
                "static, per row and quadrature; relative to full scale: \
                 modulator.extinction_db"
            }
            Self::Transfer => "static, per row and quadrature; relative: modulator.transfer_error",
            Self::LoPhase => "static, per output; absolute: receiver.lo_phase_error_rad",
            Self::Hybrid => {
                "static, per output; relative: receiver.hybrid_gain_error and \
                 receiver.hybrid_phase_error_rad, of account with receiver.readout = iq"
            }
            Self::Dead => "static, per cell; a fraction of the cells: cell.dead_fraction",
            Self::Stuck => "static, per cell; a fraction of the cells: cell.stuck_fraction",
            Self::Ring => {
                "static, per ring; absolute: ring.detuning_error_rad, of account with ring \
                 pairs"
            }
            Self::Levels => {
                "static, per cell; absolute: phase_change.level_bits, of account with \
                 phase-change cells"
            }
            Self::Write => {
                "static per tile, per cell; relative to full scale: phase_change.write_error"
            }
            Self::Aging => {
                "static during a run, common to all cells; relative: \
                 phase_change.drift_per_decade, at cell.age_s (--age) since writing"
            }
            Self::Skew => {
                "static, per row, and dynamic, per output and symbol, of the symbols next to it; \
                 relative to the symbol: modulator.iq_skew_s, with both quadratures driven"
            }
            Self::ReceiverSkew => {
                "static and dynamic, per output, of the symbols next to it; relative to the \
                 symbol: receiver.iq_skew_s, with both quadratures read"
            }
            Self::Crossing => {
                "static, per cell; relative to full scale: path.crossing_crosstalk_db at each of \
                 half as many crossings as there are rows"
            }
            Self::Polarization => {
                "static, per cell; relative: path.polarization_extinction_db, whose differences \
                 calibration leaves by path.polarization_residual, and whose lost light makes \
                 shot, receiver, dark and rin_lo larger"
            }
            Self::Reflection => {
                "static, per cell; relative: path.back_reflection_db, a phase for each \
                 laser.wavelength_nm"
            }
            Self::Settling => {
                "static per tile, per cell; relative to the step from the weight held before: \
                 cell.settling_residual"
            }
        }
    }

    /// What its strength means, without the keys that set it.
    pub fn meaning(self) -> &'static str {
        self.help().split_once(": ").map_or(self.help(), |(meaning, _)| meaning)
    }

    /// Whether a key of the chip description, as `section.key`, is among those that set it.
    pub fn is_set_by(self, key: &str) -> bool {
        let in_key = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '_';
        self.help().split(|c: char| !in_key(c)).any(|word| word == key)
    }

    /// The term of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|term| term.name() == name)
    }

    fn bit(self) -> u64 {
        1 << self as u64
    }
}

/// Which terms are on.
///
/// As text: `all`, `none`, or names with commas between them, e.g. `shot,adc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms(u64);

impl Terms {
    /// Every term on.
    pub fn all() -> Self {
        Term::ALL.into_iter().fold(Self::none(), Self::with)
    }

    /// Every term off: the integer meaning, bit for bit.
    pub fn none() -> Self {
        Self(0)
    }

    /// This one on alone.
    pub fn only(term: Term) -> Self {
        Self::none().with(term)
    }

    /// These, and `term` on.
    #[must_use]
    pub fn with(self, term: Term) -> Self {
        Self(self.0 | term.bit())
    }

    /// These, and `term` off.
    #[must_use]
    pub fn without(self, term: Term) -> Self {
        Self(self.0 & !term.bit())
    }

    /// Whether `term` is on.
    pub fn contains(self, term: Term) -> bool {
        self.0 & term.bit() != 0
    }

    /// The terms that are on, in the order of [`Term::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Term> {
        Term::ALL.into_iter().filter(move |term| self.contains(*term))
    }
}

impl fmt::Display for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::all() {
            return write!(f, "all");
        }
        if *self == Self::none() {
            return write!(f, "none");
        }
        for (index, term) in self.iter().enumerate() {
            write!(f, "{}{}", if index == 0 { "" } else { "," }, term.name())?;
        }
        Ok(())
    }
}

/// A word in a list of terms that names none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseTermsError {
    /// The word.
    pub word: String,
}

impl fmt::Display for ParseTermsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Term::ALL.map(Term::name).join(", ");
        write!(f, "`{}` is no noise term: write all, none, or some of {names}", self.word)
    }
}

impl std::error::Error for ParseTermsError {}

impl FromStr for Terms {
    type Err = ParseTermsError;

    fn from_str(text: &str) -> Result<Self, ParseTermsError> {
        match text {
            "all" => Ok(Self::all()),
            "none" => Ok(Self::none()),
            list => list.split(',').try_fold(Self::none(), |terms, word| {
                let term = Term::from_name(word.trim())
                    .ok_or_else(|| ParseTermsError { word: word.to_owned() })?;
                Ok(terms.with(term))
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_term_says_what_its_strength_means() {
        for term in Term::ALL {
            let meaning = term.meaning();
            let has = |words: &[&str]| words.iter().any(|word| meaning.contains(word));
            let name = term.name();
            assert!(has(&["static", "dynamic", "deterministic"]), "{name}: {meaning}");
            assert!(has(&["absolute", "relative", "a fraction of"]), "{name}: {meaning}");
            assert!(has(&["per ", "common to all", "of the symbols"]), "{name}: {meaning}");
        }
    }

    #[test]
    fn every_term_is_set_by_keys_that_descriptions_have() {
        use litecore_types::chip::builtin_text;
        // A ring pair and a film beside the keys of every chip.
        let texts = ["ref-64-eo", "litecore-datacenter"].map(|name| builtin_text(name).unwrap());
        let mut keys = Vec::new();
        for text in texts {
            let mut section = "";
            for line in text.lines() {
                if let Some(name) = line.strip_prefix('[') {
                    section = name.trim_end_matches(']');
                } else if let Some((key, _)) = line.split_once(" =") {
                    keys.push(format!("{section}.{key}"));
                }
            }
        }
        for film in ["level_bits", "write_error", "drift_per_decade"] {
            keys.push(format!("phase_change.{film}"));
        }
        for term in Term::ALL {
            assert!(keys.iter().any(|key| term.is_set_by(key)), "{}", term.name());
            let (_, stated) = term.help().split_once(": ").unwrap();
            let words = stated.split([' ', ',', ';']).filter(|word| word.contains('.'));
            for word in words {
                assert!(keys.iter().any(|key| key == word), "{}: {word}", term.name());
            }
        }
        assert!(Term::Rin.is_set_by("laser.rin_db_per_hz"));
        assert!(!Term::Rin.is_set_by("laser.rin_db"));
    }

    #[test]
    fn every_set_reads_back_from_its_text() {
        for term in Term::ALL {
            assert_eq!(Term::from_name(term.name()), Some(term));
            for other in Term::ALL {
                let terms = Terms::only(term).with(other);
                assert_eq!(terms.to_string().parse(), Ok(terms));
                let terms = Terms::all().without(term).without(other);
                assert_eq!(terms.to_string().parse(), Ok(terms));
            }
        }
        assert_eq!(Terms::all().to_string(), "all");
        assert_eq!(Terms::none().to_string(), "none");
        assert_eq!("adc, shot".parse(), Ok(Terms::only(Term::Adc).with(Term::Shot)));
    }

    #[test]
    fn help_says_what_a_strength_means() {
        for term in Term::ALL {
            let help = term.help();
            let says = |words: &[&str]| words.iter().any(|word| help.contains(word));
            assert!(says(&["static", "dynamic", "deterministic"]), "{help}");
            assert!(says(&["absolute", "relative", "fraction"]), "{help}");
            assert!(
                says(&[
                    "per cell",
                    "per output",
                    "per symbol",
                    "per row",
                    "per input",
                    "per ring",
                    "per splitter",
                    "all cells"
                ]),
                "{help}"
            );
        }
    }

    #[test]
    fn an_unknown_word_is_named_with_the_known_ones() {
        let error = "shot,rain".parse::<Terms>().unwrap_err();
        let words = error.to_string();
        assert!(words.starts_with("`rain` is no noise term: write all, none, or some of shot, "));
        assert!(Term::ALL.iter().all(|term| words.contains(term.name())));
        assert!("".parse::<Terms>().is_err());
    }
}
