use litecore_types::Seed;
use std::fmt;
use std::str::FromStr;

/// Where a device is.
///
/// ```text
/// sim:CHIP[?OPTION=VALUE&…]     serial:/dev/ttyUSB0     usb:VID:PID[:SERIAL]
/// pcie:0000:01:00.0             vfio-user:SOCKET
/// ```
///
/// CHIP is the name of a shipped chip or the path of a chip description; [`SimSettings`] has the options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceUri {
    /// The simulator, in this process.
    Sim {
        /// Name or path of the chip description.
        chip: String,
        /// What the options say.
        settings: Box<SimSettings>,
    },
    /// A serial port.
    Serial {
        /// The port's path.
        port: String,
    },
    /// A USB device.
    Usb {
        /// Vendor number.
        vendor: u16,
        /// Product number.
        product: u16,
        /// Serial text, where one device of several is meant.
        serial: Option<String>,
    },
    /// A PCI Express function.
    Pcie {
        /// Its address on the bus.
        address: PcieAddress,
    },
    /// A vfio-user server.
    VfioUser {
        /// The server's socket.
        socket: String,
    },
}

/// The options of a simulator: `seed=N`, `noise=off`, `terms=NAME,…`, `draws=per-term`, `age=SECONDS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimSettings {
    /// The chip instance and the noise; zero if not given.
    pub seed: Seed,
    /// Whether impairments are on; `noise=off` takes them away, static ones included.
    pub noise: bool,
    /// The impairments that are on, as the simulator names them; all if not given.
    pub terms: Option<String>,
    /// Whether each term draws by itself, so that two runs that differ in one term share all others.
    pub draws_per_term: bool,
    /// Whole seconds since calibration and writing; what the chip description says if not given.
    pub age_s: Option<u64>,
}

impl Default for SimSettings {
    /// Seed zero, with every impairment.
    fn default() -> Self {
        Self { seed: Seed(0), noise: true, terms: None, draws_per_term: false, age_s: None }
    }
}

/// The address of a PCI function: `domain:bus:device.function`, hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PcieAddress {
    /// Domain.
    pub domain: u16,
    /// Bus.
    pub bus: u8,
    /// Device, below 32.
    pub device: u8,
    /// Function, below 8.
    pub function: u8,
}

/// Why a text is not the address of a device. Each message says what is wrong and what to write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceUriError {
    /// There is no `scheme:` in front.
    #[error("`{text}` names no kind of device: write e.g. sim:ref-64-eo or serial:/dev/ttyUSB0")]
    NoScheme {
        /// What was given.
        text: String,
    },
    /// The kind of device is unknown.
    #[error("`{scheme}:` is no kind of device: use sim, serial, usb, pcie or vfio-user")]
    UnknownScheme {
        /// What was given before the colon.
        scheme: String,
    },
    /// Nothing follows the colon.
    #[error("nothing follows `{scheme}:`: write {scheme}:{expected}")]
    Nothing {
        /// The kind of device.
        scheme: &'static str,
        /// What should follow.
        expected: &'static str,
    },
    /// An option of the simulator is unknown.
    #[error(
        "the simulator has no option `{option}`: it has seed=N, noise=off or on, \
        terms=NAME,…, draws=per-term or merged, and age=SECONDS"
    )]
    UnknownOption {
        /// What was given before the equals sign.
        option: String,
    },
    /// An option of the simulator is given twice.
    #[error("the option `{option}` is given twice: leave one out")]
    RepeatedOption {
        /// Which one.
        option: &'static str,
    },
    /// The seed is not a seed.
    #[error("seed={value}: give a whole number below 2^128, decimal or 0x…")]
    Seed {
        /// What was given after the equals sign.
        value: String,
    },
    /// The noise option is neither on nor off.
    #[error("noise={value}: write noise=off or noise=on")]
    Noise {
        /// What was given after the equals sign.
        value: String,
    },
    /// Terms are named although there is no noise.
    #[error("noise=off and terms={terms} contradict each other: leave one out")]
    NoiseAndTerms {
        /// What was given as terms.
        terms: String,
    },
    /// The way to draw is unknown.
    #[error("draws={value}: write draws=merged or draws=per-term")]
    Draws {
        /// What was given after the equals sign.
        value: String,
    },
    /// The age is not a number of seconds.
    #[error("age={value}: give whole seconds since calibration, at most {AGE_S_MAX}")]
    Age {
        /// What was given after the equals sign.
        value: String,
    },
    /// The USB numbers are not two four-digit hexadecimal numbers.
    #[error(
        "`{given}` are no USB numbers: write usb:VID:PID with four hexadecimal digits each, as lsusb shows them"
    )]
    UsbNumbers {
        /// What was given.
        given: String,
    },
    /// The PCI address is not of the form `0000:01:00.0`.
    #[error(
        "`{given}` is no PCI address: write pcie:0000:01:00.0 (domain:bus:device.function), as lspci -D shows it"
    )]
    PcieAddress {
        /// What was given.
        given: String,
    },
}

