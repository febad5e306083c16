//! All numbers of a description one by one, for whoever must change each in turn.

use super::{ChipDescription, Impairment, Quantity};

impl ChipDescription {
    /// Every quantity there is, impairments included, in the order of the sections; what is ideal has
    /// none.
    #[allow(clippy::too_many_lines, reason = "one line for each number")]
    pub fn quantities_mut(&mut self) -> Vec<&mut Quantity> {
        let Self {
            name: _,
            summary: _,
            array,
            clock,
            laser,
            path,
            modulator,
            receiver,
            dac,
            adc,
            cell,
            ring,
            phase_change,
            weights,
            memory,
            command,
            vector,
            host,
            claims: _,
        } = self;
        let mut all = vec![
            &mut array.pitch_um,
            &mut clock.symbol_rate_hz,
            &mut laser.power_w,
            &mut laser.wall_plug_efficiency,
            &mut laser.wavelength_nm,
            &mut path.insertion_loss_db,
            &mut path.reflection_length_m,
            &mut receiver.quantum_efficiency,
            &mut receiver.lo_power_w,
            &mut receiver.pipeline_s,
            &mut receiver.energy_j,
            &mut dac.energy_j,
            &mut dac.modulator_energy_j,
            &mut adc.energy_j,
            &mut cell.thermal_decay_per_um,
            &mut cell.drift_time_s,
            &mut cell.age_s,
            &mut cell.settling_s,
            &mut cell.hold_power_w,
            &mut weights.load_bytes_per_s,
            &mut weights.fetch_bytes_per_s,
            &mut weights.dac_energy_j,
            &mut weights.fetch_energy_j_per_byte,
            &mut memory.port_bytes_per_s,
            &mut memory.accumulator_bytes_per_s,
            &mut memory.sram_energy_j_per_byte,
            &mut command.issue_s,
            &mut command.energy_j,
            &mut vector.elements_per_s,
            &mut vector.latency_s,
            &mut vector.energy_j_per_element,
            &mut host.bytes_per_s,
            &mut host.latency_s,
            &mut host.energy_j_per_byte,
        ];
        let mut impairments = vec![
            &mut laser.rin_db_per_hz,
            &mut laser.linewidth_hz,
            &mut path.crossing_loss_db,
            &mut path.mismatch_ps,
            &mut path.splitter_imbalance_db,
            &mut path.wdm_crosstalk_db,
            &mut path.crossing_crosstalk_db,
            &mut path.polarization_extinction_db,
            &mut path.polarization_residual,
            &mut path.back_reflection_db,
            &mut modulator.extinction_db,
            &mut modulator.transfer_error,
            &mut modulator.iq_gain_error,
            &mut modulator.iq_phase_error_rad,
            &mut modulator.iq_skew_s,
            &mut modulator.bandwidth_hz,
            &mut receiver.noise_a_per_rthz,
            &mut receiver.dark_current_a,
            &mut receiver.common_mode_rejection_db,
            &mut receiver.lo_phase_error_rad,
            &mut receiver.hybrid_gain_error,
            &mut receiver.hybrid_phase_error_rad,
            &mut receiver.iq_skew_s,
            &mut receiver.bandwidth_hz,
            &mut receiver.jitter_s,
            &mut dac.enob,
            &mut adc.enob,
            &mut cell.phase_error_rad,
            &mut cell.amplitude_error,
            &mut cell.thermal_crosstalk,
            &mut cell.crosstalk_residual,
            &mut cell.heating_phase_rad,
            &mut cell.drift_rad,
            &mut cell.dead_fraction,
            &mut cell.stuck_fraction,
            &mut cell.settling_residual,
        ];
        if let Some(ring) = ring {
            all.extend([
                &mut ring.self_coupling,
                &mut ring.round_trip,
                &mut ring.spectral_range_nm,
                &mut ring.radius_um,
            ]);
            impairments.push(&mut ring.detuning_error_rad);
        }
        if let Some(film) = phase_change {
            all.push(&mut film.endurance_writes);
            impairments.extend([&mut film.write_error, &mut film.drift_per_decade]);
        }
        all.extend(impairments.into_iter().filter_map(|impairment| match impairment {
            Impairment::Ideal => None,
            Impairment::Of(quantity) => Some(quantity),
        }));
        all
    }
}

#[cfg(test)]
mod tests {
    use crate::chip::{BUILTIN_NAMES, builtin, builtin_text};

    /// Against the text of the files: every number with an uncertainty is listed once.
    #[test]
    fn no_quantity_is_left_out() {
        for name in BUILTIN_NAMES {
            let mut chip = builtin(name).expect("shipped");
            let text = builtin_text(name).expect("shipped");
            let written = text.lines().filter(|line| line.contains("plus_minus =")).count();
            let found: Vec<String> =
                chip.quantities_mut().into_iter().map(|quantity| quantity.source.clone()).collect();
            assert_eq!(found.len(), written, "{name}");
            for quantity in chip.quantities_mut() {
                quantity.source = "seen".to_owned();
            }
            let shown = format!("{chip:?}");
            assert_eq!(shown.matches("source: \"seen\"").count(), written, "{name}");
            let quantities = shown.matches("Quantity {").count();
            assert_eq!(quantities, written, "{name}: one is no Quantity or written twice");
        }
    }
}
