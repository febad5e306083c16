//! A card's firmware, doubled: the commands of `docs/protocol.md` around a [`SimDevice`], without
//! I/O and without a clock.
//!
//! * [`Card`] carries commands out, each at most once.
//! * [`PipeCard`] is a card behind a byte pipe, [`PciFunction`] one behind registers and rings.
//! * [`FaultPlan`] says what goes wrong, by seed and rule.
//!
//! Times are nanoseconds from any fixed origin and do not run backwards. The same calls give the
//! same answers.

mod commands;
mod config_space;
mod decode;
mod faults;
mod firmware;
mod function;
mod memory;
mod pipe;
mod uploads;

pub use decode::{DecodeError, decode_image};
pub use faults::{
    Dropped, FaultAction, FaultPlan, FaultPlanError, FaultRule, FaultTrigger, WireNoise,
};
pub use function::PciFunction;
pub use pipe::PipeCard;

use crate::SimDevice;
use firmware::{FirmwareLimits, FirmwareStore};
use litecore_firmware_proto::command::{
    FLAG_ALLOW_OLDER, FLAG_DROP_IMAGES, FLAG_ENERGY, FLAG_OPEN_SESSION, FLAG_REPEATED,
};
use litecore_firmware_proto::firmware::FirmwareVersion;
use litecore_firmware_proto::{
    CommandHeader, CompletionHeader, Cookie, FaultCode, HEADER_BYTES, Opcode, PROTOCOL_VERSION,
};
use litecore_hal::Device;
use memory::{CookieMemory, Remembered};
use uploads::Images;

/// What a card is like beyond its chip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CardOptions {
    /// Least and greatest protocol version it speaks.
    pub versions: (u16, u16),
    /// The kind of board, which firmware must be for.
    pub board: u32,
    /// The board's hardware revision.
    pub hardware: u16,
    /// The firmware it was delivered with.
    pub firmware: FirmwareVersion,
    /// Most bytes of one payload.
    pub payload_max: u64,
    /// Most bytes of one reply.
    pub reply_max: u64,
    /// Most commands in flight; twice as many are remembered.
    pub in_flight_max: u32,
    /// Most images and uploads at one time.
    pub images_max: u32,
    /// Most bytes of all images and uploads together.
    pub image_bytes_max: u64,
    /// Most steps of one program.
    pub steps_max: u32,
    /// Most bytes of remembered replies.
    pub kept_reply_bytes: usize,
    /// Bytes of one firmware slot.
    pub firmware_bytes_max: u64,
    /// How long new firmware may run unconfirmed.
    pub confirm_within_ns: u64,
    /// How long after the answer to a function reset the card restarts.
    pub restart_after_ns: u64,
    /// Whether to keep a journal of what was carried out.
    pub journal: bool,
}

impl Default for CardOptions {
    /// Figures of the emulated card; all *assumed*.
    fn default() -> Self {
        Self {
            versions: (PROTOCOL_VERSION, PROTOCOL_VERSION),
            board: 0x4c43_0001,
            hardware: 1,
            firmware: FirmwareVersion::new(1, 0, 0),
            payload_max: 16 << 20,
            reply_max: 16 << 20,
            in_flight_max: 64,
            images_max: 4096,
            image_bytes_max: 4 << 30,
            steps_max: 1 << 19,
            kept_reply_bytes: 4 << 20,
            firmware_bytes_max: 16 << 20,
            confirm_within_ns: 10_000_000_000,
            restart_after_ns: 5_000_000,
            journal: false,
        }
    }
}

/// The firmware's double: carries commands out on a simulated chip.
///
/// It verifies every program again, whatever the host says about it, and refuses what would harm
/// the chip. While the chip is too hot or its laser has failed it runs nothing.
pub struct Card {
    device: SimDevice,
    options: CardOptions,
    boot: u32,
    started_at: u64,
    restart_at: Option<u64>,
    memory: Option<CookieMemory>,
    features: u64,
    images: Images,
    firmware: FirmwareStore,
    health: Health,
    commands: u64,
    repeats: u64,
    journal: Vec<(Cookie, Opcode)>,
}

/// What the card's sensors say.
#[derive(Clone, Copy, Debug, Default)]
struct Health {
    /// Too hot until this time, and until it was parked.
    hot_until: Option<u64>,
    parked_hot: bool,
    laser_until: Option<u64>,
    last_fault: Option<FaultCode>,
}

