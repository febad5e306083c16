//! Parts of a description against one another: findings that need no claim.

use super::card::Card;
use super::finding::{Bound, Finding, Severity, Uncertain, judge, ratio};
use super::words::{amount, digits};
use super::{Audit, Figure};
use litecore_types::chip::{ClaimKey, Dataflow};

/// Heat that a cold plate takes off a chip.
const COOLED_W_PER_CM2: f64 = 100.0;
/// Side of the least square around two circles of diameter one: laid on the diagonal.
const TWO_CIRCLES: f64 = 1.0 + std::f64::consts::FRAC_1_SQRT_2;
/// A leak beyond which small inputs cannot be written at all.
const COARSE_FIELD: f64 = 0.25;

/// What contradicts itself, and what is worth knowing.
pub(super) fn findings(card: &Card<'_>, audit: &Audit) -> Vec<Finding> {
    let found = [
        link(card, audit),
        small_inputs(card, audit),
        noise(card, audit),
        rings(card),
        heat(audit),
        field(audit),
        crosstalk(audit),
        pipeline(card, audit),
        wavelengths(card),
        reload(audit),
        dataflow(card),
    ];
    found.into_iter().flatten().collect()
}

fn finding(
    claim: &str,
    unit: &'static str,
    claimed: f64,
    derived: impl Into<Uncertain>,
    severity: Severity,
    explanation: String,
) -> Finding {
    let derived = derived.into().value;
    Finding {
        claim: claim.to_owned(),
        unit,
        claimed,
        derived,
        ratio: ratio(unit, derived, claimed),
        severity,
        explanation,
        source: "the description itself".to_owned(),
    }
}

/// Streaming from the host: a contradiction where a rate is claimed, else a matter of keeping
/// activations on the card.
fn link(card: &Card<'_>, audit: &Audit) -> Option<Finding> {
    let derived = audit.uncertain(Figure::LinkSymbolRateOneWavelengthHz);
    let severity = judge("Hz", card.rate(), derived, Bound::AtLeast);
    let claims_a_rate = card.chip().claims.get(ClaimKey::CmacsPerS).is_some();
    (severity != Severity::Note).then(|| {
        let severity = if claims_a_rate { severity } else { Severity::Warning };
        let explanation = format!(
            "the host link starves one wavelength of one array above this symbol rate, and all of \
             them above {}; faster work needs activations that stay on the card.",
            amount(audit.value(Figure::LinkSymbolRateHz), "Hz"),
        );
        finding(
            "clock.symbol_rate_hz by host.bytes_per_s",
            "Hz",
            card.rate(),
            derived,
            severity,
            explanation,
        )
    })
}

fn small_inputs(card: &Card<'_>, audit: &Audit) -> Option<Finding> {
    let field = audit.value(Figure::SmallestInputField);
    let step = f64::from(card.chip().input_limit()).recip();
    let severity = if field > COARSE_FIELD {
        Severity::Contradiction
    } else if field > 2.0 * step {
        Severity::Warning
    } else {
        return None;
    };
    let explanation = format!(
        "an extinction of {} dB leaves {} of the largest field, {} input codes wide: inputs below it \
         cannot be written without a nulling modulator.",
        digits(card.chip().modulator.extinction_db.value()),
        digits(field),
        digits(field / step),
    );
    Some(finding("modulator.extinction_db by dac.bits", "", step, field, severity, explanation))
}

fn noise(card: &Card<'_>, audit: &Audit) -> Option<Finding> {
    let snr = audit.uncertain(Figure::SnrRmsDb);
    (snr.value < 0.0).then(|| {
        let explanation = format!(
            "{} photons per cMAC: the noise is above a typical output.",
            digits(card.photons_per_cmac()),
        );
        finding("snr_rms_db below zero", "dB", 0.0, snr, Severity::Warning, explanation)
    })
}

