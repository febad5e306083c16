//! Claims on times and layout, and claims that are wrong by plain arithmetic.

use super::Bound::{AtMost, Equal, Fits};
use super::{Checks, Key};
use crate::audit::card::LIGHT_SPEED_M_PER_S;
use crate::audit::words::{amount, digits};
use crate::audit::{Figure, decibels};
use litecore_types::chip::guide::GROUP_INDEX;

impl Checks<'_> {
    pub(super) fn time(&mut self) {
        let explanation = format!(
            "light alone, at group index {GROUP_INDEX}, across {} mm; with converters the product \
             takes {}.",
            digits(self.value(Figure::ArrayWidthMm).max(self.value(Figure::ArrayHeightMm))),
            amount(self.value(Figure::MvmLatencyS), "s"),
        );
        let flight = self.audit.uncertain(Figure::FlightTimeS);
        self.check(Key::MvmLatencyS, "s", flight, AtMost, explanation);
        let explanation = format!("group index {GROUP_INDEX} over the speed of light.");
        let slowness = GROUP_INDEX / LIGHT_SPEED_M_PER_S;
        self.check(Key::PropagationSPerM, "s/m", slowness, Equal, explanation);

        let codes = 2.0 * self.card.rows() * self.card.columns();
        let explanation = format!(
            "{} codes at {}, settling {} not counted.",
            amount(codes, ""),
            amount(self.card.chip().weights.load_bytes_per_s.value, "B/s"),
            amount(self.card.settling_s(), "s"),
        );
        let load = self.audit.uncertain(Figure::WeightLoadS);
        self.check(Key::WeightUpdateS, "s", load, AtMost, explanation);
        if let (Some(claimed), Some(rate), Some(bits)) = (
            self.claims.value(Key::WeightUpdateS),
            self.claims.value(Key::ManagementBitsPerS),
            self.claims.value(Key::ManagementBitsPerCode),
        ) {
            let explanation = format!(
                "{} codes of {bits} bits each, addressing included, at {}.",
                amount(codes, ""),
                amount(rate, "b/s"),
            );
            let derived = (codes * bits / rate).into();
            let name = "weight_update_s over the management link".to_owned();
            self.compare(Key::ManagementBitsPerS, name, "s", claimed, derived, AtMost, explanation);
        }
    }

    pub(super) fn layout(&mut self) {
        let pitch_um = self.card.chip().array.pitch_um.value;
        if let Some(spacing) = self.claims.value(Key::RingSpacingUm) {
            let explanation = format!(
                "two rings per cell, each {} um from every other, need cells this wide.",
                digits(spacing),
            );
            let needed = (spacing * std::f64::consts::SQRT_2).into();
            let name = "array.pitch_um by ring_spacing_um".to_owned();
            self.compare(Key::RingSpacingUm, name, "um", pitch_um, needed, Fits, explanation);
        }
        let registers = 2.0 * self.card.cells() * f64::from(self.card.chip().weights.bits) / 8.0;
        let explanation = format!(
            "two rings in each of {} cells, {} bits each.",
            amount(self.card.cells(), ""),
            self.card.chip().weights.bits,
        );
        self.check(Key::RingRegisterBytes, "B", registers, AtMost, explanation);
        let neighbor = self.value(Figure::NeighborCrosstalk);
        if neighbor > 0.0 {
            let explanation = format!(
                "at a pitch of {} um a cell sees {} % of its neighbor's drive.",
                digits(pitch_um),
                digits(100.0 * neighbor),
            );
            let level = decibels::of(neighbor);
            self.check(Key::ThermalCrosstalkDb, "dB", level, AtMost, explanation);
        }
        if let (Some(pitch), Some(width), Some(height)) = (
            self.claims.value(Key::CellPitchUm),
            self.claims.value(Key::DieWidthMm),
            self.claims.value(Key::DieHeightMm),
        ) {
            let area = self.card.rows() * self.card.columns() * pitch * pitch * 1e-6;
            let explanation = format!(
                "cells of {} um, against {} um elsewhere, make an array larger than the die of \
                 {width} mm x {height} mm.",
                digits(pitch),
                digits(pitch_um),
            );
            let name = "die area by cell_pitch_um".to_owned();
            let die = width * height;
            self.compare(Key::CellPitchUm, name, "mm²", die, area.into(), Fits, explanation);
        }
        if let Some(product) = self.claims.value(Key::PhaseShifterVM) {
            let volts = product / (pitch_um * 1e-6);
            let explanation = format!(
                "half a turn with {} V cm in a cell {} um long.",
                digits(product * 100.0),
                digits(pitch_um),
            );
            self.check(Key::DriveV, "V", volts, AtMost, explanation);
        }
    }

    pub(super) fn arithmetic(&mut self) {
        if let Some(loss) = self.claims.value(Key::WaveguideLossDbPerCm) {
            let absorption = loss * std::f64::consts::LN_10 / 10.0;
            let explanation = format!("{loss} dB/cm times ln(10) / 10.");
            self.check(Key::WaveguideAbsorptionPerCm, "1/cm", absorption, Equal, explanation);
        }
        if let (Some(decision), Some(layer), Some(layers)) = (
            self.claims.value(Key::RoutingTimeS),
            self.claims.value(Key::LayerTimeS),
            self.claims.value(Key::Layers),
        ) {
            let explanation = format!(
                "{} for a decision over {layers} layers of {}.",
                amount(decision, "s"),
                amount(layer, "s"),
            );
            self.check(Key::RoutingOverhead, "", decision / (layers * layer), AtMost, explanation);
        }
    }
}
