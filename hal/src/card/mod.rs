//! A card behind a link: the driver's upper half.

mod fault;
mod firmware;
mod identity;
mod image;
mod run;
mod session;

pub(crate) use firmware::FirmwareAsk;
pub use identity::CardIdentity;
pub use session::RecoveryCounters;

use crate::owner::Promise;
use crate::{
    Capabilities, Completion, Deadline, Device, DeviceError, ImageId, Link, LinkCounters,
    LinkError, LinkInfo, ResetLevel, RunOutcome, RunRequest, Telemetry, Timeouts,
};
use image::LoadedImage;
use litecore_firmware_proto::command::{FLAG_DROP_IMAGES, FLAG_OPEN_SESSION};
use litecore_firmware_proto::identity::{FEATURE_QUERY, IDENTIFY_REQUEST_BYTES, IdentifyRequest};
use litecore_firmware_proto::telemetry::{TELEMETRY_BYTES, TelemetryRecord};
use litecore_firmware_proto::{FaultCode, Opcode, PROTOCOL_VERSION, ResetDepth};
use litecore_types::Cycles;
use litecore_types::program::VerifiedProgram;
use session::{Ask, Failure, Session};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// How a card is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CardOptions {
    /// How long things may take.
    pub timeouts: Timeouts,
    /// Names this use of the card: a number that no earlier one had on the same card.
    pub session: u32,
}

/// A card behind any link.
///
/// It agrees with the card on a protocol version, loads programs in pieces, splits runs that are
/// too long for one transfer, and brings a card that has lost its way back to itself: images that a
/// card has lost are loaded again without the caller noticing. Every call ends by its deadline.
///
/// One thread owns it; it blocks in `poll(2)` and the like. [`crate::open`] gives it that thread, see
/// [`crate::OwnedDevice`]; with [`crate::open_card`] it is the caller's.
pub struct CardDevice {
    session: Session,
    identity: CardIdentity,
    images: Vec<LoadedImage>,
    /// What has been done through this value; a card that restarts forgets its own counts.
    done: Telemetry,
    promise: Promise,
}

/// Room for an identity block of this and later versions.
const IDENTITY_REPLY_BYTES: usize = 2048;

impl CardDevice {
    /// Greets the card behind `link`.
    ///
    /// Errors: [`DeviceError`], by `deadline`; [`LinkError::Versions`] inside where card and driver
    /// have no version in common.
    pub fn start(
        link: Box<dyn Link>,
        options: CardOptions,
        deadline: Deadline,
    ) -> Result<Self, DeviceError> {
        let mut session = Session::new(link, options.timeouts, options.session);
        // Images of earlier users have names that nobody knows any more.
        let identity = greet(&mut session, FLAG_DROP_IMAGES, deadline)?;
        let (done, promise) = (Telemetry::default(), Promise::default());
        Ok(Self { session, identity, images: Vec::new(), done, promise })
    }

    /// What the card says about itself.
    pub fn identity(&self) -> &CardIdentity {
        &self.identity
    }

    /// What the link is.
    pub fn link_info(&self) -> &LinkInfo {
        self.session.link.info()
    }

    /// What has happened on the link.
    pub fn link_counters(&self) -> LinkCounters {
        self.session.link.counters()
    }

    /// How often the card had to be brought back to itself.
    pub fn recovery(&self) -> RecoveryCounters {
        self.session.recovery()
    }

    /// The link itself, for measurements; commands in flight there would confuse the card's owner.
    pub fn link(&mut self) -> &mut dyn Link {
        self.session.link.as_mut()
    }

    /// Most bytes of a payload or reply on this link with this card.
    pub fn transfer_max(&self) -> usize {
        let link = self.session.link.info().transfer_max;
        link.min(self.identity.payload_max).min(self.identity.reply_max)
    }

    /// Sends bytes to the card and back.
    ///
    /// Errors: [`DeviceError`].
    pub fn loopback(&mut self, bytes: &[u8]) -> Result<Vec<u8>, DeviceError> {
        let mut ask = self.ask(Opcode::Loopback);
        (ask.payload_len, ask.reply_capacity) = (bytes.len(), bytes.len());
        let deadline = self.deadline(self.session.timeouts.command, 2 * bytes.len());
        let completion =
            self.simple(&ask, &mut |payload| payload.copy_from_slice(bytes), deadline)?;
        Ok(completion.reply.to_vec())
    }

