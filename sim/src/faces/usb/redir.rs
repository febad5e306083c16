//! The device's side of the usbredir protocol, which QEMU's `usb-redir` speaks.
//!
//! Source: the protocol's description in the usbredir project, `docs/usb-redirection-protocol.md`.

use super::card::{Stall, UsbCard, WAITING_MAX};
use super::descriptors::{BULK_IN, NOTICE_IN, RELEASE, UsbKind, VENDOR};
use crate::faces::socket::Socket;
use crate::faces::stop::{Clock, Stop};
use crate::faces::stream::{Conversation, Ended, Mistake, converse};
use litecore_hal::pipe::PipeEnd;
use std::collections::VecDeque;
use std::io;
use std::path::Path;

/// A USB device waiting for QEMU to plug it in. Its socket is taken away when it goes.
#[derive(Debug)]
pub struct UsbRedirServer {
    socket: Socket,
}

impl UsbRedirServer {
    /// Listens at `path`; a socket that an ended process left there is replaced.
    ///
    /// Errors: what the system says; somebody listens there already.
    pub fn bind(path: &Path) -> io::Result<Self> {
        Ok(Self { socket: Socket::bind(path)? })
    }

    /// Serves one client after the other until it is stopped.
    ///
    /// `serial` is the device's serial number; `note` gets a line when a client comes or leaves.
    ///
    /// Errors: the listening socket fails. A client's mistakes end its connection and no more.
    pub fn serve(
        &self,
        end: &mut dyn PipeEnd,
        kind: UsbKind,
        serial: &str,
        clock: &Clock,
        stop: &Stop,
        note: &mut dyn FnMut(&str),
    ) -> io::Result<()> {
        while let Some(stream) = self.socket.accept(stop)? {
            note("a client is here");
            stream.set_nonblocking(true)?;
            let mut conversation = Redirection::new(UsbCard::new(end, kind, serial));
            match converse(&stream, &mut conversation, clock, stop) {
                Ok(Ended::Stopped) => return Ok(()),
                Ok(_) => note("the client has left"),
                Err(error) => note(&format!("the client is let go: {error}")),
            }
        }
        Ok(())
    }
}

const HELLO: u32 = 0;
const DEVICE_CONNECT: u32 = 1;
const DEVICE_DISCONNECT: u32 = 2;
const RESET: u32 = 3;
const INTERFACE_INFO: u32 = 4;
const ENDPOINT_INFO: u32 = 5;
const SET_CONFIGURATION: u32 = 6;
const GET_CONFIGURATION: u32 = 7;
const CONFIGURATION_STATUS: u32 = 8;
const SET_ALTERNATE: u32 = 9;
const GET_ALTERNATE: u32 = 10;
const ALTERNATE_STATUS: u32 = 11;
const START_INTERRUPT: u32 = 15;
const STOP_INTERRUPT: u32 = 16;
const INTERRUPT_STATUS: u32 = 17;
const CANCEL: u32 = 21;
const CONTROL_PACKET: u32 = 100;
const BULK_PACKET: u32 = 101;

/// Capabilities, as bits of the hello message.
const CONNECT_HAS_RELEASE: u32 = 1 << 1;
const INFO_HAS_PACKET_SIZE: u32 = 1 << 4;
const IDS_OF_64_BITS: u32 = 1 << 5;
const LENGTHS_OF_32_BITS: u32 = 1 << 6;
const OURS: u32 = CONNECT_HAS_RELEASE | INFO_HAS_PACKET_SIZE | IDS_OF_64_BITS | LENGTHS_OF_32_BITS;

/// Statuses of packets.
const DONE: u8 = 0;
const CANCELED: u8 = 1;
const STALLED: u8 = 4;

/// The bus speed of the card.
const HIGH_SPEED: u8 = 2;
/// The bit of a control request whose data comes from the device.
const FROM_DEVICE: u8 = 0x80;
const VERSION_BYTES: usize = 64;
/// Most bytes of one message that are taken.
const MESSAGE_MAX: usize = (1 << 20) + 4096;

