use super::faults::{FaultPlan, Faults, Verdict};
use super::{Card, CompletionHeader};
use litecore_firmware_proto::arq::{Arq, ArqEvent, ArqOptions, Flavor, Role, storage_bytes};
use litecore_firmware_proto::frame::{FRAME_HEADER_BYTES, FRAME_TRAILER_BYTES};
use litecore_firmware_proto::{CommandHeader, Cookie, HEADER_BYTES};
use litecore_hal::pipe::PipeEnd;
use std::collections::VecDeque;

/// A card behind a byte pipe: serial line, USB bulk endpoints, socket.
///
/// Commands come in as a stream of headers and payloads, completions go out as a stream of headers
/// and replies. While it is removed it takes nothing in, says nothing, and [`PipeEnd::is_there`]
/// is false.
pub struct PipeCard {
    card: Card,
    arq: Arq<Box<[u8]>>,
    options: ArqOptions,
    faults: Faults,
    incoming: Incoming,
    /// Answers on their way, first first; an answer waits for those before it.
    answers: VecDeque<Answer>,
    /// Bytes of the first answer that are in the stream.
    sent: usize,
    answered: u64,
    stalled_until: u64,
    /// The latest time it was told.
    now_ns: u64,
    removed_until: Option<u64>,
    corrupt_next: bool,
    spoiled: Vec<u8>,
    /// Memory for replies, to be used again.
    spare: Vec<Vec<u8>>,
    boot: u32,
}

/// Where the stream from the host stands.
#[derive(Default)]
struct Incoming {
    header: Option<CommandHeader>,
    /// Bytes of the header, then of the payload.
    bytes: Vec<u8>,
    /// The payload is too long to take, and so many bytes of it are still to come.
    too_long: bool,
    skip: u64,
}

struct Answer {
    at_ns: u64,
    header: [u8; HEADER_BYTES],
    reply: Vec<u8>,
}

/// Bytes of a transfer beyond which no frame is put into it, where there are transfers. *Assumed*: what
/// Linux moves over USB in one request.
const TRANSFER_BYTES: usize = 16 << 10;
/// What a lost interrupt costs on a pipe, which has none.
const LOST_INTERRUPT_NS: u64 = 1_000_000;

impl PipeCard {
    /// A card at the end of a pipe without faults.
    pub fn new(card: Card, flavor: Flavor, mtu: u16) -> Self {
        Self::with_faults(card, flavor, mtu, FaultPlan::default())
    }

    /// A card at the end of a pipe, with what goes wrong.
    pub fn with_faults(card: Card, flavor: Flavor, mtu: u16, plan: FaultPlan) -> Self {
        let boot = card.boot();
        let options = ArqOptions { mtu, ..ArqOptions::usual(Role::Card { boot }, flavor) };
        let storage = vec![0; storage_bytes(mtu)].into_boxed_slice();
        let arq = Arq::new(storage, options).expect("as long as it says");
        Self {
            card,
            arq,
            options,
            faults: Faults::new(plan),
            incoming: Incoming::default(),
            answers: VecDeque::new(),
            sent: 0,
            answered: 0,
            stalled_until: 0,
            now_ns: 0,
            removed_until: None,
            corrupt_next: false,
            spoiled: Vec::new(),
            spare: Vec::new(),
            boot,
        }
    }

    /// The card itself.
    pub fn card(&mut self) -> &mut Card {
        &mut self.card
    }

    /// What has happened on its end of the pipe since it started.
    pub fn counters(&self) -> litecore_firmware_proto::arq::ArqCounters {
        self.arq.counters()
    }

    /// Commands answered since the first start, silently ones included.
    pub fn answered(&self) -> u64 {
        self.answered
    }

    /// Pulls the card out until a time; it then starts by itself.
    pub fn remove(&mut self, until_ns: u64) {
        self.removed_until = Some(until_ns);
    }

    /// Does what is due.
    fn advance(&mut self, now_ns: u64) {
        self.now_ns = now_ns;
        if self.removed_until.is_some_and(|until| until <= now_ns) {
            self.removed_until = None;
            self.card.restart(now_ns);
        }
        if self.stalled_until <= now_ns {
            self.stalled_until = 0;
        }
        if let Some(verdict) = self.faults.on_time(now_ns) {
            self.suffer(now_ns, &verdict);
            if verdict.reset {
                self.card.restart(now_ns);
            }
        }
        self.card.advance(now_ns);
        if self.card.boot() != self.boot {
            self.start_over();
        }
    }

