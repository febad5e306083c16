use std::fmt;
use std::str::FromStr;

/// One impairment of the array.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Term {
    /// Shot noise of the local oscillator, for each sample.
    Shot,
    /// Noise of the receiver's amplifier, for each sample.
    Receiver,
    /// What the converter lacks of its stated width, for each sample. The rounding to its codes is
    /// no impairment but the meaning of a program, and always there.
    Adc,
    /// Static phase error of each cell.
    CellPhase,
    /// Static relative amplitude error of each cell.
    CellAmplitude,
}

impl Term {
    /// Every term: the dynamic ones, then the static ones.
    pub const ALL: [Self; 5] =
        [Self::Shot, Self::Receiver, Self::Adc, Self::CellPhase, Self::CellAmplitude];

    /// The name in options and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Shot => "shot",
            Self::Receiver => "receiver",
            Self::Adc => "adc",
            Self::CellPhase => "cell_phase",
            Self::CellAmplitude => "cell_amplitude",
        }
    }

    /// The term of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|term| term.name() == name)
    }

    fn bit(self) -> u8 {
        match self {
            Self::Shot => 1,
            Self::Receiver => 2,
            Self::Adc => 4,
            Self::CellPhase => 8,
            Self::CellAmplitude => 16,
        }
    }
}

/// Which terms are on.
///
/// As text: `all`, `none`, or names with commas between them, e.g. `shot,adc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms(u8);

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
    fn every_set_reads_back_from_its_text() {
        for bits in 0..32 {
            let terms = Terms(bits);
            assert_eq!(terms.to_string().parse(), Ok(terms));
        }
        assert_eq!("adc, shot".parse(), Ok(Terms::only(Term::Adc).with(Term::Shot)));
        assert_eq!(
            Terms::all().without(Term::CellPhase).to_string(),
            "shot,receiver,adc,cell_amplitude"
        );
    }

    #[test]
    fn an_unknown_word_is_named_with_the_known_ones() {
        let error = "shot,rain".parse::<Terms>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "`rain` is no noise term: write all, none, or some of \
             shot, receiver, adc, cell_phase, cell_amplitude"
        );
        assert!("".parse::<Terms>().is_err());
    }
}
