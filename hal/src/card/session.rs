use crate::{Buffer, Completion, Deadline, DeviceError, Link, LinkError, ResetLevel, Timeouts};
use litecore_firmware_proto::{CommandHeader, Cookie, FaultCode, HEADER_BYTES, Opcode};
use std::thread;
use std::time::{Duration, Instant};

/// One use of a card: its link, the names of its commands, and how it is brought back to itself.
///
/// The recovery ladder, from a card that is late: what the link does by itself (frames sent again,
/// doorbells rung again), then each [`ResetLevel`] in turn. A command that was under way is sent
/// again under its old name, so a card that has carried it out answers from memory.
pub(super) struct Session {
    pub(super) link: Box<dyn Link>,
    pub(super) timeouts: Timeouts,
    number: u32,
    sequence: u32,
    recovery: RecoveryCounters,
    /// The card has agreed to be asked what became of a command.
    pub(super) answers_queries: bool,
    /// The link is in a state that only looking for the card again can end.
    lost: bool,
}

/// How often a card had to be brought back to itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecoveryCounters {
    /// Commands that were sent again after a reset of the link.
    pub resent: u64,
    /// Resets that succeeded: new epochs, queue resets, function resets, re-enumerations.
    pub resets: [u64; 4],
    /// Resets that failed or that the link does not know.
    pub resets_failed: u64,
    /// Times the card turned out to have lost its images.
    pub restarts: u64,
    /// Times the card was still at work on something else.
    pub busy: u64,
}

/// A command to be carried out, without its name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask {
    pub(super) opcode: Opcode,
    pub(super) flags: u16,
    pub(super) image: u64,
    pub(super) offset: u64,
    pub(super) argument: u64,
    pub(super) payload_len: usize,
    pub(super) reply_capacity: usize,
    /// How long the card may be silent before it is suspected.
    pub(super) patience: Duration,
}

impl Ask {
    pub(super) fn new(opcode: Opcode, timeouts: &Timeouts) -> Self {
        Self {
            opcode,
            flags: 0,
            image: 0,
            offset: 0,
            argument: 0,
            payload_len: 0,
            reply_capacity: 0,
            patience: timeouts.rung,
        }
    }
}

/// Why a command came to nothing.
#[derive(Debug)]
pub(super) enum Failure {
    /// The session is over: the card has forgotten it, and with it images and uploads, or it has no
    /// names left.
    Restarted,
    /// For good.
    Device(DeviceError),
}

impl<E: Into<DeviceError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Device(error.into())
    }
}

/// Where a command stands.
enum State {
    /// In our hands, to be sent.
    Held(Buffer, Buffer),
    /// With the link.
    Sent,
    /// Its buffers are with a link that cannot give them back yet, or has none to give.
    Stuck,
}

/// Names that are left over when a new session begins: more than one command takes in all its
/// repetitions.
const NAMES_LEFT: u32 = 1 << 12;
/// First pause before a busy card is asked again; doubled each time.
const BUSY_PAUSE: Duration = Duration::from_micros(200);

impl Session {
    pub(super) fn new(link: Box<dyn Link>, timeouts: Timeouts, number: u32) -> Self {
        let number = number.max(1);
        let recovery = RecoveryCounters::default();
        let answers_queries = false;
        Self { link, timeouts, number, sequence: 0, recovery, answers_queries, lost: false }
    }

    pub(super) fn recovery(&self) -> RecoveryCounters {
        self.recovery
    }

    /// Names begin anew: under a number of their own where the card has forgotten the old ones.
    pub(super) fn begin_anew(&mut self) {
        self.renew();
        self.recovery.restarts += 1;
    }

    /// Names begin anew because they are used up.
    pub(super) fn renew(&mut self) {
        self.number = self.number.checked_add(1).unwrap_or(1);
        self.sequence = 0;
    }

    /// Whether this session has so few names left that it must not go on. A card takes names from
    /// the beginning again for old ones.
    pub(super) fn is_used_up(&self) -> bool {
        self.sequence >= u32::MAX - NAMES_LEFT
    }

    /// Passes over names.
    pub(super) fn skip_names(&mut self, count: u32) {
        self.sequence = self.sequence.saturating_add(count);
    }

