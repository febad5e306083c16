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
/// Light in one silicon strip guide from which on it loses more the more there is, by absorption of
/// two photons and of the carriers they free.
const GUIDE_W: f64 = 0.02;
/// The same in a silicon ring, where light gathers and a shift of the resonance shows.
const RING_W: f64 = 1.0e-3;
const NONLINEAR: &str = "absorption of two photons and of the carriers they free, in silicon strips \
                         from 10-20 mW on, in rings from about 1 mW: common figures, assumed";
/// Shortest life of a card that is always at work: five years.
const LIFE_S: f64 = 5.0 * 365.25 * 86400.0;
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
        feeds(card),
        row_guide(audit),
        ring_light(card, audit),
        wear(card, audit),
    ];
    found.into_iter().flatten().collect()
}

/// What a derived number stands beside.
#[derive(Clone, Copy)]
enum Beside {
    /// A number of the description.
    Stated(f64),
    /// A limit of this audit, and where it is from.
    Limit(f64, &'static str),
    /// Nothing.
    Nothing,
}
use Beside::{Limit, Nothing, Stated};

fn finding(
    claim: &str,
    unit: &'static str,
    beside: Beside,
    derived: impl Into<Uncertain>,
    severity: Severity,
    explanation: String,
) -> Finding {
    let derived = derived.into().value;
    let (claimed, limit, source) = match beside {
        Stated(value) => (Some(value), None, "the description itself"),
        Limit(value, source) => (None, Some(value), source),
        Nothing => (None, None, "the description itself"),
    };
    Finding {
        claim: claim.to_owned(),
        unit,
        claimed,
        limit,
        derived,
        ratio: claimed.or(limit).map_or(1.0, |reference| ratio(unit, derived, reference)),
        severity,
        explanation,
        source: source.to_owned(),
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
            Stated(card.rate()),
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
    let name = "modulator.extinction_db by dac.bits";
    Some(finding(name, "", Stated(step), field, severity, explanation))
}

fn noise(card: &Card<'_>, audit: &Audit) -> Option<Finding> {
    let snr = audit.uncertain(Figure::SnrRmsDb);
    (snr.value < 0.0).then(|| {
        let explanation = format!(
            "{} photons per cMAC: the noise is above a typical output.",
            digits(card.photons_per_cmac()),
        );
        let limit = Limit(0.0, "noise as strong as a typical output");
        finding("snr_rms_db below zero", "dB", limit, snr, Severity::Warning, explanation)
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
        let name = "array.pitch_um by ring.radius_um";
        finding(name, "um", Stated(pitch), needed, severity, explanation)
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
        let limit = Limit(COOLED_W_PER_CM2, "what a cold plate takes: assumed");
        finding(name, "W/cm²", limit, derived, severity, explanation)
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
            Limit(1.0, "one lithography field"),
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
            Limit(WORTH_SOLVING, "a hundredth of a drive: assumed"),
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
        finding(name, "s", Stated(card.pipeline_s()), flight, severity, explanation.to_owned())
    })
}

fn wavelengths(card: &Card<'_>) -> Option<Finding> {
    let count = card.wavelengths();
    (count > 1.0).then(|| {
        let explanation = "wavelengths do not interfere: they carry separate symbols at the same \
                           time and sum nothing among themselves.";
        let (name, explanation) = ("array.wavelengths", explanation.to_owned());
        finding(name, "", Stated(count), count, Severity::Note, explanation)
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
        finding("symbols per weight load", "", Nothing, symbols, Severity::Note, explanation)
    })
}

fn dataflow(card: &Card<'_>) -> Option<Finding> {
    (card.chip().array.dataflow == Dataflow::OutputStationary).then(|| {
        let explanation = "both operands are streamed: nothing is held or settles, and all weights \
                           of a tile are converted again for each block of as many vectors as \
                           there are rows.";
        let (name, explanation) = ("array.dataflow", explanation.to_owned());
        finding(name, "", Nothing, card.rows(), Severity::Note, explanation)
    })
}

/// All of an array's light in one silicon guide.
fn feeds(card: &Card<'_>) -> Option<Finding> {
    let light = card.feed_w();
    (light > GUIDE_W).then(|| {
        let explanation = format!(
            "all wavelengths of one array together; a silicon guide takes {} before it absorbs by \
             power, so that the light must come in over at least {} of them, or over another material.",
            amount(GUIDE_W, "W"),
            (light / GUIDE_W).ceil(),
        );
        let limit = Limit(GUIDE_W, NONLINEAR);
        finding("laser.power_w in one guide", "W", limit, light, Severity::Note, explanation)
    })
}

/// The light of one row, which no layout divides further before its modulator.
fn row_guide(audit: &Audit) -> Option<Finding> {
    let derived = audit.uncertain(Figure::RowLightW);
    let severity = judge("W", GUIDE_W, derived, Bound::AtMost);
    (severity != Severity::Note).then(|| {
        let explanation = "the guide of one row, all wavelengths together, before any loss: more than \
                           silicon carries without absorbing by power.";
        let limit = Limit(GUIDE_W, NONLINEAR);
        let name = "laser.power_w by array.inputs";
        finding(name, "W", limit, derived, severity, explanation.to_owned())
    })
}

fn ring_light(card: &Card<'_>, audit: &Audit) -> Option<Finding> {
    card.chip().ring.as_ref()?;
    let derived = audit.uncertain(Figure::CellLightW);
    let severity = judge("W", RING_W, derived, Bound::AtMost);
    (severity != Severity::Note).then(|| {
        let explanation = "light that gathers in a ring at resonance, of one row's share in one column: \
                           it heats and detunes the ring by itself.";
        let limit = Limit(RING_W, NONLINEAR);
        finding("laser.power_w in one ring", "W", limit, derived, severity, explanation.to_owned())
    })
}

/// Films that are written again and again.
fn wear(card: &Card<'_>, audit: &Audit) -> Option<Finding> {
    let writes = &card.chip().phase_change.as_ref()?.endurance_writes;
    let per_s = audit.uncertain(Figure::CellWritesPerS);
    let life_s = writes.value / per_s.value;
    let relative = [writes.plus_minus / writes.value, per_s.plus_minus / per_s.value];
    let plus_minus = life_s * (relative[0] * relative[0] + relative[1] * relative[1]).sqrt();
    let life = Uncertain { value: life_s, plus_minus };
    let severity = judge("s", LIFE_S, life, Bound::AtLeast);
    (severity != Severity::Note).then(|| {
        let explanation = format!(
            "{} writes at {} for each cell, one tile after the other without end; weights that stay, or \
             more cells to write, make it longer.",
            amount(writes.value, ""),
            amount(per_s.value, "Hz"),
        );
        let name = "phase_change.endurance_writes by weights.load_bytes_per_s";
        // It takes another use of the card, not another card.
        let severity = severity.max(Severity::Warning);
        finding(name, "s", Limit(LIFE_S, "five years of work: assumed"), life, severity, explanation)
    })
}