struct Redirection<'a> {
    card: UsbCard<'a>,
    /// What has come and is not a whole message yet.
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    /// The client's capabilities, once it has said hello.
    theirs: Option<u32>,
    plugged: bool,
    /// The heads of bulk packets that wait for bytes, by id.
    waiting: VecDeque<(u64, Vec<u8>)>,
}

impl<'a> Redirection<'a> {
    fn new(card: UsbCard<'a>) -> Self {
        let mut new = Self {
            card,
            incoming: Vec::new(),
            outgoing: Vec::new(),
            theirs: None,
            plugged: false,
            waiting: VecDeque::new(),
        };
        let mut version = [0; VERSION_BYTES];
        version[..14].copy_from_slice(b"litecore-sim 1");
        new.send(HELLO, 0, &[&version, &OURS.to_le_bytes()]);
        new
    }

    fn has(&self, capability: u32) -> bool {
        self.theirs.is_some_and(|theirs| theirs & OURS & capability != 0)
    }

    fn send(&mut self, kind: u32, id: u64, parts: &[&[u8]]) {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        self.outgoing.extend_from_slice(&kind.to_le_bytes());
        self.outgoing.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes());
        let wide = kind != HELLO && self.has(IDS_OF_64_BITS);
        self.outgoing.extend_from_slice(&id.to_le_bytes()[..if wide { 8 } else { 4 }]);
        for part in parts {
            self.outgoing.extend_from_slice(part);
        }
    }

    /// Puts the plug in or pulls it out as the card came or went.
    fn plug(&mut self) {
        let there = self.card.is_there();
        if self.theirs.is_none() || self.plugged == there {
            return;
        }
        self.plugged = there;
        self.waiting.clear();
        self.card.forget();
        if there {
            self.describe();
            let [class, subclass, protocol] = self.card.kind.device_class();
            let mut body = vec![HIGH_SPEED, class, subclass, protocol];
            body.extend_from_slice(&VENDOR.to_le_bytes());
            body.extend_from_slice(&self.card.kind.product().to_le_bytes());
            if self.has(CONNECT_HAS_RELEASE) {
                body.extend_from_slice(&RELEASE.to_le_bytes());
            }
            self.send(DEVICE_CONNECT, 0, &[&body]);
        } else {
            self.send(DEVICE_DISCONNECT, 0, &[]);
        }
    }

    /// Says which interfaces and endpoints there are.
    fn describe(&mut self) {
        const NONE: u8 = 0xff;
        let (mut numbers, mut classes) = ([0_u8; 32], [[0_u8; 32]; 3]);
        let (mut kinds, mut intervals) = ([NONE; 32], [0_u8; 32]);
        let (mut owners, mut packets) = ([0_u8; 32], [0_u16; 32]);
        for control in [0, 16] {
            (kinds[control], packets[control]) = (0, 64);
        }
        let interfaces = self.card.kind.interfaces();
        for (at, (number, (class, endpoints))) in (0_u8..).zip(interfaces).enumerate() {
            numbers[at] = number;
            for (all, one) in classes.iter_mut().zip(class) {
                all[at] = *one;
            }
            for (address, kind, packet, interval) in *endpoints {
                let at = place(*address);
                (kinds[at], intervals[at], owners[at]) = (*kind, *interval, number);
                packets[at] = *packet;
            }
        }
        let count = u32::try_from(interfaces.len()).unwrap_or(0).to_le_bytes();
        let [class, subclass, protocol] = classes;
        self.send(INTERFACE_INFO, 0, &[&count, &numbers, &class, &subclass, &protocol]);
        let sizes: Vec<u8> = packets.iter().flat_map(|packet| packet.to_le_bytes()).collect();
        let sizes = if self.has(INFO_HAS_PACKET_SIZE) { &sizes[..] } else { &[] };
        self.send(ENDPOINT_INFO, 0, &[&kinds, &intervals, &owners, sizes]);
    }

    /// The length of the header before a message's body.
    fn head_len(&self, kind: u32) -> usize {
        if kind != HELLO && self.has(IDS_OF_64_BITS) { 16 } else { 12 }
    }

    fn handle(&mut self, now_ns: u64, kind: u32, id: u64, body: &[u8]) -> Result<(), Mistake> {
        let short = || mistake(format!("message {kind} has only {} bytes", body.len()));
        let byte = |at: usize| body.get(at).copied().ok_or_else(short);
        match kind {
            HELLO => {
                let capabilities = body.get(VERSION_BYTES..).and_then(<[u8]>::first_chunk);
                self.theirs = Some(capabilities.map_or(0, |bits| u32::from_le_bytes(*bits)));
            }
            RESET => {
                self.waiting.clear();
                self.card.reset(now_ns);
            }
            SET_CONFIGURATION => {
                let status = match self.card.set_configuration(byte(0)?) {
                    Ok(()) => DONE,
                    Err(Stall) => STALLED,
                };
                self.describe();
                self.send(CONFIGURATION_STATUS, id, &[&[status, self.card.configuration]]);
            }
            GET_CONFIGURATION => {
                self.send(CONFIGURATION_STATUS, id, &[&[DONE, self.card.configuration]]);
            }
            SET_ALTERNATE | GET_ALTERNATE => {
                self.send(ALTERNATE_STATUS, id, &[&[DONE, byte(0)?, 0]]);
            }
            START_INTERRUPT | STOP_INTERRUPT => {
                self.send(INTERRUPT_STATUS, id, &[&[DONE, byte(0)?]]);
            }
            CANCEL => {
                if self.card.cancel(id)
                    && let Some(at) = self.waiting.iter().position(|(waiting, _)| *waiting == id)
                    && let Some((_, head)) = self.waiting.remove(at)
                {
                    self.bulk_answer(id, &head, CANCELED, 0, &[]);
                }
            }
            CONTROL_PACKET => self.control(id, body).ok_or_else(short)?,
            BULK_PACKET => {
                self.bulk(now_ns, id, body).ok_or_else(short)?;
                if self.waiting.len() > WAITING_MAX {
                    return Err(mistake(format!("more than {WAITING_MAX} requests at a time")));
                }
            }
            // Filters and the like concern the client's other devices.
            _ => {}
        }
        Ok(())
    }

    fn control(&mut self, id: u64, body: &[u8]) -> Option<()> {
        let (head, data) = body.split_first_chunk::<10>()?;
        let [_, request, kind, _, rest @ ..] = *head;
        let [value_low, value_high, index_low, index_high, len_low, len_high] = rest;
        let setup =
            [kind, request, value_low, value_high, index_low, index_high, len_low, len_high];
        let mut answer = *head;
        let (status, bytes) = match self.card.control(setup, data) {
            Ok(bytes) => (DONE, bytes),
            Err(Stall) => (STALLED, Vec::new()),
        };
        answer[3] = status;
        if kind & FROM_DEVICE != 0 {
            let len = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
            answer[8..10].copy_from_slice(&len.to_le_bytes());
        }
        self.send(CONTROL_PACKET, id, &[&answer, &bytes]);
        Some(())
    }

    fn bulk(&mut self, now_ns: u64, id: u64, body: &[u8]) -> Option<()> {
        let (head, data) = body.split_at_checked(self.bulk_head_len())?;
        let endpoint = head[0];
        let mut len = usize::from(u16::from_le_bytes([head[2], head[3]]));
        if let [high_low, high_high] = head[8..] {
            len |= usize::from(u16::from_le_bytes([high_low, high_high])) << 16;
        }
        let outcome = match endpoint {
            NOTICE_IN => return Some(()),
            BULK_IN => match self.card.bulk_in(id, len) {
                Ok(()) => {
                    self.waiting.push_back((id, head.to_vec()));
                    return Some(());
                }
                Err(stall) => Err(stall),
            },
            _ => self.card.bulk_out(now_ns, data),
        };
        let (status, len) = if outcome.is_ok() { (DONE, len) } else { (STALLED, 0) };
        self.bulk_answer(id, head, status, len, &[]);
        Some(())
    }

    fn bulk_head_len(&self) -> usize {
        if self.has(LENGTHS_OF_32_BITS) { 10 } else { 8 }
    }

    fn bulk_answer(&mut self, id: u64, head: &[u8], status: u8, len: usize, data: &[u8]) {
        let mut head = head.to_vec();
        let len = u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes();
        head[1] = status;
        head[2..4].copy_from_slice(&len[..2]);
        if head.len() == 10 {
            head[8..].copy_from_slice(&len[2..]);
        }
        self.send(BULK_PACKET, id, &[&head, data]);
    }
}