    /// Carries out one command: `fill` writes its payload, as often as it must be written.
    ///
    /// Errors: [`Failure`], by `deadline`.
    pub(super) fn exchange(
        &mut self,
        ask: &Ask,
        fill: &mut dyn FnMut(&mut [u8]),
        deadline: Deadline,
    ) -> Result<Completion, Failure> {
        let mut pause = BUSY_PAUSE;
        let mut reached_again = false;
        loop {
            if self.is_used_up() {
                return Err(Failure::Restarted);
            }
            let completion = self.carry_out(ask, fill, deadline)?;
            match completion.header.fault {
                Some(FaultCode::SessionUnknown) => return Err(Failure::Restarted),
                // Under a new name: a refusal is remembered under the old one. What was carried
                // out and is forgotten may be done again, because all commands may.
                Some(FaultCode::Busy | FaultCode::CookieStale | FaultCode::ReplyForgotten) => {
                    self.recovery.busy += 1;
                    if deadline.left() <= pause {
                        let code = FaultCode::Busy;
                        return Err(Failure::Device(DeviceError::Fault { code }));
                    }
                    thread::sleep(pause);
                    pause = (pause * 2).min(self.timeouts.rung);
                }
                // The card could not reach host memory: the queue is set up anew, once.
                Some(FaultCode::TransferFault) if !reached_again => {
                    reached_again = true;
                    let soon = deadline.or_after(self.timeouts.rung);
                    if self.link.reset(ResetLevel::Queue, soon).is_err() {
                        self.recovery.resets_failed += 1;
                        self.lost = true;
                        return Ok(completion);
                    }
                    self.recovery.resets[1] += 1;
                }
                _ => return Ok(completion),
            }
        }
    }

    /// Sends one last command of this session, and waits for no longer than a moment.
    pub(super) fn last_word(&mut self, ask: &Ask, fill: &mut dyn FnMut(&mut [u8])) {
        if self.lost {
            return;
        }
        let command = self.name(ask);
        if let Ok(State::Held(payload, reply)) = self.filled(ask, fill)
            && self.link.submit(&command, payload, reply).is_ok()
        {
            let soon = Deadline::after(self.timeouts.rung);
            while let Ok(Some(completion)) = self.link.poll(soon) {
                if completion.header.cookie == command.cookie {
                    return;
                }
            }
        }
    }

    fn carry_out(
        &mut self,
        ask: &Ask,
        fill: &mut dyn FnMut(&mut [u8]),
        deadline: Deadline,
    ) -> Result<Completion, Failure> {
        let began = Instant::now();
        let command = self.name(ask);
        let mut ladder = Ladder::new(ask.patience);
        if self.lost {
            ladder.skip_to(ResetLevel::Reenumerate);
            self.climb(&mut ladder, deadline, began)?;
            return Err(Failure::Restarted);
        }
        let mut state = self.held(ask, fill)?;
        loop {
            if let State::Held(payload, reply) = state {
                state = match self.link.submit(&command, payload, reply) {
                    Ok(()) => State::Sent,
                    Err(error) => {
                        ladder.note(&error)?;
                        State::Stuck
                    }
                };
            }
            if matches!(state, State::Sent) {
                match self.wait_or_ask(command.cookie, deadline.or_after(ladder.patience)) {
                    Ok(Some(completion)) => return Ok(completion),
                    Ok(None) => {}
                    Err(error) => ladder.note(&error)?,
                }
            }
            let unfinished = self.climb(&mut ladder, deadline, began)?;
            let ours = unfinished.into_iter().find(|one| one.0 == command.cookie);
            state = match ours {
                Some((_, payload, reply)) => State::Held(payload, reply),
                None => self.held(ask, fill)?,
            };
            self.recovery.resent += 1;
        }
    }

    fn name(&mut self, ask: &Ask) -> CommandHeader {
        self.sequence = self.sequence.wrapping_add(1);
        CommandHeader {
            cookie: Cookie::new(self.number, self.sequence),
            opcode: ask.opcode,
            flags: ask.flags,
            image: ask.image,
            offset: ask.offset,
            payload_len: ask.payload_len as u64,
            reply_capacity: ask.reply_capacity as u64,
            argument: ask.argument,
        }
    }

    /// The command in our hands; or stuck, where commands that were given up still hold the room.
    fn held(&mut self, ask: &Ask, fill: &mut dyn FnMut(&mut [u8])) -> Result<State, Failure> {
        let most = self.link.info().transfer_max;
        let fits = ask.payload_len <= most && ask.reply_capacity <= most;
        match self.filled(ask, fill) {
            Err(LinkError::NoRoom { .. }) if fits => Ok(State::Stuck),
            held => Ok(held?),
        }
    }

    fn filled(&mut self, ask: &Ask, fill: &mut dyn FnMut(&mut [u8])) -> Result<State, LinkError> {
        let mut payload = self.link.buffer(ask.payload_len)?;
        fill(&mut payload);
        let mut reply = self.link.buffer(ask.reply_capacity)?;
        reply.set_len(0);
        Ok(State::Held(payload, reply))
    }

    /// Waits for the completion of the command that was sent last; `None` where it will not come by
    /// `deadline`, or not at all.
    ///
    /// A command that may take long is not suspected for long. But cards answer in the order they
    /// are asked: one that answers a question about the command has done with the command itself,
    /// or never saw it.
    fn wait_or_ask(
        &mut self,
        cookie: Cookie,
        deadline: Deadline,
    ) -> Result<Option<Completion>, LinkError> {
        let mut pause = self.timeouts.rung;
        loop {
            let until = if self.answers_queries { deadline.or_after(pause) } else { deadline };
            loop {
                let completion = match self.link.poll(until) {
                    Ok(Some(completion)) => completion,
                    Ok(None) => break,
                    // Where a card answers from one thread, its registers wait for its work.
                    Err(LinkError::TimedOut { .. }) if !deadline.passed() => break,
                    Err(error) => return Err(error),
                };
                let came = completion.header.cookie;
                if came == cookie {
                    return Ok(Some(completion));
                }
                if came.session() == cookie.session() && came.sequence() > cookie.sequence() {
                    return Ok(None);
                }
                // Anything else belongs to a command that was given up.
            }
            if deadline.passed() {
                return Ok(None);
            }
            self.ask_about(cookie)?;
            pause = pause.saturating_mul(2);
        }
    }

