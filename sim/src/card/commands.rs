use super::uploads::Loaded;
use super::{Card, Done, QUERY_REPLY_BYTES, Refused, decode_image, flags_of};
use litecore_firmware_proto::command::{FLAG_ALLOW_OLDER, FLAG_DROP_IMAGES, FLAG_ENERGY};
use litecore_firmware_proto::crc32c::crc32c;
use litecore_firmware_proto::identity::{
    FEATURE_ENERGY, FEATURE_FIRMWARE, FEATURE_QUERY, IDENTITY_BYTES, IdentifyRequest, Identity,
};
use litecore_firmware_proto::payload::{
    RunPayload, component, energy_entry, f32s, run_reply_bytes, u64s,
};
use litecore_firmware_proto::telemetry::TelemetryRecord;
use litecore_firmware_proto::{
    CapabilityBlock, ChipName, CommandHeader, Cookie, FaultCode, Opcode, ResetDepth,
};
use litecore_hal::{Device, DeviceError, RunRequest, SymbolTag};
use litecore_types::program::VerifiedProgram;
use litecore_types::{Component, EnergyLedger};
use std::sync::Arc;

const FEATURES: u64 = FEATURE_ENERGY | FEATURE_FIRMWARE | FEATURE_QUERY;

impl Card {
    /// Carries out a command that was admitted.
    pub(super) fn carry_out(
        &mut self,
        now_ns: u64,
        command: &CommandHeader,
        payload: &[u8],
        reply: &mut Vec<u8>,
    ) -> Result<Done, Refused> {
        self.check_fields(command)?;
        if payload.len() as u64 != command.payload_len {
            return Err(Refused { argument: payload.len() as u64, ..Refused::field(32) });
        }
        let number = |argument| Done { argument, ..Done::default() };
        match command.opcode {
            Opcode::Identify => {
                let identified = self.identify(payload, reply)?;
                if command.flags & FLAG_DROP_IMAGES != 0 {
                    self.drop_images();
                }
                Ok(identified)
            }
            Opcode::Telemetry => self.telemetry(now_ns, reply),
            Opcode::Park => self.park(),
            Opcode::Loopback => {
                reply.extend_from_slice(payload);
                Ok(Done::default())
            }
            Opcode::Query => Ok(self.query(Cookie(command.argument), reply)),
            Opcode::Reset => self.reset(now_ns, command.argument),
            Opcode::ImageBegin => self.image_begin(command.argument),
            Opcode::ImageData => self.image_data(command, payload),
            Opcode::ImageCommit => self.image_commit(command),
            Opcode::ImageDrop => self.image_drop(command.image),
            Opcode::Run => self.run(command, payload, reply),
            Opcode::FirmwareBegin => {
                let allow_older = command.flags & FLAG_ALLOW_OLDER != 0;
                Ok(number(self.firmware.begin(payload, command.argument, allow_older)?))
            }
            Opcode::FirmwareData => {
                Ok(number(self.firmware.data(payload, command.offset, command.argument)?))
            }
            Opcode::FirmwareVerify => Ok(number(self.firmware.verify()?)),
            Opcode::FirmwareActivate => Ok(number(self.firmware.activate()?)),
            Opcode::FirmwareConfirm => Ok(number(self.firmware.confirm()?)),
            Opcode::FirmwareRollback => Ok(number(self.firmware.roll_back()?)),
            Opcode::FirmwareStatus => {
                reply.extend_from_slice(&self.firmware.status(now_ns, self.boot).encode());
                Ok(Done::default())
            }
            Opcode::Unlisted(_) => Err(Refused::new(FaultCode::CommandUnknown)),
        }
    }

    /// Checks what every command has.
    pub(super) fn check_fields(&self, command: &CommandHeader) -> Result<(), Refused> {
        if command.payload_len > self.options.payload_max {
            let most = self.options.payload_max;
            return Err(Refused { argument: most, ..Refused::new(FaultCode::PayloadTooLong) });
        }
        if command.flags & !flags_of(command.opcode) != 0 {
            return Err(Refused::field(10));
        }
        Ok(())
    }

