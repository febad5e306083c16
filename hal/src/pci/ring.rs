use super::arena::{Arena, ArenaSlice};
use super::{ALL_ONES, PciBackend};
use crate::{
    Buffer, Completion, Deadline, Link, LinkCounters, LinkError, LinkInfo, ResetLevel, Unfinished,
};
use litecore_firmware_proto::identity::Identity;
use litecore_firmware_proto::registers::{self, control, status};
use litecore_firmware_proto::ring::{
    COMPLETION_BYTES, CompletionEntry, Descriptor, RingShape, TAIL_AT,
};
use litecore_firmware_proto::{CommandHeader, CompletionHeader, FaultCode, PROTOCOL_VERSION};
use std::collections::BTreeMap;
use std::hint;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::thread;
use std::time::{Duration, Instant};

/// Descriptor and completion rings in memory shared with a PCI function.
///
/// Commands cost a descriptor and, however many were submitted before a [`Link::poll`], one
/// doorbell. Completions are found by their phase bit: no register is read while the card answers.
/// Payloads and replies are used where they lie.
///
/// **Invariant:** memory that the card may touch stays lent until a reset has proved that the card
/// is silent; then, and only then, are its buffers given back.
pub struct RingLink {
    // First, so that the function is closed before the memory goes.
    backend: Box<dyn PciBackend>,
    info: LinkInfo,
    shape: RingShape,
    arena: Arc<Arena>,
    submission: ArenaSlice,
    completion: ArenaSlice,
    /// Index of the next descriptor to write.
    tail: u32,
    /// What the doorbell was last told.
    rung: u32,
    /// Index of the next completion to look at.
    head: u32,
    flight: BTreeMap<u64, Unfinished>,
    enabled: bool,
    counters: LinkCounters,
}

/// How a [`RingLink`] is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingOptions {
    /// Bytes of the arena, from which a quarter may go into one transfer.
    pub arena_bytes: usize,
    /// Entries of each ring, a power of two; the card may want fewer.
    pub entries: u32,
    /// By how much this world is slower than hardware.
    pub time_scale: u32,
}

impl Default for RingOptions {
    fn default() -> Self {
        Self { arena_bytes: 16 << 20, entries: 64, time_scale: 1 }
    }
}

/// Where cards see the arena: above all low memory, below the interrupt window of x86.
const BUS_ADDRESS: u64 = 0x4000_0000;
/// How long a completion is looked for before the interrupt is waited for. *Assumed*: a card that
/// answers at all answers small commands sooner, and sleeping costs as much.
const SPIN: Duration = Duration::from_micros(20);
/// How long one register access may take while a completion is waited for, whatever is left of the wait:
/// its end says nothing about the function.
const ACCESS: Duration = Duration::from_millis(50);
/// The first sleep without looking at the ring; each further one is twice as long.
const FIRST_SLEEP: Duration = Duration::from_millis(1);
/// The longest sleep without looking whether the card is still there.
const LONGEST_SLEEP: Duration = Duration::from_millis(64);

impl RingLink {
    /// Sets up rings with the function that `backend` reaches.
    ///
    /// Errors: [`LinkError::Gone`] where nobody answers, [`LinkError::Garbage`] where what answers
    /// is no card, and [`LinkError`] of the backend.
    pub fn open(
        mut backend: Box<dyn PciBackend>,
        options: RingOptions,
        deadline: Deadline,
    ) -> Result<Self, LinkError> {
        let shape = RingShape::new(options.entries)
            .or(RingShape::new(2))
            .ok_or_else(|| garbage(backend.as_ref(), "a ring of that many entries"))?;
        backend.limit(deadline);
        let memory = backend.memory(options.arena_bytes)?;
        let arena = Arena::new(memory, BUS_ADDRESS);
        let no_room = |bytes| LinkError::NoRoom { address: backend.address().to_owned(), bytes };
        let part = |bytes| arena.slice(bytes).ok_or_else(|| no_room(bytes));
        let (submission, completion) =
            (part(shape.submission_bytes())?, part(shape.completion_bytes())?);
        let info = LinkInfo {
            kind: backend.kind(),
            address: backend.address().to_owned(),
            window: shape.entries() as usize,
            transfer_max: arena.memory().len() / 4,
            time_scale: options.time_scale,
        };
        let mut link = Self {
            backend,
            info,
            shape,
            arena,
            submission,
            completion,
            tail: 0,
            rung: 0,
            head: 0,
            flight: BTreeMap::new(),
            enabled: false,
            counters: LinkCounters::default(),
        };
        link.backend.map(&Arc::clone(&link.arena))?;
        link.bring_up(deadline)?;
        Ok(link)
    }