    /// Asks the card what became of a command, without waiting for the answer.
    fn ask_about(&mut self, cookie: Cookie) -> Result<(), LinkError> {
        let mut ask = Ask::new(Opcode::Query, &self.timeouts);
        ask.argument = cookie.0;
        ask.reply_capacity = HEADER_BYTES;
        let command = self.name(&ask);
        let (payload, reply) = (self.link.buffer(0)?, self.link.buffer(ask.reply_capacity)?);
        match self.link.submit(&command, payload, reply) {
            // The questions before it are still on their way, and as good.
            Err(LinkError::NoRoom { .. }) => Ok(()),
            submitted => submitted,
        }
    }

    /// Takes rungs until one holds. Beyond the queue's the card must be greeted again, because it
    /// may have lost everything.
    fn climb(
        &mut self,
        ladder: &mut Ladder,
        deadline: Deadline,
        began: Instant,
    ) -> Result<Vec<(Cookie, Buffer, Buffer)>, Failure> {
        loop {
            if deadline.passed() {
                return Err(self.given_up(ladder, began));
            }
            let Some(level) = ladder.next() else {
                return Err(self.given_up(ladder, began));
            };
            let most = match level {
                ResetLevel::Link | ResetLevel::Queue => ladder.patience.max(self.timeouts.rung),
                ResetLevel::Function => self.timeouts.reset,
                ResetLevel::Reenumerate => self.timeouts.return_of_card,
            };
            match self.link.reset(level, deadline.or_after(most)) {
                Ok(unfinished) => {
                    self.lost = false;
                    if let Some(count) = self.recovery.resets.get_mut(ladder.rung - 1) {
                        *count += 1;
                    }
                    if level >= ResetLevel::Function {
                        return Err(Failure::Restarted);
                    }
                    let parts =
                        |one: crate::Unfinished| (one.command.cookie, one.payload, one.reply);
                    return Ok(unfinished.into_iter().map(parts).collect());
                }
                Err(error) => {
                    self.recovery.resets_failed += 1;
                    self.lost = true;
                    ladder.note(&error)?;
                }
            }
        }
    }

    fn given_up(&mut self, ladder: &Ladder, began: Instant) -> Failure {
        // Whatever is still in flight belongs to nobody now.
        self.lost = true;
        let Some(level) = ladder.tried() else {
            let waited_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            return Failure::Device(DeviceError::TimedOut { waited_ms });
        };
        Failure::Device(if ladder.gone {
            DeviceError::LinkLost
        } else {
            DeviceError::Dead { tried: level }
        })
    }
}

/// Which rungs are left.
struct Ladder {
    /// Index into [`ResetLevel::LADDER`] of the next one.
    rung: usize,
    patience: Duration,
    gone: bool,
}

impl Ladder {
    fn new(patience: Duration) -> Self {
        Self { rung: 0, patience, gone: false }
    }

    fn next(&mut self) -> Option<ResetLevel> {
        let level = ResetLevel::LADDER.get(self.rung).copied()?;
        self.rung += 1;
        if self.rung > 1 {
            self.patience = self.patience.saturating_mul(2);
        }
        Some(level)
    }

    fn skip_to(&mut self, level: ResetLevel) {
        let at = ResetLevel::LADDER.iter().position(|one| *one == level).unwrap_or(0);
        self.rung = self.rung.max(at);
    }

    /// What an error says about where to go on; errors that no rung can help are returned.
    fn note(&mut self, error: &LinkError) -> Result<(), Failure> {
        match error {
            LinkError::Gone { .. } => {
                self.gone = true;
                self.skip_to(ResetLevel::Reenumerate);
                Ok(())
            }
            LinkError::TimedOut { .. }
            | LinkError::Garbage { .. }
            | LinkError::Restarted { .. }
            | LinkError::NoSuchReset { .. }
            | LinkError::NotStarted { .. }
            | LinkError::System { .. }
            // One command at a time always has room: others hold it that were given up.
            | LinkError::NoRoom { .. } => Ok(()),
            LinkError::Versions { .. } => Err(Failure::Device(error.clone().into())),
        }
    }

    fn tried(&self) -> Option<&'static str> {
        let level = ResetLevel::LADDER.get(self.rung.checked_sub(1)?)?;
        Some(match level {
            ResetLevel::Link => "a new epoch",
            ResetLevel::Queue => "a queue reset",
            ResetLevel::Function => "a function reset",
            ResetLevel::Reenumerate => "re-enumeration",
        })
    }
}