    /// Everything the card tells about how it is.
    ///
    /// Errors: [`DeviceError`].
    pub fn card_telemetry(&mut self) -> Result<TelemetryRecord, DeviceError> {
        let mut ask = self.ask(Opcode::Telemetry);
        ask.reply_capacity = 2 * TELEMETRY_BYTES;
        let deadline = self.deadline(self.session.timeouts.command, 0);
        let completion = self.simple(&ask, &mut |_| {}, deadline)?;
        let what = "no telemetry record";
        TelemetryRecord::decode(&completion.reply)
            .ok_or(DeviceError::BadReply { command: "telemetry", what })
    }

    /// Empties the queues; images stay.
    ///
    /// Errors: [`DeviceError`].
    pub fn reset_queue(&mut self) -> Result<(), DeviceError> {
        let deadline = self.deadline(self.session.timeouts.reset, 0);
        self.session.link.reset(ResetLevel::Queue, deadline)?;
        // A card that has been asked once more has taken part in it.
        self.loopback(&[]).map(drop)
    }

    /// Starts the card over; images are loaded again when they are next run.
    ///
    /// Errors: [`DeviceError`].
    pub fn reset_function(&mut self) -> Result<(), DeviceError> {
        let deadline = self.deadline(self.session.timeouts.reset, 0);
        let mut ask = self.ask(Opcode::Reset);
        ask.argument = ResetDepth::Function.number();
        // The card may start over before it has answered, and pipes have no other way to tell it.
        let asked = self.session.exchange(&ask, &mut |_| {}, deadline);
        let boot = self.identity.boot;
        if matches!(asked, Err(Failure::Restarted)) {
            self.greet_again(self.deadline(self.session.timeouts.open, 0))?;
            if self.identity.boot != boot {
                // Once is enough: firmware on trial does not outlive a second time.
                return Ok(());
            }
        }
        if asked.is_err() {
            self.session.link.reset(ResetLevel::Function, deadline)?;
        }
        self.greet_again(self.deadline(self.session.timeouts.open, 0))
    }

    fn ask(&self, opcode: Opcode) -> Ask {
        Ask::new(opcode, &self.session.timeouts)
    }

    fn deadline(&self, work: Duration, bytes: usize) -> Deadline {
        let deadline = Deadline::after(self.session.timeouts.for_transfer(work, bytes as u64));
        self.promise.give(deadline);
        deadline
    }

    /// When the call at hand is to be done, for whoever waits on another thread.
    pub(crate) fn promise(&self) -> Promise {
        self.promise.clone()
    }

    /// A command that stands alone: a card that has started over is greeted and asked again.
    fn simple(
        &mut self,
        ask: &Ask,
        fill: &mut dyn FnMut(&mut [u8]),
        deadline: Deadline,
    ) -> Result<Completion, DeviceError> {
        loop {
            let completion = match self.session.exchange(ask, fill, deadline) {
                Ok(completion) => completion,
                Err(Failure::Device(error)) => return Err(error),
                Err(Failure::Restarted) => {
                    self.greet_again(deadline)?;
                    continue;
                }
            };
            return match completion.header.fault {
                None => Ok(completion),
                Some(code) => Err(DeviceError::Fault { code }),
            };
        }
    }

    /// A command with a fault that means more than its number.
    fn firm(
        &mut self,
        ask: &Ask,
        fill: &mut dyn FnMut(&mut [u8]),
        deadline: Deadline,
    ) -> Result<Completion, Failure> {
        self.session.exchange(ask, fill, deadline)
    }

    /// Greets a card whose session is over, and makes sure that it is the same.
    ///
    /// Images stay where only the names of commands were used up. Else they are loaded again, and
    /// what the card may still have of them is dropped: their names may mean something else by now.
    fn greet_again(&mut self, deadline: Deadline) -> Result<(), DeviceError> {
        let resets = self.session.recovery().resets;
        let used_up = self.session.is_used_up();
        let flag = if used_up { 0 } else { FLAG_DROP_IMAGES };
        if used_up {
            self.session.renew();
        } else {
            self.session.begin_anew();
        }
        let identity = greet(&mut self.session, flag, deadline)?;
        let (before, now) = (&self.identity.capabilities, &identity.capabilities);
        if before != now {
            let what = "another card than before: open the device again";
            return Err(DeviceError::BadReply { command: "identify", what });
        }
        let undisturbed = resets == self.session.recovery().resets;
        if !(used_up && undisturbed && self.identity.boot == identity.boot) {
            for image in &mut self.images {
                image.forget();
            }
        }
        self.identity = identity;
        Ok(())
    }

