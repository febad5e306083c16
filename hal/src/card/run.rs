use super::session::Failure;
use super::{CardDevice, fault, timed_out};
use crate::{Completion, DeviceError, RunOutcome, RunRequest, SymbolTag};
use litecore_firmware_proto::command::FLAG_ENERGY;
use litecore_firmware_proto::identity::FEATURE_ENERGY;
use litecore_firmware_proto::payload::{
    RunReply, component, f32s, run_payload_bytes, run_reply_bytes, write_f32s, write_u64s,
};
use litecore_firmware_proto::{FaultCode, Opcode};
use litecore_types::{Component, Cycles, EnergyLedger};
use std::sync::Arc;
use std::time::Instant;

/// Most entries of an energy ledger, for which room is left in replies; later cards may have more
/// components than this driver knows.
const ENERGY_ENTRIES: usize = 32;

/// A piece of a run that fits into one command.
struct Part<'a> {
    tags: &'a [SymbolTag],
    inputs: &'a [f32],
    output_len: usize,
    /// Symbols of the run before this part.
    first: usize,
}

impl CardDevice {
    pub(super) fn run_image(
        &mut self,
        request: &RunRequest<'_>,
    ) -> Result<RunOutcome, DeviceError> {
        let no_image = DeviceError::NoSuchImage { image: request.image };
        let index = usize::try_from(request.image.0).ok().filter(|i| *i < self.images.len());
        let index = index.ok_or(no_image)?;
        let program = &self.images[index].program;
        let (vector, output_len, most) =
            (program.input_len(), program.output_len(), program.symbols_max);
        let (given, symbols) = (request.inputs.len(), request.tags.len());
        if given != symbols.saturating_mul(vector) {
            return Err(DeviceError::InputLength { given, symbols, vector });
        }
        if symbols as u64 > most {
            return Err(DeviceError::TooManySymbols { given: symbols, most });
        }
        let per_command = self.symbols_per_command(symbols, vector, output_len)?;
        let mut outcome = RunOutcome {
            outputs: Vec::with_capacity(symbols * output_len),
            cycles: Cycles::ZERO,
            energy: None,
        };
        let mut first = 0;
        // A run without symbols is one command too.
        loop {
            let last = (first + per_command).min(symbols);
            let part = Part {
                tags: &request.tags[first..last],
                inputs: &request.inputs[first * vector..last * vector],
                output_len,
                first,
            };
            self.run_part(index, &part, &mut outcome)?;
            first = last;
            if first >= symbols {
                return Ok(outcome);
            }
        }
    }

    /// Most symbols whose payload and reply fit into one transfer each.
    fn symbols_per_command(
        &self,
        symbols: usize,
        vector: usize,
        output_len: usize,
    ) -> Result<usize, DeviceError> {
        let link = self.session.link.info().transfer_max;
        let payload_max = link.min(self.identity.payload_max);
        let reply_max = link.min(self.identity.reply_max);
        let fits = |symbols: usize| {
            run_payload_bytes(symbols, vector).is_some_and(|bytes| bytes <= payload_max)
                && run_reply_bytes(symbols, output_len, ENERGY_ENTRIES)
                    .is_some_and(|bytes| bytes <= reply_max)
        };
        let per_payload = payload_max / (8 + 4 * vector);
        let per_reply = (reply_max / 4).checked_div(output_len).unwrap_or(symbols.max(1));
        let mut most = per_payload.min(per_reply).min(symbols.max(1));
        // The ledger takes a little of the reply.
        while most > 0 && !fits(most) {
            most -= 1;
        }
        if most == 0 {
            let what = "one symbol is longer than the longest transfer";
            return Err(DeviceError::NotSendable { what });
        }
        Ok(most)
    }