impl FromStr for DeviceUri {
    type Err = DeviceUriError;

    fn from_str(text: &str) -> Result<Self, DeviceUriError> {
        let (scheme, rest) = text
            .split_once(':')
            .ok_or_else(|| DeviceUriError::NoScheme { text: text.to_owned() })?;
        let given = |scheme, expected| {
            if rest.is_empty() {
                Err(DeviceUriError::Nothing { scheme, expected })
            } else {
                Ok(rest.to_owned())
            }
        };
        match scheme {
            "sim" => simulator(&given("sim", "CHIP, e.g. sim:ref-64-eo")?),
            "serial" => Ok(Self::Serial { port: given("serial", "PATH, e.g. /dev/ttyUSB0")? }),
            "usb" => usb(&given("usb", "VID:PID, e.g. usb:1209:0001")?),
            "pcie" => pcie(&given("pcie", "ADDRESS, e.g. pcie:0000:01:00.0")?),
            "vfio-user" => Ok(Self::VfioUser { socket: given("vfio-user", "SOCKET, a path")? }),
            _ => Err(DeviceUriError::UnknownScheme { scheme: scheme.to_owned() }),
        }
    }
}

fn simulator(rest: &str) -> Result<DeviceUri, DeviceUriError> {
    let (chip, options) = match rest.split_once('?') {
        Some((chip, options)) => (chip, options),
        None => (rest, ""),
    };
    if chip.is_empty() {
        let expected = "CHIP, e.g. sim:ref-64-eo?seed=7";
        return Err(DeviceUriError::Nothing { scheme: "sim", expected });
    }
    let (mut seed, mut noise, mut terms, mut draws, mut age) = (None, None, None, None, None);
    for option in options.split('&').filter(|option| !option.is_empty()) {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let given = value.to_owned();
        let (known, repeated) = match name {
            "seed" => {
                let parsed =
                    value.parse::<Seed>().map_err(|_| DeviceUriError::Seed { value: given })?;
                ("seed", seed.replace(parsed).is_some())
            }
            "noise" => {
                let on = match value {
                    "on" => true,
                    "off" => false,
                    _ => return Err(DeviceUriError::Noise { value: given }),
                };
                ("noise", noise.replace(on).is_some())
            }
            "terms" => ("terms", terms.replace(given).is_some()),
            "draws" => {
                let apart = match value {
                    "per-term" => true,
                    "merged" => false,
                    _ => return Err(DeviceUriError::Draws { value: given }),
                };
                ("draws", draws.replace(apart).is_some())
            }
            "age" => {
                let parsed = value.parse::<u64>().ok().filter(|age| *age <= AGE_S_MAX);
                let parsed = parsed.ok_or(DeviceUriError::Age { value: given })?;
                ("age", age.replace(parsed).is_some())
            }
            _ => return Err(DeviceUriError::UnknownOption { option: name.to_owned() }),
        };
        if repeated {
            return Err(DeviceUriError::RepeatedOption { option: known });
        }
    }
    let settings = SimSettings {
        seed: seed.unwrap_or_default(),
        noise: noise.unwrap_or(true),
        terms,
        draws_per_term: draws.unwrap_or(false),
        age_s: age,
    };
    match settings {
        SimSettings { noise: false, terms: Some(terms), .. } => {
            Err(DeviceUriError::NoiseAndTerms { terms })
        }
        settings => Ok(DeviceUri::Sim { chip: chip.to_owned(), settings: Box::new(settings) }),
    }
}