impl Card {
    /// A card that has just been switched on for the first time.
    pub fn new(device: SimDevice, options: CardOptions) -> Self {
        let firmware = FirmwareStore::new(FirmwareLimits {
            board: options.board,
            hardware: options.hardware,
            delivered: options.firmware,
            slot_bytes: options.firmware_bytes_max,
            confirm_within_ns: options.confirm_within_ns,
        });
        Self {
            device,
            options,
            boot: 1,
            started_at: 0,
            restart_at: None,
            memory: None,
            features: 0,
            images: Images::default(),
            firmware,
            health: Health::default(),
            commands: 0,
            repeats: 0,
            journal: Vec::new(),
        }
    }

    /// The chip and what it was asked to do.
    pub fn device(&self) -> &SimDevice {
        &self.device
    }

    /// What it is like.
    pub fn options(&self) -> &CardOptions {
        &self.options
    }

    /// Every command that could have an effect and was carried out or refused for what it asks, in
    /// order, over all starts; empty unless [`CardOptions::journal`] is on.
    pub fn journal(&self) -> &[(Cookie, Opcode)] {
        &self.journal
    }

    /// How often it has started.
    pub fn boot(&self) -> u32 {
        self.boot
    }

    /// Carries one command out, or answers from memory, or refuses.
    ///
    /// `reply` is replaced by the reply; its length is the completion's `reply_len`.
    pub fn execute(
        &mut self,
        now_ns: u64,
        command: &CommandHeader,
        payload: &[u8],
        reply: &mut Vec<u8>,
    ) -> CompletionHeader {
        reply.clear();
        if let Err(answered) = self.admit(now_ns, command, reply) {
            return answered;
        }
        let outcome = self.carry_out(now_ns, command, payload, reply);
        let completion = self.completion(command, outcome, reply);
        self.finish(command.opcode, &completion, Some(reply));
        completion
    }

    /// Looks at a command before it is carried out; an answer that needs no work comes as an error.
    fn admit(
        &mut self,
        now_ns: u64,
        command: &CommandHeader,
        reply: &mut Vec<u8>,
    ) -> Result<(), CompletionHeader> {
        self.advance(now_ns);
        self.commands += 1;
        let refused = |fault| Err(CompletionHeader::refused(command, fault));
        if self.restart_at.is_some() {
            return refused(FaultCode::Busy);
        }
        let session = command.cookie.session();
        let opens = command.opcode == Opcode::Identify && command.flags & FLAG_OPEN_SESSION != 0;
        if session != 0 && opens && self.memory.as_ref().is_none_or(|m| m.session() != session) {
            let entries = 2 * self.options.in_flight_max as usize;
            self.memory = Some(CookieMemory::new(session, entries, self.options.kept_reply_bytes));
            self.images.drop_uploads();
        }
        let Some(memory) = self.memory.as_ref().filter(|m| m.session() == session) else {
            return refused(FaultCode::SessionUnknown);
        };
        match memory.find(command.cookie) {
            Remembered::New => Ok(()),
            Remembered::Forgotten => refused(FaultCode::CookieStale),
            Remembered::Finished(..) if has_no_effect(command.opcode) => Ok(()),
            // A name that is used for two things could overrun the host's memory.
            Remembered::Finished(_, Some(kept)) if kept.len() as u64 > command.reply_capacity => {
                let argument = kept.len() as u64;
                let refused = CompletionHeader::refused(command, FaultCode::ReplyTooLong);
                Err(CompletionHeader { argument, ..refused })
            }
            Remembered::Finished(completion, Some(kept)) => {
                self.repeats += 1;
                reply.extend_from_slice(kept);
                Err(CompletionHeader { flags: completion.flags | FLAG_REPEATED, ..*completion })
            }
            Remembered::Finished(..) => refused(FaultCode::ReplyForgotten),
        }
    }

    /// The header of an outcome; the reply is cut to what is said about it.
    fn completion(
        &mut self,
        command: &CommandHeader,
        outcome: Result<Done, Refused>,
        reply: &mut Vec<u8>,
    ) -> CompletionHeader {
        let most = command.reply_capacity.min(self.options.reply_max);
        let outcome = outcome.and_then(|done| match reply.len() as u64 {
            len if len <= most => Ok(done),
            len => Err(Refused { argument: len, ..Refused::new(FaultCode::ReplyTooLong) }),
        });
        match outcome {
            Ok(done) => CompletionHeader {
                detail: done.detail,
                image: done.image.unwrap_or(command.image),
                cycles: done.cycles,
                argument: done.argument,
                reply_len: reply.len() as u64,
                ..CompletionHeader::done(command)
            },
            Err(refused) => {
                self.health.last_fault = Some(refused.fault);
                // Only words go with a refusal, and they may be cut.
                let words = refused.words.as_bytes();
                let len = usize::try_from(most).unwrap_or(usize::MAX).min(words.len());
                reply.clear();
                reply.extend_from_slice(&words[..len]);
                CompletionHeader {
                    detail: refused.detail,
                    argument: refused.argument,
                    reply_len: len as u64,
                    ..CompletionHeader::refused(command, refused.fault)
                }
            }
        }
    }