fn rings(card: &Card<'_>) -> Option<Finding> {
    let radius = &card.chip().ring.as_ref()?.radius_um;
    let pitch = card.chip().array.pitch_um.value;
    let side = 2.0 * TWO_CIRCLES;
    let needed = Uncertain { value: side * radius.value, plus_minus: side * radius.plus_minus };
    let severity = judge("um", pitch, needed, Bound::Fits);
    (severity != Severity::Note).then(|| {
        let explanation =
            format!("two rings of radius {} um need a cell this wide.", digits(radius.value));
        finding("array.pitch_um by ring.radius_um", "um", pitch, needed, severity, explanation)
    })
}

fn heat(audit: &Audit) -> Option<Finding> {
    let derived = audit.uncertain(Figure::HoldWPerCm2);
    let severity = judge("W/cm²", COOLED_W_PER_CM2, derived, Bound::AtMost);
    (severity != Severity::Note).then(|| {
        let explanation = format!(
            "holding the weights alone heats the array by this much, over {} mm x {} mm; a cold plate \
             takes about {COOLED_W_PER_CM2} W/cm².",
            digits(audit.value(Figure::ArrayWidthMm)),
            digits(audit.value(Figure::ArrayHeightMm)),
        );
        let name = "cell.hold_power_w by array.pitch_um";
        finding(name, "W/cm²", COOLED_W_PER_CM2, derived, severity, explanation)
    })
}

fn field(audit: &Audit) -> Option<Finding> {
    let derived = audit.uncertain(Figure::ReticlesPerArray);
    let severity = judge("", 1.0, derived, Bound::AtMost);
    (severity != Severity::Note).then(|| {
        let explanation =
            "one lithography field is 26 mm x 33 mm; a larger array must be stitched.";
        finding(
            "array.pitch_um by lithography field",
            "",
            1.0,
            derived,
            severity,
            explanation.into(),
        )
    })
}

fn crosstalk(audit: &Audit) -> Option<Finding> {
    const WORTH_SOLVING: f64 = 0.01;
    let seen = audit.value(Figure::NeighborCrosstalk);
    (seen > WORTH_SOLVING).then(|| {
        let explanation = "cells disturb their neighbors by more than a hundredth of a drive: the \
                           drives of the whole array must be solved together.";
        finding(
            "cell.thermal_crosstalk by array.pitch_um",
            "",
            WORTH_SOLVING,
            seen,
            Severity::Warning,
            explanation.to_owned(),
        )
    })
}

fn pipeline(card: &Card<'_>, audit: &Audit) -> Option<Finding> {
    let flight = audit.uncertain(Figure::FlightTimeS);
    let severity = judge("s", card.pipeline_s(), flight, Bound::AtMost);
    (severity != Severity::Note).then(|| {
        let explanation = "light alone takes longer across the array than the stated pipeline.";
        let name = "receiver.pipeline_s by array.pitch_um";
        finding(name, "s", card.pipeline_s(), flight, severity, explanation.to_owned())
    })
}

fn wavelengths(card: &Card<'_>) -> Option<Finding> {
    let count = card.wavelengths();
    (count > 1.0).then(|| {
        let explanation = "wavelengths do not interfere: they carry separate symbols at the same \
                           time and sum nothing among themselves.";
        finding("array.wavelengths", "", count, count, Severity::Note, explanation.to_owned())
    })
}

fn reload(audit: &Audit) -> Option<Finding> {
    let symbols = audit.uncertain(Figure::BreakEvenSymbols);
    (symbols.value > 1.0).then(|| {
        let explanation = format!(
            "a tile takes {} to load and settle: fewer symbols than this per load and the array \
             waits more than it works, unless another bank is written meanwhile.",
            amount(audit.value(Figure::WeightUpdateS), "s"),
        );
        finding("symbols per weight load", "", 1.0, symbols, Severity::Note, explanation)
    })
}

fn dataflow(card: &Card<'_>) -> Option<Finding> {
    (card.chip().array.dataflow == Dataflow::OutputStationary).then(|| {
        let explanation = "both operands are streamed: nothing is held or settles, and all weights \
                           of a tile are converted again for each block of as many vectors as \
                           there are rows.";
        finding("array.dataflow", "", 1.0, 1.0, Severity::Note, explanation.to_owned())
    })
}