impl Conversation for Redirection<'_> {
    fn on_bytes(&mut self, now_ns: u64, bytes: &[u8]) -> Result<(), Mistake> {
        self.incoming.extend_from_slice(bytes);
        let mut at = 0;
        loop {
            let rest = &self.incoming[at..];
            let word = |at: usize| Some(u32::from_le_bytes(*rest.get(at..)?.first_chunk()?));
            let (Some(kind), Some(len)) = (word(0), word(4)) else { break };
            let len = usize::try_from(len).unwrap_or(usize::MAX);
            if len > MESSAGE_MAX {
                return Err(mistake(format!("a message of {len} bytes")));
            }
            if self.theirs.is_none() && kind != HELLO {
                return Err(mistake(format!("message {kind} before hello")));
            }
            let head = self.head_len(kind);
            if rest.len() < head + len {
                break;
            }
            let high = if head == 16 { word(12).unwrap_or(0) } else { 0 };
            let id = u64::from(word(8).unwrap_or(0)) | u64::from(high) << 32;
            let body = rest[head..head + len].to_vec();
            at += head + len;
            self.handle(now_ns, kind, id, &body)?;
        }
        self.incoming.drain(..at);
        Ok(())
    }

    fn transmit(&mut self, now_ns: u64, out: &mut Vec<u8>) {
        self.plug();
        if self.plugged {
            while let Some((id, bytes)) = self.card.answered(now_ns) {
                let Some((_, head)) = self.waiting.pop_front() else { break };
                self.bulk_answer(id, &head, DONE, bytes.len(), &bytes);
            }
        }
        self.card.idle(now_ns);
        self.plug();
        out.append(&mut self.outgoing);
    }

    fn next_wakeup_ns(&self) -> Option<u64> {
        self.card.next_wakeup_ns()
    }

    fn backlog(&self) -> usize {
        self.outgoing.len()
    }
}

