use super::{BytePipe, PipeFraming};
use crate::{
    Buffer, Completion, Deadline, Link, LinkCounters, LinkError, LinkInfo, ResetLevel, Unfinished,
};
use litecore_firmware_proto::arq::{Arq, ArqEvent, ArqOptions, Flavor, Role, storage_bytes};
use litecore_firmware_proto::frame::{FRAME_HEADER_BYTES, FRAME_TRAILER_BYTES};
use litecore_firmware_proto::{CommandHeader, CompletionHeader, HEADER_BYTES};
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// Commands over a byte pipe: framed, checked, repeated until they arrive, in order.
///
/// What the pipe loses or damages is sent again without the caller noticing; a card that starts
/// over is noticed at once.
pub struct PipeLink {
    pipe: Box<dyn BytePipe>,
    framing: PipeFraming,
    /// Most bytes of a frame on a packet pipe.
    frame_max: usize,
    arq: Arq<Box<[u8]>>,
    info: LinkInfo,
    started: Instant,
    epoch: u32,
    /// Commands that are not yet wholly in the stream, first first.
    queue: VecDeque<u64>,
    /// Bytes of the first queued command that are in the stream.
    queue_sent: usize,
    flight: BTreeMap<u64, Unfinished>,
    incoming: Incoming,
    finished: VecDeque<Completion>,
    /// Bytes on their way into the pipe, and how many of them are in it.
    outgoing: Vec<u8>,
    outgoing_sent: usize,
    read_buffer: Box<[u8]>,
    counters: LinkCounters,
}

/// How a [`PipeLink`] is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PipeOptions {
    /// The first connection's number; choose one that was not used on this pipe before.
    pub epoch: u32,
    /// Most payload bytes of one frame.
    pub mtu: u16,
    /// Most bytes of one payload or reply.
    pub transfer_max: usize,
    /// By how much this world is slower than hardware.
    pub time_scale: u32,
}

impl PipeOptions {
    /// The usual sizes, for a connection with this number.
    pub const fn usual(epoch: u32) -> Self {
        Self { epoch, mtu: 32_768, transfer_max: 4 << 20, time_scale: 1 }
    }
}

/// Where the stream from the card stands.
enum Incoming {
    /// In a header; so many bytes of it are there.
    Header { bytes: [u8; HEADER_BYTES], len: usize },
    /// In the reply to a command in flight.
    Reply { header: CompletionHeader, at: usize, len: usize },
    /// In a reply that nobody waits for.
    Skip { left: usize },
}

/// Most commands in flight. *Assumed*: twice the frames of a window, so that small commands fill it.
const WINDOW: usize = 32;
/// Bytes gathered for one write.
const WRITE_MAX: usize = 64 << 10;
/// The same on packet pipes. *Assumed*: what Linux moves over USB in one request.
const TRANSFER_MAX: usize = 16 << 10;