    /// Bytes of host memory that the card may touch at present.
    pub fn lent_bytes(&self) -> usize {
        self.arena.lent_bytes()
    }

    /// Opens the function anew until there is a card behind it; what is in its place may answer
    /// before the card does.
    fn look_for_it(&mut self, deadline: Deadline) -> Result<(), LinkError> {
        loop {
            self.backend.reopen(deadline)?;
            // The old function is closed, and the new one has no memory yet: nothing touches it.
            self.take_back_flight();
            self.backend.map(&Arc::clone(&self.arena))?;
            match self.bring_up(deadline) {
                Err(LinkError::Gone { .. }) if !deadline.passed() => {
                    thread::sleep(deadline.left().min(Duration::from_millis(10)));
                }
                result => return result,
            }
        }
    }

    /// A queue that a failed reset has left off is as good as no card.
    fn check_enabled(&self, doing: &'static str) -> Result<(), LinkError> {
        if self.enabled {
            return Ok(());
        }
        Err(LinkError::Gone { address: self.info.address.clone(), doing })
    }

    /// From a function that may be in any state to an enabled, empty queue.
    fn bring_up(&mut self, deadline: Deadline) -> Result<(), LinkError> {
        self.enabled = false;
        let magic = self.read_live(registers::MAGIC, "looking for a card")?;
        if magic != registers::MAGIC_VALUE {
            return Err(garbage(self.backend.as_ref(), "no card's magic number"));
        }
        self.check_version()?;
        self.wait_status(status::READY, "waiting for the card to start", deadline)?;
        self.backend.enable()?;
        self.write(registers::CONTROL, control::RESET_QUEUE)?;
        self.wait_status(status::QUIET, "emptying the queue", deadline)?;
        self.enable_queue()
    }

    /// Refuses a card whose rings may mean something else, before it is given any.
    fn check_version(&mut self) -> Result<(), LinkError> {
        let version = self.read_live(registers::VERSION, "reading the protocol version")?;
        let [minor, _, major, _] = version.to_le_bytes();
        let greatest = u16::from_be_bytes([major, minor]);
        let ours = PROTOCOL_VERSION >> 8;
        if u16::from(major) == ours {
            return Ok(());
        }
        let least = if u16::from(major) > ours { self.least_version(greatest)? } else { greatest };
        if least >> 8 <= ours && ours <= u16::from(major) {
            return Ok(());
        }
        let address = self.info.address.clone();
        Err(LinkError::Versions { address, card_min: least, card_max: greatest })
    }

    /// The least version a card speaks, from its identity block; where that cannot be read, the
    /// greatest.
    fn least_version(&mut self, greatest: u16) -> Result<u16, LinkError> {
        let doing = "reading the identity block";
        let len = self.read_live(registers::IDENTITY_LEN, doing)?;
        let len = usize::try_from(len).unwrap_or(usize::MAX).min(registers::IDENTITY_BYTES_MAX);
        let mut block = Vec::with_capacity(len.next_multiple_of(4));
        for at in (registers::IDENTITY..).step_by(4).take(len.div_ceil(4)) {
            block.extend_from_slice(&self.read_live(at, doing)?.to_le_bytes());
        }
        block.truncate(len);
        Ok(Identity::parse(&block).map_or(greatest, |identity| identity.version_min))
    }

    /// Empty rings, and a card that listens to the doorbell. The card must be quiet.
    fn enable_queue(&mut self) -> Result<(), LinkError> {
        let most = self.read_live(registers::ENTRIES_MAX, "reading the ring's size")?;
        let entries = self.shape.entries().min(most);
        self.shape = RingShape::new(entries)
            .ok_or_else(|| garbage(self.backend.as_ref(), "a ring size that is no power of two"))?;
        self.info.window = entries as usize;
        (self.tail, self.rung, self.head) = (0, 0, 0);
        self.completion.zero();
        self.submission.lend();
        self.completion.lend();
        fence(Ordering::SeqCst);
        self.write(registers::ENTRIES, entries)?;
        self.write64(registers::SUBMISSION_BASE, self.submission.bus_address())?;
        self.write64(registers::COMPLETION_BASE, self.completion.bus_address())?;
        self.write(registers::CONTROL, control::ENABLE)?;
        if self.read_live(registers::STATUS, "starting the queue")? & status::ENABLED == 0 {
            let fault = self.read_live(registers::FAULT, "starting the queue")?;
            let fault = FaultCode::from_number(u16::try_from(fault).unwrap_or(u16::MAX));
            let address = self.info.address.clone();
            return Err(LinkError::NotStarted { address, fault });
        }
        self.enabled = true;
        Ok(())
    }