    /// Remembers an answer.
    fn finish(&mut self, opcode: Opcode, completion: &CompletionHeader, reply: Option<&[u8]>) {
        if self.options.journal && !has_no_effect(opcode) {
            let entry = (completion.cookie, opcode);
            self.journal.push(entry);
        }
        if let Some(memory) = &mut self.memory
            && memory.session() == completion.cookie.session()
            && matches!(memory.find(completion.cookie), Remembered::New)
        {
            // What may be done twice is done again rather than kept.
            memory.keep(*completion, reply.filter(|_| !has_no_effect(opcode)));
        }
    }

    /// Does what is due; `true` when the card has restarted.
    pub fn advance(&mut self, now_ns: u64) -> bool {
        let due = |at: Option<u64>| at.is_some_and(|at| at <= now_ns);
        if due(self.health.laser_until) {
            self.health.laser_until = None;
        }
        if due(self.health.hot_until) && self.health.parked_hot {
            self.health.hot_until = None;
        }
        if due(self.restart_at) || due(self.firmware.trial_ends_at()) {
            self.restart(now_ns);
            return true;
        }
        false
    }

    /// When [`Card::advance`] has something to do next.
    pub fn next_wakeup_ns(&self) -> Option<u64> {
        match (self.restart_at, self.firmware.trial_ends_at()) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Starts again, as after a loss of power: images, uploads, session and cookies are gone.
    pub fn restart(&mut self, now_ns: u64) {
        self.boot = self.boot.checked_add(1).unwrap_or(1);
        self.started_at = now_ns;
        self.restart_at = None;
        self.memory = None;
        self.features = 0;
        self.drop_images();
        // Parking a simulated card cannot fail.
        let _ = self.device.park();
        self.firmware.restart(now_ns);
        self.health = Health::default();
        self.commands = 0;
        self.repeats = 0;
    }

    fn drop_images(&mut self) {
        for image in self.images.clear() {
            self.device.unload(image);
        }
    }

    /// The chip gets too hot: no runs until it was parked, and not before this time.
    pub fn trip_thermally(&mut self, until_ns: u64) {
        self.health.hot_until = Some(until_ns);
        self.health.parked_hot = false;
        self.health.last_fault = Some(FaultCode::ThermalTrip);
    }

    /// The laser fails: no runs until this time.
    pub fn fail_laser(&mut self, until_ns: u64) {
        self.health.laser_until = Some(until_ns);
        self.health.last_fault = Some(FaultCode::LaserFault);
    }

    /// Whether the chip is too hot to run.
    pub fn is_too_hot(&self) -> bool {
        self.health.hot_until.is_some()
    }

    /// Whether firmware on trial waits to be confirmed.
    pub fn is_on_trial(&self) -> bool {
        self.firmware.on_trial()
    }
}

/// What a command achieved.
#[derive(Clone, Copy, Debug, Default)]
struct Done {
    detail: u32,
    image: Option<u64>,
    cycles: u64,
    argument: u64,
}

/// Why a command was not carried out.
#[derive(Clone, Debug)]
struct Refused {
    fault: FaultCode,
    detail: u32,
    argument: u64,
    words: String,
}

impl Refused {
    fn new(fault: FaultCode) -> Self {
        Self { fault, detail: 0, argument: 0, words: String::new() }
    }

    /// The field of the command at this byte makes no sense.
    fn field(at: u32) -> Self {
        Self { detail: at, ..Self::new(FaultCode::ArgumentInvalid) }
    }
}

impl From<firmware::Refusal> for Refused {
    fn from((fault, detail, argument): firmware::Refusal) -> Self {
        Self { detail, argument, ..Self::new(fault) }
    }
}

/// Commands that may be carried out twice, because nothing changes by them.
fn has_no_effect(opcode: Opcode) -> bool {
    matches!(opcode, Opcode::Telemetry | Opcode::Loopback | Opcode::Query | Opcode::FirmwareStatus)
}

/// The flags that an opcode has.
fn flags_of(opcode: Opcode) -> u16 {
    match opcode {
        Opcode::Identify => FLAG_OPEN_SESSION | FLAG_DROP_IMAGES,
        Opcode::Run => FLAG_ENERGY,
        Opcode::FirmwareBegin => FLAG_ALLOW_OLDER,
        _ => 0,
    }
}

/// Bytes of the completion that a query replies with.
const QUERY_REPLY_BYTES: usize = HEADER_BYTES;