impl PipeLink {
    /// Opens a connection over `pipe`.
    ///
    /// Errors: [`LinkError::TimedOut`] where no card answers, [`LinkError::Garbage`] where something
    /// else does, [`LinkError::Versions`] where the card speaks other versions.
    pub fn open(
        pipe: Box<dyn BytePipe>,
        options: PipeOptions,
        deadline: Deadline,
    ) -> Result<Self, LinkError> {
        let flavor = match pipe.framing() {
            PipeFraming::Delimited => Flavor::Delimited,
            PipeFraming::Packets => Flavor::Packet,
        };
        let mut arq_options = ArqOptions::usual(Role::Host, flavor);
        arq_options.mtu = options.mtu;
        let scale = u64::from(options.time_scale.max(1));
        arq_options.timeout_first_ns = arq_options.timeout_first_ns.saturating_mul(scale);
        arq_options.timeout_min_ns = arq_options.timeout_min_ns.saturating_mul(scale);
        let storage = vec![0; storage_bytes(options.mtu)].into_boxed_slice();
        let address = pipe.address().to_owned();
        let arq = Arq::new(storage, arq_options)
            .map_err(|short| LinkError::NoRoom { address: address.clone(), bytes: short.needed })?;
        let info = LinkInfo {
            kind: pipe.kind(),
            address,
            window: WINDOW,
            transfer_max: options.transfer_max,
            time_scale: options.time_scale,
        };
        let mut link = Self {
            framing: pipe.framing(),
            frame_max: usize::from(options.mtu) + FRAME_HEADER_BYTES + FRAME_TRAILER_BYTES,
            pipe,
            arq,
            info,
            started: Instant::now(),
            epoch: options.epoch,
            queue: VecDeque::new(),
            queue_sent: 0,
            flight: BTreeMap::new(),
            incoming: Incoming::start(),
            finished: VecDeque::new(),
            outgoing: Vec::with_capacity(WRITE_MAX + usize::from(u16::MAX)),
            outgoing_sent: 0,
            read_buffer: vec![0; WRITE_MAX].into_boxed_slice(),
            counters: LinkCounters::default(),
        };
        link.connect(deadline)?;
        Ok(link)
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// A new connection; nothing of the last one is left on this side.
    fn connect(&mut self, deadline: Deadline) -> Result<(), LinkError> {
        let began = Instant::now();
        self.queue.clear();
        self.queue_sent = 0;
        self.incoming = Incoming::start();
        self.outgoing.clear();
        self.outgoing_sent = 0;
        self.arq.open(self.now_ns(), self.epoch);
        self.epoch = self.epoch.wrapping_add(1);
        let damaged_before = self.arq.counters().damaged;
        while !self.arq.is_up() {
            match self.step(deadline) {
                // The card started over between two greetings: greet again.
                Err(LinkError::Restarted { .. }) if !deadline.passed() => {
                    self.arq.open(self.now_ns(), self.epoch);
                    self.epoch = self.epoch.wrapping_add(1);
                }
                Err(error) => return Err(error),
                Ok(()) => {}
            }
            if deadline.passed() && !self.arq.is_up() {
                let address = self.info.address.clone();
                if self.arq.counters().damaged > damaged_before {
                    let what = "bytes that are no frames of this protocol";
                    return Err(LinkError::Garbage { address, what });
                }
                let waited_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
                return Err(LinkError::TimedOut { address, doing: "greeting the card", waited_ms });
            }
        }
        Ok(())
    }

    /// Moves what can be moved, then waits for more until something happens or `deadline`.
    fn step(&mut self, deadline: Deadline) -> Result<(), LinkError> {
        let moved = self.pump(deadline)?;
        let blocked = self.outgoing_sent < self.outgoing.len();
        // A pipe that took a part is full: asking it again at once costs more than waiting for room.
        if moved && !blocked || !self.finished.is_empty() {
            return Ok(());
        }
        let until = match self.arq.next_timeout() {
            // While the pipe takes nothing, no frame is due: it would only wait behind the others.
            Some(at) if !blocked => {
                deadline.or_after(Duration::from_nanos(at.saturating_sub(self.now_ns())))
            }
            _ => deadline,
        };
        self.pipe.wait(blocked, until)
    }

    /// Everything that can be done without waiting for the card; whether anything was.
    fn pump(&mut self, deadline: Deadline) -> Result<bool, LinkError> {
        let mut moved = self.read_in()?;
        self.look_at_events()?;
        self.take_in()?;
        self.fill_stream();
        moved |= self.send_out(deadline)?;
        Ok(moved)
    }

    /// From the pipe into the frames at hand; whether anything came.
    fn read_in(&mut self) -> Result<bool, LinkError> {
        let mut len = 0;
        loop {
            let room = self.read_buffer.get_mut(len..).unwrap_or_default();
            let read = self.pipe.read(room)?;
            len += read;
            // Terminals give a page at a time, and looking at each by itself costs more than
            // reading it. Packets are looked at one by one.
            let more = read > 0 && len < WRITE_MAX && self.framing == PipeFraming::Delimited;
            if !more {
                break;
            }
        }
        if len > 0 {
            let now = self.now_ns();
            self.arq.on_bytes(now, self.read_buffer.get(..len).unwrap_or_default());
        }
        Ok(len > 0)
    }

    fn look_at_events(&mut self) -> Result<(), LinkError> {
        let address = || self.info.address.clone();
        match self.arq.take_event() {
            None | Some(ArqEvent::Up { .. }) => Ok(()),
            Some(ArqEvent::PeerRestarted) => Err(LinkError::Restarted { address: address() }),
            Some(ArqEvent::VersionMismatch { card_min, card_max }) => {
                Err(LinkError::Versions { address: address(), card_min, card_max })
            }
            Some(ArqEvent::FrameVersion { .. }) => Err(LinkError::Garbage {
                address: address(),
                what: "frames of another generation of the protocol",
            }),
        }
    }

    /// From the commands at hand into the stream, as far as the window goes.
    fn fill_stream(&mut self) {
        while let Some(cookie) = self.queue.front() {
            let Some(Unfinished { command, payload, .. }) = self.flight.get(cookie) else {
                self.queue.pop_front();
                continue;
            };
            let whole = HEADER_BYTES + payload.len();
            if let Some(header) = command.encode().get(self.queue_sent..) {
                self.queue_sent += self.arq.send(header);
            }
            if let Some(rest) = self.queue_sent.checked_sub(HEADER_BYTES) {
                self.queue_sent += self.arq.send(payload.get(rest..).unwrap_or_default());
            }
            if self.queue_sent < whole {
                return;
            }
            self.queue.pop_front();
            self.queue_sent = 0;
        }
    }

    /// From the frames at hand into the pipe, as far as it takes them.
    fn send_out(&mut self, deadline: Deadline) -> Result<bool, LinkError> {
        let mut moved = false;
        loop {
            if self.outgoing_sent == self.outgoing.len() {
                self.outgoing.clear();
                self.outgoing_sent = 0;
                let now = self.now_ns();
                // A transfer of a packet pipe holds whole frames and is one write.
                let most = match self.framing {
                    PipeFraming::Delimited => WRITE_MAX,
                    PipeFraming::Packets => TRANSFER_MAX.saturating_sub(self.frame_max).max(1),
                };
                while self.outgoing.len() < most {
                    let Some(frame) = self.arq.poll_transmit(now) else { break };
                    self.outgoing.extend_from_slice(frame);
                }
                if self.outgoing.is_empty() {
                    return Ok(moved);
                }
            }
            let rest = self.outgoing.get(self.outgoing_sent..).unwrap_or_default();
            let soon = deadline.or_after(Duration::from_millis(100));
            let written = self.pipe.write(rest, soon)?;
            self.outgoing_sent += written;
            moved |= written > 0;
            if self.outgoing_sent < self.outgoing.len() {
                return Ok(moved);
            }
        }
    }

    /// From the stream into completions.
    fn take_in(&mut self) -> Result<(), LinkError> {
        loop {
            match &mut self.incoming {
                Incoming::Header { bytes, len } => {
                    *len += self.arq.receive(bytes.get_mut(*len..).unwrap_or_default());
                    if *len < HEADER_BYTES {
                        return Ok(());
                    }
                    let Ok(header) = CompletionHeader::decode(bytes) else {
                        return Err(self.lost_place("a completion that does not add up"));
                    };
                    let len = usize::try_from(header.reply_len).unwrap_or(usize::MAX);
                    if len > self.info.transfer_max {
                        return Err(self.lost_place("a reply beyond all limits"));
                    }
                    // A card that answers before it has been asked does not read what comes behind
                    // as we mean it.
                    if self.queue.contains(&header.cookie.0) {
                        return Err(self.lost_place("a completion of a command it does not have"));
                    }
                    let capacity = self.flight.get(&header.cookie.0).map(|one| {
                        one.reply
                            .capacity()
                            .min(usize::try_from(one.command.reply_capacity).unwrap_or(usize::MAX))
                    });
                    self.incoming = if capacity.is_some_and(|capacity| len <= capacity) {
                        Incoming::Reply { header, at: 0, len }
                    } else {
                        self.counters.strays += 1;
                        Incoming::Skip { left: len }
                    };
                }
                Incoming::Reply { header, at, len } => {
                    let Some(one) = self.flight.get_mut(&header.cookie.0) else {
                        self.incoming = Incoming::Skip { left: *len - *at };
                        continue;
                    };
                    one.reply.set_len(*len);
                    *at += self.arq.receive(one.reply.get_mut(*at..).unwrap_or_default());
                    if *at < *len {
                        return Ok(());
                    }
                    let header = *header;
                    self.incoming = Incoming::start();
                    if let Some(Unfinished { payload, reply, .. }) =
                        self.flight.remove(&header.cookie.0)
                    {
                        self.counters.completed += 1;
                        self.finished.push_back(Completion { header, payload, reply });
                    }
                }
                Incoming::Skip { left } => {
                    let taken = self.arq.readable().len().min(*left);
                    self.arq.consume(taken);
                    *left -= taken;
                    if *left > 0 && taken == 0 {
                        return Ok(());
                    }
                    if *left == 0 {
                        self.incoming = Incoming::start();
                    }
                }
            }
        }
    }

    /// The stream cannot be read any further; only a new connection helps.
    fn lost_place(&mut self, what: &'static str) -> LinkError {
        self.counters.damaged += 1;
        self.arq.close();
        LinkError::Garbage { address: self.info.address.clone(), what }
    }
}

impl Incoming {
    const fn start() -> Self {
        Self::Header { bytes: [0; HEADER_BYTES], len: 0 }
    }
}

impl Link for PipeLink {
    fn info(&self) -> &LinkInfo {
        &self.info
    }