/// Thirty thousand years, as for durations of a chip description.
const AGE_S_MAX: u64 = 1_000_000_000_000;

fn usb(rest: &str) -> Result<DeviceUri, DeviceUriError> {
    let wrong = || DeviceUriError::UsbNumbers { given: rest.to_owned() };
    let mut parts = rest.splitn(3, ':');
    let mut number = || parts.next().and_then(|digits| hexadecimal(digits, 4)).ok_or_else(wrong);
    let (vendor, product) = (number()?, number()?);
    let serial = parts.next().map(str::to_owned);
    if serial.as_deref() == Some("") {
        return Err(wrong());
    }
    Ok(DeviceUri::Usb { vendor, product, serial })
}

fn pcie(rest: &str) -> Result<DeviceUri, DeviceUriError> {
    let address = || {
        let (domain, rest) = rest.split_once(':')?;
        let (bus, rest) = rest.split_once(':')?;
        let (device, function) = rest.split_once('.')?;
        let byte = |digits, count| u8::try_from(hexadecimal(digits, count)?).ok();
        Some(PcieAddress {
            domain: hexadecimal(domain, 4)?,
            bus: byte(bus, 2)?,
            device: byte(device, 2).filter(|device| *device < 32)?,
            function: byte(function, 1).filter(|function| *function < 8)?,
        })
    };
    address()
        .map(|address| DeviceUri::Pcie { address })
        .ok_or_else(|| DeviceUriError::PcieAddress { given: rest.to_owned() })
}

/// A number of exactly `digits` hexadecimal digits; signs and blanks are none.
fn hexadecimal(text: &str, digits: usize) -> Option<u16> {
    (text.len() == digits && text.bytes().all(|b| b.is_ascii_hexdigit()))
        .then(|| u16::from_str_radix(text, 16).ok())
        .flatten()
}

impl fmt::Display for DeviceUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sim { chip, settings } => {
                let SimSettings { seed, noise, terms, draws_per_term, age_s } = &**settings;
                write!(f, "sim:{chip}?seed={}", seed.0)?;
                if !noise {
                    write!(f, "&noise=off")?;
                }
                if let Some(terms) = terms {
                    write!(f, "&terms={terms}")?;
                }
                if *draws_per_term {
                    write!(f, "&draws=per-term")?;
                }
                age_s.map_or(Ok(()), |age_s| write!(f, "&age={age_s}"))
            }
            Self::Serial { port } => write!(f, "serial:{port}"),
            Self::Usb { vendor, product, serial } => {
                write!(f, "usb:{vendor:04x}:{product:04x}")?;
                serial.as_ref().map_or(Ok(()), |serial| write!(f, ":{serial}"))
            }
            Self::Pcie { address } => write!(f, "pcie:{address}"),
            Self::VfioUser { socket } => write!(f, "vfio-user:{socket}"),
        }
    }
}