    /// A card that restarted knows nothing of the pipe.
    fn start_over(&mut self) {
        self.boot = self.card.boot();
        self.options.role = Role::Card { boot: self.boot };
        let storage = vec![0; storage_bytes(self.options.mtu)].into_boxed_slice();
        self.arq = Arq::new(storage, self.options).expect("as long as it says");
        self.forget_stream();
        self.stalled_until = 0;
        self.corrupt_next = false;
    }

    fn forget_stream(&mut self) {
        self.incoming = Incoming::default();
        self.answers.clear();
        self.sent = 0;
    }

    fn suffer(&mut self, now_ns: u64, verdict: &Verdict) {
        if let Some(ns) = verdict.remove_ns {
            self.remove(now_ns.saturating_add(ns));
        }
        if let Some(ns) = verdict.thermal_ns {
            self.card.trip_thermally(now_ns.saturating_add(ns));
        }
        if let Some(ns) = verdict.laser_ns {
            self.card.fail_laser(now_ns.saturating_add(ns));
        }
        if verdict.stall_ns > 0 {
            self.stalled_until = self.stalled_until.max(now_ns.saturating_add(verdict.stall_ns));
        }
        self.corrupt_next |= verdict.corrupt;
    }

    fn is_deaf(&self, now_ns: u64) -> bool {
        self.removed_until.is_some() || now_ns < self.stalled_until
    }

    /// Takes commands off the stream and carries them out.
    fn work(&mut self, now_ns: u64) {
        let boot = self.card.boot();
        while !self.is_deaf(now_ns) && self.card.boot() == boot {
            // A host that sends without reading is made to wait.
            let options = self.card.options();
            let waiting: usize = self.answers.iter().map(|answer| answer.reply.len()).sum();
            if self.answers.len() >= 2 * options.in_flight_max as usize
                || waiting as u64 >= options.reply_max
            {
                break;
            }
            let readable = self.arq.readable();
            let taken = match self.incoming.take(readable, self.card.options().payload_max) {
                Taken::Bytes(0) => break,
                Taken::Bytes(len) => len,
                Taken::Lost => {
                    // Frames are checked, so the host itself wrote this. It is to start over.
                    self.arq.close();
                    self.forget_stream();
                    break;
                }
            };
            self.arq.consume(taken);
            if let Some((command, payload)) = self.incoming.whole() {
                self.answer(now_ns, &command, &payload);
                self.incoming.reuse(payload);
            }
        }
        if self.card.boot() != boot {
            self.start_over();
        }
    }

    fn answer(&mut self, now_ns: u64, command: &CommandHeader, payload: &[u8]) {
        let verdict = self.faults.on_command(now_ns, command.opcode);
        self.suffer(now_ns, &verdict);
        if verdict.drop_command || verdict.remove_ns.is_some() {
            return;
        }
        let mut reply = self.spare.pop().unwrap_or_default();
        let completion = self.card.execute(now_ns, command, payload, &mut reply);
        self.answered += 1;
        if verdict.reset {
            self.card.restart(now_ns);
        } else if !verdict.drop_completion {
            let mut at_ns = now_ns.saturating_add(verdict.delay_ns);
            if verdict.lose_interrupt {
                at_ns = at_ns.max(now_ns.saturating_add(LOST_INTERRUPT_NS));
            }
            let header = told(&completion, verdict.wrong_completion).encode();
            self.answers.push_back(Answer { at_ns, header, reply });
            return;
        }
        self.spare.push(reply);
    }

    /// Puts answers that are due into the stream.
    fn speak(&mut self, now_ns: u64) {
        while let Some(answer) = self.answers.front().filter(|answer| answer.at_ns <= now_ns) {
            if let Some(rest) = answer.header.get(self.sent..) {
                self.sent += self.arq.send(rest);
            }
            if let Some(from) = self.sent.checked_sub(HEADER_BYTES) {
                self.sent += self.arq.send(answer.reply.get(from..).unwrap_or_default());
            }
            if self.sent < HEADER_BYTES + answer.reply.len() {
                break;
            }
            self.sent = 0;
            self.spare.extend(self.answers.pop_front().map(|answer| answer.reply));
        }
    }
}

