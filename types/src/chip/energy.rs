//! What each step of a program costs: the only place where energies come from.

use super::{ChipDescription, Dataflow};
use crate::program::{Action, Program, Step};
use crate::{Component, Cycles, EnergyLedger};

impl ChipDescription {
    /// Charges the dynamic energy of `step` when `program` runs on `symbols` input vectors.
    ///
    /// Event counts per step: one reading of the step by the command processor, dropped or not. For
    /// each optical symbol of a stream, as many conversions and drives as the packing has operands,
    /// one sample per balanced pair, one addition per code that is used. One conversion and one
    /// fetched byte per weight code, one digital operation per element, and every byte of the
    /// vectors that enter or leave a buffer. Where both operands are streamed, a weight is converted and
    /// drives a modulator whenever it is sent, and a buffer is all that is loaded.
    pub fn charge_step(
        &self,
        program: &Program,
        step: &Step,
        symbols: u64,
        ledger: &mut EnergyLedger,
    ) {
        ledger.charge(Component::Command, self.command.energy_j.value);
        if step.symbols.dropped_in(symbols) {
            return;
        }
        let count = step.symbols.count_in(symbols);
        let symbols = count as f64;
        let bytes = |id| symbols * program.buffer(id).bytes_per_symbol() as f64;
        let sram = self.memory.sram_energy_j_per_byte.value;
        let digital = self.vector.energy_j_per_element.value;
        match step.action {
            Action::MoveIn { to: buffer } | Action::MoveOut { from: buffer } => {
                ledger
                    .charge(Component::HostLink, bytes(buffer) * self.host.energy_j_per_byte.value);
                ledger.charge(Component::Sram, bytes(buffer) * sram);
            }
            Action::LoadBank { tile, .. } => {
                let codes = program.tile(tile).loaded_codes() as f64;
                ledger.charge(
                    Component::WeightFetch,
                    codes * self.weights.fetch_energy_j_per_byte.value,
                );
                // Into cells, each by a converter of its own; or into a buffer to be sent from.
                let (component, per_code) = match self.array.dataflow {
                    Dataflow::WeightStationary => {
                        (Component::WeightDac, self.weights.dac_energy_j.value)
                    }
                    Dataflow::OutputStationary => (Component::Sram, sram),
                };
                ledger.charge(component, codes * per_code);
            }
            Action::Settle { .. } => {}
            Action::Stream { tile, .. } => {
                let packing = program.tile(tile).packing;
                let symbols = count.div_ceil(packing.vectors());
                let weight_drives = self.weight_drives(symbols) as f64;
                let optical = symbols as f64;
                let drives = optical * (packing.drives_per_row() * self.array.inputs) as f64;
                let pairs = self.receiver.readout.pairs() as f64;
                let samples = optical * pairs * self.array.outputs as f64;
                let used = optical * (packing.codes_per_column() * self.array.outputs) as f64;
                ledger.charge(Component::InputDac, drives * self.dac.energy_j.value);
                ledger
                    .charge(Component::WeightDac, weight_drives * self.weights.dac_energy_j.value);
                ledger.charge(
                    Component::Modulator,
                    (drives + weight_drives) * self.dac.modulator_energy_j.value,
                );
                ledger.charge(Component::Receiver, samples * self.receiver.energy_j.value);
                ledger.charge(Component::Adc, samples * self.adc.energy_j.value);
                ledger.charge(Component::Digital, used * digital);
                // One byte per drive in; four bytes per code that is used, read and written back.
                ledger.charge(Component::Sram, (drives + weight_drives + 8.0 * used) * sram);
            }
            Action::Quantise { from, to, .. } | Action::Dequantise { from, to, .. } => {
                ledger.charge(
                    Component::Digital,
                    symbols * program.buffer(from).len as f64 * digital,
                );
                ledger.charge(Component::Sram, (bytes(from) + bytes(to)) * sram);
            }
            Action::Rotate { from, block, to, .. } => {
                let passes = f64::from(1 + block.max(1).ilog2());
                let elements = symbols * program.buffer(from).len as f64;
                ledger.charge(Component::Digital, elements * passes * digital);
                ledger.charge(Component::Sram, (bytes(from) + bytes(to)) * sram);
            }
            Action::SwiGlu { gate, up, to } => {
                ledger
                    .charge(Component::Digital, symbols * program.buffer(to).len as f64 * digital);
                ledger.charge(Component::Sram, (bytes(gate) + bytes(up) + bytes(to)) * sram);
            }
        }
    }

    /// Charges what runs by time alone for `duration`: the lasers of all wavelengths and the hold
    /// power of all cells, in all arrays. Where both operands are streamed there are no oscillators,
    /// and nothing is held.
    pub fn charge_static(&self, duration: Cycles, ledger: &mut EnergyLedger) {
        let seconds = duration.seconds(self.clock.symbol_rate_hz.value);
        let arrays = self.array.arrays as f64;
        let held = self.array.dataflow == Dataflow::WeightStationary;
        let oscillators = self.array.outputs as f64 * self.receiver.lo_power_w.value;
        let one_wavelength = self.laser.power_w.value + if held { oscillators } else { 0.0 };
        let light = self.array.wavelengths as f64 * one_wavelength;
        let cells = (self.array.inputs * self.array.outputs) as f64;
        ledger.charge(
            Component::Laser,
            arrays * light / self.laser.wall_plug_efficiency.value * seconds,
        );
        if held {
            let watts = arrays * cells * self.cell.hold_power_w.value;
            ledger.charge(Component::WeightHold, watts * seconds);
        }
    }
}
