//! From light to numbers: what one unit of the exact sum is in amperes, and what disturbs it.
//!
//! Operands are laid onto the unit disc: a real code `c` of limit `L` stands for `c / (L √2)` where
//! a cell or row holds two, so that two full codes have modulus one, and for `c / L` where it holds
//! one. In conjugate folding, read in phase, with `w̃` and `z` the complex operands of a
//! column of N cells, and M columns:
//!
//! ```text
//! Re Σ w̃ z = acc / (2 L_w L_x)                     acc: the exact integer sum
//! E        = √P_L · t / (N √M) · Σ w̃ z             t² = 10^(-IL/10), excess loss only
//! I        = 2 R √P_LO · Re E                       all signal and all LO in the one quadrature
//! R        = η q λ / (h c)                          amperes per watt
//! σ²_shot  = 2 q R P_LO · B,   B = f / 2            matched receiver
//! σ²_amp   = i_n² · B
//! ```
//!
//! Hence `SNR_rms = κ η n t² s` with κ = 4, `n = P_L / (f N M ħω)` launched photons per cell and
//! symbol, and s the mean square of `Re(w̃ z)` in one cell: 1/18 for uniform data. A 90° hybrid gives
//! half of signal and oscillator to each quadrature, and κ = 2.
//!
//! Where both operands are streamed there is no oscillator and no combiner. Half of the laser feeds N
//! input lanes, half feeds M weight lanes, and each of N × M detectors gets a share of both beams for
//! N symbols, whose currents it adds up:
//!
//! ```text
//! P_d      = P_L t² / (2 N M)                       one beam at one detector, at full drive
//! Σ_k I    = 2 R P_d · Re Σ w̃ z
//! σ²_shot  = 2 q R P_d Σ_k (|w̃|² + |z|²) · B         what Poisson counts of N symbols have
//! σ²_amp   = N i_n² · B
//! ```
//!
//! Left out: the shot noise of the signal's own light. It is `P_signal / P_LO` of the oscillator's
//! share: 3e-4 for uniform data on the default chip, one sixth if every operand is at full scale.

use crate::packing::Packing;
use litecore_types::chip::{ChipDescription, Dataflow};

/// Charge of the electron in coulombs, exact in the SI.
const ELECTRON_CHARGE_C: f64 = 1.602_176_634e-19;
/// Planck's constant in joule seconds, exact in the SI.
const PLANCK_J_S: f64 = 6.626_070_15e-34;
/// Speed of light in meters per second, exact in the SI.
const LIGHT_SPEED_M_PER_S: f64 = 299_792_458.0;

/// Signal and dynamic noise of one array at one symbol rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Optics {
    /// Receiver current for one unit of the exact sum.
    pub amperes_per_unit: f64,
    /// Launched photons per cell and symbol.
    pub photons_per_cell: f64,
    /// Photocurrent of the local oscillator in one balanced pair; where both operands are streamed,
    /// of one of them at full drive.
    pub oscillator_amperes: f64,
    /// Standard deviation of the shot noise in one sample, in units of the exact sum; where both
    /// operands are streamed, with both at full drive.
    pub shot_sigma_units: f64,
    /// Standard deviation of the amplifier noise in one sample, in units of the exact sum.
    pub receiver_sigma_units: f64,
    /// Standard deviation of the dark current's shot noise in one sample, in units of the exact sum.
    pub dark_sigma_units: f64,
    /// Standard deviation of the input converter's own noise, in input codes.
    pub dac_sigma_codes: f64,
    /// Standard deviation of the output converter's own noise in one sample, in converter steps.
    ///
    /// A converter of b bits and effective number of bits e has `4^(b-e)` times the noise of ideal
    /// rounding, `1/12`; the rounding is there already.
    pub adc_sigma_steps: f64,
}

impl Optics {
    /// The optics of a chip that computes real tiles in conjugate folding.
    pub fn of(chip: &ChipDescription) -> Self {
        Self::of_packing(chip, Packing::Conjugate)
    }