impl fmt::Display for PcieAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { domain, bus, device, function } = self;
        write!(f, "{domain:04x}:{bus:02x}:{device:02x}.{function:x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sim(chip: &str, seed: u128, noise: bool) -> DeviceUri {
        let settings = SimSettings { seed: Seed(seed), noise, ..SimSettings::default() };
        DeviceUri::Sim { chip: chip.to_owned(), settings: Box::new(settings) }
    }

    #[test]
    fn every_option_of_the_simulator_is_read_and_shown() {
        let text = "sim:tiny-4?seed=3&terms=shot,adc&draws=per-term&age=86400";
        let settings = SimSettings {
            seed: Seed(3),
            noise: true,
            terms: Some("shot,adc".to_owned()),
            draws_per_term: true,
            age_s: Some(86400),
        };
        let uri = DeviceUri::Sim { chip: "tiny-4".to_owned(), settings: Box::new(settings) };
        assert_eq!(text.parse(), Ok(uri.clone()));
        assert_eq!(uri.to_string(), text);
        assert_eq!("sim:tiny-4?draws=merged".parse(), Ok(sim("tiny-4", 0, true)));
    }

    #[test]
    fn each_kind_is_read() {
        let address = PcieAddress { domain: 0, bus: 0x1a, device: 0x1f, function: 7 };
        let usb = |serial: Option<&str>| DeviceUri::Usb {
            vendor: 0x1209,
            product: 0xabcd,
            serial: serial.map(str::to_owned),
        };
        for (text, expected) in [
            ("sim:ref-64-eo", sim("ref-64-eo", 0, true)),
            ("sim:ref-64-eo?seed=7", sim("ref-64-eo", 7, true)),
            ("sim:chips/mine.toml?noise=off&seed=0xff", sim("chips/mine.toml", 255, false)),
            ("sim:tiny-4?noise=on", sim("tiny-4", 0, true)),
            ("serial:/dev/ttyUSB0", DeviceUri::Serial { port: "/dev/ttyUSB0".to_owned() }),
            ("usb:1209:ABCD", usb(None)),
            ("usb:1209:abcd:LC:0042", usb(Some("LC:0042"))),
            ("pcie:0000:1a:1f.7", DeviceUri::Pcie { address }),
            ("vfio-user:/run/c.sock", DeviceUri::VfioUser { socket: "/run/c.sock".to_owned() }),
        ] {
            assert_eq!(text.parse(), Ok(expected.clone()), "{text}");
            assert_eq!(expected.to_string().parse(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn each_mistake_is_named_with_what_to_write() {
        for (text, words) in [
            ("ref-64-eo", "names no kind of device: write e.g. sim:ref-64-eo"),
            ("cuda:0", "`cuda:` is no kind of device: use sim, serial, usb, pcie or vfio-user"),
            ("sim:", "nothing follows `sim:`: write sim:CHIP"),
            ("sim:?seed=1", "nothing follows `sim:`: write sim:CHIP"),
            ("serial:", "nothing follows `serial:`: write serial:PATH"),
            ("vfio-user:", "write vfio-user:SOCKET"),
            ("sim:tiny-4?speed=2", "no option `speed`: it has seed=N, noise=off or on, terms=NAME"),
            ("sim:tiny-4?seed=1&seed=2", "`seed` is given twice"),
            ("sim:tiny-4?seed=-1", "seed=-1: give a whole number below 2^128"),
            ("sim:tiny-4?seed", "seed=: give a whole number"),
            ("sim:tiny-4?noise=low", "noise=low: write noise=off or noise=on"),
            ("sim:tiny-4?noise=off&terms=shot", "noise=off and terms=shot contradict"),
            ("sim:tiny-4?draws=both", "draws=both: write draws=merged or draws=per-term"),
            ("sim:tiny-4?age=-1", "age=-1: give whole seconds since calibration"),
            ("sim:tiny-4?age=1e300", "age=1e300: give whole seconds"),
            ("sim:tiny-4?age=1&age=2", "`age` is given twice"),
            ("usb:1209", "`1209` are no USB numbers: write usb:VID:PID"),
            ("usb:1209:+abc", "are no USB numbers"),
            ("usb:1209:abcd:", "are no USB numbers"),
            ("pcie:01:00.0", "`01:00.0` is no PCI address: write pcie:0000:01:00.0"),
            ("pcie:0000:01:20.0", "is no PCI address"),
            ("pcie:0000:01:00.8", "is no PCI address"),
        ] {
            let error = text.parse::<DeviceUri>().unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic_and_what_is_read_reads_again(
            text in "(sim|usb|pcie|serial|x)?:?[0-9a-f:.?=&ßseedno]{0,24}",
        ) {
            if let Ok(uri) = text.parse::<DeviceUri>() {
                prop_assert_eq!(uri.to_string().parse(), Ok(uri));
            }
        }
    }
}