    /// Writes the identity block, with the version and the features that were agreed on.
    pub(super) fn identity_block(&self, version: u16, features: u64) -> Vec<u8> {
        let chip = self.device.chip();
        // Chip descriptions are checked for names and sizes; the fallbacks are for nobody.
        let fallback = || ChipName::new("unnamed").expect("seven letters");
        let small = |number: usize| u16::try_from(number).unwrap_or(u16::MAX);
        let serial = &self.device.capabilities().serial;
        let identity = Identity {
            capability: CapabilityBlock {
                rows: small(chip.array.inputs),
                columns: small(chip.array.outputs),
                arrays: small(chip.array.arrays),
                banks: small(chip.array.banks),
                dac_bits: chip.dac.bits,
                adc_bits: chip.adc.bits,
                weight_bits: chip.weights.bits,
                sram_bytes: chip.memory.sram_bytes,
                chip: ChipName::new(&chip.name).unwrap_or_else(|_| fallback()),
            },
            version_min: self.options.versions.0,
            version_max: self.options.versions.1,
            version,
            features_offered: FEATURES,
            features_accepted: features,
            payload_max: self.options.payload_max,
            reply_max: self.options.reply_max,
            in_flight_max: self.options.in_flight_max,
            images_max: self.options.images_max,
            image_bytes_max: self.options.image_bytes_max,
            boot: self.boot,
            serial,
            firmware: self.firmware.version(),
            board: self.options.board,
            hardware: self.options.hardware,
            simulated: true,
        };
        let mut block = vec![0; IDENTITY_BYTES];
        let len = identity.encode(&mut block).unwrap_or(0);
        block.truncate(len);
        block
    }

    fn identify(&mut self, payload: &[u8], reply: &mut Vec<u8>) -> Result<Done, Refused> {
        let request = IdentifyRequest::decode(payload).ok_or_else(|| Refused::field(32))?;
        let (min, max) = self.options.versions;
        let Some(version) = request.agree(min, max) else {
            let detail = u32::from(min) << 16 | u32::from(max);
            return Err(Refused { detail, ..Refused::new(FaultCode::VersionUnsupported) });
        };
        self.features = request.features & FEATURES;
        reply.extend_from_slice(&self.identity_block(version, self.features));
        Ok(Done::default())
    }

    fn telemetry(&mut self, now_ns: u64, reply: &mut Vec<u8>) -> Result<Done, Refused> {
        let device = self.device.telemetry().map_err(|error| refusal(&error))?;
        let record = TelemetryRecord {
            images: self.images.loaded_count(),
            runs: device.runs,
            symbols: device.symbols,
            cycles: device.cycles.0,
            temperature_c: device.temperature_c,
            uptime_ns: now_ns.saturating_sub(self.started_at),
            boot: self.boot,
            last_fault: self.health.last_fault,
            commands: self.commands,
            repeats: self.repeats,
            parked: device.parked,
            too_hot: self.health.hot_until.is_some(),
            laser_fault: self.health.laser_until.is_some(),
        };
        reply.extend_from_slice(&record.encode());
        Ok(Done::default())
    }

    fn park(&mut self) -> Result<Done, Refused> {
        self.device.park().map_err(|error| refusal(&error))?;
        self.health.parked_hot = true;
        Ok(Done::default())
    }

    fn query(&self, cookie: Cookie, reply: &mut Vec<u8>) -> Done {
        let Some(memory) = &self.memory else { return Done::default() };
        let (state, completion) = memory.state(cookie);
        if let Some(completion) = completion {
            let bytes: [u8; QUERY_REPLY_BYTES] = completion.encode();
            reply.extend_from_slice(&bytes);
        }
        Done { detail: state.number(), ..Done::default() }
    }