    /// Passes over names of commands, as if so many had been sent; a session has 2³² of them. For
    /// tests of what comes after.
    pub fn skip_names(&mut self, count: u32) {
        self.session.skip_names(count);
    }
}

impl Drop for CardDevice {
    /// Leaves no images behind on a card that can still be told so.
    fn drop(&mut self) {
        if self.images.iter().any(LoadedImage::is_on_card) && !thread::panicking() {
            let ask = greeting(&self.session, FLAG_DROP_IMAGES);
            let fill = &mut |payload: &mut [u8]| payload.copy_from_slice(&REQUEST.encode());
            self.session.last_word(&ask, fill);
        }
    }
}

/// The time is up, whatever was being done.
fn timed_out(began: Instant) -> DeviceError {
    let waited_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    DeviceError::TimedOut { waited_ms }
}

/// What this driver speaks.
const REQUEST: IdentifyRequest = IdentifyRequest {
    version_min: PROTOCOL_VERSION,
    version_max: PROTOCOL_VERSION,
    features: identity::WANTED,
};

fn greeting(session: &Session, flags: u16) -> Ask {
    let mut ask = Ask::new(Opcode::Identify, &session.timeouts);
    ask.flags = flags;
    ask.payload_len = IDENTIFY_REQUEST_BYTES;
    ask.reply_capacity = IDENTITY_REPLY_BYTES;
    ask
}

/// Opens a session and agrees on versions and features.
fn greet(
    session: &mut Session,
    flag: u16,
    deadline: Deadline,
) -> Result<CardIdentity, DeviceError> {
    let ask = greeting(session, FLAG_OPEN_SESSION | flag);
    loop {
        let fill = &mut |payload: &mut [u8]| payload.copy_from_slice(&REQUEST.encode());
        let completion = match session.exchange(&ask, fill, deadline) {
            Ok(completion) => completion,
            Err(Failure::Device(error)) => return Err(error),
            Err(Failure::Restarted) => {
                session.begin_anew();
                continue;
            }
        };
        return match completion.header.fault {
            None => {
                let identity = CardIdentity::read(&completion.reply)?;
                session.answers_queries = identity.features & FEATURE_QUERY != 0;
                Ok(identity)
            }
            Some(FaultCode::VersionUnsupported) => {
                // The card's range: the least in the upper half, the greatest in the lower.
                let [max_low, max_high, min_low, min_high] = completion.header.detail.to_le_bytes();
                Err(DeviceError::Link(LinkError::Versions {
                    address: session.link.info().address.clone(),
                    card_min: u16::from_le_bytes([min_low, min_high]),
                    card_max: u16::from_le_bytes([max_low, max_high]),
                }))
            }
            Some(code) => Err(DeviceError::Fault { code }),
        };
    }
}

impl Device for CardDevice {
    fn capabilities(&self) -> &Capabilities {
        &self.identity.capabilities
    }

    fn load(&mut self, program: Arc<VerifiedProgram>) -> Result<ImageId, DeviceError> {
        let image = self.load_image(program)?;
        self.done.images += 1;
        Ok(image)
    }

    /// Outputs do not depend on how a run is split; cycles and energy of the parts are added.
    fn run(&mut self, request: &RunRequest<'_>) -> Result<RunOutcome, DeviceError> {
        let outcome = self.run_image(request)?;
        self.done.runs += 1;
        self.done.symbols += request.tags.len() as u64;
        self.done.cycles += outcome.cycles;
        Ok(outcome)
    }

    fn telemetry(&mut self) -> Result<Telemetry, DeviceError> {
        let record = self.card_telemetry()?;
        Ok(Telemetry {
            temperature_c: record.temperature_c,
            parked: record.parked,
            cycles: Cycles(self.done.cycles.0),
            ..self.done.clone()
        })
    }

    fn park(&mut self) -> Result<(), DeviceError> {
        let ask = self.ask(Opcode::Park);
        let deadline = self.deadline(self.session.timeouts.command, 0);
        self.simple(&ask, &mut |_| {}, deadline).map(drop)
    }
}