    fn run_part(
        &mut self,
        index: usize,
        part: &Part<'_>,
        outcome: &mut RunOutcome,
    ) -> Result<(), DeviceError> {
        let payload_len = part.tags.len() * 8 + part.inputs.len() * 4;
        let reply = run_reply_bytes(part.tags.len(), part.output_len, ENERGY_ENTRIES);
        let reply_capacity = reply.unwrap_or(0).min(self.identity.reply_max);
        let timeouts = self.session.timeouts;
        let program = Arc::clone(&self.images[index].program);
        // A card that starts over in between needs the image again.
        let load = self.load_deadline(&program).left();
        let deadline = self.deadline(timeouts.run + load, payload_len + reply_capacity);
        let mut fill = |payload: &mut [u8]| {
            let written = write_u64s(part.tags.iter().map(|tag| tag.0), payload).unwrap_or(0);
            write_f32s(part.inputs, payload.get_mut(written..).unwrap_or_default());
        };
        let called = Instant::now();
        loop {
            if deadline.passed() {
                return Err(timed_out(called));
            }
            let mut ask = self.ask(Opcode::Run);
            ask.image = self.on_card(index, deadline)?;
            ask.argument = part.tags.len() as u64;
            (ask.payload_len, ask.reply_capacity) = (payload_len, reply_capacity);
            let with_energy = self.identity.features & FEATURE_ENERGY != 0;
            ask.flags = if with_energy { FLAG_ENERGY } else { 0 };
            let slowest = self.images.get(index).and_then(|image| image.slowest);
            let usual = slowest.map_or(timeouts.run / 4, |slowest| slowest * 8 + timeouts.rung);
            ask.patience = timeouts.for_transfer(usual, (payload_len + reply_capacity) as u64);
            let began = Instant::now();
            let completion = match self.firm(&ask, &mut fill, deadline) {
                Ok(completion) => completion,
                Err(Failure::Device(error)) => return Err(error),
                Err(Failure::Restarted) => {
                    self.greet_again(deadline)?;
                    continue;
                }
            };
            match completion.header.fault {
                None => {
                    if let Some(image) = self.images.get_mut(index) {
                        image.slowest = image.slowest.max(Some(began.elapsed()));
                    }
                    return collect(&completion, part, with_energy, outcome);
                }
                Some(FaultCode::ImageUnknown) => {
                    if let Some(image) = self.images.get_mut(index) {
                        image.forget();
                    }
                }
                Some(code) => return Err(fault::of_run(&completion, code, part.first)),
            }
        }
    }
}

/// Appends the outputs of a part to those before it.
fn collect(
    completion: &Completion,
    part: &Part<'_>,
    with_energy: bool,
    outcome: &mut RunOutcome,
) -> Result<(), DeviceError> {
    let entries = if with_energy { completion.header.argument } else { 0 };
    let reply = RunReply::parse(&completion.reply, part.tags.len(), part.output_len, entries);
    let what = "another number of outputs than the program has";
    let reply = reply.ok_or(DeviceError::BadReply { command: "run", what })?;
    outcome.outputs.extend(f32s(reply.outputs));
    outcome.cycles += Cycles(completion.header.cycles);
    if with_energy {
        let ledger = outcome.energy.get_or_insert_with(EnergyLedger::default);
        for (number, joules) in reply.energy() {
            // Components of later cards are left out, as is anything that no card means.
            if let Some(component) = component_of(number).filter(|_| joules.is_finite()) {
                ledger.charge(component, joules);
            }
        }
    }
    Ok(())
}

fn component_of(number: u32) -> Option<Component> {
    Some(match number {
        component::LASER => Component::Laser,
        component::INPUT_DAC => Component::InputDac,
        component::MODULATOR => Component::Modulator,
        component::RECEIVER => Component::Receiver,
        component::ADC => Component::Adc,
        component::WEIGHT_DAC => Component::WeightDac,
        component::WEIGHT_HOLD => Component::WeightHold,
        component::DIGITAL => Component::Digital,
        component::SRAM => Component::Sram,
        component::WEIGHT_FETCH => Component::WeightFetch,
        component::HOST_LINK => Component::HostLink,
        component::COMMAND => Component::Command,
        _ => return None,
    })
}