    fn reset(&mut self, now_ns: u64, depth: u64) -> Result<Done, Refused> {
        match ResetDepth::from_number(depth).ok_or_else(|| Refused::field(48))? {
            ResetDepth::Queue => self.images.drop_uploads(),
            ResetDepth::Function => {
                self.restart_at = Some(now_ns.saturating_add(self.options.restart_after_ns));
            }
        }
        Ok(Done::default())
    }

    fn image_begin(&mut self, total: u64) -> Result<Done, Refused> {
        let free = self.options.image_bytes_max.saturating_sub(self.images.bytes());
        if total > free || self.images.count() >= self.options.images_max as usize {
            return Err(Refused { argument: free, ..Refused::new(FaultCode::MemoryFull) });
        }
        Ok(Done { image: Some(self.images.begin(total)), ..Done::default() })
    }

    fn image_data(&mut self, command: &CommandHeader, payload: &[u8]) -> Result<Done, Refused> {
        let upload = self.images.upload(command.image);
        let upload = upload.ok_or_else(|| Refused::new(FaultCode::ImageUnknown))?;
        let at = upload.bytes.len() as u64;
        if command.offset != at {
            return Err(Refused { argument: at, ..Refused::new(FaultCode::OffsetUnexpected) });
        }
        if at + payload.len() as u64 > upload.total {
            return Err(Refused { argument: upload.total, ..Refused::field(32) });
        }
        upload.bytes.extend_from_slice(payload);
        Ok(Done { argument: upload.bytes.len() as u64, ..Done::default() })
    }

    fn image_commit(&mut self, command: &CommandHeader) -> Result<Done, Refused> {
        let upload = self.images.upload(command.image);
        let upload = upload.ok_or_else(|| Refused::new(FaultCode::ImageUnknown))?;
        let at = upload.bytes.len() as u64;
        if at != upload.total {
            return Err(Refused { argument: at, ..Refused::new(FaultCode::OffsetUnexpected) });
        }
        let bytes =
            self.images.take_upload(command.image).map_or(Vec::new(), |upload| upload.bytes);
        let damaged = |words: String| Refused { words, ..Refused::new(FaultCode::ImageDamaged) };
        if u64::from(crc32c(&bytes)) != command.argument {
            return Err(damaged("the image's checksum does not fit".to_owned()));
        }
        let program = decode_image(&bytes, self.options.steps_max)
            .map_err(|error| damaged(error.to_string()))?;
        if program.chip != self.device.chip().name {
            let words = format!("the program is for {}", program.chip);
            return Err(Refused { words, ..Refused::new(FaultCode::ProgramForOtherChip) });
        }
        let program = VerifiedProgram::new(program, self.device.chip()).map_err(|violations| {
            let words: Vec<String> = violations.iter().map(ToString::to_string).collect();
            let detail = u32::try_from(violations.len()).unwrap_or(u32::MAX);
            Refused { detail, words: words.join("\n"), ..Refused::new(FaultCode::ProgramRefused) }
        })?;
        let (input_len, output_len) = (program.input_len(), program.output_len());
        let image = self.device.load(Arc::new(program)).map_err(|error| refusal(&error))?;
        let loaded = Loaded { image, input_len, output_len, bytes: at };
        self.images.insert(command.image, loaded);
        Ok(Done::default())
    }

    fn image_drop(&mut self, number: u64) -> Result<Done, Refused> {
        if self.images.take_upload(number).is_some() {
            return Ok(Done::default());
        }
        let loaded = self.images.remove(number);
        let loaded = loaded.ok_or_else(|| Refused::new(FaultCode::ImageUnknown))?;
        self.device.unload(loaded.image);
        Ok(Done::default())
    }