    fn buffer(&mut self, capacity: usize) -> Result<Buffer, LinkError> {
        if capacity > self.info.transfer_max {
            let address = self.info.address.clone();
            return Err(LinkError::NoRoom { address, bytes: capacity });
        }
        Ok(Buffer::heap(capacity))
    }

    fn submit(
        &mut self,
        command: &CommandHeader,
        payload: Buffer,
        reply: Buffer,
    ) -> Result<(), LinkError> {
        if self.flight.len() >= WINDOW {
            let address = self.info.address.clone();
            return Err(LinkError::NoRoom { address, bytes: payload.len() });
        }
        self.queue.push_back(command.cookie.0);
        self.counters.submitted += 1;
        self.flight.insert(command.cookie.0, Unfinished { command: *command, payload, reply });
        Ok(())
    }

    fn poll(&mut self, deadline: Deadline) -> Result<Option<Completion>, LinkError> {
        loop {
            if let Some(completion) = self.finished.pop_front() {
                return Ok(Some(completion));
            }
            if !self.arq.is_up() {
                return Err(LinkError::Restarted { address: self.info.address.clone() });
            }
            self.step(deadline)?;
            if self.finished.is_empty() && deadline.passed() {
                return Ok(None);
            }
        }
    }

    fn reset(
        &mut self,
        level: ResetLevel,
        deadline: Deadline,
    ) -> Result<Vec<Unfinished>, LinkError> {
        self.pipe.reset(level, deadline)?;
        self.connect(deadline)?;
        self.counters.resets += 1;
        // A card never reaches into this memory: it is silent as soon as nobody listens.
        self.finished.clear();
        Ok(std::mem::take(&mut self.flight).into_values().collect())
    }

    fn counters(&self) -> LinkCounters {
        let arq = self.arq.counters();
        LinkCounters {
            resent: arq.resent,
            damaged: self.counters.damaged + arq.damaged,
            ..self.counters
        }
    }
}