    fn ring_doorbell(&mut self) -> Result<(), LinkError> {
        self.rung = self.tail;
        self.counters.register_writes += 1;
        fence(Ordering::SeqCst);
        self.backend.write32(registers::DOORBELL, self.tail)
    }

    /// The completion at the head of the ring, if it is there; strays are counted and dropped, but
    /// no more than a ring of them at a time, for a card may be faster with them than we are.
    fn take_completion(&mut self) -> Option<Completion> {
        for _ in 0..self.shape.entries() {
            let at = usize::try_from(self.shape.completion_at(self.head)).unwrap_or(0);
            let tail = self.completion.load64(at + TAIL_AT);
            if CompletionEntry::phase_of_tail(tail) != self.shape.phase(self.head) {
                return None;
            }
            let entry: [u8; COMPLETION_BYTES] = self.completion.get(at);
            self.head = self.head.wrapping_add(1);
            let Ok(header) = CompletionEntry::decode(&entry) else {
                self.counters.damaged += 1;
                continue;
            };
            if let Some(completion) = self.match_up(header) {
                return Some(completion);
            }
            self.counters.strays += 1;
        }
        None
    }

    fn match_up(&mut self, header: CompletionHeader) -> Option<Completion> {
        let given = self.flight.get(&header.cookie.0)?;
        let reply_len = usize::try_from(header.reply_len).unwrap_or(usize::MAX);
        if header.reply_len > given.command.reply_capacity || reply_len > given.reply.capacity() {
            return None;
        }
        let Unfinished { payload, mut reply, .. } = self.flight.remove(&header.cookie.0)?;
        take_back(&payload);
        take_back(&reply);
        reply.set_len(reply_len);
        self.counters.completed += 1;
        Some(Completion { header, payload, reply })
    }

    /// Ends the quarantine of everything in flight; only for a silent card.
    fn take_back_flight(&mut self) {
        for one in self.flight.values() {
            take_back(&one.payload);
            take_back(&one.reply);
        }
    }

    fn take_flight(&mut self) -> Vec<Unfinished> {
        self.counters.resets += 1;
        std::mem::take(&mut self.flight).into_values().collect()
    }

    /// A buffer of this link's arena with the same bytes in it; nothing is copied where it is one.
    fn reachable(&mut self, buffer: Buffer) -> Result<Buffer, LinkError> {
        let ours = buffer.slice().is_some_and(|slice| slice.is_of(&self.arena));
        if ours || buffer.capacity() == 0 {
            return Ok(buffer);
        }
        let mut copy = self.buffer(buffer.capacity())?;
        copy.set_len(buffer.len());
        copy.copy_from_slice(&buffer);
        Ok(copy)
    }

    /// Reads a register; a card that is gone is told from one whose register holds all ones.
    fn read_live(&mut self, offset: u64, doing: &'static str) -> Result<u32, LinkError> {
        self.counters.register_reads += 1;
        let value = self.backend.read32(offset)?;
        if value == ALL_ONES {
            self.counters.register_reads += 1;
            if self.backend.read32(registers::ALIVE)? == ALL_ONES {
                return Err(LinkError::Gone { address: self.info.address.clone(), doing });
            }
        }
        Ok(value)
    }

    fn write(&mut self, offset: u64, value: u32) -> Result<(), LinkError> {
        self.counters.register_writes += 1;
        self.backend.write32(offset, value)
    }

    fn write64(&mut self, offset: u64, value: u64) -> Result<(), LinkError> {
        let [low, high] =
            [value & 0xffff_ffff, value >> 32].map(|half| u32::try_from(half).unwrap_or(0));
        self.write(offset, low)?;
        self.write(offset + 4, high)
    }

