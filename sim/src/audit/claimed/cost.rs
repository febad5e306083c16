//! Claims on what the card does and what it takes.

use super::Bound::{AtLeast, AtMost, Equal};
use super::{Checks, Key, Uncertain};
use crate::audit::Figure;
use crate::audit::words::{amount, digits};

impl Checks<'_> {
    pub(super) fn rate(&mut self) {
        let card = self.card;
        let one_row = card.waves() * card.rows() * card.rate();
        let explanation = format!(
            "{} cells x {} wavelength(s) x {}; one row alone makes {}.",
            amount(card.cells(), ""),
            card.wavelengths(),
            amount(card.rate(), "Hz"),
            amount(one_row, "cMAC/s"),
        );
        self.check(
            Key::CmacsPerS,
            "cMAC/s",
            self.audit.uncertain(Figure::CmacsPerS),
            Equal,
            explanation,
        );
        let (rate, width, height) = (
            self.claims.value(Key::CmacsPerS),
            self.claims.value(Key::DieWidthMm),
            self.claims.value(Key::DieHeightMm),
        );
        if let (Some(rate), Some(width), Some(height)) = (rate, width, height) {
            let explanation = format!(
                "the claimed {} over a die of {} mm²",
                amount(rate, "cMAC/s"),
                digits(width * height),
            );
            let density = rate / (width * height);
            self.check(Key::CmacsPerSPerMm2, "cMAC/s/mm²", density, AtLeast, explanation + ".");
        }
    }

    pub(super) fn power(&mut self) {
        let card = self.card;
        let watts = |figure| amount(self.audit.value(figure), "W");
        let (drives, samples) = (card.drives_per_s(), card.samples_per_s());
        let converters = |per_s: f64, joules: f64| {
            format!(
                "{} converters, each {} at {}",
                amount(per_s / card.rate(), ""),
                amount(joules * card.rate(), "W"),
                amount(card.rate(), "S/s"),
            )
        };
        let total = format!(
            "holding the weights {}, output converters {}, amplifiers {}, input converters {}, \
             oscillators {}, signal lasers {}, modulators {}, memory {}.",
            watts(Figure::HoldPowerW),
            watts(Figure::AdcPowerW),
            watts(Figure::ReceiverPowerW),
            watts(Figure::DacPowerW),
            watts(Figure::OscillatorPowerW),
            watts(Figure::SignalLaserPowerW),
            watts(Figure::ModulatorPowerW),
            watts(Figure::DigitalPowerW),
        );
        let lasers = format!(
            "{} signal laser(s) of {} at {} % efficiency; the local oscillators would take {} more.",
            card.waves(),
            amount(card.signal_w(), "W"),
            digits(100.0 * card.wall_plug()),
            watts(Figure::OscillatorPowerW),
        );
        let hold = format!(
            "{} cells, each held with {}.",
            amount(card.cells(), ""),
            amount(card.hold_w(), "W")
        );
        let inputs = {
            let parts =
                [Figure::DacPowerW, Figure::ModulatorPowerW].map(|f| self.audit.uncertain(f));
            let squares = parts.map(|part| part.plus_minus * part.plus_minus);
            Uncertain {
                value: parts[0].value + parts[1].value,
                plus_minus: (squares[0] + squares[1]).sqrt(),
            }
        };
        let per_drive = card.dac_j() + card.modulator_j();
        let explanations = [
            total,
            lasers,
            converters(drives, per_drive) + ", driver and modulator included.",
            converters(samples, card.receiver_j()).replace("converters", "amplifiers") + ".",
            converters(samples, card.adc_j()) + ".",
            hold,
        ];
        let derived = [
            self.audit.uncertain(Figure::CorePowerW),
            self.audit.uncertain(Figure::SignalLaserPowerW),
            inputs,
            self.audit.uncertain(Figure::ReceiverPowerW),
            self.audit.uncertain(Figure::AdcPowerW),
            self.audit.uncertain(Figure::HoldPowerW),
        ];
        let keys = [
            Key::PowerW,
            Key::LaserPowerW,
            Key::ModulatorPowerW,
            Key::ReceiverPowerW,
            Key::ElectronicsPowerW,
            Key::HoldPowerW,
        ];
        for ((key, derived), explanation) in keys.into_iter().zip(derived).zip(explanations) {
            self.check(key, "W", derived, AtMost, explanation);
        }
    }

    pub(super) fn energy(&mut self) {
        let explanation = format!(
            "core power {} over {}; light alone takes {}.",
            amount(self.value(Figure::CorePowerW), "W"),
            amount(self.value(Figure::CmacsPerS), "cMAC/s"),
            amount(self.value(Figure::OpticsEnergyPerCmacJ), "J"),
        );
        let derived = self.audit.uncertain(Figure::CoreEnergyPerCmacJ);
        self.check(Key::EnergyJPerCmac, "J", derived, AtMost, explanation);
        let (power, rate) = (self.claims.value(Key::PowerW), self.claims.value(Key::CmacsPerS));
        if let (Some(power), Some(rate), Some(energy)) =
            (power, rate, self.claims.value(Key::EnergyJPerCmac))
        {
            let explanation = format!(
                "the claimed {} over the claimed {}: the claims differ among themselves.",
                amount(power, "W"),
                amount(rate, "cMAC/s"),
            );
            let derived = (power / rate).into();
            let name = "energy_j_per_cmac by power_w and cmacs_per_s".to_owned();
            self.compare(Key::EnergyJPerCmac, name, "J", energy, derived, AtMost, explanation);
        }
        let photon = self.card.photon_j();
        let explanation = format!(
            "a photon of {} over a wall-plug efficiency of {} %.",
            amount(photon, "J"),
            digits(100.0 * self.card.wall_plug()),
        );
        let behind = photon / self.card.wall_plug();
        self.check(Key::PhotonEnergyJ, "J", behind, Equal, explanation);
    }
}
