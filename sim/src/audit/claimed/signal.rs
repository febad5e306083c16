//! Claims on light, precision and wavelengths.

use super::Bound::{AtLeast, AtMost};
use super::{Checks, Key, Uncertain};
use crate::audit::Figure;
use crate::audit::card::LIGHT_SPEED_M_PER_S;
use crate::audit::words::{amount, digits};

impl Checks<'_> {
    pub(super) fn light(&mut self) {
        let explanation = format!(
            "excess loss {} dB and the 1:{} split of {} dB, with every field aligned; one cell alone \
             is {} dB down, through the 1:{} split and the combiner too.",
            digits(self.value(Figure::ExcessLossDb)),
            self.card.columns(),
            digits(self.value(Figure::RowSplitDb)),
            digits(self.value(Figure::OneCellLossDb)),
            self.card.rows(),
        );
        let derived = self.audit.uncertain(Figure::FullScaleLossDb);
        self.check(Key::PathLossDb, "dB", derived, AtMost, explanation);
    }

    pub(super) fn precision(&mut self) {
        let parts: Vec<String> = self
            .card
            .reach()
            .parts
            .iter()
            .take(4)
            .map(|(name, db)| format!("{name} {db:.1}"))
            .collect();
        let rms = self.audit.uncertain(Figure::SnrRmsDb);
        let limits = format!(
            "{} photons are launched per cMAC; on uniform data the strongest limits are, in dB: {}.",
            digits(self.card.photons_per_cmac()),
            parts.join(", "),
        );
        self.check(Key::SnrDb, "dB", rms, AtLeast, limits.clone());
        if let Some(bits) = self.claims.value(Key::EffectiveBits) {
            let level = 6.02 * bits + 1.76;
            let explanation = format!("{bits} bits are {level:.1} dB; {limits}");
            let name = Key::EffectiveBits.name().to_owned();
            self.compare(Key::EffectiveBits, name, "dB", level, rms, AtLeast, explanation);
        }
        if let Some(claimed) = self.claims.value(Key::SnrDb) {
            let full_scale = self.audit.uncertain(Figure::SnrFsDb);
            let explanation = format!(
                "even against a full-scale output, {:.1} dB above a typical one.",
                full_scale.value - rms.value,
            );
            let name = "snr_db of full scale".to_owned();
            self.compare(Key::SnrDb, name, "dB", claimed, full_scale, AtLeast, explanation);
            let limit = self.audit.uncertain(Figure::RinLimitDb);
            if limit.value.is_finite() {
                let explanation = format!(
                    "intensity noise of {} dB/Hz in {} caps the ratio whatever the light.",
                    self.card.chip().laser.rin_db_per_hz.value(),
                    amount(self.card.rate() / 2.0, "Hz"),
                );
                let name = "snr_db by laser.rin_db_per_hz".to_owned();
                self.compare(Key::SnrDb, name, "dB", claimed, limit, AtLeast, explanation);
            }
        }
    }

    pub(super) fn wavelengths(&mut self) {
        let (Some(low), Some(high)) =
            (self.claims.value(Key::BandLowNm), self.claims.value(Key::BandHighNm))
        else {
            return;
        };
        let band_hz = LIGHT_SPEED_M_PER_S * 1e9 * (low.recip() - high.recip());
        if let Some(spacing) = self.claims.value(Key::ChannelSpacingHz) {
            let fit = (band_hz / spacing).floor();
            let explanation = |lines: f64| {
                format!(
                    "{low} to {high} nm are {}; {lines} lines {} apart need {}.",
                    amount(band_hz, "Hz"),
                    amount(spacing, "Hz"),
                    amount(lines * spacing, "Hz"),
                )
            };
            if let Some(lines) = self.claims.value(Key::CombLines) {
                self.check(Key::CombLines, "", fit, AtLeast, explanation(lines));
            }
            let lines = self.card.wavelengths();
            let name = "array.wavelengths by band and spacing".to_owned();
            let words = explanation(lines);
            self.compare(Key::ChannelSpacingHz, name, "", lines, fit.into(), AtLeast, words);
        }
        if let Some(ring) = &self.card.chip().ring {
            let seen = |range_nm: f64| ((high - low) / range_nm).floor() + 1.0;
            let range = &ring.spectral_range_nm;
            let value = seen(range.value);
            let plus_minus = seen(range.value - range.plus_minus) - value;
            let explanation = format!(
                "a free spectral range of {} nm puts so many resonances into {low} to {high} nm; the \
                 other wavelengths pass by, so each cell needs a ring pair for nearly every one.",
                digits(range.value),
            );
            let derived = Uncertain { value, plus_minus };
            self.check(Key::WavelengthsPerRingPair, "", derived, AtLeast, explanation);
        }
    }
}