    fn wait_status(
        &mut self,
        bits: u32,
        doing: &'static str,
        deadline: Deadline,
    ) -> Result<(), LinkError> {
        let started = Instant::now();
        let mut pause = Duration::from_micros(10);
        while self.read_live(registers::STATUS, doing)? & bits != bits {
            let left = deadline.left();
            if left.is_zero() {
                let waited_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
                let address = self.info.address.clone();
                return Err(LinkError::TimedOut { address, doing, waited_ms });
            }
            // A card in this process moves only while somebody waits for it.
            self.backend.wait_interrupt(Deadline::after(pause.min(left)))?;
            thread::sleep(pause.min(deadline.left()));
            pause = (pause * 2).min(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Link for RingLink {
    fn info(&self) -> &LinkInfo {
        &self.info
    }

    fn buffer(&mut self, capacity: usize) -> Result<Buffer, LinkError> {
        if capacity == 0 {
            return Ok(Buffer::empty());
        }
        let slice = (capacity <= self.info.transfer_max).then(|| self.arena.slice(capacity));
        let no_room = || LinkError::NoRoom { address: self.info.address.clone(), bytes: capacity };
        slice.flatten().map(Buffer::arena).ok_or_else(no_room)
    }

    fn submit(
        &mut self,
        command: &CommandHeader,
        payload: Buffer,
        reply: Buffer,
    ) -> Result<(), LinkError> {
        self.check_enabled("submitting a command")?;
        if self.flight.len() >= self.info.window {
            let address = self.info.address.clone();
            return Err(LinkError::NoRoom { address, bytes: payload.len() });
        }
        let (payload, reply) = (self.reachable(payload)?, self.reachable(reply)?);
        let address_of = |buffer: &Buffer| buffer.slice().map_or(0, ArenaSlice::bus_address);
        let descriptor = Descriptor {
            command: *command,
            payload_address: address_of(&payload),
            reply_address: address_of(&reply),
        };
        for buffer in [&payload, &reply] {
            if let Some(slice) = buffer.slice() {
                slice.lend();
            }
        }
        let bytes = descriptor.encode();
        let at = usize::try_from(self.shape.descriptor_at(self.tail)).unwrap_or(0);
        // The card has fetched the entry that was here before, because fewer commands than entries
        // are in flight.
        self.submission.put(at, &bytes);
        self.tail = self.tail.wrapping_add(1);
        self.counters.submitted += 1;
        self.flight.insert(command.cookie.0, Unfinished { command: *command, payload, reply });
        Ok(())
    }

    fn poll(&mut self, deadline: Deadline) -> Result<Option<Completion>, LinkError> {
        self.check_enabled("waiting for a completion")?;
        self.backend.limit(deadline.max(Deadline::after(ACCESS)));
        if self.tail != self.rung {
            self.ring_doorbell()?;
        }
        if let Some(completion) = self.take_completion() {
            return Ok(Some(completion));
        }
        let spinning = Deadline::after(SPIN);
        while !self.flight.is_empty() && !spinning.passed() {
            hint::spin_loop();
            if let Some(completion) = self.take_completion() {
                return Ok(Some(completion));
            }
        }
        let mut sleep = FIRST_SLEEP;
        loop {
            if deadline.passed() {
                return Ok(None);
            }
            let interrupted = self.backend.wait_interrupt(deadline.or_after(sleep))?;
            if let Some(completion) = self.take_completion() {
                self.counters.interrupts_lost += u64::from(!interrupted);
                return Ok(Some(completion));
            }
            if !interrupted && !self.flight.is_empty() && !deadline.passed() {
                // The doorbell may have been lost; hearing it again does a card no harm.
                self.counters.doorbells_repeated += 1;
                self.ring_doorbell()?;
                // Too little time for an answer says nothing about the card.
                if sleep >= LONGEST_SLEEP && deadline.left() > ACCESS {
                    self.read_live(registers::MAGIC, "waiting for a completion")?;
                }
                sleep = (sleep * 2).min(LONGEST_SLEEP);
            }
        }
    }

    fn reset(
        &mut self,
        level: ResetLevel,
        deadline: Deadline,
    ) -> Result<Vec<Unfinished>, LinkError> {
        self.backend.limit(deadline);
        match level {
            ResetLevel::Link => {
                return Err(LinkError::NoSuchReset { address: self.info.address.clone(), level });
            }
            ResetLevel::Queue => {
                self.enabled = false;
                self.write(registers::CONTROL, control::RESET_QUEUE)?;
                self.wait_status(status::QUIET, "emptying the queue", deadline)?;
                self.take_back_flight();
                // A card that has started over by itself may not master the bus any more.
                self.backend.enable()?;
                self.enable_queue()?;
                return Ok(self.take_flight());
            }
            ResetLevel::Function => {
                self.enabled = false;
                self.backend.silence()?;
                self.backend.reset(deadline)?;
            }
            ResetLevel::Reenumerate => {
                self.enabled = false;
                self.look_for_it(deadline)?;
                return Ok(self.take_flight());
            }
        }
        self.take_back_flight();
        self.bring_up(deadline)?;
        Ok(self.take_flight())
    }

    fn counters(&self) -> LinkCounters {
        self.counters
    }
}

fn take_back(buffer: &Buffer) {
    if let Some(slice) = buffer.slice() {
        slice.take_back();
    }
}

fn garbage(backend: &dyn PciBackend, what: &'static str) -> LinkError {
    LinkError::Garbage { address: backend.address().to_owned(), what }
}