impl PipeEnd for PipeCard {
    fn on_bytes(&mut self, now_ns: u64, bytes: &[u8]) {
        self.advance(now_ns);
        if self.is_deaf(now_ns) {
            return;
        }
        let bytes = self.faults.spoil(bytes, &mut self.spoiled);
        self.arq.on_bytes(now_ns, bytes);
        if let Some(ArqEvent::Up { .. }) = self.arq.take_event() {
            self.forget_stream();
        }
        self.work(now_ns);
        self.speak(now_ns);
    }

    fn transmit(&mut self, now_ns: u64, out: &mut Vec<u8>) {
        self.advance(now_ns);
        self.work(now_ns);
        let whole = out.len() + TRANSFER_BYTES;
        let frame_max = usize::from(self.options.mtu) + FRAME_HEADER_BYTES + FRAME_TRAILER_BYTES;
        while !self.is_deaf(now_ns) {
            self.speak(now_ns);
            let Some(frame) = self.arq.poll_transmit(now_ns) else { break };
            let frame = self.faults.spoil(frame, &mut self.spoiled);
            let start = out.len();
            out.extend_from_slice(frame);
            if std::mem::take(&mut self.corrupt_next) {
                self.faults.flip(&mut out[start..]);
            }
            if self.options.flavor == Flavor::Packet && out.len() + frame_max > whole {
                break;
            }
        }
    }

    fn next_wakeup_ns(&self) -> Option<u64> {
        let by_itself = [self.faults.next_time(), self.card.next_wakeup_ns()];
        let to_come = |at: u64| (at > self.now_ns).then_some(at);
        let deaf = self.removed_until.or(to_come(self.stalled_until));
        let speaking = if deaf.is_some() {
            [deaf, None]
        } else {
            // An answer that is due and not yet sent waits for the far end, not for the clock.
            let answer = self.answers.front().and_then(|answer| to_come(answer.at_ns));
            [self.arq.next_timeout(), answer]
        };
        by_itself.into_iter().chain(speaking).flatten().min()
    }

    fn is_there(&self) -> bool {
        self.removed_until.is_none()
    }

    fn port_reset(&mut self, now_ns: u64) {
        self.card.restart(now_ns);
        self.start_over();
    }
}

/// A completion as it is told: the right one, or one that belongs to nobody.
pub(super) fn told(completion: &CompletionHeader, wrong: bool) -> CompletionHeader {
    let Cookie(cookie) = completion.cookie;
    let cookie = if wrong { Cookie(!cookie) } else { completion.cookie };
    CompletionHeader { cookie, ..*completion }
}

enum Taken {
    Bytes(usize),
    Lost,
}

impl Incoming {
    /// Takes what belongs to the command at hand.
    fn take(&mut self, readable: &[u8], payload_max: u64) -> Taken {
        if self.skip > 0 {
            let len = usize::try_from(self.skip).unwrap_or(usize::MAX).min(readable.len());
            self.skip -= len as u64;
            return Taken::Bytes(len);
        }
        let needed = match &self.header {
            None => HEADER_BYTES,
            Some(header) => usize::try_from(header.payload_len).unwrap_or(usize::MAX),
        };
        let len = needed.saturating_sub(self.bytes.len()).min(readable.len());
        self.bytes.extend_from_slice(&readable[..len]);
        if self.header.is_none()
            && let Ok(bytes) = <&[u8; HEADER_BYTES]>::try_from(self.bytes.as_slice())
        {
            let Ok(header) = CommandHeader::decode(bytes) else { return Taken::Lost };
            self.bytes.clear();
            // What is too long to take is skipped; the card then refuses the command.
            if header.payload_len > payload_max {
                self.too_long = true;
                self.skip = header.payload_len;
            }
            self.header = Some(header);
        }
        Taken::Bytes(len)
    }

    /// The command, once all of it is there; a payload that is too long is left out.
    fn whole(&mut self) -> Option<(CommandHeader, Vec<u8>)> {
        let header = self.header?;
        let complete = self.too_long || header.payload_len == self.bytes.len() as u64;
        if self.skip > 0 || !complete {
            return None;
        }
        self.header = None;
        self.too_long = false;
        Some((header, std::mem::take(&mut self.bytes)))
    }

    fn reuse(&mut self, mut payload: Vec<u8>) {
        payload.clear();
        self.bytes = payload;
    }
}
