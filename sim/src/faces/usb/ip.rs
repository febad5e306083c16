//! A USB/IP server with one device: what the kernel's `vhci-hcd` plugs in over a stream.
//!
//! Source: the kernel's documentation, `usb/usbip_protocol`. All numbers are big-endian.

use super::card::{Stall, UsbCard, WAITING_MAX};
use super::descriptors::{BULK_IN, NOTICE_IN, RELEASE, UsbKind, VENDOR};
use crate::faces::socket::Socket;
use crate::faces::stop::{Clock, Stop, Watch, Woken, wait};
use crate::faces::stream::{Conversation, Ended, Mistake, converse};
use litecore_hal::pipe::PipeEnd;
use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::Path;

/// A USB device that can be imported over USB/IP.
#[derive(Debug)]
pub struct UsbIpServer {
    listener: Listener,
}

#[derive(Debug)]
enum Listener {
    Tcp(TcpListener),
    Unix(Socket),
}

impl UsbIpServer {
    /// Listens on a TCP address; port 3240 is where the `usbip` tools look.
    ///
    /// Errors: what the system says.
    pub fn bind_tcp(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener: Listener::Tcp(listener) })
    }

    /// Listens on a socket in the file system, for whoever brings the stream to a kernel.
    ///
    /// Errors: what the system says; somebody listens there already.
    pub fn bind_unix(path: &Path) -> io::Result<Self> {
        Ok(Self { listener: Listener::Unix(Socket::bind(path)?) })
    }

    /// Where it listens, if on TCP: the port the system chose, where port 0 was asked for.
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        match &self.listener {
            Listener::Tcp(listener) => listener.local_addr().ok(),
            Listener::Unix(_) => None,
        }
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
        while let Some(stream) = self.accept(stop)? {
            note("a client is here");
            let mut conversation = Import::new(UsbCard::new(end, kind, serial));
            match converse(&stream, &mut conversation, clock, stop) {
                Ok(Ended::Stopped) => return Ok(()),
                Ok(Ended::HungUp) => note("the card is unplugged"),
                Ok(Ended::Left) => note("the client has left"),
                Err(error) => note(&format!("the client is let go: {error}")),
            }
        }
        Ok(())
    }

    /// The next client's stream, which does not block; `None` when it is time to end.
    fn accept(&self, stop: &Stop) -> io::Result<Option<OwnedFd>> {
        let listener = match &self.listener {
            Listener::Unix(socket) => {
                let Some(stream) = socket.accept(stop)? else { return Ok(None) };
                stream.set_nonblocking(true)?;
                return Ok(Some(stream.into()));
            }
            Listener::Tcp(listener) => listener,
        };
        loop {
            if wait(&[Watch::reading(listener)], stop, None)? == Woken::Stopped {
                return Ok(None);
            }
            match listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(true)?;
                    // Requests are small, and the next one waits for the answer.
                    stream.set_nodelay(true)?;
                    return Ok(Some(stream.into()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

const VERSION: u16 = 0x0111;
const LIST: u16 = 0x8005;
const IMPORT: u16 = 0x8003;
const ANSWER_LIST: u16 = 0x0005;
const ANSWER_IMPORT: u16 = 0x0003;
const SUBMIT: u32 = 1;
const UNLINK: u32 = 2;
const ANSWER_SUBMIT: u32 = 3;
const ANSWER_UNLINK: u32 = 4;
/// Bytes of the header of a request on an imported device.
const HEAD: usize = 48;
const BUS_ID_BYTES: usize = 32;
const BUS_ID: &[u8] = b"1-1";
/// The only device's number: bus 1, device 1.
const DEVICE: u32 = 1 << 16 | 1;
/// Most bytes of one request that are taken.
const TRANSFER_MAX: usize = 1 << 20;
/// The kernel's numbers for a stalled endpoint and for a request taken back.
const BROKEN_PIPE: i32 = -32;
const CONNECTION_RESET: i32 = -104;

struct Import<'a> {
    card: UsbCard<'a>,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    imported: bool,
    /// The modem's notices that are asked for and never come.
    notices: VecDeque<u64>,
}

impl<'a> Import<'a> {
    fn new(card: UsbCard<'a>) -> Self {
        Self {
            card,
            incoming: Vec::new(),
            outgoing: Vec::new(),
            imported: false,
            notices: VecDeque::new(),
        }
    }

    /// Takes one whole message off the front of `bytes`: how long it was, or nothing yet.
    fn message(&mut self, now_ns: u64, bytes: &[u8]) -> Result<Option<usize>, Mistake> {
        if self.imported { self.request(now_ns, bytes) } else { self.operation(now_ns, bytes) }
    }

    fn operation(&mut self, now_ns: u64, bytes: &[u8]) -> Result<Option<usize>, Mistake> {
        let Some((head, rest)) = bytes.split_first_chunk::<8>() else { return Ok(None) };
        let (version, code) =
            (u16::from_be_bytes([head[0], head[1]]), u16::from_be_bytes([head[2], head[3]]));
        if version != VERSION {
            return Err(mistake(format!("version {version:#06x}, this is {VERSION:#06x}")));
        }
        match code {
            LIST => {
                self.answer(ANSWER_LIST, 0);
                self.outgoing.extend_from_slice(&1_u32.to_be_bytes());
                self.describe();
                for (class, _) in self.card.kind.interfaces() {
                    self.outgoing.extend_from_slice(class);
                    self.outgoing.push(0);
                }
                Ok(Some(head.len()))
            }
            IMPORT => {
                let Some(bus_id) = rest.get(..BUS_ID_BYTES) else { return Ok(None) };
                let end = bus_id.iter().position(|byte| *byte == 0).unwrap_or(BUS_ID_BYTES);
                if &bus_id[..end] == BUS_ID && self.card.is_there() {
                    self.answer(ANSWER_IMPORT, 0);
                    self.describe();
                    self.card.reset(now_ns);
                    self.imported = true;
                } else {
                    self.answer(ANSWER_IMPORT, 1);
                }
                Ok(Some(head.len() + BUS_ID_BYTES))
            }
            _ => Err(mistake(format!("operation {code:#06x}"))),
        }
    }

    fn answer(&mut self, code: u16, status: u32) {
        self.outgoing.extend_from_slice(&VERSION.to_be_bytes());
        self.outgoing.extend_from_slice(&code.to_be_bytes());
        self.outgoing.extend_from_slice(&status.to_be_bytes());
    }

    fn describe(&mut self) {
        const HIGH_SPEED: u32 = 3;
        let out = &mut self.outgoing;
        let padded = |out: &mut Vec<u8>, text: &[u8], len: usize| {
            let end = out.len() + len;
            out.extend_from_slice(text);
            out.resize(end, 0);
        };
        padded(out, b"/emulated/usb1/1-1", 256);
        padded(out, BUS_ID, BUS_ID_BYTES);
        for number in [DEVICE >> 16, DEVICE & 0xffff, HIGH_SPEED] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        for number in [VENDOR, self.card.kind.product(), RELEASE] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        out.extend_from_slice(&self.card.kind.device_class());
        let interfaces = u8::try_from(self.card.kind.interfaces().len()).unwrap_or(u8::MAX);
        out.extend_from_slice(&[self.card.configuration, 1, interfaces]);
    }

    fn request(&mut self, now_ns: u64, bytes: &[u8]) -> Result<Option<usize>, Mistake> {
        let Some((head, rest)) = bytes.split_first_chunk::<HEAD>() else { return Ok(None) };
        let word =
            |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (command, number, inbound, endpoint) = (word(0), word(4), word(12) == 1, word(16));
        match command {
            SUBMIT => {
                let len = usize::try_from(word(24)).unwrap_or(usize::MAX);
                if len > TRANSFER_MAX || endpoint > 15 {
                    return Err(mistake(format!("{len} bytes for endpoint {endpoint}")));
                }
                let sent = if inbound { 0 } else { len };
                let Some(data) = rest.get(..sent) else { return Ok(None) };
                let mut setup = [0; 8];
                setup.copy_from_slice(&head[40..48]);
                let address = u8::try_from(endpoint).unwrap_or(0) | u8::from(inbound) << 7;
                self.submit(now_ns, number.into(), address, len, setup, data);
                if self.card.waiting() + self.notices.len() > WAITING_MAX {
                    return Err(mistake(format!("more than {WAITING_MAX} requests at a time")));
                }
                Ok(Some(HEAD + sent))
            }
            UNLINK => {
                let which = u64::from(word(20));
                let before = self.notices.len();
                self.notices.retain(|notice| *notice != which);
                let taken = self.card.cancel(which) || self.notices.len() < before;
                let status = if taken { CONNECTION_RESET } else { 0 };
                self.finish(ANSWER_UNLINK, number.into(), status, 0, &[]);
                Ok(Some(HEAD))
            }
            _ => Err(mistake(format!("command {command}"))),
        }
    }

    fn submit(
        &mut self,
        now_ns: u64,
        id: u64,
        address: u8,
        len: usize,
        setup: [u8; 8],
        data: &[u8],
    ) {
        const CONTROL: u8 = 0x7f;
        let outcome = match address {
            // A configuration is set when a device has been reset, and vhci tells of no reset.
            _ if address & CONTROL == 0 && setup[..2] == [0x00, 9] => {
                self.card.reset(now_ns);
                self.card.control(setup, data)
            }
            _ if address & CONTROL == 0 => self.card.control(setup, data),
            NOTICE_IN => {
                self.notices.push_back(id);
                return;
            }
            BULK_IN => match self.card.bulk_in(id, len) {
                Ok(()) => return,
                Err(stall) => Err(stall),
            },
            _ => self.card.bulk_out(now_ns, data).map(|()| Vec::new()),
        };
        match outcome {
            Ok(bytes) if address & 0x80 != 0 => {
                self.finish(ANSWER_SUBMIT, id, 0, bytes.len(), &bytes);
            }
            Ok(_) => self.finish(ANSWER_SUBMIT, id, 0, data.len(), &[]),
            Err(Stall) => self.finish(ANSWER_SUBMIT, id, BROKEN_PIPE, 0, &[]),
        }
    }

    fn finish(&mut self, answer: u32, id: u64, status: i32, len: usize, data: &[u8]) {
        let out = &mut self.outgoing;
        let end = out.len() + HEAD;
        let number = u32::try_from(id).unwrap_or(u32::MAX);
        for word in [answer, number, 0, 0, 0] {
            out.extend_from_slice(&word.to_be_bytes());
        }
        out.extend_from_slice(&status.to_be_bytes());
        out.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes());
        out.resize(end, 0);
        out.extend_from_slice(data);
    }
}

impl Conversation for Import<'_> {
    fn on_bytes(&mut self, now_ns: u64, bytes: &[u8]) -> Result<(), Mistake> {
        self.incoming.extend_from_slice(bytes);
        let incoming = std::mem::take(&mut self.incoming);
        let mut at = 0;
        while let Some(taken) = self.message(now_ns, &incoming[at..])? {
            at += taken;
        }
        self.incoming = incoming;
        self.incoming.drain(..at);
        Ok(())
    }

    fn transmit(&mut self, now_ns: u64, out: &mut Vec<u8>) {
        if self.imported {
            while let Some((id, bytes)) = self.card.answered(now_ns) {
                self.finish(ANSWER_SUBMIT, id, 0, bytes.len(), &bytes);
            }
        }
        self.card.idle(now_ns);
        out.append(&mut self.outgoing);
    }

    fn next_wakeup_ns(&self) -> Option<u64> {
        self.card.next_wakeup_ns()
    }

    fn backlog(&self) -> usize {
        self.outgoing.len()
    }

    /// A device that is unplugged is a stream that ends.
    fn is_over(&self) -> bool {
        self.imported && !self.card.is_there()
    }
}

fn mistake(what: String) -> Mistake {
    Mistake { protocol: "USB/IP", what }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faces::echo::Echo;

    fn import_request() -> Vec<u8> {
        let mut bytes = vec![0x01, 0x11, 0x80, 0x03, 0, 0, 0, 0];
        bytes.extend_from_slice(BUS_ID);
        bytes.resize(8 + BUS_ID_BYTES, 0);
        bytes
    }

    fn submit(number: u32, inbound: bool, endpoint: u32, len: u32, data: &[u8]) -> Vec<u8> {
        let words = [SUBMIT, number, DEVICE, u32::from(inbound), endpoint, 0, len, 0, 0, 0];
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(data);
        bytes
    }

    fn said(conversation: &mut Import<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        conversation.transmit(0, &mut out);
        out
    }

    /// Number, status, length of an answer.
    fn head(answer: &[u8]) -> (u32, u32, i32, u32) {
        let word = |at: usize| u32::from_be_bytes(answer[at..at + 4].try_into().unwrap());
        (word(0), word(4), word(20).cast_signed(), word(24))
    }

    #[test]
    fn a_device_is_imported_and_answers() {
        let mut echo = Echo::new();
        let mut conversation = Import::new(UsbCard::new(&mut echo, UsbKind::Bulk, "s"));
        for byte in import_request() {
            conversation.on_bytes(0, &[byte]).unwrap();
        }
        let answer = said(&mut conversation);
        assert_eq!(answer.len(), 8 + 312);
        assert_eq!(&answer[..8], [0x01, 0x11, 0x00, 0x03, 0, 0, 0, 0]);
        assert_eq!(&answer[8 + 256..8 + 259], BUS_ID);
        assert_eq!(&answer[8 + 300..8 + 304], [0x12, 0x09, 0x00, 0x01], "vendor and product");

        let mut bytes = submit(1, true, 1, 64, &[]);
        bytes.extend(submit(2, true, 1, 64, &[]));
        bytes.extend(submit(3, false, 1, 5, b"hello"));
        conversation.on_bytes(0, &bytes).unwrap();
        let answer = said(&mut conversation);
        assert_eq!(head(&answer), (ANSWER_SUBMIT, 3, 0, 5), "out first");
        assert_eq!(head(&answer[HEAD..]), (ANSWER_SUBMIT, 1, 0, 5));
        assert_eq!(&answer[2 * HEAD..], b"hello", "and the second question waits");

        let words = [UNLINK, 4, DEVICE, 0, 0, 2];
        let mut unlink: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        unlink.resize(HEAD, 0);
        conversation.on_bytes(0, &unlink).unwrap();
        assert_eq!(head(&said(&mut conversation)), (ANSWER_UNLINK, 4, CONNECTION_RESET, 0));
        conversation.on_bytes(0, &unlink).unwrap();
        assert_eq!(head(&said(&mut conversation)), (ANSWER_UNLINK, 4, 0, 0), "too late");
    }

    #[test]
    fn descriptors_and_stalls_come_over_endpoint_0() {
        let mut echo = Echo::new();
        let mut conversation = Import::new(UsbCard::new(&mut echo, UsbKind::Acm, "s"));
        conversation.on_bytes(0, &import_request()).unwrap();
        said(&mut conversation);
        let mut get = submit(1, true, 0, 18, &[]);
        get[40..48].copy_from_slice(&[0x80, 6, 0, 1, 0, 0, 18, 0]);
        conversation.on_bytes(0, &get).unwrap();
        let answer = said(&mut conversation);
        assert_eq!(head(&answer), (ANSWER_SUBMIT, 1, 0, 18));
        assert_eq!(&answer[HEAD + 8..HEAD + 12], [0x09, 0x12, 0x02, 0x00]);
        get[41] = 77;
        conversation.on_bytes(0, &get).unwrap();
        assert_eq!(head(&said(&mut conversation)), (ANSWER_SUBMIT, 1, BROKEN_PIPE, 0));
        // The modem's endpoint for notices never says anything.
        conversation.on_bytes(0, &submit(9, true, 2, 16, &[])).unwrap();
        assert!(said(&mut conversation).is_empty());
    }

    #[test]
    fn an_absent_device_and_foreign_words_are_refused() {
        let mut echo = Echo::new();
        echo.there = false;
        let mut conversation = Import::new(UsbCard::new(&mut echo, UsbKind::Bulk, "s"));
        conversation.on_bytes(0, &import_request()).unwrap();
        assert_eq!(said(&mut conversation), [0x01, 0x11, 0x00, 0x03, 0, 0, 0, 1]);
        for bytes in [&b"GET / HTTP/1.1\r\n"[..], &[0x01, 0x11, 0x80, 0x77, 0, 0, 0, 0]] {
            assert!(conversation.on_bytes(0, bytes).is_err());
        }
        let mut echo = Echo::new();
        let mut conversation = Import::new(UsbCard::new(&mut echo, UsbKind::Bulk, "s"));
        conversation.on_bytes(0, &import_request()).unwrap();
        assert!(conversation.on_bytes(0, &submit(1, false, 1, u32::MAX, &[])).is_err());
        assert!(conversation.on_bytes(0, &submit(1, false, 77, 4, &[])).is_err());
    }

    #[test]
    fn a_client_that_asks_without_end_is_let_go() {
        for endpoint in [1, 2] {
            let mut echo = Echo::new();
            let mut conversation = Import::new(UsbCard::new(&mut echo, UsbKind::Acm, "s"));
            conversation.on_bytes(0, &import_request()).unwrap();
            let ask =
                |number: usize| submit(u32::try_from(number).unwrap(), true, endpoint, 16, &[]);
            for number in 0..WAITING_MAX {
                conversation.on_bytes(0, &ask(number)).unwrap();
            }
            assert!(conversation.on_bytes(0, &ask(WAITING_MAX)).is_err());
        }
    }

    #[test]
    fn a_listing_names_the_device_and_its_interfaces() {
        let mut echo = Echo::new();
        let mut conversation = Import::new(UsbCard::new(&mut echo, UsbKind::Acm, "s"));
        conversation.on_bytes(0, &[0x01, 0x11, 0x80, 0x05, 0, 0, 0, 0]).unwrap();
        let answer = said(&mut conversation);
        assert_eq!(&answer[..12], [0x01, 0x11, 0x00, 0x05, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(answer.len(), 12 + 312 + 2 * 4);
        assert_eq!(&answer[12 + 312..], [2, 2, 1, 0, 10, 0, 0, 0]);
    }
}