    /// The optics of a chip in a packing. Where an operand holds one code, that fills it; where it
    /// holds two, each has `1/√2` of its modulus.
    pub fn of_packing(chip: &ChipDescription, packing: Packing) -> Self {
        let (rows, columns) = (chip.array.inputs as f64, chip.array.outputs as f64);
        let rate = chip.clock.symbol_rate_hz.value;
        let bandwidth = rate / 2.0;
        let photon_energy =
            PLANCK_J_S * LIGHT_SPEED_M_PER_S / (chip.laser.wavelength_nm.value * 1e-9);
        let responsivity =
            chip.receiver.quantum_efficiency.value * ELECTRON_CHARGE_C / photon_energy;
        let transmission = power_ratio(-chip.path.excess_loss_db(chip.array.inputs));
        let launched = chip.laser.power_w.value;
        // A hybrid halves signal and oscillator; the product of their fields is halved once.
        let pairs = chip.receiver.readout.pairs() as f64;
        let oscillator = chip.receiver.lo_power_w.value;

        let streamed = chip.array.dataflow == Dataflow::OutputStationary;
        // Symbols whose currents one sample adds up.
        let symbols = if streamed { rows } else { 1.0 };
        let beam = launched * transmission / (2.0 * rows * columns);
        let field = (launched * transmission / columns).sqrt() / rows;
        let codes_per_cell = packing.weights_per_cell() as f64;
        let codes_per_row = if packing.drives_quadrature() { 2.0 } else { 1.0 };
        let unit = 1.0
            / ((codes_per_cell * codes_per_row).sqrt()
                * f64::from(chip.weight_limit())
                * f64::from(chip.input_limit()));
        let (amperes_per_unit, oscillator_amperes, light) = if streamed {
            let amperes = responsivity * beam / pairs;
            (2.0 * amperes * unit, amperes, 2.0 * amperes * symbols)
        } else {
            let amperes = responsivity * oscillator / pairs;
            (2.0 / pairs * responsivity * oscillator.sqrt() * field * unit, amperes, amperes)
        };

        let shot = 2.0 * ELECTRON_CHARGE_C * light * bandwidth;
        let dark = 2.0
            * ELECTRON_CHARGE_C
            * 2.0
            * chip.receiver.dark_current_a.value()
            * bandwidth
            * symbols;
        let amplifier = chip.receiver.noise_a_per_rthz.value() * (bandwidth * symbols).sqrt();
        Self {
            amperes_per_unit,
            photons_per_cell: launched / (rate * rows * columns * photon_energy),
            oscillator_amperes,
            shot_sigma_units: shot.sqrt() / amperes_per_unit,
            receiver_sigma_units: amplifier / amperes_per_unit,
            dark_sigma_units: dark.sqrt() / amperes_per_unit,
            dac_sigma_codes: converter_sigma(chip.dac.bits, chip.dac.effective_bits()),
            adc_sigma_steps: converter_sigma(chip.adc.bits, chip.adc.effective_bits()),
        }
    }
}

/// What a converter adds to ideal rounding, in its steps.
fn converter_sigma(bits: u8, effective_bits: f64) -> f64 {
    // 4^x = 10^(x · 20 log10(2) / 10).
    let missing_bits = f64::from(bits) - effective_bits;
    let excess = power_ratio(missing_bits * 20.0 * std::f64::consts::LOG10_2) - 1.0;
    (excess.max(0.0) / 12.0).sqrt()
}

/// `2^shift`; shifts of 64 and more, which no chip has, count as 63.
pub(crate) fn step_units(shift: u8) -> f64 {
    (1_u64 << shift.min(63)) as f64
}

/// `10^(db/10)`.
pub(crate) fn power_ratio(db: f64) -> f64 {
    pxfm::f_exp10(db / 10.0)
}

/// `10 log10(ratio)`.
pub(crate) fn decibels(ratio: f64) -> f64 {
    10.0 * pxfm::f_log10(ratio)
}

#[cfg(test)]
mod tests {
    use super::*;
    use litecore_types::chip::builtin;

    fn close(measured: f64, expected: f64, relative: f64) {
        assert!((measured / expected - 1.0).abs() < relative, "{measured} against {expected}");
    }

    #[test]
    fn the_default_chip_has_the_numbers_of_a_slide_rule() {
        let chip = builtin("ref-64-eo").unwrap();
        let optics = Optics::of(&chip);
        // 0.5 W over 2 GHz, 64 x 64 cells, photons of 0.80 eV.
        close(optics.photons_per_cell, 0.5 / (2e9 * 4096.0 * 1.2816e-19), 1e-3);
        // Full scale: sqrt(0.5 W · 10^-1.07 / 64) = 25.79 mW^(1/2)… times 2 R sqrt(4 mW).
        let full_scale = optics.amperes_per_unit * 128.0 * 127.0 * 127.0;
        close(full_scale, 2.0 * 1.0001 * 0.004_f64.sqrt() * 0.025_787, 1e-3);
        // Shot 2 q R P B over amplifier i² B, in power: 2 · 1.602e-19 · 4e-3 / 1e-22 = 12.8.
        let ratio = optics.shot_sigma_units / optics.receiver_sigma_units;
        close(ratio * ratio, 12.82, 1e-3);
        // One missing bit: three times the noise of rounding on top, 3/12.
        close(optics.adc_sigma_steps, 0.5, 1e-12);
    }

    #[test]
    fn shot_noise_follows_the_closed_form_in_photons() {
        for name in ["ref-64-eo", "tiny-4"] {
            let chip = builtin(name).unwrap();
            let optics = Optics::of(&chip);
            // Uniform data: s = 1/18 on the disc, 2N · (L²/3)² in units of the exact sum.
            let limit = 127.0_f64;
            let mean_square =
                2.0 * chip.array.inputs as f64 * (limit * limit / 3.0) * (limit * limit / 3.0);
            let sigma = optics.shot_sigma_units;
            let transmission = power_ratio(-chip.path.excess_loss_db(chip.array.inputs));
            let expected = 4.0 * 0.8 * optics.photons_per_cell * transmission / 18.0;
            close(mean_square / (sigma * sigma), expected, 1e-9);
        }
    }

    #[test]
    fn a_converter_that_has_all_its_bits_adds_nothing() {
        let mut chip = builtin("ref-64-eo").unwrap();
        chip.adc.enob = litecore_types::chip::Impairment::set(8.0);
        assert!(Optics::of(&chip).adc_sigma_steps.abs() < 1e-9);
    }
}
