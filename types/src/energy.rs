use serde::Serialize;
use std::collections::BTreeMap;

/// Where a joule went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Component {
    /// Electrical energy of the lasers, signal and local oscillators, while a program runs.
    Laser,
    /// Input digital-to-analog converters, per conversion.
    InputDac,
    /// Input modulators and their drivers, per drive.
    Modulator,
    /// Transimpedance amplifiers, per sample.
    Receiver,
    /// Output analog-to-digital converters, per sample.
    Adc,
    /// Weight digital-to-analog converters, per programmed code.
    WeightDac,
    /// Holding the weights in the cells, by time.
    WeightHold,
    /// Accumulators and the vector unit, per element.
    Digital,
    /// The command processor, per step.
    Command,
    /// The card's on-chip memory, per byte moved.
    Sram,
    /// Fetching weights from where they are kept, per byte.
    WeightFetch,
    /// The link to the host, per byte.
    HostLink,
}

/// Which of the three headline numbers a component first appears in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Share {
    /// Light only, at the laser's wall plug.
    Optics,
    /// Converters, drivers, hold power, amplifiers, digital.
    Core,
    /// Weight fetch, memories, command processor, host link.
    System,
}

impl Component {
    /// Every component, in report order.
    pub const ALL: [Self; 12] = [
        Self::Laser,
        Self::InputDac,
        Self::Modulator,
        Self::Receiver,
        Self::Adc,
        Self::WeightDac,
        Self::WeightHold,
        Self::Digital,
        Self::Command,
        Self::Sram,
        Self::WeightFetch,
        Self::HostLink,
    ];

    /// The headline number this component first counts in.
    pub fn share(self) -> Share {
        match self {
            Self::Laser => Share::Optics,
            Self::Command | Self::Sram | Self::WeightFetch | Self::HostLink => Share::System,
            _ => Share::Core,
        }
    }

    /// The name for programs, the same as in serialized ledgers.
    pub fn key(self) -> &'static str {
        match self {
            Self::Laser => "laser",
            Self::InputDac => "input_dac",
            Self::Modulator => "modulator",
            Self::Receiver => "receiver",
            Self::Adc => "adc",
            Self::WeightDac => "weight_dac",
            Self::WeightHold => "weight_hold",
            Self::Digital => "digital",
            Self::Command => "command",
            Self::Sram => "sram",
            Self::WeightFetch => "weight_fetch",
            Self::HostLink => "host_link",
        }
    }

    /// The name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Laser => "laser",
            Self::InputDac => "input DAC",
            Self::Modulator => "modulator",
            Self::Receiver => "receiver",
            Self::Adc => "ADC",
            Self::WeightDac => "weight DAC",
            Self::WeightHold => "weight hold",
            Self::Digital => "digital",
            Self::Command => "command processor",
            Self::Sram => "SRAM",
            Self::WeightFetch => "weight fetch",
            Self::HostLink => "host link",
        }
    }
}

/// Joules by component. The parts are the only thing stored, so the total is always their sum.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct EnergyLedger {
    joules: BTreeMap<Component, f64>,
}

/// The three headline numbers of a ledger; each includes the one before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct EnergyTotals {
    /// Light only, at the laser's wall plug.
    #[serde(rename = "optics")]
    pub optics_j: f64,
    /// Optics plus converters, drivers, hold power, amplifiers, digital.
    #[serde(rename = "core")]
    pub core_j: f64,
    /// Core plus weight fetch, memories, host link.
    #[serde(rename = "system")]
    pub system_j: f64,
}

impl EnergyLedger {
    /// Charges `joules` to `component`.
    pub fn charge(&mut self, component: Component, joules: f64) {
        *self.joules.entry(component).or_insert(0.0) += joules;
    }

    /// Adds every entry of `other`.
    pub fn add(&mut self, other: &Self) {
        for (&component, &joules) in &other.joules {
            self.charge(component, joules);
        }
    }

    /// What was charged since `earlier`, a former state of this ledger.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let joules =
            self.parts().map(|(part, joules)| (part, joules - earlier.joules(part))).collect();
        Self { joules }
    }

    /// The joules of one component.
    pub fn joules(&self, component: Component) -> f64 {
        self.joules.get(&component).copied().unwrap_or(0.0)
    }

    /// The components charged so far, in report order.
    pub fn parts(&self) -> impl Iterator<Item = (Component, f64)> + '_ {
        self.joules.iter().map(|(&component, &joules)| (component, joules))
    }

    /// Optics, core and system totals.
    pub fn totals(&self) -> EnergyTotals {
        let sum = |limit: Share| {
            self.parts().filter(|(part, _)| part.share() <= limit).map(|(_, joules)| joules).sum()
        };
        EnergyTotals {
            optics_j: sum(Share::Optics),
            core_j: sum(Share::Core),
            system_j: sum(Share::System),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_numbers_nest_and_sum_to_the_parts() {
        let mut ledger = EnergyLedger::default();
        let mut charged = 0.0;
        for (i, component) in (1_u8..).zip(Component::ALL) {
            ledger.charge(component, f64::from(i));
            charged += f64::from(i);
        }
        let totals = ledger.totals();
        assert!((totals.optics_j - 1.0).abs() < 1e-12);
        assert!((totals.core_j - (1.0 + 2.0 + 3.0 + 4.0 + 5.0 + 6.0 + 7.0 + 8.0)).abs() < 1e-12);
        assert!((totals.system_j - charged).abs() < 1e-12);
    }
}