/// Where an endpoint stands in the protocol's tables: those towards the device first.
fn place(address: u8) -> usize {
    usize::from(address & 15) + if address & 0x80 != 0 { 16 } else { 0 }
}

fn mistake(what: String) -> Mistake {
    Mistake { protocol: "usbredir", what }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faces::echo::Echo;

    fn message(kind: u32, id: u64, body: &[u8]) -> Vec<u8> {
        let mut bytes = kind.to_le_bytes().to_vec();
        bytes.extend_from_slice(&u32::try_from(body.len()).unwrap().to_le_bytes());
        bytes.extend_from_slice(&id.to_le_bytes()[..if kind == HELLO { 4 } else { 8 }]);
        bytes.extend_from_slice(body);
        bytes
    }

    fn hello() -> Vec<u8> {
        let mut body = vec![0; VERSION_BYTES];
        body[..4].copy_from_slice(b"test");
        body.extend_from_slice(&OURS.to_le_bytes());
        message(HELLO, 0, &body)
    }

    fn bulk(id: u64, endpoint: u8, len: u16, data: &[u8]) -> Vec<u8> {
        let [low, high] = len.to_le_bytes();
        let mut body = vec![endpoint, 0, low, high, 0, 0, 0, 0, 0, 0];
        body.extend_from_slice(data);
        message(BULK_PACKET, id, &body)
    }

    /// Whole messages of an answer: kind, id, body. The first hello has a shorter id.
    fn messages(mut bytes: &[u8]) -> Vec<(u32, u64, Vec<u8>)> {
        let mut found = Vec::new();
        while !bytes.is_empty() {
            let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
            let (kind, len) = (word(0), word(4) as usize);
            let head = if kind == HELLO { 12 } else { 16 };
            found.push((kind, u64::from(word(8)), bytes[head..head + len].to_vec()));
            bytes = &bytes[head + len..];
        }
        found
    }

    fn said(conversation: &mut Redirection<'_>) -> Vec<(u32, u64, Vec<u8>)> {
        let mut out = Vec::new();
        conversation.transmit(0, &mut out);
        messages(&out)
    }

    #[test]
    fn a_card_is_plugged_in_asked_and_answers_in_order() {
        let mut echo = Echo::new();
        let mut conversation = Redirection::new(UsbCard::new(&mut echo, UsbKind::Bulk, "s"));
        assert_eq!(said(&mut conversation).len(), 1, "hello and nothing more");
        // Byte by byte, as a stream may bring it.
        for byte in hello() {
            conversation.on_bytes(0, &[byte]).unwrap();
        }
        let kinds: Vec<u32> = said(&mut conversation).iter().map(|(kind, ..)| *kind).collect();
        assert_eq!(kinds, [INTERFACE_INFO, ENDPOINT_INFO, DEVICE_CONNECT]);
        // Two questions first, then the bytes: an answer takes no more than was asked for.
        conversation.on_bytes(0, &bulk(7, BULK_IN, 3, &[])).unwrap();
        conversation.on_bytes(0, &bulk(8, BULK_IN, 512, &[])).unwrap();
        assert!(said(&mut conversation).is_empty(), "an empty card lets one wait");
        conversation.on_bytes(0, &bulk(9, 0x01, 5, b"hello")).unwrap();
        let said = said(&mut conversation);
        let ids: Vec<u64> = said.iter().map(|(_, id, _)| *id).collect();
        assert_eq!(ids, [9, 7, 8]);
        assert_eq!(said[1].2, [&[0x81, DONE, 3, 0, 0, 0, 0, 0, 0, 0][..], b"hel"].concat());
        assert_eq!(said[2].2, [&[0x81, DONE, 2, 0, 0, 0, 0, 0, 0, 0][..], b"lo"].concat());
    }

    #[test]
    fn a_transfer_ends_at_a_packet_that_is_not_full() {
        let mut echo = Echo::new();
        let mut conversation = Redirection::new(UsbCard::new(&mut echo, UsbKind::Bulk, "s"));
        conversation.on_bytes(0, &hello()).unwrap();
        conversation.on_bytes(0, &bulk(1, 0x01, 512, &[1; 512])).unwrap();
        conversation.on_bytes(0, &bulk(2, 0x01, 0, &[])).unwrap();
        conversation.on_bytes(0, &bulk(3, 0x01, 1024, &[2; 1024])).unwrap();
        conversation.on_bytes(0, &bulk(4, 0x01, 1, &[3; 1])).unwrap();
        drop(conversation);
        assert_eq!((echo.pieces, echo.heard.len()), (2, 512 + 1024 + 1));
    }

    #[test]
    fn taking_back_stalls_and_unplugging_are_told() {
        let mut echo = Echo::new();
        let mut conversation = Redirection::new(UsbCard::new(&mut echo, UsbKind::Bulk, "s"));
        conversation.on_bytes(0, &hello()).unwrap();
        said(&mut conversation);
        conversation.on_bytes(0, &bulk(5, BULK_IN, 64, &[])).unwrap();
        conversation.on_bytes(0, &message(CANCEL, 5, &[])).unwrap();
        let told = said(&mut conversation);
        assert_eq!((told[0].1, told[0].2[1]), (5, CANCELED));
        // An unknown request stalls; so does an endpoint that is halted, until it is cleared.
        let control = |kind, request, index| [0, request, kind, 0, 0, 0, index, 0, 0, 0];
        let mut ask = |body: [u8; 10]| {
            conversation.on_bytes(0, &message(CONTROL_PACKET, 6, &body)).unwrap();
            said(&mut conversation)[0].2[3]
        };
        assert_eq!(ask(control(0xc0, 99, 0)), STALLED);
        assert_eq!(ask(control(0x02, 3, 0x01)), DONE);
        conversation.on_bytes(0, &bulk(7, 0x01, 1, &[1])).unwrap();
        assert_eq!(said(&mut conversation)[0].2[1], STALLED);
        let clear = control(0x02, 1, 0x01);
        conversation.on_bytes(0, &message(CONTROL_PACKET, 8, &clear)).unwrap();
        conversation.on_bytes(0, &bulk(9, 0x01, 1, &[1])).unwrap();
        assert_eq!(said(&mut conversation)[1].2[1], DONE);
        drop(conversation);
        echo.there = false;
        let mut conversation = Redirection::new(UsbCard::new(&mut echo, UsbKind::Bulk, "s"));
        conversation.on_bytes(0, &hello()).unwrap();
        assert_eq!(said(&mut conversation).len(), 1, "nothing is plugged in");
        conversation.plugged = true;
        let kinds: Vec<u32> = said(&mut conversation).iter().map(|(kind, ..)| *kind).collect();
        assert_eq!(kinds, [DEVICE_DISCONNECT]);
    }

    #[test]
    fn a_client_that_asks_without_end_is_let_go() {
        let mut echo = Echo::new();
        let mut conversation = Redirection::new(UsbCard::new(&mut echo, UsbKind::Bulk, "s"));
        conversation.on_bytes(0, &hello()).unwrap();
        let ask = |id: usize| bulk(id as u64, BULK_IN, 512, &[]);
        for id in 0..WAITING_MAX {
            conversation.on_bytes(0, &ask(id)).unwrap();
        }
        assert!(conversation.on_bytes(0, &ask(WAITING_MAX)).is_err());
        // One that does not take its answers in is not heard.
        let mut conversation = Redirection::new(UsbCard::new(&mut echo, UsbKind::Bulk, "s"));
        conversation.on_bytes(0, &hello()).unwrap();
        let before = conversation.backlog();
        conversation.on_bytes(0, &message(GET_CONFIGURATION, 1, &[])).unwrap();
        assert_eq!(conversation.backlog() - before, 16 + 2);
    }

    #[test]
    fn what_is_not_usbredir_ends_the_conversation() {
        for bytes in [&b"GET / HTTP/1.1\r\n"[..], &[0xff; 64], &message(RESET, 1, &[])] {
            let mut echo = Echo::new();
            let mut conversation = Redirection::new(UsbCard::new(&mut echo, UsbKind::Bulk, "s"));
            let mistake = conversation.on_bytes(0, bytes).unwrap_err();
            assert!(mistake.to_string().starts_with("it does not speak usbredir"), "{mistake}");
        }
        let mut echo = Echo::new();
        let mut conversation = Redirection::new(UsbCard::new(&mut echo, UsbKind::Acm, "s"));
        conversation.on_bytes(0, &hello()).unwrap();
        assert!(conversation.on_bytes(0, &message(BULK_PACKET, 1, &[1, 2])).is_err());
        assert!(conversation.on_bytes(0, &message(SET_CONFIGURATION, 1, &[])).is_err());
    }
}