    fn run(
        &mut self,
        command: &CommandHeader,
        payload: &[u8],
        reply: &mut Vec<u8>,
    ) -> Result<Done, Refused> {
        if self.health.hot_until.is_some() {
            return Err(Refused::new(FaultCode::ThermalTrip));
        }
        if self.health.laser_until.is_some() {
            return Err(Refused::new(FaultCode::LaserFault));
        }
        let loaded = self.images.find(command.image);
        let loaded = loaded.ok_or_else(|| Refused::new(FaultCode::ImageUnknown))?;
        let parts = RunPayload::parse(payload, command.argument, loaded.input_len);
        let parts = parts.ok_or_else(|| Refused {
            argument: loaded.input_len as u64,
            ..Refused::new(FaultCode::InputLength)
        })?;
        let with_energy = command.flags & FLAG_ENERGY != 0;
        if with_energy && self.features & FEATURE_ENERGY == 0 {
            return Err(Refused::field(10));
        }
        let entries = if with_energy { Component::ALL.len() } else { 0 };
        let tags: Vec<SymbolTag> = u64s(parts.tags).map(SymbolTag).collect();
        let most = run_reply_bytes(tags.len(), loaded.output_len, entries);
        let room = command.reply_capacity.min(self.options.reply_max);
        let most = most.map_or(u64::MAX, |bytes| bytes as u64);
        if most > room {
            return Err(Refused { argument: most, ..Refused::new(FaultCode::ReplyTooLong) });
        }
        let inputs: Vec<f32> = f32s(parts.inputs).collect();
        let request = RunRequest { image: loaded.image, tags: &tags, inputs: &inputs };
        let outcome = self.device.run(&request).map_err(|error| refusal(&error))?;
        reply.reserve(usize::try_from(most).unwrap_or(0));
        reply.extend(outcome.outputs.iter().flat_map(|number| number.to_le_bytes()));
        reply.resize(reply.len().next_multiple_of(8), 0);
        let written = match &outcome.energy {
            Some(ledger) if with_energy => write_energy(ledger, reply),
            _ => 0,
        };
        Ok(Done { cycles: outcome.cycles.0, argument: written, ..Done::default() })
    }
}

/// Appends a ledger and says how many entries it has.
fn write_energy(ledger: &EnergyLedger, reply: &mut Vec<u8>) -> u64 {
    let mut entries = 0;
    for (part, joules) in ledger.parts() {
        reply.extend_from_slice(&energy_entry(number_of(part), joules));
        entries += 1;
    }
    entries
}

fn number_of(part: Component) -> u32 {
    match part {
        Component::Laser => component::LASER,
        Component::InputDac => component::INPUT_DAC,
        Component::Modulator => component::MODULATOR,
        Component::Receiver => component::RECEIVER,
        Component::Adc => component::ADC,
        Component::WeightDac => component::WEIGHT_DAC,
        Component::WeightHold => component::WEIGHT_HOLD,
        Component::Digital => component::DIGITAL,
        Component::Sram => component::SRAM,
        Component::WeightFetch => component::WEIGHT_FETCH,
        Component::HostLink => component::HOST_LINK,
        Component::Command => component::COMMAND,
    }
}

/// The fault number for what the device says.
fn refusal(error: &DeviceError) -> Refused {
    let with = |fault, argument| Refused { argument, ..Refused::new(fault) };
    match error {
        DeviceError::NoSuchImage { image } => with(FaultCode::ImageUnknown, image.0),
        DeviceError::InputLength { vector, .. } => with(FaultCode::InputLength, *vector as u64),
        DeviceError::TooManySymbols { most, .. } => with(FaultCode::SymbolsTooMany, *most),
        DeviceError::NonFiniteInput { symbol } => with(FaultCode::InputNotFinite, *symbol as u64),
        DeviceError::WrongChip { .. } => Refused::new(FaultCode::ProgramForOtherChip),
        DeviceError::ProgramRefused { .. } => Refused::new(FaultCode::ProgramRefused),
        DeviceError::Fault { code } => Refused::new(*code),
        _ => Refused::new(FaultCode::FirmwareFault),
    }
}
